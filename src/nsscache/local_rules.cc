#include "nsscache/local_rules.h"

#include <algorithm>

#include "nsscache/image.h"

namespace roster::nsscache {

RuleSet::RuleSet(const LocalRules& rules)
    : masked_names_(rules.masked_names.begin(), rules.masked_names.end()),
      masked_ids_(rules.masked_ids.begin(), rules.masked_ids.end()),
      denied_names_(rules.denied_names.begin(), rules.denied_names.end()),
      denied_uids_(rules.denied_uids.begin(), rules.denied_uids.end()) {
  if (rules.masks_unknown) unknown_flags_ |= kFlagMasked;
  if (rules.denials_unknown) unknown_flags_ |= kFlagDenied;
  auto ranges = rules.masked_ranges;
  std::erase_if(ranges, [](const auto& range) { return range.second < range.first; });
  std::ranges::sort(ranges);
  for (const auto& range : ranges) {
    if (!masked_ranges_.empty() && range.first <= masked_ranges_.back().second) {
      masked_ranges_.back().second = std::max(masked_ranges_.back().second, range.second);
    } else {
      masked_ranges_.push_back(range);
    }
  }
}

bool RuleSet::masks_id(std::uint32_t id) const {
  if (masked_ids_.contains(id)) return true;
  const auto after = std::ranges::upper_bound(masked_ranges_, id, {},
                                              [](const auto& range) { return range.first; });
  return after != masked_ranges_.begin() && id <= std::prev(after)->second;
}

std::uint32_t RuleSet::user_flags(std::string_view login, std::uint32_t uid,
                                  std::uint32_t gid) const {
  std::uint32_t flags = 0;
  if (masked_names_.contains(login) || masks_id(uid) || (gid != uid && masks_id(gid))) {
    flags |= kFlagMasked;
  }
  if (denied_names_.contains(login) || denied_uids_.contains(uid)) flags |= kFlagDenied;
  return flags;
}

std::uint32_t RuleSet::group_flags(std::string_view name, std::uint32_t gid) const {
  return masked_names_.contains(name) || masks_id(gid) ? std::uint32_t{kFlagMasked} : 0;
}

}  // namespace roster::nsscache
