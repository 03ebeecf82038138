#include "slurm/rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace roster::slurm {
namespace {

using accounting::AdminLevel;
using accounting::Ending;
using accounting::Setting;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using testing::UnorderedElementsAre;

constexpr std::string_view kWhole = R"(
[accounts]
from = "prefix"
prefix = "acct-"
strip_prefix = true
name = "posix"
parent = "science"
orphans = "keep"
fairshare = 1
limits = { MaxWallDurationPerJob = "2-00:00" }

[account.science]
description = "All of science"
fairshare = 100
qos = ["normal", "high"]

[account.physics]
groups = ["physics", "Physics Guests"]
parent = "science"
default_qos = "High"
limits = { GrpTRES = "gres/gpu=16,CPU=512,mem=2T", MaxJobs = 100 }
coordinators = ["ada", "@physics-leads"]

[account.physics.members]
fairshare = "parent"
limits = { MaxJobs = 20 }

[account.guests]

[users]
default_accounts = ["physics"]
no_group = "guests"
fairshare = 1
limits = { MaxSubmitJobs = 500 }

[admins]
operators = ["@hpc-ops", "bob"]
administrators = ["ada"]

[leavers]
new_jobs = "stop"
jobs = "cancel"
grace = "1h"

[left_group]
new_jobs = "remove"
jobs = "keep"
)";

TEST(SlurmRules, AWholeFileIsRead) {
  const auto rules = parse_rules(kWhole, "rules.toml");
  ASSERT_TRUE(rules) << rules.error().message;
  EXPECT_EQ(rules->from, Rules::From::kPrefix);
  EXPECT_EQ(rules->settings.at(Setting::kMaxWallDurationPerJob), "2880");
  const AccountRule& physics = rules->accounts.at("physics");
  EXPECT_EQ(physics.settings.at(Setting::kGrpTres), "cpu=512,gres/gpu=16,mem=2097152");
  EXPECT_EQ(physics.settings.at(Setting::kDefaultQos), "high");
  EXPECT_EQ(physics.members.at(Setting::kMaxJobs), "20");
  EXPECT_EQ(rules->accounts.at("science").settings.at(Setting::kQos), "high,normal");
  EXPECT_EQ(rules->leavers.grace, std::chrono::hours(1));
  EXPECT_EQ(rules->left_group.new_jobs, Ending::NewJobs::kRemove);
}

TEST(SlurmRules, NothingIsAskedForByDefault) {
  const Rules rules = *parse_rules("", "rules.toml");
  EXPECT_EQ(rules.from, Rules::From::kNone);
  EXPECT_FALSE(rules.remove_orphans);
  EXPECT_EQ(rules.leavers.new_jobs, Ending::NewJobs::kStop);
  EXPECT_EQ(rules.leavers.jobs, Ending::Jobs::kKeep);
}

