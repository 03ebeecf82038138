#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "slurm/accounting.h"
#include "slurm/accounting_answers.h"
#include "slurm/accounting_commands.h"

namespace roster::slurm {

/// What of `step` is not so in `held`, as a sentence; empty: it is done. Steps on jobs look at
/// `held.jobs`; a kCureUser whose uid is not known counts as done.
std::string missing(const accounting::Step& step, const accounting::Held& held);

/// An element of POST /slurmdb/v0.0.40 and later/associations that changes an association. What it
/// does not name stays, but for TRES: of these everything that is set must be named, or is lost.
json::object association_item(std::string_view cluster, const accounting::AssociationId& id,
                              const accounting::Settings& held,
                              const std::vector<accounting::Change>& changes);

/// What of the accounting is read again: all, or what concerns these.
struct Scope {
  bool all = false;
  std::set<std::string> users = {};
  std::set<std::string> accounts = {};
  void add(const accounting::Step& step);
};

/// Brings `held` up to rows that were read within `scope`.
void merge(const std::vector<AssociationRow>& rows, const Scope& scope, accounting::Held& held);

/// One stage in work.
struct Work {
  using Group = std::vector<std::size_t>;  // indexes of steps

  std::span<const accounting::Step> steps;
  std::vector<std::optional<Error>> errors;  // by step
  std::vector<bool> refused;                 // by step: nothing of it may be sent
  std::optional<Error> stopped = {};         // a daemon cannot be reached: nothing more is sent
  std::size_t splits_left = 0;

  explicit Work(std::span<const accounting::Step> all);
  /// Indexes of steps of these acts that have no error yet.
  Group of(std::initializer_list<accounting::Act> acts) const;
  void fail(const Group& group, const Error& error);
  void refuse(std::size_t step, const Error& error);
  /// Gives `send` the group, in pieces of `max`; when it fails, halves of it, within bounds, so
  /// that what is wrong with one step is that step's error only.
  template <typename Send>
  void send(Group group, std::size_t max, const Send& send);
  /// As `send`, for each group of equal keys.
  template <typename KeyOf, typename Send>
  void send_by(const Group& group, std::size_t max, const KeyOf& key_of, const Send& send);

 private:
  template <typename Send>
  void send_some(Group group, const Send& send);
};

class Accounting::Session {
 public:
  Session(RestClient& rest, AccountingAccess access);

  Result<accounting::Held> read(const std::set<std::string>& jobs_of);
  std::vector<Result<void>> write(std::span<const accounting::Step> steps);
  Cost cost() const;

 private:
  using Step = accounting::Step;
  using Group = Work::Group;

  bool is_bulk() const;                                 // slurmrestd can do all of it
  std::string database(std::string_view what) const;    // "/slurmdb/v0.0.42/" and more
  std::string controller(std::string_view what) const;  // "/slurm/v0.0.42/"
  /// Whose outcome is good. `asked`: the daemon behind slurmrestd, for sentences.
  Result<RestAnswer> ask(std::string_view method, const std::string& target,
                         const json::object* body, std::string_view asked);
  Result<json::object> get(const std::string& target, std::string_view asked);
  Result<void> send(std::string_view method, const std::string& target, const json::object* body,
                    std::string_view asked);

  Result<std::vector<AssociationRow>> list_associations(const Scope& scope);
  Result<std::vector<AssociationRow>> list_by(std::string_view filter,
                                              const std::set<std::string>& names);
  Result<void> mark_defaults(std::vector<AssociationRow>& rows, const Scope& scope);
  Result<void> refresh(const Scope& scope);
  Result<void> refresh_rows(bool whole);
  Result<void> refresh_uids();
  Result<std::vector<accounting::Job>> list_jobs();
  Result<void> check_whole() const;
  Result<void> check_empty(const std::string& account) const;

  void send_all(Work& work);
  void verify(Work& work, const Scope& scope);
  Result<void> read_back(const Work& work, const Scope& scope);
  void repair_defaults(Work& work, const Scope& scope);
  void explain(Work& work, const Scope& scope);
  void wait_for_cancelled(const Work& work);

  // by slurmrestd
  void send_bulk(Work& work);
  void bulk_accounts(Work& work, Group group);
  void bulk_adds(Work& work);
  void bulk_users(Work& work, Group group);
  void bulk_associations(Work& work, Group group);
  void bulk_account_rows(Work& work, Group group);
  void bulk_user_rows(Work& work, Group group);
  void bulk_remove(Work& work);
  void bulk_jobs(Work& work);
  Result<void> post_associations(const Work& work, const Group& group);
  Result<void> post_account_rows(const Work& work, const Group& group);
  Result<void> post_users_association(const Work& work, const Group& group);
  Result<void> clear_qos(const Step& step);
  Result<void> explain_bulk(const Step& step);

  // by Slurm's commands
  void command_all(Work& work);
  void command_adds(Work& work, Group group);
  void command_modifies(Work& work);
  void command_roles(Work& work);
  void command_removals(Work& work);
  void command_jobs(Work& work);
  void command_cures(Work& work);
  Result<std::string> ids_of(const Work& work, const Group& group) const;
  Result<void> explain_command(const Step& step);
  Result<void> sacctmgr(std::vector<std::string> words, std::string input = {});

  RestClient& rest_;
  AccountingAccess access_;
  std::optional<CommandRunner> commands_;
  std::size_t requests_ = 0;
  bool known_ = false;
  accounting::Held held_;
  std::map<accounting::AssociationId, std::uint64_t> ids_;  // of rows that told theirs
};

template <typename Send>
void Work::send(Group group, std::size_t max, const Send& send) {
  for (std::size_t at = 0; at < group.size(); at += max) {
    const std::size_t end = std::min(group.size(), at + max);
    send_some(Group(group.begin() + static_cast<std::ptrdiff_t>(at),
                    group.begin() + static_cast<std::ptrdiff_t>(end)),
              send);
  }
}

template <typename Send>
void Work::send_some(Group group, const Send& send) {
  if (stopped) return fail(group, *stopped);
  const Result<void> sent = send(group);
  if (sent) return;
  const Error& error = sent.error();
  if (error.code == Code::kUnavailable || error.code == Code::kUnauthenticated) {
    stopped = Error{Code::kUnavailable, "not sent: " + error.message, {}};
    return fail(group, error);
  }
  if (group.size() == 1 || splits_left == 0 || error.code == Code::kPermissionDenied) {
    return fail(group, error);
  }
  --splits_left;
  const auto middle = group.begin() + static_cast<std::ptrdiff_t>(group.size() / 2);
  send_some(Group(group.begin(), middle), send);
  send_some(Group(middle, group.end()), send);
}

template <typename KeyOf, typename Send>
void Work::send_by(const Group& group, std::size_t max, const KeyOf& key_of, const Send& each) {
  std::map<std::string, Group> groups;
  for (const std::size_t i : group) groups[key_of(steps[i])].push_back(i);
  for (auto& [key, members] : groups) send(std::move(members), max, each);
}

}  // namespace roster::slurm
