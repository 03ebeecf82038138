#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "store/database.h"

namespace roster::store {
namespace {

// Times are the engine's own: they only tell an operator when a step was taken.
constexpr std::string_view kSqliteTable =
    "CREATE TABLE IF NOT EXISTS schema_version ("
    " version INTEGER PRIMARY KEY,"
    " name TEXT NOT NULL,"
    " applied_at INTEGER NOT NULL DEFAULT (unixepoch() * 1000)"
    ") STRICT";
constexpr std::string_view kPostgresTable =
    "CREATE TABLE IF NOT EXISTS schema_version ("
    " version bigint PRIMARY KEY,"
    " name text NOT NULL,"
    " applied_at bigint NOT NULL DEFAULT (extract(epoch FROM now()) * 1000)::bigint"
    ")";
// An index on a large table may take its time.
constexpr std::string_view kPostgresPatience = "SET LOCAL statement_timeout = 0";
constexpr Statement kNewest{"newest schema version",
                            "SELECT version, name FROM schema_version ORDER BY version DESC "
                            "LIMIT 1"};
constexpr Statement kRecord{"record schema version",
                            "INSERT INTO schema_version (version, name) VALUES ($1, $2)"};

struct Version {
  std::int64_t number = 0;
  std::string name;
};

Result<Version> newest(Tx& tx) {
  ASSIGN_OR_RETURN(const auto found, tx.query_one(kNewest, [](const Row& row) {
    return Version{row.integer(0), std::string(row.text(1))};
  }));
  return found.value_or(Version{});
}

Result<Version> current_version(Database& database) {
  // A database that has its table is only read: a program must start on a full disk, too.
  if (auto known = database.read([](Tx& tx) { return newest(tx); }); known) return known;
  const std::string_view table =
      database.engine() == Engine::kSqlite ? kSqliteTable : kPostgresTable;
  return database.write([table](Tx& tx) -> Result<Version> {
    RETURN_IF_ERROR(tx.run_script(table));
    return newest(tx);
  });
}

}  // namespace

Result<void> migrate(Database& database, std::span<const Migration> migrations) {
  for (std::size_t i = 0; i < migrations.size(); ++i) {
    CHECK(migrations[i].version == static_cast<int>(i) + 1);
  }
  ASSIGN_OR_RETURN(const Version have, current_version(database));
  const auto know = static_cast<std::int64_t>(migrations.size());
  if (have.number > know) {
    return fail(Code::kFailedPrecondition, "the database has schema version " +
                                               std::to_string(have.number) + " (" + have.name +
                                               "), this program knows versions up to " +
                                               std::to_string(know) + "; use a newer program");
  }
  const bool sqlite = database.engine() == Engine::kSqlite;
  for (const Migration& step : migrations.subspan(static_cast<std::size_t>(have.number))) {
    const std::string_view script = sqlite ? step.sqlite : step.postgres;
    auto done = database.write([&step, script, sqlite](Tx& tx) -> Result<void> {
      if (!sqlite) RETURN_IF_ERROR(tx.run_script(kPostgresPatience));
      RETURN_IF_ERROR(tx.run_script(script));
      if (auto noted = tx.execute(kRecord, step.version, step.name); !noted) {
        return std::unexpected(std::move(noted).error());
      }
      return {};
    });
    if (!done) {
      const std::string what =
          "schema step " + std::to_string(step.version) + " (" + std::string(step.name) + ")";
      return fail_in(what, std::move(done).error());
    }
  }
  return {};
}

}  // namespace roster::store
