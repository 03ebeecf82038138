#include <gmock/gmock.h>

#include "directory/testing/fixture.h"
#include "directory/testing/keys.h"

namespace roster::directory {
namespace {

using testing::doc;
using ::testing::ElementsAre;
using testing::group_named;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::must;
using testing::ssh_key;
using testing::user_named;
using testing::World;

class UsersTest : public store::testing::BothEngines {};
ROSTER_BOTH_ENGINES(UsersTest);

constexpr std::string_view kExtension =
    "urn:coreweave:params:scim:schemas:extension:coreweave:2.0:CoreWeaveUser";

UserInput user_with_home(std::string_view name, std::string_view home) {
  UserInput input = user_named(name);
  input.doc[kExtension] = json::object{{"sunkPreferredHomeDirectory", home}};
  return input;
}

UserInput user_with_shell(std::string_view name, std::string_view shell) {
  UserInput input = user_named(name);
  input.doc[kExtension] = json::object{{"sunkLoginShell", shell}};
  return input;
}

std::vector<std::string> fingerprints(const User& user) {
  std::vector<std::string> out;
  for (const SshKeyRow& key : user.keys) out.push_back(key.fingerprint);
  return out;
}

TEST_P(UsersTest, CreateAllocatesAnIdentity) {
  World world(GetParam());
  const User alice = world.add_user("Alice.Smith@example.org");
  EXPECT_TRUE(is_uuid(alice.id));
  EXPECT_EQ(alice.version, 1);
  EXPECT_TRUE(alice.active);
  EXPECT_EQ(alice.owner, "okta");
  ASSERT_TRUE(alice.posix);
  EXPECT_EQ(alice.posix->name, "alice.smith");
  EXPECT_EQ(alice.posix->number, 10000U);
  EXPECT_EQ(alice.posix->state, IdentityState::kActive);
  EXPECT_EQ(alice.home, "/home/alice.smith");

  const User again = must(world.directory->get_user(world.okta, world.acme, alice.id, {}));
  EXPECT_EQ(json::canonical(again.doc), R"({"active":true,"userName":"Alice.Smith@example.org"})");
  EXPECT_EQ(world.org().users, 1);
  EXPECT_EQ(world.org().active_users, 1);
  world.reopen();
  EXPECT_EQ(must(world.directory->get_user(world.okta, world.acme, alice.id, {})).posix->number,
            10000U);
}

TEST_P(UsersTest, CreateAnswersWhatIsStored) {
  World world(GetParam());
  UserInput input = user_with_shell("alice", "/bin/zsh");
  input.doc["active"] = false;
  input.external_id = std::optional<std::string>("E-1");
  input.keys = std::vector{ssh_key(9), ssh_key(3), ssh_key(5)};
  input.keys->front().not_before = world.clock.now();
  for (const Actor& actor : {world.okta, world.operator_}) {
    const User made = must(world.directory->create_user(actor, world.acme, input));
    const User read = must(world.directory->get_user(actor, world.acme, made.id, {.keys = true}));
    EXPECT_EQ(made.n, read.n);
    EXPECT_EQ(json::canonical(made.doc), json::canonical(read.doc));
    EXPECT_EQ(made.active, read.active);
    EXPECT_EQ(made.owner, read.owner);
    EXPECT_EQ(made.external_id, read.external_id);
    EXPECT_EQ(made.version, read.version);
    EXPECT_EQ(made.created, read.created);
    EXPECT_EQ(made.modified, read.modified);
    EXPECT_EQ(made.posix->n, read.posix->n);
    EXPECT_EQ(made.posix->name, read.posix->name);
    EXPECT_EQ(made.posix->number, read.posix->number);
    EXPECT_EQ(made.posix->state, read.posix->state);
    EXPECT_EQ(made.home, read.home);
    EXPECT_EQ(made.shell, read.shell);
    ASSERT_EQ(made.keys.size(), read.keys.size());
    for (std::size_t i = 0; i < made.keys.size(); ++i) {
      EXPECT_EQ(made.keys[i].fingerprint, read.keys[i].fingerprint);
      EXPECT_EQ(made.keys[i].key, read.keys[i].key);
      EXPECT_EQ(made.keys[i].name, read.keys[i].name);
      EXPECT_EQ(made.keys[i].source, read.keys[i].source);
      EXPECT_EQ(made.keys[i].created, read.keys[i].created);
      EXPECT_EQ(made.keys[i].not_before, read.keys[i].not_before);
      EXPECT_EQ(made.keys[i].not_after, read.keys[i].not_after);
    }
    must(world.directory->delete_user(world.operator_, world.acme, made.id, {}));
  }
}

TEST_P(UsersTest, UserNameIsUniqueByCaseKeyInOneOrganization) {
  World world(GetParam());
  world.add_user("Straße");
  for (const char* same : {"straße", "STRASSE", "Strasse"}) {
    const auto clash = world.directory->create_user(world.okta, world.acme, user_named(same));
    ASSERT_FALSE(clash) << same;
    EXPECT_EQ(clash.error().code, Code::kAlreadyExists);
    EXPECT_EQ(clash.error().keyword, "uniqueness");
  }
  const User other = world.add_user("other");
  const auto clash = world.set(other, "userName", "STRAßE");
  ASSERT_FALSE(clash);
  EXPECT_EQ(clash.error().code, Code::kAlreadyExists);
  // Another case of one's own name is no clash, and is stored as it came.
  EXPECT_EQ(json::find_string(must(world.set(other, "userName", "OTHER")).doc, "userName"),
            "OTHER");
  // Another organization has names of its own.
  const OrgN beta = must(world.directory->create_org(world.operator_, "beta")).n;
  EXPECT_TRUE(world.directory->create_user(world.operator_, beta, user_named("strasse")));
}

TEST_P(UsersTest, BadUserNamesAreRefusedAndHostileOnesDerived) {
  World world(GetParam());
  for (const std::string& bad :
       {std::string(), std::string("a\nb"), std::string(257, 'x'), std::string("\xff"),
        std::string("a\x7f"), std::string(1 << 20, 'y')}) {
    const auto refused = world.directory->create_user(world.okta, world.acme, user_named(bad));
    ASSERT_FALSE(refused) << bad.substr(0, 20);
    EXPECT_EQ(refused.error().code, Code::kInvalidArgument);
    EXPECT_THAT(refused.error().message, HasSubstr("userName"));
  }
  UserInput nameless;
  EXPECT_FALSE(world.directory->create_user(world.okta, world.acme, nameless));
  // Stored unchanged; what nodes see is derived.
  struct Case {
    const char* user_name;
    std::string login;
  };
  std::uint32_t number = 10000;
  for (const Case& c : {Case{"root", "root2"}, Case{"sudo", "sudo2"}, Case{"../../etc", ""},
                        Case{"-rf", ""}, Case{"a:b", "ab"}, Case{"ROOT", ""}, Case{"名前", ""},
                        Case{"x'; DROP TABLE usr; --", "xdroptableusr--"}}) {
    if (std::string_view(c.user_name) == "ROOT") continue;  // the same key as "root"
    const auto made = world.directory->create_user(world.okta, world.acme, user_named(c.user_name));
    ASSERT_TRUE(made) << c.user_name << ": " << made.error().message;
    const std::string expected = c.login.empty() ? "u" + std::to_string(number) : c.login;
    EXPECT_EQ(made->posix->name, expected) << c.user_name;
    EXPECT_EQ(json::find_string(made->doc, "userName"), c.user_name);
    ++number;
  }
}

TEST_P(UsersTest, AWriteThatChangesNothingLeavesNoTrace) {
  World world(GetParam());
  UserInput input = user_named("alice");
  input.external_id = std::optional<std::string>("ext-1");
  input.keys = std::vector{ssh_key(1)};
  const User alice = must(world.directory->create_user(world.okta, world.acme, input));
  const Seq head = world.org().seq;
  world.clock.advance(std::chrono::seconds(5));
  const User same = must(
      world.directory->update_user(world.okta, world.acme, alice.id, {},
                                   [&input](const User&) { return Result<UserInput>(input); }));
  EXPECT_EQ(same.version, 1);
  EXPECT_EQ(same.modified, alice.modified);
  EXPECT_EQ(world.org().seq, head);
  must(world.directory->set_user_active(world.okta, world.acme, alice.id, true));
  must(world.directory->set_valid_until(world.okta, world.acme, alice.id, std::nullopt));
  must(world.directory->add_keys(world.okta, world.acme, alice.id, {ssh_key(1)}));
  EXPECT_EQ(world.org().seq, head);
}

TEST_P(UsersTest, VersionAndIfMatch) {
  World world(GetParam());
  const User alice = world.add_user("alice");
  world.clock.advance(std::chrono::seconds(1));
  const User second = must(world.set(alice, "title", "Dr"));
  EXPECT_EQ(second.version, 2);
  EXPECT_EQ(second.modified, world.clock.now());
  EXPECT_EQ(second.created, alice.created);
  const auto edit = [](const User& current) {
    UserInput input;
    input.doc = current.doc;
    input.doc["title"] = "Prof";
    return Result<UserInput>(std::move(input));
  };
  const auto stale = world.directory->update_user(world.okta, world.acme, alice.id, 1, edit);
  ASSERT_FALSE(stale);
  EXPECT_EQ(stale.error().code, Code::kVersionMismatch);
  EXPECT_EQ(must(world.directory->update_user(world.okta, world.acme, alice.id, 2, edit)).version,
            3);
  EXPECT_EQ(world.directory->delete_user(world.okta, world.acme, alice.id, 2).error().code,
            Code::kVersionMismatch);
  EXPECT_EQ(world.directory->get_user(world.okta, world.acme, "nobody", {}).error().code,
            Code::kNotFound);
}

TEST_P(UsersTest, DeactivationLocksAndReactivationGivesTheSameIdentityBack) {
  World world(GetParam());
  const User alice = world.add_user("alice");
  const User locked = must(world.set(alice, "active", false));
  EXPECT_FALSE(locked.active);
  EXPECT_EQ(locked.posix->state, IdentityState::kLocked);
  EXPECT_EQ(world.org().active_users, 0);
  EXPECT_EQ(world.org().users, 1);
  const User back = must(world.directory->set_user_active(world.okta, world.acme, alice.id, true));
  EXPECT_TRUE(back.active);
  EXPECT_EQ(back.posix->number, alice.posix->number);
  EXPECT_EQ(back.posix->state, IdentityState::kActive);
  EXPECT_EQ(json::find_bool(back.doc, "active"), true);
  EXPECT_EQ(world.org().active_users, 1);

  UserInput asleep = user_named("bob");
  asleep.doc["active"] = false;
  const User bob = must(world.directory->create_user(world.okta, world.acme, asleep));
  EXPECT_EQ(bob.posix->state, IdentityState::kLocked);
  EXPECT_EQ(world.org().active_users, 1);
}

TEST_P(UsersTest, DeleteLeavesATombstoneAndNothingElse) {
  World world(GetParam());
  UserInput input = user_named("alice");
  input.external_id = std::optional<std::string>("ext-1");
  input.keys = std::vector{ssh_key(1)};
  const User alice = must(world.directory->create_user(world.okta, world.acme, input));
  const Group group = world.add_group("lab", {alice.id});
  must(world.directory->delete_user(world.okta, world.acme, alice.id, {}));
  EXPECT_EQ(world.directory->get_user(world.okta, world.acme, alice.id, {}).error().code,
            Code::kNotFound);
  EXPECT_EQ(world.directory->delete_user(world.okta, world.acme, alice.id, {}).error().code,
            Code::kNotFound);
  const Group after =
      must(world.directory->get_group(world.okta, world.acme, group.id, {.members = true}));
  EXPECT_EQ(after.version, group.version + 1);
  EXPECT_EQ(after.member_count, 0);
  EXPECT_THAT(after.members, IsEmpty());
  EXPECT_EQ(world.org().users, 0);
  EXPECT_EQ(world.org().active_users, 0);
  EXPECT_THAT(must(world.directory->tombstones(world.acme, 0, 10)), ElementsAre(alice.posix->n));

  // The same person as far as the identity provider knows; a new one to the nodes.
  const User again = must(world.directory->create_user(world.okta, world.acme, input));
  EXPECT_NE(again.id, alice.id);
  EXPECT_NE(again.posix->number, alice.posix->number);
  EXPECT_NE(again.posix->n, alice.posix->n);
  EXPECT_EQ(again.posix->name, "alice2");
  EXPECT_EQ(again.home, "/home/alice2");
}

TEST_P(UsersTest, TheFirstClientOwnsTheRecord) {
  World world(GetParam());
  const Actor entra = world.client("entra");
  const User alice = world.add_user("alice");
  const auto keep = [](const User& current) {
    UserInput input;
    input.doc = current.doc;
    input.doc["title"] = "x";
    return Result<UserInput>(std::move(input));
  };
  const auto refused = world.directory->update_user(entra, world.acme, alice.id, {}, keep);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kAlreadyExists);
  EXPECT_EQ(refused.error().keyword, "uniqueness");
  EXPECT_EQ(world.directory->delete_user(entra, world.acme, alice.id, {}).error().code,
            Code::kAlreadyExists);
  // People at the admin API may, and the owner stays.
  EXPECT_EQ(
      must(world.directory->update_user(world.operator_, world.acme, alice.id, {}, keep)).owner,
      "okta");
  // What nobody owns belongs to the first client that changes it.
  const User manual =
      must(world.directory->create_user(world.operator_, world.acme, user_named("manual")));
  EXPECT_EQ(manual.owner, "");
  EXPECT_EQ(must(world.directory->update_user(entra, world.acme, manual.id, {}, keep)).owner,
            "entra");
  EXPECT_FALSE(world.set(manual, "title", "y"));
  // Keys or an externalId alone are a change, too.
  for (const bool keys : {true, false}) {
    const User other = must(world.directory->create_user(
        world.operator_, world.acme, user_named(keys ? "with-keys" : "with-id")));
    const auto touch = [keys](const User& current) {
      UserInput input;
      input.doc = current.doc;
      if (keys) {
        input.keys = std::vector{ssh_key(1)};
      } else {
        input.external_id = "e-1";
      }
      return Result<UserInput>(std::move(input));
    };
    EXPECT_EQ(must(world.directory->update_user(entra, world.acme, other.id, {}, touch)).owner,
              "entra");
  }
}

TEST_P(UsersTest, ExternalIdsArePerClient) {
  World world(GetParam());
  const Actor entra = world.client("entra");
  UserInput input = user_named("alice");
  input.external_id = std::optional<std::string>("A-1");
  const User alice = must(world.directory->create_user(world.okta, world.acme, input));
  EXPECT_EQ(alice.external_id, "A-1");
  EXPECT_EQ(must(world.directory->get_user(entra, world.acme, alice.id, {})).external_id,
            std::nullopt);
  EXPECT_EQ(must(world.directory->get_user(world.operator_, world.acme, alice.id, {})).external_id,
            "A-1");
  const auto with_external_id = [](std::optional<std::string> value) {
    return [value](const User& current) {
      UserInput next;
      next.doc = current.doc;
      next.external_id = value;
      return Result<UserInput>(std::move(next));
    };
  };
  const User changed = must(
      world.directory->update_user(world.okta, world.acme, alice.id, {}, with_external_id("A-2")));
  EXPECT_EQ(changed.external_id, "A-2");
  EXPECT_EQ(changed.version, 2);
  EXPECT_EQ(must(world.directory->update_user(world.okta, world.acme, alice.id, {},
                                              with_external_id(std::nullopt)))
                .external_id,
            std::nullopt);
  EXPECT_FALSE(world.directory->update_user(world.okta, world.acme, alice.id, {},
                                            with_external_id(std::string(2000, 'x'))));
}

TEST_P(UsersTest, AnotherOrganizationsTokenMayDoNothing) {
  World world(GetParam());
  const User alice = world.add_user("alice");
  const OrgN beta = must(world.directory->create_org(world.operator_, "beta")).n;
  Actor stranger = world.okta;
  stranger.org = beta;
  EXPECT_EQ(world.directory->get_user(stranger, world.acme, alice.id, {}).error().code,
            Code::kPermissionDenied);
  EXPECT_EQ(world.directory->delete_user(stranger, world.acme, alice.id, {}).error().code,
            Code::kPermissionDenied);
  // Nor does an id of one organization mean anything in another.
  EXPECT_EQ(world.directory->get_user(world.operator_, beta, alice.id, {}).error().code,
            Code::kNotFound);
}

TEST_P(UsersTest, HomesAreCheckedAndNobodyElses) {
  World world(GetParam());
  const auto create = [&world](const UserInput& input) {
    return world.directory->create_user(world.okta, world.acme, input);
  };
  for (const char* bad : {"/root", "/home", "/home/../etc", "/home/a b", "home/x", "/home//x",
                          "/home/x:y", "/etc/passwd", "/home/x\n"}) {
    const auto refused = create(user_with_home("x", bad));
    ASSERT_FALSE(refused) << bad;
    EXPECT_EQ(refused.error().code, Code::kInvalidArgument);
    EXPECT_EQ(refused.error().keyword, "invalidValue");
    EXPECT_THAT(refused.error().message, HasSubstr("sunkPreferredHomeDirectory"));
  }
  const User alice = must(create(user_with_home("alice", "/home/lab/alice")));
  EXPECT_EQ(alice.home, "/home/lab/alice");
  for (const char* anothers : {"/home/lab/alice", "/home/lab/alice/sub", "/home/lab"}) {
    const auto refused = create(user_with_home("mallory", anothers));
    ASSERT_FALSE(refused) << anothers;
    EXPECT_EQ(refused.error().keyword, "invalidValue");
  }
  EXPECT_TRUE(create(user_with_home("neighbour", "/home/lab/alice2")));
  // Deleted people's files are not for others.
  must(world.directory->delete_user(world.okta, world.acme, alice.id, {}));
  EXPECT_FALSE(create(user_with_home("heir", "/home/lab/alice")));
  // A default home that somebody asked for already gives way.
  must(create(user_with_home("early", "/home/bob")));
  EXPECT_EQ(world.add_user("bob").home, "/home/bob2");
}

TEST_P(UsersTest, HomesMoveWhenAskedAndBackToTheTemplate) {
  World world(GetParam());
  const User alice = world.add_user("alice");
  const User moved = must(world.set(
      alice, kExtension, json::object{{"sunkPreferredHomeDirectory", "/home/elsewhere/"}}));
  EXPECT_EQ(moved.home, "/home/elsewhere");
  // The old home still holds alice's files.
  for (const char* former : {"/home/alice", "/home/alice/sub"}) {
    EXPECT_FALSE(
        world.directory->create_user(world.okta, world.acme, user_with_home("bob", former)));
  }
  must(world.directory->rename_user(world.operator_, world.acme, alice.id,
                                    *posix::LoginName::parse("alix")));
  EXPECT_EQ(world.add_user("Alice@example.org").home, "/home/alice2");
  for (int i = 0; i < 2; ++i) {
    must(world.set(alice, kExtension, json::object{{"sunkPreferredHomeDirectory", "/home/alice"}}));
    EXPECT_EQ(must(world.set(alice, kExtension, json::object{})).home, "/home/alix");
  }
}

// Whoever comes back to the identity they had keeps what was theirs, and gets what they ask for.
TEST_P(UsersTest, ARebindKeepsFormerHomesAndMayReturnToOne) {
  World world(GetParam());
  OrgSettings settings;
  settings.rebind_deleted = true;
  must(
      world.directory->update_org_settings(world.operator_, world.acme, testing::always(settings)));
  const auto create = [&world](const char* name, const char* home) {
    return world.directory->create_user(world.okta, world.acme, user_with_home(name, home));
  };
  const User alice = world.add_user("alice");
  must(world.directory->delete_user(world.okta, world.acme, alice.id, {}));
  User back = must(create("alice", "/home/alice.new"));
  EXPECT_EQ(back.posix->number, alice.posix->number);
  EXPECT_EQ(back.home, "/home/alice.new");
  EXPECT_FALSE(create("bob", "/home/alice"));
  must(world.directory->delete_user(world.okta, world.acme, back.id, {}));
  back = must(create("alice", "/home/alice"));
  EXPECT_EQ(back.home, "/home/alice");
  EXPECT_FALSE(create("bob", "/home/alice.new"));
}

TEST_P(UsersTest, ShellsComeFromTheList) {
  World world(GetParam());
  const auto refused =
      world.directory->create_user(world.okta, world.acme, user_with_shell("x", "/bin/evil"));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kInvalidArgument);
  EXPECT_THAT(refused.error().message, HasSubstr("sunkLoginShell"));
  const User alice = must(
      world.directory->create_user(world.okta, world.acme, user_with_shell("alice", "/bin/zsh")));
  EXPECT_EQ(alice.shell, "/bin/zsh");
  // Stricter rules hold for what changes, and keep nobody from being deactivated.
  OrgSettings settings;
  settings.shells = {"/bin/bash"};
  settings.home_prefixes = {"/data"};
  settings.home_template = "/data/{login}";
  must(
      world.directory->update_org_settings(world.operator_, world.acme, testing::always(settings)));
  EXPECT_FALSE(world.set(must(world.set(alice, "active", false)), kExtension,
                         json::object{{"sunkLoginShell", "/bin/sh"}}));
  EXPECT_EQ(world.add_user("new").home, "/data/new");
}

