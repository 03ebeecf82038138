#include "slurm/accounting_answers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>

namespace roster::slurm {
namespace {

using accounting::AdminLevel;
using accounting::Setting;
using accounting::Settings;
using testing::HasSubstr;

/// As a real Slurm answered; tests/corpora/README.md tells how they were made.
std::string recorded(const std::string& name) {
  std::ifstream file(std::string(ROSTER_CORPORA) + "/slurm/" + name);
  std::string text(std::istreambuf_iterator<char>(file), {});
  EXPECT_FALSE(text.empty()) << name;
  return text;
}

json::object parsed(std::string_view text) {
  auto value = json::parse(text, {.bytes_max = 16 << 20});
  CHECK(value && value->is_object());
  return std::move(value->get_object());
}

json::object answer(const std::string& name) { return parsed(recorded(name)); }

const AssociationRow& row_of(const std::vector<AssociationRow>& rows, std::string_view account,
                             std::string_view user, std::string_view partition = "") {
  const auto found = std::ranges::find_if(rows, [&](const AssociationRow& row) {
    return row.account == account && row.user == user && row.partition == partition;
  });
  CHECK(found != rows.end());
  return *found;
}

const Settings kOptics = {{Setting::kQos, "high,normal"},
                          {Setting::kDefaultQos, "high"},
                          {Setting::kGrpTresMins, "cpu=5000"},
                          {Setting::kGrpTresRunMins, "cpu=700"},
                          {Setting::kGrpJobs, "10"},
                          {Setting::kGrpJobsAccrue, "4"},
                          {Setting::kGrpSubmitJobs, "20"},
                          {Setting::kGrpWall, "60"},
                          {Setting::kMaxTresPerJob, "cpu=4"},
                          {Setting::kMaxTresPerNode, "cpu=2"},
                          {Setting::kMaxTresMinsPerJob, "cpu=1000"},
                          {Setting::kMaxJobsAccrue, "3"},
                          {Setting::kMaxSubmitJobs, "7"},
                          {Setting::kMaxWallDurationPerJob, "120"},
                          {Setting::kPriority, "33"}};

/// The same cluster in all forms, so that a field read from the wrong place is seen.
void expect_the_cluster(const std::vector<AssociationRow>& rows) {
  EXPECT_EQ(rows.size(), 12U);
  const AssociationRow& physics = row_of(rows, "physics", "");
  EXPECT_EQ(physics.parent, "root");
  EXPECT_EQ(physics.settings, (Settings{{Setting::kFairshare, "10"},
                                        {Setting::kGrpTres, "cpu=64,gres/gpu=8,mem=102400"},
                                        {Setting::kMaxJobs, "5"}}));
  const AssociationRow& optics = row_of(rows, "optics", "");
  EXPECT_EQ(optics.parent, "physics");
  EXPECT_EQ(optics.settings, kOptics);
  // Nothing of what is inherited.
  EXPECT_EQ(row_of(rows, "optics", "alice").settings, (Settings{{Setting::kFairshare, "parent"}}));
  EXPECT_EQ(row_of(rows, "optics", "bob").settings, (Settings{{Setting::kMaxSubmitJobs, "0"}}));
  EXPECT_EQ(row_of(rows, "optics", "bob", "debug").settings, Settings());
  EXPECT_EQ(row_of(rows, "root", "").parent, "");
}

TEST(AccountingAnswers, AssociationsOfSlurmrestd) {
  for (const char* name :
       {"associations_v40.json", "associations_v41.json", "associations_v42.json"}) {
    SCOPED_TRACE(name);
    const auto rows = associations_of(answer(std::string("24.11/") + name), "lab");
    ASSERT_TRUE(rows) << rows.error().message;
    expect_the_cluster(*rows);
    EXPECT_TRUE(row_of(*rows, "physics", "alice").is_default);
    EXPECT_FALSE(row_of(*rows, "optics", "alice").is_default);
    EXPECT_FALSE(row_of(*rows, "physics", "").is_default);  // slurmrestd says true
  }
}

TEST(AccountingAnswers, AssociationsOfSacctmgr) {
  const auto rows = associations_in(recorded("22.05/associations.txt"));
  ASSERT_TRUE(rows) << rows.error().message;
  expect_the_cluster(*rows);
  EXPECT_EQ(row_of(*rows, "physics", "").id, 3U);
  // Added to what is inherited: of a form that we never set, and not taken for a list.
  EXPECT_EQ(row_of(*rows, "physics", "carol").settings, (Settings{{Setting::kQos, "+high"}}));
}

TEST(AccountingAnswers, AParameterThatIsNotKnownIsAnError) {
  // slurmrestd answers with inherited limits then: they would be taken for set ones.
  const auto rows = associations_of(answer("24.11/unknown_parameter.json"), "lab");
  ASSERT_FALSE(rows);
  EXPECT_EQ(rows.error().code, Code::kUnsupported);
  EXPECT_THAT(rows.error().message, HasSubstr("without_parent_limits"));
}

TEST(AccountingAnswers, AccountsAndUsersOfBothReleases) {
  for (const std::string release : {"22.05", "24.11"}) {
    SCOPED_TRACE(release);
    const auto accounts = accounts_of(answer(release + "/accounts.json"), "lab");
    ASSERT_TRUE(accounts) << accounts.error().message;
    const auto physics = std::ranges::find(*accounts, "physics", &AccountRow::name);
    ASSERT_NE(physics, accounts->end());
    EXPECT_EQ(physics->organization, "roster:acme");
    EXPECT_FALSE(physics->elsewhere);
    // Asked from another cluster's side.
    const auto others = accounts_of(answer(release + "/accounts.json"), "lab2");
    ASSERT_TRUE(others);
    EXPECT_TRUE(std::ranges::find(*others, "physics", &AccountRow::name)->elsewhere);

    const auto users = users_of(answer(release + "/users.json"));
    ASSERT_TRUE(users) << users.error().message;
    const auto user = [&](std::string_view name) {
      return *std::ranges::find(*users, name, &UserRow::name);
    };
    EXPECT_EQ(user("root").admin_level, AdminLevel::kAdministrator);
    EXPECT_EQ(user("bob").admin_level, AdminLevel::kOperator);
    EXPECT_EQ(user("alice").admin_level, AdminLevel::kNone);
    // Of optics only as coordinator of the account above it.
    EXPECT_EQ(user("alice").coordinates, (std::set<std::string>{"physics"}));

    const auto qos = qos_of(answer(release + "/qos.json"));
    ASSERT_TRUE(qos) << qos.error().message;
    EXPECT_EQ(*qos, (std::set<std::string>{"gpu", "high", "normal"}));
  }
}

TEST(AccountingAnswers, JobsOfBothReleases) {
  using State = accounting::Job::State;
  for (const std::string release : {"22.05", "24.11"}) {
    SCOPED_TRACE(release);
    const auto jobs = jobs_of(answer(release + "/jobs.json"), {{20001, "renamed"}});
    ASSERT_TRUE(jobs) << jobs.error().message;
    const auto state = [&](std::uint32_t id) -> std::optional<State> {
      const auto found = std::ranges::find(*jobs, id, &accounting::Job::id);
      return found == jobs->end() ? std::nullopt : std::optional(found->state);
    };
    EXPECT_EQ(state(2), State::kHeld);
    EXPECT_EQ(state(3), State::kPending);
    EXPECT_EQ(state(5), std::nullopt);  // over
    EXPECT_EQ(state(release == "22.05" ? 8 : 1), State::kRunning);
    // slurmctld's own name for the uid goes before that of slurmrestd's machine.
    EXPECT_EQ(jobs->front().user, "renamed");
    EXPECT_EQ(jobs->front().account, "physics");
  }
}

TEST(AccountingAnswers, UsersOfSlurmctld) {
  for (const std::string release : {"22.05", "24.11"}) {
    const auto users = controller_users_in(recorded(release + "/assoc_mgr.txt"));
    ASSERT_TRUE(users) << users.error().message;
    EXPECT_EQ(users->at("alice"), (ControllerUser{20001, true}));
    EXPECT_EQ(users->at("nobodyyet"), (ControllerUser{accounting::kUnresolvedUid, false}));
  }
  EXPECT_FALSE(controller_users_in(""));
  EXPECT_FALSE(controller_users_in("User Records\nUserName=x(y) DefAccount=z\n"));
}

TEST(AccountingAnswers, DefaultAccountsOfSacctmgr) {
  const auto defaults = default_accounts_in(recorded("22.05/default_accounts.txt"));
  ASSERT_TRUE(defaults) << defaults.error().message;
  EXPECT_EQ(defaults->at("bob"), "optics");
  EXPECT_FALSE(default_accounts_in("bob\n"));
  EXPECT_FALSE(default_accounts_in("bob|a b\n"));
}

TEST(AccountingAnswers, NothingIsTakenForNothingWhereSomethingMustBe) {
  EXPECT_FALSE(accounts_of(parsed(R"({"accounts": []})"), "lab"));
  EXPECT_FALSE(accounts_of(parsed("{}"), "lab"));
  EXPECT_FALSE(users_of(parsed(R"({"users": []})")));
  EXPECT_FALSE(users_of(parsed(R"({"users": null})")));
  EXPECT_FALSE(qos_of(parsed(R"({"qos": []})")));
  EXPECT_FALSE(associations_of(parsed("{}"), "lab"));
  EXPECT_FALSE(jobs_of(parsed("{}"), {}));
  // What is in no cluster, or in another than was asked for, belongs to somebody else.
  EXPECT_FALSE(associations_of(answer("24.11/associations_v42.json"), "other"));
}

/// One association with a member replaced.
json::object with(std::string_view name, json::value value) {
  json::object body = answer("24.11/associations_v42.json");
  body["associations"].as_array().resize(1);
  body["associations"].as_array().front().as_object()[name] = std::move(value);
  return body;
}

TEST(AccountingAnswers, OddValuesAreErrors) {
  ASSERT_TRUE(associations_of(with("comment", "x"), "lab"));
  EXPECT_FALSE(associations_of(with("account", ""), "lab"));
  EXPECT_FALSE(associations_of(with("account", 5), "lab"));
  EXPECT_FALSE(associations_of(with("user", "a b"), "lab"));
  EXPECT_FALSE(associations_of(with("user", "a'b"), "lab"));
  EXPECT_FALSE(associations_of(with("shares_raw", "1"), "lab"));
  EXPECT_FALSE(associations_of(with("shares_raw", -1), "lab"));
  EXPECT_FALSE(associations_of(with("qos", "high"), "lab"));
  EXPECT_FALSE(associations_of(with("qos", json::array{json::value("")}), "lab"));
  EXPECT_FALSE(associations_of(with("priority", "5"), "lab"));
  EXPECT_FALSE(associations_of(with("priority", json::object{{"set", true}}), "lab"));
  EXPECT_FALSE(associations_of(with("is_default", nullptr), "lab"));
  EXPECT_FALSE(
      associations_of(with("max", parsed(R"({"tres":{"total":[{"type":"cpu"}]}})")), "lab"));
  EXPECT_FALSE(associations_in("1|root|\n"));
  EXPECT_FALSE(associations_in("x|root||||1|normal|||||||||||||||||\n"));
  EXPECT_FALSE(associations_in("1|root||||many|normal|||||||||||||||||\n"));
}

TEST(AccountingAnswers, WhatIsMarkedAsDeletedIsNotThere) {
  const auto rows = associations_of(with("flags", json::array{json::value("DELETED")}), "lab");
  ASSERT_TRUE(rows);
  EXPECT_TRUE(rows->empty());
}

}  // namespace
}  // namespace roster::slurm
