#include "store/postgres.h"

#include <algorithm>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "store/engine_database.h"
#include "store/pool.h"
#include "store/postgres_connection.h"

namespace roster::store {
namespace {

using SteadyClock = std::chrono::steady_clock;

// A number of ours ("roster" in ASCII); advisory locks are per database.
constexpr Statement kTryLock{
    "writer lock",
    "SELECT CASE WHEN pg_try_advisory_lock(125823003944306) THEN 1::bigint "
    "ELSE 0::bigint END"};
constexpr Statement kReadOne{"check", "SELECT 1::bigint"};
constexpr std::chrono::milliseconds kLockPoll{50};

Result<bool> try_lock(PostgresConnection& connection) {
  connection.renew();
  bool locked = false;
  RETURN_IF_ERROR(connection.query(kTryLock, [&locked](const Row& row) -> Result<void> {
    locked = row.integer(0) == 1;
    return {};
  }));
  return locked;
}

/// A connection that holds the writer's lock. The server notices the death of a predecessor within
/// moments, not at once, so it is tried for up to `wait_max`.
Result<std::unique_ptr<PostgresConnection>> open_writer(const PostgresOptions& options,
                                                        std::chrono::milliseconds wait_max) {
  ASSIGN_OR_RETURN(auto connection, PostgresConnection::open(options));
  const auto deadline = SteadyClock::now() + wait_max;
  while (true) {
    ASSIGN_OR_RETURN(const bool locked, try_lock(*connection));
    if (locked) return connection;
    if (SteadyClock::now() >= deadline) {
      return fail(Code::kFailedPrecondition,
                  "another rosterd writes to this database (it holds the advisory lock); stop it "
                  "first");
    }
    std::this_thread::sleep_for(kLockPoll);
  }
}

class PostgresSession final : public WriteSession {
 public:
  PostgresSession(std::unique_ptr<PostgresConnection> connection, const PostgresOptions& options)
      : options_(options), connection_(std::move(connection)) {}

  EngineTx& tx() override { return *connection_; }

  Result<void> prepare(Urgency) override {
    if (connection_->alive()) return {};
    if (SteadyClock::now() < reconnect_after_) return std::unexpected(*lost_);
    // Only this process's own earlier session can be in the way for long, so there is no waiting.
    auto connection = open_writer(options_, std::chrono::milliseconds(0));
    if (connection) {
      connection_ = std::move(*connection);
      pause_ = options_.reconnect_interval;
      return {};
    }
    lost_ = Error{Code::kUnavailable, std::move(connection).error().message};
    reconnect_after_ = SteadyClock::now() + pause_;
    pause_ = std::min(pause_ * 2, options_.reconnect_interval * 64);
    return std::unexpected(*lost_);
  }

  Result<void> begin() override {
    auto begun = begin_once();
    // A server that was restarted since the last write: nothing is in doubt yet.
    if (!begun && !connection_->alive()) begun = begin_once();
    return begun;
  }
  Result<void> savepoint() override { return connection_->control("SAVEPOINT one"); }
  Result<void> release_savepoint() override {
    return connection_->control("RELEASE SAVEPOINT one");
  }
  Result<void> rollback_to_savepoint() override {
    RETURN_IF_ERROR(connection_->control("ROLLBACK TO SAVEPOINT one"));
    return release_savepoint();
  }
  Result<void> commit() override { return connection_->commit(); }
  void rollback() override {
    // A failing ROLLBACK means a lost connection, and with it the transaction is gone too.
    if (in_transaction()) static_cast<void>(connection_->control("ROLLBACK").has_value());
  }

  bool in_transaction() const override { return connection_->in_transaction(); }
  Trouble trouble() const override { return connection_->trouble(); }
  bool release_reserve() override { return false; }

 private:
  Result<void> begin_once() {
    RETURN_IF_ERROR(prepare(Urgency::kNormal));
    connection_->forget_trouble();
    return connection_->control("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE");
  }

  const PostgresOptions options_;
  std::unique_ptr<PostgresConnection> connection_;
  std::optional<Error> lost_;
  SteadyClock::time_point reconnect_after_{};
  std::chrono::milliseconds pause_ = options_.reconnect_interval;
};

class PostgresDatabase final : public EngineDatabase {
 public:
  PostgresDatabase(std::unique_ptr<WriteSession> session, const WriterOptions& writer,
                   const PostgresOptions& options)
      : EngineDatabase(std::move(session), writer),
        readers_max_(options.readers_max),
        readers_(options.readers_max, options.wait_max,
                 [options] { return PostgresConnection::open(options); }) {}

  Engine engine() const override { return Engine::kPostgres; }

  Result<void> check() override {
    RETURN_IF_ERROR(read_erased([](Tx& tx) -> Result<void> {
      return tx.query(kReadOne, [](const Row&) -> Result<void> { return {}; });
    }));
    return writer().health();
  }

 protected:
  Result<void> read_erased(const std::function<Result<void>(Tx&)>& fn) override {
    // A server that was restarted leaves dead connections in the pool: they are dropped one by one,
    // until a new one is opened or cannot be.
    Result<void> begun;
    for (std::size_t attempt = 0; attempt <= readers_max_; ++attempt) {
      ASSIGN_OR_RETURN(auto connection, readers_.acquire());
      begun = connection->control("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
      if (begun) return read_on(connection, fn);
      if (connection->alive()) return begun;
      connection.drop();
    }
    return begun;
  }

 private:
  using Lease = Pool<PostgresConnection>::Lease;

  static Result<void> read_on(Lease& connection, const std::function<Result<void>(Tx&)>& fn) {
    connection->renew();
    auto result = fn(*connection);
    if (result && connection->spent()) result = std::unexpected(*connection->spent());
    if (!connection->control("ROLLBACK")) connection.drop();
    return result;
  }

  const std::size_t readers_max_;
  Pool<PostgresConnection> readers_;
};

}  // namespace

Result<std::unique_ptr<Database>> open_postgres(const PostgresOptions& options) {
  ASSIGN_OR_RETURN(auto connection, open_writer(options, options.takeover_wait));
  auto session = std::make_unique<PostgresSession>(std::move(connection), options);
  const WriterOptions writer{
      .queue_max = options.queue_max, .batch_time = options.batch_time, .metrics = options.metrics};
  return std::make_unique<PostgresDatabase>(std::move(session), writer, options);
}

}  // namespace roster::store