TEST_P(UsersTest, KeysBelongToWhoWroteThem) {
  World world(GetParam());
  const User alice = world.add_user("alice");
  const auto put_keys = [&](std::vector<KeyInput> keys) {
    return must(world.directory->update_user(world.okta, world.acme, alice.id, {},
                                             [&keys](const User& current) {
                                               UserInput input;
                                               input.doc = current.doc;
                                               input.keys = keys;
                                               return Result<UserInput>(std::move(input));
                                             }));
  };
  const KeyInput first = ssh_key(1);
  const KeyInput second = ssh_key(2);
  const KeyInput manual = ssh_key(3);
  const User two = put_keys({first, second, first});
  EXPECT_EQ(two.keys.size(), 2U);
  EXPECT_EQ(two.version, 2);
  EXPECT_EQ(two.keys[0].source, "okta");
  const User three =
      must(world.directory->add_keys(world.operator_, world.acme, alice.id, {manual}));
  EXPECT_EQ(three.keys.size(), 3U);
  // The identity provider's list replaces its own and leaves the one entered by hand.
  const User replaced = put_keys({second});
  EXPECT_THAT(fingerprints(replaced),
              ::testing::UnorderedElementsAre(second.fingerprint, manual.fingerprint));
  EXPECT_THAT(fingerprints(put_keys({})), ElementsAre(manual.fingerprint));
  // Anybody's key can be taken away.
  EXPECT_THAT(
      must(world.directory->remove_key(world.okta, world.acme, alice.id, manual.fingerprint)).keys,
      IsEmpty());
  EXPECT_EQ(world.directory->remove_key(world.okta, world.acme, alice.id, "SHA256:x").error().code,
            Code::kNotFound);
}

