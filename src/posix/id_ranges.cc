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

/// Index of the block with `id`, or the number of blocks.
std::size_t block_of(std::span<const IdBlock> blocks, std::uint32_t id) {
  const auto block = std::ranges::find_if(blocks, [id](IdBlock b) { return b.contains(id); });
  return static_cast<std::size_t>(block - blocks.begin());
}

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

Result<std::uint32_t> next_free(std::span<const IdBlock> blocks, std::uint32_t high_water) {
  std::size_t at = 0;
  if (high_water != 0) {
    at = block_of(blocks, high_water);
    if (at == blocks.size()) {
      return fail(Code::kFailedPrecondition, "the last allocated id, " +
                                                 std::to_string(high_water) +
                                                 ", is in none of the organization's blocks");
    }
    if (high_water < blocks[at].last) return high_water + 1;
    ++at;
  }
  if (at < blocks.size()) return blocks[at].first;
  return fail(Code::kFailedPrecondition,
              "the organization has used up its ids; give it another block");
}

std::uint32_t raise_high_water(std::span<const IdBlock> blocks, std::uint32_t high_water,
                               std::uint32_t seen) {
  const std::size_t seen_at = block_of(blocks, seen);
  if (seen_at == blocks.size()) return high_water;
  const std::size_t at = block_of(blocks, high_water);
  if (at == blocks.size()) return high_water == 0 ? seen : high_water;
  return seen_at > at || (seen_at == at && seen > high_water) ? seen : high_water;
}

}  // namespace roster::posix
