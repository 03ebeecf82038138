#include "base/file.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

namespace roster {
namespace {

class FileTest : public ::testing::Test {
 protected:
  FileTest() {
    char name[] = "/tmp/roster-file-test-XXXXXX";
    directory_ = ::mkdtemp(name);
  }
  ~FileTest() override { std::filesystem::remove_all(directory_); }
  std::filesystem::path directory_;
};

TEST_F(FileTest, ReplacesAtomicallyWithModeAndLeavesNoTemporary) {
  const auto path = directory_ / "token";
  ASSERT_TRUE(write_file_atomic(path, "one", 0600));
  ASSERT_TRUE(write_file_atomic(path, "two\n", 0640));
  EXPECT_EQ(read_file(path, 100).value(), "two\n");
  struct stat status;
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0640U);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory_), {}), 1);
}

TEST_F(FileTest, FailedReplaceKeepsTheOldFileAndNoTemporary) {
  const auto path = directory_ / "taken";
  std::filesystem::create_directories(path / "inside");  // a directory cannot be renamed over
  EXPECT_FALSE(write_file_atomic(path, "x", 0600));
  EXPECT_TRUE(std::filesystem::exists(path / "inside"));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory_), {}), 1);
}

TEST_F(FileTest, LimitsAndMissingFilesAreDifferentErrors) {
  ASSERT_TRUE(write_file_atomic(directory_ / "big", std::string(100, 'x'), 0600));
  EXPECT_EQ(read_file(directory_ / "big", 99).error().code, Code::kTooLarge);
  EXPECT_TRUE(read_file(directory_ / "big", 100));
  EXPECT_EQ(read_file(directory_ / "none", 99).error().code, Code::kNotFound);
}

TEST_F(FileTest, SecretsOfOthersAreRefused) {
  ASSERT_TRUE(write_file_atomic(directory_ / "t", "secret\n", 0640));
  EXPECT_EQ(read_private_file(directory_ / "t", 99).error().code, Code::kPermissionDenied);
  ASSERT_TRUE(write_file_atomic(directory_ / "t", "secret\n", 0600));
  EXPECT_EQ(read_private_file(directory_ / "t", 99).value(), "secret");
}

}  // namespace
}  // namespace roster
