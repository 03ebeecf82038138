#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "nsscache/publisher.h"

namespace roster::nsscache {

/// LocalRules, ready to be asked about every record of a directory.
class RuleSet {
 public:
  RuleSet() = default;
  explicit RuleSet(const LocalRules& rules);

  /// RecordFlags kFlagMasked and kFlagDenied.
  std::uint32_t user_flags(std::string_view login, std::uint32_t uid, std::uint32_t gid) const;
  std::uint32_t group_flags(std::string_view name, std::uint32_t gid) const;
  /// The flags of which not all reasons are known.
  std::uint32_t unknown_flags() const { return unknown_flags_; }

 private:
  struct TextHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const {
      return std::hash<std::string_view>{}(text);
    }
  };
  using Names = std::unordered_set<std::string, TextHash, std::equal_to<>>;

  bool masks_id(std::uint32_t id) const;

  Names masked_names_;
  std::unordered_set<std::uint32_t> masked_ids_;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> masked_ranges_;  // rising, disjoint
  Names denied_names_;
  std::unordered_set<std::uint32_t> denied_uids_;
  std::uint32_t unknown_flags_ = 0;
};

}  // namespace roster::nsscache
