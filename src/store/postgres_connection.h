#pragma once

#include <libpq-fe.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "store/database.h"
#include "store/engine_tx.h"
#include "store/postgres.h"
#include "store/statement_cache.h"
#include "store/writer.h"

namespace roster::store {

/// One session with a server, and the transaction on it. One user at a time.
class PostgresConnection final : public EngineTx {
 public:
  /// Errors never hold the password.
  static Result<std::unique_ptr<PostgresConnection>> open(const PostgresOptions& options);

  /// Statements without parameters that begin or end a transaction or savepoint.
  Result<void> control(const char* sql);
  /// COMMIT; an error also when the server rolled back instead.
  Result<void> commit();

  bool alive() const { return !lost_ && PQstatus(connection_.get()) == CONNECTION_OK; }
  bool in_transaction() const;
  Trouble trouble() const { return trouble_; }
  void forget_trouble() { trouble_ = Trouble::kNone; }
  std::size_t cached_statements() const { return cache_.size(); }

 protected:
  Result<std::int64_t> do_execute(const Statement& s, std::span<const Param> params) override;
  Result<void> do_query(const Statement& s, std::span<const Param> params,
                        const RowFn& fn) override;
  Result<void> do_script(std::string_view sql) override;

 private:
  struct Finish {
    void operator()(PGconn* connection) const { PQfinish(connection); }
  };
  struct Clear {
    void operator()(PGresult* result) const { PQclear(result); }
  };
  using Answer = std::unique_ptr<PGresult, Clear>;

  explicit PostgresConnection(std::size_t statements_max) : cache_(statements_max) {}

  Result<void> configure(const PostgresOptions& options);
  Result<std::string> prepare(const Statement& s, std::span<const Param> params);
  Result<Answer> run(const Statement& s, std::span<const Param> params);
  /// The error of an answer, noting what it means for the transaction.
  Error error_from(std::string_view what, const PGresult* result);

  std::unique_ptr<PGconn, Finish> connection_;
  StatementCache<std::string> cache_;  // SQL and parameter types -> name of the prepared statement
  std::uint64_t statements_made_ = 0;
  Trouble trouble_ = Trouble::kNone;
  // PQstatus alone is not enough: it stays CONNECTION_OK when only sending failed.
  bool lost_ = false;
};

}  // namespace roster::store
