#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "directory/directory.h"
#include "directory/testing/observed.h"
#include "provider/scim_service.h"
#include "store/testing/engines.h"

// Helpers of this room's tests: the service on a real directory on SQLite in memory.
namespace roster::provider {

#define ENTERPRISE "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
#define COREWEAVE "urn:coreweave:params:scim:schemas:extension:coreweave:2.0:CoreWeaveUser"

inline constexpr const char* kKeyA =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f ada@laptop";
inline constexpr const char* kKeyB =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICAhIiMkJSYnKCkqKywtLi8wMTIzNDU2Nzg5Ojs8PT4/ ada@desk";

/// The JSON that a test wrote.
inline json::value parsed(std::string_view text) {
  Result<json::value> value = json::parse(text, {.bytes_max = 64 << 20, .values_max = 64 << 20});
  if (!value) ADD_FAILURE() << value.error().message << " in " << text.substr(0, 200);
  CHECK(value.has_value());
  return std::move(*value);
}

/// An answer with its body read.
struct Answer {
  int status = 0;
  http::Headers headers;
  json::object body;

  std::string text(std::string_view name) const {
    return std::string(json::find_string(body, name).value_or(""));
  }
  std::string id() const { return text("id"); }
  std::int64_t total() const { return json::find_int(body, "totalResults").value_or(-1); }
  /// Values of one attribute of the listed resources, joined by spaces.
  std::string listed(std::string_view name) const {
    std::string out;
    for (const json::value& resource : body.at("Resources").as_array()) {
      if (!out.empty()) out += ' ';
      out += json::find_string(resource.as_object(), name).value_or("-");
    }
    return out;
  }
  const json::object& extension(std::string_view urn) const { return body.at(urn).as_object(); }
};

/// A hub with two organizations, each token kind, and a clock that moves by hand.
class ScimTest : public ::testing::Test {
 protected:
  ScimTest() {
    auto opened = directory::Directory::open(observed_, {.clock = [this] { return now_; }});
    CHECK(opened.has_value());
    directory_ = std::move(*opened);
    acme_ = directory_->create_org(hub_, "acme").value().n;
    other_ = directory_->create_org(hub_, "other").value().n;
    okta_ = token(acme_, directory::Scope::kScim, "okta");
    entra_ = token(acme_, directory::Scope::kScim, "entra");
    reader_ = token(acme_, directory::Scope::kRead, "");
    admin_ = token(acme_, directory::Scope::kAdmin, "");
    foreign_ = token(other_, directory::Scope::kScim, "okta");
    auto minted = directory_->create_token(hub_, {.name = "operator",
                                                  .scope = directory::Scope::kOperator,
                                                  .org = {},
                                                  .client = {},
                                                  .ttl = {},
                                                  .user = {},
                                                  .join = {},
                                                  .ca_sha256 = {}});
    operator_ = minted.value().secret.expose();
    restart({.public_url = "https://hub.example", .allowed_hosts = {}});
  }

  void restart(ScimOptions options) {
    options.clock = [this] { return now_; };
    service_ = std::make_unique<ScimService>(*directory_, std::move(options));
  }

  std::string token(directory::OrgN org, directory::Scope scope, const std::string& client) {
    directory::Directory::TokenRequest request;
    request.name = "t" + std::to_string(++tokens_);
    request.scope = scope;
    request.org = org;
    if (!client.empty()) {
      CHECK(directory_->create_client(hub_, org, client).has_value());
      request.client = client;
    }
    if (scope == directory::Scope::kJoin) request.join.emplace();
    auto minted = directory_->create_token(hub_, request);
    if (!minted) ADD_FAILURE() << minted.error().message;
    return minted.value().secret.expose();
  }

