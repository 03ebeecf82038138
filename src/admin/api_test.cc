#include "admin/api.h"

#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>

#include "base/encoding.h"
#include "store/testing/engines.h"

namespace roster::admin {
namespace {

constexpr const char* kKey =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJkRyIjPyoq7nKHnuZe9ZKzuWD2RtPvxd6pgfeiQzQpC alice@laptop";

struct Answered {
  int status;
  json::object body;
};

/// A hub's admin API over a real directory on SQLite, called without a socket.
class ApiTest : public ::testing::Test {
 protected:
  ApiTest() : database_(store::Engine::kSqlite) {
    auto opened = directory::Directory::open(*database_);
    CHECK(opened);
    directory_ = std::move(*opened);
    acme_ = directory_->create_org(hub_, "acme")->n;
    other_ = directory_->create_org(hub_, "other")->n;
    operator_ = mint("ops", directory::Scope::kOperator, std::nullopt);
    admin_ = mint("admin", directory::Scope::kAdmin, acme_);
    api_ = std::make_unique<Api>(*directory_, tokens_.emplace(*directory_, system_now),
                                 ApiOptions{.ca_sha256 = std::string(64, 'a'), .version = "test"});
    api_->add_routes(router_);
  }

  std::string mint(const char* name, directory::Scope scope, std::optional<directory::OrgN> org) {
    directory::Directory::TokenRequest wanted;
    wanted.name = name;
    wanted.scope = scope;
    wanted.org = org;
    auto minted = directory_->create_token(hub_, wanted);
    CHECK(minted);
    return minted->secret.expose();
  }

  Answered call(const std::string& token, const char* method, const std::string& path,
                const std::string& body = "") {
    http::Request request;
    request.method = method;
    const std::size_t question = path.find('?');
    request.path = "/api/v1" + path.substr(0, question);
    if (question != std::string::npos) request.query = path.substr(question + 1);
    if (!token.empty()) request.headers.set("Authorization", "Bearer " + token);
    request.body = body;
    http::Context context;
    context.remote = "127.0.0.1:1";
    const http::Response response = router_(request, context);
    const std::string* text = std::get_if<std::string>(&response.body);
    if (text == nullptr || text->empty()) return {response.status, {}};
    auto parsed = json::parse(*text, {.bytes_max = 1 << 22});
    return {response.status, parsed && parsed->is_object() ? parsed->get_object() : json::object{}};
  }

  static directory::Actor the_hub() {
    directory::Actor actor;
    actor.scope = directory::Scope::kOperator;
    actor.name = "hub";
    return actor;
  }

