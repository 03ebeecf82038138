#include "sync/activate_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <fstream>

#include "sync/testing/fake_activate.h"
#include "sync/testing/gathered.h"

namespace roster::sync {
namespace {

using reconcile::Text;
using std::chrono::milliseconds;
using testing::activate_user;
using ::testing::ElementsAre;
using testing::FakeActivate;
using testing::Gathered;
using ::testing::HasSubstr;
using testing::json_answer;
using ::testing::Not;

constexpr std::string_view kKey =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDl+q0X1a1/4hdDQhcFZash8ixRtAYmqExggJPRSmsTP";

class ActivateTest : public ::testing::Test {
 protected:
  ActivateTest() {
    char pattern[] = "/tmp/roster-activate-XXXXXX";
    directory_ = ::mkdtemp(pattern);
  }
  ~ActivateTest() override { std::filesystem::remove_all(directory_); }

  Surroundings surroundings() {
    return {.pause =
                [this](milliseconds time) {
                  if (time.count() > 0) {
                    ++pauses_;
                    longest_ = std::max(longest_, time);
                  }
                  return false;
                },
            .clock = [] { return *parse_rfc3339("2026-11-22T00:00:00Z"); },
            .random = [](std::span<std::uint8_t> out) { std::ranges::fill(out, std::uint8_t{9}); }};
  }
  ActivateOptions options() {
    ActivateOptions made;
    made.url = platform_.url();
    made.credential = Secret(testing::api_key_for(platform_.host()));
    made.page_size = 10;
    return made;
  }
  Result<void> read(const ActivateOptions& with, Gathered& got) {
    auto source = open_activate(with, surroundings());
    if (!source) return std::unexpected(source.error());
    return (*source)->read(got.intake());
  }
  /// A `pw` that is this shell script.
  std::filesystem::path pw(const std::string& script) {
    const auto path = directory_ / "pw";
    std::ofstream(path) << "#!/bin/sh\n" << script;
    ::chmod(path.c_str(), 0755);
    return path;
  }
  void set_users(int count) {
    std::vector<std::string> users;
    for (int n = 0; n < count; ++n) users.push_back(activate_user(n, n != 1));
    platform_.set_users(std::move(users));
  }

