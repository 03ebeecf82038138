#include <gmock/gmock.h>

#include "directory/group_rows.h"
#include "directory/nesting.h"
#include "directory/testing/fixture.h"
#include "directory/testing/observed.h"

namespace roster::directory {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::must;
using testing::World;

class ListsTest : public store::testing::BothEngines {};
ROSTER_BOTH_ENGINES(ListsTest);

std::vector<std::string> displays(const Group& group) {
  std::vector<std::string> out;
  for (const Reference& member : group.members) out.push_back(member.display);
  return out;
}

TEST_P(ListsTest, NestedGroupsShowEverybodyOnce) {
  World world(GetParam());
  const User ada = world.add_user("ada");
  const User bob = world.add_user("bob");
  const User eve = world.add_user("eve");
  const Group low = world.add_group("low", {ada.id, bob.id});
  const Group left = world.add_group("left", {low.id, bob.id});
  const Group right = world.add_group("right", {low.id, eve.id});
  const Group top = world.add_group("top", {right.id, left.id});
  must(world.change_members(low, {{MemberOp::Kind::kAdd, {top.id}}}));  // a circle
  world.add_group("plain", {eve.id});
  Nesting nesting;
  const Load flat{.members = true, .flattened = &nesting};
  const auto page = must(world.directory->list_groups(world.okta, world.acme, "", 10, flat));
  ASSERT_EQ(page.items.size(), 5U);
  for (const Group& group : page.items) {
    if (group.doc.at("displayName") == "plain") {
      EXPECT_THAT(displays(group), ElementsAre("eve"));
    } else {
      EXPECT_THAT(displays(group), ElementsAre("ada", "bob", "eve")) << group.doc.at("displayName");
    }
  }
  using Field = Condition::Field;
  const auto groups_with = [&world](const std::string& id) {
    const std::vector<Condition> condition{
        {.field = Field::kMember, .op = Condition::Op::kEqual, .text = id, .nested = true}};
    return must(world.directory->select_groups(world.okta, world.acme, condition, ""))->size();
  };
  EXPECT_EQ(groups_with(ada.id), 4U);
  EXPECT_EQ(groups_with(eve.id), 5U);
  EXPECT_EQ(groups_with(low.id), 0U) << "groups are not among the members there";
}

// A read of a thousand groups with all their members would hold its snapshot for minutes.
TEST_P(ListsTest, AReadEndsBehindManyMembers) {
  World world(GetParam());
  std::vector<std::string> ids;
  for (int i = 0; i < 210; ++i) ids.push_back(world.add_user("u" + std::to_string(i)).id);
  std::string inner = world.add_group("g0", ids).id;
  const int groups = static_cast<int>(kMembersPerRead) / 210 + 5;
  for (int i = 1; i < groups; ++i) {
    inner = world.add_group("g" + std::to_string(i), {inner}).id;
  }
  Nesting nesting;
  const Load flat{.members = true, .flattened = &nesting};
  const auto first = must(world.directory->list_groups(world.okta, world.acme, "", 1000, flat));
  EXPECT_TRUE(first.more);
  EXPECT_EQ(first.items.size(), kMembersPerRead / 210 + 1);
  const auto rest =
      must(world.directory->list_groups(world.okta, world.acme, first.items.back().id, 1000, flat));
  EXPECT_FALSE(rest.more);
  EXPECT_EQ(static_cast<int>(first.items.size() + rest.items.size()), groups);
  EXPECT_EQ(rest.items.back().members.size(), ids.size());
  const auto direct =
      must(world.directory->list_groups(world.okta, world.acme, "", 1000, {.members = true}));
  EXPECT_FALSE(direct.more);
}

// Each group of a chain read all that is below it again.
TEST(NestingTest, ReadsEachGroupOnce) {
  store::testing::TestDatabase database(store::Engine::kSqlite);
  int reads = 0;
  testing::Observer observer;
  observer.statement = [&reads](const store::Statement& statement, auto) {
    reads += statement.name == "nesting.direct" ? 1 : 0;
  };
  testing::ObservedDatabase observed(*database, observer);
  const auto directory = must(Directory::open(observed));
  Actor admin;
  admin.name = "operator";
  const OrgN org = must(directory->create_org(admin, "acme")).n;
  std::string inner = must(directory->create_user(admin, org, testing::user_named("ada"))).id;
  for (int i = 0; i < 30; ++i) {
    const std::vector<std::string> members{inner};
    inner = must(directory->create_group(admin, org, testing::group_named("g" + std::to_string(i)),
                                         members))
                .id;
  }
  Nesting nesting;
  const auto page =
      must(directory->list_groups(admin, org, "", 100, {.members = true, .flattened = &nesting}));
  EXPECT_EQ(page.items.size(), 30U);
  EXPECT_THAT(displays(page.items.back()), ElementsAre("ada"));
  EXPECT_EQ(reads, 30);
}

TEST_P(ListsTest, CountsWhoMayLogIn) {
  World world(GetParam());
  const auto count = [&world] {
    return must(world.directory->count_who_may_log_in(world.acme, world.clock.now()));
  };
  EXPECT_EQ(count(), 0);
  const User ada = world.add_user("ada");
  const User bob = world.add_user("bob");
  world.add_user("eve");
  const Timestamp end = world.clock.now() + std::chrono::hours(1);
  for (const User& user : {ada, bob}) {
    must(world.directory->set_valid_until(world.operator_, world.acme, user.id, end));
  }
  EXPECT_EQ(count(), 3);
  must(world.directory->set_user_active(world.okta, world.acme, bob.id, false));
  EXPECT_EQ(count(), 2);
  world.clock.advance(std::chrono::hours(1));
  EXPECT_EQ(count(), 1) << "bob is not counted off twice";
}

TEST_P(ListsTest, NamesSelectMembersAndGroups) {
  World world(GetParam());
  const User ada = world.add_user("ada");
  const User bob = world.add_user("bob");
  const Group one = world.add_group("Team One", {bob.id, ada.id});
  const Group two = world.add_group("two", {ada.id, one.id});
  const auto people = [&world](std::vector<std::string> names, const std::string& after = "") {
    return must(world.directory->select_members(world.acme, names, after));
  };
  EXPECT_THAT(people({"teamone", "TWO", "nosuch", one.id}), ElementsAre(ada.n, bob.n));
  EXPECT_THAT(people({"two"}), ElementsAre(ada.n));
  EXPECT_THAT(people({"team one"}, ada.id), ElementsAre(bob.n));
  EXPECT_THAT(people({}), IsEmpty());
  const std::vector<std::string> names{"two", "teamone", "two"};
  EXPECT_THAT(must(world.directory->select_named(world.acme, names, "")),
              ElementsAre(one.n, two.n));
  // Numbers of another organization give nobody.
  const OrgN other = must(world.directory->create_org(world.operator_, "other")).n;
  const std::vector<UserN> numbers{ada.n};
  EXPECT_THAT(must(world.directory->get_users(world.operator_, other, numbers, {})).items,
              IsEmpty());
  EXPECT_FALSE(world.directory->get_users(world.okta, other, numbers, {}));
}

}  // namespace
}  // namespace roster::directory
