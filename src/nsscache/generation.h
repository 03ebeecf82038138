#pragma once

// One generation of the cache as mapped bytes: lookups with every bound and checksum tested, and
// nothing else: no system calls, no state, only libc. The answer to damaged bytes is
// Found::kDamaged.

#include <cstddef>
#include <cstdint>

#include "nsscache/image.h"

namespace roster::nsscache {

struct ByteSpan {
  const std::uint8_t* data = nullptr;
  std::uint64_t bytes = 0;
};

/// A file whose header is sound and whose sections lie inside it. `header` is null when it is not.
struct Image {
  const ImageHeader* header = nullptr;
  std::uint64_t seed = 0;
  std::uint64_t salt = 0;
  ByteSpan records;
  ByteSpan user_index;
  ByteSpan user_names;
  ByteSpan group_index;
  ByteSpan by_name;
  ByteSpan by_id;
  ByteSpan mark_index;
  ByteSpan dangling;
  ByteSpan by_number;
  ByteSpan key_index;
};

/// Checks magic, major, the header's CRC, the size and the place of every section that files with
/// this magic must have. `data` is aligned to 64.
Image parse_image(const void* data, std::uint64_t bytes, const char (&magic)[8]);

/// Whether a control file of 4096 bytes is one that this reader understands.
bool control_is_sound(const Control& control);

/// Whether `target`'s header is the one that `binding` names.
bool is_bound_to(const Binding& binding, const Image& target);

/// base and delta; after find_* both parse_image()d and bound.
struct Generation {
  Image delta;
  Image base;
  const Control* control = nullptr;  // of readers only
};

enum class Found : std::uint8_t { kNo, kYes, kDamaged };

struct UserHit {
  Found found;
  bool in_delta;
  const UserRecord* user;
};

struct GroupHit {
  Found found;
  bool in_delta;
  const GroupRecord* group;  // null for a private group
  const UserRecord* user;    // of a private group: its user
};

/// Records whatever their flags: masked and locked ones too. `bytes` is the name's length.
UserHit find_user(const Generation& generation, const char* name, std::size_t bytes);
UserHit find_user(const Generation& generation, std::uint32_t uid);
/// Groups first; then the private group of the user with this name or id and gid == uid.
GroupHit find_group(const Generation& generation, const char* name, std::size_t bytes);
GroupHit find_group(const Generation& generation, std::uint32_t gid);

/// The same in one file alone, private groups left out.
UserHit find_user_in(const Image& image, const char* name, std::size_t bytes);
UserHit find_user_in(const Image& image, std::uint32_t uid);
GroupHit find_group_in(const Image& image, const char* name, std::size_t bytes);
GroupHit find_group_in(const Image& image, std::uint32_t gid);

/// Records of one file by place or ordinal; null when damaged or out of range.
const UserRecord* user_at(const Image& image, std::uint32_t place);
const GroupRecord* group_at(const Image& image, std::uint32_t place);
const MarkRecord* mark_at(const Image& image, std::uint32_t place);
const KeysRecord* keys_at(const Image& image, std::uint32_t place);
const UserRecord* user_by_ordinal(const Image& image, std::uint32_t ordinal);
const GroupRecord* group_by_ordinal(const Image& image, std::uint32_t ordinal);
const MarkRecord* mark_by_ordinal(const Image& image, std::uint32_t ordinal);
const KeysRecord* keys_by_ordinal(const Image& image, std::uint32_t ordinal);

/// Whether a record of the base still speaks for itself: the delta neither replaces nor removes it.
Found is_current(const Generation& generation, const UserRecord& base_user);
Found is_current(const Generation& generation, const GroupRecord& base_group);

/// Items of a verified list; `items` is null when it is damaged.
struct ListView {
  const std::uint8_t* items;
  std::uint32_t count;
};
ListView gid_list(const Image& image, const UserRecord& user);  // u32 each
/// The same, copied to `gids`, which has room for all, in the pass that verifies it.
enum class GidList { kDamaged, kPlain, kHasSystemIds };
GidList copy_gids_verified(const Image& image, const UserRecord& user, std::uint32_t* gids);
ListView edge_list(const Image& image, const UserRecord& user);       // u64 each
ListView parent_list(const Image& image, const GroupRecord& group);   // u64 each
ListView removed_list(const Image& delta, const GroupRecord& group);  // u32 each

inline std::uint32_t list_u32(const ListView& list, std::uint32_t index) {
  std::uint32_t item;
  std::memcpy(&item, list.items + std::uint64_t{index} * 4, sizeof item);
  return item;
}
inline std::uint64_t list_u64(const ListView& list, std::uint32_t index) {
  return load64(list.items + std::uint64_t{index} * 8);
}

/// Members as references, with the check that they and the names they stand for must give.
struct MemberList {
  ListView references;  // u32 each
  std::uint64_t check;
  std::uint64_t salt;
};

/// Who is in a group: the base's list without the removed ones, then the delta's own. Inside their
/// files and of the right number; the lists of members are not verified yet.
struct MemberLists {
  Found found = Found::kDamaged;  // or kYes
  MemberList base{};
  ListView removed{};
  MemberList added{};
};
MemberLists locate_members(const Generation& generation, const GroupHit& hit);

/// The four words of a name in kSectionUserNames.
struct NameWords {
  std::uint64_t words[4];
};
inline NameWords load_name(const char* name) {
  return {{load64(name), load64(name + 8), load64(name + 16), load64(name + 24)}};
}
/// Its length: the bytes behind a name are zeros.
inline std::size_t name_length(const NameWords& name) {
  std::size_t word = 3;
  while (word > 0 && name.words[word] == 0) --word;
  if (name.words[word] == 0) return 0;
  return word * 8 + 8 - static_cast<std::size_t>(__builtin_clzll(name.words[word])) / 8;
}

/// Takes a list's names one after the other and tells whether they are the ones that were written.
class MemberCheck {
 public:
  explicit MemberCheck(const MemberList& list) : check_(list.salt) {
    check_.update(list.references.items, std::uint64_t{list.references.count} * 4);
  }
  void add(const NameWords& name) {
    check_.round(name.words[0], name.words[1], name.words[2], name.words[3]);
  }
  bool matches(const MemberList& list) const { return check_.result() == list.check; }

