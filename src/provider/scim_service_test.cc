#include "provider/scim_service.h"

#include "base/encoding.h"
#include "provider/testing.h"

namespace roster::provider {
namespace {

class Service : public ScimTest {};

TEST(IsOnePersons, SaysSoOfWhatAnIndexFinds) {
  const auto says = [](const char* method, const char* path, const char* query = "") {
    return is_one_persons(
        {.method = method, .path = path, .query = query, .headers = {}, .body = {}});
  };
  EXPECT_TRUE(says("GET", "/scim/v2/acme/Users/1", "attributes=userName"));
  EXPECT_TRUE(says("GET", "/api/organizations/acme/scim/v2/Users",
                   "filter=username%20EQ%20%22ada%22&count=1"));
  EXPECT_TRUE(says("GET", "/scim/v2/acme/Users", "filter=externalId+eq+%22x%22"));
  EXPECT_TRUE(says("GET", "/scim/v2/acme/Users", "filter=id+eq+%22x%22"));

  EXPECT_FALSE(says("PATCH", "/scim/v2/acme/Users/1"));
  EXPECT_FALSE(says("GET", "/scim/v2/acme/Groups/1")) << "members";
  EXPECT_FALSE(says("GET", "/scim/v2/acme/Users"));
  EXPECT_FALSE(says("GET", "/scim/v2/acme/Users", "filter=title+eq+%22x%22")) << "no index";
  EXPECT_FALSE(says("GET", "/scim/v2/acme/Users", "filter=userName+sw+%22x%22")) << "many";
  EXPECT_FALSE(says("GET", "/scim/v2/acme/Users", "filter=userName+eq+%22x%22+or+active+pr"));
  EXPECT_FALSE(
      says("GET", "/scim/v2/acme/Users", "filter=userName+eq+%22x%22+or+title+eq+%22y%22"));
  EXPECT_FALSE(says("GET", "/scim/v2/acme/Users", "filter=userName+eq+%22x%22&groups=big"));
  EXPECT_FALSE(says("GET", "/scim/v2/acme/Users", "filter=userName+eq+%22"));
  EXPECT_FALSE(says("GET", "/scim/v2/acme/Users", "filter=%22"));
  EXPECT_FALSE(says("GET", "/nodes/feed", "filter=userName+eq+%22x%22"));
}

TEST_F(Service, UserLivesFromPostToDelete) {
  const Answer created = post("/Users", R"({"userName":"Ada.Lovelace@example.org",
      "externalId":"e-1","name":{"givenName":"Ada"},"password":"never-kept","groups":[]})");
  ASSERT_EQ(created.status, 201) << json::serialize(created.body);
  const std::string id = created.id();
  EXPECT_EQ(created.headers.get("Location"),
            "https://hub.example/api/organizations/acme/scim/v2/Users/" + id);
  EXPECT_EQ(created.body.at("meta").at("location").as_string(), created.headers.get("Location"));
  EXPECT_EQ(created.headers.get("ETag"), "W/\"1\"");
  EXPECT_EQ(created.body.at("active"), true);
  EXPECT_EQ(created.text("externalId"), "e-1");
  EXPECT_EQ(created.text("userName"), "Ada.Lovelace@example.org");
  EXPECT_EQ(json::serialize(created.body).find("never-kept"), std::string::npos);
  const json::object& posix = created.extension(COREWEAVE);
  EXPECT_EQ(json::find_int(posix, "sunkPosixUserId"), 10000);
  EXPECT_EQ(json::find_int(posix, "sunkPosixGroupId"), 10000);
  EXPECT_EQ(route_, "/api/organizations/{org}/scim/v2/Users");

  EXPECT_EQ(json::value(get("/Users/" + id).body), json::value(created.body));
  EXPECT_EQ(route_, "/api/organizations/{org}/scim/v2/Users/{id}");
  EXPECT_EQ(get("/scim/v2/acme/Users/" + id).body, created.body);

  const Answer replaced = send(okta_, "PUT", "/Users/" + id,
                               R"({"userName":"ada","externalId":"e-1","title":"Countess"})");
  EXPECT_EQ(replaced.status, 200);
  EXPECT_EQ(replaced.text("title"), "Countess");
  EXPECT_FALSE(replaced.body.contains("name"));
  EXPECT_EQ(replaced.extension(COREWEAVE), posix) << "the login is allocated once";

  const Answer patched =
      patch("/Users/" + id, R"([{"op":"replace","path":"active","value":false}])");
  EXPECT_EQ(patched.status, 200);
  EXPECT_EQ(patched.body.at("active"), false);
  EXPECT_EQ(patched.headers.get("ETag"), "W/\"3\"");

  EXPECT_EQ(send(okta_, "DELETE", "/Users/" + id).status, 204);
  expect_error(get("/Users/" + id), 404, "");
  expect_error(send(okta_, "DELETE", "/Users/" + id), 404, "");
  expect_error(patch("/Users/" + id, R"([{"op":"replace","path":"title","value":"x"}])"), 404, "");
  EXPECT_EQ(get("/Users").total(), 0);
  const Answer again = post("/Users", R"({"userName":"ada"})");
  EXPECT_NE(again.id(), id);
  EXPECT_NE(json::find_int(again.extension(COREWEAVE), "sunkPosixUserId"), 10000);
}

TEST_F(Service, GroupLivesFromPostToDelete) {
  const std::string ada = make_user("ada");
  const std::string grace = make_user("grace");
  const Answer created =
      post("/Groups", R"({"displayName":"ML Research","externalId":"g-1","members":[{"value":")" +
                          ada + "\"}]}");
  ASSERT_EQ(created.status, 201) << json::serialize(created.body);
  const std::string id = created.id();
  const json::object& member = created.body.at("members").at(0).as_object();
  EXPECT_EQ(json::find_string(member, "value"), ada);
  EXPECT_EQ(json::find_string(member, "display"), "ada");
  EXPECT_EQ(json::find_string(member, "type"), "User");
  EXPECT_EQ(json::find_string(member, "$ref"),
            "https://hub.example/api/organizations/acme/scim/v2/Users/" + ada);
  EXPECT_FALSE(created.body.contains("sunkPosixGroupId")) << "flat attributes are for readers";

