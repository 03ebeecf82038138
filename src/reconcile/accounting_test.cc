#include "reconcile/accounting.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

#include "reconcile/testing/slurm_model.h"

namespace roster::reconcile::accounting {
namespace {

using std::chrono::hours;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using testing::Slurm;

constexpr std::string_view kMark = "roster:acme";
const Timestamp kNow = from_millis(1'800'000'000'000);

std::vector<std::string> sentences(const Plan& plan) {
  std::vector<std::string> out;
  for (const Stage& stage : plan.stages) {
    for (const Step& step : stage.steps) out.push_back(sentence(step));
  }
  return out;
}

DesiredUser member(std::uint32_t uid, const std::vector<std::string>& accounts) {
  DesiredUser user{.uid = uid};
  for (const std::string& each : accounts) user.memberships.push_back({each, {}});
  return user;
}

/// One account of ours with ada and bob in it, as a first plan makes it.
struct Story {
  Desired desired{.marker = std::string(kMark),
                  .accounts = {{"physics", {}}},
                  .users = {{"ada", member(1, {"physics"})}, {"bob", member(2, {"physics"})}}};
  Slurm slurm;
  Options options{.now = kNow};

  Story() { slurm.passwd = {{"ada", 1}, {"bob", 2}, {"carol", 3}}; }

