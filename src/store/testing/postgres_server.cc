#include "store/testing/postgres_server.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <libpq-fe.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <thread>
#include <utility>
#include <vector>

#include "base/file.h"

namespace roster::store::testing {
namespace {

constexpr std::chrono::seconds kStartMax{60};
constexpr std::chrono::milliseconds kPoll{20};

/// bin directory of the newest PostgreSQL that Debian's packages installed; empty when none is.
std::filesystem::path find_programs() {
  std::vector<std::pair<int, std::filesystem::path>> found;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/usr/lib/postgresql", error)) {
    const std::filesystem::path programs = entry.path() / "bin";
    if (::access((programs / "initdb").c_str(), X_OK) != 0) continue;
    if (::access((programs / "postgres").c_str(), X_OK) != 0) continue;
    found.emplace_back(std::atoi(entry.path().filename().c_str()), programs);
  }
  if (found.empty()) return {};
  return std::max_element(found.begin(), found.end())->second;
}

struct Identity {
  uid_t uid;
  gid_t gid;
};

/// Who runs the server: ourselves, or `postgres` when we are root.
Result<Identity> server_identity() {
  if (::geteuid() != 0) return Identity{::geteuid(), ::getegid()};
  const struct passwd* entry = ::getpwnam("postgres");
  if (entry == nullptr) return fail(Code::kNotFound, "there is no user postgres");
  return Identity{entry->pw_uid, entry->pw_gid};
}

/// Runs between fork and exec: system calls only.
[[noreturn]] void run_program(const Identity& identity, const std::vector<char*>& argv,
                              int log_fd) {
  if (::geteuid() == 0 && (::setgroups(0, nullptr) != 0 || ::setgid(identity.gid) != 0 ||
                           ::setuid(identity.uid) != 0)) {
    ::_exit(126);
  }
  ::prctl(PR_SET_PDEATHSIG, SIGQUIT);  // never outlives a test that is killed
  ::setsid();
  ::dup2(log_fd, STDOUT_FILENO);
  ::dup2(log_fd, STDERR_FILENO);
  if (::chdir("/") != 0) ::_exit(126);
  ::execv(argv[0], argv.data());
  ::_exit(127);
}

Result<pid_t> spawn(const Identity& identity, std::vector<std::string> arguments,
                    const std::filesystem::path& log) {
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  const UniqueFd log_fd(::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  if (!log_fd.valid()) return std::unexpected(errno_error("open " + log.string(), errno));
  const pid_t pid = ::fork();
  if (pid < 0) return std::unexpected(errno_error("fork", errno));
  if (pid == 0) run_program(identity, argv, log_fd.get());
  return pid;
}

int wait_for(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

}  // namespace

Result<PostgresServer*> PostgresServer::shared() {
  static Result<std::unique_ptr<PostgresServer>> server =
      []() -> Result<std::unique_ptr<PostgresServer>> {
    const std::filesystem::path programs = find_programs();
    if (programs.empty()) {
      return fail(Code::kNotFound, "PostgreSQL is not installed (package postgresql)");
    }
    std::unique_ptr<PostgresServer> made(new PostgresServer(programs));
    RETURN_IF_ERROR(made->initialize());
    RETURN_IF_ERROR(made->start());
    return made;
  }();
  if (!server) return std::unexpected(server.error());
  return server->get();
}

PostgresServer::~PostgresServer() {
  // A forked child that exits in the usual way must not take the server along.
  if (::getpid() == owner_) stop(SIGINT);
}

std::string PostgresServer::url(const std::string& database) const {
  return "host='" + directory_.path().string() + "' user=roster dbname=" + database;
}

Result<void> PostgresServer::initialize() {
  ASSIGN_OR_RETURN(const Identity identity, server_identity());
  if (::chown(directory_.path().c_str(), identity.uid, identity.gid) != 0) {
    return std::unexpected(errno_error("chown " + directory_.path().string(), errno));
  }
  const auto log = directory_.path() / "log";
  ASSIGN_OR_RETURN(const pid_t pid,
                   spawn(identity,
                         {programs_ / "initdb", "--pgdata=" + (directory_.path() / "data").string(),
                          "--username=roster", "--auth=trust", "--encoding=UTF8", "--locale=C",
                          "--no-sync", "--no-instructions"},
                         log));
  if (wait_for(pid) == 0) return {};
  const auto text = read_file(log, 1 << 20);
  return fail(Code::kInternal, "initdb failed: " + text.value_or("no output"));
}

Result<void> PostgresServer::start() {
  ASSIGN_OR_RETURN(const Identity identity, server_identity());
  const auto log = directory_.path() / "log";
  owner_ = ::getpid();
  // The server itself is not on trial: without fsync it is several times as fast, and nothing here
  // pulls the plug.
  ASSIGN_OR_RETURN(pid_, spawn(identity,
                               {programs_ / "postgres", "-D", directory_.path() / "data", "-k",
                                directory_.path(), "-c", "listen_addresses=", "-c", "fsync=off",
                                "-c", "full_page_writes=off", "-c", "shared_buffers=32MB", "-c",
                                "max_connections=64", "-c", "autovacuum=off"},
                               log));
  const auto deadline = std::chrono::steady_clock::now() + kStartMax;
  while (PQping(url("postgres").c_str()) != PQPING_OK) {
    int status = 0;
    const bool ended = ::waitpid(pid_, &status, WNOHANG) == pid_;
    if (ended || std::chrono::steady_clock::now() > deadline) {
      if (ended) pid_ = -1;
      const auto text = read_file(log, 1 << 20);
      return fail(Code::kInternal, "postgres did not start: " + text.value_or("no output"));
    }
    std::this_thread::sleep_for(kPoll);
  }
  return {};
}

void PostgresServer::stop(int signal) {
  if (pid_ <= 0) return;
  ::kill(pid_, signal);
  wait_for(pid_);
  pid_ = -1;
}

Result<void> PostgresServer::crash_and_restart() {
  stop(SIGQUIT);
  return start();
}

Result<void> PostgresServer::command(const std::string& sql) const {
  const std::unique_ptr<PGconn, decltype(&PQfinish)> connection(
      PQconnectdb(url("postgres").c_str()), &PQfinish);
  const std::unique_ptr<PGresult, decltype(&PQclear)> result(PQexec(connection.get(), sql.c_str()),
                                                             &PQclear);
  if (PQresultStatus(result.get()) == PGRES_COMMAND_OK) return {};
  return fail(Code::kInternal, sql + ": " + PQerrorMessage(connection.get()));
}

}  // namespace roster::store::testing
