#include <gmock/gmock.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <thread>

#include "directory/testing/fixture.h"

namespace roster::directory {
namespace {

using testing::group_named;
using testing::must;
using testing::user_named;
using testing::World;
using Kind = MemberOp::Kind;

class PropertyTest : public store::testing::BothEngines {};
ROSTER_BOTH_ENGINES(PropertyTest);

/// What the directory should hold, in plain containers.
struct Model {
  struct Person {
    std::string user_name;
    std::uint32_t number = 0;
    std::string login;
    bool active = true;
    std::int64_t version = 1;
  };
  struct Team {
    std::string display_name;
    std::uint32_t number = 0;
    std::set<std::string> members;
    std::int64_t version = 1;
  };
  std::map<std::string, Person> people;
  std::map<std::string, Team> teams;
  std::set<std::uint32_t> numbers_ever;
  std::set<std::string> names_ever;
};

/// What a node holds: built from deltas only.
struct Replica {
  Seq at;
  std::map<std::uint64_t, posix::NodeUser> users;
  std::map<std::uint64_t, posix::NodeGroup> groups;

  void follow(World& world, std::size_t changes_max) {
    for (;;) {
      const Directory::ChangePage page =
          must(world.directory->changes(world.acme, at, changes_max));
      for (const Directory::FeedUser& user : page.users) {
        if (user.gone) {
          users.erase(user.record.n);
        } else {
          users.insert_or_assign(user.record.n, user.record);
        }
      }
      for (const Directory::FeedGroup& group : page.groups) {
        if (group.gone) {
          groups.erase(group.record.n);
        } else {
          groups.insert_or_assign(group.record.n, group.record);
        }
      }
      at = page.next;
      if (!page.more) return;
    }
  }

  /// Numbers that no group explains have no effect.
  std::vector<std::uint64_t> known(const std::vector<std::uint64_t>& numbers) const {
    std::vector<std::uint64_t> out;
    std::ranges::copy_if(numbers, std::back_inserter(out),
                         [this](std::uint64_t n) { return groups.contains(n); });
    return out;
  }
};

class Story {
 public:
  Story(World& world, std::uint32_t seed) : world_(world), random_(seed) {
    replica_.at = world.org().seq;
  }

  void step() {
    switch (pick(10)) {
      case 0:
      case 1:
        return create_user();
      case 2:
        return delete_user();
      case 3:
      case 4:
        return toggle_active();
      case 5:
        return set_title();
      case 6:
        return create_group();
      case 7:
        if (pick(4) == 0) return delete_group();
        [[fallthrough]];
      default:
        return change_members();
    }
  }

  void check() {
    const Org org = world_.org();
    EXPECT_EQ(org.users, static_cast<std::int64_t>(model_.people.size()));
    EXPECT_EQ(org.groups, static_cast<std::int64_t>(model_.teams.size()));
    EXPECT_EQ(org.active_users,
              std::ranges::count_if(model_.people, [](const auto& p) { return p.second.active; }));
    check_users();
    check_groups();
    check_replica();
  }

 private:
  std::size_t pick(std::size_t n) { return random_() % n; }

  template <typename T>
  typename T::iterator any(T& container) {
    auto it = container.begin();
    std::advance(it, static_cast<std::ptrdiff_t>(pick(container.size())));
    return it;
  }

  void take(const PosixIdentity& identity) {
    EXPECT_TRUE(model_.numbers_ever.insert(identity.number).second) << identity.number;
    EXPECT_TRUE(model_.names_ever.insert(identity.name).second) << identity.name;
  }

  void create_user() {
    const std::string name = "person" + std::to_string(pick(20));
    const bool taken = std::ranges::any_of(
        model_.people, [&name](const auto& p) { return p.second.user_name == name; });
    UserInput input = user_named(name);
    input.doc["active"] = pick(5) != 0;
    const auto created = world_.directory->create_user(world_.okta, world_.acme, input);
    EXPECT_EQ(created.has_value(), !taken);
    if (!created) return;
    take(*created->posix);
    model_.people[created->id] = {name, created->posix->number, created->posix->name,
                                  created->active, 1};
  }

  void delete_user() {
    if (model_.people.empty()) return;
    const auto person = any(model_.people);
    must(world_.directory->delete_user(world_.okta, world_.acme, person->first, {}));
    for (auto& [id, team] : model_.teams) {
      if (team.members.erase(person->first) > 0) ++team.version;
    }
    model_.people.erase(person);
  }

