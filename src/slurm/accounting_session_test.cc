#include "slurm/accounting_session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace roster::slurm {
namespace {

using accounting::Act;
using accounting::Held;
using accounting::Setting;
using accounting::Settings;
using accounting::Step;
using testing::ElementsAre;
using testing::HasSubstr;

TEST(AccountingVersion, IsTheNewestThatCanAllElseTheOldest) {
  const auto best = [](std::vector<ApiVersion> offered) { return accounting_version(offered); };
  EXPECT_EQ(best({{40}, {41}, {42}})->n, 42);
  EXPECT_EQ(best({{36}, {37}, {38}})->n, 38);
  EXPECT_EQ(best({{37}, {38}, {39}})->n, 38);  // Slurm 23.02: v0.0.39 cannot do it in bulk
  EXPECT_EQ(best({{39}, {40}})->n, 40);
  EXPECT_EQ(best({{44}, {45}, {46}})->n, 45);
  EXPECT_FALSE(best({{39}}));
  EXPECT_FALSE(best({}));
}

TEST(AssociationItem, KeepsWhatItDoesNotChange) {
  // slurmrestd takes TRES away that are not named, sets inherited QOS when there is no list, and
  // leaves numbers alone that are absent.
  const Settings held = {{Setting::kGrpTres, "cpu=4,gres/gpu=2"},
                         {Setting::kMaxTresPerJob, "mem=5"},
                         {Setting::kMaxJobs, "9"},
                         {Setting::kQos, "high"}};
  const json::object item = association_item("lab", {"a", "u"}, held,
                                             {{Setting::kMaxTresPerJob, "mem=5", ""},
                                              {Setting::kPriority, "", "3"},
                                              {Setting::kMaxSubmitJobs, "1", ""}});
  EXPECT_EQ(
      json::canonical(json::value(item)),
      R"({"account":"a","cluster":"lab","max":{"jobs":{"total":{"infinite":true,"set":true}},)"
      R"("tres":{"total":[{"count":4,"type":"cpu"},{"count":2,"name":"gpu","type":"gres"}]}},)"
      R"("priority":{"infinite":false,"number":3,"set":true},"qos":[],"user":"u"})");
  const json::object named = association_item("lab", {"a", ""}, {},
                                              {{Setting::kQos, "", "high,normal"},
                                               {Setting::kDefaultQos, "high", ""},
                                               {Setting::kFairshare, "5", "parent"}});
  EXPECT_EQ(json::canonical(json::value(named)),
            R"({"account":"a","cluster":"lab","default":{"qos":""},"qos":["high","normal"],)"
            R"("shares_raw":2147483647,"user":""})");
}

Held some_cluster() {
  Held held;
  held.accounts["root"] = {};
  held.accounts["a"] = {.description = "D",
                        .organization = "o",
                        .parent = "root",
                        .settings = {{Setting::kMaxJobs, "5"}},
                        .coordinators = {"u"}};
  held.users["u"] = {.default_account = "a"};
  held.associations[{"a", "u"}] = {{Setting::kMaxSubmitJobs, "0"}};
  return held;
}

TEST(Missing, SeesWhatIsNotDone) {
  const Held held = some_cluster();
  struct Row {
    Step step;
    std::string_view seen;  // empty: it is done
  };
  const Row rows[] = {
      {{.act = Act::kStopNewJobs,
        .account = "a",
        .user = "u",
        .changes = {{Setting::kMaxSubmitJobs, "", "0"}}},
       ""},
      {{.act = Act::kSetAssociation,
        .account = "a",
        .user = "u",
        .changes = {{Setting::kMaxJobs, "", "3"}}},
       "MaxJobs is not set"},
      {{.act = Act::kAddAssociation, .account = "a", .user = "x"}, "no such association"},
      {{.act = Act::kAddUser, .account = "a", .user = "u"}, ""},
      {{.act = Act::kSetDefaultAccount, .user = "u", .to = "b"}, "default account is a"},
      {{.act = Act::kRemoveAssociation, .account = "a", .user = "u"}, "still there"},
      {{.act = Act::kRemoveAssociation, .account = "b", .user = "u"}, ""},
      {{.act = Act::kRemoveAccount, .account = "a"}, "still there"},
      {{.act = Act::kRemoveAccount, .account = "b"}, ""},
      {{.act = Act::kAddAccount,
        .account = "a",
        .to = "root",
        .changes = {{Setting::kMaxJobs, "", "5"}},
        .organization = "O"},
       ""},
      {{.act = Act::kAddAccount, .account = "a", .to = "b", .organization = "o"}, "parent is root"},
      {{.act = Act::kAddAccount, .account = "a", .to = "root", .organization = "x"},
       "organization is o"},
      {{.act = Act::kMoveAccount, .account = "a", .to = "b"}, "parent is root"},
      {{.act = Act::kDescribeAccount, .account = "a", .to = "d"}, ""},
      {{.act = Act::kAddCoordinator, .account = "a", .user = "u"}, ""},
      {{.act = Act::kRemoveCoordinator, .account = "a", .user = "u"}, "still coordinates"},
      {{.act = Act::kRaiseAdminLevel, .user = "u", .to = "Operator"}, "admin level is None"},
      {{.act = Act::kLowerAdminLevel, .user = "gone", .to = "None"}, ""},
  };
  for (const Row& row : rows) {
    const std::string what = missing(row.step, held);
    if (row.seen.empty()) EXPECT_EQ(what, "") << sentence(row.step);
    EXPECT_THAT(what, HasSubstr(row.seen)) << sentence(row.step);
  }
}

TEST(Merge, ReplacesWhatWasAskedForOnly) {
  Held held = some_cluster();
  held.users["v"] = {.default_account = "a"};
  held.associations[{"a", "v"}] = {};
  // The user has left the account; the other's is not in the answer, as it was not asked for.
  merge({{.account = "b", .user = "u", .is_default = true}}, {.users = {"u"}}, held);
  EXPECT_FALSE(held.associations.contains({"a", "u"}));
  EXPECT_TRUE(held.associations.contains({"b", "u"}));
  EXPECT_TRUE(held.associations.contains({"a", "v"}));
  EXPECT_EQ(held.users.at("u").default_account, "b");
  EXPECT_EQ(held.users.at("v").default_account, "a");
  EXPECT_EQ(held.accounts.at("a").parent, "root");
  merge({}, {.accounts = {"a"}}, held);
  EXPECT_EQ(held.accounts.at("a").parent, "");
  EXPECT_FALSE(held.associations.contains({"a", "v"}));
  EXPECT_TRUE(held.associations.contains({"b", "u"}));
}

/// What a call for many does when some are refused.
class Halving : public testing::Test {
 protected:
  Halving() : steps_(64, Step{.act = Act::kAddUser}) {}

