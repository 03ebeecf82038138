#include "store/sqlite_connection.h"

#include <errno.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <variant>

#include "store/sql_text.h"

namespace roster::store {
namespace {

/// "UNIQUE constraint failed: t.a, t.b" becomes "taken: t(a, b)", as on PostgreSQL.
std::string taken_message(std::string_view engine_message) {
  constexpr std::string_view kPrefix = "constraint failed: ";
  const std::size_t at = engine_message.find(kPrefix);
  if (at == std::string_view::npos) return "taken";
  std::string_view list = engine_message.substr(at + kPrefix.size());
  const std::size_t dot = list.find('.');
  if (dot == std::string_view::npos) return "taken: " + std::string(list);  // an index's name
  const std::string table(list.substr(0, dot));
  std::string columns;
  while (!list.empty()) {
    const std::string_view item = list.substr(0, list.find(", "));
    list.remove_prefix(std::min(list.size(), item.size() + 2));
    if (!columns.empty()) columns += ", ";
    columns += item.substr(std::min(item.size(), table.size() + 1));
  }
  return "taken: " + table + "(" + columns + ")";
}

bool means_disk_full(int rc, int system_errno) {
  if ((rc & 0xff) == SQLITE_FULL) return true;
  // SQLite names only ENOSPC from write(2) FULL; quotas, fsync and the growth of the shared memory
  // file come as I/O errors.
  if (rc == SQLITE_IOERR_SHMSIZE) return true;
  const bool io = (rc & 0xff) == SQLITE_IOERR || (rc & 0xff) == SQLITE_CANTOPEN;
  return io && (system_errno == ENOSPC || system_errno == EDQUOT);
}

Code code_from(int rc) {
  switch (rc) {
    case SQLITE_CONSTRAINT_UNIQUE:
    case SQLITE_CONSTRAINT_PRIMARYKEY:
    case SQLITE_CONSTRAINT_ROWID:
      return Code::kAlreadyExists;
    case SQLITE_CONSTRAINT_FOREIGNKEY:
      return Code::kFailedPrecondition;
    default:
      break;
  }
  switch (rc & 0xff) {
    case SQLITE_FULL:
    case SQLITE_IOERR:
    case SQLITE_NOMEM:
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_INTERRUPT:
    case SQLITE_PROTOCOL:
    case SQLITE_CANTOPEN:
      return Code::kUnavailable;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return Code::kDataLoss;
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return Code::kPermissionDenied;
    case SQLITE_TOOBIG:
      return Code::kTooLarge;
    default:
      return Code::kInternal;
  }
}

class SqliteRow final : public Row {
 public:
  explicit SqliteRow(sqlite3_stmt* statement) : statement_(statement) {}

  bool is_null(int column) const override { return type(column) == SQLITE_NULL; }

  std::int64_t integer(int column) const override {
    CHECK(type(column) == SQLITE_INTEGER);
    return sqlite3_column_int64(statement_, column);
  }

  std::string_view text(int column) const override {
    CHECK(type(column) == SQLITE_TEXT);
    const auto* bytes = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
    return {bytes, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column))};
  }

  std::string_view blob(int column) const override {
    CHECK(type(column) == SQLITE_BLOB);
    const auto* bytes = static_cast<const char*>(sqlite3_column_blob(statement_, column));
    if (bytes == nullptr) return {};  // SQLite's form of an empty one
    return {bytes, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column))};
  }

 private:
  int type(int column) const {
    CHECK(column >= 0 && column < sqlite3_data_count(statement_));
    return sqlite3_column_type(statement_, column);
  }

  sqlite3_stmt* statement_;
};

/// A null pointer would bind NULL.
const char* bytes_of(std::string_view view) { return view.data() == nullptr ? "" : view.data(); }

