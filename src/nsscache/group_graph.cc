#include "nsscache/group_graph.h"

#include <algorithm>

#include "posix/flatten.h"

namespace roster::nsscache {

void GroupGraph::add(std::uint64_t group, std::vector<std::uint64_t> parents) {
  parents_[group] = std::move(parents);
}

void GroupGraph::seal() {
  for (auto& [group, parents] : parents_) {
    std::erase_if(parents, [this](std::uint64_t parent) { return !knows(parent); });
  }
}

std::vector<std::uint64_t> GroupGraph::effective(std::span<const std::uint64_t> direct) const {
  std::vector<std::uint64_t> known;
  known.reserve(direct.size());
  bool nested = false;
  for (const std::uint64_t group : direct) {
    const auto found = parents_.find(group);
    if (found == parents_.end()) continue;
    known.push_back(group);
    if (!found->second.empty()) nested = true;
  }
  if (!nested) {
    std::ranges::sort(known);
    return known;
  }
  return posix::effective_groups(known,
                                 [this](std::uint64_t group) -> std::span<const std::uint64_t> {
                                   return parents_.at(group);
                                 })
      .groups;
}

}  // namespace roster::nsscache
