#include <map>
#include <random>

#include "directory/testing/fixture.h"

namespace roster::directory {
namespace {

using testing::group_named;
using testing::must;
using testing::user_named;
using testing::World;
using Kind = MemberOp::Kind;

class ViewsPropertyTest : public store::testing::BothEngines {};
ROSTER_BOTH_ENGINES(ViewsPropertyTest);

/// A node of a view: what it has is made from deltas only, in parts as they come.
class Follower {
 public:
  Follower(std::string view, Seq at) : view_(std::move(view)), at_(at) {}

  const std::string& view() const { return view_; }

  /// One part. A node that is slow gets the rest of what was one delta after other changes.
  void follow(World& world, std::size_t changes_max) {
    const std::vector<std::uint64_t> scope = scope_of(world);
    const auto page = must(world.directory->changes(world.acme, at_, changes_max, scope));
    for (const auto& user : page.users) {
      if (user.gone) {
        users_.erase(user.record.n);
      } else {
        users_.insert_or_assign(user.record.n, without_seq(user.record));
      }
    }
    for (const auto& group : page.groups) {
      if (group.gone) {
        groups_.erase(group.record.n);
      } else {
        groups_.insert_or_assign(group.record.n, without_seq(group.record));
      }
    }
    at_ = page.next;
  }

  void catch_up(World& world) {
    const Seq head = world.org().seq;
    while (at_ < head) follow(world, 1000);
  }

  /// A snapshot, when the definition changes: in small pages with `between` called between them,
  /// then followed from the head before it.
  template <typename Between>
  void snapshot(World& world, Between between) {
    users_.clear();
    groups_.clear();
    at_ = world.org().seq;
    const std::vector<std::uint64_t> scope = scope_of(world);
    for (std::uint64_t after = 0;;) {
      const auto page = must(world.directory->scan_node_groups(world.acme, after, 3, scope));
      for (const auto& group : page) {
        if (!group.gone) groups_.emplace(group.record.n, without_seq(group.record));
      }
      if (page.empty()) break;
      after = page.back().record.n;
      between();
    }
    for (std::uint64_t after = 0;;) {
      const auto page = must(world.directory->scan_node_users(world.acme, after, 3, scope));
      for (const auto& user : page) {
        if (!user.gone) users_.emplace(user.record.n, without_seq(user.record));
      }
      if (page.empty()) break;
      after = page.back().record.n;
      between();
    }
  }

  void expect_same(const Follower& other) const {
    EXPECT_EQ(users_.size(), other.users_.size()) << view_;
    EXPECT_EQ(groups_.size(), other.groups_.size()) << view_;
    EXPECT_TRUE(users_ == other.users_) << view_;
    EXPECT_TRUE(groups_ == other.groups_) << view_;
    for (const auto& [n, user] : users_) {
      for (const std::uint64_t group : user.groups) EXPECT_TRUE(groups_.contains(group)) << view_;
    }
    for (const auto& [n, group] : groups_) {
      for (const std::uint64_t above : group.parents) EXPECT_TRUE(groups_.contains(above)) << view_;
    }
  }

  std::size_t size() const { return users_.size() + groups_.size(); }

 private:
  /// When a view shows a person again the record need not be newer than the one before.
  template <typename Record>
  static Record without_seq(Record record) {
    record.seq = Seq{};
    return record;
  }

  std::vector<std::uint64_t> scope_of(World& world) const {
    std::vector<std::uint64_t> scope;
    for (const ViewGroup& group : must(world.directory->find_view(world.acme, view_)).groups) {
      scope.push_back(group.n);
    }
    return scope;
  }

  std::string view_;
  Seq at_;
  std::map<std::uint64_t, posix::NodeUser> users_;
  std::map<std::uint64_t, posix::NodeGroup> groups_;
};

/// Random people, nested groups (circles, too) and memberships.
class Churn {
 public:
  Churn(World& world, std::uint32_t seed) : world_(world), random_(seed) {
    for (int i = 0; i < 8; ++i) add_group();
    for (int i = 0; i < 12; ++i) add_user();
  }