 private:
  Check64 check_;
};
bool verify_members(const Generation& generation, const MemberList& list);

/// Login of a member reference, kNameMax bytes padded with NUL; null when out of range.
inline const char* member_name(const Generation& generation, std::uint32_t reference) {
  const Image& image = (reference & kInDelta) != 0 ? generation.delta : generation.base;
  const std::uint32_t ordinal = reference & ~kInDelta;
  if (ordinal >= image.header->user_count) return nullptr;
  return reinterpret_cast<const char*>(image.user_names.data) + std::uint64_t{ordinal} * kNameMax;
}
const UserRecord* member_user(const Generation& generation, std::uint32_t reference);

/// Keys by the user's number: a keys file, then its keybase. `keys` is null when there are none.
struct KeysHit {
  Found found;
  const KeysRecord* keys;
};
KeysHit find_keys(const Image& delta, const Image& base, std::uint64_t n);

/// Strings of a record.
inline const char* user_name(const UserRecord& user) {
  return reinterpret_cast<const char*>(&user) + sizeof(UserRecord);
}
inline const char* user_gecos(const UserRecord& user) {
  return user_name(user) + user.name_bytes + 1;
}
inline const char* user_home(const UserRecord& user) {
  return user_gecos(user) + user.gecos_bytes + 1;
}
inline const char* user_shell(const UserRecord& user) {
  return user_home(user) + user.home_bytes + 1;
}
inline const char* group_name(const GroupRecord& group) {
  return reinterpret_cast<const char*>(&group) + sizeof(GroupRecord);
}
inline const char* mark_name(const MarkRecord& mark) {
  return reinterpret_cast<const char*>(&mark) + sizeof(MarkRecord);
}

}  // namespace roster::nsscache