  void toggle_active() {
    if (model_.people.empty()) return;
    auto& [id, person] = *any(model_.people);
    const bool active = pick(2) == 0;
    const User user = must(world_.directory->set_user_active(world_.okta, world_.acme, id, active));
    if (active != person.active) ++person.version;
    person.active = active;
    EXPECT_EQ(user.version, person.version);
    EXPECT_EQ(user.posix->number, person.number);
    EXPECT_EQ(user.posix->name, person.login);
  }

  void set_title() {
    if (model_.people.empty()) return;
    auto& [id, person] = *any(model_.people);
    const User before = must(world_.directory->get_user(world_.okta, world_.acme, id, {}));
    const std::string title = "title" + std::to_string(pick(2));
    if (json::find_string(before.doc, "title") != title) ++person.version;
    EXPECT_EQ(must(world_.set(before, "title", json::value(title))).version, person.version);
  }

  void create_group() {
    const std::string name = "team" + std::to_string(pick(8));
    const bool taken = std::ranges::any_of(
        model_.teams, [&name](const auto& t) { return t.second.display_name == name; });
    const auto created =
        world_.directory->create_group(world_.okta, world_.acme, group_named(name), {});
    EXPECT_EQ(created.has_value(), !taken);
    if (!created) return;
    take(*created->posix);
    model_.teams[created->id] = {name, created->posix->number, {}, 1};
  }

  void delete_group() {
    if (model_.teams.empty()) return;
    const auto team = any(model_.teams);
    must(world_.directory->delete_group(world_.okta, world_.acme, team->first, {}));
    for (auto& [id, other] : model_.teams) {
      if (other.members.erase(team->first) > 0) ++other.version;
    }
    model_.teams.erase(team);
  }

  std::string any_member() {
    if (!model_.teams.empty() && pick(4) == 0) return any(model_.teams)->first;
    if (!model_.people.empty()) return any(model_.people)->first;
    return "nobody";
  }

  void change_members() {
    if (model_.teams.empty()) return;
    auto& [id, team] = *any(model_.teams);
    std::vector<MemberOp> ops(1 + pick(3));
    std::set<std::string> expected = team.members;
    bool valid = true;
    for (MemberOp& op : ops) {
      op.kind = static_cast<Kind>(pick(4));
      if (op.kind != Kind::kRemoveAll) {
        for (std::size_t i = 0; i <= pick(3); ++i) op.ids.push_back(any_member());
      }
      if (op.kind == Kind::kAdd || op.kind == Kind::kReplaceAll) {
        for (const std::string& member : op.ids) valid &= member != id && member != "nobody";
      }
      if (op.kind == Kind::kReplaceAll || op.kind == Kind::kRemoveAll) expected.clear();
      for (const std::string& member : op.ids) {
        if (op.kind == Kind::kRemove) {
          expected.erase(member);
        } else {
          expected.insert(member);
        }
      }
    }
    Group group;
    group.id = id;
    const auto changed = world_.change_members(group, ops);
    EXPECT_EQ(changed.has_value(), valid);
    if (!changed) return;
    if (expected != team.members) ++team.version;
    team.members = std::move(expected);
    EXPECT_EQ(changed->version, team.version);
    EXPECT_EQ(changed->member_count, static_cast<std::int64_t>(team.members.size()));
  }

  void check_users() {
    std::size_t seen = 0;
    for (std::string after;;) {
      const Page<User> page =
          must(world_.directory->list_users(world_.okta, world_.acme, after, 7, {.groups = true}));
      for (const User& user : page.items) {
        ++seen;
        ASSERT_TRUE(model_.people.contains(user.id));
        const Model::Person& person = model_.people.at(user.id);
        EXPECT_EQ(user.active, person.active);
        EXPECT_EQ(user.version, person.version);
        EXPECT_EQ(user.posix->name, person.login);
        EXPECT_EQ(user.posix->state,
                  person.active ? IdentityState::kActive : IdentityState::kLocked);
        std::set<std::string> groups;
        for (const Reference& group : user.groups) groups.insert(group.id);
        for (const auto& [id, team] : model_.teams) {
          EXPECT_EQ(groups.contains(id), team.members.contains(user.id));
        }
      }
      if (!page.more) break;
      after = page.items.back().id;
    }
    EXPECT_EQ(seen, model_.people.size());
  }

  void check_groups() {
    for (const auto& [id, team] : model_.teams) {
      const Group group =
          must(world_.directory->get_group(world_.okta, world_.acme, id, {.members = true}));
      EXPECT_EQ(group.version, team.version);
      std::set<std::string> members;
      for (const Reference& member : group.members) members.insert(member.id);
      EXPECT_EQ(members, team.members);
      EXPECT_EQ(group.member_count, static_cast<std::int64_t>(members.size()));
    }
  }

