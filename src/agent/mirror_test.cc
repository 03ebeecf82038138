// Passes over a SCIM server as a running agent makes them, in one process.

#include "agent/mirror.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <condition_variable>
#include <filesystem>
#include <functional>
#include <mutex>
#include <thread>

#include "agent/agent.h"
#include "agent/commands.h"
#include "agent/errors.h"
#include "base/file.h"
#include "base/json.h"
#include "kubernetes/testing/api_server.h"
#include "mirror/lock.h"
#include "mirror/testing/fake_scim.h"
#include "mirror/testing/guide.h"

namespace roster::agent {
namespace {

using kubernetes::testing::ApiServer;
using mirror::testing::FakeScim;
using mirror::testing::group;
using mirror::testing::person_with_keys;
using std::chrono::milliseconds;
using std::chrono::steady_clock;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kKeyText =
    "\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f a@b\"";

/// A process that takes a lock when it is told to, and ends with this one at the latest. To be made
/// before there are threads.
class LockHolder {
 public:
  LockHolder() {
    CHECK(::pipe2(asked_, O_CLOEXEC) == 0 && ::pipe2(answers_, O_CLOEXEC) == 0);
    pid_ = ::fork();
    CHECK(pid_ >= 0);
    if (pid_ > 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::close(asked_[1]);  // so that its end is seen here
    std::array<char, PATH_MAX> path{};
    if (::read(asked_[0], path.data(), path.size() - 1) <= 0) ::_exit(0);
    const auto lock = mirror::PassLock::take(path.data());
    [[maybe_unused]] const ssize_t told = ::write(answers_[1], lock ? "y" : "n", 1);
    [[maybe_unused]] const ssize_t end = ::read(asked_[0], path.data(), 1);
    ::_exit(0);
  }
  ~LockHolder() {
    end();
    for (const int fd : {asked_[0], asked_[1], answers_[0], answers_[1]}) ::close(fd);
  }
  LockHolder(const LockHolder&) = delete;
  LockHolder& operator=(const LockHolder&) = delete;

  pid_t pid() const { return pid_; }
  /// False when it is not to be had.
  bool take(const std::filesystem::path& path) {
    const std::string text = path.string();
    char answer = 0;
    return ::write(asked_[1], text.data(), text.size()) == static_cast<ssize_t>(text.size()) &&
           ::read(answers_[0], &answer, 1) == 1 && answer == 'y';
  }
  void end() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(std::exchange(pid_, 0), nullptr, 0);
  }

 private:
  int asked_[2] = {-1, -1};
  int answers_[2] = {-1, -1};
  pid_t pid_ = 0;
};

class MirrorFeederTest : public ::testing::Test {
 protected:
  MirrorFeederTest() {
    std::string name = (std::filesystem::temp_directory_path() / "roster-feeder-XXXXXX").string();
    CHECK(::mkdtemp(name.data()) != nullptr);
    root_ = name;
    ::setenv("NSSCACHE_SCIM_AUTH_TOKEN", "t-1", 1);
    write("passwd", "root:x:0:0::/root:/bin/sh\n");
    write("group", "root:x:0:\n");
    config_.local = {.passwd = root_ / "passwd",
                     .group = root_ / "group",
                     .subuid = root_ / "subuid",
                     .subgid = root_ / "subgid",
                     .deny = root_ / "deny"};
    config_.cache_dir = root_ / "cache";
    config_.keys_group.clear();
    config_.allow_any_filesystem = true;
    std::string text(mirror::testing::kGuideConf);
    const auto replace = [&text](std::string_view from, const std::string& to) {
      text.replace(text.find(from), from.size(), to);
    };
    replace("https://activate.example.org/api/organizations/lab/scim/v2", scim_.url());
    replace("/var/lib/nsscache", root_.string());
    replace("/etc/nsscache", root_.string());
    replace("[DEFAULT]\n", "[DEFAULT]\nlockfile = " + lock_file().string() + "\n");
    write("nsscache.conf", text);
    options_.conf = root_ / "nsscache.conf";
    options_.interval = std::chrono::hours(1);
    options_.secrets.clock = [this] { return milliseconds(steady_ms_.load()); };
    scim_.set_etags(true);
    scim_.set_people({person_with_keys("alice", 20001, kKeyText),
                      person_with_keys("bob", 20002, kKeyText),
                      person_with_keys("carol", 20003, kKeyText)});
    scim_.set_groups({group("eng", 30001, {"alice", "bob"})});
  }
  ~MirrorFeederTest() override {
    answer();
    stop();
    std::filesystem::remove_all(root_);
  }