  const directory::Actor hub_ = the_hub();
  store::testing::TestDatabase database_;
  std::unique_ptr<directory::Directory> directory_;
  std::optional<clusters::Tokens> tokens_;
  directory::OrgN acme_ = 0;
  directory::OrgN other_ = 0;
  std::string operator_;
  std::string admin_;
  std::unique_ptr<Api> api_;
  http::Router router_;
};

TEST_F(ApiTest, OnlyAdministratorsAndOnlyTheirOrganization) {
  directory::Client client = *directory_->create_client(hub_, acme_, "okta");
  directory::Directory::TokenRequest wanted;
  wanted.name = "okta";
  wanted.scope = directory::Scope::kScim;
  wanted.org = acme_;
  wanted.client = client.name;
  const std::string scim = directory_->create_token(hub_, wanted)->secret.expose();
  const struct {
    const std::string& token;
    const char* path;
    int status;
  } kCases[] = {
      {"", "/orgs", 401},
      {"rst_nonsense", "/orgs", 401},
      {scim, "/orgs/acme/users", 403},
      {admin_, "/orgs/acme/users", 200},
      {admin_, "/orgs/other/users", 404},
      {admin_, "/orgs/none/users", 404},
      {operator_, "/orgs/other/users", 200},
      {admin_, "/orgs/acme/tokens?operator=true", 403},
  };
  for (const auto& c : kCases) {
    EXPECT_EQ(call(c.token, "GET", c.path).status, c.status) << c.path;
  }
  EXPECT_EQ(call(admin_, "POST", "/orgs", R"({"org":"mine"})").status, 403);
  EXPECT_EQ(call(admin_, "POST", "/orgs/acme/tokens", R"({"name":"x","scope":"operator"})").status,
            403);
  // Names of other tenants do not leak: both answers read alike.
  EXPECT_EQ(call(admin_, "GET", "/orgs/other").body.at("title"),
            call(admin_, "GET", "/orgs/none").body.at("title"));
  EXPECT_EQ(call(admin_, "GET", "/orgs").body.at("orgs").get_array().size(), 1U);
}

TEST_F(ApiTest, APersonByHandFromCreationToLeaving) {
  Answered made = call(admin_, "POST", "/orgs/acme/users",
                       R"({"userName":"Alice@example.org","displayName":"Alice E"})");
  ASSERT_EQ(made.status, 201) << json::serialize(made.body);
  EXPECT_EQ(made.body.at("login"), "alice");
  const auto uid = made.body.at("uid").get_int64();
  EXPECT_EQ(call(admin_, "POST", "/orgs/acme/users", R"({"userName":"alice@EXAMPLE.org"})").status,
            409);
  Answered keyed = call(admin_, "POST", "/orgs/acme/users/alice/keys",
                        std::string(R"({"keys":[")") + kKey + "\"]}");
  ASSERT_EQ(keyed.status, 200) << json::serialize(keyed.body);
  const json::object& key = keyed.body.at("keys").at(0).get_object();
  EXPECT_EQ(key.at("name"), "alice@laptop");
  Answered group =
      call(admin_, "POST", "/orgs/acme/groups", R"({"displayName":"ML","members":["alice"]})");
  ASSERT_EQ(group.status, 201) << json::serialize(group.body);
  EXPECT_EQ(call(admin_, "GET", "/orgs/acme/users/alice").body.at("groups").get_array().size(), 1U);
  Answered renamed = call(admin_, "POST", "/orgs/acme/users/alice/rename", R"({"login":"alicia"})");
  EXPECT_EQ(renamed.status, 200);
  EXPECT_EQ(renamed.body.at("uid").get_int64(), uid);
  EXPECT_EQ(call(admin_, "POST", "/orgs/acme/users/alicia/deactivate").body.at("state"), "locked");
  EXPECT_EQ(call(admin_, "POST", "/orgs/acme/users/alicia/reactivate").body.at("state"), "active");
  const std::string fingerprint(json::view(key.at("fingerprint").get_string()));
  const std::string key_path = "/orgs/acme/users/alicia/keys/" + percent_encode(fingerprint);
  const Answered ending = call(admin_, "PATCH", key_path,
                               R"({"name":"old laptop","not_after":"2030-01-01T00:00:00Z"})");
  ASSERT_EQ(ending.status, 200) << json::serialize(ending.body);
  const json::object& edited = ending.body.at("keys").at(0).get_object();
  EXPECT_EQ(edited.at("name"), "old laptop");
  EXPECT_EQ(edited.at("not_after"), "2030-01-01T00:00:00.000Z");
  const Answered endless = call(admin_, "PATCH", key_path, R"({"not_after":""})");
  EXPECT_TRUE(endless.body.at("keys").at(0).at("not_after").is_null());
  EXPECT_EQ(endless.body.at("keys").at(0).at("name"), "old laptop");
  EXPECT_EQ(call(admin_, "PATCH", key_path, R"({"not_after":"soon"})").status, 400);
  EXPECT_EQ(call(admin_, "PATCH", "/orgs/acme/users/alicia/keys/SHA256:x", "{}").status, 404);
  EXPECT_EQ(call(admin_, "DELETE", key_path).status, 200);
  EXPECT_EQ(call(admin_, "GET", "/orgs/acme/audit/verify").status, 200);
  EXPECT_EQ(call(admin_, "DELETE", "/orgs/acme/audit/2/diff").status, 204);
  EXPECT_EQ(call(admin_, "DELETE", "/orgs/acme/audit/999/diff").status, 404);
  EXPECT_EQ(call(admin_, "DELETE", "/orgs/acme/audit/2x/diff").status, 400);
  EXPECT_EQ(call(admin_, "GET", "/orgs/acme/audit/verify").status, 200);
  for (const char* path :
       {"/orgs/acme/audit?operator=true", "/orgs/acme/audit/verify?operator=true"}) {
    EXPECT_EQ(call(admin_, "GET", path).status, 403) << path;
    EXPECT_EQ(call(operator_, "GET", path).status, 200) << path;
  }
}

TEST_F(ApiTest, BadBodiesNameTheMember) {
  const struct {
    const char* body;
    const char* detail;
  } kCases[] = {
      {"", "JSON"},
      {"[]", "object"},
      {"{}", "'userName' is missing"},
      {R"({"userName":1})", "'userName' must be string"},
      {R"({"userName":"x","uid":0})", "no 'uid'"},
      {R"({"userName":"x","keys":["ssh-rsa AAAA"]})", "keys[0]"},
      {R"({"userName":"x","keys":[1]})", "'keys' must be a list of strings"},
  };
  for (const auto& c : kCases) {
    const Answered answered = call(admin_, "POST", "/orgs/acme/users", c.body);
    EXPECT_EQ(answered.status, 400) << c.body;
    EXPECT_NE(json::view(answered.body.at("detail").get_string()).find(c.detail),
              std::string_view::npos)
        << answered.body.at("detail");
  }
}

TEST_F(ApiTest, TokensAreShownOnceAndDieAtOnce) {
  Answered made =
      call(admin_, "POST", "/orgs/acme/tokens", R"({"name":"second","scope":"admin","ttl":"1d"})");
  ASSERT_EQ(made.status, 201) << json::serialize(made.body);
  const std::string second(json::view(made.body.at("token").get_string()));
  EXPECT_EQ(call(second, "GET", "/whoami").body.at("org"), "acme");
  const std::string listed = json::serialize(call(admin_, "GET", "/orgs/acme/tokens").body);
  EXPECT_EQ(listed.find(second), std::string::npos);
  EXPECT_EQ(call(admin_, "DELETE", "/orgs/acme/tokens/second").status, 204);
  EXPECT_EQ(call(second, "GET", "/whoami").status, 401);
  EXPECT_EQ(call(admin_, "DELETE", "/orgs/acme/tokens/second").status, 404);
}

std::string detail(const Answered& answered) {
  return std::string(json::find_string(answered.body, "detail").value_or(""));
}

TEST_F(ApiTest, AViewFromDefinitionToRemoval) {
  ASSERT_EQ(call(admin_, "POST", "/orgs/acme/groups", R"({"displayName":"GPU Users"})").status,
            201);
  const std::string body =
      R"({"groups":["GPU users"],"attributes":["keys"],"home":"/home/{org}/{name}"})";
  Answered made = call(admin_, "PUT", "/orgs/acme/views/gpu", body);
  ASSERT_EQ(made.status, 201) << json::serialize(made.body);
  EXPECT_EQ(made.body.at("groups").at(0).at("name"), "gpuusers");
  EXPECT_EQ(made.body.at("attributes"), json::value(json::array{"keys"}));
  EXPECT_EQ(call(admin_, "PUT", "/orgs/acme/views/gpu", body).status, 200);
  EXPECT_EQ(call(admin_, "GET", "/orgs/acme/views/gpu").body, made.body);
  const Answered listed = call(admin_, "GET", "/orgs/acme/views");
  ASSERT_EQ(listed.body.at("views").get_array().size(), 4U);
  EXPECT_EQ(listed.body.at("views").at(0).at("name"), "default");
  EXPECT_EQ(listed.body.at("views").at(0).at("built_in"), true);
  EXPECT_EQ(listed.body.at("views").at(3), json::value(made.body));

  const std::string join = R"({"name":"j","scope":"join","view":")";
  EXPECT_EQ(call(admin_, "POST", "/orgs/acme/tokens", join + "gpu\"}").status, 201);
  const std::string other = R"({"name":"k","scope":"join","view":"cpu"})";
  const Answered no_view = call(admin_, "POST", "/orgs/acme/tokens", other);
  EXPECT_EQ(no_view.status, 400);
  EXPECT_NE(detail(no_view).find("default, login, compute, gpu"), std::string::npos)
      << detail(no_view);

