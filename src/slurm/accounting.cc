#include "slurm/accounting.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "base/unicode.h"
#include "slurm/accounting_session.h"

namespace roster::slurm {
namespace {

using accounting::Act;
using accounting::AssociationId;
using accounting::Held;
using accounting::Job;
using accounting::Step;

constexpr ApiVersion kFirstBulk{40};       // 23.11: users_association and others
constexpr ApiVersion kParameterFlags{41};  // parameters of accounts have other names
constexpr ApiVersion kSpacedFlags{42};     // and those of associations have spaces
constexpr std::size_t kScopeMax = 100;     // names in a target; more are read as a whole
constexpr std::size_t kSplitsMax = 64;
constexpr std::size_t kExplainedMax = 20;
constexpr std::chrono::milliseconds kCancelPause{200};
constexpr int kCancelPauses = 25;

bool is_cluster_name(std::string_view text) {
  return !text.empty() && text.size() <= 64 && std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
  });
}

bool is_about_jobs(Act act) {
  return act == Act::kHoldJobs || act == Act::kCancelJobs || act == Act::kReleaseJobs;
}

bool sends_nothing(Act act) { return act == Act::kAdoptUser || act == Act::kAdoptAssociation; }

/// What is sent depends on what is there, or something else would be removed with it.
bool needs_what_is_there(Act act) {
  switch (act) {
    case Act::kAddAccount:
    case Act::kAddUser:
    case Act::kAddAssociation:
    case Act::kAdoptUser:
    case Act::kAdoptAssociation:
    case Act::kCureUser:
    case Act::kHoldJobs:
    case Act::kCancelJobs:
    case Act::kReleaseJobs:
    case Act::kLowerAdminLevel:
    case Act::kRaiseAdminLevel:
      return false;
    case Act::kStopNewJobs:
    case Act::kRemoveCoordinator:
    case Act::kRemoveAssociation:
    case Act::kRemoveAccount:
    case Act::kAdoptAccount:
    case Act::kMoveAccount:
    case Act::kDescribeAccount:
    case Act::kSetAccount:
    case Act::kSetAssociation:
    case Act::kSetDefaultAccount:
    case Act::kAddCoordinator:
      return true;
  }
  CHECK(false);
}

/// Names of slurmrestd's query, in a list: commas between them make it refuse all.
std::string query_list(const std::set<std::string>& names) {
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : "%2C") + name;
  return out;
}

}  // namespace

Result<ApiVersion> accounting_version(const std::vector<ApiVersion>& offered) {
  std::optional<ApiVersion> best;
  std::string names;
  for (const ApiVersion version : offered) {
    names += (names.empty() ? "" : ", ") + version.text();
    const bool usable = version == kOldestApi || (version >= kFirstBulk && version <= kNewestApi);
    if (usable && (!best || *best < version)) best = version;
  }
  if (best) return *best;
  return fail(Code::kUnsupported, "slurmrestd offers " + (names.empty() ? "no version" : names) +
                                      "; for accounting Roster speaks " + kOldestApi.text() +
                                      " and " + kFirstBulk.text() + " to " + kNewestApi.text());
}

// ---- the public face ----

Accounting::Accounting(std::unique_ptr<Session> session) : session_(std::move(session)) {}
Accounting::Accounting(Accounting&&) noexcept = default;
Accounting& Accounting::operator=(Accounting&&) noexcept = default;
Accounting::~Accounting() = default;

Result<Accounting> Accounting::create(RestClient& rest, AccountingAccess access) {
  if (!is_cluster_name(access.cluster)) {
    return fail(Code::kInvalidArgument,
                "\"" + printable(access.cluster) + "\" cannot be the name of a cluster");
  }
  if (access.commands && !access.commands->folder.is_absolute()) {
    return fail(Code::kInvalidArgument, "the folder of Slurm's commands must be absolute");
  }
  if (access.version < kFirstBulk && !access.commands) {
    return fail(Code::kFailedPrecondition,
                "the accounting of this release of Slurm (" + access.version.text() +
                    ") needs sacctmgr and scontrol on this host: slurmrestd of " +
                    kFirstBulk.text() + ", of Slurm 23.11, would do without");
  }
  return Accounting(std::make_unique<Session>(rest, std::move(access)));
}

