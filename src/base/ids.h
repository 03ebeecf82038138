#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "base/time.h"

namespace roster {

/// Fills a buffer with bytes from the system's cryptographic source. Tests pass a seeded one.
using RandomBytes = std::function<void(std::span<std::uint8_t>)>;

/// getrandom(2); ends the process if the kernel has none.
void system_random(std::span<std::uint8_t> out);

/// UUIDv7 (RFC 9562 5.7): time-ordered, so that new rows land at the end of the index.
/// Strictly increasing within one generator, also within a millisecond or when the clock goes back.
/// Not thread-safe: each writer owns one.
class UuidGenerator {
 public:
  UuidGenerator(Clock clock, RandomBytes random);
  std::string next();

 private:
  Clock clock_;
  RandomBytes random_;
  std::array<std::uint8_t, 1024> drawn_{};  // a system call for many ids: none is a secret
  std::size_t used_ = 1024;
  std::uint64_t last_ms_ = 0;
  std::uint32_t counter_ = 0;  // 18 bits: rand_a and the head of rand_b
};

/// Lower-case 8-4-4-4-12 form of any version.
bool is_uuid(std::string_view text);

/// Number of a change within one organization, from 1; 0 is "before everything".
struct Seq {
  std::uint64_t value = 0;
  auto operator<=>(const Seq&) const = default;
};

}  // namespace roster
