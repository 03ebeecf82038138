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

}  // namespace
}  // namespace roster::cli
