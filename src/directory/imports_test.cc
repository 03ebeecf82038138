#include <gmock/gmock.h>

#include <functional>
#include <thread>
#include <utility>

#include "directory/directory.h"
#include "directory/testing/fixture.h"
#include "directory/testing/observed.h"

namespace roster::directory {
namespace {

using ::testing::HasSubstr;
using testing::must;
using testing::user_named;
using testing::World;

class ImportTest : public store::testing::BothEngines {};
ROSTER_BOTH_ENGINES(ImportTest);

/// A world that admits 2000-3999.
struct Site {
  explicit Site(store::Engine engine) : world(engine) { admit({{2000, 3999}}); }
  void admit(std::vector<posix::IdBlock> ids) {
    OrgSettings settings;
    settings.admitted_ids = std::move(ids);
    settings.home_prefixes = {"/home", "/export"};
    must(world.directory->update_org_settings(world.operator_, world.acme,
                                              testing::always(settings)));
  }
  ImportResult import(const std::vector<ImportEntry>& entries, const ImportMode& mode = {}) {
    return must(world.directory->import_identities(world.operator_, world.acme, entries, mode));
  }
  Result<User> push(const Actor& client, std::string_view user_name, std::string external = "") {
    UserInput input = user_named(user_name);
    if (!external.empty()) input.external_id = std::optional(std::move(external));
    return world.directory->create_user(client, world.acme, input);
  }
  std::size_t rows() {
    return must(world.directory->list_identities(world.operator_, world.acme, 0, 1000))
        .items.size();
  }
  World world;
};

ImportEntry person(std::string name, std::uint32_t uid, std::string user_name = "") {
  return {.name = std::move(name), .number = uid, .gid = uid, .user_name = std::move(user_name)};
}
ImportEntry group(std::string name, std::uint32_t gid, std::string display_name = "") {
  return {.is_group = true,
          .name = std::move(name),
          .number = gid,
          .user_name = std::move(display_name)};
}

/// "what: reason" of the only clash there is.
std::string only_clash(const ImportResult& result) {
  if (result.clashes.size() != 1) return std::to_string(result.clashes.size()) + " clashes";
  return std::string(result.clashes[0].what) + ": " + result.clashes[0].reason;
}

TEST_P(ImportTest, WhatIsReservedWaitsForItsPush) {
  Site site(GetParam());
  ImportEntry dora = person("dora", 2001, "Dora@example.org");
  dora.home = "/export/dora/";
  dora.shell = "/bin/zsh";
  dora.gecos = "Dora D., room 1";
  dora.gid = 2500;
  ImportEntry emil = person("emil", 2002);
  emil.external_id = "E-7";
  emil.client = "okta";
  const ImportResult first = site.import({dora, emil, group("lab", 2500, "Laboratory")});
  EXPECT_EQ(first.reserved, 3U);
  EXPECT_TRUE(first.clashes.empty());

  const User came = must(site.push(site.world.okta, "dora@Example.org"));
  EXPECT_EQ(came.posix->number, 2001U);
  EXPECT_EQ(came.posix->name, "dora");
  EXPECT_EQ(came.posix->gid, 2500U) << "a primary group that waits, too, is kept";
  EXPECT_EQ(came.home, "/export/dora");
  EXPECT_EQ(came.shell, "/bin/zsh");
  EXPECT_EQ(came.posix->state, IdentityState::kActive);
  // What nodes get, and what a later reading gives.
  const auto seen = must(site.world.directory->scan_node_users(site.world.acme, 0, 10));
  ASSERT_EQ(seen.size(), 1U);
  EXPECT_EQ(seen[0].record.shell, "/bin/zsh");
  EXPECT_EQ(seen[0].record.gid, 2500U);
  EXPECT_EQ(seen[0].record.gecos, "dora@Example.org") << "the provider's, not the import's";
  // The person's own word about the shell goes first.
  const User asked = must(site.world.set(
      came, "urn:coreweave:params:scim:schemas:extension:coreweave:2.0:CoreWeaveUser",
      json::object{{"sunkLoginShell", "/bin/sh"}}));
  EXPECT_EQ(asked.posix->number, 2001U);
  EXPECT_EQ(must(site.world.directory->find_user(site.world.acme, "dora", {})).shell, "/bin/sh");

  EXPECT_EQ(must(site.push(site.world.okta, "emil.e", "E-7")).posix->number, 2002U);
  EXPECT_EQ(site.world.add_group("laboratory").posix->number, 2500U);
}

// Whoever could take another's reserved identity would own their files.
TEST_P(ImportTest, OnlyTheOneWhomItWaitsForBindsItAndOnce) {
  Site site(GetParam());
  ImportEntry emil = person("emil", 2002, "emil@example.org");
  emil.external_id = "E-7";
  emil.client = "okta";
  site.import({emil, person("dora", 2001, "dora@example.org")});
  // Another client, by externalId or userName.
  const Actor entra = site.world.client("entra");
  EXPECT_NE(must(site.push(entra, "x", "E-7")).posix->number, 2002U);
  const User theirs = must(site.push(entra, "emil@example.org"));
  EXPECT_NE(theirs.posix->number, 2002U);
  must(site.world.directory->delete_user(entra, site.world.acme, theirs.id, {}));
  // The client itself, with somebody else's externalId.
  const User other = must(site.push(site.world.okta, "emil@example.org", "E-8"));
  EXPECT_NE(other.posix->number, 2002U);
  EXPECT_EQ(must(site.push(site.world.okta, "emil2@example.org", "E-7")).posix->number, 2002U);
  EXPECT_NE(must(site.push(site.world.okta, "emil3@example.org", "E-7")).posix->number, 2002U);
  // A group of that name is not a person.
  EXPECT_NE(site.world.add_group("dora@example.org").posix->number, 2001U);
  // Another organization.
  const OrgN beta = must(site.world.directory->create_org(site.world.operator_, "beta")).n;
  const User stranger = must(site.world.directory->create_user(site.world.operator_, beta,
                                                               user_named("dora@example.org")));
  EXPECT_NE(stranger.posix->number, 2001U);
  const User dora = must(site.push(entra, "dora@example.org"));
  EXPECT_EQ(dora.posix->number, 2001U);
  must(site.world.directory->delete_user(entra, site.world.acme, dora.id, {}));
  EXPECT_NE(must(site.push(entra, "dora@example.org")).posix->number, 2001U);
}

// Ten pushes of one name at a time: nine are refused, one has the identity.
TEST_P(ImportTest, ARaceForOneIdentityHasOneWinner) {
  Site site(GetParam());
  site.import({person("dora", 2001, "dora@example.org")});
  std::atomic<int> bound = 0;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&site, &bound] {
        const auto made = site.push(site.world.okta, "dora@example.org");
        if (made && made->posix->number == 2001) ++bound;
      });
    }
  }
  EXPECT_EQ(bound, 1);
}

