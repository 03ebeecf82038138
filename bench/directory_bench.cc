// Writes without HTTP and SCIM. Directory::create_user by 1 and 16 callers; the walk over everybody
// that a snapshot is made from; and the bounds that hub_bench.py sets the hub against: the very
// statements of POST /Users, and of PATCHes that add and remove one member, on a bare SQLite
// connection, 1 or 16 requests to a transaction, on a copy of a directory of ROSTER_BENCH_PEOPLE
// people (default 10000). On the disk behind $TMPDIR.

#include <benchmark/benchmark.h>
#include <sqlite3.h>
#include <stdlib.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
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

/// A copy of a database that may be in use, log included.
void copy_database(const std::filesystem::path& from, const std::filesystem::path& to) {
  sqlite3* source = nullptr;
  sqlite3* target = nullptr;
  CHECK(sqlite3_open(from.c_str(), &source) == SQLITE_OK);
  CHECK(sqlite3_open(to.c_str(), &target) == SQLITE_OK);
  sqlite3_backup* backup = sqlite3_backup_init(target, "main", source, "main");
  CHECK(backup != nullptr && sqlite3_backup_step(backup, -1) == SQLITE_DONE);
  sqlite3_backup_finish(backup);
  sqlite3_close(target);
  sqlite3_close(source);
}

