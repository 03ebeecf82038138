#include <algorithm>

#include "provider/testing.h"

// Defects that other servers had with these clients, one test each. Elsewhere:
// - memberships lost under concurrent PATCHes (fleetdm/fleet#50724): group_property_test.cc;
// - several values removed in one PATCH of a user (FusionAuth/fusionauth-issues#2834):
//   scim/patch_test.cc;
// - keys that outlive deactivation, and refusals that are no SCIM errors (msaad00/agent-bom#3540):
//   tests/corpora/okta/activation.json, and every story of corpora_test.cc.
namespace roster::provider {
namespace {

class Regressions : public ScimTest {
 protected:
  /// Ids of `count` new users.
  std::vector<std::string> make_users(int count) {
    const directory::Actor actor = directory_->authenticate(okta_).value();
    std::vector<std::string> ids;
    for (int i = 0; i < count; ++i) {
      directory::UserInput input;
      input.doc["userName"] = "user" + std::to_string(i);
      ids.push_back(directory_->create_user(actor, acme_, input).value().id);
    }
    return ids;
  }

  static std::string list(const std::vector<std::string>& ids) {
    std::string out;
    for (const std::string& id : ids) {
      out += (out.empty() ? R"([{"value":")" : R"(,{"value":")") + id + "\"}";
    }
    return out + "]";
  }

  static std::string operation(const std::string& op, const std::vector<std::string>& ids) {
    return R"({"op":")" + op + R"(","path":"members","value":)" + list(ids) + "}";
  }

  /// Ids in `members` of a group as answered, in order.
  static std::vector<std::string> ids_in(const json::object& group) {
    std::vector<std::string> ids;
    if (const json::array* members = json::find_array(group, "members")) {
      for (const json::value& member : *members) {
        ids.emplace_back(json::find_string(member.as_object(), "value").value());
      }
    }
    std::ranges::sort(ids);
    return ids;
  }

  static std::vector<std::string> sorted(std::vector<std::string> ids) {
    std::ranges::sort(ids);
    return ids;
  }
};

// FusionAuth/fusionauth-issues#2784: beyond 100 members the answer was cut, and the next PATCH
// removed the rest.
TEST_F(Regressions, ManyMembersAreAnsweredWholeAndKept) {
  std::vector<std::string> ids = make_users(250);
  const std::string last = ids.back();
  ids.pop_back();
  const Answer created = post("/Groups", R"({"displayName":"g","members":)" + list(ids) + "}");
  ASSERT_EQ(created.status, 201);
  EXPECT_EQ(ids_in(created.body), sorted(ids));
  const std::string url = "/Groups/" + created.id();
  EXPECT_EQ(patch(url, "[" + operation("add", {last}) + "]").status, 204);
  ids.push_back(last);
  const Answer whole = get(url);
  EXPECT_EQ(ids_in(whole.body), sorted(ids));
  for (const std::string& bearer : {okta_, entra_, reader_, admin_}) {
    const Answer page = send(bearer, "GET", "/Groups");
    EXPECT_EQ(ids_in(page.body.at("Resources").at(0).as_object()), sorted(ids));
  }
  // Whoever puts back what was read loses nobody.
  const Seq before = head();
  EXPECT_EQ(send(okta_, "PUT", url, json::serialize(whole.body)).status, 200);
  EXPECT_EQ(head(), before);
  const Answer left = patch(url + "?attributes=members", "[" + operation("remove", {last}) + "]");
  EXPECT_EQ(left.status, 200);
  ids.pop_back();
  EXPECT_EQ(ids_in(left.body), sorted(ids));
}

// FusionAuth/fusionauth-issues#2834: several removals were carried out by index, while the indexes
// moved, and took the wrong people.
TEST_F(Regressions, SeveralRemovalsTakeExactlyTheListed) {
  const std::vector<std::string> u = make_users(10);
  const std::string group = make_group("g", list(u));
  const auto one = [](const std::string& id) {
    return R"({"op":"remove","path":"members[value eq \")" + id + R"(\"]"})";
  };
  EXPECT_EQ(patch("/Groups/" + group, "[" + one(u[1]) + "," + one(u[2]) + "," +
                                          operation("remove", {u[9], u[4]}) +
                                          R"(,{"op":"remove","path":"members[value eq \")" + u[6] +
                                          R"(\" or value eq \")" + u[5] + R"(\"]"}])")
                .status,
            204);
  EXPECT_EQ(ids_in(get("/Groups/" + group).body), sorted({u[0], u[3], u[7], u[8]}));
}

// Captain-P-Goldfish/scim-for-keycloak#134: clients push the whole list for one change, and it took
// longer than they wait. It costs who comes and who goes.
TEST_F(Regressions, AWholeListPushedIsTheDifference) {
  std::vector<std::string> ids = make_users(212);
  const std::string comes = ids.back();
  ids.pop_back();
  const std::string group = make_group("g", list(ids));
  const Seq before = head();
  const auto push = [&](const std::string& method) {
    const std::string body = R"({"displayName":"g","members":)" + list(ids) + "}";
    const Answer answer = method == "PUT"
                              ? send(okta_, "PUT", "/Groups/" + group, body)
                              : patch("/Groups/" + group, "[" + operation("replace", ids) + "]");
    EXPECT_EQ(answer.status, method == "PUT" ? 200 : 204);
    return head().value - before.value;
  };
  EXPECT_EQ(push("PATCH"), 0);
  EXPECT_EQ(push("PUT"), 0);
  ids[100] = comes;
  EXPECT_EQ(push("PATCH"), 2) << "one goes, one comes";
  EXPECT_EQ(push("PUT"), 2) << "as it is already";
  EXPECT_EQ(ids_in(get("/Groups/" + group).body), sorted(ids));
}

// wso2-extensions/identity-inbound-provisioning-scim2#178, simpleidserver#570: one member more in a
// group of 2,000 took minutes, because each operation loaded the group.
TEST_F(Regressions, OneMemberMoreReadsTheSameInALargeGroup) {
  std::vector<std::string> ids = make_users(1001);
  const std::string last = ids.back();
  ids.pop_back();
  const auto rows_read = [this, &last](const std::string& group) {
    const std::int64_t before = rows_read_;
    for (const char* op : {"add", "remove"}) {
      EXPECT_EQ(patch("/Groups/" + group, "[" + operation(op, {last}) + "]").status, 204);
    }
    return rows_read_ - before;
  };
  const std::int64_t of_small = rows_read(make_group("small", list({ids[0]})));
  EXPECT_GT(of_small, 0);
  EXPECT_EQ(rows_read(make_group("large", list(ids))), of_small);
}

// wso2/product-is#7040: a removal by display was answered with 200 and did nothing.
TEST_F(Regressions, RemovalByAnotherAttributeWorksOrSaysThatItDoesNot) {
  const std::string ada = make_user("ada");
  const std::string bob = make_user("bob");
  const std::string group =
      make_group("g", R"([{"value":")" + ada + R"("},{"value":")" + bob + "\"}]");
  const std::string url = "/Groups/" + group;
  const std::string removal =
      R"({"Operations":[{"op":"remove","path":"members[display eq \"ADA\"]"}]})";
  expect_error(send(okta_, "PATCH", url, removal, {{"If-Match", "W/\"2\""}}), 412, "");
  EXPECT_EQ(send(okta_, "PATCH", url, removal, {{"If-Match", "W/\"1\""}}).status, 204);
  EXPECT_EQ(members(group), "bob");
  expect_error(patch(url, R"([{"op":"remove","path":"members[display eq \"ada\"]"}])"), 400,
               "noTarget");
  // In order, also after operations that change who is there.
  EXPECT_EQ(patch(url, R"([{"op":"add","path":"members","value":[{"value":")" + ada + R"("}]},
                           {"op":"remove","path":"members[display eq \"bob\"]"},
                           {"op":"remove","path":"members[display eq \"ada\"]"}])")
                .status,
            204);
  EXPECT_EQ(members(group), "");
  expect_error(
      patch(url, R"([{"op":"replace","path":"members","value":[{"value":")" + bob + R"("}]},
                              {"op":"remove","path":"members[display eq \"bob\"]"},
                              {"op":"remove","path":"members[display eq \"bob\"]"}])"),
      400, "noTarget");
  EXPECT_EQ(
      patch(url, R"([{"op":"add","path":"members","value":[{"value":")" + ada + R"("}]}])").status,
      204);
  EXPECT_EQ(patch(url, R"([{"op":"remove","path":"members[type eq \"User\"]"}])").status, 204);
  EXPECT_EQ(members(group), "");
}