Result<Held> Accounting::read(const std::set<std::string>& jobs_of) {
  return session_->read(jobs_of);
}
std::vector<Result<void>> Accounting::write(std::span<const Step> steps) {
  return session_->write(steps);
}
Accounting::Cost Accounting::cost() const { return session_->cost(); }

// ---- reading ----

Accounting::Session::Session(RestClient& rest, AccountingAccess access)
    : rest_(rest), access_(std::move(access)) {
  if (access_.commands) commands_.emplace(*access_.commands, access_.caller.token);
}

Accounting::Cost Accounting::Session::cost() const {
  return {requests_, commands_ ? commands_->runs() : 0};
}

bool Accounting::Session::is_bulk() const { return access_.version >= kFirstBulk; }
std::string Accounting::Session::database(std::string_view what) const {
  return "/slurmdb/" + access_.version.text() + "/" + std::string(what);
}
std::string Accounting::Session::controller(std::string_view what) const {
  return "/slurm/" + access_.version.text() + "/" + std::string(what);
}

Result<RestAnswer> Accounting::Session::ask(std::string_view method, const std::string& target,
                                            const json::object* body, std::string_view asked) {
  ++requests_;
  auto answer = rest_.call(access_.caller, method, target, body);
  if (!answer) {
    return fail_in("slurmrestd, asked for " + std::string(asked), std::move(answer).error());
  }
  if (auto good = outcome(*answer); !good) return fail_in(asked, std::move(good).error());
  return answer;
}

Result<json::object> Accounting::Session::get(const std::string& target, std::string_view asked) {
  ASSIGN_OR_RETURN(RestAnswer answer, ask("GET", target, nullptr, asked));
  if (answer.body.empty()) {
    return fail(Code::kDataLoss, "slurmrestd, asked for " + std::string(asked) + ", answered " +
                                     std::to_string(answer.status) + " without anything");
  }
  return std::move(answer.body);
}

Result<void> Accounting::Session::send(std::string_view method, const std::string& target,
                                       const json::object* body, std::string_view asked) {
  const auto answer = ask(method, target, body, asked);
  if (!answer) return std::unexpected(answer.error());
  return {};
}

Result<Held> Accounting::Session::read(const std::set<std::string>& jobs_of) {
  known_ = false;
  held_ = {};
  ids_.clear();
  RETURN_IF_ERROR(refresh({.all = true}));
  ASSIGN_OR_RETURN(const json::object qos, get(database("qos"), "slurmdbd"));
  ASSIGN_OR_RETURN(held_.qos, qos_of(qos));
  RETURN_IF_ERROR(refresh_uids());
  if (!jobs_of.empty()) {
    ASSIGN_OR_RETURN(held_.jobs, list_jobs());
    std::erase_if(held_.jobs, [&](const Job& job) { return !jobs_of.contains(job.user); });
  }
  known_ = true;
  return held_;
}

/// Accounts and users are read after the associations, so that who was added meanwhile is there.
Result<void> Accounting::Session::refresh(const Scope& scope) {
  ASSIGN_OR_RETURN(const auto rows, list_associations(scope));
  if (scope.all) {
    if (rows.empty()) {
      return fail(Code::kNotFound, "slurmdbd knows no cluster \"" + access_.cluster + "\"");
    }
    const bool has_root = std::ranges::any_of(rows, [](const AssociationRow& row) {
      return row.account == accounting::kRootAccount && row.user.empty();
    });
    if (!has_root) {
      return fail(Code::kDataLoss, "the cluster's associations are without the root account");
    }
  }
  RETURN_IF_ERROR(refresh_rows(scope.all));
  merge(rows, scope, held_);
  for (const AssociationRow& row : rows) {
    if (row.id != 0) ids_[{row.account, row.user, row.partition}] = row.id;
  }
  return check_whole();
}