  const Answer patched = patch(
      "/Groups/" + id, R"([{"op":"add","path":"members","value":[{"value":")" + grace + "\"}]}]");
  EXPECT_EQ(patched.status, 204);
  EXPECT_TRUE(patched.body.empty());
  EXPECT_EQ(members(id), "ada grace");
  const Answer with_body =
      send(okta_, "PATCH", "/Groups/" + id + "?attributes=displayName",
           R"({"Operations":[{"op":"replace","path":"displayName","value":"ML"}]})");
  EXPECT_EQ(with_body.status, 200);
  EXPECT_EQ(with_body.text("displayName"), "ML");
  EXPECT_FALSE(with_body.body.contains("members"));

  // groups is derived, and does not change the user's version.
  const Answer user = get("/Users/" + grace);
  EXPECT_EQ(user.body.at("groups").at(0).at("value").as_string(), id);
  EXPECT_EQ(user.body.at("groups").at(0).at("display").as_string(), "ML");
  EXPECT_EQ(user.headers.get("ETag"), "W/\"1\"");

  const Answer replaced = send(okta_, "PUT", "/Groups/" + id,
                               R"({"displayName":"ML","members":[{"value":")" + grace + "\"}]}");
  EXPECT_EQ(replaced.status, 200);
  EXPECT_EQ(members(id), "grace");
  // A body that says nothing about members leaves them alone.
  EXPECT_EQ(send(okta_, "PUT", "/Groups/" + id, R"({"displayName":"ML 2"})").status, 200);
  EXPECT_EQ(members(id), "grace");
  EXPECT_EQ(send(okta_, "PUT", "/Groups/" + id, R"({"displayName":"ML 2","members":[]})").status,
            200);
  EXPECT_EQ(members(id), "");

  EXPECT_EQ(send(okta_, "DELETE", "/Groups/" + id).status, 204);
  expect_error(get("/Groups/" + id), 404, "");
}

TEST_F(Service, DeletedUserLeavesItsGroups) {
  const std::string ada = make_user("ada");
  const std::string group = make_group("g", R"([{"value":")" + ada + "\"}]");
  EXPECT_EQ(members(group), "ada");
  EXPECT_EQ(send(okta_, "DELETE", "/Users/" + ada).status, 204);
  EXPECT_EQ(members(group), "");
}

TEST_F(Service, UniquenessIsWithoutCase) {
  make_user("Ada");
  expect_error(post("/Users", R"({"userName":"ADA"})"), 409, "uniqueness", "userName");
  const std::string grace = make_user("grace");
  expect_error(patch("/Users/" + grace, R"([{"op":"replace","path":"userName","value":"ada"}])"),
               409, "uniqueness");
  make_group("Engineers");
  expect_error(post("/Groups", R"({"displayName":"ENGINEERS"})"), 409, "uniqueness");
}

TEST_F(Service, VersionsGuardWrites) {
  const std::string id = make_user("ada");
  const std::string body = R"({"userName":"ada","title":"x"})";
  const auto put = [&](const std::string& tag) {
    return send(okta_, "PUT", "/Users/" + id, body, {{"If-Match", tag}});
  };
  expect_error(put("W/\"2\""), 412, "");
  expect_error(put("\"abc\""), 412, "");
  expect_error(put("nonsense"), 412, "");
  expect_error(put("W/\"2\",\"1, not\""), 412, "");
  EXPECT_EQ(put("\"other, tag\" , W/\"1\"").status, 200);
  for (const char* none : {"*", "W/\"2\"", "\"1\", \"2\""}) {
    expect_error(send(okta_, "PUT", "/Users/" + id, body, {{"If-None-Match", none}}), 412, "");
  }
  EXPECT_EQ(send(okta_, "PUT", "/Users/" + id, body, {{"If-None-Match", "\"1\""}}).status, 200);
  EXPECT_EQ(put("*").status, 200);
  const Answer unchanged = send(okta_, "GET", "/Users/" + id, "", {{"If-None-Match", "\"2\""}});
  EXPECT_EQ(unchanged.status, 304);
  EXPECT_TRUE(unchanged.body.empty());
  EXPECT_EQ(send(okta_, "GET", "/Users/" + id, "", {{"If-None-Match", "W/\"1\""}}).status, 200);
  expect_error(send(okta_, "DELETE", "/Users/" + id, "", {{"If-Match", "W/\"1\""}}), 412, "");
  EXPECT_EQ(send(okta_, "DELETE", "/Users/" + id, "", {{"If-Match", "W/\"2\""}}).status, 204);
}

