#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>

#include "base/result.h"

namespace roster::store {

/// SQL that both engines share, a constant with static storage. Parameters are $1, $2, ...
/// `name` is for metrics, errors and the query-plan test.
struct Statement {
  std::string_view name;
  std::string_view sql;
};

struct BlobView {
  std::string_view bytes;
};

/// What can be bound; views must outlive the call.
using Param = std::variant<std::nullptr_t, std::int64_t, std::string_view, BlobView>;

template <typename T>
Param to_param(const T& v) {
  if constexpr (std::is_same_v<T, std::nullptr_t> || std::is_same_v<T, BlobView>) {
    return v;
  } else if constexpr (std::is_integral_v<T>) {
    return static_cast<std::int64_t>(v);
  } else {
    return std::string_view(v);
  }
}
template <typename T>
Param to_param(const std::optional<T>& v) {
  return v ? to_param(*v) : Param(nullptr);
}

/// One row of an answer; valid only inside the callback. Columns count from 0.
/// Asking for the wrong type of a column is a programmer's error (CHECK).
class Row {
 public:
  virtual ~Row() = default;
  virtual bool is_null(int column) const = 0;
  virtual std::int64_t integer(int column) const = 0;
  virtual std::string_view text(int column) const = 0;
  virtual std::string_view blob(int column) const = 0;

  std::optional<std::int64_t> integer_or_null(int column) const {
    if (is_null(column)) return std::nullopt;
    return integer(column);
  }
  std::optional<std::string> text_or_null(int column) const {
    if (is_null(column)) return std::nullopt;
    return std::string(text(column));
  }
};

using RowFn = std::function<Result<void>(const Row&)>;

/// A transaction, or a savepoint inside a batch. Statements are prepared once per connection and
/// cached by their text (least recently used, bounded).
///
/// An error from the engine ends the work on both engines: every later call returns it again, and a
/// write that returns a value all the same fails with it. Use ON CONFLICT to go on after a clash.
/// Texts with U+0000 or broken UTF-8 are kInvalidArgument. Integers are 64 bits wide; on PostgreSQL
/// sum() of them is numeric, so cast it: CAST(sum(n) AS BIGINT).
class Tx {
 public:
  virtual ~Tx() = default;

  /// Number of rows changed. kAlreadyExists for a uniqueness violation, kFailedPrecondition for a
  /// foreign key, kUnavailable when the engine cannot now (busy, full disk, lost connection).
  /// A uniqueness error names the columns, never the values: "<statement>: taken: tbl(a, b)".
  template <typename... P>
  Result<std::int64_t> execute(const Statement& s, const P&... params) {
    std::array<Param, sizeof...(P)> bound{to_param(params)...};
    return execute_bound(s, bound);
  }

  /// Calls `fn` for each row, in order; an error from it ends the query and is returned.
  template <typename... P>
  Result<void> query(const Statement& s, const RowFn& fn, const P&... params) {
    std::array<Param, sizeof...(P)> bound{to_param(params)...};
    return query_bound(s, bound, fn);
  }

  /// The first row as `make` sees it, or nothing.
  template <typename Make, typename... P>
  auto query_one(const Statement& s, Make make, const P&... params)
      -> Result<std::optional<std::invoke_result_t<Make, const Row&>>> {
    std::optional<std::invoke_result_t<Make, const Row&>> found;
    RETURN_IF_ERROR(query(
        s,
        [&found, &make](const Row& row) -> Result<void> {
          if (!found) found.emplace(make(row));
          return {};
        },
        params...));
    return found;
  }

  virtual Result<std::int64_t> execute_bound(const Statement& s, std::span<const Param> params) = 0;
  virtual Result<void> query_bound(const Statement& s, std::span<const Param> params,
                                   const RowFn& fn) = 0;

  /// Several statements without parameters, such as a step of a schema. They must not begin or end
  /// a transaction.
  virtual Result<void> run_script(std::string_view sql) = 0;
};

/// What the owner of the data does around a batch of closures (see Database::write). All are called
/// by one thread at a time. `directory` keeps its buffers of change and audit rows with these.
struct BatchHooks {
  /// Position of the buffers before a closure runs.
  std::function<std::size_t()> mark = [] { return std::size_t{0}; };
  /// Back to a mark: the closure failed, or will run again.
  std::function<void(std::size_t)> truncate = [](std::size_t) {};
  /// Inside the transaction, after the last closure: number and insert the buffered rows.
  std::function<Result<void>(Tx&)> finish = [](Tx&) -> Result<void> { return {}; };
  /// After COMMIT, before the closures' callers get their answers.
  std::function<void()> committed = [] {};
};

enum class Urgency {
  kNormal,
  /// Takes access away from somebody: also carried out when the disk is full, from the reserve.
  kRevocation,
};

enum class Engine { kSqlite, kPostgres };

/// One database of either engine. Thread-safe.
class Database {
 public:
  virtual ~Database() = default;

  virtual Engine engine() const = 0;

  /// Set once, before the first write.
  virtual void set_batch_hooks(BatchHooks hooks) = 0;

  /// Runs `fn` once on one read-only snapshot. At most one page of work: 1,000 rows or 50 ms
  /// (a long snapshot keeps the write-ahead log from being checkpointed).
  template <typename Fn>
  auto read(Fn fn) -> std::invoke_result_t<Fn, Tx&> {
    std::invoke_result_t<Fn, Tx&> out = fail(Code::kInternal, "not run");
    RETURN_IF_ERROR(read_erased([&out, &fn](Tx& tx) -> Result<void> {
      out = fn(tx);
      if (!out) return std::unexpected(out.error());
      return {};
    }));
    return out;
  }

  /// Carries `fn` out durably: when this returns a value, it survived. `fn` shares a transaction
  /// with others but not their failures; it may run more than once, so it must have no effect
  /// outside its Tx and assign its result anew each time. kUnavailable when the queue or the disk
  /// is full or the commit failed: then nothing of it is kept, except that the outcome is open when
  /// the connection or the disk itself failed during COMMIT. Not to be called inside a write.
  template <typename Fn>
  auto write(Fn fn, Urgency urgency = Urgency::kNormal) -> std::invoke_result_t<Fn, Tx&> {
    std::invoke_result_t<Fn, Tx&> out = fail(Code::kInternal, "not run");
    RETURN_IF_ERROR(write_erased(
        [&out, &fn](Tx& tx) -> Result<void> {
          out = fn(tx);
          if (!out) return std::unexpected(out.error());
          return {};
        },
        urgency));
    return out;
  }

  /// For liveness: can it read, can it write (disk, connection)?
  virtual Result<void> check() = 0;

 protected:
  virtual Result<void> read_erased(const std::function<Result<void>(Tx&)>& fn) = 0;
  virtual Result<void> write_erased(const std::function<Result<void>(Tx&)>& fn,
                                    Urgency urgency) = 0;
};

/// One step of a schema. Versions rise by one from 1. DDL is each engine's own.
struct Migration {
  int version;
  std::string_view name;
  std::string_view sqlite;
  std::string_view postgres;
};

/// Brings the schema to the newest version, each step in a transaction of its own.
/// kFailedPrecondition when the database is newer than the program.
Result<void> migrate(Database& database, std::span<const Migration> migrations);

}  // namespace roster::store
