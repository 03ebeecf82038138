#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "base/metrics.h"

namespace roster::http {

/// Threads that run handlers. New work is refused when too much waits; work that continues
/// something begun (a woken request, the next piece of a body) is always taken: there is at most
/// one such job per connection. The two queues take turns, so that neither a herd of woken requests
/// nor a flood of new ones starves the other.
class WorkerPool {
 public:
  /// Called once: with true on a worker, or with false by whoever was refused.
  using Job = std::move_only_function<void(bool run)>;

  WorkerPool(unsigned workers, std::size_t queue_max, Metrics::Gauge queued);
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  void start();
  /// False, and `job` is untouched, when the queue is full.
  bool submit(Job& job);
  void submit_continuation(Job job);
  /// Lets running jobs end and drops the waiting ones. Work given later is dropped, too.
  void stop();

 private:
  void run();
  Job take();

  const unsigned workers_;
  const std::size_t queue_max_;
  Metrics::Gauge queued_;
  std::vector<std::thread> threads_;

  std::mutex mutex_;  // guards what follows
  std::condition_variable ready_;
  std::deque<Job> fresh_;
  std::deque<Job> continuations_;
  bool continuation_next_ = false;
  bool stopping_ = false;
};

}  // namespace roster::http
