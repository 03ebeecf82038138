#include "sync/run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <map>
#include <set>

#include "http/respond.h"
#include "sync/destination.h"
#include "sync/report.h"
#include "sync/scim_source.h"
#include "sync/testing/fake_directory.h"
#include "sync/testing/gathered.h"

namespace roster::sync {
namespace {

using reconcile::Group;
using reconcile::Person;
using ::testing::ElementsAre;
using testing::FakeDirectory;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using testing::status_only;
using ::testing::UnorderedElementsAre;

void fixed_random(std::span<std::uint8_t> out) { std::ranges::fill(out, std::uint8_t{1}); }

/// A source that says what it is told to.
class Told final : public Source {
 public:
  std::vector<Person> people;
  std::vector<Group> groups;
  std::string describe() const override { return "told"; }
  Result<void> read(const Intake& intake) override {
    for (const Group& group : groups) intake.group(group);
    for (const Person& person : people) intake.person(person);
    return {};
  }
};

class SyncTest : public ::testing::Test {
 protected:
  SyncTest() {
    options.server.url = directory.url();
    options.server.token = Secret("t-1");
    options.server.retry_delay = std::chrono::milliseconds(7);
    options.parallel = 4;
  }

  scim_client::Pause pause() {
    return [this](std::chrono::milliseconds time) {
      if (time.count() > 0) waited = time;
      return stopping.load();
    };
  }

  Person& add_person(const std::string& key) {
    Person person{.key = key, .user_name = key + "@example.org"};
    person.ssh_keys.emplace({"ssh-ed25519 " + key});
    told.people.push_back(std::move(person));
    return told.people.back();
  }

  Result<Prepared> plan() {
    Destination destination(options, pause());
    return prepare(told, destination, run_options, fixed_random,
                   [](std::string_view, std::size_t, std::size_t) {});
  }

  Outcome run() {
    auto made = plan();
    EXPECT_TRUE(made) << made.error().message;
    prepared = std::move(*made);
    return Destination(options, pause()).apply(prepared.plan, [] {});
  }

  void expect_nothing_to_do() {
    const auto again = plan();
    ASSERT_TRUE(again) << again.error().message;
    EXPECT_EQ(again->plan.steps(), 0U) << plan_text(*again);
  }

