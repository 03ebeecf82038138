#include "clusters/gateway.h"

#include <gmock/gmock.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "directory/testing/fixture.h"
#include "http/client.h"
#include "http/respond.h"
#include "http/testing/running_server.h"

namespace roster::clusters {
namespace {

using directory::Scope;
using directory::testing::must;
using directory::testing::World;
using ::testing::HasSubstr;

struct Said {
  const char* what;
  int status;
  const char* type;
  const char* body;
  int honest;
};

constexpr const char* kJson = "application/json";

const Said kSaid[] = {
    {"good", 200, kJson, R"({"jobs":[],"errors":[]})", 200},
    {"a ping whose token was refused", 200, kJson, R"({"pings":[{"pinged":"DOWN"}],"errors":[]})",
     503},
    {"a ping", 200, kJson, R"({"pings":[{"pinged":"UP"}],"errors":[]})", 200},
    {"200 with errors", 200, kJson, R"({"errors":[{"error_number":9003,"error":"Nothing found"}]})",
     404},
    {"our token was refused", 511, kJson, R"({"errors":[{"error_number":1007}]})", 502},
    {"by slurmrestd itself", 401, "text/plain", "Authentication failure", 502},
    {"not allowed", 500, kJson, R"({"errors":[{"error_number":2002}]})", 403},
    {"jobs are active", 500, kJson, R"({"errors":[{"error_number":7001}]})", 409},
    {"slurmdbd is down", 502, kJson, R"({"errors":[{"error_number":7000}]})", 503},
    {"22.05 does not say why", 500, kJson, R"({"errors":[{"error_number":-1}]})", 503},
    {"an error of its own kind stays", 500, kJson, R"({"errors":[{"error_number":2050}]})", 500},
    {"an unknown URL", 404, "text/plain", "Unable find requested URL.", 404},
    {"a wrong method", 405, "text/plain", "Requested REST method is not defined at URL.", 405},
    {"a body that is no JSON", 400, "text/plain", "Unable to parse query.", 400},
    {"a page of a proxy", 200, "text/html", "<html>", 502},
    {"nothing at all", 200, "", "", 502},
    {"JSON that is none", 200, kJson, "{", 502},
};

TEST(HonestStatusTest, TrapsOfSlurmrestd) {
  for (const Said& said : kSaid) {
    EXPECT_EQ(honest_status("GET", said.status, said.type, said.body), said.honest) << said.what;
  }
}

// POST of associations for an account that is not there is answered 304, too.
TEST(HonestStatusTest, NothingChangedIsNoSuccessOfAPost) {
  EXPECT_EQ(honest_status("POST", 304, "", ""), 409);
  EXPECT_EQ(honest_status("DELETE", 304, "", ""), 204);
  EXPECT_EQ(honest_status("GET", 304, "", ""), 304);
}

/// A hub with the gateway alone, before a slurmrestd that tells what it was asked.
class GatewayTest : public ::testing::Test {
 protected:
  GatewayTest()
      : world_(store::Engine::kSqlite),
        tokens_(*world_.directory, world_.clock.clock()),
        restd_([this](const http::Request& request, http::Context&) { return answer(request); },
               many_workers()),
        gateway_(*world_.directory, tokens_),
        hub_([this](const http::Request& request, http::Context& context) {
          return gateway_.handle(request, context);
        }) {
    directory::ClusterSettings settings;
    settings.endpoint = restd_.url();
    const auto hpc =
        must(world_.directory->add_cluster(world_.operator_, world_.acme, "hpc", settings));
    must(tokens_.create_key(world_.operator_, hpc));
    ada_ = world_.add_user("ada");
    bob_ = world_.add_user("bob");
  }

  static http::ServerOptions many_workers() {
    http::ServerOptions options;
    options.listen = {"127.0.0.1:0"};
    options.workers = 12;
    return options;
  }
  static std::string percent_spaces(std::string_view text) {
    std::string out;
    for (const char c : text) c == ' ' ? out.append("%20") : out.append(1, c);
    return out;
  }

