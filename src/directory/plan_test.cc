#include <gmock/gmock.h>

#include <map>
#include <mutex>

#include "directory/identity.h"
#include "directory/schema.h"
#include "directory/testing/fixture.h"
#include "directory/testing/keys.h"

namespace roster::directory {
namespace {

using store::Tx;
using testing::group_named;
using testing::must;
using testing::ssh_key;
using testing::StillClock;
using testing::user_named;

/// Statements by text, as they were used.
class Log {
 public:
  void note(const store::Statement& s) {
    const std::lock_guard lock(mutex_);
    seen_.emplace(s.sql, s.name);
  }
  void clear() { seen_.clear(); }
  const std::map<std::string, std::string>& seen() const { return seen_; }

 private:
  std::mutex mutex_;
  std::map<std::string, std::string> seen_;
};

class LoggingTx : public Tx {
 public:
  LoggingTx(Tx& inner, Log& log) : inner_(inner), log_(log) {}
  Result<std::int64_t> execute_bound(const store::Statement& s,
                                     std::span<const store::Param> params) override {
    log_.note(s);
    return inner_.execute_bound(s, params);
  }
  Result<void> query_bound(const store::Statement& s, std::span<const store::Param> params,
                           const store::RowFn& fn) override {
    log_.note(s);
    return inner_.query_bound(s, params, fn);
  }
  Result<void> run_script(std::string_view sql) override { return inner_.run_script(sql); }

 private:
  Tx& inner_;
  Log& log_;
};

/// A real database that notes the statements it is asked for.
class LoggingDatabase : public store::Database {
 public:
  LoggingDatabase(Database& inner, Log& log) : inner_(inner), log_(log) {}
  store::Engine engine() const override { return inner_.engine(); }
  void set_batch_hooks(store::BatchHooks hooks) override {
    hooks.finish = [finish = hooks.finish, this](Tx& tx) {
      LoggingTx logging(tx, log_);
      return finish(logging);
    };
    inner_.set_batch_hooks(std::move(hooks));
  }
  Result<void> check() override { return inner_.check(); }

 protected:
  Result<void> read_erased(const std::function<Result<void>(Tx&)>& fn) override {
    return inner_.read([this, &fn](Tx& tx) {
      LoggingTx logging(tx, log_);
      return fn(logging);
    });
  }
  Result<void> write_erased(const std::function<Result<void>(Tx&)>& fn,
                            store::Urgency urgency) override {
    return inner_.write(
        [this, &fn](Tx& tx) {
          LoggingTx logging(tx, log_);
          return fn(logging);
        },
        urgency);
  }

 private:
  Database& inner_;
  Log& log_;
};

/// Asks for everything the directory can do, so that every statement is used once.
class Everything {
 public:
  Everything(Directory& directory, StillClock& clock) : directory_(directory), clock_(clock) {
    operator_.name = "operator";
    operator_.scope = Scope::kOperator;
    org_ = must(directory.create_org(operator_, "acme")).n;
    okta_.client = must(directory.create_client(operator_, org_, "okta")).n;
    okta_.org = org_;
    okta_.name = "token:okta";
  }

  void run(store::Database& database) {
    people();
    groups();
    conditions();
    tokens_and_nodes();
    feed_and_audit();
    must(database.write([this](Tx& tx) -> Result<void> {
      RulesCache rules;
      ASSIGN_OR_RETURN(const auto current, rules.get(tx, org_));
      ReservedIdentity reserved;
      reserved.kind = row::kUser;
      reserved.number = 20000;
      reserved.name = "reserved";
      RETURN_IF_ERROR(reserve_identity(tx, org_, *current, reserved, clock_.now()));
      return {};
    }));
  }

