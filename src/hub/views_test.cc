#include "hub/views.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <random>

#include "feed/messages.h"
#include "hub/test_hub.h"

namespace roster::hub {
namespace {

using testing::decode_snapshot;
using testing::decode_stream;
using testing::Stream;
using testing::TestHub;

posix::NodeUser alice() {
  posix::NodeUser user{.n = 7,
                       .seq = Seq{3},
                       .name = *posix::LoginName::parse("alice"),
                       .uid = 10'000,
                       .gid = 10'000,
                       .gecos = "Alice",
                       .home = "/home/alice",
                       .shell = "/bin/bash",
                       .locked = false,
                       .valid_until = 0,
                       .groups = {20, 30},
                       .keys = {}};
  user.keys.push_back({.line = "ssh-ed25519 AAAA", .fingerprint = "SHA256:x"});
  return user;
}

View view_of(TestHub& hub, std::string_view name) {
  auto view = find_view(hub.directory(), hub.org(), name);
  EXPECT_TRUE(view) << view.error().message;
  return view.value_or(View{});
}

TEST(Views, ComputeNodesGetNoKeys) {
  TestHub hub;
  EXPECT_EQ(project(view_of(hub, "default"), alice()), alice());
  EXPECT_EQ(project(view_of(hub, "login"), alice()), alice());
  const posix::NodeUser shown = project(view_of(hub, "compute"), alice());
  EXPECT_TRUE(shown.keys.empty());
  EXPECT_EQ(shown.groups, alice().groups);
  EXPECT_EQ(find_view(hub.directory(), hub.org(), "nonsense").error().code, Code::kNotFound);
  EXPECT_EQ(find_view(hub.directory(), hub.org(), "").error().code, Code::kNotFound);
}

TEST(Views, AttributesTravelAsTheDefinitionSays) {
  TestHub hub;
  hub.set_view("bare", {.keys = false, .gecos = false});
  posix::NodeUser bare = alice();
  bare.keys.clear();
  bare.gecos.clear();
  EXPECT_EQ(project(view_of(hub, "bare"), alice()), bare);
}

TEST(Views, TemplatesReplaceHomeAndShellButNotTheLockedShell) {
  TestHub hub;
  hub.set_view("v", {.home = "/home/{org}/{name}-{uid}", .shell = "/bin/zsh"});
  const View view = view_of(hub, "v");
  EXPECT_EQ(project(view, alice()).home, "/home/acme/alice-10000");
  EXPECT_EQ(project(view, alice()).shell, "/bin/zsh");
  posix::NodeUser locked = alice();
  locked.locked = true;
  locked.shell = "/usr/sbin/nologin";
  EXPECT_EQ(project(view, locked).shell, "/usr/sbin/nologin");
  posix::NodeUser service = alice();
  for (const char* refuses : {"/sbin/nologin", "/bin/false"}) {
    service.shell = refuses;
    EXPECT_EQ(project(view, service).shell, refuses) << "a view lets nobody in";
  }
}

TEST(Views, EpochIsOfTheHistoryAndTheDefinition) {
  TestHub hub;
  hub.set_view("v", {});
  const View view = view_of(hub, "v");
  const directory::Org acme = hub.org();
  const std::string epoch = view_epoch(acme, view);
  EXPECT_TRUE(feed::is_epoch_text(epoch));
  EXPECT_EQ(view_epoch(acme, view_of(hub, "v")), epoch);
  directory::Org restored = acme;
  restored.epoch = "two";
  EXPECT_NE(view_epoch(restored, view), epoch);
  EXPECT_NE(view_epoch(acme, view_of(hub, "login")), epoch);
  EXPECT_NE(view_epoch(acme, view_of(hub, "login")), view_epoch(acme, view_of(hub, "default")));
  hub.set_view("v", {.keys = false});
  EXPECT_NE(view_epoch(acme, view_of(hub, "v")), epoch);
  directory::Org later = acme;
  later.seq = Seq{99'999};
  EXPECT_EQ(view_epoch(later, view), epoch);
}

// The nodes of a hub that is upgraded go on by delta.
TEST(Views, EpochsOfBuiltInViewsStayWhatTheyWere) {
  View view;
  view.name = "compute";
  view.with_keys = false;
  directory::Org org;
  org.epoch = "one";
  EXPECT_EQ(view_epoch(org, view), "yU7Hq75-SFuWfNlLtzxg");
}

constexpr const char* kSnapshot = "/api/organizations/acme/feed/snapshot";

std::vector<std::string> names_of(const Stream& stream) {
  std::vector<std::string> names;
  for (const auto& user : stream.users) names.emplace_back(user.name.str());
  for (const auto& group : stream.groups) names.emplace_back(group.name.str());
  return names;
}

TEST(Views, ANodeOfAScopeSeesItsPeopleAndNobodyElse) {
  TestHub hub;
  const auto ann = hub.add_user("ann", 1);
  const auto eve = hub.add_user("eve", 1);
  const auto gpu = hub.add_group("gpu", {ann.id});
  const auto other = hub.add_group("other", {ann.id, eve.id});
  hub.set_view("gpu", {.groups = {"gpu"}, .gecos = false});
  const std::string node = hub.enroll("n1", "gpu");
  const Stream all = decode_snapshot(hub.get(kSnapshot, node).body);
  EXPECT_EQ(all.head.view, "gpu");
  EXPECT_TRUE(all.head.keys);
  EXPECT_EQ(names_of(all), (std::vector<std::string>{"ann", "gpu"}));
  ASSERT_EQ(all.users.size(), 1U);
  EXPECT_EQ(all.users[0].groups, std::vector{gpu.posix->n});
  // A snapshot that follows a change of the scope explains who is missing.
  EXPECT_EQ(all.gone, (std::vector{other.posix->n, eve.posix->n}));

  const auto members = [&](const directory::Group& group, directory::MemberOp op) {
    ASSERT_TRUE(hub.directory().update_group(
        hub.okta(), hub.org().n, group.id, {}, [&op](const directory::Group& current) {
          return Result<directory::Directory::GroupChange>({{current.doc, {}}, {op}});
        }));
  };
  using Kind = directory::MemberOp::Kind;
  members(gpu, {Kind::kAdd, {eve.id}});
  const Stream joined = decode_stream(hub.feed("from=" + all.end.cursor, node).body);
  EXPECT_EQ(names_of(joined), std::vector<std::string>{"eve"});
  members(other, {Kind::kRemove, {ann.id, eve.id}});
  const Stream nothing = decode_stream(hub.feed("from=" + joined.end.cursor, node).body);
  EXPECT_TRUE(nothing.users.empty() && nothing.groups.empty() && nothing.gone.empty());
  members(gpu, {Kind::kRemove, {ann.id}});
  const Stream left = decode_stream(hub.feed("from=" + nothing.end.cursor, node).body);
  EXPECT_EQ(left.gone, std::vector{ann.posix->n});
}

// Would catch: a cache of deltas or snapshots that is keyed by the view's name alone.
TEST(Views, ANewDefinitionIsANewEpochAndReachesEveryAnswer) {
  TestHub hub;
  const auto ann = hub.add_user("ann", 1);
  hub.add_user("eve", 1);
  hub.add_group("gpu", {ann.id});
  hub.set_view("v", {});
  const std::string node = hub.enroll("n1", "v");
  const Stream before = decode_snapshot(hub.get(kSnapshot, node).body);
  EXPECT_EQ(before.users.size(), 2U);
  const std::string zero = hub.cursor(0, "v");
  EXPECT_EQ(decode_stream(hub.feed("from=" + zero, node).body).users.size(), 2U);

  hub.set_view("v", {.groups = {"gpu"}, .keys = false});
  const auto refused = hub.feed("since=" + before.end.cursor, node);
  EXPECT_EQ(refused.status, 409);
  EXPECT_NE(decode_stream(refused.body).reset, "");
  const Stream after = decode_snapshot(hub.get(kSnapshot, node).body);
  EXPECT_NE(after.head.epoch, before.head.epoch);
  ASSERT_EQ(after.users.size(), 1U);
  EXPECT_TRUE(after.users[0].keys.empty());
  const Stream delta = decode_stream(hub.feed("from=" + hub.cursor(0, "v"), node).body);
  EXPECT_FALSE(delta.head.keys);
  EXPECT_EQ(delta.users.size(), 1U);

  hub.set_view("v", {});
  EXPECT_EQ(hub.feed("since=" + before.end.cursor, node).status, 409)
      << "the definition is the former one again, the history between them is not";
}

/// A node that asks over HTTP: a snapshot, then deltas in parts.
class Follower {
 public:
  Follower(TestHub& hub, std::string credential) : hub_(hub), credential_(std::move(credential)) {}

  void follow() {
    if (cursor_.empty()) start_over();
    std::string more;
    for (;;) {
      const std::string query = "from=" + cursor_ + (more.empty() ? "" : "&more=" + more);
      const auto answer = hub_.feed(query, credential_);
      if (answer.status == 409) return start_over(), follow();
      ASSERT_EQ(answer.status, 200) << answer.body;
      const Stream part = decode_stream(answer.body);
      take(part);
      more = part.end.more;
      if (part.end.final) {
        cursor_ = part.end.cursor;
        return;
      }
    }
  }

  /// That it holds what a snapshot of the view would now; how many people that is.
  std::size_t expect_whole(const std::string& name) {
    const View view = view_of(hub_, name);
    std::map<std::uint64_t, posix::NodeUser> users;
    for (auto& user : *hub_.directory().scan_node_users(hub_.org().n, 0, 1000, view.scope)) {
      if (!user.gone) users.emplace(user.record.n, project(view, std::move(user.record)));
    }
    std::map<std::uint64_t, posix::NodeGroup> groups;
    for (auto& group : *hub_.directory().scan_node_groups(hub_.org().n, 0, 1000, view.scope)) {
      if (!group.gone) groups.emplace(group.record.n, std::move(group.record));
    }
    for (auto* all : {&users_, &users}) {
      for (auto& [n, user] : *all) user.seq = Seq{};
    }
    for (auto* all : {&groups_, &groups}) {
      for (auto& [n, group] : *all) group.seq = Seq{};
    }
    EXPECT_TRUE(users_ == users) << name << ": " << users_.size() << " of " << users.size();
    EXPECT_TRUE(groups_ == groups) << name << ": " << groups_.size() << " of " << groups.size();
    return users.size();
  }

 private:
  void start_over() {
    users_.clear();
    groups_.clear();
    const Stream all = decode_snapshot(hub_.get(kSnapshot, credential_).body);
    take(all);
    cursor_ = all.end.cursor;
  }
  void take(const Stream& stream) {
    for (const std::uint64_t n : stream.gone) {
      users_.erase(n);
      groups_.erase(n);
    }
    for (const auto& user : stream.users) users_.insert_or_assign(user.n, user);
    for (const auto& group : stream.groups) groups_.insert_or_assign(group.n, group);
  }

  TestHub& hub_;
  const std::string credential_;
  std::string cursor_;
  std::map<std::uint64_t, posix::NodeUser> users_;
  std::map<std::uint64_t, posix::NodeGroup> groups_;
};

/// One random change of members, nested groups included, and now and then a group that goes or a
/// person who is locked.
void change_something(TestHub& hub, std::mt19937& random, const std::vector<std::string>& people,
                      std::vector<std::string>& groups) {
  using Kind = directory::MemberOp::Kind;
  const auto any = [&random](const std::vector<std::string>& ids) {
    return ids[random() % ids.size()];
  };
  if (random() % 20 == 0) {
    groups.push_back(hub.add_group("late" + std::to_string(random())).id);
    const auto first = groups.begin() + static_cast<std::ptrdiff_t>(random() % 3);
    ASSERT_TRUE(hub.directory().delete_group(hub.okta(), hub.org().n, *first, {}));
    groups.erase(first);
    return;
  }
  if (random() % 10 == 0) {
    ASSERT_TRUE(
        hub.directory().set_user_active(hub.okta(), hub.org().n, any(people), random() % 2 == 0));
    return;
  }
  const std::string group = any(groups);
  directory::MemberOp op{random() % 2 == 0 ? Kind::kAdd : Kind::kRemove, {}};
  for (int i = 0; i < 3; ++i) {
    op.ids.push_back(any(random() % 3 == 0 ? groups : people));
    if (op.ids.back() == group) op.ids.pop_back();
  }
  ASSERT_TRUE(hub.directory().update_group(
      hub.okta(), hub.org().n, group, {}, [&op](const directory::Group& current) {
        return Result<directory::Directory::GroupChange>({{current.doc, {}}, {op}});
      }));
}

TEST(Views, NodesThatFollowHoldWhatASnapshotWould) {
  testing::TestOptions options;
  options.feed.part_changes_max = 4;
  options.snapshots.page_rows = 3;
  TestHub hub(options);
  std::mt19937 random(7);
  std::vector<std::string> people;
  std::vector<std::string> groups;
  for (int i = 0; i < 10; ++i) people.push_back(hub.add_user("p" + std::to_string(i), 1).id);
  for (int i = 0; i < 6; ++i) groups.push_back(hub.add_group("g" + std::to_string(i)).id);
  const std::vector<std::string> names{"one", "two"};
  std::vector<Follower> nodes;
  for (const std::string& name : names) {
    hub.set_view(name, {.groups = {groups[random() % groups.size()]}, .home = "/home/x/{name}"});
    nodes.emplace_back(hub, hub.enroll(name, name));
  }
  std::size_t seen = 0;
  for (int i = 1; i <= 400; ++i) {
    change_something(hub, random, people, groups);
    if (random() % 8 == 0) nodes[random() % nodes.size()].follow();
    if (i % 150 == 0) hub.set_view("one", {.groups = {groups[0], groups[1]}, .keys = false});
    if (i % 50 != 0) continue;
    for (std::size_t n = 0; n < nodes.size(); ++n) {
      nodes[n].follow();
      seen += nodes[n].expect_whole(names[n]);
    }
    if (::testing::Test::HasFailure()) return;
  }
  EXPECT_GT(seen, 20U) << "a story about nobody";
}

std::size_t open_snapshots() {
  std::size_t open = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code closed_meanwhile;
    const auto target = std::filesystem::read_symlink(entry.path(), closed_meanwhile);
    if (target.filename().string().starts_with("snapshot-")) ++open;
  }
  return open;
}

// A snapshot has no name in the file system: what holds its space is the hub alone.
TEST(Views, TheSnapshotOfARemovedViewIsLetGo) {
  TestHub hub;
  hub.set_view("v", {});
  const std::string node = hub.enroll("n1", "v");
  const std::string other = hub.enroll("n2", "default");
  ASSERT_EQ(hub.get(kSnapshot, other).status, 200);
  ASSERT_EQ(hub.get(kSnapshot, node).status, 200);
  ASSERT_TRUE(hub.directory().delete_node(TestHub::operator_actor(), hub.org().n, "hpc", "n1"));
  ASSERT_TRUE(hub.directory().remove_view(TestHub::operator_actor(), hub.org().n, "v"));
  EXPECT_EQ(open_snapshots(), 2U);
  hub.hub().tick();
  EXPECT_EQ(open_snapshots(), 1U);
  EXPECT_EQ(hub.get(kSnapshot, node).status, 401);
}

}  // namespace
}  // namespace roster::hub
