#include "provider/bulk.h"

#include <pthread.h>

#include <chrono>
#include <functional>

#include "provider/testing.h"

namespace roster::provider {
namespace {

class BulkTest : public ScimTest {
 protected:
  Answer bulk(const std::string& operations, const std::string& more = "") {
    return post("/Bulk", R"({"schemas":["urn:ietf:params:scim:api:messages:2.0:BulkRequest"])" +
                             more + R"(,"Operations":[)" + operations + "]}");
  }
  static std::string user(const std::string& bulk_id, const std::string& name,
                          const std::string& more = "") {
    return R"({"method":"POST","path":"/Users","bulkId":")" + bulk_id +
           R"(","data":{"userName":")" + name + '"' + more + "}}";
  }
  static std::string group(const std::string& bulk_id, const std::string& name,
                           const std::string& member) {
    return R"({"method":"POST","path":"/Groups","bulkId":")" + bulk_id +
           R"(","data":{"displayName":")" + name + R"(","members":[{"value":")" + member +
           R"("}]}})";
  }
  static std::string statuses(const Answer& answer) {
    std::string out;
    for (const json::value& result : answer.body.at("Operations").as_array()) {
      if (!out.empty()) out += ' ';
      out += json::find_string(result.as_object(), "status").value_or("-");
    }
    return out;
  }
  static const json::object& result(const Answer& answer, std::size_t index) {
    return answer.body.at("Operations").at(index).as_object();
  }
  static std::string id_of(const json::object& result) {
    const std::string location(json::find_string(result, "location").value_or(""));
    return location.substr(location.rfind('/') + 1);
  }
};

TEST_F(BulkTest, EachMethodDoesItsWork) {
  const std::string old = make_user("old");
  const std::string team = make_group("team");
  const Answer answer =
      bulk(user("n", "new") + R"(,{"method":"put","path":"/Users/)" + old +
           R"(","data":{"userName":"old","title":"put"}},
      {"method":"PATCH","path":"/Groups/)" +
           team + R"(","data":{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
       "Operations":[{"op":"add","path":"members","value":[{"value":"bulkId:n"}]}]}},
      {"method":"PATCH","path":"/Users/bulkId:n","data":{"Operations":[
        {"op":"add","path":"title","value":"patched"}]}},
      {"method":"DELETE","path":"/Users/)" +
           old + "\"}");
  ASSERT_EQ(answer.status, 200) << answer.text("detail");
  EXPECT_EQ(statuses(answer), "201 200 204 200 204");
  EXPECT_EQ(result(answer, 0).at("bulkId"), "n");
  EXPECT_EQ(result(answer, 0).at("version"), "W/\"1\"");
  EXPECT_EQ(result(answer, 3).at("version"), "W/\"2\"");
  EXPECT_EQ(get("/Users/" + id_of(result(answer, 0))).text("title"), "patched");
  EXPECT_EQ(id_of(result(answer, 3)), id_of(result(answer, 0))) << "the path's bulkId";
  EXPECT_EQ(members(team), "new");
  EXPECT_EQ(get("/Users/" + old).status, 404);
}

TEST_F(BulkTest, FailuresAreToldOneByOne) {
  make_user("taken");
  const std::string operations = user("a", "taken") + "," + user("b", "fresh") +
                                 R"(,{"method":"DELETE","path":"/Users/0"},)" + user("c", "late");
  const Answer stopped = bulk(operations, R"(,"failOnErrors":1)");
  EXPECT_EQ(statuses(stopped), "409");
  EXPECT_EQ(result(stopped, 0).at("response").at("scimType"), "uniqueness");
  EXPECT_FALSE(result(stopped, 0).contains("location"));
  EXPECT_EQ(get("/Users").total(), 1);
  EXPECT_EQ(statuses(bulk(operations, R"(,"failOnErrors":2)")), "409 201 404");
  EXPECT_EQ(statuses(bulk(operations)), "409 409 404 201");
}

// After the last failure that the client bears nothing is done, also not what waited for it.
TEST_F(BulkTest, NothingFollowsTheLastFailure) {
  make_user("taken");
  const Answer answer =
      bulk(group("g", "team", "bulkId:a") + "," + user("a", "taken") + "," + user("b", "bob"),
           R"(,"failOnErrors":1)");
  EXPECT_EQ(statuses(answer), "409");
  EXPECT_EQ(result(answer, 0).at("bulkId"), "a");
  EXPECT_EQ(get("/Users").total(), 1);
}