int bind(sqlite3_stmt* statement, int index, const Param& param) {
  if (std::holds_alternative<std::nullptr_t>(param)) return sqlite3_bind_null(statement, index);
  if (const auto* n = std::get_if<std::int64_t>(&param)) {
    return sqlite3_bind_int64(statement, index, *n);
  }
  if (const auto* text = std::get_if<std::string_view>(&param)) {
    return sqlite3_bind_text64(statement, index, bytes_of(*text), text->size(), SQLITE_STATIC,
                               SQLITE_UTF8);
  }
  const std::string_view bytes = std::get<BlobView>(param).bytes;
  return sqlite3_bind_blob64(statement, index, bytes_of(bytes), bytes.size(), SQLITE_STATIC);
}

}  // namespace

/// A prepared statement with its parameters, until it is reset. A statement that is already being
/// stepped (a query inside the callback of the same query) gets a second copy, used once.
class SqliteConnection::Use {
 public:
  explicit Use(Cache::Entry* entry) : entry_(entry) { entry_->in_use = true; }
  explicit Use(StatementHandle own) : own_(std::move(own)) {}
  Use(Use&& other) noexcept
      : entry_(std::exchange(other.entry_, nullptr)), own_(std::move(other.own_)) {}
  Use& operator=(Use&&) = delete;
  ~Use() {
    if (entry_ == nullptr) return;
    sqlite3_reset(entry_->handle.get());
    sqlite3_clear_bindings(entry_->handle.get());
    entry_->in_use = false;
  }

  sqlite3_stmt* get() const { return entry_ != nullptr ? entry_->handle.get() : own_.get(); }

 private:
  Cache::Entry* entry_ = nullptr;
  StatementHandle own_;
};

Result<std::unique_ptr<SqliteConnection>> SqliteConnection::open(
    const SqliteConnectionOptions& options) {
  std::unique_ptr<SqliteConnection> connection(new SqliteConnection(options.statements_max));
  sqlite3* db = nullptr;
  const int rc =
      sqlite3_open_v2(options.path.c_str(), &db,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, nullptr);
  connection->db_.reset(db);
  if (rc != SQLITE_OK) {
    return std::unexpected(connection->error_from("open " + options.path.string(), rc));
  }
  if (auto configured = connection->configure(options); !configured) {
    return fail_in(options.path.string(), std::move(configured).error());
  }
  return connection;
}

Result<void> SqliteConnection::configure(const SqliteConnectionOptions& options) {
  sqlite3* db = db_.get();
  sqlite3_busy_timeout(db, static_cast<int>(options.busy_timeout.count()));
  // A damaged or forged file must not run code of its schema or be half repaired by hand.
  for (const auto& [setting, on] :
       {std::pair{SQLITE_DBCONFIG_DEFENSIVE, 1}, std::pair{SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0},
        std::pair{SQLITE_DBCONFIG_ENABLE_FKEY, 1}, std::pair{SQLITE_DBCONFIG_DQS_DML, 0},
        std::pair{SQLITE_DBCONFIG_DQS_DDL, 0}}) {
    int now = -1;
    CHECK(sqlite3_db_config(db, setting, on, &now) == SQLITE_OK && now == on);
  }
  sqlite3_limit(db, SQLITE_LIMIT_ATTACHED, 0);
  bool is_wal = false;
  const Statement journal{"journal mode", "PRAGMA journal_mode = WAL"};
  RETURN_IF_ERROR(do_query(journal, {}, [&is_wal](const Row& row) -> Result<void> {
    is_wal = row.text(0) == "wal";
    return {};
  }));
  if (!is_wal) {
    return fail(Code::kFailedPrecondition,
                "the file system does not support SQLite's write-ahead log (is it a network one?)");
  }
  const std::string script =
      "PRAGMA synchronous = FULL; PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0;"
      "PRAGMA temp_store = MEMORY; PRAGMA wal_autocheckpoint = 0;"
      "PRAGMA journal_size_limit = " +
      std::to_string(options.wal_bytes_max) + "; PRAGMA cache_size = -" +
      std::to_string(std::max<std::int64_t>(1, options.page_cache_bytes / 1024)) +
      "; PRAGMA query_only = " + (options.query_only ? "ON" : "OFF");
  return do_script(script);
}

