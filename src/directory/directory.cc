#include "directory/directory.h"

#include <array>
#include <condition_variable>
#include <mutex>
#include <stop_token>
#include <thread>

#include "base/log.h"
#include "base/unicode.h"
#include "directory/impl.h"
#include "directory/schema.h"

namespace roster::directory {
namespace {

constexpr std::size_t kNameBytesMax = 100;

constexpr auto kScopes = std::to_array<std::pair<Scope, std::string_view>>({
    {Scope::kScim, "scim"},
    {Scope::kRead, "read"},
    {Scope::kJoin, "join"},
    {Scope::kUser, "user"},
    {Scope::kAdmin, "admin"},
    {Scope::kOperator, "operator"},
});

/// Flushes stamps at intervals until it is told to stop.
void flush_at_intervals(const std::stop_token& stop, Directory& directory,
                        std::chrono::milliseconds interval) {
  std::mutex mutex;
  std::condition_variable_any wake;
  std::unique_lock lock(mutex);
  while (!stop.stop_requested()) {
    wake.wait_for(lock, stop, interval, [] { return false; });
    if (stop.stop_requested()) return;
    if (const auto flushed = directory.flush_stamps(); !flushed) {
      log::warn("last-use stamps wait for the store", {{"error", flushed.error().message}});
    }
  }
}

}  // namespace

std::string_view scope_name(Scope scope) {
  for (const auto& [known, name] : kScopes) {
    if (known == scope) return name;
  }
  check_failed("a scope without a name", std::source_location::current());
}

Result<Scope> parse_scope(std::string_view text) {
  for (const auto& [scope, name] : kScopes) {
    if (name == text) return scope;
  }
  return fail(Code::kInvalidArgument,
              "a scope is one of scim, read, join, user, admin, operator, not \"" +
                  std::string(text) + "\"");
}

std::string_view identity_state_name(IdentityState state) {
  switch (state) {
    case IdentityState::kReserved:
      return "reserved";
    case IdentityState::kActive:
      return "active";
    case IdentityState::kLocked:
      return "locked";
    case IdentityState::kTombstone:
      return "tombstone";
  }
  check_failed("a state without a name", std::source_location::current());
}

Directory::Directory(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Result<std::unique_ptr<Directory>> Directory::open(store::Database& database, Options options) {
  auto impl = std::make_unique<Impl>(database, std::move(options));
  database.set_batch_hooks(Journal::hooks(impl->journal));
  RETURN_IF_ERROR(store::migrate(database, migrations()));
  std::unique_ptr<Directory> directory(new Directory(std::move(impl)));
  Directory& self = *directory;
  const std::chrono::milliseconds interval = self.impl_->options.stamp_interval;
  self.impl_->stamps = std::jthread(
      [&self, interval](const std::stop_token& stop) { flush_at_intervals(stop, self, interval); });
  return directory;
}

Directory::~Directory() {
  impl_->stamps.request_stop();
  impl_->stamps.join();
  if (const auto flushed = flush_stamps(); !flushed) {
    log::warn("last-use stamps were lost", {{"error", flushed.error().message}});
  }
}

void Directory::on_commit(std::function<void(const Commit&)> listener) {
  impl_->journal->set_listener(std::move(listener));
}

Result<void> authorize(const Actor& actor, OrgN org) {
  if (!actor.org || *actor.org == org) return {};
  return fail(Code::kPermissionDenied, "this token belongs to another organization");
}

JournalEntry journal_entry(const Actor& actor, OrgN org, Timestamp at, std::string_view action,
                           std::string target) {
  JournalEntry entry;
  entry.org = org;
  entry.at = at;
  entry.actor = actor.name;
  entry.remote = actor.remote;
  entry.action = action;
  entry.target = std::move(target);
  entry.diff = "{}";
  return entry;
}

json::object posix_json(const PosixIdentity& posix) {
  return {{"name", posix.name}, {"number", posix.number}};
}

std::unexpected<Error> not_provisioned(std::string_view what) {
  return fail(Code::kFailedPrecondition,
              "the " + std::string(what) +
                  " has no POSIX identity: user provisioning is switched off in the organization");
}

ClientN acting_client(const Actor& actor, ClientN owner) { return actor.client.value_or(owner); }

Result<void> check_owner(const Actor& actor, ClientN owner) {
  if (!actor.client || owner == row::kNoClient || owner == *actor.client) return {};
  return fail(Code::kAlreadyExists, "another client manages this record", "uniqueness");
}

Result<void> check_label(std::string_view what, std::string_view name) {
  if (!name.empty() && name.size() <= kNameBytesMax && is_valid_utf8(name) &&
      !has_control_characters(name)) {
    return {};
  }
  return fail(Code::kInvalidArgument, std::string(what) + ": a name has 1 to " +
                                          std::to_string(kNameBytesMax) +
                                          " bytes and no control characters");
}

void Diff::set(std::string_view attribute, json::value before, json::value after) {
  members_[attribute] = json::array{std::move(before), std::move(after)};
}

void Diff::compare(const json::object& before, const json::object& after) {
  for (const auto& member : before) {
    const json::value* now = json::find(after, member.key());
    if (now == nullptr) {
      set(member.key(), member.value(), nullptr);
    } else if (json::canonical(*now) != json::canonical(member.value())) {
      set(member.key(), member.value(), *now);
    }
  }
  for (const auto& member : after) {
    if (json::find(before, member.key()) == nullptr) set(member.key(), nullptr, member.value());
  }
}

void Diff::sets(std::string_view attribute, std::span<const std::string> added,
                std::span<const std::string> removed) {
  if (added.empty() && removed.empty()) return;
  json::object changes;
  if (!added.empty()) changes["+"] = json::array(added.begin(), added.end());
  if (!removed.empty()) changes["-"] = json::array(removed.begin(), removed.end());
  members_[attribute] = std::move(changes);
}

}  // namespace roster::directory
