#include <gmock/gmock.h>

#include "crypto/token.h"
#include "directory/testing/fixture.h"

namespace roster::directory {
namespace {

using testing::must;
using testing::World;

class NodesTest : public store::testing::BothEngines {};
ROSTER_BOTH_ENGINES(NodesTest);

std::string join_token(World& world, std::string name, std::int64_t uses = -1,
                       std::string role = "login") {
  Directory::TokenRequest request;
  request.name = std::move(name);
  request.scope = Scope::kJoin;
  request.org = world.acme;
  request.join = JoinGrant{"hpc", "login", std::move(role), uses};
  request.ca_sha256 = std::string(64, 'a');
  return must(world.directory->create_token(world.operator_, request)).secret.expose();
}

TEST_P(NodesTest, EnrollAuthenticateAcknowledge) {
  World world(GetParam());
  const std::string join = join_token(world, "join");
  const auto enrolled =
      must(world.directory->enroll_node(join, {"login1", "0.1.0", 0}, "192.0.2.9"));
  EXPECT_EQ(enrolled.org_slug, "acme");
  EXPECT_EQ(enrolled.epoch, world.org().epoch);
  EXPECT_EQ(enrolled.node.cluster, "hpc");
  EXPECT_EQ(enrolled.node.view, "login");
  EXPECT_TRUE(is_uuid(enrolled.node.id));
  const std::string& credential = enrolled.credential.expose();
  EXPECT_EQ(credential.substr(0, 4), "rsn_");
  const Node node = must(world.directory->authenticate_node(credential));
  EXPECT_EQ(node.id, enrolled.node.id);
  // Each kind of token is good for its own purpose only.
  EXPECT_EQ(world.directory->authenticate(credential).error().code, Code::kUnauthenticated);
  EXPECT_EQ(world.directory->authenticate(join).error().code, Code::kUnauthenticated);
  EXPECT_EQ(world.directory->authenticate_node(join).error().code, Code::kUnauthenticated);
  EXPECT_EQ(world.directory->enroll_node(credential, {"x", "", 0}, "").error().code,
            Code::kUnauthenticated);

  const Seq head = world.org().seq;
  world.clock.advance(std::chrono::minutes(1));
  world.directory->acknowledge(node, Seq{7}, 10020);
  EXPECT_EQ(must(world.directory->list_nodes(world.acme))[0].acknowledged, Seq{7});
  must(world.directory->flush_stamps());
  world.reopen();
  const std::vector<Node> listed = must(world.directory->list_nodes(std::nullopt));
  ASSERT_EQ(listed.size(), 1U);
  EXPECT_EQ(listed[0].acknowledged, Seq{7});
  EXPECT_EQ(listed[0].last_seen, world.clock.now());
  EXPECT_EQ(world.org().seq, head);  // stamps are no changes
  EXPECT_TRUE(world.directory->authenticate_node(credential));

  for (const std::string& bad : {std::string(), std::string("-x"), std::string("a b"),
                                 std::string("a/b"), std::string(254, 'x')}) {
    EXPECT_EQ(world.directory->enroll_node(join, {bad, "", 0}, "").error().code,
              Code::kInvalidArgument);
  }
}

TEST_P(NodesTest, ALiveNodesNameIsRefusedAndAudited) {
  World world(GetParam());
  const std::string join = join_token(world, "join", 3);
  const auto first = must(world.directory->enroll_node(join, {"c1", "0.1.0", 0}, "192.0.2.9"));
  const auto refused = world.directory->enroll_node(join, {"c1", "0.1.0", 0}, "203.0.113.5");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kAlreadyExists);
  const std::vector<AuditRow> audit = must(world.directory->list_audit(world.acme, {}, 100));
  EXPECT_EQ(audit.back().action, "node.refuse");
  EXPECT_EQ(audit.back().target, "node/hpc/c1");
  EXPECT_EQ(audit.back().remote, "203.0.113.5");
  EXPECT_TRUE(world.directory->authenticate_node(first.credential.expose()));

