#pragma once

#include <sqlite3.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "store/database.h"
#include "store/engine_tx.h"
#include "store/statement_cache.h"
#include "store/writer.h"

namespace roster::store {

struct SqliteConnectionOptions {
  std::filesystem::path path;
  /// Statements that write are refused.
  bool query_only = false;
  std::chrono::milliseconds busy_timeout{5000};
  std::int64_t page_cache_bytes = 8 << 20;
  /// The log file is cut to this size when it starts anew.
  std::int64_t wal_bytes_max = 64 << 20;
  std::size_t statements_max = 256;
};

/// One connection to a database file, and the transaction on it. One user at a time.
class SqliteConnection final : public EngineTx {
 public:
  static Result<std::unique_ptr<SqliteConnection>> open(const SqliteConnectionOptions& options);

  /// A statement without parameters that begins or ends a transaction or savepoint.
  Result<void> control(const Statement& s);

  bool in_transaction() const { return sqlite3_get_autocommit(db_.get()) == 0; }
  Trouble trouble() const { return trouble_; }
  void forget_trouble() { trouble_ = Trouble::kNone; }

  sqlite3* handle() const { return db_.get(); }
  std::size_t cached_statements() const { return cache_.size(); }

 protected:
  Result<std::int64_t> do_execute(const Statement& s, std::span<const Param> params) override;
  Result<void> do_query(const Statement& s, std::span<const Param> params,
                        const RowFn& fn) override;
  Result<void> do_script(std::string_view sql) override;

 private:
  struct Close {
    void operator()(sqlite3* db) const { sqlite3_close_v2(db); }
  };
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
  };
  using StatementHandle = std::unique_ptr<sqlite3_stmt, Finalize>;
  using Cache = StatementCache<StatementHandle>;
  class Use;

  explicit SqliteConnection(std::size_t statements_max) : cache_(statements_max) {}

  Result<void> configure(const SqliteConnectionOptions& options);
  Result<Use> prepare(const Statement& s, std::span<const Param> params);
  /// The error for `rc`, noting what it means for the transaction.
  Error error_from(std::string_view what, int rc);

  std::unique_ptr<sqlite3, Close> db_;
  Cache cache_;  // after db_: statements go before their connection
  Trouble trouble_ = Trouble::kNone;
};

}  // namespace roster::store