/// Accounts and users, which slurmdbd shares between its clusters; `whole`: also whether other
/// clusters use the accounts.
Result<void> Accounting::Session::refresh_rows(bool whole) {
  std::string target = database("accounts");
  if (whole && is_bulk()) {
    target += access_.version < kParameterFlags ? "?with_assocs=true" : "?WithAssociations=true";
  }
  ASSIGN_OR_RETURN(const json::object accounts_body, get(target, "slurmdbd"));
  ASSIGN_OR_RETURN(const auto accounts, accounts_of(accounts_body, access_.cluster));
  ASSIGN_OR_RETURN(const json::object users_body,
                   get(database(is_bulk() ? "users?with_coords=true" : "users"), "slurmdbd"));
  ASSIGN_OR_RETURN(const auto users, users_of(users_body));
  std::map<std::string, accounting::HeldAccount> now;
  for (const AccountRow& row : accounts) {
    accounting::HeldAccount& account = now[row.name];
    if (const auto before = held_.accounts.find(row.name); before != held_.accounts.end()) {
      account = before->second;
    }
    account.description = row.description;
    account.organization = row.organization;
    account.coordinators.clear();
    if (whole || !is_bulk()) account.elsewhere = row.elsewhere;
  }
  std::map<std::string, accounting::HeldUser> people;
  for (const UserRow& row : users) {
    accounting::HeldUser& user = people[row.name];
    if (const auto before = held_.users.find(row.name); before != held_.users.end()) {
      user = before->second;
    }
    user.admin_level = row.admin_level;
    for (const std::string& account : row.coordinates) {
      if (const auto found = now.find(account); found != now.end()) {
        found->second.coordinators.insert(row.name);
      }
    }
  }
  held_.accounts = std::move(now);
  held_.users = std::move(people);
  return {};
}

/// Each association's account and user must be there: else something was taken away in between, or
/// an answer was not whole.
Result<void> Accounting::Session::check_whole() const {
  for (const auto& [id, settings] : held_.associations) {
    if (!held_.accounts.contains(id.account) || !held_.users.contains(id.user)) {
      return fail(Code::kUnavailable, "the accounting changed while it was read: " + id.user +
                                          " in account " + id.account +
                                          " has no user or no account");
    }
  }
  return {};
}

/// What is in an account goes with it, whoever it belongs to.
Result<void> Accounting::Session::check_empty(const std::string& account) const {
  const bool has_users = std::ranges::any_of(
      held_.associations, [&](const auto& each) { return each.first.account == account; });
  const bool has_children = std::ranges::any_of(
      held_.accounts, [&](const auto& each) { return each.second.parent == account; });
  if (!has_users && !has_children) return {};
  return fail(Code::kFailedPrecondition, "there are users or accounts in the account");
}

Result<std::vector<AssociationRow>> Accounting::Session::list_associations(const Scope& scope) {
  std::vector<AssociationRow> rows;
  if (scope.all) {
    ASSIGN_OR_RETURN(rows, list_by("", {}));
  } else {
    if (!scope.users.empty()) {
      ASSIGN_OR_RETURN(rows, list_by("user", scope.users));
    }
    if (!scope.accounts.empty()) {
      ASSIGN_OR_RETURN(auto more, list_by("account", scope.accounts));
      rows.insert(rows.end(), std::make_move_iterator(more.begin()),
                  std::make_move_iterator(more.end()));
    }
  }
  if (!is_bulk()) RETURN_IF_ERROR(mark_defaults(rows, scope));
  return rows;
}

