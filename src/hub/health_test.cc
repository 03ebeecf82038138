#include "hub/health.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "hub/test_hub.h"

namespace roster::hub {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using testing::TestHub;

http::ClientResponse proxied(TestHub& hub, std::string_view bearer) {
  http::ClientRequest request;
  request.target = "/metrics";
  request.headers.set("X-Forwarded-For", "192.0.2.1");
  return hub.call(request, bearer);
}

TEST(Health, SaysWhetherTheStoreIsThere) {
  bool broken = false;
  testing::TestOptions options;
  options.check_store = [&broken]() -> Result<void> {
    if (broken) return fail(Code::kUnavailable, "secret details of the disk");
    return {};
  };
  TestHub hub(options);
  EXPECT_EQ(hub.get("/healthz", "").status, 200);
  EXPECT_EQ(hub.get("/readyz", "").status, 200);
  broken = true;
  hub.restart();  // an answer is good for a second
  const auto answer = hub.get("/readyz", "");
  EXPECT_EQ(answer.status, 503);
  EXPECT_THAT(answer.body, Not(HasSubstr("secret")));
  EXPECT_EQ(hub.get("/healthz", "").status, 200);
}

TEST(Health, MetricsAreForThisMachineAndForOperators) {
  TestHub hub;
  EXPECT_EQ(hub.get("/metrics", "").status, 200);
  EXPECT_EQ(proxied(hub, "").status, 401);
  directory::Directory::TokenRequest request;
  request.name = "prometheus";
  request.scope = directory::Scope::kOperator;
  const auto token = hub.directory().create_token(TestHub::operator_actor(), request);
  ASSERT_TRUE(token);
  EXPECT_EQ(proxied(hub, token->secret.expose()).status, 200);
  request.name = "reader";
  request.scope = directory::Scope::kRead;
  request.org = hub.org().n;
  const auto reader = hub.directory().create_token(TestHub::operator_actor(), request);
  ASSERT_TRUE(reader);
  EXPECT_EQ(proxied(hub, reader->secret.expose()).status, 403);
}

TEST(Health, MetricsMayBePublic) {
  testing::TestOptions options;
  options.metrics_public = true;
  TestHub hub(options);
  EXPECT_EQ(proxied(hub, "").status, 200);
}

TEST(Health, MetricsShowHowFarEachNodeIs) {
  TestHub hub;
  const std::string node = hub.enroll("login1");
  const std::uint64_t before = hub.org().seq.value;
  hub.feed("since=" + hub.cursor(before), node);
  hub.add_user("ada");
  hub.add_user("bob");
  const std::uint64_t lag = hub.org().seq.value - before;
  std::string text = hub.get("/metrics", "").body;
  EXPECT_THAT(text, HasSubstr("roster_node_lag_changes{cluster=\"hpc\",node=\"login1\","
                              "org=\"acme\"} " +
                              std::to_string(lag)));
  EXPECT_THAT(text, HasSubstr("roster_feed_nodes{org=\"acme\"} 1"));
  EXPECT_THAT(text, HasSubstr("roster_org_users{org=\"acme\"} 2"));
  EXPECT_THAT(text, HasSubstr("roster_commits_total{org=\"acme\"}"));

  ASSERT_TRUE(hub.directory().delete_node(TestHub::operator_actor(), hub.org().n, "hpc", "login1"));
  text = hub.get("/metrics", "").body;
  EXPECT_THAT(text, Not(HasSubstr("login1")));
}

}  // namespace
}  // namespace roster::hub
