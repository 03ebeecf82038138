#include "directory/identity.h"

#include <gmock/gmock.h>

#include <set>

#include "directory/impl.h"
#include "directory/schema.h"
#include "directory/testing/fixture.h"

namespace roster::directory {
namespace {

using store::Tx;
using testing::group_named;
using testing::must;
using testing::user_named;
using testing::World;

class IdentityTest : public store::testing::BothEngines {};
ROSTER_BOTH_ENGINES(IdentityTest);

/// Runs SQL that only a test needs.
void run(World& world, std::string_view sql) {
  must(world.database->write([sql](Tx& tx) -> Result<void> {
    RETURN_IF_ERROR(tx.execute({"test", sql}));
    return {};
  }));
}

std::string login(World& world, std::string_view user_name) {
  return world.add_user(user_name).posix->name;
}

TEST_P(IdentityTest, NamesOfUsersAndGroupsAreOneTableAndNeverGivenTwice) {
  World world(GetParam());
  EXPECT_EQ(login(world, "alice"), "alice");
  EXPECT_EQ(login(world, "alice@example.org"), "alice2");
  EXPECT_EQ(login(world, "Älice@example.com"), "alice3");
  // A group has no name that a user (and so a private group) has.
  const Group group = world.add_group("Alice");
  EXPECT_EQ(group.posix->name, "alice4");
  EXPECT_EQ(world.add_group("lab").posix->name, "lab");
  EXPECT_EQ(login(world, "lab"), "lab2");
  // One that somebody got by chance is stepped over.
  EXPECT_EQ(login(world, "bob3"), "bob3");
  EXPECT_EQ(login(world, "bob"), "bob");
  EXPECT_EQ(login(world, "bob@a.org"), "bob2");
  EXPECT_EQ(login(world, "bob@b.org"), "bob4");
  // Deleted people and groups keep theirs.
  must(world.directory->delete_group(world.okta, world.acme, group.id, {}));
  EXPECT_EQ(login(world, "alice@c.org"), "alice5");
  // 32 bytes, the suffix included.
  const std::string longest(40, 'x');
  EXPECT_EQ(login(world, longest), std::string(32, 'x'));
  EXPECT_EQ(login(world, longest + "@a.org"), std::string(31, 'x') + "2");
  // Names without a letter are numbers; uids and gids are one space.
  const Group emoji = world.add_group("🎉");
  EXPECT_EQ(emoji.posix->name, "g" + std::to_string(emoji.posix->number));
  // Local accounts' names are never given, and carry no power.
  for (const char* powerful : {"sudo", "wheel", "docker", "shadow", "slurm"}) {
    EXPECT_EQ(world.add_group(powerful).posix->name, std::string(powerful) + "2");
  }
}

TEST_P(IdentityTest, ALaterUserNameOrDisplayNameChangesNothing) {
  World world(GetParam());
  const User alice = world.add_user("alice");
  const User married = must(world.set(alice, "userName", "alice.jones"));
  EXPECT_EQ(married.posix->name, "alice");
  EXPECT_EQ(married.posix->number, alice.posix->number);
  const Group lab = world.add_group("lab");
  const Group renamed =
      must(world.directory->update_group(world.okta, world.acme, lab.id, {}, [](const Group&) {
        return Result<Directory::GroupChange>({group_named("Laboratory"), {}});
      }));
  EXPECT_EQ(renamed.posix->name, "lab");
  // The userName is free for somebody else, the login is not.
  EXPECT_EQ(login(world, "alice"), "alice2");
}

TEST_P(IdentityTest, RenameKeepsTheOldNameReserved) {
  World world(GetParam());
  const User alice = world.add_user("alice");
  const auto rename = [&world](const User& user, std::string_view name) {
    return world.directory->rename_user(world.operator_, world.acme, user.id,
                                        *posix::LoginName::parse(name));
  };
  const User jones = must(rename(alice, "jones"));
  EXPECT_EQ(jones.posix->name, "jones");
  EXPECT_EQ(jones.posix->number, alice.posix->number);
  EXPECT_EQ(jones.home, "/home/alice");
  EXPECT_EQ(jones.version, 2);
  EXPECT_EQ(login(world, "alice@example.org"), "alice2");
  const User bob = world.add_user("bob");
  EXPECT_EQ(rename(bob, "alice").error().code, Code::kAlreadyExists);
  EXPECT_EQ(rename(bob, "jones").error().code, Code::kAlreadyExists);
  EXPECT_EQ(rename(bob, "sudo").error().code, Code::kInvalidArgument);
  // Back and forth: its own names stay its own.
  EXPECT_EQ(must(rename(alice, "alice")).posix->name, "alice");
  EXPECT_EQ(rename(bob, "jones").error().code, Code::kAlreadyExists);
  EXPECT_EQ(must(rename(alice, "jones")).posix->name, "jones");
  const Seq head = world.org().seq;
  must(rename(alice, "jones"));
  EXPECT_EQ(world.org().seq, head);

  const Group lab = world.add_group("lab");
  EXPECT_EQ(must(world.directory->rename_group(world.operator_, world.acme, lab.id,
                                               *posix::GroupName::parse("team")))
                .posix->name,
            "team");
  EXPECT_EQ(world.add_group("lab 2").posix->name, "lab2");
  EXPECT_EQ(
      world.directory
          ->rename_group(world.operator_, world.acme, lab.id, *posix::GroupName::parse("jones"))
          .error()
          .code,
      Code::kAlreadyExists);
}

TEST_P(IdentityTest, IdsComeFromDisjointBlocksAndRunOutWithAnError) {
  World world(GetParam());
  EXPECT_EQ(world.add_user("first").posix->number, 10000U);
  EXPECT_EQ(world.add_group("second").posix->number, 10001U);
  const OrgN beta = must(world.directory->create_org(world.operator_, "beta")).n;
  EXPECT_EQ(
      must(world.directory->create_user(world.operator_, beta, user_named("x"))).posix->number,
      posix::kSliceSpace.first);
  // A full block is followed by the next free slice.
  run(world, "UPDATE id_block SET next = 59999 WHERE first = 10000");
  EXPECT_EQ(world.add_user("last").posix->number, 59999U);
  EXPECT_EQ(world.add_user("next").posix->number, posix::kSliceSpace.first + posix::kSliceSize);
  // All given out: an error that says so, and nothing is left of the attempt.
  run(world, "UPDATE id_block SET next = last + 1 WHERE first > 10000");
  run(world,
      "INSERT INTO id_block (org, first, last, next) SELECT 0, 1879572480, 2147352575, 0 "
      "FROM org WHERE n = 0");
  const Seq head = world.org().seq;
  const auto exhausted =
      world.directory->create_user(world.okta, world.acme, user_named("too-many"));
  ASSERT_FALSE(exhausted);
  EXPECT_EQ(exhausted.error().code, Code::kFailedPrecondition);
  EXPECT_EQ(world.org().seq, head);
  EXPECT_EQ(world.org().users, 3);
}

TEST_P(IdentityTest, RebindIsNotForWhoOnlyLooksLikeThem) {
  World world(GetParam());
  OrgSettings settings;
  settings.rebind_deleted = true;
  must(
      world.directory->update_org_settings(world.operator_, world.acme, testing::always(settings)));
  const auto create_and_delete = [&world](std::string_view name) {
    const User user = must(world.directory->create_user(world.okta, world.acme, user_named(name)));
    must(world.directory->delete_user(world.okta, world.acme, user.id, {}));
    return user.posix->number;
  };
  const auto kim = create_and_delete("kim");
  EXPECT_NE(create_and_delete("k\u00ADim"), kim);
  EXPECT_NE(create_and_delete("\u212Aim"), kim);
  EXPECT_EQ(create_and_delete("Kim"), kim);
}

TEST_P(IdentityTest, RebindGivesTheSamePersonTheirIdentityBack) {
  World world(GetParam());
  OrgSettings settings;
  settings.rebind_deleted = true;
  must(
      world.directory->update_org_settings(world.operator_, world.acme, testing::always(settings)));
  const auto create = [&world](std::string_view name, std::string external) {
    UserInput input = user_named(name);
    input.external_id = std::optional(std::move(external));
    return must(world.directory->create_user(world.okta, world.acme, input));
  };
  const User alice = create("alice", "E-1");
  must(world.directory->delete_user(world.okta, world.acme, alice.id, {}));
  // Another client's person of this name, or with this externalId, is somebody else.
  const Actor entra = world.client("entra");
  UserInput stranger = user_named("alice");
  stranger.external_id = std::optional<std::string>("E-1");
  const User theirs = must(world.directory->create_user(entra, world.acme, stranger));
  EXPECT_NE(theirs.posix->number, alice.posix->number);
  must(world.directory->delete_user(entra, world.acme, theirs.id, {}));
  // The same userName with another externalId is somebody else.
  const User impostor = create("alice", "E-2");
  EXPECT_NE(impostor.posix->number, alice.posix->number);
  const User back = create("alice.jones", "E-1");
  EXPECT_NE(back.id, alice.id);
  EXPECT_EQ(back.posix->number, alice.posix->number);
  EXPECT_EQ(back.posix->name, "alice");
  EXPECT_EQ(back.posix->n, alice.posix->n);
  EXPECT_EQ(back.home, "/home/alice");
  EXPECT_EQ(world.org().users, 2);
  must(world.directory->delete_user(world.okta, world.acme, back.id, {}));
  EXPECT_EQ(world.add_user("alice.jones").posix->number, alice.posix->number);  // by userName
}

TEST_P(IdentityTest, IdsSeenOnNodesAreNotGivenOutAgain) {
  World world(GetParam());
  world.add_user("a");
  const std::string epoch = world.org().epoch;
  const Org restored = must(world.directory->new_epoch(world.acme, 10499));
  EXPECT_NE(restored.epoch, epoch);
  EXPECT_EQ(world.add_user("b").posix->number, 10500U);
  must(world.directory->lift_ids(world.acme, 10400));  // never back
  EXPECT_EQ(world.add_user("c").posix->number, 10501U);
  // What cannot come from this organization moves nothing.
  const OrgN beta = must(world.directory->create_org(world.operator_, "beta")).n;
  const std::uint32_t betas = posix::kSliceSpace.first;
  for (const std::uint32_t foreign : {1000U, 70000U, betas + 5, 2147483647U}) {
    must(world.directory->lift_ids(world.acme, foreign));
  }
  EXPECT_EQ(world.add_user("d").posix->number, 10502U);
  // A slice that the restored hub has forgotten: taken, above what was seen.
  const std::uint32_t forgotten = betas + posix::kSliceSize;
  must(world.directory->lift_ids(world.acme, forgotten + 41));
  EXPECT_EQ(world.add_user("e").posix->number, forgotten + 42);
  // A second claim in a row would be a node that lies.
  must(world.directory->lift_ids(beta, forgotten + 2 * posix::kSliceSize));
  EXPECT_EQ(
      must(world.directory->create_user(world.operator_, beta, user_named("x"))).posix->number,
      betas);
}

// Names are never freed, so the search for a free suffix must not begin at 2 each time.
TEST_P(IdentityTest, TheThousandthNamesakeCostsNoMoreThanTheSecond) {
  World world(GetParam());
  const int namesakes = GetParam() == store::Engine::kSqlite ? 1000 : 50;
  std::set<std::string> names;
  for (int i = 0; i < namesakes; ++i) {
    names.insert(login(world, "john@host" + std::to_string(i) + ".org"));
  }
  EXPECT_EQ(names.size(), static_cast<std::size_t>(namesakes));
  EXPECT_TRUE(names.contains("john" + std::to_string(namesakes)));
  // A name that no person gets has no row of its own, but its namesakes are counted as well.
  for (int i = 2; i < 5; ++i) {
    EXPECT_EQ(login(world, "admin@host" + std::to_string(i) + ".org"), "admin" + std::to_string(i));
  }
}

}  // namespace
}  // namespace roster::directory
