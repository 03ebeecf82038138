#include "nsscache/served.h"

#include "nsscache/decode.h"
#include "nsscache/generation.h"

namespace roster::nsscache {
namespace {

constexpr std::uint32_t kNotShown = kFlagMasked | kFlagHidden;

std::unexpected<Error> damaged(std::string_view what) {
  return fail(Code::kDataLoss, std::string(what) + " does not verify");
}

/// Records of a base that still speak for themselves, and those of its delta, by rising numbers.
template <typename Record, typename Visit>
Result<void> each_record(const Generation& view, std::uint32_t base_count,
                         std::uint32_t delta_count,
                         const Record* (*at)(const Image&, std::uint32_t), const Visit& visit) {
  std::uint32_t below = 0;
  std::uint32_t above = 0;
  while (below < base_count || above < delta_count) {
    const Record* old = below < base_count ? at(view.base, below) : nullptr;
    const Record* fresh = above < delta_count ? at(view.delta, above) : nullptr;
    if ((below < base_count && old == nullptr) || (above < delta_count && fresh == nullptr)) {
      return damaged("a record");
    }
    if (fresh != nullptr && (old == nullptr || fresh->n <= old->n)) {
      below += old != nullptr && old->n == fresh->n;
      ++above;
      RETURN_IF_ERROR(visit(view.delta, *fresh));
      continue;
    }
    ++below;
    const Found current = is_current(view, *old);
    if (current == Found::kDamaged) return damaged("an index");
    if (current == Found::kYes) RETURN_IF_ERROR(visit(view.base, *old));
  }
  return {};
}

}  // namespace

Result<std::vector<posix::NodeKey>> ServedGeneration::keys_of(std::uint64_t n) const {
  if (!keys_) return std::vector<posix::NodeKey>{};
  const KeysHit hit = find_keys(keys_->image(), keybase_->image(), n);
  if (hit.found == Found::kDamaged) return damaged("a keys record");
  if (hit.found == Found::kNo) return std::vector<posix::NodeKey>{};
  return decode_keys(*hit.keys);
}

Result<void> ServedGeneration::each(
    const std::function<Result<void>(posix::NodeUser user)>& visit_user,
    const std::function<Result<void>(const posix::NodeGroup& group)>& visit_group) const {
  const Generation view{delta_.image(), base_.image()};
  const ImageHeader& base = *view.base.header;
  const ImageHeader& delta = *view.delta.header;
  const auto user = [&](const Image& image, const UserRecord& record) -> Result<void> {
    if ((record.flags & kNotShown) != 0) return {};
    ASSIGN_OR_RETURN(posix::NodeUser decoded, decode_user(image, record));
    decoded.locked = (record.flags & (kFlagLocked | kFlagDenied)) != 0;
    ASSIGN_OR_RETURN(decoded.keys, keys_of(record.n));
    return visit_user(std::move(decoded));
  };
  RETURN_IF_ERROR(each_record(view, base.user_count, delta.user_count, user_by_ordinal, user));
  const auto group = [&](const Image& image, const GroupRecord& record) -> Result<void> {
    if ((record.flags & kNotShown) != 0) return {};
    ASSIGN_OR_RETURN(const posix::NodeGroup decoded, decode_group(image, record));
    return visit_group(decoded);
  };
  return each_record(view, base.group_count, delta.group_count, group_by_ordinal, group);
}

}  // namespace roster::nsscache