  EXPECT_EQ(call(operator_, "GET", "/orgs/other/views/gpu").status, 404);
  EXPECT_EQ(call(admin_, "PUT", "/orgs/other/views/gpu", "{}").status, 404);
  EXPECT_EQ(call(admin_, "DELETE", "/orgs/acme/views/gpu").status, 204);
  EXPECT_EQ(call(admin_, "GET", "/orgs/acme/views/gpu").status, 404);
  EXPECT_EQ(call(admin_, "DELETE", "/orgs/acme/views/gpu").status, 404);
}

TEST_F(ApiTest, AViewThatCannotBeIsRefusedWithTheReason) {
  const struct {
    const char* view;
    const char* body;
    int status;
    const char* detail;
  } kCases[] = {
      {"login", "{}", 409, "built in"},
      {"A", "{}", 400, "a-z"},
      {"v", R"({"groups":[]})", 400, "leave it out for everybody"},
      {"v", R"({"groups":["none"]})", 400, "no group none"},
      {"v", R"({"groups":"none"})", 400, "list"},
      {"v", R"({"attributes":["uid"]})", 400, "'uid'"},
      {"v", R"({"home":"/home/all"})", 400, "home: "},
      {"v", R"({"shell":"/bin/evil"})", 400, "shell: "},
      {"v", R"({"scope":"x"})", 400, "no 'scope'"},
  };
  for (const auto& c : kCases) {
    const Answered answered =
        call(admin_, "PUT", std::string("/orgs/acme/views/") + c.view, c.body);
    EXPECT_EQ(answered.status, c.status) << c.body;
    EXPECT_NE(detail(answered).find(c.detail), std::string::npos) << detail(answered);
  }
  EXPECT_EQ(call(admin_, "DELETE", "/orgs/acme/views/compute").status, 409);
}

TEST_F(ApiTest, SettingsAreCheckedAndKept) {
  EXPECT_EQ(call(admin_, "PATCH", "/orgs/acme", R"({"leaver_policy":"hide"})").status, 200);
  EXPECT_EQ(call(admin_, "GET", "/orgs/acme").body.at("settings").at("leaver_policy"), "hide");
  EXPECT_EQ(call(admin_, "PATCH", "/orgs/acme", R"({"leaver_policy":"delete"})").status, 400);
  const Answered all = call(admin_, "PATCH", "/orgs/acme",
                            R"({"reserved_names":["ops"],"shells":["/bin/bash"],
               "scim_api":false,"automated_provisioning":false,"rebind_deleted":true})");
  ASSERT_EQ(all.status, 200) << detail(all);
  const json::object& settings = all.body.at("settings").as_object();
  EXPECT_EQ(json::serialize(settings.at("reserved_names")), R"(["ops"])");
  EXPECT_EQ(settings.at("scim_api"), false);
  EXPECT_EQ(settings.at("automated_provisioning"), false);
  EXPECT_EQ(settings.at("rebind_deleted"), true);
  EXPECT_EQ(settings.at("leaver_policy"), "hide") << "what is not named stays";
  const Answered made = call(admin_, "POST", "/orgs/acme/users", R"({"userName":"ops"})");
  EXPECT_EQ(made.body.at("login"), "ops2");
  EXPECT_EQ(call(admin_, "POST", "/orgs/acme/users/ops2/rename", R"({"login":"ops"})").status, 400);
  for (const char* wrong : {R"({"reserved_names":["Not A Name"]})", R"({"admitted_ids":["0-10"]})",
                            R"({"admitted_ids":["x"]})", R"({"scim_api":"off"})",
                            R"({"login_from":"title"})", R"({"group_prefix":"G"})",
                            R"({"primary_group":"nobody-knows"})", R"({"primary_group":"99"})"}) {
    EXPECT_EQ(call(admin_, "PATCH", "/orgs/acme", wrong).status, 400) << wrong;
  }
}

