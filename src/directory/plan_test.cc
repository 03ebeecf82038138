#include <gmock/gmock.h>

#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <utility>

#include "directory/group_rows.h"
#include "directory/identity.h"
#include "directory/nesting.h"
#include "directory/schema.h"
#include "directory/testing/crowd.h"
#include "directory/testing/fixture.h"
#include "directory/testing/keys.h"
#include "directory/testing/observed.h"

namespace roster::directory {
namespace {

using ::testing::EndsWith;
using testing::group_named;
using ::testing::HasSubstr;
using testing::must;
using ::testing::Not;
using testing::ObservedDatabase;
using testing::Observer;
using testing::ssh_key;
using ::testing::StartsWith;
using testing::StillClock;
using testing::user_named;

/// Asks for everything the directory can do, so that every statement is used once.
class Everything {
 public:
  Everything(store::Database& database, Directory& directory, StillClock& clock)
      : database_(database), directory_(directory), clock_(clock) {
    operator_.name = "operator";
    operator_.scope = Scope::kOperator;
    org_ = must(directory.create_org(operator_, "acme")).n;
    okta_.client = must(directory.create_client(operator_, org_, "okta")).n;
    okta_.org = org_;
    okta_.name = "token:okta";
  }

  void run() {
    people();
    views();
    groups();
    conditions();
    tokens_and_nodes();
    feed_and_audit();
    provisioning();
    imports();
    clusters();
  }

 private:
  void clusters() {
    const Cluster hpc = must(directory_.add_cluster(operator_, org_, "hpc", {}));
    must(directory_.list_clusters(org_));
    const auto edit = [](ClusterSettings settings) {
      settings.login_host = "login";
      return Result<ClusterSettings>(std::move(settings));
    };
    must(directory_.update_cluster(operator_, org_, "hpc", edit));
    must(directory_.set_cluster_rules(operator_, hpc, "# none"));
    must(directory_.note_slurm_token(operator_, hpc, must(directory_.find_user(org_, "al", {})),
                                     clock_.now()));
    must(directory_.add_cluster_key(operator_, hpc, "one", Secret("pem")));
    must(directory_.add_cluster_key(operator_, hpc, "two", Secret("pem")));
    must(directory_.sign_with_cluster_key(operator_, hpc, "two"));
    must(directory_.drop_cluster_key(operator_, hpc, "one"));
    must(directory_.remove_cluster(operator_, org_, "hpc"));
  }

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
    must(directory_.list_users(okta_, org_, "", 10, {}));
    must(directory_.list_users(operator_, org_, "", 10, {}));
    must(directory_.outline_users(okta_, org_, "", 10));
    const User gone = must(directory_.create_user(okta_, org_, user_named("gone")));
    must(directory_.delete_user(okta_, org_, gone.id, {}));
    alice_ = alice.id;
    alice_n_ = alice.n;
  }

  void provisioning() {
    must(directory_.add_id_block(operator_, org_, {2000, 2999}));
    must(directory_.id_blocks(org_));
    must(directory_.add_id_block(operator_, org_, {3000, 3999}));
    must(directory_.close_id_block(operator_, org_, {3000, 3999}));
    const auto provide = [this](bool on) {
      return [on, this](OrgSettings settings) {
        settings.user_provisioning = on;
        settings.primary_gid = primary_gid_;
        return Result<OrgSettings>(std::move(settings));
      };
    };
    const Group staff = must(directory_.create_group(okta_, org_, group_named("people"), {}));
    primary_gid_ = staff.posix->number;
    must(directory_.update_org_settings(operator_, org_, provide(false)));
    must(directory_.create_user(okta_, org_, user_named("bare")));
    must(directory_.create_group(okta_, org_, group_named("bare group"), {}));
    must(directory_.update_org_settings(operator_, org_, provide(true)));
    must(directory_.provision(org_, 0));
    EXPECT_FALSE(directory_.delete_group(okta_, org_, staff.id, {}));
  }

  void imports() {
    ImportEntry lab{.is_group = true, .name = "imported", .number = 20000, .user_name = "Imported"};
    ImportEntry carol{.name = "carol",
                      .number = 20001,
                      .gid = 20000,
                      .home = "/home/carol",
                      .user_name = "carol",
                      .external_id = "e-9",
                      .client = "okta"};
    const auto import = [this](const ImportEntry& entry) {
      return must(directory_.import_identities(operator_, org_, {&entry, 1}, {}));
    };
    import(lab);
    EXPECT_EQ(import(carol).reserved, 1U);
    carol.user_name = "carol.c";
    EXPECT_EQ(import(carol).changed, 1U);
    EXPECT_FALSE(import({.name = "carol", .number = 20002, .gid = 20001}).clashes.empty());
    must(directory_.list_identities(operator_, org_, 0, 10));
    import({.name = "nobody-came", .number = 20003, .gid = 20003});
    must(directory_.unreserve_identity(operator_, org_, 20003));
    EXPECT_EQ(must(directory_.create_user(okta_, org_, user_named("carol.c"))).posix->gid, 20000U);
  }

