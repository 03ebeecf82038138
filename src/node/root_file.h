#pragma once

#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

// Files that root reads and writes where others must have no say. A directory that somebody else
// may write, or a symlink, anywhere on the way would let them choose the file: both are refused,
// and then names can be used as they are.

namespace roster::node {

struct RootFile {
  std::string content;
  mode_t mode = 0644;  // permission bits
  uid_t uid = 0;
  gid_t gid = 0;
  bool operator==(const RootFile&) const = default;
};

/// Every directory from / to `directory` is `owner`'s or root's, no symlink, and writable by nobody
/// else (sticky directories such as /tmp are accepted on the way, not at the end).
/// kPermissionDenied naming the first that is not, kNotFound when one does not exist.
Result<void> check_directory(const std::filesystem::path& directory, uid_t owner);

/// Nothing when the file or its directory does not exist. kPermissionDenied when it is a symlink,
/// another's, or writable by others, kFailedPrecondition when it is no regular file, kTooLarge.
Result<std::optional<RootFile>> read_root_file(const std::filesystem::path& path, uid_t owner,
                                               std::size_t bytes_max);

/// Replaces or makes the file as one step, with this mode and owner; its directory was checked.
Result<void> write_root_file(const std::filesystem::path& path, const RootFile& file);

/// Removes it; kNotFound is no error.
Result<void> remove_root_file(const std::filesystem::path& path);

/// Removes what a kill in the middle of write_root_file left beside `path`.
void remove_leftovers(const std::filesystem::path& path);

}  // namespace roster::node
