#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/metrics.h"
#include "base/result.h"
#include "store/database.h"
#include "store/engine_tx.h"

namespace roster::store {

/// Why a transaction could not go on, as far as it matters to what the writer does next.
enum class Trouble {
  kNone,
  kDiskFull,  // may succeed from the reserve
  kRetry,     // another session was in the way (PostgreSQL 40001, 40P01): run all again
  kOther,
};

/// The one connection that writes, as the batching writer needs it. Used by one thread at a time.
class WriteSession {
 public:
  virtual ~WriteSession() = default;

  virtual EngineTx& tx() = 0;

  /// Mends what can be mended now (lost connection, used reserve). An error says why writes of this
  /// urgency are refused.
  virtual Result<void> prepare(Urgency urgency) = 0;

  virtual Result<void> begin() = 0;
  virtual Result<void> savepoint() = 0;
  virtual Result<void> release_savepoint() = 0;
  /// Undoes what was done since the savepoint and removes it.
  virtual Result<void> rollback_to_savepoint() = 0;
  virtual Result<void> commit() = 0;
  /// Whatever happens, no transaction is open afterwards.
  virtual void rollback() = 0;

  /// False when an error ended the transaction behind our back.
  virtual bool in_transaction() const = 0;
  /// The gravest trouble since begin().
  virtual Trouble trouble() const = 0;
  /// Gives disk space back to the file system; false when there is none left to give.
  virtual bool release_reserve() = 0;
};

struct WriterOptions {
  std::size_t queue_max = 1024;
  std::size_t batch_max = 64;
  std::chrono::milliseconds batch_time{5};
  /// How often trouble is looked at again while nothing is written.
  std::chrono::milliseconds mend_interval{250};
  /// Null: nothing is counted. Must outlive the writer.
  Metrics* metrics = nullptr;
};

/// Carries out closures in order, many to a transaction, each isolated from the failures of the
/// others by a savepoint. A lone closure is committed at once; batches form by themselves while a
/// commit waits for the disk. The writer has a thread for them. As long as writes come one by one,
/// each is carried out on its caller's, which spares two changes of threads. Thread-safe.
class Writer {
 public:
  Writer(std::unique_ptr<WriteSession> session, WriterOptions options);
  /// Carries out what is queued, then ends.
  ~Writer();
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  /// Once, before the first write.
  void set_hooks(BatchHooks hooks);

  /// Waits until `fn` is durable or failed. kUnavailable at once when the queue is full.
  Result<void> write(const std::function<Result<void>(Tx&)>& fn, Urgency urgency);

  /// Why normal writes are refused now, if they are.
  Result<void> health() const;

  /// Closures that wait for their turn.
  std::size_t queued() const;

 private:
  struct Job {
    const std::function<Result<void>(Tx&)>* fn;
    Urgency urgency;
    std::promise<Result<void>> answer;
    Result<void> result;  // of the latest run, valid when the transaction commits
  };
  using Batch = std::vector<Job>;

  /// How one attempt at a batch ended.
  struct Attempt {
    bool committed = false;
    // When not committed:
    Error error = {Code::kUnavailable, ""};
    Trouble trouble = Trouble::kNone;
    std::optional<std::size_t> culprit = {};  // the closure under which the transaction ended
    Code answer = Code::kUnavailable;         // for the others
  };

  struct Counters;

  void run();
  void write_here();
  std::size_t write_some() noexcept;
  void write_no_longer(std::size_t written);
  std::optional<Job> pop();
  std::optional<Job> next_job();
  void mend();
  void set_health(Result<void> health);

  std::size_t run_batch(Job first);
  Attempt attempt_batch(Batch& batch, bool may_grow);
  Attempt run_closures(Batch& batch, bool may_grow, std::size_t base);
  Attempt finish_and_commit(const Batch& batch, std::size_t base);
  Attempt broken(std::size_t base, Error error, std::optional<std::size_t> culprit);
  void run_closure(Job& job);
  Attempt attempt_from_reserve(Batch& batch, Attempt attempt);
  void answer_batch(Batch& batch, const Attempt& attempt);

  const WriterOptions options_;
  const std::unique_ptr<Counters> counters_;

  // Of the thread that writes.
  std::unique_ptr<WriteSession> session_;

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  // Guarded by mutex_. hooks_ is constant once the first job is queued.
  std::deque<Job> queue_;
  std::thread::id writing_;  // who writes; nobody's id when nobody does
  bool lone_ = true;         // the latest batch was one write, and none waited behind it
  bool stopping_ = false;
  Result<void> health_;
  BatchHooks hooks_;
  bool hooks_set_ = false;

  std::thread thread_;  // last: starts when all else is there
};

}  // namespace roster::store
