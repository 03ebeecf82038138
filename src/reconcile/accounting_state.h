#pragma once

#include <array>
#include <chrono>
#include <compare>
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

/// What Slurm's accounting knows, what it shall know, and what of it is ours: values only.
namespace roster::reconcile::accounting {

/// What can be set on an association, of an account or of a person, in the names of sacctmgr(1).
enum class Setting {
  kFairshare,   // "10", or "parent"
  kQos,         // "high,normal": sorted
  kDefaultQos,  // "normal"
  kGrpTres,     // "cpu=64,gres/gpu=8,mem=102400": sorted, memory in MiB
  kGrpTresMins,
  kGrpTresRunMins,
  kGrpJobs,
  kGrpJobsAccrue,
  kGrpSubmitJobs,
  kGrpWall,  // minutes
  kMaxTresPerJob,
  kMaxTresPerNode,
  kMaxTresMinsPerJob,
  kMaxJobs,
  kMaxJobsAccrue,
  kMaxSubmitJobs,
  kMaxWallDurationPerJob,  // minutes
  kPriority,
  kMinPrioThreshold,
};
inline constexpr std::size_t kSettings = 19;
/// "GrpTRES", "MaxWallDurationPerJob", ...
std::string_view name_of(Setting setting);
/// By its name in any case, or by the short one that sacctmgr(1) shows: "MaxWall", "GrpSubmit".
/// Nothing when there is none.
std::optional<Setting> setting_named(std::string_view name);

/// Canonical texts (`canonical`); what is not set is absent, and inherited from the account above.
using Settings = std::map<Setting, std::string>;

/// What Slurm gives when nothing is set: "1" of fairshare, else "": none, inherited.
std::string_view default_of(Setting setting);
/// As set, or the default.
std::string_view value_of(const Settings& settings, Setting setting);

/// One form of each value, so that equal ones compare equal: "mem=100G,CPU=4" ->
/// "cpu=4,mem=102400", "1-12" -> "2160", "High,normal" -> "high,normal". kInvalidArgument says what
/// is accepted.
Result<std::string> canonical(Setting setting, std::string_view text);

/// slurmdb's adminlevel, in rising order.
enum class AdminLevel { kNone, kOperator, kAdministrator };
/// "None", "Operator", "Administrator".
std::string_view name_of(AdminLevel level);

/// What slurmctld stores of a user whose name did not resolve when the association was added: it
/// refuses every job of theirs until it is made to look again.
inline constexpr std::uint32_t kUnresolvedUid = 4294967294U;
/// The account above all, which is Slurm's own.
inline constexpr std::string_view kRootAccount = "root";

struct AssociationId {
  std::string account;
  std::string user;
  std::string partition = {};  // of ours always empty
  auto operator<=>(const AssociationId&) const = default;
};

/// An account as slurmdbd has it; the row is shared by all clusters of one slurmdbd.
struct HeldAccount {
  std::string description = {};
  std::string organization = {};
  std::string parent = {};  // in this cluster; empty: the account has no association in it
  Settings settings =
      {};  // of its association in this cluster; set there, not inherited (WOPLimits)
  std::set<std::string> coordinators = {};  // direct ones
  bool elsewhere = false;                   // it has associations in another cluster
};

struct HeldUser {
  std::string default_account = {};  // in this cluster; empty: none
  AdminLevel admin_level = AdminLevel::kNone;
  /// As slurmctld resolved the name (kUnresolvedUid: it could not); nothing: not known.
  std::optional<std::uint32_t> uid = {};
};

struct Job {
  enum class State { kPending, kHeld, kRunning };
  std::uint32_t id = 0;
  std::string user;
  std::string account;
  State state = State::kPending;
};

/// All that one cluster's accounting has, ours or not. Names are in lower case, as slurmdbd keeps
/// them.
struct Held {
  std::map<std::string, HeldAccount> accounts = {};
  std::map<std::string, HeldUser> users = {};
  std::map<AssociationId, Settings> associations = {};  // of users; set there, not inherited
  /// Pending and running ones, at least of everybody who is in Owned.
  std::vector<Job> jobs = {};
  /// Which QOS there are; nothing: not known, all are taken to exist.
  std::optional<std::set<std::string>> qos = {};
  /// AccountingStorageEnforce has "limits"; nothing: not known.
  std::optional<bool> enforces_limits = {};
};

struct DesiredAccount {
  std::string parent{kRootAccount};
  std::optional<std::string> description = {};  // nothing: as it is; of a new one its name
  Settings settings = {};
  std::set<std::string> coordinators = {};  // user names
};

struct Membership {
  std::string account;
  Settings settings = {};
};

/// A person of the directory, member of something or not.
struct DesiredUser {
  std::uint32_t uid = 0;
  /// Deactivated, deleted or past the end of their time.
  bool locked = false;
  std::optional<Timestamp> locked_since = {};
  /// Every machine where Slurm resolves names knows them.
  bool ready = true;
  /// The first that can be had is the default account. Of the locked they count for nothing.
  std::vector<Membership> memberships = {};
  AdminLevel admin_level = AdminLevel::kNone;
};

/// What happens to the associations and jobs of those who shall not have them any more.
struct Ending {
  enum class NewJobs {
    kStop,    // MaxSubmitJobs=0: works where Slurm enforces limits; reversible
    kRemove,  // the association goes when none of their jobs is left in it
  };
  enum class Jobs {
    kKeep,
    kHold,    // those that wait are held
    kCancel,  // those that wait are held, and after the grace time all are cancelled
  };
  NewJobs new_jobs = NewJobs::kStop;
  Jobs jobs = Jobs::kKeep;
  std::chrono::milliseconds grace{0};
};

struct Desired {
  /// The organization field of our accounts: by it and by Owned we know them.
  std::string marker;
  std::map<std::string, DesiredAccount> accounts = {};
  /// Everybody of the directory, by login name: who is missing here has vanished.
  std::map<std::string, DesiredUser> users = {};
  Ending locked = {};  // of those who are locked or have vanished
  Ending left = {};    // of those who left a group
  /// Accounts of ours that the rules do not make any more are removed, with the associations that
  /// are left in them.
  bool remove_orphans = false;
};

struct OwnedAccount {
  std::set<Setting> settings = {};  // that we set
  std::set<std::string> coordinators = {};
  bool described = false;  // we set the description
  bool operator==(const OwnedAccount&) const = default;
};
struct OwnedUser {
  bool default_account = false;                 // we set it
  std::optional<AdminLevel> admin_before = {};  // we set a level; what was there before
  std::set<std::uint32_t> held_jobs = {};       // that we hold
  bool operator==(const OwnedUser&) const = default;
};
struct OwnedAssociation {
  std::set<Setting> settings = {};
  std::optional<Timestamp> leaving_since = {};
  bool operator==(const OwnedAssociation&) const = default;
};

/// Our own record of what we made, adopted or set in one cluster. Nothing else is ever changed.
struct Owned {
  std::map<std::string, OwnedAccount> accounts = {};
  std::map<std::string, OwnedUser> users = {};
  std::map<AssociationId, OwnedAssociation> associations = {};
  bool operator==(const Owned&) const = default;
};

}  // namespace roster::reconcile::accounting