  void check_replica() {
    replica_.follow(world_, 1 + pick(50));
    const auto groups = must(world_.directory->scan_node_groups(world_.acme, 0, 1000));
    ASSERT_EQ(replica_.groups.size(), groups.size());
    for (const Directory::FeedGroup& group : groups) {
      posix::NodeGroup mine = replica_.groups.at(group.record.n);
      mine.parents = replica_.known(mine.parents);
      EXPECT_EQ(mine, group.record);
    }
    const auto users = must(world_.directory->scan_node_users(world_.acme, 0, 1000));
    ASSERT_EQ(replica_.users.size(), users.size());
    for (const Directory::FeedUser& user : users) {
      posix::NodeUser mine = replica_.users.at(user.record.n);
      mine.groups = replica_.known(mine.groups);
      EXPECT_EQ(mine, user.record);
    }
  }

  World& world_;
  std::mt19937 random_;
  Model model_;
  Replica replica_;
};

// Ids and names are never given twice, counts and versions are right, and a node that follows the
// deltas holds what a snapshot would give it.
TEST_P(PropertyTest, RandomHistoriesAgreeWithASimpleModel) {
  const bool sqlite = GetParam() == store::Engine::kSqlite;
  for (std::uint32_t seed = 1; seed <= (sqlite ? 4U : 1U); ++seed) {
    SCOPED_TRACE(seed);
    World world(GetParam());
    Story story(world, seed);
    const int steps = sqlite ? 400 : 150;
    for (int i = 1; i <= steps; ++i) {
      world.clock.advance(std::chrono::milliseconds(10));
      story.step();
      if (i % 50 == 0) story.check();
      if (::testing::Test::HasFailure()) return;
    }
    world.reopen();
    story.check();
    must(world.directory->verify_audit(world.acme));
  }
}

TEST_P(PropertyTest, ManyWritersShareBatchesAndNothingElse) {
  World world(GetParam());
  world.reopen();
  std::vector<std::uint64_t> heads;  // of the thread that writes only
  world.directory->on_commit(
      [&heads](const Commit& commit) { heads.push_back(commit.head.value); });
  const Group shared = world.add_group("shared");
  constexpr int kThreads = 8;
  const int each = GetParam() == store::Engine::kSqlite ? 40 : 10;
  std::atomic<int> clashes = 0;
  {
    std::vector<std::jthread> writers;
    for (int t = 0; t < kThreads; ++t) {
      writers.emplace_back([&world, &shared, &clashes, t, each] {
        for (int i = 0; i < each; ++i) {
          const std::string name = std::to_string(t) + "-" + std::to_string(i);
          const User user =
              must(world.directory->create_user(world.okta, world.acme, user_named("u" + name)));
          must(world.change_members(shared, {{Kind::kAdd, {user.id}}}));
          if (i % 2 == 0) must(world.set(user, "active", false));
          // All threads want these: one gets each, and a loser takes nobody with it.
          const auto contested = world.directory->create_user(
              world.okta, world.acme, user_named("contested" + std::to_string(i)));
          if (!contested) {
            EXPECT_EQ(contested.error().code, Code::kAlreadyExists);
            ++clashes;
          }
        }
      });
    }
  }
  EXPECT_EQ(clashes, (kThreads - 1) * each);
  const Org org = world.org();
  EXPECT_EQ(org.users, kThreads * each + each);
  EXPECT_EQ(org.active_users, kThreads * each / 2 + each);
  EXPECT_EQ(must(world.directory->get_group(world.okta, world.acme, shared.id, {})).member_count,
            kThreads * each);
  std::set<std::uint32_t> numbers;
  for (const auto& user : must(world.directory->scan_node_users(world.acme, 0, 1000))) {
    numbers.insert(user.record.uid);
  }
  EXPECT_EQ(numbers.size(), static_cast<std::size_t>(org.users));
  must(world.directory->verify_audit(world.acme));
  for (std::uint64_t seq = 1; seq <= org.seq.value; ++seq) {
    ASSERT_TRUE(must(world.directory->change_tag(world.acme, Seq{seq}))) << seq;
  }
  EXPECT_TRUE(std::ranges::is_sorted(heads));
  EXPECT_EQ(heads.back(), org.seq.value);
}

}  // namespace
}  // namespace roster::directory
