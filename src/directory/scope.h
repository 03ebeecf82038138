#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "directory/journal.h"
#include "directory/types.h"
#include "store/database.h"

namespace roster::directory {

/// `groups` and all that are nested in them, rising. Takes time with the groups, not their members.
Result<std::vector<std::int64_t>> with_nested_groups(store::Tx& tx,
                                                     std::span<const std::int64_t> groups);

/// `groups` and all that they are nested in, rising.
Result<std::vector<std::int64_t>> with_parent_groups(store::Tx& tx,
                                                     std::span<const std::int64_t> groups);

/// What a change of the members of `group` moves into or out of the scopes of views: rows of change
/// for `users` and for `groups` with all that is below these, one for each group that a view names
/// and `group` lies below (or is). Nothing, after one query, when no view has a scope.
///
/// Written when the change is made and not found out when it is sent, since then the paths by which
/// somebody was in a scope may be gone: a group left its parent, was emptied and deleted.
struct ScopeChanges {
  std::vector<ChangeRow> rows;
  /// They would be too many: the views got a new epoch instead, and their nodes take a snapshot.
  bool renewed = false;

  void add_to(JournalEntry& entry) const;
};
Result<ScopeChanges> scope_changes(store::Tx& tx, OrgN org, GroupN group,
                                   std::span<const std::int64_t> users,
                                   std::span<const std::int64_t> groups, const RandomBytes& random);

/// The same, of changes to the members of one group.
Result<ScopeChanges> scope_changes(store::Tx& tx, OrgN org, GroupN group,
                                   std::span<const ChangeRow> members, const RandomBytes& random);

}  // namespace roster::directory
