#include "agent/watch.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <filesystem>
#include <string>

#include "base/file.h"

namespace roster::agent {
namespace {

class Watch : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "watch.XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  static bool saw(FileWatch& watch) {
    pollfd fd{watch.fd(), POLLIN, 0};
    return poll(&fd, 1, 1000) == 1 && watch.drain();
  }
  void put(const std::filesystem::path& file) { ASSERT_TRUE(write_file_atomic(file, "x", 0644)); }

  std::filesystem::path root_;
};

TEST_F(Watch, SeesReplacedWrittenAndRemovedFilesOnly) {
  FileWatch watch({root_ / "passwd", root_ / "deny"});
  put(root_ / "deny");
  EXPECT_TRUE(saw(watch));
  FILE* file = fopen((root_ / "passwd").c_str(), "w");
  ASSERT_NE(file, nullptr);
  fputs("in place", file);
  fclose(file);
  EXPECT_TRUE(saw(watch));
  std::filesystem::remove(root_ / "passwd");
  EXPECT_TRUE(saw(watch));
  put(root_ / "other");
  EXPECT_FALSE(saw(watch)) << "a neighbour wakes nobody";
}

// A node that never denied anybody has no /etc/roster: the first lockout must not be the slow one.
TEST_F(Watch, ADirectoryThatComesLaterIsSeenComing) {
  const std::filesystem::path late = root_ / "a" / "b";
  FileWatch watch({late / "deny", root_ / "passwd"});
  put(root_ / "passwd");
  EXPECT_TRUE(saw(watch)) << "the ancestor is a watched directory, too";
  std::filesystem::create_directory(root_ / "other");
  EXPECT_FALSE(saw(watch));
  std::filesystem::create_directory(root_ / "a");
  EXPECT_TRUE(saw(watch));
  std::filesystem::create_directory(late);
  EXPECT_TRUE(saw(watch));
  put(late / "deny");
  EXPECT_TRUE(saw(watch));
  put(root_ / "passwd");
  EXPECT_TRUE(saw(watch));
  std::filesystem::remove_all(root_ / "a");
  EXPECT_TRUE(saw(watch));
  while (watch.drain()) {
  }
  std::filesystem::create_directories(late);
  EXPECT_TRUE(saw(watch)) << "and again";
  while (watch.drain()) {
  }
  put(late / "deny");
  EXPECT_TRUE(saw(watch));
}

TEST_F(Watch, ADirectoryThatComesLaterIsWatchedFromRearm) {
  const std::filesystem::path late = root_ / "roster";
  FileWatch watch({late / "deny"});
  std::filesystem::create_directory(late);
  watch.rearm();
  put(late / "deny");
  EXPECT_TRUE(saw(watch));
  std::filesystem::remove_all(late);
  EXPECT_TRUE(saw(watch));
  std::filesystem::create_directory(late);
  watch.rearm();
  while (watch.drain()) {
  }
  put(late / "deny");
  EXPECT_TRUE(saw(watch));
}

}  // namespace
}  // namespace roster::agent
