#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "reconcile/accounting.h"

/// For tests: slurmdbd, slurmctld and what one Roster remembers of them.
namespace roster::reconcile::accounting::testing {

/// As strict as the strictest Slurm: names in lower case, parents and users that exist, no account
/// below itself, a default QOS among those allowed, error 7001 (jobs are active) and error 7009
/// (the default account of a user who has others).
struct Slurm {
  Held state;
  Owned owned;
  std::map<std::string, std::uint32_t> passwd;  // what names resolve to on the controller
  std::size_t sent = 0;

  bool is_account(const std::string& name) const {
    if (name == kRootAccount) return true;
    const auto found = state.accounts.find(name);
    return found != state.accounts.end() && !found->second.parent.empty();
  }

  bool is_below(std::string name, const std::string& above) const {
    for (; name != kRootAccount; name = state.accounts.at(name).parent) {
      if (name == above) return true;
    }
    return false;
  }

  bool may_default(const Settings& settings, std::string account) const {
    const std::string wanted(value_of(settings, Setting::kDefaultQos));
    if (wanted.empty()) return true;
    std::string list(value_of(settings, Setting::kQos));
    for (; list.empty() && account != kRootAccount; account = state.accounts.at(account).parent) {
      list = value_of(state.accounts.at(account).settings, Setting::kQos);
    }
    return list.empty() || ("," + list + ",").find("," + wanted + ",") != std::string::npos;
  }

  static void change(Settings& settings, const std::vector<Change>& changes) {
    for (const Change& each : changes) {
      EXPECT_EQ(value_of(settings, each.setting), each.from) << name_of(each.setting);
      EXPECT_NE(each.from, each.to);
      EXPECT_TRUE(each.to.empty() || canonical(each.setting, each.to) == each.to);
      if (each.to == default_of(each.setting)) {
        settings.erase(each.setting);
      } else {
        settings[each.setting] = each.to;
      }
    }
  }

  bool set(Settings& settings, const Step& step, const std::string& account) const {
    Settings next = settings;
    change(next, step.changes);
    const bool sets_default = std::ranges::any_of(
        step.changes, [](const Change& each) { return each.setting == Setting::kDefaultQos; });
    if (sets_default && !may_default(next, account)) return false;
    settings = std::move(next);
    return true;
  }

  std::vector<AssociationId> of_user(const std::string& user) const {
    std::vector<AssociationId> out;
    for (const auto& [id, settings] : state.associations) {
      if (id.user == user) out.push_back(id);
    }
    return out;
  }

  bool has_jobs(const AssociationId& id) const {
    return std::ranges::any_of(state.jobs, [&](const Job& job) {
      return job.account == id.account && job.user == id.user;
    });
  }

  bool add(const Step& step) {
    const AssociationId id{step.account, step.user};
    if (!is_account(step.account) || state.associations.contains(id)) return false;
    Settings settings;
    if (!set(settings, step, step.account)) return false;
    if (step.act == Act::kAddUser) {
      EXPECT_EQ(state.users.contains(step.user), step.elsewhere);
      EXPECT_TRUE(of_user(step.user).empty());
    } else if (!state.users.contains(step.user)) {
      return false;
    }
    HeldUser& user = state.users[step.user];
    if (step.act == Act::kAddUser || user.default_account.empty()) {
      user.default_account = step.account;
    }
    if (!user.uid) {
      const auto found = passwd.find(step.user);
      user.uid = found == passwd.end() ? kUnresolvedUid : found->second;
    }
    state.associations[id] = std::move(settings);
    return true;
  }

  bool add_account(const Step& step) {
    if (!is_account(step.to) || is_account(step.account)) return false;
    EXPECT_EQ(state.accounts.contains(step.account), step.elsewhere);
    Settings settings;
    if (!set(settings, step, step.to)) return false;
    HeldAccount& account = state.accounts[step.account];
    if (!step.elsewhere) {
      account.description = step.description;
      account.organization = step.organization;
    }
    account.parent = step.to;
    account.settings = std::move(settings);
    return true;
  }

  bool remove(const Step& step) {
    const AssociationId id{step.account, step.user};
    EXPECT_TRUE(state.associations.contains(id));
    if (has_jobs(id)) return false;  // 7001
    HeldUser& user = state.users.at(step.user);
    const auto all = of_user(step.user);
    const bool is_default = user.default_account == step.account;
    EXPECT_EQ(is_default, !step.from.empty());
    const bool others = std::ranges::any_of(
        all, [&](const AssociationId& each) { return each.account != step.account; });
    if (is_default && others) return false;  // 7009
    state.associations.erase(id);
    if (of_user(step.user).empty()) user.default_account.clear();
    return true;
  }

  bool remove_account(const Step& step) {
    for (const auto& [id, settings] : state.associations) {
      if (id.account == step.account) return false;
    }
    for (const auto& [name, account] : state.accounts) {
      if (account.parent == step.account) return false;
    }
    HeldAccount& account = state.accounts.at(step.account);
    EXPECT_EQ(account.parent, step.from);
    if (!step.elsewhere) {
      EXPECT_FALSE(account.elsewhere);
      state.accounts.erase(step.account);
      return true;
    }
    account.parent.clear();
    account.settings.clear();
    return true;
  }