TEST_F(ApiTest, RulesForIdentities) {
  ASSERT_EQ(call(admin_, "POST", "/orgs/acme/groups", R"({"displayName":"People"})").status, 201);
  const Answered set =
      call(admin_, "PATCH", "/orgs/acme",
           R"({"primary_group":"People","login_from":"email","group_prefix":"g-"})");
  ASSERT_EQ(set.status, 200) << detail(set);
  const json::object& settings = set.body.at("settings").as_object();
  const std::string gid(json::view(settings.at("primary_group").as_string()));
  EXPECT_EQ(settings.at("login_from"), "email");
  EXPECT_EQ(settings.at("group_prefix"), "g-");
  Answered made =
      call(admin_, "POST", "/orgs/acme/users", R"({"userName":"007","email":"bond@example.org"})");
  EXPECT_EQ(made.body.at("login"), "bond");
  EXPECT_EQ(std::to_string(made.body.at("gid").as_int64()), gid);
  EXPECT_EQ(call(admin_, "POST", "/orgs/acme/groups", R"({"displayName":"Lab"})").body.at("name"),
            "g-lab");
  EXPECT_EQ(call(admin_, "PATCH", "/orgs/acme",
                 R"({"primary_group":"private","user_provisioning":false})")
                .status,
            200);
  EXPECT_EQ(call(admin_, "GET", "/orgs/acme").body.at("settings").at("primary_group"), "private");
  made = call(admin_, "POST", "/orgs/acme/users", R"({"userName":"q"})");
  EXPECT_EQ(made.status, 201);
  EXPECT_TRUE(made.body.at("login").is_null());
  EXPECT_TRUE(made.body.at("uid").is_null());
  const Answered renamed =
      call(admin_, "POST", "/orgs/acme/users/q/rename", R"({"login":"quartermaster"})");
  EXPECT_EQ(renamed.status, 409);
  EXPECT_NE(detail(renamed).find("user provisioning"), std::string::npos) << detail(renamed);
}