/// `filter`: "user", "account", or empty for all.
Result<std::vector<AssociationRow>> Accounting::Session::list_by(
    std::string_view filter, const std::set<std::string>& names) {
  if (!is_bulk()) {
    std::vector<std::string> words{"show",
                                   "associations",
                                   "wopl",
                                   "withrawqos",
                                   "format=" + association_columns(),
                                   "where",
                                   "cluster=" + access_.cluster};
    if (!filter.empty()) words.push_back(std::string(filter) + "=" + joined(names));
    ASSIGN_OR_RETURN(const std::string text, commands_->sacctmgr(std::move(words)));
    return associations_in(text);
  }
  std::string target = database("associations?cluster=" + access_.cluster);
  target += access_.version < kSpacedFlags ? "&without_parent_limits=true&with_raw_qos=true"
                                           : "&Exclude%20limits%20from%20parents=true"
                                             "&Include%20the%20raw%20QOS%20or%20delta_qos=true";
  if (!filter.empty()) target += "&" + std::string(filter) + "=" + query_list(names);
  ASSIGN_OR_RETURN(const json::object body, get(target, "slurmdbd"));
  return associations_of(body, access_.cluster);
}

/// The listing of sacctmgr does not tell.
Result<void> Accounting::Session::mark_defaults(std::vector<AssociationRow>& rows,
                                                const Scope& scope) {
  if (!scope.all && scope.users.empty()) return {};
  std::vector<std::string> words{"show", "users", "format=user,defaultaccount", "where",
                                 "cluster=" + access_.cluster};
  if (!scope.all) words.push_back("name=" + joined(scope.users));
  ASSIGN_OR_RETURN(const std::string text, commands_->sacctmgr(std::move(words)));
  ASSIGN_OR_RETURN(const auto defaults, default_accounts_in(text));
  for (AssociationRow& row : rows) {
    const auto found = defaults.find(row.user);
    row.is_default = found != defaults.end() && found->second == row.account;
  }
  return {};
}

Result<void> Accounting::Session::refresh_uids() {
  if (!commands_) return {};
  ASSIGN_OR_RETURN(
      const std::string text,
      commands_->run("scontrol", {"-o", "show", "assoc_mgr", "flags=users"}, "slurmctld"));
  ASSIGN_OR_RETURN(const auto known, controller_users_in(text));
  for (auto& [name, user] : held_.users) {
    user.uid.reset();
    const auto found = known.find(name);
    if (found == known.end()) continue;
    // Who was resolved late may be left without the default account, and is refused all the same.
    const bool lost = !found->second.has_default && !user.default_account.empty();
    user.uid = lost ? accounting::kUnresolvedUid : found->second.uid;
  }
  return {};
}

Result<std::vector<Job>> Accounting::Session::list_jobs() {
  ASSIGN_OR_RETURN(const json::object body, get(controller("jobs"), "slurmctld"));
  std::map<std::uint32_t, std::string> names;
  for (const auto& [name, user] : held_.users) {
    if (user.uid && *user.uid != accounting::kUnresolvedUid) names[*user.uid] = name;
  }
  return jobs_of(body, names);
}

void Scope::add(const Step& step) {
  if (!step.user.empty()) {
    users.insert(step.user);
  } else {
    accounts.insert(step.account);
  }
}

void merge(const std::vector<AssociationRow>& rows, const Scope& scope, Held& held) {
  std::erase_if(held.associations, [&](const auto& each) {
    return scope.all || scope.users.contains(each.first.user) ||
           scope.accounts.contains(each.first.account);
  });
  for (auto& [name, account] : held.accounts) {
    if (!scope.all && !scope.accounts.contains(name)) continue;
    account.parent.clear();
    account.settings.clear();
  }
  for (auto& [name, user] : held.users) {
    if (scope.all || scope.users.contains(name)) user.default_account.clear();
  }
  for (const AssociationRow& row : rows) {
    if (row.user.empty()) {
      const auto account = held.accounts.find(row.account);
      if (account == held.accounts.end()) continue;
      account->second.parent = row.parent;
      account->second.settings = row.settings;
      continue;
    }
    held.associations[{row.account, row.user, row.partition}] = row.settings;
    const auto user = held.users.find(row.user);
    const bool asked = scope.all || scope.users.contains(row.user);
    if (row.is_default && asked && user != held.users.end()) {
      user->second.default_account = row.account;
    }
  }
}

