#include "kubernetes/secret_publisher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <algorithm>
#include <thread>

#include "base/fd.h"
#include "base/file.h"
#include "kubernetes/answers.h"
#include "kubernetes/testing/api_server.h"

namespace roster::kubernetes {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ApiServer;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kPasswd = "slurm-nsscache-passwd";
constexpr const char* kGroup = "slurm-nsscache-group";

/// A publisher whose waits take no time but count.
class PublisherTest : public ::testing::Test {
 protected:
  SecretPublisher publisher(const std::function<void(PublisherOptions&)>& adjust = {}) {
    PublisherOptions options;
    options.api_url = server.url();
    options.service_account = server.service_account();
    options.clock = [this] { return now; };
    options.pause = [this](milliseconds time) {
      waits.push_back(time);
      now += time;
      return false;
    };
    if (adjust) adjust(options);
    auto made = SecretPublisher::create(std::move(options));
    CHECK(made);
    return std::move(*made);
  }

  static MapReport only(const PublishReport& report) {
    CHECK(report.maps.size() == 1);
    return report.maps.front();
  }

  MapReport publish_one(SecretPublisher& by, std::string_view bytes = "alice:x:1:1:::\n") {
    const std::vector<MapText> maps{{"passwd", bytes}};
    return only(by.publish(maps));
  }

  std::string passwd() const {
    const auto data = server.secret(kPasswd).data;
    const auto found = data.find("passwd.cache");
    return found == data.end() ? "" : found->second;
  }

  ApiServer server;
  milliseconds now{0};
  std::vector<milliseconds> waits;
};

TEST_F(PublisherTest, MapsBecomeSecretsAndAnUnchangedPassWritesNothing) {
  auto by = publisher();
  const std::string binary("a\0\xFF\n", 4);
  const std::vector<MapText> maps{
      {"passwd", "alice:x:1:1:::\n"}, {"group", binary}, {"shadow", ""}};
  const PublishReport first = by.publish(maps);
  ASSERT_TRUE(first.ok()) << first.maps[0].error->message;
  EXPECT_EQ(first.maps[0].outcome, Outcome::kCreated);
  EXPECT_EQ(first.maps[0].secret, kPasswd);
  EXPECT_EQ(server.secret(kPasswd).data.at("passwd.cache"), "alice:x:1:1:::\n");
  EXPECT_EQ(server.secret(kGroup).data.at("group.cache"), binary);
  EXPECT_EQ(server.secret("slurm-nsscache-shadow").data.at("shadow.cache"), "");
  EXPECT_TRUE(server.secret(kPasswd).managers.contains("roster-agent"));

  const std::size_t writes = server.writes();
  const PublishReport second = by.publish(maps);
  EXPECT_TRUE(second.ok());
  for (const MapReport& map : second.maps) EXPECT_EQ(map.outcome, Outcome::kUnchanged);
  EXPECT_EQ(server.writes(), writes);
  EXPECT_EQ(std::ranges::count_if(server.requests(),
                                  [](const auto& line) { return line.starts_with("PATCH"); }),
            3);
  EXPECT_EQ(publish_one(by, "bob:x:2:2:::\n").outcome, Outcome::kUpdated);
  EXPECT_EQ(passwd(), "bob:x:2:2:::\n");
  EXPECT_THAT(waits, ElementsAre());
}

TEST_F(PublisherTest, ReachesAServerByItsIPv6Address) {
  const UniqueFd probe(::socket(AF_INET6, SOCK_STREAM, 0));
  sockaddr_in6 loopback{};
  loopback.sin6_family = AF_INET6;
  loopback.sin6_addr = in6addr_loopback;
  if (::bind(probe.get(), reinterpret_cast<const sockaddr*>(&loopback), sizeof loopback) != 0) {
    GTEST_SKIP() << "no IPv6 here";
  }
  ApiServer six("::1");
  auto by = publisher([&](PublisherOptions& options) {
    options.api_url = six.url();
    options.service_account = six.service_account();
  });
  EXPECT_EQ(publish_one(by).outcome, Outcome::kCreated);
}

TEST_F(PublisherTest, OtherKeysAndTheirManagersStay) {
  server.put(kPasswd, "note", "by hand", "kubectl-edit");
  auto by = publisher();
  EXPECT_EQ(publish_one(by).outcome, Outcome::kUpdated);
  EXPECT_EQ(server.secret(kPasswd).data.at("note"), "by hand");
}

TEST_F(PublisherTest, AnotherManagersKeyIsReportedNotTaken) {
  // The CronJob that ran before: two writers of one passwd map would flap between two truths.
  server.put(kPasswd, "passwd.cache", "old", "nsscache-cronjob");
  auto by = publisher();
  const std::vector<MapText> maps{{"passwd", "new"}, {"group", "g"}};
  const PublishReport report = by.publish(maps);
  EXPECT_FALSE(report.ok());
  ASSERT_TRUE(report.maps[0].error);
  EXPECT_EQ(report.maps[0].error->code, Code::kFailedPrecondition);
  EXPECT_THAT(report.maps[0].error->message, HasSubstr("\"nsscache-cronjob\""));
  EXPECT_THAT(report.maps[0].error->message, HasSubstr(".data.passwd.cache"));
  EXPECT_THAT(report.maps[0].error->message, HasSubstr("force"));
  EXPECT_EQ(report.maps[1].outcome, Outcome::kCreated);  // the others go on
  EXPECT_EQ(passwd(), "old");
  EXPECT_THAT(waits, ElementsAre());  // waiting would not help

  auto forced = publisher([](PublisherOptions& options) { options.force = true; });
  EXPECT_EQ(publish_one(forced, "new").outcome, Outcome::kUpdated);
  EXPECT_EQ(passwd(), "new");
  // From then on it is ours, without force.
  EXPECT_EQ(publish_one(by, "newer").outcome, Outcome::kUpdated);
}

TEST_F(PublisherTest, WhatChangedSinceItWasReadIsReadAgain) {
  auto by = publisher();
  ASSERT_EQ(publish_one(by, "one").outcome, Outcome::kCreated);
  server.before_next_apply([this] { server.put(kPasswd, "note", "x", "kubectl-edit"); });
  EXPECT_EQ(publish_one(by, "two").outcome, Outcome::kUpdated);
  EXPECT_EQ(waits.size(), 1U);
  EXPECT_EQ(passwd(), "two");
  // Deleted in between: made anew.
  server.before_next_apply([this] { server.remove(kPasswd); });
  EXPECT_EQ(publish_one(by, "three").outcome, Outcome::kCreated);
  EXPECT_EQ(passwd(), "three");
  // The same, from a server that says so by 404.
  const std::string was = R"({"kind":"Secret","apiVersion":"v1","metadata":{"name":")" +
                          std::string(kPasswd) + R"(","resourceVersion":"1"}})";
  server.remove(kPasswd);
  server.fail_next({{200, "", "", was}, {404, "NotFound"}});
  EXPECT_EQ(publish_one(by, "four").outcome, Outcome::kCreated);
}

