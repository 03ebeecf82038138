#include "nsscache/decode.h"

#include <cstring>
#include <string>
#include <string_view>

namespace roster::nsscache {
namespace {

std::unexpected<Error> damaged(std::string_view what) {
  return fail(Code::kDataLoss, "a " + std::string(what) + " of the node cache does not verify");
}

std::vector<std::uint64_t> numbers(const ListView& list) {
  std::vector<std::uint64_t> out(list.count);
  for (std::uint32_t i = 0; i < list.count; ++i) out[i] = list_u64(list, i);
  return out;
}

}  // namespace

Result<posix::NodeUser> decode_user(const Image& image, const UserRecord& record) {
  ASSIGN_OR_RETURN(auto name, posix::LoginName::parse({user_name(record), record.name_bytes}));
  const ListView edges = edge_list(image, record);
  if (edges.items == nullptr) return damaged("list");
  return posix::NodeUser{.n = record.n,
                         .seq = Seq{record.seq},
                         .name = std::move(name),
                         .uid = record.uid,
                         .gid = record.gid,
                         .gecos = std::string(user_gecos(record), record.gecos_bytes),
                         .home = std::string(user_home(record), record.home_bytes),
                         .shell = std::string(user_shell(record), record.shell_bytes),
                         .locked = (record.flags & kFlagLocked) != 0,
                         .valid_until = record.valid_until,
                         .groups = numbers(edges),
                         .keys = {}};
}

Result<posix::NodeGroup> decode_group(const Image& image, const GroupRecord& record) {
  ASSIGN_OR_RETURN(auto name, posix::GroupName::parse({group_name(record), record.name_bytes}));
  const ListView parents = parent_list(image, record);
  if (parents.items == nullptr) return damaged("list");
  return posix::NodeGroup{.n = record.n,
                          .seq = Seq{record.seq},
                          .name = std::move(name),
                          .gid = record.gid,
                          .parents = numbers(parents)};
}

Result<std::vector<posix::NodeKey>> decode_keys(const KeysRecord& record) {
  std::vector<posix::NodeKey> keys;
  const auto* bytes = reinterpret_cast<const char*>(&record);
  std::size_t at = sizeof(KeysRecord);
  for (std::uint32_t i = 0; i < record.key_count; ++i) {
    KeyHead head;
    if (record.record_bytes - at < sizeof head) return damaged("key list");
    std::memcpy(&head, bytes + at, sizeof head);
    at += sizeof head;
    const std::size_t strings = std::size_t{head.line_bytes} + head.fingerprint_bytes + 2;
    if ((strings + 7) / 8 * 8 > record.record_bytes - at) return damaged("key list");
    keys.push_back(
        {.line = std::string(bytes + at, head.line_bytes),
         .fingerprint = std::string(bytes + at + head.line_bytes + 1, head.fingerprint_bytes),
         .not_before = head.not_before,
         .not_after = head.not_after});
    at += (strings + 7) / 8 * 8;
  }
  return keys;
}

namespace {

template <typename Record>
Result<std::uint32_t> ordinal_of(const Image& image, std::uint32_t count, std::uint64_t n,
                                 const Record* (*by_ordinal)(const Image&, std::uint32_t)) {
  std::uint32_t low = 0;
  std::uint32_t high = count;
  while (low < high) {
    const std::uint32_t middle = low + (high - low) / 2;
    const Record* record = by_ordinal(image, middle);
    if (record == nullptr) return damaged("record");
    if (record->n == n) return middle;
    if (record->n < n) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return kNone;
}

}  // namespace

Result<std::uint32_t> ordinal_of_user(const Image& image, std::uint64_t n) {
  return ordinal_of(image, image.header->user_count, n, user_by_ordinal);
}

Result<std::uint32_t> ordinal_of_group(const Image& image, std::uint64_t n) {
  return ordinal_of(image, image.header->group_count, n, group_by_ordinal);
}

}  // namespace roster::nsscache
