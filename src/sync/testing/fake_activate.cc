#include "sync/testing/fake_activate.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/encoding.h"

namespace roster::sync::testing {
namespace {

constexpr std::string_view kBase = "/api/organizations/my%20org";

std::size_t number(const http::Query& query, std::string_view name, std::size_t fallback) {
  const std::string_view text = query.get(name).value_or("");
  std::size_t value = fallback;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

std::string part_of(const std::vector<std::string>& list, std::size_t skip, std::size_t limit) {
  std::string text = "[";
  for (std::size_t i = skip; i < std::min(list.size(), skip + limit); ++i) {
    if (text.size() > 1) text += ',';
    text += list[i];
  }
  return text + ']';
}

}  // namespace

http::Response json_answer(int status, std::string body) {
  http::Response response;
  response.status = status;
  response.headers.set("Content-Type", "application/json");
  response.body = std::move(body);
  return response;
}

std::string activate_user(int n, bool active, std::string_view more) {
  const std::string number = std::to_string(n);
  return R"({"id":"id-)" + number + R"(","username":"User.)" + number + R"(","email":"u)" + number +
         R"(@example.org","name":"User )" + number + R"( Example","uid":)" +
         std::to_string(5000 + n) + R"(,"active":)" + (active ? "true" : "false") +
         std::string(more) + "}";
}

std::string api_key_for(std::string_view host) {
  return "pwt_" + base64url_encode(host) + ".0123456789secret";
}

FakeActivate::FakeActivate()
    : server_([this](const http::Request& request, http::Context&) { return answer(request); }) {}

std::string FakeActivate::host() const { return server_.address(); }
std::string FakeActivate::url() const { return "http://" + host(); }

void FakeActivate::set_users(std::vector<std::string> users) {
  const std::lock_guard lock(mutex_);
  users_ = std::move(users);
}
void FakeActivate::add_group(std::string_view name, std::string_view id,
                             const std::vector<int>& members) {
  const std::lock_guard lock(mutex_);
  std::string json =
      R"({"name":")" + std::string(name) + R"(","members":)" + std::to_string(members.size());
  if (!id.empty()) json += R"(,"id":")" + std::string(id) + '"';
  std::vector<std::string> list;
  for (const int n : members) {
    const std::string number = std::to_string(n);
    list.push_back(R"({"username":"User.)" + number + R"(","id":"id-)" + number +
                   R"(","email":"u)" + number + R"(@example.org"})");
  }
  groups_.push_back(
      {std::string(name), json + "}", list.empty() ? "null" : part_of(list, 0, list.size())});
}
void FakeActivate::set_pages_groups(bool on) {
  const std::lock_guard lock(mutex_);
  pages_groups_ = on;
}
void FakeActivate::set_intercept(Intercept intercept) {
  const std::lock_guard lock(mutex_);
  intercept_ = std::move(intercept);
}
std::vector<std::string> FakeActivate::requests() const {
  const std::lock_guard lock(mutex_);
  return requests_;
}
std::size_t FakeActivate::count(std::string_view part) const {
  const std::lock_guard lock(mutex_);
  return static_cast<std::size_t>(std::ranges::count_if(
      requests_, [part](const std::string& line) { return line.contains(part); }));
}

http::Response FakeActivate::answer(const http::Request& request) {
  const std::lock_guard lock(mutex_);
  requests_.push_back(request.method + " " + request.path +
                      (request.query.empty() ? "" : "?" + request.query));
  const std::string basic = "Basic " + base64_encode(api_key_for(host()) + ":");
  const std::string_view given = request.headers.get("Authorization");
  if (given != basic && given != "Bearer a.b.c") return json_answer(401, R"({"detail":"no"})");
  if (intercept_) {
    if (auto lie = intercept_(request)) return std::move(*lie);
  }
  const auto query = http::Query::parse(request.query);
  CHECK(query.has_value());
  if (request.path == "/api/auth/whoami/organization") return json_answer(200, R"("my org")");
  const std::string base(kBase);
  if (request.path == base + "/users") return users(*query);
  if (request.path == base + "/groups") return groups(*query);
  for (const FakeGroup& group : groups_) {
    if (request.path == base + "/groups/" + percent_encode(group.name) + "/members") {
      return json_answer(200, group.members);
    }
  }
  return json_answer(404, R"({"detail":"there is none"})");
}

http::Response FakeActivate::users(const http::Query& query) const {
  const std::size_t limit = std::min<std::size_t>(number(query, "limit", 50), 500);
  return json_answer(200, R"({"total":)" + std::to_string(users_.size()) + R"(,"users":)" +
                              part_of(users_, number(query, "skip", 0), limit) + "}");
}

http::Response FakeActivate::groups(const http::Query& query) const {
  std::vector<std::string> list;
  for (const FakeGroup& group : groups_) list.push_back(group.json);
  if (list.empty()) return json_answer(200, "null");
  if (!pages_groups_) return json_answer(200, part_of(list, 0, list.size()));
  return json_answer(200,
                     part_of(list, number(query, "skip", 0), number(query, "limit", list.size())));
}

}  // namespace roster::sync::testing