// What an administrator said about a key outlives every push of an identity provider, and the key's
// own absence.
TEST_P(UsersTest, TheEndOfAKeyIsTheAdministrators) {
  World world(GetParam());
  UserInput input = user_named("alice");
  const KeyInput key = ssh_key(1, "laptop");
  input.keys = std::vector{key};
  const User alice = must(world.directory->create_user(world.okta, world.acme, input));
  const auto push = [&world, &alice](std::vector<KeyInput> keys) {
    return must(world.directory->update_user(world.okta, world.acme, alice.id, {},
                                             [&keys](const User& current) {
                                               UserInput next;
                                               next.doc = current.doc;
                                               next.keys = keys;
                                               return Result<UserInput>(std::move(next));
                                             }))
        .keys;
  };
  KeyEdit edit;
  edit.name = "suspended";
  edit.not_after = world.clock.now();
  must(world.directory->update_key(world.operator_, world.acme, alice.id, key.fingerprint, edit));
  const auto expect_ended = [&world](const std::vector<SshKeyRow>& keys, std::string_view name) {
    ASSERT_EQ(keys.size(), 1U);
    EXPECT_EQ(keys[0].not_after, world.clock.now());
    EXPECT_EQ(keys[0].name, name);
  };
  expect_ended(push({key}), "suspended");
  expect_ended(push({ssh_key(1, "phone")}), "suspended");
  EXPECT_TRUE(push({}).empty());
  world.reopen();
  expect_ended(push({key}), "laptop");
  EXPECT_TRUE(push({}).empty());
  // By hand it comes without one.
  const User added = must(world.directory->add_keys(world.operator_, world.acme, alice.id, {key}));
  EXPECT_FALSE(added.keys.at(0).not_after);
  must(world.directory->remove_key(world.operator_, world.acme, alice.id, key.fingerprint));
  EXPECT_FALSE(push({key}).at(0).not_after);
  // A name that nobody gave follows the comment.
  EXPECT_EQ(push({ssh_key(1, "phone")}).at(0).name, "phone");
}