TEST_F(Service, WriteThatChangesNothingTakesNoSequenceNumber) {
  const std::string ada = make_user("ada", R"(,"title":"x","emails":[{"value":"a@b"}])");
  const std::string group = make_group("g", R"([{"value":")" + ada + "\"}]");
  const Seq before = head();
  EXPECT_EQ(
      patch("/Users/" + ada, R"([{"op":"replace","value":{"title":"x","active":true}}])").status,
      200);
  EXPECT_EQ(send(okta_, "PUT", "/Users/" + ada,
                 R"({"title":"x","userName":"ada","emails":[{"value":"a@b"}],"active":true})")
                .status,
            200);
  EXPECT_EQ(patch("/Groups/" + group,
                  R"([{"op":"replace","value":{"id":"x","displayName":"g"}},
                      {"op":"add","path":"members","value":[{"value":")" +
                      ada + "\"}]}]")
                .status,
            204);
  EXPECT_EQ(head(), before);
  EXPECT_EQ(get("/Users/" + ada).headers.get("ETag"), "W/\"1\"");
}

TEST_F(Service, FailedPatchChangesNothing) {
  const std::string ada = make_user("ada", R"(,"title":"x")");
  const std::string group = make_group("g", R"([{"value":")" + ada + "\"}]");
  const Seq before = head();
  expect_error(patch("/Users/" + ada,
                     R"([{"op":"replace","path":"title","value":"y"},
                         {"op":"replace","path":"emails[value eq \"q\"].type","value":"z"}])"),
               400, "noTarget");
  expect_error(patch("/Groups/" + group, R"([{"op":"remove","path":"members"},
                     {"op":"add","path":"members","value":[{"value":"nobody"}]}])"),
               400, "invalidValue", "nobody");
  EXPECT_EQ(get("/Users/" + ada).text("title"), "x");
  EXPECT_EQ(members(group), "ada");
  EXPECT_EQ(head(), before);
}

TEST_F(Service, KeysAreRowsWithASource) {
  const std::string id =
      make_user("ada", std::string(",\"" COREWEAVE "\":{\"sunkSshKeys\":[\"") + kKeyA + "\"]}");
  const auto keys = [this, &id](const std::string& bearer) {
    const Answer answer = send(bearer, "GET", "/Users/" + id + "?attributes=" COREWEAVE);
    const json::array* list = json::find_array(answer.extension(COREWEAVE), "sunkSshKeys");
    return list != nullptr ? json::serialize(*list) : "none";
  };
  const std::string only_a = std::string("[\"") + kKeyA + "\"]";
  const std::string only_b = std::string("[\"") + kKeyB + "\"]";
  EXPECT_EQ(keys(okta_), only_a);
  // Okta GETs and PUTs: a body without the extension leaves the keys alone.
  EXPECT_EQ(send(okta_, "PUT", "/Users/" + id, R"({"userName":"ada","title":"x"})").status, 200);
  EXPECT_EQ(keys(okta_), only_a);
  // A person adds a key by hand; the client replaces and removes its own only.
  ASSERT_TRUE(directory_->add_keys(hub_, acme_, id,
                                   {{.line = kKeyB,
                                     .fingerprint = "SHA256:by-hand",
                                     .name = "desk",
                                     .not_before = {},
                                     .not_after = {}}}));
  EXPECT_EQ(patch("/Users/" + id,
                  "[{\"op\":\"replace\",\"path\":\"" COREWEAVE ":sunkSshKeys\",\"value\":[]}]")
                .status,
            200);
  EXPECT_EQ(keys(okta_), only_b);
  const std::string add = "[{\"op\":\"add\",\"path\":\"" COREWEAVE ":sunkSshKeys\",\"value\":[\"" +
                          std::string(kKeyA) + "\"]}]";
  EXPECT_EQ(patch("/Users/" + id, add).status, 200);
  EXPECT_EQ(patch("/Users/" + id, add).status, 200);
  EXPECT_EQ(json::find_array(get("/Users/" + id).extension(COREWEAVE), "sunkSshKeys")->size(), 2U);
  EXPECT_EQ(patch("/Users/" + id, std::string("[{\"op\":\"remove\",\"path\":\"" COREWEAVE
                                              ":sunkSshKeys[value eq \\\"") +
                                      kKeyA + "\\\"]\"}]")
                .status,
            200);
  EXPECT_EQ(keys(okta_), only_b);
  // PUT with the extension but without keys clears the client's keys, not the person's.
  EXPECT_EQ(patch("/Users/" + id, add).status, 200);
  EXPECT_EQ(
      send(okta_, "PUT", "/Users/" + id, R"({"userName":"ada",")" COREWEAVE R"(":{}})").status,
      200);
  EXPECT_EQ(keys(okta_), only_b);
  EXPECT_EQ(keys(reader_), only_b);
  // Who asks for a key to go is obeyed, whoever wrote it.
  EXPECT_EQ(patch("/Users/" + id, "[{\"op\":\"remove\",\"path\":\"" COREWEAVE
                                  ":sunkSshKeys[value sw \\\"ssh-ed25519\\\"]\"}]")
                .status,
            200);
  EXPECT_EQ(keys(okta_), "none");
}

TEST_F(Service, BadKeysAreNamedByIndexAndReason) {
  const auto post_keys = [this](const std::string& list) {
    return post("/Users", R"({"userName":"ada",")" COREWEAVE R"(":{"sunkSshKeys":)" + list + "}}");
  };
  const std::string good = std::string("\"") + kKeyA + "\"";
  expect_error(post_keys("[" + good + R"(,"command=\"sh\" )" + kKeyB + "\"]"), 400, "invalidValue",
               "sunkSshKeys[1]");
  expect_error(post_keys("[\"ssh-ed25519 AAAA\"]"), 400, "invalidValue", "sunkSshKeys[0]");
  expect_error(post_keys("[\"" + std::string(kKeyA) + "\\n" + kKeyB + "\"]"), 400, "invalidValue",
               "sunkSshKeys[0]");
  EXPECT_EQ(get("/Users").total(), 0) << "nobody is created without their keys";
}