// What the nodes know is one number, and an import made it larger than any id that was given out.
TEST_P(ImportTest, AnImportedIdHidesTheBlocksBelowIt) {
  Site site(GetParam());
  Directory& directory = *site.world.directory;
  const OrgN acme = site.world.acme;
  site.admit({{500'000, 599'999}});
  site.import({person("dora", 555'555)});
  int people = 0;
  const auto next = [&site, &people] {
    return must(site.push(site.world.okta, "u" + std::to_string(people++))).posix->number;
  };
  const std::uint32_t first = next();
  EXPECT_LT(first, 500'000U);
  EXPECT_FALSE(must(directory.pass_over_ids(acme, 700'000))) << "nobody's";
  EXPECT_FALSE(must(directory.pass_over_ids(acme, first + 1))) << "of the block itself";
  EXPECT_EQ(next(), first + 1);
  site.admit({});
  EXPECT_TRUE(must(directory.is_imported(acme, 555'555))) << "somebody has it";
  EXPECT_TRUE(must(directory.pass_over_ids(acme, 555'555)));
  const std::uint32_t after = next();
  EXPECT_GT(after, 600'000U) << "what lies between may be somebody's since the backup";
  EXPECT_TRUE(must(directory.pass_over_ids(acme, 555'555)));
  EXPECT_EQ(next(), after + 1) << "a block above it is not hidden by it";
}

// The comparison form of a name drops some characters and makes others ASCII; whoever may choose a
// userName at a provider must not get another's files by that.
TEST_P(ImportTest, WhatOnlyLooksLikeANameBindsNothing) {
  for (const bool provisioned_later : {false, true}) {
    Site site(GetParam());
    OrgSettings settings;
    settings.admitted_ids = {{2000, 3999}};
    settings.user_provisioning = !provisioned_later;
    const auto set = [&] {
      must(site.world.directory->update_org_settings(site.world.operator_, site.world.acme,
                                                     testing::always(settings)));
    };
    set();
    const Actor entra = site.world.client("entra");
    std::vector<std::string> looks{"do\u00ADra@example.org", "\u212Aim@example.org"};
    if (provisioned_later) {
      for (const std::string& look : looks) must(site.push(entra, look));
    }
    EXPECT_EQ(site.import({person("dora", 2001, "Dora@example.org"),
                           person("kim", 2002, "kim@example.org"), group("kilo", 2500, "Kilo")})
                  .reserved,
              3U);
    if (provisioned_later) {
      settings.user_provisioning = true;
      set();
      EXPECT_EQ(must(site.world.directory->provision(site.world.acme, 0)).given, 2U);
    }
    for (const std::string& look : looks) {
      const User other = provisioned_later
                             ? must(site.world.directory->find_user(site.world.acme, look, {}))
                             : must(site.push(entra, look));
      EXPECT_GE(other.posix->number, 10000U) << look;
      must(site.world.directory->delete_user(entra, site.world.acme, other.id, {}));
    }
    const Group other = site.world.add_group("\u212Ailo");
    EXPECT_GE(other.posix->number, 10000U);
    // Those whom they wait for get them still.
    EXPECT_EQ(must(site.push(site.world.okta, "DORA@example.org")).posix->number, 2001U);
    EXPECT_EQ(must(site.push(site.world.okta, "Kim@example.org")).posix->number, 2002U);
    // What no push could bind is told at once; a name with letters of its own is none of it.
    EXPECT_THAT(only_clash(site.import({person("strasse", 2003, "stra\u00DFe")})),
                HasSubstr("externalId instead"));
    EXPECT_EQ(site.import({person("mueller", 2004, "M\u00FCller")}).reserved, 1U);
    const User look = must(site.push(entra, "m\u00FCl\u00ADler"));
    EXPECT_GE(look.posix->number, 10000U);
    must(site.world.directory->delete_user(entra, site.world.acme, look.id, {}));
    EXPECT_EQ(must(site.push(site.world.okta, "m\u00FCller")).posix->number, 2004U);
  }
}

TEST_P(ImportTest, AnExternalIdWithoutAClientIsTheOnlyTie) {
  Site site(GetParam());
  ImportEntry emil = person("emil", 2001, "emil");
  emil.external_id = "E-1";
  ImportEntry dora = person("dora", 2002, "dora");
  dora.external_id = "E-2";
  dora.client = "okta";
  site.import({emil, dora});
  EXPECT_GE(must(site.push(site.world.okta, "emil")).posix->number, 10000U);
  EXPECT_EQ(must(site.push(site.world.okta, "emil2", "E-1")).posix->number, 2001U);
  EXPECT_EQ(must(site.push(site.world.okta, "dora")).posix->number, 2002U);
}

TEST_P(ImportTest, OnlyOperatorsAdmitIdsAndNoneOfTheSlices) {
  Site site(GetParam());
  Actor admin;
  admin.org = site.world.acme;
  admin.scope = Scope::kAdmin;
  OrgSettings settings = site.world.org().settings;
  const auto set = [&](const Actor& actor) {
    const auto done = site.world.directory->update_org_settings(actor, site.world.acme,
                                                                testing::always(settings));
    return done ? std::string() : done.error().message;
  };
  settings.admitted_ids = {{2000, 9999}};
  EXPECT_THAT(set(admin), HasSubstr("only an operator's token can change admitted_ids"));
  settings.admitted_ids = {{2000, 3999}};
  settings.rebind_deleted = true;
  EXPECT_EQ(set(admin), "") << "all else is theirs";
  for (const posix::IdBlock ids :
       {posix::IdBlock{1879048192, 1879048200}, posix::IdBlock{2147352575, 2147352580}}) {
    settings.admitted_ids = {{2000, 3999}, ids};
    EXPECT_THAT(set(site.world.operator_), HasSubstr(posix::format_block(ids) + " meets "));
  }
  EXPECT_THAT(only_clash(site.import({person("eve", posix::kSliceSpace.first)})),
              HasSubstr("slices"));
}

TEST_P(ImportTest, TheAuditLogTellsWhatWasBefore) {
  Site site(GetParam());
  ImportEntry dora = person("dora", 2001, "dora");
  dora.client = "okta";
  dora.home = "/home/dora";
  site.import({dora});
  dora.user_name = "dora@example.org";
  site.import({dora});
  must(site.world.directory->unreserve_identity(site.world.operator_, site.world.acme, 2001));
  const auto audit = must(site.world.directory->list_audit(site.world.acme, {}, 1000));
  ASSERT_GE(audit.size(), 2U);
  const auto diff = [&audit](std::size_t from_end) {
    return must(json::parse(audit[audit.size() - from_end].diff)).at("reserved");
  };
  const auto row = [](const char* user_name) {
    return json::value{{"name", "dora"},       {"number", 2001},   {"gid", 2001},
                       {"home", "/home/dora"}, {"client", "okta"}, {"userName", user_name}};
  };
  EXPECT_EQ(audit[audit.size() - 2].action, "identity.change");
  EXPECT_EQ(json::canonical(diff(2)),
            json::canonical(json::array{row("dora"), row("dora@example.org")}));
  EXPECT_EQ(audit.back().action, "identity.unreserve");
  EXPECT_EQ(json::canonical(diff(1)),
            json::canonical(json::array{row("dora@example.org"), nullptr}));
}

// As a push sees it: without a client, any client's externalId is meant.
TEST_P(ImportTest, AnExternalIdWithAndWithoutAClientClashes) {
  Site site(GetParam());
  site.world.client("entra");
  const auto with = [](const char* name, std::uint32_t number, const char* client) {
    ImportEntry entry = person(name, number);
    entry.external_id = "E-1";
    entry.client = client;
    return entry;
  };
  const ImportEntry okta = with("a", 2001, "okta");
  const ImportEntry any = with("b", 2002, "");
  const ImportEntry entra = with("c", 2003, "entra");
  for (const auto& list : {std::vector{okta, any}, std::vector{any, okta}, std::vector{any, any}}) {
    const ImportResult result = site.import(list, {.dry_run = true});
    EXPECT_TRUE(std::ranges::any_of(result.clashes, [](const ImportClash& clash) {
      return clash.reason == "externalId E-1 comes twice" && clash.other_entry == 0;
    }));
  }
  EXPECT_EQ(site.import({okta, entra}).reserved, 2U);
}

TEST_P(ImportTest, ADeletedGroupIsNotOnItsWay) {
  Site site(GetParam());
  const Group lab = site.world.add_group("lab");
  const std::uint32_t gid = lab.posix->number;
  must(site.world.directory->delete_group(site.world.okta, site.world.acme, lab.id, {}));
  ImportEntry eve = person("eve", 2001);
  eve.gid = gid;
  const std::vector<ImportEntry> list{group("lab", gid), eve};
  EXPECT_THAT(only_clash(site.import(list, {.dry_run = true})), HasSubstr("primary group"));
  EXPECT_THAT(only_clash(site.import({eve}, {.dry_run = true, .gids = {gid}})),
              HasSubstr("primary group"));
  EXPECT_THAT(only_clash(site.import(list)), HasSubstr("primary group"));
}

TEST_P(ImportTest, HeldIdsOfTheOrganizationAreNotImported) {
  Site site(GetParam());
  site.import({person("carol", 10001)});
  site.world.directory->hold_ids(site.world.acme, std::chrono::minutes(1));
  const auto import = [&site](const ImportEntry& entry, bool dry_run) {
    return site.world.directory->import_identities(site.world.operator_, site.world.acme,
                                                   {&entry, 1}, {.dry_run = dry_run});
  };
  for (const bool dry_run : {true, false}) {
    const auto refused = import(person("eve", 10002), dry_run);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::kUnavailable);
  }
  EXPECT_EQ(site.import({person("carol", 10001)}).unchanged, 1U) << "is in, and takes no id";
  EXPECT_EQ(site.import({person("emil", 2001)}).reserved, 1U) << "none that the hub gives out";
  site.world.directory->allow_ids(site.world.acme);
  EXPECT_EQ(site.import({person("eve", 10002)}).reserved, 1U);
}

TEST_P(ImportTest, ImportedIdsAndNamesAreSteppedOver) {
  Site site(GetParam());
  site.import({person("carol", 10001, "c"), group("ops", 10002)});
  EXPECT_EQ(site.world.add_user("a").posix->number, 10000U);
  EXPECT_EQ(site.world.add_user("b").posix->number, 10003U);
  EXPECT_EQ(site.world.add_user("carol").posix->name, "carol2");
  EXPECT_EQ(site.world.add_group("ops").posix->name, "ops2") << "it waited for no displayName";
}

TEST_P(ImportTest, TheSameAgainIsNoChangeAndACorrectionIsOne) {
  Site site(GetParam());
  ImportEntry dora = person("dora", 2001, "dora");
  dora.home = "/home/dora";
  const std::vector<ImportEntry> list{dora, group("lab", 2500, "lab")};
  site.import(list);
  const Seq head = site.world.org().seq;
  EXPECT_EQ(site.import(list).unchanged, 2U);
  EXPECT_EQ(site.world.org().seq, head) << "nothing is written";
  dora.user_name = "dora@example.org";
  dora.home = "/export/dora";
  const ImportResult corrected = site.import({dora});
  EXPECT_EQ(corrected.changed, 1U);
  EXPECT_EQ(corrected.reserved, 0U);
  const User came = must(site.push(site.world.okta, "dora@example.org"));
  EXPECT_EQ(came.home, "/export/dora");
  // Bound: the list may come again, whatever became of them since.
  must(site.world.set(came, "userName", "dora.married@example.org"));
  const ImportResult again = site.import({dora, group("lab", 2500, "lab")});
  EXPECT_EQ(again.unchanged, 2U);
  EXPECT_TRUE(again.clashes.empty());
}

TEST_P(ImportTest, WhatNobodyCameForCanBeTakenBack) {
  Site site(GetParam());
  ImportEntry dora = person("dora", 2001, "dora");
  dora.home = "/home/dora";
  dora.gid = 2500;
  site.import({dora, person("emil", 2002, "emil"), group("lab", 2500)});
  const auto take_back = [&site](std::uint32_t number) {
    const auto done =
        site.world.directory->unreserve_identity(site.world.operator_, site.world.acme, number);
    return done ? std::string() : std::string(code_name(done.error().code));
  };
  EXPECT_EQ(take_back(2500), "failed_precondition") << "dora's primary group";
  EXPECT_EQ(take_back(2001), "");
  EXPECT_EQ(take_back(2001), "not_found");
  EXPECT_EQ(take_back(2500), "");
  EXPECT_EQ(must(site.push(site.world.okta, "emil")).posix->number, 2002U);
  EXPECT_EQ(take_back(2002), "failed_precondition") << "bound";
  // As if it had never been: the same person with the right id, name and home.
  dora.number = dora.gid = 2003;
  EXPECT_EQ(site.import({dora}).reserved, 1U);
  const User came = must(site.push(site.world.okta, "dora"));
  EXPECT_EQ(came.posix->number, 2003U);
  EXPECT_EQ(came.home, "/home/dora");
  must(site.world.directory->verify_audit(site.world.acme));
}

TEST_P(ImportTest, EveryClashNamesBoth) {
  Site site(GetParam());
  const User zed = site.world.add_user("zed");  // uid 10000
  const User old = site.world.add_user("old");
  must(site.world.directory->rename_user(site.world.operator_, site.world.acme, old.id,
                                         *posix::LoginName::parse("new")));
  const User gone = site.world.add_user("gone");
  must(site.world.directory->delete_user(site.world.okta, site.world.acme, gone.id, {}));
  ImportEntry waiting = person("dora", 2001, "dora");
  waiting.external_id = "E-1";
  waiting.home = "/home/dora";
  site.import({waiting});
  const auto with = [](ImportEntry entry, auto change) {
    change(entry);
    return entry;
  };
  const ImportEntry eve = person("eve", 2002, "eve");
  const struct {
    ImportEntry entry;
    const char* what;
    const char* reason;
    const char* owner;  // name, or nullptr
  } kCases[] = {
      {person("eve", 10000), "id", "taken", "zed"},
      {person("zed", 2002), "name", "taken", "zed"},
      {group("zed", 2002), "name", "taken", "zed"},
      {person("old", 2002), "name", "before a rename", "new"},
      {person("gone", gone.posix->number, "gone"), "id", "was deleted", "gone"},
      {person("gone", 2002, "gone"), "name", "taken", "gone"},
      {person("eve", 2001), "id", "taken", "dora"},
      {person("eve", 2002, "ZED"), "match", "came already", "zed"},
      {person("eve", 2002, "DORA"), "match", "waits for userName", "dora"},
      {with(eve, [](auto& e) { e.external_id = "E-1"; }), "match", "waits for externalId", "dora"},
      {with(eve, [](auto& e) { e.client = "none"; }), "match", "no client", nullptr},
      {with(eve, [](auto& e) { e.external_id = "a\nb"; }), "match", "", nullptr},
      {with(eve, [](auto& e) { e.user_name = std::string(300, 'x'); }), "match", "", nullptr},
      {with(eve, [](auto& e) { e.home = "/home/dora/eve"; }), "home", "inside", "dora"},
      {with(eve, [](auto& e) { e.home = "/home/zed"; }), "home", "another's", "zed"},
      {with(eve, [](auto& e) { e.home = "/root"; }), "home", "not below", nullptr},
      {with(eve, [](auto& e) { e.home = "/home/../etc"; }), "home", "", nullptr},
      {with(eve, [](auto& e) { e.shell = "/bin/evil"; }), "shell", "list", nullptr},
      {with(eve, [](auto& e) { e.gid = 0; }), "gid", "nodes' own", nullptr},
      {with(eve, [](auto& e) { e.gid = 100; }), "gid", "nodes' own", nullptr},
      {with(eve, [](auto& e) { e.gid = 3000; }), "gid", "neither", nullptr},
      {with(eve, [](auto& e) { e.gid = 10000; }), "gid", "neither", "zed"},
      {person("Eve", 2002), "name", "", nullptr},
      {person("eve:x", 2002), "name", "", nullptr},
      {person("sudo", 2002), "name", "reserved", nullptr},
      {person("eve", 0), "id", "never served", nullptr},
      {person("eve", 999), "id", "never served", nullptr},
      {person("eve", 65534), "id", "never served", nullptr},
      {person("eve", 4000), "id", "neither", nullptr},
      {person("eve", 4294967295), "id", "never served", nullptr},
  };
  const std::size_t rows = site.rows();
  for (const auto& c : kCases) {
    const ImportResult result = site.import({c.entry});
    const std::string what = c.entry.name + " " + std::to_string(c.entry.number) + " " + c.what;
    EXPECT_THAT(only_clash(result), HasSubstr(c.reason)) << what;
    ASSERT_FALSE(result.clashes.empty()) << what;
    EXPECT_EQ(result.clashes[0].what, c.what) << what;
    EXPECT_EQ(result.skipped, 1U);
    ASSERT_EQ(result.clashes[0].owner.has_value(), c.owner != nullptr) << what;
    if (c.owner != nullptr) EXPECT_EQ(result.clashes[0].owner->name, c.owner) << what;
  }
  EXPECT_EQ(site.rows(), rows) << "nothing was written";
}

TEST_P(ImportTest, IdsOfAnotherOrganizationStayTheirs) {
  Site site(GetParam());
  must(site.world.directory->create_org(site.world.operator_, "beta", posix::IdBlock{5000, 5999}));
  site.admit({{2000, 6999}});
  EXPECT_THAT(only_clash(site.import({person("eve", 5500)})), HasSubstr("another organization"));
  EXPECT_EQ(site.import({person("eve", 6500)}).reserved, 1U);
  // An administrator of one organization imports into no other.
  Actor admin;
  admin.org = site.world.acme;
  admin.scope = Scope::kAdmin;
  const OrgN beta = must(site.world.directory->find_org("beta")).n;
  EXPECT_EQ(site.world.directory->import_identities(admin, beta, {}, {}).error().code,
            Code::kPermissionDenied);
  EXPECT_EQ(site.world.directory->list_identities(admin, beta, 0, 1).error().code,
            Code::kPermissionDenied);
}

TEST_P(ImportTest, AListThatClashesWithItselfOrAnybodyWritesNothing) {
  Site site(GetParam());
  ImportEntry a = person("a", 2001, "same");
  a.home = "/home/a";
  ImportEntry b = person("b", 2002, "Same");
  b.home = "/home/a/b";
  const ImportResult result = site.import({a, b, person("a", 2003), group("c", 2001)});
  std::vector<std::string> found;
  for (const ImportClash& clash : result.clashes) {
    found.push_back(std::to_string(clash.entry) + std::string(clash.what) +
                    std::to_string(clash.other_entry.value_or(99)));
  }
  // Groups come first, and so have what they ask for.
  EXPECT_THAT(found, ::testing::UnorderedElementsAre("0id3", "1home0", "1match0", "2name0"));
  EXPECT_EQ(site.rows(), 0U);

  const ImportResult skipped =
      site.import({a, b, person("a", 2003), person("d", 2004)}, {.skip_clashes = true});
  EXPECT_EQ(skipped.reserved, 2U);
  EXPECT_EQ(skipped.skipped, 2U);
  EXPECT_EQ(site.rows(), 2U);
  EXPECT_FALSE(site.world.directory->import_identities(site.world.operator_, site.world.acme,
                                                       std::vector<ImportEntry>(1001, a), {}));
}

TEST_P(ImportTest, ADryRunBelievesInGroupsThatComeLaterAndWritesNothing) {
  Site site(GetParam());
  ImportEntry eve = person("eve", 2001);
  eve.gid = 2500;
  EXPECT_EQ(site.import({eve}, {.dry_run = true, .gids = {2500}}).reserved, 1U);
  EXPECT_EQ(site.rows(), 0U);
  EXPECT_THAT(only_clash(site.import({eve}, {.gids = {2500}})), HasSubstr("primary group"));
  EXPECT_EQ(site.import({eve, group("lab", 2500)}).reserved, 2U) << "in any order";
}

TEST_P(ImportTest, HundredsAreWrittenAuditedAndListed) {
  Site site(GetParam());
  std::vector<ImportEntry> list;
  for (std::uint32_t i = 0; i < 250; ++i) {
    const std::string name = "u" + std::to_string(i);
    list.push_back(person(name, 2000 + i, name + "@example.org"));
  }
  EXPECT_EQ(site.import(list).reserved, 250U);
  const auto audit = must(site.world.directory->list_audit(site.world.acme, {}, 1000));
  EXPECT_EQ(std::ranges::count(audit, "identity.reserve", &AuditRow::action), 250);
  EXPECT_EQ(audit.back().target, "identity/u249");
  EXPECT_THAT(audit.back().diff, HasSubstr(R"("number":2249)"));
  must(site.world.directory->verify_audit(site.world.acme));

  site.world.add_user("u3@example.org");
  std::vector<IdentityRow> all;
  for (std::uint32_t after = 0;;) {
    const auto page = must(
        site.world.directory->list_identities(site.world.operator_, site.world.acme, after, 99));
    all.insert(all.end(), page.items.begin(), page.items.end());
    if (!page.more) break;
    after = page.items.back().posix.number;
  }
  ASSERT_EQ(all.size(), 250U);
  EXPECT_EQ(all[3].posix.state, IdentityState::kActive);
  EXPECT_EQ(all[3].client, "okta");
  EXPECT_EQ(all[3].home, "/home/u3");
  EXPECT_EQ(all[4].posix.state, IdentityState::kReserved);
  EXPECT_EQ(all[4].resource, "u4@example.org");
  EXPECT_EQ(all[249].posix.number, 2249U);
}

// The list was judged, and then somebody took one of its ids before it was written.
TEST(ImportRaceTest, AClashThatAppearsMeanwhileEndsTheImportBehindThoseBeforeIt) {
  for (const bool skip : {false, true}) {
    store::testing::TestDatabase database(store::Engine::kSqlite);
    std::function<void()> before_write;
    testing::Observer observer;
    observer.write = [&before_write](store::Urgency) {
      if (auto once = std::exchange(before_write, nullptr)) once();
    };
    testing::ObservedDatabase observed(*database, observer);
    auto directory = must(Directory::open(observed));
    Actor admin;
    admin.name = "operator";
    const OrgN org = must(directory->create_org(admin, "acme")).n;
    std::vector<ImportEntry> list;
    for (std::uint32_t i = 0; i < 150; ++i) {
      list.push_back(person("u" + std::to_string(i), 10100 + i));
    }
    before_write = [&] {
      const ImportEntry thief = person("thief", 10120);
      EXPECT_EQ(must(directory->import_identities(admin, org, {&thief, 1}, {})).reserved, 1U);
    };
    const ImportResult result =
        must(directory->import_identities(admin, org, list, {.skip_clashes = skip}));
    ASSERT_EQ(result.clashes.size(), 1U);
    EXPECT_EQ(result.clashes[0].entry, 20U);
    EXPECT_EQ(result.clashes[0].owner->name, "thief");
    EXPECT_EQ(result.reserved, skip ? 149U : 20U);
    EXPECT_EQ(result.skipped, 1U);
    EXPECT_EQ(must(directory->list_identities(admin, org, 0, 1000)).items.size(),
              result.reserved + 1);
    must(directory->verify_audit(org));
  }
}

// People who came while the organization gave out no identities take theirs as well.
TEST_P(ImportTest, ProvisioningBindsWhatWaits) {
  Site site(GetParam());
  OrgSettings settings;
  settings.admitted_ids = {{2000, 3999}};
  settings.user_provisioning = false;
  const auto set = [&] {
    must(site.world.directory->update_org_settings(site.world.operator_, site.world.acme,
                                                   testing::always(settings)));
  };
  set();
  site.world.add_user("dora");
  ImportEntry dora = person("dora", 2001, "dora");
  dora.shell = "/bin/zsh";
  // They are there, but have no identity that the import could clash with.
  EXPECT_EQ(site.import({dora}).reserved, 1U);
  settings.user_provisioning = true;
  set();
  EXPECT_EQ(must(site.world.directory->provision(site.world.acme, 0)).given, 1U);
  const User came = must(site.world.directory->find_user(site.world.acme, "dora", {}));
  EXPECT_EQ(came.posix->number, 2001U);
  EXPECT_EQ(came.shell, "/bin/zsh");
}

}  // namespace
}  // namespace roster::directory