  // While it is seen it lives; not seen for a while, its name may be taken, and it is out.
  world.clock.advance(std::chrono::minutes(9));
  world.directory->acknowledge(first.node, Seq{1}, 0);
  world.clock.advance(std::chrono::minutes(9));
  EXPECT_FALSE(world.directory->enroll_node(join, {"c1", "0.1.0", 0}, ""));
  world.clock.advance(std::chrono::minutes(1));
  const auto second = must(world.directory->enroll_node(join, {"c1", "0.1.1", 0}, ""));
  EXPECT_NE(second.node.id, first.node.id);
  EXPECT_FALSE(world.directory->authenticate_node(first.credential.expose()));
  EXPECT_TRUE(world.directory->authenticate_node(second.credential.expose()));
  EXPECT_EQ(must(world.directory->list_nodes(world.acme)).size(), 1U);

  // Refusals took no use: one is left of three.
  must(world.directory->enroll_node(join, {"c2", "0.1.0", 0}, ""));
  EXPECT_EQ(world.directory->enroll_node(join, {"c3", "0.1.0", 0}, "").error().code,
            Code::kUnauthenticated);
  EXPECT_EQ(must(world.directory->list_tokens(world.acme))[0].join->uses_left, 0);
}

// A node that died before it could keep the answer is not locked out by its own row.
TEST_P(NodesTest, ANodeMayRepeatItsEnrolment) {
  World world(GetParam());
  const std::string join = join_token(world, "join", 1);
  Directory::EnrollRequest request{.name = "c1", .agent_version = "0.1.0", .highest_id = 0};
  request.credential = crypto::mint_token(crypto::TokenKind::kNode, system_random).token;
  const auto first = must(world.directory->enroll_node(join, request, ""));
  EXPECT_EQ(first.credential.expose(), request.credential.expose());
  const auto again = must(world.directory->enroll_node(join, request, ""));
  EXPECT_EQ(again.node.id, first.node.id) << "though the token is used up and the name is live";
  EXPECT_TRUE(world.directory->authenticate_node(request.credential.expose()));
  EXPECT_EQ(must(world.directory->list_tokens(world.acme))[0].join->uses_left, 0);
  EXPECT_EQ(must(world.directory->list_nodes(world.acme)).size(), 1U);

  // Not for another name, not with another credential, not with one that is none.
  const std::string more = join_token(world, "more");
  Directory::EnrollRequest other = request;
  other.name = "c2";
  const auto others = world.directory->enroll_node(more, other, "");
  ASSERT_FALSE(others);
  EXPECT_EQ(others.error().code, Code::kAlreadyExists);
  EXPECT_NE(others.error().message.find("another node's"), std::string::npos)
      << others.error().message;
  EXPECT_EQ(must(world.directory->list_audit(world.acme, {}, 100)).back().target, "node/hpc/c2");
  other = request;
  other.credential = crypto::mint_token(crypto::TokenKind::kNode, system_random).token;
  EXPECT_EQ(world.directory->enroll_node(more, other, "").error().code, Code::kAlreadyExists);
  for (const std::string& bad : {std::string("rsn_1"), more}) {
    other.credential = Secret(bad);
    EXPECT_EQ(world.directory->enroll_node(more, other, "").error().code, Code::kInvalidArgument);
  }
  must(world.directory->delete_node(world.operator_, world.acme, "hpc", "c1"));
  EXPECT_FALSE(world.directory->authenticate_node(request.credential.expose()));
}

// The node itself with a token for another role: not the row of before, and not refused as if it
// were an impostor of itself.
TEST_P(NodesTest, ARepeatWithAnotherGrantIsAdmittedAnew) {
  World world(GetParam());
  Directory::EnrollRequest request{.name = "c1", .agent_version = "0.1.0", .highest_id = 0};
  request.credential = crypto::mint_token(crypto::TokenKind::kNode, system_random).token;
  const std::string before = join_token(world, "before", 1, "compute");
  const std::string after = join_token(world, "after", 1, "storage");
  const auto first = must(world.directory->enroll_node(before, request, ""));
  EXPECT_EQ(first.node.role, "compute");
  const auto again = must(world.directory->enroll_node(after, request, ""));
  EXPECT_NE(again.node.id, first.node.id);
  EXPECT_EQ(again.node.role, "storage");
  EXPECT_EQ(must(world.directory->list_nodes(world.acme)).size(), 1U);
  EXPECT_EQ(must(world.directory->authenticate_node(request.credential.expose())).id,
            again.node.id);
}

// After a hub was down for longer than its nodes count as live, a join token must not give every
// name away.
TEST_P(NodesTest, AtTheHubsStartEveryNodeCountsAsSeen) {
  World world(GetParam());
  const std::string join = join_token(world, "join");
  must(world.directory->enroll_node(join, {"c1", "0.1.0", 0}, ""));
  must(world.directory->flush_stamps());
  world.clock.advance(std::chrono::hours(5));
  world.reopen();
  EXPECT_EQ(world.directory->enroll_node(join, {"c1", "0.1.0", 0}, "").error().code,
            Code::kAlreadyExists);
  world.clock.advance(std::chrono::minutes(10));
  EXPECT_TRUE(world.directory->enroll_node(join, {"c1", "0.1.0", 0}, ""));
}

TEST_P(NodesTest, RenewalEndsTheOldCredentialAtFirstUse) {
  World world(GetParam());
  const auto first =
      must(world.directory->enroll_node(join_token(world, "join"), {"c1", "", 0}, ""));
  const auto lost = must(world.directory->renew_node(first.node));
  const auto second = must(world.directory->renew_node(first.node));
  EXPECT_TRUE(world.directory->authenticate_node(first.credential.expose()));
  EXPECT_FALSE(world.directory->authenticate_node(lost.credential.expose()));
  EXPECT_TRUE(world.directory->authenticate_node(second.credential.expose()));
  EXPECT_FALSE(world.directory->authenticate_node(first.credential.expose()));
  world.reopen();
  EXPECT_FALSE(world.directory->authenticate_node(first.credential.expose()));
  EXPECT_TRUE(world.directory->authenticate_node(second.credential.expose()));
}

TEST_P(NodesTest, CredentialsExpireAndContactKeepsThem) {
  World world(GetParam());
  const std::string join = join_token(world, "join");
  const auto kept = must(world.directory->enroll_node(join, {"kept", "", 0}, ""));
  const auto left = must(world.directory->enroll_node(join, {"left", "", 0}, ""));
  world.clock.advance(std::chrono::days(20));
  world.directory->acknowledge(must(world.directory->authenticate_node(kept.credential.expose())),
                               Seq{1}, 0);
  world.clock.advance(std::chrono::days(20));
  EXPECT_TRUE(world.directory->authenticate_node(kept.credential.expose()));
  EXPECT_EQ(world.directory->authenticate_node(left.credential.expose()).error().code,
            Code::kUnauthenticated);
  world.reopen();
  EXPECT_TRUE(world.directory->authenticate_node(kept.credential.expose()));
}

TEST_P(NodesTest, DeleteAndRevokedJoinTokens) {
  World world(GetParam());
  const std::string join = join_token(world, "join");
  const auto node = must(world.directory->enroll_node(join, {"c1", "", 0}, ""));
  EXPECT_TRUE(world.directory->authenticate_node(node.credential.expose()));
  must(world.directory->delete_node(world.operator_, world.acme, "hpc", "c1"));
  EXPECT_FALSE(world.directory->authenticate_node(node.credential.expose()));
  EXPECT_EQ(world.directory->delete_node(world.operator_, world.acme, "hpc", "c1").error().code,
            Code::kNotFound);
  EXPECT_EQ(world.directory->renew_node(node.node).error().code, Code::kUnauthenticated);
  must(world.directory->revoke_token(world.operator_, world.acme, "join"));
  EXPECT_EQ(world.directory->enroll_node(join, {"c1", "", 0}, "").error().code,
            Code::kUnauthenticated);
}

TEST_P(NodesTest, WhatAnEnrollingNodeHasSeenIsNotGivenOutAgain) {
  World world(GetParam());
  must(world.directory->enroll_node(join_token(world, "join"), {"c1", "", 10777}, ""));
  EXPECT_EQ(world.add_user("a").posix->number, 10778U);
}

}  // namespace
}  // namespace roster::directory