TEST(SlurmRules, MistakesAreNamedWithTheirPlace) {
  const struct {
    const char* text;
    const char* message;
  } cases[] = {
      {"[accounts]\nform = \"all\"\n", "r:2: accounts.form: no such setting"},
      {"[acounts]\n", "r:1: acounts: no such section"},
      {"[accounts]\nfrom = \"some\"\n", "r:2: accounts.from: must be one of \"none\", \"all\""},
      {"[accounts]\nfrom = [\"all\"]\n", "r:2: accounts.from: must be a string"},
      {"[accounts]\nfrom = \"prefix\"\n", "accounts.prefix: accounts.from = \"prefix\" needs it"},
      {"[accounts]\nprefix = \"a\"\n", "accounts.prefix: is only read with accounts.from"},
      {"[accounts]\nstrip_prefix = true\n", "accounts.strip_prefix: is only read with"},
      {"[accounts]\nfrom = \"list\"\n", "accounts.groups: accounts.from = \"list\" needs it"},
      {"[accounts]\nfrom = \"attribute\"\nequals = \"okta\"\n", "accounts.attribute: "},
      {"[accounts]\nfrom = \"attribute\"\nattribute = \"client\"\n", "accounts.equals: "},
      {"[accounts]\nfrom = \"attribute\"\nattribute = \"gid\"\n", "r:3: accounts.attribute: must"},
      {"[accounts]\nfrom = \"attribute\"\nattribute = \"client\"\nequals = \"a\"\n"
       "starts_with = \"b\"\n",
       "accounts.equals: not together"},
      {"[accounts]\nparent = \"science\"\n", "accounts.parent: there is no [account.science]"},
      {"[account.root]\n", "r:1: account.root: \"root\" is Slurm's own account"},
      {"[account.Physics]\n", "r:1: account.Physics: is no name of an account"},
      {"[account.\"a b\"]\n", "as in \"a_b\""},
      {"[account.\"--\"]\n", "is no name of an account"},
      {"[account.a]\nparent = \"b\"\n", "account.a.parent: there is no [account.b]"},
      {"[account.a]\nparent = \"b\"\n[account.b]\nparent = \"c\"\n[account.c]\nparent = \"a\"\n",
       "account.a.parent: goes round in a circle: a -> b -> c -> a"},
      {"[account.a]\nparent = \"a\"\n", "goes round in a circle: a -> a"},
      {"[account.a]\nlimits = { GrpTRES = \"gpu=16\" }\n",
       "r:2: account.a.limits.GrpTRES: must be a TRES such as cpu"},
      {"[account.a]\nlimits = { GrpTRES = \"cpu=1,cpu=2\" }\n", "names cpu twice"},
      {"[account.a]\nlimits = { MaxJobs = -1 }\n",
       "r:2: account.a.limits.MaxJobs: must be a whole"},
      {"[account.a]\nlimits = { MaxJob = 1 }\n", "account.a.limits.MaxJob: is no limit"},
      {"[account.a]\nlimits = { Fairshare = 1 }\n", "account.a.limits.Fairshare: is no limit"},
      {"[account.a]\nlimits = { MaxWall = 1, MaxWallDurationPerJob = 2 }\n", "is given twice"},
      {"[account.a]\nlimits = { MaxWall = \"tomorrow\" }\n", "must be a time as sacctmgr takes it"},
      {"[account.a]\nlimits = 5\n", "r:2: account.a.limits: must be a table"},
      {"[account.a]\nfairshare = \"much\"\n", "r:2: account.a.fairshare: must be \"parent\" or"},
      {"[account.a]\nqos = []\n", "r:2: account.a.qos: must name a QOS"},
      {"[account.a]\nqos = [\"+high\"]\n", "r:2: account.a.qos: must be the name of a QOS"},
      {"[account.a]\nqos = [\"a,b\"]\n", "each in quotes of its own"},
      {"[account.a]\nqos = [\"a\"]\ndefault_qos = \"b\"\n",
       "account.a.default_qos: \"b\" is not among the QOS allowed there (a)"},
      {"[account.a]\nqos = [\"x\"]\n[account.b]\nparent = \"a\"\ngroups = [\"g\"]\n"
       "[users]\ndefault_qos = \"y\"\n",
       "users.default_qos, in account b: \"y\" is not among"},
      {"[account.a]\ncoordinators = [\"Ada Lovelace\"]\n", "is no login name; groups are written"},
      {"[account.a]\ncoordinators = [\"ada\", \"ada\"]\n", "names \"ada\" twice"},
      {"[account.a]\ngroups = [\"\"]\n", "r:2: account.a.groups: must not be empty"},
      {"[account.a]\ngroups = [\"a\\u0007b\"]\n", "must be text without control characters"},
      {"[account.a]\ndescription = \"the \\\"A\\\"\"\n",
       "r:2: account.a.description: must be without"},
      {"[admins]\nadministrators = [\"@ops\"]\n",
       "r:2: admins.administrators: \"@ops\" is a group: only people who are named"},
      {"[users]\nno_group = \"guests\"\n", "users.no_group: there is no [account.guests]: add it"},
      {"[users]\ndefault_accounts = [\"Physics\"]\n", "is no name of an account"},
      {"[leavers]\njobs = \"cancel\"\ngrace = \"soon\"\n", "r:3: leavers.grace: "},
      {"[leavers]\njobs = \"cancel\"\ngrace = \"400d\"\n", "must be at most 90d"},
      {"[leavers]\njobs = \"hold\"\ngrace = \"1h\"\n", "leavers.grace: is only read with"},
      {"[left_group]\nnew_jobs = \"keep\"\n", "r:2: left_group.new_jobs: must be one of"},
      {"[account.a]\n[account.a]\n", "r:2: "},
  };
  for (const auto& c : cases) {
    const auto rules = parse_rules(c.text, "r");
    ASSERT_FALSE(rules) << c.text;
    EXPECT_EQ(rules.error().code, Code::kInvalidArgument);
    EXPECT_THAT(rules.error().message, AllOf(testing::StartsWith("r:"), HasSubstr(c.message)));
  }
}

