#include "posix/id_ranges.h"

#include <algorithm>
#include <charconv>

namespace roster::posix {
namespace {

constexpr bool is_rising_and_disjoint() {
  for (std::size_t i = 0; i < kRefusedRanges.size(); ++i) {
    if (kRefusedRanges[i].ids.first > kRefusedRanges[i].ids.last) return false;
    if (i > 0 && kRefusedRanges[i - 1].ids.last >= kRefusedRanges[i].ids.first) return false;
  }
  return true;
}
static_assert(is_rising_and_disjoint());

constexpr bool meets_no_refused_range(IdBlock block) {
  return std::ranges::none_of(kRefusedRanges,
                              [block](const RefusedRange& r) { return r.ids.overlaps(block); });
}
static_assert(meets_no_refused_range(kFirstBlock) && meets_no_refused_range(kSliceSpace));

bool is_taken(std::span<const IdBlock> taken, IdBlock block) {
  return std::ranges::any_of(taken, [block](IdBlock other) { return other.overlaps(block); });
}

}  // namespace

Result<void> validate_block(IdBlock block) {
  if (block.first > block.last) {
    return fail(Code::kInvalidArgument,
                "ids " + format_block(block) + ": the end is before the start");
  }
  for (const RefusedRange& refused : kRefusedRanges) {
    if (!refused.ids.overlaps(block)) continue;
    return fail(Code::kInvalidArgument, "ids " + format_block(block) + " meet " +
                                            format_block(refused.ids) + ", which belong to " +
                                            std::string(refused.owner));
  }
  return {};
}

Result<void> validate_import_block(IdBlock block) {
  if (block.first > block.last) {
    return fail(Code::kInvalidArgument,
                "ids " + format_block(block) + ": the end is before the start");
  }
  if (is_never_served(block.first) || is_never_served(block.last) ||
      block.overlaps({65534, 65535})) {
    return fail(Code::kInvalidArgument,
                "ids " + format_block(block) +
                    " are not all between 1000 and 2147483647 without 65534 and 65535; others are "
                    "never served");
  }
  return {};
}

Result<IdBlock> parse_block(std::string_view text) {
  IdBlock block;
  const char* const end = text.data() + text.size();
  const auto first = std::from_chars(text.data(), end, block.first);
  if (first.ec == std::errc() && first.ptr != end && *first.ptr == '-') {
    const auto last = std::from_chars(first.ptr + 1, end, block.last);
    if (last.ec == std::errc() && last.ptr == end) return block;
  }
  return fail(Code::kInvalidArgument, "not a range of ids: write it as 10000-59999");
}

std::string format_block(IdBlock block) {
  return std::to_string(block.first) + "-" + std::to_string(block.last);
}

Result<IdBlock> next_block(std::span<const IdBlock> taken) {
  if (!is_taken(taken, kFirstBlock)) return kFirstBlock;
  for (std::uint32_t first = kSliceSpace.first; first + (kSliceSize - 1) <= kSliceSpace.last;
       first += kSliceSize) {
    const IdBlock slice{first, first + (kSliceSize - 1)};
    if (!is_taken(taken, slice)) return slice;
  }
  return fail(Code::kFailedPrecondition,
              "all blocks of ids are given to organizations; give this one a block by hand");
}

}  // namespace roster::posix
