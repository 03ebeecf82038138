// The program itself: what service managers, administrators and monitoring see of it.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "agent/commands.h"
#include "agent/testing/fake_hub.h"
#include "base/file.h"
#include "base/json.h"

namespace roster::agent {
namespace {

using std::chrono::milliseconds;
using testing::FakeHub;

#if defined(__SANITIZE_THREAD__)  // gcc
constexpr bool kThreadSanitizer = true;
#elif defined(__has_feature)  // clang
constexpr bool kThreadSanitizer = __has_feature(thread_sanitizer);
#else
constexpr bool kThreadSanitizer = false;
#endif

class Process : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* binary = getenv("ROSTER_AGENT_BINARY");
    if (binary == nullptr) GTEST_SKIP() << "ROSTER_AGENT_BINARY is not set";
    binary_ = binary;
    std::string pattern = ::testing::TempDir() + "agent.XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    hub_.put_group(1, "ml", 10900);
    for (std::uint64_t i = 1; i <= 20; ++i) {
      hub_.put_user(100 + i, "user" + std::to_string(i), static_cast<std::uint32_t>(10000 + i),
                    {1});
    }
    ASSERT_TRUE(write_file_atomic(root_ / "join", hub_.join_token(), 0600));
    ASSERT_TRUE(write_file_atomic(root_ / "passwd", "root:x:0:0::/root:/bin/sh\n", 0644));
    ASSERT_TRUE(write_file_atomic(root_ / "group", "root:x:0:\n", 0644));
    const std::string at = root_.string();
    ASSERT_TRUE(write_file_atomic(
        root_ / "agent.toml",
        "url = \"" + hub_.url() + "\"\njoin_token_file = \"" + at + "/join\"\nstate_dir = \"" + at +
            "/state\"\ncache_dir = \"" + at + "/cache\"\nsocket = \"" + at +
            "/agent.sock\"\ndeny_file = \"" + at +
            "/deny\"\nnode_name = \"n1\"\nkeys_group = \"\"\nallow_any_filesystem = true\n"
            "[local]\npasswd = \"" +
            at + "/passwd\"\ngroup = \"" + at + "/group\"\n",
        0644));
    listen_for_notifications();
  }
  void TearDown() override {
    if (agent_ > 0) {
      kill(agent_, SIGKILL);
      waitpid(agent_, nullptr, 0);
    }
    if (!root_.empty()) std::filesystem::remove_all(root_);
  }

