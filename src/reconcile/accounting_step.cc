#include <algorithm>
#include <utility>

#include "reconcile/accounting.h"

namespace roster::reconcile::accounting {
namespace {

struct Row {
  Act act;
  std::string_view name;
  bool irreversible;
  bool claims;
};

constexpr Row kRows[] = {
    {Act::kStopNewJobs, "stop new jobs", false, true},
    {Act::kRemoveCoordinator, "remove coordinator", false, false},
    {Act::kLowerAdminLevel, "lower admin level", false, false},
    {Act::kHoldJobs, "hold jobs", false, true},
    {Act::kCancelJobs, "cancel jobs", true, false},
    {Act::kRemoveAssociation, "remove association", true, false},
    {Act::kRemoveAccount, "remove account", true, false},
    {Act::kAdoptAccount, "adopt account", false, true},
    {Act::kAdoptUser, "adopt user", false, true},
    {Act::kAdoptAssociation, "adopt association", false, true},
    {Act::kAddAccount, "add account", false, true},
    {Act::kMoveAccount, "move account", false, false},
    {Act::kDescribeAccount, "describe account", false, true},
    {Act::kSetAccount, "set account", false, true},
    {Act::kSetAssociation, "set association", false, true},
    {Act::kAddUser, "add user", false, true},
    {Act::kAddAssociation, "add association", false, true},
    {Act::kSetDefaultAccount, "set default account", false, true},
    {Act::kAddCoordinator, "add coordinator", false, true},
    {Act::kRaiseAdminLevel, "raise admin level", false, true},
    {Act::kReleaseJobs, "release jobs", false, false},
    {Act::kCureUser, "cure user", false, false},
};

const Row& row_of(Act act) {
  const auto* const found = std::ranges::find(kRows, act, &Row::act);
  CHECK(found != std::end(kRows));
  return *found;
}

std::string shown(const std::string& value) { return value.empty() ? "none" : value; }

std::string list_of(const std::vector<Change>& changes, bool from_nothing) {
  std::string out;
  for (const Change& each : changes) {
    out += out.empty() ? "" : ", ";
    out += name_of(each.setting);
    if (from_nothing) {
      out += "=" + each.to;
    } else {
      out += " " + shown(each.from) + " -> " + shown(each.to);
    }
  }
  return out;
}

std::string with_settings(std::string text, const Step& step) {
  const std::string settings = list_of(step.changes, true);
  return settings.empty() ? text : text + ", " + settings;
}

std::string jobs_of(const Step& step) {
  constexpr std::size_t kShownMax = 10;
  std::string out = step.jobs.size() == 1 ? "job" : std::to_string(step.jobs.size()) + " jobs";
  for (std::size_t i = 0; i < std::min(step.jobs.size(), kShownMax); ++i) {
    out += (i == 0 ? " " : ", ") + std::to_string(step.jobs[i]);
  }
  return step.jobs.size() > kShownMax ? out + ", ..." : out;
}

AdminLevel level_named(std::string_view name) {
  if (name == name_of(AdminLevel::kAdministrator)) return AdminLevel::kAdministrator;
  return name == name_of(AdminLevel::kOperator) ? AdminLevel::kOperator : AdminLevel::kNone;
}

void record_settings(std::set<Setting>& settings, const std::vector<Change>& changes) {
  // What is taken back stays ours until it is seen to be gone.
  for (const Change& each : changes) {
    if (each.to != default_of(each.setting)) settings.insert(each.setting);
  }
}

bool sets(const Step& step, Setting setting) {
  return std::ranges::find(step.changes, setting, &Change::setting) != step.changes.end();
}

/// New jobs that were stopped are let in again.
bool is_lift(const Step& step) {
  return std::ranges::any_of(step.changes, [](const Change& each) {
    return each.setting == Setting::kMaxSubmitJobs && each.from == "0";
  });
}

std::string sentence_of(const Step& step) {
  const std::string account = "account " + step.account;
  const std::string user = "user " + step.user;
  const std::string both = user + " in account " + step.account;
  switch (step.act) {
    case Act::kStopNewJobs:
      return both + ": no new jobs";
    case Act::kRemoveCoordinator:
      return account + ": coordinator " + step.user + " removed";
    case Act::kLowerAdminLevel:
    case Act::kRaiseAdminLevel:
      return user + ": admin level " + step.from + " -> " + step.to;
    case Act::kHoldJobs:
      return both + ": " + jobs_of(step) + " held";
    case Act::kCancelJobs:
      return both + ": " + jobs_of(step) + " cancelled";
    case Act::kReleaseJobs:
      return both + ": " + jobs_of(step) + " released";
    case Act::kRemoveAssociation:
      return both + ": association removed";
    case Act::kRemoveAccount:
      return account + (step.elsewhere ? ": removed from this cluster" : ": removed");
    case Act::kAdoptAccount:
      return account + ": adopted, organization " + shown(step.from) + " -> " + step.to;
    case Act::kAdoptUser:
      return user + ": adopted";
    case Act::kAdoptAssociation:
      return both + ": association adopted";
    case Act::kAddAccount:
      return with_settings(
          account + (step.elsewhere ? ": added to this cluster" : ": added") + " below " + step.to,
          step);
    case Act::kMoveAccount:
      return account + ": parent " + step.from + " -> " + step.to;
    case Act::kDescribeAccount:
      return account + ": description " + shown(step.from) + " -> " + step.to;
    case Act::kSetAccount:
      return account + ": " + list_of(step.changes, false);
    case Act::kSetAssociation:
      return both + ": " + list_of(step.changes, false);
    case Act::kAddUser:
      return with_settings(user + ": added with account " + step.account + " as the default", step);
    case Act::kAddAssociation:
      return with_settings(both + ": association added", step);
    case Act::kSetDefaultAccount:
      return user + ": default account " + shown(step.from) + " -> " + step.to;
    case Act::kAddCoordinator:
      return account + ": coordinator " + step.user + " added";
    case Act::kCureUser:
      return user + ": slurmctld is made to resolve the name";
  }
  CHECK(false);
}

}  // namespace

std::string_view name_of(Act act) { return row_of(act).name; }
bool is_irreversible(Act act) { return row_of(act).irreversible; }
bool claims(Act act) { return row_of(act).claims; }

std::string sentence(const Step& step) {
  return step.why.empty() ? sentence_of(step) : sentence_of(step) + " (" + step.why + ")";
}

std::size_t Plan::steps() const {
  std::size_t sum = 0;
  for (const Stage& stage : stages) sum += stage.steps.size();
  return sum;
}

void record(Owned& owned, const Step& step) {
  const AssociationId id{step.account, step.user};
  switch (step.act) {
    case Act::kStopNewJobs:
    case Act::kHoldJobs: {
      OwnedAssociation& association = owned.associations[id];
      if (!association.leaving_since) association.leaving_since = step.at;
      record_settings(association.settings, step.changes);
      if (!step.jobs.empty()) {
        owned.users[step.user].held_jobs.insert(step.jobs.begin(), step.jobs.end());
      }
      return;
    }
    case Act::kReleaseJobs:
      for (const std::uint32_t job : step.jobs) owned.users[step.user].held_jobs.erase(job);
      return;
    case Act::kAddCoordinator:
      owned.accounts[step.account].coordinators.insert(step.user);
      return;
    case Act::kRemoveCoordinator:
      owned.accounts[step.account].coordinators.erase(step.user);
      return;
    case Act::kRaiseAdminLevel: {
      OwnedUser& user = owned.users[step.user];
      if (!user.admin_before) user.admin_before = level_named(step.from);
      return;
    }
    case Act::kLowerAdminLevel: {
      OwnedUser& user = owned.users[step.user];
      if (user.admin_before == level_named(step.to)) user.admin_before.reset();
      return;
    }
    case Act::kRemoveAssociation:
      owned.associations.erase(id);
      return;
    case Act::kRemoveAccount:
      owned.accounts.erase(step.account);
      return;
    case Act::kAddAccount:
      if (!step.elsewhere) owned.accounts[step.account].described = true;
      record_settings(owned.accounts[step.account].settings, step.changes);
      return;
    case Act::kDescribeAccount:
      owned.accounts[step.account].described = true;
      return;
    case Act::kAdoptAccount:
    case Act::kSetAccount:
      record_settings(owned.accounts[step.account].settings, step.changes);
      return;
    case Act::kAddUser:
      owned.users[step.user].default_account = true;
      record_settings(owned.associations[id].settings, step.changes);
      return;
    case Act::kAdoptAssociation:
    case Act::kAddAssociation:
    case Act::kSetAssociation:
      record_settings(owned.associations[id].settings, step.changes);
      return;
    case Act::kAdoptUser:
    case Act::kSetDefaultAccount:
      owned.users[step.user].default_account = true;
      return;
    case Act::kCancelJobs:
    case Act::kMoveAccount:
    case Act::kCureUser:
      return;
  }
  CHECK(false);
}

void FailedSteps::add(const Step& step) {
  const AssociationId id{step.account, step.user};
  const auto not_empty = [this](std::string account) {
    // Bounded: an account that is there already has its ancestors there, too.
    while (not_empty_.insert(account).second) {
      const auto parent = plan_.parents.find(account);
      if (parent == plan_.parents.end()) return;
      account = parent->second;
    }
  };
  switch (step.act) {
    case Act::kMoveAccount:
      not_empty(step.from);
      accounts_.insert(step.account);
      return;
    case Act::kAdoptAccount:
    case Act::kAddAccount:
    case Act::kSetAccount:
      accounts_.insert(step.account);
      return;
    case Act::kAddUser:
      users_.insert(step.user);
      missing_.insert(id);
      return;
    case Act::kAdoptAssociation:
    case Act::kAddAssociation:
      missing_.insert(id);
      return;
    case Act::kRemoveCoordinator:
    case Act::kLowerAdminLevel:
      not_stripped_.insert(step.user);
      return;
    case Act::kSetDefaultAccount:
      defaults_.insert({step.from, step.user});
      return;
    case Act::kCancelJobs:
      with_jobs_.insert(id);
      return;
    case Act::kRemoveAssociation:
    case Act::kRemoveAccount:
      not_empty(step.account);
      not_left_.insert(step.user);
      return;
    case Act::kStopNewJobs:
    case Act::kHoldJobs:
    case Act::kAdoptUser:
    case Act::kDescribeAccount:
    case Act::kSetAssociation:
    case Act::kAddCoordinator:
    case Act::kRaiseAdminLevel:
    case Act::kReleaseJobs:
    case Act::kCureUser:
      return;
  }
  CHECK(false);
}

bool FailedSteps::is_below_failed(std::string account) const {
  // Bounded, though nobody should give parents in a circle.
  for (std::size_t i = 0; i <= plan_.parents.size(); ++i) {
    if (accounts_.contains(account)) return true;
    const auto parent = plan_.parents.find(account);
    if (parent == plan_.parents.end()) return false;
    account = parent->second;
  }
  return false;
}

std::string_view FailedSteps::forbids(const Step& step) const {
  constexpr std::string_view kAccount =
      "left out: the account, or one above it, could not be made as it shall be";
  constexpr std::string_view kUser = "left out: the user could not be added";
  constexpr std::string_view kRole =
      "left out: a role that is over could not be taken from the user";
  const AssociationId id{step.account, step.user};
  switch (step.act) {
    case Act::kAddAccount:
    case Act::kMoveAccount:
    case Act::kDescribeAccount:
    case Act::kSetAccount:
    case Act::kAdoptAssociation:
      return is_below_failed(step.account) ? kAccount : "";
    case Act::kAddUser:
    case Act::kAddAssociation:
      if (is_below_failed(step.account)) return kAccount;
      if (users_.contains(step.user)) return kUser;
      return not_stripped_.contains(step.user) ? kRole : "";
    case Act::kSetAssociation:
      if (missing_.contains(id)) return "left out: the association could not be adopted";
      if (!is_lift(step) && !sets(step, Setting::kDefaultQos)) return "";
      if (is_below_failed(step.account)) return kAccount;
      return not_stripped_.contains(step.user) ? kRole : "";
    case Act::kSetDefaultAccount:
      if (users_.contains(step.user)) return kUser;
      return missing_.contains({step.to, step.user})
                 ? "left out: the association of that account could not be added"
                 : "";
    case Act::kRemoveAssociation:
      if (with_jobs_.contains(id)) return "left out: its jobs could not be cancelled";
      if (defaults_.contains(id)) return "left out: it is still the default account";
      if (!step.from.empty() && not_left_.contains(step.user)) {
        return "left out: it is the default account, and another association is still there";
      }
      return "";
    case Act::kRemoveAccount:
      return not_empty_.contains(step.account) ? "left out: something in it is still there" : "";
    case Act::kAddCoordinator:
      if (is_below_failed(step.account)) return kAccount;
      return users_.contains(step.user) ? kUser : "";
    case Act::kRaiseAdminLevel:
      return users_.contains(step.user) ? kUser : "";
    case Act::kStopNewJobs:
    case Act::kRemoveCoordinator:
    case Act::kLowerAdminLevel:
    case Act::kHoldJobs:
    case Act::kCancelJobs:
    case Act::kAdoptAccount:
    case Act::kAdoptUser:
    case Act::kReleaseJobs:
    case Act::kCureUser:
      return "";
  }
  CHECK(false);
}

}  // namespace roster::reconcile::accounting
