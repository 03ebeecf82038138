#include "store/writer.h"

#include <exception>
#include <iterator>
#include <string>
#include <utility>

#include "base/log.h"

namespace roster::store {
namespace {

using SteadyClock = std::chrono::steady_clock;

const std::thread::id kNobody;

/// What a closure or a hook throws is its own bug and must not take the writer down.
template <typename Fn>
Result<void> call_guarded(std::string_view what, const Fn& fn) {
  try {
    return fn();
  } catch (const std::exception& e) {
    return fail(Code::kInternal, std::string(what) + " threw an exception: " + e.what());
  } catch (...) {
    return fail(Code::kInternal, std::string(what) + " threw an exception");
  }
}

}  // namespace

struct Writer::Counters {
  explicit Counters(Metrics& metrics)
      : commits(metrics.counter("roster_store_commits_total", "Transactions committed.")),
        failures(metrics.counter("roster_store_commit_failures_total",
                                 "Batches of writes that could not be committed.")),
        refused(metrics.counter("roster_store_refused_writes_total",
                                "Writes refused because the queue or the disk is full.")),
        closures(metrics.histogram("roster_store_batch_writes", "Writes in one transaction.", {},
                                   {1, 2, 4, 8, 16, 32, 64})),
        seconds(metrics.histogram("roster_store_batch_seconds",
                                  "From the start of a transaction to its commit.")),
        queue(metrics.gauge("roster_store_queued_writes", "Writes that wait for their turn.")) {}

  Metrics::Counter commits;
  Metrics::Counter failures;
  Metrics::Counter refused;
  Metrics::Histogram closures;
  Metrics::Histogram seconds;
  Metrics::Gauge queue;
};

Writer::Writer(std::unique_ptr<WriteSession> session, WriterOptions options)
    : options_(options),
      counters_(options.metrics == nullptr ? nullptr
                                           : std::make_unique<Counters>(*options.metrics)),
      session_(std::move(session)),
      thread_([this] { run(); }) {}

Writer::~Writer() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void Writer::set_hooks(BatchHooks hooks) {
  const std::lock_guard lock(mutex_);
  CHECK(!hooks_set_);
  hooks_ = std::move(hooks);
  hooks_set_ = true;
}

Result<void> Writer::write(const std::function<Result<void>(Tx&)>& fn, Urgency urgency) {
  const std::thread::id self = std::this_thread::get_id();
  std::future<Result<void>> answer;
  bool here = false;
  bool wake = false;
  {
    const std::lock_guard lock(mutex_);
    CHECK(writing_ != self);  // a closure that writes waits for itself
    if (stopping_) return fail(Code::kUnavailable, "the store is shutting down");
    if (queue_.size() >= options_.queue_max) {
      if (counters_) counters_->refused.add();
      return fail(Code::kUnavailable, "the queue of writes is full; try again");
    }
    Job& job = queue_.emplace_back(Job{&fn, urgency, {}, {}});
    answer = job.answer.get_future();
    here = lone_ && writing_ == kNobody && queue_.size() == 1;
    // Who writes looks for more at the end.
    wake = !here && writing_ == kNobody;
    if (here) writing_ = self;
  }
  if (here) write_here();
  if (wake) wake_.notify_one();
  return answer.get();
}

/// The writer's thread goes on when there is more to write, or something broken to mend.
void Writer::write_here() {
  const std::size_t written = write_some();
  const std::lock_guard lock(mutex_);
  write_no_longer(written);
  if (!queue_.empty() || stopping_ || !health_) wake_.notify_one();
}

Result<void> Writer::health() const {
  const std::lock_guard lock(mutex_);
  return health_;
}

std::size_t Writer::queued() const {
  const std::lock_guard lock(mutex_);
  return queue_.size();
}

void Writer::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    const auto has_work = [this] { return writing_ == kNobody && (stopping_ || !queue_.empty()); };
    wake_.wait(lock, [this, &has_work] { return !health_ || has_work(); });
    if (!health_) wake_.wait_for(lock, options_.mend_interval, has_work);
    if (writing_ != kNobody) continue;
    if (stopping_ && queue_.empty()) return;
    writing_ = std::this_thread::get_id();
    lock.unlock();
    const std::size_t written = write_some();
    lock.lock();
    write_no_longer(written);
  }
}

