#pragma once

#include <cstdint>
#include <filesystem>

#include "base/fd.h"
#include "base/result.h"

namespace roster::store {

/// Disk space set aside in a file, so that a full disk still lets access be taken away: given back
/// to the file system a quarter at a time, taken again when there is room. Not thread-safe.
class Reserve {
 public:
  /// `bytes` 0 makes an empty reserve, always whole. A disk too full to hold it is not an error:
  /// the reserve is then not whole.
  static Result<Reserve> open(const std::filesystem::path& path, std::int64_t bytes);

  bool whole() const { return held_ == bytes_; }

  /// Frees a quarter of the full size; false when nothing is left to free.
  bool release_part();

  /// Takes the full size again or, when there is no room, leaves what is held; whole() afterwards.
  bool refill();

 private:
  Reserve(UniqueFd fd, std::int64_t bytes, std::int64_t held)
      : fd_(std::move(fd)), bytes_(bytes), held_(held) {}

  UniqueFd fd_;
  std::int64_t bytes_;
  std::int64_t held_;
};

}  // namespace roster::store