TEST_F(Service, RemovingActiveLocksAndPutWithoutItKeepsIt) {
  const std::string id = make_user("ada");
  EXPECT_EQ(patch("/Users/" + id, R"([{"op":"remove","path":"active"}])").body.at("active"), false);
  EXPECT_EQ(send(okta_, "PUT", "/Users/" + id, R"({"userName":"ada"})").body.at("active"), false);
  EXPECT_EQ(
      send(okta_, "PUT", "/Users/" + id, R"({"userName":"ada","active":true})").body.at("active"),
      true);
  EXPECT_EQ(send(okta_, "PUT", "/Users/" + id, R"({"userName":"ada"})").body.at("active"), true);
}

TEST_F(Service, ClientsOwnTheirRecordsAndExternalIds) {
  const std::string id = make_user("ada", R"(,"externalId":"same")");
  expect_error(send(entra_, "POST", "/Users", R"({"userName":"ADA","externalId":"same"})"), 409,
               "uniqueness");
  for (const char* method : {"PUT", "PATCH"}) {
    const std::string body =
        method[1] == 'U' ? R"({"userName":"ada","title":"x"})"
                         : R"({"Operations":[{"op":"replace","path":"title","value":"x"}]})";
    expect_error(send(entra_, method, "/Users/" + id, body), 409, "uniqueness");
  }
  expect_error(send(entra_, "DELETE", "/Users/" + id), 409, "uniqueness");
  // The same externalId at another client is another thing.
  const Answer grace =
      send(entra_, "POST", "/Users", R"({"userName":"grace","externalId":"same"})");
  EXPECT_EQ(grace.status, 201);
  EXPECT_EQ(get("/Users?filter=externalId%20eq%20%22same%22").listed("userName"), "ada");
  EXPECT_EQ(send(entra_, "GET", "/Users?filter=externalId%20eq%20%22same%22").listed("userName"),
            "grace");
  EXPECT_EQ(send(admin_, "GET", "/Users?filter=externalId%20eq%20%22same%22").total(), 2);
  EXPECT_FALSE(send(entra_, "GET", "/Users/" + id).body.contains("externalId"));
  // An administrator may repair another's record.
  EXPECT_EQ(send(admin_, "PATCH", "/Users/" + id,
                 R"({"Operations":[{"op":"replace","path":"title","value":"x"}]})")
                .status,
            200);
}

TEST_F(Service, TokensOpenOnlyWhatTheyAreFor) {
  const std::string id = make_user("ada");
  const Answer none = send("", "GET", "/Users");
  expect_error(none, 401, "");
  EXPECT_EQ(none.headers.get("WWW-Authenticate"), "Bearer realm=\"roster\"");
  expect_error(send("not-a-token", "GET", "/Users"), 401, "");
  expect_error(send(okta_ + "x", "GET", "/Users"), 401, "");
  expect_error(send("", "GET", "/Users", "", {{"Authorization", "Basic YTpi"}}), 401, "");
  // Readers read.
  EXPECT_EQ(send(reader_, "GET", "/Users/" + id).status, 200);
  for (const char* method : {"PUT", "PATCH", "DELETE"}) {
    expect_error(send(reader_, method, "/Users/" + id, "{}"), 501, "");
  }
  expect_error(send(reader_, "POST", "/Users", "{}"), 501, "");
  expect_error(send(reader_, "POST", "/Groups", "{}"), 501, "");
  EXPECT_EQ(send(reader_, "POST", "/Users/.search", "{}").status, 200);
  // Other organizations do not exist, whether they do or not.
  const Answer foreign = send(foreign_, "GET", "/Users");
  expect_error(foreign, 404, "");
  const Answer missing = send(foreign_, "GET", "/api/organizations/nosuch/scim/v2/Users");
  EXPECT_EQ(foreign.body, missing.body);
  EXPECT_EQ(send(foreign_, "GET", "/api/organizations/other/scim/v2/Users").total(), 0);
  // The same names in two organizations are two people.
  EXPECT_EQ(
      send(foreign_, "POST", "/api/organizations/other/scim/v2/Users", R"({"userName":"ada"})")
          .status,
      201);
  expect_error(send(foreign_, "GET", "/api/organizations/other/scim/v2/Users/" + id), 404, "");
  EXPECT_EQ(send(operator_, "GET", "/api/organizations/other/scim/v2/Users").total(), 1);
  EXPECT_EQ(send(operator_, "GET", "/Users").total(), 1);
  EXPECT_EQ(send(admin_, "GET", "/Users").total(), 1);
  expect_error(send(admin_, "GET", "/api/organizations/other/scim/v2/Users"), 404, "");
  const std::string join = token(acme_, directory::Scope::kJoin, "");
  const int status = send(join, "GET", "/Users").status;
  EXPECT_TRUE(status == 401 || status == 403) << status;
  ASSERT_TRUE(directory_->revoke_token(hub_, acme_, "t1"));
  expect_error(get("/Users"), 401, "");
}