/// One batch of what waits, if anything does; how many there were. The caller has taken `writing_`.
/// What is thrown here (no memory) leaves session and buffers in a state that nobody knows, on
/// whosever thread: the process ends, and the next one finds what was committed.
std::size_t Writer::write_some() noexcept {
  mend();
  auto job = next_job();
  return job ? run_batch(std::move(*job)) : 0;
}

/// With mutex_ held.
void Writer::write_no_longer(std::size_t written) {
  writing_ = kNobody;
  lone_ = written <= 1 && queue_.empty();
}

void Writer::mend() { set_health(session_->prepare(Urgency::kNormal)); }

void Writer::set_health(Result<void> health) {
  const bool good = health.has_value();
  std::string reason = good ? std::string() : health.error().message;
  bool changed = false;
  {
    const std::lock_guard lock(mutex_);
    changed = health_.has_value() != good;
    health_ = std::move(health);
  }
  if (!changed) return;
  if (good) {
    log::info("writes are possible again");
  } else {
    log::error("writes are refused", {{"reason", reason}});
  }
}

std::optional<Writer::Job> Writer::pop() {
  const std::lock_guard lock(mutex_);
  if (counters_) counters_->queue.set(static_cast<double>(queue_.size()));
  if (queue_.empty()) return std::nullopt;
  std::optional<Job> job(std::move(queue_.front()));
  queue_.pop_front();
  return job;
}

/// The next job that may be tried; those that may not are answered here.
std::optional<Writer::Job> Writer::next_job() {
  while (auto job = pop()) {
    auto admitted = health();  // only who writes changes it
    if (!admitted && job->urgency == Urgency::kRevocation) {
      admitted = session_->prepare(Urgency::kRevocation);
    }
    if (admitted) return job;
    if (counters_) counters_->refused.add();
    job->answer.set_value(std::move(admitted));
  }
  return std::nullopt;
}

/// How many there were at the last attempt.
std::size_t Writer::run_batch(Job first) {
  const auto start = SteadyClock::now();
  Batch batch;
  batch.reserve(options_.batch_max);
  batch.push_back(std::move(first));

  Attempt attempt = attempt_batch(batch, /*may_grow=*/true);
  if (!attempt.committed && attempt.trouble != Trouble::kRetry && attempt.culprit) {
    // The transaction ended under one closure, and with it the work of the others. That one fails,
    // the others are run once more. An urgent one gets its turn below.
    const auto culprit = std::next(batch.begin(), static_cast<std::ptrdiff_t>(*attempt.culprit));
    const bool spared =
        attempt.trouble == Trouble::kDiskFull && culprit->urgency == Urgency::kRevocation;
    if (!spared) {
      culprit->answer.set_value(std::unexpected(attempt.error));
      batch.erase(culprit);
      if (batch.empty()) {
        if (counters_) counters_->failures.add();
        return 1;
      }
      attempt = attempt_batch(batch, /*may_grow=*/false);
    }
  } else if (!attempt.committed && attempt.trouble == Trouble::kRetry) {
    attempt = attempt_batch(batch, /*may_grow=*/false);
  }
  if (!attempt.committed && attempt.trouble == Trouble::kDiskFull) {
    attempt = attempt_from_reserve(batch, std::move(attempt));
  }
  if (counters_ && attempt.committed) {
    counters_->commits.add();
    counters_->closures.observe(static_cast<double>(batch.size()));
    counters_->seconds.observe(std::chrono::duration<double>(SteadyClock::now() - start).count());
  } else if (counters_) {
    counters_->failures.add();
  }
  answer_batch(batch, attempt);
  return batch.size();
}

/// The disk is full: ordinary writes fail; those that take access away are tried alone, then with
/// one part of the reserve after another given back to the file system.
Writer::Attempt Writer::attempt_from_reserve(Batch& batch, Attempt attempt) {
  Batch urgent;
  for (Job& job : batch) {
    if (job.urgency == Urgency::kRevocation) {
      urgent.push_back(std::move(job));
    } else {
      job.answer.set_value(fail(Code::kUnavailable, attempt.error.message));
    }
  }
  const bool alone_already = urgent.size() == batch.size();
  batch = std::move(urgent);
  if (batch.empty()) return attempt;
  if (!alone_already) attempt = attempt_batch(batch, /*may_grow=*/false);
  while (!attempt.committed && attempt.trouble == Trouble::kDiskFull &&
         session_->release_reserve()) {
    attempt = attempt_batch(batch, /*may_grow=*/false);
  }
  return attempt;
}

