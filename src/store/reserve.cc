#include "store/reserve.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <utility>

#include "base/file.h"

namespace roster::store {
namespace {

constexpr std::int64_t kBlock = 4096;

int allocate(int fd, std::int64_t bytes) {
  int error = 0;
  do {
    error = ::posix_fallocate(fd, 0, bytes);
  } while (error == EINTR);
  return error;
}

/// Blocks of a shortened file are free for others on journalling file systems only after the
/// journal's commit, hence the fsync.
bool shorten(int fd, std::int64_t bytes) { return ::ftruncate(fd, bytes) == 0 && ::fsync(fd) == 0; }

}  // namespace

Result<Reserve> Reserve::open(const std::filesystem::path& path, std::int64_t bytes) {
  if (bytes <= 0) return Reserve(UniqueFd(), 0, 0);
  bytes = (bytes + 4 * kBlock - 1) / (4 * kBlock) * (4 * kBlock);
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd.valid()) return std::unexpected(errno_error("open " + path.string(), errno));
  struct stat status;
  if (::fstat(fd.get(), &status) != 0) {
    return std::unexpected(errno_error("stat " + path.string(), errno));
  }
  // A copied or restored file may be sparse: only what has blocks counts as held.
  const std::int64_t blocks = status.st_blocks * 512 / kBlock * kBlock;
  const std::int64_t held = std::min({bytes, static_cast<std::int64_t>(status.st_size), blocks});
  if (status.st_size != held && ::ftruncate(fd.get(), held) != 0) {
    return std::unexpected(errno_error("shorten " + path.string(), errno));
  }
  Reserve reserve(std::move(fd), bytes, held);
  reserve.refill();
  return reserve;
}

bool Reserve::release_part() {
  if (held_ == 0) return false;
  const std::int64_t left = std::max<std::int64_t>(0, held_ - bytes_ / 4);
  if (!shorten(fd_.get(), left)) return false;
  held_ = left;
  return true;
}

bool Reserve::refill() {
  if (whole()) return true;
  if (allocate(fd_.get(), bytes_) == 0 && ::fsync(fd_.get()) == 0) {
    held_ = bytes_;
  } else {
    // Some file systems keep what they could allocate before they ran out: revocations need it.
    shorten(fd_.get(), held_);
  }
  return whole();
}

}  // namespace roster::store