TEST_F(Service, ReadersSeeThePeopleOfNestedGroups) {
  const std::string ada = make_user("ada");
  const std::string bob = make_user("bob");
  const std::string inner = make_group("inner", R"([{"value":")" + bob + "\"}]");
  const std::string middle =
      make_group("middle", R"([{"value":")" + inner + R"("},{"value":")" + bob + "\"}]");
  const std::string outer =
      make_group("outer", R"([{"value":")" + middle + R"("},{"value":")" + ada + "\"}]");
  const std::string add = R"([{"op":"add","path":"members","value":[{"value":"%"}]}])";
  const auto with = [&add](const std::string& id) {
    std::string text = add;
    return text.replace(text.find('%'), 1, id);
  };
  EXPECT_EQ(patch("/Groups/" + inner, with(outer)).status, 204) << "a circle";
  const auto logins = [](const json::object& group) {
    std::string out;
    for (const json::value& member : group.at("members").as_array()) {
      EXPECT_EQ(member.at("type"), "User");
      out += json::find_string(member.as_object(), "sunkPosixUsername").value();
      out += ' ';
    }
    return out;
  };
  for (const std::string& group : {inner, middle, outer}) {
    EXPECT_EQ(logins(send(reader_, "GET", "/Groups/" + group).body), "ada bob ");
  }
  const Answer all = send(reader_, "GET", "/Groups?filter=" + percent_encode("displayName pr"));
  for (const json::value& group : all.body.at("Resources").as_array()) {
    EXPECT_EQ(logins(group.as_object()), "ada bob ");
  }
  EXPECT_EQ(logins(send(reader_, "GET", "/Groups").body.at("Resources").at(2).as_object()),
            "ada bob ");
  EXPECT_EQ(members(outer), "ada middle") << "clients that provision see what they wrote";
  // The version of the outer group does not tell that the inner one changed.
  const std::string tag(send(reader_, "GET", "/Groups/" + outer).headers.get("ETag"));
  const std::string eve = make_user("eve");
  EXPECT_EQ(patch("/Groups/" + inner, with(eve)).status, 204);
  const Answer again = send(reader_, "GET", "/Groups/" + outer, "", {{"If-None-Match", tag}});
  ASSERT_EQ(again.status, 200);
  EXPECT_EQ(logins(again.body), "ada bob eve ");

  const auto off = [](directory::OrgSettings settings) -> Result<directory::OrgSettings> {
    settings.nested_groups = false;
    return settings;
  };
  ASSERT_TRUE(directory_->update_org_settings(hub_, acme_, off));
  const std::string team = make_group("team");
  expect_error(patch("/Groups/" + team, with(inner)), 400, "invalidValue", "nested groups");
  EXPECT_EQ(patch("/Groups/" + team, with(ada)).status, 204);
  expect_error(post("/Groups", R"({"displayName":"x","members":[{"value":")" + inner + "\"}]}"),
               400, "invalidValue");
}

TEST_F(Service, APersonSeesThemselfAndChangesTheirKeys) {
  const std::string ada = make_user("ada");
  const std::string bob = make_user("bob");
  directory::Directory::TokenRequest request;
  request.name = "ada's";
  request.scope = directory::Scope::kUser;
  request.org = acme_;
  request.user = directory_->find_user(acme_, "ada", {}).value().n;
  const std::string own(directory_->create_token(hub_, request).value().secret.expose());
  const Answer me = send(own, "GET", "/Me");
  EXPECT_EQ(me.status, 200);
  EXPECT_EQ(me.id(), ada);
  EXPECT_EQ(me.headers.get("Location"),
            "https://hub.example/api/organizations/acme/scim/v2/Users/" + ada);
  const auto patch = [&](const std::string& path, const std::string& operation) {
    return send(own, "PATCH", path,
                R"({"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[)" +
                    operation + "]}");
  };
  const std::string add = R"({"op":"add","path":")" COREWEAVE R"(:sunkSshKeys","value":[")" +
                          std::string(kKeyA) + "\"]}";
  const Answer with_key = patch("/Me", add);
  ASSERT_EQ(with_key.status, 200) << with_key.text("detail");
  EXPECT_EQ(with_key.extension(COREWEAVE).at("sunkSshKeys").as_array().size(), 1U);
  EXPECT_EQ(
      patch("/Users/" + ada, R"({"op":"remove","path":")" COREWEAVE R"(:sunkSshKeys"})").status,
      200);
  for (const char* operation : {R"({"op":"replace","path":"title","value":"boss"})",
                                R"({"op":"replace","path":"active","value":true})",
                                R"({"op":"replace","value":{"externalId":"x"}})"}) {
    expect_error(patch("/Me", operation), 403, "", "SSH keys");
  }
  // An end that an administrator put on a key is not the person's to undo.
  ASSERT_EQ(patch("/Me", add).status, 200);
  const auto key = directory_->find_user(acme_, "ada", {.keys = true}).value().keys.at(0);
  directory::KeyEdit ends;
  ends.not_after = now_;
  ASSERT_TRUE(directory_->update_key(hub_, acme_, ada, key.fingerprint, ends));
  const std::string remove = R"({"op":"remove","path":")" COREWEAVE R"(:sunkSshKeys"})";
  for (const std::string& operation : {add, remove, add}) {
    EXPECT_EQ(patch("/Me", operation).status, 200);
  }
  EXPECT_EQ(directory_->find_user(acme_, "ada", {.keys = true}).value().keys.at(0).not_after, now_);
  const Answer offer = send(own, "GET", "/ServiceProviderConfig");
  EXPECT_EQ(offer.body.at("patch").at("supported"), true);
  EXPECT_EQ(offer.body.at("bulk").at("supported"), false);
  expect_error(patch("/Users/" + bob, add), 403, "");
  expect_error(send(own, "GET", "/Users/" + bob), 403, "");
  expect_error(send(own, "GET", "/Users"), 403, "");
  expect_error(send(own, "DELETE", "/Users/" + ada), 403, "");
  expect_error(send(own, "POST", "/Bulk", "{}"), 403, "");
  EXPECT_EQ(send(own, "GET", "/Schemas").status, 200);
  // The token dies with the right to log in.
  ASSERT_TRUE(directory_->set_valid_until(hub_, acme_, ada, now_));
  expect_error(send(own, "GET", "/Me"), 401, "");
  ASSERT_TRUE(directory_->set_valid_until(hub_, acme_, ada, std::nullopt));
  EXPECT_EQ(send(own, "GET", "/Me").status, 200);
  EXPECT_EQ(
      this->patch("/Users/" + ada, R"([{"op":"replace","path":"active","value":false}])").status,
      200);
  expect_error(send(own, "GET", "/Me"), 401, "");
}

