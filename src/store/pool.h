#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"

namespace roster::store {

/// A bounded set of connections, opened when first needed, the most recently used first (its caches
/// are warm). Thread-safe.
template <typename Connection>
class Pool {
 public:
  using Open = std::function<Result<std::unique_ptr<Connection>>()>;

  Pool(std::size_t size_max, std::chrono::milliseconds wait_max, Open open)
      : size_max_(size_max), wait_max_(wait_max), open_(std::move(open)) {}

  /// One connection for one user at a time; goes back when the lease ends unless dropped.
  class Lease {
   public:
    Lease(Pool* pool, std::unique_ptr<Connection> connection)
        : pool_(pool), connection_(std::move(connection)) {}
    Lease(Lease&& other) noexcept
        : pool_(std::exchange(other.pool_, nullptr)), connection_(std::move(other.connection_)) {}
    Lease& operator=(Lease&&) = delete;
    ~Lease() {
      if (pool_ != nullptr) pool_->give_back(std::move(connection_));
    }

    Connection& operator*() const { return *connection_; }
    Connection* operator->() const { return connection_.get(); }
    /// The connection is broken: close it instead of giving it back.
    void drop() { connection_.reset(); }

   private:
    Pool* pool_;
    std::unique_ptr<Connection> connection_;
  };

  /// kUnavailable when all are in use for longer than the bound, or opening one fails.
  Result<Lease> acquire() {
    std::unique_lock lock(mutex_);
    const bool got = returned_.wait_for(
        lock, wait_max_, [this] { return !idle_.empty() || open_count_ < size_max_; });
    if (!got) {
      return fail(Code::kUnavailable,
                  "all " + std::to_string(size_max_) + " read connections are busy; try again");
    }
    if (!idle_.empty()) {
      auto connection = std::move(idle_.back());
      idle_.pop_back();
      return Lease(this, std::move(connection));
    }
    ++open_count_;
    lock.unlock();
    auto connection = open_();
    if (!connection) {
      give_back(nullptr);
      return std::unexpected(std::move(connection).error());
    }
    return Lease(this, std::move(*connection));
  }

 private:
  void give_back(std::unique_ptr<Connection> connection) {
    {
      const std::lock_guard lock(mutex_);
      if (connection != nullptr) {
        idle_.push_back(std::move(connection));
      } else {
        --open_count_;
      }
    }
    returned_.notify_one();
  }

  const std::size_t size_max_;
  const std::chrono::milliseconds wait_max_;
  const Open open_;

  std::mutex mutex_;
  std::condition_variable returned_;
  // Guarded by mutex_.
  std::size_t open_count_ = 0;
  std::vector<std::unique_ptr<Connection>> idle_;
};

}  // namespace roster::store