  FakeDirectory directory;
  DestinationOptions options;
  RunOptions run_options;
  Told told;
  Prepared prepared;
  std::atomic<bool> stopping = false;
  std::atomic<std::chrono::milliseconds> waited{};
};

TEST_F(SyncTest, CarriesPeopleAndGroups) {
  Person& alice = add_person("alice");
  alice.text(reconcile::Text::kEmail) = "alice@example.org";
  alice.text(reconcile::Text::kGivenName) = "Alice";
  add_person("bob");
  told.groups.push_back({"dev", "Developers", {"alice", "bob"}});
  EXPECT_TRUE(run().whole());
  EXPECT_THAT(directory.people(), SizeIs(2));
  expect_nothing_to_do();

  told.people[0].text(reconcile::Text::kEmail) = "";
  told.people[0].ssh_keys->clear();
  told.people.pop_back();
  told.groups[0].members = {"alice"};
  EXPECT_TRUE(run().whole());
  EXPECT_FALSE(directory.person("bob@example.org").at("active").get_bool());
  EXPECT_FALSE(directory.person("alice@example.org").contains("emails"));
  expect_nothing_to_do();
}

TEST_F(SyncTest, NeverSeesWhatLacksThePrefix) {
  for (const bool filters : {true, false}) {
    directory.set_filters(filters);
    directory.add("Users", {{"userName", "x"}, {"externalId", "okta:user:1"}});
    directory.add("Users", {{"userName", "y"}, {"externalId", "roster:"}});
    directory.add("Users", {{"userName", "z"}});
    directory.add("Groups", {{"displayName", "g"}, {"externalId", "roster:user:1"}});
    const auto made = plan();
    ASSERT_TRUE(made);
    EXPECT_EQ(made->plan.counts.held_people, 0U);
    EXPECT_EQ(made->plan.steps(), 0U);
  }
}

TEST_F(SyncTest, AServerThatRefusesTheFilterIsReadWhole) {
  add_person("alice");
  EXPECT_TRUE(run().whole());
  directory.set_intercept([](const http::Request& request) -> std::optional<FakeDirectory::Lie> {
    if (!request.query.contains("filter=")) return std::nullopt;
    return FakeDirectory::Lie{status_only(400)};
  });
  expect_nothing_to_do();
}

TEST_F(SyncTest, TakesOverFromPwActivateScimSyncInPlace) {
  options.prefix = "pw-activate:";
  options.replace_members = true;
  const std::string id = directory.add(
      "Users", {{"userName", "alice@example.org"},
                {"externalId", "pw-activate:user:alice"},
                {"urn:coreweave:params:scim:schemas:extension:coreweave:2.0:CoreWeaveUser",
                 json::object{{"sunkSshKeys", json::array{"ssh-ed25519 alice a comment"}}}}});
  directory.add("Groups", {{"displayName", "dev"},
                           {"externalId", "pw-activate:group:7"},
                           {"members", json::array{json::object{{"value", json::string(id)}},
                                                   json::object{{"value", "stranger"}}}}});
  add_person("alice");
  told.groups.push_back({"7", "dev", {"alice"}});
  expect_nothing_to_do();

  add_person("bob");
  told.groups[0].members = {"bob"};
  EXPECT_TRUE(run().whole());
  const json::object group = directory.groups().begin()->second;
  std::vector<std::string> members;
  for (const json::value& member : group.at("members").get_array()) {
    members.emplace_back(*json::find_string(member.get_object(), "value"));
  }
  EXPECT_THAT(members,
              UnorderedElementsAre("stranger",
                                   *json::find_string(directory.person("bob@example.org"), "id")));
  expect_nothing_to_do();
}

// A cursor that expires, say: what came before must not be held twice, and locked as double.
TEST_F(SyncTest, AListThatBreaksInTheMiddleLocksNobody) {
  for (int i = 0; i < 1'200; ++i) {
    directory.add("Users", {{"userName", json::string("p" + std::to_string(i))},
                            {"externalId", json::string("roster:user:p" + std::to_string(i))}});
  }
  directory.set_intercept([](const http::Request& request) -> std::optional<FakeDirectory::Lie> {
    const bool later = request.query.contains("filter=") &&
                       !request.query.contains("startIndex=1&") &&
                       !request.query.ends_with("startIndex=1");
    if (request.method != "GET" || !later) return std::nullopt;
    return FakeDirectory::Lie{status_only(400)};
  });
  const auto made = plan();
  ASSERT_FALSE(made);
  EXPECT_THAT(made.error().message, HasSubstr("400"));
}

/// A source of 12 people, p00 to p11, in pages of 5.
class PagedSourceTest : public SyncTest {
 protected:
  PagedSourceTest() {
    server.url = source.url();
    server.token = Secret("t-1");
    server.tries = 1;
    source.set_page_max(5);
    for (int i = 0; i < 12; ++i) add(i);
  }
  static std::string name(int i) { return (i < 10 ? "p0" : "p") + std::to_string(i); }
  void add(int i) {
    source.add(
        "Users",
        {{"id", json::string(name(i))}, {"userName", json::string(name(i))}, {"active", true}});
  }
  /// Whenever somebody asks for what follows the first page.
  void before_the_second_page(std::function<void()> what) {
    source.set_intercept([what = std::move(what)](
                             const http::Request& request) -> std::optional<FakeDirectory::Lie> {
      const auto query = http::Query::parse(request.query);
      if (request.path.ends_with("/Users") && query->get("startIndex") != "1") what();
      return std::nullopt;
    });
  }
  Result<std::set<std::string>> read(bool overlap = true) {
    const auto scim = open_scim({.server = server, .overlap = overlap}, pause());
    testing::Gathered gathered;
    const Intake intake = gathered.intake();
    RETURN_IF_ERROR((*scim)->read(intake));
    hidden = gathered.hidden;
    kept = gathered.kept;
    people = gathered.people;
    std::set<std::string> names;
    for (const auto& [key, person] : gathered.people) names.insert(person.user_name);
    return names;
  }