  Work send(const std::set<std::size_t>& bad, Error error) {
    Work work(steps_);
    work.send(work.of({Act::kAddUser}), 64, [&](const Work::Group& group) -> Result<void> {
      ++calls_;
      for (const std::size_t i : group) {
        if (bad.contains(i)) return std::unexpected(error);
      }
      done_ += group.size();
      return {};
    });
    return work;
  }

  std::vector<Step> steps_;
  std::size_t calls_ = 0;
  std::size_t done_ = 0;
};

TEST_F(Halving, FindsTheCulpritAndDoesTheOthers) {
  const Work work = send({17}, {Code::kInternal, "bad", {}});
  EXPECT_EQ(done_, 63U);
  EXPECT_EQ(calls_, 13U);
  for (std::size_t i = 0; i < 64; ++i) EXPECT_EQ(work.errors[i].has_value(), i == 17);
}

TEST_F(Halving, IsBounded) {
  std::set<std::size_t> all;
  for (std::size_t i = 0; i < 64; ++i) all.insert(i);
  steps_.resize(5000, Step{.act = Act::kAddUser});
  for (std::size_t i = 64; i < 5000; ++i) all.insert(i);
  const Work work = send(all, {Code::kInternal, "bad", {}});
  EXPECT_LT(calls_, 300U);
  for (const auto& error : work.errors) EXPECT_TRUE(error);
}

TEST_F(Halving, EndsWhenADaemonIsGone) {
  steps_.resize(128, Step{.act = Act::kAddUser});
  const Work work = send({70}, {Code::kUnavailable, "slurmdbd: down", {}});
  EXPECT_EQ(calls_, 2U);
  EXPECT_EQ(done_, 64U);
  EXPECT_TRUE(work.stopped);
  EXPECT_FALSE(work.errors[0]);
  EXPECT_TRUE(work.errors[127]);
}

}  // namespace
}  // namespace roster::slurm
