#include "hub/enrollment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "crypto/token.h"
#include "hub/test_hub.h"

namespace roster::hub {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using testing::TestHub;

http::ClientResponse post(TestHub& hub, std::string_view path, const std::string& body,
                          std::string_view bearer) {
  http::ClientRequest request;
  request.method = "POST";
  request.target = path;
  request.body = body;
  return hub.call(request, bearer);
}

std::string body(const std::string& name, const std::string& role = "") {
  return feed::EnrollRequest{.name = name, .role = role, .agent_version = "1", .highest_id = 0}
      .to_json();
}

TEST(Enrollment, GivesACredentialForTheTokensView) {
  TestHub hub;
  const auto answer =
      post(hub, feed::kEnrollPath, body("login1", "login"), hub.join_token("compute"));
  ASSERT_EQ(answer.status, 201) << answer.body;
  const auto enrolled = feed::Enrollment::parse(answer.body);
  ASSERT_TRUE(enrolled) << enrolled.error().message;
  EXPECT_EQ(enrolled->org, "acme");
  EXPECT_EQ(enrolled->cluster, "hpc");
  EXPECT_EQ(enrolled->view, "compute");
  EXPECT_EQ(enrolled->role, "login");
  EXPECT_EQ(enrolled->ca_pem, "ca\n");
  EXPECT_GT(enrolled->expires, enrolled->issued);
  const std::string since = "since=" + hub.cursor(hub.org().seq.value, "compute");
  EXPECT_EQ(hub.feed(since, enrolled->credential.expose()).status, 200);
}

TEST(Enrollment, RefusesWhatIsNotRight) {
  TestHub hub;
  const std::string join = hub.join_token("default");
  hub.set_view("passing", {});
  const std::string no_view = hub.join_token("passing");
  ASSERT_TRUE(hub.directory().remove_view(TestHub::operator_actor(), hub.org().n, "passing"));
  directory::Directory::TokenRequest request;
  request.name = "operator";
  request.scope = directory::Scope::kOperator;
  const auto api_token = hub.directory().create_token(TestHub::operator_actor(), request);
  ASSERT_TRUE(api_token);
  const struct {
    const char* what;
    std::string body;
    std::string bearer;
    int status;
  } cases[] = {
      {"no token", body("a"), "", 401},
      {"no token of ours", body("a"), "secret", 401},
      {"an operator's token", body("a"), api_token->secret.expose(), 401},
      {"an operator's token with a role", body("a", "login"), api_token->secret.expose(), 401},
      {"another role", body("a", "compute"), join, 403},
      {"a view that is none any more", body("a"), no_view, 403},
      {"no JSON", "{", join, 400},
      {"no name", "{}", join, 400},
      {"a name that is a path", body("../../etc"), join, 400},
      {"a name with a newline", body("a\nb"), join, 400},
      {"a long name", body(std::string(254, 'a')), join, 400},
      {"an id that is none", R"({"name":"a","agent_version":"1","highest_id":4294967296})", join,
       400},
  };
  for (const auto& c : cases) {
    const auto answer = post(hub, feed::kEnrollPath, c.body, c.bearer);
    EXPECT_EQ(answer.status, c.status) << c.what << ": " << answer.body;
    if (!c.bearer.empty()) {
      EXPECT_THAT(answer.body, Not(HasSubstr(c.bearer))) << c.what;
    }
  }
}

TEST(Enrollment, ALiveNodesNameIsNotGivenTwice) {
  TestHub hub;
  const std::string first = hub.enroll("login1");
  const std::string since = "since=" + hub.cursor(hub.org().seq.value);
  ASSERT_EQ(hub.feed(since, first).status, 200);
  EXPECT_EQ(post(hub, feed::kEnrollPath, body("login1"), hub.join_token("default")).status, 409);
  EXPECT_NE(hub.feed("from=" + hub.cursor(0), first).status, 401) << "the first one stays";
}

TEST(Enrollment, ARepeatedRequestGetsTheSameAnswer) {
  TestHub hub;
  const std::string once = hub.join_token("default", "acme", 1);
  feed::EnrollRequest request{.name = "login1", .role = "", .agent_version = "1", .highest_id = 0};
  request.credential = crypto::mint_token(crypto::TokenKind::kNode, system_random).token;
  const auto lost = post(hub, feed::kEnrollPath, request.to_json(), once);
  ASSERT_EQ(lost.status, 201) << lost.body;
  const auto answer = post(hub, feed::kEnrollPath, request.to_json(), once);
  ASSERT_EQ(answer.status, 201) << answer.body;
  EXPECT_EQ(feed::Enrollment::parse(answer.body)->credential.expose(), request.credential.expose());
  const std::string since = "since=" + hub.cursor(hub.org().seq.value);
  EXPECT_EQ(hub.feed(since, request.credential.expose()).status, 200);
  request.credential = Secret("rsn_short");
  EXPECT_EQ(post(hub, feed::kEnrollPath, request.to_json(), hub.join_token("default")).status, 400);
}

TEST(Enrollment, UsesAreCounted) {
  TestHub hub;
  const std::string once = hub.join_token("default", "acme", 1);
  EXPECT_EQ(post(hub, feed::kEnrollPath, body("a"), once).status, 201);
  EXPECT_EQ(post(hub, feed::kEnrollPath, body("b"), once).status, 401);
}

TEST(Enrollment, AWrongRoleUsesNothingUp) {
  TestHub hub;
  const std::string once = hub.join_token("default", "acme", 1);
  EXPECT_EQ(post(hub, feed::kEnrollPath, body("a", "compute"), once).status, 403);
  EXPECT_EQ(post(hub, feed::kEnrollPath, body("a", "login"), once).status, 201);
}

// Would catch: a node that dies between the answer and its own fsync and is locked out.
TEST(Enrollment, TheOldCredentialEndsWhenTheNewOneIsUsed) {
  TestHub hub;
  const std::string old = hub.enroll("login1");
  const auto answer =
      post(hub, feed::kRenewPath, R"({"agent_version":"2","highest_id":10000})", old);
  ASSERT_EQ(answer.status, 200) << answer.body;
  const auto renewed = feed::Enrollment::parse(answer.body);
  ASSERT_TRUE(renewed);
  const std::string since = "since=" + hub.cursor(hub.org().seq.value);
  EXPECT_EQ(hub.feed(since, old).status, 200);
  EXPECT_EQ(hub.feed(since, renewed->credential.expose()).status, 200);
  EXPECT_EQ(hub.feed(since, old).status, 401);
  EXPECT_EQ(post(hub, feed::kRenewPath, "{}", old).status, 401);
  EXPECT_EQ(post(hub, feed::kRenewPath, "{}", "").status, 401);
}

}  // namespace
}  // namespace roster::hub