  /// Before the groups, so that these move people into scopes and out of them.
  void views() {
    must(directory_.create_group(okta_, org_, group_named("scope"), {}));
    must(directory_.set_view(operator_, org_, "v", {.groups = {"scope"}}));
    must(directory_.set_view(operator_, org_, "v", {.groups = {"scope"}, .keys = false}));
    must(directory_.set_view(operator_, org_, "w", {}));
    must(directory_.remove_view(operator_, org_, "w"));
    must(directory_.list_views(org_));
    const View view = must(directory_.find_view(org_, "v"));
    const std::vector<std::uint64_t> scope{view.groups.at(0).n};
    const std::vector<std::string> members{alice_};
    const Group inner = must(directory_.create_group(okta_, org_, group_named("inner"), members));
    must(directory_.update_group(okta_, org_, view.groups.at(0).group.id, {},
                                 [&inner](const Group& current) {
                                   return Result<Directory::GroupChange>(
                                       {{current.doc, {}}, {{MemberOp::Kind::kAdd, {inner.id}}}});
                                 }));
    must(directory_.changes(org_, Seq{0}, 1000, scope));
    must(directory_.scan_node_users(org_, 0, 10, scope));
    must(directory_.scan_node_groups(org_, 0, 10, scope));
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
    must(directory_.list_groups(okta_, org_, "", 10, {}));
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
        {Field::kMember, Op::kEqual, alice_, 0, true},
    };
    for (const Actor& actor : {okta_, operator_}) {
      for (const Condition& condition : all) {
        const std::vector<Condition> one{condition};
        must(directory_.select_users(actor, org_, one, ""));
        must(directory_.select_groups(actor, org_, one, ""));
      }
      const std::vector<Condition> both{all.front(), all.back()};
      must(directory_.select_groups(actor, org_, both, ""));
    }
    must(directory_.count_who_may_log_in(org_, clock_.now()));
    const std::vector<std::string> names{outer_};
    must(directory_.select_members(org_, names, ""));
    Nesting nesting;
    const auto outer = must(directory_.select_named(org_, names, ""));
    const Load flat{.members = true, .flattened = &nesting};
    must(directory_.get_groups(okta_, org_, outer, flat));
    testing::add_crowd(database_, org_, alice_, static_cast<int>(kMembersPerRead), true);
    testing::join_crowd(database_, outer.front());
    must(directory_.get_groups(okta_, org_, outer, {.members = true}));
    must(directory_.get_users(okta_, org_, std::vector{alice_n_}, {}));
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
    must(directory_.update_org_settings(operator_, org_, testing::always(settings)));
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