TEST_F(BulkTest, ReferencesMayPointForward) {
  const Answer answer = bulk(group("g", "team", "bulkId:u") + "," + user("u", "ada"));
  EXPECT_EQ(statuses(answer), "201 201");
  EXPECT_EQ(result(answer, 0).at("bulkId"), "g") << "results are in the order of the request";
  EXPECT_EQ(members(id_of(result(answer, 0))), "ada");
  // What was not made cannot be referred to, and text that only looks like a reference is text.
  make_user("taken");
  const Answer failed =
      bulk(group("g", "a", "bulkId:nobody") + "," + group("h", "b", "bulkId:t") + "," +
           user("t", "taken") + "," + user("x", "odd", R"(,"title":"bulkId:t")"));
  EXPECT_EQ(statuses(failed), "409 409 409 201");
  EXPECT_EQ(get("/Groups").total(), 1);
}

TEST_F(BulkTest, CirclesAreClosed) {
  const char* urn = ENTERPRISE;
  const auto managed = [urn](const std::string& by) {
    return std::string(",\"") + urn + R"(":{"manager":{"value":"bulkId:)" + by + "\"}}";
  };
  const Answer answer =
      bulk(user("a", "ada", managed("b")) + "," + user("b", "bob", managed("c")) + "," +
           user("c", "cyd", managed("a")) + "," + user("s", "self", managed("s")));
  EXPECT_EQ(statuses(answer), "201 201 201 201");
  for (const auto& [who, by] : {std::pair{0U, 1U}, {1U, 2U}, {2U, 0U}, {3U, 3U}}) {
    const Answer person = get("/Users/" + id_of(result(answer, who)));
    EXPECT_EQ(person.extension(urn).at("manager").at("value").as_string(),
              id_of(result(answer, by)))
        << who;
    EXPECT_EQ(person.body.at("meta").at("version"), result(answer, who).at("version"));
  }
}

// A PUT of all that the POST said, in the end, undid what came after it.
TEST_F(BulkTest, ClosingACircleUndoesNothing) {
  const std::string alice = make_user("alice");
  const std::string circle = group("a", "ca", "bulkId:b") + "," + group("b", "cb", "bulkId:a");
  const Answer patched = bulk(circle + R"(,{"method":"PATCH","path":"/Groups/bulkId:b","data":
      {"Operations":[{"op":"replace","path":"displayName","value":"renamed"},
                     {"op":"add","path":"members","value":[{"value":")" +
                              alice + R"("}]}]}})");
  EXPECT_EQ(statuses(patched), "201 201 204");
  const std::string b = id_of(result(patched, 1));
  EXPECT_EQ(get("/Groups/" + b).text("displayName"), "renamed");
  EXPECT_EQ(members(id_of(result(patched, 0))), "renamed");
  const std::string both = members(b);
  EXPECT_TRUE(both == "alice ca" || both == "ca alice") << both;

  const Answer deleted = bulk(group("a", "da", "bulkId:b") + "," + group("b", "db", "bulkId:a") +
                              R"(,{"method":"DELETE","path":"/Groups/bulkId:b"})");
  EXPECT_EQ(statuses(deleted), "201 201 204");
  EXPECT_EQ(get("/Groups/" + id_of(result(deleted, 1))).status, 404);
}

// What is left out is the reference: not text that only looks like one, nor other members.
TEST_F(BulkTest, OnlyReferencesWaitForTheCircle) {
  const std::string alice = make_user("alice");
  const Answer answer =
      bulk(group("a", "ca", "bulkId:b") +
           R"(,{"method":"POST","path":"/Groups","bulkId":"b","data":{"displayName":"bulkId:a",
          "members":[{"value":")" +
           alice + R"("},{"value":"bulkId:a"},{"value":"bulkId:u"}]}},)" + user("u", "bob"));
  ASSERT_EQ(statuses(answer), "201 201 201");
  const Answer b = get("/Groups/" + id_of(result(answer, 1)));
  EXPECT_EQ(b.text("displayName"), "bulkId:a");
  EXPECT_EQ(b.body.at("members").as_array().size(), 3U);
  EXPECT_EQ(b.body.at("meta").at("version"), result(answer, 1).at("version"));
}

TEST_F(BulkTest, ACircleThatCannotBeClosedIsTold) {
  make_group("taken");
  const Answer answer = bulk(group("a", "taken", "bulkId:b") + "," + group("b", "cb", "bulkId:a") +
                             "," + group("c", "cc", "bulkId:b"));
  EXPECT_EQ(statuses(answer), "409 409 201");
  EXPECT_FALSE(result(answer, 0).contains("location"));
  const json::object& b = result(answer, 1);
  EXPECT_EQ(b.at("response").at("detail"),
            "made, but without its references: bulkId:a was not made");
  EXPECT_EQ(get("/Groups/" + id_of(b)).text("displayName"), "cb");
  EXPECT_EQ(members(id_of(result(answer, 2))), "cb") << "b was made";
}

