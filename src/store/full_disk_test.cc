#include <errno.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <future>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "store/database.h"
#include "store/reserve.h"
#include "store/sqlite.h"
#include "store/testing/engines.h"

namespace roster::store {
namespace {

using ::testing::HasSubstr;

constexpr std::int64_t kReserveBytes = 1 << 20;

constexpr Migration kSchema[] = {
    {1, "rows",
     "CREATE TABLE person (n INTEGER PRIMARY KEY, active INTEGER NOT NULL, doc TEXT NOT NULL) "
     "STRICT",
     ""},
};
constexpr Statement kInsert{"insert", "INSERT INTO person (n, active, doc) VALUES ($1, 1, $2)"};
constexpr Statement kRevoke{"revoke", "UPDATE person SET active = 0 WHERE n = $1"};
constexpr Statement kActive{"active", "SELECT n FROM person WHERE active = 1"};

/// A small file system of its own, in a mount namespace of this thread's own, so that nothing is
/// left mounted whatever happens. `reason` is set when that is not permitted here.
class SmallDisk {
 public:
  explicit SmallDisk(const std::string& size) {
    if (::unshare(CLONE_NEWNS) != 0 ||
        ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("tmpfs", directory_.path().c_str(), "tmpfs", 0, ("size=" + size).c_str()) != 0) {
      reason = std::string("no private file system: ") + std::strerror(errno);
    }
  }
  ~SmallDisk() {
    if (reason.empty()) ::umount2(path().c_str(), MNT_DETACH);
  }

  const std::filesystem::path& path() const { return directory_.path(); }

  /// Takes all space that is left, to the last block.
  void fill() const {
    const UniqueFd fd(::open((path() / "filler").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600));
    const std::string block(4096, 'f');
    while (::write(fd.get(), block.data(), block.size()) > 0) {
    }
    ASSERT_EQ(errno, ENOSPC);
  }
  void empty() const { std::filesystem::remove(path() / "filler"); }

  std::string reason;

 private:
  testing::TempDirectory directory_;
};

class FullDiskTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!disk_.reason.empty()) GTEST_SKIP() << disk_.reason;
    open();
    const auto migrated = migrate(*database_, kSchema);
    ASSERT_TRUE(migrated) << migrated.error().message;
    for (int n = 0; n < 50; ++n) ASSERT_TRUE(insert(n, 4000));
  }

  void open() {
    auto opened = open_sqlite({.path = disk_.path() / "roster.db",
                               .reserve_bytes = kReserveBytes,
                               .checkpoint_bytes = 64 << 10,
                               .wal_bytes_max = 256 << 10,
                               .mend_interval = std::chrono::milliseconds(10)});
    ASSERT_TRUE(opened) << opened.error().message;
    database_ = std::move(*opened);
  }

  Result<std::int64_t> insert(std::int64_t n, std::size_t bytes) {
    const std::string doc(bytes, 'd');
    return database_->write([n, &doc](Tx& tx) { return tx.execute(kInsert, n, doc); });
  }
  Result<std::int64_t> revoke(std::int64_t n) {
    return database_->write([n](Tx& tx) { return tx.execute(kRevoke, n); }, Urgency::kRevocation);
  }
  /// There is room again: the reserve is taken anew within the interval, then writes go on.
  void insert_when_possible(std::int64_t n) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    auto wrote = insert(n, 10);
    while (!wrote && std::chrono::steady_clock::now() < until) wrote = insert(n, 10);
    EXPECT_TRUE(wrote) << wrote.error().message;
  }
  std::set<std::int64_t> active() {
    const auto found = database_->read([](Tx& tx) -> Result<std::set<std::int64_t>> {
      std::set<std::int64_t> rows;
      RETURN_IF_ERROR(tx.query(kActive, [&rows](const Row& row) -> Result<void> {
        rows.insert(row.integer(0));
        return {};
      }));
      return rows;
    });
    EXPECT_TRUE(found);
    return found.value_or(std::set<std::int64_t>{});
  }
  std::int64_t reserve_bytes() {
    struct stat status;
    EXPECT_EQ(::stat((disk_.path() / "reserve").c_str(), &status), 0);
    return status.st_size;
  }

  /// Writes until the disk is full and the log's own room is used up too; what was acknowledged.
  std::set<std::int64_t> insert_until_refused(std::int64_t first) {
    std::set<std::int64_t> acknowledged;
    for (std::int64_t n = first; n < first + 5000; ++n) {
      const auto wrote = insert(n, 4000);
      if (!wrote) {
        EXPECT_EQ(wrote.error().code, Code::kUnavailable);
        EXPECT_THAT(wrote.error().message, HasSubstr("full"));
        return acknowledged;
      }
      acknowledged.insert(n);
    }
    ADD_FAILURE() << "the disk never became full";
    return acknowledged;
  }

  SmallDisk disk_{"8m"};
  std::unique_ptr<Database> database_;
};

