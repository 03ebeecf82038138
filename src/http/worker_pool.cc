#include "http/worker_pool.h"

#include <utility>

namespace roster::http {

WorkerPool::WorkerPool(unsigned workers, std::size_t queue_max, Metrics::Gauge queued)
    : workers_(workers), queue_max_(queue_max), queued_(queued) {}

WorkerPool::~WorkerPool() { stop(); }

void WorkerPool::start() {
  for (unsigned i = 0; i < workers_; ++i) threads_.emplace_back([this] { run(); });
}

bool WorkerPool::submit(Job& job) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_ || fresh_.size() >= queue_max_) return false;
    fresh_.push_back(std::move(job));
  }
  queued_.add(1);
  ready_.notify_one();
  return true;
}

void WorkerPool::submit_continuation(Job job) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return;
    continuations_.push_back(std::move(job));
  }
  queued_.add(1);
  ready_.notify_one();
}

WorkerPool::Job WorkerPool::take() {
  std::unique_lock lock(mutex_);
  ready_.wait(lock, [this] { return stopping_ || !fresh_.empty() || !continuations_.empty(); });
  if (stopping_) return {};
  const bool continuation = fresh_.empty() || (continuation_next_ && !continuations_.empty());
  continuation_next_ = !continuation;
  std::deque<Job>& queue = continuation ? continuations_ : fresh_;
  Job job = std::move(queue.front());
  queue.pop_front();
  return job;
}

void WorkerPool::run() {
  while (Job job = take()) {
    queued_.add(-1);
    job(true);
  }
}

void WorkerPool::stop() {
  std::deque<Job> dropped;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  ready_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  const std::lock_guard lock(mutex_);
  dropped.swap(fresh_);
  for (Job& job : continuations_) dropped.push_back(std::move(job));
  continuations_.clear();
  queued_.add(-static_cast<double>(dropped.size()));
}

}  // namespace roster::http
