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
