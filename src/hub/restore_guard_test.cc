#include "hub/restore_guard.h"

#include <gtest/gtest.h>

#include <array>
#include <filesystem>
#include <fstream>

#include "directory/testing/fixture.h"
#include "hub/test_hub.h"

namespace roster::hub {
namespace {

using directory::testing::StillClock;
using testing::TestHub;
using testing::TestOptions;

constexpr std::string_view kMarks = "heads-";

/// Whether somebody who needs a new id can be made.
bool gives_ids(TestHub& hub, const std::string& name) {
  directory::UserInput input;
  input.doc["userName"] = name;
  const auto made = hub.directory().create_user(hub.okta(), hub.org().n, input);
  EXPECT_TRUE(made || made.error().code == Code::kUnavailable) << made.error().message;
  return made.has_value();
}

/// The store as it is now, to be put back later.
void back_up(TestHub& hub) {
  hub.stop();
  std::filesystem::copy_file(hub.data_dir() / "roster.db", hub.data_dir() / "backup.db",
                             std::filesystem::copy_options::overwrite_existing);
  hub.start();
}

void restore(TestHub& hub) {
  hub.stop();
  const auto database = hub.data_dir() / "roster.db";
  for (const char* suffix : {"", "-wal", "-shm"}) {
    std::filesystem::remove(database.string() + suffix);
  }
  std::filesystem::copy_file(hub.data_dir() / "backup.db", database);
  hub.start();
}

TEST(RestoreGuard, AProviderThatComesBeforeTheNodesGetsNoIdThatTheyKnow) {
  TestHub hub;
  const std::string one = hub.enroll("login1");
  const std::string two = hub.enroll("login2");
  const auto old = hub.add_user("before");
  back_up(hub);
  const std::uint32_t highest = hub.add_user("lost").posix->number;
  const std::string cursor = hub.cursor(hub.org().seq.value);
  restore(hub);

  EXPECT_FALSE(gives_ids(hub, "early"));
  EXPECT_TRUE(hub.directory().set_user_active(hub.okta(), hub.org().n, old.id, false))
      << "what needs no new id goes on";
  const std::string told = "since=" + cursor + "&highest_id=" + std::to_string(highest);
  EXPECT_EQ(hub.feed(told, one).status, 409);
  EXPECT_FALSE(gives_ids(hub, "early")) << "the other node may know more";
  hub.restart();
  EXPECT_FALSE(gives_ids(hub, "early")) << "another start asks again";
  EXPECT_EQ(hub.feed(told, one).status, 409);
  EXPECT_EQ(hub.feed(told, two).status, 409);
  EXPECT_FALSE(gives_ids(hub, "early")) << "the marks say that it is a restored one";
  hub.clock().advance(RestoreGuard::kLongest);
  EXPECT_GT(hub.add_user("early").posix->number, highest);
}

TEST(RestoreGuard, AStoreThatGoesOnIsServedAtOnce) {
  TestHub hub;
  hub.enroll("login1");
  hub.add_user("before");
  hub.restart();
  EXPECT_TRUE(gives_ids(hub, "after"));
  hub.restart();
  EXPECT_TRUE(gives_ids(hub, "later"));
}

// A backup from before, with more changes since than the lost history had.
TEST(RestoreGuard, AnotherHistoryOfTheSameLengthIsNoticed) {
  TestHub hub;
  hub.enroll("login1");
  hub.add_user("before");
  back_up(hub);
  hub.add_user("lost");
  const std::filesystem::path marks = hub.run_dir();
  const std::filesystem::path kept = hub.data_dir() / "kept";
  std::filesystem::copy(marks, kept);
  restore(hub);
  EXPECT_FALSE(gives_ids(hub, "early"));
  hub.clock().advance(RestoreGuard::kLongest);
  hub.add_user("one");
  hub.add_user("two");
  hub.stop();
  std::filesystem::copy(
      kept, marks,
      std::filesystem::copy_options::recursive | std::filesystem::copy_options::overwrite_existing);
  hub.start();
  EXPECT_FALSE(gives_ids(hub, "three"));
}

TEST(RestoreGuard, NodesThatNeverComeAreNotWaitedForLong) {
  TestHub hub;
  hub.enroll("gone1");
  hub.clock().advance(std::chrono::minutes(30));
  const std::string node = hub.enroll("login1");
  std::filesystem::remove_all(hub.run_dir());
  hub.restart();
  EXPECT_FALSE(gives_ids(hub, "a"));
  // The node that was not there any more when the other one came is not waited for.
  EXPECT_EQ(hub.feed("since=" + hub.cursor(0), node).status, 200);
  EXPECT_TRUE(gives_ids(hub, "a"));

  hub.restart();
  EXPECT_FALSE(gives_ids(hub, "b")) << "no directory for marks: every start waits";
  hub.clock().advance(RestoreGuard::kLongest - std::chrono::seconds(1));
  EXPECT_FALSE(gives_ids(hub, "b"));
  hub.clock().advance(std::chrono::seconds(1));
  EXPECT_TRUE(gives_ids(hub, "b"));
}

// The hub was restored, and a node comes whose cursor is of the restored hub already (it lost its
// cache and took a snapshot) but which remembers an id from before.
TEST(RestoreGuard, WhatANodeRemembersCountsWithAGoodCursor) {
  TestHub hub;
  const std::string node = hub.enroll("login1");
  const std::uint32_t seen = hub.add_user("before").posix->number + 50;
  std::filesystem::remove_all(hub.run_dir());
  hub.restart();
  const std::string cursor = hub.cursor(hub.org().seq.value);
  EXPECT_EQ(hub.feed("since=" + cursor + "&highest_id=999999", node).status, 200);
  EXPECT_FALSE(gives_ids(hub, "a")) << "what cannot be this organization's tells nothing";
  EXPECT_EQ(hub.feed("since=" + cursor + "&highest_id=" + std::to_string(seen), node).status, 200);
  EXPECT_EQ(hub.add_user("a").posix->number, seen + 1);
}

// The backup is from before any node joined: nodes that the store does not know may come.
TEST(RestoreGuard, WhenTheStoreIsCertainlyAnOldOneTheWholeTimePasses) {
  TestHub hub;
  hub.add_user("before");
  back_up(hub);
  hub.enroll("login1");
  hub.add_user("lost");
  restore(hub);
  EXPECT_FALSE(gives_ids(hub, "a"));
  const std::string node = hub.enroll("login1");
  EXPECT_EQ(hub.feed("since=" + hub.cursor(0), node).status, 200);
  EXPECT_FALSE(gives_ids(hub, "a"));
  hub.clock().advance(RestoreGuard::kLongest);
  EXPECT_TRUE(gives_ids(hub, "a"));
}

TEST(RestoreGuard, WithoutNodesNobodyIsWaitedFor) {
  TestHub hub;
  std::filesystem::remove_all(hub.run_dir());
  hub.restart();
  EXPECT_TRUE(gives_ids(hub, "a"));
}

TEST(HeadMarks, AreKeptByOrganizationAndDamageIsNoMark) {
  const store::testing::TempDirectory temp;
  const auto path = temp.path() / (std::string(kMarks) + "x");
  {
    auto marks = HeadMarks::open(path);
    ASSERT_TRUE(marks);
    EXPECT_FALSE(marks->read(1));
    marks->write(3, {.seq = 7, .tag = 9});
    EXPECT_FALSE(marks->read(1));
    marks->write(1, {.seq = 5, .tag = 0});
  }
  auto marks = HeadMarks::open(path);
  ASSERT_TRUE(marks);
  EXPECT_EQ(marks->read(3)->seq, 7U);
  EXPECT_EQ(marks->read(3)->tag, 9U);
  EXPECT_EQ(marks->read(1)->seq, 5U);
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 1);
  EXPECT_FALSE(marks->read(3));
  std::filesystem::remove(path);
  std::filesystem::create_symlink("/dev/null", path);
  EXPECT_FALSE(HeadMarks::open(path)) << "nobody leads us elsewhere";
}

}  // namespace
}  // namespace roster::hub
