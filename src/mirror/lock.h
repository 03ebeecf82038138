#pragma once

#include <filesystem>
#include <optional>

#include "base/fd.h"
#include "base/result.h"

namespace roster::mirror {

/// The lock that nsscache takes (fcntl(2) F_SETLK on a file with the holder's pid), so that neither
/// runs beside the other. Gone with the process.
class PassLock {
 public:
  /// kAlreadyExists naming the holder's pid, and since when, while another process has it.
  static Result<PassLock> take(const std::filesystem::path& path);

 private:
  explicit PassLock(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

/// SIGTERM for the process that holds the lock, when its command line says that it is nsscache, and
/// up to five seconds for its end. An agent that runs is not ended: its pass is waited for.
void end_lock_holder(const std::filesystem::path& path);

}  // namespace roster::mirror
