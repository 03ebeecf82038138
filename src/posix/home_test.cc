#include "posix/home.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace roster::posix {
namespace {

using testing::HasSubstr;

LoginName login(std::string_view text) { return LoginName::parse(text).value(); }

HomePrefixes prefixes(std::vector<std::string> list) { return HomePrefixes::parse(list).value(); }

TEST(HomeTest, CleanPathsBelowAPrefixPass) {
  EXPECT_EQ(parse_home("/home/alice", {}), "/home/alice");
  EXPECT_EQ(parse_home("/home/alice/", {}), "/home/alice");
  EXPECT_EQ(parse_home("/home/team/a.b-c_d", {}), "/home/team/a.b-c_d");
  EXPECT_EQ(parse_home("/mnt/home/alice", prefixes({"/home", "/mnt/home"})), "/mnt/home/alice");
}

TEST(HomeTest, HostilePathsAreRefused) {
  for (const std::string& text : {std::string(),
                                  std::string("/"),
                                  std::string("/root"),
                                  std::string("/root/x"),
                                  std::string("/etc"),
                                  std::string("/home"),
                                  std::string("/home/"),
                                  std::string("/homealice"),
                                  std::string("/home/../root"),
                                  std::string("/home/alice/.."),
                                  std::string("/home/./alice"),
                                  std::string("/home/."),
                                  std::string("/home/.."),
                                  std::string("//home/alice"),
                                  std::string("/home//alice"),
                                  std::string("/home/alice//"),
                                  std::string("home/alice"),
                                  std::string("~alice"),
                                  std::string("$HOME"),
                                  std::string("/home/a:b"),
                                  std::string("/home/a\nb"),
                                  std::string("/home/a\0b", 9),
                                  std::string("/home/a b"),
                                  std::string("/home/$(id)"),
                                  std::string("/home/%u"),
                                  std::string("/home/é"),
                                  "/home/" + std::string(300, 'x'),
                                  std::string(1 << 20, '/')}) {
    const auto home = parse_home(text, {});
    ASSERT_FALSE(home) << text.substr(0, 40);
    EXPECT_EQ(home.error().code, Code::kInvalidArgument);
    EXPECT_LT(home.error().message.size(), 120U);
  }
  EXPECT_EQ(parse_home("/root", {}).error().message, "not a home directory: it is not below /home");
}

// With nested prefixes, a home that is itself a prefix would own everybody's home inside.
TEST(HomeTest, NoHomeHoldsAPrefix) {
  const HomePrefixes nested = prefixes({"/home", "/home/labs/physics"});
  EXPECT_FALSE(parse_home("/home/labs/physics", nested));
  EXPECT_FALSE(parse_home("/home/labs", nested));
  EXPECT_TRUE(parse_home("/home/labs/physics/alice", nested));
  EXPECT_TRUE(parse_home("/home/labs/chemistry", nested));
}

TEST(HomeTest, PrefixesOfTheSystemAreRefused) {
  for (const std::string& bad :
       {std::string("/"), std::string(""), std::string("/root"), std::string("/etc"),
        std::string("/etc/x"), std::string("/usr/local"), std::string("/var"),
        std::string("/var/lib/roster"), std::string("/run/user"), std::string("/tmp"),
        std::string("/home/.."), std::string("home"), std::string("/a b")}) {
    EXPECT_FALSE(HomePrefixes::parse(std::vector<std::string>{"/home", bad})) << bad;
  }
  for (const std::string& good :
       {std::string("/home"), std::string("/mnt/home/"), std::string("/data"),
        std::string("/var/home"), std::string("/rooty"), std::string("/etcetera")}) {
    EXPECT_TRUE(HomePrefixes::parse(std::vector<std::string>{good})) << good;
  }
  EXPECT_FALSE(HomePrefixes::parse({}));
  EXPECT_FALSE(HomePrefixes::parse(std::vector<std::string>(17, "/home")));
  EXPECT_THAT(HomePrefixes::parse(std::vector<std::string>{"/home", "/etc"}).error().message,
              HasSubstr("prefix 2 of homes: /etc belongs to the system"));
}

TEST(HomeTest, Overlap) {
  EXPECT_TRUE(homes_overlap("/home/a", "/home/a"));
  EXPECT_TRUE(homes_overlap("/home/a", "/home/a/b"));
  EXPECT_TRUE(homes_overlap("/home/a/b", "/home/a"));
  EXPECT_FALSE(homes_overlap("/home/a", "/home/ab"));
  EXPECT_FALSE(homes_overlap("/home/a", "/home/b"));
}

TEST(HomeTemplateTest, Expansion) {
  EXPECT_EQ(HomeTemplate().expand(login("alice"), 10000), "/home/alice");
  const auto expand = [](std::string_view text) {
    return HomeTemplate::parse(text, {}).value().expand(login("a.b"), 10000);
  };
  EXPECT_EQ(expand("/home/{login}"), "/home/a.b");
  EXPECT_EQ(expand("/home/%u/"), "/home/a.b");
  EXPECT_EQ(expand("/home/{uid}/home"), "/home/10000/home");
  EXPECT_EQ(expand("/home/{login}-{uid}/{login}"), "/home/a.b-10000/a.b");
  EXPECT_EQ(expand("/home/{uid}{login}"), "/home/10000a.b");
}

TEST(HomeTemplateTest, BadTemplatesAreRefused) {
  for (const std::string& bad :
       {std::string(), std::string("/home/shared"), std::string("/home/{user}"),
        std::string("/home/%h"), std::string("/home/{login"), std::string("/{login}"),
        std::string("/root/{login}"), std::string("/home/../{login}"),
        std::string("/home/{login}{uid}"), std::string("/home/%u00{uid}"),
        std::string("/home/{login}:x"), std::string("/home/{login}\n"),
        "/home/" + std::string(230, 'x') + "{login}"}) {
    const auto parsed = HomeTemplate::parse(bad, {});
    ASSERT_FALSE(parsed) << bad;
    EXPECT_THAT(parsed.error().message, HasSubstr("template of homes"));
  }
}

}  // namespace
}  // namespace roster::posix