/// Runs `work` on a thread with that much stack.
void run_with_stack(std::size_t bytes, std::function<void()> work) {
  pthread_attr_t attributes;
  CHECK(pthread_attr_init(&attributes) == 0);
  CHECK(pthread_attr_setstacksize(&attributes, bytes) == 0);
  const auto start = [](void* argument) -> void* {
    (*static_cast<std::function<void()>*>(argument))();
    return nullptr;
  };
  pthread_t thread;
  CHECK(pthread_create(&thread, &attributes, start, &work) == 0);
  CHECK(pthread_join(thread, nullptr) == 0);
  CHECK(pthread_attr_destroy(&attributes) == 0);
}

// Each operation waits for the next one, as many as there can be, and as deep in a value as JSON
// can be: with a recursion for each, that took 6 MiB of stack.
TEST_F(BulkTest, TheLongestChainOfReferencesIsResolved) {
  constexpr int kDepth = 27;
  std::string open;
  for (int i = 0; i < kDepth; ++i) open += R"("x":{)";
  std::string operations;
  for (std::size_t i = 0; i < kBulkOperationsMax; ++i) {
    const std::string next =
        R"("value":"bulkId:b)" + std::to_string((i + 1) % kBulkOperationsMax) + '"';
    if (i > 0) operations += ',';
    operations += user("b" + std::to_string(i), "user" + std::to_string(i),
                       ",\"" ENTERPRISE R"(":{"manager":{)" + next + "}}," + open + next +
                           std::string(kDepth, '}'));
  }
  Answer answer;
  run_with_stack(2 << 20, [this, &answer, &operations] { answer = bulk(operations); });
  ASSERT_EQ(answer.status, 200) << answer.text("detail");
  const json::array& results = answer.body.at("Operations").as_array();
  ASSERT_EQ(results.size(), kBulkOperationsMax);
  for (const json::value& each : results) EXPECT_EQ(each.at("status"), "201");
  const Answer last = get("/Users/" + id_of(result(answer, kBulkOperationsMax - 1)));
  EXPECT_EQ(last.extension(ENTERPRISE).at("manager").at("value").as_string(),
            id_of(result(answer, 0)));
}

TEST_F(BulkTest, ARequestHasItsTime) {
  std::chrono::milliseconds time{0};
  ScimOptions options{.public_url = "https://hub.example", .allowed_hosts = {}};
  options.bulk_time_max = std::chrono::seconds(2);
  options.monotonic_clock = [&time] { return time += std::chrono::seconds(1); };
  restart(std::move(options));
  const std::string late = user("c", "cyd") + "," + user("d", "dee");
  const std::string all = user("a", "ada") + "," + user("b", "bob") + "," + late;
  const Answer answer = bulk(all);
  ASSERT_EQ(answer.status, 200) << "what was done is told";
  EXPECT_EQ(statuses(answer), "201 201 503 503");
  EXPECT_NE(result(answer, 2).at("response").at("detail").as_string().find("send this one again"),
            std::string::npos);
  EXPECT_EQ(statuses(bulk(late)), "201 201");
  EXPECT_EQ(
      statuses(bulk(R"({"method":"DELETE","path":"/Users/0"},)" + all, R"(,"failOnErrors":1)")),
      "404");
}

// Judged once, in the beginning, a revoked token went on for a thousand operations.
TEST_F(BulkTest, TheRightToWriteMayEndBetweenOperations) {
  std::function<void()> change;
  int calls = 0;
  ScimOptions options{.public_url = "https://hub.example", .allowed_hosts = {}};
  // Asked once in the beginning and once before each operation.
  options.monotonic_clock = [&change, &calls] {
    if (++calls == 3) change();
    return std::chrono::milliseconds(0);
  };
  restart(std::move(options));
  int n = 0;
  const auto sent = [this, &calls, &n](const std::string& bearer) {
    calls = 0;
    std::string operations;
    for (const char* id : {"a", "b", "c"}) {
      operations += (operations.empty() ? "" : ",") + user(id, id + std::to_string(++n));
    }
    return statuses(send(bearer, "POST", "/Bulk",
                         R"({"schemas":["urn:ietf:params:scim:api:messages:2.0:BulkRequest"],
                             "Operations":[)" +
                             operations + "]}"));
  };
  const auto turn = [this](bool directory::OrgSettings::* which, bool on) {
    const auto edit = [which, on](directory::OrgSettings settings) {
      settings.*which = on;
      return Result<directory::OrgSettings>(std::move(settings));
    };
    CHECK(directory_->update_org_settings(hub_, acme_, edit).has_value());
  };
  change = [&turn] { turn(&directory::OrgSettings::automated_provisioning, false); };
  EXPECT_EQ(sent(okta_), "201 403 403");
  change = [] {};
  EXPECT_EQ(sent(admin_), "201 201 201") << "the switch is for clients";
  turn(&directory::OrgSettings::automated_provisioning, true);
  change = [&turn] { turn(&directory::OrgSettings::scim_api, false); };
  EXPECT_EQ(sent(okta_), "201 403 403");
  turn(&directory::OrgSettings::scim_api, true);

  change = [this] { CHECK(directory_->revoke_token(hub_, acme_, "t1").has_value()); };
  calls = 0;
  const Answer circle = bulk(group("a", "ca", "bulkId:b") + "," + group("b", "cb", "bulkId:a"));
  EXPECT_EQ(statuses(circle), "401 409");
  const Answer b = send(admin_, "GET", "/Groups/" + id_of(result(circle, 1)));
  EXPECT_EQ(b.text("displayName"), "cb");
  EXPECT_EQ(send(admin_, "GET", "/Groups").total(), 1);
}

