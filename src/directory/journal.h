#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/ids.h"
#include "directory/types.h"
#include "store/database.h"

namespace roster::directory {

/// One row of `change`, without its number and tag. Kinds: schema.h.
struct ChangeRow {
  int kind = 0;
  std::int64_t a = 0;
  std::int64_t b = 0;
};

/// What one write leaves behind besides its own rows.
struct JournalEntry {
  OrgN org = 0;
  std::vector<ChangeRow> changes;  // empty: an administrative act that no node sees
  Timestamp at{};
  std::string actor;
  std::string remote;
  std::string action;
  std::string target;
  std::string diff;       // JSON
  bool wakes = false;     // tells listeners even without changes: a new epoch
  bool settings = false;  // likewise: Commit::settings
  // What the write adds to the counts of the organization.
  std::int64_t users = 0;
  std::int64_t active_users = 0;
  std::int64_t groups = 0;
};

/// Collects the entries of a batch of closures and, as its last step, gives them sequence numbers
/// in the order of commit: one update of each organization's counter, then the rows of `change` and
/// `audit`. Every entry takes one number for each change, at least one; its audit row has the last.
/// For one thread at a time, inside a batch of writes.
class Journal {
 public:
  using Listener = std::function<void(const Commit&)>;

  explicit Journal(RandomBytes random) : random_(std::move(random)) {}

  /// Texts that the store would refuse, and with them the whole batch, are replaced.
  void add(JournalEntry entry);

  /// Called after each commit for every organization with a change that nodes see.
  void set_listener(Listener listener) { listener_ = std::move(listener); }

  /// Called after each commit for every organization with entries in it, before the listener.
  void set_org_changed(std::function<void(OrgN)> changed) { org_changed_ = std::move(changed); }

  /// For Database::set_batch_hooks; they share ownership of the journal.
  static store::BatchHooks hooks(const std::shared_ptr<Journal>& journal);

 private:
  struct Finished {
    Commit commit;
    bool wakes = false;
  };

  Result<void> finish(store::Tx& tx);
  Result<Finished> finish_org(store::Tx& tx, OrgN org,
                              const std::vector<const JournalEntry*>& mine);
  void committed();

  const RandomBytes random_;
  Listener listener_;
  std::function<void(OrgN)> org_changed_;
  std::vector<JournalEntry> entries_;
  std::vector<Finished> finished_;
};

/// The hash of an audit row after the row with hash `previous`: what links the chain.
std::string audit_hash(std::string_view previous, OrgN org, Seq seq, Timestamp at,
                       std::string_view actor, std::string_view remote, std::string_view action,
                       std::string_view target, std::string_view diff_hash);

}  // namespace roster::directory
