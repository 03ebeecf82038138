#include "feed/enrollment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace roster::feed {
namespace {

Enrollment sample() {
  Enrollment e;
  e.node_id = "0190d2c4-1111-7abc-8def-001122334455";
  e.credential = Secret("rsn_secret");
  e.org = "acme";
  e.cluster = "hpc1";
  e.view = "login";
  e.role = "login";
  e.issued = from_millis(1'700'000'000'000);
  e.expires = from_millis(1'800'000'000'123);
  e.ca_pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
  return e;
}

TEST(Enrollment, RoundTrips) {
  const Enrollment sent = sample();
  const auto got = Enrollment::parse(sent.to_json());
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_EQ(got->node_id, sent.node_id);
  EXPECT_EQ(got->credential.expose(), sent.credential.expose());
  EXPECT_EQ(got->org, sent.org);
  EXPECT_EQ(got->cluster, sent.cluster);
  EXPECT_EQ(got->view, sent.view);
  EXPECT_EQ(got->role, sent.role);
  EXPECT_EQ(got->issued, sent.issued);
  EXPECT_EQ(got->expires, sent.expires);
  EXPECT_EQ(got->ca_pem, sent.ca_pem);
}

TEST(Enrollment, RefusesAnswersThatWouldBreakLaterRequests) {
  const auto broken = [](auto change) {
    Enrollment e = sample();
    change(e);
    return Enrollment::parse(e.to_json());
  };
  EXPECT_FALSE(broken([](Enrollment& e) { e.credential = Secret("a\r\nX-Evil: 1"); }));
  EXPECT_FALSE(broken([](Enrollment& e) { e.credential = Secret(""); }));
  EXPECT_FALSE(broken([](Enrollment& e) { e.credential = Secret(std::string(513, 'a')); }));
  EXPECT_FALSE(broken([](Enrollment& e) { e.org = "../../etc"; }));
  EXPECT_FALSE(broken([](Enrollment& e) { e.view = "login&since=1"; }));
  EXPECT_FALSE(broken([](Enrollment& e) { e.role = ""; }));
  EXPECT_FALSE(broken([](Enrollment& e) { e.expires = e.issued; }));
  EXPECT_FALSE(broken([](Enrollment& e) { e.node_id = "a b"; }));
  EXPECT_FALSE(Enrollment::parse("[]"));
  EXPECT_FALSE(Enrollment::parse(""));
  EXPECT_FALSE(Enrollment::parse(R"({"credential":17})"));
}

TEST(Enrollment, ErrorsNeverRepeatTheCredential) {
  Enrollment e = sample();
  e.credential = Secret("very secret with blanks");
  const auto got = Enrollment::parse(e.to_json());
  ASSERT_FALSE(got);
  EXPECT_THAT(got.error().message, testing::Not(testing::HasSubstr("secret")));
}

TEST(EnrollRequest, RoundTripsAndNamesWhatIsWrong) {
  const EnrollRequest sent{
      .name = "login-1.hpc", .role = "login", .agent_version = "0.1.0", .highest_id = 10'500};
  const auto got = EnrollRequest::parse(sent.to_json(), false);
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_EQ(got->name, sent.name);
  EXPECT_EQ(got->role, sent.role);
  EXPECT_EQ(got->agent_version, sent.agent_version);
  EXPECT_EQ(got->highest_id, sent.highest_id);

  EXPECT_FALSE(EnrollRequest::parse("{}", false));
  EXPECT_TRUE(EnrollRequest::parse("{}", true));
  for (const char* body :
       {R"({"name":"-x"})", R"({"name":"a b"})", R"({"name":"a/b"})", R"({"name":"A"})",
        R"({"name":7})", R"({"name":"a","role":"Login!"})", R"({"name":"a","highest_id":-1})",
        R"({"name":"a","highest_id":2147483648})", R"({"name":"a","highest_id":"7"})",
        R"({"name":"a","agent_version":"x\ny"})"}) {
    EXPECT_FALSE(EnrollRequest::parse(body, false)) << body;
  }
  EXPECT_FALSE(EnrollRequest::parse("{\"name\":\"" + std::string(254, 'a') + "\"}", false));
}

}  // namespace
}  // namespace roster::feed
