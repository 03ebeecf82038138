#include <gmock/gmock.h>

#include "directory/group_rows.h"
#include "directory/nesting.h"
#include "directory/testing/crowd.h"
#include "directory/testing/fixture.h"
#include "directory/testing/observed.h"

namespace roster::directory {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::must;
using ::testing::Not;
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

/// A directory with one group of 12,000, whose reads are watched.
class BigGroup {
 public:
  explicit BigGroup(store::Engine engine) : database_(engine) {
    ada_ = add("ada").id;
    bob_ = add("bob").id;
    testing::add_crowd(*database_, org_, bob_, 12'000, true);
    const Group inner = add_group("inner", {bob_});
    group_ = add_group("big", {ada_, inner.id});
    testing::join_crowd(*database_, group_.n);
  }

  User add(const std::string& name) {
    return must(directory_->create_user(admin_, org_, testing::user_named(name)));
  }
  Group add_group(const std::string& name, const std::vector<std::string>& members) {
    return must(directory_->create_group(admin_, org_, testing::group_named(name), members));
  }
  void change(MemberOp::Kind kind, const std::string& id) {
    must(directory_->update_group(admin_, org_, group_.id, {}, [&kind, &id](const Group& current) {
      return Result<Directory::GroupChange>({{current.doc, {}}, {{kind, {id}}}});
    }));
  }
  Group get(Nesting* flattened = nullptr) {
    const Load load{.members = true, .flattened = flattened};
    return must(directory_->get_group(admin_, org_, group_.id, load));
  }
  /// `then` runs before each read.
  void watch(std::function<void()> then) { before_read_ = std::move(then); }

  store::testing::TestDatabase database_;
  int reads_ = 0;
  int rows_ = 0;         // of people in this read
  int rows_most_ = 0;    // in any
  bool people_ = false;  // the statement that runs is one of people
  std::function<void()> before_read_ = [] {};
  testing::ObservedDatabase observed_{
      *database_,
      {.statement =
           [this](const store::Statement& statement, auto) {
             people_ = statement.name == "group.people" || statement.name == "group.user_members";
           },
       .row = [this] { rows_most_ = std::max(rows_most_, rows_ += people_ ? 1 : 0); },
       .write = [](store::Urgency) {},
       .read =
           [this] {
             ++reads_;
             rows_ = 0;
             std::exchange(before_read_, [] {})();
           }}};
  std::unique_ptr<Directory> directory_ = must(Directory::open(observed_));
  Actor admin_;
  OrgN org_ = must(directory_->create_org(admin_, "acme")).n;
  Group group_;
  std::string ada_;
  std::string bob_;
};

// The members of one group kept one snapshot for a third of a second.
TEST_P(ListsTest, ABigGroupIsReadInParts) {
  BigGroup big(GetParam());
  const Group direct = big.get();
  ASSERT_EQ(direct.members.size(), 12'002U);
  EXPECT_EQ(direct.members.front().display, "ada");
  EXPECT_EQ(direct.members[1].display, "crowd100001");
  EXPECT_EQ(direct.members.back().display, "inner");
  EXPECT_TRUE(direct.members.back().is_group);
  EXPECT_LE(big.rows_most_, static_cast<int>(kMembersPerRead));
  Nesting nesting;
  const Group flat = big.get(&nesting);
  ASSERT_EQ(flat.members.size(), 12'002U);
  EXPECT_EQ(flat.members[1].display, "bob") << "in order of id";
  EXPECT_EQ(flat.members.back().display, "crowd112000");
  // A small group of a big one is as big for readers; a list gives each by itself.
  big.add_group("small", {big.group_.id});
  for (Nesting* flattened : {static_cast<Nesting*>(nullptr), &nesting}) {
    std::vector<std::size_t> pages;
    std::string after;
    bool more = true;
    while (more) {
      const auto page = must(big.directory_->list_groups(
          big.admin_, big.org_, after, 10, {.members = true, .flattened = flattened}));
      for (const Group& group : page.items) pages.push_back(group.members.size());
      pages.push_back(0);
      after = page.items.back().id;
      more = page.more;
    }
    const std::size_t small = flattened == nullptr ? 1 : 12'002;
    EXPECT_THAT(pages, ElementsAre(1, 0, 12'002, 0, small, 0));
  }
  EXPECT_LE(big.rows_most_, static_cast<int>(kMembersPerRead));
}

// Parts of several moments would make a group that never was.
TEST_P(ListsTest, ABigGroupIsAsOneMomentHadIt) {
  BigGroup big(GetParam());
  const std::string eve = big.add("eve").id;
  big.reads_ = 0;
  big.watch([&big, &eve] {
    big.watch([&big, &eve] {
      big.change(MemberOp::Kind::kAdd, eve);
      must(big.directory_->delete_user(big.admin_, big.org_, big.ada_, {}));
    });
  });
  const Group group = big.get();
  EXPECT_EQ(group.version,
            must(big.directory_->get_group(big.admin_, big.org_, group.id, {})).version);
  EXPECT_THAT(displays(group), Not(Contains("ada")));
  EXPECT_THAT(displays(group), Contains("eve"));
  EXPECT_EQ(group.members.size(), 12'002U);
  // It does not wait for a quiet moment.
  int changes = 0;
  const std::function<void()> always = [&big, &always, &changes, &eve] {
    if (++changes > 20) return;
    big.change(changes % 2 == 0 ? MemberOp::Kind::kAdd : MemberOp::Kind::kRemove, eve);
    big.watch(always);
  };
  big.watch(always);
  const Group busy = big.get();
  EXPECT_LT(changes, 20);
  EXPECT_EQ(static_cast<std::int64_t>(busy.members.size()), busy.member_count);
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
