#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

namespace roster::nsscache {

/// Which groups contain which: edges to groups that are not there are left out.
class GroupGraph {
 public:
  /// Adds a group once; `parents` may name groups that are added later.
  void add(std::uint64_t group, std::vector<std::uint64_t> parents);
  /// Drops edges to unknown groups. Call it after the last add().
  void seal();

  bool knows(std::uint64_t group) const { return parents_.contains(group); }
  /// All groups of somebody with these direct ones (posix::effective_groups), rising.
  std::vector<std::uint64_t> effective(std::span<const std::uint64_t> direct) const;

 private:
  std::unordered_map<std::uint64_t, std::vector<std::uint64_t>> parents_;
};

}  // namespace roster::nsscache
