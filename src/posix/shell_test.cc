#include "posix/shell.h"

#include <gtest/gtest.h>

#include <vector>

#include "posix/path_rule.h"

namespace roster::posix {
namespace {

TEST(ShellTest, DefaultListIsCleanAndHasWhatWeGive) {
  for (const std::string_view shell : kDefaultShells) {
    EXPECT_TRUE(validate_shell_path(shell)) << shell;
    EXPECT_TRUE(check_shell(shell)) << shell;
  }
  EXPECT_TRUE(check_shell(kNologinShell));
  EXPECT_TRUE(check_shell(kDefaultShell));
}

TEST(ShellTest, OnlyExactMembersOfTheListPass) {
  for (const std::string& shell :
       {std::string(), std::string("bash"), std::string("/bin/bash "), std::string("/bin/bash\n"),
        std::string("/bin/bash:x"), std::string("/bin//bash"), std::string("/bin/../bin/bash"),
        std::string("/BIN/BASH"), std::string("/bin/bash\0", 10), std::string("/bin/bas"),
        std::string("/usr/bin/python3"), std::string("/bin/bash -c reboot"),
        std::string(1 << 20, '/')}) {
    EXPECT_FALSE(check_shell(shell)) << shell.substr(0, 40);
  }
}

TEST(ShellTest, OrganizationsListReplacesTheDefault) {
  const std::vector<std::string> allowed = {"/opt/site/bin/nu"};
  EXPECT_TRUE(check_shell("/opt/site/bin/nu", allowed));
  EXPECT_FALSE(check_shell("/bin/bash", allowed));
  EXPECT_FALSE(check_shell("/bin/bash", std::vector<std::string>{}));
}

TEST(PathRuleTest, Table) {
  for (const std::string& good :
       {std::string("/a"), std::string("/home/alice"), std::string("/mnt/home/a.b-c_d+e@f"),
        std::string("/.a"), std::string("/a..b"), "/" + std::string(254, 'x')}) {
    EXPECT_EQ(path_defect(good), "") << good;
  }
  for (const std::string& bad : {std::string(),           std::string("/"),
                                 std::string("a"),        std::string("~/a"),
                                 std::string("./a"),      std::string("/a/"),
                                 std::string("//a"),      std::string("/a//b"),
                                 std::string("/a/./b"),   std::string("/a/.."),
                                 std::string("/.."),      std::string("/a b"),
                                 std::string("/a:b"),     std::string("/a\nb"),
                                 std::string("/a\0b", 4), std::string("/a'b"),
                                 std::string("/$HOME"),   std::string("/a;b"),
                                 std::string("/a%u"),     std::string("/a*"),
                                 std::string("/é"),       "/" + std::string(255, 'x')}) {
    EXPECT_NE(path_defect(bad), "") << bad;
  }
}

}  // namespace
}  // namespace roster::posix