  store::Database& database_;
  Directory& directory_;
  StillClock& clock_;
  Actor operator_;
  Actor okta_;
  OrgN org_ = 0;
  std::string alice_;
  std::uint32_t primary_gid_ = 0;
  UserN alice_n_ = 0;
  std::string outer_;
};

/// Of few rows in each organization, or as many as asked for. org.insert: what it would check to
/// change a number, which it never does.
const std::set<std::string, std::less<>> kOfOneOrganization = {
    "client.list", "client.numbers", "external_id.delete_all", "node.list", "token.list_of_org",
    "id_block.number_between", "org.insert", "scope.named_groups", "id_block.take_number",
    "view.list", "view.groups_of_all", "user.find_inactive", "view.nodes", "identity.primary_gids",
    "import.with_external", "cluster.list",
    // A page of everybody in the order of numbers.
    "import.identities"};

// A plan that walks a table or sorts what it found is fast in every test and slow in every company.
TEST(PlanTest, EveryStatementGoesByAnIndex) {
  store::testing::TestDatabase database(store::Engine::kSqlite);
  std::mutex mutex;
  std::map<std::string, std::string> seen;  // name by text
  Observer observer;
  observer.statement = [&mutex, &seen](const store::Statement& s, auto) {
    const std::lock_guard lock(mutex);
    seen.emplace(s.sql, s.name);
  };
  ObservedDatabase observed(*database, observer);
  StillClock clock;
  Options options;
  options.clock = clock.clock();
  auto directory = must(Directory::open(observed, options));
  seen.clear();  // the store's own
  Everything(*database, *directory, clock).run();
  std::size_t explained = 0;
  for (const auto& [sql, name] : seen) {
    if (name == "id_block.all_blocks") continue;  // 1,024 rows at most
    for (const std::string& step :
         must(store::testing::explain(*database, store::Statement{name, sql}))) {
      if (step == "SCAN held") continue;  // the working table of a recursion
      EXPECT_THAT(step, Not(StartsWith("SCAN"))) << name << ": " << sql;
      EXPECT_THAT(step, Not(HasSubstr("TEMP B-TREE"))) << name << ": " << sql;
      // All that an organization has, or all ids above nothing: no better than a walk.
      if (kOfOneOrganization.contains(name)) continue;
      EXPECT_THAT(step, Not(EndsWith("(org=?)"))) << name << ": " << sql;
      EXPECT_THAT(step, Not(HasSubstr("number>?"))) << name << ": " << sql;
    }
    ++explained;
  }
  EXPECT_GE(explained, 130U);
}

// On a full disk only these writes still get through.
TEST(UrgencyTest, WhatTakesAccessAwayIsUrgent) {
  store::testing::TestDatabase database(store::Engine::kSqlite);
  std::optional<store::Urgency> last;
  Observer observer;
  observer.write = [&last](store::Urgency urgency) { last = urgency; };
  ObservedDatabase observed(*database, observer);
  auto directory = must(Directory::open(observed));
  const auto urgent = [&last] { return std::exchange(last, std::nullopt); };
  Actor admin;
  admin.name = "operator";
  const OrgN org = must(directory->create_org(admin, "acme")).n;
  UserInput input = user_named("alice");
  input.keys = std::vector{ssh_key(1), ssh_key(2), ssh_key(3)};
  const User alice = must(directory->create_user(admin, org, input));
  EXPECT_EQ(urgent(), store::Urgency::kNormal);
  const auto put = [&](auto change) {
    must(directory->update_user(admin, org, alice.id, {}, [&change](const User& current) {
      UserInput next;
      next.doc = current.doc;
      change(next);
      return Result<UserInput>(std::move(next));
    }));
    return urgent();
  };
  EXPECT_EQ(put([](UserInput& u) { u.doc["title"] = "Dr"; }), store::Urgency::kNormal);
  EXPECT_EQ(put([](UserInput&) {}), std::nullopt);  // nothing changes: no write at all
  EXPECT_EQ(put([](UserInput& u) { u.doc["active"] = false; }), store::Urgency::kRevocation);
  EXPECT_EQ(put([](UserInput& u) { u.doc["active"] = true; }), store::Urgency::kNormal);
  EXPECT_EQ(put([](UserInput& u) { u.keys = std::vector{ssh_key(1), ssh_key(2)}; }),
            store::Urgency::kRevocation);
  EXPECT_EQ(put([](UserInput& u) { u.keys = std::vector{ssh_key(1), ssh_key(4)}; }),
            store::Urgency::kNormal);
  must(directory->remove_key(admin, org, alice.id, ssh_key(1).fingerprint));
  EXPECT_EQ(urgent(), store::Urgency::kRevocation);
  Directory::TokenRequest request;
  request.name = "t";
  request.org = org;
  must(directory->create_token(admin, request));
  EXPECT_EQ(urgent(), store::Urgency::kNormal);
  must(directory->revoke_token(admin, org, "t"));
  EXPECT_EQ(urgent(), store::Urgency::kRevocation);
  const Group group = must(directory->create_group(admin, org, group_named("g"), {}));
  const auto members = [&](MemberOp::Kind kind) {
    must(directory->update_group(admin, org, group.id, {}, [&](const Group& current) {
      return Result<Directory::GroupChange>({{current.doc, {}}, {{kind, {alice.id}}}});
    }));
    return urgent();
  };
  EXPECT_EQ(members(MemberOp::Kind::kAdd), store::Urgency::kNormal);
  EXPECT_EQ(members(MemberOp::Kind::kRemove), store::Urgency::kRevocation);
  must(directory->delete_group(admin, org, group.id, {}));
  EXPECT_EQ(urgent(), store::Urgency::kRevocation);
  must(directory->delete_user(admin, org, alice.id, {}));
  EXPECT_EQ(urgent(), store::Urgency::kRevocation);
}

}  // namespace
}  // namespace roster::directory