  Plan made() const {
    auto result = plan(desired, slurm.state, slurm.owned, options);
    EXPECT_TRUE(result) << result.error().message;
    return std::move(*result);
  }
  std::vector<std::string> planned() const { return sentences(made()); }
  void carry_out() {
    const Plan now = made();
    slurm.owned = now.owned;
    for (const Stage& stage : now.stages) {
      for (const Step& step : stage.steps) EXPECT_TRUE(slurm.apply(step)) << sentence(step);
    }
    EXPECT_THAT(planned(), IsEmpty());
  }
  void add_job(std::uint32_t id, Job::State state, const std::string& user = "ada") {
    slurm.state.jobs.push_back({id, user, "physics", state});
  }
};

TEST(AccountingPlan, TheFirstOne) {
  Story story;
  story.desired.accounts["science"] = {.description = "Science",
                                       .settings = {{Setting::kFairshare, "10"}}};
  story.desired.accounts["physics"].parent = "science";
  story.desired.accounts["physics"].coordinators = {"ada"};
  story.desired.users["bob"].memberships.push_back({"science", {{Setting::kMaxJobs, "5"}}});
  story.desired.users["bob"].admin_level = AdminLevel::kOperator;
  EXPECT_THAT(story.planned(),
              ElementsAre("account science: added below root, Fairshare=10",
                          "account physics: added below science",
                          "user ada: added with account physics as the default",
                          "user bob: added with account physics as the default",
                          "user bob in account science: association added, MaxJobs=5",
                          "user bob: admin level None -> Operator",
                          "account physics: coordinator ada added"));
  story.carry_out();
}

TEST(AccountingPlan, WhoIsLockedLosesTheirRolesAndNewJobsFirst) {
  Story story;
  story.desired.accounts["physics"].coordinators = {"ada"};
  story.desired.users["ada"].admin_level = AdminLevel::kOperator;
  story.carry_out();
  story.desired.users["ada"].locked = true;
  story.desired.users["carol"] = member(3, {"physics"});
  EXPECT_THAT(story.planned(),
              ElementsAre("user ada in account physics: no new jobs (locked)",
                          "user ada: admin level Operator -> None",
                          "account physics: coordinator ada removed",
                          "user carol: added with account physics as the default"));
  story.carry_out();
  story.desired.users["ada"].locked = false;
  EXPECT_THAT(story.planned(), ElementsAre("user ada in account physics: MaxSubmitJobs 0 -> none",
                                           "user ada: admin level None -> Operator",
                                           "account physics: coordinator ada added"));
}

TEST(AccountingPlan, JobsOfTheLockedAreHeldAtOnceAndCancelledAfterTheGraceTime) {
  Story story;
  story.carry_out();
  story.desired.locked = {Ending::NewJobs::kRemove, Ending::Jobs::kCancel, hours(1)};
  story.desired.users["ada"].locked = true;
  story.desired.users["ada"].locked_since = kNow;
  story.add_job(7, Job::State::kPending);
  story.add_job(8, Job::State::kRunning);
  EXPECT_THAT(story.planned(), ElementsAre("user ada in account physics: no new jobs (locked)",
                                           "user ada in account physics: job 7 held (locked)"));
  EXPECT_EQ(story.made().counts.waiting_for_jobs, 1U);
  story.carry_out();
  Story back = story;
  back.desired.users["ada"].locked = false;
  EXPECT_THAT(back.planned(), ElementsAre("user ada in account physics: MaxSubmitJobs 0 -> none",
                                          "user ada in account physics: job 7 released"));
  story.options.now = kNow + hours(1);
  Story fused = story;
  fused.options.hold_irreversible = true;
  EXPECT_THAT(fused.planned(), IsEmpty());
  EXPECT_EQ(fused.made().counts.held, 1U);
  EXPECT_THAT(story.planned(),
              ElementsAre("user ada in account physics: 2 jobs 7, 8 cancelled (locked)",
                          "user ada in account physics: association removed (locked)"));
  story.carry_out();
  story.desired.users["ada"].locked = false;
  EXPECT_THAT(story.planned(), ElementsAre("user ada: added with account physics as the default"));
}

TEST(AccountingPlan, AJobThatWasHeldByOthersIsNotReleased) {
  Story story;
  story.carry_out();
  story.desired.locked.jobs = Ending::Jobs::kHold;
  story.add_job(7, Job::State::kHeld);
  story.add_job(8, Job::State::kPending);
  story.desired.users["ada"].locked = true;
  story.carry_out();
  story.desired.users["ada"].locked = false;
  EXPECT_THAT(story.planned(), ElementsAre("user ada in account physics: MaxSubmitJobs 0 -> none",
                                           "user ada in account physics: job 8 released"));
}

TEST(AccountingPlan, WhoChangesGroupsGetsTheNewDefaultBeforeTheOldIsRemoved) {
  Story story;
  story.desired.accounts["chem"] = {};
  story.desired.left.new_jobs = Ending::NewJobs::kRemove;
  story.carry_out();
  story.desired.users["ada"] = member(1, {"chem"});
  EXPECT_THAT(story.planned(),
              ElementsAre("user ada in account chem: association added",
                          "user ada: default account physics -> chem",
                          "user ada in account physics: association removed (not in the group any "
                          "more)"));
  story.options.hold_irreversible = true;
  EXPECT_THAT(story.planned(),
              ElementsAre("user ada in account physics: no new jobs (not in the group any more)",
                          "user ada in account chem: association added",
                          "user ada: default account physics -> chem"));
  EXPECT_EQ(story.made().counts.held, 1U);
}

TEST(AccountingPlan, AForeignAccountOfTheSameNameIsLeftAlone) {
  Story story;
  story.slurm.state.accounts["physics"] = {
      .description = "ours since 2009", .organization = "dept", .parent = "root"};
  story.slurm.state.users["ada"] = {.default_account = "physics", .uid = 1};
  story.slurm.state.associations[{"physics", "ada"}] = {};
  EXPECT_THAT(story.planned(), IsEmpty());
  const Plan refused = story.made();
  ASSERT_THAT(refused.problems, SizeIs(1));
  EXPECT_THAT(refused.problems[0].sentence,
              HasSubstr("not made by Roster (organization \"dept\")"));

  story.options.adopt_accounts = {"physics"};
  EXPECT_THAT(story.planned(),
              ElementsAre("account physics: adopted, organization dept -> roster:acme",
                          "user ada in account physics: association adopted",
                          "user bob: added with account physics as the default"));
  story.carry_out();
}

TEST(AccountingPlan, OurMarkAloneMakesNothingOurs) {
  Story story;
  story.slurm.state.accounts["physics"] = {.organization = std::string(kMark), .parent = "root"};
  EXPECT_THAT(story.planned(), IsEmpty());
  EXPECT_THAT(story.made().problems.at(0).sentence, HasSubstr("not in our record"));
  // Nor the record alone: somebody else put their name on it.
  Story taken;
  taken.carry_out();
  taken.slurm.state.accounts["physics"].organization = "dept";
  taken.desired.accounts["physics"].settings[Setting::kMaxJobs] = "1";
  taken.desired.users.erase("bob");
  EXPECT_THAT(taken.planned(), ElementsAre("user bob in account physics: no new jobs (not in the "
                                           "directory)"));
}

TEST(AccountingPlan, ASlurmUserOfAnotherUidIsGivenNothing) {
  Story story;
  story.slurm.state.users["ada"] = {.uid = 1000};
  story.options.adopt_users = {"ada"};
  EXPECT_THAT(story.planned(), ElementsAre("account physics: added below root",
                                           "user bob: added with account physics as the default"));
  EXPECT_THAT(story.made().problems.at(0).sentence, HasSubstr("is uid 1000 for Slurm, and uid 1 "));
}

TEST(AccountingPlan, NobodyIsAddedBeforeTheMachinesKnowThem) {
  Story story;
  story.desired.users["ada"].ready = false;
  EXPECT_THAT(story.planned(), ElementsAre("account physics: added below root",
                                           "user bob: added with account physics as the default"));
  EXPECT_EQ(story.made().counts.waiting, 1U);
}

TEST(AccountingPlan, NobodyIsLetInAgainBeforeTheMachinesKnowThem) {
  Story story;
  story.carry_out();
  story.desired.users["ada"].locked = true;
  story.carry_out();
  story.desired.users["ada"].locked = false;
  story.desired.users["ada"].ready = false;
  story.desired.users["ada"].memberships[0].settings = {{Setting::kMaxJobs, "5"}};
  EXPECT_THAT(story.planned(), ElementsAre("user ada in account physics: MaxJobs none -> 5"));
  EXPECT_EQ(story.made().counts.waiting, 1U);
}

TEST(AccountingPlan, ABrokenAssociationIsCured) {
  Story story;
  story.carry_out();
  story.slurm.state.users["ada"].uid = kUnresolvedUid;
  EXPECT_THAT(story.planned(), ElementsAre("user ada: slurmctld is made to resolve the name"));
  story.desired.users["ada"].ready = false;
  EXPECT_THAT(story.planned(), IsEmpty());
}

TEST(AccountingPlan, WhatTheRulesDoNotMentionStaysAndWhatWeSetIsTakenBack) {
  Story story;
  story.desired.accounts["physics"].settings = {{Setting::kGrpTres, "gres/gpu=8"}};
  story.carry_out();
  story.slurm.state.accounts["physics"].settings[Setting::kMaxJobs] = "7";
  EXPECT_THAT(story.planned(), IsEmpty());
  story.desired.accounts["physics"].settings = {{Setting::kGrpTres, "gres/gpu=16"}};
  EXPECT_THAT(story.planned(), ElementsAre("account physics: GrpTRES gres/gpu=8 -> gres/gpu=16"));
  story.desired.accounts["physics"].settings = {};
  EXPECT_THAT(story.planned(), ElementsAre("account physics: GrpTRES gres/gpu=8 -> none"));
  story.carry_out();
  EXPECT_EQ(story.slurm.state.accounts["physics"].settings.size(), 1U);
  // What others set there now is theirs.
  story.slurm.owned = story.made().owned;
  story.slurm.state.accounts["physics"].settings[Setting::kGrpTres] = "gres/gpu=1";
  EXPECT_THAT(story.planned(), IsEmpty());
}

TEST(AccountingPlan, ADefaultQosComesAfterTheQosThatAllowIt) {
  Story story;
  story.carry_out();
  story.desired.accounts["physics"].settings = {{Setting::kQos, "high,normal"}};
  story.desired.users["ada"].memberships[0].settings = {{Setting::kDefaultQos, "high"}};
  EXPECT_THAT(story.planned(), ElementsAre("account physics: QOS none -> high,normal",
                                           "user ada in account physics: DefaultQOS none -> high"));
  story.desired.accounts["physics"].settings[Setting::kDefaultQos] = "normal";
  EXPECT_THAT(story.planned(), ElementsAre("account physics: QOS none -> high,normal",
                                           "account physics: DefaultQOS none -> normal",
                                           "user ada in account physics: DefaultQOS none -> high"));
  EXPECT_THAT(story.made().stages, SizeIs(2));
  story.slurm.state.qos = std::set<std::string>{"normal"};
  EXPECT_THAT(story.planned(), IsEmpty());
  EXPECT_THAT(story.made().problems.at(0).subject, "qos high");
}

TEST(AccountingPlan, AccountsMayChangePlaces) {
  Story story;
  story.desired.accounts["science"] = {};
  story.desired.accounts["physics"].parent = "science";
  story.carry_out();
  story.desired.accounts["physics"].parent = "root";
  story.desired.accounts["science"].parent = "physics";
  EXPECT_THAT(story.planned(), ElementsAre("account physics: parent science -> root",
                                           "account science: parent root -> physics"));
  story.carry_out();
}

TEST(AccountingPlan, OrphansStayUnlessTheRulesSayOtherwise) {
  Story story;
  story.carry_out();
  story.desired.accounts = {{"chem", {}}};
  story.desired.users["ada"] = member(1, {"chem"});
  story.desired.users["bob"] = member(2, {"chem"});
  story.carry_out();
  EXPECT_TRUE(story.slurm.is_account("physics"));
  story.desired.remove_orphans = true;
  story.carry_out();
  EXPECT_FALSE(story.slurm.is_account("physics"));

  // Not what another cluster of the same slurmdbd uses, nor where others have put somebody.
  Story shared;
  shared.carry_out();
  shared.slurm.state.accounts["physics"].elsewhere = true;
  shared.desired.accounts = {{"chem", {}}};
  shared.desired.remove_orphans = true;
  shared.desired.users = {{"ada", member(1, {"chem"})}, {"bob", member(2, {"chem"})}};
  shared.carry_out();
  EXPECT_TRUE(shared.slurm.state.accounts.contains("physics"));
  EXPECT_FALSE(shared.slurm.is_account("physics"));
}

TEST(AccountingPlan, WhatIsSharedWithAnotherClusterIsNotTakenFromIt) {
  Story story;
  story.desired.accounts["physics"].coordinators = {"ada"};
  story.desired.users["ada"].admin_level = AdminLevel::kOperator;
  story.carry_out();
  story.options.elsewhere.accounts["physics"] = {.coordinators = {"ada"}, .described = true};
  story.options.elsewhere.users["ada"] = {.admin_before = AdminLevel::kNone};
  story.desired.accounts["physics"].coordinators = {};
  story.desired.accounts["physics"].description = "another";
  story.desired.users["ada"].admin_level = AdminLevel::kNone;
  EXPECT_THAT(story.planned(), IsEmpty());
  story.desired.users["ada"].locked = true;
  EXPECT_THAT(story.planned(), ElementsAre("user ada in account physics: no new jobs (locked)",
                                           "user ada: admin level Operator -> None",
                                           "account physics: coordinator ada removed"));
}

TEST(AccountingPlan, AnAccountOfAnotherClusterIsAddedToThisOne) {
  Story story;
  story.slurm.state.accounts["physics"] = {.organization = std::string(kMark), .elsewhere = true};
  story.options.elsewhere.accounts["physics"] = {};
  EXPECT_THAT(story.planned().at(0), "account physics: added to this cluster below root");
  story.carry_out();
}

TEST(AccountingPlan, WhatOthersGaveToSomebodyLockedIsReported) {
  Story story;
  story.carry_out();
  story.slurm.state.accounts["hand"] = {.organization = "x", .parent = "root"};
  story.slurm.state.accounts["hand"].coordinators = {"ada"};
  story.slurm.state.associations[{"hand", "ada"}] = {};
  story.slurm.state.users["ada"].admin_level = AdminLevel::kAdministrator;
  story.desired.users["ada"].locked = true;
  const Plan made = story.made();
  EXPECT_THAT(sentences(made), ElementsAre("user ada in account physics: no new jobs (locked)"));
  ASSERT_THAT(made.problems, SizeIs(1));
  EXPECT_THAT(made.problems[0].sentence,
              HasSubstr("an association in account hand, admin level Administrator"));
}

TEST(AccountingPlan, ASourceThatShrinksIsNotBelieved) {
  Story story;
  for (int i = 0; i < 48; ++i) {
    const auto uid = static_cast<std::uint32_t>(100 + i);
    story.desired.users["u" + std::to_string(i)] = member(uid, {"physics"});
    story.slurm.passwd["u" + std::to_string(i)] = uid;
  }
  story.carry_out();
  Desired whole = story.desired;
  for (int i = 0; i < 11; ++i) story.desired.users["u" + std::to_string(i)].memberships.clear();
  const auto refused = plan(story.desired, story.slurm.state, story.slurm.owned, story.options);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kFailedPrecondition);
  EXPECT_THAT(refused.error().message, HasSubstr("11 of 50 associations would be taken"));
  story.options.accept_shrink = true;
  story.carry_out();
  // Those whom it stopped are not counted again and again.
  story.options.accept_shrink = false;
  EXPECT_THAT(story.planned(), IsEmpty());

