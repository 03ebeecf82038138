#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "http/testing/running_server.h"

namespace roster::sync::testing {

/// A SCIM server in this process that people can be carried to and from. Names are unique.
/// Thread-safe. It understands the requests that a destination makes, and nothing else.
class FakeDirectory {
 public:
  /// What is answered in the place of the honest answer.
  struct Lie {
    http::Response response;
    bool carry_out = false;  // the request, all the same
  };
  using Intercept = std::function<std::optional<Lie>(const http::Request&)>;

  FakeDirectory();

  std::string url() const;
  void set_intercept(Intercept intercept);
  /// Answers lists whole, whatever their filter says.
  void set_filters(bool on);
  /// Of pages, at most; 100 by default.
  void set_page_max(std::size_t size);

  /// Adds a resource as it is, with an `id` of its own, and active, unless it says
  /// something else; the id.
  std::string add(std::string_view collection, json::object resource);
  void erase(std::string_view collection, const std::string& id);

  /// Copies by id.
  std::map<std::string, json::object> people() const;
  std::map<std::string, json::object> groups() const;
  /// The person of this userName; CHECKs that there is one.
  json::object person(std::string_view user_name) const;
  /// "PATCH /Users/1", in the order they came, but reads.
  std::vector<std::string> writes() const;
  std::size_t most_at_once() const;

 private:
  using Resources = std::map<std::string, json::object>;
  http::Response answer(const http::Request& request);
  http::Response carry_out(const http::Request& request);
  http::Response list(const Resources& resources, const http::Request& request) const;
  http::Response create(Resources& resources, std::string_view name, const json::object& body);
  http::Response patch(json::object& resource, const json::object& body);

  mutable std::mutex mutex_;  // guards what follows
  Resources people_, groups_;
  std::vector<std::string> writes_;
  std::size_t next_id_ = 1, now_ = 0, most_ = 0;
  std::size_t page_max_ = 100;
  bool filters_ = true;
  Intercept intercept_;

  http::testing::RunningServer server_;  // last: ends before what it answers from
};

http::Response status_only(int status);

}  // namespace roster::sync::testing