/// Replays recorded statements, no queue, no threads, no savepoints, on a copy of `database`.
class BareSqlite {
 public:
  explicit BareSqlite(const std::filesystem::path& database) {
    std::filesystem::copy_file(database, files_.path() / "bare.db");
    CHECK(sqlite3_open((files_.path() / "bare.db").c_str(), &db_) == SQLITE_OK);
    exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON");
    exec("PRAGMA cache_size = -16384");
    // Nobody else copies the log into the database here: as late as the hub ever does.
    exec("PRAGMA wal_autocheckpoint = 16384");
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

constexpr std::int64_t kJoiners = 2000;
constexpr std::int64_t kPosts = 8000;

/// How many people there are before anything is recorded, besides kJoiners.
std::int64_t people_before() {
  const char* text = std::getenv("ROSTER_BENCH_PEOPLE");
  return text == nullptr ? 10'000 : std::strtoll(text, nullptr, 10);
}

/// A directory full of people, whose statements can be kept.
class FullWorld {
 public:
  FullWorld() {
    std::vector<std::jthread> threads;
    for (std::size_t thread = 0; thread < 16; ++thread) {
      threads.emplace_back([this, thread] {
        for (std::size_t n = thread; n < ids_.size(); n += 16) {
          const auto made = world_.directory->create_user(world_.actor, world_.org,
                                                          person(static_cast<std::int64_t>(n)));
          CHECK(made);
          ids_[n] = made->id;
        }
      });
    }
  }

  /// The statements of POST /Users of further people, each apart.
  std::vector<std::vector<Call>> record_posts() {
    return record(kPosts, [this](std::int64_t) {
      const auto n = static_cast<std::int64_t>(ids_.size()) + ++posted_;
      CHECK(world_.directory->create_user(world_.actor, world_.org, person(n)));
    });
  }

  /// A group of `members`.
  std::string create_group(std::size_t members) {
    const std::size_t among = ids_.size() - kJoiners;
    CHECK(members <= among);
    std::vector<std::string> chosen;
    for (std::size_t i = 0; i < members; ++i) chosen.push_back(ids_[i * (among / members)]);
    roster::directory::GroupInput input;
    input.doc["displayName"] = "group of " + std::to_string(members);
    const auto group = world_.directory->create_group(world_.actor, world_.org, input, chosen);
    CHECK(group);
    return group->id;
  }

  /// The statements of PATCHes that each add one member, then of those that remove one.
  std::vector<std::vector<Call>> record_members(const std::string& group) {
    using roster::directory::MemberOp;
    return record(2 * kJoiners, [this, &group](std::int64_t i) {
      const bool add = i < kJoiners;
      const std::string& id = ids_[ids_.size() - kJoiners + static_cast<std::size_t>(i % kJoiners)];
      CHECK(world_.directory->update_group(
          world_.actor, world_.org, group, {}, [add, &id](const roster::directory::Group& current) {
            Directory::GroupChange change;
            change.input.doc = current.doc;
            change.input.external_id = current.external_id;
            change.members.push_back({add ? MemberOp::Kind::kAdd : MemberOp::Kind::kRemove, {id}});
            return roster::Result<Directory::GroupChange>(std::move(change));
          }));
    });
  }

  void copy_to(const std::filesystem::path& to) const {
    copy_database(world_.files.path() / "roster.db", to);
  }

 private:
  std::vector<std::vector<Call>> record(std::int64_t count,
                                        const std::function<void(std::int64_t)>& request) {
    std::vector<std::vector<Call>> requests(static_cast<std::size_t>(count));
    for (std::int64_t i = 0; i < count; ++i) {
      into_ = &requests[static_cast<std::size_t>(i)];
      request(i);
    }
    into_ = nullptr;
    return requests;
  }

  roster::directory::testing::Observer observer() {
    roster::directory::testing::Observer observer;
    observer.statement = [this](const roster::store::Statement& s,
                                std::span<const roster::store::Param> params) {
      if (into_ != nullptr) into_->push_back(keep(s, params));
    };
    return observer;
  }

  std::vector<Call>* into_ = nullptr;
  World world_{observer()};
  std::vector<std::string> ids_ =
      std::vector<std::string>(static_cast<std::size_t>(people_before() + kJoiners));
  std::int64_t posted_ = 0;
};

/// What each request does to a database, and that database as it was before the first.
class Recording {
 public:
  template <typename Record>
  Recording(const FullWorld& full, const Record& record) {
    full.copy_to(database());
    requests_ = record();
  }
  std::filesystem::path database() const { return files_.path() / "before.db"; }
  const std::vector<std::vector<Call>>& requests() const { return requests_; }

 private:
  TempDirectory files_;
  std::vector<std::vector<Call>> requests_;
};

FullWorld& full_world() {
  static FullWorld full;
  return full;
}

void replay(benchmark::State& state, const Recording& recording, std::int64_t per_commit) {
  BareSqlite bare(recording.database());
  std::size_t next = 0;
  for (auto _ : state) {
    bare.exec("BEGIN IMMEDIATE");
    for (std::int64_t i = 0; i < per_commit; ++i) {
      for (const Call& call : recording.requests().at(next)) bare.run(call);
      ++next;
    }
    bare.exec("COMMIT");
  }
  state.SetItemsProcessed(state.iterations() * per_commit);
}

void bare_post(benchmark::State& state) {
  static const Recording recording(full_world(), [] { return full_world().record_posts(); });
  replay(state, recording, state.range(0));
}
BENCHMARK(bare_post)->ArgName("per_commit")->Arg(1)->Iterations(kPosts)->UseRealTime();
BENCHMARK(bare_post)->ArgName("per_commit")->Arg(16)->Iterations(kPosts / 16)->UseRealTime();

void bare_member(benchmark::State& state) {
  static std::map<std::int64_t, Recording> recordings;
  const std::int64_t members = state.range(0);
  if (!recordings.contains(members)) {
    const std::string group = full_world().create_group(static_cast<std::size_t>(members));
    recordings.try_emplace(members, full_world(),
                           [&group] { return full_world().record_members(group); });
  }
  replay(state, recordings.at(members), state.range(1));
}
BENCHMARK(bare_member)
    ->ArgNames({"members", "per_commit"})
    ->Args({10, 1})
    ->Args({10'000, 1})
    ->Iterations(2 * kJoiners)
    ->UseRealTime();
BENCHMARK(bare_member)
    ->ArgNames({"members", "per_commit"})
    ->Args({10, 16})
    ->Args({10'000, 16})
    ->Iterations(2 * kJoiners / 16)
    ->UseRealTime();

}  // namespace

BENCHMARK_MAIN();