TEST(SlurmRules, LimitsOfSize) {
  EXPECT_EQ(parse_rules(std::string((1 << 20) + 1, '#'), "r").error().code, Code::kTooLarge);
  std::string chain = "[account.a0]\n";
  for (int i = 1; i < 200; ++i) {
    chain += "[account.a" + std::to_string(i) + "]\nparent = \"a" + std::to_string(i - 1) + "\"\n";
  }
  EXPECT_THAT(parse_rules(chain, "r").error().message, HasSubstr("more than 100 accounts above"));
  std::string many;
  for (int i = 0; i <= 5000; ++i) many += "[account.a" + std::to_string(i) + "]\n";
  EXPECT_EQ(parse_rules(many, "r").error().code, Code::kTooLarge);
}

TEST(SlurmRules, NamesOfAccounts) {
  const struct {
    const char* group;
    const char* account;
  } cases[] = {{"physics", "physics"},
               {"Physics.Dept", "physics_dept"},
               {"a  b", "a_b"},
               {"A.-_.b", "a_-_b"},
               {"_x_", "x"},
               {"--drop", "drop"},
               {"Größe", "gr_e"},
               {"...", ""},
               {"", ""},
               {"a_b", "a_b"},
               {"東京", ""}};
  for (const auto& c : cases) EXPECT_EQ(account_name(c.group), c.account) << c.group;
}

TEST(SlurmRules, ValuesHaveOneForm) {
  const struct {
    Setting setting;
    const char* text;
    const char* canonical;
  } cases[] = {
      {Setting::kGrpTres, "mem=100G, CPU=4", "cpu=4,mem=102400"},
      {Setting::kGrpTres, "mem=1025K", "mem=2"},
      {Setting::kGrpTres, "mem=5", "mem=5"},
      {Setting::kGrpTres, "gres/gpu:a100=2,gres/gpu=4", "gres/gpu=4,gres/gpu:a100=2"},
      {Setting::kMaxWallDurationPerJob, "90", "90"},
      {Setting::kMaxWallDurationPerJob, "90:01", "91"},
      {Setting::kMaxWallDurationPerJob, "1:30:00", "90"},
      {Setting::kMaxWallDurationPerJob, "1-12", "2160"},
      {Setting::kMaxWallDurationPerJob, "1-12:30", "2190"},
      {Setting::kMaxWallDurationPerJob, "1-0:0:1", "1441"},
      {Setting::kQos, "high, Normal,high", "high,normal"},
      {Setting::kMaxJobs, "007", "7"},
      {Setting::kFairshare, "Parent", "parent"},
  };
  for (const auto& c : cases) {
    const auto value = accounting::canonical(c.setting, c.text);
    ASSERT_TRUE(value) << c.text << ": " << value.error().message;
    EXPECT_EQ(*value, c.canonical);
    EXPECT_EQ(accounting::canonical(c.setting, *value), *value);
  }
  for (const char* bad : {"", "1-", "1:2:3:4", "-5", "99999999999999999999", "1-1:1:1:1", "1d"}) {
    EXPECT_FALSE(accounting::canonical(Setting::kMaxWallDurationPerJob, bad)) << bad;
  }
  for (const char* bad : {"", "cpu", "cpu=", "cpu=x", "mem=99999999999P", "disk=1", "gres=1",
                          "cpu/x=1", "gres/a b=1", "cpu=1,", "cpu=1=2"}) {
    EXPECT_FALSE(accounting::canonical(Setting::kGrpTres, bad)) << bad;
  }
  EXPECT_FALSE(accounting::canonical(Setting::kMaxJobs, "4294967294"));  // NO_VAL
}

