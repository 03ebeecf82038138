// kill -9 of the publisher at any instant: the last generation that it said was published, or a
// later one, is served whole, before and after the restart.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <optional>
#include <random>

#include "nsscache/cache_directory.h"
#include "nsscache/test_support.h"

namespace roster::nsscache {
namespace {

constexpr int kPeople = 20;

using ::testing::ElementsAre;
using CrashTest = CacheTest;

/// In generation k everybody's full name is k, and everybody is in a group named after k.
void make_changes(Publisher& publisher, std::uint64_t k) {
  for (int i = 1; i <= kPeople; ++i) {
    posix::NodeUser user = make_user(static_cast<std::uint64_t>(i), "u" + std::to_string(i),
                                     static_cast<std::uint32_t>(10000 + i), {1}, k);
    user.gecos = std::to_string(k);
    user.keys = {{.line = "ssh-ed25519 AAAA" + std::to_string(k), .fingerprint = "SHA256:x"}};
    CHECK(publisher.upsert_user(user));
  }
  CHECK(publisher.upsert_group(make_group(1, "g" + std::to_string(k), 20001, {}, k)));
}

[[noreturn]] void publish_until_killed(PublisherOptions options, int acknowledge, Timestamp now) {
  auto publisher = Publisher::open(std::move(options), now);
  CHECK(publisher);
  publisher->set_local_rules({});
  std::uint64_t k = publisher->cursor().empty() ? 0 : std::stoull(publisher->cursor());
  while (true) {
    ++k;
    make_changes(*publisher, k);
    now += std::chrono::seconds(30);  // superseded files go while we run
    CHECK(publisher->publish(std::to_string(k), "e", now));
    CHECK(::write(acknowledge, &k, sizeof k) == ssize_t{sizeof k});
  }
}

TEST_F(CrashTest, KillsLoseNothing) {
  const int kills = is_long() ? 2000 : 200;
  PublisherOptions small = options();
  small.merge_bytes_min = 8000;
  std::mt19937 random(7);
  std::uint64_t acknowledged = 0;
  for (int round = 0; round < kills; ++round) {
    int pipe_ends[2];
    ASSERT_EQ(::pipe(pipe_ends), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      ::close(pipe_ends[0]);
      publish_until_killed(small, pipe_ends[1], now_);
    }
    ::close(pipe_ends[1]);
    // After some generations of this process, at any instant of the next one.
    for (unsigned i = random() % 3; i > 0; --i) {
      ASSERT_EQ(::read(pipe_ends[0], &acknowledged, sizeof acknowledged), ssize_t{8});
    }
    ::usleep(random() % 1500);
    ::kill(child, SIGKILL);
    ASSERT_EQ(::waitpid(child, nullptr, 0), child);
    while (::read(pipe_ends[0], &acknowledged, sizeof acknowledged) == 8) {
    }
    ::close(pipe_ends[0]);
    if (acknowledged == 0) continue;

    testing::forget_process_state();
    testing::skip_local_calls();
    struct passwd entry;
    char buffer[1024];
    ASSERT_EQ(read_passwd("u1", entry, buffer, sizeof buffer), Answer::kFound) << round;
    const std::uint64_t served = std::stoull(entry.pw_gecos);
    ASSERT_GE(served, acknowledged) << round;
    for (int i = 2; i <= kPeople; ++i) {
      const std::string line = passwd_line(("u" + std::to_string(i)).c_str());
      ASSERT_NE(line.find(":" + std::to_string(served) + ":"), std::string::npos) << line;
    }
    ASSERT_TRUE(group_line(gid_t{20001}).starts_with("g" + std::to_string(served) + ":"));
    ASSERT_EQ(roster::nsscache::keys_of("u1", 10001, 1),
              std::vector<std::string>{"ssh-ed25519 AAAA" + std::to_string(served)});
  }
  EXPECT_GT(acknowledged, 100u);
}

/// Files of this process cannot grow beyond this while it lives: writes fail as on a full disk.
class FullDisk {
 public:
  explicit FullDisk(rlim_t bytes) {
    ::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const struct rlimit limit{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FullDisk() { ::setrlimit(RLIMIT_FSIZE, &before_); }

 private:
  struct rlimit before_{};
};

std::vector<std::string> files_in(const std::filesystem::path& directory) {
  std::vector<std::string> out;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    out.push_back(entry.path().filename());
  }
  std::ranges::sort(out);
  return out;
}

TEST_F(CrashTest, AFullDiskLosesNothing) {
  Publisher publisher = open_publisher();
  make_changes(publisher, 1);
  ASSERT_OK(publisher.publish("1", "e", now_));
  const auto files = files_in(directory_);
  make_changes(publisher, 2);
  for (const rlim_t bytes : {0u, 500u, 1100u, 2000u, 5000u}) {
    const FullDisk full(bytes);
    EXPECT_FALSE(publisher.publish("2", "e", now_)) << bytes;
    EXPECT_EQ(files_in(directory_), files) << "half-written files stay behind";
    EXPECT_EQ(publisher.cursor(), "1");
    EXPECT_NE(passwd_line("u1").find(":1:"), std::string::npos);
  }
  ASSERT_OK(publisher.publish("2", "e", now_));
  EXPECT_NE(passwd_line("u1").find(":2:"), std::string::npos) << "nothing collected was forgotten";
  // A replacement that does not fit is given up whole.
  ASSERT_OK(publisher.begin_replace());
  make_changes(publisher, 3);
  {
    const FullDisk full(3000);
    EXPECT_FALSE(publisher.publish("3", "e", now_));
  }
  ASSERT_OK(publisher.discard());
  EXPECT_NE(passwd_line("u1").find(":2:"), std::string::npos);
  // Or finished when there is room, though some of it had been written already.
  ASSERT_OK(publisher.begin_replace());
  make_changes(publisher, 4);
  {
    const FullDisk full(500);
    EXPECT_FALSE(publisher.publish("4", "e", now_));
  }
  ASSERT_OK(publisher.publish("4", "e", now_));
  EXPECT_NE(passwd_line("u1").find(":4:"), std::string::npos);
  EXPECT_EQ(all_passwd().size(), publisher.counts().users);
}

/// A file system of its own over the cache's parent, in this process's own mount namespace.
class SmallDisk {
 public:
  SmallDisk(std::filesystem::path at, std::uint64_t bytes, int inodes = 1000) : at_(std::move(at)) {
    const std::string size =
        "mode=755,size=" + std::to_string(bytes) + ",nr_inodes=" + std::to_string(inodes);
    mounted_ = ::unshare(CLONE_NEWNS) == 0 &&
               ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
               ::mount("tmpfs", at_.c_str(), "tmpfs", 0, size.c_str()) == 0;
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;
  ~SmallDisk() {
    if (mounted_) ::umount2(at_.c_str(), MNT_DETACH);
  }
  bool mounted() const { return mounted_; }
  /// Takes what is left.
  void fill() const {
    std::ofstream out(at_ / "ballast", std::ios::app | std::ios::binary);
    const std::string page(4096, 'x');
    while (out.write(page.data(), 4096).flush()) {
    }
  }
  void drop() const { std::filesystem::remove(at_ / "ballast"); }
  /// Takes the inodes that are left.
  void fill_inodes() const {
    for (int i = 0; i < 1000; ++i) {
      const std::string name = at_ / ("inode" + std::to_string(i));
      if (std::filesystem::exists(name)) continue;
      if (!std::ofstream(name)) return;
    }
  }

 private:
  std::filesystem::path at_;
  bool mounted_ = false;
};

// On a full disk nobody new arrives, but whoever leaves is locked out, one after the other.
TEST_F(CrashTest, AFullDiskStillLocksPeopleOut) {
  const SmallDisk disk(root_, 8 << 20);
  if (!disk.mounted()) GTEST_SKIP() << "mounting needs CAP_SYS_ADMIN";
  constexpr std::uint64_t kStaff = 1000;
  const auto person = [](std::uint64_t n) {
    posix::NodeUser user =
        make_user(n, "u" + std::to_string(n), 10000 + static_cast<std::uint32_t>(n));
    user.keys = {{.line = "ssh-ed25519 AAAA key", .fingerprint = "SHA256:key"}};
    return user;
  };
  std::optional<Publisher> publisher(open_publisher());
  for (std::uint64_t n = 1; n <= kStaff; ++n) ASSERT_OK(publisher->upsert_user(person(n)));
  ASSERT_OK(publisher->publish("1", "e", now_));
  EXPECT_GE(publisher->reserve().bytes, std::uint64_t{1} << 20);
  EXPECT_EQ(publisher->reserve().bytes, publisher->reserve().wanted);

  disk.fill();
  ASSERT_OK(publisher->upsert_user(person(kStaff + 1)));
  const auto refused = publisher->publish("2", "e", now_);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kUnavailable);
  EXPECT_GE(publisher->reserve().bytes, std::uint64_t{1} << 20) << "not for an arrival";
  ASSERT_OK(publisher->discard());

