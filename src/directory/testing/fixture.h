#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "directory/directory.h"
#include "store/testing/engines.h"

namespace roster::directory::testing {

/// A clock that moves only when told to. Thread-safe.
class StillClock {
 public:
  Clock clock() {
    return [this] { return from_millis(now_ms_.load()); };
  }
  MonotonicClock monotonic() {
    return [this] { return std::chrono::milliseconds(now_ms_.load()); };
  }
  Timestamp now() const { return from_millis(now_ms_.load()); }
  void advance(std::chrono::milliseconds by) { now_ms_ += by.count(); }

 private:
  std::atomic<std::int64_t> now_ms_{1'795'000'000'000};
};

/// Value of a Result, or a failed test with its error and a default value.
template <typename T>
T must(Result<T> result, std::source_location where = std::source_location::current()) {
  if (result) return std::move(*result);
  ADD_FAILURE() << where.file_name() << ":" << where.line() << ": "
                << code_name(result.error().code) << ": " << result.error().message;
  return T{};
}
inline void must(const Result<void>& result,
                 std::source_location where = std::source_location::current()) {
  if (result) return;
  ADD_FAILURE() << where.file_name() << ":" << where.line() << ": "
                << code_name(result.error().code) << ": " << result.error().message;
}

/// A document from JSON text.
inline json::object doc(std::string_view text) {
  auto parsed = json::parse(text);
  CHECK(parsed && parsed->is_object());
  return std::move(parsed->get_object());
}

/// An edit that gives these settings, whatever was before.
inline Directory::SettingsEdit always(const OrgSettings& settings) {
  return [settings](const OrgSettings&) -> Result<OrgSettings> { return settings; };
}

inline UserInput user_named(std::string_view user_name) {
  UserInput input;
  input.doc["userName"] = user_name;
  return input;
}

inline GroupInput group_named(std::string_view display_name) {
  GroupInput input;
  input.doc["displayName"] = display_name;
  return input;
}

/// A directory on a fresh database with one organization, "acme", and one client, "okta".
class World {
 public:
  explicit World(store::Engine engine, Options options = {}) : database(engine), options_(options) {
    options_.clock = clock.clock();
    options_.monotonic = clock.monotonic();
    open();
    operator_.name = "operator";
    operator_.scope = Scope::kOperator;
    acme = must(directory->create_org(operator_, "acme")).n;
    okta = client("okta");
  }

  /// Closes and opens the database: what is there afterwards was stored.
  void reopen() {
    directory.reset();
    database.reopen();
    open();
  }

  /// An actor with a new client of acme.
  Actor client(const std::string& name) {
    Actor actor;
    actor.client = must(directory->create_client(operator_, acme, name)).n;
    actor.org = acme;
    actor.scope = Scope::kScim;
    actor.name = "token:" + name;
    actor.remote = "192.0.2.1";
    return actor;
  }

  User add_user(std::string_view user_name) {
    return must(directory->create_user(okta, acme, user_named(user_name)));
  }
  Group add_group(std::string_view name, const std::vector<std::string>& members = {}) {
    return must(directory->create_group(okta, acme, group_named(name), members));
  }
  /// PUT of one attribute of the document.
  Result<User> set(const User& user, std::string_view attribute, json::value value) {
    return directory->update_user(okta, acme, user.id, {}, [&](const User& current) {
      UserInput input;
      input.doc = current.doc;
      input.doc[attribute] = value;
      return Result<UserInput>(std::move(input));
    });
  }
  Result<Group> change_members(const Group& group, std::vector<MemberOp> ops) {
    return directory->update_group(
        okta, acme, group.id, {}, [&ops](const Group& current) -> Result<Directory::GroupChange> {
          return Directory::GroupChange{{current.doc, std::nullopt}, ops};
        });
  }
  Org org() { return must(directory->find_org("acme")); }

  StillClock clock;
  store::testing::TestDatabase database;
  std::unique_ptr<Directory> directory;
  Actor operator_;
  Actor okta;
  OrgN acme = 0;

 private:
  void open() { directory = must(Directory::open(*database, options_)); }
  Options options_;
};

}  // namespace roster::directory::testing