  void write(const std::string& name, const std::string& text) {
    CHECK(write_file_atomic(root_ / name, text, 0644).has_value());
  }
  std::string map(const std::string& name) const {
    const auto text = read_file(root_ / (name + ".cache"), 1 << 20);
    return text ? *text : "no file";
  }
  std::filesystem::path lock_file() const { return root_ / "lock"; }

  /// The server takes requests and never answers them, while hang_ is set.
  void hang() {
    hang_ = true;
    scim_.set_intercept([this](const http::Request&) -> std::optional<http::Response> {
      ++hanging_;
      happened_.notify_all();
      hang_.wait(true);
      return std::nullopt;
    });
  }
  void answer() {
    hang_ = false;
    hang_.notify_all();
  }

  /// Until it holds, or for ten seconds. It is looked at when a pass ends or the server is asked,
  /// and often, for what tells nobody.
  bool soon(const std::function<bool()>& holds) {
    const auto until = steady_clock::now() + std::chrono::seconds(10);
    std::unique_lock lock(mutex_);
    while (!holds()) {
      if (steady_clock::now() > until) return false;
      happened_.wait_for(lock, milliseconds(2));
    }
    return true;
  }

  void start() {
    cache_ = std::make_unique<NodeCache>(config_, system_now, metrics_, [](std::uint64_t) {});
    feeder_ =
        std::make_unique<MirrorFeeder>(config_, options_, *cache_, board_, metrics_, system_now);
    ASSERT_TRUE(feeder_->resume());
    thread_ = std::thread([this] {
      feeder_->run([this] {
        ++passes_;
        happened_.notify_all();
      });
    });
  }
  void stop() {
    if (feeder_) feeder_->stop();
    if (thread_.joinable()) thread_.join();
  }
  json::value status() const {
    return *json::parse(board_.to_json(NodeCache::View(), system_now()));
  }
  std::string phase() const { return std::string(json::view(status().at("phase").get_string())); }
  std::string error() const {
    const json::value now = status();
    const json::object* told = json::find_object(now.get_object(), "error");
    return told == nullptr ? "" : std::string(json::find_string(*told, "message").value_or(""));
  }

