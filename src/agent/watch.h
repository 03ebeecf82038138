#pragma once

#include <cstdint>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "base/fd.h"

namespace roster::agent {

/// Tells when one of a few files was written, replaced or removed, without polling: inotify(7) on
/// their directories. For a directory that does not exist, its nearest ancestor is watched until it
/// comes.
class FileWatch {
 public:
  explicit FileWatch(const std::vector<std::filesystem::path>& files);

  /// To poll for reading; -1 when the kernel gives no inotify (then only the periodic look is
  /// left).
  int fd() const { return inotify_.get(); }
  /// Takes what has come; true when one of the files may have changed.
  bool drain();
  /// Watches directories that were missing or were replaced.
  void rearm();

 private:
  struct Directory {
    std::filesystem::path path;
    std::set<std::string> names;
    int watch = -1;
    // While it is missing: its nearest ancestor, and what must come there.
    int ancestor_watch = -1;
    std::string missing{};
  };
  void watch_ancestor(Directory& directory);
  bool take(std::uint32_t mask, int watch, const std::string& name);
  UniqueFd inotify_;
  std::vector<Directory> directories_;
};

}  // namespace roster::agent
