#include "mirror/lock.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <string>
#include <thread>

#include "base/file.h"
#include "base/text.h"
#include "base/time.h"
#include "posix/gecos.h"

namespace roster::mirror {
namespace {

constexpr std::chrono::seconds kEndWait{5};
constexpr std::chrono::milliseconds kEndPoll{20};

struct flock whole_file(short type) {
  struct flock lock{};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  return lock;
}

UniqueFd open_lock(const std::filesystem::path& path) {
  // For its owner only: whoever may read a file may lock it, too, and hold everything up.
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (fd.valid()) ::fchmod(fd.get(), 0600);
  return fd;
}

/// 0 when nobody has it.
pid_t holder_of(int fd) {
  struct flock asked = whole_file(F_WRLCK);
  if (::fcntl(fd, F_GETLK, &asked) != 0 || asked.l_type == F_UNLCK) return 0;
  return asked.l_pid;
}

/// "pid 4711 (nsscache, since 2026-11-22T08:00:00Z)": who holds the lock writes the file, then.
std::string holder_in_words(int fd) {
  std::string text = "a process that cannot be seen from here";
  std::string more;
  std::array<char, 16> told{};
  if (const ssize_t got = ::pread(fd, told.data(), told.size(), 0); got > 0) {
    const std::string_view pid(told.data(), static_cast<std::size_t>(got));
    if (pid.find_first_not_of("0123456789\n") == pid.npos) {
      more = "to itself pid " + std::string(trim(pid, "\n")) + ", ";
    }
  }
  if (const pid_t holder = holder_of(fd); holder > 0) {
    text = "pid " + std::to_string(holder);
    more.clear();
    if (auto name = read_file("/proc/" + std::to_string(holder) + "/comm", 64)) {
      more = posix::sanitize_gecos(std::string(trim(*name, "\n"))) + ", ";
    }
  }
  struct stat status{};
  if (::fstat(fd, &status) != 0) return text;
  const auto since = from_millis(std::int64_t{status.st_mtim.tv_sec} * 1000);
  return text + " (" + more + "since " + format_rfc3339(since) + ")";
}

}  // namespace

Result<PassLock> PassLock::take(const std::filesystem::path& path) {
  UniqueFd fd = open_lock(path);
  if (!fd.valid()) return std::unexpected(errno_error("lock file " + path.string(), errno));
  struct flock wanted = whole_file(F_WRLCK);
  if (::fcntl(fd.get(), F_SETLK, &wanted) != 0) {
    if (errno != EACCES && errno != EAGAIN) {
      return std::unexpected(errno_error("lock " + path.string(), errno));
    }
    return fail(Code::kAlreadyExists, "another pass is running: " + holder_in_words(fd.get()) +
                                          " holds " + path.string());
  }
  if (::ftruncate(fd.get(), 0) != 0) {
    return std::unexpected(errno_error("write " + path.string(), errno));
  }
  RETURN_IF_ERROR(write_all(fd.get(), std::to_string(::getpid()) + "\n"));
  return PassLock(std::move(fd));
}

void end_lock_holder(const std::filesystem::path& path) {
  const UniqueFd fd = open_lock(path);
  const auto until = std::chrono::steady_clock::now() + kEndWait;
  bool asked = false;
  while (fd.valid() && std::chrono::steady_clock::now() < until) {
    const pid_t holder = holder_of(fd.get());
    if (holder <= 1) return;
    const auto command = read_file("/proc/" + std::to_string(holder) + "/cmdline", 64 << 10);
    const bool agent = command && command->contains(std::string("\0run\0", 5));
    if (!asked && command && !agent && command->contains("nsscache")) ::kill(holder, SIGTERM);
    asked = true;
    std::this_thread::sleep_for(kEndPoll);
  }
}

}  // namespace roster::mirror
