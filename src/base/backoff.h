#pragma once

#include <chrono>

#include "base/ids.h"

namespace roster {

/// Evenly drawn from [0, `most`].
std::chrono::milliseconds draw_up_to(std::chrono::milliseconds most, const RandomBytes& random);

/// Delays between tries that fail: each is drawn from the upper half of a bound that doubles from
/// `min` to `max`, so that those who failed together do not come back together.
class Backoff {
 public:
  Backoff(std::chrono::milliseconds min, std::chrono::milliseconds max)
      : min_(min), max_(max), bound_(min) {}
  std::chrono::milliseconds next(const RandomBytes& random);
  void reset() { bound_ = min_; }

 private:
  std::chrono::milliseconds min_, max_, bound_;
};

}  // namespace roster