Writer::Attempt Writer::attempt_batch(Batch& batch, bool may_grow) {
  const std::size_t base = hooks_.mark();
  if (auto begun = session_->begin(); !begun) return broken(base, begun.error(), std::nullopt);
  Attempt attempt = run_closures(batch, may_grow, base);
  if (!attempt.committed) return attempt;
  return finish_and_commit(batch, base);
}

/// Runs the closures of the batch and, when it may grow, those that wait in the queue, up to the
/// bounds of one batch. `committed` in the answer means "may be committed".
Writer::Attempt Writer::run_closures(Batch& batch, bool may_grow, std::size_t base) {
  const auto deadline = SteadyClock::now() + options_.batch_time;
  for (std::size_t i = 0;; ++i) {
    if (i == batch.size()) {
      if (!may_grow || batch.size() >= options_.batch_max || SteadyClock::now() >= deadline) break;
      auto job = next_job();
      if (!job) break;
      batch.push_back(std::move(*job));
    }
    run_closure(batch[i]);
    const Trouble trouble = session_->trouble();
    const bool full = trouble == Trouble::kDiskFull && !batch[i].result;
    if (!session_->in_transaction() || trouble == Trouble::kRetry || full) {
      const Error fallback{Code::kInternal, "a write ended the transaction it was given"};
      return broken(base, session_->tx().spent().value_or(fallback), i);
    }
  }
  return Attempt{.committed = true};
}

void Writer::run_closure(Job& job) {
  const std::size_t mark = hooks_.mark();
  EngineTx& tx = session_->tx();
  tx.renew();
  job.result = session_->savepoint();
  if (!job.result) return;
  job.result = call_guarded("a write", [&job, &tx] { return (*job.fn)(tx); });
  // A closure may not look away from an error of the engine: on PostgreSQL its work is lost.
  if (job.result && tx.spent()) job.result = std::unexpected(*tx.spent());
  if (job.result) job.result = session_->release_savepoint();
  if (job.result) return;
  hooks_.truncate(mark);
  if (!session_->in_transaction()) return;
  if (!session_->rollback_to_savepoint()) session_->rollback();
}

Writer::Attempt Writer::finish_and_commit(const Batch& batch, std::size_t base) {
  bool any = false;
  for (const Job& job : batch) any = any || job.result.has_value();
  if (!any) {
    session_->rollback();
    hooks_.truncate(base);
    return Attempt{.committed = true};
  }
  EngineTx& tx = session_->tx();
  tx.renew();
  auto finished = call_guarded("the end of a batch", [this, &tx] { return hooks_.finish(tx); });
  if (finished && tx.spent()) finished = std::unexpected(*tx.spent());
  if (!finished) {
    Attempt attempt = broken(base, finished.error(), std::nullopt);
    attempt.answer = attempt.error.code;
    return attempt;
  }
  if (auto committed = session_->commit(); !committed) {
    return broken(base, committed.error(), std::nullopt);
  }
  const auto told = call_guarded("the notice of a commit", [this]() -> Result<void> {
    hooks_.committed();
    return {};
  });
  if (!told) log::error("notice of a commit failed", {{"error", told.error().message}});
  return Attempt{.committed = true};
}

Writer::Attempt Writer::broken(std::size_t base, Error error, std::optional<std::size_t> culprit) {
  const Trouble trouble = session_->trouble();
  session_->rollback();
  hooks_.truncate(base);
  return Attempt{
      .committed = false, .error = std::move(error), .trouble = trouble, .culprit = culprit};
}

void Writer::answer_batch(Batch& batch, const Attempt& attempt) {
  for (Job& job : batch) {
    if (attempt.committed) {
      job.answer.set_value(std::move(job.result));
    } else {
      // Also a closure's own error is void: it may rest on rows that were not committed.
      job.answer.set_value(
          fail(attempt.answer, "the write was not confirmed: " + attempt.error.message));
    }
  }
  if (attempt.committed || batch.empty()) return;
  log::warn("a batch of writes was not committed",
            {{"writes", batch.size()}, {"error", attempt.error.message}});
}

}  // namespace roster::store