  void listen_for_notifications() {
    notify_ = UniqueFd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string path = (root_ / "notify").string();
    ASSERT_LT(path.size(), sizeof address.sun_path);
    std::memcpy(address.sun_path, path.c_str(), path.size());
    ASSERT_EQ(bind(notify_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    const timeval limit{.tv_sec = 10, .tv_usec = 0};
    setsockopt(notify_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  }
  std::string next_notification() {
    char buffer[256];
    const ssize_t size = recv(notify_.get(), buffer, sizeof buffer, 0);
    return size < 0 ? "nothing" : std::string(buffer, static_cast<std::size_t>(size));
  }

  pid_t spawn(std::vector<std::string> args, const std::string& out) {
    args.insert(args.begin(), binary_);
    std::vector<char*> argv;
    for (std::string& arg : args) argv.push_back(arg.data());
    argv.push_back(nullptr);
    std::string notify = "NOTIFY_SOCKET=" + (root_ / "notify").string();
    char* env[] = {notify.data(), nullptr};
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    pid_t pid = -1;
    EXPECT_EQ(posix_spawn(&pid, binary_.c_str(), &actions, nullptr, argv.data(), env), 0);
    posix_spawn_file_actions_destroy(&actions);
    return pid;
  }
  int run(std::vector<std::string> args) {
    const pid_t pid = spawn(std::move(args), (root_ / "out").string());
    int status = 0;
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
  }
  std::string output() const { return *read_file(root_ / "out", 1 << 20); }
  std::string config() const { return (root_ / "agent.toml").string(); }

  void start_agent() {
    agent_ = spawn({"run", "--config", config()}, (root_ / "log").string());
    ASSERT_THAT(next_notification(), ::testing::StartsWith("READY=1"));
  }
  int stop_agent(int signal_number) {
    kill(agent_, signal_number);
    int status = 0;
    waitpid(std::exchange(agent_, 0), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
  }
  /// Whatever the phase is.
  json::object status() {
    EXPECT_LE(run({"status", "--config", config(), "--output", "json"}), kExitRefused) << output();
    return json::parse(output())->get_object();
  }
  /// Asks again until it holds; a few seconds at most.
  bool soon(const std::function<bool()>& holds) {
    for (int i = 0; i < 200; ++i) {
      if (holds()) return true;
      std::this_thread::sleep_for(milliseconds(20));
    }
    return false;
  }
  std::int64_t cache_number(std::string_view name) {
    const json::object whole = status();
    return json::find_int(*json::find_object(whole, "cache"), name).value_or(-1);
  }
  /// How often the agent's threads went to sleep.
  std::int64_t sleeps() const {
    std::int64_t sum = 0;
    const std::string tasks = "/proc/" + std::to_string(agent_) + "/task";
    for (const auto& task : std::filesystem::directory_iterator(tasks)) {
      std::ifstream in(task.path() / "status");
      for (std::string line; std::getline(in, line);) {
        constexpr std::string_view kField = "voluntary_ctxt_switches:";
        if (line.starts_with(kField)) sum += std::stoll(line.substr(kField.size()));
      }
    }
    return sum;
  }

  FakeHub hub_;
  std::string binary_;
  std::filesystem::path root_;
  UniqueFd notify_;
  pid_t agent_ = 0;
};

TEST_F(Process, TellsTheTruthFromStartToStop) {
  EXPECT_EQ(run({"status", "--config", config()}), kExitUnreachable);
  EXPECT_EQ(run({"wait", "--config", config(), "--timeout", "200ms"}), kExitUnreachable);
  start_agent();
  EXPECT_EQ(run({"wait", "--config", config(), "--timeout", "10s", "--user", "user7"}), kExitOk);
  EXPECT_EQ(run({"wait", "--config", config(), "--timeout", "300ms", "--user", "stranger"}),
            kExitUnreachable);
  EXPECT_THAT(output(), ::testing::HasSubstr("not served yet"));
  const json::object shown = status();
  EXPECT_EQ(json::find_string(shown, "phase"), "following");
  EXPECT_EQ(json::find_string(shown, "org"), "acme");
  EXPECT_EQ(cache_number("users"), 20);
  EXPECT_EQ(run({"status", "--config", config()}), kExitOk);
  EXPECT_THAT(output(), ::testing::HasSubstr("20 people"));
  EXPECT_EQ(run({"sync", "--config", config()}), kExitFailed)
      << "the running agent has the cache: " << output();

  hub_.put_user(200, "late", 10200);
  EXPECT_EQ(run({"wait", "--config", config(), "--timeout", "10s", "--user", "late"}), kExitOk);
  EXPECT_EQ(stop_agent(SIGTERM), 0);
  EXPECT_EQ(next_notification(), "STOPPING=1");
  EXPECT_EQ(run({"sync", "--config", config()}), kExitOk) << output();
}

TEST_F(Process, LocalFilesTakeEffectAtOnce) {
  start_agent();
  EXPECT_EQ(run({"deny", "--config", config(), "user3"}), kExitOk);
  EXPECT_EQ(run({"deny", "--config", config(), "user3"}), kExitOk);
  EXPECT_THAT(output(), ::testing::HasSubstr("already"));
  EXPECT_EQ(run({"deny", "--config", config(), "../etc"}), kExitFailed);
  EXPECT_TRUE(soon([this] { return cache_number("denied_users") == 1; }));
  EXPECT_EQ(run({"deny", "--config", config(), "10004"}), kExitOk);
  EXPECT_TRUE(soon([this] { return cache_number("denied_users") == 2; }));
  EXPECT_EQ(run({"allow", "--config", config(), "user3"}), kExitOk);
  EXPECT_TRUE(soon([this] { return cache_number("denied_users") == 1; }));

  ASSERT_TRUE(write_file_atomic(root_ / "passwd",
                                "root:x:0:0::/root:/bin/sh\nuser5:x:500:500::/:/bin/sh\n", 0644));
  EXPECT_TRUE(soon([this] { return cache_number("masked_users") == 1; }));
  EXPECT_EQ(run({"wait", "--config", config(), "--timeout", "0ms", "--user", "user5"}),
            kExitUnreachable);
  EXPECT_EQ(kill(agent_, SIGHUP), 0);
  EXPECT_EQ(cache_number("masked_users"), 1);
}

// A node whose local accounts cannot be read locks people out, serves nobody new, and says so.
TEST_F(Process, WithoutLocalAccountsNobodyNewIsServed) {
  ASSERT_EQ(run({"sync", "--config", config()}), kExitOk) << output();
  std::filesystem::remove(root_ / "passwd");
  hub_.put_user(200, "late", 10200);
  EXPECT_EQ(run({"sync", "--config", config()}), kExitFailed) << output();
  EXPECT_THAT(output(), ::testing::HasSubstr("no local account"));
  start_agent();
  EXPECT_TRUE(soon([this] {
    return run({"status", "--config", config()}) == kExitFailed &&
           output().find("following") != std::string::npos &&
           output().find("no local account") != std::string::npos;
  })) << output();
  EXPECT_EQ(run({"wait", "--config", config(), "--timeout", "5s", "--user", "user9"}), kExitOk);
  hub_.remove_user(101);
  EXPECT_TRUE(soon([this] { return cache_number("users") == 20; })) << "of 21";
  EXPECT_EQ(run({"wait", "--config", config(), "--timeout", "0ms", "--user", "late"}),
            kExitUnreachable);
  ASSERT_TRUE(write_file_atomic(root_ / "passwd", "root:x:0:0::/root:/bin/sh\n", 0644));
  EXPECT_EQ(run({"wait", "--config", config(), "--timeout", "10s", "--user", "late"}), kExitOk);
  EXPECT_EQ(run({"status", "--config", config()}), kExitOk) << output();
}

// Nor does it wait for the hub's next word, or for an event that never comes.
TEST_F(Process, WhatCannotBeReadIsTriedAgain) {
  if (unshare(CLONE_NEWNS) != 0 ||
      mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    GTEST_SKIP() << "mounting needs CAP_SYS_ADMIN";
  }
  ASSERT_EQ(run({"sync", "--config", config()}), kExitOk) << output();
  std::filesystem::rename(root_ / "passwd", root_ / "good");
  ASSERT_TRUE(write_file_atomic(root_ / "passwd", "", 0644));
  hub_.put_user(200, "late", 10200);
  start_agent();
  EXPECT_TRUE(soon([this] { return cache_number("users") == 21; }));
  const std::string at = (root_ / "passwd").string();
  ASSERT_EQ(mount((root_ / "good").c_str(), at.c_str(), nullptr, MS_BIND, nullptr), 0);
  EXPECT_EQ(run({"wait", "--config", config(), "--timeout", "10s", "--user", "late"}), kExitOk);
  EXPECT_EQ(umount2(at.c_str(), MNT_DETACH), 0);
}

// A full disk is not the hub's fault.
TEST_F(Process, FullDisksAreFailuresOfThisNode) {
  const std::filesystem::path small = root_ / "small";
  std::filesystem::create_directory(small);
  if (unshare(CLONE_NEWNS) != 0 ||
      mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      mount("tmpfs", small.c_str(), "tmpfs", 0, "mode=755,size=4096") != 0) {
    GTEST_SKIP() << "mounting needs CAP_SYS_ADMIN";
  }
  ASSERT_TRUE(write_file_atomic(small / "ballast", "x", 0600));
  const std::string text = *read_file(root_ / "agent.toml", 1 << 20);
  const auto with = [&](std::string_view key, std::string_view file) {
    const std::string line = std::string(key) + " = \"" + (root_ / file).string() + '"';
    std::string out = text;
    const std::size_t at = out.find(line);
    EXPECT_NE(at, std::string::npos);
    return out.replace(at, line.size(), std::string(key) + " = \"" + (small / file).string() + '"');
  };
  EXPECT_EQ(run({"seed", "--config", config(), (small / "seed").string()}), kExitFailed)
      << output();
  EXPECT_THAT(output(), ::testing::HasSubstr("No space"));
  ASSERT_TRUE(write_file_atomic(root_ / "agent.toml", with("deny_file", "deny"), 0644));
  EXPECT_EQ(run({"deny", "--config", config(), "user3"}), kExitFailed) << output();
  EXPECT_THAT(output(), ::testing::HasSubstr("No space"));

  ASSERT_TRUE(write_file_atomic(root_ / "agent.toml", with("cache_dir", "cache"), 0644));
  ASSERT_EQ(mount(nullptr, small.c_str(), nullptr, MS_REMOUNT, "mode=755,size=12k"), 0);
  agent_ = spawn({"run", "--config", config()}, (root_ / "log").string());
  EXPECT_TRUE(soon([this] {
    return run({"status", "--config", config()}) == kExitFailed &&
           output().find("No space") != std::string::npos;
  })) << output();
  EXPECT_EQ(umount2(small.c_str(), MNT_DETACH), 0);
}

TEST_F(Process, KilledAtAnyInstantItGoesOnFromWhatItHad) {
  start_agent();
  std::int64_t generation = 0;
  for (int round = 0; round < 10; ++round) {
    for (int i = 0; i < 20; ++i) {
      const int number = round * 20 + i;
      hub_.put_user(static_cast<std::uint64_t>(1000 + number), "k" + std::to_string(number),
                    static_cast<std::uint32_t>(20000 + number));
    }
    EXPECT_EQ(stop_agent(SIGKILL), 1000 + SIGKILL);
    start_agent();
    const std::int64_t now = cache_number("generation");
    EXPECT_GE(now, generation);
    generation = now;
  }
  EXPECT_EQ(run({"wait", "--config", config(), "--timeout", "10s", "--user", "k199"}), kExitOk);
  EXPECT_EQ(cache_number("users"), 220);
  EXPECT_EQ(hub_.count_requests("enroll"), 1U);
}

TEST_F(Process, SleepsWhileNothingChanges) {
  if (kThreadSanitizer) GTEST_SKIP() << "ThreadSanitizer's own thread wakes ten times a second";
  start_agent();
  hub_.put_user(200, "late", 10200);
  EXPECT_EQ(run({"wait", "--config", config(), "--timeout", "10s", "--user", "late"}), kExitOk);
  // Settled when half a second passes without a wake.
  std::int64_t before = sleeps();
  ASSERT_TRUE(soon([this, &before] {
    std::this_thread::sleep_for(milliseconds(500));
    return std::exchange(before, sleeps()) == before;
  }));
  std::this_thread::sleep_for(milliseconds(2'000));
  EXPECT_LE(sleeps() - before, 1) << "a node that follows an idle hub does nothing";
}

TEST_F(Process, WrongUsageAndWrongFilesHaveTheirStatus) {
  EXPECT_EQ(run({}), kExitUsage);
  EXPECT_EQ(run({"run", "--nonsense"}), kExitUsage);
  // Options that nobody would heed.
  for (const char* option : {"--full", "--force-write", "--accept-id=alice=20001"}) {
    EXPECT_EQ(run({"sync", "--config", config(), option}), kExitUsage) << option;
    EXPECT_THAT(output(), ::testing::HasSubstr("requires --nsscache-conf"));
  }
  EXPECT_EQ(run({"sync", "--nsscache-conf", "", "--full"}), kExitUsage);
  EXPECT_EQ(run({"run", "--config", config(), "--interval", "1m"}), kExitUsage);
  EXPECT_EQ(run({"--help"}), kExitOk);
  EXPECT_THAT(output(), ::testing::HasSubstr("Examples:"));
  ASSERT_TRUE(write_file_atomic(root_ / "bad.toml", "ulr = \"x\"\n", 0644));
  EXPECT_EQ(run({"run", "--config", (root_ / "bad.toml").string()}), kExitFailed);
  EXPECT_THAT(output(), ::testing::HasSubstr("bad.toml:1"));
  hub_.set_intercept([](const http::Request&) -> std::optional<http::Response> {
    http::Response refused;
    refused.status = 401;
    return refused;
  });
  EXPECT_EQ(run({"sync", "--config", config()}), kExitRefused);
  hub_.stop();
  EXPECT_EQ(run({"sync", "--config", config()}), kExitUnreachable) << output();
}

TEST_F(Process, ASeedServesBeforeTheHubIsReached) {
  const std::string seed = (root_ / "seed.zst").string();
  ASSERT_EQ(run({"seed", "--config", config(), seed}), kExitOk) << output();
  std::filesystem::remove_all(root_ / "state");
  hub_.set_intercept([](const http::Request&) -> std::optional<http::Response> {
    http::Response down;
    down.status = 503;
    return down;
  });
  agent_ = spawn({"run", "--config", config(), "--seed", seed}, (root_ / "log").string());
  ASSERT_THAT(next_notification(), ::testing::StartsWith("READY=1"));
  EXPECT_EQ(run({"wait", "--config", config(), "--timeout", "5s", "--user", "user9"}), kExitOk);
  EXPECT_EQ(run({"status", "--config", config()}), kExitUnreachable);
}

}  // namespace
}  // namespace roster::agent