TEST_F(BulkTest, WhatIsNoOperationFailsAlone) {
  struct Row {
    const char* operation;
    const char* status;
  };
  const Row rows[] = {
      {R"({"method":"GET","path":"/Users"})", "400"},
      {R"({"path":"/Users","bulkId":"a","data":{"userName":"a"}})", "400"},
      {R"({"method":"POST","path":"/Users","data":{"userName":"a"}})", "400"},
      {R"({"method":"POST","path":"/Users","bulkId":5,"data":{"userName":"a"}})", "400"},
      {R"({"method":"POST","path":"/Users","bulkId":"a"})", "400"},
      {R"({"method":"POST","path":"Users","bulkId":"a","data":{"userName":"a"}})", "400"},
      {R"({"method":"POST","path":"/Bulk","bulkId":"a","data":{}})", "400"},
      {R"({"method":"POST","path":"/Users/1","bulkId":"a","data":{"userName":"a"}})", "400"},
      {R"({"method":"PUT","path":"/Users","data":{"userName":"a"}})", "400"},
      {R"({"method":"PATCH","path":"/Users/","data":{}})", "400"},
      {R"({"method":"DELETE","path":"/Users/a/b"})", "400"},
      {R"({"method":"DELETE","path":"/Users/bulkId:a"})", "409"},
      {R"({"method":"POST","path":"/Users","bulkId":"a","version":"x","data":{"userName":"a"}})",
       "201"}};
  for (const Row& row : rows) {
    const Answer answer = bulk(row.operation);
    ASSERT_EQ(answer.status, 200) << row.operation;
    EXPECT_EQ(statuses(answer), row.status) << row.operation;
  }
  EXPECT_EQ(get("/Users").total(), 1);
}

TEST_F(BulkTest, TheMessageIsChecked) {
  const std::string good = user("a", "ada");
  expect_error(post("/Bulk", "{}"), 400, "invalidSyntax");
  expect_error(post("/Bulk", R"({"schemas":["urn:x"],"Operations":[]})"), 400, "invalidSyntax");
  expect_error(post("/Bulk", "[]"), 400, "invalidSyntax");
  expect_error(bulk("\"POST\""), 400, "invalidSyntax");
  expect_error(bulk(good, R"(,"failOnErrors":"1")"), 400, "invalidSyntax");
  expect_error(bulk(good, R"(,"failOnErrors":-1)"), 400, "invalidSyntax");
  expect_error(bulk(good + "," + good), 400, "invalidSyntax", "two operations");
  std::string many = good;
  for (int i = 0; i < 1000; ++i) many += R"(,{"method":"DELETE","path":"/Users/0"})";
  expect_error(bulk(many), 413, "", "1000");
  expect_error(get("/Bulk"), 405, "");
  expect_error(send(reader_, "POST", "/Bulk", "{}"), 501, "");
  EXPECT_EQ(get("/Users").total(), 0);
  EXPECT_EQ(get("/ServiceProviderConfig").body.at("bulk").at("maxOperations"), 1000);
  EXPECT_EQ(send(reader_, "GET", "/ServiceProviderConfig").body.at("bulk").at("supported"), false);
}

TEST_F(BulkTest, AVersionIsIfMatch) {
  const std::string id = make_user("ada");
  const auto put = [&id](const std::string& version) {
    return R"({"method":"PUT","path":"/Users/)" + id + R"(","version":"W/\")" + version +
           R"(\"","data":{"userName":"ada","title":"t)" + version + "\"}}";
  };
  EXPECT_EQ(statuses(bulk(put("1") + "," + put("1") + "," + put("2"))), "200 412 200");
}

}  // namespace
}  // namespace roster::provider
