#include "agent/follow.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>

#include <atomic>
#include <condition_variable>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>

#include "agent/seed.h"
#include "agent/testing/fake_hub.h"
#include "base/file.h"
#include "base/json.h"
#include "crypto/token.h"
#include "crypto/x509.h"

namespace roster::agent {
namespace {

using std::chrono::milliseconds;
using testing::FakeHub;

/// One node: directories of its own, the follower, and what tests ask of them.
class Node {
 public:
  explicit Node(const FakeHub& hub) {
    std::string pattern = ::testing::TempDir() + "node.XXXXXX";
    CHECK(mkdtemp(pattern.data()) != nullptr);
    root_ = pattern;
    config_.url = hub.url();
    config_.node_name = "n1";
    config_.join_token_file = root_ / "join";
    config_.state_dir = root_ / "state";
    config_.cache_dir = root_ / "cache";
    config_.keys_group.clear();
    config_.allow_any_filesystem = true;
    config_.heartbeat = milliseconds(20'000);
    config_.backoff_min = milliseconds(2);
    config_.backoff_max = milliseconds(20);
    CHECK(write_file_atomic(config_.join_token_file, hub.join_token(), 0600));
    boot();
  }
  ~Node() {
    halt();
    follower_.reset();
    cache_.reset();
    std::filesystem::remove_all(root_);
  }

  /// As after a restart: memory is new, disk is what it was.
  void boot() {
    halt();
    follower_.reset();
    cache_.reset();
    const Clock clock = [this] { return system_now() + milliseconds(ahead_ms_); };
    cache_ = std::make_unique<NodeCache>(config_, clock, metrics_, [this](std::uint64_t g) {
      {
        const std::lock_guard lock(mutex_);
        generation_ = g;
      }
      published_.notify_all();
    });
    status_ = std::make_unique<StatusBoard>(config_.url);
    follower_ = std::make_unique<Follower>(config_, *StateDir::open(config_.state_dir), *cache_,
                                           *status_, metrics_, clock, system_random);
    CHECK(cache_->set_rules({}, true));
    resumed_ = follower_->resume();
  }
  void start() {
    thread_ = std::thread([this] { follower_->run([] {}); });
  }
  void halt() {
    if (!thread_.joinable()) return;
    follower_->stop();
    thread_.join();
  }

  Result<void> sync() { return follower_->sync(); }
  bool serves(std::string_view login) const { return cache_->serves_user(login); }
  bool wait_until_serves(std::string_view login, bool served = true) {
    std::unique_lock lock(mutex_);
    return published_.wait_for(lock, std::chrono::seconds(10), [this, login, served] {
      return cache_->serves_user(login) == served;
    });
  }
  NodeCache::View view() const { return cache_->view(); }
  json::object status() const {
    return json::parse(status_->to_json(cache_->view(), system_now()))->get_object();
  }
  std::string phase() const { return std::string(*json::find_string(status(), "phase")); }

  Config config_;
  std::filesystem::path root_;
  Metrics metrics_;
  std::atomic<std::int64_t> ahead_ms_{0};  // of this node's clock
  Result<void> resumed_;
  std::unique_ptr<NodeCache> cache_;
  std::unique_ptr<StatusBoard> status_;
  std::unique_ptr<Follower> follower_;

 private:
  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable published_;
  std::uint64_t generation_ = 0;
};

/// Twenty people and two groups.
void fill(FakeHub& hub) {
  hub.put_group(1, "ml", 10900);
  hub.put_group(2, "hpc", 10901);
  for (std::uint64_t i = 1; i <= 20; ++i) {
    hub.put_user(100 + i, "user" + std::to_string(i), static_cast<std::uint32_t>(10000 + i), {1});
  }
}

TEST(Follow, EnrolsTakesASnapshotAndGoesOnByDeltas) {
  FakeHub hub;
  fill(hub);
  Node node(hub);
  const auto first = node.sync();
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_TRUE(node.serves("user1"));
  EXPECT_EQ(node.view().counts.users, 20U);
  EXPECT_EQ(node.view().counts.groups, 2U);
  EXPECT_EQ(node.phase(), "following");
  EXPECT_EQ(hub.count_requests("since="), 0U) << "nothing published yet, nothing to acknowledge";
  EXPECT_EQ(hub.count_requests("from="), 1U) << "the delta since the snapshot was begun";

  hub.put_user(200, "new", 10200, {1, 2});
  hub.remove_user(101);
  ASSERT_TRUE(node.sync());
  EXPECT_TRUE(node.serves("new"));
  EXPECT_FALSE(node.serves("user1"));
  EXPECT_EQ(hub.count_requests("snapshot"), 2U) << "HEAD and GET, once";
  EXPECT_EQ(hub.count_requests("since="), 1U);

  const std::uint64_t generation = node.view().generation;
  ASSERT_TRUE(node.sync());
  EXPECT_EQ(node.view().generation, generation) << "no change, no generation";
  EXPECT_THAT(hub.requests().back(), ::testing::HasSubstr("highest_id=10901"));
}

TEST(Follow, AChangeArrivesWhileParkedAndStopIsPrompt) {
  FakeHub hub;
  fill(hub);
  Node node(hub);
  node.start();
  ASSERT_TRUE(node.wait_until_serves("user20"));
  for (int i = 0; i < 20; ++i) {
    const std::string name = "live" + std::to_string(i);
    hub.put_user(static_cast<std::uint64_t>(300 + i), name, static_cast<std::uint32_t>(10300 + i));
    ASSERT_TRUE(node.wait_until_serves(name)) << name;
  }
  const auto begin = std::chrono::steady_clock::now();
  node.halt();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(3));
}

TEST(Follow, ARestartContinuesWithoutASnapshot) {
  FakeHub hub;
  fill(hub);
  Node node(hub);
  ASSERT_TRUE(node.sync());
  node.boot();
  ASSERT_TRUE(node.resumed_);
  EXPECT_TRUE(node.serves("user3")) << "served before the hub is asked";
  hub.put_user(200, "new", 10200);
  ASSERT_TRUE(node.sync());
  EXPECT_TRUE(node.serves("new"));
  EXPECT_EQ(hub.count_requests("enroll"), 1U);
  EXPECT_EQ(hub.count_requests("GET /api/organizations/acme/feed/snapshot"), 1U);
}

TEST(Follow, PartsBecomeVisibleTogether) {
  FakeHub hub;
  fill(hub);
  Node node(hub);
  ASSERT_TRUE(node.sync());
  hub.set_part_records(7);
  for (std::uint64_t i = 0; i < 30; ++i) {
    hub.put_user(400 + i, "part" + std::to_string(i), static_cast<std::uint32_t>(10400 + i));
  }
  const std::uint64_t generation = node.view().generation;
  // The third part breaks off: nothing of the first two may show.
  int parts = 0;
  hub.set_intercept([&parts](const http::Request& request) -> std::optional<http::Response> {
    if (!request.query.contains("more=") || ++parts < 2) return std::nullopt;
    http::Response broken;
    broken.status = 500;
    return broken;
  });
  EXPECT_FALSE(node.sync());
  EXPECT_EQ(node.view().generation, generation);
  EXPECT_FALSE(node.serves("part0"));
  hub.set_intercept({});
  ASSERT_TRUE(node.sync());
  EXPECT_EQ(node.view().generation, generation + 1);
  EXPECT_TRUE(node.serves("part0"));
  EXPECT_TRUE(node.serves("part29"));
}

TEST(Follow, HubDownKeepsServingAndComesBack) {
  FakeHub hub;
  fill(hub);
  Node node(hub);
  ASSERT_TRUE(node.sync());
  hub.set_intercept([](const http::Request&) -> std::optional<http::Response> {
    http::Response busy;
    busy.status = 503;
    return busy;
  });
  const auto down = node.sync();
  ASSERT_FALSE(down);
  EXPECT_EQ(down.error().code, Code::kUnavailable);
  EXPECT_EQ(node.phase(), "unreachable");
  EXPECT_TRUE(node.serves("user1"));
  hub.set_intercept({});
  ASSERT_TRUE(node.sync());
  EXPECT_EQ(node.phase(), "following");
}

TEST(Follow, RecoveryShowsAtOnceNotAfterAHeartbeat) {
  FakeHub hub;
  fill(hub);
  Node node(hub);
  node.start();
  ASSERT_TRUE(node.wait_until_serves("user20"));
  std::mutex mutex;
  std::condition_variable seen;
  int failures = 0;
  hub.set_intercept([&](const http::Request&) -> std::optional<http::Response> {
    {
      const std::lock_guard lock(mutex);
      ++failures;
    }
    seen.notify_all();
    http::Response down;
    down.status = 503;
    return down;
  });
  hub.put_user(101, "user1", 10001, {2});  // wakes the parked request
  {
    std::unique_lock lock(mutex);
    ASSERT_TRUE(seen.wait_for(lock, std::chrono::seconds(10), [&] { return failures >= 3; }));
  }
  hub.set_intercept({});
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  while (node.phase() != "following" && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(milliseconds(5));
  }
  EXPECT_EQ(node.phase(), "following");
  node.halt();
  hub.stop();
}

TEST(Follow, ARestoredHubMeansANewEpochExplainedByRemovals) {
  FakeHub hub;
  fill(hub);
  Node node(hub);
  ASSERT_TRUE(node.sync());
  const std::uint64_t backup = hub.seq();
  hub.put_user(200, "after", 10777);
  ASSERT_TRUE(node.sync());
  EXPECT_TRUE(node.serves("after"));
  hub.restore_to(backup, "e2");
  ASSERT_TRUE(node.sync());
  EXPECT_FALSE(node.serves("after"));
  EXPECT_EQ(node.view().epoch, "e2");
  EXPECT_THAT(hub.requests().back(), ::testing::HasSubstr("highest_id=10901"));
}

TEST(Follow, TheHighestIdIsNeverForgotten) {
  FakeHub hub;
  fill(hub);
  hub.put_user(500, "high", 2'000'000'000);
  Node node(hub);
  ASSERT_TRUE(node.sync());
  hub.remove_user(500);
  ASSERT_TRUE(node.sync());
  node.boot();
  ASSERT_TRUE(node.sync());
  EXPECT_THAT(hub.requests().back(), ::testing::HasSubstr("highest_id=2000000000"));
}

// The file of the highest id must not stand between a leaver and the lock, and the images remember
// what it could not take.
TEST(Follow, AStateDirectoryThatCannotBeWrittenHoldsNothingBack) {
  FakeHub hub;
  fill(hub);
  Node node(hub);
  ASSERT_TRUE(node.sync());
  const std::filesystem::path file = node.config_.state_dir / "highest-id";
  std::filesystem::remove(file);
  std::filesystem::create_directory(file);  // rename(2) over it fails
  hub.put_user(500, "high", 2'000'000'000);
  hub.remove_user(101);
  ASSERT_TRUE(node.sync());
  EXPECT_FALSE(node.serves("user1"));
  EXPECT_TRUE(node.serves("high"));
  EXPECT_EQ(node.phase(), "following");
  const json::object told = node.status();
  const json::array* problems = json::find_array(told, "disk_problems");
  ASSERT_NE(problems, nullptr);
  ASSERT_EQ(problems->size(), 1U);
  EXPECT_THAT(std::string(json::view(problems->at(0).get_string())),
              ::testing::HasSubstr("state directory"));
  ASSERT_TRUE(node.sync());
  EXPECT_THAT(hub.requests().back(), ::testing::HasSubstr("highest_id=2000000000"));

  std::filesystem::remove(file);
  node.boot();
  ASSERT_TRUE(node.sync());
  EXPECT_THAT(hub.requests().back(), ::testing::HasSubstr("highest_id=2000000000"));
  EXPECT_EQ(StateDir::open(node.config_.state_dir)->load_highest_id(), 2'000'000'000U);
  EXPECT_TRUE(json::find_array(node.status(), "disk_problems")->empty());
  ASSERT_TRUE(write_file_atomic(file, "rubbish", 0600));
  node.boot();
  EXPECT_TRUE(node.resumed_) << "a damaged file does not stop the agent";
}

// A full disk of the node's own is not a hub that cannot be reached.
TEST(Follow, AFullDiskIsNotAnUnreachableHub) {
  FakeHub hub;
  fill(hub);
  Node node(hub);
  const std::string state = node.config_.state_dir.string();
  // One page: for the credential to join with, and no more.
  if (unshare(CLONE_NEWNS) != 0 ||
      mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      mount("tmpfs", state.c_str(), "tmpfs", 0, "mode=700,size=4096") != 0) {
    GTEST_SKIP() << "mounting needs CAP_SYS_ADMIN";
  }
  EXPECT_FALSE(node.sync());
  EXPECT_EQ(node.phase(), "refused");
  const json::object told = node.status();
  EXPECT_EQ(json::find_string(*json::find_object(told, "error"), "code"), kLocal);
  EXPECT_THAT(std::string(*json::find_string(*json::find_object(told, "error"), "message")),
              ::testing::HasSubstr("No space left"));
  EXPECT_EQ(mount(nullptr, state.c_str(), nullptr, MS_REMOUNT, "mode=700,size=1m"), 0);
  EXPECT_TRUE(node.sync());
  EXPECT_EQ(umount2(state.c_str(), MNT_DETACH), 0);
}

// Nor is it one that refuses: a read-only disk, a directory that is not there or in the way.
TEST(Follow, WhateverFailsOnThisNodeIsLocal) {
  FakeHub hub;
  fill(hub);
  Node node(hub);
  const auto expect_local = [&node](const char* what, std::string_view says) {
    const auto failed = node.sync();
    ASSERT_FALSE(failed) << what;
    EXPECT_EQ(failed.error().keyword, kLocal) << what;
    EXPECT_EQ(node.phase(), "refused") << what;
    const json::object told = node.status();
    const json::object& error = *json::find_object(told, "error");
    EXPECT_EQ(json::find_string(error, "code"), kLocal) << what;
    EXPECT_THAT(std::string(*json::find_string(error, "message")), ::testing::HasSubstr(says));
  };
  node.config_.cache_dir = node.root_ / "missing" / "cache";
  node.boot();
  expect_local("the cache's parent", "No such file");
  node.config_.cache_dir = node.root_ / "cache";
  const std::string state = node.config_.state_dir.string();
  if (unshare(CLONE_NEWNS) != 0 ||
      mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      mount("tmpfs", state.c_str(), "tmpfs", 0, "mode=700,size=1m") != 0) {
    GTEST_SKIP() << "mounting needs CAP_SYS_ADMIN";
  }
  node.boot();
  EXPECT_EQ(mount(nullptr, state.c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr), 0);
  expect_local("the state directory", "Read-only");
  EXPECT_EQ(mount(nullptr, state.c_str(), nullptr, MS_REMOUNT, nullptr), 0);
  EXPECT_TRUE(node.sync());
  hub.restore_to(hub.seq(), "e2");  // for a whole snapshot
  const std::filesystem::path spool = node.config_.cache_dir / ".new.spool";
  std::filesystem::create_directory(spool);
  expect_local("the spool", "File exists");
  std::filesystem::remove(spool);
  EXPECT_TRUE(node.sync());
  EXPECT_EQ(node.phase(), "following");
  EXPECT_EQ(umount2(state.c_str(), MNT_DETACH), 0);
}

TEST(Follow, ASnapshotThatShrinksIsRefusedUntilConfirmed) {
  FakeHub hub;
  fill(hub);
  for (std::uint64_t i = 21; i <= 40; ++i) {
    hub.put_user(100 + i, "user" + std::to_string(i), static_cast<std::uint32_t>(10000 + i), {1});
  }
  Node node(hub);
  ASSERT_TRUE(node.sync());
  hub.lose_users(120);
  hub.restore_to(hub.seq(), "e2");
  const auto refused = node.sync();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().keyword, kShrinks);
  EXPECT_EQ(node.phase(), "refused");
  EXPECT_TRUE(node.serves("user40"));
  EXPECT_EQ(node.view().counts.users, 40U);
  const std::size_t downloads = hub.count_requests("GET /api/organizations/acme/feed/snapshot");
  EXPECT_FALSE(node.sync());
  EXPECT_EQ(hub.count_requests("GET /api/organizations/acme/feed/snapshot"), downloads)
      << "the same file is not fetched again";
  node.boot();
  EXPECT_FALSE(node.sync()) << "a restart forgets nothing";
  EXPECT_TRUE(node.serves("user40"));
  hub.set_shrink_ok(true);
  const auto confirmed = node.sync();
  ASSERT_TRUE(confirmed) << confirmed.error().message;
  EXPECT_FALSE(node.serves("user40"));
  EXPECT_EQ(node.view().counts.users, 19U);
}

TEST(Follow, RemovalsExplainAShrink) {
  FakeHub hub;
  fill(hub);
  Node node(hub);
  ASSERT_TRUE(node.sync());
  for (std::uint64_t i = 1; i <= 15; ++i) hub.remove_user(100 + i);
  hub.restore_to(hub.seq(), "e2");
  const auto synced = node.sync();
  ASSERT_TRUE(synced) << synced.error().message;
  EXPECT_EQ(node.view().counts.users, 5U);
}

std::string replace(std::string text, std::string_view what, std::string_view with) {
  const std::size_t at = text.find(what);
  if (at != std::string::npos) text.replace(at, what.size(), with);
  return text;
}

struct Lie {
  const char* name;
  FakeHub::Rewrite rewrite;
};

std::vector<Lie> delta_lies() {
  return {
      {"garbage", [](std::string) { return std::string("\x01\x02garbage\n"); }},
      {"nothing", [](std::string) { return std::string(); }},
      {"cut", [](std::string s) { return s.substr(0, s.size() / 2); }},
      {"no end", [](std::string s) { return s.substr(0, s.rfind("{\"t\":\"end\"")); }},
      {"a record skipped",
       [](std::string s) {
         const std::size_t at = s.find("{\"t\":\"user\"");
         return s.erase(at, s.find('\n', at) + 1 - at);
       }},
      {"a record twice",
       [](std::string s) {
         const std::size_t at = s.find("{\"t\":\"user\"");
         return s.insert(at, s.substr(at, s.find('\n', at) + 1 - at));
       }},
      {"another organization",
       [](std::string s) { return replace(s, "\"org\":\"acme\"", "\"org\":\"evil\""); }},
      {"another view",
       [](std::string s) { return replace(s, "\"view\":\"login\"", "\"view\":\"all\""); }},
      {"another epoch without a reset",
       [](std::string s) { return replace(s, "\"epoch\":\"e1\"", "\"epoch\":\"e9\""); }},
      {"a snapshot for a delta",
       [](std::string s) { return replace(s, "\"kind\":\"delta\"", "\"kind\":\"snapshot\""); }},
      {"a cursor that goes back",
       [](std::string s) {
         const std::size_t at = s.find("\"cursor\":\"") + 10;
         return s.replace(at, s.find('"', at) - at, "e1.1.aa");
       }},
      {"a record that goes back",
       [](std::string s) {
         return replace(s, "\"n\":101,\"seq\":", "\"n\":101,\"seq\":1,\"x\":");
       }},
      {"uid 0", [](std::string s) { return replace(s, "\"uid\":10001", "\"uid\":0"); }},
      {"a colon in the home",
       [](std::string s) { return replace(s, "/home/user1", "/home/:0:0:/root"); }},
      {"another's name",
       [](std::string s) { return replace(s, "\"name\":\"user1\"", "\"name\":\"user2\""); }},
      {"another's id", [](std::string s) { return replace(s, "\"uid\":10001", "\"uid\":10002"); }},
      {"a group's name",
       [](std::string s) { return replace(s, "\"name\":\"user1\"", "\"name\":\"hpc\""); }},
      {"a group's id", [](std::string s) { return replace(s, "\"uid\":10001", "\"uid\":10901"); }},
      {"an older protocol", [](std::string s) { return replace(s, "\"v\":1", "\"v\":2"); }},
  };
}

// Whatever the hub sends, what is served stays as it was, and an honest hub is followed again.
TEST(LyingHub, ADeltaNeverDamagesWhatIsServed) {
  FakeHub hub;
  fill(hub);
  Node node(hub);
  ASSERT_TRUE(node.sync());
  for (const Lie& lie : delta_lies()) {
    hub.put_user(101, "user1", 10001, {2});
    const NodeCache::View before = node.view();
    hub.set_rewrite(lie.rewrite, {});
    const auto refused = node.sync();
    EXPECT_FALSE(refused) << lie.name;
    const NodeCache::View after = node.view();
    EXPECT_EQ(after.generation, before.generation) << lie.name;
    EXPECT_EQ(after.cursor, before.cursor) << lie.name;
    EXPECT_EQ(after.counts.users, 20U) << lie.name;
    EXPECT_TRUE(node.serves("user1") && node.serves("user2")) << lie.name;
    hub.set_rewrite({}, {});
    const auto honest = node.sync();
    ASSERT_TRUE(honest) << lie.name << ": " << honest.error().message;
    EXPECT_GT(node.view().generation, before.generation) << lie.name;
  }
}

TEST(LyingHub, ASnapshotNeverDamagesWhatIsServed) {
  std::vector<Lie> lies = delta_lies();
  std::erase_if(lies, [](const Lie& lie) {
    const std::set<std::string> other{"a snapshot for a delta", "a record that goes back",
                                      "another epoch without a reset", "a cursor that goes back"};
    return other.contains(lie.name);
  });
  for (const Lie& lie : lies) {
    FakeHub hub;
    fill(hub);
    Node node(hub);
    ASSERT_TRUE(node.sync());
    hub.restore_to(hub.seq(), "e2");
    const NodeCache::View before = node.view();
    hub.set_rewrite({}, lie.rewrite);
    EXPECT_FALSE(node.sync()) << lie.name;
    EXPECT_EQ(node.view().generation, before.generation) << lie.name;
    EXPECT_EQ(node.view().cursor, before.cursor) << lie.name;
    EXPECT_TRUE(node.serves("user1") && node.serves("user20")) << lie.name;
    hub.set_rewrite({}, {});
    const auto honest = node.sync();
    ASSERT_TRUE(honest) << lie.name << ": " << honest.error().message;
    EXPECT_EQ(node.view().epoch, "e2") << lie.name;
  }
}

TEST(LyingHub, AnswersOfWrongKindsAreErrors) {
  FakeHub hub;
  fill(hub);
  Node node(hub);
  ASSERT_TRUE(node.sync());
  const NodeCache::View before = node.view();
  for (const int status : {200, 204, 206, 301, 400, 401, 403, 404, 418, 429, 500, 502, 503}) {
    hub.put_user(101, "user1", 10001, {2});
    hub.set_intercept([status](const http::Request&) -> std::optional<http::Response> {
      http::Response response;
      response.status = status;
      response.headers.set("Content-Type", "text/html");
      if (status != 204) response.body = std::string("<html>maintenance</html>");
      return response;
    });
    EXPECT_FALSE(node.sync()) << status;
    EXPECT_EQ(node.view().generation, before.generation) << status;
  }
  hub.set_intercept({});
  ASSERT_TRUE(node.sync());
}

TEST(LyingHub, RecordsWithoutProgressAreNotTakenForEver) {
  FakeHub hub;
  fill(hub);
  Node node(hub);
  ASSERT_TRUE(node.sync());
  hub.put_user(101, "user1", 10001, {2});
  const std::string position = node.view().cursor;
  hub.set_rewrite(
      [position](std::string s) {
        const std::size_t at = s.find("\"cursor\":\"") + 10;
        return s.replace(at, s.find('"', at) - at, position);
      },
      {});
  const auto repeated = node.sync();
  ASSERT_FALSE(repeated);
  EXPECT_EQ(node.phase(), "refused");
}

/// "Nothing new", as a heartbeat says it.
std::string empty_delta(const FakeHub& hub, const Node& node) {
  std::string out;
  feed::append(out, feed::Head{.epoch = hub.epoch(),
                               .org = "acme",
                               .view = "login",
                               .kind = feed::Kind::kDelta,
                               .head = Seq{hub.seq()},
                               .keys = true});
  feed::End end;
  end.cursor = node.view().cursor;
  feed::append(out, end);
  return out;
}

// A hub that stops answers whom it has parked: that is no misbehaviour to warn of.
TEST(Follow, AGoodbyeIsNoFailure) {
  FakeHub hub;
  fill(hub);
  Node node(hub);
  ASSERT_TRUE(node.sync());
  const std::string stream = empty_delta(hub, node);
  std::atomic<bool> said{false};
  hub.set_intercept([&](const http::Request& request) -> std::optional<http::Response> {
    if (!request.query.contains("wait=") || said.exchange(true)) return std::nullopt;
    http::Response goodbye;
    goodbye.body = stream;
    return goodbye;
  });
  node.start();
  while (!said) std::this_thread::sleep_for(milliseconds(1));
  hub.put_user(201, "newer", 10201);
  ASSERT_TRUE(node.wait_until_serves("newer"));
  const std::string metrics = node.metrics_.render();
  EXPECT_THAT(metrics, ::testing::Not(::testing::HasSubstr("roster_agent_failures_total")));
  EXPECT_THAT(metrics, ::testing::Not(::testing::HasSubstr("roster_agent_records_total 0")));
  EXPECT_THAT(metrics, ::testing::HasSubstr("roster_agent_records_total 23"));
  node.halt();
  hub.stop();
}

// A hub that answers at once with nothing must not make nodes spin.
TEST(LyingHub, AHubThatDoesNotParkIsAskedSlowly) {
  FakeHub hub;
  fill(hub);
  Node node(hub);
  node.config_.backoff_min = milliseconds(50);
  node.config_.backoff_max = milliseconds(200);
  node.boot();
  ASSERT_TRUE(node.sync());
  const std::string stream = empty_delta(hub, node);
  std::mutex mutex;
  std::condition_variable asked;
  int count = 0;
  hub.set_intercept([&](const http::Request&) -> std::optional<http::Response> {
    {
      const std::lock_guard lock(mutex);
      ++count;
    }
    asked.notify_all();
    http::Response response;
    response.body = stream;
    return response;
  });
  const auto begin = std::chrono::steady_clock::now();
  node.start();
  {
    std::unique_lock lock(mutex);
    ASSERT_TRUE(asked.wait_for(lock, std::chrono::seconds(10), [&count] { return count >= 9; }));
  }
  EXPECT_GT(std::chrono::steady_clock::now() - begin, milliseconds(50 + 25 + 50 + 100));
  node.halt();
  hub.stop();  // it may still be calling what lives in this function
}

TEST(Snapshot, ACutTransferIsTakenUpAgain) {
  FakeHub hub;
  fill(hub);
  for (std::uint64_t i = 0; i < 3000; ++i) {
    hub.put_user(1000 + i, "bulk" + std::to_string(i), static_cast<std::uint32_t>(20000 + i));
  }
  Node node(hub);
  hub.set_snapshot_cuts(4);
  ASSERT_TRUE(node.sync());
  EXPECT_EQ(node.view().counts.users, 3020U);
  EXPECT_EQ(hub.count_requests("GET /api/organizations/acme/feed/snapshot"), 5U);
}

// The scan behind a snapshot takes time: what changed meanwhile comes as a delta, over the
// snapshot's own records, and only both together are published.
TEST(Snapshot, ChangesDuringItAreAppliedOverIt) {
  FakeHub hub;
  fill(hub);
  Node node(hub);
  hub.set_intercept([&](const http::Request& request) -> std::optional<http::Response> {
    if (!request.query.contains("from=")) return std::nullopt;
    hub.set_intercept({});
    hub.put_user(101, "renamed", 10001, {2});
    hub.put_group(1, "ai", 10900);
    hub.put_user(200, "new", 10200);
    hub.remove_user(102);
    return std::nullopt;
  });
  const auto synced = node.sync();
  ASSERT_TRUE(synced) << synced.error().message;
  EXPECT_EQ(node.view().generation, 1U);
  EXPECT_TRUE(node.serves("renamed") && node.serves("new"));
  EXPECT_FALSE(node.serves("user1") || node.serves("user2"));
  EXPECT_EQ(node.view().counts.users, 20U);
  EXPECT_EQ(node.view().counts.groups, 2U);
  EXPECT_THAT(node.view().cursor, ::testing::StartsWith("e1.26."));
}

TEST(Snapshot, AnotherFileInTheMidstStartsOver) {
  FakeHub hub;
  fill(hub);
  Node node(hub);
  hub.set_snapshot_cuts(1);
  bool changed = false;
  hub.set_intercept([&](const http::Request& request) -> std::optional<http::Response> {
    if (request.headers.has("Range") && !std::exchange(changed, true)) {
      hub.put_user(200, "new", 10200);
    }
    return std::nullopt;
  });
  EXPECT_FALSE(node.sync());
  EXPECT_EQ(node.view().generation, 0U);
  ASSERT_TRUE(node.sync());
  EXPECT_TRUE(node.serves("new"));
}

/// The word of the control page that time ends by (nsscache/FORMAT.md).
std::int64_t latest_s(const Node& node) {
  const auto page = read_file(node.config_.cache_dir / "control.1", 4096);
  std::int64_t seconds = 0;
  std::memcpy(&seconds, page->data() + 144, sizeof seconds);
  return seconds;
}

// A node's clock that was ahead, or is set back, must neither end nor open again what is bounded.
TEST(Follow, TheHubsClockTellsWhatHasEnded) {
  constexpr std::int64_t kDay = 86'400;
  for (const bool tls : {true, false}) {
    FakeHub hub(tls ? FakeHub::Tls::kOwnCa : FakeHub::Tls::kOff);
    fill(hub);
    Node node(hub);
    node.ahead_ms_ = 10 * kDay * 1000;
    ASSERT_TRUE(node.sync());
    const auto now = static_cast<double>(to_millis(system_now()) / 1000);
    EXPECT_NEAR(static_cast<double>(latest_s(node)), now, 5)
        << "or one contact in 2099 would end every bounded account for ever";
    EXPECT_GT(*node.view().contact, system_now() + std::chrono::hours(200));
    node.ahead_ms_ = -10 * kDay * 1000;
    ASSERT_TRUE(node.sync());
    EXPECT_NEAR(static_cast<double>(latest_s(node)), now, 5);
    EXPECT_LT(*node.view().contact, system_now());
  }
}

// A lockout is not worth a whole snapshot every five seconds to a hub of a thousand full nodes.
TEST(Follow, ASnapshotThatFailsHereIsTriedWithTheUsualBackoff) {
  FakeHub hub;
  fill(hub);
  Node node(hub);
  node.config_.backoff_min = node.config_.backoff_max = milliseconds(3'600'000);
  node.boot();
  nsscache::LocalRules unknown;
  unknown.masks_unknown = true;
  ASSERT_TRUE(node.cache_->set_rules(unknown, true));
  EXPECT_FALSE(node.sync());
  const auto backoff = [&node] {
    const std::string text = node.metrics_.render();
    const std::string name = "\nroster_agent_backoff_seconds ";
    return std::stod(text.substr(text.find(name) + name.size()));
  };
  EXPECT_GT(backoff(), 5);
}

// The reserve is for leavers, however many come with them.
TEST(Follow, ALockoutDoesNotWaitForRoomForArrivals) {
  FakeHub hub;
  fill(hub);
  Node node(hub);
  const std::string cache = node.config_.cache_dir.string();
  std::filesystem::create_directory(cache);
  if (unshare(CLONE_NEWNS) != 0 ||
      mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      mount("tmpfs", cache.c_str(), "tmpfs", 0, "mode=755,size=1200k") != 0) {
    GTEST_SKIP() << "mounting needs CAP_SYS_ADMIN";
  }
  ASSERT_TRUE(node.sync());
  const std::string cursor = node.view().cursor;
  for (std::uint64_t n = 1000; n < 10'000; ++n) {
    hub.put_user(n, "a" + std::to_string(n), static_cast<std::uint32_t>(20'000 + n), {1});
  }
  hub.remove_user(101);
  const auto full = node.sync();
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().keyword, kLocal);
  EXPECT_FALSE(node.serves("user1"));
  EXPECT_TRUE(node.serves("user2"));
  EXPECT_FALSE(node.serves("a1000"));
  EXPECT_EQ(node.view().cursor, cursor) << "the rest comes again";
  EXPECT_EQ(mount(nullptr, cache.c_str(), nullptr, MS_REMOUNT, "mode=755,size=64m"), 0);
  EXPECT_TRUE(node.sync());
  EXPECT_TRUE(node.serves("a1000"));
  EXPECT_FALSE(node.serves("user1"));
  EXPECT_EQ(umount2(cache.c_str(), MNT_DETACH), 0);
}

// The reserve is no use to a node that has nobody to lock out yet.
TEST(Follow, ADiskSmallerThanTheReserveTakesTheFirstSnapshot) {
  FakeHub hub;
  fill(hub);
  Node node(hub);
  const std::string cache = node.config_.cache_dir.string();
  std::filesystem::create_directory(cache);
  if (unshare(CLONE_NEWNS) != 0 ||
      mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      mount("tmpfs", cache.c_str(), "tmpfs", 0, "mode=755,size=512k") != 0) {
    GTEST_SKIP() << "mounting needs CAP_SYS_ADMIN";
  }
  const auto synced = node.sync();
  EXPECT_TRUE(synced) << synced.error().message;
  EXPECT_TRUE(node.serves("user1"));
  EXPECT_EQ(json::find_array(node.status(), "disk_problems")->size(), 1U) << "somebody should look";
  hub.remove_user(101);
  EXPECT_TRUE(node.sync());
  EXPECT_FALSE(node.serves("user1"));
  EXPECT_EQ(umount2(cache.c_str(), MNT_DETACH), 0);
}

TEST(Totals, ADifferenceBringsOneSnapshot) {
  FakeHub hub;
  fill(hub);
  Node node(hub);
  ASSERT_TRUE(node.sync());
  hub.put_user(200, "new", 10200);
  hub.set_totals(feed::Totals{.users = 77, .groups = 2});
  ASSERT_TRUE(node.sync());
  const std::size_t downloads = hub.count_requests("GET /api/organizations/acme/feed/snapshot");
  EXPECT_EQ(downloads, 2U);
  hub.put_user(201, "newer", 10201);
  ASSERT_TRUE(node.sync());
  EXPECT_EQ(hub.count_requests("GET /api/organizations/acme/feed/snapshot"), downloads)
      << "at most once an hour";
}

// A snapshot that cannot be had must not stand between a leaver and the lock.
TEST(Totals, DeltasGoOnWhenTheSnapshotCannotBeHad) {
  FakeHub hub;
  fill(hub);
  Node node(hub);
  ASSERT_TRUE(node.sync());
  hub.set_totals(feed::Totals{.users = 77, .groups = 2});
  hub.set_intercept([](const http::Request& request) -> std::optional<http::Response> {
    if (!request.path.ends_with("/snapshot")) return std::nullopt;
    http::Response busy;
    busy.status = 503;
    return busy;
  });
  hub.put_user(200, "new", 10200);
  EXPECT_FALSE(node.sync()) << "the node may lack something";
  EXPECT_TRUE(node.serves("new"));
  const std::size_t asked = hub.count_requests("HEAD");
  hub.remove_user(101);
  EXPECT_TRUE(node.sync());
  EXPECT_FALSE(node.serves("user1"));
  EXPECT_EQ(hub.count_requests("HEAD"), asked) << "not before an hour has passed";

  node.ahead_ms_ = 3'700'000;
  hub.remove_user(102);
  node.sync();
  EXPECT_FALSE(node.serves("user2"));
  EXPECT_EQ(hub.count_requests("HEAD"), asked + 1);

  hub.set_intercept({});
  node.ahead_ms_ = 7'400'000;
  hub.set_totals(feed::Totals{.users = 19, .groups = 2});
  ASSERT_TRUE(node.sync());
  node.ahead_ms_ = 11'100'000;
  ASSERT_TRUE(node.sync());
  EXPECT_EQ(hub.count_requests("HEAD"), asked + 2) << "settled";
}

// Totals that differ after a snapshot, too, are not settled by another one: an idle node waits for
// the next change.
TEST(Totals, ASnapshotThatSettlesNothingIsNotRepeatedWhileNothingChanges) {
  FakeHub hub;
  fill(hub);
  Node node(hub);
  ASSERT_TRUE(node.sync());
  hub.set_totals(feed::Totals{.users = 77, .groups = 2});
  hub.put_user(200, "new", 10200);
  ASSERT_TRUE(node.sync());
  const std::size_t asked = hub.count_requests("HEAD");
  EXPECT_EQ(asked, 2U) << "the first, and one because of the totals";
  for (int hours = 2; hours < 6; ++hours) {
    node.ahead_ms_ = hours * 3'600'000;
    ASSERT_TRUE(node.sync());
    EXPECT_EQ(hub.count_requests("HEAD"), asked) << hours;
  }
  hub.put_user(201, "newer", 10201);
  ASSERT_TRUE(node.sync());
  EXPECT_EQ(hub.count_requests("HEAD"), asked + 1) << "with records it is told again";
}

TEST(Enrolment, TheCredentialIsRenewedAtHalfLife) {
  FakeHub hub;
  fill(hub);
  hub.set_credential_life(milliseconds(3'000'000), milliseconds(3'600'000));
  Node node(hub);
  ASSERT_TRUE(node.sync());
  EXPECT_EQ(hub.count_requests("renew"), 1U);
  const auto stored = StateDir::open(node.config_.state_dir)->load_enrollment();
  ASSERT_TRUE(stored && *stored);
  EXPECT_EQ((*stored)->credential.expose(), hub.credential());
  ASSERT_TRUE(node.sync());
  EXPECT_EQ(hub.count_requests("renew"), 1U) << "not more often than once a minute";
}

TEST(Enrolment, ARefusedCredentialJoinsAnew) {
  FakeHub hub;
  fill(hub);
  Node node(hub);
  ASSERT_TRUE(node.sync());
  hub.set_intercept([](const http::Request& request) -> std::optional<http::Response> {
    if (request.headers.get("Authorization") != "Bearer rsn_1") return std::nullopt;
    http::Response refused;
    refused.status = 401;
    return refused;
  });
  const auto refused = node.sync();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kUnauthenticated);
  EXPECT_TRUE(node.serves("user1"));
  const auto again = node.sync();
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(hub.count_requests("enroll"), 2U);
}

// The hub admits a node, and the node dies before it has the answer: it must ask with what it asked
// with, or it is an impostor of itself until the hub takes it for dead.
TEST(Enrolment, AfterALostAnswerItAsksWithTheSameCredential) {
  FakeHub hub;
  fill(hub);
  Node node(hub);
  std::mutex mutex;
  std::vector<std::string> proposed;
  int lost = 2;
  hub.set_intercept([&](const http::Request& request) -> std::optional<http::Response> {
    if (request.path != feed::kEnrollPath) return std::nullopt;
    const std::lock_guard lock(mutex);
    proposed.push_back(feed::EnrollRequest::parse(request.body, false)->credential.expose());
    if (lost-- <= 0) return std::nullopt;
    http::Response cut;
    cut.status = 502;
    return cut;
  });
  EXPECT_FALSE(node.sync());
  node.boot();
  EXPECT_FALSE(node.sync());
  EXPECT_EQ(std::filesystem::status(node.config_.state_dir / "joining").permissions(),
            std::filesystem::perms(0600));
  node.boot();
  ASSERT_TRUE(node.sync());
  ASSERT_EQ(proposed.size(), 3U);
  EXPECT_TRUE(crypto::parse_token(proposed[0])) << "of the hub's form";
  EXPECT_EQ(proposed[1], proposed[0]);
  EXPECT_EQ(proposed[2], proposed[0]);
  EXPECT_FALSE(std::filesystem::exists(node.config_.state_dir / "joining"));
  const auto stored = StateDir::open(node.config_.state_dir)->load_enrollment();
  EXPECT_EQ((*stored)->credential.expose(), hub.credential()) << "what the hub says counts";
}

// The same for a node that is enrolled, and that the hub does not take any more.
TEST(Enrolment, ASecondOneThatIsCutOffGoesOnWithTheSameCredential) {
  FakeHub hub;
  fill(hub);
  Node node(hub);
  ASSERT_TRUE(node.sync());
  std::mutex mutex;
  std::vector<std::string> proposed;
  hub.set_intercept([&](const http::Request& request) -> std::optional<http::Response> {
    http::Response answer;
    if (request.path == feed::kEnrollPath) {
      const std::lock_guard lock(mutex);
      proposed.push_back(feed::EnrollRequest::parse(request.body, false)->credential.expose());
      if (proposed.size() > 1) return std::nullopt;
      answer.status = 502;
      return answer;
    }
    if (request.headers.get("Authorization") != "Bearer rsn_1") return std::nullopt;
    answer.status = 401;
    return answer;
  });
  EXPECT_FALSE(node.sync()) << "401";
  EXPECT_FALSE(node.sync()) << "joins anew, and dies";
  node.boot();
  EXPECT_FALSE(node.sync()) << "401";
  const auto again = node.sync();
  ASSERT_TRUE(again) << again.error().message;
  ASSERT_EQ(proposed.size(), 2U);
  EXPECT_EQ(proposed[1], proposed[0]);
  EXPECT_FALSE(std::filesystem::exists(node.config_.state_dir / "joining"));
}

// A copy of another node's disk, or a host that was renamed: the hub holds the credential for
// another's, and would for ever.
TEST(Enrolment, ACredentialThatIsAnotherNodesIsDrawnAnew) {
  FakeHub hub;
  fill(hub);
  Node node(hub);
  std::mutex mutex;
  std::vector<std::string> proposed;
  std::vector<int> answers = {401, 403, 503, 409};
  hub.set_intercept([&](const http::Request& request) -> std::optional<http::Response> {
    if (request.path != feed::kEnrollPath) return std::nullopt;
    const std::lock_guard lock(mutex);
    proposed.push_back(feed::EnrollRequest::parse(request.body, false)->credential.expose());
    if (proposed.size() > answers.size()) return std::nullopt;
    http::Response answer;
    answer.status = answers[proposed.size() - 1];
    return answer;
  });
  for (std::size_t i = 0; i < answers.size(); ++i) EXPECT_FALSE(node.sync());
  ASSERT_TRUE(node.sync());
  ASSERT_EQ(proposed.size(), 5U);
  for (std::size_t i = 1; i < 4; ++i) EXPECT_EQ(proposed[i], proposed[0]) << "may yet be the hub's";
  EXPECT_NE(proposed[4], proposed[0]);
}

// A cache that cannot be opened costs one use of the join token, not one for each try.
TEST(Enrolment, OneIsEnoughWhenTheCacheCannotBeOpenedAtFirst) {
  FakeHub hub;
  fill(hub);
  Node node(hub);
  ASSERT_TRUE(write_file_atomic(node.config_.cache_dir, "in the way", 0600));
  EXPECT_FALSE(node.sync());
  EXPECT_FALSE(node.sync());
  std::filesystem::remove(node.config_.cache_dir);
  const auto synced = node.sync();
  ASSERT_TRUE(synced) << synced.error().message;
  EXPECT_EQ(hub.count_requests("enroll"), 1U);
}

TEST(Enrolment, OverTlsTheJoinTokenPinsTheHubsCa) {
  FakeHub hub(FakeHub::Tls::kOwnCa);
  fill(hub);
  FakeHub impostor(FakeHub::Tls::kOwnCa);
  Node node(hub);
  node.config_.url = impostor.url();
  const auto wrong = node.sync();
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().code, Code::kUnavailable);
  EXPECT_EQ(impostor.requests().size(), 0U) << "the token never reached it";

  node.config_.url = hub.url();
  const auto joined = node.sync();
  ASSERT_TRUE(joined) << joined.error().message;
  EXPECT_TRUE(node.serves("user1"));
  const auto stored = StateDir::open(node.config_.state_dir)->load_enrollment();
  ASSERT_TRUE(stored && *stored);
  EXPECT_THAT((*stored)->ca_pem, ::testing::HasSubstr("BEGIN CERTIFICATE"));

  // From now on this CA alone is trusted.
  node.boot();
  hub.put_user(200, "new", 10200);
  ASSERT_TRUE(node.sync());
  node.config_.url = impostor.url();
  node.boot();
  EXPECT_FALSE(node.sync());
  EXPECT_EQ(impostor.requests().size(), 0U) << "nor did the credential";
  EXPECT_TRUE(node.serves("new"));
}

TEST(Enrolment, ACaOtherThanThePinnedOneIsNotKept) {
  for (const std::string_view scheme : {"https", "HTTPS"}) {
    FakeHub hub(FakeHub::Tls::kOwnCa);
    FakeHub other(FakeHub::Tls::kOwnCa);
    Node node(hub);
    node.config_.url.replace(0, scheme.size(), scheme);
    hub.set_intercept([&other](const http::Request&) -> std::optional<http::Response> {
      feed::Enrollment answer;
      answer.node_id = "node-1";
      answer.credential = Secret("rsn_1");
      answer.org = "acme";
      answer.view = answer.role = "login";
      answer.expires = from_millis(1'000);
      answer.ca_pem = other.ca_pem();
      http::Response response;
      response.status = 201;
      response.body = answer.to_json();
      return response;
    });
    const auto refused = node.sync();
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::kFailedPrecondition);
    EXPECT_FALSE(std::filesystem::exists(node.config_.state_dir / "node.json"));
  }
}

// Who holds the hub for an hour must not stay trusted for ever: a renewal changes the CA only to
// one that is an authority, and not against the pin.
TEST(Enrolment, ARenewalTakesNoCaThatIsNoneOrNotThePinnedOne) {
  FakeHub other(FakeHub::Tls::kOwnCa);
  for (const bool pinned : {true, false}) {
    for (const std::string& offered : {other.ca_pem(), std::string("rubbish")}) {
      FakeHub hub(FakeHub::Tls::kOwnCa);
      fill(hub);
      hub.set_credential_life(milliseconds(3'000'000), milliseconds(3'600'000));
      Node node(hub);
      if (pinned) node.config_.ca_sha256 = crypto::certificate_info(hub.ca_pem())->sha256;
      hub.set_intercept([&](const http::Request& request) -> std::optional<http::Response> {
        if (request.path != feed::kRenewPath) return std::nullopt;
        feed::Enrollment answer;
        answer.node_id = "node-1";
        answer.credential = Secret("rsn_renewed");
        answer.org = "acme";
        answer.view = answer.role = "login";
        answer.issued = system_now();
        answer.expires = answer.issued + std::chrono::hours(1);
        answer.ca_pem = offered;
        http::Response response;
        response.body = answer.to_json();
        return response;
      });
      const auto synced = node.sync();
      const auto stored = StateDir::open(node.config_.state_dir)->load_enrollment();
      ASSERT_TRUE(stored && *stored);
      EXPECT_EQ((*stored)->credential.expose(), "rsn_renewed");
      const bool takes = !pinned && offered != "rubbish";
      EXPECT_EQ((*stored)->ca_pem, takes ? other.ca_pem() : hub.ca_pem());
      EXPECT_EQ(synced.has_value(), !takes);
    }
  }
}

// A chain with the pinned certificate in front would be trusted as a whole.
TEST(Enrolment, OfAChainOnlyThePinnedCertificateIsKept) {
  FakeHub hub(FakeHub::Tls::kOwnCa);
  FakeHub other(FakeHub::Tls::kOwnCa);
  fill(hub);
  Node node(hub);
  hub.set_intercept([&](const http::Request& request) -> std::optional<http::Response> {
    if (request.path != feed::kEnrollPath) return std::nullopt;
    feed::Enrollment answer;
    answer.node_id = "node-1";
    answer.credential = Secret("rsn_1");
    answer.org = "acme";
    answer.view = answer.role = "login";
    answer.issued = system_now();
    answer.expires = answer.issued + std::chrono::hours(1);
    answer.ca_pem = hub.ca_pem() + other.ca_pem();
    http::Response response;
    response.status = 201;
    response.body = answer.to_json();
    return response;
  });
  node.sync();
  const auto stored = StateDir::open(node.config_.state_dir)->load_enrollment();
  ASSERT_TRUE(stored && *stored);
  EXPECT_EQ((*stored)->ca_pem, hub.ca_pem());
}

// An operator's file: edited on Windows, or without an end to its last line.
TEST(Enrolment, TheFormOfAPemFileDoesNotMatter) {
  for (const std::string_view form : {"no newline", "CRLF", "text before"}) {
    FakeHub hub(FakeHub::Tls::kOwnCa);
    fill(hub);
    Node node(hub);
    std::string pem = hub.ca_pem();
    if (form == "no newline") pem.pop_back();
    if (form == "CRLF") {
      for (std::size_t at = 0; (at = pem.find('\n', at)) != std::string::npos; at += 2) {
        pem.insert(at, 1, '\r');
      }
    }
    if (form == "text before") pem.insert(0, "# the laboratory's CA\n");
    hub.set_intercept([&](const http::Request& request) -> std::optional<http::Response> {
      if (request.path != feed::kEnrollPath) return std::nullopt;
      feed::Enrollment answer;
      answer.node_id = "node-1";
      answer.credential = Secret("rsn_1");
      answer.org = "acme";
      answer.view = answer.role = "login";
      answer.issued = system_now();
      answer.expires = answer.issued + std::chrono::hours(1);
      answer.ca_pem = pem;
      http::Response response;
      response.status = 201;
      response.body = answer.to_json();
      return response;
    });
    node.sync();
    const auto stored = StateDir::open(node.config_.state_dir)->load_enrollment();
    ASSERT_TRUE(stored && *stored) << form;
    EXPECT_EQ((*stored)->ca_pem, hub.ca_pem()) << form;
  }
}

TEST(Enrolment, WithoutATokenOrWithAWrongOneItSaysSo) {
  FakeHub hub;
  Node node(hub);
  std::filesystem::remove(node.config_.join_token_file);
  EXPECT_EQ(node.sync().error().code, Code::kNotFound);
  ASSERT_TRUE(write_file_atomic(node.config_.join_token_file, "hunter2", 0600));
  EXPECT_FALSE(node.sync());
  ASSERT_TRUE(write_file_atomic(node.config_.join_token_file, hub.join_token(), 0644));
  EXPECT_EQ(node.sync().error().code, Code::kPermissionDenied);
  EXPECT_EQ(hub.requests().size(), 0U) << "nothing was sent";
}

TEST(Enrolment, AnotherOrganizationIsRefused) {
  FakeHub hub;
  Node node(hub);
  node.config_.org = "other";
  node.boot();
  const auto refused = node.sync();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kFailedPrecondition);
  EXPECT_FALSE(std::filesystem::exists(node.config_.state_dir / "node.json"));
}

TEST(LocalRules, DenyTakesEffectWithoutTheHubAndInterruptsATransfer) {
  FakeHub hub;
  fill(hub);
  Node node(hub);
  ASSERT_TRUE(node.sync());
  nsscache::LocalRules rules;
  rules.denied_names = {"user3"};
  rules.masked_names = {"user4"};
  ASSERT_TRUE(node.cache_->set_rules(rules, true));
  EXPECT_EQ(node.view().counts.denied_users, 1U);
  EXPECT_EQ(node.view().counts.masked_users, 1U);
  EXPECT_FALSE(node.serves("user4"));
  EXPECT_TRUE(node.serves("user3")) << "locked, but the name resolves";

  const std::uint64_t generation = node.view().generation;
  ASSERT_TRUE(node.cache_->begin(feed::Kind::kDelta));
  ASSERT_TRUE(node.cache_->apply(feed::UserGone{.n = 101, .seq = Seq{99}}));
  rules.denied_uids = {10005};
  ASSERT_TRUE(node.cache_->set_rules(rules, true));
  EXPECT_EQ(node.view().generation, generation + 1);
  EXPECT_EQ(node.view().counts.denied_users, 2U);
  EXPECT_TRUE(node.serves("user1")) << "nothing of the unfinished transfer";
  const auto interrupted = node.cache_->apply(feed::UserGone{.n = 102, .seq = Seq{99}});
  ASSERT_FALSE(interrupted);
  EXPECT_EQ(interrupted.error().keyword, kInterrupted);
  ASSERT_TRUE(node.sync());

  // What is complete goes along with a rule that comes before it is published.
  ASSERT_TRUE(node.cache_->begin(feed::Kind::kDelta));
  ASSERT_TRUE(node.cache_->apply(feed::UserGone{.n = 101, .seq = Seq{99}}));
  ASSERT_TRUE(node.cache_->complete("e1.99.aa", "e1", false));
  rules.denied_uids = {10006};
  ASSERT_TRUE(node.cache_->set_rules(rules, true));
  EXPECT_FALSE(node.serves("user1"));
  EXPECT_EQ(node.view().cursor, "e1.99.aa");
  ASSERT_TRUE(node.cache_->publish());
}

// The rules thread may publish a complete delta that waits for its debounce. When that fails, the
// follower must not take the delta for published: its records would never come again.
TEST(LocalRules, ADeltaThatARuleLostIsNotAcknowledged) {
  FakeHub hub;
  fill(hub);
  Node node(hub);
  ASSERT_TRUE(node.sync());
  const NodeCache::View before = node.view();
  ASSERT_TRUE(node.cache_->begin(feed::Kind::kDelta));
  const posix::NodeGroup clash{
      .n = 3, .seq = Seq{99}, .name = *posix::GroupName::parse("ml"), .gid = 10950, .parents = {}};
  ASSERT_TRUE(node.cache_->apply(clash));
  ASSERT_TRUE(node.cache_->complete("e1.99.aa", "e1", false));
  nsscache::LocalRules rules;
  rules.masked_names = {"user4"};
  ASSERT_TRUE(node.cache_->set_rules(rules, false)) << "the rule itself is in force";
  EXPECT_EQ(node.view().counts.masked_users, 1U);
  const auto published = node.cache_->publish();
  ASSERT_FALSE(published);
  EXPECT_EQ(published.error().keyword, kInterrupted);
  EXPECT_EQ(node.view().cursor, before.cursor);
  ASSERT_TRUE(node.cache_->mend());
  EXPECT_FALSE(node.serves("user4"));
}

// On a quiet cluster a request is parked nearly always: rules cannot wait for its end.
TEST(LocalRules, MasksTakeEffectWhileARequestIsParked) {
  FakeHub hub;
  fill(hub);
  Node node(hub);
  ASSERT_TRUE(node.sync());
  ASSERT_TRUE(node.cache_->begin(feed::Kind::kDelta));
  nsscache::LocalRules rules;
  rules.masked_names = {"user4"};
  ASSERT_TRUE(node.cache_->set_rules(rules, false));
  EXPECT_FALSE(node.serves("user4"));
  EXPECT_EQ(node.view().counts.masked_users, 1U);
  rules.denied_names = {"user3"};
  ASSERT_TRUE(node.cache_->set_rules(rules, true));
  EXPECT_EQ(node.view().counts.denied_users, 1U);

  // The delta goes on where it was; once records have come, masks take effect with them.
  ASSERT_TRUE(node.cache_->apply(feed::UserGone{.n = 101, .seq = Seq{99}}));
  rules.masked_names = {"user4", "user5"};
  ASSERT_TRUE(node.cache_->set_rules(rules, false));
  EXPECT_EQ(node.view().counts.masked_users, 1U);
  ASSERT_TRUE(node.cache_->complete("e1.99.aa", "e1", false));
  ASSERT_TRUE(node.cache_->publish());
  EXPECT_FALSE(node.serves("user1"));
  EXPECT_EQ(node.view().counts.masked_users, 2U);
}

// A local file that cannot be read at the start must not stand between a leaver and the lock.
TEST(LocalRules, UnreadableFilesHoldBackWhoIsNewAndNobodyElse) {
  FakeHub hub;
  fill(hub);
  nsscache::LocalRules rules;
  rules.masks_unknown = rules.denials_unknown = true;
  Node node(hub);
  ASSERT_TRUE(node.cache_->set_rules(rules, true));
  const auto refused = node.sync();
  ASSERT_FALSE(refused) << "nobody could be served";
  EXPECT_EQ(refused.error().keyword, kLocal);
  ASSERT_TRUE(node.cache_->set_rules({}, true));
  ASSERT_TRUE(node.sync());

  node.boot();
  ASSERT_TRUE(node.cache_->set_rules(rules, true));
  hub.put_user(200, "new", 10200);
  hub.put_user(102, "user2", 10002, {1}, true);
  hub.remove_user(101);
  ASSERT_TRUE(node.sync());
  EXPECT_FALSE(node.serves("user1"));
  EXPECT_TRUE(node.serves("user2"));
  EXPECT_TRUE(node.serves("user3"));
  EXPECT_FALSE(node.serves("new"));
  ASSERT_TRUE(node.cache_->set_rules({}, true));
  EXPECT_TRUE(node.serves("new")) << "as soon as they are read";
}

// A wiped cache must not wait for the next change of the directory.
TEST(NodeCache, PutsBackWhatSomebodyRemoved) {
  FakeHub hub;
  fill(hub);
  Node node(hub);
  ASSERT_TRUE(node.sync());
  ASSERT_TRUE(node.cache_->mend());
  const NodeCache::View before = node.view();
  ASSERT_TRUE(node.cache_->mend());
  EXPECT_EQ(node.view().generation, before.generation) << "nothing is amiss";

  ASSERT_TRUE(node.cache_->begin(feed::Kind::kDelta));  // as while a request is parked
  const std::filesystem::path control = node.config_.cache_dir / "control.1";
  ASSERT_TRUE(std::filesystem::remove(control));
  ASSERT_TRUE(node.cache_->mend());
  EXPECT_TRUE(std::filesystem::exists(control));

  std::filesystem::remove_all(node.config_.cache_dir);
  ASSERT_TRUE(node.cache_->mend());
  EXPECT_TRUE(std::filesystem::exists(control));
  EXPECT_TRUE(node.serves("user20"));
  EXPECT_EQ(node.view().cursor, before.cursor);
  EXPECT_GT(node.view().generation, before.generation);
  node.boot();
  EXPECT_TRUE(node.serves("user20")) << "it is on disk again";
}

// Without a control file nobody is served: that may have the reserve.
TEST(NodeCache, PutsBackWhatSomebodyRemovedOnAFullDisk) {
  FakeHub hub;
  fill(hub);
  Node node(hub);
  const std::filesystem::path cache = node.config_.cache_dir;
  std::filesystem::create_directory(cache);
  if (unshare(CLONE_NEWNS) != 0 ||
      mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      mount("tmpfs", cache.c_str(), "tmpfs", 0, "mode=755,size=2m") != 0) {
    GTEST_SKIP() << "mounting needs CAP_SYS_ADMIN";
  }
  ASSERT_TRUE(node.sync());
  std::filesystem::remove(cache / "control.1");
  const std::string page(4096, 'x');
  std::ofstream ballast(cache / "ballast", std::ios::binary);
  while (ballast.write(page.data(), 4096).flush()) {
  }
  const auto mended = node.cache_->mend();
  EXPECT_TRUE(mended) << mended.error().message;
  EXPECT_TRUE(std::filesystem::exists(cache / "control.1"));
  EXPECT_EQ(umount2(cache.c_str(), MNT_DETACH), 0);
}

// What cannot be read back must not be published with half a transfer in it.
TEST(NodeCache, ATransferThatCannotBeForgottenOpensTheCacheAnew) {
  FakeHub hub;
  fill(hub);
  Node node(hub);
  ASSERT_TRUE(node.sync());
  const NodeCache::View before = node.view();
  ASSERT_TRUE(node.cache_->begin(feed::Kind::kDelta));
  ASSERT_TRUE(node.cache_->apply(feed::UserGone{.n = 101, .seq = Seq{99}}));
  std::filesystem::path base;
  for (const auto& entry : std::filesystem::directory_iterator(node.config_.cache_dir)) {
    if (entry.path().filename().string().starts_with("base.")) base = entry.path();
  }
  std::string bytes = *read_file(base, 1 << 20);
  for (std::size_t at = 1024; at < bytes.size(); ++at) bytes[at] = static_cast<char>(~bytes[at]);
  {
    const UniqueFd fd(open(base.c_str(), O_WRONLY | O_CLOEXEC));  // in place, under the mapping
    ASSERT_TRUE(write_all(fd.get(), bytes));
  }
  node.cache_->abort();
  EXPECT_EQ(node.view().generation, 0U) << "nothing on this disk verifies";
  const auto synced = node.sync();
  ASSERT_TRUE(synced) << synced.error().message;
  EXPECT_GT(node.view().generation, before.generation);
  EXPECT_TRUE(node.serves("user1"));
  EXPECT_EQ(node.view().counts.users, 20U);
}

/// Inverts the byte at `text` in a cache file, in place: under the mappings of whoever has it.
void damage(const Node& node, const std::string& file, std::string_view text) {
  const std::filesystem::path path = node.config_.cache_dir / file;
  const std::size_t at = read_file(path, 1 << 20)->find(text);
  ASSERT_NE(at, std::string::npos) << file;
  std::fstream bytes(path, std::ios::in | std::ios::out | std::ios::binary);
  bytes.seekp(static_cast<std::streamoff>(at));
  bytes.put(static_cast<char>(~text.front()));
}

// Half of a generation that could not be read back must not be published for the whole: whoever was
// removed or locked in the other half would be let in again.
TEST(NodeCache, HalfOfADamagedGenerationIsNeverPublished) {
  for (const bool rule_first : {true, false}) {
    FakeHub hub;
    fill(hub);
    Node node(hub);
    ASSERT_TRUE(node.sync());
    hub.remove_user(101);
    hub.put_user(102, "user2", 10002, {1}, true);
    hub.put_user(200, "new", 10200);
    ASSERT_TRUE(node.sync());
    damage(node, "delta.1.2", "/home/user2");
    EXPECT_FALSE(node.cache_->begin(feed::Kind::kSnapshot)) << "as a recount does";
    nsscache::LocalRules rules;
    rules.denied_names = {"user3"};
    if (rule_first) ASSERT_TRUE(node.cache_->set_rules(rules, true));
    const auto synced = node.sync();
    ASSERT_TRUE(synced) << synced.error().message;
    EXPECT_FALSE(node.serves("user1"));
    EXPECT_TRUE(node.serves("new"));
    EXPECT_EQ(node.view().counts.users, 20U);
    node.boot();
    EXPECT_FALSE(node.serves("user1"));
    EXPECT_TRUE(node.serves("new")) << "on disk, too";
  }
}

// A cache that was opened anew holds an older generation: deltas go on from there, or what came
// since is lost.
TEST(Totals, ARecountThatOpensTheCacheAnewLosesNothing) {
  for (const bool at_begin : {true, false}) {
    FakeHub hub;
    fill(hub);
    Node node(hub);
    ASSERT_TRUE(node.sync());
    hub.set_totals(feed::Totals{.users = 77, .groups = 2});
    bool damages = false;
    hub.set_intercept([&](const http::Request& request) -> std::optional<http::Response> {
      if (!request.path.ends_with("/snapshot")) return std::nullopt;
      if (request.method == "HEAD" && damages) return std::nullopt;
      if (damages) damage(node, "delta.1.3", "/home/user2");
      http::Response busy;
      busy.status = 503;
      return busy;
    });
    hub.put_user(200, "new", 10200);
    EXPECT_FALSE(node.sync()) << "a recount is wanted and cannot be had";
    hub.remove_user(101);
    hub.put_user(102, "user2", 10002, {2});
    ASSERT_TRUE(node.sync());
    ASSERT_EQ(node.view().generation, 3U);
    hub.set_totals({});
    node.ahead_ms_ = 3'700'000;
    if (at_begin) damage(node, "delta.1.3", "/home/user2");
    damages = !at_begin;
    if (at_begin) hub.set_intercept({});
    const auto synced = node.sync();
    EXPECT_FALSE(node.serves("user1"));
    EXPECT_TRUE(node.serves("new"));
    EXPECT_EQ(node.view().counts.users, 20U);
    EXPECT_GT(node.view().generation, 3U);
    hub.stop();
  }
}

// One record of the base that does not verify must not hold up everybody's changes for ever.
TEST(NodeCache, ADamagedRecordOfTheBaseIsNotMetAtEveryTry) {
  for (const bool removed : {true, false}) {
    FakeHub hub;
    fill(hub);
    Node node(hub);
    ASSERT_TRUE(node.sync());
    damage(node, "base.1.1", "/home/user10");
    hub.remove_user(101);
    if (removed) {
      hub.remove_user(110);
    } else {
      hub.put_user(110, "user10", 10010, {2});
    }
    const auto met = node.sync();
    ASSERT_FALSE(met) << "what does not verify is not taken for what is not there";
    EXPECT_EQ(met.error().keyword, kLocal) << "the hub is not blamed";
    const auto synced = node.sync();
    ASSERT_TRUE(synced) << synced.error().message;
    EXPECT_FALSE(node.serves("user1"));
    EXPECT_EQ(node.serves("user10"), !removed);
    EXPECT_EQ(node.view().counts.users, removed ? 18U : 19U);
    EXPECT_EQ(hub.count_requests("GET /api/organizations/acme/feed/snapshot"), 2U);
  }
}

// The same when it is met by what a rule changes, while a request is parked.
TEST(NodeCache, ADamagedRecordOfTheBaseHoldsNoRuleUp) {
  FakeHub hub;
  fill(hub);
  Node node(hub);
  ASSERT_TRUE(node.sync());
  hub.put_user(110, "user10", 10010, {2});
  ASSERT_TRUE(node.sync());
  damage(node, "base.1.1", "/home/user11");
  ASSERT_TRUE(node.cache_->begin(feed::Kind::kDelta));
  nsscache::LocalRules rules;
  rules.denied_names = {"user11"};
  EXPECT_FALSE(node.cache_->set_rules(rules, true));
  EXPECT_FALSE(node.cache_->complete("e1.99.aa", "e1", false)) << "of the cache of before";
  EXPECT_FALSE(node.cache_->touch_contact(1, std::nullopt)) << "nobody confirmed this one";
  const auto synced = node.sync();
  ASSERT_TRUE(synced) << synced.error().message;
  EXPECT_EQ(node.view().counts.denied_users, 1U);
}

// A cache that is closed is opened without the hub, or a deny file would wait for it.
TEST(NodeCache, ACacheThatCouldNotBeOpenedIsTriedWithEachRule) {
  FakeHub hub;
  fill(hub);
  Node node(hub);
  ASSERT_TRUE(node.sync());
  node.halt();
  node.follower_.reset();
  node.cache_ =
      std::make_unique<NodeCache>(node.config_, system_now, node.metrics_, [](std::uint64_t) {});
  const std::filesystem::path aside = node.root_ / "aside";
  std::filesystem::rename(node.config_.cache_dir, aside);
  ASSERT_TRUE(write_file_atomic(node.config_.cache_dir, "in the way", 0600));
  ASSERT_TRUE(node.cache_->set_rules({}, true)) << "no cache is wanted yet";
  EXPECT_FALSE(node.cache_->open("acme", "login"));
  const auto mended = node.cache_->mend();
  ASSERT_FALSE(mended) << "so that it is tried again";
  EXPECT_EQ(mended.error().keyword, kLocal);
  nsscache::LocalRules rules;
  rules.denied_names = {"user3"};
  EXPECT_FALSE(node.cache_->set_rules(rules, true));
  std::filesystem::remove(node.config_.cache_dir);
  std::filesystem::rename(aside, node.config_.cache_dir);
  ASSERT_TRUE(node.cache_->mend());
  EXPECT_TRUE(node.serves("user1"));
  EXPECT_EQ(node.view().counts.denied_users, 1U);
}

// Or a hub that repeats removals of nobody would make a thousand nodes publish in the same instant.
TEST(NodeCache, OnlyWhatIsServedCanBeTakenAway) {
  FakeHub hub;
  fill(hub);
  Node node(hub);
  ASSERT_TRUE(node.sync());
  ASSERT_TRUE(node.cache_->begin(feed::Kind::kDelta));
  ASSERT_TRUE(node.cache_->apply(feed::UserGone{.n = 999, .seq = Seq{99}}));
  ASSERT_TRUE(node.cache_->apply(feed::GroupGone{.n = 998, .seq = Seq{99}}));
  EXPECT_FALSE(node.cache_->takes_access_away());
  ASSERT_TRUE(node.cache_->apply(feed::GroupGone{.n = 1, .seq = Seq{99}}));
  EXPECT_TRUE(node.cache_->takes_access_away());
  node.cache_->abort();
}

TEST(Seed, ANodeWithoutHubServesItsImagesSeed) {
  FakeHub hub;
  fill(hub);
  Node source(hub);
  ASSERT_TRUE(source.sync());
  const auto enrollment = StateDir::open(source.config_.state_dir)->load_enrollment();
  const std::filesystem::path file = source.root_ / "seed.zst";
  hub.set_part_records(5);
  const auto written = write_seed(source.config_, **enrollment, file);
  ASSERT_TRUE(written) << written.error().message;

  Node node(hub);
  hub.set_intercept([](const http::Request&) -> std::optional<http::Response> {
    http::Response down;
    down.status = 503;
    return down;
  });
  const auto loaded = load_seed(file, *node.cache_);
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_TRUE(node.serves("user20"));
  EXPECT_FALSE(node.sync());
  EXPECT_TRUE(node.serves("user20"));
  EXPECT_EQ(StateDir::open(node.config_.state_dir)->load_highest_id(), 10901U)
      << "the hub must never give out the seed's ids again";
  EXPECT_FALSE(load_seed(file, *node.cache_)) << "what a node has is newer than its image";
  hub.set_intercept({});
  hub.put_user(200, "new", 10200);
  ASSERT_TRUE(node.sync());
  EXPECT_TRUE(node.serves("new"));
  EXPECT_EQ(hub.count_requests("since="), 1U) << "it goes on from the seed's cursor";

  std::string cut = *read_file(file, 1 << 20);
  cut.resize(cut.size() - 3);
  ASSERT_TRUE(write_file_atomic(file, cut, 0600));
  Node other(hub);
  EXPECT_FALSE(load_seed(file, *other.cache_));
  EXPECT_EQ(other.view().generation, 0U);
}

}  // namespace
}  // namespace roster::agent
