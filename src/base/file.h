#pragma once

#include <sys/types.h>

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "base/result.h"

namespace roster {

/// Error for the current errno of a failed call: "open /x: No such file or directory".
/// ENOENT is kNotFound, EACCES and EPERM kPermissionDenied, ENOSPC and EDQUOT kUnavailable,
/// others kInternal.
Error errno_error(std::string_view what, int error_number);

/// Whole file. kTooLarge beyond `bytes_max`.
Result<std::string> read_file(const std::filesystem::path& path, std::size_t bytes_max);

struct FileOwner {
  uid_t uid;
  gid_t gid;
};

/// The next content of a file, in a temporary one beside it until commit(); an object that ends
/// before takes it away.
class StagedFile {
 public:
  static Result<StagedFile> create(const std::filesystem::path& target);
  StagedFile(StagedFile&& other) noexcept;
  StagedFile& operator=(StagedFile&&) = delete;
  ~StagedFile();

  Result<void> append(std::string_view bytes);
  /// Lets the disk begin, so that seal() takes less long.
  void start_writing();
  /// Owner, mode, and all bytes on the disk.
  Result<void> seal(mode_t mode, std::optional<FileOwner> owner);
  /// Puts it into the place of the target. To survive power loss, fsync_directory() must follow.
  Result<void> commit();
  const std::filesystem::path& target() const { return target_; }
  int fd() const { return fd_.get(); }

 private:
  StagedFile(std::filesystem::path target, std::filesystem::path temporary, UniqueFd fd);

  std::filesystem::path target_;
  std::filesystem::path temporary_;  // empty once committed
  UniqueFd fd_;
  std::size_t waiting_ = 0;  // bytes since the disk was told
};

/// Replaces `path` as one step that survives power loss: temporary file beside it, mode and owner,
/// fsync, rename, fsync of the directory. On any error the old file stays and the temporary is
/// gone.
Result<void> write_file_atomic(const std::filesystem::path& path, std::string_view content,
                               mode_t mode, std::optional<FileOwner> owner = std::nullopt);

/// fsync of a directory, so that names created or renamed in it survive power loss.
Result<void> fsync_directory(const std::filesystem::path& directory);

/// write(2) until all is written. kUnavailable when the disk is full.
Result<void> write_all(int fd, std::string_view content);

/// A file that only its owner (and root) may read: used for tokens and keys.
/// kPermissionDenied when group or others have any access; otherwise as read_file, with one
/// trailing newline removed.
Result<std::string> read_private_file(const std::filesystem::path& path, std::size_t bytes_max);

}  // namespace roster