TEST_P(UsersTest, AtMostAHundredKeys) {
  World world(GetParam());
  UserInput input = user_named("alice");
  input.keys.emplace();
  for (unsigned i = 0; i < 101; ++i) input.keys->push_back(ssh_key(i));
  const auto refused = world.directory->create_user(world.okta, world.acme, input);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().keyword, "invalidValue");
  input.keys->pop_back();
  const User alice = must(world.directory->create_user(world.okta, world.acme, input));
  EXPECT_EQ(alice.keys.size(), 100U);
  EXPECT_FALSE(world.directory->add_keys(world.okta, world.acme, alice.id, {ssh_key(100)}));
}

TEST_P(UsersTest, ListsPagesInOrderOfId) {
  World world(GetParam());
  std::vector<std::string> ids;
  for (int i = 0; i < 25; ++i) {
    UserInput input = user_named("user" + std::to_string(i));
    input.keys = std::vector{ssh_key(static_cast<unsigned>(i))};
    input.external_id = std::optional<std::string>("e" + std::to_string(i));
    ids.push_back(must(world.directory->create_user(world.okta, world.acme, input)).id);
  }
  world.add_group("all", ids);
  std::vector<std::string> seen;
  for (std::string after;;) {
    const Page<User> page = must(world.directory->list_users(world.okta, world.acme, after, 10,
                                                             {.keys = true, .groups = true}));
    for (const User& user : page.items) {
      seen.push_back(user.id);
      EXPECT_EQ(user.keys.size(), 1U);
      ASSERT_EQ(user.groups.size(), 1U);
      EXPECT_EQ(user.groups[0].display, "all");
      EXPECT_EQ(user.external_id, "e" + std::to_string(seen.size() - 1));
    }
    if (!page.more) break;
    after = page.items.back().id;
  }
  EXPECT_EQ(seen, ids);
}