TEST_F(ApiTest, PeopleAndGroupsAreEditedAndDeletedByHand) {
  ASSERT_EQ(call(admin_, "POST", "/orgs/acme/users",
                 R"({"userName":"ada","displayName":"Ada","email":"ada@example.org"})")
                .status,
            201);
  const Answered set = call(admin_, "PATCH", "/orgs/acme/users/ada",
                            R"({"userName":"ada@example.org","displayName":"Ada Lovelace",
                                "email":"lovelace@example.org","home":"/home/al",
                                "shell":"/bin/sh"})");
  ASSERT_EQ(set.status, 200) << detail(set);
  EXPECT_EQ(set.body.at("login"), "ada") << "the login stays";
  EXPECT_EQ(set.body.at("userName"), "ada@example.org");
  EXPECT_EQ(set.body.at("displayName"), "Ada Lovelace");
  EXPECT_EQ(set.body.at("email"), "lovelace@example.org");
  EXPECT_EQ(call(admin_, "PATCH", "/orgs/acme/users/ada", R"({"home":"/etc"})").status, 400);
  EXPECT_EQ(call(admin_, "PATCH", "/orgs/acme/users/ada", R"({"shell":"/bin/evil"})").status, 400);
  EXPECT_EQ(call(admin_, "PATCH", "/orgs/acme/users/ada", R"({"userName":""})").status, 400);
  EXPECT_EQ(call(admin_, "PATCH", "/orgs/acme/users/ada", R"({"home":"","shell":""})").status, 200);
  EXPECT_EQ(call(admin_, "PATCH", "/orgs/acme/users/ada", R"({"email":"a\nb"})").status, 400);
  EXPECT_EQ(call(admin_, "PATCH", "/orgs/acme/users/ada", R"({"email":""})").body.at("email"), "");
  EXPECT_EQ(call(admin_, "PATCH", "/orgs/acme/users/nobody", R"({"email":"x@y"})").status, 404);

  ASSERT_EQ(call(admin_, "POST", "/orgs/acme/groups", R"({"displayName":"Lab","members":["ada"]})")
                .status,
            201);
  const Answered named =
      call(admin_, "PATCH", "/orgs/acme/groups/lab", R"({"displayName":"Laboratory"})");
  ASSERT_EQ(named.status, 200) << detail(named);
  EXPECT_EQ(named.body.at("name"), "lab");
  EXPECT_EQ(named.body.at("displayName"), "Laboratory");
  EXPECT_EQ(named.body.at("member_count"), 1);
  EXPECT_EQ(call(admin_, "DELETE", "/orgs/acme/groups/lab").status, 204);
  EXPECT_EQ(call(admin_, "GET", "/orgs/acme/groups/lab").status, 404);
  EXPECT_EQ(call(admin_, "DELETE", "/orgs/acme/users/ada").status, 204);
  EXPECT_EQ(call(admin_, "DELETE", "/orgs/acme/users/ada").status, 404);
  EXPECT_EQ(call(admin_, "POST", "/orgs/acme/users", R"({"userName":"ada"})").body.at("login"),
            "ada2");
}

TEST_F(ApiTest, OnlyOperatorsChooseIds) {
  EXPECT_EQ(call(admin_, "GET", "/orgs/acme/ids").body.at("blocks").as_array().size(), 1U);
  EXPECT_EQ(call(admin_, "POST", "/orgs/acme/ids", R"({"ids":"2000-2999"})").status, 403);
  EXPECT_EQ(call(operator_, "POST", "/orgs/acme/ids", R"({"ids":"2000-"})").status, 400);
  EXPECT_EQ(call(operator_, "POST", "/orgs/acme/ids", R"({"ids":"100-200"})").status, 400);
  EXPECT_EQ(call(operator_, "POST", "/orgs/acme/ids", R"({"ids":"2000-2999"})").status, 200);
  EXPECT_EQ(call(operator_, "POST", "/orgs/acme/ids", R"({"ids":"2500-3500"})").status, 409);
  EXPECT_EQ(call(admin_, "DELETE", "/orgs/acme/ids/2000-2999").status, 403);
  const Answered closed = call(operator_, "DELETE", "/orgs/acme/ids/10000-59999");
  ASSERT_EQ(closed.status, 200) << detail(closed);
  EXPECT_EQ(closed.body.at("blocks").as_array().back().at("ids"), "2000-2999");
  EXPECT_EQ(call(operator_, "DELETE", "/orgs/acme/ids/10000-59998").status, 404);
  const Answered made = call(operator_, "POST", "/orgs", R"({"org":"beta","ids":"3000-3999"})");
  EXPECT_EQ(made.status, 201) << detail(made);
  EXPECT_EQ(call(operator_, "POST", "/orgs", R"({"org":"gamma","ids":"3000-3999"})").status, 409);
}