// ---- what follows from them ----

Group group(std::int64_t number, std::string name, std::int64_t created = 0) {
  return {.number = number,
          .posix_name = name,
          .display_name = name,
          .created = from_millis(created == 0 ? number : created)};
}

Person person(std::int64_t number, std::string login, std::vector<std::int64_t> groups) {
  return {.number = number,
          .login = std::move(login),
          .uid = static_cast<std::uint32_t>(20000 + number),
          .groups = std::move(groups)};
}

Rules rules_of(std::string_view text) {
  auto rules = parse_rules(text, "rules.toml");
  EXPECT_TRUE(rules) << rules.error().message;
  return std::move(*rules);
}

std::vector<std::string> accounts_of(const Outcome& outcome, const std::string& login) {
  std::vector<std::string> out;
  for (const auto& each : outcome.desired.users.at(login).memberships) out.push_back(each.account);
  return out;
}

std::vector<std::string> all_accounts(const Outcome& outcome) {
  std::vector<std::string> out;
  for (const auto& [name, account] : outcome.desired.accounts) out.push_back(name);
  return out;
}

std::vector<std::string> sentences(const Explanation& explanation) {
  std::vector<std::string> out;
  for (const Reason& each : explanation.reasons) out.push_back(each.sentence);
  return out;
}

TEST(SlurmRulesApplied, TheWholeFile) {
  Facts facts{.organization = "acme",
              .people = {person(1, "ada", {1, 4}), person(2, "bob", {3, 2, 1}),
                         person(3, "carol", {}), person(4, "dave", {1})},
              .groups = {group(1, "physics"), group(2, "acct-chem"), group(3, "acct-bio"),
                         group(4, "physics-leads"), group(5, "hpc-ops"), group(6, "choir")}};
  facts.groups.push_back({.number = 7,
                          .posix_name = "physicsguests",
                          .display_name = "Physics guests",
                          .created = from_millis(7)});
  facts.people.push_back(person(5, "eve", {7}));
  facts.people[3].locked = true;
  const Outcome outcome = apply_rules(rules_of(kWhole), facts);
  EXPECT_THAT(outcome.problems, IsEmpty());
  EXPECT_EQ(outcome.desired.marker, "roster:acme");
  EXPECT_THAT(all_accounts(outcome), ElementsAre("bio", "chem", "guests", "physics", "science"));
  EXPECT_EQ(outcome.desired.accounts.at("chem").parent, "science");
  EXPECT_THAT(accounts_of(outcome, "ada"), ElementsAre("physics"));
  EXPECT_THAT(accounts_of(outcome, "bob"), ElementsAre("physics", "chem", "bio"));
  EXPECT_THAT(accounts_of(outcome, "carol"), ElementsAre("guests"));
  EXPECT_THAT(accounts_of(outcome, "eve"), ElementsAre("physics"));
  EXPECT_THAT(accounts_of(outcome, "dave"), IsEmpty());
  EXPECT_TRUE(outcome.desired.users.at("dave").locked);
  EXPECT_THAT(outcome.desired.accounts.at("physics").coordinators, ElementsAre("ada"));
  const auto& ada = outcome.desired.users.at("ada");
  EXPECT_EQ(ada.admin_level, AdminLevel::kAdministrator);
  EXPECT_EQ(outcome.desired.users.at("bob").admin_level, AdminLevel::kOperator);
  EXPECT_EQ(ada.memberships[0].settings, (accounting::Settings{{Setting::kFairshare, "parent"},
                                                               {Setting::kMaxJobs, "20"},
                                                               {Setting::kMaxSubmitJobs, "500"}}));
}

