#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

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

}  // namespace roster::agent
