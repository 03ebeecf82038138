#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "directory/credentials.h"
#include "directory/directory.h"
#include "directory/journal.h"
#include "directory/org_cache.h"
#include "directory/settings.h"

namespace roster::directory {

/// Organizations whose new numbers wait, and until when. Thread-safe.
class IdHolds {
 public:
  void hold(OrgN org, std::chrono::milliseconds until) {
    const std::lock_guard lock(mutex_);
    until_[org] = until;
  }
  void allow(OrgN org) {
    const std::lock_guard lock(mutex_);
    until_.erase(org);
  }
  bool contains(OrgN org, std::chrono::milliseconds now) const {
    const std::lock_guard lock(mutex_);
    const auto found = until_.find(org);
    return found != until_.end() && now < found->second;
  }

 private:
  mutable std::mutex mutex_;
  std::map<OrgN, std::chrono::milliseconds> until_;  // of the monotonic clock; guarded by mutex_
};

/// What all areas of the directory share.
struct Directory::Impl {
  Impl(store::Database& database, Options the_options)
      : db(database),
        options(std::move(the_options)),
        journal(std::make_shared<Journal>(options.random)),
        started(options.monotonic()),
        uuids(options.clock, options.random) {
    journal->set_org_changed([this](OrgN org) { orgs.forget(org); });
  }

  Timestamp now() const { return options.clock(); }
  bool ids_are_held(OrgN org) const { return holds.contains(org, options.monotonic()); }

  // Constant after construction.
  store::Database& db;
  const Options options;
  const std::shared_ptr<Journal> journal;   // used inside closures of write() only
  const std::chrono::milliseconds started;  // of the monotonic clock

  // Used inside closures of write() only, and so by one thread at a time.
  UuidGenerator uuids;

  // With their own synchronization.
  RulesCache rules;
  OrgCache orgs;
  TokenCache tokens;
  NodeCache nodes;
  IdHolds holds;

  // Last, so that it stops before the rest goes.
  std::jthread stamps;
};

/// kPermissionDenied when a token of one organization acts in another.
Result<void> authorize(const Actor& actor, OrgN org);

/// An entry for the journal with who, when and what.
JournalEntry journal_entry(const Actor& actor, OrgN org, Timestamp at, std::string_view action,
                           std::string target);

/// The client whose externalIds and keys an actor reads and writes: its own; for people at the
/// admin API, who have none, that of the record's owner.
ClientN acting_client(const Actor& actor, ClientN owner);

/// kAlreadyExists (keyword "uniqueness") when the record is another client's.
Result<void> check_owner(const Actor& actor, ClientN owner);

/// {"name", "number"} of an audit row's diff.
json::object posix_json(const PosixIdentity& posix);

/// kFailedPrecondition: what is asked for needs a POSIX identity.
std::unexpected<Error> not_provisioned(std::string_view what);

/// Names of tokens, clients: 1 to 100 bytes of UTF-8 without control characters.
Result<void> check_label(std::string_view what, std::string_view name);

/// `{attribute: [old, new]}` of audit rows.
class Diff {
 public:
  void set(std::string_view attribute, json::value before, json::value after);
  /// Every top-level attribute of two documents that is not the same.
  void compare(const json::object& before, const json::object& after);
  /// `{attribute: {"+": added, "-": removed}}`; nothing when both are empty.
  void sets(std::string_view attribute, std::span<const std::string> added,
            std::span<const std::string> removed);
  bool empty() const { return members_.empty(); }
  std::string text() const { return json::canonical(members_); }

 private:
  json::object members_;
};

/// Result of query_one: the first column.
inline std::int64_t integer_column(const store::Row& row) { return row.integer(0); }
inline std::string text_column(const store::Row& row) { return std::string(row.text(0)); }

inline std::optional<Timestamp> time_or_null(const store::Row& row, int column) {
  const std::optional<std::int64_t> ms = row.integer_or_null(column);
  return ms ? std::optional(from_millis(*ms)) : std::nullopt;
}
inline std::optional<std::int64_t> millis_or_null(const std::optional<Timestamp>& t) {
  return t ? std::optional(to_millis(*t)) : std::nullopt;
}

}  // namespace roster::directory