  http::Response answer(const http::Request& request) {
    std::unique_lock lock(mutex_);
    asked_ = request;
    ++waiting_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return !hold_; });
    return http::json_response(200, json::object{{"errors", json::array{}}});
  }
  std::optional<http::Request> asked() {
    const std::lock_guard lock(mutex_);
    return std::exchange(asked_, std::nullopt);
  }

  std::string token(const char* name, Scope scope, const directory::User* user = nullptr) {
    directory::Directory::TokenRequest wanted;
    wanted.name = name;
    wanted.scope = scope;
    if (scope != Scope::kOperator) wanted.org = world_.acme;
    if (user != nullptr) wanted.user = user->n;
    if (scope == Scope::kScim) wanted.client = "okta";
    return must(world_.directory->create_token(world_.operator_, wanted)).secret.expose();
  }

  http::ClientResponse call(http::Headers headers, const char* method = "GET",
                            const char* target = "/slurm/hpc/slurm/v0.0.42/jobs") {
    http::ClientOptions options;
    options.url = hub_.url();
    auto client = must(http::Client::create(std::move(options)));
    return must(client->call({.method = method, .target = target, .headers = std::move(headers)}));
  }
  static http::Headers bearer(const std::string& token) {
    http::Headers headers;
    headers.set("Authorization", "Bearer " + token);
    return headers;
  }
  void edit(const std::function<void(directory::ClusterSettings&)>& change) {
    must(world_.directory->update_cluster(world_.operator_, world_.acme, "hpc",
                                          [&change](directory::ClusterSettings settings) {
                                            change(settings);
                                            return Result<directory::ClusterSettings>(settings);
                                          }));
  }

  World world_;
  Tokens tokens_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::atomic<bool> hold_ = false;
  int waiting_ = 0;                     // guarded by mutex_
  std::optional<http::Request> asked_;  // guarded by mutex_
  http::testing::RunningServer restd_;
  Gateway gateway_;
  http::testing::RunningServer hub_;
  directory::User ada_, bob_;
};

TEST_F(GatewayTest, APersonIsThemselves) {
  const std::string ada = token("ada", Scope::kUser, &ada_);
  http::Headers slurm;
  slurm.set("X-SLURM-USER-TOKEN", ada);
  http::Headers named = bearer(ada);
  named.set("X-SLURM-USER-NAME", "ada");
  for (const http::Headers& headers : {bearer(ada), slurm, named}) {
    EXPECT_EQ(call(headers, "GET", "/slurm/hpc/slurm/v0.0.42/jobs?update_time=1").status, 200);
    const auto request = asked();
    ASSERT_TRUE(request);
    EXPECT_EQ(request->path, "/slurm/v0.0.42/jobs");
    EXPECT_EQ(request->query, "update_time=1");
    EXPECT_EQ(request->headers.get("X-SLURM-USER-NAME"), "ada");
    EXPECT_TRUE(request->headers.get("X-SLURM-USER-TOKEN").starts_with("ey"));
    EXPECT_FALSE(request->headers.has("Authorization")) << "Roster's tokens stay at Roster";
  }
}

