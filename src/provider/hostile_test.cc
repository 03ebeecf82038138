#include "provider/testing.h"

namespace roster::provider {
namespace {

class Hostile : public ScimTest {
 protected:
  Answer with_home(const std::string& name, const std::string& home) {
    return post("/Users", R"({"userName":")" + name +
                              R"(",")" COREWEAVE R"(":{"sunkPreferredHomeDirectory":)" + home +
                              "}}");
  }
};

// Names are stored as they come; what nodes see is derived and clean.
TEST_F(Hostile, NamesBecomeCleanLogins) {
  struct Row {
    const char* user_name;
    bool accepted;
  };
  const Row rows[] = {
      {"a:b", true},
      {"-rf", true},
      {"../../etc/passwd", true},
      {"root", true},
      {"sudo", true},
      {"0", true},
      {"TEST'\\\"$(id)", true},
      {"a b", true},
      {"\\u00c4\\u00df\\u4e2d", true},
      {"a\\nb", false},
      {"a\\u0000b", false},
      {"a\\u007fb", false},
      {"", false},
  };
  for (const Row& row : rows) {
    const Answer answer = post("/Users", R"({"userName":")" + std::string(row.user_name) + "\"}");
    EXPECT_EQ(answer.status, row.accepted ? 201 : 400) << row.user_name;
    if (!row.accepted) continue;
    EXPECT_EQ(answer.body.at("userName"), parsed("\"" + std::string(row.user_name) + "\""));
    const std::string login(
        json::find_string(answer.extension(COREWEAVE), "sunkPosixUsername").value());
    EXPECT_FALSE(login.empty() || login == "root" || login == "sudo") << row.user_name;
    EXPECT_EQ(login.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789._-"), std::string::npos)
        << login;
    EXPECT_NE(login[0], '-');
    EXPECT_GE(json::find_int(answer.extension(COREWEAVE), "sunkPosixUserId").value(), 10000);
  }
}

TEST_F(Hostile, ClientsCannotChooseWhatTheServerGives) {
  const Answer answer = post("/Users", R"({"userName":"mallory","id":"chosen",
      "meta":{"created":"1999-01-01T00:00:00Z","version":"W/\"99\"","location":"https://evil"},
      "groups":[{"value":"admins"}],")" COREWEAVE
                                       R"(":{"sunkPosixUserId":0,"sunkPosixGroupId":0,
      "sunkPosixUsername":"root"}})");
  ASSERT_EQ(answer.status, 201);
  EXPECT_NE(answer.id(), "chosen");
  EXPECT_EQ(json::find_int(answer.extension(COREWEAVE), "sunkPosixUserId"), 10000);
  EXPECT_EQ(json::find_string(answer.extension(COREWEAVE), "sunkPosixUsername"), "mallory");
  EXPECT_EQ(json::serialize(answer.body).find("evil"), std::string::npos);
  EXPECT_EQ(json::serialize(answer.body).find("1999"), std::string::npos);
  expect_error(patch("/Users/" + answer.id(), "[{\"op\":\"replace\",\"path\":\"" COREWEAVE
                                              ":sunkPosixUserId\",\"value\":0}]"),
               400, "mutability");
}

TEST_F(Hostile, HomesAndShellsAreWhatTheOrganizationAllows) {
  int n = 0;
  for (const char* home : {"\"/root\"", "\"/\"", "\"home\"", "\"/home/../root\"", "\"/etc\"",
                           "\"/home\"", "\"/home/a:b\"", "\"/home/a\\nb\"", "7"}) {
    const Answer answer = with_home("u" + std::to_string(++n), home);
    expect_error(answer, 400, "invalidValue", "sunkPreferredHomeDirectory");
  }
  EXPECT_EQ(with_home("ada", "\"/home/lovelace\"").status, 201);
  expect_error(with_home("eve", "\"/home/lovelace\""), 400, "invalidValue",
               "sunkPreferredHomeDirectory");
  for (const char* shell : {"/bin/evil", "/bin/bash -c id", "", "../bin/bash"}) {
    expect_error(post("/Users", R"({"userName":"s",")" COREWEAVE R"(":{"sunkLoginShell":")" +
                                    std::string(shell) + "\"}}"),
                 400, "invalidValue", "sunkLoginShell");
  }
}

TEST_F(Hostile, BodiesOfTheWrongKindOrSize) {
  const std::string big(1 << 20, 'x');
  expect_error(post("/Users", R"({"userName":")" + big + "\"}"), 413, "");
  expect_error(post("/Users", R"({"userName":")" + big.substr(0, 900'000) + "\"}"), 400,
               "invalidValue", "userName");
  std::string deep(100'000, '[');
  expect_error(post("/Users", deep), 400, "invalidSyntax");
  expect_error(post("/Users", "{\"userName\":"), 400, "invalidSyntax");
  expect_error(post("/Users", "{\"userName\":\"a\"} x"), 400, "invalidSyntax");
  expect_error(post("/Users", "\"text\""), 400, "invalidSyntax");
  expect_error(post("/Users", std::string("{\"userName\":\"\xff\"}")), 400, "invalidSyntax");
  const std::string body = R"({"userName":"a"})";
  for (const char* type : {"text/plain", "application/x-www-form-urlencoded", "application/xml",
                           "application/jsonx", ""}) {
    expect_error(send(okta_, "POST", "/Users", body, {{"Content-Type", type}}), 415, "");
  }
  EXPECT_EQ(send(okta_, "POST", "/Users", body,
                 {{"Content-Type", "Application/SCIM+json ; charset=utf-8"}})
                .status,
            201);
  expect_error(get("/Users?filter=%zz"), 400, "invalidValue");
  expect_error(get("/Users?filter=userName%20eq%20%22a%00%22"), 400, "invalidValue");
}

// CWE-89: a filter's literals are parameters.
TEST_F(Hostile, QuotesInFiltersAreData) {
  make_user("ada");
  for (const char* filter : {"userName%20eq%20%22'%20OR%201=1--%22", "userName%20sw%20%22%25%22",
                             "id%20eq%20%22'%3BDROP%20TABLE%20usr%22", "userName%20sw%20%22_%22"}) {
    EXPECT_EQ(get(std::string("/Users?filter=") + filter).total(), 0) << filter;
  }
  EXPECT_EQ(get("/Users").total(), 1);
}

TEST_F(Hostile, GroupsInGroupsAndUnknownMembers) {
  const std::string inner = make_group("inner");
  const std::string outer = make_group("outer", R"([{"value":")" + inner + "\"}]");
  EXPECT_EQ(get("/Groups/" + outer).body.at("members").at(0).at("type"), "Group");
  expect_error(post("/Groups", R"({"displayName":"x","members":[{"value":"nobody"}]})"), 400,
               "invalidValue", "nobody");
  EXPECT_EQ(get("/Groups").total(), 2) << "a group is not created without its members";
}

}  // namespace
}  // namespace roster::provider