TEST_F(Service, TheOrganizationsSwitchesAreHeeded) {
  const auto set = [this](auto edit) {
    const auto change = [&edit](directory::OrgSettings settings) -> Result<directory::OrgSettings> {
      edit(settings);
      return settings;
    };
    ASSERT_TRUE(directory_->update_org_settings(hub_, acme_, change));
  };
  set([](directory::OrgSettings& settings) { settings.automated_provisioning = false; });
  expect_error(post("/Users", R"({"userName":"ada"})"), 403, "", "provisioning");
  expect_error(post("/Bulk", "{}"), 403, "", "provisioning");
  EXPECT_EQ(get("/ServiceProviderConfig").body.at("patch").at("supported"), false);
  EXPECT_EQ(get("/Users").status, 200);
  EXPECT_EQ(send(admin_, "POST", "/Users", R"({"userName":"ada"})").status, 201);
  set([](directory::OrgSettings& settings) { settings.scim_api = false; });
  expect_error(get("/Users"), 403, "", "switched off");
  expect_error(send(reader_, "GET", "/Users"), 403, "", "switched off");
  EXPECT_EQ(send(admin_, "GET", "/Users").total(), 1);
  EXPECT_EQ(send(foreign_, "GET", "/scim/v2/other/Users").status, 200);
}

TEST_F(Service, WithoutUserProvisioningThereAreNoPosixAttributes) {
  const auto off = [](directory::OrgSettings settings) -> Result<directory::OrgSettings> {
    settings.user_provisioning = false;
    return settings;
  };
  ASSERT_TRUE(directory_->update_org_settings(hub_, acme_, off));
  const std::string ada = make_user("ada");
  const std::string team = make_group("team", R"([{"value":")" + ada + "\"}]");
  for (const std::string& token : {okta_, reader_}) {
    const Answer user = send(token, "GET", "/Users/" + ada);
    ASSERT_EQ(user.status, 200);
    EXPECT_EQ(json::serialize(user.body).find("sunkPosix"), std::string::npos);
    const Answer group = send(token, "GET", "/Groups/" + team);
    EXPECT_EQ(json::serialize(group.body).find("sunkPosix"), std::string::npos);
    EXPECT_EQ(group.body.at("members").as_array().size(), 1U);
  }
  EXPECT_EQ(
      this->patch("/Users/" + ada, R"([{"op":"replace","path":"active","value":false}])").status,
      200);
  EXPECT_EQ(send(okta_, "DELETE", "/Users/" + ada).status, 204);
  EXPECT_EQ(send(okta_, "DELETE", "/Groups/" + team).status, 204);
}

TEST_F(Service, ReadersSeeThePrimaryGroup) {
  const std::string team = make_group("people");
  const std::int64_t gid =
      send(reader_, "GET", "/Groups/" + team).body.at("sunkPosixGroupId").as_int64();
  const auto shared = [gid](directory::OrgSettings settings) -> Result<directory::OrgSettings> {
    settings.primary_gid = static_cast<std::uint32_t>(gid);
    return settings;
  };
  ASSERT_TRUE(directory_->update_org_settings(hub_, acme_, shared));
  const std::string urn = "urn:coreweave:params:scim:schemas:extension:coreweave:2.0:CoreWeaveUser";
  const Answer user = send(reader_, "GET", "/Users/" + make_user("ada") + "?attributes=" + urn);
  const json::object& posix = user.extension(urn);
  EXPECT_EQ(posix.at("sunkPosixGroupId"), gid);
  EXPECT_NE(posix.at("sunkPosixUserId"), gid);
  const Answer refused = send(okta_, "DELETE", "/Groups/" + team);
  expect_error(refused, 409, "", "primary group");
}

TEST_F(Service, GroupsShowTheirPosixIdentityAsAnExtension) {
  const Answer group = get("/Groups/" + make_group("ML Research"));
  const json::object& posix =
      group.extension("urn:roster:params:scim:schemas:extension:posix:2.0:Group");
  EXPECT_EQ(posix.at("sunkPosixGroupName"), "mlresearch");
  EXPECT_EQ(group.body.at("schemas").as_array().size(), 2U);
  EXPECT_FALSE(group.body.contains("sunkPosixGroupId"));
  const std::string name =
      "urn:roster:params:scim:schemas:extension:posix:2.0:Group:sunkPosixGroup";
  EXPECT_EQ(get("/Groups?filter=" + percent_encode(name + "Name eq \"mlresearch\"")).total(), 1);
  expect_error(
      patch("/Groups/" + group.id(), R"([{"op":"replace","path":")" + name + R"(Id","value":1}])"),
      400, "mutability");
}

