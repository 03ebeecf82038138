#include <gmock/gmock.h>

#include <set>

#include "directory/testing/fixture.h"
#include "directory/testing/keys.h"

namespace roster::directory {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::must;
using ::testing::Pair;
using testing::ssh_key;
using testing::user_named;
using testing::World;
using Kind = MemberOp::Kind;

class ChangesTest : public store::testing::BothEngines {};
ROSTER_BOTH_ENGINES(ChangesTest);

Directory::ChangePage since(World& world, Seq seq, std::size_t changes_max = 1000) {
  return must(world.directory->changes(world.acme, seq, changes_max));
}

TEST_P(ChangesTest, RecordsAreThePresentState) {
  World world(GetParam());
  const Seq start = world.org().seq;
  UserInput input = user_named("alice");
  input.doc["name"] = json::object{{"givenName", "Alice"}, {"familyName", "Smith: x,\n"}};
  input.keys = std::vector{ssh_key(2), ssh_key(1)};
  input.keys->front().not_after = from_millis(1'800'000'000'500);
  const User alice = must(world.directory->create_user(world.okta, world.acme, input));
  const Group lab = world.add_group("lab", {alice.id});
  const Group outer = world.add_group("outer", {lab.id});
  must(world.directory->set_valid_until(world.operator_, world.acme, alice.id,
                                        from_millis(1'900'000'000'999)));

  const Directory::ChangePage page = since(world, start);
  EXPECT_FALSE(page.more);
  EXPECT_EQ(page.next, page.head);
  EXPECT_EQ(page.head, world.org().seq);
  ASSERT_EQ(page.users.size(), 1U);
  const posix::NodeUser& user = page.users[0].record;
  EXPECT_FALSE(page.users[0].gone);
  EXPECT_EQ(user.n, alice.posix->n);
  EXPECT_EQ(user.seq, page.head);
  EXPECT_EQ(user.name.str(), "alice");
  EXPECT_EQ(user.uid, 10000U);
  EXPECT_EQ(user.gid, 10000U);
  EXPECT_EQ(user.gecos, "Alice Smith x");
  EXPECT_EQ(user.home, "/home/alice");
  EXPECT_EQ(user.shell, "/bin/bash");
  EXPECT_FALSE(user.locked);
  EXPECT_EQ(user.valid_until, 1'900'000'000);
  EXPECT_THAT(user.groups, ElementsAre(lab.posix->n));
  ASSERT_EQ(user.keys.size(), 2U);
  EXPECT_EQ(user.keys[0].not_after + user.keys[1].not_after, 1'800'000'000);
  ASSERT_EQ(page.groups.size(), 2U);
  EXPECT_EQ(page.groups[0].record.name.str(), "outer");  // its last change came before lab's
  EXPECT_EQ(page.groups[1].record.name.str(), "lab");
  EXPECT_THAT(page.groups[1].record.parents, ElementsAre(outer.posix->n));
  // The scan of a snapshot gives the same records.
  const auto users = must(world.directory->scan_node_users(world.acme, 0, 10));
  ASSERT_EQ(users.size(), 1U);
  EXPECT_EQ(users[0].record, user);
  EXPECT_EQ(must(world.directory->scan_node_groups(world.acme, 0, 10)).size(), 2U);
}

TEST_P(ChangesTest, EachEntityOnceInAPageAndPagesJoin) {
  World world(GetParam());
  const Seq start = world.org().seq;
  std::vector<std::string> ids;
  for (int i = 0; i < 7; ++i) ids.push_back(world.add_user("u" + std::to_string(i)).id);
  const Group lab = world.add_group("lab", ids);
  std::size_t records = 0;
  std::size_t pages = 0;
  Seq at = start;
  for (;; ++pages) {
    const Directory::ChangePage page = since(world, at, 4);
    records += page.users.size() + page.groups.size();
    EXPECT_GT(page.next, at);
    at = page.next;
    if (!page.more) break;
  }
  EXPECT_EQ(at, world.org().seq);
  EXPECT_EQ(records, 7U + 1U + 7U);
  EXPECT_EQ(pages, 3U);
  EXPECT_THAT(since(world, at).users, IsEmpty());
  const Directory::ChangePage whole = since(world, start);
  EXPECT_EQ(whole.users.size(), 7U);
  EXPECT_EQ(whole.groups.size(), 1U);
}

TEST_P(ChangesTest, LockedHiddenAndDeletedPeople) {
  World world(GetParam());
  const User alice = world.add_user("alice");
  const Group lab = world.add_group("lab", {alice.id});
  Seq at = world.org().seq;
  must(world.set(alice, "active", false));
  Directory::ChangePage page = since(world, at);
  ASSERT_EQ(page.users.size(), 1U);
  EXPECT_FALSE(page.users[0].gone);
  EXPECT_TRUE(page.users[0].record.locked);
  EXPECT_THAT(page.users[0].record.groups, ElementsAre(lab.posix->n));  // the agent decides
  OrgSettings settings = world.org().settings;
  settings.leaver_policy = LeaverPolicy::kHide;
  must(
      world.directory->update_org_settings(world.operator_, world.acme, testing::always(settings)));
  EXPECT_TRUE(since(world, at).users[0].gone);
  const auto scan = must(world.directory->scan_node_users(world.acme, 0, 1));
  ASSERT_EQ(scan.size(), 1U);
  EXPECT_TRUE(scan[0].gone);
  EXPECT_THAT(must(world.directory->scan_node_users(world.acme, alice.posix->n, 1)), IsEmpty());

  at = world.org().seq;
  must(world.directory->delete_user(world.okta, world.acme, alice.id, {}));
  must(world.directory->delete_group(world.okta, world.acme, lab.id, {}));
  page = since(world, at);
  ASSERT_EQ(page.users.size(), 1U);
  EXPECT_TRUE(page.users[0].gone);
  EXPECT_EQ(page.users[0].record.n, alice.posix->n);
  ASSERT_EQ(page.groups.size(), 1U);
  EXPECT_TRUE(page.groups[0].gone);
  EXPECT_EQ(page.head.value, at.value + 2);
  EXPECT_THAT(must(world.directory->tombstones(world.acme, 0, 10)),
              ElementsAre(alice.posix->n, lab.posix->n));
}

TEST_P(ChangesTest, TagsProveAPositionAndPruningForgetsOldOnes) {
  World world(GetParam());
  for (int i = 0; i < 5; ++i) world.add_user("u" + std::to_string(i));
  const Seq head = world.org().seq;
  EXPECT_EQ(must(world.directory->change_tag(world.acme, Seq{0})), 0U);
  std::set<std::uint64_t> tags;
  for (std::uint64_t seq = 1; seq <= head.value; ++seq) {  // administrative acts have tags too
    const auto tag = must(world.directory->change_tag(world.acme, Seq{seq}));
    ASSERT_TRUE(tag) << seq;
    tags.insert(*tag);
  }
  EXPECT_EQ(tags.size(), head.value);
  EXPECT_EQ(must(world.directory->change_tag(world.acme, Seq{head.value + 1})), std::nullopt);
  EXPECT_EQ(world.directory->changes(world.acme, Seq{head.value + 1}, 10).error().code,
            Code::kFailedPrecondition);
  must(world.directory->prune_changes(world.acme, Seq{4}));
  EXPECT_EQ(world.org().min_seq, Seq{4});
  EXPECT_EQ(world.directory->changes(world.acme, Seq{3}, 10).error().code,
            Code::kFailedPrecondition);
  EXPECT_EQ(since(world, Seq{4}).users.size(), head.value - 4);
  EXPECT_TRUE(must(world.directory->change_tag(world.acme, Seq{4})));
  EXPECT_FALSE(must(world.directory->change_tag(world.acme, Seq{3})));
  must(world.directory->prune_changes(world.acme, Seq{head.value + 100}));
  EXPECT_EQ(world.org().min_seq, head);
}

TEST_P(ChangesTest, ListenersHearOfWhatNodesSeeAndOfNothingElse) {
  World world(GetParam());
  world.reopen();
  std::vector<std::pair<std::string, std::uint64_t>> heard;
  world.directory->on_commit(
      [&heard](const Commit& commit) { heard.emplace_back(commit.slug, commit.head.value); });
  const User alice = world.add_user("alice");
  const std::uint64_t head = world.org().seq.value;
  EXPECT_THAT(heard, ElementsAre(Pair("acme", head)));
  must(world.set(alice, "active", true));                                  // nothing changes
  must(world.directory->create_client(world.operator_, world.acme, "x"));  // no node sees it
  EXPECT_FALSE(world.change_members(world.add_group("g"), {{Kind::kAdd, {"nobody"}}}));
  EXPECT_EQ(heard.size(), 2U);
  must(world.directory->new_epoch(world.acme, 0));
  EXPECT_EQ(heard.size(), 3U);
}

TEST_P(ChangesTest, TheFuseHoldsWhenManyLeave) {
  World world(GetParam());
  std::vector<User> users;
  for (int i = 0; i < 30; ++i) users.push_back(world.add_user("u" + std::to_string(i)));
  const auto leave = [&](std::size_t i) { must(world.set(users[i], "active", false)); };
  for (std::size_t i = 0; i < 15; ++i) leave(i);
  for (std::size_t i = 15; i < 20; ++i) {
    must(world.directory->delete_user(world.okta, world.acme, users[i].id, {}));
  }
  must(world.directory->delete_user(world.okta, world.acme, users[0].id, {}));  // has left already
  Directory::Fuse fuse = must(world.directory->fuse(world.acme));
  EXPECT_EQ(fuse.leavers, 20);
  EXPECT_EQ(fuse.limit, 20);
  EXPECT_FALSE(fuse.held);
  leave(20);
  EXPECT_TRUE(must(world.directory->fuse(world.acme)).held);
  // Who comes back has not left.
  must(world.set(users[20], "active", true));
  EXPECT_FALSE(must(world.directory->fuse(world.acme)).held);
  leave(21);
  fuse = must(world.directory->release_fuse(world.operator_, world.acme));
  EXPECT_FALSE(fuse.held);
  EXPECT_EQ(fuse.released_until, world.clock.now() + std::chrono::hours(1));
  world.clock.advance(std::chrono::minutes(61));
  fuse = must(world.directory->fuse(world.acme));
  EXPECT_EQ(fuse.leavers, 0);
  EXPECT_EQ(fuse.released_until, std::nullopt);
}

}  // namespace
}  // namespace roster::directory
