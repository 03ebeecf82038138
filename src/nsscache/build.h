#pragma once

// Whole files from records: a base from a stream of users, a delta from the changes since a base,
// and the two kinds of keys files.

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "nsscache/generation.h"
#include "nsscache/group_graph.h"
#include "nsscache/image_writer.h"
#include "posix/node.h"

namespace roster::nsscache {

struct GroupState {
  posix::NodeGroup group;
  std::uint32_t flags = 0;  // RecordFlags
};
/// All groups of a directory, by number.
using GroupMap = std::map<std::uint64_t, GroupState>;

struct UserEntry {
  posix::NodeUser user;  // without keys
  std::uint32_t flags = 0;
};
/// The next user, numbers rising; nothing at the end.
using UserSource = std::function<Result<std::optional<UserEntry>>()>;

struct KeyEntry {
  std::uint64_t n = 0;
  Seq seq;
  std::vector<posix::NodeKey> keys;
};
using KeySource = std::function<Result<std::optional<KeyEntry>>()>;

/// A user as it is now, when that differs from the base.
struct UserState {
  std::optional<posix::NodeUser> user;  // nothing: removed. Without keys
  Seq removed_seq;
  std::uint32_t flags = 0;
  std::uint32_t base_ordinal = kNone;
  std::vector<std::uint64_t> base_groups;  // numbers of the groups whose lists name it in the base
  std::vector<std::uint64_t> groups;       // effective now; empty when not visible
  bool settled = false;                    // flags and groups are computed
};

/// Everything that differs from the base.
struct Overlay {
  std::map<std::uint64_t, UserState> users;
  std::set<std::uint64_t> changed_groups;       // heads that differ; they may be gone again
  std::map<std::uint64_t, Seq> removed_groups;  // that the base has
};

/// Whether group lists name a user with these flags.
inline bool is_listed(std::uint32_t flags) {
  return (flags & (kFlagLocked | kFlagDenied | kFlagMasked | kFlagHidden)) == 0;
}

struct BuiltFile {
  Binding binding;
  Totals totals;
  std::uint64_t bytes = 0;
};

/// kAlreadyExists when two users, or two groups, have one name, id or number, or a user and a group
/// have one name or id (the private group's); the error names them.
Result<BuiltFile> build_base(const FilePlace& place, const ImageLabel& label,
                             const UserSource& users, const GroupMap& groups,
                             const GroupGraph& graph);

/// `base_groups`: ordinals in the base, by number. Errors as build_base, against the base's records
/// too.
Result<BuiltFile> build_delta(const FilePlace& place, const ImageLabel& label, const Image& base,
                              const std::unordered_map<std::uint64_t, std::uint32_t>& base_groups,
                              const Overlay& overlay, const GroupMap& groups);

/// A keybase (label.magic says which kind); entries with no keys are kept: in a keys file they hide
/// the keybase's.
Result<BuiltFile> build_keys(const FilePlace& place, const ImageLabel& label,
                             const KeySource& keys);

}  // namespace roster::nsscache