// Everything that a person might try to be somebody else, or to reach something else.
TEST_F(GatewayTest, NobodyIsSomebodyElse) {
  const std::string ada = token("ada", Scope::kUser, &ada_);
  const std::string bob = token("bob", Scope::kUser, &bob_);
  const auto with = [](http::Headers headers, std::string_view name, std::string_view value) {
    headers.add(name, value);
    return headers;
  };
  const std::string forged = "eyJhbGciOiJub25lIn0.eyJzdW4iOiJyb290In0.";
  const struct {
    const char* what;
    http::Headers headers;
    const char* target;
    int status;
  } kCases[] = {
      {"another name", with(bearer(ada), "X-SLURM-USER-NAME", "bob"), "/jobs", 403},
      {"root", with(bearer(ada), "X-SLURM-USER-NAME", "root"), "/jobs", 403},
      {"another spelling", with(bearer(ada), "X-SLURM-USER-NAME", "ADA"), "/jobs", 403},
      {"two tokens", with(bearer(ada), "X-SLURM-USER-TOKEN", bob), "/jobs", 401},
      {"a token of Slurm's own kind", with({}, "X-SLURM-USER-TOKEN", forged), "/jobs", 401},
      {"the same as bearer", bearer(forged), "/jobs", 401},
      {"nothing", {}, "/jobs", 401},
      {"only a name", with({}, "X-SLURM-USER-NAME", "root"), "/jobs", 401},
      {"a provisioning token", bearer(token("o", Scope::kScim)), "/jobs", 403},
      {"an operator's", bearer(token("op", Scope::kOperator)), "/jobs", 403},
      {"a reader without read_user", bearer(token("r", Scope::kRead)), "/jobs", 403},
      {"out of the path", bearer(ada), "/../../../metrics", 400},
      {"out of it, encoded", bearer(ada), "/%2e%2e/x", 400},
      {"a slash inside of a segment", bearer(ada), "/job/a%2Fb", 200},
  };
  for (const auto& c : kCases) {
    const std::string target = "/slurm/hpc/slurm/v0.0.42" + std::string(c.target);
    const auto response = call(c.headers, "GET", target.c_str());
    EXPECT_EQ(response.status, c.status) << c.what << ": " << response.body;
    const auto request = asked();
    EXPECT_EQ(request.has_value(), c.status == 200) << c.what;
    if (request) EXPECT_EQ(request->path, "/slurm/v0.0.42/job/a%2Fb");
  }
}

TEST_F(GatewayTest, OnlyOurOwnHeadersGoAlong) {
  const std::string ada = token("ada", Scope::kUser, &ada_);
  http::Headers headers = bearer(ada);
  headers.add("X-Forwarded-User", "root");
  headers.add("Cookie", "a=b");
  headers.add("Content-Type", "application/json");
  headers.add("Accept", "application/x-yaml");
  EXPECT_EQ(call(headers).status, 200);
  const auto request = asked();
  ASSERT_TRUE(request);
  EXPECT_FALSE(request->headers.has("X-Forwarded-User"));
  EXPECT_FALSE(request->headers.has("Cookie"));
  EXPECT_EQ(request->headers.get("Accept"), "application/json") << "the form that is judged";
  headers.add("X-SLURM-USER-NAME", "ada");
  headers.add("X-SLURM-USER-NAME", "root");
  EXPECT_EQ(call(headers).status, 403) << "a second name is looked at, too";
}

// slurmrestd 22.05 takes a piece of a request line that arrives by itself for a new path.
TEST_F(GatewayTest, NothingThatCouldBecomeAnotherPathOnTheWay) {
  const http::Headers ada = bearer(token("ada", Scope::kUser, &ada_));
  const std::string longest = "/slurm/hpc/slurm/v0.0.38/job/" + std::string(381, 'a');
  EXPECT_EQ(call(ada, "DELETE", longest.c_str()).status, 200);
  EXPECT_EQ(call(ada, "DELETE", (longest + "a").c_str()).status, 400);
  const std::string spaces = "/slurm/hpc/slurm/v0.0.38/job/" + std::string(360, ' ');
  EXPECT_EQ(call(ada, "DELETE", percent_spaces(spaces).c_str()).status, 400) << "as it is sent";
  (void)asked();
  EXPECT_EQ(call(ada, "GET", "/slurm/hpc/slurm/v0.0.38/jobs?x=/slurmdb/v0.0.38/users").status, 200);
  EXPECT_EQ(asked()->query, "x=%2Fslurmdb%2Fv0.0.38%2Fusers");
}

TEST_F(GatewayTest, TheHubsOwnFaultsAreNotTheCallers) {
  edit([](directory::ClusterSettings& s) {
    s.signing = directory::TokenSigning::kHs256;
    s.key_file = "/nonexistent/secret-place.key";
  });
  const auto response = call(bearer(token("ada", Scope::kUser, &ada_)));
  EXPECT_EQ(response.status, 503);
  EXPECT_EQ(response.body.find("secret-place"), response.body.npos);
}

