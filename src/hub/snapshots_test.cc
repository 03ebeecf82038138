#include "hub/snapshots.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include "hub/test_hub.h"

namespace roster::hub {
namespace {

using testing::decode_snapshot;
using testing::decode_stream;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::Stream;
using testing::TestHub;

constexpr const char* kTarget = "/api/organizations/acme/feed/snapshot";

http::ClientResponse get_with(TestHub& hub, const std::string& node, const std::string& name,
                              const std::string& value, const std::string& method = "GET") {
  http::ClientRequest request;
  request.method = method;
  request.target = kTarget;
  request.headers.set(name, value);
  return hub.call(request, node);
}

TEST(Snapshot, IsTheWholeViewAtItsCursor) {
  testing::TestOptions options;
  options.snapshots.page_rows = 4;
  TestHub hub(options);
  const std::string node = hub.enroll("login1");
  std::vector<std::string> members;
  for (int i = 0; i < 10; ++i) members.push_back(hub.add_user("user" + std::to_string(i), 1).id);
  const auto staff = hub.add_group("staff", members);
  hub.add_group("empty");

  const auto answer = hub.get(std::string(kTarget) + "?view=default", node);
  ASSERT_EQ(answer.status, 200) << answer.body;
  EXPECT_EQ(answer.headers.get("Content-Type"), "application/zstd");
  const Stream all = decode_snapshot(answer.body);
  EXPECT_EQ(all.head.kind, feed::Kind::kSnapshot);
  EXPECT_EQ(all.head.head, hub.org().seq);
  EXPECT_FALSE(all.head.shrink_ok);
  ASSERT_EQ(all.users.size(), 10U);
  EXPECT_EQ(all.groups.size(), 2U);
  for (const auto& user : all.users) {
    EXPECT_EQ(user.keys.size(), 1U);
    EXPECT_EQ(user.groups, std::vector{staff.posix->n});
  }
  EXPECT_EQ(answer.headers.get("Roster-Cursor"), all.end.cursor);
  const Stream after = decode_stream(hub.feed("from=" + all.end.cursor, node).body);
  EXPECT_THAT(after.users, IsEmpty());
}

TEST(Snapshot, ComputeViewHasNoKeys) {
  TestHub hub;
  const std::string node = hub.enroll("c1", "compute");
  hub.add_user("ada", 2);
  const Stream all = decode_snapshot(hub.get(kTarget, node).body);
  ASSERT_EQ(all.users.size(), 1U);
  EXPECT_THAT(all.users[0].keys, IsEmpty());
}

TEST(Snapshot, NamesTheDeletedAsRemovals) {
  TestHub hub;
  const std::string node = hub.enroll("login1");
  hub.add_user("ada");
  const auto bob = hub.add_user("bob");
  ASSERT_TRUE(hub.directory().delete_user(hub.okta(), hub.org().n, bob.id, {}));
  const Stream all = decode_snapshot(hub.get(kTarget, node).body);
  EXPECT_EQ(all.users.size(), 1U);
  EXPECT_THAT(all.gone, ::testing::Contains(bob.posix->n));
}

TEST(Snapshot, OfAnEmptyOrganizationIsWhole) {
  TestHub hub;
  const std::string node = hub.enroll("login1");
  const Stream all = decode_snapshot(hub.get(kTarget, node).body);
  EXPECT_THAT(all.users, IsEmpty());
  EXPECT_EQ(all.end.cursor, hub.cursor(all.head.head.value));
}

TEST(Snapshot, ACutTransferGoesOnWhereItWas) {
  TestHub hub;
  const std::string node = hub.enroll("login1");
  for (int i = 0; i < 20; ++i) hub.add_user("user" + std::to_string(i), 1);
  const auto head = get_with(hub, node, "Accept", "*/*", "HEAD");
  ASSERT_EQ(head.status, 200);
  EXPECT_THAT(head.body, IsEmpty());
  const std::string etag(head.headers.get("ETag"));
  const std::string whole = hub.get(kTarget, node).body;
  ASSERT_GT(whole.size(), 100U);
  EXPECT_EQ(head.headers.get("Content-Length"), std::to_string(whole.size()));

  http::ClientRequest request;
  request.target = kTarget;
  request.headers.set("If-Match", etag);
  request.headers.set("Range", "bytes=0-49");
  const auto first = hub.call(request, node);
  ASSERT_EQ(first.status, 206);
  EXPECT_EQ(first.headers.get("Content-Range"), "bytes 0-49/" + std::to_string(whole.size()));
  // Changes beyond what a fresh snapshot may lag: the transfer goes on with the file it began.
  for (int i = 0; i < 120; ++i) hub.add_user("later" + std::to_string(i));
  request.headers.set("Range", "bytes=50-");
  const auto rest = hub.call(request, node);
  ASSERT_EQ(rest.status, 206);
  EXPECT_EQ(first.body + rest.body, whole);

  request.headers.set("Range", "bytes=" + std::to_string(whole.size()) + "-");
  EXPECT_EQ(hub.call(request, node).status, 416);
  // Without If-Match a fresh one is made, and the old one is gone.
  EXPECT_NE(hub.get(kTarget, node).headers.get("ETag"), etag);
  request.headers.set("Range", "bytes=50-");
  EXPECT_EQ(hub.call(request, node).status, 412);
}

TEST(Snapshot, IsReusedWhileItsDeltaIsSmall) {
  TestHub hub;
  const std::string node = hub.enroll("login1");
  hub.add_user("ada");
  const std::string etag(hub.get(kTarget, node).headers.get("ETag"));
  hub.add_user("bob");
  EXPECT_EQ(hub.get(kTarget, node).headers.get("ETag"), etag);
  for (int i = 0; i < 100; ++i) hub.add_user("user" + std::to_string(i));
  EXPECT_NE(hub.get(kTarget, node).headers.get("ETag"), etag);
}

TEST(Snapshot, IsRenderedOnceForACrowd) {
  constexpr int kCrowd = 32;
  TestHub hub;
  const std::string node = hub.enroll("login1");
  for (int i = 0; i < 50; ++i) hub.add_user("user" + std::to_string(i), 1);
  std::vector<std::string> etags(kCrowd);
  std::vector<std::jthread> threads;
  for (int i = 0; i < kCrowd; ++i) {
    threads.emplace_back([&hub, &node, &etag = etags[static_cast<std::size_t>(i)]] {
      const auto answer = hub.get(kTarget, node);
      EXPECT_EQ(answer.status, 200);
      EXPECT_EQ(decode_snapshot(answer.body).users.size(), 50U);
      etag = answer.headers.get("ETag");
    });
  }
  threads.clear();
  EXPECT_EQ(std::set<std::string>(etags.begin(), etags.end()).size(), 1U);
  EXPECT_THAT(hub.metrics().render(), HasSubstr("roster_snapshot_render_seconds_count 1"));
}

// Would catch: a person missing from both the snapshot and the delta after it.
TEST(Snapshot, WithItsDeltaHasEverybodyWhileOthersWrite) {
  testing::TestOptions options;
  options.snapshots.page_rows = 2;
  TestHub hub(options);
  const std::string node = hub.enroll("login1");
  for (int i = 0; i < 50; ++i) hub.add_user("user" + std::to_string(i));
  std::jthread writer([&hub](const std::stop_token& stop) {
    for (int i = 0; i < 200 && !stop.stop_requested(); ++i) {
      hub.add_user("late" + std::to_string(i));
    }
  });
  const Stream all = decode_snapshot(hub.get(kTarget, node).body);
  writer.request_stop();
  writer.join();
  std::set<std::uint64_t> known;
  for (const auto& user : all.users) known.insert(user.n);
  const Stream delta = decode_stream(hub.feed("from=" + all.end.cursor, node).body);
  ASSERT_TRUE(delta.end.final);
  for (const auto& user : delta.users) known.insert(user.n);
  EXPECT_EQ(static_cast<std::int64_t>(known.size()), hub.org().users);
}

TEST(Snapshot, AReleasedFuseConfirmsAShrink) {
  TestHub hub;
  const std::string node = hub.enroll("login1");
  hub.add_user("ada");
  EXPECT_FALSE(decode_snapshot(hub.get(kTarget, node).body).head.shrink_ok);
  ASSERT_TRUE(hub.directory().release_fuse(TestHub::operator_actor(), hub.org().n));
  EXPECT_TRUE(decode_snapshot(hub.get(kTarget, node).body).head.shrink_ok);
}

TEST(Snapshot, LeavesTheLastOfTheDiskToTheStore) {
  testing::TestOptions options;
  options.snapshots.disk_free_min = UINT64_MAX;
  TestHub hub(options);
  const std::string node = hub.enroll("login1");
  const auto answer = hub.get(kTarget, node);
  EXPECT_EQ(answer.status, 503);
  EXPECT_TRUE(answer.headers.has("Retry-After"));
}

TEST(Snapshot, FilesHaveNoNamesAndLeftoversGo) {
  TestHub hub;
  const std::string node = hub.enroll("login1");
  const auto directory = hub.data_dir() / "snapshots";
  std::ofstream(directory / "snapshot-abcdef") << "cut";
  hub.restart();
  EXPECT_TRUE(std::filesystem::is_empty(directory));
  EXPECT_EQ(hub.get(kTarget, node).status, 200);
  EXPECT_TRUE(std::filesystem::is_empty(directory));
}

}  // namespace
}  // namespace roster::hub