TEST_P(UsersTest, ConditionsNarrowByAnIndex) {
  World world(GetParam());
  const Actor entra = world.client("entra");
  std::vector<User> users;
  for (int i = 0; i < 12; ++i) {
    world.clock.advance(std::chrono::seconds(1));
    UserInput input = user_named((i < 6 ? "Anna" : "Bert") + std::to_string(i));
    input.external_id = std::optional<std::string>((i % 2 == 0 ? "x" : "y") + std::to_string(i));
    input.doc["active"] = i != 3;
    users.push_back(must(world.directory->create_user(world.okta, world.acme, input)));
  }
  using Field = Condition::Field;
  using Op = Condition::Op;
  const auto names = [&world](const Actor& actor, std::vector<Condition> conditions) {
    std::vector<std::string> out;
    const auto numbers = must(world.directory->select_users(actor, world.acme, conditions, ""));
    const Page<User> page = numbers
                                ? must(world.directory->get_users(actor, world.acme, *numbers, {}))
                                : must(world.directory->list_users(actor, world.acme, "", 100, {}));
    for (const User& user : page.items) {
      out.emplace_back(json::find_string(user.doc, "userName").value());
      if (!numbers) continue;  // the same behind every place
      const auto rest =
          must(world.directory->select_users(actor, world.acme, conditions, user.id)).value();
      EXPECT_EQ(rest.size(), numbers->size() - out.size());
      EXPECT_TRUE(std::ranges::equal(rest, std::span(*numbers).subspan(out.size())));
    }
    return out;
  };
  const Actor& okta = world.okta;
  EXPECT_THAT(names(okta, {{Field::kUserName, Op::kEqual, "aNNA5"}}), ElementsAre("Anna5"));
  EXPECT_THAT(names(okta, {{Field::kUserName, Op::kEqual, "nobody"}}), IsEmpty());
  EXPECT_THAT(names(okta, {{Field::kUserName, Op::kStartsWith, "bert1"}}),
              ElementsAre("Bert10", "Bert11"));
  EXPECT_THAT(names(okta, {{Field::kId, Op::kEqual, users[7].id}}), ElementsAre("Bert7"));
  EXPECT_THAT(names(okta, {{Field::kExternalId, Op::kEqual, "x4"}}), ElementsAre("Anna4"));
  EXPECT_THAT(names(entra, {{Field::kExternalId, Op::kEqual, "x4"}}), IsEmpty());
  EXPECT_THAT(names(world.operator_, {{Field::kExternalId, Op::kEqual, "x4"}}),
              ElementsAre("Anna4"));
  EXPECT_THAT(names(okta, {{Field::kExternalId, Op::kStartsWith, "y"}}),
              ElementsAre("Anna1", "Anna3", "Anna5", "Bert7", "Bert9", "Bert11"));
  EXPECT_THAT(names(okta, {{Field::kActive, Op::kEqual, "", 0}}), ElementsAre("Anna3"));
  EXPECT_EQ(names(okta, {{Field::kActive, Op::kEqual, "", 1}}).size(), 12U);  // not narrowed
  EXPECT_THAT(names(okta, {{Field::kPosixNumber, Op::kEqual, "", users[2].posix->number}}),
              ElementsAre("Anna2"));
  const std::int64_t ninth = to_millis(users[9].created);
  EXPECT_THAT(names(okta, {{Field::kModified, Op::kGreater, "", ninth}}),
              ElementsAre("Bert10", "Bert11"));
  EXPECT_THAT(names(okta, {{Field::kCreated, Op::kGreaterOrEqual, "", ninth},
                           {Field::kCreated, Op::kLess, "", ninth + 1000}}),
              ElementsAre("Bert9"));
  // The most telling condition drives, whatever the order.
  EXPECT_THAT(names(okta, {{Field::kModified, Op::kGreater, "", 0},
                           {Field::kUserName, Op::kEqual, "bert8"}}),
              ElementsAre("Bert8"));
}