  std::size_t pick(std::size_t n) { return random_() % n; }
  const std::string& some_group() { return groups_[pick(groups_.size())]; }

  void step() {
    switch (pick(16)) {
      case 0:
        return add_user();
      case 1:
        return remove_user();
      case 2:
        return add_group();
      case 3:
        return remove_group();
      case 4:
        return void(must(world_.directory->set_user_active(
            world_.okta, world_.acme, users_[pick(users_.size())], pick(2) == 0)));
      default:
        return change_members();
    }
  }

 private:
  void add_user() { users_.push_back(world_.add_user("person" + std::to_string(++made_)).id); }
  void add_group() { groups_.push_back(world_.add_group("team" + std::to_string(++made_)).id); }
  void remove_user() {
    if (users_.size() < 6) return;
    const auto at = users_.begin() + static_cast<std::ptrdiff_t>(pick(users_.size()));
    must(world_.directory->delete_user(world_.okta, world_.acme, *at, {}));
    users_.erase(at);
  }
  void remove_group() {
    if (groups_.size() < 5) return;
    const auto at = groups_.begin() + static_cast<std::ptrdiff_t>(pick(groups_.size()));
    must(world_.directory->delete_group(world_.okta, world_.acme, *at, {}));
    groups_.erase(at);
  }
  void change_members() {
    Group group;
    group.id = some_group();
    std::vector<MemberOp> ops(1 + pick(2));
    for (MemberOp& op : ops) {
      op.kind = static_cast<Kind>(pick(10) == 0 ? 2 + pick(2) : pick(2));
      if (op.kind == Kind::kRemoveAll) continue;
      for (std::size_t i = 0; i <= pick(2); ++i) {
        const std::string& id = pick(2) == 0 ? some_group() : users_[pick(users_.size())];
        if (id != group.id) op.ids.push_back(id);
      }
    }
    must(world_.change_members(group, ops));
  }

  World& world_;
  std::mt19937 random_;
  std::vector<std::string> users_;
  std::vector<std::string> groups_;
  int made_ = 0;
};

void tell_story(store::Engine engine, std::uint32_t seed, int steps) {
  World world(engine);
  Churn churn(world, seed);
  std::vector<Follower> nodes;
  const auto define = [&](const std::string& name, std::size_t groups) {
    ViewInput input;
    for (std::size_t i = 0; i < groups; ++i) input.groups.push_back(churn.some_group());
    must(world.directory->set_view(world.operator_, world.acme, name, input));
  };
  define("one", 1);
  define("two", 2);
  for (const char* view : {"one", "two"}) {
    nodes.emplace_back(view, world.org().seq);
    nodes.back().snapshot(world, [&churn] { churn.step(); });
  }
  std::size_t shown = 0;
  for (int i = 1; i <= steps; ++i) {
    churn.step();
    for (Follower& node : nodes) {
      if (churn.pick(4) == 0) node.follow(world, 1 + churn.pick(5));
    }
    if (i % 100 == 0) {
      define("one", 1 + churn.pick(2));
      nodes[0].snapshot(world, [&churn] { churn.step(); });
    }
    if (i % 40 != 0) continue;
    for (Follower& node : nodes) {
      node.catch_up(world);
      Follower fresh(node.view(), world.org().seq);
      fresh.snapshot(world, [] {});
      node.expect_same(fresh);
      shown += node.size();
    }
    if (::testing::Test::HasFailure()) return;
  }
  EXPECT_GT(shown, 0U);
  must(world.directory->verify_audit(world.acme));
}

// Whatever happens, also between the parts of a delta and the pages of a snapshot: a node that
// follows a view holds what a snapshot of it would give, and no membership dangles.
TEST_P(ViewsPropertyTest, DeltasOfAViewEndWhereASnapshotWould) {
  const bool sqlite = GetParam() == store::Engine::kSqlite;
  for (std::uint32_t seed = 1; seed <= (sqlite ? 6U : 1U); ++seed) {
    SCOPED_TRACE(seed);
    tell_story(GetParam(), seed, sqlite ? 600 : 160);
    if (::testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace roster::directory