TEST_F(PublisherTest, ConflictsEndAfterABoundedNumberOfAttempts) {
  auto by = publisher([](PublisherOptions& options) { options.attempts_max = 4; });
  server.fail_next(std::vector<ApiServer::Fault>(50, {409, "Conflict"}));
  const MapReport report = publish_one(by);
  ASSERT_TRUE(report.error);
  EXPECT_EQ(report.error->code, Code::kUnavailable);
  EXPECT_THAT(report.error->message, HasSubstr("after 4 attempts"));
  EXPECT_EQ(server.requests().size(), 4U);
  EXPECT_EQ(waits.size(), 3U);
}

TEST_F(PublisherTest, ATokenThatTheKubeletReplacedIsUsed) {
  auto by = publisher();
  ASSERT_EQ(publish_one(by, "one").outcome, Outcome::kCreated);
  // Before it ends: taken with the next request, no refusal seen.
  server.write_token("token-2");
  server.accept({"token-2"});
  EXPECT_EQ(publish_one(by, "two").outcome, Outcome::kUpdated);
  // Ends while a pass runs: the refusal makes it look again, and nobody waits.
  server.fail_next({{.status = 401, .reason = "Unauthorized", .also = [this] {
                       server.write_token("token-3");
                       server.accept({"token-3"});
                     }}});
  EXPECT_EQ(publish_one(by, "three").outcome, Outcome::kUpdated);
  EXPECT_THAT(waits, ElementsAre());
}

TEST_F(PublisherTest, AnExpiredTokenIsWaitedForAndThenReported) {
  auto by = publisher([this](PublisherOptions& options) {
    options.pause = [this](milliseconds time) {
      waits.push_back(time);
      if (waits.size() == 2) server.write_token("token-2");
      return false;
    };
  });
  server.accept({"token-2"});
  EXPECT_EQ(publish_one(by).outcome, Outcome::kCreated);
  EXPECT_EQ(waits.size(), 2U);

  server.accept({});
  const std::vector<MapText> maps{{"passwd", "x"}, {"group", "y"}};
  const std::size_t before = server.requests().size();
  const PublishReport report = by.publish(maps);
  for (const MapReport& map : report.maps) {
    ASSERT_TRUE(map.error);
    EXPECT_EQ(map.error->code, Code::kUnauthenticated);
    EXPECT_THAT(map.error->message, Not(HasSubstr("token-2")));
  }
  EXPECT_EQ(server.requests().size() - before, 6U);  // the second map is not tried
}

