#include "mirror/lock.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "base/file.h"

namespace roster::mirror {
namespace {

struct flock whole_file(short type) {
  struct flock lock{};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  return lock;
}

UniqueFd open_lock(const std::filesystem::path& path) {
  return UniqueFd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644));
}

/// 0 when nobody has it.
pid_t holder_of(int fd) {
  struct flock asked = whole_file(F_WRLCK);
  if (::fcntl(fd, F_GETLK, &asked) != 0 || asked.l_type == F_UNLCK) return 0;
  return asked.l_pid;
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
    return fail(Code::kAlreadyExists, "another pass is running (pid " +
                                          std::to_string(holder_of(fd.get())) + " holds " +
                                          path.string() + ")");
  }
  if (::ftruncate(fd.get(), 0) != 0) {
    return std::unexpected(errno_error("write " + path.string(), errno));
  }
  RETURN_IF_ERROR(write_all(fd.get(), std::to_string(::getpid()) + "\n"));
  return PassLock(std::move(fd));
}

void end_lock_holder(const std::filesystem::path& path) {
  const UniqueFd fd = open_lock(path);
  const pid_t holder = fd.valid() ? holder_of(fd.get()) : 0;
  if (holder <= 1) return;
  const auto command = read_file("/proc/" + std::to_string(holder) + "/cmdline", 64 << 10);
  if (!command) return;
  if (command->contains("nsscache") || command->contains("roster-agent")) {
    ::kill(holder, SIGTERM);
  }
}

}  // namespace roster::mirror
