#include "mirror/pass.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include "base/fd.h"
#include "base/file.h"
#include "base/json.h"
#include "mirror/files.h"
#include "mirror/lock.h"
#include "mirror/testing/fake_scim.h"
#include "mirror/testing/guide.h"
#include "mirror/verify.h"

namespace roster::mirror {
namespace {

using std::chrono::milliseconds;
using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::FakeScim;
using testing::group;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::json_list;
using ::testing::Not;
using testing::person;
using testing::person_with_keys;

constexpr const char* kKey =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f alice@laptop";

std::string in_json(std::string_view text) { return '"' + std::string(text) + '"'; }

class MirrorTest : public ::testing::Test {
 protected:
  MirrorTest() {
    std::filesystem::path pattern = std::filesystem::temp_directory_path() / "roster-mirror-XXXXXX";
    std::string name = pattern.string();
    CHECK(::mkdtemp(name.data()) != nullptr);
    directory_ = name;
    people({person_with_keys("alice", 20001, in_json(kKey)), person("bob", 20002)});
    scim_.set_groups({group("eng", 30001, {"alice", "bob"}), group("ops", 30002, {})});
  }
  ~MirrorTest() override { std::filesystem::remove_all(directory_); }

  void people(std::vector<std::string> resources) { scim_.set_people(std::move(resources)); }

  std::string conf(const std::string& in_default = "") const {
    std::string text(testing::kGuideConf);
    const auto replace = [&text](std::string_view from, const std::string& to) {
      text.replace(text.find(from), from.size(), to);
    };
    replace("https://activate.example.org/api/organizations/lab/scim/v2", scim_.url());
    replace("timestamp_dir = /var/lib/nsscache", "timestamp_dir = " + directory_.string());
    replace("files_dir = /etc/nsscache", "files_dir = " + directory_.string());
    replace("scim_retry_delay = 5", "scim_retry_delay = 1");
    replace("[DEFAULT]\n", "[DEFAULT]\n" + in_default);
    return text;
  }

  /// One pass over so many people who are all in one group; the people.
  std::vector<std::string> pass_of_a_group(std::uint32_t size) {
    std::vector<std::string> many;
    std::vector<std::string> names;
    for (std::uint32_t i = 0; i < size; ++i) {
      names.push_back("user" + std::to_string(i));
      many.push_back(person(names.back(), 20000 + i));
    }
    people(many);
    scim_.set_groups({group("eng", 30001, names)});
    EXPECT_TRUE(run().ok());
    return many;
  }

  PassResult run(const PassOptions& options, const std::string& in_default = "",
                 std::string_view maps = "") {
    auto settings = parse_settings(conf(in_default), "t-1", maps);
    CHECK(settings.has_value());
    return run_pass(
        *settings, options,
        [this](milliseconds time) {
          if (time > milliseconds(0)) pauses_.push_back(time);
          return stopped_;
        },
        [this] { return now_; });
  }
  PassResult run() { return run(PassOptions{}); }

  std::string file(const std::string& name) const {
    const auto text = read_file(directory_ / name, 1 << 20);
    return text ? *text : "no file";
  }
  std::string map(const std::string& name) const { return file(name + ".cache"); }
  std::uint64_t inode(const std::string& name) const {
    struct stat status{};
    CHECK(::stat((directory_ / name).c_str(), &status) == 0);
    return status.st_ino;
  }
  static std::string reasons(const PassResult& result) {
    std::string all;
    for (const Refusal& refusal : result.refusals) {
      all += refusal.kind + " " + refusal.name + ": " + refusal.reason + "\n";
    }
    return all;
  }
  static std::string error_of(const PassResult& result) {
    return result.error ? result.error->message : "no error";
  }
  static const MapResult& of(const PassResult& result, Map map) {
    const auto found = std::ranges::find(result.maps, map, &MapResult::map);
    CHECK(found != result.maps.end());
    return *found;
  }

  FakeScim scim_;
  std::filesystem::path directory_;
  std::vector<milliseconds> pauses_;
  bool stopped_ = false;
  Timestamp now_ = from_millis(1'763'712'000'000);
};

/// A target that remembers what it was given.
class FakeTarget final : public Target {
 public:
  std::string_view name() const override { return "fake"; }
  bool is_current(const std::string& mark) override { return mark == std::to_string(given_); }
  Result<std::string> publish(const Settings&, Roll& roll) override {
    people = roll.people.size();
    return std::to_string(++given_);
  }
  Result<void> confirm(const Settings&) override {
    ++confirmed;
    return {};
  }
  Result<void> follow_files(const Settings&) override {
    ++followed;
    if (std::exchange(refuses, false)) return fail(Code::kInternal, "somebody was faster");
    return {};
  }
  Result<void> lock(const std::vector<Person>& inactive) override {
    for (const Person& person : inactive) locked.emplace_back(person.name);
    return {};
  }
  std::size_t people = 0;
  int confirmed = 0;
  std::atomic<int> followed = 0;
  std::vector<std::string> locked;
  bool refuses = false;  // to follow, once

