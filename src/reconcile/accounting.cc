#include "reconcile/accounting.h"

#include <algorithm>
#include <iterator>
#include <unordered_map>
#include <utility>

#include "base/unicode.h"

namespace roster::reconcile::accounting {
namespace {

constexpr std::size_t kNamedMax = 10;  // of many, in one sentence

/// In the order in which they are carried out; what takes away from leavers comes first.
enum class Phase {
  kTake,
  kHold,
  kCancel,
  kLeaverDefaults,
  kLeaverRemove,
  kLeaverRemoveDefaults,
  kAdopt,
  kAdoptAssociations,
  kAccounts,  // by level: parents before children
  kSettings,
  kAddUsers,
  kAddAssociations,
  kDefaultQos,
  kDefaultAccounts,
  kRemove,
  kRemoveDefaults,
  kRemoveAccounts,  // by level: children before parents
  kGive,
};

template <typename Names>
std::string join_some(const Names& names) {
  std::string out;
  std::size_t count = 0;
  for (const auto& name : names) {
    if (++count > kNamedMax) return out + ", ...";
    out += (count == 1 ? "" : ", ") + name;
  }
  return out;
}

template <typename Map, typename Key>
const typename Map::mapped_type* find_in(const Map& map, const Key& key) {
  const auto found = map.find(key);
  return found == map.end() ? nullptr : &found->second;
}

/// As std::erase_if, but `is_gone` may change what stays.
template <typename Map, typename IsGone>
void erase_from(Map& map, const IsGone& is_gone) {
  for (auto at = map.begin(); at != map.end();) {
    at = is_gone(at->first, at->second) ? map.erase(at) : std::next(at);
  }
}

Problem about_account(std::string_view name, std::string sentence) {
  return {"account " + std::string(name), std::move(sentence)};
}
Problem about_user(std::string_view name, std::string sentence) {
  return {"user " + std::string(name), std::move(sentence)};
}

std::vector<std::string> parts_of(std::string_view list) {
  std::vector<std::string> out;
  while (!list.empty()) {
    const std::size_t comma = std::min(list.find(','), list.size());
    out.emplace_back(list.substr(0, comma));
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return out;
}

Change change_of(Setting setting, std::string_view from, std::string_view to) {
  return {setting, std::string(from), std::string(to)};
}

class Planning {
 public:
  Planning(const Desired& desired, const Held& held, const Owned& owned, const Options& options)
      : desired_(desired), held_(held), options_(options) {
    plan_.owned = owned;
  }
  Result<Plan> run();

 private:
  using HeldAssociation = std::pair<const AssociationId, Settings>;

  /// Somebody of the directory, or of whom we have something.
  struct Who {
    const std::string& name;
    const DesiredUser* wanted;  // nullptr: has vanished
    const HeldUser* held;
    bool foreign_uid = false;  // Slurm means somebody else by that name
    bool is_active() const { return wanted != nullptr && !wanted->locked; }
    bool may_gain() const { return is_active() && wanted->ready && !foreign_uid; }
  };
  /// What becomes of somebody's associations in this cluster.
  struct Outcome {
    std::vector<std::string> available = {};  // that they shall have, and do or will
    std::set<std::string> wanted = {};
    std::vector<const Membership*> added = {};
    std::set<std::string> removed = {};
    bool waits = false;
  };

  void index();
  void forget_what_is_gone();
  Result<void> check_whole() const;
  Result<void> check_shrinkage() const;

  bool is_ours(const std::string& name, const HeldAccount& account) const;
  bool is_ours(const std::string& name) const;
  void order_accounts();
  void plan_account(const std::string& name, std::size_t level);
  bool take_or_refuse(const std::string& name, const HeldAccount& held);
  void add_account(const std::string& name, bool exists, std::size_t level);
  void change_account(const std::string& name, const HeldAccount& held, bool parent_usable,
                      std::size_t level);
  bool is_below(std::string account, const std::string& above) const;

  void plan_user(const std::string& name);
  Who who_is(const std::string& name);
  void plan_membership(const Who& who, const Membership& membership, Outcome& outcome);
  void set_association(const Who& who, const HeldAssociation& held, const Membership& membership,
                       Outcome& outcome);
  void add_associations(const Who& who, const Outcome& outcome);
  void leave_associations(const Who& who, Outcome& outcome);
  void leave(const Who& who, const HeldAssociation& association, Outcome& outcome);
  std::string choose_default(const Who& who, const Outcome& outcome);
  void remove_associations(const Who& who, const Outcome& outcome,
                           const std::string& default_account);
  void plan_admin_level(const Who& who, const Outcome& outcome);
  void release_jobs(const Who& who, const Outcome& outcome);
  void report_foreign_power(const Who& who);
  void report_foreign_associations();

  void plan_coordinators(const std::string& account);
  void remove_orphans();
  void report_unknown_qos();
  void report_enforcement();

  bool is_foreign_qos(const Settings& settings, Setting setting, const std::string& subject);
  std::vector<Change> differences(const Settings& wanted, const Settings& held,
                                  const std::set<Setting>& owned, const std::string& subject);
  void put_settings(Phase phase, std::size_t level, Step step);
  void put(Phase phase, Step step, std::size_t level = 0);
  const std::vector<const Job*>& jobs_in(const AssociationId& id) const;
  bool has_partition(const AssociationId& id) const;
  std::string why(const Who& who) const;

  const Desired& desired_;
  const Held& held_;
  const Options& options_;
  Plan plan_;
  std::map<std::pair<Phase, std::size_t>, Stage> stages_;
  std::unordered_map<std::string_view, std::vector<const HeldAssociation*>> held_of_user_;
  std::map<std::pair<std::string_view, std::string_view>, std::vector<const Job*>> jobs_;
  std::set<std::string> usable_;                // accounts that people can be put into
  std::map<std::string, std::size_t> left_in_;  // associations that stay, by account
  std::set<std::string> may_gain_;              // users, with an association or to get one
  std::map<std::string, std::set<std::string>> foreign_;      // account -> people of ours
  std::map<std::string, std::set<std::string>> unknown_qos_;  // -> who shall have it
  std::size_t live_ = 0;       // associations of ours in which jobs may be submitted
  std::size_t vanishing_ = 0;  // of these, from people who are not locked
};

void Planning::put(Phase phase, Step step, std::size_t level) {
  step.at = options_.now;
  stages_[{phase, level}].steps.push_back(std::move(step));
}

/// A default QOS must be among those allowed, here or above, so it comes when these are.
void Planning::put_settings(Phase phase, std::size_t level, Step step) {
  const auto at = std::ranges::find(step.changes, Setting::kDefaultQos, &Change::setting);
  if (at != step.changes.end()) {
    Step later = step;
    later.changes = {*at};
    step.changes.erase(at);
    put(Phase::kDefaultQos, std::move(later));
  }
  if (!step.changes.empty()) put(phase, std::move(step), level);
}

void Planning::index() {
  for (const HeldAssociation& each : held_.associations) {
    held_of_user_[each.first.user].push_back(&each);
    ++left_in_[each.first.account];
  }
  for (const Job& job : held_.jobs) jobs_[{job.account, job.user}].push_back(&job);
  for (const auto& [name, account] : held_.accounts) {
    if (!account.parent.empty()) plan_.parents[name] = account.parent;
  }
}

/// Whatever somebody else may have taken away, or of which we only meant to make it.
void Planning::forget_what_is_gone() {
  const auto forget_settings = [](std::set<Setting>& settings, const Settings& held) {
    std::erase_if(settings, [&](Setting each) { return value_of(held, each) == default_of(each); });
  };
  Owned& owned = plan_.owned;
  erase_from(owned.accounts, [&](const std::string& name, OwnedAccount& account) {
    const HeldAccount* held = find_in(held_.accounts, name);
    if (held == nullptr) return true;
    forget_settings(account.settings, held->settings);
    std::erase_if(account.coordinators,
                  [&](const std::string& user) { return !held->coordinators.contains(user); });
    return false;
  });
  erase_from(owned.associations, [&](const AssociationId& id, OwnedAssociation& association) {
    const Settings* held = find_in(held_.associations, id);
    if (held == nullptr) return true;
    forget_settings(association.settings, *held);
    return false;
  });
  std::set<std::uint32_t> held_jobs;
  for (const Job& job : held_.jobs) {
    if (job.state == Job::State::kHeld) held_jobs.insert(job.id);
  }
  erase_from(owned.users, [&](const std::string& name, OwnedUser& user) {
    const HeldUser* held = find_in(held_.users, name);
    if (held == nullptr) return true;
    std::erase_if(user.held_jobs, [&](std::uint32_t job) { return !held_jobs.contains(job); });
    if (held->default_account.empty()) user.default_account = false;
    if (user.admin_before && held->admin_level <= *user.admin_before) user.admin_before.reset();
    return user == OwnedUser{};
  });
}

Result<void> Planning::check_whole() const {
  if (!desired_.users.empty() ||
      (plan_.owned.associations.empty() && plan_.owned.accounts.empty())) {
    return {};
  }
  return fail(Code::kFailedPrecondition,
              "the directory tells of nobody, and " +
                  std::to_string(plan_.owned.associations.size()) +
                  " associations in the cluster are ours. Nothing was changed");
}

Result<void> Planning::check_shrinkage() const {
  if (options_.accept_shrink || vanishing_ < options_.shrink_min ||
      vanishing_ * 100 <= live_ * options_.shrink_percent_max) {
    return {};
  }
  return fail(Code::kFailedPrecondition,
              std::to_string(vanishing_) + " of " + std::to_string(live_) +
                  " associations would be taken from people who are not locked: are the groups "
                  "whole, and the rules as they are meant? Nothing was changed; if it is meant: "
                  "--accept-shrink");
}

// ---- accounts ----

bool Planning::is_ours(const std::string& name, const HeldAccount& account) const {
  return ascii_iequals(account.organization, desired_.marker) &&
         (plan_.owned.accounts.contains(name) || options_.elsewhere.accounts.contains(name));
}

bool Planning::is_ours(const std::string& name) const {
  if (usable_.contains(name)) return true;
  const HeldAccount* held = find_in(held_.accounts, name);
  return held != nullptr && is_ours(name, *held);
}

/// Parents before children; what hangs on nothing comes last and is refused.
void Planning::order_accounts() {
  std::map<std::string_view, std::vector<const std::string*>> children;
  for (const auto& [name, account] : desired_.accounts) children[account.parent].push_back(&name);
  std::set<std::string_view> placed;
  std::vector<std::string_view> parents{kRootAccount};
  std::size_t level = 0;
  for (; !parents.empty(); ++level) {
    std::vector<std::string_view> next;
    for (const std::string_view parent : parents) {
      for (const std::string* child : children[parent]) {
        if (*child == kRootAccount || !placed.insert(*child).second) continue;
        plan_account(*child, level);
        next.push_back(*child);
      }
    }
    parents = std::move(next);
  }
  for (const auto& [name, account] : desired_.accounts) {
    if (name != kRootAccount && !placed.contains(name)) plan_account(name, level);
  }
  plan_.counts.accounts = desired_.accounts.size();
}

void Planning::plan_account(const std::string& name, std::size_t level) {
  const DesiredAccount& wanted = desired_.accounts.at(name);
  const HeldAccount* held = find_in(held_.accounts, name);
  if (held != nullptr && !take_or_refuse(name, *held)) return;
  const bool parent_usable = wanted.parent == kRootAccount || usable_.contains(wanted.parent);
  const bool here = held != nullptr && !held->parent.empty();
  if (!parent_usable) {
    plan_.problems.push_back(about_account(
        name, "its parent " + wanted.parent + " cannot be used: it is " +
                  (here ? "left where it is" : "not made, nor are associations in it")));
    if (!here) return;
  }
  usable_.insert(name);
  if (!here) {
    add_account(name, held != nullptr, level);
  } else {
    change_account(name, *held, parent_usable, level);
  }
  if (held == nullptr || !wanted.description ||
      ascii_iequals(*wanted.description, held->description)) {
    return;  // sacctmgr(1) keeps descriptions in lower case
  }
  // The row is shared: of several clusters with different rules, one describes it.
  const OwnedAccount* other = find_in(options_.elsewhere.accounts, name);
  if (other != nullptr && other->described) return;
  put(Phase::kAccounts,
      {.act = Act::kDescribeAccount,
       .account = name,
       .from = held->description,
       .to = *wanted.description},
      level);
}

/// Whether an account that is there is ours, or becomes it.
bool Planning::take_or_refuse(const std::string& name, const HeldAccount& held) {
  if (is_ours(name, held)) return true;
  if (options_.adopt_accounts.contains(name)) {
    put(Phase::kAdopt, {.act = Act::kAdoptAccount,
                        .account = name,
                        .from = held.organization,
                        .to = desired_.marker});
    return true;
  }
  const bool marked = ascii_iequals(held.organization, desired_.marker);
  plan_.problems.push_back(about_account(
      name, marked ? "has our mark, but is not in our record: it and its members are left alone; "
                     "if it is ours, adopt it"
                   : "is there and not made by Roster (organization \"" +
                         printable(held.organization) +
                         "\"): it and its members are left alone; adopt it, or give the account "
                         "of the rules another name"));
  return false;
}

void Planning::add_account(const std::string& name, bool exists, std::size_t level) {
  const DesiredAccount& wanted = desired_.accounts.at(name);
  put(Phase::kAccounts,
      {.act = Act::kAddAccount,
       .account = name,
       .to = wanted.parent,
       .changes = differences(wanted.settings, {}, {}, "account " + name),
       .description = wanted.description.value_or(name),
       .organization = desired_.marker,
       .elsewhere = exists},
      level);
  plan_.parents[name] = wanted.parent;
}

void Planning::change_account(const std::string& name, const HeldAccount& held, bool parent_usable,
                              std::size_t level) {
  const DesiredAccount& wanted = desired_.accounts.at(name);
  if (parent_usable && wanted.parent != held.parent) {
    if (is_below(wanted.parent, name)) {
      plan_.problems.push_back(
          about_account(name, "its parent " + wanted.parent + " is below it: left where it is"));
    } else {
      put(Phase::kAccounts,
          {.act = Act::kMoveAccount, .account = name, .from = held.parent, .to = wanted.parent},
          level);
      plan_.parents[name] = wanted.parent;
    }
  }
  const OwnedAccount* owned = find_in(plan_.owned.accounts, name);
  put_settings(Phase::kAccounts, level,
               {.act = Act::kSetAccount,
                .account = name,
                .changes = differences(wanted.settings, held.settings,
                                       owned == nullptr ? std::set<Setting>() : owned->settings,
                                       "account " + name)});
}

bool Planning::is_below(std::string account, const std::string& above) const {
  for (std::size_t i = 0; i <= plan_.parents.size(); ++i) {
    if (account == above) return true;
    const std::string* parent = find_in(plan_.parents, account);
    if (parent == nullptr) return false;
    account = *parent;
  }
  return true;  // a circle: nothing is put into it
}

/// Whether the cluster lacks a QOS that is wanted, so that the setting is left as it is.
bool Planning::is_foreign_qos(const Settings& settings, Setting setting,
                              const std::string& subject) {
  if (!held_.qos) return false;
  bool missing = false;
  for (std::string& name : parts_of(value_of(settings, setting))) {
    if (held_.qos->contains(name)) continue;
    unknown_qos_[std::move(name)].insert(subject);
    missing = true;
  }
  return missing;
}

/// What is wanted and different, and what we once set and nobody wants any more.
std::vector<Change> Planning::differences(const Settings& wanted, const Settings& held,
                                          const std::set<Setting>& owned,
                                          const std::string& subject) {
  const bool no_qos = is_foreign_qos(wanted, Setting::kQos, subject);
  const bool no_default = is_foreign_qos(wanted, Setting::kDefaultQos, subject) || no_qos;
  std::vector<Change> changes;
  for (std::size_t i = 0; i < kSettings; ++i) {
    const auto setting = static_cast<Setting>(i);
    if ((setting == Setting::kQos && no_qos) || (setting == Setting::kDefaultQos && no_default)) {
      continue;
    }
    const bool is_wanted = wanted.contains(setting);
    if (!is_wanted && !owned.contains(setting)) continue;
    const std::string_view to = value_of(wanted, setting);
    const std::string_view from = value_of(held, setting);
    if (from != to) changes.push_back(change_of(setting, from, to));
  }
  return changes;
}

void Planning::report_unknown_qos() {
  for (const auto& [name, subjects] : unknown_qos_) {
    plan_.problems.push_back(
        {"qos " + name,
         "does not exist: create it, or take it out of the rules; what names it "
         "keeps the QOS it has: " +
             join_some(subjects)});
  }
}

// ---- people ----

Planning::Who Planning::who_is(const std::string& name) {
  const DesiredUser* wanted = find_in(desired_.users, name);
  Who who{.name = name, .wanted = wanted, .held = find_in(held_.users, name)};
  if (who.held == nullptr || wanted == nullptr || !who.held->uid ||
      *who.held->uid == kUnresolvedUid || *who.held->uid == wanted->uid) {
    return who;
  }
  who.foreign_uid = true;
  if (who.is_active() && (!wanted->memberships.empty() || held_of_user_.contains(name))) {
    plan_.problems.push_back(about_user(
        name, "is uid " + std::to_string(*who.held->uid) + " for Slurm, and uid " +
                  std::to_string(wanted->uid) +
                  " in the directory: nothing is given to them or adopted; is there a local "
                  "account of that name on a controller?"));
  }
  return who;
}

bool Planning::has_partition(const AssociationId& id) const {
  const auto next = held_.associations.upper_bound(id);  // partitions follow the empty one
  return next != held_.associations.end() && next->first.account == id.account &&
         next->first.user == id.user;
}

std::string Planning::why(const Who& who) const {
  if (who.wanted == nullptr) return "not in the directory";
  return who.wanted->locked ? "locked" : "not in the group any more";
}

const std::vector<const Job*>& Planning::jobs_in(const AssociationId& id) const {
  static const std::vector<const Job*> kNone;
  const auto found = jobs_.find({id.account, id.user});
  return found == jobs_.end() ? kNone : found->second;
}

void Planning::plan_user(const std::string& name) {
  const Who who = who_is(name);
  Outcome outcome;
  if (who.is_active()) {
    for (const Membership& each : who.wanted->memberships) {
      plan_membership(who, each, outcome);
    }
    if (!outcome.wanted.empty()) ++plan_.counts.people;
    plan_.counts.associations += outcome.wanted.size();
    if (outcome.waits) ++plan_.counts.waiting;
  } else {
    report_foreign_power(who);
  }
  leave_associations(who, outcome);
  add_associations(who, outcome);
  remove_associations(who, outcome, choose_default(who, outcome));
  plan_admin_level(who, outcome);
  release_jobs(who, outcome);
  const bool is_user = who.held != nullptr || !outcome.added.empty();
  if (who.may_gain() && is_user) may_gain_.insert(name);
  const bool has_ours =
      !outcome.added.empty() || std::ranges::any_of(outcome.wanted, [&](const std::string& each) {
        return plan_.owned.associations.contains({each, name});
      });
  if (who.may_gain() && has_ours && who.held != nullptr && who.held->uid == kUnresolvedUid) {
    put(Phase::kGive, {.act = Act::kCureUser, .user = name});
  }
}

void Planning::plan_membership(const Who& who, const Membership& membership, Outcome& outcome) {
  if (!usable_.contains(membership.account) || !outcome.wanted.insert(membership.account).second) {
    return;
  }
  const AssociationId id{membership.account, who.name};
  const auto held = held_.associations.find(id);
  if (held == held_.associations.end()) {
    if (!who.may_gain()) {
      outcome.waits = outcome.waits || !who.foreign_uid;
      return;
    }
    outcome.added.push_back(&membership);
    outcome.available.push_back(membership.account);
    return;
  }
  outcome.available.push_back(membership.account);
  if (plan_.owned.associations.contains(id)) {
    set_association(who, *held, membership, outcome);
    return;
  }
  const bool adopts = options_.adopt_accounts.contains(membership.account) ||
                      options_.adopt_users.contains(who.name);
  if (!adopts || who.foreign_uid) {
    foreign_[membership.account].insert(who.name);
    return;
  }
  put(Phase::kAdoptAssociations,
      {.act = Act::kAdoptAssociation, .account = membership.account, .user = who.name});
  set_association(who, *held, membership, outcome);
}

void Planning::set_association(const Who& who, const HeldAssociation& held,
                               const Membership& membership, Outcome& outcome) {
  std::set<Setting> ours;
  if (const auto owned = plan_.owned.associations.find(held.first);
      owned != plan_.owned.associations.end()) {
    owned->second.leaving_since.reset();
    ours = owned->second.settings;
  }
  Step step{.act = Act::kSetAssociation,
            .account = membership.account,
            .user = who.name,
            .changes = differences(membership.settings, held.second, ours, "user " + who.name)};
  if (!who.may_gain()) {
    const auto lifts = std::erase_if(step.changes, [](const Change& each) {
      return each.setting == Setting::kMaxSubmitJobs && each.from == "0";
    });
    outcome.waits = outcome.waits || (lifts > 0 && !who.foreign_uid);
  }
  put_settings(Phase::kSettings, 0, std::move(step));
}

void Planning::add_associations(const Who& who, const Outcome& outcome) {
  bool first = !held_of_user_.contains(who.name);
  for (const Membership* each : outcome.added) {
    put(first ? Phase::kAddUsers : Phase::kAddAssociations,
        {.act = first ? Act::kAddUser : Act::kAddAssociation,
         .account = each->account,
         .user = who.name,
         .changes = differences(each->settings, {}, {}, "user " + who.name),
         .elsewhere = first && who.held != nullptr});
    first = false;
    ++left_in_[each->account];
  }
}

void Planning::leave_associations(const Who& who, Outcome& outcome) {
  const auto found = held_of_user_.find(who.name);
  if (found == held_of_user_.end()) return;
  for (const HeldAssociation* each : found->second) {
    const bool ours = plan_.owned.associations.contains(each->first);
    const bool live = value_of(each->second, Setting::kMaxSubmitJobs) != "0";
    if (ours && live) ++live_;
    if (ours) ++plan_.counts.ours;
    if (!ours || outcome.wanted.contains(each->first.account)) continue;
    // An account that somebody made theirs: only what must not wait is done in it.
    if (who.is_active() && !is_ours(each->first.account)) continue;
    if (live && (who.wanted == nullptr || !who.wanted->locked)) ++vanishing_;
    leave(who, *each, outcome);
  }
}

void Planning::leave(const Who& who, const HeldAssociation& association, Outcome& outcome) {
  const AssociationId& id = association.first;
  const Ending& ending = who.is_active() ? desired_.left : desired_.locked;
  std::optional<Timestamp> since = plan_.owned.associations.at(id).leaving_since;
  if (who.wanted != nullptr && who.wanted->locked && who.wanted->locked_since) {
    since = who.wanted->locked_since;
  }
  const bool over = ending.grace.count() == 0 || (since && options_.now >= *since + ending.grace);
  // Beside one of a partition, which is not ours: whose the jobs are cannot be told, and Slurm has
  // one default account for both. It is stopped, and no more.
  const bool shared = has_partition(id);
  std::vector<std::uint32_t> all;
  std::vector<std::uint32_t> pending;
  for (const Job* job : shared ? std::vector<const Job*>() : jobs_in(id)) {
    all.push_back(job->id);
    if (job->state == Job::State::kPending) pending.push_back(job->id);
  }
  const auto step = [&](Act act) {
    return Step{.act = act, .account = id.account, .user = id.user, .why = why(who)};
  };
  const bool wants_cancel = ending.jobs == Ending::Jobs::kCancel && over && !all.empty();
  const bool cancels = wants_cancel && !options_.hold_irreversible;
  if (wants_cancel && !cancels) ++plan_.counts.held;
  if (ending.jobs != Ending::Jobs::kKeep && !cancels && !pending.empty()) {
    Step hold = step(Act::kHoldJobs);
    hold.jobs = std::move(pending);
    put(Phase::kHold, std::move(hold));
  }
  const bool jobs_left = !all.empty() && !cancels;
  if (cancels) {
    Step cancel = step(Act::kCancelJobs);
    cancel.jobs = std::move(all);
    put(Phase::kCancel, std::move(cancel));
  }
  const bool is_orphan =
      desired_.remove_orphans && !desired_.accounts.contains(id.account) && is_ours(id.account);
  const bool may_remove = !shared && (ending.new_jobs == Ending::NewJobs::kRemove || is_orphan);
  const bool removes = may_remove && !jobs_left && !options_.hold_irreversible;
  if (may_remove && jobs_left) ++plan_.counts.waiting_for_jobs;
  if (may_remove && !jobs_left && !removes) ++plan_.counts.held;
  if (removes) outcome.removed.insert(id.account);
  const std::string_view before = value_of(association.second, Setting::kMaxSubmitJobs);
  if (before != "0" && (!removes || cancels)) {
    Step stop = step(Act::kStopNewJobs);
    stop.changes = {change_of(Setting::kMaxSubmitJobs, before, "0")};
    put(Phase::kTake, std::move(stop));
  }
}

/// A default account whose association goes must not be the default any more, unless it is the last
/// (24.11: error 7009); and who has one that we set gets the first that they can have. Which it is.
std::string Planning::choose_default(const Who& who, const Outcome& outcome) {
  const auto found = held_of_user_.find(who.name);
  if (who.held == nullptr || found == held_of_user_.end()) return "";
  const std::string& now = who.held->default_account;
  std::set<std::string> there;
  std::set<std::string> stay;
  for (const HeldAssociation* each : found->second) {
    there.insert(each->first.account);
    if (!outcome.removed.contains(each->first.account)) stay.insert(each->first.account);
  }
  const bool goes = outcome.removed.contains(now);
  const OwnedUser* owned = find_in(plan_.owned.users, who.name);
  const bool adopts = options_.adopt_users.contains(who.name) && who.may_gain();
  const bool ours = (owned != nullptr && owned->default_account) || !there.contains(now) || adopts;
  if (adopts && (owned == nullptr || !owned->default_account)) {
    put(Phase::kAdopt, {.act = Act::kAdoptUser, .user = who.name});
  }
  std::string to = now;
  if (!outcome.available.empty() && (goes || (ours && !who.foreign_uid))) {
    to = outcome.available.front();
  } else if (goes && !stay.empty()) {
    to = *stay.begin();
  }
  if (to == now) return to;
  put(who.is_active() ? Phase::kDefaultAccounts : Phase::kLeaverDefaults,
      {.act = Act::kSetDefaultAccount, .user = who.name, .from = now, .to = to});
  return to;
}

void Planning::remove_associations(const Who& who, const Outcome& outcome,
                                   const std::string& default_account) {
  const bool leaver = !who.is_active();
  for (const std::string& account : outcome.removed) {
    const bool is_default = default_account == account;
    const Phase phase = is_default
                            ? (leaver ? Phase::kLeaverRemoveDefaults : Phase::kRemoveDefaults)
                            : (leaver ? Phase::kLeaverRemove : Phase::kRemove);
    put(phase, {.act = Act::kRemoveAssociation,
                .account = account,
                .user = who.name,
                .from = is_default ? account : "",
                .why = why(who)});
    --left_in_[account];
  }
}

void Planning::plan_admin_level(const Who& who, const Outcome& outcome) {
  const AdminLevel now = who.held == nullptr ? AdminLevel::kNone : who.held->admin_level;
  const OwnedUser* owned = find_in(plan_.owned.users, who.name);
  const std::optional<AdminLevel> before =
      owned == nullptr ? std::optional<AdminLevel>() : owned->admin_before;
  AdminLevel to = who.is_active() ? who.wanted->admin_level : AdminLevel::kNone;
  const auto step = [&](Act act) {
    return Step{.act = act,
                .user = who.name,
                .from = std::string(name_of(now)),
                .to = std::string(name_of(to))};
  };
  if (to > now) {
    const bool is_user = who.held != nullptr || !outcome.added.empty();
    if (who.may_gain() && is_user) put(Phase::kGive, step(Act::kRaiseAdminLevel));
    return;
  }
  if (!before) return;
  to = std::max(to, *before);
  const OwnedUser* other = find_in(options_.elsewhere.users, who.name);
  const bool wanted_elsewhere = other != nullptr && other->admin_before && who.is_active();
  if (to < now && !wanted_elsewhere) put(Phase::kTake, step(Act::kLowerAdminLevel));
}

void Planning::release_jobs(const Who& who, const Outcome& outcome) {
  const OwnedUser* owned = find_in(plan_.owned.users, who.name);
  if (owned == nullptr || owned->held_jobs.empty() || !who.may_gain()) return;
  for (const std::string& account : outcome.wanted) {
    Step step{.act = Act::kReleaseJobs, .account = account, .user = who.name};
    for (const Job* job : jobs_in({account, who.name})) {
      if (job->state == Job::State::kHeld && owned->held_jobs.contains(job->id)) {
        step.jobs.push_back(job->id);
      }
    }
    if (!step.jobs.empty()) put(Phase::kGive, std::move(step));
  }
}

/// What others gave to somebody who is locked: it is left alone, and somebody should look.
void Planning::report_foreign_power(const Who& who) {
  if (who.wanted == nullptr) return;
  std::vector<std::string> what;
  if (const auto found = held_of_user_.find(who.name); found != held_of_user_.end()) {
    for (const HeldAssociation* each : found->second) {
      const bool stopped = value_of(each->second, Setting::kMaxSubmitJobs) == "0";
      if (stopped || plan_.owned.associations.contains(each->first)) continue;
      what.push_back("an association in account " + each->first.account +
                     (each->first.partition.empty() ? "" : ", partition " + each->first.partition));
    }
  }
  if (who.held != nullptr && who.held->admin_level != AdminLevel::kNone) {
    const OwnedUser* owned = find_in(plan_.owned.users, who.name);
    const AdminLevel stays =
        owned == nullptr || !owned->admin_before ? who.held->admin_level : *owned->admin_before;
    if (stays != AdminLevel::kNone) what.push_back("admin level " + std::string(name_of(stays)));
  }
  if (what.empty()) return;
  plan_.problems.push_back(about_user(who.name, "is locked, and keeps what Roster did not give: " +
                                                    join_some(what) + "; take it away by hand"));
}

void Planning::report_foreign_associations() {
  for (const auto& [account, users] : foreign_) {
    plan_.problems.push_back(about_account(
        account, "associations in it that Roster did not make are left as they are: " +
                     join_some(users) + "; adopt the users or the account to have them managed"));
  }
}

// ---- what is shared by many people ----

void Planning::plan_coordinators(const std::string& account) {
  const HeldAccount* held = find_in(held_.accounts, account);
  const DesiredAccount* wanted =
      usable_.contains(account) ? find_in(desired_.accounts, account) : nullptr;
  const OwnedAccount* owned = find_in(plan_.owned.accounts, account);
  const OwnedAccount* other = find_in(options_.elsewhere.accounts, account);
  const std::set<std::string> none;
  const std::set<std::string>& now = held == nullptr ? none : held->coordinators;
  std::vector<std::string> locked;
  for (const std::string& user : now) {
    const DesiredUser* person = find_in(desired_.users, user);
    const bool ours = owned != nullptr && owned->coordinators.contains(user);
    if (person != nullptr && person->locked && !ours) locked.push_back(user);
    if (!ours) continue;
    const bool active = person != nullptr && !person->locked;
    const bool stays = wanted != nullptr ? wanted->coordinators.contains(user) : !is_ours(account);
    const bool wanted_elsewhere = other != nullptr && other->coordinators.contains(user);
    if (active && (stays || wanted_elsewhere)) continue;
    put(Phase::kTake, {.act = Act::kRemoveCoordinator, .account = account, .user = user});
  }
  if (!locked.empty()) {
    plan_.problems.push_back(
        about_account(account,
                      "is coordinated by people who are locked, and whom Roster did not "
                      "appoint; take it from them by hand: " +
                          join_some(locked)));
  }
  if (wanted == nullptr) return;
  for (const std::string& user : wanted->coordinators) {
    if (now.contains(user) || !may_gain_.contains(user)) continue;
    put(Phase::kGive, {.act = Act::kAddCoordinator, .account = account, .user = user});
  }
}

/// Children first, and only what is empty then.
void Planning::remove_orphans() {
  std::map<std::string, std::size_t> children;
  for (const auto& [name, parent] : plan_.parents) ++children[parent];
  std::vector<std::pair<std::size_t, const std::string*>> orphans;
  for (const auto& [name, owned] : plan_.owned.accounts) {
    const HeldAccount* held = find_in(held_.accounts, name);
    if (held == nullptr || held->parent.empty() || name == kRootAccount ||
        desired_.accounts.contains(name) || !is_ours(name, *held)) {
      continue;
    }
    std::size_t depth = 0;
    for (const std::string* at = &name; at != nullptr && depth <= plan_.parents.size(); ++depth) {
      at = find_in(plan_.parents, *at);
    }
    orphans.emplace_back(depth, &name);
  }
  std::ranges::sort(orphans, [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first > b.first : *a.second < *b.second;
  });
  std::size_t level = 0;
  for (std::size_t i = 0; i < orphans.size(); ++i) {
    if (i > 0 && orphans[i].first != orphans[i - 1].first) ++level;
    const std::string& name = *orphans[i].second;
    if (options_.hold_irreversible) {
      ++plan_.counts.held;
      continue;
    }
    if (left_in_[name] > 0 || children[name] > 0) {
      plan_.problems.push_back(about_account(
          name,
          "is not made by the rules any more, and stays while there are associations or "
          "accounts in it"));
      continue;
    }
    const bool elsewhere =
        held_.accounts.at(name).elsewhere || options_.elsewhere.accounts.contains(name);
    const std::string parent = plan_.parents.at(name);
    put(Phase::kRemoveAccounts,
        {.act = Act::kRemoveAccount, .account = name, .from = parent, .elsewhere = elsewhere},
        level);
    --children[parent];
  }
}

/// A stop that does not stop anybody.
void Planning::report_enforcement() {
  const bool stops = desired_.locked.new_jobs == Ending::NewJobs::kStop ||
                     desired_.left.new_jobs == Ending::NewJobs::kStop;
  if (!stops || held_.enforces_limits.value_or(true)) return;
  plan_.problems.push_back(
      {"cluster",
       "does not enforce limits, so MaxSubmitJobs=0 stops no new jobs: add \"limits\" to "
       "AccountingStorageEnforce in slurm.conf and restart slurmctld, or take "
       "new_jobs = \"remove\""});
}

Result<Plan> Planning::run() {
  forget_what_is_gone();
  RETURN_IF_ERROR(check_whole());
  index();
  order_accounts();
  std::set<std::string> names;
  for (const auto& [name, user] : plan_.owned.users) names.insert(name);
  for (const auto& [id, association] : plan_.owned.associations) names.insert(id.user);
  for (const auto& [name, user] : desired_.users) names.insert(name);
  for (const std::string& name : names) plan_user(name);
  std::set<std::string> accounts;
  for (const auto& [name, account] : plan_.owned.accounts) accounts.insert(name);
  accounts.insert(usable_.begin(), usable_.end());
  for (const std::string& name : accounts) plan_coordinators(name);
  if (desired_.remove_orphans) remove_orphans();
  report_foreign_associations();
  report_unknown_qos();
  report_enforcement();
  RETURN_IF_ERROR(check_shrinkage());
  for (auto& [at, stage] : stages_) plan_.stages.push_back(std::move(stage));
  return std::move(plan_);
}

}  // namespace

Result<Plan> plan(const Desired& desired, const Held& held, const Owned& owned,
                  const Options& options) {
  return Planning(desired, held, owned, options).run();
}

}  // namespace roster::reconcile::accounting
