#pragma once

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "base/metrics.h"

namespace roster::http {

/// What a job does most of the time.
enum class Work : std::uint8_t {
  kRead,          // computes
  kContinuation,  // the same, for something begun: a woken request, the next piece of a body
  kWrite,         // waits, for the disk
};

/// Threads that run handlers. New work is refused when too much waits; continuations are always
/// taken: there is at most one such job per connection. The kinds take turns, so that neither a
/// herd of woken requests nor a flood of new ones starves the other.
///
/// What computes runs on as many threads as there are processors: more would only take turns on
/// them, at two changes of threads for each request. Who fell asleep last is woken first: its stack
/// and its memory are still in the processor's cache. What waits may have all threads. When all
/// processors are held up by long work (a large listing), a further thread begins after kPatience
/// with what waits.
class WorkerPool {
 public:
  /// Called once: with true on a worker, or with false by whoever was refused.
  using Job = std::move_only_function<void(bool run)>;

  static constexpr std::chrono::milliseconds kPatience{5};

  struct Options {
    unsigned workers = 4;
    unsigned computing = 2;  // at most so many jobs that compute begin at once
    std::size_t queue_max = 256;
  };

  WorkerPool(const Options& options, Metrics::Gauge queued);
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  void start();
  /// False, and `job` is untouched, when the queue is full. kRead or kWrite.
  bool submit(Job& job, Work work);
  void submit_continuation(Job job);
  /// Lets running jobs end and drops the waiting ones. Work given later is dropped, too.
  void stop();

 private:
  struct Waiting {
    Job job;
    std::chrono::steady_clock::time_point since;
  };
  struct Taken {
    Job job;
    Work work = Work::kRead;
  };
  /// A thread that sleeps until it is called.
  struct Sleeper {
    std::condition_variable called;
    bool awake = false;  // guarded by mutex_
  };
  using Queue = std::deque<Waiting>;

  void run(Sleeper& self);
  void watch();
  // With mutex_ held:
  /// Whom to wake afterwards, if anybody.
  std::condition_variable* push(Job job, Work work);
  std::condition_variable* call_worker();
  void sleep(std::unique_lock<std::mutex>& lock, Sleeper& sleeper);
  bool may_begin(Work work) const;
  bool any_may_begin() const;
  bool computing_waits() const;
  Taken take_next();
  Queue& queue_of(Work work) { return queues_[static_cast<std::size_t>(work)]; }
  const Queue& queue_of(Work work) const { return queues_[static_cast<std::size_t>(work)]; }

  const Options options_;
  Metrics::Gauge queued_;
  std::vector<std::thread> threads_;
  std::deque<Sleeper> sleepers_;  // one for each thread; outlives it
  std::thread watcher_;

  std::mutex mutex_;  // guards what follows
  std::condition_variable watched_;
  std::vector<Sleeper*> asleep_;  // the last one fell asleep last
  std::array<Queue, 3> queues_;   // by Work
  std::size_t next_ = 0;          // whose turn it is
  unsigned computing_ = 0;        // threads that run kRead or kContinuation
  unsigned passes_ = 0;           // how many may begin to compute beyond the limit
  bool watching_ = false;
  bool stopping_ = false;
};

}  // namespace roster::http
