#include "hub/feed_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <future>
#include <map>
#include <set>
#include <thread>

#include "base/encoding.h"
#include "hub/feed_query.h"
#include "hub/render.h"
#include "hub/test_hub.h"

namespace roster::hub {
namespace {

using testing::decode_stream;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::Stream;
using testing::TestHub;

TEST(Feed, TellsAChangeOnceAndThenHasNothing) {
  TestHub hub;
  const std::string node = hub.enroll("login1");
  const std::uint64_t before = hub.org().seq.value;
  const auto ada = hub.add_user("ada", 2);
  const auto staff = hub.add_group("staff", {ada.id});

  const auto answer = hub.feed("view=default&since=" + hub.cursor(before), node);
  ASSERT_EQ(answer.status, 200) << answer.body;
  EXPECT_EQ(answer.headers.get("Content-Type"), "application/x-ndjson");
  const Stream delta = decode_stream(answer.body);
  EXPECT_EQ(delta.head.org, "acme");
  EXPECT_EQ(delta.head.view, "default");
  EXPECT_EQ(delta.head.kind, feed::Kind::kDelta);
  EXPECT_TRUE(delta.head.keys);
  ASSERT_EQ(delta.users.size(), 1U);
  EXPECT_EQ(delta.users[0].name.str(), "ada");
  EXPECT_EQ(delta.users[0].n, ada.posix->n);
  EXPECT_EQ(delta.users[0].keys.size(), 2U);
  ASSERT_EQ(delta.groups.size(), 1U);
  EXPECT_EQ(delta.users[0].groups, std::vector{staff.posix->n});
  EXPECT_TRUE(delta.end.final);
  EXPECT_EQ(delta.end.cursor, hub.cursor(hub.org().seq.value));

  const Stream empty = decode_stream(hub.feed("since=" + delta.end.cursor, node).body);
  EXPECT_THAT(empty.users, IsEmpty());
  EXPECT_EQ(empty.end.cursor, delta.end.cursor);
}

TEST(Feed, ComputeNodesNeverSeeKeys) {
  TestHub hub;
  const std::string node = hub.enroll("c1", "compute");
  const std::string since = hub.cursor(hub.org().seq.value, "compute");
  hub.add_user("ada", 3);
  const auto answer = hub.feed("since=" + since, node);
  const Stream delta = decode_stream(answer.body);
  ASSERT_EQ(delta.users.size(), 1U);
  EXPECT_THAT(delta.users[0].keys, IsEmpty());
  EXPECT_FALSE(delta.head.keys);
  EXPECT_EQ(answer.body.find("ssh-ed25519"), std::string::npos);
}

TEST(Feed, DeletedPeopleAreRemovalsAndLockedOnesStay) {
  TestHub hub;
  const std::string node = hub.enroll("login1");
  const auto ada = hub.add_user("ada", 1);
  const auto bob = hub.add_user("bob", 1);
  const std::string since = hub.cursor(hub.org().seq.value);
  ASSERT_TRUE(hub.directory().delete_user(hub.okta(), hub.org().n, ada.id, {}));
  ASSERT_TRUE(hub.directory().set_user_active(hub.okta(), hub.org().n, bob.id, false));
  const Stream delta = decode_stream(hub.feed("since=" + since, node).body);
  EXPECT_EQ(delta.gone, std::vector{ada.posix->n});
  ASSERT_EQ(delta.users.size(), 1U);
  EXPECT_EQ(delta.users[0].name.str(), "bob");
  EXPECT_TRUE(delta.users[0].locked);
}

/// Who is in a snapshot's or delta's records after all that came before, as a node holds them.
void apply(std::map<std::uint64_t, bool>& users, std::map<std::uint64_t, bool>& groups,
           const Stream& stream) {
  for (const auto& user : stream.users) users[user.n] = true;
  for (const auto& group : stream.groups) groups[group.n] = true;
  for (const std::uint64_t n : stream.gone) {
    users.erase(n);
    groups.erase(n);
  }
}

// A node takes a snapshot when the totals are not what it has: they must be right, or absent.
TEST(Feed, TotalsAreWhatANodeHasAfterwards) {
  TestHub hub;
  const std::string node = hub.enroll("login1");
  std::map<std::uint64_t, bool> users, groups;
  std::string since = hub.cursor(0);
  const auto follow = [&](const char* what) {
    const Stream delta = decode_stream(hub.feed("since=" + since, node).body);
    apply(users, groups, delta);
    since = delta.end.cursor;
    ASSERT_TRUE(delta.end.totals) << what;
    EXPECT_EQ(delta.end.totals->users, users.size()) << what;
    EXPECT_EQ(delta.end.totals->groups, groups.size()) << what;
  };
  const auto ada = hub.add_user("ada", 1);
  const auto bob = hub.add_user("bob", 1);
  const auto eve = hub.add_user("eve");
  hub.add_group("staff", {ada.id, bob.id});
  follow("people and a group");
  const directory::OrgN org = hub.org().n;
  ASSERT_TRUE(hub.directory().set_user_active(hub.okta(), org, bob.id, false));
  follow("a locked one stays");
  ASSERT_TRUE(hub.directory().delete_user(hub.okta(), org, ada.id, {}));
  follow("a deleted one goes");
  directory::OrgSettings settings = hub.org().settings;
  settings.leaver_policy = directory::LeaverPolicy::kHide;
  ASSERT_TRUE(hub.directory().update_org_settings(TestHub::operator_actor(), org,
                                                  directory::testing::always(settings)));
  users.clear();
  groups.clear();
  since = hub.cursor(0);
  follow("with policy hide the locked one is not there");
  ASSERT_TRUE(hub.directory().set_user_active(hub.okta(), org, eve.id, false));
  follow("another leaves");
  ASSERT_TRUE(hub.directory().set_user_active(hub.okta(), org, bob.id, true));
  follow("one comes back");
  EXPECT_EQ(users.size(), 1U);
}

// A part up to a change that is read after a later one shows the later state: the organization's
// counts at the earlier one are not those of what it holds.
TEST(Feed, TotalsAreNotThoseOfAnotherMoment) {
  TestHub hub;
  hub.add_user("ada", 1);
  const directory::Org org = hub.org();
  const View view = *find_view(hub.directory(), org, "default");
  const NodeAccess access{.node = {}, .org = org, .view = view, .epoch = view_epoch(org, view)};
  const auto last_part = [&] {
    const auto part = render_part(hub.directory(), access, Seq{}, org.seq, 1000);
    return decode_stream(part->bytes).end;
  };
  EXPECT_EQ(last_part().totals->users, 1U);
  hub.add_user("bob");
  EXPECT_TRUE(last_part().final);
  EXPECT_FALSE(last_part().totals);

  // In parts: only when nothing happened between the first and the last.
  for (const bool disturbed : {false, true}) {
    const NodeAccess now{.node = {}, .org = hub.org(), .view = view, .epoch = access.epoch};
    Seq after, head;
    int parts = 0;
    while (true) {
      const auto part = render_part(hub.directory(), now, after, head, 1);
      const feed::End end = decode_stream(part->bytes).end;
      head = part->head;
      ++parts;
      if (end.final) {
        EXPECT_EQ(end.totals.has_value(), !disturbed);
        break;
      }
      EXPECT_FALSE(end.totals);
      after = FeedQuery::parse("from=x&more=" + percent_encode(end.more))->more->reached;
      if (disturbed && parts == 1) hub.add_user("carol");
    }
    EXPECT_GT(parts, 1);
  }
}

// Would catch: a wake that is lost between the handler's look and the parking.
TEST(Feed, ParkedRequestsWakeWithTheCommit) {
  TestHub hub;
  const std::string node = hub.enroll("login1");
  for (int i = 0; i < 20; ++i) {
    const std::string since = hub.cursor(hub.org().seq.value);
    auto parked = std::async(std::launch::async,
                             [&] { return hub.feed("since=" + since + "&wait=30", node); });
    const auto began = std::chrono::steady_clock::now();
    hub.add_user("user" + std::to_string(i));
    const Stream delta = decode_stream(parked.get().body);
    EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(10));
    ASSERT_EQ(delta.users.size(), 1U);
    EXPECT_EQ(delta.users[0].name.str(), "user" + std::to_string(i));
  }
}

TEST(Feed, NothingForALongTimeIsAHeartbeat) {
  TestHub hub;
  const std::string node = hub.enroll("login1");
  const std::string since = hub.cursor(hub.org().seq.value);
  const auto answer = hub.feed("since=" + since + "&wait=1", node);
  EXPECT_EQ(answer.status, 200);
  const Stream delta = decode_stream(answer.body);
  EXPECT_THAT(delta.users, IsEmpty());
  EXPECT_EQ(delta.end.cursor, since);
}

TEST(Feed, ANodeDeletedWhileItIsParkedGetsNothingMore) {
  TestHub hub;
  const std::string node = hub.enroll("login1");
  const std::string since = hub.cursor(hub.org().seq.value);
  auto parked =
      std::async(std::launch::async, [&] { return hub.feed("since=" + since + "&wait=30", node); });
  ASSERT_TRUE(hub.directory().delete_node(TestHub::operator_actor(), hub.org().n, "hpc", "login1"));
  hub.add_user("ada");
  EXPECT_EQ(parked.get().status, 401);
}

TEST(Feed, CredentialsOfOthersOpenNothing) {
  TestHub hub;
  const std::string node = hub.enroll("login1");
  const std::string foreign = hub.enroll("login1", "default", "other");
  const std::string join = hub.join_token("default");
  const std::string query = "?since=" + hub.cursor(0);
  const struct {
    const char* what;
    std::string target;
    std::string bearer;
    int status;
  } cases[] = {
      {"nothing", "/api/organizations/acme/feed" + query, "", 401},
      {"no token of ours", "/api/organizations/acme/feed" + query, "secret", 401},
      {"a join token", "/api/organizations/acme/feed" + query, join, 401},
      {"a mangled credential", "/api/organizations/acme/feed" + query, node + "x", 401},
      {"another organization's node", "/api/organizations/acme/feed" + query, foreign, 403},
      {"its own at another", "/api/organizations/other/feed" + query, node, 403},
      {"an organization that is none", "/api/organizations/none/feed" + query, node, 403},
      {"the hub's own rows", "/api/organizations//feed" + query, node, 400},
      {"another view", "/api/organizations/acme/feed" + query + "&view=login", node, 403},
      {"a view that is none", "/api/organizations/acme/feed" + query + "&view=x", node, 403},
      {"a foreign snapshot", "/api/organizations/acme/feed/snapshot", foreign, 403},
      {"no snapshot", "/api/organizations/acme/feed/snapshot", "", 401},
      {"another view's snapshot", "/api/organizations/acme/feed/snapshot?view=login", node, 403},
      {"a bad query", "/api/organizations/acme/feed?since=a&from=b", node, 400},
  };
  for (const auto& c : cases) {
    const auto answer = hub.get(c.target, c.bearer);
    EXPECT_EQ(answer.status, c.status) << c.what << ": " << answer.body;
  }
}

TEST(Feed, CursorsThatCannotBeContinuedAreReset) {
  TestHub hub;
  const std::string node = hub.enroll("login1");
  hub.add_user("ada");
  const std::string epoch = hub.org().epoch;
  const std::string foreign_epoch = "x" + hub.cursor(0);
  for (const std::string& cursor :
       {std::string("nonsense"), std::string("1"), std::string("e.01."), foreign_epoch}) {
    const auto answer = hub.feed("since=" + cursor, node);
    EXPECT_EQ(answer.status, 409) << cursor;
    EXPECT_THAT(decode_stream(answer.body).reset, ::testing::Not(IsEmpty())) << cursor;
  }
  EXPECT_EQ(hub.org().epoch, epoch) << "a cursor of another history is no sign of a restore";
}

// A credential in wrong hands: it may make its own node start over, and the others once.
TEST(Feed, LiesAboutTheFutureMakeOneNewEpochAtMost) {
  TestHub hub;
  const std::string node = hub.enroll("login1");
  hub.add_user("ada");
  const std::string epoch = hub.org().epoch;
  const auto lie = [&] {
    std::string cursor = hub.cursor(0);
    cursor += "deadbeef";                               // "EPOCH.0.deadbeef"
    cursor.replace(cursor.find(".0."), 3, ".900000.");  // "EPOCH.900000.deadbeef"
    return hub.feed("since=" + cursor, node);
  };
  EXPECT_EQ(lie().status, 409);
  const std::string renewed = hub.org().epoch;
  EXPECT_NE(renewed, epoch);
  EXPECT_EQ(lie().status, 409);
  std::string wrong_tag = hub.cursor(hub.org().seq.value);
  wrong_tag.back() = wrong_tag.back() == '0' ? '1' : '0';
  EXPECT_EQ(hub.feed("since=" + wrong_tag, node).status, 409);
  EXPECT_EQ(hub.org().epoch, renewed);
  EXPECT_THAT(hub.metrics().render(), HasSubstr("roster_feed_epochs_total{org=\"acme\"} 1"));
}

TEST(Feed, ALieIsNoAcknowledgement) {
  TestHub hub;
  const std::string node = hub.enroll("login1");
  const std::string cursor = hub.cursor(hub.org().seq.value);
  hub.feed("since=" + cursor, node);
  std::string lie = hub.cursor(0);
  lie.replace(lie.find(".0."), 3, ".900000.ab");
  hub.feed("since=" + lie, node);
  ASSERT_TRUE(hub.directory().flush_stamps());
  const auto nodes = hub.directory().list_nodes(hub.org().n);
  ASSERT_TRUE(nodes);
  EXPECT_LE((*nodes)[0].acknowledged, hub.org().seq);
}

TEST(Feed, OnlySinceAcknowledges) {
  TestHub hub;
  const std::string node = hub.enroll("login1");
  hub.add_user("ada");
  const Seq head = hub.org().seq;
  const auto acknowledged = [&] {
    EXPECT_TRUE(hub.directory().flush_stamps());
    return (*hub.directory().list_nodes(hub.org().n))[0].acknowledged;
  };
  hub.feed("from=" + hub.cursor(head.value), node);
  EXPECT_LT(acknowledged(), head);
  hub.feed("since=" + hub.cursor(head.value), node);
  EXPECT_EQ(acknowledged(), head);
}

/// Reads all parts of a delta, with a write between each two of them.
std::map<std::uint64_t, std::string> read_parts(TestHub& hub, const std::string& since,
                                                const std::string& node, std::string& cursor) {
  std::map<std::uint64_t, std::string> names;
  std::string more;
  std::uint64_t head = 0;
  for (int part = 0; part < 100; ++part) {
    const auto answer = hub.feed("since=" + since + more, node);
    EXPECT_EQ(answer.status, 200) << answer.body;
    const Stream stream = decode_stream(answer.body);
    if (part == 0) head = stream.head.head.value;
    EXPECT_EQ(stream.head.head.value, head);
    EXPECT_LE(stream.users.size(), 3U);
    for (const auto& user : stream.users) names[user.n] = user.name.str();
    if (stream.end.final) {
      cursor = stream.end.cursor;
      return names;
    }
    more = "&more=" + stream.end.more;
    hub.add_user("meanwhile" + std::to_string(part));
  }
  ADD_FAILURE() << "no end";
  return names;
}

TEST(Feed, LongDeltasComeInPartsThatAgreeOnTheirHead) {
  testing::TestOptions options;
  options.feed.part_changes_max = 3;
  TestHub hub(options);
  const std::string node = hub.enroll("login1");
  const std::string since = hub.cursor(hub.org().seq.value);
  std::set<std::string> expected;
  for (int i = 0; i < 10; ++i) {
    hub.add_user("user" + std::to_string(i));
    expected.insert("user" + std::to_string(i));
  }
  std::string cursor;
  auto names = read_parts(hub, since, node, cursor);
  ASSERT_FALSE(HasFailure());
  EXPECT_GT(hub.org().users, 10) << "written between the parts";
  for (const std::string& name : expected) {
    EXPECT_TRUE(std::ranges::any_of(names, [&](const auto& item) { return item.second == name; }))
        << name;
  }
  // What was written meanwhile comes with the next delta.
  for (const auto& [n, name] : read_parts(hub, cursor, node, cursor)) names[n] = name;
  EXPECT_TRUE(std::ranges::any_of(names, [](const auto& i) { return i.second == "meanwhile0"; }));
}

TEST(Feed, ContinuationsOutsideOfTheirDeltaAreRefused) {
  TestHub hub;
  const std::string node = hub.enroll("login1");
  for (int i = 0; i < 5; ++i) hub.add_user("user" + std::to_string(i));
  const std::uint64_t head = hub.org().seq.value;
  const std::string since = "since=" + hub.cursor(head - 2);
  EXPECT_EQ(hub.feed(since + "&more=1~" + std::to_string(head), node).status, 400);
  EXPECT_EQ(hub.feed(since + "&more=" + std::to_string(head - 1) + "~900000", node).status, 400);
}

TEST(Feed, ADeltaIsRenderedOnceForAllNodes) {
  TestHub hub;
  const std::string one = hub.enroll("login1");
  const std::string two = hub.enroll("login2");
  const std::string since = hub.cursor(hub.org().seq.value);
  hub.add_user("ada");
  EXPECT_EQ(hub.feed("since=" + since, one).body, hub.feed("since=" + since, two).body);
  const std::string metrics = hub.metrics().render();
  EXPECT_THAT(metrics, HasSubstr("roster_feed_parts_rendered_total 1"));
  EXPECT_THAT(metrics, HasSubstr("roster_feed_parts_served_total 2"));
}

/// The story of a hub that was set back: what the node saw since is not given to anybody else.
TEST(Feed, ARestoredHubNoticesAndHandsNoIdOutTwice) {
  TestHub hub;
  const std::string node = hub.enroll("login1");
  const std::string liar = hub.enroll("login2");
  hub.add_user("before");
  hub.stop();
  const auto database = hub.data_dir() / "roster.db";
  const auto backup = hub.data_dir() / "backup.db";
  std::filesystem::copy_file(database, backup);
  hub.start();
  std::uint32_t highest = 0;
  for (int i = 0; i < 5; ++i) highest = hub.add_user("lost" + std::to_string(i)).posix->number;
  const std::string cursor = hub.cursor(hub.org().seq.value);
  const std::string epoch = hub.org().epoch;
  ASSERT_EQ(hub.feed("since=" + cursor, node).status, 200);

  hub.stop();
  for (const char* suffix : {"", "-wal", "-shm"}) {
    std::filesystem::remove(database.string() + suffix);
  }
  std::filesystem::copy_file(backup, database);
  hub.start();
  ASSERT_EQ(hub.org().epoch, epoch);
  // A node that lies first does not keep the hub from believing the others.
  EXPECT_EQ(hub.feed("since=" + cursor + "&highest_id=2147483647", liar).status, 409);
  const auto answer = hub.feed("since=" + cursor + "&highest_id=" + std::to_string(highest), node);
  EXPECT_EQ(answer.status, 409);
  EXPECT_NE(hub.org().epoch, epoch);
  hub.clock().advance(RestoreGuard::kLongest);
  EXPECT_GT(hub.add_user("after").posix->number, highest);
  // The next cursor is of the new history, and the old one stays refused.
  EXPECT_EQ(hub.feed("since=" + hub.cursor(hub.org().seq.value), node).status, 200);
  EXPECT_EQ(hub.feed("since=" + cursor, node).status, 409);
}

// The highest id of the second node is an import's: which ids of the block it has seen nobody can
// tell, so none of it is given out, though the first node told of a lower one.
TEST(FeedServer, ARestoredHubLeavesBlocksThatAnImportHides) {
  TestHub hub;
  directory::OrgSettings settings;
  settings.admitted_ids = {{5'000, 5'999}, {500'000, 599'999}};
  ASSERT_TRUE(hub.directory().update_org_settings(TestHub::operator_actor(), hub.org().n,
                                                  directory::testing::always(settings)));
  const std::vector<directory::ImportEntry> imported{
      {.name = "dora", .number = 555'555, .gid = 555'555}};
  ASSERT_TRUE(
      hub.directory().import_identities(TestHub::operator_actor(), hub.org().n, imported, {}));
  const std::string first = hub.enroll("login1");
  const std::string second = hub.enroll("login2");
  hub.stop();
  const auto database = hub.data_dir() / "roster.db";
  const auto backup = hub.data_dir() / "backup.db";
  std::filesystem::copy_file(database, backup);
  hub.start();
  const std::uint32_t seen = hub.add_user("lost").posix->number;
  const std::uint32_t hidden = hub.add_user("hidden").posix->number;
  const std::string cursor = hub.cursor(hub.org().seq.value);
  hub.stop();
  for (const char* suffix : {"", "-wal", "-shm"}) {
    std::filesystem::remove(database.string() + suffix);
  }
  std::filesystem::copy_file(backup, database);
  hub.start();
  const auto tell = [&hub, &cursor](const std::string& node, std::uint32_t highest) {
    return hub.feed("since=" + cursor + "&highest_id=" + std::to_string(highest), node).status;
  };
  EXPECT_EQ(tell(first, seen), 409);
  EXPECT_EQ(tell(first, 5'001), 409) << "below all blocks: it hides nothing";
  EXPECT_EQ(tell(second, 555'555), 409);
  hub.clock().advance(RestoreGuard::kLongest);
  const std::uint32_t next = hub.add_user("after").posix->number;
  EXPECT_GT(next, 600'000U) << "not " << hidden;
  EXPECT_EQ(tell(second, 555'555), 409);
  EXPECT_EQ(hub.add_user("later").posix->number, next + 1) << "once is enough";
}

}  // namespace
}  // namespace roster::hub