// An import with another organization's ids, or those it gets one day, would be its people's files.
TEST_F(ApiTest, OnlyOperatorsAdmitIds) {
  const char* const admits = R"({"admitted_ids":["2000-2999"]})";
  const Answered refused = call(admin_, "PATCH", "/orgs/acme", admits);
  EXPECT_EQ(refused.status, 403);
  EXPECT_NE(detail(refused).find("operator's token"), std::string::npos) << detail(refused);
  const Answered set = call(operator_, "PATCH", "/orgs/acme", admits);
  ASSERT_EQ(set.status, 200) << detail(set);
  EXPECT_EQ(json::serialize(set.body.at("settings").at("admitted_ids")), R"(["2000-2999"])");
  // What stays as it is may be said again, with what is an administrator's to change.
  EXPECT_EQ(call(admin_, "PATCH", "/orgs/acme",
                 R"({"admitted_ids":["2000-2999"],"leaver_policy":"hide"})")
                .status,
            200);
  EXPECT_EQ(call(admin_, "PATCH", "/orgs/acme", R"({"admitted_ids":[]})").status, 403);
  const Answered slices =
      call(operator_, "PATCH", "/orgs/acme", R"({"admitted_ids":["1879000000-1879048192"]})");
  EXPECT_EQ(slices.status, 400);
  EXPECT_NE(detail(slices).find("1879048192-2147352575"), std::string::npos) << detail(slices);
}

// The page that programs are generated from must cover exactly what is served.
TEST_F(ApiTest, DescriptionCoversEveryOperationOnce) {
  const json::object page = call(admin_, "GET", "/openapi.json").body;
  std::size_t described = 0;
  std::set<std::string> ids;
  for (const auto& path : page.at("paths").get_object()) {
    for (const auto& operation : path.value().get_object()) {
      ++described;
      ids.emplace(json::view(operation.value().at("operationId").get_string()));
    }
  }
  EXPECT_EQ(described, Api::operations().size());
  EXPECT_EQ(ids.size(), described);
}

TEST_F(ApiTest, IdentitiesAreImportedAndListed) {
  ASSERT_EQ(call(operator_, "PATCH", "/orgs/acme", R"({"admitted_ids":["2000-2999"]})").status,
            200);
  const std::string list =
      R"({"people":[{"login":"dora","uid":2001,"gid":2500,"userName":"dora@example.org",
                     "home":"/home/dora","shell":"/bin/zsh","gecos":"Dora D."},
                    {"login":"emil","uid":2002}],
          "groups":[{"name":"lab","gid":2500,"displayName":"Lab"}])";
  const Answered dry = call(admin_, "POST", "/orgs/acme/import", list + R"(,"dry_run":true})");
  ASSERT_EQ(dry.status, 200);
  EXPECT_EQ(json::find_int(dry.body, "reserved"), 3);
  EXPECT_TRUE(json::find_array(dry.body, "clashes")->empty());
  EXPECT_EQ(json::find_int(call(admin_, "POST", "/orgs/acme/import", list + "}").body, "reserved"),
            3);
  EXPECT_EQ(json::find_int(call(admin_, "POST", "/orgs/acme/import", list + "}").body, "unchanged"),
            3);

  const Answered came =
      call(admin_, "POST", "/orgs/acme/users", R"({"userName":"dora@example.org"})");
  EXPECT_EQ(json::find_string(came.body, "login"), "dora");
  EXPECT_EQ(json::find_int(came.body, "uid"), 2001);
  ASSERT_EQ(call(admin_, "POST", "/orgs/acme/groups", R"({"displayName":"lab","members":["dora"]})")
                .status,
            201);

  const Answered clash =
      call(admin_, "POST", "/orgs/acme/import", R"({"people":[{"login":"eve","uid":2001}]})");
  ASSERT_EQ(clash.status, 200);
  const json::object& first = json::find_array(clash.body, "clashes")->at(0).as_object();
  EXPECT_EQ(json::find_string(*json::find_object(first, "entry"), "name"), "eve");
  EXPECT_EQ(json::find_string(*json::find_object(first, "owner"), "name"), "dora");
  EXPECT_EQ(json::find_string(*json::find_object(first, "owner"), "userName"), "dora@example.org");
  EXPECT_EQ(json::find_string(first, "what"), "id");

  std::string names;
  std::string after;
  for (int pages = 0; pages < 4; ++pages) {
    const Answered page = call(admin_, "GET", "/orgs/acme/identities?limit=1&members=true" + after);
    ASSERT_EQ(page.status, 200);
    const json::object& row = json::find_array(page.body, "identities")->at(0).as_object();
    names += std::string(*json::find_string(row, "name")) + ":" +
             std::string(*json::find_string(row, "state")) + " ";
    if (json::find_string(row, "name") == "lab") {
      EXPECT_EQ(json::serialize(row.at("members")), R"(["dora"])");
    }
    const auto next = json::find_string(page.body, "next");
    if (!next) break;
    after = "&after=" + std::string(*next);
  }
  EXPECT_EQ(names, "dora:active emil:reserved lab:active ");

  for (const char* wrong :
       {R"({"people":[{"login":"x"}]})", R"({"people":[{"login":"x","uid":"1"}]})",
        R"({"people":["x"]})", R"({"people":[{"login":"x","uid":1,"root":true}]})",
        R"({"gids":["1"]})", R"({"groups":{}})"}) {
    EXPECT_EQ(call(admin_, "POST", "/orgs/acme/import", wrong).status, 400) << wrong;
  }
  EXPECT_EQ(call(admin_, "DELETE", "/orgs/acme/identities/2002").status, 204);
  EXPECT_EQ(call(admin_, "DELETE", "/orgs/acme/identities/2002").status, 404);
  EXPECT_EQ(call(admin_, "DELETE", "/orgs/acme/identities/2001").status, 409);
  EXPECT_EQ(call(admin_, "DELETE", "/orgs/acme/identities/x").status, 400);
  EXPECT_EQ(call(admin_, "POST", "/orgs/other/import", "{}").status, 404);
  EXPECT_EQ(call(admin_, "GET", "/orgs/acme/identities?after=x").status, 400);
}

