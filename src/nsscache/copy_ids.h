#pragma once

// Copying a list of ids and verifying it in one pass. Reader's room: libc only.

#include <cstddef>
#include <cstdint>

namespace roster::nsscache {

struct CopiedIds {
  std::uint64_t check;  // check64 of the list's bytes with the salt
  bool has_system_id;   // is_system_id() holds for one of them
};

/// Copies `count` ids from `items` (any alignment) to `out`. With the vector instructions that this
/// processor has; both give the same.
CopiedIds copy_ids(const std::uint8_t* items, std::uint32_t count, std::uint64_t salt,
                   std::uint32_t* out);

/// The same with what every processor of the architecture has.
CopiedIds copy_ids_plain(const std::uint8_t* items, std::uint32_t count, std::uint64_t salt,
                         std::uint32_t* out);

}  // namespace roster::nsscache