 private:
  void people() {
    UserInput input = user_named("alice");
    input.external_id = std::optional<std::string>("e");
    input.keys = std::vector{ssh_key(1)};
    const User alice = must(directory_.create_user(okta_, org_, input));
    must(directory_.create_user(okta_, org_, user_named("alice@x")));
    const auto edit = [](const User& current) {
      UserInput next;
      next.doc = current.doc;
      next.doc["userName"] = "alice.b";
      next.doc["urn:coreweave:params:scim:schemas:extension:coreweave:2.0:CoreWeaveUser"] =
          json::object{{"sunkPreferredHomeDirectory", "/home/elsewhere"}};
      next.external_id = std::optional<std::string>();
      next.keys = std::vector<KeyInput>{};
      return Result<UserInput>(std::move(next));
    };
    must(directory_.update_user(okta_, org_, alice.id, {}, edit));
    must(directory_.set_user_active(okta_, org_, alice.id, false));
    must(directory_.set_user_active(okta_, org_, alice.id, true));
    must(directory_.rename_user(operator_, org_, alice.id, *posix::LoginName::parse("al")));
    must(directory_.set_valid_until(operator_, org_, alice.id, clock_.now()));
    must(directory_.add_keys(operator_, org_, alice.id, {ssh_key(2)}));
    must(directory_.remove_key(operator_, org_, alice.id, ssh_key(2).fingerprint));
    must(directory_.find_user(org_, "al", {.keys = true, .groups = true}));
    must(directory_.find_user(org_, alice.id, {}));
    must(directory_.list_users(okta_, org_, {}, "", 10, {}));
    must(directory_.list_users(operator_, org_, {}, "", 10, {}));
    const User gone = must(directory_.create_user(okta_, org_, user_named("gone")));
    must(directory_.delete_user(okta_, org_, gone.id, {}));
    alice_ = alice.id;
    alice_n_ = alice.n;
  }

  void groups() {
    const std::vector<std::string> members{alice_};
    const Group lab = must(directory_.create_group(okta_, org_, group_named("lab"), members));
    const Group outer = must(
        directory_.create_group(okta_, org_, group_named("outer"), std::vector{lab.id, alice_}));
    const auto edit = [](const Group& current) {
      GroupInput next;
      next.doc = current.doc;
      next.doc["displayName"] = "Laboratory";
      next.external_id = std::optional<std::string>("g");
      return Result<Directory::GroupChange>({next, {{MemberOp::Kind::kReplaceAll, {}}}});
    };
    must(directory_.update_group(okta_, org_, lab.id, {}, edit));
    must(directory_.rename_group(operator_, org_, lab.id, *posix::GroupName::parse("labs")));
    must(directory_.get_group(operator_, org_, outer.id, {.members = true}));
    must(directory_.list_groups(okta_, org_, {}, "", 10, {}));
    must(directory_.find_group(org_, "laboratory", {}));
    must(directory_.find_group(org_, outer.id, {}));
    must(directory_.member_ids_by_display(org_, outer.id, "x"));
    must(directory_.delete_group(okta_, org_, lab.id, {}));
    outer_ = outer.id;
  }

  void conditions() {
    using Field = Condition::Field;
    using Op = Condition::Op;
    const std::vector<Condition> all = {
        {Field::kId, Op::kEqual, outer_},
        {Field::kUserName, Op::kEqual, "x"},
        {Field::kUserName, Op::kStartsWith, "x"},
        {Field::kDisplayName, Op::kEqual, "x"},
        {Field::kDisplayName, Op::kStartsWith, "x"},
        {Field::kExternalId, Op::kEqual, "x"},
        {Field::kExternalId, Op::kStartsWith, "x"},
        {Field::kPosixNumber, Op::kEqual, "", 10000},
        {Field::kCreated, Op::kGreater, "", 0},
        {Field::kModified, Op::kLess, "", 0},
        {Field::kActive, Op::kEqual, "", 0},
        {Field::kMember, Op::kEqual, alice_},
    };
    for (const Actor& actor : {okta_, operator_}) {
      for (const Condition& condition : all) {
        const std::vector<Condition> one{condition};
        must(directory_.list_users(actor, org_, one, "", 10, {}));
        must(directory_.list_groups(actor, org_, one, "", 10, {}));
      }
      const std::vector<Condition> both{all.front(), all.back()};
      must(directory_.list_groups(actor, org_, both, "", 10, {}));
    }
  }

