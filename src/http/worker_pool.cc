#include "http/worker_pool.h"

#include <algorithm>
#include <utility>

namespace roster::http {
namespace {

using SteadyClock = std::chrono::steady_clock;

/// So many looks at empty queues end the watch: starting it costs a change of threads.
constexpr int kEmptyLooks = 100;

constexpr bool computes(Work work) { return work != Work::kWrite; }

}  // namespace

WorkerPool::WorkerPool(const Options& options, Metrics::Gauge queued)
    : options_(options), queued_(queued) {}

WorkerPool::~WorkerPool() { stop(); }

void WorkerPool::start() {
  for (unsigned i = 0; i < options_.workers; ++i) {
    Sleeper& sleeper = sleepers_.emplace_back();
    threads_.emplace_back([this, &sleeper] { run(sleeper); });
  }
  watcher_ = std::thread([this] { watch(); });
}

bool WorkerPool::submit(Job& job, Work work) {
  std::condition_variable* waker = nullptr;
  {
    const std::lock_guard lock(mutex_);
    const std::size_t fresh = queue_of(Work::kRead).size() + queue_of(Work::kWrite).size();
    if (stopping_ || fresh >= options_.queue_max) return false;
    waker = push(std::move(job), work);
  }
  if (waker != nullptr) waker->notify_one();
  return true;
}

void WorkerPool::submit_continuation(Job job) {
  std::condition_variable* waker = nullptr;
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return;
    waker = push(std::move(job), Work::kContinuation);
  }
  if (waker != nullptr) waker->notify_one();
}

std::condition_variable* WorkerPool::push(Job job, Work work) {
  queue_of(work).push_back({std::move(job), SteadyClock::now()});
  queued_.add(1);
  if (may_begin(work)) return call_worker();
  if (watching_) return nullptr;
  watching_ = true;
  return &watched_;
}

/// Null when all are at work: they look for more before they sleep.
std::condition_variable* WorkerPool::call_worker() {
  if (asleep_.empty()) return nullptr;
  Sleeper* sleeper = asleep_.back();
  asleep_.pop_back();
  sleeper->awake = true;
  return &sleeper->called;
}

void WorkerPool::sleep(std::unique_lock<std::mutex>& lock, Sleeper& sleeper) {
  sleeper.awake = false;
  asleep_.push_back(&sleeper);
  sleeper.called.wait(lock, [&sleeper] { return sleeper.awake; });
}

bool WorkerPool::may_begin(Work work) const {
  return !computes(work) || computing_ < options_.computing || passes_ > 0;
}

bool WorkerPool::any_may_begin() const {
  return std::ranges::any_of(
      std::array{Work::kRead, Work::kContinuation, Work::kWrite},
      [this](Work work) { return !queue_of(work).empty() && may_begin(work); });
}

bool WorkerPool::computing_waits() const {
  return !queue_of(Work::kRead).empty() || !queue_of(Work::kContinuation).empty();
}

/// The next in turn; one of them may begin.
WorkerPool::Taken WorkerPool::take_next() {
  Work work{};
  do {
    work = static_cast<Work>(next_);
    next_ = (next_ + 1) % queues_.size();
  } while (queue_of(work).empty() || !may_begin(work));
  if (computes(work)) {
    if (computing_ >= options_.computing) --passes_;
    ++computing_;
  }
  Taken taken{std::move(queue_of(work).front().job), work};
  queue_of(work).pop_front();
  if (!computing_waits()) passes_ = 0;
  queued_.add(-1);
  return taken;
}

void WorkerPool::run(Sleeper& self) {
  std::unique_lock lock(mutex_);
  while (true) {
    while (!stopping_ && !any_may_begin()) sleep(lock, self);
    if (stopping_) return;
    Taken taken = take_next();
    std::condition_variable* next = any_may_begin() ? call_worker() : nullptr;
    // Begun because nobody computed yet, and now nobody else may.
    const bool watch = computing_waits() && !may_begin(Work::kRead) && !watching_;
    watching_ = watching_ || watch;
    lock.unlock();
    if (next != nullptr) next->notify_one();
    if (watch) watched_.notify_one();
    taken.job(true);
    taken.job = nullptr;
    lock.lock();
    if (computes(taken.work)) --computing_;
  }
}

/// Lets one more begin whenever somebody waits too long. Asleep while nobody has to wait.
void WorkerPool::watch() {
  std::unique_lock lock(mutex_);
  int empty = 0;
  while (!stopping_) {
    if (!watching_) {
      watched_.wait(lock);
      continue;
    }
    watched_.wait_for(lock, kPatience);
    const auto waits_long = [this, now = SteadyClock::now()](Work work) {
      const Queue& queue = queue_of(work);
      return !queue.empty() && now - queue.front().since >= kPatience;
    };
    if (waits_long(Work::kRead) || waits_long(Work::kContinuation)) {
      if (std::condition_variable* worker = call_worker(); worker != nullptr) {
        ++passes_;
        worker->notify_one();
      }
    }
    empty = computing_waits() ? 0 : empty + 1;
    if (empty >= kEmptyLooks) {
      watching_ = false;
      empty = 0;
    }
  }
}

void WorkerPool::stop() {
  std::vector<Job> dropped;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    while (std::condition_variable* worker = call_worker()) worker->notify_one();
  }
  watched_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  if (watcher_.joinable()) watcher_.join();
  const std::lock_guard lock(mutex_);
  for (Queue& queue : queues_) {
    for (Waiting& waiting : queue) dropped.push_back(std::move(waiting.job));
    queue.clear();
  }
  queued_.add(-static_cast<double>(dropped.size()));
}

}  // namespace roster::http
