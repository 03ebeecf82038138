#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <system_error>

namespace roster {

Error errno_error(std::string_view what, int error_number) {
  Code code = Code::kInternal;
  switch (error_number) {
    case ENOENT:
      code = Code::kNotFound;
      break;
    case EACCES:
    case EPERM:
      code = Code::kPermissionDenied;
      break;
    case ENOSPC:
    case EDQUOT:
      code = Code::kUnavailable;
      break;
    default:
      break;
  }
  return Error{code, std::string(what) + ": " + std::generic_category().message(error_number)};
}

namespace {

Result<std::string> read_fd(int fd, const std::string& name, std::size_t bytes_max) {
  std::string content;
  struct stat status;
  if (::fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_size > 0) {
    content.reserve(std::min(static_cast<std::size_t>(status.st_size), bytes_max));
  }
  char buffer[64 << 10];
  while (true) {
    const ssize_t got = ::read(fd, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return std::unexpected(errno_error("read " + name, errno));
    if (got == 0) return content;
    if (content.size() + static_cast<std::size_t>(got) > bytes_max) {
      return fail(Code::kTooLarge,
                  name + ": larger than the " + std::to_string(bytes_max) + " bytes allowed");
    }
    content.append(buffer, static_cast<std::size_t>(got));
  }
}

}  // namespace

Result<std::string> read_file(const std::filesystem::path& path, std::size_t bytes_max) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return std::unexpected(errno_error("open " + path.string(), errno));
  return read_fd(fd.get(), path.string(), bytes_max);
}

Result<std::string> read_private_file(const std::filesystem::path& path, std::size_t bytes_max) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return std::unexpected(errno_error("open " + path.string(), errno));
  struct stat status;
  if (::fstat(fd.get(), &status) != 0) {
    return std::unexpected(errno_error("stat " + path.string(), errno));
  }
  if ((status.st_mode & 077) != 0) {
    return fail(Code::kPermissionDenied,
                path.string() + ": group or others can access this secret; run chmod 600 on it");
  }
  ASSIGN_OR_RETURN(std::string content, read_fd(fd.get(), path.string(), bytes_max));
  if (content.ends_with('\n')) content.pop_back();
  return content;
}

Result<void> write_all(int fd, std::string_view content) {
  while (!content.empty()) {
    const ssize_t put = ::write(fd, content.data(), content.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return std::unexpected(errno_error("write", errno));
    content.remove_prefix(static_cast<std::size_t>(put));
  }
  return {};
}

Result<void> fsync_directory(const std::filesystem::path& directory) {
  UniqueFd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return std::unexpected(errno_error("open " + directory.string(), errno));
  if (::fsync(fd.get()) != 0) {
    return std::unexpected(errno_error("fsync " + directory.string(), errno));
  }
  return {};
}

StagedFile::StagedFile(std::filesystem::path target, std::filesystem::path temporary, UniqueFd fd)
    : target_(std::move(target)), temporary_(std::move(temporary)), fd_(std::move(fd)) {}

StagedFile::StagedFile(StagedFile&& other) noexcept
    : target_(std::move(other.target_)),
      temporary_(std::exchange(other.temporary_, {})),
      fd_(std::move(other.fd_)),
      waiting_(other.waiting_) {}

StagedFile::~StagedFile() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

Result<StagedFile> StagedFile::create(const std::filesystem::path& target) {
  static std::atomic<unsigned> counter{0};
  std::filesystem::path directory = target.parent_path();
  if (directory.empty()) directory = ".";
  // Somebody who was killed may have left one: in a container every process has the same number.
  constexpr int kTries = 1000;
  for (int attempt = 1;; ++attempt) {
    std::filesystem::path temporary =
        directory / ("." + target.filename().string() + "." + std::to_string(::getpid()) + "." +
                     std::to_string(counter.fetch_add(1)) + ".tmp");
    UniqueFd fd(
        ::open(temporary.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (fd.valid()) return StagedFile(target, std::move(temporary), std::move(fd));
    if (errno != EEXIST || attempt == kTries) {
      return std::unexpected(errno_error("create " + temporary.string(), errno));
    }
  }
}

Result<void> StagedFile::append(std::string_view bytes) {
  if (auto written = write_all(fd_.get(), bytes); !written) {
    return fail_in(target_.string(), written.error());
  }
  constexpr std::size_t kWaitingMax = 4 << 20;
  waiting_ += bytes.size();
  if (waiting_ >= kWaitingMax) start_writing();
  return {};
}

void StagedFile::start_writing() {
  waiting_ = 0;
  // Only a hint: fsync(2) in seal() is what counts.
  (void)::sync_file_range(fd_.get(), 0, 0, SYNC_FILE_RANGE_WRITE);
}

Result<void> StagedFile::seal(mode_t mode, std::optional<FileOwner> owner) {
  const std::string where = target_.string();
  // Owner before mode: chown(2) clears set-id bits, and a wider mode must not precede its owner.
  if (owner && ::fchown(fd_.get(), owner->uid, owner->gid) != 0) {
    return std::unexpected(errno_error("chown " + where, errno));
  }
  if (::fchmod(fd_.get(), mode) != 0) return std::unexpected(errno_error("chmod " + where, errno));
  if (::fsync(fd_.get()) != 0) return std::unexpected(errno_error("fsync " + where, errno));
  return {};
}

Result<void> StagedFile::commit() {
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) {
    return std::unexpected(errno_error("rename to " + target_.string(), errno));
  }
  temporary_.clear();
  return {};
}

Result<void> write_file_atomic(const std::filesystem::path& path, std::string_view content,
                               mode_t mode, std::optional<FileOwner> owner) {
  ASSIGN_OR_RETURN(StagedFile file, StagedFile::create(path));
  RETURN_IF_ERROR(file.append(content));
  RETURN_IF_ERROR(file.seal(mode, owner));
  RETURN_IF_ERROR(file.commit());
  const std::filesystem::path directory = path.parent_path();
  return fsync_directory(directory.empty() ? "." : directory);
}

}  // namespace roster
