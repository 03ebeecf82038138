#pragma once

#include <optional>
#include <vector>

#include "base/result.h"
#include "nsscache/generation.h"
#include "posix/node.h"

namespace roster::nsscache {

/// Records back as they came, without keys. kDataLoss when a record or list does not verify.
Result<posix::NodeUser> decode_user(const Image& image, const UserRecord& record);
Result<posix::NodeGroup> decode_group(const Image& image, const GroupRecord& record);
Result<std::vector<posix::NodeKey>> decode_keys(const KeysRecord& record);

/// Ordinal of the record with this number; records are in order of their numbers. kNone when there
/// is none. kDataLoss when a record on the way there does not verify: whether there is one is not
/// known then.
Result<std::uint32_t> ordinal_of_user(const Image& image, std::uint64_t n);
Result<std::uint32_t> ordinal_of_group(const Image& image, std::uint64_t n);

}  // namespace roster::nsscache
