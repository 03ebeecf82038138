#include "agent/pause.h"

namespace roster::agent {

using std::chrono::milliseconds;

void StopSignal::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  changed_.notify_all();
}

bool StopSignal::stopped() const {
  const std::lock_guard lock(mutex_);
  return stopped_;
}

bool StopSignal::wait_for(milliseconds duration) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, duration, [this] { return stopped_; });
}

}  // namespace roster::agent
