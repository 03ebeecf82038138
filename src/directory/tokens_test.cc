#include <gmock/gmock.h>

#include <thread>

#include "directory/testing/fixture.h"

namespace roster::directory {
namespace {

using ::testing::HasSubstr;
using testing::must;
using testing::user_named;
using testing::World;

class TokensTest : public store::testing::BothEngines {};
ROSTER_BOTH_ENGINES(TokensTest);

Directory::TokenRequest scim_token(const World& world, std::string name) {
  Directory::TokenRequest request;
  request.name = std::move(name);
  request.scope = Scope::kScim;
  request.org = world.acme;
  request.client = "okta";
  return request;
}

TEST_P(TokensTest, OrganizationsAndClients) {
  World world(GetParam());
  for (const std::string& bad : {std::string(), std::string("Acme"), std::string("a_b"),
                                 std::string("a/b"), std::string(64, 'x')}) {
    EXPECT_EQ(world.directory->create_org(world.operator_, bad).error().code,
              Code::kInvalidArgument);
  }
  EXPECT_EQ(world.directory->create_org(world.operator_, "acme").error().code,
            Code::kAlreadyExists);
  EXPECT_EQ(world.directory->create_org(world.okta, "mine").error().code, Code::kPermissionDenied);
  const Org beta = must(world.directory->create_org(world.operator_, "beta"));
  EXPECT_EQ(beta.users, 0);
  EXPECT_EQ(beta.settings.home_template, "/home/{login}");
  ASSERT_EQ(must(world.directory->list_orgs()).size(), 2U);
  EXPECT_EQ(world.directory->find_org("").error().code, Code::kNotFound);
  EXPECT_EQ(world.directory->find_org("gamma").error().code, Code::kNotFound);

  EXPECT_EQ(world.directory->create_client(world.operator_, world.acme, "okta").error().code,
            Code::kAlreadyExists);
  EXPECT_EQ(world.directory->create_client(world.operator_, world.acme, "").error().code,
            Code::kInvalidArgument);
  EXPECT_EQ(world.directory->create_client(world.operator_, world.acme, "manual").error().code,
            Code::kInvalidArgument);
  must(world.directory->create_client(world.operator_, beta.n, "okta"));
  EXPECT_EQ(must(world.directory->list_clients(world.acme)).size(), 1U);
}

TEST_P(TokensTest, SettingsAreCheckedAndChangeTheEpochWhenNodesSeeThem) {
  World world(GetParam());
  const Org before = world.org();
  OrgSettings settings = before.settings;
  const auto refused = [&](auto change) {
    OrgSettings bad = before.settings;
    change(bad);
    const auto result =
        world.directory->update_org_settings(world.operator_, world.acme, testing::always(bad));
    EXPECT_FALSE(result);
    return result ? std::string() : result.error().message;
  };
  EXPECT_THAT(refused([](OrgSettings& s) { s.home_template = "/home/all"; }),
              HasSubstr("home_template"));
  EXPECT_THAT(refused([](OrgSettings& s) { s.home_prefixes = {"/etc"}; }),
              HasSubstr("home_prefixes"));
  EXPECT_THAT(refused([](OrgSettings& s) { s.default_shell = "/bin/evil"; }),
              HasSubstr("default_shell"));
  EXPECT_THAT(refused([](OrgSettings& s) { s.shells = {"bash"}; }), HasSubstr("shells"));
  EXPECT_THAT(refused([](OrgSettings& s) { s.admitted_ids = {{0, 100}}; }),
              HasSubstr("admitted_ids"));
  EXPECT_EQ(world.org().seq, before.seq);
  settings.rebind_deleted = true;
  settings.admitted_ids = {{2000, 2999}};
  const Org changed = must(
      world.directory->update_org_settings(world.operator_, world.acme, testing::always(settings)));
  EXPECT_EQ(changed.epoch, before.epoch);
  EXPECT_TRUE(changed.settings.rebind_deleted);
  EXPECT_EQ(world.org().settings.admitted_ids, settings.admitted_ids);
  settings.leaver_policy = LeaverPolicy::kHide;
  EXPECT_NE(must(world.directory->update_org_settings(world.operator_, world.acme,
                                                      testing::always(settings)))
                .epoch,
            before.epoch);
}

TEST_P(TokensTest, AuthenticateSaysWhoItIs) {
  World world(GetParam());
  const MintedToken minted =
      must(world.directory->create_token(world.operator_, scim_token(world, "okta-2026")));
  const std::string& bearer = minted.secret.expose();
  EXPECT_EQ(bearer.substr(0, 4), "rst_");
  const Actor actor = must(world.directory->authenticate(bearer));
  EXPECT_EQ(actor.token, minted.info.n);
  EXPECT_EQ(actor.org, world.acme);
  EXPECT_EQ(actor.client, world.okta.client);
  EXPECT_EQ(actor.scope, Scope::kScim);
  EXPECT_EQ(actor.name, "token:okta-2026");
  // One sentence for all that is wrong.
  std::string mangled = bearer;
  mangled[10] = mangled[10] == 'a' ? 'b' : 'a';
  for (const std::string& bad : {std::string(), std::string("x"), mangled, bearer + "x",
                                 "rst_" + std::string(43, 'A') + "_000000"}) {
    const auto refused = world.directory->authenticate(bad);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::kUnauthenticated);
    EXPECT_EQ(refused.error().message, "the token is unknown, expired or revoked");
  }
  world.reopen();
  EXPECT_TRUE(world.directory->authenticate(bearer));
  // Only the hash is stored.
  must(world.database->read([&bearer](store::Tx& tx) -> Result<void> {
    return tx.query({"test", "SELECT hash, name FROM token"},
                    [&bearer](const store::Row& row) -> Result<void> {
                      EXPECT_EQ(row.blob(0).size(), 32U);
                      EXPECT_EQ(row.blob(0).find(bearer.substr(4, 43)), std::string_view::npos);
                      return {};
                    });
  }));
}

TEST_P(TokensTest, RevokedAndExpiredTokensEndAtOnce) {
  World world(GetParam());
  Directory::TokenRequest request = scim_token(world, "short");
  request.ttl = std::chrono::hours(1);
  const MintedToken shorter = must(world.directory->create_token(world.operator_, request));
  const MintedToken longer =
      must(world.directory->create_token(world.operator_, scim_token(world, "long")));
  EXPECT_TRUE(world.directory->authenticate(shorter.secret.expose()));
  EXPECT_TRUE(world.directory->authenticate(longer.secret.expose()));
  EXPECT_EQ(world.directory->create_token(world.operator_, scim_token(world, "long")).error().code,
            Code::kAlreadyExists);
  world.clock.advance(std::chrono::hours(1));
  EXPECT_FALSE(world.directory->authenticate(shorter.secret.expose()));
  must(world.directory->create_token(world.operator_, scim_token(world, "short")));  // free again

  must(world.directory->revoke_token(world.operator_, world.acme, "long"));
  EXPECT_FALSE(world.directory->authenticate(longer.secret.expose()));
  EXPECT_EQ(world.directory->revoke_token(world.operator_, world.acme, "long").error().code,
            Code::kNotFound);
  Actor stranger = world.okta;
  stranger.org = world.acme + 1;
  EXPECT_EQ(world.directory->revoke_token(stranger, world.acme, "short").error().code,
            Code::kPermissionDenied);
  const std::vector<TokenInfo> listed = must(world.directory->list_tokens(world.acme));
  EXPECT_EQ(listed.size(), 3U);
}

TEST_P(TokensTest, RequestsMustMakeSense) {
  World world(GetParam());
  const auto refused = [&world](auto change, const Actor& actor) {
    Directory::TokenRequest request = scim_token(world, "t");
    change(request);
    const auto result = world.directory->create_token(actor, request);
    EXPECT_FALSE(result);
    return result ? Code::kInternal : result.error().code;
  };
  using Request = Directory::TokenRequest;
  const Actor& op = world.operator_;
  EXPECT_EQ(refused([](Request& r) { r.name = ""; }, op), Code::kInvalidArgument);
  EXPECT_EQ(refused([](Request& r) { r.name = "a\nb"; }, op), Code::kInvalidArgument);
  EXPECT_EQ(refused([](Request& r) { r.client.reset(); }, op), Code::kInvalidArgument);
  EXPECT_EQ(refused([](Request& r) { r.client = "who"; }, op), Code::kNotFound);
  EXPECT_EQ(refused([](Request& r) { r.org.reset(); }, op), Code::kInvalidArgument);
  EXPECT_EQ(refused([](Request& r) { r.scope = Scope::kJoin; }, op), Code::kInvalidArgument);
  EXPECT_EQ(refused([](Request& r) { r.user = 1; }, op), Code::kInvalidArgument);
  EXPECT_EQ(refused([](Request& r) { r.ttl = std::chrono::milliseconds(0); }, op),
            Code::kInvalidArgument);
  EXPECT_EQ(refused(
                [](Request& r) {
                  r.scope = Scope::kOperator;
                  r.client.reset();
                },
                op),
            Code::kInvalidArgument);
  // Nobody makes a token with more power than their own organization.
  EXPECT_EQ(refused(
                [](Request& r) {
                  r.scope = Scope::kOperator;
                  r.client.reset();
                  r.org.reset();
                },
                world.okta),
            Code::kPermissionDenied);
  Directory::TokenRequest request;
  request.name = "root";
  request.scope = Scope::kOperator;
  const MintedToken minted = must(world.directory->create_token(op, request));
  EXPECT_EQ(must(world.directory->authenticate(minted.secret.expose())).org, std::nullopt);
  EXPECT_EQ(must(world.directory->list_tokens(std::nullopt)).size(), 1U);
  must(world.directory->revoke_token(op, std::nullopt, "root"));
  EXPECT_FALSE(world.directory->authenticate(minted.secret.expose()));
  // What operators do is on record, in a chain of the hub's own.
  EXPECT_EQ(must(world.directory->list_audit(0, {}, 10)).size(), 2U);
  EXPECT_EQ(must(world.directory->verify_audit(0)), 2);
}

TEST_P(TokensTest, AUsersTokenWorksWhileTheUserDoes) {
  World world(GetParam());
  const User alice = world.add_user("alice");
  Directory::TokenRequest request;
  request.name = "alice-laptop";
  request.scope = Scope::kUser;
  request.org = world.acme;
  request.user = alice.n;
  const MintedToken minted = must(world.directory->create_token(world.operator_, request));
  const std::string& bearer = minted.secret.expose();
  EXPECT_EQ(must(world.directory->authenticate(bearer)).user, alice.n);
  must(world.set(alice, "active", false));
  EXPECT_FALSE(world.directory->authenticate(bearer));
  must(world.set(alice, "active", true));
  EXPECT_FALSE(world.directory->authenticate(bearer)) << "a stolen one does not come back";
  request.name = "alice-new-laptop";
  const MintedToken fresh = must(world.directory->create_token(world.operator_, request));
  EXPECT_TRUE(world.directory->authenticate(fresh.secret.expose()));
  must(world.directory->delete_user(world.okta, world.acme, alice.id, {}));
  EXPECT_FALSE(world.directory->authenticate(fresh.secret.expose()));
}

TEST_P(TokensTest, LastUseReachesTheDiskAtIntervalsOnly) {
  World world(GetParam());
  const MintedToken minted =
      must(world.directory->create_token(world.operator_, scim_token(world, "t")));
  const Seq head = world.org().seq;
  EXPECT_EQ(must(world.directory->list_tokens(world.acme))[0].last_used, std::nullopt);
  must(world.directory->authenticate(minted.secret.expose()));
  EXPECT_EQ(must(world.directory->list_tokens(world.acme))[0].last_used, world.clock.now());
  must(world.directory->flush_stamps());
  world.reopen();
  EXPECT_EQ(must(world.directory->list_tokens(world.acme))[0].last_used, world.clock.now());
  EXPECT_EQ(world.org().seq, head);
}

// A thread that read the row before the revocation must not bring the token back to the cache
// after.
TEST_P(TokensTest, RevocationHoldsAcrossThreads) {
  World world(GetParam());
  const int rounds = GetParam() == store::Engine::kSqlite ? 50 : 5;
  for (int round = 0; round < rounds; ++round) {
    const std::string name = "t" + std::to_string(round);
    const MintedToken minted =
        must(world.directory->create_token(world.operator_, scim_token(world, name)));
    std::atomic<bool> stop = false;
    std::vector<std::jthread> users;
    for (int i = 0; i < 3; ++i) {
      users.emplace_back([&world, &minted, &stop] {
        while (!stop) (void)world.directory->authenticate(minted.secret.expose());
      });
    }
    must(world.directory->revoke_token(world.operator_, world.acme, name));
    for (int i = 0; i < 100; ++i) {
      ASSERT_FALSE(world.directory->authenticate(minted.secret.expose()));
    }
    stop = true;
  }
}

}  // namespace
}  // namespace roster::directory
