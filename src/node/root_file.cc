#include "node/root_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>

#include "base/fd.h"
#include "base/file.h"

namespace roster::node {
namespace {

constexpr mode_t kOthersWrite = S_IWGRP | S_IWOTH;

std::unexpected<Error> unsafe(const std::filesystem::path& path, std::string_view why) {
  return fail(Code::kPermissionDenied, path.string() + " " + std::string(why));
}

Result<void> check_owner(const std::filesystem::path& path, const struct stat& info, uid_t owner) {
  if (info.st_uid != owner && info.st_uid != 0) {
    return unsafe(path, "belongs to uid " + std::to_string(info.st_uid) + ", not to root");
  }
  return {};
}

Result<std::string> read_all(int fd, const std::filesystem::path& path, std::size_t bytes_max) {
  std::string content;
  std::array<char, 16 << 10> buffer;
  while (true) {
    const ssize_t got = ::read(fd, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return std::unexpected(errno_error("read " + path.string(), errno));
    if (got == 0) return content;
    content.append(buffer.data(), static_cast<std::size_t>(got));
    if (content.size() > bytes_max) {
      return fail(Code::kTooLarge,
                  path.string() + " is larger than " + std::to_string(bytes_max) + " bytes");
    }
  }
}

}  // namespace

Result<void> check_directory(const std::filesystem::path& directory, uid_t owner) {
  if (!directory.is_absolute()) return unsafe(directory, "is not an absolute path");
  UniqueFd at(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  std::filesystem::path walked = "/";
  auto part = directory.begin();
  while (true) {
    struct stat info{};
    if (::fstat(at.get(), &info) != 0) return std::unexpected(errno_error("stat", errno));
    RETURN_IF_ERROR(check_owner(walked, info, owner));
    const bool last = std::next(part) == directory.end();
    const bool sticky = (info.st_mode & S_ISVTX) != 0 && !last;
    if ((info.st_mode & kOthersWrite) != 0 && !sticky) {
      return unsafe(walked, "can be written by others than root");
    }
    if (last) return {};
    ++part;
    if (*part == "..") return unsafe(directory, "holds \"..\"");
    walked /= *part;
    UniqueFd next(::openat(at.get(), part->c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!next.valid()) {
      const int error = errno;
      struct stat link{};
      if (::fstatat(at.get(), part->c_str(), &link, AT_SYMLINK_NOFOLLOW) == 0 &&
          S_ISLNK(link.st_mode)) {
        return unsafe(walked, "is a symbolic link");
      }
      return std::unexpected(errno_error("open " + walked.string(), error));
    }
    at = std::move(next);
  }
}

Result<std::optional<RootFile>> read_root_file(const std::filesystem::path& path, uid_t owner,
                                               std::size_t bytes_max) {
  if (const auto checked = check_directory(path.parent_path(), owner); !checked) {
    if (checked.error().code == Code::kNotFound) return std::optional<RootFile>();
    return std::unexpected(checked.error());
  }
  // O_NONBLOCK: a FIFO in the place of the file must not stop us.
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
  if (!fd.valid()) {
    if (errno == ENOENT) return std::optional<RootFile>();
    if (errno == ELOOP) return unsafe(path, "is a symbolic link");
    return std::unexpected(errno_error("open " + path.string(), errno));
  }
  struct stat info{};
  if (::fstat(fd.get(), &info) != 0) {
    return std::unexpected(errno_error("stat " + path.string(), errno));
  }
  if (!S_ISREG(info.st_mode)) {
    return fail(Code::kFailedPrecondition, path.string() + " is not a regular file");
  }
  RETURN_IF_ERROR(check_owner(path, info, owner));
  if ((info.st_mode & kOthersWrite) != 0) return unsafe(path, "can be written by others than root");
  ASSIGN_OR_RETURN(std::string content, read_all(fd.get(), path, bytes_max));
  return std::optional(RootFile{.content = std::move(content),
                                .mode = info.st_mode & 07777U,
                                .uid = info.st_uid,
                                .gid = info.st_gid});
}

Result<void> write_root_file(const std::filesystem::path& path, const RootFile& file) {
  return write_file_atomic(path, file.content, file.mode, FileOwner{file.uid, file.gid});
}

Result<void> remove_root_file(const std::filesystem::path& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
    return std::unexpected(errno_error("remove " + path.string(), errno));
  }
  return fsync_directory(path.parent_path());
}

void remove_leftovers(const std::filesystem::path& path) {
  const std::string prefix = "." + path.filename().string() + ".";
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(path.parent_path(), error)) {
    std::string name = entry.path().filename().string();
    if (!name.starts_with(prefix) || !name.ends_with(".tmp")) continue;
    // ".NAME.<pid>.<count>.tmp", as base/file.h names them, and nothing else.
    const std::string_view middle =
        std::string_view(name).substr(prefix.size(), name.size() - prefix.size() - 4);
    const bool ours =
        std::ranges::count(middle, '.') == 1 && middle.size() >= 3 &&
        std::ranges::all_of(middle, [](char c) { return c == '.' || (c >= '0' && c <= '9'); });
    if (ours) ::unlink(entry.path().c_str());
  }
}

}  // namespace roster::node
