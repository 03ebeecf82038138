#include "init.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <memory>
#include <system_error>
#include <utility>

#include "base/fd.h"
#include "base/file.h"
#include "base/log.h"
#include "data_dir.h"
#include "directory/directory.h"
#include "store/sqlite.h"

namespace roster::rosterd {
namespace {

namespace fs = std::filesystem;

/// The hub itself, as audit rows name it.
directory::Actor hub_actor() {
  directory::Actor actor;
  actor.scope = directory::Scope::kOperator;
  actor.name = "rosterd";
  actor.remote = "local";
  return actor;
}

std::array<fs::path, 4> tls_names() { return {"ca.pem", "ca.key", "server.pem", "server.key"}; }

/// Exclusive for as long as the descriptor lives.
Result<UniqueFd> lock_directory(const fs::path& root) {
  UniqueFd fd(::open(root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return std::unexpected(errno_error("open " + root.string(), errno));
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    return fail(Code::kUnavailable, "another rosterd init is running in " + root.string());
  }
  return fd;
}

/// A directory made for the hub by others becomes private; one that holds other things is theirs.
Result<void> make_private(int fd, const fs::path& root) {
  struct stat status{};
  if (::fstat(fd, &status) != 0)
    return std::unexpected(errno_error("stat " + root.string(), errno));
  std::error_code error;
  const bool empty = fs::is_empty(root, error);
  if (error) return std::unexpected(errno_error("read " + root.string(), error.value()));
  if (!empty || status.st_uid != ::geteuid()) return {};
  if (::fchmod(fd, 0700) == 0) return {};
  return std::unexpected(errno_error("chmod " + root.string(), errno));
}

/// True when the directory was made.
Result<bool> make_root(const fs::path& root) {
  std::error_code error;
  if (root.has_parent_path()) fs::create_directories(root.parent_path(), error);
  if (error) return std::unexpected(errno_error("mkdir " + root.string(), error.value()));
  if (::mkdir(root.c_str(), 0700) == 0) return true;
  if (errno == EEXIST) return false;
  return std::unexpected(errno_error("mkdir " + root.string(), errno));
}

/// What an initialization that did not finish left behind. Its files only stand in the root while
/// its own directory does.
void remove_unfinished(const DataDir& dir) {
  std::error_code error;
  if (!fs::exists(dir.unfinished(), error)) return;
  for (const fs::path& name : tls_names()) fs::remove(dir.root / name, error);
  fs::remove_all(dir.unfinished(), error);
}

Result<void> check_vacant(const DataDir& dir) {
  std::error_code error;
  if (fs::exists(dir.database(), error)) {
    return fail(Code::kFailedPrecondition,
                dir.root.string() + " holds a hub already; nothing was changed");
  }
  remove_unfinished(dir);
  for (const fs::path& name : tls_names()) {
    if (fs::exists(dir.root / name, error)) {
      return fail(Code::kFailedPrecondition, dir.root.string() + " has " + name.string() +
                                                 " but no roster.db: restore that, or choose "
                                                 "another directory");
    }
  }
  return {};
}

struct OpenDirectory {
  std::unique_ptr<store::Database> database;
  std::unique_ptr<directory::Directory> directory;  // goes first
};

Result<OpenDirectory> open_directory(const fs::path& database, const Clock& clock,
                                     const RandomBytes& random) {
  OpenDirectory open;
  ASSIGN_OR_RETURN(open.database, store::open_sqlite({.path = database}));
  ASSIGN_OR_RETURN(open.directory,
                   directory::Directory::open(*open.database, {.clock = clock, .random = random}));
  return open;
}

Result<Secret> create_store(const DataDir& staging, const InitOptions& options) {
  ASSIGN_OR_RETURN(const OpenDirectory open,
                   open_directory(staging.database(), options.clock, options.random));
  RETURN_IF_ERROR(open.directory->create_org(hub_actor(), options.org));
  directory::Directory::TokenRequest request;
  request.name = "operator";
  request.scope = directory::Scope::kOperator;
  ASSIGN_OR_RETURN(directory::MintedToken token,
                   open.directory->create_token(hub_actor(), request));
  return std::move(token.secret);
}

Result<void> move_into_place(const DataDir& staging, const DataDir& dir) {
  std::error_code error;
  fs::path log = staging.database();
  log += "-wal";
  if (fs::exists(log, error) && fs::file_size(log, error) > 0) {
    return fail(Code::kInternal, "the database was not closed completely");
  }
  for (const fs::path& name : tls_names()) {
    fs::rename(staging.root / name, dir.root / name, error);
    if (error) return std::unexpected(errno_error("rename " + name.string(), error.value()));
  }
  RETURN_IF_ERROR(fsync_directory(dir.root));
  fs::rename(staging.database(), dir.database(), error);
  if (error) return std::unexpected(errno_error("rename roster.db", error.value()));
  RETURN_IF_ERROR(fsync_directory(dir.root));
  fs::remove_all(staging.root, error);
  return {};
}

Result<void> make_hub(const DataDir& dir, const InitOptions& options, const ShowToken& show) {
  const DataDir staging{dir.unfinished()};
  if (::mkdir(staging.root.c_str(), 0700) != 0) {
    return std::unexpected(errno_error("mkdir " + staging.root.string(), errno));
  }
  std::vector<std::string> hosts = default_hosts();
  hosts.insert(hosts.end(), options.dns.begin(), options.dns.end());
  RETURN_IF_ERROR(create_authority(staging, options.clock(), options.random));
  RETURN_IF_ERROR(issue_certificate(staging, hosts, options.clock(), options.random));
  ASSIGN_OR_RETURN(const Secret token, create_store(staging, options));
  RETURN_IF_ERROR(show(token));
  return move_into_place(staging, dir);
}

}  // namespace

Result<void> init(const InitOptions& options, const ShowToken& show) {
  const DataDir dir{options.data_dir};
  ASSIGN_OR_RETURN(const bool made, make_root(dir.root));
  ASSIGN_OR_RETURN(const UniqueFd lock, lock_directory(dir.root));
  RETURN_IF_ERROR(check_vacant(dir));
  RETURN_IF_ERROR(make_private(lock.get(), dir.root));
  auto done = make_hub(dir, options, show);
  if (done) return done;
  std::error_code error;
  if (!fs::exists(dir.database(), error)) remove_unfinished(dir);
  if (made) fs::remove(dir.root, error);  // unless something is in it
  return done;
}

Result<Secret> mint_operator_token(const fs::path& data_dir, const std::string& name,
                                   const Clock& clock, const RandomBytes& random) {
  const DataDir dir{data_dir};
  RETURN_IF_ERROR(check_initialized(dir));
  ASSIGN_OR_RETURN(const OpenDirectory open, open_directory(dir.database(), clock, random));
  directory::Directory::TokenRequest request;
  request.name = name;
  request.scope = directory::Scope::kOperator;
  ASSIGN_OR_RETURN(directory::MintedToken token,
                   open.directory->create_token(hub_actor(), request));
  return std::move(token.secret);
}

}  // namespace roster::rosterd