// ---- writing ----

Work::Work(std::span<const Step> all)
    : steps(all), errors(all.size()), refused(all.size()), splits_left(kSplitsMax) {}

void Work::refuse(std::size_t step, const Error& error) {
  errors[step] = error;
  refused[step] = true;
}

Work::Group Work::of(std::initializer_list<Act> acts) const {
  Group group;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const bool wanted = std::ranges::find(acts, steps[i].act) != acts.end();
    if (wanted && !errors[i]) group.push_back(i);
  }
  return group;
}

void Work::fail(const Group& group, const Error& error) {
  for (const std::size_t i : group) errors[i] = error;
}

std::vector<Result<void>> Accounting::Session::write(std::span<const Step> steps) {
  Work work(steps);
  Scope scope;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    if (auto good = check_step(steps[i]); !good) work.refuse(i, good.error());
    if (!is_about_jobs(steps[i].act) && !sends_nothing(steps[i].act)) scope.add(steps[i]);
  }
  if (scope.users.size() > kScopeMax || scope.accounts.size() > kScopeMax) scope = {.all = true};
  // Fresh, or what somebody changed meanwhile would be undone.
  const bool looks = std::ranges::any_of(steps, needs_what_is_there, &Step::act);
  Result<void> fresh;
  if (!known_) {
    fresh = refresh({.all = true});
  } else if (looks) {
    fresh = refresh(scope);
  }
  known_ = known_ || fresh.has_value();
  if (fresh) {
    send_all(work);
    verify(work, scope);
  }
  std::vector<Result<void>> outcomes(steps.size());
  for (std::size_t i = 0; i < steps.size(); ++i) {
    if (!fresh && !work.refused[i]) {
      outcomes[i] = fail_in("not sent", fresh.error());
    } else if (work.errors[i]) {
      outcomes[i] = std::unexpected(*work.errors[i]);
    }
  }
  return outcomes;
}

void Accounting::Session::send_all(Work& work) { is_bulk() ? send_bulk(work) : command_all(work); }

Result<void> Accounting::Session::read_back(const Work& work, const Scope& scope) {
  bool jobs = false;
  bool uids = false;
  for (const Step& step : work.steps) {
    jobs = jobs || is_about_jobs(step.act);
    uids = uids || step.act == Act::kCureUser;
  }
  if (scope.all || !scope.users.empty() || !scope.accounts.empty()) RETURN_IF_ERROR(refresh(scope));
  if (uids) RETURN_IF_ERROR(refresh_uids());
  if (jobs) {
    ASSIGN_OR_RETURN(held_.jobs, list_jobs());
  }
  return {};
}

/// What is there decides; an error that was answered says why something is not.
void Accounting::Session::verify(Work& work, const Scope& scope) {
  wait_for_cancelled(work);
  if (const auto read = read_back(work, scope); !read) {
    known_ = false;
    for (std::size_t i = 0; i < work.steps.size(); ++i) {
      if (sends_nothing(work.steps[i].act) || work.errors[i]) continue;
      work.errors[i] = Error{
          Code::kUnavailable, "it is not known whether this was done: " + read.error().message, {}};
    }
    return;
  }
  repair_defaults(work, scope);
  explain(work, scope);
}