  void tokens_and_nodes() {
    Directory::TokenRequest request;
    request.name = "join";
    request.scope = Scope::kJoin;
    request.org = org_;
    request.join = JoinGrant{"hpc", "login", "login", 5};
    request.ca_sha256 = std::string(64, '0');
    const std::string join = must(directory_.create_token(operator_, request)).secret.expose();
    const auto node = must(directory_.enroll_node(join, {"c1", "", 10100}, ""));
    const auto renewed = must(directory_.renew_node(node.node));
    must(directory_.authenticate_node(renewed.credential.expose()));
    directory_.acknowledge(node.node, Seq{1}, 1);
    request.name = "s";
    request.scope = Scope::kScim;
    request.client = "okta";
    request.join.reset();
    must(directory_.create_token(operator_, request));
    request.name = "u";
    request.scope = Scope::kUser;
    request.client.reset();
    request.user = alice_n_;
    const MintedToken minted = must(directory_.create_token(operator_, request));
    must(directory_.authenticate(minted.secret.expose()));
    must(directory_.flush_stamps());
    must(directory_.list_tokens(org_));
    must(directory_.list_nodes(std::nullopt));
    must(directory_.revoke_token(operator_, org_, "u"));
    must(directory_.delete_node(operator_, org_, "hpc", "c1"));
    must(directory_.list_orgs());
    must(directory_.list_clients(org_));
    OrgSettings settings;
    settings.rebind_deleted = true;
    must(directory_.update_org_settings(operator_, org_, settings));
    const User back = must(directory_.create_user(okta_, org_, user_named("gone")));
    EXPECT_EQ(back.posix->name, "gone");
  }

  void feed_and_audit() {
    must(directory_.changes(org_, Seq{0}, 1000));
    must(directory_.change_tag(org_, Seq{1}));
    must(directory_.scan_node_users(org_, 0, 10));
    must(directory_.scan_node_groups(org_, 0, 10));
    must(directory_.tombstones(org_, 0, 10));
    must(directory_.new_epoch(org_, posix::kSliceSpace.first));
    must(directory_.prune_changes(org_, Seq{3}));
    must(directory_.list_audit(org_, {}, 10));
    must(directory_.verify_audit(org_));
    must(directory_.erase_audit_diff(operator_, org_, must(directory_.find_org("acme")).seq));
    must(directory_.fuse(org_));
    must(directory_.release_fuse(operator_, org_));
  }

  Directory& directory_;
  StillClock& clock_;
  Actor operator_;
  Actor okta_;
  OrgN org_ = 0;
  std::string alice_;
  UserN alice_n_ = 0;
  std::string outer_;
};

// A plan that walks a table or sorts what it found is fast in every test and slow in every company.
TEST(PlanTest, EveryStatementGoesByAnIndex) {
  store::testing::TestDatabase database(store::Engine::kSqlite);
  Log log;
  LoggingDatabase logging(*database, log);
  StillClock clock;
  Options options;
  options.clock = clock.clock();
  auto directory = must(Directory::open(logging, options));
  log.clear();  // the store's own
  Everything(*directory, clock).run(logging);
  std::size_t explained = 0;
  for (const auto& [sql, name] : log.seen()) {
    if (name == "identity.all_blocks") continue;  // 1,024 rows at most
    for (const std::string& step :
         must(store::testing::explain(*database, store::Statement{name, sql}))) {
      EXPECT_THAT(step, ::testing::Not(::testing::StartsWith("SCAN"))) << name << ": " << sql;
      EXPECT_THAT(step, ::testing::Not(::testing::HasSubstr("TEMP B-TREE"))) << name << ": " << sql;
    }
    ++explained;
  }
  EXPECT_GE(explained, 130U);
}

}  // namespace
}  // namespace roster::directory
