#include "mirror/testing/fake_scim.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/encoding.h"
#include "crypto/hash.h"

namespace roster::mirror::testing {
namespace {

constexpr std::string_view kUrn =
    "urn:coreweave:params:scim:schemas:extension:coreweave:2.0:CoreWeaveUser";

std::size_t number(std::string_view text, std::size_t fallback) {
  std::size_t value = fallback;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

}  // namespace

http::Response json_list(const std::string& body) {
  http::Response response;
  response.headers.set("Content-Type", "application/scim+json");
  response.body = body;
  return response;
}

FakeScim::FakeScim()
    : server_([this](const http::Request& request, http::Context&) { return answer(request); }) {}

std::string FakeScim::url() const { return server_.url() + "/scim"; }

void FakeScim::set_people(std::vector<std::string> resources) {
  const std::lock_guard lock(mutex_);
  people_ = std::move(resources);
}
void FakeScim::set_groups(std::vector<std::string> resources) {
  const std::lock_guard lock(mutex_);
  groups_ = std::move(resources);
}
void FakeScim::set_page_size(std::size_t size) {
  const std::lock_guard lock(mutex_);
  page_size_ = size;
}
void FakeScim::set_etags(bool on) {
  const std::lock_guard lock(mutex_);
  etags_ = on;
}
void FakeScim::set_intercept(Intercept intercept) {
  const std::lock_guard lock(mutex_);
  intercept_ = std::move(intercept);
}

std::vector<std::string> FakeScim::requests() const {
  const std::lock_guard lock(mutex_);
  return requests_;
}
void FakeScim::forget_requests() {
  const std::lock_guard lock(mutex_);
  requests_.clear();
}

http::Response FakeScim::answer(const http::Request& request) {
  std::unique_lock lock(mutex_);
  requests_.push_back(request.method + " " + request.path +
                      (request.query.empty() ? "" : "?" + request.query));
  if (request.headers.get("Authorization") != "Bearer t-1") {
    http::Response refused = json_list("{}");
    refused.status = 401;
    return refused;
  }
  if (const Intercept intercept = intercept_) {
    lock.unlock();  // it may take its time
    if (auto lie = intercept(request)) return std::move(*lie);
    lock.lock();
  }
  if (request.path == "/scim/Users") return list(people_, request);
  if (request.path == "/scim/Groups") return list(groups_, request);
  http::Response absent = json_list("{}");
  absent.status = 404;
  return absent;
}

http::Response FakeScim::list(const std::vector<std::string>& resources,
                              const http::Request& request) const {
  const auto query = http::Query::parse(request.query);
  CHECK(query.has_value());
  const auto cursor = query->get("cursor");
  const std::size_t first =
      cursor ? number(*cursor, 0) : number(query->get("startIndex").value_or("1"), 1) - 1;
  const std::size_t size = number(query->get("count").value_or(""), page_size_);
  const std::size_t end = std::min(resources.size(), first + size);
  std::string body = R"({"schemas":["urn:ietf:params:scim:api:messages:2.0:ListResponse"],)";
  body += "\"totalResults\":" + std::to_string(resources.size());
  body += ",\"itemsPerPage\":" + std::to_string(end > first ? end - first : 0);
  if (cursor) {
    if (end < resources.size()) body += ",\"nextCursor\":\"" + std::to_string(end) + '"';
  } else {
    body += ",\"startIndex\":" + std::to_string(first + 1);
  }
  body += ",\"Resources\":[";
  for (std::size_t i = first; i < end; ++i) {
    if (i > first) body += ',';
    body += resources[i];
  }
  body += "]}";
  http::Response response = json_list(body);
  if (!etags_) return response;
  const std::string tag = '"' + hex_encode(crypto::sha256(body)).substr(0, 16) + '"';
  response.headers.set("ETag", tag);
  if (request.headers.get("If-None-Match") != tag) return response;
  response.status = 304;
  response.body = std::string();
  return response;
}

std::string person(std::string_view name, std::uint32_t uid, std::string_view more) {
  const std::string n(name);
  return R"({"id":"id-)" + n + R"(","userName":")" + n + R"(@example.org","name":{"formatted":")" +
         n + R"( Example"},")" + std::string(kUrn) + R"(":{"sunkPosixUsername":")" + n +
         R"(","sunkPosixUserId":)" + std::to_string(uid) + R"(,"sunkPosixGroupId":30000})" +
         std::string(more) + "}";
}

std::string person_with_keys(std::string_view name, std::uint32_t uid, std::string_view keys) {
  std::string text = person(name, uid);
  const std::string_view last = "\"sunkPosixGroupId\":30000";
  return text.insert(text.find(last) + last.size(), ",\"sunkSshKeys\":[" + std::string(keys) + "]");
}

std::string group(std::string_view name, std::uint32_t gid,
                  const std::vector<std::string>& members) {
  const std::string n(name);
  std::string text = R"({"id":"gid-)" + n + R"(","displayName":")" + n +
                     R"(","sunkPosixGroupName":")" + n + R"(","sunkPosixGroupId":)" +
                     std::to_string(gid) + R"(,"members":[)";
  for (std::size_t i = 0; i < members.size(); ++i) {
    if (i > 0) text += ',';
    text += R"({"value":"id-)" + members[i] + R"(","sunkPosixUsername":")" + members[i] + R"("})";
  }
  return text + "]}";
}

}  // namespace roster::mirror::testing