TEST_F(Service, Discovery) {
  const Answer config = get("/ServiceProviderConfig");
  EXPECT_EQ(config.status, 200);
  EXPECT_EQ(config.body.at("patch").at("supported"), true);
  EXPECT_EQ(get("/ResourceTypes").total(), 2);
  EXPECT_EQ(get("/ResourceTypes/User").text("endpoint"), "/Users");
  EXPECT_EQ(get("/Schemas").total(), 8);
  EXPECT_EQ(get("/Schemas/" COREWEAVE).text("name"), "CoreWeaveUser");
  EXPECT_EQ(get("/Schemas/urn:ietf:params:scim:schemas:core:2.0:User").text("name"), "User");
  expect_error(get("/Schemas/urn:nosuch"), 404, "");
  expect_error(get("/ResourceTypes/Device"), 404, "");
  expect_error(get("/Schemas?filter=id%20pr"), 403, "");
  for (const char* path : {"/ServiceProviderConfig", "/ResourceTypes", "/Schemas", "/Schemas/x"}) {
    for (const char* method : {"POST", "PUT", "PATCH", "DELETE"}) {
      const Answer answer = send(okta_, method, path, "{}");
      expect_error(answer, 405, "");
      EXPECT_EQ(answer.headers.get("Allow"), "GET, HEAD");
    }
  }
}

TEST_F(Service, WhatIsNotThereAnswersInScimsForm) {
  for (const char* path : {"/nosuch", "/Users/a/b", "/ServiceProviderConfig/x", "/users", "",
                           "/Me/x", "/.search/x", "/Users/%00", "/Users/..", "//Users"}) {
    expect_error(get(path), 404, "");
  }
  expect_error(get("/api/organizations/acme/scim/v1/Users"), 404, "");
  expect_error(get("/Me"), 501, "");
  EXPECT_EQ(send(okta_, "PUT", "/Users", "{}").headers.get("Allow"), "GET, HEAD, POST");
  expect_error(send(okta_, "PUT", "/Users", "{}"), 405, "");
  expect_error(send(okta_, "POST", "/Users/x", "{}"), 405, "");
  expect_error(get("/Users/.search"), 405, "");
  expect_error(send(okta_, "TRACE", "/Users"), 405, "");
  for (int i = 0; i < 3; ++i) {
    get("/Users/" + std::to_string(i) + "?x=" + std::to_string(i));
    EXPECT_EQ(route_, "/api/organizations/{org}/scim/v2/Users/{id}");
  }
  get("/whatever-comes/in");
  EXPECT_EQ(route_, "/api/organizations/{org}/scim/v2/{*other}");
}

TEST_F(Service, LinksNeverFollowAForeignHost) {
  restart({.public_url = "", .allowed_hosts = {"hub.internal:8443"}});
  const std::string body = R"({"userName":"ada"})";
  expect_error(send(okta_, "POST", "/Users", body, {{"Host", "evil.example"}}), 400,
               "invalidValue");
  expect_error(send(okta_, "POST", "/Users", body), 400, "invalidValue");
  const Answer answer = send(okta_, "POST", "/Users", body, {{"Host", "HUB.internal:8443"}});
  EXPECT_EQ(answer.status, 201);
  EXPECT_TRUE(answer.headers.get("Location")
                  .starts_with("https://HUB.internal:8443/api/organizations/acme/scim/v2/Users/"));
}

// What nsscache on SUNK is configured to read: contracts of CoreWeave's and ACTIVATE's guides.
TEST_F(Service, ReadersSeeTheFormOfClusters) {
  const std::string ada = make_user("ada", R"(,"name":{"formatted":"Ada L"},")" COREWEAVE
                                           R"(":{"sunkLoginShell":"/bin/zsh","sunkSshKeys":[")" +
                                               std::string(kKeyA) + "\"]}");
  const std::string group = make_group("ML Research", R"([{"value":")" + ada + "\"}]");
  EXPECT_FALSE(send(reader_, "GET", "/Users/" + ada).body.contains(COREWEAVE));
  const Answer whole = send(reader_, "GET", "/Users/" + ada + "?attributes=" COREWEAVE);
  EXPECT_EQ(whole.text("userName"), "ada");
  EXPECT_EQ(whole.body.at("name").at("formatted"), "Ada L");
  EXPECT_EQ(json::find_string(whole.extension(COREWEAVE), "sunkPosixUsername"), "ada");
  EXPECT_EQ(json::find_string(whole.extension(COREWEAVE), "sunkLoginShell"), "/bin/zsh");
  EXPECT_EQ(json::find_string(whole.extension(COREWEAVE), "sunkPreferredHomeDirectory"),
            "/home/ada")
      << "made by the organization's template, and not shown to the client that provisions";
  EXPECT_FALSE(get("/Users/" + ada).extension(COREWEAVE).contains("sunkPreferredHomeDirectory"));
  const Answer groups = send(reader_, "GET", "/Groups");
  const json::object& first = groups.body.at("Resources").at(0).as_object();
  EXPECT_EQ(json::find_string(first, "sunkPosixGroupName"), "mlresearch");
  EXPECT_TRUE(json::find_int(first, "sunkPosixGroupId"));
  EXPECT_EQ(first.at("members").at(0).at("sunkPosixUsername"), "ada");
  // Nobody reads `active` there: a locked person has no keys and no shell.
  patch("/Users/" + ada, R"([{"op":"replace","path":"active","value":false}])");
  const Answer locked = send(reader_, "GET", "/Users?attributes=" COREWEAVE "&unknown=1");
  const json::object& user = locked.body.at("Resources").at(0).as_object();
  EXPECT_EQ(user.at("active"), false);
  EXPECT_EQ(user.at(COREWEAVE).at("sunkLoginShell"), "/usr/sbin/nologin");
  EXPECT_FALSE(user.at(COREWEAVE).as_object().contains("sunkSshKeys"));
  // The client that provisions sees what it wrote.
  EXPECT_EQ(json::find_string(get("/Users/" + ada).extension(COREWEAVE), "sunkLoginShell"),
            "/bin/zsh");
  EXPECT_EQ(send(reader_, "GET", "/Users?excludeInactiveUsers=true").total(), 0);
  const Answer active_only = send(reader_, "GET", "/Groups?excludeInactiveUsers=true");
  EXPECT_FALSE(active_only.body.at("Resources").at(0).as_object().contains("members"));
}

