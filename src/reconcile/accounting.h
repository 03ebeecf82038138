#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "reconcile/accounting_state.h"
#include "reconcile/directory.h"

/// From what a cluster's accounting has to what it shall have: a pure function.
namespace roster::reconcile::accounting {

enum class Act {
  // What takes away.
  kStopNewJobs,        // account, user; changes: MaxSubmitJobs
  kRemoveCoordinator,  // account, user
  kLowerAdminLevel,    // user; from, to
  kHoldJobs,           // account, user, jobs
  kCancelJobs,         // account, user, jobs; irreversible
  kRemoveAssociation,  // account, user; from: the default account, when it is that; irreversible
  kRemoveAccount,      // account; from: the parent; irreversible
  // What changes or gives.
  kAdoptAccount,       // account; from, to: the organization field
  kAdoptUser,          // user; nothing is sent
  kAdoptAssociation,   // account, user; nothing is sent
  kAddAccount,         // account; to: the parent; description, organization; changes
  kMoveAccount,        // account; from, to: the parent
  kDescribeAccount,    // account; from, to
  kSetAccount,         // account; changes
  kSetAssociation,     // account, user; changes
  kAddUser,            // user with the first association in this cluster; account: the default one
  kAddAssociation,     // account, user; changes
  kSetDefaultAccount,  // user; from, to
  kAddCoordinator,     // account, user
  kRaiseAdminLevel,    // user; from, to
  kReleaseJobs,        // account, user, jobs
  kCureUser,           // user: make slurmctld resolve the name again
};
/// "stop new jobs", "add account", ...
std::string_view name_of(Act act);
/// Nothing brings back what it takes: a fuse may hold it.
bool is_irreversible(Act act);
/// It makes something ours: written into Owned (`record`) before it is sent, so that nothing we
/// made is ever taken for somebody else's. All others are written down when they have succeeded.
/// What was written down and did not happen is left out again by the next plan (`Plan::owned`).
bool claims(Act act);

struct Change {
  Setting setting{};
  std::string from;  // default_of(setting): nothing is set
  std::string to;
  bool operator==(const Change&) const = default;
};

struct Step {
  Act act{};
  std::string account = {};
  std::string user = {};
  std::string from = {};
  std::string to = {};
  std::vector<Change> changes = {};      // of what is added: all settings, from nothing
  std::vector<std::uint32_t> jobs = {};  // ids
  std::string description = {};          // kAddAccount
  std::string organization = {};         // kAddAccount
  /// kAddAccount, kAddUser: slurmdbd has the row already, only this cluster lacks it.
  /// kRemoveAccount: another cluster uses it, only this one's association goes.
  bool elsewhere = false;
  /// The moment of the plan: since when somebody is on their way out.
  Timestamp at = {};
  std::string why = {};  // of what takes away: "locked", "left the group", ...
  bool operator==(const Step&) const = default;
};

/// "account physics: GrpTRES gres/gpu=8 -> gres/gpu=16"
std::string sentence(const Step& step);

/// Steps that do not depend on each other. A stage begins when the one before it is over.
struct Stage {
  std::vector<Step> steps;
};

struct Counts {
  std::size_t accounts = 0;      // of the rules
  std::size_t people = 0;        // who shall be Slurm users
  std::size_t associations = 0;  // that they shall have
  std::size_t ours = 0;          // associations of ours that the cluster has
  std::size_t waiting = 0;       // people to whom nothing is given before all machines know them
  std::size_t waiting_for_jobs = 0;  // associations that are removed when their jobs are over
  std::size_t held = 0;              // irreversible steps that were left out
};

/// What leads from what the cluster has to what it shall have.
///
/// Any part of the plan from its beginning leaves a safe state: whoever can submit jobs to an
/// account, coordinates one or has an admin level could before or shall. What is taken from the
/// locked comes first.
struct Plan {
  std::vector<Stage> stages;
  std::vector<Problem> problems;
  Counts counts;
  /// What is ours as the plan begins: without what is not there any more.
  Owned owned;
  /// The parent that each account of the plan shall have: for FailedSteps.
  std::map<std::string, std::string> parents;

  std::size_t steps() const;
};

struct Options {
  Timestamp now = {};
  /// Foreign ones that become ours, by name: an account with the associations in it that the rules
  /// want, too; a user with the default account and the associations that the rules want.
  std::set<std::string> adopt_accounts = {};
  std::set<std::string> adopt_users = {};
  /// Irreversible steps are left out and counted; new jobs are stopped instead.
  bool hold_irreversible = false;
  /// When at least `shrink_min` and more than `shrink_percent_max` of our associations would be
  /// taken away from people who are not locked, the plan is refused unless `accept_shrink`: the
  /// source or the rules are more likely broken than so much over at once.
  std::size_t shrink_min = 10;
  std::size_t shrink_percent_max = 20;
  bool accept_shrink = false;
  /// What our other clusters at the same slurmdbd own, merged: accounts, coordinators and admin
  /// levels are shared with them.
  Owned elsewhere = {};
};

/// kFailedPrecondition when nobody is desired, or when the plan shrinks the cluster suspiciously;
/// the sentence has the numbers.
Result<Plan> plan(const Desired& desired, const Held& held, const Owned& owned,
                  const Options& options);

/// Brings the record up to a step: see `claims`.
void record(Owned& owned, const Step& step);

/// What of a plan failed, and what must therefore not be done any more, so that a plan in which any
/// step fails leaves a safe state as well. What is forbidden counts as failed: add it, too.
class FailedSteps {
 public:
  /// `plan` must outlive this.
  explicit FailedSteps(const Plan& plan) : plan_(plan) {}
  void add(const Step& step);
  /// Why `step` must be left out, as a sentence; empty: it may be done.
  std::string_view forbids(const Step& step) const;

 private:
  bool is_below_failed(std::string account) const;

  const Plan& plan_;
  std::set<std::string> accounts_;      // not made or not as they shall be
  std::set<std::string> users_;         // not made
  std::set<std::string> not_stripped_;  // users who keep a role that is over
  std::set<std::string> not_left_;      // users who keep an association that is over
  std::set<AssociationId> missing_;     // not made, or not ours
  std::set<AssociationId> defaults_;    // that could not be made one of many
  std::set<AssociationId> with_jobs_;   // whose jobs could not be cancelled
  std::set<std::string> not_empty_;     // accounts in or below which something could not be removed
};

}  // namespace roster::reconcile::accounting
