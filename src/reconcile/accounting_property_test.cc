#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <functional>
#include <numeric>
#include <random>

#include "reconcile/accounting.h"
#include "reconcile/testing/slurm_model.h"

namespace roster::reconcile::accounting {
namespace {

using std::chrono::hours;
using testing::Slurm;

constexpr int kAccounts = 6;
constexpr int kUsers = 7;
constexpr std::uint32_t kStranger = 500;  // a uid that is nobody's of the directory
constexpr std::string_view kMark = "roster:acme";
const Timestamp kStart = from_millis(1'800'000'000'000);

class Random {
 public:
  explicit Random(unsigned seed) : engine_(seed) {}
  int below(int n) { return std::uniform_int_distribution<int>(0, n - 1)(engine_); }
  bool chance(int percent) { return below(100) < percent; }
  template <typename Map>
  auto pick(Map& map) {
    return std::next(map.begin(), below(static_cast<int>(map.size())));
  }

 private:
  std::mt19937 engine_;
};

std::string account_name(int i) { return "a" + std::to_string(i); }
std::string user_name(int i) { return "u" + std::to_string(i); }
std::uint32_t uid_of(int i) { return 20000U + static_cast<std::uint32_t>(i); }

/// `inherited`: the QOS allowed above; nothing when all are.
Settings random_settings(Random& random, const std::string& inherited) {
  Settings out;
  if (random.chance(30)) out[Setting::kFairshare] = std::to_string(random.below(4));
  if (random.chance(10)) out[Setting::kFairshare] = "parent";
  if (random.chance(30)) out[Setting::kQos] = random.chance(50) ? "normal" : "high,normal";
  const auto own = out.find(Setting::kQos);
  const std::string& allowed = own == out.end() ? inherited : own->second;
  if (!allowed.empty() && random.chance(50)) {
    out[Setting::kDefaultQos] = allowed == "normal" || random.chance(50) ? "normal" : "high";
  }
  if (random.chance(40)) out[Setting::kGrpTres] = "gres/gpu=" + std::to_string(random.below(3));
  if (random.chance(20)) out[Setting::kMaxSubmitJobs] = std::to_string(10 + random.below(3));
  return out;
}

Ending random_ending(Random& random) {
  return {.new_jobs = random.chance(50) ? Ending::NewJobs::kStop : Ending::NewJobs::kRemove,
          .jobs = static_cast<Ending::Jobs>(random.below(3)),
          .grace = hours(random.below(3))};
}

Desired random_desired(Random& random) {
  Desired out{.marker = std::string(kMark),
              .locked = random_ending(random),
              .left = random_ending(random),
              .remove_orphans = random.chance(50)};
  std::map<std::string, std::string> qos;  // allowed in each account
  // Trees of all shapes: the names say nothing about who is above whom.
  std::array<int, kAccounts> order{};
  std::iota(order.begin(), order.end(), 0);
  for (int i = kAccounts - 1; i > 0; --i) {
    std::swap(order.at(static_cast<std::size_t>(i)),
              order.at(static_cast<std::size_t>(random.below(i + 1))));
  }
  for (const int i : order) {
    if (random.chance(25)) continue;
    DesiredAccount account;
    if (!out.accounts.empty() && random.chance(60))
      account.parent = random.pick(out.accounts)->first;
    account.settings = random_settings(random, qos[account.parent]);
    const auto own = account.settings.find(Setting::kQos);
    qos[account_name(i)] = own == account.settings.end() ? qos[account.parent] : own->second;
    if (random.chance(50)) account.description = "d" + std::to_string(random.below(2));
    for (int u = 0; u < kUsers; ++u) {
      if (random.chance(15)) account.coordinators.insert(user_name(u));
    }
    out.accounts[account_name(i)] = std::move(account);
  }
  for (int i = 0; i < kUsers; ++i) {
    if (i > 0 && random.chance(10)) continue;
    DesiredUser user{.uid = uid_of(i), .locked = random.chance(20), .ready = random.chance(85)};
    if (user.locked && random.chance(70)) user.locked_since = kStart - hours(random.below(4));
    for (const auto& [name, account] : out.accounts) {
      if (random.chance(40)) {
        const auto at =
            user.memberships.begin() + random.below(static_cast<int>(user.memberships.size()) + 1);
        user.memberships.insert(at, {name, random_settings(random, qos[name])});
      }
    }
    if (random.chance(15)) user.admin_level = static_cast<AdminLevel>(1 + random.below(2));
    out.users[user_name(i)] = std::move(user);
  }
  return out;
}

Slurm random_empty_slurm(Random& random) {
  Slurm slurm;
  slurm.state.accounts["root"] = {
      .description = "default root account", .organization = "root", .parent = "", .settings = {}};
  for (int i = 0; i < kUsers; ++i) {
    // A name that does not resolve, and one that is somebody else's.
    if (random.chance(10)) continue;
    slurm.passwd[user_name(i)] = random.chance(3) ? kStranger : uid_of(i);
  }
  return slurm;
}

/// What people do by hand with sacctmgr, and jobs.
void meddle(Slurm& slurm, Random& random) {
  Held& state = slurm.state;
  for (int n = random.below(8); n > 0; --n) {
    const std::string account = account_name(random.below(kAccounts));
    const std::string user = user_name(random.below(kUsers));
    const AssociationId id{account, user, random.chance(15) ? "gpu" : ""};
    switch (random.below(9)) {
      case 0:
        if (slurm.is_account(account)) break;
        state.accounts[account] = {"by hand",
                                   random.chance(20) ? std::string(kMark) : "physics",
                                   "root",
                                   {{Setting::kMaxJobs, "7"}}};
        break;
      case 1:
        if (slurm.is_account(account) && !state.associations.contains(id)) {
          state.associations[id] = {};
          HeldUser& row = state.users[user];
          if (row.default_account.empty()) row.default_account = account;
          const auto found = slurm.passwd.find(user);
          row.uid = found == slurm.passwd.end() ? kUnresolvedUid : found->second;
        }
        break;
      case 2:
        if (state.associations.contains(id)) {
          state.associations[id][random.chance(50) ? Setting::kMaxJobs : Setting::kGrpTres] =
              random.chance(50) ? "7" : "gres/gpu=1";
        }
        break;
      case 3:
        if (state.users.contains(user) && state.accounts.contains(account)) {
          state.accounts[account].coordinators.insert(user);
        }
        break;
      case 4:
        if (state.users.contains(user)) {
          state.users[user].admin_level = static_cast<AdminLevel>(random.below(3));
        }
        break;
      case 5:
        if (state.associations.contains(id)) {
          state.jobs.push_back(
              {static_cast<std::uint32_t>(1000 + slurm.sent * 10 + state.jobs.size()), user,
               account, static_cast<Job::State>(random.below(3))});
        }
        break;
      case 6: {
        if (state.accounts.contains(account)) {
          state.accounts[account].elsewhere = random.chance(30);
        }
        if (state.jobs.size() > 1 && random.chance(50)) state.jobs.erase(state.jobs.begin());
        const auto all = slurm.of_user(user);
        if (!all.empty() && state.users.contains(user)) {
          state.users[user].default_account = all[0].account;
        }
        break;
      }
      case 7:
        if (state.associations.contains(id) && !slurm.has_jobs(id) &&
            state.users.at(user).default_account != account) {
          state.associations.erase(id);
        }
        break;
      default:
        if (slurm.passwd.contains(user) && state.users.contains(user)) {
          state.users[user].uid = slurm.passwd[user];
        }
    }
  }
}

Options random_options(Random& random) {
  Options options{.now = kStart, .accept_shrink = true};
  options.hold_irreversible = random.chance(20);
  for (int i = 0; i < kAccounts; ++i) {
    if (random.chance(15)) options.adopt_accounts.insert(account_name(i));
  }
  for (int i = 0; i < kUsers; ++i) {
    if (random.chance(15)) options.adopt_users.insert(user_name(i));
  }
  return options;
}

Plan plan_for(const Slurm& slurm, const Desired& desired, const Options& options) {
  auto made = plan(desired, slurm.state, slurm.owned, options);
  CHECK(made.has_value());
  return std::move(*made);
}

/// In some order: they do not depend on each other.
std::vector<Step> shuffled(const Stage& stage) {
  std::vector<Step> steps = stage.steps;
  std::shuffle(steps.begin(), steps.end(),
               std::mt19937(static_cast<std::mt19937::result_type>(steps.size())));
  return steps;
}

/// As a writer carries it out.
void carry_out(Slurm& slurm, const Plan& plan, const std::function<Slurm::Fate()>& fate,
               const std::function<void(const Step&)>& after) {
  slurm.owned = plan.owned;
  FailedSteps failed(plan);
  for (const Stage& stage : plan.stages) {
    EXPECT_FALSE(stage.steps.empty());
    for (const Step& step : shuffled(stage)) {
      if (!failed.forbids(step).empty() || !slurm.apply(step, fate())) failed.add(step);
      after(step);
    }
  }
}

Slurm::Fate random_fate(Random& random, int percent) {
  if (!random.chance(percent)) return Slurm::Fate::kArrives;
  return random.chance(50) ? Slurm::Fate::kIsLost : Slurm::Fate::kAnswerIsLost;
}

void carry_out_all(Slurm& slurm, const Plan& plan) {
  slurm.owned = plan.owned;
  for (const Stage& stage : plan.stages) {
    for (const Step& step : shuffled(stage)) {
      EXPECT_TRUE(slurm.apply(step)) << sentence(step) << " was refused";
    }
  }
}

/// An account stays below one that its rules do not mean: QOS may be allowed differently there.
bool is_tangled(const Plan& made) {
  return std::ranges::any_of(made.problems, [](const Problem& each) {
    return each.sentence.find("left where it is") != std::string::npos;
  });
}

std::vector<std::string> sentences(const Plan& plan) {
  std::vector<std::string> out;
  for (const Stage& stage : plan.stages) {
    for (const Step& step : stage.steps) out.push_back(sentence(step));
  }
  return out;
}

/// A name that resolves nowhere cannot be cured: the planner is only told ready people.
void tell_the_truth(const Slurm& slurm, Desired& desired) {
  for (auto& [name, user] : desired.users) {
    if (!slurm.passwd.contains(name)) user.ready = false;
  }
}

Slurm random_slurm(Random& random) {
  Slurm slurm = random_empty_slurm(random);
  meddle(slurm, random);
  for (int i = random.below(4); i > 0; --i) {
    Options options = random_options(random);
    Desired desired = random_desired(random);
    tell_the_truth(slurm, desired);
    const int failing = random.chance(30) ? 20 : 0;
    const Plan first = plan_for(slurm, desired, options);
    carry_out(slurm, first, [&] { return random_fate(random, failing); }, [](const Step&) {});
    meddle(slurm, random);
  }
  return slurm;
}

bool is_subset(const std::set<std::string>& some, const std::set<std::string>& a,
               const std::set<std::string>& b) {
  return std::ranges::all_of(
      some, [&](const std::string& each) { return a.contains(each) || b.contains(each); });
}

/// What is not ours and is not adopted, as text.
std::set<std::string> foreign_things(const Slurm& slurm, const Owned& owned,
                                     const Options& options) {
  std::set<std::string> out;
  const auto text_of = [](const Settings& settings) {
    std::string text;
    for (const auto& [setting, value] : settings) {
      text += " " + std::string(name_of(setting)) + "=" + value;
    }
    return text;
  };
  for (const auto& [name, a] : slurm.state.accounts) {
    const auto mine = owned.accounts.find(name);
    for (const std::string& user : a.coordinators) {
      if (mine == owned.accounts.end() || !mine->second.coordinators.contains(user)) {
        out.insert(user + " coordinates " + name);
      }
    }
    if (options.adopt_accounts.contains(name)) continue;
    const bool ours = mine != owned.accounts.end() && a.organization == kMark;
    if (!ours) {
      out.insert(name + "|" + a.description + "|" + a.organization + "|" + a.parent + "|" +
                 text_of(a.settings));
    }
  }
  for (const auto& [id, settings] : slurm.state.associations) {
    const bool adoptable = id.partition.empty() && (options.adopt_accounts.contains(id.account) ||
                                                    options.adopt_users.contains(id.user));
    if (owned.associations.contains(id) || adoptable) continue;
    out.insert(id.user + " in " + id.account + " " + id.partition + text_of(settings));
  }
  return out;
}

void expect_untouched(const std::set<std::string>& foreign, const Slurm& slurm) {
  const std::set<std::string> now = foreign_things(slurm, {}, {});
  for (const std::string& each : foreign) {
    constexpr std::string_view kCoordinates = " coordinates ";
    const std::size_t at = each.find(kCoordinates);
    const bool in_removed_account =
        at != std::string::npos &&
        !slurm.state.accounts.contains(each.substr(at + kCoordinates.size()));
    EXPECT_TRUE(in_removed_account || now.contains(each)) << each;
  }
}

/// What of the wishes can be seen in the cluster when they came true.
void expect_reached(const Slurm& slurm, const Desired& desired) {
  const auto ours = [&](const std::string& name) {
    return slurm.owned.accounts.contains(name) && slurm.is_account(name) &&
           slurm.state.accounts.at(name).organization == kMark;
  };
  const auto expect_settings = [](const Settings& wanted, const Settings& now) {
    for (const auto& [setting, value] : wanted) EXPECT_EQ(value_of(now, setting), value);
  };
  for (const auto& [name, wanted] : desired.accounts) {
    ASSERT_TRUE(slurm.state.accounts.contains(name) || !slurm.is_account(wanted.parent) ||
                !ours(wanted.parent));
    if (!slurm.state.accounts.contains(name) || !ours(name)) continue;
    const HeldAccount& now = slurm.state.accounts.at(name);
    if (wanted.parent == kRootAccount || ours(wanted.parent)) {
      EXPECT_EQ(now.parent, wanted.parent) << name;
    }
    expect_settings(wanted.settings, now.settings);
  }
  for (const auto& [name, wanted] : desired.users) {
    const auto row = slurm.state.users.find(name);
    const bool strange = row != slurm.state.users.end() && row->second.uid &&
                         *row->second.uid != wanted.uid && *row->second.uid != kUnresolvedUid;
    if (wanted.locked) {
      for (const auto& [account, owned] : slurm.owned.accounts) {
        EXPECT_FALSE(owned.coordinators.contains(name)) << name << " coordinates " << account;
      }
      const auto roles = slurm.owned.users.find(name);
      EXPECT_TRUE(roles == slurm.owned.users.end() || !roles->second.admin_before) << name;
      for (const auto& [id, owned] : slurm.owned.associations) {
        if (id.user != name || !slurm.state.associations.contains(id)) continue;
        EXPECT_EQ(value_of(slurm.state.associations.at(id), Setting::kMaxSubmitJobs), "0");
      }
      continue;
    }
    if (!wanted.ready || strange) continue;
    for (const Membership& each : wanted.memberships) {
      const bool usable = slurm.is_account(each.account) && ours(each.account);
      const AssociationId id{each.account, name};
      if (!usable) continue;
      ASSERT_TRUE(slurm.state.associations.contains(id)) << name << " in " << each.account;
      if (!slurm.owned.associations.contains(id)) continue;
      expect_settings(each.settings, slurm.state.associations.at(id));
    }
    if (row == slurm.state.users.end()) continue;
    EXPECT_GE(row->second.admin_level, wanted.admin_level);
    EXPECT_NE(row->second.uid == kUnresolvedUid && slurm.passwd.contains(name) &&
                  std::ranges::any_of(slurm.owned.associations,
                                      [&](const auto& entry) { return entry.first.user == name; }),
              true);
  }
}

class AccountingProperties : public ::testing::TestWithParam<unsigned> {};

constexpr unsigned kRounds = 40;  // of each seed

TEST_P(AccountingProperties, APlanLeadsThereAndIsThenEmpty) {
  for (unsigned i = 0; i < kRounds; ++i) {
    SCOPED_TRACE(i);
    Random random(GetParam() * 10000 + i);
    Slurm slurm = random_slurm(random);
    Desired desired = random_desired(random);
    tell_the_truth(slurm, desired);
    const Options options = random_options(random);
    const std::set<std::string> foreign = foreign_things(slurm, slurm.owned, options);
    const Plan first = plan_for(slurm, desired, options);
    if (is_tangled(first)) continue;
    carry_out_all(slurm, first);
    expect_reached(slurm, desired);
    const Plan second = plan_for(slurm, desired, options);
    EXPECT_THAT(sentences(second), ::testing::IsEmpty());
    slurm.owned = second.owned;  // without what was taken back
    EXPECT_EQ(plan_for(slurm, desired, options).owned, second.owned);
    expect_untouched(foreign, slurm);
    if (HasFailure()) return;
  }
}

TEST_P(AccountingProperties, NobodyEverMayMoreThanBeforeOrAfter) {
  for (unsigned i = 0; i < kRounds; ++i) {
    SCOPED_TRACE(i);
    Random random(GetParam() * 10000 + i);
    Slurm slurm = random_slurm(random);
    Desired desired = random_desired(random);
    tell_the_truth(slurm, desired);
    const Options options = random_options(random);
    const Plan first = plan_for(slurm, desired, options);
    if (is_tangled(first)) continue;
    const std::set<std::string> before = slurm.rights();
    Slurm goal = slurm;
    carry_out_all(goal, first);
    const std::set<std::string> after = goal.rights();
    for (const auto& [name, user] : desired.users) {
      if (!user.locked) continue;
      for (const std::string& right : after) {
        EXPECT_TRUE(!right.starts_with(name + " ") || before.contains(right)) << right;
      }
    }
    carry_out(
        slurm, first, [] { return Slurm::Fate::kArrives; },
        [&](const Step& step) {
          EXPECT_TRUE(is_subset(slurm.rights(), before, after)) << sentence(step);
        });
    if (HasFailure()) return;
  }
}

TEST_P(AccountingProperties, WhateverFailsNobodyMayMoreAndTheNextPlanConverges) {
  for (unsigned i = 0; i < kRounds; ++i) {
    SCOPED_TRACE(i);
    Random random(GetParam() * 10000 + i);
    Slurm slurm = random_slurm(random);
    Desired desired = random_desired(random);
    tell_the_truth(slurm, desired);
    const Options options = random_options(random);
    const Plan first = plan_for(slurm, desired, options);
    if (is_tangled(first)) continue;
    const std::set<std::string> before = slurm.rights();
    Slurm goal = slurm;
    carry_out_all(goal, first);
    const std::set<std::string> foreign = foreign_things(slurm, slurm.owned, options);
    // Now and then, or all from some moment on: the process was killed.
    const int percent = random.chance(50) ? 15 : 0;
    int left = percent > 0 ? 1 << 20 : random.below(12);
    carry_out(
        slurm, first,
        [&] { return --left < 0 ? Slurm::Fate::kIsLost : random_fate(random, percent); },
        [&](const Step& step) {
          EXPECT_TRUE(is_subset(slurm.rights(), before, goal.rights())) << sentence(step);
        });
    const Plan again = plan_for(slurm, desired, options);
    carry_out_all(slurm, again);
    expect_reached(slurm, desired);
    // Whose name turned out to be somebody else's meanwhile gets nothing any more.
    const bool all_known = std::ranges::none_of(
        slurm.passwd, [](const auto& entry) { return entry.second == kStranger; });
    EXPECT_TRUE(is_subset(slurm.rights(), goal.rights(), {}));
    if (all_known) {
      EXPECT_EQ(slurm.rights(), goal.rights());
    }
    EXPECT_THAT(sentences(plan_for(slurm, desired, options)), ::testing::IsEmpty());
    expect_untouched(foreign, slurm);
    if (HasFailure()) return;
  }
}

TEST_P(AccountingProperties, WhoComesBackHasWhatTheyHad) {
  for (unsigned i = 0; i < kRounds; ++i) {
    SCOPED_TRACE(i);
    Random random(GetParam() * 10000 + i);
    Slurm slurm = random_slurm(random);
    for (auto& [name, uid] : slurm.passwd) uid = uid_of(name.back() - '0');
    for (auto& [name, user] : slurm.state.users) {
      const auto found = slurm.passwd.find(name);
      user.uid = found == slurm.passwd.end() ? kUnresolvedUid : found->second;
    }
    slurm.state.jobs.clear();
    Desired desired = random_desired(random);
    std::erase_if(desired.users, [&](const auto& e) { return !slurm.passwd.contains(e.first); });
    if (desired.users.empty()) continue;
    for (auto& [name, user] : desired.users) user.ready = true;
    const Options options{.now = kStart, .accept_shrink = true};
    const Plan first = plan_for(slurm, desired, options);
    if (is_tangled(first)) continue;
    carry_out_all(slurm, first);
    const Slurm before = slurm;
    Desired locked = desired;
    for (auto& [name, user] : locked.users) user.locked = user.locked || random.chance(50);
    carry_out_all(slurm, plan_for(slurm, locked, options));
    carry_out_all(slurm, plan_for(slurm, desired, options));
    EXPECT_EQ(slurm.rights(), before.rights());
    for (const auto& [id, settings] : before.state.associations) {
      if (value_of(settings, Setting::kMaxSubmitJobs) == "0") continue;  // over before
      ASSERT_TRUE(slurm.state.associations.contains(id)) << id.user << " in " << id.account;
      // What was set by hand on one that was removed and made again is lost.
      if (locked.locked.new_jobs == Ending::NewJobs::kRemove) continue;
      EXPECT_EQ(slurm.state.associations.at(id), settings) << id.user << " in " << id.account;
    }
    if (HasFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, AccountingProperties, ::testing::Range(0U, 8U));

TEST(AccountingScaleTest, ThousandsOfPeopleArePlannedAtOnce) {
  Desired desired{.marker = std::string(kMark)};
  for (int a = 0; a < 200; ++a) desired.accounts["a" + std::to_string(a)] = {};
  for (int u = 0; u < 5000; ++u) {
    DesiredUser& user = desired.users["u" + std::to_string(u)];
    user.uid = 20000U + static_cast<std::uint32_t>(u);
    for (int m = 0; m < 3; ++m) {
      user.memberships.push_back(
          {"a" + std::to_string((u * 7 + m) % 200), {{Setting::kMaxJobs, "100"}}});
    }
  }
  Slurm slurm;
  for (const auto& [name, user] : desired.users) slurm.passwd[name] = user.uid;
  const auto begin = std::chrono::steady_clock::now();
  const Plan first = plan_for(slurm, desired, {});
  EXPECT_EQ(first.steps(), 200U + 15000U);
  EXPECT_EQ(first.stages.size(), 3U);
  const auto planned = std::chrono::steady_clock::now();
  for (const Stage& stage : first.stages) {
    for (const Step& step : stage.steps) {  // the model, which is made for few, takes seconds
      record(slurm.owned, step);
      if (step.act == Act::kAddAccount) {
        slurm.state.accounts[step.account] = {.organization = step.organization, .parent = step.to};
        continue;
      }
      slurm.state.associations[{step.account, step.user}] = {{Setting::kMaxJobs, "100"}};
      if (step.act != Act::kAddUser) continue;
      slurm.state.users[step.user] = {.default_account = step.account,
                                      .uid = slurm.passwd[step.user]};
    }
  }
  const auto carried_out = std::chrono::steady_clock::now();
  EXPECT_EQ(plan_for(slurm, desired, {}).steps(), 0U);
  const auto planning = (planned - begin) + (std::chrono::steady_clock::now() - carried_out);
  RecordProperty("planning_ms", std::to_string(planning / std::chrono::milliseconds(1)));
  // Sanitizers on a busy machine are some twenty times slower than what is released.
  EXPECT_LT(planning, std::chrono::seconds(10));
}

}  // namespace
}  // namespace roster::reconcile::accounting