  LockHolder holder_;
  FakeScim scim_;
  std::filesystem::path root_;
  Config config_;
  MirrorOptions options_;
  Metrics metrics_;
  StatusBoard board_{"scim"};
  std::atomic<std::int64_t> steady_ms_{1'000'000};
  std::atomic<bool> hang_{false};
  std::atomic<int> hanging_{0};
  std::atomic<int> passes_{0};
  std::mutex mutex_;
  std::condition_variable happened_;
  std::unique_ptr<NodeCache> cache_;
  std::unique_ptr<MirrorFeeder> feeder_;
  std::thread thread_;
};

TEST_F(MirrorFeederTest, AStopWaitsForNoServer) {
  hang();
  start();
  ASSERT_TRUE(soon([this] { return hanging_ > 0; }));
  const auto begin = steady_clock::now();
  stop();
  EXPECT_LT(steady_clock::now() - begin, std::chrono::seconds(10)) << "scim_timeout is 60";
}

// A deny file that changes is no matter of the interval, nor of a server that hangs.
TEST_F(MirrorFeederTest, ALockoutWaitsForNeitherServerNorInterval) {
  start();
  ASSERT_TRUE(soon([this] { return passes_ == 1; }));
  EXPECT_THAT(map("passwd"), Not(HasSubstr("nologin")));
  hang();
  write("deny", "alice\n");
  feeder_->denials_changed();
  EXPECT_TRUE(soon([this] { return map("group") == "eng:x:30001:bob\n"; })) << map("group");
  EXPECT_THAT(map("passwd"), HasSubstr("alice Example:/mnt/home/alice:/usr/sbin/nologin\n"));
  ASSERT_TRUE(soon([this] { return hanging_ == 1; }));
  write("deny", "alice\n20002\n");
  feeder_->denials_changed();
  EXPECT_TRUE(soon([this] { return map("group") == "eng:x:30001:\n"; })) << map("group");
  ASSERT_TRUE(soon([this] { return hanging_ == 2; }));
  EXPECT_EQ(phase(), "following") << "a pass that is begun anew is none that failed";
  EXPECT_THAT(metrics_.render(), HasSubstr("roster_mirror_ok 1\n"));
  EXPECT_THAT(*read_file(root_ / "roster-mirror-report.json", 1 << 20), HasSubstr(R"("ok":true)"));
  answer();
  ASSERT_TRUE(soon([this] { return passes_ == 2; }));
  write("deny", "");
  feeder_->denials_changed();
  EXPECT_TRUE(soon([this] { return map("group") == "eng:x:30001:alice,bob\n"; })) << map("group");
}

// Nobody who asks for a lockout thinks of the interval; and second tries are no passes left out.
// Neither files that are refused nor a mapped cache that is keep somebody in whom the server says
// not to be active.
TEST_F(MirrorFeederTest, TheMappedCacheLocksWhoIsNotActiveAlthoughTheReadingIsRefused) {
  const auto with_alice = [](bool active) {
    std::string text = person_with_keys("alice", 20001, kKeyText);
    return active ? text : text.insert(1, "\"active\":false,");
  };
  std::vector<std::string> many;
  for (std::uint32_t i = 0; i < 40; ++i) {
    many.push_back(person_with_keys("user" + std::to_string(i), 21000 + i, kKeyText));
  }
  const auto people = [&](bool active, std::size_t others) {
    std::vector<std::string> list(many.begin(), many.begin() + static_cast<std::ptrdiff_t>(others));
    list.push_back(with_alice(active));
    return list;
  };
  scim_.set_people(people(true, 40));
  scim_.set_groups({group("eng", 30001, {"alice", "user1"})});
  options_.publish = {"cache"};
  options_.interval = milliseconds(10);
  start();
  ASSERT_TRUE(cache_->set_rules({}, true));
  const auto is_locked = [this](const char* name) {
    const auto user = cache_->find_user(name);
    return user && user->locked && user->groups.empty();
  };
  ASSERT_TRUE(soon([&] { return phase() == "following" && cache_->serves_user("alice"); }));
  EXPECT_FALSE(is_locked("alice"));

  scim_.set_people(people(false, 20));  // too many are gone
  ASSERT_TRUE(soon([&] { return is_locked("alice"); }));
  EXPECT_TRUE(cache_->serves_user("user39")) << "and nobody else";
  EXPECT_FALSE(is_locked("user1"));
  EXPECT_THAT(map("passwd"),
              HasSubstr("alice:x:20001:30000:alice Example:/mnt/home/alice:/usr/sb"));

  scim_.set_people(people(true, 40));
  ASSERT_TRUE(soon([&] { return !is_locked("alice") && phase() == "following"; }));
}

TEST_F(MirrorFeederTest, ALockoutThatMeetsALockIsTriedAgainSoon) {
  options_.lockout_retry = milliseconds(10);
  start();
  ASSERT_TRUE(soon([this] { return passes_ == 1; }));
  ASSERT_TRUE(holder_.take(lock_file()));
  write("deny", "alice\n");
  feeder_->denials_changed();
  ASSERT_TRUE(soon([this] { return passes_ > 5; }));
  EXPECT_THAT(metrics_.render(), HasSubstr("roster_mirror_ok 0\n"));
  EXPECT_THAT(metrics_.render(), HasSubstr("roster_mirror_passes_left_out 0\n"));
  EXPECT_EQ(phase(), "following");
  holder_.end();
  EXPECT_TRUE(soon([this] { return map("group") == "eng:x:30001:bob\n"; })) << map("group");
}

TEST_F(MirrorFeederTest, ALockoutNeedsNoGoodConfiguration) {
  start();
  ASSERT_TRUE(soon([this] { return passes_ == 1; }));
  write("nsscache.conf", "[DEFAULT]\nsource = ldap\n");
  write("deny", "alice\n");
  feeder_->denials_changed();
  EXPECT_TRUE(soon([this] { return map("group") == "eng:x:30001:bob\n"; })) << map("group");
  EXPECT_TRUE(soon([this] { return phase() == "refused"; }));
  EXPECT_THAT(error(), HasSubstr("nsscache.conf"));
}

TEST_F(MirrorFeederTest, APassThatCannotBeginIsNoOldSuccess) {
  const std::filesystem::path metrics = root_ / "metrics";
  ASSERT_TRUE(sync_mirror(config_, options_, metrics, system_now));
  EXPECT_THAT(*read_file(metrics, 1 << 20), HasSubstr("roster_mirror_ok 1\n"));
  const auto unwritten = sync_mirror(config_, options_, root_ / "none" / "metrics", system_now);
  ASSERT_TRUE(unwritten);
  EXPECT_EQ(unwritten->status, kExitFailed) << "somebody waits for them";
  std::filesystem::remove(options_.conf);
  ASSERT_FALSE(sync_mirror(config_, options_, metrics, system_now));
  EXPECT_THAT(*read_file(metrics, 1 << 20), HasSubstr("roster_mirror_ok 0\n"));
  const auto both = sync_mirror(config_, options_, root_ / "none" / "metrics", system_now);
  ASSERT_FALSE(both);
  EXPECT_THAT(both.error().message, HasSubstr("nsscache.conf")) << "the cause, not the messenger";
}

TEST_F(MirrorFeederTest, ALockThatIsNeverFreeIsTold) {
  ASSERT_TRUE(holder_.take(lock_file()));
  const auto pass = sync_mirror(config_, options_, root_ / "metrics", system_now);
  ASSERT_FALSE(pass);
  EXPECT_THAT(pass.error().message,
              AllOf(HasSubstr("pid " + std::to_string(holder_.pid()) + " (roster_agent_te"),
                    HasSubstr(", since 20"), HasSubstr(lock_file().string())));
  EXPECT_EQ(exit_status(pass.error()), kExitFailed);
  EXPECT_THAT(*read_file(root_ / "metrics", 1 << 20), HasSubstr("roster_mirror_ok 0\n"));

  options_.interval = milliseconds(20);
  start();
  ASSERT_TRUE(soon([this] { return phase() == "refused"; }));
  EXPECT_GE(passes_, 2);
  EXPECT_THAT(error(), AllOf(HasSubstr("pid " + std::to_string(holder_.pid())),
                             HasSubstr("since 20"), HasSubstr("passes are left out")));
  EXPECT_EQ(status().at("mirror").at("ok"), false);
  EXPECT_EQ(json::view(status().at("error").at("code").get_string()), kLocal);
  EXPECT_THAT(metrics_.render(), HasSubstr("roster_mirror_ok 0\n"));
  EXPECT_THAT(metrics_.render(), Not(HasSubstr("roster_mirror_passes_left_out 0\n")));
  holder_.end();
  EXPECT_TRUE(soon([this] { return phase() == "following"; }));
  EXPECT_TRUE(
      soon([this] { return metrics_.render().contains("roster_mirror_passes_left_out 0\n"); }));
}

class MirrorSecretsTest : public MirrorFeederTest {
 protected:
  MirrorSecretsTest() {
    options_.publish = {"kubernetes"};
    options_.interval = milliseconds(10);
    options_.secrets.api_url = api_.url();
    options_.secrets.service_account = api_.service_account();
    api_.accept({"t"});
    api_.write_token("t");
  }
  ~MirrorSecretsTest() override {
    answer();
    stop();
  }
  std::string secret(const std::string& map) const {
    const std::string name = "slurm-nsscache-" + map;
    if (!api_.has(name)) return "no secret";
    const auto data = api_.secret(name).data;
    const auto found = data.find(map + ".cache");
    return found == data.end() ? "no key" : found->second;
  }
  /// Passes that begin from now on.
  bool passes(int count) {
    const int until = passes_ + count + 1;
    return soon([this, until] { return passes_ >= until; });
  }

