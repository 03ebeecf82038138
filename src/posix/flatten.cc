#include "posix/flatten.h"

#include <algorithm>
#include <unordered_set>

namespace roster::posix {

EffectiveGroups effective_groups(std::span<const std::uint64_t> direct, const ParentsOf& parents_of,
                                 std::size_t groups_max, std::size_t nesting_max) {
  EffectiveGroups out;
  std::unordered_set<std::uint64_t> seen;
  const auto add = [&out, &seen, groups_max](std::uint64_t group) {
    if (seen.contains(group)) return;
    if (out.groups.size() == groups_max) {
      out.complete = false;
      return;
    }
    seen.insert(group);
    out.groups.push_back(group);
  };
  for (const std::uint64_t group : direct) add(group);
  // out.groups doubles as the queue: [begin, end) is the level whose parents are being added.
  std::size_t begin = 0;
  for (std::size_t level = 0; begin < out.groups.size() && out.complete; ++level) {
    const std::size_t end = out.groups.size();
    for (; begin < end && out.complete; ++begin) {
      for (const std::uint64_t parent : parents_of(out.groups[begin])) {
        if (level == nesting_max && !seen.contains(parent)) out.complete = false;
        if (!out.complete) break;
        add(parent);
      }
    }
  }
  std::ranges::sort(out.groups);
  return out;
}

}  // namespace roster::posix
