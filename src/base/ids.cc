#include "base/ids.h"

#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <string_view>

#include "base/encoding.h"

namespace roster {

void system_random(std::span<std::uint8_t> out) {
  while (!out.empty()) {
    const ssize_t got = ::getrandom(out.data(), out.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    CHECK(got > 0);
    out = out.subspan(static_cast<std::size_t>(got));
  }
}

UuidGenerator::UuidGenerator(Clock clock, RandomBytes random)
    : clock_(std::move(clock)), random_(std::move(random)) {}

std::string UuidGenerator::next() {
  const auto now_ms = static_cast<std::uint64_t>(to_millis(clock_()));
  std::array<std::uint8_t, 16> bytes{};
  if (used_ == drawn_.size()) {
    random_(drawn_);
    used_ = 0;
  }
  std::copy_n(drawn_.begin() + static_cast<std::ptrdiff_t>(used_), bytes.size(), bytes.begin());
  used_ += bytes.size();
  if (now_ms > last_ms_) {
    last_ms_ = now_ms;
    counter_ =
        static_cast<std::uint32_t>(bytes[0] << 8 | bytes[1]);  // 16 of 18 bits: room to count
  } else if (++counter_ >= 1U << 18) {
    counter_ = 0;
    ++last_ms_;  // borrows from the future rather than repeat an order
  }
  for (std::size_t i = 0; i < 6; ++i) {
    bytes[i] = static_cast<std::uint8_t>(last_ms_ >> (8 * (5 - i)));
  }
  bytes[6] = static_cast<std::uint8_t>(0x70 | (counter_ >> 14 & 0x0F));
  bytes[7] = static_cast<std::uint8_t>(counter_ >> 6);
  bytes[8] = static_cast<std::uint8_t>(0x80 | (counter_ & 0x3F));
  const std::string hex = hex_encode({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  return hex.substr(0, 8) + '-' + hex.substr(8, 4) + '-' + hex.substr(12, 4) + '-' +
         hex.substr(16, 4) + '-' + hex.substr(20);
}

bool is_uuid(std::string_view text) {
  if (text.size() != 36) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    const char c = text[i];
    const bool digit = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
    if (dash ? c != '-' : !digit) return false;
  }
  return true;
}

}  // namespace roster