  FakeDirectory source;
  scim_client::Options server;
  std::string hidden;
  std::map<std::string, std::string> kept;
  std::map<std::string, Person> people;
};

TEST_F(PagedSourceTest, PagesThatOverlapGiveEverybodyOnce) {
  for (const std::size_t page : {1U, 2U, 5U, 11U, 12U, 100U}) {
    source.set_page_max(page);
    EXPECT_THAT(*read(), SizeIs(12)) << page;
    EXPECT_THAT(*read(/*overlap=*/false), SizeIs(12)) << page;
  }
}

// One goes and one comes between two pages: the total stays, and p05 was on neither page.
TEST_F(PagedSourceTest, AListThatMovedUnderItsTotalIsNotBelieved) {
  std::atomic<bool> moved = false;
  before_the_second_page([&] {
    if (moved.exchange(true)) return;
    source.erase("Users", "p02");
    add(12);
  });
  const auto names = read();
  ASSERT_FALSE(names);
  EXPECT_EQ(names.error().keyword, kChanged);
  EXPECT_THAT(*read(), SizeIs(12)) << "and now it rests";
}

TEST_F(PagedSourceTest, AListThatGivesSomebodyTwiceIsNotBelieved) {
  source.set_intercept([](const http::Request& request) -> std::optional<FakeDirectory::Lie> {
    if (!request.path.ends_with("/Users")) return std::nullopt;
    json::array twice;
    for (const char* name : {"a", "b", "a"}) {
      twice.push_back(json::object{{"id", name}, {"userName", name}, {"active", true}});
    }
    return FakeDirectory::Lie{
        http::json_response(200, json::object{{"totalResults", 3}, {"Resources", twice}})};
  });
  const auto names = read();
  ASSERT_FALSE(names);
  EXPECT_THAT(names.error().message, HasSubstr("somebody twice"));
}

TEST_F(PagedSourceTest, WhoIsLockedIsSoWhateverElseCannotBeRead) {
  source.add("Users", {{"id", "x"}, {"active", "False"}});
  source.add("Users", {{"id", "y"}, {"active", true}});
  source.add("Users", {{"id", "z"}, {"userName", "z"}, {"active", "perhaps"}});
  EXPECT_THAT(*read(), SizeIs(13));
  EXPECT_FALSE(people.at("x").active);
  EXPECT_THAT(kept, SizeIs(2));
  EXPECT_EQ(hidden, "");
}

TEST_F(PagedSourceTest, AServerWithoutActiveHidesWhoIsLocked) {
  for (int i = 0; i < 12; ++i) source.erase("Users", name(i));
  source.add("Users", {{"id", "a"}, {"userName", "a"}, {"active", nullptr}});
  EXPECT_THAT(*read(), SizeIs(1));
  EXPECT_THAT(hidden, HasSubstr("`active` of nobody"));
  // Of one that leaves out what is false, say, nobody knows who lacks it.
  source.add("Users", {{"id", "b"}, {"userName", "b"}});
  EXPECT_THAT(*read(), ElementsAre("b"));
  EXPECT_EQ(hidden, "");
  EXPECT_THAT(kept.at("a"), HasSubstr("without `active`, which others have"));
}

TEST_F(PagedSourceTest, AGroupThatCannotBeReadWholeIsNotTold) {
  const auto member = [](const char* id) { return json::object{{"value", id}}; };
  source.add("Groups", {{"id", "g1"},
                        {"displayName", "dev"},
                        {"members", json::array{json::object{{"display", "x"}}, member("p01")}}});
  source.add("Groups", {{"id", "g2"}, {"displayName", "ops"}, {"members", member("p01")}});
  source.add("Groups", {{"id", "g3"}, {"members", json::array{member("p01")}}});
  source.add("Groups",
             {{"id", "g4"}, {"displayName", "all"}, {"members", json::array{member("g1")}}});
  source.add("Groups", {{"id", "g5"}, {"displayName", "empty"}, {"members", nullptr}});
  const auto scim = open_scim({.server = server}, pause());
  testing::Gathered gathered;
  ASSERT_TRUE((*scim)->read(gathered.intake()));
  EXPECT_THAT(gathered.groups, SizeIs(1));
  EXPECT_TRUE(gathered.groups.contains("g5"));
  EXPECT_THAT(gathered.kept_groups, SizeIs(4));

  // With a selection, nobody of them is taken for gone.
  directory.add("Users", {{"userName", "p01"}, {"externalId", "roster:user:p01"}});
  source.add("Groups",
             {{"id", "g6"}, {"displayName", "good"}, {"members", json::array{member("p02")}}});
  Destination destination(options, pause());
  for (const char* group : {"dev", "ops", "all", "nameless"}) {
    run_options.groups = {"good", group};
    const auto made = prepare(**scim, destination, run_options, fixed_random,
                              [](std::string_view, std::size_t, std::size_t) {});
    ASSERT_TRUE(made) << made.error().message;
    EXPECT_EQ(made->plan.counts.deactivated, 0U) << group;
    EXPECT_EQ(made->plan.counts.created, 1U) << group;
  }
}

TEST_F(SyncTest, ADestinationThatShowsActiveOfNobodyIsStillGivenKeys) {
  add_person("alice").ssh_keys = {"ssh-ed25519 NEW"};
  directory.add("Users", {{"userName", "alice@example.org"},
                          {"externalId", "roster:user:alice"},
                          {"active", nullptr}});
  EXPECT_TRUE(run().whole());
  ASSERT_THAT(prepared.plan.problems, SizeIs(1));
  EXPECT_THAT(prepared.plan.problems[0].sentence, HasSubstr("`active` of nobody"));
  EXPECT_THAT(json::serialize(directory.person("alice@example.org")), HasSubstr("NEW"));
}

TEST_F(PagedSourceTest, KeysInAnotherFormAreNotNone) {
  constexpr std::string_view kUrn =
      "urn:coreweave:params:scim:schemas:extension:coreweave:2.0:CoreWeaveUser";
  const json::object one{{"sunkSshKeys",
                          "ssh-ed25519 "
                          "AAAAC3NzaC1lZDI1NTE5AAAAIJkRyIjPyoq7nKHnuZe9ZKzuWD2RtPvxd"
                          "6pgfeiQzQpC"}};
  const json::object other{{"sunkSshKeys", json::array{json::object{{"value", "ssh-ed25519"}}}}};
  source.add("Users", {{"id", "x"}, {"userName", "x"}, {kUrn, one}});
  source.add("Users", {{"id", "y"}, {"userName", "y"}, {kUrn, other}});
  EXPECT_THAT(*read(), SizeIs(13));
  EXPECT_THAT(*people.at("x").ssh_keys, SizeIs(1));
  EXPECT_THAT(kept.at("y"), HasSubstr("sunkSshKeys"));
}

TEST_F(SyncTest, ARecordThatCannotBeReadThereStaysAndTheRestGoesOn) {
  add_person("alice");
  add_person("bob");
  add_person("carol").active = false;
  directory.add("Users", {{"externalId", "roster:user:alice"}});
  directory.add("Users", {{"userName", "eve"}, {"externalId", "roster:user:eve"}});
  directory.add("Users",
                {{"userName", "carol"}, {"externalId", "roster:user:carol"}, {"active", nullptr}});
  directory.add("Groups", {{"displayName", "dev"},
                           {"externalId", "roster:group:dev"},
                           {"members", json::array{"id1", "id2"}}});
  told.groups.push_back({"dev", "dev", {"alice", "bob"}});
  const Outcome outcome = run();
  EXPECT_TRUE(outcome.whole());
  EXPECT_THAT(prepared.plan.problems, SizeIs(3));
  EXPECT_THAT(directory.writes(),
              UnorderedElementsAre("PATCH /Users/id2", "PATCH /Users/id3", "POST /Users"));
  EXPECT_FALSE(directory.person("eve").at("active").get_bool()) << "who left is locked";
  EXPECT_FALSE(directory.person("carol").at("active").get_bool()) << "who is locked, too";
}

TEST_F(SyncTest, ANewGroupOfManyIsWrittenWholeWhereItMustBe) {
  options.replace_members = true;
  told.groups.push_back({"all", "all", {}});
  for (int i = 0; i < 1'100; ++i) {
    told.groups[0].members.push_back(add_person("p" + std::to_string(i)).key);
  }
  EXPECT_TRUE(run().whole());
  EXPECT_THAT(directory.groups().begin()->second.at("members").get_array(), SizeIs(1'100));
  expect_nothing_to_do();
}

// A server that cannot take single members out, and says so.
TEST_F(SyncTest, AGroupThatKeepsALeaverKeepsItsName) {
  add_person("alice");
  add_person("bob");
  told.groups.push_back({"g", "dev", {"alice", "bob"}});
  EXPECT_TRUE(run().whole());
  told.groups[0] = {"g", "admins", {"alice"}};
  directory.set_intercept([](const http::Request& request) -> std::optional<FakeDirectory::Lie> {
    if (!request.body.contains("members[")) return std::nullopt;
    return FakeDirectory::Lie{status_only(400)};
  });
  EXPECT_THAT(run().failures, SizeIs(2));
  EXPECT_EQ(*json::find_string(directory.groups().begin()->second, "displayName"), "dev");
}

TEST_F(SyncTest, ANameThatWasThereBeforeIsNoCreation) {
  add_person("alice");
  directory.add("Users", {{"userName", "alice@example.org"}, {"externalId", "roster:user:alice"}});
  // The list does not tell of her, because she is locked there.
  directory.set_intercept([](const http::Request& request) -> std::optional<FakeDirectory::Lie> {
    if (request.method != "GET" || !request.query.contains("sw")) return std::nullopt;
    return FakeDirectory::Lie{
        http::json_response(200, json::object{{"totalResults", 0}, {"Resources", json::array{}}})};
  });
  const Outcome outcome = run();
  ASSERT_THAT(outcome.failures, SizeIs(1));
  EXPECT_THAT(outcome.failures[0].sentence, HasSubstr("409"));
}

TEST_F(SyncTest, OneRecordThatAlwaysFailsDoesNotEndTheRun) {
  options.parallel = 1;
  for (int i = 0; i < 8; ++i) add_person("p" + std::to_string(i));
  directory.set_intercept([](const http::Request& request) -> std::optional<FakeDirectory::Lie> {
    if (request.method != "POST" || request.body.contains("p7@")) return std::nullopt;
    return FakeDirectory::Lie{status_only(500)};
  });
  const Outcome outcome = run();
  EXPECT_EQ(outcome.done, 1U);
  EXPECT_THAT(outcome.failures, SizeIs(7));
  EXPECT_EQ(outcome.not_tried, 0U);
}

TEST_F(SyncTest, WaitsAsLongAsTheServerAsks) {
  add_person("alice");
  std::atomic<int> left = 2;
  directory.set_intercept(
      [&left](const http::Request& request) -> std::optional<FakeDirectory::Lie> {
        if (request.method != "POST" || left-- <= 0) return std::nullopt;
        http::Response busy = status_only(429);
        busy.headers.set("Retry-After", "3");
        return FakeDirectory::Lie{std::move(busy)};
      });
  EXPECT_TRUE(run().whole());
  EXPECT_EQ(waited.load(), std::chrono::seconds(3));
  EXPECT_THAT(directory.people(), SizeIs(1));
}

TEST_F(SyncTest, ACreationWhoseAnswerWasLostIsFoundAgain) {
  add_person("alice");
  told.groups.push_back({"dev", "dev", {"alice"}});
  directory.set_intercept([](const http::Request& request) -> std::optional<FakeDirectory::Lie> {
    if (request.method != "POST") return std::nullopt;
    return FakeDirectory::Lie{status_only(502), /*carry_out=*/true};
  });
  EXPECT_TRUE(run().whole());
  directory.set_intercept(nullptr);
  EXPECT_THAT(directory.people(), SizeIs(1));
  EXPECT_THAT(directory.groups(), SizeIs(1));
  expect_nothing_to_do();
}

TEST_F(SyncTest, WhatFailsIsNamedAndTheRestIsDone) {
  add_person("alice");
  add_person("bob");
  told.groups.push_back({"dev", "dev", {"alice", "bob"}});
  directory.add("Users", {{"userName", "bob@example.org"}});
  const Outcome outcome = run();
  EXPECT_EQ(outcome.done, 1U);
  ASSERT_THAT(outcome.failures, SizeIs(2));
  EXPECT_EQ(outcome.failures[0].step->name, "bob@example.org");
  EXPECT_THAT(outcome.failures[0].sentence, HasSubstr("409"));
  EXPECT_THAT(outcome.failures[1].sentence, HasSubstr("could not be created: bob"));
  EXPECT_THAT(outcome_text(prepared, outcome), HasSubstr("failed: create bob@example.org"));
  const json::object group = directory.groups().begin()->second;
  EXPECT_THAT(group.at("members").get_array(), SizeIs(1));
}

TEST_F(SyncTest, NobodyComesBackIntoAGroupTheyLeft) {
  add_person("alice");
  told.groups.push_back({"dev", "dev", {"alice"}});
  EXPECT_TRUE(run().whole());
  const std::string id(*json::find_string(directory.person("alice@example.org"), "id"));
  // Somebody locked her by hand; meanwhile she left the group.
  json::object locked = directory.person("alice@example.org");
  locked["active"] = false;
  directory.add("Users", locked);
  told.groups[0].members.clear();
  directory.set_intercept([](const http::Request& request) -> std::optional<FakeDirectory::Lie> {
    if (request.method != "PATCH" || !request.path.contains("/Groups/")) return std::nullopt;
    return FakeDirectory::Lie{status_only(400)};
  });
  const Outcome outcome = run();
  EXPECT_EQ(outcome.done, 0U);
  EXPECT_THAT(outcome.failures, SizeIs(2));
  EXPECT_FALSE(directory.person("alice@example.org").at("active").get_bool());
  directory.set_intercept(nullptr);
  EXPECT_TRUE(run().whole());
  EXPECT_TRUE(directory.person("alice@example.org").at("active").get_bool());
  expect_nothing_to_do();
}

TEST_F(SyncTest, ARefusedTokenEndsTheRunAtOnce) {
  for (int i = 0; i < 50; ++i) add_person("p" + std::to_string(i));
  options.parallel = 1;
  directory.set_intercept([](const http::Request& request) -> std::optional<FakeDirectory::Lie> {
    if (request.method == "GET") return std::nullopt;
    return FakeDirectory::Lie{status_only(401)};
  });
  const Outcome outcome = run();
  EXPECT_THAT(outcome.failures, SizeIs(1));
  EXPECT_EQ(outcome.not_tried, 49U);
  EXPECT_THAT(outcome.cut_off, HasSubstr("401"));
}

TEST_F(SyncTest, AServerThatIsDownEndsTheRun) {
  for (int i = 0; i < 50; ++i) add_person("p" + std::to_string(i));
  options.parallel = 1;
  directory.set_intercept([](const http::Request& request) -> std::optional<FakeDirectory::Lie> {
    if (request.method == "GET" && !request.query.contains("eq")) return std::nullopt;
    return FakeDirectory::Lie{status_only(503)};
  });
  const Outcome outcome = run();
  EXPECT_THAT(outcome.failures, SizeIs(3));
  EXPECT_EQ(outcome.not_tried, 47U);
}

TEST_F(SyncTest, StopsBetweenRequestsAndGoesOnTheNextTime) {
  for (int i = 0; i < 50; ++i) add_person("p" + std::to_string(i));
  options.parallel = 2;
  std::atomic<int> posts = 0;
  directory.set_intercept(
      [this, &posts](const http::Request& request) -> std::optional<FakeDirectory::Lie> {
        if (request.method == "POST" && ++posts == 10) stopping = true;
        return std::nullopt;
      });
  const Outcome outcome = run();
  EXPECT_GT(outcome.not_tried, 30U);
  EXPECT_EQ(outcome.done, directory.people().size());
  stopping = false;
  EXPECT_TRUE(run().whole());
  EXPECT_THAT(directory.people(), SizeIs(50));
  expect_nothing_to_do();
}

TEST_F(SyncTest, NoMoreRequestsAtOnceThanAllowed) {
  for (int i = 0; i < 60; ++i) add_person("p" + std::to_string(i));
  options.parallel = 3;
  EXPECT_TRUE(run().whole());
  EXPECT_LE(directory.most_at_once(), 3U);
}

TEST_F(SyncTest, ManyMembersComeInPieces) {
  told.groups.push_back({"all", "all", {}});
  for (int i = 0; i < 1'250; ++i) {
    const std::string key = "p" + std::to_string(i);
    add_person(key);
    told.groups[0].members.push_back(key);
  }
  EXPECT_TRUE(run().whole());
  expect_nothing_to_do();
  told.groups[0].members.resize(1'030);
  EXPECT_TRUE(run().whole());
  expect_nothing_to_do();
}

TEST_F(SyncTest, AListThatEndsTooEarlyIsNotBelieved) {
  add_person("alice");
  EXPECT_TRUE(run().whole());
  directory.set_intercept([](const http::Request& request) -> std::optional<FakeDirectory::Lie> {
    if (!request.path.contains("/Users")) return std::nullopt;
    return FakeDirectory::Lie{http::json_response(
        200, json::object{{"totalResults", 5}, {"itemsPerPage", 5}, {"Resources", json::array{}}})};
  });
  const auto made = plan();
  ASSERT_FALSE(made);
  EXPECT_THAT(made.error().message, HasSubstr("destination: "));
}

TEST_F(SyncTest, AGroupScopeIsHard) {
  add_person("alice");
  add_person("bob");
  told.groups.push_back({"dev", "dev", {"alice"}});
  told.groups.push_back({"ops", "ops", {"bob"}});
  run_options.groups = {"dev", "missing"};
  EXPECT_TRUE(run().whole());
  EXPECT_THAT(directory.people(), SizeIs(1));
  EXPECT_THAT(directory.groups(), SizeIs(1));
  ASSERT_THAT(prepared.warnings, SizeIs(1));
  EXPECT_EQ(prepared.warnings[0].subject, "group missing");
  run_options.groups = {"missing"};
  const auto made = plan();
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, Code::kFailedPrecondition);
}

/// A source in which one group, or a part of it, and bob cannot be read; carol is locked.
class HalfRead final : public Source {
 public:
  bool in_part = false;
  std::string describe() const override { return "half"; }
  Result<void> read(const Intake& intake) override {
    intake.group({"dev", "dev", {"alice"}});
    intake.keep_group("ops", {"group ops", "cannot be read"});
    if (in_part) intake.group({"ops", "ops", {"dave"}});
    intake.person({.key = "alice", .user_name = "alice@example.org"});
    intake.person({.key = "carol", .user_name = "carol@example.org", .active = false});
    intake.person({.key = "dave", .user_name = "dave@example.org"});
    intake.keep("bob", {"person bob", "cannot be read"});
    return {};
  }
};

TEST_F(SyncTest, AScopeWithAnUnreadableGroupLocksWhoIsSaidToBeLockedOnly) {
  for (const char* key : {"bob", "carol", "eve"}) {
    directory.add("Users", {{"userName", json::string(std::string(key) + "@example.org")},
                            {"externalId", json::string("roster:user:" + std::string(key))}});
  }
  HalfRead source;
  Destination destination(options, pause());
  const auto planned = [&](std::vector<std::string> groups) {
    run_options.groups = std::move(groups);
    run_options.plan.accept_shrink = true;
    const auto made = prepare(source, destination, run_options, fixed_random,
                              [](std::string_view, std::size_t, std::size_t) {});
    EXPECT_TRUE(made) << made.error().message;
    std::set<std::string> acts;
    for (const auto& stage : made->plan.stages) {
      for (const auto& step : stage.steps) {
        acts.insert(std::string(name_of(step.act)) + " " + step.key);
      }
    }
    return acts;
  };
  for (const auto& groups : {std::vector<std::string>{"dev", "ops"}, {"ops"}}) {
    source.in_part = false;
    auto acts = planned(groups);
    EXPECT_TRUE(acts.contains("deactivate carol"));
    EXPECT_FALSE(acts.contains("deactivate bob") || acts.contains("deactivate eve"));
    EXPECT_FALSE(acts.contains("create dave"));
    source.in_part = true;
    acts = planned(groups);
    EXPECT_TRUE(acts.contains("deactivate carol") && acts.contains("create dave"));
    EXPECT_FALSE(acts.contains("deactivate bob") || acts.contains("deactivate eve"));
  }
  EXPECT_THAT(planned({"dev"}),
              UnorderedElementsAre("create alice", "create group dev", "deactivate bob",
                                   "deactivate carol", "deactivate eve"));
}

// The last key of somebody who has nothing else in the extension goes with the extension.
TEST_F(SyncTest, WhoLostTheLastKeyLosesItEverywhere) {
  constexpr std::string_view kUrn =
      "urn:coreweave:params:scim:schemas:extension:coreweave:2.0:CoreWeaveUser";
  constexpr std::string_view kKey =
      "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJkRyIjPyoq7nKHnuZe9ZKzuWD2RtPvxd6pgfeiQzQpC";
  FakeDirectory source;
  const json::object keys{{"sunkSshKeys", json::array{json::string(kKey)}}};
  source.add("Users", {{"id", "a"}, {"userName", "alice"}});
  scim_client::Options source_options;
  source_options.url = source.url();
  source_options.token = Secret("t-1");
  const auto tell = [&] {
    std::map<std::string, std::optional<std::size_t>> counts;
    const auto scim = open_scim({.server = source_options}, pause());
    const auto read = (*scim)->read({.group = [](Group) {},
                                     .person =
                                         [&](Person person) {
                                           counts[person.key] =
                                               person.ssh_keys
                                                   ? std::optional(person.ssh_keys->size())
                                                   : std::nullopt;
                                         },
                                     .keep = [](std::string, const reconcile::Problem&) {},
                                     .keep_group = [](std::string, const reconcile::Problem&) {},
                                     .hide_locks = [](const reconcile::Problem&) {},
                                     .warn = [](const reconcile::Problem&) {}});
    EXPECT_TRUE(read);
    return counts;
  };
  EXPECT_EQ(tell()["a"], std::nullopt) << "a server without keys";
  source.add("Users", {{"id", "b"}, {"userName", "bob"}, {kUrn, keys}});
  EXPECT_EQ(tell()["a"], 0U);
  EXPECT_EQ(tell()["b"], 1U);
}

TEST_F(SyncTest, HomesAndShellsAreCarriedOnRequestOnly) {
  Person& alice = add_person("alice");
  alice.text(reconcile::Text::kShell) = "/bin/zsh";
  EXPECT_TRUE(run().whole());
  expect_nothing_to_do();
  run_options.homes_and_shells = true;
  EXPECT_TRUE(run().whole());
  EXPECT_THAT(json::serialize(directory.person("alice@example.org")), HasSubstr("/bin/zsh"));
}

TEST_F(SyncTest, AScimSourceFlattensGroupsAndLeavesBadKeysOut) {
  FakeDirectory source;
  constexpr std::string_view kKey =
      "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJkRyIjPyoq7nKHnuZe9ZKzuWD2RtPvxd6pgfeiQzQpC";
  source.add("Users",
             {{"id", "a"},
              {"userName", "alice"},
              {"urn:coreweave:params:scim:schemas:extension:coreweave:2.0:CoreWeaveUser",
               json::object{{"sunkSshKeys", json::array{json::string(kKey), "not a key"}}}}});
  source.add("Users", {{"id", "b"}});
  source.add("Groups", {{"id", "g"},
                        {"displayName", "dev"},
                        {"members", json::array{json::object{{"value", "h"}}}}});
  source.add("Groups", {{"id", "h"},
                        {"displayName", "ops"},
                        {"members",
                         json::array{json::object{{"value", "g"}}, json::object{{"value", "a"}}}}});
  scim_client::Options source_options;
  source_options.url = source.url();
  source_options.token = Secret("t-1");
  const auto scim = open_scim({.server = source_options}, pause());
  ASSERT_TRUE(scim);
  std::vector<std::string> seen;
  const auto read = (*scim)->read(
      {.group = [&](Group group) { seen.push_back(group.name + ":" + group.members.at(0)); },
       .person =
           [&](Person person) {
             seen.push_back(person.key + " " + std::to_string(person.ssh_keys->size()));
           },
       .keep = [&](std::string key, const reconcile::Problem&) { seen.push_back("kept " + key); },
       .keep_group = [&](std::string key,
                         const reconcile::Problem&) { seen.push_back("kept " + key); },
       .hide_locks = [](const reconcile::Problem&) {},
       .warn = [&](const reconcile::Problem& p) { seen.push_back("warned " + p.subject); }});
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_THAT(seen, UnorderedElementsAre("dev:a", "ops:a", "warned person alice", "a 1", "kept b"));
}

}  // namespace
}  // namespace roster::sync
