#include "base/encoding.h"
#include "provider/testing.h"

// The life cycles of the two identity providers, with their own bodies (tests/corpora).
namespace roster::provider {
namespace {

class Okta : public ScimTest {
 protected:
  const std::pair<std::string, std::string> json_{"Content-Type", "application/json"};
};

// Okta's SPEC test: a user exists, then twelve checks in this order.
TEST_F(Okta, SpecTest) {
  make_user("isaac", R"(,"name":{"givenName":"I","familyName":"N"},
      "emails":[{"value":"isaac@example.org","primary":true}],"active":true)");
  const Answer first = get("/Users?count=1&startIndex=1");
  ASSERT_EQ(first.status, 200);
  const json::object& user = first.body.at("Resources").at(0).as_object();
  for (const char* name : {"id", "userName"}) EXPECT_TRUE(json::find_string(user, name)) << name;
  EXPECT_TRUE(json::find_bool(user, "active"));
  EXPECT_TRUE(user.at("name").as_object().contains("familyName"));
  EXPECT_TRUE(user.at("name").as_object().contains("givenName"));
  EXPECT_FALSE(user.at("emails").at(0).at("value").as_string().empty());
  EXPECT_EQ(get("/Users/" + std::string(json::find_string(user, "id").value())).status, 200);
  EXPECT_EQ(get("/Users?filter=" + percent_encode("userName eq \"nobody@x\"")).total(), 0);
  const Answer unknown = get("/Users/010101001010101011001010101011");
  expect_error(unknown, 404, "");
  EXPECT_FALSE(unknown.text("detail").empty());

  const std::string body = corpus("okta/create_user.json");
  const Answer created = send(okta_, "POST", "/Users", body, {json_});
  ASSERT_EQ(created.status, 201) << json::serialize(created.body);
  EXPECT_EQ(created.body.at("active"), true);
  EXPECT_EQ(get("/Users/" + created.id()).text("userName"), "ada.lovelace@example.org");
  expect_error(send(okta_, "POST", "/Users", body, {json_}), 409, "uniqueness");
  EXPECT_EQ(
      get("/Users?filter=" + percent_encode("userName eq \"ADA.LOVELACE@EXAMPLE.ORG\"")).total(),
      1);
  EXPECT_EQ(get("/Groups").status, 200);
  expect_error(send("bad", "GET", "/Users"), 401, "");
}

TEST_F(Okta, CrudOfAPerson) {
  const Answer created = send(okta_, "POST", "/Users", corpus("okta/create_user.json"),
                              {{"Content-Type", "application/json; charset=utf-8"}});
  ASSERT_EQ(created.status, 201);
  const std::string url = "/Users/" + created.id();
  const Answer renamed =
      send(okta_, "PUT", url,
           corpus("okta/put_user.json", {{"\"ID\"", "\"" + created.id() + "\""}}), {json_});
  EXPECT_EQ(renamed.status, 200);
  EXPECT_EQ(renamed.body.at("name").at("givenName"), "Augusta Ada");
  EXPECT_EQ(renamed.extension(COREWEAVE), created.extension(COREWEAVE));
  EXPECT_EQ(renamed.text("externalId"), "00u1okta0ada");
  EXPECT_EQ(renamed.body.at("meta").at("location"), created.body.at("meta").at("location"));

  // Okta GETs and PUTs the whole object: nothing changes.
  const Seq before = head();
  EXPECT_EQ(send(okta_, "PUT", url, json::serialize(get(url).body), {json_}).status, 200);
  EXPECT_EQ(head(), before);

  EXPECT_EQ(
      send(okta_, "PATCH", url, corpus("okta/deactivate_user.json"), {json_}).body.at("active"),
      false);
  EXPECT_EQ(get("/Users?filter=" + percent_encode("userName eq \"ada.lovelace@example.org\""))
                .body.at("Resources")
                .at(0)
                .at("active"),
            false)
      << "a leaver is still found";
  EXPECT_EQ(
      send(okta_, "PATCH", url, corpus("okta/reactivate_user.json"), {json_}).extension(COREWEAVE),
      created.extension(COREWEAVE))
      << "back with the same uid";
  const Answer keyed = send(okta_, "PATCH", url, corpus("okta/ssh_keys.json"), {json_});
  EXPECT_EQ(keyed.status, 200) << json::serialize(keyed.body);
  EXPECT_EQ(keyed.extension(COREWEAVE).at("sunkSshKeys").as_array().size(), 1U);
}

TEST_F(Okta, PushesGroups) {
  const std::string old_member = make_user("old");
  const std::string new_member = make_user("new");
  const Answer created = send(okta_, "POST", "/Groups", corpus("okta/create_group.json"), {json_});
  ASSERT_EQ(created.status, 201);
  const std::string url = "/Groups/" + created.id();
  const auto patch_with = [this, &url](const std::string& body) {
    const Answer answer = send(okta_, "PATCH", url, body, {json_});
    EXPECT_EQ(answer.status, 204) << json::serialize(answer.body);
  };
  patch_with(corpus("okta/group_push.json",
                    {{"\"A\"", "\"" + old_member + "\""}, {"\"B\"", "\"" + new_member + "\""}}));
  EXPECT_EQ(members(created.id()), "old new");
  patch_with(corpus("okta/group_push.json",
                    {{"\"A\"", "\"" + old_member + "\""}, {"\"B\"", "\"" + old_member + "\""}}));
  EXPECT_EQ(members(created.id()), "old");
  patch_with(corpus("okta/group_members.json", {{"OLD", old_member}, {"NEW", new_member}}));
  EXPECT_EQ(members(created.id()), "new");
  // Sent again at every membership update: the second time is no write.
  patch_with(corpus("okta/rename_group.json"));
  const Seq before = head();
  patch_with(corpus("okta/rename_group.json"));
  EXPECT_EQ(head(), before);
  EXPECT_EQ(get(url).text("displayName"), "ML Research 2");
  EXPECT_EQ(send(okta_, "DELETE", url).status, 204);
}

class Entra : public ScimTest {
 protected:
  Answer entra(const std::string& method, const std::string& target, const std::string& body = "") {
    return send(entra_, method, target, body);
  }
  std::string grace() {
    const Answer created = entra("POST", "/Users", corpus("entra/create_user.json"));
    EXPECT_EQ(created.status, 201) << json::serialize(created.body);
    return created.id();
  }
};

TEST_F(Entra, TestConnectionIsAnEmptyList) {
  const Answer answer =
      entra("GET", "/Users?filter=" + percent_encode("userName eq \"b2f0-not-there\""));
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.total(), 0);
}

TEST_F(Entra, PersonInBothDialects) {
  const std::string id = grace();
  const std::string url = "/Users/" + id;
  EXPECT_EQ(
      entra("GET", "/Users?filter=externalId+eq+0a21f0f2-8d2a-4f8e-bf98-7363c4aed4ef").listed("id"),
      id)
      << "an unquoted literal, as in Microsoft's guide";
  const Answer changed = entra("PATCH", url, corpus("entra/replace_attributes.json"));
  EXPECT_EQ(changed.status, 200) << json::serialize(changed.body);
  EXPECT_EQ(changed.body.at("emails").at(0).at("value"), "updated@example.org");
  EXPECT_EQ(changed.extension(ENTERPRISE).at("manager").at("value"), "9");
  EXPECT_EQ(
      entra("PATCH", url + "?aadOptscim062020", corpus("entra/replace_attributes_flagged.json"))
          .text("displayName"),
      "Grace Murray");
  for (const char* off : {"entra/patch_active_string.json", "entra/patch_active_flagged.json"}) {
    EXPECT_EQ(entra("PATCH", url, corpus(off)).body.at("active"), false);
    EXPECT_EQ(entra("GET", url).status, 200) << "soft-deleted, still there";
    EXPECT_EQ(entra("PATCH", url, corpus("entra/reactivate_string.json")).body.at("active"), true);
  }
  EXPECT_EQ(entra("DELETE", url).status, 204);
  expect_error(entra("GET", url), 404, "");
}

TEST_F(Entra, GroupInBothDialects) {
  const std::string id = grace();
  const Answer created = entra("POST", "/Groups", corpus("entra/create_group.json"));
  ASSERT_EQ(created.status, 201) << json::serialize(created.body);
  const std::string url = "/Groups/" + created.id();
  EXPECT_EQ(entra("GET", url + "?excludedAttributes=members").text("displayName"), "Compilers");
  const auto membership = [&] {
    return entra("GET",
                 "/Groups?excludedAttributes=members&filter=" +
                     percent_encode("id eq \"" + created.id() + "\" and members eq \"" + id + "\""))
        .total();
  };
  for (const char* removal : {"entra/remove_member.json", "entra/remove_member_flagged.json"}) {
    const std::string other = make_user(std::string("other") + removal[20]);
    EXPECT_EQ(entra("PATCH", url, corpus("entra/add_member.json", {{"NEW", id}})).status, 204);
    EXPECT_EQ(entra("PATCH", url, corpus("entra/add_member.json", {{"NEW", other}})).status, 204);
    EXPECT_EQ(membership(), 1);
    EXPECT_EQ(entra("PATCH", url, corpus(removal, {{"OLD", id}})).status, 204);
    EXPECT_EQ(membership(), 0);
    EXPECT_NE(members(created.id()), "") << "only the listed member is removed";
    // Removing once more is done already.
    EXPECT_EQ(entra("PATCH", url, corpus(removal, {{"OLD", id}})).status, 204);
  }
  EXPECT_EQ(entra("PATCH", url, corpus("entra/rename_group.json")).status, 204);
  EXPECT_EQ(
      entra("GET", "/Groups?filter=" + percent_encode("displayName eq \"compilers and linkers\""))
          .total(),
      1);
}

// pw-activate-scim-sync marks what it owns in externalId and finds it by prefix.
TEST_F(Entra, SyncFindsItsOwnByPrefix) {
  make_user("ada", R"(,"externalId":"pw-activate:user:1")");
  make_group("g");
  EXPECT_EQ(post("/Groups", R"({"displayName":"h","externalId":"pw-activate:group:9"})").status,
            201);
  const std::string filter = percent_encode("externalId sw \"pw-activate:\"");
  EXPECT_EQ(get("/Users?filter=" + filter).listed("userName"), "ada");
  EXPECT_EQ(get("/Groups?filter=" + filter).listed("displayName"), "h");
}

}  // namespace
}  // namespace roster::provider
