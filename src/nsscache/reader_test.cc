#include "nsscache/reader.h"

#include <errno.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <thread>

#include "nsscache/test_support.h"

namespace roster::nsscache {
namespace {

using ::testing::ElementsAre;

class ReaderTest : public CacheTest {
 protected:
  /// Mappings of cache files in this process.
  int maps() const {
    std::ifstream in("/proc/self/maps");
    int count = 0;
    for (std::string line; std::getline(in, line);) {
      if (line.find(root_.string()) != std::string::npos) ++count;
    }
    return count;
  }
};

/// The smallest buffer that is enough, found by trying; every smaller one must be "too small".
template <typename Call>
std::size_t smallest_buffer(Call call) {
  for (std::size_t bytes = 0; bytes < 100000; ++bytes) {
    const Answer answer = call(bytes);
    if (answer == Answer::kFound) return bytes;
    EXPECT_EQ(answer, Answer::kTooSmall) << bytes;
    if (answer != Answer::kTooSmall) break;
  }
  return 0;
}

TEST_F(ReaderTest, NeedsExactlyTheBytesItUses) {
  Publisher publisher = open_publisher();
  ASSERT_OK(publisher.upsert_group(make_group(1, "physics", 20001)));
  ASSERT_OK(publisher.upsert_group(make_group(2, "expiring", 20002)));
  ASSERT_OK(publisher.upsert_user(make_user(1, "alice", 10001, {1})));
  posix::NodeUser gone = make_user(2, "bob", 10002, {2});
  gone.valid_until = 1;
  ASSERT_OK(publisher.upsert_user(gone));
  ASSERT_OK(publisher.upsert_user(make_user(3, "carol", 10003, {1, 2})));
  ASSERT_OK(publisher.publish("c1", "e1", now_));
  testing::skip_local_calls();
  // The buffer ends where memory ends: one byte too many written is a crash.
  const long page = ::sysconf(_SC_PAGESIZE);
  auto* pages =
      static_cast<char*>(::mmap(nullptr, static_cast<std::size_t>(2 * page), PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_EQ(::mprotect(pages + page, static_cast<std::size_t>(page), PROT_NONE), 0);
  const auto end_at = [&](std::size_t bytes) { return pages + page - bytes; };
  struct passwd user;
  struct group group;
  struct spwd shadow;
  EXPECT_EQ(smallest_buffer([&](std::size_t bytes) {
              return read_passwd("alice", user, end_at(bytes), bytes);
            }),
            sizeof "alice" + sizeof "User alice" + sizeof "/home/alice" + sizeof "/bin/bash" +
                sizeof "x");
  EXPECT_EQ(
      smallest_buffer(
          [&](std::size_t bytes) { return read_passwd("bob", user, end_at(bytes), bytes); }),
      sizeof "bob" + sizeof "User bob" + sizeof "/home/bob" + sizeof kNologinShell + sizeof "x");
  EXPECT_EQ(smallest_buffer([&](std::size_t bytes) {
              return read_shadow("alice", shadow, end_at(bytes), bytes);
            }),
            sizeof "alice" + sizeof "*");
  // Groups need an aligned array: from a page's start on there is no padding.
  const auto group_bytes = [&](gid_t gid) {
    return smallest_buffer([&](std::size_t bytes) { return read_group(gid, group, pages, bytes); });
  };
  EXPECT_EQ(group_bytes(20001),
            3 * sizeof(char*) + sizeof "alice" + sizeof "carol" + sizeof "physics" + sizeof "x");
  EXPECT_EQ(group_bytes(20002),
            2 * sizeof(char*) + sizeof "carol" + sizeof "expiring" + sizeof "x");
  EXPECT_EQ(group_bytes(10001), sizeof(char*) + sizeof "alice" + sizeof "x");
  // The same group through a delta's patch.
  ASSERT_OK(publisher.upsert_user(make_user(4, "dave", 10004, {1})));
  ASSERT_OK(publisher.upsert_user(make_user(1, "alice", 10001, {}, 2)));
  ASSERT_OK(publisher.publish("c2", "e1", now_));
  EXPECT_EQ(group_bytes(20001),
            3 * sizeof(char*) + sizeof "dave" + sizeof "carol" + sizeof "physics" + sizeof "x");
  // Any alignment of the caller's buffer.
  for (std::size_t shift = 0; shift < 16; ++shift) {
    ASSERT_EQ(read_group(gid_t{20001}, group, pages + shift, 200), Answer::kFound);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(group.gr_mem) % alignof(char*), 0u);
    EXPECT_STREQ(group.gr_mem[0], "carol");
    EXPECT_STREQ(group.gr_mem[1], "dave");
    EXPECT_EQ(group.gr_mem[2], nullptr);
  }
  ::munmap(pages, static_cast<std::size_t>(2 * page));
}

TEST_F(ReaderTest, CountsGroupsThatDoNotFit) {
  Publisher publisher = open_publisher();
  std::vector<std::uint64_t> all;
  for (std::uint64_t n = 1; n <= 1000; ++n) {
    ASSERT_OK(publisher.upsert_group(
        make_group(n, "g" + std::to_string(n), static_cast<std::uint32_t>(20000 + n))));
    all.push_back(n);
  }
  ASSERT_OK(publisher.upsert_user(make_user(1, "alice", 10001, all)));
  ASSERT_OK(publisher.publish("c1", "e1", now_));
  std::vector<gid_t> gids(1000);
  EXPECT_EQ(read_gids("alice", 0, gids.data(), 999).answer, Answer::kTooSmall);
  EXPECT_EQ(read_gids("alice", 0, gids.data(), 999).count, 1000u);
  EXPECT_EQ(read_gids("alice", 0, gids.data(), 1000).answer, Answer::kFound);
  EXPECT_EQ(read_gids("alice", 20500, gids.data(), 999).answer, Answer::kFound);
  EXPECT_EQ(read_gids("nobody-here", 0, gids.data(), 999).answer, Answer::kNotFound);
}

TEST_F(ReaderTest, ShadowSaysWhoMayComeIn) {
  Publisher publisher = open_publisher();
  posix::NodeUser locked = make_user(1, "locked", 10001);
  locked.locked = true;
  posix::NodeUser ended = make_user(2, "ended", 10002);
  ended.valid_until = 1'000'000;
  posix::NodeUser ending = make_user(3, "ending", 10003);
  ending.valid_until = 86400LL * 30000 + 1;
  for (const auto& user : {locked, ended, ending, make_user(4, "alice", 10004)}) {
    ASSERT_OK(publisher.upsert_user(user));
  }
  ASSERT_OK(publisher.publish("c1", "e1", now_));
  const auto expiry = [](const char* name) {
    struct spwd entry;
    char buffer[256];
    EXPECT_EQ(read_shadow(name, entry, buffer, sizeof buffer), Answer::kFound);
    EXPECT_STREQ(entry.sp_pwdp, "*");
    EXPECT_STREQ(entry.sp_namp, name);
    return entry.sp_expire;
  };
  EXPECT_EQ(expiry("locked"), 1);
  EXPECT_EQ(expiry("ended"), 1);
  EXPECT_EQ(expiry("ending"), 30001) << "never before the end";
  EXPECT_EQ(expiry("alice"), -1);
}

TEST_F(ReaderTest, FirstCallsLeaveNothingMapped) {
  Publisher publisher = open_publisher();
  ASSERT_OK(publisher.upsert_user(make_user(1, "alice", 10001)));
  ASSERT_OK(publisher.publish("c1", "e1", now_));
  const int before = maps();
  for (int i = 0; i < 8; ++i) {
    EXPECT_NE(passwd_line("alice"), "unavailable");
    EXPECT_EQ(maps(), before);
  }
  EXPECT_NE(passwd_line("alice"), "unavailable");
  EXPECT_EQ(maps(), before + 3) << "control, delta and base";
}

TEST_F(ReaderTest, FindsACacheThatComesLater) {
  for (int i = 0; i < 20; ++i) EXPECT_EQ(passwd_line("alice"), "unavailable");
  Publisher publisher = open_publisher();
  EXPECT_EQ(passwd_line("alice"), "unavailable") << "nothing is published yet";
  ASSERT_OK(publisher.upsert_user(make_user(1, "alice", 10001)));
  ASSERT_OK(publisher.publish("c1", "e1", now_));
  EXPECT_EQ(passwd_line("alice"), "alice:x:10001:10001:User alice:/home/alice:/bin/bash");
}

TEST_F(ReaderTest, SurvivesAWipeAndAReinstall) {
  testing::skip_local_calls();
  {
    Publisher publisher = open_publisher();
    ASSERT_OK(publisher.upsert_user(make_user(1, "alice", 10001)));
    ASSERT_OK(publisher.publish("c1", "e1", now_));
    EXPECT_NE(passwd_line("alice"), "not found");
  }
  std::filesystem::remove_all(directory_);
  testing::expire_checks();
  EXPECT_EQ(passwd_line("alice"), "alice:x:10001:10001:User alice:/home/alice:/bin/bash")
      << "stale answers, never fewer";
  // Another installation begins to count from 1 again: same generation number, other people.
  Publisher publisher = open_publisher();
  testing::expire_checks();
  EXPECT_EQ(passwd_line("alice"), "alice:x:10001:10001:User alice:/home/alice:/bin/bash")
      << "nothing new to map yet";
  ASSERT_OK(publisher.upsert_user(make_user(1, "bob", 10001)));
  ASSERT_OK(publisher.publish("c1", "e1", now_));
  testing::expire_checks();
  EXPECT_EQ(passwd_line("alice"), "not found");
  EXPECT_EQ(passwd_line("bob"), "bob:x:10001:10001:User bob:/home/bob:/bin/bash");
}

TEST_F(ReaderTest, KeepsWhatItHasWhenTheNewCannotBeMapped) {
  testing::skip_local_calls();
  Publisher publisher = open_publisher();
  ASSERT_OK(publisher.upsert_user(make_user(1, "alice", 10001)));
  ASSERT_OK(publisher.publish("c1", "e1", now_));
  ASSERT_EQ(passwd_line("alice"), "alice:x:10001:10001:User alice:/home/alice:/bin/bash");
  ASSERT_OK(publisher.upsert_user(make_user(2, "bob", 10002)));
  ASSERT_OK(publisher.publish("c2", "e1", now_));
  std::filesystem::rename(directory_ / "delta.1.2", root_ / "delta.1.2");
  const int before = maps();
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(passwd_line("alice"), "alice:x:10001:10001:User alice:/home/alice:/bin/bash");
    testing::expire_checks();
  }
  EXPECT_EQ(maps(), before);
  std::filesystem::rename(root_ / "delta.1.2", directory_ / "delta.1.2");
  testing::expire_checks();
  EXPECT_EQ(passwd_line("bob"), "bob:x:10002:10002:User bob:/home/bob:/bin/bash");
}

TEST_F(ReaderTest, TrustsOnlyOneOwnersFiles) {
  Publisher publisher = open_publisher();
  ASSERT_OK(publisher.upsert_user(make_user(1, "alice", 10001)));
  ASSERT_OK(publisher.publish("c1", "e1", now_));
  ASSERT_NE(passwd_line("alice"), "unavailable");
  for (const char* name : {".", "control.1", "base.1.1", "delta.1.1"}) {
    const std::filesystem::path path = directory_ / name;
    struct stat status;
    ASSERT_EQ(::stat(path.c_str(), &status), 0);
    for (const mode_t extra : {mode_t{S_IWGRP}, mode_t{S_IWOTH}}) {
      ASSERT_EQ(::chmod(path.c_str(), status.st_mode | extra), 0);
      EXPECT_EQ(passwd_line("alice"), "unavailable") << name << " writable by others";
      ASSERT_EQ(::chmod(path.c_str(), status.st_mode), 0);
    }
    if (::geteuid() == 0) {
      ASSERT_EQ(::chown(path.c_str(), 12345, status.st_gid), 0);
      EXPECT_EQ(passwd_line("alice"), "unavailable") << name << " of another owner";
      ASSERT_EQ(::chown(path.c_str(), status.st_uid, status.st_gid), 0);
    }
    if (std::string(name) == ".") continue;
    std::filesystem::rename(path, root_ / "elsewhere");
    std::filesystem::create_symlink(root_ / "elsewhere", path);
    EXPECT_EQ(passwd_line("alice"), "unavailable") << name << " is a link";
    std::filesystem::remove(path);
    std::filesystem::rename(root_ / "elsewhere", path);
    testing::forget_process_state();
  }
  EXPECT_NE(passwd_line("alice"), "unavailable");
}

TEST_F(ReaderTest, LongNamesAreUnknownNotTruncated) {
  Publisher publisher = open_publisher();
  const std::string longest(32, 'a');
  ASSERT_OK(publisher.upsert_user(make_user(1, longest, 10001, {1})));
  ASSERT_OK(publisher.upsert_group(make_group(1, std::string(32, 'g'), 20001)));
  ASSERT_OK(publisher.publish("c1", "e1", now_));
  EXPECT_TRUE(passwd_line(longest.c_str()).starts_with(longest + ":"));
  EXPECT_EQ(group_line(gid_t{20001}), std::string(32, 'g') + ":x:20001:" + longest);
  EXPECT_EQ(passwd_line(std::string(33, 'a').c_str()), "not found");
  EXPECT_EQ(passwd_line(std::string(31, 'a').c_str()), "not found");
  EXPECT_EQ(passwd_line(std::string(1 << 20, 'a').c_str()), "not found");
  EXPECT_EQ(passwd_line(""), "not found");
  EXPECT_EQ(passwd_line("../../etc/passwd"), "not found");
}

TEST_F(ReaderTest, WalksOneGenerationToItsEnd) {
  Publisher publisher = open_publisher();
  for (std::uint64_t n = 1; n <= 10; ++n) {
    ASSERT_OK(publisher.upsert_user(
        make_user(n, "a" + std::to_string(n), static_cast<std::uint32_t>(10000 + n))));
  }
  ASSERT_OK(publisher.publish("c1", "e1", now_));
  Enumeration walk;
  ASSERT_EQ(open_enumeration(walk), Answer::kFound);
  struct passwd entry;
  char buffer[1024];
  int count = 0;
  while (next_passwd(walk, entry, buffer, sizeof buffer) == Answer::kFound) {
    ++count;
    EXPECT_EQ(entry.pw_name[0], 'a');
    // Everybody changes name in the middle of the walk, and a small buffer loses nothing.
    ASSERT_OK(publisher.upsert_user(make_user(static_cast<std::uint64_t>(count),
                                              "b" + std::to_string(count),
                                              static_cast<std::uint32_t>(10000 + count), {}, 2)));
    ASSERT_OK(publisher.publish("x" + std::to_string(count), "e1", now_));
    if (count < 10) {
      EXPECT_EQ(next_passwd(walk, entry, buffer, 5), Answer::kTooSmall);
    }
  }
  EXPECT_EQ(count, 10);
  close_enumeration(walk);
  EXPECT_EQ(all_passwd().size(), 10u);
}

TEST_F(ReaderTest, LivesThroughManyGenerationsWithTheSameMaps) {
  Publisher publisher = open_publisher();
  ASSERT_OK(publisher.upsert_user(make_user(1, "alice", 10001)));
  ASSERT_OK(publisher.publish("c0", "e1", now_));
  testing::skip_local_calls();
  ASSERT_NE(passwd_line("alice"), "unavailable");
  const int before = maps();
  const int generations = is_long() ? 100000 : 3000;
  for (int k = 1; k <= generations; ++k) {
    posix::NodeUser alice = make_user(1, "alice", 10001, {}, static_cast<std::uint64_t>(k));
    alice.gecos = std::to_string(k);
    ASSERT_OK(publisher.upsert_user(alice));
    now_ += std::chrono::seconds(10);
    ASSERT_OK(publisher.publish("c" + std::to_string(k), "e1", now_));
    ASSERT_EQ(passwd_line("alice"),
              "alice:x:10001:10001:" + std::to_string(k) + ":/home/alice:/bin/bash");
    if (k % 100 == 0) {
      ASSERT_EQ(maps(), before) << k;
    }
  }
}

/// Generation k: everybody's name, full name and the group's name carry k, so that an answer that
/// mixes two generations contradicts itself.
void change_everybody(Publisher& publisher, std::uint64_t k, int people) {
  const std::string suffix = "." + std::to_string(k);
  for (int i = 1; i <= people; ++i) {
    posix::NodeUser user =
        make_user(static_cast<std::uint64_t>(i), "u" + std::to_string(i) + suffix,
                  static_cast<std::uint32_t>(10000 + i), {1, 2}, k);
    user.gecos = suffix;
    CHECK(publisher.upsert_user(user));
  }
  CHECK(publisher.upsert_group(make_group(1, "g" + suffix, 20001, {}, k)));
  CHECK(publisher.upsert_group(
      make_group(2, "h" + suffix, static_cast<std::uint32_t>(30000 + k % 1000), {}, k)));
}

/// What one thread sees; "" while all is consistent.
std::string look_around() {
  struct passwd user;
  struct group group;
  char buffer[4096];
  if (read_passwd(uid_t{10003}, user, buffer, sizeof buffer) != Answer::kFound) return "no user";
  if (!std::string(user.pw_name).ends_with(user.pw_gecos)) {
    return std::string(user.pw_name) + " is " + user.pw_gecos;
  }
  if (read_group(gid_t{20001}, group, buffer, sizeof buffer) != Answer::kFound) return "no group";
  const std::string suffix = std::string(group.gr_name).substr(1);
  int members = 0;
  for (char** member = group.gr_mem; *member != nullptr; ++member, ++members) {
    if (!std::string(*member).ends_with(suffix)) return std::string(*member) + " in g" + suffix;
  }
  if (members != 6) return std::to_string(members) + " members";
  if (passwd_line("nobody-here") != "not found") return "somebody";
  return "";
}

TEST_F(ReaderTest, ThreadsAndForksAtFullRateNeverTouchWhatIsGone) {
  constexpr std::uint64_t kGenerationsMin = 200;
  Publisher publisher = open_publisher();
  change_everybody(publisher, 0, 6);
  ASSERT_OK(publisher.publish("c", "e1", now_));
  testing::keep_addresses = true;
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&] {
      while (!stop.load()) {
        const std::string seen = look_around();
        if (seen.empty()) continue;
        if (++wrong < 5) ADD_FAILURE() << seen;
      }
    });
  }
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(is_long() ? 60 : 3);
  std::uint64_t k = 0;
  int forks = 0;
  // By work, not by time alone: on a busy machine three seconds may be a few generations.
  while (k < kGenerationsMin || std::chrono::steady_clock::now() < end) {
    change_everybody(publisher, ++k, 6);
    now_ += std::chrono::seconds(5);
    ASSERT_OK(publisher.publish("c" + std::to_string(k), "e1", now_));
    if (k % 50 != 0) continue;
    // The child inherits pins of threads that it does not have.
    const pid_t child = ::fork();
    if (child == 0) {
      for (int i = 0; i < 200; ++i) {
        if (!look_around().empty()) ::_exit(1);
      }
      ::_exit(0);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
    ++forks;
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  testing::keep_addresses = false;
  EXPECT_EQ(wrong, 0);
  EXPECT_GE(forks, 3);
}

TEST_F(ReaderTest, ForkedChildrenFollowToo) {
  Publisher publisher = open_publisher();
  change_everybody(publisher, 0, 6);
  ASSERT_OK(publisher.publish("c", "e1", now_));
  testing::skip_local_calls();
  ASSERT_EQ(look_around(), "");
  // Four generations of children, each forked while its parent holds a pin on what is current then.
  for (std::uint64_t depth = 1; depth <= 6; ++depth) {
    LocalGeneration local;
    const Lease lease = acquire_lease(local);
    ASSERT_NE(lease.generation, nullptr);
    const pid_t child = ::fork();
    if (child != 0) {
      int status = 0;
      ASSERT_EQ(::waitpid(child, &status, 0), child);
      release_lease(lease, local);
      ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "depth " << depth;
      if (depth > 1) ::_exit(::testing::Test::HasFailure() ? 1 : 0);
      return;
    }
    change_everybody(publisher, depth, 6);
    if (!publisher.publish("c" + std::to_string(depth), "e1", now_)) ::_exit(2);
    if (!look_around().empty() ||
        !passwd_line(uid_t{10001}).starts_with("u1." + std::to_string(depth))) {
      ::_exit(3);
    }
    const int held = maps();
    for (int i = 0; i < 50; ++i) look_around();
    if (maps() != held) ::_exit(4);
  }
  ::_exit(0);
}

// errno belongs to the caller: a lookup neither zeroes it (POSIX, "errno" in XSH 2.3) nor leaves
// there what it tried on the way, whether it maps for one call, into the table, or not at all.
TEST_F(ReaderTest, LeavesErrnoAlone) {
  constexpr int kBefore = 77;
  passwd_line("alice");  // no cache at all
  errno = kBefore;
  EXPECT_EQ(passwd_line("alice"), "unavailable");
  EXPECT_EQ(errno, kBefore);
  Publisher publisher = open_publisher();
  posix::NodeUser alice = make_user(1, "alice", 10001, {1});
  alice.keys = {{.line = "ssh-ed25519 AAAA alice", .fingerprint = "SHA256:a"}};
  ASSERT_OK(publisher.upsert_user(alice));
  ASSERT_OK(publisher.upsert_group(make_group(1, "staff", 20001)));
  for (int i = 0; i < 30; ++i) {
    if (i % 10 == 0) {
      ASSERT_OK(publisher.publish(std::to_string(i), "e1", now_));
    }
    if (i % 7 == 0) testing::expire_checks();
    struct passwd user{};
    struct group group{};
    struct spwd shadow{};
    char buffer[1024];
    errno = kBefore;
    EXPECT_EQ(read_passwd("alice", user, buffer, sizeof buffer), Answer::kFound);
    EXPECT_EQ(read_passwd("nobody-here", user, buffer, sizeof buffer), Answer::kNotFound);
    EXPECT_EQ(read_group("staff", group, buffer, sizeof buffer), Answer::kFound);
    EXPECT_EQ(read_shadow("alice", shadow, buffer, sizeof buffer), Answer::kFound);
    EXPECT_EQ(gids_of("alice").size(), 1u);
    EXPECT_EQ(errno, kBefore) << i;
    Enumeration walk;
    EXPECT_EQ(open_enumeration(walk), Answer::kFound);
    EXPECT_EQ(errno, kBefore) << "setpwent, setgrent";
    EXPECT_EQ(next_passwd(walk, user, buffer, sizeof buffer), Answer::kFound);
    EXPECT_EQ(open_enumeration(walk), Answer::kFound) << "rewound";
    close_enumeration(walk);
    EXPECT_EQ(errno, kBefore) << "endpwent";
    EXPECT_EQ(keys_of("alice", 10001, 1).size(), 1u);
    EXPECT_EQ(errno, kBefore) << "keys";
  }
}

}  // namespace
}  // namespace roster::nsscache
