#include "nsscache/publisher.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <time.h>

#include <fstream>
#include <optional>

#include "base/file.h"
#include "nsscache/served.h"
#include "nsscache/test_support.h"

namespace roster::nsscache {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

using PublisherTest = CacheTest;

posix::NodeKey make_key(const std::string& comment) {
  return {.line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI " + comment,
          .fingerprint = "SHA256:" + comment};
}

/// "name" or "name locked" of people, with their keys' comments; names of groups.
std::vector<std::string> told_by(const ServedGeneration& served) {
  std::vector<std::string> told;
  const auto read = served.each(
      [&told](posix::NodeUser user) -> Result<void> {
        std::string text = user.name.str() + (user.locked ? " locked" : "");
        for (const posix::NodeKey& key : user.keys) text += " " + key.fingerprint;
        told.push_back(std::move(text));
        return {};
      },
      [&told](const posix::NodeGroup& group) -> Result<void> {
        told.push_back(group.name.str());
        return {};
      });
  EXPECT_TRUE(read) << read.error().message;
  return told;
}

TEST_F(PublisherTest, AGenerationIsReadWhileOthersArePublished) {
  Publisher publisher = open_publisher();
  EXPECT_EQ(publisher.served().error().code, Code::kNotFound);
  ASSERT_OK(publisher.upsert_group(make_group(7, "physics", 20007)));
  posix::NodeUser alice = make_user(1, "alice", 10001, {7});
  alice.keys = {make_key("a")};
  ASSERT_OK(publisher.upsert_user(alice));
  ASSERT_OK(publisher.upsert_user(make_user(2, "bob", 10002, {7})));
  ASSERT_OK(publisher.upsert_user(make_user(3, "carol", 10003, {})));
  ASSERT_OK(publisher.publish("c1", "e1", now_));
  const auto first = publisher.served();
  ASSERT_OK(first);

  ASSERT_OK(publisher.remove_user(2, Seq{2}));
  ASSERT_OK(publisher.upsert_user(make_user(1, "alicia", 10001, {7}, 2)));  // and no keys
  ASSERT_OK(publisher.upsert_user(make_user(4, "bob", 10004, {}, 2)));
  ASSERT_OK(publisher.upsert_group(make_group(5, "early", 20005)));
  publisher.set_local_rules({.masked_names = {"physics"}, .denied_names = {"carol"}});
  const auto before = publisher.served();
  ASSERT_OK(publisher.publish("c2", "e1", now_));
  const auto second = publisher.served();
  ASSERT_OK(publisher.begin_replace());
  ASSERT_OK(publisher.publish("c3", "e1", now_));
  now_ += std::chrono::hours(1);
  publisher.remove_retired(now_);

  const std::vector<std::string> all{"alice SHA256:a", "bob", "carol", "physics"};
  EXPECT_EQ(told_by(*first), all);
  EXPECT_EQ(told_by(*before), all) << "what is collected is not published";
  EXPECT_THAT(told_by(*second), ElementsAre("alicia", "carol locked", "bob", "early"));
  EXPECT_THAT(told_by(*publisher.served()), IsEmpty());
}

TEST_F(PublisherTest, TellsTheStoryOfAPerson) {
  Publisher publisher = open_publisher();
  EXPECT_EQ(passwd_line("alice"), "unavailable") << "not knowing is not absence";
  ASSERT_OK(publisher.upsert_group(make_group(7, "physics", 20007)));
  ASSERT_OK(publisher.upsert_user(make_user(1, "alice", 10001, {7})));
  EXPECT_EQ(passwd_line("alice"), "unavailable") << "not before publish()";
  ASSERT_OK(publisher.publish("c1", "e1", now_));
  EXPECT_EQ(passwd_line("alice"), "alice:x:10001:10001:User alice:/home/alice:/bin/bash");
  EXPECT_EQ(passwd_line(uid_t{10001}), "alice:x:10001:10001:User alice:/home/alice:/bin/bash");
  EXPECT_EQ(group_line("physics"), "physics:x:20007:alice");
  EXPECT_EQ(group_line(gid_t{20007}), "physics:x:20007:alice");
  EXPECT_EQ(group_line("alice"), "alice:x:10001:") << "the private group";
  EXPECT_EQ(group_line(gid_t{10001}), "alice:x:10001:");
  EXPECT_THAT(gids_of("alice", 10001), ElementsAre(20007));
  EXPECT_EQ(passwd_line("bob"), "not found");

  // A second person by delta; then the first is locked, unlocked, renamed, removed.
  ASSERT_OK(publisher.upsert_user(make_user(2, "bob", 10002, {7})));
  ASSERT_OK(publisher.publish("c2", "e1", now_));
  EXPECT_EQ(group_line("physics"), "physics:x:20007:alice,bob");

  posix::NodeUser alice = make_user(1, "alice", 10001, {7}, 3);
  alice.locked = true;
  ASSERT_OK(publisher.upsert_user(alice));
  ASSERT_OK(publisher.publish("c3", "e1", now_));
  EXPECT_EQ(passwd_line("alice"), "alice:x:10001:10001:User alice:/home/alice:/usr/sbin/nologin");
  EXPECT_THAT(gids_of("alice"), IsEmpty());
  EXPECT_EQ(group_line("physics"), "physics:x:20007:bob");
  EXPECT_EQ(group_line("alice"), "alice:x:10001:");

  ASSERT_OK(publisher.upsert_user(make_user(1, "alicia", 10001, {7}, 4)));
  ASSERT_OK(publisher.publish("c4", "e1", now_));
  EXPECT_EQ(passwd_line("alice"), "not found");
  EXPECT_EQ(group_line("alice"), "not found");
  EXPECT_EQ(passwd_line(uid_t{10001}), "alicia:x:10001:10001:User alicia:/home/alicia:/bin/bash");
  EXPECT_EQ(group_line("physics"), "physics:x:20007:alicia,bob");

  ASSERT_OK(publisher.remove_user(1, Seq{5}));
  ASSERT_OK(publisher.publish("c5", "e1", now_));
  EXPECT_EQ(passwd_line("alicia"), "not found");
  EXPECT_EQ(passwd_line(uid_t{10001}), "not found");
  EXPECT_EQ(group_line("physics"), "physics:x:20007:bob");
  EXPECT_THAT(all_passwd(), UnorderedElementsAre("bob"));
  EXPECT_THAT(all_groups(), UnorderedElementsAre("physics", "bob"));
  EXPECT_EQ(publisher.cursor(), "c5");
  EXPECT_EQ(publisher.generation(), 5u);
}

TEST_F(PublisherTest, ContinuesWhereItStopped) {
  {
    Publisher publisher = open_publisher();
    ASSERT_OK(publisher.upsert_group(make_group(7, "physics", 20007)));
    posix::NodeUser alice = make_user(1, "alice", 10001, {7});
    alice.keys = {make_key("one")};
    ASSERT_OK(publisher.upsert_user(alice));
    ASSERT_OK(publisher.publish("c1", "e1", now_));
    posix::NodeUser bob = make_user(2, "bob", 10002, {7});
    bob.keys = {make_key("two")};
    ASSERT_OK(publisher.upsert_user(bob));
    ASSERT_OK(publisher.remove_user(1, Seq{2}));
    ASSERT_OK(publisher.publish("c2", "e1", now_));
  }
  Publisher publisher = open_publisher();
  EXPECT_EQ(publisher.cursor(), "c2");
  EXPECT_EQ(publisher.epoch(), "e1");
  EXPECT_EQ(publisher.generation(), 2u);
  EXPECT_FALSE(publisher.find_user("alice"));
  ASSERT_TRUE(publisher.find_user("bob"));
  EXPECT_EQ(publisher.find_user("bob")->keys.size(), 1u);
  const auto again = publisher.publish("c2", "e1", now_);
  ASSERT_OK(again);
  EXPECT_FALSE(again->published) << "nothing differs";
  ASSERT_OK(publisher.upsert_user(make_user(3, "carol", 10003, {7})));
  ASSERT_OK(publisher.publish("c3", "e1", now_));
  EXPECT_EQ(group_line("physics"), "physics:x:20007:bob,carol");
  EXPECT_EQ(publisher.counts().users, 2u);
}

TEST_F(PublisherTest, RepeatsAreNoChange) {
  Publisher publisher = open_publisher();
  posix::NodeUser alice = make_user(1, "alice", 10001);
  alice.keys = {make_key("one")};
  ASSERT_OK(publisher.upsert_user(alice));
  ASSERT_OK(publisher.upsert_group(make_group(7, "physics", 20007)));
  ASSERT_OK(publisher.publish("c1", "e1", now_));
  ASSERT_OK(publisher.upsert_user(alice));
  ASSERT_OK(publisher.upsert_group(make_group(7, "physics", 20007)));
  ASSERT_OK(publisher.remove_user(99, Seq{9}));
  const auto stats = publisher.publish("c1", "e1", now_);
  ASSERT_OK(stats);
  EXPECT_FALSE(stats->published);
}

TEST_F(PublisherTest, FlattensNestedGroups) {
  Publisher publisher = open_publisher();
  // 1 is inside 2 is inside 3; the cycle 3 -> 1 must not loop.
  ASSERT_OK(publisher.upsert_group(make_group(1, "team", 20001, {2})));
  ASSERT_OK(publisher.upsert_group(make_group(2, "dept", 20002, {3})));
  ASSERT_OK(publisher.upsert_group(make_group(3, "all", 20003)));
  ASSERT_OK(publisher.upsert_user(make_user(1, "alice", 10001, {1})));
  ASSERT_OK(publisher.upsert_user(make_user(2, "bob", 10002, {2, 50})));
  ASSERT_OK(publisher.publish("c1", "e1", now_));
  EXPECT_THAT(gids_of("alice"), ElementsAre(20001, 20002, 20003));
  EXPECT_EQ(group_line("all"), "all:x:20003:alice,bob");
  ASSERT_OK(publisher.upsert_group(make_group(3, "all", 20003, {1}, 2)));
  ASSERT_OK(publisher.publish("c2", "e1", now_));
  EXPECT_EQ(group_line("team"), "team:x:20001:alice,bob");
  EXPECT_THAT(gids_of("bob"), ElementsAre(20001, 20002, 20003));
  // The middle goes: who came through it loses what is above.
  ASSERT_OK(publisher.remove_group(2, Seq{3}));
  ASSERT_OK(publisher.publish("c3", "e1", now_));
  EXPECT_THAT(gids_of("alice"), ElementsAre(20001));
  EXPECT_THAT(gids_of("bob"), IsEmpty());
  EXPECT_EQ(group_line("all"), "all:x:20003:");
  EXPECT_EQ(group_line("dept"), "not found");
  // It comes back, and a group that bob always pointed at appears.
  ASSERT_OK(publisher.upsert_group(make_group(2, "dept", 20002, {3}, 4)));
  ASSERT_OK(publisher.upsert_group(make_group(50, "late", 20050, {}, 4)));
  ASSERT_OK(publisher.publish("c4", "e1", now_));
  EXPECT_EQ(group_line("all"), "all:x:20003:alice,bob");
  EXPECT_EQ(group_line("late"), "late:x:20050:bob");
}

TEST_F(PublisherTest, GroupThatWasUnknownToTheBaseFindsItsMembers) {
  Publisher publisher = open_publisher();
  ASSERT_OK(publisher.upsert_user(make_user(1, "alice", 10001, {50})));
  ASSERT_OK(publisher.publish("c1", "e1", now_));
  ASSERT_OK(publisher.upsert_group(make_group(50, "late", 20050)));
  ASSERT_OK(publisher.publish("c2", "e1", now_));
  EXPECT_EQ(group_line("late"), "late:x:20050:alice");
  EXPECT_THAT(gids_of("alice"), ElementsAre(20050));
}

TEST_F(PublisherTest, LocalAccountsWin) {
  Publisher publisher = open_publisher();
  ASSERT_OK(publisher.upsert_group(make_group(1, "sudo", 20001)));
  ASSERT_OK(publisher.upsert_group(make_group(2, "physics", 20002)));
  ASSERT_OK(publisher.upsert_user(make_user(1, "alice", 10001, {1, 2})));
  ASSERT_OK(publisher.upsert_user(make_user(2, "bob", 10002, {1, 2})));
  posix::NodeUser carol = make_user(3, "carol", 10003, {2});
  carol.gid = 27;
  ASSERT_OK(publisher.upsert_user(carol));
  publisher.set_local_rules({.masked_names = {"sudo"}, .masked_ids = {10002}});
  ASSERT_OK(publisher.publish("c1", "e1", now_));
  EXPECT_EQ(group_line("sudo"), "not found");
  EXPECT_EQ(group_line(gid_t{20001}), "not found");
  EXPECT_THAT(gids_of("alice"), ElementsAre(20002));
  EXPECT_EQ(passwd_line("bob"), "not found");
  EXPECT_EQ(group_line("bob"), "not found");
  EXPECT_EQ(passwd_line("carol"), "not found") << "a primary group of the system is power";
  EXPECT_EQ(group_line("physics"), "physics:x:20002:alice,carol");
  EXPECT_EQ(publisher.counts().masked_users, 1u);
  EXPECT_THAT(publisher.masked(10), UnorderedElementsAre("group sudo (20001)", "user bob (10002)"));
  // The local accounts go, and another comes.
  publisher.set_local_rules({.masked_ranges = {{10001, 10001}, {500000, 600000}}});
  ASSERT_OK(publisher.publish("c1", "e1", now_));
  EXPECT_EQ(passwd_line("alice"), "not found");
  EXPECT_EQ(group_line("sudo"), "sudo:x:20001:bob");
  EXPECT_THAT(gids_of("bob"), ElementsAre(20001, 20002));
  EXPECT_EQ(group_line("physics"), "physics:x:20002:carol,bob");
}

TEST_F(PublisherTest, DeniedIsLockedHere) {
  Publisher publisher = open_publisher();
  posix::NodeUser alice = make_user(1, "alice", 10001);
  alice.keys = {make_key("one")};
  ASSERT_OK(publisher.upsert_user(alice));
  ASSERT_OK(publisher.publish("c1", "e1", now_));
  EXPECT_EQ(keys_of("alice", 10001, 1).size(), 1u);
  publisher.set_local_rules({.denied_uids = {10001}});
  const auto denied = publisher.publish("c1", "e1", now_);
  ASSERT_OK(denied);
  EXPECT_TRUE(denied->published);
  EXPECT_THAT(keys_of("alice", 10001, 1), ElementsAre("unknown"));
  EXPECT_TRUE(passwd_line("alice").ends_with("/usr/sbin/nologin"));
  publisher.set_local_rules({});
  ASSERT_OK(publisher.publish("c1", "e1", now_));
  EXPECT_EQ(keys_of("alice", 10001, 1).size(), 1u) << "the keys were never forgotten";
}

// A deny file that cannot be read at the start: who was denied stays so, whoever is new might be in
// it, and who leaves does not wait for it.
TEST_F(PublisherTest, UnknownRulesServeNobodyNew) {
  std::optional<Publisher> publisher(open_publisher());
  publisher->set_local_rules({.masked_names = {"bob", "wheel"}, .denied_names = {"carol"}});
  const char* names[] = {"alice", "bob", "carol", "dora", "emil"};
  for (std::uint32_t i = 0; i < 5; ++i) {
    ASSERT_OK(publisher->upsert_user(make_user(i + 1, names[i], 10001 + i, {7})));
  }
  ASSERT_OK(publisher->upsert_group(make_group(7, "physics", 20007)));
  ASSERT_OK(publisher->upsert_group(make_group(8, "wheel", 20008)));
  ASSERT_OK(publisher->publish("c1", "e1", now_));
  publisher.reset();
  publisher.emplace(open_publisher());
  publisher->set_local_rules({.masks_unknown = true, .denials_unknown = true});
  ASSERT_OK(publisher->publish("c1", "e1", now_));
  EXPECT_EQ(publisher->generation(), 1u) << "nothing differs";

  for (const bool replacing : {false, true}) {
    if (replacing) ASSERT_OK(publisher->begin_replace());
    ASSERT_OK(publisher->upsert_user(make_user(1, "alice", 10001, {7})));
    ASSERT_OK(publisher->upsert_user(make_user(2, "bob", 10002, {7})));
    ASSERT_OK(publisher->upsert_user(make_user(3, "carol", 10003, {7})));
    posix::NodeUser dora = make_user(4, "dora", 10004, {7}, 2);
    dora.locked = true;
    ASSERT_OK(publisher->upsert_user(dora));
    ASSERT_OK(publisher->remove_user(5, Seq{2}));
    ASSERT_OK(publisher->upsert_user(make_user(6, "frida", 10006, {7}, 2)));
    ASSERT_OK(publisher->upsert_group(make_group(7, "physics", 20007)));
    ASSERT_OK(publisher->upsert_group(make_group(8, "wheel", 20008)));
    ASSERT_OK(publisher->upsert_group(make_group(9, "chemistry", 20009)));
    ASSERT_OK(publisher->publish(replacing ? "c3" : "c2", "e1", now_));
    EXPECT_THAT(passwd_line("alice"), ::testing::EndsWith("/bin/bash"));
    EXPECT_EQ(passwd_line("bob"), "not found");
    EXPECT_FALSE(publisher->serves_user("bob"));
    EXPECT_THAT(passwd_line("carol"), ::testing::EndsWith("nologin"));
    EXPECT_THAT(passwd_line("dora"), ::testing::EndsWith("nologin"));
    EXPECT_EQ(passwd_line("emil"), "not found");
    EXPECT_EQ(passwd_line("frida"), "not found");
    EXPECT_EQ(group_line("physics"), "physics:x:20007:alice");
    EXPECT_EQ(group_line("wheel"), "not found");
    EXPECT_EQ(group_line("chemistry"), "not found");
  }
  ASSERT_OK(publisher->upsert_user(make_user(1, "alicia", 10001, {7}, 4)));
  ASSERT_OK(publisher->publish("c4", "e1", now_));
  EXPECT_EQ(passwd_line("alicia"), "not found") << "there may be a local account of that name";

  // Only the deny file is unknown: who is new is locked, not hidden.
  publisher->set_local_rules({.denials_unknown = true});
  ASSERT_OK(publisher->publish("c4", "e1", now_));
  EXPECT_THAT(passwd_line("frida"), ::testing::EndsWith("nologin"));
  EXPECT_EQ(group_line("chemistry"), "chemistry:x:20009:");

  publisher->set_local_rules({});
  ASSERT_OK(publisher->publish("c4", "e1", now_));
  for (const char* name : {"alicia", "bob", "carol", "frida"}) {
    EXPECT_THAT(passwd_line(name), ::testing::EndsWith("/bin/bash")) << name;
  }
  EXPECT_EQ(group_line("physics"), "physics:x:20007:alicia,bob,carol,frida");
}

TEST_F(PublisherTest, ReplacesEverything) {
  Publisher publisher = open_publisher();
  ASSERT_OK(publisher.upsert_group(make_group(1, "old", 20001)));
  for (std::uint64_t n = 1; n <= 50; ++n) {
    ASSERT_OK(publisher.upsert_user(
        make_user(n, "u" + std::to_string(n), static_cast<std::uint32_t>(10000 + n), {1})));
  }
  ASSERT_OK(publisher.publish("c1", "e1", now_));
  ASSERT_OK(publisher.begin_replace());
  ASSERT_OK(publisher.upsert_group(make_group(2, "new", 20002)));
  for (std::uint64_t n = 60; n >= 31; --n) {
    ASSERT_OK(publisher.upsert_user(
        make_user(n, "u" + std::to_string(n), static_cast<std::uint32_t>(10000 + n), {2})));
  }
  ASSERT_OK(publisher.remove_user(5, Seq{9}));
  const auto shrinkage = publisher.shrinkage();
  ASSERT_OK(shrinkage);
  EXPECT_EQ(shrinkage->users_before, 50u);
  EXPECT_EQ(shrinkage->users_lost, 29u);
  EXPECT_EQ(shrinkage->groups_lost, 1u);
  EXPECT_EQ(passwd_line("u1"), "u1:x:10001:10001:User u1:/home/u1:/bin/bash") << "still served";
  ASSERT_OK(publisher.publish("c2", "e2", now_));
  EXPECT_FALSE(publisher.replacing());
  EXPECT_EQ(passwd_line("u1"), "not found");
  EXPECT_EQ(passwd_line("u60"), "u60:x:10060:10060:User u60:/home/u60:/bin/bash");
  EXPECT_EQ(group_line("old"), "not found");
  EXPECT_EQ(publisher.counts().users, 30u);
  // And by delta again.
  ASSERT_OK(publisher.upsert_user(make_user(31, "u31", 10031, {})));
  ASSERT_OK(publisher.publish("c3", "e2", now_));
  EXPECT_FALSE(group_line("new").contains("u31"));
}

TEST_F(PublisherTest, RefusesTwins) {
  Publisher publisher = open_publisher();
  ASSERT_OK(publisher.upsert_user(make_user(1, "alice", 10001)));
  ASSERT_OK(publisher.upsert_user(make_user(2, "bob", 10002)));
  ASSERT_OK(publisher.publish("c1", "e1", now_));
  ASSERT_OK(publisher.upsert_user(make_user(3, "alice", 10003)));
  const auto by_name = publisher.publish("c2", "e1", now_);
  ASSERT_FALSE(by_name);
  EXPECT_EQ(by_name.error().code, Code::kAlreadyExists);
  EXPECT_EQ(passwd_line("alice"), "alice:x:10001:10001:User alice:/home/alice:/bin/bash");
  ASSERT_OK(publisher.discard());
  ASSERT_OK(publisher.upsert_user(make_user(3, "carol", 10002)));
  EXPECT_FALSE(publisher.publish("c2", "e1", now_));
  ASSERT_OK(publisher.discard());
  // A name that changes hands inside one delta is no twin.
  ASSERT_OK(publisher.upsert_user(make_user(3, "alice", 10003)));
  ASSERT_OK(publisher.upsert_user(make_user(1, "alicia", 10001)));
  ASSERT_OK(publisher.publish("c2", "e1", now_));
  EXPECT_EQ(passwd_line("alice"), "alice:x:10003:10003:User alice:/home/alice:/bin/bash");
  EXPECT_EQ(passwd_line(uid_t{10001}), "alicia:x:10001:10001:User alicia:/home/alicia:/bin/bash");
  // Two in one base.
  ASSERT_OK(publisher.begin_replace());
  ASSERT_OK(publisher.upsert_user(make_user(1, "alice", 10001)));
  ASSERT_OK(publisher.upsert_user(make_user(2, "alice", 10002)));
  const auto in_base = publisher.publish("c3", "e1", now_);
  ASSERT_FALSE(in_base);
  EXPECT_EQ(in_base.error().message, "two users have the name alice: numbers 1 and 2");
  ASSERT_OK(publisher.discard());
  EXPECT_EQ(publisher.counts().users, 3u);
}

// A person's login and uid are also those of the private group.
TEST_F(PublisherTest, RefusesAPersonAndAGroupOfOneNameOrId) {
  Publisher publisher = open_publisher();
  ASSERT_OK(publisher.upsert_user(make_user(1, "alice", 10001)));
  ASSERT_OK(publisher.upsert_group(make_group(2, "team", 10002)));
  ASSERT_OK(publisher.publish("c1", "e1", now_));
  const auto is_refused = [&] {
    const auto published = publisher.publish("c2", "e1", now_);
    const bool refused = !published && published.error().code == Code::kAlreadyExists;
    return publisher.discard() && refused;
  };
  // Against the base, both ways.
  ASSERT_OK(publisher.upsert_user(make_user(3, "team", 10003)));
  EXPECT_TRUE(is_refused());
  ASSERT_OK(publisher.upsert_user(make_user(3, "carol", 10002)));
  EXPECT_TRUE(is_refused());
  ASSERT_OK(publisher.upsert_group(make_group(3, "alice", 10003)));
  EXPECT_TRUE(is_refused());
  ASSERT_OK(publisher.upsert_group(make_group(3, "crew", 10001)));
  EXPECT_TRUE(is_refused());
  // Both in one delta.
  ASSERT_OK(publisher.upsert_user(make_user(3, "crew", 10003)));
  ASSERT_OK(publisher.upsert_group(make_group(4, "crew", 10004)));
  EXPECT_TRUE(is_refused());
  // A name that changes hands inside one delta is no twin.
  ASSERT_OK(publisher.upsert_group(make_group(2, "crew", 10002)));
  ASSERT_OK(publisher.upsert_user(make_user(3, "team", 10003)));
  ASSERT_OK(publisher.publish("c2", "e1", now_));
  // Both in one base.
  ASSERT_OK(publisher.begin_replace());
  ASSERT_OK(publisher.upsert_user(make_user(1, "alice", 10001)));
  ASSERT_OK(publisher.upsert_group(make_group(2, "crew", 10001)));
  EXPECT_TRUE(is_refused());
}

TEST_F(PublisherTest, RefusesWhatDoesNotFitAPasswdLine) {
  Publisher publisher = open_publisher();
  const std::string hostile[] = {"a:b",      "a\nb", std::string("a\0b", 3), std::string(2000, 'x'),
                                 "tab\tbed", "\x7f"};
  for (const std::string& text : hostile) {
    posix::NodeUser user = make_user(1, "alice", 10001);
    user.gecos = text;
    EXPECT_FALSE(publisher.upsert_user(user));
    user = make_user(1, "alice", 10001);
    user.home = text;
    EXPECT_FALSE(publisher.upsert_user(user));
    user = make_user(1, "alice", 10001);
    user.shell = text;
    EXPECT_FALSE(publisher.upsert_user(user));
  }
  posix::NodeUser user = make_user(1, "alice", 10001);
  user.keys = {{.line = "ssh-ed25519 AAAA\nssh-rsa BBBB", .fingerprint = "SHA256:x"}};
  EXPECT_FALSE(publisher.upsert_user(user));
  EXPECT_FALSE(publisher.upsert_user(make_user(1, "alice", 10001, {3, 2})));
  ASSERT_OK(publisher.publish("c1", "e1", now_));
  EXPECT_THAT(all_passwd(), IsEmpty());
}

TEST_F(PublisherTest, NeverAnswersForTheSystemsIds) {
  Publisher publisher = open_publisher();
  std::uint64_t n = 0;
  for (const std::uint32_t id : {0u, 999u, 65535u, 4294967295u}) {
    ASSERT_OK(publisher.upsert_user(make_user(++n, "u" + std::to_string(id), id)));
  }
  for (const std::uint32_t id : {1u, 998u, 65534u, 2147483648u}) {
    ASSERT_OK(publisher.upsert_group(make_group(++n, "g" + std::to_string(id), id)));
  }
  ASSERT_OK(publisher.upsert_user(make_user(1u << 20, "alice", 1000, {5, 6, 7, 8})));
  ASSERT_OK(publisher.publish("c1", "e1", now_));
  EXPECT_THAT(all_passwd(), ElementsAre("alice"));
  EXPECT_THAT(all_groups(), ElementsAre("alice"));
  EXPECT_EQ(passwd_line(uid_t{0}), "not found");
  EXPECT_EQ(passwd_line("u0"), "not found");
  EXPECT_EQ(group_line(gid_t{0}), "not found");
  EXPECT_EQ(group_line(gid_t{1}), "not found");
  EXPECT_THAT(gids_of("alice"), IsEmpty());
  EXPECT_THAT(keys_of("u0", 0, 1), ElementsAre("unknown"));
}

TEST_F(PublisherTest, KeysHaveTheirTime) {
  Publisher publisher = open_publisher();
  posix::NodeUser alice = make_user(1, "alice", 10001);
  posix::NodeKey early = make_key("early");
  early.not_after = 1000;
  posix::NodeKey late = make_key("late");
  late.not_before = 1000;
  alice.keys = {early, late, make_key("always")};
  alice.valid_until = 5000;
  ASSERT_OK(publisher.upsert_user(alice));
  ASSERT_OK(publisher.publish("c1", "e1", now_));
  EXPECT_THAT(keys_of("alice", 10001, 999), ElementsAre(early.line, make_key("always").line));
  EXPECT_THAT(keys_of("alice", 10001, 1000), ElementsAre(late.line, make_key("always").line));
  EXPECT_THAT(keys_of("alice", 10001, 1000, "SHA256:late"), ElementsAre(late.line));
  EXPECT_THAT(keys_of("alice", 10001, 1000, "SHA256:early"), IsEmpty());
  EXPECT_THAT(keys_of("alice", 10001, 5000), ElementsAre("unknown"));
  EXPECT_THAT(keys_of("alice", 10002, 999), ElementsAre("unknown")) << "another uid";
  EXPECT_THAT(keys_of("mallory", 10001, 999), ElementsAre("unknown"));
  // The hub falls silent.
  publisher.set_max_stale(std::chrono::seconds(60));
  EXPECT_THAT(keys_of("alice", 10001, 999), ElementsAre("stale")) << "no contact ever";
  publisher.touch_contact(from_millis(900'000));
  EXPECT_EQ(keys_of("alice", 10001, 960).size(), 2u);
  EXPECT_THAT(keys_of("alice", 10001, 961), ElementsAre("stale"));
  EXPECT_EQ(keys_of("alice", 10001, 840).size(), 2u) << "a clock that was put back a little";
  EXPECT_THAT(keys_of("alice", 10001, 839), ElementsAre("stale")) << "an age that nobody knows";
  publisher.set_max_stale(std::chrono::seconds(0));
  EXPECT_EQ(keys_of("alice", 10001, 4000).size(), 2u);
}

// A node whose clock stands before the truth (empty battery, no time server) must not open again
// what ended before its last contact, nor what has not begun.
TEST_F(PublisherTest, AClockBeforeTheLastContactOpensNothingThatEnded) {
  Publisher publisher = open_publisher();
  const std::int64_t contact = to_millis(now_) / 1000;
  const auto with_bounds = [](const std::string& name, std::int64_t from, std::int64_t to) {
    posix::NodeKey key = make_key(name);
    key.not_before = from;
    key.not_after = to;
    return key;
  };
  posix::NodeUser alice = make_user(1, "alice", 10001);
  alice.keys = {with_bounds("ended", 0, contact - 100), with_bounds("ending", 0, contact + 100),
                with_bounds("began", contact - 100, 0), with_bounds("begins", contact + 100, 0)};
  posix::NodeUser bob = make_user(2, "bob", 10002);
  bob.valid_until = contact - 100;
  bob.keys = {make_key("bob")};
  ASSERT_OK(publisher.upsert_user(alice));
  ASSERT_OK(publisher.upsert_user(bob));
  ASSERT_OK(publisher.publish("c1", "e1", now_));
  publisher.touch_contact(now_);
  const auto names = [&](std::int64_t clock) {
    std::vector<std::string> out = keys_of("alice", 10001, clock);
    for (std::string& line : out) line = line.substr(line.rfind(' ') + 1);
    return out;
  };
  EXPECT_THAT(names(contact), ElementsAre("ending", "began"));
  EXPECT_THAT(names(1000), ElementsAre("ending")) << "decades ago";
  EXPECT_THAT(names(contact - 200), ElementsAre("ending"));
  EXPECT_THAT(names(contact + 200), ElementsAre("began", "begins"));
  EXPECT_THAT(keys_of("bob", 10002, 1000), ElementsAre("unknown"));

  // The NSS side has the clock of this machine: a contact in its future ends what it bounds.
  const std::int64_t now = time(nullptr);
  posix::NodeUser carol = make_user(3, "carol", 10003);
  carol.valid_until = now + 1000;
  ASSERT_OK(publisher.upsert_user(carol));
  ASSERT_OK(publisher.publish("c2", "e1", now_));
  publisher.touch_contact(from_millis(now * 1000));
  EXPECT_THAT(passwd_line("carol"), ::testing::EndsWith("/bin/bash"));
  publisher.touch_contact(from_millis((now + 2000) * 1000));
  EXPECT_THAT(passwd_line("carol"), ::testing::EndsWith("/usr/sbin/nologin"));

  // A clock that is set back takes the contact back, and not what ended; only the hub's can.
  const Timestamp late = from_millis((now + 2000) * 1000);
  const Timestamp early = from_millis((now - 5000) * 1000);
  publisher.touch_contact(early);
  EXPECT_EQ(publisher.contact(), early);
  EXPECT_THAT(passwd_line("carol"), ::testing::EndsWith("/usr/sbin/nologin"));
  publisher.touch_contact(late, early);
  EXPECT_EQ(publisher.contact(), late);
  EXPECT_THAT(passwd_line("carol"), ::testing::EndsWith("/bin/bash"));
  publisher.touch_contact(early, late);
  EXPECT_THAT(passwd_line("carol"), ::testing::EndsWith("/usr/sbin/nologin"));
  std::filesystem::remove(directory_ / "control.1");
  ASSERT_OK(publisher.publish("c2", "e1", now_));
  testing::forget_process_state();
  EXPECT_THAT(passwd_line("carol"), ::testing::EndsWith("/usr/sbin/nologin")) << "kept";
}

TEST_F(PublisherTest, PublishesNoKeysWhereNoneAreWanted) {
  PublisherOptions without = options();
  without.publish_keys = false;
  auto publisher = Publisher::open(without, now_);
  ASSERT_OK(publisher);
  publisher->set_local_rules({});
  posix::NodeUser alice = make_user(1, "alice", 10001);
  alice.keys = {make_key("one")};
  ASSERT_OK(publisher->upsert_user(alice));
  ASSERT_OK(publisher->publish("c1", "e1", now_));
  EXPECT_THAT(keys_of("alice", 10001, 1), IsEmpty());
  for (const auto& entry : std::filesystem::directory_iterator(directory_)) {
    EXPECT_FALSE(entry.path().filename().string().starts_with("key")) << entry.path();
  }
}

TEST_F(PublisherTest, FilesHaveTheirModesAndGoWhenTheirTimeIsOver) {
  Publisher publisher = open_publisher();
  posix::NodeUser alice = make_user(1, "alice", 10001);
  alice.keys = {make_key("one")};
  ASSERT_OK(publisher.upsert_user(alice));
  ASSERT_OK(publisher.publish("c1", "e1", now_));
  const auto mode = [&](const char* name) {
    struct stat status{};
    EXPECT_EQ(::stat((directory_ / name).c_str(), &status), 0) << name;
    return status.st_mode & 07777;
  };
  EXPECT_EQ(mode("control.1"), 0644u);
  EXPECT_EQ(mode("base.1.1"), 0644u);
  EXPECT_EQ(mode("delta.1.1"), 0644u);
  EXPECT_EQ(mode("keys.1.1"), 0640u);
  EXPECT_EQ(mode("keybase.1.1"), 0640u);
  ASSERT_OK(publisher.upsert_user(make_user(2, "bob", 10002)));
  ASSERT_OK(publisher.publish("c2", "e1", now_));
  EXPECT_EQ(publisher.remove_retired(now_ + std::chrono::seconds(59)),
            now_ + std::chrono::seconds(60));
  EXPECT_TRUE(std::filesystem::exists(directory_ / "delta.1.1"));
  EXPECT_EQ(publisher.remove_retired(now_ + std::chrono::seconds(60)), std::nullopt);
  EXPECT_FALSE(std::filesystem::exists(directory_ / "delta.1.1"));
  EXPECT_TRUE(std::filesystem::exists(directory_ / "base.1.1"));
}

TEST_F(PublisherTest, MergesBeforeTheDeltaCostsMoreThanABase) {
  Publisher publisher = open_publisher();
  std::uint64_t merges = 0;
  for (std::uint64_t n = 1; n <= 3000; ++n) {
    ASSERT_OK(publisher.upsert_user(
        make_user(n, "u" + std::to_string(n), static_cast<std::uint32_t>(10000 + n))));
    if (n % 10 != 0) continue;
    const auto stats = publisher.publish("c" + std::to_string(n), "e1", now_);
    ASSERT_OK(stats);
    if (stats->merged) ++merges;
  }
  EXPECT_GT(merges, 2u);
  EXPECT_LT(merges, 40u);
  EXPECT_EQ(publisher.counts().users, 3000u);
  for (std::uint32_t n = 1; n <= 3000; n += 7) {
    ASSERT_TRUE(passwd_line(uid_t{10000 + n}).starts_with("u" + std::to_string(n) + ":"));
  }
}

TEST_F(PublisherTest, RestoresWhatSomebodyWiped) {
  Publisher publisher = open_publisher();
  ASSERT_OK(publisher.upsert_user(make_user(1, "alice", 10001)));
  ASSERT_OK(publisher.publish("c1", "e1", now_));
  publisher.touch_contact(now_);
  std::filesystem::remove_all(directory_);
  const auto stats = publisher.publish("c1", "e1", now_);
  ASSERT_OK(stats);
  EXPECT_TRUE(stats->published);
  testing::forget_process_state();
  EXPECT_EQ(passwd_line("alice"), "alice:x:10001:10001:User alice:/home/alice:/bin/bash");
  EXPECT_EQ(publisher.contact(), now_);
  std::filesystem::remove(directory_ / "control.1");
  ASSERT_OK(publisher.publish("c1", "e1", now_));
  testing::forget_process_state();
  EXPECT_EQ(passwd_line("alice"), "alice:x:10001:10001:User alice:/home/alice:/bin/bash");
}

TEST_F(PublisherTest, FallsBackToTheNewestGenerationThatVerifies) {
  {
    Publisher publisher = open_publisher();
    ASSERT_OK(publisher.upsert_user(make_user(1, "alice", 10001)));
    ASSERT_OK(publisher.publish("c1", "e1", now_));
    ASSERT_OK(publisher.upsert_user(make_user(2, "bob", 10002)));
    ASSERT_OK(publisher.publish("c2", "e1", now_));
  }
  {
    std::fstream file(directory_ / "delta.1.2", std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(1100);
    file.put('\xff');
  }
  std::ofstream(directory_ / ".new.1234.0") << "half a file";
  Publisher publisher = open_publisher();
  EXPECT_EQ(publisher.cursor(), "c1");
  EXPECT_FALSE(std::filesystem::exists(directory_ / ".new.1234.0"));
  ASSERT_OK(publisher.upsert_user(make_user(3, "carol", 10003)));
  ASSERT_OK(publisher.publish("c3", "e1", now_));
  EXPECT_EQ(publisher.generation(), 3u) << "a number is never used twice";
}

/// Inverts the byte at `text` in place: under the mappings of whoever has the file.
void damage(const std::filesystem::path& file, std::string_view text) {
  const std::string content = *read_file(file, 1 << 20);
  const std::size_t at = content.find(text);
  ASSERT_NE(at, std::string::npos) << file;
  std::fstream bytes(file, std::ios::in | std::ios::out | std::ios::binary);
  bytes.seekp(static_cast<std::streamoff>(at));
  bytes.put(static_cast<char>(~text.front()));
}

// A generation that could not be read back lies in memory by halves: none of that may be published.
TEST_F(PublisherTest, PublishesNoHalfOfADamagedGeneration) {
  std::optional<Publisher> publisher(open_publisher());
  for (std::uint64_t n = 1; n <= 4; ++n) {
    ASSERT_OK(publisher->upsert_user(
        make_user(n, "u" + std::to_string(n), 10000 + static_cast<std::uint32_t>(n))));
  }
  ASSERT_OK(publisher->publish("c1", "e1", now_));
  ASSERT_OK(publisher->remove_user(1, Seq{2}));
  ASSERT_OK(publisher->upsert_user(make_user(2, "u2", 10002, {}, 2)));
  ASSERT_OK(publisher->upsert_user(make_user(5, "new", 10005)));
  ASSERT_OK(publisher->publish("c2", "e1", now_));
  damage(directory_ / "delta.1.2", "/home/u2");
  EXPECT_EQ(publisher->begin_replace().error().code, Code::kDataLoss);
  EXPECT_FALSE(publisher->replacing());
  const auto lost = [](const auto& result) {
    return !result && result.error().code == Code::kDataLoss;
  };
  EXPECT_TRUE(lost(publisher->upsert_user(make_user(3, "renamed", 10003, {}, 3))));
  EXPECT_TRUE(lost(publisher->upsert_group(make_group(7, "physics", 20007))));
  EXPECT_TRUE(lost(publisher->remove_user(3, Seq{3})));
  EXPECT_TRUE(lost(publisher->remove_group(7, Seq{3})));
  EXPECT_TRUE(lost(publisher->forget_arrivals()));
  publisher->set_local_rules({.denied_names = {"u4"}});
  EXPECT_TRUE(lost(publisher->publish("c3", "e1", now_)));
  EXPECT_EQ(passwd_line("u1"), "not found");
  EXPECT_THAT(passwd_line("new"), ::testing::StartsWith("new:"));

  publisher.reset();
  publisher.emplace(open_publisher());
  EXPECT_EQ(publisher->cursor(), "c1") << "the newest that verifies; what is newer comes again";
  ASSERT_OK(publisher->publish("c1", "e1", now_));
}

// Somebody's record that does not verify must not make others look as if they were not there: their
// removal would be no change, and they would stay.
TEST_F(PublisherTest, ADamagedRecordHidesNobodyFromARemoval) {
  Publisher publisher = open_publisher();
  for (std::uint64_t n = 1; n <= 7; ++n) {
    ASSERT_OK(publisher.upsert_user(
        make_user(n, "u" + std::to_string(n), 10000 + static_cast<std::uint32_t>(n))));
  }
  ASSERT_OK(publisher.publish("c1", "e1", now_));
  damage(directory_ / "base.1.1", "/home/u4");  // in the middle: on the way to everybody
  for (const std::uint64_t n : std::vector<std::uint64_t>{1, 4, 6}) {
    const auto removed = publisher.remove_user(n, Seq{2});
    ASSERT_FALSE(removed) << n;
    EXPECT_EQ(removed.error().code, Code::kDataLoss) << n;
    EXPECT_FALSE(publisher.upsert_user(make_user(n, "twin", 10009, {}, 2))) << n;
  }
}

TEST_F(PublisherTest, IsTheOnlyOne) {
  Publisher publisher = open_publisher();
  const auto second = Publisher::open(options(), now_);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::kFailedPrecondition);
}

TEST_F(PublisherTest, AnotherOrganizationStartsOver) {
  {
    Publisher publisher = open_publisher();
    ASSERT_OK(publisher.upsert_user(make_user(1, "alice", 10001)));
    ASSERT_OK(publisher.publish("c1", "e1", now_));
  }
  PublisherOptions other = options();
  other.org = "other";
  auto publisher = Publisher::open(other, now_);
  ASSERT_OK(publisher);
  publisher->set_local_rules({});
  EXPECT_EQ(publisher->cursor(), "");
  EXPECT_EQ(publisher->generation(), 0u);
  EXPECT_EQ(passwd_line("alice"), "alice:x:10001:10001:User alice:/home/alice:/bin/bash");
  ASSERT_OK(publisher->upsert_user(make_user(1, "bob", 10001)));
  EXPECT_TRUE(std::filesystem::exists(directory_ / "base.1.1")) << "readers have it until then";
  ASSERT_OK(publisher->publish("x1", "f1", now_));
  EXPECT_EQ(passwd_line("alice"), "not found");
  publisher->remove_retired(now_ + std::chrono::minutes(2));
  for (const char* file : {"base.1.1", "delta.1.1", "keybase.1.1", "keys.1.1"}) {
    EXPECT_FALSE(std::filesystem::exists(directory_ / file)) << file << ": not until a restart";
  }
}

}  // namespace
}  // namespace roster::nsscache
