#pragma once

#include <span>
#include <string_view>

#include "store/database.h"

namespace roster::directory {

/// The schema of the directory, oldest first. A released step never changes.
std::span<const store::Migration> migrations();

/// Values that stand in rows. They never change their meaning.
namespace row {

/// Kinds of entities: posix_id.kind, member.kind, external_id.kind.
inline constexpr int kUser = 1;
inline constexpr int kGroup = 2;
/// posix_id only: a name that its holder had before a rename, and keeps.
/// Without a holder: a name of the nodes that somebody asked for.
inline constexpr int kFormerName = 3;
/// posix_id only: a home that its holder had, and nobody else gets.
inline constexpr int kFormerHome = 4;

/// A person or group without POSIX identity has a row of posix_id without number, whose name begins
/// with '/', as no login's does.
inline std::string_view name_or_empty(std::string_view posix_id_name) {
  return posix_id_name.starts_with('/') ? std::string_view() : posix_id_name;
}

/// change.kind. `a` is the entity whose record on nodes is another now; `b` the group it joined or
/// left, else 0. Every sequence number has a row, so that every position has a tag:
/// kNothing stands for an administrative act that no node sees. kScopeUser and kScopeGroup say that
/// `a` came below the group `b` or was so until now, for views with `b` in their scope.
inline constexpr int kNothing = 0;
inline constexpr int kUserChanged = 1;
inline constexpr int kGroupChanged = 2;
inline constexpr int kUserJoined = 3;
inline constexpr int kUserLeft = 4;
inline constexpr int kGroupJoined = 5;
inline constexpr int kGroupLeft = 6;
inline constexpr int kScopeUser = 7;
inline constexpr int kScopeGroup = 8;

/// posix_id.state.
inline constexpr int kReserved = 0;
inline constexpr int kActive = 1;
inline constexpr int kLocked = 2;
inline constexpr int kTombstone = 3;

/// The organization of what belongs to the hub itself: operator tokens and the record of what
/// operators did. Its slug is empty, so that nobody can ask for it.
inline constexpr std::int64_t kHubOrg = 0;

/// The client of what no client wrote.
inline constexpr std::int64_t kNoClient = 0;

}  // namespace row
}  // namespace roster::directory
