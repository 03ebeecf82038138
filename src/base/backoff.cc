#include "base/backoff.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace roster {

using std::chrono::milliseconds;

milliseconds draw_up_to(milliseconds most, const RandomBytes& random) {
  if (most <= milliseconds(0)) return milliseconds(0);
  std::array<std::uint8_t, 8> bytes{};
  random(bytes);
  std::uint64_t number = 0;
  std::memcpy(&number, bytes.data(), sizeof number);
  const auto choices = static_cast<std::uint64_t>(most.count()) + 1;
  return milliseconds(static_cast<std::int64_t>(number % choices));
}

milliseconds Backoff::next(const RandomBytes& random) {
  const milliseconds half = bound_ / 2;
  const milliseconds delay = half + draw_up_to(bound_ - half, random);
  bound_ = std::min(max_, bound_ * 2);
  return delay;
}

}  // namespace roster
