#include "cli/table.h"

#include <gtest/gtest.h>

namespace roster::cli {
namespace {

TEST(Table, AlignsByCharactersNotBytes) {
  Table table({"LOGIN", "NAME"});
  table.add({"zoe", "Zoë"});
  table.add({"jürgen", ""});
  EXPECT_EQ(table.render(),
            "LOGIN   NAME\n"
            "zoe     Zoë\n"
            "jürgen  -\n");
}

// A display name from an identity provider must not move the administrator's cursor.
TEST(Table, ControlCharactersDoNotReachTheTerminal) {
  EXPECT_EQ(printable("a\x1b[2Jb\nc\x7f\xc2\x9bz\xc3\xa9"), "a?[2Jb?c??z\xc3\xa9");
}

}  // namespace
}  // namespace roster::cli
