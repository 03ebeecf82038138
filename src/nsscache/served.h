#pragma once

#include <functional>
#include <optional>
#include <utility>

#include "base/result.h"
#include "nsscache/cache_directory.h"
#include "posix/node.h"

namespace roster::nsscache {

/// What readers are shown of one generation. It stays as it is while it lives, whatever is
/// published meanwhile: like a reader's, its files are mapped. Any thread.
class ServedGeneration {
 public:
  /// By rising numbers: people with their keys, as locked also whom this node denies; groups with
  /// their direct parents. Nobody who is masked. kDataLoss when a record does not verify; an error
  /// of a visitor ends it.
  Result<void> each(
      const std::function<Result<void>(posix::NodeUser user)>& visit_user,
      const std::function<Result<void>(const posix::NodeGroup& group)>& visit_group) const;

 private:
  friend class Publisher;
  ServedGeneration(ImageFile base, ImageFile delta, std::optional<ImageFile> keybase,
                   std::optional<ImageFile> keys)
      : base_(std::move(base)),
        delta_(std::move(delta)),
        keybase_(std::move(keybase)),
        keys_(std::move(keys)) {}

  Result<std::vector<posix::NodeKey>> keys_of(std::uint64_t n) const;

  ImageFile base_;
  ImageFile delta_;
  std::optional<ImageFile> keybase_;  // both or neither
  std::optional<ImageFile> keys_;
};

}  // namespace roster::nsscache
