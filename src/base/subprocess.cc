#include "base/subprocess.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/fd.h"
#include "base/file.h"

namespace roster {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

/// How long an end that no pipe tells of goes unnoticed: a program may close its output and go on,
/// or leave a child behind that holds it open.
constexpr milliseconds kReapInterval{20};

struct Pipe {
  UniqueFd read, write;
};

Result<Pipe> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return std::unexpected(errno_error("pipe", errno));
  return Pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

/// A file without a name that holds `input`, to be read from its beginning.
Result<UniqueFd> file_of(std::string_view input) {
  UniqueFd fd(::memfd_create("stdin", MFD_CLOEXEC));
  if (!fd.valid()) return std::unexpected(errno_error("memfd_create", errno));
  while (!input.empty()) {
    const ssize_t written = ::write(fd.get(), input.data(), input.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return std::unexpected(errno_error("write to a memfd", errno));
    input.remove_prefix(static_cast<std::size_t>(written));
  }
  if (::lseek(fd.get(), 0, SEEK_SET) != 0) return std::unexpected(errno_error("lseek", errno));
  return fd;
}

/// Start attributes: a process group of its own, so that a time-out ends all of it, and signals as
/// after login.
class Attributes {
 public:
  Attributes() {
    CHECK(::posix_spawnattr_init(&attributes_) == 0);
    CHECK(::posix_spawn_file_actions_init(&actions_) == 0);
    sigset_t none;
    sigset_t all;
    ::sigemptyset(&none);
    ::sigfillset(&all);
    ::posix_spawnattr_setsigmask(&attributes_, &none);
    ::posix_spawnattr_setsigdefault(&attributes_, &all);
    ::posix_spawnattr_setpgroup(&attributes_, 0);
    ::posix_spawnattr_setflags(
        &attributes_, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  }
  Attributes(const Attributes&) = delete;
  Attributes& operator=(const Attributes&) = delete;
  ~Attributes() {
    ::posix_spawn_file_actions_destroy(&actions_);
    ::posix_spawnattr_destroy(&attributes_);
  }

  Result<pid_t> spawn(const std::vector<std::string>& argv, const UniqueFd& in, const Pipe& out,
                      const Pipe& err, const std::vector<std::string>& more_environment) {
    if (in.valid()) {
      ::posix_spawn_file_actions_adddup2(&actions_, in.get(), STDIN_FILENO);
    } else {
      ::posix_spawn_file_actions_addopen(&actions_, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    }
    ::posix_spawn_file_actions_adddup2(&actions_, out.write.get(), STDOUT_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions_, err.write.get(), STDERR_FILENO);
    std::vector<char*> words;
    for (const std::string& word : argv) words.push_back(const_cast<char*>(word.c_str()));
    words.push_back(nullptr);
    std::string path = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
    std::string locale = "LC_ALL=C";
    std::vector<char*> environment{path.data(), locale.data()};
    for (const std::string& item : more_environment) {
      CHECK(item.contains('='));
      environment.push_back(const_cast<char*>(item.c_str()));
    }
    environment.push_back(nullptr);
    pid_t pid = -1;
    const int code = ::posix_spawn(&pid, argv.front().c_str(), &actions_, &attributes_,
                                   words.data(), environment.data());
    if (code != 0) return std::unexpected(errno_error("run " + argv.front(), code));
    return pid;
  }

 private:
  posix_spawnattr_t attributes_;
  posix_spawn_file_actions_t actions_;
};

/// Takes what is there; closes `fd` at its end. What is beyond the limit is read and dropped, so
/// that the program does not block.
void drain(UniqueFd& fd, std::string& into, std::size_t bytes_max) {
  std::array<char, 16 << 10> buffer;
  const ssize_t got = ::read(fd.get(), buffer.data(), buffer.size());
  if (got < 0 && (errno == EINTR || errno == EAGAIN)) return;
  if (got <= 0) {
    fd = UniqueFd();
    return;
  }
  into.append(buffer.data(), std::min(static_cast<std::size_t>(got), bytes_max - into.size()));
}

/// Waits for output for so long, and takes it. Whether there was any.
bool collect(Pipe& out, Pipe& err, ProcessOutput& result, milliseconds wait, std::size_t max) {
  // A closed pipe's descriptor is -1, which poll(2) passes over.
  std::array<pollfd, 2> watched{pollfd{out.read.get(), POLLIN, 0}, {err.read.get(), POLLIN, 0}};
  const int ready = ::poll(watched.data(), watched.size(), static_cast<int>(wait.count()));
  if (ready <= 0) return false;
  if (watched[0].revents != 0) drain(out.read, result.out, max);
  if (watched[1].revents != 0) drain(err.read, result.err, max);
  return true;
}

}  // namespace

Result<ProcessOutput> run_program(const std::vector<std::string>& argv,
                                  const ProcessLimits& limits) {
  CHECK(!argv.empty() && argv.front().starts_with('/'));
  ASSIGN_OR_RETURN(Pipe out, make_pipe());
  ASSIGN_OR_RETURN(Pipe err, make_pipe());
  UniqueFd in;
  if (!limits.input.empty()) {
    ASSIGN_OR_RETURN(in, file_of(limits.input));
  }
  Attributes attributes;
  ASSIGN_OR_RETURN(const pid_t pid, attributes.spawn(argv, in, out, err, limits.environment));
  out.write = UniqueFd();
  err.write = UniqueFd();
  const auto deadline = steady_clock::now() + limits.deadline;
  ProcessOutput result;
  int status = 0;
  while (::waitpid(pid, &status, WNOHANG) == 0) {
    if (steady_clock::now() >= deadline) {
      ::kill(-pid, SIGKILL);
      while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
      }
      return fail(Code::kUnavailable, argv.front() + " did not end within " +
                                          std::to_string(limits.deadline.count()) + " ms");
    }
    collect(out, err, result, kReapInterval, limits.output_bytes_max);
  }
  while (collect(out, err, result, milliseconds(0), limits.output_bytes_max)) {
    if (steady_clock::now() >= deadline) break;  // a child that was left behind writes on
  }
  result.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

}  // namespace roster