TEST_F(GatewayTest, OnePersonCannotTakeAllPlaces) {
  hold_ = true;
  const std::string ada = token("ada", Scope::kUser, &ada_);
  std::vector<std::jthread> callers;
  std::atomic<int> done = 0;
  for (int i = 0; i < 8; ++i) {
    callers.emplace_back([&] { done += call(bearer(ada)).status == 200 ? 1 : 0; });
  }
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return waiting_ == 8; });
  }
  EXPECT_EQ(call(bearer(ada)).status, 429);
  hold_ = false;
  changed_.notify_all();
  callers.clear();
  EXPECT_EQ(done, 8);
  EXPECT_EQ(call(bearer(ada)).status, 200) << "places are given back";
}

TEST_F(GatewayTest, AHeadIsAskedForAsAGet) {
  const auto response = call(bearer(token("ada", Scope::kUser, &ada_)), "HEAD");
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.body, "");
  EXPECT_EQ(asked()->method, "GET");
}

TEST_F(GatewayTest, PolicyDecidesWhatMayBeAsked) {
  const std::string ada = token("ada", Scope::kUser, &ada_);
  EXPECT_EQ(call(bearer(ada), "POST", "/slurm/hpc/slurmdb/v0.0.38/users").status, 403);
  EXPECT_EQ(call(bearer(ada), "GET", "/slurm/hpc/slurm/v0.0.42/reconfigure").status, 403);
  EXPECT_EQ(call(bearer(ada), "GET", "/slurm/other/slurm/v0.0.42/jobs").status, 404);
  EXPECT_EQ(call(bearer(ada), "GET", "/slurm/hpc").status, 404);
  EXPECT_FALSE(asked());
  edit([](directory::ClusterSettings& s) { s.user_access = {"GET /slurm/*/ping"}; });
  EXPECT_EQ(call(bearer(ada)).status, 403);
  EXPECT_EQ(call(bearer(ada), "GET", "/slurm/hpc/slurm/v0.0.42/ping").status, 200);
}

TEST_F(GatewayTest, ReadersLookAsTheirPerson) {
  edit([](directory::ClusterSettings& s) { s.read_user = "bob"; });
  const std::string reader = token("r", Scope::kRead);
  EXPECT_EQ(call(bearer(reader)).status, 200);
  EXPECT_EQ(asked()->headers.get("X-SLURM-USER-NAME"), "bob");
  EXPECT_EQ(call(bearer(reader), "POST", "/slurm/hpc/slurm/v0.0.42/job/submit").status, 403);
  edit([](directory::ClusterSettings& s) { s.read_user = "root"; });
  EXPECT_EQ(call(bearer(reader)).status, 403) << "root is nobody of the directory";
}

TEST_F(GatewayTest, WhoLeftIsRefusedAtOnce) {
  const std::string ada = token("ada", Scope::kUser, &ada_);
  EXPECT_EQ(call(bearer(ada)).status, 200);
  must(world_.directory->set_user_active(world_.okta, world_.acme, ada_.id, false));
  (void)asked();
  EXPECT_EQ(call(bearer(ada)).status, 401);
  EXPECT_FALSE(asked());
}

TEST_F(GatewayTest, WritesLeaveARow) {
  const std::string ada = token("ada", Scope::kUser, &ada_);
  EXPECT_EQ(call(bearer(ada), "POST", "/slurm/hpc/slurm/v0.0.42/job/submit?x=y").status, 200);
  const auto row = must(world_.directory->list_audit(world_.acme, Seq{}, 1000)).back();
  EXPECT_EQ(row.action, "cluster.request");
  EXPECT_EQ(row.actor, "token:ada");
  EXPECT_THAT(row.diff, HasSubstr("POST /slurm/v0.0.42/job/submit?x=y"));
}

TEST_F(GatewayTest, AnswersOfItsOwnHaveTheFormOfSlurmrestds) {
  const auto response = call({});
  const json::object body = json::parse(response.body).value().as_object();
  EXPECT_EQ(json::find_string(json::find_array(body, "errors")->at(0).as_object(), "source"),
            "roster");
  edit([](directory::ClusterSettings& s) { s.endpoint = "http://127.0.0.1:1"; });
  const auto gone = call(bearer(token("ada", Scope::kUser, &ada_)));
  EXPECT_EQ(gone.status, 502);
  EXPECT_THAT(gone.body, HasSubstr("slurmrestd of cluster hpc"));
}

}  // namespace
}  // namespace roster::clusters