TEST_F(ApiTest, AClusterFromBeginningToEnd) {
  const Answered made = call(operator_, "POST", "/orgs/acme/clusters",
                             R"({"name":"hpc","endpoint":"unix:/nonexistent/restd.socket",
                                 "login_host":"__USER__.login"})");
  ASSERT_EQ(made.status, 201) << json::serialize(made.body);
  EXPECT_EQ(json::find_string(made.body, "signing"), "rs256");
  EXPECT_EQ(call(operator_, "POST", "/orgs/acme/clusters", R"({"name":"hpc"})").status, 409);
  EXPECT_EQ(call(admin_, "GET", "/orgs/acme/clusters").body.at("clusters").get_array().size(), 1U);
  const Answered jwks = call(admin_, "GET", "/orgs/acme/clusters/hpc/jwks");
  EXPECT_EQ(jwks.body.at("keys").get_array().size(), 1U) << "a cluster begins with a key";
  const Answered checked = call(admin_, "POST", "/orgs/acme/clusters/hpc/check", "{}");
  EXPECT_EQ(checked.status, 200) << "a check that fails is an answer";
  EXPECT_EQ(json::find_bool(checked.body, "good"), false);
  EXPECT_EQ(call(admin_, "PATCH", "/orgs/acme/clusters/hpc", R"({"login_port":2222})").status, 200);
  EXPECT_EQ(call(admin_, "PATCH", "/orgs/acme/clusters/hpc", R"({"login_port":"22"})").status, 400);
  EXPECT_EQ(call(admin_, "PATCH", "/orgs/acme/clusters/hpc", R"({"user_access":["GET"]})").status,
            400);
  EXPECT_EQ(
      call(operator_, "PATCH", "/orgs/acme/clusters/hpc", R"({"endpoint":"gopher:x"})").status,
      400);
  EXPECT_EQ(call(operator_, "GET", "/orgs/other/clusters/hpc").status, 404);
  EXPECT_EQ(call(admin_, "DELETE", "/orgs/acme/clusters/hpc").status, 204);
  EXPECT_EQ(call(admin_, "GET", "/orgs/acme/clusters/hpc").status, 404);
}