  bool touch_jobs(const Step& step) {
    EXPECT_FALSE(step.jobs.empty());
    for (const std::uint32_t id : step.jobs) {
      const auto job = std::ranges::find(state.jobs, id, &Job::id);
      EXPECT_NE(job, state.jobs.end());
      EXPECT_EQ(job->user, step.user);
      EXPECT_EQ(job->account, step.account);
      if (step.act == Act::kCancelJobs) {
        state.jobs.erase(job);
        continue;
      }
      const bool holds = step.act == Act::kHoldJobs;
      EXPECT_EQ(job->state, holds ? Job::State::kPending : Job::State::kHeld);
      job->state = holds ? Job::State::kHeld : Job::State::kPending;
    }
    return true;
  }

  bool change_role(const Step& step) {
    if (!state.users.contains(step.user)) return false;
    if (step.act == Act::kAddCoordinator || step.act == Act::kRemoveCoordinator) {
      if (!state.accounts.contains(step.account)) return false;
      std::set<std::string>& all = state.accounts.at(step.account).coordinators;
      if (step.act == Act::kAddCoordinator) return all.insert(step.user).second;
      return all.erase(step.user) == 1;
    }
    AdminLevel& level = state.users.at(step.user).admin_level;
    EXPECT_EQ(name_of(level), step.from);
    for (const AdminLevel each :
         {AdminLevel::kNone, AdminLevel::kOperator, AdminLevel::kAdministrator}) {
      if (name_of(each) != step.to) continue;
      EXPECT_EQ(each > level, step.act == Act::kRaiseAdminLevel);
      level = each;
      return true;
    }
    return false;
  }

  /// What Slurm does; false: it refuses, and nothing is done.
  bool carry_out(const Step& step) {
    const AssociationId id{step.account, step.user};
    switch (step.act) {
      case Act::kStopNewJobs:
      case Act::kSetAssociation:
        return set(state.associations.at(id), step, step.account);
      case Act::kSetAccount:
        return set(state.accounts.at(step.account).settings, step,
                   state.accounts.at(step.account).parent);
      case Act::kRemoveCoordinator:
      case Act::kAddCoordinator:
      case Act::kLowerAdminLevel:
      case Act::kRaiseAdminLevel:
        return change_role(step);
      case Act::kHoldJobs:
      case Act::kCancelJobs:
      case Act::kReleaseJobs:
        return touch_jobs(step);
      case Act::kRemoveAssociation:
        return remove(step);
      case Act::kRemoveAccount:
        return remove_account(step);
      case Act::kAdoptAccount:
        EXPECT_EQ(state.accounts.at(step.account).organization, step.from);
        state.accounts.at(step.account).organization = step.to;
        return true;
      case Act::kAdoptUser:
        EXPECT_TRUE(state.users.contains(step.user));
        return true;
      case Act::kAdoptAssociation:
        EXPECT_TRUE(state.associations.contains(id));
        return true;
      case Act::kAddAccount:
        return add_account(step);
      case Act::kMoveAccount:
        if (!is_account(step.to) || is_below(step.to, step.account)) return false;
        EXPECT_EQ(state.accounts.at(step.account).parent, step.from);
        state.accounts.at(step.account).parent = step.to;
        return true;
      case Act::kDescribeAccount:
        EXPECT_EQ(state.accounts.at(step.account).description, step.from);
        state.accounts.at(step.account).description = step.to;
        return true;
      case Act::kAddUser:
      case Act::kAddAssociation:
        return add(step);
      case Act::kSetDefaultAccount: {
        EXPECT_EQ(state.users.at(step.user).default_account, step.from);
        const auto all = of_user(step.user);
        if (std::ranges::find(all, step.to, &AssociationId::account) == all.end()) return false;
        state.users.at(step.user).default_account = step.to;
        return true;
      }
      case Act::kCureUser:
        EXPECT_EQ(state.users.at(step.user).uid, kUnresolvedUid);
        state.users.at(step.user).uid = passwd.at(step.user);
        return true;
    }
    CHECK(false);
  }

  /// What becomes of a request.
  enum class Fate { kArrives, kIsLost, kAnswerIsLost };

  /// Writes down and carries out, as a writer must. Whether it knows that it is done.
  bool apply(const Step& step, Fate fate = Fate::kArrives) {
    ++sent;
    EXPECT_FALSE(sentence(step).empty());
    if (claims(step.act)) record(owned, step);
    if (fate == Fate::kIsLost || !carry_out(step) || fate == Fate::kAnswerIsLost) return false;
    if (!claims(step.act)) record(owned, step);
    return true;
  }

  /// Who may do what: what must never be more than before or after.
  std::set<std::string> rights() const {
    std::set<std::string> facts;
    for (const auto& [id, settings] : state.associations) {
      if (value_of(settings, Setting::kMaxSubmitJobs) == "0") continue;
      facts.insert(id.user + " submits to " + id.account + " " + id.partition);
    }
    for (const auto& [name, account] : state.accounts) {
      for (const std::string& user : account.coordinators) {
        facts.insert(user + " coordinates " + name);
      }
    }
    for (const auto& [name, user] : state.users) {
      if (user.admin_level >= AdminLevel::kOperator) facts.insert(name + " operates");
      if (user.admin_level == AdminLevel::kAdministrator) facts.insert(name + " administers");
    }
    return facts;
  }
};

}  // namespace roster::reconcile::accounting::testing
