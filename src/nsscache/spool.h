#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "nsscache/build.h"
#include "nsscache/cache_directory.h"
#include "posix/node.h"

namespace roster::nsscache {

/// Users of a replacement, in any order, kept in an unlinked file: 24 bytes of memory each.
class UserSpool {
 public:
  static Result<UserSpool> create(const CacheDirectory& directory);

  Result<void> add(const posix::NodeUser& user);
  /// Takes back what came under this number so far.
  void remove(std::uint64_t n);
  /// Brings the records into the order of their numbers; of those with one number the last stays.
  Result<void> sort();
  /// After sort(): numbers rising.
  const auto& entries() const { return entries_; }
  Result<posix::NodeUser> read(std::size_t index) const;

 private:
  struct Entry {
    std::uint64_t n;
    std::uint64_t offset;
    std::uint64_t bytes;  // 0: taken back
  };
  explicit UserSpool(UniqueFd fd) : fd_(std::move(fd)) {}
  Result<void> flush();

  UniqueFd fd_;
  std::vector<Entry> entries_;
  std::string buffer_;
  std::uint64_t position_ = 0;  // of the next record
  std::uint64_t flushed_ = 0;   // of the first byte of the buffer
  bool sorted_ = true;
};

}  // namespace roster::nsscache