// An administrator of one organization is a guest on the hub's machine: sockets, files and hosts
// that the hub reaches are not theirs to choose, nor who the hub is in Slurm.
TEST_F(ApiTest, WhatReachesIntoTheHubsMachineIsTheOperators) {
  for (const char* field :
       {R"("endpoint":"unix:/run/docker.sock")", R"("key_file":"/etc/shadow")",
        R"("ca_file":"/etc/shadow")", R"("plain_http":true)", R"("signing":"hs256")",
        R"("slurm_name":"other")", R"("service_user":"root")"}) {
    const std::string body = R"({"name":"hpc",)" + std::string(field) + "}";
    EXPECT_EQ(call(admin_, "POST", "/orgs/acme/clusters", body).status, 403) << field;
  }
  ASSERT_EQ(call(admin_, "POST", "/orgs/acme/clusters", R"({"name":"hpc"})").status, 201);
  EXPECT_EQ(
      call(admin_, "PATCH", "/orgs/acme/clusters/hpc", R"({"endpoint":"http://169.254.169.254"})")
          .status,
      403);
  EXPECT_EQ(call(operator_, "PATCH", "/orgs/acme/clusters/hpc",
                 R"({"signing":"hs256","key_file":"/etc/hostname"})")
                .status,
            409)
      << "Slurm's key is root on the cluster: not without saying so";
}

TEST_F(ApiTest, PeopleTakeTokensForThemselvesAlone) {
  ASSERT_EQ(call(admin_, "POST", "/orgs/acme/clusters", R"({"name":"hpc","login_user":"__USER__"})")
                .status,
            201);
  for (const char* name : {"ada", "bob"}) {
    const std::string body = R"({"userName":")" + std::string(name) + "\"}";
    ASSERT_EQ(call(admin_, "POST", "/orgs/acme/users", body).status, 201);
  }
  const Answered minted =
      call(admin_, "POST", "/orgs/acme/tokens", R"({"name":"ada","scope":"user","user":"ada"})");
  const std::string ada(*json::find_string(minted.body, "token"));
  const std::string path = "/orgs/acme/clusters/hpc/tokens";
  const Answered own = call(ada, "POST", path, "{}");
  ASSERT_EQ(own.status, 201) << json::serialize(own.body);
  EXPECT_EQ(json::find_string(own.body, "user"), "ada");
  EXPECT_GT(json::find_int(own.body, "expires_in"), 1700);
  EXPECT_EQ(call(ada, "POST", path, R"({"user":"ada","ttl":"1m"})").status, 201);
  EXPECT_EQ(call(ada, "POST", path, R"({"user":"bob"})").status, 403);
  EXPECT_EQ(call(ada, "POST", path, R"({"ttl":"0s"})").status, 400);
  EXPECT_EQ(call(ada, "POST", "/orgs/other/clusters/hpc/tokens", "{}").status, 404);
  const json::object seen =
      call(ada, "GET", "/orgs/acme/clusters").body.at("clusters").get_array().at(0).as_object();
  EXPECT_EQ(json::find_string(seen, "login_user"), "ada");
  EXPECT_FALSE(seen.contains("endpoint"));
  for (const char* other : {"/orgs/acme/users", "/orgs/acme/clusters/hpc",
                            "/orgs/acme/clusters/hpc/keys", "/orgs/acme/clusters/hpc/rules"}) {
    EXPECT_EQ(call(ada, "GET", other).status, 403) << other;
  }
  EXPECT_EQ(call(admin_, "POST", path, "{}").status, 400) << "whose token?";
  EXPECT_EQ(call(admin_, "POST", path, R"({"user":"bob"})").status, 201);
  EXPECT_EQ(call(admin_, "POST", path, R"({"user":"nobody"})").status, 404);
}

TEST_F(ApiTest, RulesAreJudgedExplainedAndKept) {
  ASSERT_EQ(call(admin_, "POST", "/orgs/acme/clusters", R"({"name":"hpc"})").status, 201);
  ASSERT_EQ(call(admin_, "POST", "/orgs/acme/users", R"({"userName":"ada"})").status, 201);
  ASSERT_EQ(
      call(admin_, "POST", "/orgs/acme/groups", R"({"displayName":"physics","members":["ada"]})")
          .status,
      201);
  const std::string path = "/orgs/acme/clusters/hpc/rules";
  const std::string all = R"({"rules":"[accounts]\nfrom = \"all\"\n")";
  const Answered judged = call(admin_, "PUT", path, all + R"(,"dry_run":true})");
  EXPECT_EQ(json::find_int(judged.body, "accounts"), 1) << json::serialize(judged.body);
  EXPECT_EQ(json::find_int(judged.body, "people"), 1);
  EXPECT_EQ(json::find_string(call(admin_, "GET", path).body, "rules"), "");
  EXPECT_EQ(call(admin_, "PUT", path, all + "}").status, 200);
  EXPECT_EQ(json::find_string(call(admin_, "GET", path).body, "rules"),
            "[accounts]\nfrom = \"all\"\n");
  const Answered why = call(admin_, "GET", "/orgs/acme/clusters/hpc/explain/ada");
  ASSERT_EQ(why.status, 200);
  EXPECT_EQ(json::find_string(why.body.at("accounts").get_array().at(0).as_object(), "account"),
            "physics");
  EXPECT_FALSE(why.body.at("reasons").get_array().empty());
  EXPECT_EQ(call(admin_, "GET", "/orgs/acme/clusters/hpc/explain/nobody").status, 404);
  const Answered wrong = call(admin_, "PUT", path, R"({"rules":"[acounts]\n","file":"r.toml"})");
  EXPECT_EQ(wrong.status, 400);
  EXPECT_NE(json::find_string(wrong.body, "detail")->find("r.toml"), std::string_view::npos);
  const std::string roles = R"({"rules":"[admins]\noperators = [\"ada\"]\n"})";
  EXPECT_EQ(call(admin_, "PUT", path, roles).status, 403);
  EXPECT_EQ(call(operator_, "PUT", path, roles).status, 200);
  EXPECT_EQ(call(admin_, "PUT", path, roles).status, 200) << "what is there already stays";
}

}  // namespace
}  // namespace roster::admin
