#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace roster::posix {

/// Groups that one person may be in, nested ones included: NGROUPS_MAX of Linux; setgroups(2) takes
/// no more.
inline constexpr std::size_t kEffectiveGroupsMax = 65536;
/// Levels of nesting that are followed.
inline constexpr std::size_t kNestingMax = 64;

/// The groups that have this group as a direct member, in any order.
using ParentsOf = std::function<std::span<const std::uint64_t>(std::uint64_t group)>;

struct EffectiveGroups {
  std::vector<std::uint64_t> groups;  // rising, each once
  bool complete = true;               // false: a limit was met and farther groups were left out
};

/// The groups that somebody is in, directly or because one group is a member of another. Level by
/// level, so that a limit leaves out the farthest; a cycle of groups is walked once. What is left
/// out only ever takes access away.
EffectiveGroups effective_groups(std::span<const std::uint64_t> direct, const ParentsOf& parents_of,
                                 std::size_t groups_max = kEffectiveGroupsMax,
                                 std::size_t nesting_max = kNestingMax);

}  // namespace roster::posix