TEST(SlurmRulesApplied, TwoGroupsOfOneNameAreNeverMergedSilently) {
  Facts facts{.organization = "acme",
              .people = {person(1, "ada", {1}), person(2, "bob", {2})},
              .groups = {group(1, "a.b", 200), group(2, "a_b", 100)}};
  Outcome outcome = apply_rules(rules_of("[accounts]\nfrom = \"all\"\n"), facts);
  EXPECT_THAT(accounts_of(outcome, "ada"), IsEmpty());
  EXPECT_THAT(accounts_of(outcome, "bob"), ElementsAre("a_b"));
  ASSERT_THAT(outcome.problems, SizeIs(1));
  EXPECT_EQ(outcome.problems[0].subject, "group a.b");
  EXPECT_THAT(outcome.problems[0].sentence,
              AllOf(HasSubstr("already made of group a_b"), HasSubstr("account.a_b.groups")));
  outcome = apply_rules(rules_of("[account.a_b]\ngroups = [\"a.b\", \"a_b\"]\n"), facts);
  EXPECT_THAT(outcome.problems, IsEmpty());
  EXPECT_THAT(accounts_of(outcome, "ada"), ElementsAre("a_b"));
  EXPECT_THAT(accounts_of(outcome, "bob"), ElementsAre("a_b"));
}

TEST(SlurmRulesApplied, GroupsThatCannotBeAccountsAreReported) {
  Facts facts{.organization = "acme",
              .people = {person(1, "ada", {1, 2, 3, 4})},
              .groups = {group(1, "root"), group(2, "x"), group(3, "science"), group(4, "ok")}};
  facts.groups[1].display_name = "東京";
  const Outcome outcome = apply_rules(
      rules_of("[accounts]\nfrom = \"all\"\nname = \"display\"\n[account.science]\n"), facts);
  EXPECT_THAT(accounts_of(outcome, "ada"), ElementsAre("ok"));
  std::vector<std::string> subjects;
  for (const auto& each : outcome.problems) subjects.push_back(each.subject);
  EXPECT_THAT(subjects, UnorderedElementsAre("group root", "group x", "group science"));
}

TEST(SlurmRulesApplied, EachWayOfChoosingGroups) {
  Facts facts{.organization = "acme",
              .people = {},
              .groups = {group(1, "hpc-a"), group(2, "b"), group(3, "c")}};
  facts.groups[1].client = "okta";
  facts.groups[2].external_id = "slurm/c";
  facts.groups[2].display_name = "Chemistry \"C\"";
  const auto chosen = [&facts](std::string_view text) {
    return all_accounts(apply_rules(rules_of(text), facts));
  };
  EXPECT_THAT(chosen(""), IsEmpty());
  EXPECT_THAT(chosen("[accounts]\nfrom = \"all\"\n"), ElementsAre("b", "c", "hpc-a"));
  EXPECT_THAT(chosen("[accounts]\nfrom = \"prefix\"\nprefix = \"hpc-\"\n"), ElementsAre("hpc-a"));
  EXPECT_THAT(chosen("[accounts]\nfrom = \"prefix\"\nprefix = \"hpc-\"\nstrip_prefix = true\n"),
              ElementsAre("a"));
  EXPECT_THAT(chosen("[accounts]\nfrom = \"list\"\ngroups = [\"b\", \"chemistry \\\"c\\\"\"]\n"),
              ElementsAre("b", "c"));
  EXPECT_THAT(
      chosen("[accounts]\nfrom = \"attribute\"\nattribute = \"client\"\nequals = \"okta\"\n"),
      ElementsAre("b"));
  EXPECT_THAT(chosen("[accounts]\nfrom = \"attribute\"\nattribute = \"externalId\"\n"
                     "starts_with = \"slurm/\"\n"),
              ElementsAre("c"));
  const Outcome all = apply_rules(rules_of("[accounts]\nfrom = \"all\"\n"), facts);
  EXPECT_EQ(all.desired.accounts.at("c").description, "Chemistry C");
}

