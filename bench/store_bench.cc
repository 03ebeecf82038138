// What the batching writer costs and brings: the rows of one POST /Users (a person, an identity, a
// change, an audit row) through Database::write by 1 to 64 callers, against the same statements on
// a bare SQLite connection with the same settings, 1, 16 or 64 to a transaction. On the disk behind
// $TMPDIR; the reads at the end are what a lookup by key costs.

#include <benchmark/benchmark.h>
#include <sqlite3.h>
#include <stdlib.h>

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "store/sqlite.h"

namespace {

using roster::Result;
using roster::store::Database;
using roster::store::Statement;
using roster::store::Tx;

constexpr const char* kTables =
    "CREATE TABLE person (n INTEGER PRIMARY KEY, org INTEGER NOT NULL, id TEXT NOT NULL,"
    " name_key TEXT NOT NULL, doc TEXT NOT NULL, UNIQUE (org, id), UNIQUE (org, name_key)) STRICT;"
    "CREATE TABLE identity (n INTEGER PRIMARY KEY, org INTEGER NOT NULL, number INTEGER NOT NULL,"
    " name TEXT NOT NULL, UNIQUE (org, number), UNIQUE (org, name)) STRICT;"
    "CREATE TABLE change (org INTEGER, seq INTEGER, kind INTEGER, a INTEGER, PRIMARY KEY (org, "
    "seq))"
    " STRICT, WITHOUT ROWID;"
    "CREATE TABLE audit (org INTEGER, seq INTEGER, diff TEXT, PRIMARY KEY (org, seq)) STRICT;";

constexpr Statement kPerson{
    "person", "INSERT INTO person (n, org, id, name_key, doc) VALUES ($1, 1, $2, $3, $4)"};
constexpr Statement kIdentity{"identity",
                              "INSERT INTO identity (n, org, number, name) VALUES ($1, 1, $2, $3)"};
constexpr Statement kChange{"change",
                            "INSERT INTO change (org, seq, kind, a) VALUES (1, $1, 1, $1)"};
constexpr Statement kAudit{"audit", "INSERT INTO audit (org, seq, diff) VALUES (1, $1, $2)"};
constexpr Statement kFind{"find", "SELECT doc FROM person WHERE org = 1 AND name_key = $1"};

const std::string kDoc(700, 'd');
const std::string kDiff(300, 'a');

/// A row number that sorts like time and the texts made of it.
struct Person {
  explicit Person(std::int64_t number)
      : n(number),
        id("019340a2-7b3c-7000-8000-" + std::to_string(100'000'000'000 + n)),
        name("person" + std::to_string(n)) {}
  std::int64_t n;
  std::string id;
  std::string name;
};

class TempDirectory {
 public:
  TempDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "store-bench-XXXXXX").string();
    CHECK(::mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ~TempDirectory() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

struct Fixture {
  Fixture() {
    auto opened = roster::store::open_sqlite({.path = directory.path() / "roster.db"});
    CHECK(opened);
    database = std::move(*opened);
    CHECK(database->write([](Tx& tx) { return tx.run_script(kTables); }));
  }
  TempDirectory directory;
  std::unique_ptr<Database> database;
  std::atomic<std::int64_t> next = 1;
};

std::unique_ptr<Fixture> fixture;
void set_up(const benchmark::State&) { fixture = std::make_unique<Fixture>(); }
void tear_down(const benchmark::State&) { fixture.reset(); }

Result<void> insert_person(Tx& tx, const Person& p) {
  ASSIGN_OR_RETURN([[maybe_unused]] const auto a, tx.execute(kPerson, p.n, p.id, p.name, kDoc));
  ASSIGN_OR_RETURN([[maybe_unused]] const auto b, tx.execute(kIdentity, p.n, 10'000 + p.n, p.name));
  ASSIGN_OR_RETURN([[maybe_unused]] const auto c, tx.execute(kChange, p.n));
  ASSIGN_OR_RETURN([[maybe_unused]] const auto d, tx.execute(kAudit, p.n, kDiff));
  return {};
}

void writer(benchmark::State& state) {
  for (auto _ : state) {
    const Person person(fixture->next++);
    CHECK(fixture->database->write([&person](Tx& tx) { return insert_person(tx, person); }));
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(writer)
    ->Setup(set_up)
    ->Teardown(tear_down)
    ->ThreadRange(1, 64)
    ->MeasureProcessCPUTime()
    ->UseRealTime();

void read_by_key(benchmark::State& state) {
  if (state.thread_index() == 0) {
    for (int i = 0; i < 10'000; ++i) {
      const Person person(fixture->next++);
      CHECK(fixture->database->write([&person](Tx& tx) { return insert_person(tx, person); }));
    }
  }
  std::int64_t n = state.thread_index();
  for (auto _ : state) {
    const std::string name = "person" + std::to_string(1 + n++ % 10'000);
    const auto found = fixture->database->read([&name](Tx& tx) {
      return tx.query_one(
          kFind, [](const roster::store::Row& row) { return row.text(0).size(); }, name);
    });
    CHECK(found && *found);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(read_by_key)->Setup(set_up)->Teardown(tear_down)->Threads(1)->Threads(4)->UseRealTime();

/// The bound: no queue, no threads, no savepoints, nothing mapped.
class BareSqlite {
 public:
  BareSqlite() {
    CHECK(sqlite3_open((directory_.path() / "bare.db").c_str(), &db_) == SQLITE_OK);
    exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON");
    exec("PRAGMA cache_size = -16384");
    exec(kTables);
    for (const Statement& s : {kPerson, kIdentity, kChange, kAudit}) prepare(s);
  }
  ~BareSqlite() {
    for (sqlite3_stmt* statement : statements_) sqlite3_finalize(statement);
    sqlite3_close(db_);
  }
  BareSqlite(const BareSqlite&) = delete;
  BareSqlite& operator=(const BareSqlite&) = delete;

  void exec(const std::string& sql) {
    CHECK(sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK);
  }

  void insert(const Person& p) {
    sqlite3_bind_int64(statements_[0], 1, p.n);
    bind_text(statements_[0], 2, p.id);
    bind_text(statements_[0], 3, p.name);
    bind_text(statements_[0], 4, kDoc);
    sqlite3_bind_int64(statements_[1], 1, p.n);
    sqlite3_bind_int64(statements_[1], 2, 10'000 + p.n);
    bind_text(statements_[1], 3, p.name);
    sqlite3_bind_int64(statements_[2], 1, p.n);
    sqlite3_bind_int64(statements_[3], 1, p.n);
    bind_text(statements_[3], 2, kDiff);
    for (sqlite3_stmt* statement : statements_) {
      CHECK(sqlite3_step(statement) == SQLITE_DONE);
      sqlite3_reset(statement);
    }
  }

 private:
  void prepare(const Statement& s) {
    std::string sql(s.sql);
    for (char& c : sql) {
      if (c == '$') c = '?';
    }
    sqlite3_stmt* statement = nullptr;
    CHECK(sqlite3_prepare_v3(db_, sql.c_str(), -1, SQLITE_PREPARE_PERSISTENT, &statement,
                             nullptr) == SQLITE_OK);
    statements_[count_++] = statement;
  }
  static void bind_text(sqlite3_stmt* statement, int index, const std::string& text) {
    sqlite3_bind_text64(statement, index, text.data(), text.size(), SQLITE_STATIC, SQLITE_UTF8);
  }

  TempDirectory directory_;
  sqlite3* db_ = nullptr;
  sqlite3_stmt* statements_[4] = {};
  std::size_t count_ = 0;
};

void bare_sqlite(benchmark::State& state) {
  BareSqlite bare;
  std::int64_t next = 1;
  for (auto _ : state) {
    bare.exec("BEGIN IMMEDIATE");
    for (std::int64_t i = 0; i < state.range(0); ++i) bare.insert(Person(next++));
    bare.exec("COMMIT");
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(bare_sqlite)->ArgName("rows_per_commit")->Arg(1)->Arg(16)->Arg(64)->UseRealTime();

}  // namespace

BENCHMARK_MAIN();
