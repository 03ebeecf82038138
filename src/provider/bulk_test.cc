#include "provider/bulk.h"

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

TEST_F(BulkTest, CirclesAreClosedInTheEnd) {
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

// Each operation waits for the next one: as deep as a request can make it.
TEST_F(BulkTest, TheLongestChainOfReferencesIsResolved) {
  std::string operations;
  for (std::size_t i = 0; i < kBulkOperationsMax; ++i) {
    const std::string next = std::to_string((i + 1) % kBulkOperationsMax);
    if (i > 0) operations += ',';
    operations += user("b" + std::to_string(i), "user" + std::to_string(i),
                       ",\"" ENTERPRISE R"(":{"manager":{"value":"bulkId:b)" + next + "\"}}");
  }
  const Answer answer = bulk(operations);
  ASSERT_EQ(answer.status, 200) << answer.text("detail");
  const json::array& results = answer.body.at("Operations").as_array();
  ASSERT_EQ(results.size(), kBulkOperationsMax);
  for (const json::value& each : results) EXPECT_EQ(each.at("status"), "201");
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