  Story locked;
  locked.desired = whole;
  locked.slurm.passwd = story.slurm.passwd;
  locked.carry_out();
  for (auto& [name, user] : locked.desired.users) user.locked = true;
  EXPECT_THAT(locked.planned(), SizeIs(50)) << "said in so many words";

  locked.desired.users.clear();
  locked.options.accept_shrink = true;
  const auto nobody = plan(locked.desired, locked.slurm.state, locked.slurm.owned, locked.options);
  ASSERT_FALSE(nobody);
  EXPECT_THAT(nobody.error().message, HasSubstr("tells of nobody"));
}

TEST(AccountingPlan, WhatDependsOnAFailedStepIsLeftOut) {
  Story story;
  story.desired.accounts["science"] = {};
  story.desired.accounts["physics"].parent = "science";
  story.desired.users["ada"].memberships.push_back({"science", {}});
  story.desired.users["ada"].admin_level = AdminLevel::kOperator;
  const Plan made = story.made();
  FailedSteps failed(made);
  std::vector<std::string> done;
  for (const Stage& stage : made.stages) {
    for (const Step& step : stage.steps) {
      const bool fails = step.act == Act::kAddAccount && step.account == "physics";
      if (fails || !failed.forbids(step).empty()) {
        failed.add(step);
      } else {
        done.push_back(sentence(step));
      }
    }
  }
  EXPECT_THAT(done, ElementsAre("account science: added below root"));
}

TEST(AccountingPlan, AStopThatSlurmIgnoresIsReported) {
  Story story;
  story.slurm.state.enforces_limits = false;
  EXPECT_THAT(story.made().problems.at(0).sentence, HasSubstr("AccountingStorageEnforce"));
  story.desired.locked.new_jobs = story.desired.left.new_jobs = Ending::NewJobs::kRemove;
  EXPECT_THAT(story.made().problems, IsEmpty());
}

TEST(AccountingPlan, TheDefaultThatSomebodyChoseStaysTheirs) {
  Story story;
  story.desired.accounts["chem"] = {};
  story.slurm.state.accounts["hand"] = {.organization = "x", .parent = "root"};
  story.slurm.state.users["ada"] = {.default_account = "hand", .uid = 1};
  story.slurm.state.associations[{"hand", "ada"}] = {};
  story.carry_out();
  EXPECT_EQ(story.slurm.state.users["ada"].default_account, "hand");
  story.options.adopt_users = {"ada"};
  EXPECT_THAT(story.planned(),
              ElementsAre("user ada: adopted", "user ada: default account hand -> physics"));
  story.carry_out();
}

}  // namespace
}  // namespace roster::reconcile::accounting