TEST_F(PublisherTest, PassingTroubleIsTriedAgain) {
  for (const auto& [status, reason] :
       std::vector<std::pair<int, std::string>>{{410, "Expired"},
                                                {429, "TooManyRequests"},
                                                {500, "InternalError"},
                                                {502, ""},
                                                {503, "ServiceUnavailable"},
                                                {504, "Timeout"}}) {
    waits.clear();
    auto by = publisher();
    server.fail_next({{status, reason}, {status, reason}});
    EXPECT_NE(publish_one(by, reason).outcome, Outcome::kFailed) << status;
    EXPECT_EQ(waits.size(), 2U);
    EXPECT_LE(waits[0], milliseconds(250));
    EXPECT_GE(waits[1], milliseconds(250));
  }
}

TEST_F(PublisherTest, RetryAfterIsKeptAndALongOneEndsThePass) {
  auto by = publisher();
  server.fail_next({{429, "TooManyRequests", "7"}});
  EXPECT_EQ(publish_one(by).outcome, Outcome::kCreated);
  EXPECT_THAT(waits, ElementsAre(seconds(7)));

  waits.clear();
  server.fail_next({{429, "TooManyRequests", "40"}});
  const std::vector<MapText> maps{{"passwd", "x"}, {"group", "y"}};
  const PublishReport report = by.publish(maps);
  EXPECT_EQ(report.maps[0].error->code, Code::kUnavailable);
  EXPECT_THAT(report.maps[0].error->message, HasSubstr("next pass"));
  EXPECT_EQ(report.maps[1].outcome, Outcome::kFailed);
  EXPECT_THAT(waits, ElementsAre());
}

TEST_F(PublisherTest, APassEndsAtItsTime) {
  auto by = publisher([](PublisherOptions& options) {
    options.attempts_max = 1'000;
    options.pass_timeout = seconds(60);
  });
  server.fail_next(std::vector<ApiServer::Fault>(500, {503, "ServiceUnavailable", "20"}));
  EXPECT_EQ(publish_one(by).outcome, Outcome::kFailed);
  EXPECT_THAT(waits, ElementsAre(seconds(20), seconds(20), seconds(20)));
}

TEST_F(PublisherTest, AMapOverTheLimitIsRefusedAndTheOthersArePublished) {
  auto by = publisher();
  const std::string fits(kSecretBytesMax, 'a');
  const std::string over(kSecretBytesMax + 1, 'a');
  const std::vector<MapText> maps{{"passwd", over}, {"group", fits}};
  const PublishReport report = by.publish(maps);
  ASSERT_TRUE(report.maps[0].error);
  EXPECT_EQ(report.maps[0].error->code, Code::kTooLarge);
  EXPECT_THAT(report.maps[0].error->message, HasSubstr("map passwd has 1048577 bytes"));
  EXPECT_THAT(report.maps[0].error->message, HasSubstr("1048576"));
  EXPECT_THAT(report.maps[0].error->message, HasSubstr("DaemonSet"));
  EXPECT_EQ(report.maps[1].outcome, Outcome::kCreated);
  EXPECT_FALSE(server.has(kPasswd));
  // What others keep in the Secret counts as well.
  server.put(kPasswd, "note", "1234", "kubectl-edit");
  EXPECT_THAT(publish_one(by, fits).error->message, HasSubstr("4 more under other keys"));
}

TEST_F(PublisherTest, RefusalsSayWhatToDo) {
  auto by = publisher();
  server.allow_only({kGroup});
  const std::vector<MapText> maps{{"passwd", "x"}, {"group", "y"}};
  const PublishReport denied = by.publish(maps);
  EXPECT_EQ(denied.maps[0].error->code, Code::kPermissionDenied);
  EXPECT_THAT(denied.maps[0].error->message, HasSubstr("Role"));
  EXPECT_EQ(denied.maps[1].outcome, Outcome::kCreated);
  server.set_immutable(kGroup);
  const std::vector<MapText> group{{"group", "z"}};
  EXPECT_THAT(only(by.publish(group)).error->message, HasSubstr("immutable"));
  const std::size_t before = server.requests().size();
  for (const std::string name : {"", "Passwd", "pass_wd", "../group", "pass/wd", "a b"}) {
    const std::vector<MapText> bad{{name, "z"}};
    EXPECT_EQ(only(by.publish(bad)).error->code, Code::kInvalidArgument) << name;
  }
  EXPECT_EQ(server.requests().size(), before);
  auto elsewhere = publisher([](PublisherOptions& options) { options.namespace_name = "other"; });
  EXPECT_EQ(publish_one(elsewhere).error->code, Code::kNotFound);
}

