#include <gmock/gmock.h>

#include "directory/testing/fixture.h"
#include "directory/testing/keys.h"

namespace roster::directory {
namespace {

using store::Tx;
using ::testing::HasSubstr;
using testing::must;
using ::testing::Not;
using testing::ssh_key;
using testing::user_named;
using testing::World;

class AuditTest : public store::testing::BothEngines {};
ROSTER_BOTH_ENGINES(AuditTest);

void run(World& world, std::string_view sql) {
  must(world.database->write([sql](Tx& tx) -> Result<void> { return tx.run_script(sql); }));
}

std::string wrong_with(World& world) {
  const auto verified = world.directory->verify_audit(world.acme);
  if (verified) return "";
  EXPECT_EQ(verified.error().code, Code::kDataLoss);
  return verified.error().message;
}

TEST_P(AuditTest, SaysWhoDidWhatAndHoldsNoSecrets) {
  World world(GetParam());
  UserInput input = user_named("alice");
  input.external_id = std::optional<std::string>("E-1");
  input.keys = std::vector{ssh_key(1)};
  const User alice = must(world.directory->create_user(world.okta, world.acme, input));
  must(world.set(alice, "title", "Dr"));
  const Group lab = world.add_group("lab");
  must(world.change_members(lab, {{MemberOp::Kind::kAdd, {alice.id}}}));
  Directory::TokenRequest request;
  request.name = "reader";
  request.org = world.acme;
  const MintedToken token = must(world.directory->create_token(world.operator_, request));

  const std::vector<AuditRow> rows = must(world.directory->list_audit(world.acme, {}, 100));
  std::vector<std::string> actions;
  for (const AuditRow& row : rows) {
    actions.push_back(row.action);
    EXPECT_THAT(row.diff, Not(HasSubstr(token.secret.expose())));
    EXPECT_THAT(row.diff, Not(HasSubstr(input.keys->front().line)));
  }
  EXPECT_THAT(actions,
              ::testing::ElementsAre("org.create", "client.create", "user.create", "user.update",
                                     "group.create", "group.members", "token.create"));
  EXPECT_EQ(rows[2].actor, "token:okta");
  EXPECT_EQ(rows[2].remote, "192.0.2.1");
  EXPECT_EQ(rows[2].target, "user/" + alice.id);
  EXPECT_EQ(rows[2].at, world.clock.now());
  EXPECT_THAT(rows[2].diff, HasSubstr(input.keys->front().fingerprint));
  EXPECT_EQ(rows[3].diff, R"({"title":[null,"Dr"]})");
  EXPECT_EQ(rows[5].diff, R"({"members":{"+":[")" + alice.id + R"("]}})");
  EXPECT_EQ(must(world.directory->list_audit(world.acme, rows[4].seq, 1))[0].action,
            "group.members");
  EXPECT_EQ(must(world.directory->verify_audit(world.acme)), 7);
  world.reopen();
  EXPECT_EQ(must(world.directory->verify_audit(world.acme)), 7);
}

// One row that the store refuses would take every write of its batch with it.
TEST_P(AuditTest, UnreadableTextsOfARequestHarmNobody) {
  World world(GetParam());
  Actor odd = world.okta;
  odd.remote = "\xff";
  odd.name = std::string("a\0b", 3);
  must(world.directory->create_user(odd, world.acme, user_named("alice")));
  const AuditRow row = must(world.directory->list_audit(world.acme, {}, 100)).back();
  EXPECT_EQ(row.actor, "unreadable");
  EXPECT_EQ(row.remote, "unreadable");
  must(world.directory->verify_audit(world.acme));
}

TEST_P(AuditTest, NoticesEveryKindOfTampering) {
  World world(GetParam());
  for (int i = 0; i < 5; ++i) world.add_user("u" + std::to_string(i));
  must(world.directory->verify_audit(world.acme));
  struct Case {
    std::string_view what;
    std::string_view harm;
    std::string_view mend;
    std::string_view names;
  };
  const Case cases[] = {
      {"actor", "UPDATE audit SET actor = 'x' WHERE org = 1 AND seq = 4",
       "UPDATE audit SET actor = 'token:okta' WHERE org = 1 AND seq = 4", "row 4"},
      {"diff", "UPDATE audit SET diff = '{}' || diff WHERE org = 1 AND seq = 5",
       "UPDATE audit SET diff = substr(diff, 3) WHERE org = 1 AND seq = 5", "row 5"},
      {"removed row", "UPDATE audit SET org = 99 WHERE org = 1 AND seq = 4",
       "UPDATE audit SET org = 1 WHERE org = 99", "row 5"},
      {"removed tail", "UPDATE audit SET org = 99 WHERE org = 1 AND seq = 7",
       "UPDATE audit SET org = 1 WHERE org = 99", "after 6"},
      {"removed head", "UPDATE audit SET org = 99 WHERE org = 1 AND seq = 1",
       "UPDATE audit SET org = 1 WHERE org = 99", "row 2"},
      {"reordered",
       "UPDATE audit SET seq = 99 WHERE org = 1 AND seq = 4;"
       "UPDATE audit SET seq = 4 WHERE org = 1 AND seq = 5;"
       "UPDATE audit SET seq = 5 WHERE org = 1 AND seq = 99;",
       "UPDATE audit SET seq = 99 WHERE org = 1 AND seq = 4;"
       "UPDATE audit SET seq = 4 WHERE org = 1 AND seq = 5;"
       "UPDATE audit SET seq = 5 WHERE org = 1 AND seq = 99;",
       "row 4"},
      {"inserted",
       "INSERT INTO audit (org, seq, at, actor, remote, action, target, diff, diff_hash, hash) "
       "SELECT 1, 0 + 8, at, actor, remote, action, target, diff, diff_hash, hash FROM audit "
       "WHERE org = 1 AND seq = 7; UPDATE org SET seq = 8 WHERE n = 1",
       "DELETE FROM audit WHERE org = 1 AND seq = 8; UPDATE org SET seq = 7 WHERE n = 1", "row 8"},
      {"added behind the head",
       "INSERT INTO audit (org, seq, at, actor, remote, action, target, diff, diff_hash, hash) "
       "SELECT 1, 0 + 9, at, actor, remote, action, target, diff, diff_hash, hash FROM audit "
       "WHERE org = 1 AND seq = 7",
       "DELETE FROM audit WHERE org = 1 AND seq = 9", "row 9 was added"},
      {"diff erased in secret", "UPDATE audit SET diff = NULL WHERE org = 1 AND seq = 2",
       "UPDATE audit SET diff = '{}' WHERE org = 1 AND seq = 2", "row 2: its diff was erased"},
  };
  for (const Case& c : cases) {
    run(world, c.harm);
    EXPECT_THAT(wrong_with(world), HasSubstr(c.names)) << c.what;
    run(world, c.mend);
    EXPECT_EQ(wrong_with(world), "") << c.what;
  }
}

TEST_P(AuditTest, ADiffCanBeErasedAndTheChainHolds) {
  World world(GetParam());
  const User alice = world.add_user("alice");
  const std::vector<AuditRow> rows = must(world.directory->list_audit(world.acme, {}, 100));
  const Seq seq = rows.back().seq;
  must(world.directory->erase_audit_diff(world.operator_, world.acme, seq));
  must(world.directory->erase_audit_diff(world.operator_, world.acme, seq));  // nothing more to do
  const std::vector<AuditRow> after = must(world.directory->list_audit(world.acme, {}, 100));
  ASSERT_EQ(after.size(), rows.size() + 1);
  EXPECT_EQ(after[after.size() - 2].diff, "");
  EXPECT_EQ(after.back().action, "audit.erase");
  must(world.directory->verify_audit(world.acme));
  // The row that tells of one erasure tells of no other, and of none that came later.
  run(world, "UPDATE audit SET diff = NULL WHERE org = 1 AND seq = 2");
  EXPECT_THAT(wrong_with(world), HasSubstr("row 2"));
  must(world.directory->verify_audit(std::nullopt));
  EXPECT_EQ(world.directory->erase_audit_diff(world.operator_, world.acme, Seq{999}).error().code,
            Code::kNotFound);
}

}  // namespace
}  // namespace roster::directory
