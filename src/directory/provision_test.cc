// POSIX identities by the organization's rules: on and off, names, primary groups, blocks of ids.

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "directory/identity.h"
#include "directory/testing/fixture.h"

namespace roster::directory {
namespace {

using testing::must;
using testing::user_named;
using testing::World;

class ProvisionTest : public store::testing::BothEngines {
 protected:
  void SetUp() override {
    BothEngines::SetUp();
    world = std::make_unique<World>(GetParam());
  }

  using Edit = std::function<void(OrgSettings&)>;
  Result<Org> try_set(const Edit& edit) {
    return world->directory->update_org_settings(world->operator_, world->acme,
                                                 [&edit](OrgSettings settings) {
                                                   edit(settings);
                                                   return Result<OrgSettings>(std::move(settings));
                                                 });
  }
  void set(const Edit& edit) { must(try_set(edit)); }
  void provide(bool on) {
    set([on](OrgSettings& settings) { settings.user_provisioning = on; });
  }
  std::size_t provision_all() {
    std::size_t sum = 0;
    std::int64_t after = 0;
    while (true) {
      const auto done = must(world->directory->provision(world->acme, after));
      if (done.last == 0) return sum;
      sum += done.given;
      after = done.last;
    }
  }
  User user(const std::string& id) {
    return must(
        world->directory->get_user(world->okta, world->acme, id, {.keys = true, .groups = true}));
  }
  Group group(const std::string& id) {
    return must(world->directory->get_group(world->okta, world->acme, id, {.members = true}));
  }
  /// Logins that a node would get from a snapshot.
  std::vector<std::string> on_nodes() {
    std::vector<std::string> names;
    for (const auto& each : must(world->directory->scan_node_users(world->acme, 0, 1000))) {
      if (!each.gone) names.push_back(each.record.name.str());
    }
    for (const auto& each : must(world->directory->scan_node_groups(world->acme, 0, 1000))) {
      if (!each.gone) names.push_back(each.record.name.str());
    }
    return names;
  }
  /// An import with the id 2001, the login lovelace and the home /home/al, which waits for ada.
  void reserve_ada() {
    set([](OrgSettings& settings) { settings.admitted_ids = {{2000, 2999}}; });
    const ImportEntry ada{
        .name = "lovelace", .number = 2001, .gid = 2001, .home = "/home/al", .user_name = "ada"};
    const auto imported =
        must(world->directory->import_identities(world->operator_, world->acme, {&ada, 1}, {}));
    EXPECT_EQ(imported.reserved, 1U);
  }
  using Names = std::vector<std::string>;