// msaad00/agent-bom#3540: a client chose the id of another person, and became them.
TEST_F(Regressions, AnIdInABodyNamesNobody) {
  const std::string victim = make_user("victim", R"(,"title":"Admiral")");
  const std::string team = make_group("team", list({victim}));
  const json::object before = get("/Users/" + victim).body;
  for (const std::string& id : {victim, team}) {
    const std::string chosen = R"({"id":")" + id + R"(","userName":"m)" + id + "\"}";
    const Answer answer = post("/Users", chosen);
    ASSERT_EQ(answer.status, 201);
    EXPECT_NE(answer.id(), id);
    const std::string url = "/Users/" + answer.id();
    EXPECT_EQ(send(okta_, "PUT", url, chosen).id(), answer.id());
    EXPECT_EQ(patch(url, R"([{"op":"replace","value":{"id":")" + id + R"(","title":"x"}}])").id(),
              answer.id());
    expect_error(patch(url, R"([{"op":"replace","path":"id","value":")" + id + R"("}])"), 400,
                 "mutability");
    const Answer group =
        post("/Groups", R"({"id":")" + id + R"(","displayName":"m)" + id + R"(","members":[]})");
    ASSERT_EQ(group.status, 201);
    EXPECT_NE(group.id(), id);
  }
  EXPECT_EQ(get("/Users/" + victim).body, before);
  EXPECT_EQ(members(team), "victim");
}

// gitlab-org/gitlab#35209, gitlab-ee#13094: lists without a filter or without startIndex were not
// answered, so that Okta and Entra could not be connected.
TEST_F(Regressions, ListsNeedNoParameter) {
  make_user("ada");
  make_group("g");
  for (const char* endpoint : {"/Users", "/Groups"}) {
    for (const char* query : {"", "?", "?count=100", "?startIndex=1", "?startIndex=0&count=1",
                              "?startIndex=1&count=2", "?attributes=id", "?filter=id%20pr"}) {
      const Answer answer = get(std::string(endpoint) + query);
      EXPECT_EQ(answer.status, 200) << endpoint << query << json::serialize(answer.body);
      EXPECT_EQ(answer.total(), 1);
      EXPECT_EQ(json::find_int(answer.body, "startIndex"), 1);
      EXPECT_EQ(json::find_int(answer.body, "itemsPerPage"), 1);
      EXPECT_NE(answer.listed("id"), "-");
    }
  }
}

}  // namespace
}  // namespace roster::provider
