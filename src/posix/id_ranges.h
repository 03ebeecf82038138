#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace roster::posix {

/// Uids and gids `first` to `last`, both included. An organization has one id space for both.
struct IdBlock {
  std::uint32_t first = 0;
  std::uint32_t last = 0;
  auto operator<=>(const IdBlock&) const = default;

  constexpr bool contains(std::uint32_t id) const { return first <= id && id <= last; }
  constexpr bool overlaps(IdBlock other) const {
    return first <= other.last && other.first <= last;
  }
  constexpr std::uint64_t size() const { return std::uint64_t{last} - first + 1; }
};

/// Readers that print ids with %d (libnss-cache) and parts of the kernel see no more.
inline constexpr std::uint32_t kIdMax = 2147483647;
/// Below are the system's own (SYS_UID_MAX of login.defs(5)).
inline constexpr std::uint32_t kIdMin = 1000;

/// What the first organization allocates from.
inline constexpr IdBlock kFirstBlock{10000, 59999};
/// Where all other blocks are cut from: the large range that systemd's UIDS-GIDS list leaves
/// unused.
inline constexpr IdBlock kSliceSpace{1879048192, 2147352575};
/// Ids in one slice; the space has 1,023 of them.
inline constexpr std::uint32_t kSliceSize = 1 << 18;

/// Never answered for, whoever says so: the system's ids, nobody, and (uid_t)-1 of 16 bits; nor
/// anything beyond kIdMax.
constexpr bool is_never_served(std::uint32_t id) {
  return id < kIdMin || id == 65534 || id == 65535 || id > kIdMax;
}

/// A range that others allocate from.
struct RefusedRange {
  IdBlock ids;
  std::string_view owner;
};

/// Rising and disjoint. Sources: systemd's UIDS-GIDS list (version 258), login.defs(5) and
/// subuid(5) for SUB_UID_MIN to SUB_UID_MAX, which lie across systemd's container range.
inline constexpr std::array kRefusedRanges = std::to_array<RefusedRange>({
    {{0, 999}, "the system's users and groups"},
    {{60001, 60513}, "systemd-homed"},
    {{60514, 60577}, "host users mapped into containers"},
    {{60578, 60705}, "systemd's greeter users"},
    {{61184, 65519}, "systemd's dynamic service users"},
    {{65534, 65535}, "nobody and the 16-bit -1"},
    {{100000, 524287}, "subordinate ids (/etc/subuid)"},
    {{524288, 1879048191}, "subordinate ids and systemd's containers"},
    {{2147352576, 2147418111}, "systemd's foreign ids"},
    {{2147483648, 4294967295}, "programs that keep ids in 31 bits"},
});

/// Whether new ids may be allocated from the block. kInvalidArgument naming the refused range that
/// it meets, or that it is empty.
Result<void> validate_block(IdBlock block);

/// Whether ids that exist elsewhere may be admitted from the block: everything but what is never
/// served. kInvalidArgument otherwise.
Result<void> validate_import_block(IdBlock block);

/// "10000-59999". kInvalidArgument for any other form.
Result<IdBlock> parse_block(std::string_view text);
std::string format_block(IdBlock block);

/// The next block to give an organization: kFirstBlock when no block of any organization meets it,
/// else the lowest free slice. kFailedPrecondition when all are taken.
Result<IdBlock> next_block(std::span<const IdBlock> taken);

}  // namespace roster::posix