  ApiServer api_;
};

TEST_F(MirrorSecretsTest, AnUnchangedPassReadsNothingAndSecretsAreMendedAllTheSame) {
  start();
  ASSERT_TRUE(passes(1));
  EXPECT_EQ(secret("passwd"), map("passwd"));
  EXPECT_EQ(secret("sshkey"), map("sshkey"));
  const std::size_t asked = api_.requests().size();
  scim_.forget_requests();
  ASSERT_TRUE(passes(3));
  EXPECT_EQ(status().at("mirror").at("conditional"), true);
  EXPECT_EQ(status().at("mirror").at("bytes"), 0);
  EXPECT_EQ(api_.requests().size(), asked) << "they were compared a moment ago";

  api_.remove("slurm-nsscache-group");
  api_.put("slurm-nsscache-passwd", "passwd.cache", "mallory:x:0:0::/:/bin/sh\n", "roster-agent");
  steady_ms_ += 61'000;
  EXPECT_TRUE(soon([this] { return secret("group") == map("group"); })) << secret("group");
  EXPECT_TRUE(soon([this] { return secret("passwd") == map("passwd"); })) << secret("passwd");
  EXPECT_EQ(status().at("mirror").at("conditional"), true);

  scim_.set_people({person_with_keys("bob", 20002, kKeyText)});
  EXPECT_TRUE(soon([this] { return !secret("passwd").contains("alice"); })) << "at once";
}

TEST_F(MirrorSecretsTest, SecretsFollowALockoutAndAreMendedWithoutTheServer) {
  start();
  ASSERT_TRUE(passes(1));
  stop();
  hang();
  feeder_.reset();
  start();
  ASSERT_TRUE(soon([this] { return hanging_ > 0; }));
  write("deny", "alice\n");
  feeder_->denials_changed();
  EXPECT_TRUE(soon([this] { return secret("group") == "eng:x:30001:bob\n"; })) << secret("group");
  EXPECT_TRUE(soon([this] { return secret("sshkey").starts_with("alice:\nbob:["); }));
  answer();
  scim_.set_intercept([](const http::Request&) -> std::optional<http::Response> {
    http::Response gone = mirror::testing::json_list("{}");
    gone.status = 403;
    return gone;
  });
  ASSERT_TRUE(soon([this] { return phase() == "refused"; }));
  api_.remove("slurm-nsscache-passwd");
  steady_ms_ += 61'000;
  EXPECT_TRUE(soon([this] { return secret("passwd") == map("passwd"); })) << secret("passwd");
}

// What the node's files do not say keeps nobody in who is denied.
TEST_F(MirrorSecretsTest, SecretsFollowALockoutAlthoughLocalFilesCannotBeRead) {
  start();
  ASSERT_TRUE(passes(1));
  std::filesystem::create_directory(root_ / "subuid");
  write("deny", "alice\n");
  feeder_->denials_changed();
  EXPECT_TRUE(soon([this] { return secret("group") == "eng:x:30001:bob\n"; })) << secret("group");
  EXPECT_EQ(secret("passwd"), map("passwd"));
  EXPECT_TRUE(soon([this] { return phase() == "refused"; }));
  EXPECT_THAT(error(), HasSubstr("not all local files could be read"));
  EXPECT_EQ(json::view(status().at("error").at("code").get_string()), kLocal);
}

TEST_F(MirrorSecretsTest, ASecretThatCannotBeMendedIsAFailure) {
  start();
  ASSERT_TRUE(passes(1));
  api_.remove("slurm-nsscache-group");
  api_.put("slurm-nsscache-group", "group.cache", "other\n", "somebody");
  steady_ms_ += 61'000;
  ASSERT_TRUE(soon([this] { return phase() == "refused"; }));
  EXPECT_THAT(error(), AllOf(HasSubstr("kubernetes: slurm-nsscache-group"), HasSubstr("somebody")));
}

}  // namespace
}  // namespace roster::agent
