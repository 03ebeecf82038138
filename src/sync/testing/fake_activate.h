#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "http/testing/running_server.h"

namespace roster::sync::testing {

/// The part of ACTIVATE's REST API that is read, in this process, honest unless told to lie.
/// Thread-safe.
class FakeActivate {
 public:
  using Intercept = std::function<std::optional<http::Response>(const http::Request&)>;

  FakeActivate();

  std::string url() const;
  std::string host() const;  // with its port

  /// Each a whole OrgUser, in the order of the list.
  void set_users(std::vector<std::string> users);
  void add_group(std::string_view name, std::string_view id, const std::vector<int>& members);
  void set_pages_groups(bool on);
  /// Seen before the honest answer is made; an answer of its own replaces it.
  void set_intercept(Intercept intercept);

  std::vector<std::string> requests() const;
  std::size_t count(std::string_view part) const;  // of requests that hold it

 private:
  http::Response answer(const http::Request& request);
  http::Response users(const http::Query& query) const;
  http::Response groups(const http::Query& query) const;

  struct FakeGroup {
    std::string name, json, members;
  };
  mutable std::mutex mutex_;  // guards what follows
  std::vector<std::string> users_, requests_;
  std::vector<FakeGroup> groups_;
  bool pages_groups_ = true;
  Intercept intercept_;

  http::testing::RunningServer server_;  // last: ends before what it answers from
};

/// User n: "User.n", id "id-n", e-mail address and name. `more` begins with a comma.
std::string activate_user(int n, bool active = true, std::string_view more = "");
http::Response json_answer(int status, std::string body);

/// "pwt_..." for a host.
std::string api_key_for(std::string_view host);

}  // namespace roster::sync::testing
