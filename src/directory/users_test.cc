#include <gmock/gmock.h>

#include "directory/testing/fixture.h"

namespace roster::directory {
namespace {

using namespace testing;
using ::testing::ElementsAre;

class UsersTest : public store::testing::BothEngines {};
ROSTER_BOTH_ENGINES(UsersTest);

TEST_P(UsersTest, CreateAllocatesAnIdentity) {
  World world(GetParam());
  const User alice = world.add_user("Alice.Smith@example.org");
  EXPECT_TRUE(is_uuid(alice.id));
  EXPECT_EQ(alice.version, 1);
  EXPECT_TRUE(alice.active);
  EXPECT_EQ(alice.owner, "okta");
  ASSERT_TRUE(alice.posix);
  EXPECT_EQ(alice.posix->name, "alice.smith");
  EXPECT_EQ(alice.posix->number, 10000U);
  EXPECT_EQ(alice.posix->state, IdentityState::kActive);

  const User again = must(world.directory->get_user(world.okta, world.acme, alice.id, {}));
  EXPECT_EQ(json::canonical(again.doc), R"({"active":true,"userName":"Alice.Smith@example.org"})");
  EXPECT_EQ(world.org().users, 1);
  EXPECT_EQ(world.org().active_users, 1);
  world.reopen();
  EXPECT_EQ(must(world.directory->get_user(world.okta, world.acme, alice.id, {})).posix->number,
            10000U);
}

}  // namespace
}  // namespace roster::directory