TEST_F(Service, HiddenLeaversAreNotThereForReaders) {
  const std::string ada = make_user("ada", R"(,"active":false)");
  directory::OrgSettings settings = directory_->find_org("acme").value().settings;
  settings.leaver_policy = directory::LeaverPolicy::kHide;
  ASSERT_TRUE(
      directory_->update_org_settings(hub_, acme_, [&settings](const directory::OrgSettings&) {
        return Result<directory::OrgSettings>(settings);
      }));
  EXPECT_EQ(send(reader_, "GET", "/Users").total(), 0);
  expect_error(send(reader_, "GET", "/Users/" + ada), 404, "");
  EXPECT_EQ(get("/Users").total(), 1) << "the identity provider must find its own record again";
}

TEST_F(Service, ATokenForActivePeopleShowsNobodyElse) {
  const std::string ada = make_user("ada");
  const std::string bob = make_user("bob", R"(,"active":false)");
  const std::string team =
      make_group("team", R"([{"value":")" + ada + R"("},{"value":")" + bob + "\"}]");
  directory::Directory::TokenRequest request;
  request.name = "nsscache";
  request.scope = directory::Scope::kRead;
  request.org = acme_;
  request.active_only = true;
  const std::string active(directory_->create_token(hub_, request).value().secret.expose());
  EXPECT_EQ(send(reader_, "GET", "/Users").total(), 2);
  EXPECT_EQ(send(active, "GET", "/Users").listed("userName"), "ada");
  EXPECT_EQ(
      send(active, "GET", "/Users?excludeInactiveUsers=false&filter=active%20eq%20false").total(),
      0);
  EXPECT_EQ(send(active, "GET", "/Users?cursor=").listed("userName"), "ada");
  expect_error(send(active, "GET", "/Users/" + bob), 404, "");
  EXPECT_EQ(send(active, "GET", "/Users/" + ada).status, 200);
  const Answer group = send(active, "GET", "/Groups/" + team);
  ASSERT_EQ(group.body.at("members").as_array().size(), 1U);
  EXPECT_EQ(group.body.at("members").at(0).at("display"), "ada");
  const Answer groups = send(active, "GET", "/Groups");
  EXPECT_EQ(groups.body.at("Resources").at(0).at("members").as_array().size(), 1U);
  // The group's version says nothing about who was deactivated.
  const std::string tag(group.headers.get("ETag"));
  EXPECT_EQ(patch("/Users/" + ada, R"([{"op":"replace","path":"active","value":false}])").status,
            200);
  const Answer after = send(active, "GET", "/Groups/" + team, "", {{"If-None-Match", tag}});
  EXPECT_EQ(after.status, 200);
  EXPECT_FALSE(after.body.contains("members"));
  request.name = "wrong";
  request.scope = directory::Scope::kAdmin;
  EXPECT_EQ(directory_->create_token(hub_, request).error().code, Code::kInvalidArgument);
}

TEST_F(Service, ExpiredPeopleAreLockedForReaders) {
  const std::string ada =
      make_user("ada", std::string(",\"" COREWEAVE "\":{\"sunkSshKeys\":[\"") + kKeyA + "\"]}");
  ASSERT_TRUE(directory_->set_valid_until(hub_, acme_, ada, now_ + std::chrono::hours(1)));
  const std::string url = "/Users/" + ada + "?attributes=" COREWEAVE;
  EXPECT_TRUE(send(reader_, "GET", url).extension(COREWEAVE).contains("sunkSshKeys"));
  const std::string group = make_group("lab", R"([{"value":")" + ada + R"("}])");
  const std::string of_user(send(reader_, "GET", url).headers.get("ETag"));
  const std::string of_list(send(reader_, "GET", "/Users").headers.get("ETag"));
  const auto status = [this](const std::string& path, const std::string& tag) {
    return send(reader_, "GET", path, "", {{"If-None-Match", tag}}).status;
  };
  EXPECT_EQ(status(url, of_user), 304);
  EXPECT_EQ(status("/Users", of_list), 304);
  const std::string active = "/Groups?excludeInactiveUsers=true";
  EXPECT_TRUE(
      send(reader_, "GET", active).body.at("Resources").at(0).as_object().contains("members"));
  now_ += std::chrono::hours(1);
  EXPECT_FALSE(send(reader_, "GET", url).extension(COREWEAVE).contains("sunkSshKeys"));
  EXPECT_EQ(send(reader_, "GET", "/Users/" + ada).body.at("active"), false);
  EXPECT_EQ(send(okta_, "GET", "/Users/" + ada).body.at("active"), true) << "its own word";
  EXPECT_EQ(send(reader_, "GET", "/Users?filter=active%20eq%20false").total(), 1);
  EXPECT_EQ(send(reader_, "GET", "/Users?filter=active%20eq%20true").total(), 0);
  EXPECT_EQ(send(okta_, "GET", "/Users?filter=active%20eq%20false").total(), 0);
  // Nothing changed but the time: who has read before must read again.
  EXPECT_EQ(status(url, of_user), 200);
  EXPECT_EQ(status("/Users", of_list), 200);
  EXPECT_EQ(status("/Users", std::string(send(reader_, "GET", "/Users").headers.get("ETag"))), 304);
  EXPECT_FALSE(
      send(reader_, "GET", active).body.at("Resources").at(0).as_object().contains("members"));
}

}  // namespace
}  // namespace roster::provider
