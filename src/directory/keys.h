#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "directory/types.h"
#include "store/database.h"

namespace roster::directory {

/// What a write does to a user's keys.
struct KeyPlan {
  std::vector<KeyInput> add;        // new, or with another name or time than the stored one
  std::vector<std::string> remove;  // fingerprints
  /// The times in `add` hold, and what is removed leaves no bound behind. Else only times that a
  /// key has by an administrator hold.
  bool by_administrator = false;
  bool empty() const { return add.empty() && remove.empty(); }
  /// Fingerprints of `add`, for the diff.
  std::vector<std::string> put() const;
};

/// From `current` to: exactly `wanted` for `source`, and all keys of others. A wanted key that
/// another source has already written stays that one's; one that is there keeps its times and the
/// name that somebody gave it.
/// kInvalidArgument (keyword "invalidValue") when that makes more than 100.
Result<KeyPlan> plan_keys(const std::vector<SshKeyRow>& current, std::string_view source,
                          const std::vector<KeyInput>& wanted);

/// By an administrator: what `source` has besides stays too, and the names and times are these.
Result<KeyPlan> plan_added_keys(const std::vector<SshKeyRow>& current, std::string_view source,
                                const std::vector<KeyInput>& added);

/// Adds to `plan` the removal of stored keys with these fingerprints, whoever wrote them.
void take_away(const std::vector<SshKeyRow>& current, const std::vector<std::string>& fingerprints,
               KeyPlan& plan);

/// Of a user who has none and never had any.
Result<void> insert_keys(store::Tx& tx, UserN user, ClientN source,
                         const std::vector<KeyInput>& keys, Timestamp now);
Result<void> apply_keys(store::Tx& tx, UserN user, ClientN source, const KeyPlan& plan,
                        Timestamp now);
Result<void> remove_all_keys(store::Tx& tx, UserN user);

/// Keys of many users, each user's in order of fingerprint.
Result<void> load_keys(store::Tx& tx, std::span<const std::int64_t> users,
                       const std::function<void(UserN, SshKeyRow&&)>& fn);

/// The source of keys that no client wrote.
inline constexpr std::string_view kManualSource = "manual";

}  // namespace roster::directory