/// A user whom other clusters have gets no default account with the first association here.
void Accounting::Session::repair_defaults(Work& work, const Scope& scope) {
  std::vector<Step> repairs;
  for (const std::size_t i : work.of({Act::kAddUser})) {
    const Step& step = work.steps[i];
    const auto user = held_.users.find(step.user);
    const bool there = held_.associations.contains({step.account, step.user});
    if (user == held_.users.end() || !there || user->second.default_account == step.account) {
      continue;
    }
    repairs.push_back({.act = Act::kSetDefaultAccount,
                       .account = step.account,
                       .user = step.user,
                       .to = step.account});
  }
  if (repairs.empty() || work.stopped) return;
  Work more(repairs);
  send_all(more);
  // What came of it is seen below; that it could not be read is seen as not done.
  if (const auto read = refresh(scope); !read) known_ = false;
}

/// Tries what was taken and not done once more, alone and in the way that gives reasons.
void Accounting::Session::explain(Work& work, const Scope& scope) {
  std::size_t tried = 0;
  for (std::size_t i = 0; i < work.steps.size() && !work.stopped; ++i) {
    if (work.errors[i] || tried >= kExplainedMax) continue;
    if (missing(work.steps[i], held_).empty()) continue;
    ++tried;
    const auto again = is_bulk() ? explain_bulk(work.steps[i]) : explain_command(work.steps[i]);
    if (!again) work.errors[i] = again.error();
  }
  if (tried > 0) {
    if (const auto read = read_back(work, scope); !read) known_ = false;
  }
  for (std::size_t i = 0; i < work.steps.size(); ++i) {
    if (work.refused[i]) continue;
    const std::string open = missing(work.steps[i], held_);
    if (open.empty()) {
      work.errors[i].reset();
    } else if (!work.errors[i]) {
      work.errors[i] = Error{Code::kInternal, "Slurm took it, and " + open, {}};
    }
  }
}

/// Jobs take a moment to end, and what they ran under cannot be removed before. Bounded: what takes
/// longer is the next pass's.
void Accounting::Session::wait_for_cancelled(const Work& work) {
  const Group cancels = work.of({Act::kCancelJobs});
  if (cancels.empty()) return;
  for (int i = 0; i < kCancelPauses; ++i) {
    auto jobs = list_jobs();
    if (!jobs) return;
    held_.jobs = std::move(*jobs);
    const bool all_over = std::ranges::all_of(
        cancels, [&](std::size_t step) { return missing(work.steps[step], held_).empty(); });
    if (all_over) return;
    std::this_thread::sleep_for(kCancelPause);
  }
}

// ---- whole plans ----

Result<Carried> carry_out(Accounting& accounting, const accounting::Plan& plan,
                          const KeepOwned& keep) {
  Carried carried;
  carried.owned = plan.owned;
  accounting::FailedSteps failed(plan);
  std::optional<Error> stopped;
  for (const accounting::Stage& stage : plan.stages) {
    std::vector<Step> steps;
    for (const Step& step : stage.steps) {
      const std::string_view forbidden = failed.forbids(step);
      if (stopped || !forbidden.empty()) {
        Error error =
            stopped ? *stopped : Error{Code::kFailedPrecondition, std::string(forbidden), {}};
        carried.failures.push_back({step, std::move(error)});
        failed.add(step);
        continue;
      }
      if (claims(step.act)) record(carried.owned, step);
      steps.push_back(step);
    }
    if (steps.empty()) continue;
    RETURN_IF_ERROR(keep(carried.owned));
    const auto outcomes = accounting.write(steps);
    for (std::size_t i = 0; i < steps.size(); ++i) {
      if (outcomes[i]) {
        ++carried.done;
        if (!claims(steps[i].act)) record(carried.owned, steps[i]);
        continue;
      }
      failed.add(steps[i]);
      carried.failures.push_back({steps[i], outcomes[i].error()});
      if (outcomes[i].error().code == Code::kUnavailable && !stopped) {
        stopped =
            Error{Code::kUnavailable, "left for the next pass: " + outcomes[i].error().message, {}};
      }
    }
    RETURN_IF_ERROR(keep(carried.owned));
  }
  return carried;
}

}  // namespace roster::slurm
