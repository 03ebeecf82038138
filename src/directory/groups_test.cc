#include <gmock/gmock.h>

#include "directory/testing/fixture.h"

namespace roster::directory {
namespace {

using ::testing::ElementsAre;
using testing::group_named;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::must;
using ::testing::UnorderedElementsAre;
using testing::user_named;
using testing::World;
using Kind = MemberOp::Kind;

class GroupsTest : public store::testing::BothEngines {};
ROSTER_BOTH_ENGINES(GroupsTest);

std::vector<std::string> member_ids(World& world, const Group& group) {
  std::vector<std::string> ids;
  const Group loaded =
      must(world.directory->get_group(world.okta, world.acme, group.id, {.members = true}));
  EXPECT_EQ(loaded.member_count, static_cast<std::int64_t>(loaded.members.size()));
  for (const Reference& member : loaded.members) ids.push_back(member.id);
  return ids;
}

TEST_P(GroupsTest, CreateUpdateDelete) {
  World world(GetParam());
  const User alice = world.add_user("alice");
  const Group lab = world.add_group("Lab 1", {alice.id});
  EXPECT_EQ(lab.version, 1);
  EXPECT_EQ(lab.member_count, 1);
  EXPECT_EQ(lab.posix->name, "lab1");
  EXPECT_EQ(world.org().groups, 1);
  const Group loaded =
      must(world.directory->get_group(world.okta, world.acme, lab.id, {.members = true}));
  ASSERT_EQ(loaded.members.size(), 1U);
  EXPECT_EQ(loaded.members[0].display, "alice");
  EXPECT_EQ(loaded.members[0].posix_name, "alice");
  EXPECT_FALSE(loaded.members[0].is_group);

  const auto clash =
      world.directory->create_group(world.okta, world.acme, group_named("LAB 1"), {});
  ASSERT_FALSE(clash);
  EXPECT_EQ(clash.error().code, Code::kAlreadyExists);
  EXPECT_EQ(clash.error().keyword, "uniqueness");
  const Group other = world.add_group("other");
  const auto rename_to = [&world](const Group& group, std::string name) {
    return world.directory->update_group(
        world.okta, world.acme, group.id, {},
        [&name](const Group&) { return Result<Directory::GroupChange>({group_named(name), {}}); });
  };
  EXPECT_EQ(rename_to(other, "lab 1").error().code, Code::kAlreadyExists);
  const Seq head = world.org().seq;
  EXPECT_EQ(must(rename_to(other, "other")).version, 1);  // Okta repeats itself
  EXPECT_EQ(world.org().seq, head);
  EXPECT_EQ(must(rename_to(other, "Other")).version, 2);
  for (const std::string& bad : {std::string(), std::string("a\nb"), std::string(2000, 'x')}) {
    EXPECT_EQ(rename_to(other, bad).error().keyword, "invalidValue");
  }

  EXPECT_EQ(world.directory->delete_group(world.okta, world.acme, lab.id, 7).error().code,
            Code::kVersionMismatch);
  must(world.directory->delete_group(world.okta, world.acme, lab.id, 1));
  EXPECT_EQ(world.directory->get_group(world.okta, world.acme, lab.id, {}).error().code,
            Code::kNotFound);
  EXPECT_EQ(world.org().groups, 1);
  EXPECT_THAT(
      must(world.directory->get_user(world.okta, world.acme, alice.id, {.groups = true})).groups,
      IsEmpty());
  EXPECT_EQ(world.add_group("Lab 1").posix->name, "lab12");
}

TEST_P(GroupsTest, MemberOperationsAreSetsAndOneWriteIsOneVersion) {
  World world(GetParam());
  const std::string a = world.add_user("a").id;
  const std::string b = world.add_user("b").id;
  const std::string c = world.add_user("c").id;
  const Group lab = world.add_group("lab");
  EXPECT_EQ(must(world.change_members(lab, {{Kind::kAdd, {a, b, a}}})).version, 2);
  EXPECT_THAT(member_ids(world, lab), UnorderedElementsAre(a, b));
  // In order, and what cancels itself is no change.
  EXPECT_EQ(must(world.change_members(lab, {{Kind::kRemove, {a}}, {Kind::kAdd, {a}}})).version, 2);
  EXPECT_EQ(must(world.change_members(lab, {{Kind::kAdd, {c}}, {Kind::kRemove, {c}}})).version, 2);
  EXPECT_EQ(must(world.change_members(lab, {{Kind::kAdd, {b}}})).version, 2);
  EXPECT_EQ(must(world.change_members(lab, {{Kind::kRemove, {"who"}}})).version, 2);
  // Replacing is a difference: one change for who comes and one for who goes.
  const Seq head = world.org().seq;
  EXPECT_EQ(must(world.change_members(lab, {{Kind::kReplaceAll, {b, c}}})).version, 3);
  EXPECT_EQ(world.org().seq.value, head.value + 2);
  EXPECT_THAT(member_ids(world, lab), UnorderedElementsAre(b, c));
  EXPECT_EQ(must(world.change_members(lab, {{Kind::kRemoveAll, {}}, {Kind::kAdd, {b}}})).version,
            4);
  EXPECT_THAT(member_ids(world, lab), ElementsAre(b));
  // An unknown member fails the whole write and leaves no row behind.
  const Seq before = world.org().seq;
  const auto unknown = world.change_members(lab, {{Kind::kAdd, {a, "nobody"}}});
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, Code::kInvalidArgument);
  EXPECT_EQ(unknown.error().keyword, "invalidValue");
  EXPECT_THAT(unknown.error().message, HasSubstr("nobody"));
  EXPECT_EQ(world.org().seq, before);
  EXPECT_THAT(member_ids(world, lab), ElementsAre(b));
  const OrgN beta = must(world.directory->create_org(world.operator_, "beta")).n;
  const User foreign = must(world.directory->create_user(world.operator_, beta, user_named("f")));
  EXPECT_FALSE(world.change_members(lab, {{Kind::kAdd, {foreign.id}}}));
}

TEST_P(GroupsTest, GroupsInGroups) {
  World world(GetParam());
  const Group outer = world.add_group("outer");
  const Group inner = world.add_group("inner");
  must(world.change_members(outer, {{Kind::kAdd, {inner.id}}}));
  const auto itself = world.change_members(outer, {{Kind::kAdd, {outer.id}}});
  ASSERT_FALSE(itself);
  EXPECT_EQ(itself.error().keyword, "invalidValue");
  must(world.change_members(inner, {{Kind::kAdd, {outer.id}}}));  // circles are for the flattening
  const Group loaded =
      must(world.directory->get_group(world.okta, world.acme, outer.id, {.members = true}));
  ASSERT_EQ(loaded.members.size(), 1U);
  EXPECT_TRUE(loaded.members[0].is_group);
  EXPECT_EQ(loaded.members[0].display, "inner");
  must(world.directory->delete_group(world.okta, world.acme, inner.id, {}));
  const Group after = must(world.directory->get_group(world.okta, world.acme, outer.id, {}));
  EXPECT_EQ(after.member_count, 0);
  EXPECT_EQ(after.version, 3);
}

TEST_P(GroupsTest, TheFirstClientOwnsTheGroup) {
  World world(GetParam());
  const Actor entra = world.client("entra");
  const Group lab = world.add_group("lab");
  const auto add_nothing = [](const Group& current) {
    return Result<Directory::GroupChange>({{current.doc, "e-9"}, {}});
  };
  EXPECT_EQ(
      world.directory->update_group(entra, world.acme, lab.id, {}, add_nothing).error().keyword,
      "uniqueness");
  EXPECT_EQ(world.directory->delete_group(entra, world.acme, lab.id, {}).error().keyword,
            "uniqueness");
  const Group with_id =
      must(world.directory->update_group(world.okta, world.acme, lab.id, {}, add_nothing));
  EXPECT_EQ(with_id.external_id, "e-9");
  EXPECT_EQ(with_id.version, 2);
}

TEST_P(GroupsTest, ConditionsAndDisplays) {
  World world(GetParam());
  const User alice = world.add_user("Alice");
  const User bob = world.add_user("bob");
  const Group one = world.add_group("Team one", {alice.id});
  const Group two = world.add_group("Team two", {alice.id, bob.id, one.id});
  const Group three = world.add_group("Other");
  using Field = Condition::Field;
  using Op = Condition::Op;
  const auto ids = [&world](std::vector<Condition> conditions) {
    std::vector<std::string> out;
    const auto numbers =
        must(world.directory->select_groups(world.okta, world.acme, conditions, ""));
    const auto page = numbers
                          ? must(world.directory->get_groups(world.okta, world.acme, *numbers, {}))
                          : must(world.directory->list_groups(world.okta, world.acme, "", 100, {}));
    for (const Group& group : page.items) out.push_back(group.id);
    return out;
  };
  EXPECT_THAT(ids({}), ElementsAre(one.id, two.id, three.id));
  EXPECT_THAT(ids({{Field::kDisplayName, Op::kEqual, "team ONE"}}), ElementsAre(one.id));
  EXPECT_THAT(ids({{Field::kDisplayName, Op::kStartsWith, "team"}}), ElementsAre(one.id, two.id));
  EXPECT_THAT(ids({{Field::kMember, Op::kEqual, alice.id}}), ElementsAre(one.id, two.id));
  EXPECT_THAT(ids({{Field::kMember, Op::kEqual, one.id}}), ElementsAre(two.id));
  EXPECT_THAT(ids({{Field::kMember, Op::kEqual, "nobody"}}), IsEmpty());
  // Entra asks whether somebody is in a group it names: the condition on members always holds.
  EXPECT_THAT(ids({{Field::kId, Op::kEqual, two.id}, {Field::kMember, Op::kEqual, bob.id}}),
              ElementsAre(two.id));
  EXPECT_THAT(ids({{Field::kMember, Op::kEqual, bob.id}, {Field::kId, Op::kEqual, one.id}}),
              IsEmpty());
  EXPECT_THAT(ids({{Field::kMember, Op::kEqual, bob.id}, {Field::kMember, Op::kEqual, alice.id}}),
              ElementsAre(two.id));
  EXPECT_THAT(ids({{Field::kPosixNumber, Op::kEqual, "", three.posix->number}}),
              ElementsAre(three.id));

  const auto display = [&](std::string_view text) {
    return must(world.directory->member_ids_by_display(world.acme, two.id, text));
  };
  EXPECT_THAT(display("ALICE"), ElementsAre(alice.id));
  EXPECT_THAT(display("team one"), ElementsAre(one.id));
  EXPECT_THAT(display("Other"), IsEmpty());
  EXPECT_EQ(must(world.directory->find_group(world.acme, "teamone", {})).id, one.id);
  EXPECT_EQ(must(world.directory->find_group(world.acme, "TEAM ONE", {})).id, one.id);
  EXPECT_EQ(must(world.directory->find_group(world.acme, one.id, {})).id, one.id);
}

// Whole lists are sent for one change (scim-for-keycloak#134), and more than 1,000 come back
// (FusionAuth#2784): nobody may be lost, and one more member is one row and one change.
TEST_P(GroupsTest, LargeGroups) {
  World world(GetParam());
  const int members = GetParam() == store::Engine::kSqlite ? 1200 : 150;
  std::vector<std::string> ids;
  for (int i = 0; i < members; ++i) ids.push_back(world.add_user("m" + std::to_string(i)).id);
  const std::string last = ids.back();
  ids.pop_back();
  const Group lab = world.add_group("lab", ids);
  EXPECT_EQ(lab.member_count, members - 1);
  const Seq head = world.org().seq;
  must(world.change_members(lab, {{Kind::kAdd, {last}}}));
  EXPECT_EQ(world.org().seq.value, head.value + 1);
  ids.push_back(last);
  must(world.change_members(lab, {{Kind::kReplaceAll, ids}}));
  EXPECT_EQ(world.org().seq.value, head.value + 1);
  EXPECT_EQ(member_ids(world, lab).size(), ids.size());
}

TEST_P(GroupsTest, DocumentsThatAreTooLargeAreNotStoredAndOldOnesStayManageable) {
  World world(GetParam());
  GroupInput large = group_named("large");
  large.doc["note"] = json::string(600 << 10, 'x');
  const auto refused = world.directory->create_group(world.okta, world.acme, large, {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kTooLarge);

  const User alice = world.add_user("alice");
  const Group lab = world.add_group("lab", {alice.id});
  static constexpr store::Statement kEnlarge{"test.enlarge",
                                             "UPDATE grp SET doc = $2 WHERE n = $1"};
  must(world.database->write([&lab](store::Tx& tx) -> Result<void> {
    const json::object stored{{"displayName", "lab"}, {"note", json::string(2 << 20, 'x')}};
    RETURN_IF_ERROR(tx.execute(kEnlarge, lab.n, json::canonical(stored)));
    return {};
  }));
  EXPECT_EQ(must(world.change_members(lab, {{Kind::kRemoveAll, {}}})).member_count, 0);
  must(world.directory->delete_group(world.okta, world.acme, lab.id, {}));
}

// Nodes are not told who left a deleted group, so its number must never mean a group again.
TEST_P(GroupsTest, AGroupCreatedAgainIsAnotherOne) {
  World world(GetParam());
  OrgSettings settings;
  settings.rebind_deleted = true;
  must(
      world.directory->update_org_settings(world.operator_, world.acme, testing::always(settings)));
  const User alice = world.add_user("alice");
  const Group lab = world.add_group("lab", {alice.id});
  must(world.directory->delete_group(world.okta, world.acme, lab.id, {}));
  const Group again = world.add_group("lab");
  EXPECT_NE(again.posix->n, lab.posix->n);
  EXPECT_NE(again.posix->number, lab.posix->number);
}

TEST_P(GroupsTest, NestedGroupsFromBeforeTheSwitchStay) {
  World world(GetParam());
  const User alice = world.add_user("alice");
  const Group inner = world.add_group("inner");
  const Group outer = world.add_group("outer", {inner.id});
  must(world.directory->update_org_settings(world.operator_, world.acme, [](OrgSettings settings) {
    settings.nested_groups = false;
    return Result<OrgSettings>(std::move(settings));
  }));
  // What identity providers do: GET, then PUT of everything.
  EXPECT_TRUE(world.change_members(outer, {{Kind::kReplaceAll, {inner.id, alice.id}}}));
  EXPECT_TRUE(world.change_members(outer, {{Kind::kAdd, {inner.id}}}));
  EXPECT_EQ(must(world.directory->get_group(world.okta, world.acme, outer.id, {})).member_count, 2);
  EXPECT_TRUE(world.change_members(outer, {{Kind::kRemove, {inner.id}}}));
  const auto again = world.change_members(outer, {{Kind::kAdd, {inner.id}}});
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().keyword, "invalidValue");
}

TEST_P(GroupsTest, OneRequestNamesABoundedNumberOfMembers) {
  World world(GetParam());
  const User alice = world.add_user("alice");
  const Group lab = world.add_group("lab");
  const std::vector<std::string> half(50'001, alice.id);
  const auto refused = world.change_members(lab, {{Kind::kAdd, half}, {Kind::kAdd, half}});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kTooLarge);
  EXPECT_EQ(
      world.change_members(lab, {{Kind::kRemove, std::vector(100'001, alice.id)}}).error().code,
      Code::kTooLarge)
      << "each is looked up, whether there is such a member or not";
  const std::vector<std::string> all(100'001, alice.id);
  EXPECT_FALSE(world.directory->create_group(world.okta, world.acme, group_named("all"), all));
}

}  // namespace
}  // namespace roster::directory