TEST_F(FullDiskTest, AccessIsTakenAwayFromTheReserve) {
  disk_.fill();
  auto before = insert_until_refused(1000);
  EXPECT_EQ(reserve_bytes(), kReserveBytes);  // ordinary writes do not touch it
  EXPECT_FALSE(database_->check());

  int revoked = 0;
  for (; revoked < 40; ++revoked) {
    // A checkpoint that ends late has made room in the log.
    before.merge(insert_until_refused(10'000 * (revoked + 1)));
    const auto done = revoke(revoked);
    ASSERT_TRUE(done) << revoked << ": " << done.error().message;
  }
  EXPECT_LT(reserve_bytes(), kReserveBytes);
  EXPECT_GT(reserve_bytes(), 0);

  const auto refused = insert(2000, 10);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kUnavailable);
  EXPECT_THAT(refused.error().message, HasSubstr("only changes that take access away"));
  EXPECT_EQ(active().size(), 50 - 40 + before.size());

  disk_.empty();
  insert_when_possible(3000);
  EXPECT_EQ(reserve_bytes(), kReserveBytes);
  EXPECT_TRUE(database_->check());

  database_.reset();
  open();
  const auto after = active();
  EXPECT_EQ(after.size(), 50 - 40 + before.size() + 1);
  for (const std::int64_t n : before) EXPECT_TRUE(after.contains(n)) << n;
  for (int n = 0; n < 40; ++n) EXPECT_FALSE(after.contains(n)) << n;
}

TEST_F(FullDiskTest, WhenTheReserveIsGoneTooTheAnswerIsHonest) {
  disk_.fill();
  insert_until_refused(1000);
  // Far more than the reserve holds, in transactions that need new pages.
  Result<std::int64_t> last = 0;
  const std::string doc(30'000, 'r');
  std::set<std::int64_t> acknowledged;
  for (std::int64_t n = 5000; n < 5200 && last; ++n) {
    last = database_->write([n, &doc](Tx& tx) { return tx.execute(kInsert, n, doc); },
                            Urgency::kRevocation);
    if (last) acknowledged.insert(n);
  }
  ASSERT_FALSE(last);
  EXPECT_EQ(last.error().code, Code::kUnavailable);
  EXPECT_EQ(reserve_bytes(), 0);
  EXPECT_FALSE(acknowledged.empty());
  const auto now = active();
  for (const std::int64_t n : acknowledged) EXPECT_TRUE(now.contains(n)) << n;
  EXPECT_FALSE(now.contains(*acknowledged.rbegin() + 1));
  disk_.empty();
  insert_when_possible(9000);
}

// One batch with both kinds: the ordinary ones fail, the urgent ones come through.
TEST_F(FullDiskTest, ABatchIsDividedByUrgency) {
  disk_.fill();
  insert_until_refused(1000);
  std::promise<void> started;
  std::promise<void> go;
  auto blocker = std::async(std::launch::async, [this, &started, &go] {
    bool first = true;
    return database_->write(
        [&started, &go, &first](Tx&) -> Result<void> {
          if (first) {
            first = false;
            started.set_value();
            go.get_future().wait();
          }
          return {};
        },
        Urgency::kRevocation);
  });
  started.get_future().wait();
  std::vector<std::future<Result<std::int64_t>>> ordinary;
  std::vector<std::future<Result<std::int64_t>>> urgent;
  for (int n = 0; n < 8; ++n) {
    ordinary.push_back(
        std::async(std::launch::async, [this, n] { return insert(7000 + n, 100'000); }));
    urgent.push_back(std::async(std::launch::async, [this, n] { return revoke(n); }));
  }
  go.set_value();
  EXPECT_TRUE(blocker.get());
  for (auto& answer : ordinary) {
    const auto result = answer.get();
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, Code::kUnavailable);
  }
  for (auto& answer : urgent) {
    const auto result = answer.get();
    EXPECT_TRUE(result) << result.error().message;
  }
  for (int n = 0; n < 8; ++n) EXPECT_FALSE(active().contains(n));
}

// A restart on a full disk, where even the log and its index cannot be made: the reserve helps.
TEST_F(FullDiskTest, AStartOnAFullDiskStillReadsAndRevokes) {
  database_.reset();
  disk_.fill();
  open();
  const auto migrated = migrate(*database_, kSchema);
  EXPECT_TRUE(migrated) << migrated.error().message;
  EXPECT_EQ(active().size(), 50u);
  const auto revoked = revoke(1);
  EXPECT_TRUE(revoked) << revoked.error().message;
  EXPECT_FALSE(insert(1000, 4000));
  EXPECT_FALSE(database_->check());
  EXPECT_EQ(active().size(), 49u);
}

// Nobody writes; the reserve is whole again all the same, and so is the answer to /readyz.
TEST_F(FullDiskTest, TheReserveIsTakenAgainWithoutAWrite) {
  disk_.fill();
  insert_until_refused(1000);
  for (int n = 0; n < 40; ++n) ASSERT_TRUE(revoke(n));
  ASSERT_LT(reserve_bytes(), kReserveBytes);
  disk_.empty();
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!database_->check() && std::chrono::steady_clock::now() < until) {
    std::this_thread::yield();
  }
  EXPECT_TRUE(database_->check());
  EXPECT_EQ(reserve_bytes(), kReserveBytes);
}

TEST_F(FullDiskTest, AReserveIsReleasedByQuartersAndRefilledWhole) {
  const auto path = disk_.path() / "other";
  auto reserve = Reserve::open(path, 1 << 20);
  ASSERT_TRUE(reserve);
  EXPECT_TRUE(reserve->whole());
  disk_.fill();
  std::vector<std::uintmax_t> sizes;
  while (reserve->release_part()) sizes.push_back(std::filesystem::file_size(path));
  EXPECT_EQ(sizes, (std::vector<std::uintmax_t>{786432, 524288, 262144, 0}));
  disk_.fill();
  EXPECT_FALSE(reserve->refill());
  EXPECT_EQ(std::filesystem::file_size(path), 0u);  // a failed refill keeps nothing
  // A start on a full disk: not whole, not an error.
  auto second = Reserve::open(disk_.path() / "second", 1 << 20);
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_FALSE(second->whole());
  disk_.empty();
  EXPECT_TRUE(reserve->refill());
  EXPECT_TRUE(reserve->whole());
}

TEST(Reserve, ASparseFileDoesNotCountAsHeld) {
  testing::TempDirectory directory;
  const auto path = directory.path() / "reserve";
  {
    const UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT, 0600));
    ASSERT_EQ(::ftruncate(fd.get(), 1 << 20), 0);
  }
  const auto reserve = Reserve::open(path, 1 << 20);
  ASSERT_TRUE(reserve);
  EXPECT_TRUE(reserve->whole());
  struct stat status;
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_GE(status.st_blocks * 512, 1 << 20);
}

}  // namespace
}  // namespace roster::store
