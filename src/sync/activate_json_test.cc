#include "sync/activate_json.h"

#include <gtest/gtest.h>

#include "base/encoding.h"

namespace roster::sync {
namespace {

TEST(ActivateJson, ReadsWhatTheApiDocumentSays) {
  const auto page = parse_activate_users(
      R"({"total":7,"users":[{"id":"65f","username":"Jake.Thayne","active":true,"uid":1001,
          "email":"jake@example.org","name":"Jake Thayne","createdAt":"2025-01-01T00:00:00Z"},
         {"id":"66f","username":"svc","active":false,"name":"a\nb"}]})");
  ASSERT_TRUE(page) << page.error().message;
  EXPECT_EQ(page->total, 7);
  ASSERT_EQ(page->items.size(), 2u);
  EXPECT_EQ(page->items[0].username, "Jake.Thayne");
  EXPECT_EQ(page->items[0].email, "jake@example.org");
  EXPECT_EQ(page->items[1].active, false);
  EXPECT_FALSE(page->items[1].email);
  EXPECT_FALSE(page->items[1].name) << "two lines are no name";

  const auto groups =
      parse_activate_groups(R"([{"name":"dev","id":"g1","members":3},{"name":"x"}])");
  ASSERT_TRUE(groups);
  EXPECT_EQ(groups->items[0].id, "g1");
  EXPECT_EQ(groups->items[1].id, "x");
  EXPECT_TRUE(parse_activate_groups("null")->items.empty());

  const auto members = parse_activate_members(R"([{"username":"a","id":"1","email":"e"}])");
  ASSERT_TRUE(members);
  EXPECT_EQ(members->at(0).id, "1");
  EXPECT_EQ(*parse_activate_organization(R"("parallelworks")"), "parallelworks");
}

TEST(ActivateJson, RefusesEverythingElse) {
  for (const std::string_view body :
       {"", "<html>", "[]", "{}", R"({"users":[]})", R"({"total":1})", R"({"users":{},"total":0})",
        R"({"users":[1],"total":1})", R"({"users":[{"username":"a"}],"total":1})",
        R"({"users":[{"id":"1","username":""}],"total":1})", R"({"users":[],"total":-1})",
        R"({"users":[{"id":"1","username":"a\nb"}],"total":1})"}) {
    const auto page = parse_activate_users(body);
    ASSERT_FALSE(page) << body;
    EXPECT_EQ(page.error().code, Code::kDataLoss);
  }
  EXPECT_FALSE(parse_activate_groups(R"([{"id":"1","name":null}])"));
  EXPECT_FALSE(parse_activate_groups("{}"));
  EXPECT_FALSE(parse_activate_members(R"([{"id":"1"}])"));
  EXPECT_FALSE(parse_activate_organization(R"({"name":"x"})"));
}

TEST(ActivateJson, TheCredentialNamesThePlatform) {
  // The example of the published SDK's documentation.
  EXPECT_EQ(*activate_host(Secret("pwt_Y2xvdWQucGFyYWxsZWwud29ya3M.xxxxx")),
            "cloud.parallel.works");
  EXPECT_EQ(*activate_host(Secret("pwt_" + base64_encode("host.example:8443") + ".x")),
            "host.example:8443");
  const std::string claims = base64url_encode(R"({"platform_host":"https://p.example.org"})");
  EXPECT_EQ(*activate_host(Secret("e30." + claims + ".sig")), "p.example.org");
  for (const std::string& text :
       std::vector<std::string>{"", "pwt_", "pwt_Y2xvdWQ", "pwt_!!!.secret", "a.b", "a.b.c",
                                "secret", "pwt_" + base64url_encode("evil/@host") + ".secret",
                                "e30." + base64url_encode("{}") + ".s"}) {
    const auto host = activate_host(Secret(text));
    ASSERT_FALSE(host) << text;
    EXPECT_EQ(host.error().code, Code::kInvalidArgument);
    EXPECT_FALSE(host.error().message.contains("secret"));
  }
}

}  // namespace
}  // namespace roster::sync