  Answer send(const std::string& bearer, const std::string& method, const std::string& target,
              const std::string& body = "",
              const std::vector<std::pair<std::string, std::string>>& headers = {}) {
    http::Request request;
    request.method = method;
    const std::string whole = target.starts_with("/api") || target.starts_with("/scim")
                                  ? target
                                  : "/api/organizations/acme/scim/v2" + target;
    const std::size_t mark = whole.find('?');
    request.path = whole.substr(0, mark);
    if (mark != std::string::npos) request.query = whole.substr(mark + 1);
    if (!bearer.empty()) request.headers.set("Authorization", "Bearer " + bearer);
    if (!body.empty()) request.headers.set("Content-Type", "application/scim+json");
    for (const auto& [name, value] : headers) request.headers.set(name, value);
    request.body = body;
    http::Context context;
    context.remote = "127.0.0.1:1";
    context.tls = true;
    http::Response response = service_->handle(request, context);
    route_ = context.route;
    Answer answer{.status = response.status, .headers = response.headers, .body = {}};
    const std::string text = std::get<std::string>(response.body);
    if (!text.empty()) {
      EXPECT_EQ(response.headers.get("Content-Type"), "application/scim+json");
      answer.body = parsed(text).as_object();
    }
    return answer;
  }

  Answer get(const std::string& target) { return send(okta_, "GET", target); }
  Answer post(const std::string& target, const std::string& body) {
    return send(okta_, "POST", target, body);
  }
  Answer patch(const std::string& target, const std::string& operations) {
    return send(okta_, "PATCH", target,
                R"({"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":)" +
                    operations + "}");
  }
  /// Id of a new user.
  std::string make_user(const std::string& name, const std::string& more = "") {
    const Answer answer = post("/Users", R"({"userName":")" + name + "\"" + more + "}");
    EXPECT_EQ(answer.status, 201) << json::serialize(answer.body);
    return answer.id();
  }
  std::string make_group(const std::string& name, const std::string& members = "[]") {
    const Answer answer =
        post("/Groups", R"({"displayName":")" + name + R"(","members":)" + members + "}");
    EXPECT_EQ(answer.status, 201) << json::serialize(answer.body);
    return answer.id();
  }
  /// Members' displays, joined by spaces, in order of id.
  std::string members(const std::string& group) {
    const Answer answer = get("/Groups/" + group);
    std::string out;
    if (const json::array* list = json::find_array(answer.body, "members")) {
      for (const json::value& member : *list) {
        if (!out.empty()) out += ' ';
        out += json::find_string(member.as_object(), "display").value();
      }
    }
    return out;
  }
  /// How often `work` runs statements whose names begin like this.
  template <typename Work>
  int asked(std::string_view prefix, const Work& work) {
    const auto count = [this, prefix] {
      const std::lock_guard lock(mutex_);
      int sum = 0;
      for (const auto& [name, times] : statements_) sum += name.starts_with(prefix) ? times : 0;
      return sum;
    };
    const int before = count();
    work();
    return count() - before;
  }
  Seq head() { return directory_->find_org("acme").value().seq; }
  /// A refusal with its keyword; `detail` is part of its sentence.
  void expect_error(const Answer& answer, int status, std::string_view keyword,
                    std::string_view detail = "") {
    EXPECT_EQ(answer.status, status) << json::serialize(answer.body);
    EXPECT_EQ(answer.text("status"), std::to_string(status));
    EXPECT_EQ(answer.text("scimType"), keyword) << answer.text("detail");
    EXPECT_NE(answer.text("detail").find(detail), std::string::npos) << answer.text("detail");
  }

  directory::Actor hub_{.token = 0,
                        .org = {},
                        .client = {},
                        .user = {},
                        .scope = directory::Scope::kOperator,
                        .name = "hub",
                        .remote = "",
                        .request_id = ""};
  Timestamp now_ = from_millis(1'790'000'000'000);
  store::testing::TestDatabase database_{store::Engine::kSqlite};
  std::atomic<std::int64_t> rows_read_ = 0;
  std::mutex mutex_;
  std::map<std::string, int> statements_;  // by name, how often; guarded by mutex_
  directory::testing::ObservedDatabase observed_{
      *database_,
      {.statement =
           [this](const store::Statement& statement, auto) {
             const std::lock_guard lock(mutex_);
             ++statements_[std::string(statement.name)];
           },
       .row = [this] { ++rows_read_; },
       .write = [](store::Urgency) {}}};
  std::unique_ptr<directory::Directory> directory_;
  std::unique_ptr<ScimService> service_;
  directory::OrgN acme_ = 0;
  directory::OrgN other_ = 0;
  int tokens_ = 0;
  std::string okta_, entra_, reader_, admin_, operator_, foreign_;
  std::string route_;
};

}  // namespace roster::provider