TEST_F(PublisherTest, ARefusalThatQuotesTheDocumentIsNotRepeated) {
  auto by = publisher();
  for (const int status : {400, 413, 415, 422}) {
    const std::string body = R"({"kind":"Status","reason":"Invalid","message":"YWxpY2U6 alice",)"
                             R"("details":{"causes":[{"reason":"FieldValueInvalid","field":"data",)"
                             R"("message":"YWxpY2U6"}]}})";
    server.fail_next({{404, "NotFound"}, {status, "", "", body}});
    const MapReport report = publish_one(by);
    ASSERT_TRUE(report.error) << status;
    EXPECT_THAT(report.error->message, Not(HasSubstr("alice")));
    EXPECT_THAT(report.error->message, Not(HasSubstr("YWxp")));
    EXPECT_THAT(report.error->message, HasSubstr("data (FieldValueInvalid)"));
  }
}

TEST_F(PublisherTest, AnswersThatAreNoneAreNotBelieved) {
  auto by = publisher([](PublisherOptions& options) { options.attempts_max = 2; });
  const std::string other =
      R"({"kind":"Secret","apiVersion":"v1","metadata":{"name":"x","resourceVersion":"1"}})";
  for (const std::string& body : {std::string("<html>"), other}) {
    server.fail_next({{200, "", "", body}, {200, "", "", body}});
    EXPECT_EQ(publish_one(by).error->code, Code::kUnavailable);
  }
  // Nobody is followed elsewhere with the token.
  server.fail_next({{302, ""}});
  EXPECT_EQ(publish_one(by).outcome, Outcome::kFailed);
  EXPECT_FALSE(server.has(kPasswd));
}

TEST_F(PublisherTest, AServerOfAnotherAuthorityGetsNoToken) {
  ApiServer other;
  auto by = publisher([&](PublisherOptions& options) {
    options.api_url = other.url();
    options.attempts_max = 2;
  });
  EXPECT_EQ(publish_one(by).error->code, Code::kUnavailable);
  EXPECT_THAT(other.requests(), ElementsAre());
}

TEST_F(PublisherTest, ThePodsEnvironmentSaysWhereTheServerIs) {
  const std::string url = server.url();
  ::setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1", 1);
  ::setenv("KUBERNETES_SERVICE_PORT", url.substr(url.rfind(':') + 1).c_str(), 1);
  auto by = publisher([](PublisherOptions& options) { options.api_url.clear(); });
  EXPECT_EQ(publish_one(by).outcome, Outcome::kCreated);
}

TEST_F(PublisherTest, OutsideOfAPodTheErrorSaysSo) {
  ::unsetenv("KUBERNETES_SERVICE_HOST");
  PublisherOptions options;
  options.service_account = server.service_account();
  EXPECT_EQ(SecretPublisher::create(options).error().code, Code::kFailedPrecondition);
  options.api_url = server.url();
  ASSERT_TRUE(SecretPublisher::create(options));
  options.secret_prefix = "Slurm_";
  EXPECT_EQ(SecretPublisher::create(options).error().code, Code::kInvalidArgument);
  options.secret_prefix = "x-";
  options.field_manager = "";
  EXPECT_EQ(SecretPublisher::create(options).error().code, Code::kInvalidArgument);
  options.field_manager = "m";
  std::filesystem::remove(server.service_account() / "token");
  const auto no_token = SecretPublisher::create(options);
  EXPECT_EQ(no_token.error().code, Code::kFailedPrecondition);
  EXPECT_THAT(no_token.error().message, HasSubstr("automountServiceAccountToken"));
  // A damaged file cannot add header fields.
  server.write_token("a\r\nX: y");
  EXPECT_EQ(SecretPublisher::create(options).error().code, Code::kInvalidArgument);
}

TEST_F(PublisherTest, AnInterruptEndsAWaitAndEverythingAfterIt) {
  auto by = publisher([](PublisherOptions& options) {
    options.pause = nullptr;
    options.clock = steady_now;
    options.backoff_min = options.backoff_max = seconds(25);
  });
  server.fail_next(std::vector<ApiServer::Fault>(10, {503, "ServiceUnavailable", "25"}));
  const milliseconds started = steady_now();
  std::thread stopper([&] {
    while (server.requests().empty()) std::this_thread::yield();
    by.interrupt();
  });
  EXPECT_EQ(publish_one(by).error->code, Code::kUnavailable);
  EXPECT_LT(steady_now() - started, seconds(12));
  stopper.join();
  EXPECT_EQ(publish_one(by).error->code, Code::kUnavailable);
  EXPECT_EQ(server.requests().size(), 1U);
}

}  // namespace
}  // namespace roster::kubernetes
