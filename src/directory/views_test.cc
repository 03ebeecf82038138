#include "directory/views.h"

#include <gmock/gmock.h>

#include <set>

#include "directory/schema.h"
#include "directory/testing/fixture.h"
#include "directory/testing/keys.h"

namespace roster::directory {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::must;
using ::testing::Not;
using testing::World;
using Kind = MemberOp::Kind;

class ViewsTest : public store::testing::BothEngines {};
ROSTER_BOTH_ENGINES(ViewsTest);

View set(World& world, std::string_view name, const ViewInput& input) {
  return must(world.directory->set_view(world.operator_, world.acme, name, input)).view;
}

std::vector<std::uint64_t> numbers(const View& view) {
  std::vector<std::uint64_t> out;
  for (const ViewGroup& group : view.groups) out.push_back(group.n);
  return out;
}

/// What a delta after `since` tells a view's nodes: names, removals as "-number".
std::set<std::string> told(World& world, const View& view, Seq since) {
  std::set<std::string> out;
  const auto page = must(world.directory->changes(world.acme, since, 1000, numbers(view)));
  for (const auto& item : page.users) {
    out.insert((item.gone ? "-" : "") + std::string(item.record.name.str()));
  }
  for (const auto& item : page.groups) {
    out.insert((item.gone ? "-" : "") + std::string(item.record.name.str()));
  }
  return out;
}

std::set<std::string> present(World& world, const View& view) {
  std::set<std::string> out;
  for (const auto& item :
       must(world.directory->scan_node_users(world.acme, 0, 1000, numbers(view)))) {
    if (!item.gone) out.insert(std::string(item.record.name.str()));
  }
  for (const auto& item :
       must(world.directory->scan_node_groups(world.acme, 0, 1000, numbers(view)))) {
    if (!item.gone) out.insert(std::string(item.record.name.str()));
  }
  return out;
}

using Names = std::set<std::string>;

TEST_P(ViewsTest, ADefinitionIsKeptAndChangesItsTag) {
  World world(GetParam());
  const Group gpu = world.add_group("GPU Users");
  const Group ml = world.add_group("ml");
  const ViewInput input{.groups = {"ML", gpu.id, "gpuusers"},
                        .keys = false,
                        .gecos = false,
                        .home = "/home/{org}/{name}/",
                        .shell = "/bin/zsh"};
  const auto made = must(world.directory->set_view(world.operator_, world.acme, "gpu", input));
  EXPECT_TRUE(made.is_new);
  world.reopen();
  const View view = must(world.directory->find_view(world.acme, "gpu"));
  EXPECT_EQ(view.tag, made.view.tag);
  EXPECT_FALSE(view.built_in);
  EXPECT_FALSE(view.keys);
  EXPECT_FALSE(view.gecos);
  EXPECT_EQ(view.home, "/home/{org}/{name}");
  EXPECT_EQ(view.shell, "/bin/zsh");
  EXPECT_THAT(numbers(view), ElementsAre(gpu.posix->n, ml.posix->n));
  EXPECT_EQ(view.groups[0].group.posix_name, "gpuusers");
  EXPECT_EQ(home_template(view, "acme")->expand(*posix::LoginName::parse("ann"), 10'000),
            "/home/acme/ann");

  const Seq before = world.org().seq;
  const auto same = must(world.directory->set_view(world.operator_, world.acme, "gpu", input));
  EXPECT_FALSE(same.is_new);
  EXPECT_EQ(same.view.tag, view.tag);
  EXPECT_EQ(world.org().seq, before) << "what changes nothing is no change";
  EXPECT_NE(set(world, "gpu", {}).tag, view.tag);
  const View back = set(world, "gpu", input);
  EXPECT_NE(back.tag, view.tag) << "a node that missed the way there and back must notice";

  std::vector<std::string> names;
  for (const View& each : must(world.directory->list_views(world.acme))) names.push_back(each.name);
  EXPECT_THAT(names, ElementsAre("default", "login", "compute", "gpu"));
  must(world.directory->remove_view(world.operator_, world.acme, "gpu"));
  EXPECT_EQ(world.directory->find_view(world.acme, "gpu").error().code, Code::kNotFound);
  must(world.directory->verify_audit(world.acme));
  std::vector<std::string> actions;
  for (const AuditRow& row : must(world.directory->list_audit(world.acme, before, 100))) {
    actions.push_back(row.action + " " + row.target);
  }
  EXPECT_THAT(actions,
              ElementsAre("view.update view/gpu", "view.update view/gpu", "view.delete view/gpu"));
}

TEST_P(ViewsTest, WhatIsNotAllowedIsRefusedByName) {
  World world(GetParam());
  world.add_group("gpu");
  const struct {
    const char* name;
    ViewInput input;
    Code code;
    const char* says;
  } kCases[] = {
      {"compute", {}, Code::kFailedPrecondition, "built in"},
      {"", {}, Code::kInvalidArgument, "1 to 63"},
      {"Big", {}, Code::kInvalidArgument, "1 to 63"},
      {"a_b", {}, Code::kInvalidArgument, "1 to 63"},
      {"../x", {}, Code::kInvalidArgument, "1 to 63"},
      {"v", {.groups = {"nobody"}}, Code::kInvalidArgument, "groups: there is no group nobody"},
      {"v", {.home = "/home/shared"}, Code::kInvalidArgument, "home: "},
      {"v", {.home = "/home/{org}"}, Code::kInvalidArgument, "home: "},
      {"v", {.home = "/root/{name}"}, Code::kInvalidArgument, "home: "},
      {"v", {.home = "/home/../{name}"}, Code::kInvalidArgument, "home: "},
      {"v", {.home = "/home/{group}/{name}"}, Code::kInvalidArgument, "home: "},
      {"v", {.home = "/lustre/{name}"}, Code::kInvalidArgument, "below /home"},
      {"v", {.shell = "/tmp/sh"}, Code::kInvalidArgument, "shell: "},
      {"v", {.shell = "zsh:x"}, Code::kInvalidArgument, "shell: "},
      {"v", {.groups = std::vector<std::string>(257, "gpu")}, Code::kInvalidArgument, "more than"},
  };
  for (const auto& c : kCases) {
    const auto made = world.directory->set_view(world.operator_, world.acme, c.name, c.input);
    ASSERT_FALSE(made) << c.name << ' ' << c.says;
    EXPECT_EQ(made.error().code, c.code) << c.says;
    EXPECT_THAT(made.error().message, HasSubstr(c.says));
  }
  EXPECT_EQ(world.directory->remove_view(world.operator_, world.acme, "login").error().code,
            Code::kFailedPrecondition);
  EXPECT_EQ(world.directory->remove_view(world.operator_, world.acme, "none").error().code,
            Code::kNotFound);
  const Org other = must(world.directory->create_org(world.operator_, "other"));
  Actor stranger = world.okta;
  EXPECT_EQ(world.directory->set_view(stranger, other.n, "v", {}).error().code,
            Code::kPermissionDenied);
  // Groups of another organization are none.
  EXPECT_EQ(
      world.directory->set_view(world.operator_, other.n, "v", {.groups = {"gpu"}}).error().code,
      Code::kInvalidArgument);
  for (int i = 0; i < 64; ++i) set(world, "v" + std::to_string(i), {});
  EXPECT_EQ(world.directory->set_view(world.operator_, world.acme, "v64", {}).error().code,
            Code::kFailedPrecondition);
}

// Would catch: rules that became stricter and make a view unreadable, and its nodes deaf.
TEST_P(ViewsTest, StricterRulesTakeNoHomeAway) {
  World world(GetParam());
  OrgSettings settings;
  settings.home_prefixes = {"/home", "/lustre"};
  must(
      world.directory->update_org_settings(world.operator_, world.acme, testing::always(settings)));
  set(world, "v", {.home = "/lustre/{org}/{uid}"});
  must(world.directory->update_org_settings(world.operator_, world.acme, testing::always({})));
  const View view = must(world.directory->find_view(world.acme, "v"));
  EXPECT_EQ(home_template(view, "acme")->expand(*posix::LoginName::parse("ann"), 10'000),
            "/lustre/acme/10000");
}

TEST_P(ViewsTest, AScopeIsAGroupWithAllThatIsNestedInIt) {
  World world(GetParam());
  const User ann = world.add_user("ann");
  const User bob = world.add_user("bob");
  const User eve = world.add_user("eve");
  const Group inner = world.add_group("inner", {bob.id});
  const Group gpu = world.add_group("gpu", {ann.id, inner.id});
  const Group other = world.add_group("other", {ann.id, eve.id});
  const View view = set(world, "gpu", {.groups = {"gpu"}});
  EXPECT_EQ(present(world, view), (Names{"ann", "bob", "gpu", "inner"}));
  // What somebody of the scope is in besides does not travel.
  for (const auto& item :
       must(world.directory->scan_node_users(world.acme, 0, 1000, numbers(view)))) {
    if (item.record.n == ann.posix->n) {
      EXPECT_THAT(item.record.groups, ElementsAre(gpu.posix->n));
    }
  }
  must(world.directory->set_user_active(world.operator_, world.acme, bob.id, false));
  EXPECT_TRUE(present(world, view).contains("bob")) << "locked, but resolving";
  EXPECT_EQ(set(world, "all", {}).groups.size(), 0U);
  EXPECT_EQ(present(world, set(world, "all", {})),
            (Names{"ann", "bob", "eve", "gpu", "inner", "other"}));
  EXPECT_EQ(other.member_count, 2);
}

TEST_P(ViewsTest, WhoEntersArrivesAndWhoLeavesIsRemoved) {
  World world(GetParam());
  const User ann = world.add_user("ann");
  const User bob = world.add_user("bob");
  const Group inner = world.add_group("inner", {bob.id});
  const Group gpu = world.add_group("gpu");
  const Group other = world.add_group("other");
  const View view = set(world, "gpu", {.groups = {"gpu"}});
  set(world, "rest", {.groups = {"other"}});
  Seq at = world.org().seq;
  const auto after = [&](const Group& group, Kind kind, const std::string& id) {
    must(world.change_members(group, {{kind, {id}}}));
    const std::set<std::string> names = told(world, view, at);
    at = world.org().seq;
    return names;
  };
  EXPECT_EQ(after(gpu, Kind::kAdd, ann.id), Names{"ann"});
  EXPECT_EQ(after(gpu, Kind::kAdd, inner.id), (Names{"bob", "inner"}));
  EXPECT_EQ(after(other, Kind::kAdd, ann.id), Names{});
  EXPECT_EQ(after(other, Kind::kRemove, ann.id), Names{});
  EXPECT_EQ(after(inner, Kind::kRemove, bob.id), Names{"-bob"});
  EXPECT_EQ(after(other, Kind::kAdd, bob.id), Names{});
  EXPECT_EQ(after(inner, Kind::kAdd, bob.id), Names{"bob"});
  EXPECT_EQ(after(gpu, Kind::kRemove, inner.id), (Names{"-bob", "-inner"}));
  EXPECT_EQ(after(inner, Kind::kRemove, bob.id), Names{});
  EXPECT_EQ(after(gpu, Kind::kRemove, ann.id), Names{"-ann"});
  must(world.set(ann, "title", "Dr"));
  EXPECT_EQ(told(world, view, at), Names{}) << "a change of somebody outside";
}

// Would catch: removals found out from the groups as they are when a node asks. The paths by which
// people were in the scope are gone by then.
TEST_P(ViewsTest, ANodeThatWasAwayMissesNobodyWhoLeft) {
  World world(GetParam());
  const User ann = world.add_user("ann");
  const User bob = world.add_user("bob");
  const Group deep = world.add_group("deep", {ann.id});
  const Group inner = world.add_group("inner", {deep.id, bob.id});
  const Group gpu = world.add_group("gpu", {inner.id});
  const View view = set(world, "gpu", {.groups = {"gpu"}});
  const Seq at = world.org().seq;
  must(world.change_members(gpu, {{Kind::kRemove, {inner.id}}}));
  must(world.directory->delete_group(world.okta, world.acme, inner.id, {}));
  must(world.change_members(deep, {{Kind::kRemove, {ann.id}}}));
  EXPECT_EQ(told(world, view, at), (Names{"-ann", "-bob", "-deep", "-inner"}));
}

TEST_P(ViewsTest, AScopeWhoseGroupIsDeletedIsNobody) {
  World world(GetParam());
  const User ann = world.add_user("ann");
  const Group gpu = world.add_group("gpu", {ann.id});
  world.add_user("eve");
  const View view = set(world, "gpu", {.groups = {"gpu"}});
  const Seq at = world.org().seq;
  must(world.directory->delete_group(world.okta, world.acme, gpu.id, {}));
  EXPECT_EQ(told(world, view, at), (Names{"-ann", "-gpu"}));
  const View now = must(world.directory->find_view(world.acme, "gpu"));
  EXPECT_EQ(present(world, now), Names{});
  ASSERT_EQ(now.groups.size(), 1U);
  EXPECT_EQ(now.groups[0].group.id, "");
  EXPECT_EQ(now.groups[0].group.posix_name, "gpu");
}

// A write that moves very many through very many scopes must not fill the history of all nodes.
TEST_P(ViewsTest, MovesBeyondABoundRenewTheViewInstead) {
  if (GetParam() != store::Engine::kSqlite) return;  // no SQL of its own, and many statements
  World world(GetParam());
  std::vector<std::string> people;
  for (int i = 0; i < 1'600; ++i) people.push_back(world.add_user("p" + std::to_string(i)).id);
  const Group leaf = world.add_group("leaf", people);
  const Group middle = world.add_group("middle");
  ViewInput input;
  for (int i = 0; i < 64; ++i) {
    input.groups.push_back(world.add_group("top" + std::to_string(i), {middle.id}).id);
  }
  const View before = set(world, "wide", input);
  const View other = set(world, "other", {.groups = {leaf.id}});
  const Seq head = world.org().seq;
  must(world.change_members(middle, {{Kind::kAdd, {leaf.id}}}));
  EXPECT_EQ(world.org().seq.value, head.value + 1);
  EXPECT_NE(must(world.directory->find_view(world.acme, "wide")).tag, before.tag);
  EXPECT_EQ(must(world.directory->find_view(world.acme, "other")).tag, other.tag);
}

TEST_P(ViewsTest, WithoutScopesADeletedGroupIsOneChange) {
  World world(GetParam());
  const User ann = world.add_user("ann");
  const Group gpu = world.add_group("gpu", {ann.id});
  set(world, "nokeys", {.keys = false});
  const Seq at = world.org().seq;
  must(world.directory->delete_group(world.okta, world.acme, gpu.id, {}));
  EXPECT_EQ(world.org().seq.value, at.value + 1);
}

TEST_P(ViewsTest, ATokenIsForAViewThatExists) {
  World world(GetParam());
  Directory::TokenRequest request;
  request.name = "join";
  request.scope = Scope::kJoin;
  request.org = world.acme;
  request.join = JoinGrant{"hpc", "gpu", "compute", -1};
  request.ca_sha256 = std::string(64, '0');
  const auto refused = world.directory->create_token(world.operator_, request);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kInvalidArgument);
  EXPECT_THAT(refused.error().message, HasSubstr("there are default, login, compute"));
  set(world, "gpu", {});
  const std::string join =
      must(world.directory->create_token(world.operator_, request)).secret.expose();
  must(world.directory->enroll_node(join, {"n1", "", 0}, ""));
  const auto used = world.directory->remove_view(world.operator_, world.acme, "gpu");
  ASSERT_FALSE(used);
  EXPECT_EQ(used.error().code, Code::kFailedPrecondition);
  EXPECT_THAT(used.error().message, HasSubstr("hpc/n1"));
  for (int i = 2; i <= 14; ++i) {
    must(world.directory->enroll_node(join, {"n" + std::to_string(i), "", 0}, ""));
  }
  EXPECT_THAT(
      world.directory->remove_view(world.operator_, world.acme, "gpu").error().message,
      ::testing::AllOf(HasSubstr("hpc/n1"), HasSubstr("and 4 more"), Not(HasSubstr("hpc/n9"))));
  // Nodes whose credential ran out hold nothing.
  world.clock.advance(std::chrono::days{40});
  must(world.directory->remove_view(world.operator_, world.acme, "gpu"));
  const auto late = world.directory->enroll_node(join, {"n20", "", 0}, "");
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, Code::kPermissionDenied);
}

constexpr const char* kStoredBefore[] = {
    "INSERT INTO org (n, slug, epoch, created) VALUES (5, 'acme', '77', 1)",
    "INSERT INTO posix_id (n, org, kind, number, name, state, created) "
    "VALUES (9, 5, 2, 10009, 'gpu', 1, 1)",
    "INSERT INTO grp (n, org, id, display_name, name_key, owner_client, member_count, version, "
    "created, modified, doc) VALUES (9, 5, 'g-1', 'GPU', 'gpu', 0, 0, 1, 1, 1, "
    "'{\"displayName\":\"GPU\"}')"};

// A store that an older hub wrote gets views without losing anything.
TEST_P(ViewsTest, AStoreFromBeforeThereWereViewsGetsThem) {
  store::testing::TestDatabase database(GetParam());
  must(store::migrate(*database, migrations().first(1)));
  must(database->write([](store::Tx& tx) -> Result<void> {
    for (const char* sql : kStoredBefore) {
      RETURN_IF_ERROR(tx.execute(store::Statement{"test.stored_before", sql}));
    }
    return {};
  }));
  database.reopen();
  const auto directory = must(Directory::open(*database));
  const Org acme = must(directory->find_org("acme"));
  EXPECT_EQ(acme.epoch, "77");
  Actor admin;
  admin.name = "operator";
  const auto set = must(directory->set_view(admin, acme.n, "gpu", {.groups = {"gpu"}}));
  EXPECT_THAT(numbers(set.view), ElementsAre(9));
  EXPECT_EQ(must(directory->list_views(acme.n)).size(), 4U);
}

}  // namespace
}  // namespace roster::directory
