#include "kubernetes/answers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/json.h"
#include "kubernetes/service_account.h"

namespace roster::kubernetes {
namespace {

using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr std::string_view kSecret = R"({"kind":"Secret","apiVersion":"v1","metadata":{
  "name":"slurm-nsscache-passwd","resourceVersion":"7","managedFields":[]},
  "data":{"passwd.cache":"YWxpY2U=","other":"AAAA","third":"AA=="},"type":"Opaque"})";

TEST(Answers, ASecretIsReadWithTheSizeOfItsOtherKeys) {
  const auto state = parse_secret(kSecret, "slurm-nsscache-passwd", "passwd.cache");
  ASSERT_TRUE(state) << state.error().message;
  EXPECT_EQ(state->resource_version, "7");
  EXPECT_EQ(state->value, "alice");
  EXPECT_EQ(state->other_bytes, 4U);
  EXPECT_FALSE(state->immutable);
  EXPECT_FALSE(parse_secret(kSecret, "slurm-nsscache-passwd", "group.cache")->value);
}

TEST(Answers, WhatIsNotThatSecretIsRefusedWithoutQuotingIt) {
  // Each would otherwise make the publisher write over, or believe, something that it did not read.
  for (const std::string_view body : {
           R"()",
           R"(<html>gateway</html>)",
           R"([])",
           R"({"kind":"SecretList","apiVersion":"v1"})",
           R"({"kind":"Secret","apiVersion":"v2","metadata":{"name":"s","resourceVersion":"1"}})",
           R"({"kind":"Secret","apiVersion":"v1","metadata":{"name":"t","resourceVersion":"1"}})",
           R"({"kind":"Secret","apiVersion":"v1","metadata":{"name":"s"}})",
           R"({"kind":"Secret","apiVersion":"v1","metadata":{"name":"s","resourceVersion":1}})",
           R"({"kind":"Secret","apiVersion":"v1","metadata":{"name":"s","resourceVersion":"1"},
               "data":["c2VjcmV0"]})",
           R"({"kind":"Secret","apiVersion":"v1","metadata":{"name":"s","resourceVersion":"1"},
               "data":{"k":"c2VjcmV0!"}})",
           R"({"kind":"Secret","apiVersion":"v1","metadata":{"name":"s","resourceVersion":"1"},
               "data":{"k":7}})",
       }) {
    const auto state = parse_secret(body, "s", "k");
    ASSERT_FALSE(state) << body;
    EXPECT_THAT(state.error().message, Not(HasSubstr("c2Vj")));
  }
  const std::string huge(kAnswerBytesMax + 1, ' ');
  EXPECT_EQ(parse_secret(huge, "s", "k").error().code, Code::kTooLarge);
}

TEST(Answers, ASecretWithoutDataIsASecret) {
  for (const std::string_view tail : {"}", R"(,"data":null})", R"(,"data":{}})"}) {
    const std::string body =
        R"({"kind":"Secret","apiVersion":"v1","metadata":{"name":"s","resourceVersion":"1"})" +
        std::string(tail);
    const auto state = parse_secret(body, "s", "k");
    ASSERT_TRUE(state) << state.error().message;
    EXPECT_FALSE(state->value);
  }
}

TEST(Answers, AStatusNamesTheManagerOfAConflict) {
  const ApiStatus status = parse_status(R"({"kind":"Status","reason":"Conflict","code":409,
    "message":"Apply failed with 2 conflicts","details":{"causes":[
      {"reason":"FieldManagerConflict","field":".data.passwd.cache",
       "message":"conflict with \"kubectl-client-side-apply\" using v1 at 2026-01-01T00:00:00Z"},
      {"reason":"FieldManagerConflict","field":".data.x","message":"conflict"},
      {"reason":"FieldValueInvalid","field":"data","message":"c2VjcmV0"}, 7]}})");
  ASSERT_EQ(status.conflicts.size(), 2U);
  EXPECT_EQ(status.conflicts[0].manager, "kubectl-client-side-apply");
  EXPECT_EQ(status.conflicts[0].field, ".data.passwd.cache");
  EXPECT_EQ(status.conflicts[1].manager, "another manager");
  EXPECT_THAT(status.fields, ElementsAre("data (FieldValueInvalid)"));
}

TEST(Answers, TextOfTheServerIsOneShortLine) {
  const ApiStatus status = parse_status(R"({"kind":"Status","reason":"a\nb","message":")" +
                                        std::string(5'000, 'x') + R"("})");
  EXPECT_EQ(status.reason, "a?b");
  EXPECT_EQ(status.message.size(), 200U);
  EXPECT_TRUE(parse_status("<html>").reason.empty());
}

TEST(Answers, AStatusMaySayWhenToComeAgain) {
  EXPECT_EQ(parse_status(R"({"kind":"Status","details":{"retryAfterSeconds":3}})").retry_after,
            seconds(3));
}

TEST(Answers, NamesFollowTheRulesOfTheApi) {
  EXPECT_TRUE(is_label("slurm-1"));
  EXPECT_TRUE(is_subdomain("slurm-nsscache-passwd"));
  EXPECT_TRUE(is_subdomain("a.b-c.d"));
  EXPECT_TRUE(is_data_key("passwd.cache"));
  for (const std::string_view bad : {"", "-a", "a-", "A", "a_b", "a/b", "a b", "\xC3\xA9"}) {
    EXPECT_FALSE(is_label(bad)) << bad;
    EXPECT_FALSE(is_subdomain(bad)) << bad;
  }
  for (const std::string_view bad : {".", "a..b", ".a", "a."})
    EXPECT_FALSE(is_subdomain(bad)) << bad;
  for (const std::string_view bad : {"", ".", "..", "..a", "a/b", "a b"}) {
    EXPECT_FALSE(is_data_key(bad)) << bad;
  }
  EXPECT_FALSE(is_label(std::string(64, 'a')));
  EXPECT_FALSE(is_subdomain(std::string(254, 'a')));
}

TEST(Answers, AnApplySaysNothingButTheKey) {
  const auto body = json::parse(apply_body("slurm", "s", "passwd.cache", "alice", "7"));
  ASSERT_TRUE(body);
  EXPECT_EQ(json::canonical(*body),
            R"({"apiVersion":"v1","data":{"passwd.cache":"YWxpY2U="},"kind":"Secret",)"
            R"("metadata":{"name":"s","namespace":"slurm","resourceVersion":"7"}})");
  EXPECT_THAT(apply_body("slurm", "s", "k", "", ""), Not(HasSubstr("resourceVersion")));
}

TEST(ServiceAccount, TheServerIsWhatTheEnvironmentSays) {
  EXPECT_EQ(api_server_url("10.0.0.1", "443"), "https://10.0.0.1:443");
  EXPECT_EQ(api_server_url("fd00::1", "6443"), "https://[fd00::1]:6443");
  EXPECT_EQ(api_server_url("kubernetes.default.svc", ""), "https://kubernetes.default.svc:443");
  EXPECT_EQ(api_server_url("", "443").error().code, Code::kFailedPrecondition);
  for (const auto& [host, port] :
       {std::pair{"a/b", "1"}, {"a@b", "1"}, {"a", "70000"}, {"a", "x"}}) {
    EXPECT_EQ(api_server_url(host, port).error().code, Code::kInvalidArgument) << host;
  }
}

}  // namespace
}  // namespace roster::kubernetes