 private:
  int given_ = 0;
};

TEST_F(MirrorTest, WritesTheMapsOfTheGuide) {
  const PassResult result = run();
  EXPECT_TRUE(result.ok()) << result.to_json(now_);
  EXPECT_EQ(map("passwd"),
            "alice:x:20001:30000:alice Example:/mnt/home/alice:/bin/bash\n"
            "bob:x:20002:30000:bob Example:/mnt/home/bob:/bin/bash\n");
  EXPECT_EQ(map("shadow"), "alice:*:::99999::::\nbob:*:::99999::::\n");
  EXPECT_EQ(map("group"), "eng:x:30001:alice,bob\nops:x:30002:\n");
  EXPECT_EQ(map("sshkey"), "alice:['" + std::string(kKey) + "']\nbob:\n");
  EXPECT_THAT(file("passwd.cache.ixname"), HasSubstr("alice"));
  EXPECT_THAT(file("passwd.cache.ixuid"), HasSubstr("20002"));
  EXPECT_THAT(file("group.cache.ixgid"), HasSubstr("30001"));
  EXPECT_EQ(file("timestamp-passwd-update"), "2025-11-21T08:00:00Z\n");
  EXPECT_EQ(result.people, 2U);
  // D-12: one reading of each list.
  EXPECT_THAT(scim_.requests(),
              ElementsAre("GET /scim/Groups?excludeInactiveUsers=true&startIndex=1",
                          HasSubstr("GET /scim/Users?attributes=")));
  struct stat status{};
  ASSERT_EQ(::stat((directory_ / "sshkey.cache").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0444U);
}

TEST_F(MirrorTest, ReadsAllPagesByIndexAndByCursor) {
  std::vector<std::string> many;
  for (std::uint32_t i = 0; i < 25; ++i)
    many.push_back(person("user" + std::to_string(i), 20000 + i));
  people(many);
  scim_.set_groups({group("eng", 30001, {"user0"})});
  scim_.set_page_size(10);
  EXPECT_TRUE(run().ok());
  EXPECT_THAT(scim_.requests(),
              ElementsAre(HasSubstr("Groups"), HasSubstr("startIndex=1"),
                          HasSubstr("startIndex=11"), HasSubstr("startIndex=21")));
  const std::string by_index = map("passwd");
  EXPECT_EQ(std::ranges::count(by_index, '\n'), 25);
  scim_.forget_requests();
  std::string text = conf();
  for (std::size_t at = 0; (at = text.find("scim_users_parameters = ", at)) != text.npos;
       at += 30) {
    text.insert(at + 24, "cursor&");
  }
  auto settings = parse_settings(text, "t-1");
  ASSERT_TRUE(settings);
  const PassResult result =
      run_pass(*settings, {}, [](milliseconds) { return false; }, [this] { return now_; });
  EXPECT_TRUE(result.ok()) << error_of(result);
  EXPECT_EQ(map("passwd"), by_index);
  EXPECT_THAT(scim_.requests(), ElementsAre(HasSubstr("Groups"), HasSubstr("cursor=&"),
                                            HasSubstr("cursor=10&"), HasSubstr("cursor=20&")));
}

TEST_F(MirrorTest, AnUnchangedServerCostsOneQuestionAPage) {
  scim_.set_etags(true);
  ASSERT_TRUE(run().ok());
  const std::uint64_t before = inode("passwd.cache");
  scim_.forget_requests();
  now_ += std::chrono::hours(1);
  PassResult result = run();
  EXPECT_TRUE(result.ok() && result.conditional);
  EXPECT_EQ(result.traffic.bytes, 0U);
  EXPECT_EQ(scim_.requests().size(), 2U);
  EXPECT_EQ(inode("passwd.cache"), before);
  EXPECT_EQ(file("timestamp-passwd-update"), "2025-11-21T09:00:00Z\n") << "it was looked at";
  // What is not the server's counts, too.
  EXPECT_FALSE(run({.full = true}).conditional);
  EXPECT_TRUE(run().conditional);
  EXPECT_FALSE(run({.local = {.masked_names = {"bob"}}}).conditional);
  EXPECT_THAT(map("passwd"), Not(HasSubstr("bob")));
  ASSERT_TRUE(run().ok());
  std::filesystem::remove(directory_ / "group.cache.ixgid");
  EXPECT_FALSE(run().conditional);
  EXPECT_THAT(file("group.cache.ixgid"), HasSubstr("30001"));
  // Without tags everything is read, and what is the same is left alone.
  scim_.set_etags(false);
  scim_.set_groups({group("eng", 30001, {"alice"})});
  const std::uint64_t passwd = inode("passwd.cache");
  result = run();
  EXPECT_EQ(of(result, Map::kPasswd).outcome, Outcome::kUnchanged);
  EXPECT_EQ(of(result, Map::kGroup).outcome, Outcome::kPublished);
  EXPECT_EQ(inode("passwd.cache"), passwd);
}

// ---- what breaks nsscache ----

TEST_F(MirrorTest, D01FailureOfOneMapIsTheFailureOfThePass) {
  std::filesystem::create_directory(directory_ / "group.cache");
  const PassResult result = run();
  EXPECT_FALSE(result.ok());
  EXPECT_EQ(of(result, Map::kGroup).outcome, Outcome::kFailed);
  EXPECT_THAT(of(result, Map::kGroup).error, HasSubstr("group.cache"));
  EXPECT_THAT(map("sshkey"), HasSubstr("alice")) << "what can be written is";
}

TEST_F(MirrorTest, D02APageThatIsNoJsonNeverLoops) {
  scim_.set_page_size(1);
  for (const char* body : {"<html>Bad gateway</html>", "", "{\"totalResults\":2,\"Resources\":[{",
                           "[]", "null", "{}"}) {
    ASSERT_TRUE(run({.full = true}).ok());
    scim_.forget_requests();
    pauses_.clear();
    scim_.set_intercept([body](const http::Request& request) -> std::optional<http::Response> {
      if (!request.query.contains("startIndex=2")) return std::nullopt;
      return json_list(body);
    });
    const PassResult result = run({.full = true});
    EXPECT_FALSE(result.ok());
    EXPECT_THAT(error_of(result), HasSubstr("no list of SCIM resources")) << body;
    EXPECT_EQ(scim_.requests().size(), 4U) << "three tries of the second page";
    EXPECT_THAT(pauses_, ElementsAre(milliseconds(1000), milliseconds(1000)));
    EXPECT_THAT(map("passwd"), HasSubstr("bob")) << "what is there stays";
    scim_.set_intercept(nullptr);
  }
}

TEST_F(MirrorTest, D03PagesWithoutCountsEnd) {
  scim_.set_page_size(1);
  const auto without = [](std::string_view member) {
    return [member](const http::Request& request) -> std::optional<http::Response> {
      if (!request.path.ends_with("Users")) return std::nullopt;
      const bool first = request.query.contains("startIndex=1");
      const bool second = request.query.contains("startIndex=2");
      std::string body = "{";
      if (member != "totalResults") body += "\"totalResults\":2,";
      if (member != "itemsPerPage") {
        body += "\"itemsPerPage\":" + std::to_string(first || second ? 1 : 0) + ",";
      }
      if (member != "startIndex") {
        body += std::string("\"startIndex\":") + (first ? "1" : second ? "2" : "3") + ",";
      }
      body += "\"Resources\":[";
      if (first) body += person("alice", 20001);
      if (second) body += person("bob", 20002);
      return json_list(body + "]}");
    };
  };
  for (const char* member : {"itemsPerPage", "startIndex", "totalResults"}) {
    scim_.set_intercept(without(member));
    const PassResult result = run({.full = true});
    EXPECT_TRUE(result.ok()) << member << ": " << error_of(result);
    EXPECT_EQ(result.people, 2U) << member;
  }
}

TEST_F(MirrorTest, ListsThatLeadNowhereEnd) {
  struct Row {
    const char* body;
    const char* why;
  };
  const std::string alice = person("alice", 20001);
  const std::string same =
      R"({"totalResults":5,"startIndex":1,"itemsPerPage":1,"Resources":[)" + alice + "]}";
  const std::string empty = R"({"totalResults":5,"itemsPerPage":0,"Resources":[]})";
  const std::string endless = R"({"totalResults":5,"itemsPerPage":1,"Resources":[)" + alice + "]}";
  for (const Row& row : {Row{same.c_str(), "does not go on"}, Row{empty.c_str(), "is empty"},
                         Row{endless.c_str(), "does not go on"}}) {
    scim_.set_intercept([&row](const http::Request&) { return json_list(row.body); });
    scim_.forget_requests();
    EXPECT_THAT(error_of(run()), HasSubstr(row.why)) << row.body;
    EXPECT_LE(scim_.requests().size(), 3U);
  }
}

TEST_F(MirrorTest, AListThatChangesWhileItIsReadIsReadAgain) {
  int asked = 0;
  scim_.set_page_size(1);
  scim_.set_intercept([&asked](const http::Request& request) -> std::optional<http::Response> {
    if (!request.path.ends_with("Users") || ++asked > 2) return std::nullopt;
    return json_list(R"({"totalResults":2,"startIndex":1,"itemsPerPage":2,"Resources":[)" +
                     person("alice", 20001) + "]}");
  });
  PassResult result = run();
  EXPECT_TRUE(result.ok()) << error_of(result);
  EXPECT_EQ(result.people, 1U) << "the same short list again: the server cannot count";
  EXPECT_THAT(result.notes, ElementsAre(HasSubstr("promised 2")));
  asked = 1;
  result = run({.full = true});
  EXPECT_EQ(result.people, 2U);
  EXPECT_THAT(result.notes, IsEmpty());
}

TEST_F(MirrorTest, D04AMalformedResourceIsRefusedAlone) {
  people(
      {R"("a string")", R"({"userName":"no id"})",
       R"({"id":"x","urn:coreweave:params:scim:schemas:extension:coreweave:2.0:CoreWeaveUser":7})",
       "17", "null", "[]", person("alice", 20001), person("bob", 20002)});
  const PassResult result = run();
  EXPECT_TRUE(result.ok()) << error_of(result);
  EXPECT_EQ(result.people, 2U);
  EXPECT_EQ(result.refused.at("user"), 6U);
  EXPECT_THAT(reasons(result), AllOf(HasSubstr("it is no JSON object"), HasSubstr("it has no id"),
                                     HasSubstr("it has no urn:coreweave")));
}

TEST_F(MirrorTest, D05InactivePeopleAreLeftOutOrLocked) {
  people({person_with_keys("alice", 20001, in_json(kKey)).insert(1, "\"active\":false,"),
          person("bob", 20002)});
  PassResult result = run();
  EXPECT_TRUE(result.ok());
  EXPECT_EQ(map("passwd").substr(0, 4), "bob:");
  EXPECT_EQ(map("sshkey"), "bob:\n");
  EXPECT_EQ(map("group"), "eng:x:30001:bob\nops:x:30002:\n");
  EXPECT_EQ(result.refused.size(), 0U);
  EXPECT_TRUE(run({}, "roster_inactive = lock\n").ok());
  EXPECT_THAT(map("passwd"),
              HasSubstr("alice:x:20001:30000:alice Example:/mnt/home/alice:/usr/sbin/nologin\n"));
  EXPECT_THAT(map("shadow"), HasSubstr("alice:*:::99999:::1:\n"));
  EXPECT_EQ(map("sshkey"), "alice:\nbob:\n");
  EXPECT_EQ(map("group"), "eng:x:30001:bob\nops:x:30002:\n");
}

TEST_F(MirrorTest, D06AMapThatShrinksIsRefused) {
  std::vector<std::string> many;
  for (std::uint32_t i = 0; i < 50; ++i)
    many.push_back(person("user" + std::to_string(i), 20000 + i));
  people(many);
  ASSERT_TRUE(run().ok());
  const std::string before = map("passwd");
  people({many.begin(), many.begin() + 39});
  PassResult result = run();
  EXPECT_FALSE(result.ok());
  EXPECT_EQ(of(result, Map::kPasswd).outcome, Outcome::kRefused);
  EXPECT_THAT(of(result, Map::kPasswd).error, HasSubstr("it would lose 11 of 50 entries"));
  EXPECT_EQ(map("passwd"), before);
  people({});
  EXPECT_THAT(of(run(), Map::kShadow).error, HasSubstr("nobody for this map"));
  EXPECT_EQ(map("passwd"), before);
  people({many.begin(), many.begin() + 41});
  EXPECT_TRUE(run().ok()) << "nine are no landslide";
  people({});
  scim_.set_groups({});
  result = run({.accept_shrink = true});
  EXPECT_TRUE(result.ok()) << result.to_json(now_);
  EXPECT_EQ(map("passwd"), "");
  EXPECT_EQ(map("group"), "");
  EXPECT_EQ(file("passwd.cache.ixname"), "");
}

/// Fifty people, `gone` of them gone, then `locked` not active, then `keyless` without keys.
std::vector<std::string> fifty(std::size_t gone, std::size_t locked, std::size_t keyless) {
  std::vector<std::string> many;
  for (std::size_t i = gone; i < 50; ++i) {
    const std::string name = "user" + std::to_string(i);
    const bool is_locked = i < gone + locked;
    const bool has_keys = !(i >= gone + locked && i < gone + locked + keyless);
    std::string text = person_with_keys(name, static_cast<std::uint32_t>(20000 + i),
                                        has_keys ? in_json(kKey) : "");
    if (is_locked) text.insert(1, "\"active\":false,");
    many.push_back(text);
  }
  return many;
}

// As a source that forgets the attribute with the keys would lock a cluster out.
TEST_F(MirrorTest, TakingKeysFromManyIsShrinking) {
  const std::string lock = "roster_inactive = lock\n";
  people(fifty(0, 0, 0));
  ASSERT_TRUE(run({}, lock).ok());
  const auto now = [this] {
    return std::vector<std::string>{map("passwd"), map("shadow"), map("sshkey"), map("group")};
  };
  const std::vector<std::string> before = now();

  people(fifty(0, 0, 50));
  PassResult result = run({}, lock);
  EXPECT_FALSE(result.ok());
  EXPECT_THAT(of(result, Map::kSshKey).error, HasSubstr("it would take all keys from 50 of 50"));
  EXPECT_EQ(of(result, Map::kSshKey).keyless, 50U);
  EXPECT_EQ(of(result, Map::kPasswd).outcome, Outcome::kUnchanged);
  EXPECT_EQ(now(), before);
  EXPECT_THAT(result.to_json(now_), HasSubstr(R"("locked":0,"without_keys":50)"));

  people(fifty(6, 0, 6));
  EXPECT_THAT(of(run({}, lock), Map::kSshKey).error,
              HasSubstr("it would lose 6 of 50 entries, take all keys from 6 of 50 people: what"))
      << "twelve are twelve, however they lose it";

  people(fifty(0, 0, 10));
  EXPECT_TRUE(run({}, lock).ok()) << "ten of fifty are no landslide";
  people(fifty(0, 0, 50));
  EXPECT_TRUE(run({.accept_shrink = true}, lock).ok());
  EXPECT_THAT(map("sshkey"), Not(HasSubstr("ssh-")));
  people(fifty(0, 0, 45));
  EXPECT_TRUE(run({}, lock).ok()) << "who comes back loses nothing";
  people(fifty(0, 0, 0));
  ASSERT_TRUE(run({}, lock).ok());
  // The node's own lockout is never held up.
  PassOptions denying;
  for (int i = 0; i < 30; ++i) denying.local.denied_names.push_back("user" + std::to_string(i));
  result = run(denying, lock);
  EXPECT_TRUE(result.ok());
  EXPECT_THAT(map("sshkey"), HasSubstr("user29:\nuser30:["));
  EXPECT_THAT(result.notes, ElementsAre(HasSubstr("the deny file took effect")));
}

// Locking can be taken back, so it is immediate: who says of many that they are not active means
// it.
TEST_F(MirrorTest, ManyWhoAreNotActiveAreLockedAtOnceWithANote) {
  for (const char* inactive : {"roster_inactive = lock\n", "roster_inactive = omit\n"}) {
    people(fifty(0, 0, 0));
    ASSERT_TRUE(run({.accept_shrink = true}, inactive).ok());
    people(fifty(0, 30, 5));
    PassResult result = run({}, inactive);
    EXPECT_TRUE(result.ok()) << result.to_json(now_);
    EXPECT_THAT(result.notes, ElementsAre(HasSubstr("30 of 50 people")));
    for (const Map each : {Map::kPasswd, Map::kShadow, Map::kSshKey}) {
      EXPECT_EQ(of(result, each).locked, 30U);
      EXPECT_EQ(of(result, each).lost, 0U);
    }
    EXPECT_EQ(of(result, Map::kSshKey).keyless, 5U) << "who is locked has lost no keys";
    EXPECT_THAT(map("passwd"), Not(HasSubstr("user29 Example:/mnt/home/user29:/bin/bash")));
    EXPECT_THAT(map("passwd"), HasSubstr("user30 Example:/mnt/home/user30:/bin/bash"));
    EXPECT_THAT(run({.full = true}, inactive).notes, IsEmpty()) << "it is told once";

    // Who vanishes beside them is guarded all the same.
    people(fifty(0, 0, 0));
    ASSERT_TRUE(run({}, inactive).ok());
    people(fifty(11, 30, 0));
    result = run({}, inactive);
    EXPECT_THAT(of(result, Map::kPasswd).error, HasSubstr("it would lose 11 of 50 entries: what"));
    EXPECT_THAT(map("passwd"), HasSubstr("user10 Example:/mnt/home/user10:/bin/bash"));
    EXPECT_THAT(map("passwd"), HasSubstr("user11 Example:/mnt/home/user11:/usr/sbin/nologin"));
    EXPECT_THAT(map("passwd"), HasSubstr("user41 Example:/mnt/home/user41:/bin/bash"));
  }
}

// A map that is refused stays, but not for whom the same reading says not to be active.
TEST_F(MirrorTest, WhoIsNotActiveIsLockedAlthoughAMapIsRefused) {
  for (const char* inactive : {"roster_inactive = lock\n", "roster_inactive = omit\n"}) {
    FakeTarget target;
    people(fifty(0, 0, 0));
    scim_.set_groups({group("eng", 30001, {"user0", "user20", "user49"})});
    ASSERT_TRUE(run({.accept_shrink = true, .targets = {&target}}, inactive).ok());

    people(fifty(20, 1, 0));  // user20
    const int followed = target.followed;
    PassResult result = run({.targets = {&target}}, inactive);
    for (const Map each : {Map::kPasswd, Map::kShadow, Map::kGroup, Map::kSshKey}) {
      EXPECT_EQ(of(result, each).outcome, Outcome::kRefused) << map_name(each);
    }
    EXPECT_THAT(result.notes, ElementsAre("who is not active is locked in the maps that were "
                                          "there: passwd shadow group sshkey"));
    EXPECT_THAT(map("passwd"),
                AllOf(HasSubstr("user19 Example:/mnt/home/user19:/bin/bash\n"),
                      HasSubstr("user20 Example:/mnt/home/user20:/usr/sbin/nologin\n"),
                      HasSubstr("user21 Example:/mnt/home/user21:/bin/bash\n")));
    EXPECT_THAT(map("shadow"), HasSubstr("user20:*:::99999:::1:\nuser21:*:::99999::::\n"));
    EXPECT_THAT(map("sshkey"), HasSubstr("user20:\nuser21:["));
    EXPECT_EQ(map("group"), "eng:x:30001:user0,user49\n");
    const auto settings = parse_settings(conf(inactive), "t-1");
    for (const Map each : kAllMaps) {
      EXPECT_THAT(verify_map(*settings, each, "/nonexistent"), IsEmpty()) << "the indexes fit";
    }
    EXPECT_EQ(target.followed, followed + 1) << "what is made of files has it at once";
    EXPECT_THAT(target.locked, ElementsAre("user20"));
    EXPECT_EQ(target.people, 50U) << "but not the rest of the reading";

    // Again: there is nothing more to lock, and the reason is the same.
    const std::uint64_t before = inode("passwd.cache");
    result = run({.targets = {&target}}, inactive);
    EXPECT_THAT(of(result, Map::kPasswd).error, HasSubstr("it would lose 20 of 50 entries"));
    EXPECT_EQ(inode("passwd.cache"), before);
    EXPECT_THAT(result.notes, IsEmpty());

    people(fifty(0, 0, 0));
    EXPECT_TRUE(run({.targets = {&target}}, inactive).ok());
    EXPECT_THAT(map("passwd"), HasSubstr("user20 Example:/mnt/home/user20:/bin/bash\n"));
    EXPECT_EQ(map("group"), "eng:x:30001:user0,user20,user49\n");
  }
}

TEST_F(MirrorTest, WhoIsNotActiveIsLockedAlsoInTheMapsThatGoWell) {
  FakeTarget target;
  people(fifty(0, 0, 0));
  ASSERT_TRUE(run({.targets = {&target}}).ok());
  people(fifty(0, 1, 30));
  const PassResult result = run({.targets = {&target}});
  EXPECT_EQ(of(result, Map::kPasswd).outcome, Outcome::kPublished);
  EXPECT_EQ(of(result, Map::kSshKey).outcome, Outcome::kRefused);
  EXPECT_THAT(map("passwd"), Not(HasSubstr("user0:"))) << "as the reading has it";
  EXPECT_THAT(map("sshkey"), HasSubstr("user0:\nuser1:["));
  EXPECT_EQ(target.followed, 1) << "with nobody who is locked in one map only";
  // The same goes for the deny file: the files are ours, although not of one reading.
  run({.local = {.denied_names = {"user49"}}, .targets = {&target}});
  EXPECT_GE(target.followed, 2);
  EXPECT_THAT(map("sshkey"), HasSubstr("user49:\n"));
}

/// FS_IMMUTABLE_FL (ioctl_iflags(2)); false where the file system or the machine has no such thing.
bool set_immutable(const std::filesystem::path& file, bool on) {
  const UniqueFd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  int flags = 0;
  if (::ioctl(fd.get(), FS_IOC_GETFLAGS, &flags) != 0) return false;
  flags = on ? flags | FS_IMMUTABLE_FL : flags & ~FS_IMMUTABLE_FL;
  return ::ioctl(fd.get(), FS_IOC_SETFLAGS, &flags) == 0;
}

// All was well until the files had to be replaced.
TEST_F(MirrorTest, WhoIsNotActiveIsLockedInTargetsAlthoughAMapCannotBeReplaced) {
  FakeTarget target;
  ASSERT_TRUE(run({.targets = {&target}}).ok());
  const auto file = directory_ / "sshkey.cache";
  if (!set_immutable(file, true)) GTEST_SKIP() << "no immutable files here";
  people({person_with_keys("alice", 20001, in_json(kKey)).insert(1, "\"active\":false,"),
          person("bob", 20002)});
  const PassResult result = run({.targets = {&target}});
  ASSERT_TRUE(set_immutable(file, false));
  EXPECT_EQ(of(result, Map::kSshKey).outcome, Outcome::kFailed);
  EXPECT_THAT(target.locked, ElementsAre("alice"));
  EXPECT_THAT(map("passwd"), Not(HasSubstr("alice")));
}

// Only the server's own word about exactly this person: by number, name and resource.
TEST_F(MirrorTest, ARefusedMapLocksNobodyElse) {
  auto many = fifty(0, 0, 0);
  people(many);
  ASSERT_TRUE(run().ok());
  const std::string before = map("passwd");
  many = fifty(20, 0, 0);
  const auto inactive = [](std::string text) { return text.insert(1, "\"active\":false,"); };
  many.push_back(inactive(person("user1", 29001)));  // another number
  many.push_back(inactive(person("user9", 20030)));  // and user30's number
  many.push_back(inactive(R"({"id":"u-7","userName":"user2"})"));
  many.push_back(R"({"id":"u-8","active":"maybe","userName":"user3"})");
  people(many);
  PassResult result = run();
  EXPECT_THAT(of(result, Map::kPasswd).error, HasSubstr("it would lose 20 of 50 entries"));
  EXPECT_EQ(map("passwd"), before) << "who is merely missing, or refused, is not locked";

  // A reading that did not come to its end says nothing.
  people(fifty(0, 5, 0));
  scim_.set_page_size(10);
  scim_.set_intercept([](const http::Request& request) -> std::optional<http::Response> {
    if (!request.query.contains("startIndex=41")) return std::nullopt;
    return json_list("no list");
  });
  result = run();
  EXPECT_TRUE(result.error.has_value());
  EXPECT_EQ(map("passwd"), before);
}

TEST_F(MirrorTest, WhoIsNotActiveIsLockedAlthoughNobodyNewCanBeRemembered) {
  const std::string state =
      "roster_state_file = " + (directory_ / "state/pass.json").string() + "\n";
  std::filesystem::create_directory(directory_ / "state");
  people(fifty(0, 0, 0));
  ASSERT_TRUE(run({}, state).ok());
  std::filesystem::remove_all(directory_ / "state");
  auto many = fifty(0, 1, 0);
  many.push_back(person("newcomer", 20100));
  people(many);
  const PassResult result = run({}, state);
  EXPECT_THAT(error_of(result), HasSubstr("pass.json.ids"));
  EXPECT_THAT(map("passwd"), AllOf(HasSubstr("user0 Example:/mnt/home/user0:/usr/sbin/nologin\n"),
                                   Not(HasSubstr("newcomer"))));
}

TEST_F(MirrorTest, EverybodyMayBeInactiveButNotGone) {
  people({person("alice", 20001).insert(1, "\"active\":false,"), person("bob", 20002)});
  ASSERT_TRUE(run().ok());
  people({person("alice", 20001).insert(1, "\"active\":false,")});
  EXPECT_THAT(of(run(), Map::kPasswd).error, HasSubstr("what is there stays"))
      << "nobody is left, and nothing is said of bob";
  EXPECT_THAT(map("passwd"), HasSubstr("bob"));
  people({person("alice", 20001).insert(1, "\"active\":false,"),
          person("bob", 20002).insert(1, "\"active\":false,")});
  EXPECT_TRUE(run().ok());
  EXPECT_EQ(map("passwd"), "");
  EXPECT_TRUE(run({.full = true}).ok());
}

// What is there may be anybody's; a guard that cannot count must not be off.
TEST_F(MirrorTest, AFileThatCannotBeCountedIsNotReplacedSilently) {
  ASSERT_TRUE(run().ok());
  const std::filesystem::path path = directory_ / "shadow.cache";
  std::filesystem::resize_file(path, std::uintmax_t{65} << 20);  // one line without an end
  std::ofstream(path, std::ios::app) << "\nx:*:::99999::::\n";
  PassResult result = run();
  EXPECT_EQ(of(result, Map::kShadow).outcome, Outcome::kRefused);
  EXPECT_THAT(of(result, Map::kShadow).error,
              AllOf(HasSubstr("cannot be read to its end"), HasSubstr("--force-write")));
  EXPECT_TRUE(run({.accept_shrink = true}).ok());
  EXPECT_EQ(map("shadow"), "alice:*:::99999::::\nbob:*:::99999::::\n");
}

TEST_F(MirrorTest, ALockoutLeavesOutLinesThatAreNoEntries) {
  ASSERT_TRUE(run().ok());
  const std::string bob = "bob:x:20002:30000:bob Example:/mnt/home/bob:/bin/bash\n";
  ASSERT_TRUE(write_file_atomic(directory_ / "passwd.cache",
                                "# not ours\nalice:x:20001:30000::/mnt/home/alice:/bin/bash\n"
                                ":x:20009:30000::/:/bin/sh\nhalf:x\n" +
                                    bob + "none:x::30000::/:/bin/sh\n",
                                0644));
  stopped_ = true;
  run({.local = {.denied_names = {"alice"}}});
  EXPECT_EQ(map("passwd"), "alice:x:20001:30000::/mnt/home/alice:/usr/sbin/nologin\n" + bob);
  EXPECT_THAT(verify_map(*parse_settings(conf(), "t-1"), Map::kPasswd, "/nonexistent"), IsEmpty());
}

TEST_F(MirrorTest, D07D08TextsCannotBecomeFieldsOrLines) {
  people({person("alice", 20001, R"(,"displayName":"a\nroot:x:0:0::/:/bin/sh")")
              .replace(person("alice", 20001).find("alice Example"), 13,
                       R"(x:/root:/bin/zsh\nevil:x:0:0::/root:/bin/sh)"),
          person("bob", 20002)});
  const PassResult result = run({.accept_shrink = true});
  EXPECT_TRUE(result.ok());
  EXPECT_EQ(
      map("passwd").substr(0, map("passwd").find('\n')),
      "alice:x:20001:30000:x /root /bin/zsh evil x 0 0 /root /bin/sh:/mnt/home/alice:/bin/bash");
  EXPECT_EQ(std::ranges::count(map("passwd"), '\n'), 2);
}

TEST_F(MirrorTest, D09OffsetsAreThoseOfBytes) {
  std::vector<std::string> many;
  for (std::uint32_t i = 0; i < 30; ++i) {
    std::string text = person("user" + std::to_string(i), 20000 + i);
    many.push_back(text.replace(text.find(" Example"), 8,
                                " Jos\xC3\xA9 N\xC3\xBA\xC3\xB1"
                                "ez"));
  }
  people(many);
  ASSERT_TRUE(run().ok());
  const std::string data = map("passwd");
  const std::string index = file("passwd.cache.ixname");
  const std::size_t at = index.find("user29");
  ASSERT_NE(at, std::string::npos);
  const std::size_t offset = std::stoul(index.substr(at + 7));
  EXPECT_EQ(data.substr(offset, 7), "user29:");
}

TEST_F(MirrorTest, D10IdsOfTheSystemAreRefused) {
  const auto with_ids = [](const std::string& name, const std::string& uid,
                           const std::string& gid) {
    std::string text = person(name, 77777);
    text.replace(text.find("77777"), 5, uid);
    return text.replace(text.find("\"sunkPosixGroupId\":30000"), 24, gid);
  };
  const std::string gid = R"("sunkPosixGroupId":30000)";
  people({person("zero", 0), person("low", 999), person("nobody", 65534),
          with_ids("huge", "2147483648", gid), with_ids("minus", "-5", gid),
          with_ids("half", "20001.5", gid), with_ids("word", "\"x\"", gid),
          with_ids("nogid", "20009", "\"x\":1"), with_ids("text", "\"20010\"", gid),
          with_ids("real", "20011.0", gid)});
  scim_.set_groups({group("wheel2", 0, {}), group("fine", 30001, {})});
  const PassResult result = run();
  EXPECT_TRUE(result.ok());
  EXPECT_EQ(result.people, 2U) << map("passwd");
  EXPECT_EQ(result.refused.at("user"), 8U);
  EXPECT_EQ(map("group"), "fine:x:30001:\n");
  EXPECT_THAT(reasons(result),
              AllOf(HasSubstr("uid 0 is not one"), HasSubstr("uid is not a whole number"),
                    HasSubstr("it has no gid (urn:coreweave"), HasSubstr("gid 0 is not one")));
}

TEST_F(MirrorTest, D11NamesAreThoseOfPosix) {
  std::vector<std::string> many;
  std::uint32_t uid = 20000;
  for (const char* name : {"Alice", "a b", "a@b.c", "9lives", "-x", "a:b", "fine_1"}) {
    many.push_back(person(name, ++uid));
  }
  many.push_back(R"({"id":"e","userName":"eve@example.org"})");
  people(many);
  scim_.set_groups({group("ML Research", 30001, {}), group("eng", 30002, {"fine_1", "A b"})});
  const PassResult result = run();
  EXPECT_EQ(result.people, 1U);
  EXPECT_EQ(map("group"), "eng:x:30002:fine_1\n");
  EXPECT_EQ(result.refused.at("user"), 7U);
  EXPECT_THAT(reasons(result), AllOf(HasSubstr("\"a@b.c\""), HasSubstr("group ML Research"),
                                     HasSubstr("sunkPosixUsername"), HasSubstr("member eng")));
}

TEST_F(MirrorTest, D13OnlyWhatMayHelpIsTriedAgain) {
  int status = 401;
  scim_.set_intercept([&status](const http::Request&) {
    http::Response response = json_list("{}");
    response.status = status;
    if (status == 429) response.headers.set("Retry-After", "7");
    if (status == 302) response.headers.set("Location", "https://login.example.org/");
    return response;
  });
  struct Row {
    int status;
    std::size_t requests;
    const char* why;
  };
  for (const Row& row :
       {Row{401, 1, "does not know the token"}, Row{403, 1, "may not read or do"},
        Row{404, 1, "no such list"}, Row{302, 1, "redirects are not followed"},
        Row{500, 3, "answers 500"}, Row{503, 3, "answers 503"}, Row{429, 3, "answers 429"}}) {
    status = row.status;
    scim_.forget_requests();
    pauses_.clear();
    EXPECT_THAT(error_of(run()), HasSubstr(row.why));
    EXPECT_EQ(scim_.requests().size(), row.requests) << row.status;
    if (row.status == 429) {
      EXPECT_THAT(pauses_, ElementsAre(milliseconds(7000), milliseconds(7000)));
    }
  }
  status = 503;
  scim_.set_intercept([&status](const http::Request&) -> std::optional<http::Response> {
    http::Response response = json_list("{}");
    response.status = std::exchange(status, 200);
    if (response.status == 200) return std::nullopt;
    return response;
  });
  EXPECT_TRUE(run().ok()) << "the second try";
}

TEST_F(MirrorTest, D13AServerThatIsNotThereIsTriedAgain) {
  auto settings = parse_settings(conf(), "t-1");
  ASSERT_TRUE(settings);
  settings->server.base_url = "http://127.0.0.1:1/scim";
  std::vector<milliseconds> pauses;
  const PassResult result = run_pass(
      *settings, {},
      [&pauses](milliseconds time) {
        if (time > milliseconds(0)) pauses.push_back(time);
        return pauses.size() > 1;
      },
      [this] { return now_; });
  ASSERT_TRUE(result.error);
  EXPECT_EQ(result.error->code, Code::kUnavailable);
  EXPECT_EQ(pauses.size(), 2U);
}

TEST_F(MirrorTest, D14AllMapsAreOfOneReadingOrStay) {
  ASSERT_TRUE(run().ok());
  people({person("alice", 20001), person("bob", 20002), person("carol", 20003)});
  scim_.set_intercept([](const http::Request& request) -> std::optional<http::Response> {
    if (!request.path.ends_with("Groups")) return std::nullopt;
    http::Response broken = json_list("{}");
    broken.status = 500;
    return broken;
  });
  EXPECT_THAT(error_of(run()), HasSubstr("answers 500"));
  EXPECT_THAT(map("passwd"), Not(HasSubstr("carol"))) << "who is in no group of that moment";
  scim_.set_intercept(nullptr);
  EXPECT_TRUE(run().ok());
  EXPECT_THAT(map("passwd"), HasSubstr("carol"));
}

TEST_F(MirrorTest, D15OnlyGoodKeysAndBothForms) {
  const std::string second =
      "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB8eHRwbGhkYFxYVFBMSERAPDg0MCwoJCAcGBQQDAgEA it's";
  people({person_with_keys("alice", 20001,
                           in_json(kKey) + "," + in_json(std::string(kKey) + "\\n") + "," +
                               in_json("command=\\\"sh\\\" " + std::string(kKey)) + "," +
                               in_json(second) + ",17,\"\",\"-----BEGIN OPENSSH PRIVATE KEY\""),
          person("bob", 20002)});
  PassResult result = run();
  EXPECT_TRUE(result.ok());
  EXPECT_EQ(map("sshkey"), "alice:['" + std::string(kKey) + "', '" + std::string(kKey) + "', \"" +
                               second + "\"]\nbob:\n");
  EXPECT_EQ(result.refused.at("key"), 3U);
  EXPECT_THAT(reasons(result), Not(HasSubstr("AAAA"))) << "a key may be a private one";
  EXPECT_TRUE(run({}, "roster_sshkey_form = lines\n").ok());
  EXPECT_EQ(map("sshkey"), "alice:" + std::string(kKey) + "\nalice:" + std::string(kKey) +
                               "\nalice:" + second + "\nbob:\n");
}

TEST_F(MirrorTest, D16VerifyFindsWhatIsWrong) {
  ASSERT_TRUE(run().ok());
  const auto settings = parse_settings(conf(), "t-1");
  ASSERT_TRUE(settings);
  const auto problems = [&settings](Map map) {
    std::string all;
    for (const std::string& problem : verify_map(*settings, map, "/nonexistent")) {
      all += problem + "\n";
    }
    return all;
  };
  for (const Map map : kAllMaps) EXPECT_EQ(problems(map), "");
  const auto write = [this](const char* name, const std::string& text) {
    ASSERT_TRUE(write_file_atomic(directory_ / name, text, 0644));
  };
  write("passwd.cache",
        "alice:x:20001:30000::/:/bin/sh\nalice:x\nbob:x:20002:30000::/:/bin/sh\n"
        "bob:x:20002:30000::/:/bin/sh");
  EXPECT_THAT(problems(Map::kPasswd),
              AllOf(HasSubstr("line 2 has 2 fields"), HasSubstr("bob is there twice"),
                    HasSubstr("the last line is cut"), HasSubstr(".ixname leads from bob")));
  write("group.cache.ixgid", "");
  EXPECT_THAT(problems(Map::kGroup), HasSubstr(".ixgid is empty"));
  std::filesystem::remove(directory_ / "group.cache.ixname");
  EXPECT_THAT(problems(Map::kGroup), HasSubstr("there is no .ixname"));
  std::filesystem::remove(directory_ / "shadow.cache");
  EXPECT_THAT(problems(Map::kShadow), HasSubstr("shadow.cache"));
}

/// As libnss-cache looks somebody up: by the index when it is not older than the map, from its
/// offset, and through the whole file when what is there does not fit. What the index does not have
/// is not there.
bool found_by_libnss_cache(const std::filesystem::path& map, const std::string& name) {
  const UniqueFd data(::open(map.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat data_status{};
  struct stat index_status{};
  const std::string index_path = map.string() + ".ixname";
  const auto index = read_file(index_path, 1 << 20);
  CHECK(data.valid() && index && ::fstat(data.get(), &data_status) == 0 &&
        ::stat(index_path.c_str(), &index_status) == 0);
  std::string text(static_cast<std::size_t>(data_status.st_size), '\0');
  CHECK(::pread(data.get(), text.data(), text.size(), 0) == data_status.st_size);
  const auto line_at = [&](std::size_t offset) {
    return text.compare(offset, name.size() + 1, name + ":") == 0;
  };
  if (index_status.st_mtim.tv_sec >= data_status.st_mtim.tv_sec && !index->empty()) {
    const std::string key = name + '\0';
    std::size_t at = index->compare(0, key.size(), key) == 0 ? 0 : index->find('\n' + key);
    if (at == std::string::npos) return false;
    at += (*index)[at] == '\n' ? 1 : 0;
    const std::size_t offset = std::stoul(index->substr(at + key.size()));
    if (offset < text.size() && line_at(offset)) return true;
  }
  return line_at(0) || text.contains('\n' + name + ":");
}

TEST_F(MirrorTest, D18AReaderNeverMissesSomebodyWhileMapsChange) {
  ASSERT_TRUE(run().ok());
  std::atomic<bool> done = false;
  std::atomic<int> looks = 0;
  std::thread reader([&] {
    while (!done) {
      EXPECT_TRUE(found_by_libnss_cache(directory_ / "passwd.cache", "alice"));
      EXPECT_TRUE(found_by_libnss_cache(directory_ / "passwd.cache", "bob"));
      ++looks;
    }
  });
  for (std::uint32_t i = 0; i < 40; ++i) {
    std::vector<std::string> all;
    for (std::uint32_t n = 0; n < i % 7; ++n) {
      all.push_back(person("extra" + std::to_string(n), 21000 + n));
    }
    all.insert(i % 2 == 0 ? all.begin() : all.end(), person("alice", 20001));
    all.push_back(person("bob", 20002));
    people(all);
    EXPECT_TRUE(run().ok());
  }
  done = true;
  reader.join();
  EXPECT_GT(looks, 0);
}

TEST_F(MirrorTest, D17IdsNeverChangeHandsSilently) {
  ASSERT_TRUE(run().ok());
  // The uid of alice under another name, a name with another uid, somebody new.
  people({person("mallory", 20001), person("bob", 20003), person("carol", 20004)});
  PassResult result = run({.accept_shrink = true});
  EXPECT_TRUE(result.ok()) << "they are refused, the others are served";
  EXPECT_EQ(result.people, 1U);
  EXPECT_THAT(map("passwd"), AllOf(HasSubstr("carol"), Not(HasSubstr("mallory"))));
  EXPECT_THAT(reasons(result),
              AllOf(HasSubstr("uid 20001 belongs to alice, not to mallory"),
                    HasSubstr("bob has uid 20002, not 20003"), HasSubstr("--accept-id bob=20003")));
  // A rename keeps the resource's id; it is no secret, but somebody must say that it is meant.
  std::string renamed = person("alicia", 20001);
  renamed.replace(renamed.find("id-alicia"), 9, "id-alice");
  people({renamed, person("bob", 20002)});
  result = run();
  EXPECT_THAT(reasons(result), HasSubstr("uid 20001 belongs to alice, not to alicia"));
  result = run({.accepted_ids = {"alicia=20001"}});
  EXPECT_THAT(map("passwd"), HasSubstr("alicia:x:20001"));
  EXPECT_TRUE(run().ok());
  EXPECT_THAT(map("passwd"), HasSubstr("alicia:x:20001")) << "it is remembered";
  // The same person made anew has another id, and is who they were.
  people({renamed.replace(renamed.find("id-alice"), 8, "id-again"), person("bob", 20002)});
  EXPECT_THAT(reasons(run()), Not(HasSubstr("user ")));
}

TEST_F(MirrorTest, D17ADamagedMemoryIsNoReasonToForget) {
  ASSERT_TRUE(run().ok());
  const auto memory = directory_ / "roster-mirror.json.ids";
  ASSERT_TRUE(write_file_atomic(memory, "roster-mirror identities 1\nu\tx\n", 0600));
  EXPECT_THAT(error_of(run()), AllOf(HasSubstr("line 2 is damaged"), HasSubstr(memory.string())));
  EXPECT_THAT(map("passwd"), HasSubstr("alice"));
}

TEST_F(MirrorTest, NamesAndIdsOfTwoAreNobodysUnlessTheyWere) {
  ASSERT_TRUE(run().ok());
  std::string twin = person("twin", 20001);
  people({twin, person("alice", 20001), person("bob", 20002), person("new", 20005),
          person("other", 20005)});
  const PassResult result = run();
  EXPECT_EQ(map("passwd").substr(0, 14), "alice:x:20001:");
  EXPECT_THAT(map("passwd"), AllOf(Not(HasSubstr("twin")), Not(HasSubstr("20005"))));
  EXPECT_EQ(result.refused.at("user"), 3U);
}

TEST_F(MirrorTest, AccountsOfTheNodeWinAndItsDenyFileLocks) {
  people({person("alice", 20001), person("svc-local", 20002), person("bob", 5000),
          person_with_keys("carol", 20003, in_json(kKey))});
  scim_.set_groups({group("grp-local", 30001, {"alice"}),
                    group("eng", 30002, {"alice", "svc-local", "carol", "stranger"})});
  const PassResult result = run({.local = {.masked_names = {"svc-local", "grp-local"},
                                           .masked_ids = {5000},
                                           .denied_names = {"carol"}}},
                                "roster_inactive = lock\n");
  EXPECT_TRUE(result.ok());
  EXPECT_EQ(map("group"), "eng:x:30002:alice\n");
  EXPECT_EQ(result.people, 2U);
  EXPECT_THAT(map("passwd"), HasSubstr("carol:x:20003:30000:carol Example:/mnt/home/carol:"
                                       "/usr/sbin/nologin"));
  EXPECT_THAT(map("sshkey"), HasSubstr("carol:\n"));
  EXPECT_THAT(reasons(result), AllOf(HasSubstr("user svc-local: this node has an account"),
                                     HasSubstr("group grp-local"),
                                     HasSubstr("member eng: stranger is not among the people"),
                                     Not(HasSubstr("svc-local is not among"))));
}

TEST_F(MirrorTest, ALockoutWaitsForNoServer) {
  scim_.set_etags(true);
  people({person_with_keys("alice", 20001, in_json(kKey) + "," + in_json(kKey)),
          person_with_keys("bob", 20002, in_json(kKey)), person("carol", 20003)});
  scim_.set_groups({group("eng", 30001, {"alice", "bob"}), group("ops", 30002, {"alice"})});
  const std::string lines = "roster_sshkey_form = lines\n";
  FakeTarget target;
  ASSERT_TRUE(run({.targets = {&target}}, lines).ok());
  const std::string passwd = map("passwd");
  bool down = true;
  int followed_first = -1;  // before the server was asked
  scim_.set_intercept([&](const http::Request&) -> std::optional<http::Response> {
    if (followed_first < 0) followed_first = target.followed;
    if (!down) return std::nullopt;
    http::Response response = json_list("{}");
    response.status = 503;
    return response;
  });
  const PassOptions denying{.local = {.denied_names = {"alice"}, .denied_uids = {20003}},
                            .targets = {&target}};
  PassResult result = run(denying, lines);
  EXPECT_THAT(error_of(result), HasSubstr("answers 503"));
  EXPECT_THAT(result.notes, ElementsAre(HasSubstr("passwd shadow group sshkey")));
  EXPECT_EQ(map("passwd"),
            "alice:x:20001:30000:alice Example:/mnt/home/alice:/usr/sbin/nologin\n"
            "bob:x:20002:30000:bob Example:/mnt/home/bob:/bin/bash\n"
            "carol:x:20003:30000:carol Example:/mnt/home/carol:/usr/sbin/nologin\n");
  EXPECT_EQ(map("shadow"), "alice:*:::99999:::1:\nbob:*:::99999::::\ncarol:*:::99999:::1:\n");
  EXPECT_EQ(map("group"), "eng:x:30001:bob\nops:x:30002:\n");
  EXPECT_EQ(map("sshkey"), "alice:\nbob:" + std::string(kKey) + "\ncarol:\n");
  const auto settings = parse_settings(conf(lines), "t-1");
  for (const Map each : kAllMaps) {
    EXPECT_THAT(verify_map(*settings, each, "/nonexistent"), IsEmpty()) << "the indexes fit";
  }
  EXPECT_EQ(followed_first, 1);
  const std::uint64_t inode_before = inode("passwd.cache");
  EXPECT_FALSE(run(denying, lines).ok());
  EXPECT_EQ(inode("passwd.cache"), inode_before) << "it is done once";

  // The same as a pass that reads the server makes of it.
  down = false;
  result = run(denying, lines);
  EXPECT_TRUE(result.ok()) << result.to_json(now_);
  EXPECT_FALSE(result.conditional);
  for (const Map each : kAllMaps) EXPECT_EQ(of(result, each).outcome, Outcome::kUnchanged);
  EXPECT_TRUE(run(denying, lines).conditional);

  // Who is taken off the list comes back with the server's word, though nothing changed there.
  ASSERT_TRUE(run({.targets = {&target}}, lines).ok());
  EXPECT_EQ(map("passwd"), passwd);
  down = true;
  run(denying, lines);
  run({}, lines);
  EXPECT_THAT(map("sshkey"), HasSubstr("alice:\n"));
  down = false;
  EXPECT_TRUE(run({}, lines).ok());
  EXPECT_EQ(map("passwd"), passwd);
}

TEST_F(MirrorTest, ATargetTriesALockoutAgainBeforeTheServerIsAsked) {
  FakeTarget target;
  ASSERT_TRUE(run({.targets = {&target}}).ok());
  int followed_first = -1;
  scim_.set_intercept([&](const http::Request&) -> std::optional<http::Response> {
    if (followed_first < 0) followed_first = target.followed;
    return std::nullopt;
  });
  const PassOptions denying{.local = {.denied_names = {"alice"}}, .targets = {&target}};
  target.refuses = true;
  stopped_ = true;
  EXPECT_THAT(run(denying).targets, IsEmpty()) << "tried again when the server is not there";
  EXPECT_EQ(target.followed, 2);
  EXPECT_THAT(map("passwd"), HasSubstr("nologin"));
  stopped_ = false;
  const int followed = target.followed;
  target.refuses = true;
  const PassResult result = run(denying);
  EXPECT_EQ(followed_first, followed + 1) << "although no file is new";
  EXPECT_TRUE(result.ok()) << "what it took later counts: " << result.to_json(now_);
}

// A lockout makes files of somebody else no files of ours.
TEST_F(MirrorTest, NoTargetFollowsFilesThatNoPassHasJudged) {
  FakeTarget target;
  ASSERT_TRUE(run({.targets = {&target}}).ok());
  ASSERT_TRUE(write_file_atomic(directory_ / "passwd.cache",
                                "alice:x:20001:30000::/mnt/home/alice:/bin/bash\n"
                                "mallory:x:20009:30000::/:/bin/bash\n",
                                0644));
  stopped_ = true;
  const PassOptions denying{.local = {.denied_names = {"alice"}}, .targets = {&target}};
  for (int i = 0; i < 2; ++i) {
    run(denying);
    EXPECT_THAT(map("passwd"), HasSubstr("alice:x:20001:30000::/mnt/home/alice:/usr/sbin/nolog"));
    EXPECT_EQ(target.followed, 0);
  }
  stopped_ = false;
  EXPECT_TRUE(run(denying).ok());
  EXPECT_THAT(map("passwd"), Not(HasSubstr("mallory")));
}

TEST_F(MirrorTest, ALockoutCountsForAMapOfGroupsAlone) {
  std::string text = conf();
  text.replace(text.find("maps = passwd, shadow, group, sshkey"), 36, "maps = group");
  const auto settings = parse_settings(text, "t-1");
  ASSERT_TRUE(settings) << settings.error().message;
  const auto pass = [&](const PassOptions& options) {
    return run_pass(
        *settings, options, [](milliseconds) { return false; }, [this] { return now_; });
  };
  ASSERT_TRUE(pass({}).ok());
  EXPECT_EQ(map("group"), "eng:x:30001:alice,bob\nops:x:30002:\n");
  ASSERT_TRUE(pass({.local = {.denied_names = {"bob"}}}).ok());
  EXPECT_EQ(map("group"), "eng:x:30001:alice\nops:x:30002:\n");
}

TEST_F(MirrorTest, ALockoutThatCannotBeWrittenIsTold) {
  ASSERT_TRUE(run().ok());
  scim_.set_intercept([](const http::Request&) { return json_list("no list"); });
  std::filesystem::remove(directory_ / "shadow.cache");
  std::filesystem::create_directory(directory_ / "shadow.cache");
  const PassResult result = run({.local = {.denied_names = {"alice"}}});
  EXPECT_THAT(result.notes,
              ElementsAre(HasSubstr("no effect on the map shadow"), HasSubstr("passwd")));
  EXPECT_THAT(map("passwd"),
              HasSubstr("alice:x:20001:30000:alice Example:/mnt/home/alice:/usr/sbin"));
}

TEST_F(MirrorTest, AnInterruptEndsARequestInFlight) {
  std::atomic<bool> asked{false};
  std::atomic<bool> done{false};
  scim_.set_intercept([&](const http::Request&) -> std::optional<http::Response> {
    asked = true;
    while (!done) std::this_thread::yield();
    return std::nullopt;
  });
  const auto settings = parse_settings(conf(), "t-1");
  scim_client::Interrupt interrupt;
  std::chrono::steady_clock::time_point raised;
  std::thread stopper([&] {
    while (!asked) std::this_thread::yield();
    raised = std::chrono::steady_clock::now();
    interrupt.raise();
  });
  const PassResult result = run_pass(
      *settings, {.interrupt = &interrupt},
      [&interrupt](milliseconds time) { return interrupt.wait_for(time); },
      [this] { return now_; });
  stopper.join();
  EXPECT_LT(std::chrono::steady_clock::now() - raised, std::chrono::seconds(5)) << "of 60";
  EXPECT_EQ(result.error->code, Code::kUnavailable);
  EXPECT_EQ(scim_.requests().size(), 1U);
  done = true;
  interrupt.lower();
  scim_.set_intercept(nullptr);
  EXPECT_TRUE(run({.interrupt = &interrupt}).ok()) << "it is no end for ever";
}

TEST_F(MirrorTest, HomesAndShellsAreChecked) {
  const auto with = [](const std::string& name, std::uint32_t uid, const std::string& attribute) {
    std::string text = person(name, uid);
    return text.insert(text.find("\"sunkPosixGroupId\""), attribute + ",");
  };
  people({with("etc", 20001, R"("sunkPreferredHomeDirectory":"/etc")"),
          with("rel", 20002, R"("sunkPreferredHomeDirectory":"home/x")"),
          with("colon", 20003, R"("sunkPreferredHomeDirectory":"/home/x:/bin/sh")"),
          with("shell", 20004, R"("sunkLoginShell":"/bin/sh\nroot::0:0")"),
          with("ok", 20005,
               R"("sunkPreferredHomeDirectory":"/data/ok/","sunkLoginShell":"/bin/zsh")")});
  std::string text = conf();
  const std::string line = "scim_override_home_directory = /mnt/home/%%u\n";
  text.erase(text.find(line), line.size());
  auto settings = parse_settings(text, "t-1");
  ASSERT_TRUE(settings);
  const PassResult result =
      run_pass(*settings, {}, [](milliseconds) { return false; }, [this] { return now_; });
  EXPECT_EQ(map("passwd"), "ok:x:20005:30000:ok Example:/data/ok:/bin/zsh\n");
  EXPECT_EQ(result.refused.at("user"), 4U);
}

TEST_F(MirrorTest, NobodyIsServedWhoCouldNotBeRemembered) {
  const PassResult result = run({}, "roster_state_file = /dev/full/none\n");
  EXPECT_FALSE(result.ok());
  EXPECT_THAT(error_of(result), HasSubstr("/dev/full/none.ids"));
  EXPECT_EQ(map("passwd"), "no file");
}

TEST_F(MirrorTest, WhatWasGivenUpIsNotFree) {
  ASSERT_TRUE(run().ok());
  people({person("alice", 20005), person("bob", 20002)});
  EXPECT_TRUE(run({.accepted_ids = {"alice=20005"}}).ok());
  EXPECT_THAT(map("passwd"), HasSubstr("alice:x:20005"));
  people({person("alice", 20005), person("mallory", 20001), person("bob", 20002)});
  EXPECT_THAT(reasons(run()), HasSubstr("uid 20001 belongs to alice, not to mallory"));
  PassResult result = run({.accepted_ids = {"bob=20001", "nonsense"}});
  EXPECT_THAT(error_of(result), HasSubstr("--accept-id nonsense: it is NAME=ID"));
  result = run({.accepted_ids = {"bob=20001"}});
  EXPECT_THAT(reasons(result), HasSubstr("not to mallory")) << "accepted for bob, not for her";
  EXPECT_THAT(result.notes, ElementsAre(HasSubstr("bob=20001 was not needed")));
}

TEST_F(MirrorTest, AFirstPassBelievesTheFilesThatAreThere) {
  std::ofstream(directory_ / "passwd.cache") << "old:x:20001:30000::/home/old:/bin/sh\n"
                                                "a\tb:x:20002:30000::/:/bin/sh\n";
  const PassResult result = run();
  EXPECT_THAT(reasons(result), HasSubstr("uid 20001 belongs to old, not to alice"));
  EXPECT_EQ(map("passwd").substr(0, 4), "bob:");
}

TEST_F(MirrorTest, ReservedNamesAreAdmittedByName) {
  people({person("postgres", 20001), person("bob", 20002)});
  scim_.set_groups({group("sudo", 30001, {"bob"}), group("eng", 30002, {"bob"})});
  EXPECT_THAT(reasons(run()), AllOf(HasSubstr("user postgres"), HasSubstr("group sudo")));
  EXPECT_EQ(map("group"), "eng:x:30002:bob\n");
  EXPECT_TRUE(run({}, "roster_admit_names = sudo, postgres\n").ok());
  EXPECT_THAT(map("group"), HasSubstr("sudo:x:30001:bob\n"));
}

TEST_F(MirrorTest, PartOfTheMapsIsJudgedAsAll) {
  ASSERT_TRUE(run().ok());
  people({person_with_keys("mallory", 20001, in_json(kKey)), person("bob", 20002)});
  PassResult result = run({.accept_shrink = true}, "", "sshkey");
  EXPECT_THAT(reasons(result), HasSubstr("uid 20001 belongs to alice"));
  EXPECT_EQ(map("sshkey"), "bob:\n");
  EXPECT_THAT(map("passwd"), HasSubstr("alice")) << "not asked for";
  people({person("alice", 20001).insert(1, "\"active\":false,"), person("bob", 20002)});
  result = run(PassOptions{}, "", "group");
  EXPECT_EQ(map("group"), "eng:x:30001:bob\nops:x:30002:\n");
  EXPECT_THAT(error_of(run(PassOptions{}, "", "group")), HasSubstr("no error"));
  EXPECT_TRUE(run().ok());
  EXPECT_THAT(map("passwd"), Not(HasSubstr("alice")));
}

TEST_F(MirrorTest, GroupsStayWithThePeopleTheyAreOf) {
  const std::vector<std::string> many = pass_of_a_group(50);
  const std::string before = map("group");
  people({many.begin(), many.begin() + 30});
  const PassResult result = run();
  EXPECT_EQ(of(result, Map::kGroup).outcome, Outcome::kRefused);
  EXPECT_EQ(map("group"), before) << "whoever keeps the account keeps the groups";
}

TEST_F(MirrorTest, AMapOfGroupsAloneStaysWithThePeople) {
  pass_of_a_group(30);
  const std::string before = map("group");
  people({});
  EXPECT_EQ(of(run(PassOptions{}, "", "group"), Map::kGroup).outcome, Outcome::kRefused);
  EXPECT_EQ(map("group"), before);
}

TEST_F(MirrorTest, UidsCountWithoutAMapOfPeoplesIds) {
  std::string text = conf();
  text.replace(text.find("maps = passwd, shadow, group, sshkey"), 36, "maps = sshkey");
  const std::string uid =
      "scim_path_uid = urn:coreweave:params:scim:schemas:extension:coreweave:2.0:CoreWeaveUser/"
      "sunkPosixUserId\n";
  text.insert(text.find("[sshkey]\n") + 9, uid);
  auto settings = parse_settings(text, "t-1");
  ASSERT_TRUE(settings) << settings.error().message;
  run_pass(
      *settings, {.local = {.denied_uids = {20001}}}, [](milliseconds) { return false; },
      [this] { return now_; });
  EXPECT_EQ(map("sshkey"), "alice:\nbob:\n") << "no keys for whom the node denies";
}

TEST_F(MirrorTest, SomebodyWhoMovedBetweenTwoPagesIsNotMissed) {
  std::vector<std::string> four;
  for (std::uint32_t i = 0; i < 4; ++i) {
    four.push_back(person("user" + std::to_string(i), 20000 + i));
  }
  people(four);
  scim_.set_groups({group("eng", 30001, {"user1"})});
  scim_.set_page_size(2);
  int asked = 0;
  scim_.set_intercept([&](const http::Request& request) -> std::optional<http::Response> {
    if (!request.path.ends_with("Users") || ++asked != 2) return std::nullopt;
    // user0 was deleted meanwhile, so that user2 is on the first page now.
    return json_list(R"({"totalResults":3,"startIndex":3,"itemsPerPage":1,"Resources":[)" +
                     four[3] + "]}");
  });
  const PassResult result = run();
  EXPECT_TRUE(result.ok()) << error_of(result);
  EXPECT_THAT(map("passwd"), HasSubstr("user2"));
  EXPECT_EQ(asked, 4) << "read again";
}

TEST_F(MirrorTest, AListThatNeverRestsIsNotBelieved) {
  ASSERT_TRUE(run().ok());
  const std::string before = map("passwd");
  scim_.set_page_size(1);
  scim_.set_intercept([](const http::Request& request) -> std::optional<http::Response> {
    if (!request.query.contains("startIndex=2")) return std::nullopt;
    return json_list(R"({"totalResults":3,"startIndex":2,"itemsPerPage":2,"Resources":[)" +
                     person("bob", 20002) + "," + person("carol", 20003) + "]}");
  });
  EXPECT_THAT(error_of(run()), HasSubstr("keep changing"));
  EXPECT_EQ(map("passwd"), before);
}

TEST_F(MirrorTest, WhatIsRefusedIsToldUntilItIsMended) {
  scim_.set_etags(true);
  people({person("alice", 20001), person("Bad", 20002)});
  scim_.set_groups({group("eng", 30001, {"alice"})});
  ASSERT_EQ(run().refusals.size(), 1U);
  const PassResult result = run();
  EXPECT_TRUE(result.conditional);
  EXPECT_EQ(result.people, 1U);
  EXPECT_EQ(of(result, Map::kPasswd).entries, 1U);
  EXPECT_THAT(reasons(result), HasSubstr("user Bad"));
  EXPECT_EQ(result.refused.at("user"), 1U);
}

TEST_F(MirrorTest, ATargetMissesNoPassOfSomebodyElse) {
  scim_.set_etags(true);
  FakeTarget target;
  const PassOptions with_target{.targets = {&target}};
  ASSERT_TRUE(run(with_target).ok());
  EXPECT_TRUE(run(with_target).conditional);
  EXPECT_EQ(target.confirmed, 1);
  people({person("bob", 20002)});
  ASSERT_TRUE(run().ok()) << "as from a cron job, without the target";
  EXPECT_EQ(target.people, 2U);
  EXPECT_FALSE(run(with_target).conditional);
  EXPECT_EQ(target.people, 1U);
}

TEST_F(MirrorTest, AStopEndsAPassBetweenTwoRequests) {
  stopped_ = true;
  EXPECT_THAT(error_of(run()), HasSubstr("stopping"));
  EXPECT_THAT(scim_.requests(), IsEmpty());
}

TEST_F(MirrorTest, LeftoversOfAKilledPassGo) {
  std::ofstream(directory_ / ".passwd.cache.4711.0.tmp") << "half";
  std::ofstream(directory_ / ".passwd.cache.ixname.4711.1.tmp") << "half";
  std::ofstream(directory_ / ".other.tmp") << "not ours";
  std::ofstream(directory_ / ".roster-mirror.json.ids.1.0.tmp") << "half";
  std::ofstream(directory_ / ".timestamp-passwd-update.1.0.tmp") << "half";
  ASSERT_TRUE(run().ok());
  std::set<std::string> hidden;
  for (const auto& entry : std::filesystem::directory_iterator(directory_)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with('.')) hidden.insert(name);
  }
  EXPECT_THAT(hidden, ElementsAre(".other.tmp"));
}

TEST_F(MirrorTest, OnePassAtATime) {
  const auto path = directory_ / "lock";
  const auto held = PassLock::take(path);
  ASSERT_TRUE(held);
  const pid_t child = ::fork();
  if (child == 0) {
    const auto second = PassLock::take(path);
    ::_exit(!second && second.error().code == Code::kAlreadyExists &&
                    second.error().message.contains(std::to_string(::getppid()))
                ? 0
                : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST_F(MirrorTest, TheReportIsJsonAndMetrics) {
  people({person("alice", 20001), person("Bad", 20002)});
  const PassResult result = run();
  const auto parsed = json::parse(result.to_json(now_));
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->at("ok"), true);
  EXPECT_EQ(parsed->at("maps").at("passwd").at("outcome"), "published");
  EXPECT_EQ(parsed->at("refused").at("user"), 1);
  Metrics metrics;
  result.record(metrics, now_);
  EXPECT_THAT(metrics.render(), AllOf(HasSubstr("\nroster_mirror_ok 1\n"),
                                      HasSubstr("roster_mirror_map_entries{map=\"passwd\"} 1\n"),
                                      HasSubstr("roster_mirror_refused{kind=\"user\"} 1\n")));
}

}  // namespace
}  // namespace roster::mirror
