#include <algorithm>
#include <utility>

#include "base/unicode.h"
#include "slurm/accounting_session.h"

namespace roster::slurm {
namespace {

using accounting::Act;
using accounting::Held;
using accounting::Job;
using accounting::Settings;
using accounting::Step;

std::string is_instead(std::string_view what, std::string_view value) {
  return std::string(what) + " is " + (value.empty() ? "not set" : printable(value));
}

std::string missing_settings(const Step& step, const Settings& held) {
  for (const accounting::Change& each : step.changes) {
    const std::string_view value = accounting::value_of(held, each.setting);
    if (value != each.to) return is_instead(accounting::name_of(each.setting), value);
  }
  return {};
}

std::string missing_association(const Step& step, const Held& held) {
  const auto found = held.associations.find({step.account, step.user});
  if (found == held.associations.end()) return "there is no such association";
  return missing_settings(step, found->second);
}

std::string missing_default(const Step& step, std::string_view account, const Held& held) {
  const auto user = held.users.find(step.user);
  if (user == held.users.end()) return "there is no such user";
  const std::string& now = user->second.default_account;
  return now == account ? "" : is_instead("the default account", now);
}

std::string missing_level(const Step& step, const Held& held) {
  const auto user = held.users.find(step.user);
  const auto level =
      user == held.users.end() ? accounting::AdminLevel::kNone : user->second.admin_level;
  return accounting::name_of(level) == step.to
             ? ""
             : is_instead("the admin level", accounting::name_of(level));
}

std::string missing_jobs(const Step& step, const Held& held) {
  for (const Job& job : held.jobs) {
    if (std::ranges::find(step.jobs, job.id) == step.jobs.end()) continue;
    const std::string name = "job " + std::to_string(job.id);
    if (step.act == Act::kCancelJobs) return name + " has not ended yet";
    if (step.act == Act::kHoldJobs && job.state == Job::State::kPending)
      return name + " is not held";
    if (step.act == Act::kReleaseJobs && job.state == Job::State::kHeld) return name + " is held";
  }
  return {};
}

/// Of steps on an account that must be there.
std::string missing_of_account(const Step& step, const Held& held) {
  const auto found = held.accounts.find(step.account);
  if (found == held.accounts.end()) return "there is no such account";
  const accounting::HeldAccount& account = found->second;
  switch (step.act) {
    case Act::kAdoptAccount:
      return ascii_iequals(account.organization, step.to)
                 ? ""
                 : is_instead("the organization", account.organization);
    case Act::kDescribeAccount:
      return ascii_iequals(account.description, step.to)
                 ? ""
                 : is_instead("the description", account.description);
    case Act::kAddCoordinator:
      return account.coordinators.contains(step.user) ? "" : "the user does not coordinate it";
    case Act::kAddAccount:
      if (!step.elsewhere && !ascii_iequals(account.organization, step.organization)) {
        return is_instead("the organization", account.organization);
      }
      [[fallthrough]];
    case Act::kMoveAccount:
      if (account.parent != step.to) return is_instead("the parent", account.parent);
      [[fallthrough]];
    default:
      return missing_settings(step, account.settings);
  }
}

std::string missing_removal(const Step& step, const Held& held) {
  const auto account = held.accounts.find(step.account);
  switch (step.act) {
    case Act::kRemoveCoordinator:
      return account != held.accounts.end() && account->second.coordinators.contains(step.user)
                 ? "the user still coordinates it"
                 : "";
    case Act::kRemoveAccount:
      if (account == held.accounts.end()) return {};
      return step.elsewhere && account->second.parent.empty() ? "" : "the account is still there";
    default:
      return held.associations.contains({step.account, step.user}) ? "it is still there" : "";
  }
}

}  // namespace

std::string missing(const Step& step, const Held& held) {
  switch (step.act) {
    case Act::kAdoptUser:
    case Act::kAdoptAssociation:
      return {};
    case Act::kStopNewJobs:
    case Act::kSetAssociation:
    case Act::kAddAssociation:
      return missing_association(step, held);
    case Act::kAddUser: {
      std::string what = missing_association(step, held);
      return what.empty() ? missing_default(step, step.account, held) : what;
    }
    case Act::kSetDefaultAccount:
      return missing_default(step, step.to, held);
    case Act::kLowerAdminLevel:
    case Act::kRaiseAdminLevel:
      return missing_level(step, held);
    case Act::kHoldJobs:
    case Act::kCancelJobs:
    case Act::kReleaseJobs:
      return missing_jobs(step, held);
    case Act::kRemoveCoordinator:
    case Act::kRemoveAssociation:
    case Act::kRemoveAccount:
      return missing_removal(step, held);
    case Act::kAdoptAccount:
    case Act::kAddAccount:
    case Act::kMoveAccount:
    case Act::kDescribeAccount:
    case Act::kSetAccount:
    case Act::kAddCoordinator:
      return missing_of_account(step, held);
    case Act::kCureUser: {
      const auto user = held.users.find(step.user);
      const bool broken =
          user != held.users.end() && user->second.uid == accounting::kUnresolvedUid;
      return broken ? "slurmctld still does not resolve the name" : "";
    }
  }
  CHECK(false);
}

}  // namespace roster::slurm
