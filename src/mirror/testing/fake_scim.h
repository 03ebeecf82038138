#pragma once

#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "http/testing/running_server.h"

namespace roster::mirror::testing {

/// A SCIM server in this process that only reads, honest unless told to lie. Thread-safe.
class FakeScim {
 public:
  /// Sees a request before the honest answer is made; an answer of its own replaces it.
  using Intercept = std::function<std::optional<http::Response>(const http::Request&)>;

  FakeScim();

  std::string url() const;  // the base URL

  /// Each a whole resource, in the order of the lists.
  void set_people(std::vector<std::string> resources);
  void set_groups(std::vector<std::string> resources);
  void set_page_size(std::size_t size);
  void set_etags(bool on);
  void set_intercept(Intercept intercept);

  /// "GET /scim/Users?startIndex=1", in the order they came.
  std::vector<std::string> requests() const;
  void forget_requests();

 private:
  http::Response answer(const http::Request& request);
  http::Response list(const std::vector<std::string>& resources,
                      const http::Request& request) const;

  mutable std::mutex mutex_;  // guards what follows
  std::vector<std::string> people_, groups_, requests_;
  std::size_t page_size_ = 100;
  bool etags_ = false;
  Intercept intercept_;

  http::testing::RunningServer server_;  // last: ends before what it answers from
};

/// A person and a group as ACTIVATE's API shows them. `more` begins with a comma.
std::string person(std::string_view name, std::uint32_t uid, std::string_view more = "");
/// `keys`: JSON texts, as in the list.
std::string person_with_keys(std::string_view name, std::uint32_t uid, std::string_view keys);
std::string group(std::string_view name, std::uint32_t gid,
                  const std::vector<std::string>& members);

http::Response json_list(const std::string& body);

}  // namespace roster::mirror::testing