  FakeActivate platform_;
  std::filesystem::path directory_;
  std::atomic<int> pauses_{0};
  milliseconds longest_{0};
};

TEST_F(ActivateTest, TellsUsersAndGroups) {
  set_users(25);
  platform_.add_group("dev", "g-dev", {0, 3, 24});
  platform_.add_group("no id", "", {});
  Gathered got;
  const auto done = read(options(), got);
  ASSERT_TRUE(done) << done.error().message;
  ASSERT_EQ(got.people.size(), 25u);
  const auto& person = got.people.at("User.3");
  EXPECT_EQ(person.user_name, "User.3");
  EXPECT_EQ(person.text(Text::kDisplayName), "User 3 Example");
  EXPECT_EQ(person.text(Text::kEmail), "u3@example.org");
  EXPECT_FALSE(person.text(Text::kGivenName));
  EXPECT_FALSE(person.ssh_keys);
  EXPECT_TRUE(person.active);
  EXPECT_FALSE(got.people.at("User.1").active);
  EXPECT_THAT(got.groups.at("g-dev").members, ElementsAre("User.0", "User.3", "User.24"));
  EXPECT_EQ(got.groups.at("no id").name, "no id");
  EXPECT_EQ(platform_.count("GET /api/organizations/my%20org/users?limit=10&skip=0&active=all"),
            1u);
  EXPECT_EQ(platform_.count("/users?"), 3u);
  EXPECT_EQ(platform_.count("/groups?"), 2u);
}

TEST_F(ActivateTest, KeysMayBeIdsOrAddresses) {
  set_users(2);
  platform_.add_group("dev", "g-dev", {1});
  ActivateOptions with = options();
  with.user_key = "id";
  Gathered by_id;
  ASSERT_TRUE(read(with, by_id));
  EXPECT_EQ(by_id.people.at("id-1").user_name, "User.1");
  EXPECT_THAT(by_id.groups.at("g-dev").members, ElementsAre("id-1"));
  with.user_key = "email";
  Gathered by_address;
  ASSERT_TRUE(read(with, by_address));
  EXPECT_THAT(by_address.groups.at("g-dev").members, ElementsAre("u1@example.org"));
  EXPECT_TRUE(by_address.people.contains("u1@example.org"));
}

TEST_F(ActivateTest, TokensAreBearers) {
  ActivateOptions with = options();
  with.credential = Secret("a.b.c");
  Gathered got;
  EXPECT_TRUE(read(with, got));
  with.credential = Secret("x.y.z");
  const auto refused = read(with, got);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kUnauthenticated);
  EXPECT_EQ(pauses_, 0) << "what is refused is not asked again";
}

TEST_F(ActivateTest, AListThatMovesIsReadAgain) {
  // Somebody before the boundary goes between two pages: without the overlap, the eleventh would be
  // passed over and then deactivated, and the total alone would not tell when another one came.
  set_users(25);
  int asked = 0;
  platform_.set_intercept([&asked](const http::Request& request) -> std::optional<http::Response> {
    if (!request.path.ends_with("/users") || ++asked != 2) return std::nullopt;
    std::string users;
    for (int n = 10; n < 20; ++n) users += (users.empty() ? "" : ",") + activate_user(n);
    return json_answer(200, R"({"total":25,"users":[)" + users + "]}");
  });
  Gathered got;
  const auto done = read(options(), got);
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(got.people.size(), 25u);
  EXPECT_EQ(asked, 2 + 3);
}

TEST_F(ActivateTest, ListsThatLeadNowhereAreErrors) {
  set_users(25);
  const struct {
    std::string_view what;
    std::function<std::string(int)> users;
  } cases[] = {
      {"always the first page",
       [](int) {
         return R"({"total":25,"users":[)" + activate_user(0) + "," + activate_user(1) + "]}";
       }},
      {"a total that grows",
       [](int n) {
         return R"({"total":)" + std::to_string(25 + n) + R"(,"users":[)" + activate_user(0) + "]}";
       }},
      {"fewer than promised", [](int) { return std::string(R"({"total":25,"users":[]})"); }},
      {"somebody twice",
       [](int) {
         return R"({"total":2,"users":[)" + activate_user(0) + "," + activate_user(0) + "]}";
       }},
      {"more than promised",
       [](int) {
         return R"({"total":1,"users":[)" + activate_user(0) + "," + activate_user(1) + "]}";
       }},
      {"a gateway's page", [](int) { return std::string("<html>Welcome</html>"); }},
  };
  for (const auto& a_case : cases) {
    int asked = 0;
    platform_.set_intercept(
        [&asked, &a_case](const http::Request& request) -> std::optional<http::Response> {
          if (!request.path.ends_with("/users")) return std::nullopt;
          return json_answer(200, a_case.users(asked++));
        });
    Gathered got;
    const auto done = read(options(), got);
    ASSERT_FALSE(done) << a_case.what;
    EXPECT_TRUE(got.people.empty());
    EXPECT_LT(asked, 20) << a_case.what;
  }
}

TEST_F(ActivateTest, AServerThatDoesNotPageGroupsIsUnderstood) {
  for (int n = 0; n < 30; ++n) platform_.add_group("g" + std::to_string(n), "", {});
  Gathered paged;
  ASSERT_TRUE(read(options(), paged));
  EXPECT_EQ(paged.groups.size(), 30u);
  platform_.set_pages_groups(false);
  Gathered whole;
  ASSERT_TRUE(read(options(), whole));
  EXPECT_EQ(whole.groups.size(), 30u);
}

TEST_F(ActivateTest, TemporaryTroubleIsTriedAgain) {
  set_users(3);
  int asked = 0;
  platform_.set_intercept([&asked](const http::Request& request) -> std::optional<http::Response> {
    if (!request.path.ends_with("/users")) return std::nullopt;
    switch (asked++) {
      case 0: {
        http::Response busy = json_answer(429, "{}");
        busy.headers.set("Retry-After", "7");
        return busy;
      }
      case 1:
        return json_answer(502, "<html>");
      case 2: {
        http::Response later = json_answer(503, "{}");
        later.headers.set("Retry-After", "Sun, 22 Nov 2026 00:00:09 GMT");
        return later;
      }
      default:
        return std::nullopt;
    }
  });
  Gathered got;
  const auto done = read(options(), got);
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(pauses_, 3);
  EXPECT_EQ(longest_, milliseconds(9'000));

  asked = 0;
  platform_.set_intercept([&asked](const http::Request& request) -> std::optional<http::Response> {
    if (!request.path.ends_with("/users")) return std::nullopt;
    ++asked;
    return json_answer(500, "{}");
  });
  const auto never = read(options(), got);
  ASSERT_FALSE(never);
  EXPECT_EQ(never.error().code, Code::kUnavailable);
  EXPECT_EQ(asked, 5);
}

TEST_F(ActivateTest, AGroupThatGoesMeanwhileIsNotTakenForEmpty) {
  platform_.add_group("dev", "g", {0});
  platform_.set_intercept([](const http::Request& request) -> std::optional<http::Response> {
    if (!request.path.ends_with("/members")) return std::nullopt;
    return json_answer(404, "{}");
  });
  Gathered got;
  const auto done = read(options(), got);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, Code::kUnavailable);
}

TEST_F(ActivateTest, AMemberListThatIsCutIsNotBelieved) {
  set_users(3);
  platform_.add_group("dev", "g-dev", {0, 1, 2});
  platform_.add_group("hidden", "g-hidden", {0});
  platform_.add_group("whole", "g-whole", {1});
  platform_.set_intercept([](const http::Request& request) -> std::optional<http::Response> {
    if (request.path.ends_with("/dev/members")) {
      return json_answer(200, R"([{"username":"User.0","id":"id-0","email":"u0@example.org"}])");
    }
    if (request.path.ends_with("/hidden/members")) return json_answer(200, "null");
    return std::nullopt;
  });
  Gathered got;
  const auto done = read(options(), got);
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_THAT(got.groups.at("g-whole").members, ElementsAre("User.1"));
  EXPECT_THAT(got.groups.at("g-dev").members, ElementsAre("User.0")) << "and perhaps others";
  EXPECT_THAT(got.kept_groups.at("g-dev"), HasSubstr("group dev: has 3 members, and 1 are listed"));
  EXPECT_THAT(got.kept_groups.at("g-hidden"), HasSubstr("has 1 members, and 0 are listed"));
  EXPECT_EQ(platform_.count("/dev/members"), 3u);
  EXPECT_EQ(platform_.count("/whole/members"), 1u) << "what is whole is not read again";
}

TEST_F(ActivateTest, AMemberListThatWasCutOnceIsReadAgain) {
  set_users(2);
  platform_.add_group("dev", "g-dev", {0, 1});
  int asked = 0;
  platform_.set_intercept([&asked](const http::Request& request) -> std::optional<http::Response> {
    if (!request.path.ends_with("/members") || ++asked > 1) return std::nullopt;
    return json_answer(200, "[]");
  });
  Gathered got;
  const auto done = read(options(), got);
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_THAT(got.groups.at("g-dev").members, ElementsAre("User.0", "User.1"));
  EXPECT_TRUE(got.kept_groups.empty());

  // Somebody leaves between the list of groups and the group's: its count is read again, too.
  int groups = 0;
  platform_.set_intercept([&groups](const http::Request& request) -> std::optional<http::Response> {
    if (!request.path.ends_with("/groups") || ++groups > 1) return std::nullopt;
    return json_answer(200, R"([{"name":"dev","id":"g-dev","members":3}])");
  });
  Gathered later;
  ASSERT_TRUE(read(options(), later));
  EXPECT_EQ(later.groups.at("g-dev").members.size(), 2u);
  EXPECT_TRUE(later.kept_groups.empty());
}

TEST_F(ActivateTest, KeysComeFromPw) {
  set_users(4);
  ActivateOptions with = options();
  // The key is in the environment, and nothing of it among the arguments.
  with.pw_program = pw("[ \"$PW_API_KEY\" = '" + with.credential.expose() + "' ] || exit 9\n" +
                       "case \"$*\" in *secret*) exit 8;; esac\n" +
                       "[ \"$1 $3\" = 'ssh-public-keys --platform-host' ] || exit 7\n" +
                       "[ \"$4\" = '" + platform_.host() + "' ] || exit 6\n" +
                       "case $2 in\n"
                       "User.0) echo '" +
                       std::string(kKey) + " a'; echo; echo '" + std::string(kKey) +
                       " b';;\n"
                       "User.2) echo 'command=\"/bin/sh\" " +
                       std::string(kKey) +
                       "'; echo '# none';;\n"
                       "User.3) echo \"the key is $PW_API_KEY\" >&2; exit 3;;\n"
                       "*) exit 5;;\nesac\n");
  Gathered got;
  const auto done = read(with, got);
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_THAT(*got.people.at("User.0").ssh_keys, ElementsAre(std::string(kKey) + " a"));
  EXPECT_FALSE(got.people.at("User.1").ssh_keys) << "not active: not asked";
  EXPECT_THAT(got.kept.at("User.2"), HasSubstr("no SSH key"));
  EXPECT_THAT(got.said(), HasSubstr("person User.2: SSH key 1 of 1 is left out"));
  EXPECT_FALSE(got.people.contains("User.3"));
  EXPECT_THAT(got.kept.at("User.3"), HasSubstr("pw ended with status 3: the key is (credential)"));
  EXPECT_THAT(got.kept.at("User.3"), Not(HasSubstr("secret")));
}

TEST_F(ActivateTest, PwThatHangsKeepsThePerson) {
  set_users(1);
  ActivateOptions with = options();
  with.pw_program = pw("exec /bin/sleep 600\n");
  with.pw_timeout = milliseconds(50);
  Gathered got;
  ASSERT_TRUE(read(with, got));
  EXPECT_THAT(got.kept.at("User.0"), HasSubstr("did not end within 50 ms"));
}

TEST_F(ActivateTest, PwThatFailsForEverybodyIsAnError) {
  set_users(200);
  ActivateOptions with = options();
  with.pw_program =
      pw("echo 'not signed in' >&2; echo x >> " + (directory_ / "runs").string() + "; exit 1\n");
  with.parallel = 2;
  Gathered got;
  const auto done = read(with, got);
  ASSERT_FALSE(done);
  EXPECT_THAT(done.error().message, HasSubstr("not signed in"));
  EXPECT_LE(std::filesystem::file_size(directory_ / "runs"), 2u * 25);
  EXPECT_TRUE(got.people.empty());

  with.pw_program = directory_ / "absent";
  const auto absent = read(with, got);
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().code, Code::kFailedPrecondition);
}

TEST_F(ActivateTest, NamesThatLookLikeOptionsAreNotGivenToPw) {
  platform_.set_users({R"({"id":"1","username":"--context","active":true})"});
  ActivateOptions with = options();
  with.pw_program = pw("exit 0\n");
  Gathered got;
  ASSERT_TRUE(read(with, got));
  EXPECT_THAT(got.kept.at("--context"), HasSubstr("the name cannot be given to pw"));
}

TEST_F(ActivateTest, AScopeOfGroupsSparesTheRest) {
  set_users(3);
  platform_.add_group("Dev", "g-dev", {0});
  platform_.add_group("other", "g-other", {2});
  ActivateOptions with = options();
  with.groups = {"dev"};
  with.pw_program = pw("echo '" + std::string(kKey) + "'\n");
  Gathered got;
  ASSERT_TRUE(read(with, got));
  EXPECT_EQ(got.groups.size(), 1u);
  EXPECT_EQ(platform_.count("/members"), 1u);
  EXPECT_TRUE(got.people.at("User.0").ssh_keys);
  EXPECT_FALSE(got.people.at("User.2").ssh_keys);
  EXPECT_EQ(got.people.size(), 3u);
}

TEST_F(ActivateTest, RefusesWhatMakesNoSense) {
  const auto refused = [this](const std::function<void(ActivateOptions&)>& edit) {
    ActivateOptions with = options();
    edit(with);
    const auto source = open_activate(with, surroundings());
    return !source && source.error().code == Code::kInvalidArgument &&
           !source.error().message.contains("0123456789secret");
  };
  EXPECT_TRUE(refused([](ActivateOptions& o) { o.credential = Secret(); }));
  EXPECT_TRUE(refused([](ActivateOptions& o) { o.credential = Secret("pwt_x\r\nX: y"); }));
  EXPECT_TRUE(refused([](ActivateOptions& o) { o.user_key = "uid"; }));
  EXPECT_TRUE(refused([](ActivateOptions& o) { o.page_size = 0; }));
  EXPECT_TRUE(refused([](ActivateOptions& o) { o.parallel = 0; }));
  EXPECT_TRUE(refused([](ActivateOptions& o) { o.url = "https://host/path"; }));
  EXPECT_TRUE(refused([](ActivateOptions& o) { o.pw_program = "pw"; }));
  EXPECT_TRUE(refused([](ActivateOptions& o) {
    o.credential = Secret("a.b.c");
    o.pw_program = "/usr/bin/pw";
  }));
  ActivateOptions with = options();
  with.url = "";
  const auto source = open_activate(with, surroundings());
  ASSERT_TRUE(source);
  EXPECT_EQ((*source)->describe(), "activate https://" + platform_.host());
}

}  // namespace
}  // namespace roster::sync
