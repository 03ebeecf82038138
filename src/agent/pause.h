#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

#include "base/ids.h"

namespace roster::agent {

/// Waits that a stop ends at once.
class StopSignal {
 public:
  void stop();
  bool stopped() const;
  /// True when it was stopped meanwhile.
  bool wait_for(std::chrono::milliseconds duration);

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool stopped_ = false;  // guarded by mutex_
};

/// Evenly drawn from [0, `most`].
std::chrono::milliseconds draw_up_to(std::chrono::milliseconds most, const RandomBytes& random);

/// Delays between tries that fail: each is drawn from the upper half of a bound that doubles from
/// `min` to `max`, so that nodes that failed together do not come back together.
class Backoff {
 public:
  Backoff(std::chrono::milliseconds min, std::chrono::milliseconds max)
      : min_(min), max_(max), bound_(min) {}
  std::chrono::milliseconds next(const RandomBytes& random);
  void reset() { bound_ = min_; }

 private:
  std::chrono::milliseconds min_, max_, bound_;
};

}  // namespace roster::agent