TEST_P(UsersTest, FindsByLoginUserNameOrId) {
  World world(GetParam());
  const User alice = world.add_user("Alice@example.org");
  for (const std::string& name :
       {std::string("alice"), std::string("ALICE@example.org"), alice.id}) {
    EXPECT_EQ(must(world.directory->find_user(world.acme, name, {})).id, alice.id) << name;
  }
  EXPECT_EQ(world.directory->find_user(world.acme, "bob", {}).error().code, Code::kNotFound);
  // Whoever takes another's id for a name is not taken for the other.
  world.add_user(alice.id);
  EXPECT_EQ(must(world.directory->find_user(world.acme, alice.id, {})).id, alice.id);
}

TEST_P(UsersTest, AnErrorOfTheEditChangesNothing) {
  World world(GetParam());
  const User alice = world.add_user("alice");
  const auto refused = world.directory->update_user(
      world.okta, world.acme, alice.id, {}, [](const User&) -> Result<UserInput> {
        return fail(Code::kInvalidArgument, "no such path", "noTarget");
      });
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().keyword, "noTarget");
  EXPECT_EQ(must(world.directory->get_user(world.okta, world.acme, alice.id, {})).version, 1);
}

// A document that could be stored but not read again could never be locked or deleted either.
TEST_P(UsersTest, DocumentsThatAreTooLargeAreNotStoredAndOldOnesStayManageable) {
  World world(GetParam());
  UserInput large = user_named("large");
  large.doc["title"] = json::string(600 << 10, 'x');
  const auto refused = world.directory->create_user(world.okta, world.acme, large);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kTooLarge);
  EXPECT_THAT(refused.error().message, HasSubstr("524288 bytes"));

  const User alice = world.add_user("alice");
  EXPECT_FALSE(world.set(alice, "title", json::string(600 << 10, 'x')));
  static constexpr store::Statement kEnlarge{"test.enlarge",
                                             "UPDATE usr SET doc = $2 WHERE n = $1"};
  must(world.database->write([&alice](store::Tx& tx) -> Result<void> {
    const json::object stored{
        {"active", true}, {"title", json::string(2 << 20, 'x')}, {"userName", "alice"}};
    RETURN_IF_ERROR(tx.execute(kEnlarge, alice.n, json::canonical(stored)));
    return {};
  }));
  EXPECT_FALSE(must(world.set(alice, "active", false)).active);
  EXPECT_FALSE(world.set(alice, "nickName", "al"));
  must(world.directory->delete_user(world.okta, world.acme, alice.id, {}));
}

}  // namespace
}  // namespace roster::directory