TEST(SlurmRulesApplied, WhoAndWhatIsUnknownIsReportedWithTheWayOut) {
  const Outcome outcome =
      apply_rules(rules_of("[accounts]\nfrom = \"list\"\ngroups = [\"nowhere\"]\n"
                           "[account.a]\ngroups = [\"gone\"]\ncoordinators = [\"zoe\", \"@none\"]\n"
                           "parent = \"lost\"\n"
                           "[users]\ndefault_accounts = [\"what\"]\n"
                           "[admins]\noperators = [\"ada\"]\n"),
                  {.organization = "acme", .people = {person(1, "ada", {})}, .groups = {}});
  std::vector<std::string> subjects;
  for (const auto& each : outcome.problems) {
    subjects.push_back(each.subject);
    EXPECT_THAT(each.sentence, testing::AnyOf(HasSubstr("mend"), HasSubstr("users.no_group")));
  }
  EXPECT_THAT(subjects, UnorderedElementsAre("account a", "account a", "group nowhere",
                                             "account what", "user zoe", "group none", "user ada"));
}

TEST(SlurmRulesApplied, ExplainSaysWhy) {
  Facts facts{
      .organization = "acme",
      .people = {person(1, "ada", {2, 1, 3}), person(2, "bob", {3}), person(3, "carol", {})},
      .groups = {group(1, "physics"), group(2, "acct-chem", 5), group(3, "choir", 9)}};
  facts.people[2].locked = true;
  const Rules rules = rules_of(kWhole);
  const auto ada = explain(rules, facts, "ada");
  ASSERT_TRUE(ada);
  EXPECT_THAT(
      sentences(*ada),
      ElementsAre("group physics gives account physics, by account.physics.groups",
                  "group acct-chem gives account chem, by [accounts]",
                  "group choir is no account: \"choir\" does not begin with accounts.prefix = "
                  "\"acct-\"",
                  "the default account is physics: it is the first of theirs in "
                  "users.default_accounts",
                  "in account physics: Fairshare=parent, MaxJobs=20, from account.physics.members",
                  "in account physics: MaxSubmitJobs=500, from [users]",
                  "account physics has DefaultQOS=high, GrpTRES=cpu=512,gres/gpu=16,mem=2097152, "
                  "MaxJobs=100, from [account.physics]",
                  "account science has Fairshare=100, QOS=high,normal, from [account.science]",
                  "in account chem: Fairshare=1, MaxSubmitJobs=500, from [users]",
                  "account chem has Fairshare=1, MaxWallDurationPerJob=2880, from [accounts]",
                  "account science has Fairshare=100, QOS=high,normal, from [account.science]",
                  "admin level Administrator, by admins.administrators",
                  "coordinates account physics, by account.physics.coordinators"));
  EXPECT_EQ(ada->wanted.memberships.size(), 2U);
  EXPECT_THAT(sentences(*explain(rules, facts, "bob")),
              testing::Contains("the default account is guests: no group of theirs is an account, "
                                "so users.no_group counts"));
  EXPECT_THAT(sentences(*explain(rules, facts, "carol")),
              ElementsAre("they are locked: [leavers] counts, new jobs are stopped"));
  EXPECT_EQ(explain(rules, facts, "zoe").error().code, Code::kNotFound);
}

TEST(SlurmRulesApplied, ThousandsOfPeople) {
  Facts facts{.organization = "acme", .people = {}, .groups = {}};
  for (int i = 0; i < 200; ++i) facts.groups.push_back(group(i, "g" + std::to_string(i)));
  for (int i = 0; i < 5000; ++i) {
    facts.people.push_back(person(i, "u" + std::to_string(i), {i % 200, (i * 7) % 200}));
  }
  const Outcome outcome = apply_rules(rules_of("[accounts]\nfrom = \"all\"\n"), facts);
  EXPECT_THAT(outcome.desired.users, SizeIs(5000));
  EXPECT_THAT(outcome.desired.accounts, SizeIs(200));
}

}  // namespace
}  // namespace roster::slurm