  // More than the reserve would hold if each kept its files for a minute.
  for (std::uint64_t n = 1; n <= 200; ++n) {
    posix::NodeUser leaver = person(n);
    leaver.locked = true;
    leaver.keys.clear();
    ASSERT_OK(publisher->upsert_user(leaver));
    const auto stats = publisher->publish(std::to_string(n + 1), "e", now_, Urgency::kRevocation);
    ASSERT_TRUE(stats) << n << ": " << stats.error().message;
    ASSERT_NE(passwd_line(leaver.name.str().c_str()).find("nologin"), std::string::npos) << n;
    ASSERT_THAT(keys_of(leaver.name.str().c_str(), leaver.uid, 1), ElementsAre("unknown")) << n;
    disk.fill();  // whatever was given back is taken by somebody else
  }
  EXPECT_THAT(keys_of("u900", 10900, 1), ElementsAre("ssh-ed25519 AAAA key"));
  publisher.reset();
  publisher.emplace(open_publisher());
  EXPECT_EQ(publisher->cursor(), "201") << "after a restart it goes on";

  disk.drop();
  publisher->remove_retired(now_ + std::chrono::minutes(2));
  EXPECT_EQ(publisher->reserve().bytes, publisher->reserve().wanted);
  ASSERT_OK(publisher->upsert_user(person(kStaff + 1)));
  ASSERT_OK(publisher->publish("300", "e", now_));
  EXPECT_EQ(publisher->highest_id(), 10000 + kStaff + 1);
}

// A lockout that comes with more arrivals than the reserve holds goes without them.
TEST_F(CrashTest, AFullDiskSeparatesLeaversFromArrivals) {
  const SmallDisk disk(root_, 4 << 20);
  if (!disk.mounted()) GTEST_SKIP() << "mounting needs CAP_SYS_ADMIN";
  const auto person = [](std::uint64_t n, std::uint64_t seq = 1) {
    posix::NodeUser user = make_user(n, "u" + std::to_string(n),
                                     10000 + static_cast<std::uint32_t>(n), {900, 901}, seq);
    user.keys = {{.line = "ssh-ed25519 AAAA key", .fingerprint = "SHA256:key"}};
    return user;
  };
  std::optional<Publisher> publisher(open_publisher());
  ASSERT_OK(publisher->upsert_group(make_group(900, "old", 20900)));
  ASSERT_OK(publisher->upsert_group(make_group(902, "gone", 20902)));
  for (std::uint64_t n = 1; n <= 10; ++n) ASSERT_OK(publisher->upsert_user(person(n)));
  ASSERT_OK(publisher->publish("1", "e", now_));
  ASSERT_OK(publisher->remove_user(5, Seq{2}));
  ASSERT_OK(publisher->remove_group(902, Seq{2}));
  ASSERT_OK(publisher->publish("2", "e", now_));

  disk.fill();
  for (std::uint64_t n = 1000; n < 16000; ++n) ASSERT_OK(publisher->upsert_user(person(n)));
  ASSERT_OK(publisher->upsert_group(make_group(901, "new", 20901)));
  ASSERT_OK(publisher->upsert_group(make_group(902, "gone", 20902, {}, 3)));  // comes back
  ASSERT_OK(publisher->upsert_user(person(5, 3)));                            // as does this one
  posix::NodeUser leaver = person(1, 3);
  leaver.locked = true;
  leaver.keys.clear();
  ASSERT_OK(publisher->upsert_user(leaver));
  ASSERT_OK(publisher->remove_user(2, Seq{3}));
  ASSERT_FALSE(publisher->publish("3", "e", now_, Urgency::kRevocation));
  ASSERT_OK(publisher->forget_arrivals());
  ASSERT_OK(publisher->publish("2", "e", now_, Urgency::kRevocation));

  const auto expect_without_arrivals = [] {
    testing::forget_process_state();
    EXPECT_THAT(passwd_line("u1"), ::testing::EndsWith("nologin"));
    EXPECT_THAT(keys_of("u1", 10001, 1), ElementsAre("unknown"));
    for (const char* name : {"u2", "u5", "u1000"}) EXPECT_EQ(passwd_line(name), "not found");
    for (const char* name : {"new", "gone"}) EXPECT_EQ(group_line(name), "not found");
    EXPECT_EQ(group_line("old"), "old:x:20900:u3,u4,u6,u7,u8,u9,u10");
    EXPECT_EQ(all_passwd().size(), 8u);
  };
  expect_without_arrivals();
  EXPECT_EQ(publisher->cursor(), "2") << "all of it comes again";
  publisher.reset();
  publisher.emplace(open_publisher());
  expect_without_arrivals();

  disk.drop();
  ASSERT_OK(publisher->upsert_user(person(5, 3)));
  ASSERT_OK(publisher->upsert_group(make_group(901, "new", 20901)));
  ASSERT_OK(publisher->upsert_group(make_group(902, "gone", 20902, {}, 3)));
  ASSERT_OK(publisher->publish("3", "e", now_));
  EXPECT_THAT(keys_of("u5", 10005, 1), ElementsAre("ssh-ed25519 AAAA key"));
  EXPECT_EQ(group_line("new"), "new:x:20901:u3,u4,u5,u6,u7,u8,u9,u10");
  EXPECT_EQ(group_line("gone"), "gone:x:20902:");
}

// Blocks are there, inodes are not: one file given up makes room for one, and a lockout needs two.
TEST_F(CrashTest, ADiskWithoutInodesStillLocksPeopleOut) {
  const SmallDisk disk(root_, 8 << 20, 30);
  if (!disk.mounted()) GTEST_SKIP() << "mounting needs CAP_SYS_ADMIN";
  Publisher publisher = open_publisher();
  for (std::uint64_t n = 1; n <= 20; ++n) {
    posix::NodeUser user =
        make_user(n, "u" + std::to_string(n), 10000 + static_cast<std::uint32_t>(n));
    user.keys = {{.line = "ssh-ed25519 AAAA key", .fingerprint = "SHA256:key"}};
    ASSERT_OK(publisher.upsert_user(user));
  }
  ASSERT_OK(publisher.publish("1", "e", now_));
  EXPECT_EQ(publisher.reserve().bytes, publisher.reserve().wanted);
  for (std::uint64_t n = 1; n <= 10; ++n) {
    disk.fill_inodes();
    posix::NodeUser leaver =
        make_user(n, "u" + std::to_string(n), 10000 + static_cast<std::uint32_t>(n));
    leaver.locked = true;
    ASSERT_OK(publisher.upsert_user(leaver));
    const auto stats = publisher.publish(std::to_string(n + 1), "e", now_, Urgency::kRevocation);
    ASSERT_TRUE(stats) << n << ": " << stats.error().message;
    EXPECT_TRUE(stats->from_reserve);
    ASSERT_NE(passwd_line(leaver.name.str().c_str()).find("nologin"), std::string::npos) << n;
  }
  disk.fill_inodes();
  publisher.remove_retired(now_);
  EXPECT_LT(publisher.reserve().bytes, publisher.reserve().wanted) << "status can tell";
}

// A disk with less room than the reserve: the first generation comes first, whatever an earlier
// process had kept.
TEST_F(CrashTest, TheReserveLeavesRoomForTheFirstGeneration) {
  const SmallDisk disk(root_, 512 << 10);
  if (!disk.mounted()) GTEST_SKIP() << "mounting needs CAP_SYS_ADMIN";
  {
    const auto directory = CacheDirectory::open(directory_, std::nullopt, true);
    ASSERT_OK(directory);
    directory->reserve(1 << 20);
    EXPECT_GT(directory->reserved_bytes(), std::uint64_t{400} << 10);
  }
  Publisher publisher = open_publisher();
  EXPECT_EQ(publisher.reserve().bytes, 0u);
  EXPECT_EQ(publisher.reserve().wanted, 0u) << "which is no full disk yet";
  ASSERT_OK(publisher.upsert_user(make_user(1, "alice", 10001)));
  ASSERT_OK(publisher.publish("1", "e", now_));
  EXPECT_GT(publisher.reserve().bytes, std::uint64_t{100} << 10) << "what there is";
  EXPECT_LT(publisher.reserve().bytes, publisher.reserve().wanted) << "status can tell";
  ASSERT_OK(publisher.remove_user(1, Seq{2}));
  ASSERT_OK(publisher.publish("2", "e", now_, Urgency::kRevocation));
  EXPECT_EQ(passwd_line("alice"), "not found");
}

// However little is missing, or "the disk is full" would be said for ever.
TEST_F(CrashTest, TheReserveIsToppedUpToTheLastByte) {
  {
    const auto directory = CacheDirectory::open(directory_, std::nullopt, true);
    ASSERT_OK(directory);
    for (const std::uint64_t bytes : {1'000'000u, 1'000'001u, 1'003'000u, 1'100'000u}) {
      directory->reserve(bytes);
      EXPECT_EQ(directory->reserved_bytes(), bytes);
    }
  }
  PublisherOptions odd = options();
  odd.reserve_bytes_min = 1'100'001;
  auto publisher = Publisher::open(odd, now_);
  ASSERT_OK(publisher);
  publisher->set_local_rules({});
  ASSERT_OK(publisher->upsert_user(make_user(1, "alice", 10001)));
  ASSERT_OK(publisher->publish("1", "e", now_));
  EXPECT_EQ(publisher->reserve().wanted, 1'101'824u) << "269 blocks";
  EXPECT_EQ(publisher->reserve().bytes, publisher->reserve().wanted);
}

// A wiped control file on a full disk: readers have nothing until it is back.
TEST_F(CrashTest, OpensOnAFullDiskWithoutAControlFile) {
  const SmallDisk disk(root_, 4 << 20);
  if (!disk.mounted()) GTEST_SKIP() << "mounting needs CAP_SYS_ADMIN";
  std::optional<Publisher> publisher(open_publisher());
  ASSERT_OK(publisher->upsert_user(make_user(1, "alice", 10001)));
  ASSERT_OK(publisher->publish("1", "e", now_));
  publisher.reset();
  std::filesystem::remove(directory_ / "control.1");
  disk.fill();
  const auto opened = Publisher::open(options(), now_);
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_EQ(opened->cursor(), "1");
  EXPECT_NE(passwd_line("alice"), "unavailable");
}

// On a full file system that never overwrites in place, a store into the control page would end the
// agent by SIGBUS. A hole in the file stands for that here: its page needs a block, too.
TEST_F(CrashTest, AFullDiskUnderTheControlPageIsAnError) {
  const SmallDisk disk(root_, 1 << 20);
  if (!disk.mounted()) GTEST_SKIP() << "mounting needs CAP_SYS_ADMIN";
  const auto directory = CacheDirectory::open(directory_, std::nullopt, true);
  ASSERT_OK(directory);
  auto control = ControlFile::open(*directory, std::nullopt, system_random);
  ASSERT_OK(control);
  ASSERT_OK(control->set_generation(1));
  const UniqueFd fd(::openat(directory->fd(), "control.1", O_RDWR | O_CLOEXEC));
  ASSERT_EQ(::fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), 0);
  disk.fill();
  const auto full = control->set_generation(2);
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().code, Code::kUnavailable);
  control->set_contact_s(1);
  control->set_max_stale_s(1);
  disk.drop();
  ASSERT_OK(control->set_generation(2));
  EXPECT_EQ(control->generation(), 2u);
}

}  // namespace
}  // namespace roster::nsscache