  std::unique_ptr<World> world;
};

ROSTER_BOTH_ENGINES(ProvisionTest);

TEST_P(ProvisionTest, WhoComesWhileItIsOffIsInTheDirectoryOnly) {
  const User before = world->add_user("before");
  provide(false);
  const User ada = world->add_user("ada");
  EXPECT_FALSE(ada.posix);
  EXPECT_FALSE(user(ada.id).posix);
  EXPECT_EQ(user(ada.id).home, "");
  const Group team = world->add_group("team", {ada.id, before.id});
  EXPECT_FALSE(team.posix);
  for (const Reference& member : group(team.id).members) {
    EXPECT_EQ(member.posix_name, member.id == ada.id ? "" : "before");
  }
  EXPECT_EQ(user(ada.id).groups.at(0).posix_name, "");
  EXPECT_EQ(on_nodes(), Names{"before"});
  EXPECT_EQ(provision_all(), 0U) << "off is off";

  // What does not need an identity goes on, what does is refused.
  must(world->set(ada, "active", false));
  must(world->set(ada, "active", true));
  must(world->set(ada, "userName", "ada2"));
  const auto login = *posix::LoginName::parse("lovelace");
  EXPECT_EQ(
      world->directory->rename_user(world->operator_, world->acme, ada.id, login).error().code,
      Code::kFailedPrecondition);
  // The changes that a node reads know nobody, either.
  const auto page = must(world->directory->changes(world->acme, Seq{0}, 1000));
  for (const auto& each : page.users) EXPECT_EQ(each.gone, each.record.name.str() != "before");
  for (const auto& each : page.groups) EXPECT_TRUE(each.gone);
}

TEST_P(ProvisionTest, TurnedOnEverybodyGetsTheIdentityOfToday) {
  provide(false);
  const User ada = world->add_user("ada@example.org");
  const User bob = world->add_user("bob");
  must(world->set(bob, "active", false));
  const Group team = world->add_group("team", {ada.id});
  const User gone = world->add_user("gone");
  must(world->directory->delete_user(world->okta, world->acme, gone.id, {}));
  const std::int64_t version = user(ada.id).version;
  const Seq head = world->org().seq;

  provide(true);
  EXPECT_EQ(provision_all(), 3U);
  EXPECT_EQ(provision_all(), 0U);
  ASSERT_TRUE(user(ada.id).posix);
  EXPECT_EQ(user(ada.id).posix->name, "ada");
  EXPECT_EQ(user(ada.id).home, "/home/ada");
  EXPECT_EQ(user(ada.id).version, version + 1) << "its ETag changed with what it shows";
  EXPECT_EQ(user(ada.id).posix->n, static_cast<std::uint64_t>(ada.n));
  EXPECT_EQ(user(bob.id).posix->state, IdentityState::kLocked);
  EXPECT_EQ(group(team.id).posix->name, "team");
  EXPECT_EQ(group(team.id).members.at(0).posix_name, "ada");
  EXPECT_EQ(on_nodes(), (Names{"ada", "bob", "team"}));
  // The feed tells it.
  EXPECT_EQ(must(world->directory->changes(world->acme, head, 1000)).users.size(), 2U);
  world->reopen();
  EXPECT_EQ(user(ada.id).posix->name, "ada");
  EXPECT_GT(must(world->directory->verify_audit(world->acme)), 0);
}

TEST_P(ProvisionTest, WhatWasDeletedWithoutAnIdentityLeavesNoTombstone) {
  provide(false);
  const User ada = world->add_user("ada");
  const Group team = world->add_group("team");
  must(world->directory->delete_user(world->okta, world->acme, ada.id, {}));
  must(world->directory->delete_group(world->okta, world->acme, team.id, {}));
  EXPECT_TRUE(must(world->directory->tombstones(world->acme, 0, 100)).empty());
  // Who comes back is a new person, whatever the policy.
  set([](OrgSettings& settings) {
    settings.user_provisioning = true;
    settings.rebind_deleted = true;
  });
  EXPECT_EQ(world->add_user("ada").posix->name, "ada");
}

TEST_P(ProvisionTest, AHomeThatWasAskedForIsJudgedWhenTheIdentityComes) {
  const User owner = world->add_user("owner");
  provide(false);
  UserInput wish = user_named("ada");
  wish.doc["urn:coreweave:params:scim:schemas:extension:coreweave:2.0:CoreWeaveUser"] =
      json::object{{"sunkPreferredHomeDirectory", "/home/a"}};
  const User ada = must(world->directory->create_user(world->okta, world->acme, wish));
  wish.doc["userName"] = "eve";
  wish.doc["urn:coreweave:params:scim:schemas:extension:coreweave:2.0:CoreWeaveUser"] =
      json::object{{"sunkPreferredHomeDirectory", "/home/owner"}};
  const User eve = must(world->directory->create_user(world->okta, world->acme, wish));
  provide(true);
  EXPECT_EQ(provision_all(), 2U);
  EXPECT_EQ(user(ada.id).home, "/home/a");
  EXPECT_EQ(user(eve.id).home, "/home/eve");
}

TEST_P(ProvisionTest, AnImportedIdentityWaitsForWhoeverCameFirst) {
  provide(false);
  const User ada = world->add_user("ada");
  reserve_ada();
  provide(true);
  EXPECT_EQ(provision_all(), 1U);
  EXPECT_EQ(user(ada.id).posix->number, 2001U);
  EXPECT_EQ(user(ada.id).posix->name, "lovelace");
  EXPECT_EQ(user(ada.id).home, "/home/al");
  EXPECT_EQ(on_nodes(), Names{"lovelace"});
  EXPECT_TRUE(must(world->directory->tombstones(world->acme, 0, 100)).empty());
}

TEST_P(ProvisionTest, AnImportedHomeIsNobodyElsesWhateverWasAskedFor) {
  provide(false);
  UserInput wish = user_named("ada");
  wish.doc["urn:coreweave:params:scim:schemas:extension:coreweave:2.0:CoreWeaveUser"] =
      json::object{{"sunkPreferredHomeDirectory", "/home/new"}};
  const User ada = must(world->directory->create_user(world->okta, world->acme, wish));
  reserve_ada();
  provide(true);
  EXPECT_EQ(provision_all(), 1U);
  EXPECT_EQ(user(ada.id).home, "/home/new");
  wish.doc["userName"] = "eve";
  wish.doc["urn:coreweave:params:scim:schemas:extension:coreweave:2.0:CoreWeaveUser"] =
      json::object{{"sunkPreferredHomeDirectory", "/home/al"}};
  EXPECT_EQ(world->directory->create_user(world->okta, world->acme, wish).error().keyword,
            "invalidValue");
}

// One that cannot be mended must not hold everybody else up.
TEST_P(ProvisionTest, ADamagedRecordKeepsNobodyElseWaiting) {
  provide(false);
  const User ada = world->add_user("ada");
  const User bob = world->add_user("bob");
  const Group team = world->add_group("team");
  must(world->database->write([&ada](store::Tx& tx) -> Result<void> {
    RETURN_IF_ERROR(tx.execute({"test", "UPDATE usr SET doc = '[' WHERE n = $1"}, ada.n));
    return {};
  }));
  provide(true);
  const auto done = must(world->directory->provision(world->acme, 0));
  EXPECT_EQ(done.given, 2U);
  EXPECT_EQ(done.refused, 1U);
  EXPECT_NE(done.reason.find(ada.id), std::string::npos) << done.reason;
  EXPECT_TRUE(user(bob.id).posix);
  EXPECT_TRUE(group(team.id).posix);
}

TEST_P(ProvisionTest, WhileNumbersAreHeldNobodyGetsOne) {
  provide(false);
  const User ada = world->add_user("ada");
  provide(true);
  world->directory->hold_ids(world->acme, std::chrono::minutes(1));
  EXPECT_EQ(world->directory->provision(world->acme, 0).error().code, Code::kUnavailable);
  world->directory->allow_ids(world->acme);
  EXPECT_EQ(provision_all(), 1U);
}

TEST_P(ProvisionTest, LoginsAreMadeFromWhatTheOrganizationNames) {
  UserInput input = user_named("000123@example.org");
  input.doc["nickName"] = "Ada";
  input.doc["emails"] =
      json::array{json::object{{"value", "second@example.org"}},
                  json::object{{"value", "first@example.org"}, {"primary", true}}};
  input.external_id = std::optional<std::string>("alovelace");
  const auto login = [this, &input](LoginSource source) {
    set([source](OrgSettings& settings) { settings.login_from = source; });
    const User made = must(world->directory->create_user(world->okta, world->acme, input));
    must(world->directory->delete_user(world->okta, world->acme, made.id, {}));
    return made.posix->name;
  };
  EXPECT_EQ(login(LoginSource::kUserName), "u10000");
  EXPECT_EQ(login(LoginSource::kNickName), "ada");
  EXPECT_EQ(login(LoginSource::kEmail), "first");
  EXPECT_EQ(login(LoginSource::kExternalId), "alovelace");
  // Where it gives no name, userName does.
  set([](OrgSettings& settings) { settings.login_from = LoginSource::kNickName; });
  EXPECT_EQ(world->add_user("grace@example.org").posix->name, "grace");
  UserInput odd = user_named("hopper");
  odd.doc["nickName"] = "42";
  EXPECT_EQ(must(world->directory->create_user(world->okta, world->acme, odd)).posix->name,
            "hopper");
}

TEST_P(ProvisionTest, GroupsMayHaveAPrefix) {
  set([](OrgSettings& settings) { settings.group_prefix = "g-"; });
  EXPECT_EQ(world->add_group("Physics").posix->name, "g-physics");
  EXPECT_EQ(world->add_group("docker").posix->name, "g-docker") << "no name of the nodes any more";
  EXPECT_EQ(world->add_user("physics").posix->name, "physics");
  EXPECT_EQ(world->add_group(std::string(40, 'x')).posix->name, "g-" + std::string(30, 'x'));
  for (const char* bad : {"-", "G-", "9", "a b", "a/", "abcdefghijklmnopq"}) {
    EXPECT_EQ(try_set([bad](OrgSettings& settings) { settings.group_prefix = bad; }).error().code,
              Code::kInvalidArgument)
        << bad;
  }
}

TEST_P(ProvisionTest, OnePrimaryGroupInThePlaceOfPrivateOnes) {
  const User early = world->add_user("early");
  const Group staff = world->add_group("staff");
  const std::uint32_t gid = staff.posix->number;
  EXPECT_EQ(try_set([](OrgSettings& settings) { settings.primary_gid = 99; }).error().code,
            Code::kInvalidArgument);
  EXPECT_EQ(try_set([&early](OrgSettings& settings) { settings.primary_gid = early.posix->number; })
                .error()
                .code,
            Code::kInvalidArgument)
      << "a person is no group";
  set([gid](OrgSettings& settings) { settings.primary_gid = gid; });
  const User late = world->add_user("late");
  EXPECT_EQ(late.posix->gid, gid);
  EXPECT_NE(late.posix->number, gid);
  world->reopen();
  EXPECT_EQ(user(late.id).posix->gid, gid);
  EXPECT_EQ(user(early.id).posix->gid, early.posix->number) << "who has one keeps it";
  for (const auto& each : must(world->directory->scan_node_users(world->acme, 0, 10))) {
    EXPECT_EQ(each.record.gid, each.record.name.str() == "late" ? gid : each.record.uid);
  }

  // Also in views that do not show the group otherwise, without anybody being shown for it.
  const Group gpu = world->add_group("gpu", {late.id});
  const Group other = world->add_group("other", {staff.id});
  const std::vector<std::uint64_t> scope{static_cast<std::uint64_t>(gpu.n)};
  std::vector<std::string> shown;
  for (const auto& each : must(world->directory->scan_node_groups(world->acme, 0, 10, scope))) {
    if (!each.gone) shown.push_back(each.record.name.str());
  }
  EXPECT_EQ(shown, (Names{staff.posix->name, "gpu"}));
  must(world->change_members(other, {{MemberOp::Kind::kRemoveAll, {}}}));

  // It stays as long as anybody has it, or would get it.
  const auto remove = [this, &staff] {
    return world->directory->delete_group(world->okta, world->acme, staff.id, {});
  };
  EXPECT_EQ(remove().error().code, Code::kFailedPrecondition);
  set([](OrgSettings& settings) { settings.primary_gid = 0; });
  EXPECT_EQ(remove().error().code, Code::kFailedPrecondition);
  must(world->directory->delete_user(world->okta, world->acme, late.id, {}));
  must(remove());
  EXPECT_EQ(world->add_user("later").posix->gid,
            must(world->directory->find_user(world->acme, "later", {})).posix->number);
}

TEST_P(ProvisionTest, WhoComesBackHasAPrimaryGroupThatIsThere) {
  const Group people = world->add_group("people");
  set([&people](OrgSettings& settings) {
    settings.rebind_deleted = true;
    settings.primary_gid = people.posix->number;
  });
  const User ada = world->add_user("ada");
  must(world->directory->delete_user(world->okta, world->acme, ada.id, {}));
  const User back = world->add_user("ada");
  EXPECT_EQ(back.posix->gid, people.posix->number);
  must(world->directory->delete_user(world->okta, world->acme, back.id, {}));
  set([](OrgSettings& settings) { settings.primary_gid = 0; });
  must(world->directory->delete_group(world->okta, world->acme, people.id, {}));
  const User again = world->add_user("ada");
  EXPECT_EQ(again.posix->number, ada.posix->number);
  EXPECT_EQ(again.posix->gid, ada.posix->number);
  EXPECT_EQ(user(again.id).posix->gid, ada.posix->number);
}

TEST_P(ProvisionTest, TheOperatorChoosesBlocks) {
  const auto ranges = [this] {
    std::string text;
    for (const OrgIdBlock& block : must(world->directory->id_blocks(world->acme))) {
      text += posix::format_block(block.ids) + ":" + std::to_string(block.left) + " ";
    }
    return text;
  };
  EXPECT_EQ(ranges(), "10000-59999:50000 ");
  const auto code = [this](posix::IdBlock ids) {
    return world->directory->add_id_block(world->operator_, world->acme, ids).error().code;
  };
  EXPECT_EQ(code({100, 200}), Code::kInvalidArgument);
  EXPECT_EQ(code({59000, 60000}), Code::kAlreadyExists);
  EXPECT_EQ(code({1879048192, 1879048200}), Code::kInvalidArgument) << "the hub's own slices";
  Actor admin = world->operator_;
  admin.scope = Scope::kAdmin;
  admin.org = world->acme;
  EXPECT_EQ(world->directory->add_id_block(admin, world->acme, {2000, 2001}).error().code,
            Code::kPermissionDenied);
  EXPECT_EQ(world->directory->close_id_block(admin, world->acme, {10000, 59999}).error().code,
            Code::kPermissionDenied);

  must(world->directory->add_id_block(world->operator_, world->acme, {2000, 2001}));
  EXPECT_EQ(world->add_user("a").posix->number, 10000U) << "the first block first";
  must(world->directory->close_id_block(world->operator_, world->acme, {10000, 59999}));
  EXPECT_EQ(ranges(), "10000-59999:0 2000-2001:2 ") << "still nobody else's";
  EXPECT_EQ(world->add_user("b").posix->number, 2000U);
  EXPECT_EQ(world->add_user("c").posix->number, 2001U);
  EXPECT_EQ(world->add_user("d").posix->number, posix::kSliceSpace.first) << "then the next free";
  EXPECT_EQ(world->directory->close_id_block(world->operator_, world->acme, {1, 2}).error().code,
            Code::kNotFound);

  // One that nobody had an id of goes back.
  const Org beta =
      must(world->directory->create_org(world->operator_, "beta", posix::IdBlock{3000, 3999}));
  EXPECT_EQ(must(world->directory->id_blocks(beta.n)).at(0).ids, (posix::IdBlock{3000, 3999}));
  must(world->directory->close_id_block(world->operator_, beta.n, {3000, 3999}));
  EXPECT_TRUE(must(world->directory->id_blocks(beta.n)).empty());
  must(world->directory->add_id_block(world->operator_, world->acme, {3000, 3999}));
  EXPECT_EQ(
      must(world->directory->create_user(world->operator_, beta.n, user_named("x"))).posix->number,
      posix::kSliceSpace.first + posix::kSliceSize);
  EXPECT_FALSE(world->directory->create_org(world->operator_, "gamma", posix::IdBlock{2000, 2001}));
  EXPECT_FALSE(world->directory->find_org("gamma")) << "all or nothing";
}

}  // namespace
}  // namespace roster::directory
