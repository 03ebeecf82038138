// POST /Users without HTTP and SCIM: Directory::create_user by 1 and 16 callers, against the very
// same statements on a bare SQLite connection, 1 or 16 people to a transaction; and the walk over
// everybody that a snapshot is made from. On the disk behind $TMPDIR.

#include <benchmark/benchmark.h>
#include <sqlite3.h>
#include <stdlib.h>

#include <atomic>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "directory/directory.h"
#include "directory/schema.h"
#include "directory/testing/keys.h"
#include "directory/testing/observed.h"
#include "store/sqlite.h"

namespace {

using roster::directory::Actor;
using roster::directory::Directory;
using roster::directory::OrgN;
using roster::directory::UserInput;
using roster::store::Database;

class TempDirectory {
 public:
  TempDirectory() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "directory-bench-XXXXXX").string();
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

/// A person as an identity provider sends them: some 500 bytes.
UserInput person(std::int64_t n) {
  const std::string name = "person" + std::to_string(n);
  UserInput input;
  input.doc["userName"] = name + "@example.org";
  input.doc["displayName"] = "Person Number " + std::to_string(n);
  input.doc["name"] =
      roster::json::object{{"givenName", "Person"}, {"familyName", std::to_string(n)}};
  input.doc["emails"] = roster::json::array{
      roster::json::object{{"primary", true}, {"type", "work"}, {"value", name + "@example.org"}}};
  input.doc["title"] = std::string(120, 't');
  input.doc["active"] = true;
  input.external_id = std::optional("00u" + std::to_string(n));
  return input;
}

struct World {
  explicit World(roster::directory::testing::Observer observer = {})
      : database(*roster::store::open_sqlite({.path = files.path() / "roster.db"})),
        observed(*database, std::move(observer)) {
    directory = *Directory::open(observed);
    Actor admin;
    admin.name = "bench";
    org = directory->create_org(admin, "acme")->n;
    actor = admin;
    actor.client = directory->create_client(admin, org, "okta")->n;
  }
  TempDirectory files;
  std::unique_ptr<Database> database;
  roster::directory::testing::ObservedDatabase observed;
  std::unique_ptr<Directory> directory;
  Actor actor;
  OrgN org = 0;
  std::atomic<std::int64_t> next = 1;
};

std::unique_ptr<World> world;
void set_up(const benchmark::State&) { world = std::make_unique<World>(); }
void tear_down(const benchmark::State&) { world.reset(); }

void create_user(benchmark::State& state) {
  for (auto _ : state) {
    CHECK(world->directory->create_user(world->actor, world->org, person(world->next++)));
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(create_user)->Setup(set_up)->Teardown(tear_down)->Threads(1)->Threads(16)->UseRealTime();

/// A snapshot's walk over people with two keys and ten groups each, a page at a time.
void scan_node_users(benchmark::State& state) {
  constexpr std::int64_t kPeople = 10'000;
  constexpr std::size_t kGroups = 10;
  World scanned;
  std::vector<std::string> ids(kPeople);
  {
    std::vector<std::jthread> threads;
    for (std::int64_t thread = 0; thread < 16; ++thread) {
      threads.emplace_back([&scanned, &ids, thread] {
        for (std::int64_t n = thread; n < kPeople; n += 16) {
          UserInput input = person(n);
          input.keys.emplace();
          for (const unsigned key : {0U, 1U}) {
            input.keys->push_back(
                roster::directory::testing::ssh_key(static_cast<unsigned>(2 * n) + key));
          }
          auto made = scanned.directory->create_user(scanned.actor, scanned.org, input);
          CHECK(made);
          ids[static_cast<std::size_t>(n)] = made->id;
        }
      });
    }
  }
  for (std::size_t group = 0; group < kGroups; ++group) {
    roster::directory::GroupInput input;
    input.doc["displayName"] = "group" + std::to_string(group);
    CHECK(scanned.directory->create_group(scanned.actor, scanned.org, input, ids));
  }
  for (auto _ : state) {
    std::int64_t seen = 0;
    for (std::uint64_t after = 0;;) {
      const auto page = scanned.directory->scan_node_users(scanned.org, after, 1000);
      CHECK(page);
      seen += static_cast<std::int64_t>(page->size());
      if (page->size() < 1000) break;
      after = page->back().record.n;
    }
    CHECK(seen == kPeople);
  }
  state.SetItemsProcessed(state.iterations() * kPeople);
}
BENCHMARK(scan_node_users)->Unit(benchmark::kMillisecond)->UseRealTime();

/// A statement with its parameters, kept.
struct Call {
  using Value = std::variant<std::nullptr_t, std::int64_t, std::string, std::vector<char>>;
  std::string sql;
  std::vector<Value> params;
};

Call keep(const roster::store::Statement& s, std::span<const roster::store::Param> params) {
  Call call;
  call.sql = s.sql;
  for (char& c : call.sql) {
    if (c == '$') c = '?';
  }
  for (const roster::store::Param& param : params) {
    if (const auto* number = std::get_if<std::int64_t>(&param)) {
      call.params.emplace_back(*number);
    } else if (const auto* text = std::get_if<std::string_view>(&param)) {
      call.params.emplace_back(std::string(*text));
    } else if (const auto* blob = std::get_if<roster::store::BlobView>(&param)) {
      call.params.emplace_back(std::vector<char>(blob->bytes.begin(), blob->bytes.end()));
    } else {
      call.params.emplace_back(nullptr);
    }
  }
  return call;
}

/// Replays recorded statements, no queue, no threads, no savepoints.
class BareSqlite {
 public:
  BareSqlite() {
    CHECK(sqlite3_open((files_.path() / "bare.db").c_str(), &db_) == SQLITE_OK);
    exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON");
    exec("PRAGMA cache_size = -16384");
    exec(std::string(roster::directory::migrations().front().sqlite));
  }
  ~BareSqlite() {
    for (auto& [sql, statement] : statements_) sqlite3_finalize(statement);
    sqlite3_close(db_);
  }
  BareSqlite(const BareSqlite&) = delete;
  BareSqlite& operator=(const BareSqlite&) = delete;

  void exec(const std::string& sql) {
    CHECK(sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK);
  }

  void run(const Call& call) {
    sqlite3_stmt*& statement = statements_[call.sql];
    if (statement == nullptr) {
      CHECK(sqlite3_prepare_v3(db_, call.sql.c_str(), -1, SQLITE_PREPARE_PERSISTENT, &statement,
                               nullptr) == SQLITE_OK);
    }
    for (std::size_t i = 0; i < call.params.size(); ++i) {
      bind(statement, static_cast<int>(i) + 1, call.params[i]);
    }
    int status = SQLITE_ROW;
    while (status == SQLITE_ROW) status = sqlite3_step(statement);
    CHECK(status == SQLITE_DONE);
    sqlite3_reset(statement);
  }

 private:
  static void bind(sqlite3_stmt* statement, int index, const Call::Value& value) {
    if (const auto* number = std::get_if<std::int64_t>(&value)) {
      sqlite3_bind_int64(statement, index, *number);
    } else if (const auto* text = std::get_if<std::string>(&value)) {
      sqlite3_bind_text64(statement, index, text->data(), text->size(), SQLITE_STATIC, SQLITE_UTF8);
    } else if (const auto* blob = std::get_if<std::vector<char>>(&value)) {
      sqlite3_bind_blob64(statement, index, blob->data(), blob->size(), SQLITE_STATIC);
    } else {
      sqlite3_bind_null(statement, index);
    }
  }

  TempDirectory files_;
  sqlite3* db_ = nullptr;
  std::map<std::string, sqlite3_stmt*> statements_;
};

constexpr std::int64_t kRecorded = 8000;

/// All statements of making an organization and a client, then of each person.
struct Recording {
  std::vector<Call> before;
  std::vector<std::vector<Call>> people;
};

Recording record() {
  Recording recording;
  std::vector<Call>* into = &recording.before;
  bool migrated = false;
  roster::directory::testing::Observer observer;
  observer.statement = [&into, &migrated](const roster::store::Statement& s,
                                          std::span<const roster::store::Param> params) {
    migrated = migrated || s.name == "org.insert";
    if (migrated) into->push_back(keep(s, params));
  };
  World recorded(observer);
  for (std::int64_t n = 1; n <= kRecorded; ++n) {
    into = &recording.people.emplace_back();
    CHECK(recorded.directory->create_user(recorded.actor, recorded.org, person(n)));
  }
  into = &recording.before;
  return recording;
}

void bare_sqlite(benchmark::State& state) {
  static const Recording recording = record();
  BareSqlite bare;
  for (const Call& call : recording.before) bare.run(call);
  std::size_t next = 0;
  for (auto _ : state) {
    bare.exec("BEGIN IMMEDIATE");
    for (std::int64_t i = 0; i < state.range(0); ++i) {
      for (const Call& call : recording.people.at(next)) bare.run(call);
      ++next;
    }
    bare.exec("COMMIT");
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(bare_sqlite)->ArgName("people_per_commit")->Arg(1)->Iterations(kRecorded)->UseRealTime();
BENCHMARK(bare_sqlite)
    ->ArgName("people_per_commit")
    ->Arg(16)
    ->Iterations(kRecorded / 16)
    ->UseRealTime();

}  // namespace

BENCHMARK_MAIN();
