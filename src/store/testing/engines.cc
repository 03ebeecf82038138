#include "store/testing/engines.h"

#include <stdlib.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <utility>

#include "base/secret.h"
#include "store/postgres.h"
#include "store/sql_text.h"
#include "store/sqlite.h"
#include "store/testing/postgres_server.h"

namespace roster::store::testing {
namespace {

template <typename T>
T or_die(Result<T> result) {
  if (!result) std::fprintf(stderr, "test database: %s\n", result.error().message.c_str());
  CHECK(result);
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

PostgresServer& server() { return *or_die(PostgresServer::shared()); }

std::string next_name() {
  static std::atomic<int> count = 0;
  return "t" + std::to_string(++count);
}

Result<std::unique_ptr<Database>> open_database(Engine engine, const DatabaseOptions& options,
                                                const std::filesystem::path& directory,
                                                const std::string& name) {
  if (engine == Engine::kSqlite) {
    return open_sqlite({.path = directory / "roster.db",
                        .readers_max = options.readers_max,
                        .statements_max = options.statements_max,
                        .queue_max = options.queue_max,
                        .batch_time = options.batch_time,
                        .reserve_bytes = 1 << 20,
                        .mend_interval = std::chrono::milliseconds(10)});
  }
  return open_postgres({.url = Secret(server().url(name)),
                        .readers_max = options.readers_max,
                        .statements_max = options.statements_max,
                        .queue_max = options.queue_max,
                        .batch_time = options.batch_time});
}

}  // namespace

TempDirectory::TempDirectory() {
  const bool memory = ::access("/dev/shm", W_OK) == 0;
  std::string pattern = memory
                            ? "/dev/shm/roster-XXXXXX"
                            : (std::filesystem::temp_directory_path() / "roster-XXXXXX").string();
  CHECK(::mkdtemp(pattern.data()) != nullptr);
  path_ = pattern;
}

TempDirectory::~TempDirectory() {
  std::error_code error;
  std::filesystem::remove_all(path_, error);
}

TestDatabase::TestDatabase(Engine engine, const DatabaseOptions& options)
    : engine_(engine), options_(options) {
  if (engine_ == Engine::kPostgres) {
    name_ = next_name();
    or_die(server().command("CREATE DATABASE " + name_ + " TEMPLATE template0"));
  }
  reopen();
}

TestDatabase::~TestDatabase() {
  close();
  if (engine_ == Engine::kPostgres) {
    or_die(server().command("DROP DATABASE " + name_ + " WITH (FORCE)"));
  }
}

Result<std::unique_ptr<Database>> TestDatabase::open_again() const {
  return open_database(engine_, options_, directory_.path(), name_);
}

void TestDatabase::reopen() {
  close();
  database_ = or_die(open_again());
}

std::string engine_unavailable(Engine engine) {
  if (engine == Engine::kSqlite) return {};
  const auto found = PostgresServer::shared();
  if (found || found.error().code != Code::kNotFound) return {};  // other errors fail the test
  return found.error().message;
}

std::string engine_name(const ::testing::TestParamInfo<Engine>& info) {
  return info.param == Engine::kSqlite ? "Sqlite" : "Postgres";
}

void BothEngines::SetUp() {
  if (const std::string reason = engine_unavailable(GetParam()); !reason.empty()) {
    GTEST_SKIP() << reason;
  }
}

Result<std::vector<std::string>> explain(Database& database, const Statement& s) {
  if (database.engine() != Engine::kSqlite) {
    return fail(Code::kUnsupported, "query plans are read from SQLite only");
  }
  const std::string sql = "EXPLAIN QUERY PLAN " + std::string(s.sql);
  const auto count = static_cast<std::size_t>(number_parameters(s.sql).parameters_max);
  const std::vector<Param> nothing(count, Param(nullptr));
  const Statement plan{s.name, sql};
  return database.read([&plan, &nothing](Tx& tx) -> Result<std::vector<std::string>> {
    std::vector<std::string> lines;
    RETURN_IF_ERROR(tx.query_bound(plan, nothing, [&lines](const Row& row) -> Result<void> {
      lines.emplace_back(row.text(3));
      return {};
    }));
    return lines;
  });
}

}  // namespace roster::store::testing