Error SqliteConnection::error_from(std::string_view what, int rc) {
  const int system_errno = sqlite3_system_errno(db_.get());
  const bool full = means_disk_full(rc, system_errno);
  if (trouble_ != Trouble::kDiskFull) trouble_ = full ? Trouble::kDiskFull : Trouble::kOther;
  const Code code = full ? Code::kUnavailable : code_from(rc);
  std::string message(what);
  if (full) {
    message += ": the disk is full";
  } else if (code == Code::kAlreadyExists) {
    message += ": " + taken_message(sqlite3_errmsg(db_.get()));
  } else {
    message += ": ";
    message += db_ == nullptr ? sqlite3_errstr(rc) : sqlite3_errmsg(db_.get());
  }
  return Error{code, std::move(message)};
}

Result<void> SqliteConnection::control(const Statement& s) {
  if (auto done = do_execute(s, {}); !done) return std::unexpected(std::move(done).error());
  return {};
}

Result<SqliteConnection::Use> SqliteConnection::prepare(const Statement& s,
                                                        std::span<const Param> params) {
  Cache::Entry* entry = cache_.find(s.sql);
  std::optional<Use> use;
  if (entry != nullptr && !entry->in_use) {
    use.emplace(entry);
  } else {
    const NumberedSql numbered = number_parameters(s.sql);
    sqlite3_stmt* raw = nullptr;
    const int rc = sqlite3_prepare_v3(db_.get(), numbered.sql.c_str(),
                                      static_cast<int>(numbered.sql.size()) + 1,
                                      SQLITE_PREPARE_PERSISTENT, &raw, nullptr);
    StatementHandle handle(raw);
    if (rc != SQLITE_OK) return std::unexpected(error_from(s.name, rc));
    CHECK(handle != nullptr);  // an empty statement
    if (entry != nullptr) {
      use.emplace(std::move(handle));
    } else {
      use.emplace(cache_.insert(s.sql, std::move(handle)));
      cache_.evict();
    }
  }
  CHECK(sqlite3_bind_parameter_count(use->get()) == static_cast<int>(params.size()));
  for (std::size_t i = 0; i < params.size(); ++i) {
    const int rc = bind(use->get(), static_cast<int>(i) + 1, params[i]);
    if (rc != SQLITE_OK) return std::unexpected(error_from(s.name, rc));
  }
  return std::move(*use);
}

Result<std::int64_t> SqliteConnection::do_execute(const Statement& s,
                                                  std::span<const Param> params) {
  ASSIGN_OR_RETURN(const Use use, prepare(s, params));
  const std::int64_t before = sqlite3_total_changes64(db_.get());
  int rc = SQLITE_ROW;
  while (rc == SQLITE_ROW) rc = sqlite3_step(use.get());
  if (rc != SQLITE_DONE) return std::unexpected(error_from(s.name, rc));
  // sqlite3_changes keeps the number of an earlier statement when this one changes nothing.
  if (sqlite3_total_changes64(db_.get()) == before) return 0;
  return sqlite3_changes64(db_.get());
}

Result<void> SqliteConnection::do_query(const Statement& s, std::span<const Param> params,
                                        const RowFn& fn) {
  ASSIGN_OR_RETURN(const Use use, prepare(s, params));
  const SqliteRow row(use.get());
  while (true) {
    const int rc = sqlite3_step(use.get());
    if (rc == SQLITE_DONE) return {};
    if (rc != SQLITE_ROW) return std::unexpected(error_from(s.name, rc));
    RETURN_IF_ERROR(fn(row));
  }
}

Result<void> SqliteConnection::do_script(std::string_view sql) {
  const std::string text(sql);
  const int rc = sqlite3_exec(db_.get(), text.c_str(), nullptr, nullptr, nullptr);
  if (rc != SQLITE_OK) return std::unexpected(error_from("script", rc));
  return {};
}

}  // namespace roster::store
