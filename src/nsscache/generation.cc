#include "nsscache/generation.h"

#include "nsscache/copy_ids.h"

namespace roster::nsscache {
namespace {

/// Where a section goes, or null for one that this reader does not know: it is skipped.
ByteSpan* section_slot(Image& image, std::uint32_t id) {
  switch (id) {
    case kSectionRecords:
      return &image.records;
    case kSectionUserIndex:
      return &image.user_index;
    case kSectionUserNames:
      return &image.user_names;
    case kSectionGroupIndex:
      return &image.group_index;
    case kSectionByName:
      return &image.by_name;
    case kSectionById:
      return &image.by_id;
    case kSectionMarkIndex:
      return &image.mark_index;
    case kSectionDangling:
      return &image.dangling;
    case kSectionByNumber:
      return &image.by_number;
    case kSectionKeyIndex:
      return &image.key_index;
    default:
      return nullptr;
  }
}

bool read_sections(Image& image, const std::uint8_t* data, std::uint64_t bytes) {
  const ImageHeader& header = *image.header;
  for (std::uint32_t i = 0; i < header.section_count; ++i) {
    const Section& section = header.sections[i];
    if (section.offset % 64 != 0 || section.offset < header.header_bytes ||
        section.offset > bytes || section.bytes > bytes - section.offset) {
      return false;
    }
    ByteSpan* slot = section_slot(image, section.id);
    if (slot == nullptr) continue;
    if (slot->data != nullptr) return false;
    *slot = {data + section.offset, section.bytes};
  }
  return true;
}

bool is_table(const ByteSpan& table) {
  return table.data != nullptr && table.bytes != 0 && table.bytes % sizeof(Bucket) == 0 &&
         table.bytes / sizeof(Bucket) <= 0xffffffffu;
}

bool sections_fit(const Image& image, bool has_keys) {
  const ImageHeader& header = *image.header;
  if (image.records.data == nullptr || image.records.bytes % 8 != 0) return false;
  if (image.records.bytes > kRecordBytesMax) return false;
  if (has_keys) {
    return is_table(image.by_number) && image.key_index.bytes == 4ull * header.user_count;
  }
  return image.user_index.bytes == 4ull * header.user_count &&
         image.user_names.bytes == kNameMax * std::uint64_t{header.user_count} &&
         image.group_index.bytes == 4ull * header.group_count &&
         image.mark_index.bytes == 4ull * header.mark_count && is_table(image.by_name) &&
         is_table(image.by_id) && image.dangling.bytes % sizeof(DanglingEdge) == 0;
}

std::uint32_t index_entry(const ByteSpan& index, std::uint32_t ordinal) {
  std::uint32_t place;
  std::memcpy(&place, index.data + std::uint64_t{ordinal} * 4, sizeof place);
  return place;
}

/// The record at a place when its head lies inside the section; null otherwise.
template <typename Record>
const Record* head_at(const Image& image, std::uint32_t place, std::uint64_t bytes_max) {
  const std::uint64_t at = std::uint64_t{place} * 8;
  if (at + sizeof(Record) > image.records.bytes) return nullptr;
  const auto* record = reinterpret_cast<const Record*>(image.records.data + at);
  const std::uint64_t bytes = record->record_bytes;
  if (bytes < sizeof(Record) || bytes > bytes_max || bytes % 8 != 0 ||
      bytes > image.records.bytes - at) {
    return nullptr;
  }
  if (check64(&record->n, bytes - 8, image.salt) != record->check) return nullptr;
  return record;
}

/// The items of a list when they lie inside the section; null otherwise. Not yet verified.
const std::uint8_t* items_at(const Image& image, std::uint32_t place, std::uint64_t bytes) {
  const std::uint64_t at = std::uint64_t{place} * 8;
  if (at + sizeof(ListHead) > image.records.bytes) return nullptr;
  if (bytes > image.records.bytes - at - sizeof(ListHead)) return nullptr;
  return image.records.data + at + sizeof(ListHead);
}

std::uint64_t stored_check(const std::uint8_t* items) { return load64(items - sizeof(ListHead)); }

// An empty list has no place; any pointer that is not null stands for it.
ListView empty_list(const Image& image) { return {image.records.data, 0}; }

ListView verified_list(const Image& image, std::uint64_t n, std::uint32_t place,
                       std::uint32_t count, std::uint32_t item_bytes) {
  if (count == 0) return empty_list(image);
  const std::uint64_t bytes = std::uint64_t{count} * item_bytes;
  const std::uint8_t* items = items_at(image, place, (bytes + 7) / 8 * 8);
  if (items == nullptr || check64(items, bytes, image.salt + n) != stored_check(items)) {
    return {nullptr, 0};
  }
  return {items, count};
}

struct NameKey {
  const char* name;
  std::size_t bytes;

  const ByteSpan& table(const Image& image) const { return image.by_name; }
  std::uint64_t hash(const Image& image) const { return hash_name(name, bytes, image.seed); }
  bool equals(const char* other, std::size_t other_bytes) const {
    return other_bytes == bytes && std::memcmp(other, name, bytes) == 0;
  }
  bool matches(const UserRecord& user) const { return equals(user_name(user), user.name_bytes); }
  bool matches(const GroupRecord& group) const {
    return equals(group_name(group), group.name_bytes);
  }
  bool matches(const MarkRecord& mark) const { return equals(mark_name(mark), mark.name_bytes); }
};

struct IdKey {
  std::uint32_t id;

  const ByteSpan& table(const Image& image) const { return image.by_id; }
  std::uint64_t hash(const Image& image) const { return hash_number(id, image.seed); }
  bool matches(const UserRecord& user) const { return user.uid == id; }
  bool matches(const GroupRecord& group) const { return group.gid == id; }
  bool matches(const MarkRecord& mark) const { return mark.id == id; }
};

/// What one file says about a key: a record, "gone" (a mark), or nothing.
struct Entries {
  const UserRecord* user = nullptr;
  const GroupRecord* group = nullptr;
  bool user_gone = false;
  bool group_gone = false;
  bool damaged = false;
};

constexpr unsigned kWantUser = 1;
constexpr unsigned kWantGroup = 2;

template <typename Key>
void read_entry(const Image& image, std::uint32_t ref, const Key& key, unsigned want,
                Entries& entries) {
  const std::uint32_t place = ref & kRefPlaceMask;
  switch (static_cast<RefKind>(ref >> 30)) {
    case kRefUser: {
      if ((want & kWantUser) == 0) return;
      const UserRecord* user = user_at(image, place);
      if (user == nullptr) {
        entries.damaged = true;
      } else if (key.matches(*user)) {
        entries.user = user;
      }
      return;
    }
    case kRefGroup: {
      if ((want & kWantGroup) == 0) return;
      const GroupRecord* group = group_at(image, place);
      if (group == nullptr) {
        entries.damaged = true;
      } else if (key.matches(*group)) {
        entries.group = group;
      }
      return;
    }
    case kRefUserMark:
    case kRefGroupMark: {
      const MarkRecord* mark = mark_at(image, place);
      if (mark == nullptr) {
        entries.damaged = true;
      } else if (key.matches(*mark)) {
        (mark->kind == kMarkUser ? entries.user_gone : entries.group_gone) = true;
      }
      return;
    }
  }
}

const Bucket* bucket_at(const ByteSpan& table, std::uint64_t index) {
  return reinterpret_cast<const Bucket*>(table.data) + index;
}

/// The buckets of a table in probing order: visit(ref) for each entry with the hash's tag, until it
/// says that it has all it wants. False when a bucket is damaged whose silence would have been
/// taken for an answer: what was found instead vouches for itself.
template <typename Visit>
bool probe(const Image& image, const ByteSpan& table, std::uint64_t hash, Visit&& visit) {
  const std::uint64_t buckets = table.bytes / sizeof(Bucket);
  const std::uint32_t tag = hash_tag(hash);
  std::uint64_t index = hash_bucket(hash, buckets);
  for (std::uint64_t step = 0; step < buckets; ++step) {
    const Bucket& bucket = *bucket_at(table, index);
    const std::uint32_t used = bucket.meta & 7;
    for (std::uint32_t i = 0; i < used; ++i) {
      if (bucket.entries[i].tag == tag && visit(bucket.entries[i].ref)) return true;
    }
    if (bucket_check(bucket, image.salt, index) != bucket.check) return false;
    if ((bucket.meta & kBucketOverflow) == 0) return true;
    if (++index == buckets) index = 0;
  }
  return true;
}

template <typename Key>
Entries scan(const Image& image, const Key& key, std::uint64_t hash, unsigned want) {
  Entries entries;
  const bool sound = probe(image, key.table(image), hash, [&](std::uint32_t ref) {
    read_entry(image, ref, key, want, entries);
    return entries.damaged ||
           (((want & kWantUser) == 0 || entries.user != nullptr || entries.user_gone) &&
            ((want & kWantGroup) == 0 || entries.group != nullptr || entries.group_gone));
  });
  if (!sound) entries.damaged = true;
  return entries;
}

template <typename Key>
Entries scan(const Image& image, const Key& key, unsigned want) {
  return scan(image, key, key.hash(image), want);
}

struct Answer {
  Entries entries;
  bool user_in_delta = false;
  bool group_in_delta = false;
};

template <typename Key>
Answer lookup(const Generation& generation, const Key& key, unsigned want) {
  // The base's bucket is on its way from memory while the delta is asked.
  const std::uint64_t base_hash = key.hash(generation.base);
  const ByteSpan& base_table = key.table(generation.base);
  __builtin_prefetch(
      bucket_at(base_table, hash_bucket(base_hash, base_table.bytes / sizeof(Bucket))));
  const bool one_seed = generation.delta.seed == generation.base.seed;
  Answer answer{.entries = scan(generation.delta, key,
                                one_seed ? base_hash : key.hash(generation.delta), want)};
  if (answer.entries.damaged) return answer;
  answer.user_in_delta = answer.entries.user != nullptr;
  answer.group_in_delta = answer.entries.group != nullptr;
  unsigned left = want;
  if (answer.user_in_delta || answer.entries.user_gone) left &= ~kWantUser;
  if (answer.group_in_delta || answer.entries.group_gone) left &= ~kWantGroup;
  if (left == 0) return answer;
  const Entries base = scan(generation.base, key, base_hash, left);
  answer.entries.damaged = base.damaged;
  if (base.user != nullptr) answer.entries.user = base.user;
  if (base.group != nullptr) answer.entries.group = base.group;
  return answer;
}

template <typename Key>
UserHit lookup_user(const Generation& generation, const Key& key) {
  const Answer answer = lookup(generation, key, kWantUser);
  if (answer.entries.damaged) return {Found::kDamaged, false, nullptr};
  const UserRecord* user = answer.entries.user;
  return {user != nullptr ? Found::kYes : Found::kNo, answer.user_in_delta, user};
}

template <typename Key>
GroupHit lookup_group(const Generation& generation, const Key& key) {
  const Answer answer = lookup(generation, key, kWantUser | kWantGroup);
  if (answer.entries.damaged) return {Found::kDamaged, false, nullptr, nullptr};
  if (answer.entries.group != nullptr) {
    return {Found::kYes, answer.group_in_delta, answer.entries.group, nullptr};
  }
  const UserRecord* user = answer.entries.user;
  if (user == nullptr || user->gid != user->uid) return {Found::kNo, false, nullptr, nullptr};
  return {Found::kYes, answer.user_in_delta, nullptr, user};
}

template <typename Key>
UserHit user_in(const Image& image, const Key& key) {
  const Entries entries = scan(image, key, kWantUser);
  if (entries.damaged) return {Found::kDamaged, false, nullptr};
  return {entries.user != nullptr ? Found::kYes : Found::kNo, false, entries.user};
}

template <typename Key>
GroupHit group_in(const Image& image, const Key& key) {
  const Entries entries = scan(image, key, kWantGroup);
  if (entries.damaged) return {Found::kDamaged, false, nullptr, nullptr};
  return {entries.group != nullptr ? Found::kYes : Found::kNo, false, entries.group, nullptr};
}

}  // namespace

Image parse_image(const void* data, std::uint64_t bytes, const char (&magic)[8]) {
  constexpr Image kUnsound{};
  if (bytes < sizeof(ImageHeader)) return kUnsound;
  Image image{};
  image.header = static_cast<const ImageHeader*>(data);
  const ImageHeader& header = *image.header;
  if (std::memcmp(header.magic, magic, sizeof header.magic) != 0 || header.major != kMajor ||
      header.header_bytes < kHeaderBytes || header.header_bytes > kHeaderBytesMax ||
      header.header_bytes > bytes) {
    return kUnsound;
  }
  // The field of the CRC itself counts as zero.
  constexpr std::size_t kCrcAt = offsetof(ImageHeader, header_crc);
  const auto* at = static_cast<const std::uint8_t*>(data);
  const std::uint32_t zero = 0;
  std::uint32_t crc = header_crc32c(at, kCrcAt);
  crc = header_crc32c(&zero, sizeof zero, crc);
  crc = header_crc32c(at + kCrcAt + 4, header.header_bytes - kCrcAt - 4, crc);
  if (crc != header.header_crc || header.file_bytes != bytes || header.must_understand != 0 ||
      header.section_count > kSectionsMax || header.cursor_bytes > kCursorMax ||
      header.user_count > kUsersMax || header.group_count > kUsersMax ||
      header.mark_count > 2 * kUsersMax) {
    return kUnsound;
  }
  image.seed = header.hash_seed;
  image.salt = file_salt(header.hash_seed, header.generation);
  const bool has_keys = std::memcmp(magic, kKeysMagic, sizeof magic) == 0 ||
                        std::memcmp(magic, kKeyBaseMagic, sizeof magic) == 0;
  if (!read_sections(image, at, bytes) || !sections_fit(image, has_keys)) return kUnsound;
  return image;
}

bool control_is_sound(const Control& control) {
  constexpr std::size_t kCrcAt = offsetof(Control, header_crc);
  if (std::memcmp(control.magic, kControlMagic, sizeof control.magic) != 0 ||
      control.major != kMajor) {
    return false;
  }
  const auto* at = reinterpret_cast<const std::uint8_t*>(&control);
  const std::uint32_t zero = 0;
  std::uint32_t crc = header_crc32c(at, kCrcAt);
  crc = header_crc32c(&zero, sizeof zero, crc);
  crc = header_crc32c(at + kCrcAt + 4, kControlHeaderBytes - kCrcAt - 4, crc);
  return crc == control.header_crc;
}

bool is_bound_to(const Binding& binding, const Image& target) {
  return target.header != nullptr && binding.generation == target.header->generation &&
         binding.file_bytes == target.header->file_bytes &&
         binding.body_check == target.header->body_check;
}

UserHit find_user(const Generation& generation, const char* name, std::size_t bytes) {
  if (bytes == 0 || bytes > kNameMax) return {Found::kNo, false, nullptr};
  return lookup_user(generation, NameKey{name, bytes});
}

UserHit find_user(const Generation& generation, std::uint32_t uid) {
  return lookup_user(generation, IdKey{uid});
}

GroupHit find_group(const Generation& generation, const char* name, std::size_t bytes) {
  if (bytes == 0 || bytes > kNameMax) return {Found::kNo, false, nullptr, nullptr};
  return lookup_group(generation, NameKey{name, bytes});
}

GroupHit find_group(const Generation& generation, std::uint32_t gid) {
  return lookup_group(generation, IdKey{gid});
}

UserHit find_user_in(const Image& image, const char* name, std::size_t bytes) {
  return user_in(image, NameKey{name, bytes});
}

UserHit find_user_in(const Image& image, std::uint32_t uid) { return user_in(image, IdKey{uid}); }

GroupHit find_group_in(const Image& image, const char* name, std::size_t bytes) {
  return group_in(image, NameKey{name, bytes});
}

GroupHit find_group_in(const Image& image, std::uint32_t gid) {
  return group_in(image, IdKey{gid});
}

const UserRecord* user_at(const Image& image, std::uint32_t place) {
  const auto* user = head_at<UserRecord>(image, place, kUserRecordMax);
  if (user == nullptr || user->name_bytes == 0 || user->name_bytes > kNameMax ||
      user->gid_count > kGroupsPerUserMax || (user->flags & kFlagsMustUnderstand) != 0) {
    return nullptr;
  }
  const std::uint64_t strings = std::uint64_t{user->name_bytes} + user->gecos_bytes +
                                user->home_bytes + user->shell_bytes + 4;
  return strings <= user->record_bytes - sizeof(UserRecord) ? user : nullptr;
}

const GroupRecord* group_at(const Image& image, std::uint32_t place) {
  const auto* group = head_at<GroupRecord>(image, place, sizeof(GroupRecord) + kNameMax + 8);
  if (group == nullptr || group->name_bytes == 0 || group->name_bytes > kNameMax ||
      group->name_bytes + 1u > group->record_bytes - sizeof(GroupRecord) ||
      (group->flags & kFlagsMustUnderstand) != 0) {
    return nullptr;
  }
  return group;
}

const MarkRecord* mark_at(const Image& image, std::uint32_t place) {
  const auto* mark = head_at<MarkRecord>(image, place, sizeof(MarkRecord) + kNameMax + 8);
  if (mark == nullptr || mark->name_bytes == 0 || mark->name_bytes > kNameMax ||
      mark->name_bytes + 1u > mark->record_bytes - sizeof(MarkRecord) || mark->kind > kMarkGroup) {
    return nullptr;
  }
  return mark;
}

const KeysRecord* keys_at(const Image& image, std::uint32_t place) {
  const auto* keys = head_at<KeysRecord>(image, place, kKeysRecordMax);
  if (keys == nullptr || keys->key_count > kKeysPerUserMax) return nullptr;
  return keys;
}

const UserRecord* user_by_ordinal(const Image& image, std::uint32_t ordinal) {
  if (ordinal >= image.header->user_count) return nullptr;
  const UserRecord* user = user_at(image, index_entry(image.user_index, ordinal));
  return user != nullptr && user->ordinal == ordinal ? user : nullptr;
}

const GroupRecord* group_by_ordinal(const Image& image, std::uint32_t ordinal) {
  if (ordinal >= image.header->group_count) return nullptr;
  const GroupRecord* group = group_at(image, index_entry(image.group_index, ordinal));
  return group != nullptr && group->ordinal == ordinal ? group : nullptr;
}

const MarkRecord* mark_by_ordinal(const Image& image, std::uint32_t ordinal) {
  if (ordinal >= image.header->mark_count) return nullptr;
  return mark_at(image, index_entry(image.mark_index, ordinal));
}

const KeysRecord* keys_by_ordinal(const Image& image, std::uint32_t ordinal) {
  if (ordinal >= image.header->user_count) return nullptr;
  return keys_at(image, index_entry(image.key_index, ordinal));
}

Found is_current(const Generation& generation, const UserRecord& base_user) {
  // Whoever holds this name in the delta, or a mark on it, means that the base's holder is
  // replaced.
  const NameKey key{user_name(base_user), base_user.name_bytes};
  const Entries entries = scan(generation.delta, key, kWantUser);
  if (entries.damaged) return Found::kDamaged;
  return entries.user != nullptr || entries.user_gone ? Found::kNo : Found::kYes;
}

Found is_current(const Generation& generation, const GroupRecord& base_group) {
  const NameKey key{group_name(base_group), base_group.name_bytes};
  const Entries entries = scan(generation.delta, key, kWantGroup);
  if (entries.damaged) return Found::kDamaged;
  return entries.group != nullptr || entries.group_gone ? Found::kNo : Found::kYes;
}

ListView gid_list(const Image& image, const UserRecord& user) {
  return verified_list(image, user.n, user.gids_at, user.gid_count, 4);
}

GidList copy_gids_verified(const Image& image, const UserRecord& user, std::uint32_t* gids) {
  if (user.gid_count == 0) return GidList::kPlain;
  const std::uint64_t bytes = std::uint64_t{user.gid_count} * 4;
  const std::uint8_t* items = items_at(image, user.gids_at, (bytes + 7) / 8 * 8);
  if (items == nullptr) return GidList::kDamaged;
  const CopiedIds copied = copy_ids(items, user.gid_count, image.salt + user.n, gids);
  if (copied.check != stored_check(items)) return GidList::kDamaged;
  return copied.has_system_id ? GidList::kHasSystemIds : GidList::kPlain;
}

ListView edge_list(const Image& image, const UserRecord& user) {
  return verified_list(image, user.n, user.edges_at, user.edge_count, 8);
}

ListView parent_list(const Image& image, const GroupRecord& group) {
  return verified_list(image, group.n, group.parents_at, group.parent_count, 8);
}

ListView removed_list(const Image& delta, const GroupRecord& group) {
  return verified_list(delta, group.n, group.removed_at, group.removed_count, 4);
}

const UserRecord* member_user(const Generation& generation, std::uint32_t reference) {
  const bool in_delta = (reference & kInDelta) != 0;
  return user_by_ordinal(in_delta ? generation.delta : generation.base, reference & ~kInDelta);
}

namespace {

/// The reference list of a record, inside the file but not yet verified.
MemberList list_of(const Image& image, const GroupRecord& group) {
  MemberList list{empty_list(image), 0, image.salt + group.n};
  if (group.members_count == 0) {
    list.check = Check64(list.salt).result();
    return list;
  }
  const std::uint64_t bytes = std::uint64_t{group.members_count} * 4;
  const std::uint8_t* items = items_at(image, group.members_at, (bytes + 7) / 8 * 8);
  if (items == nullptr) return {{nullptr, 0}, 0, 0};
  return {{items, group.members_count}, stored_check(items), list.salt};
}

}  // namespace

MemberLists locate_members(const Generation& generation, const GroupHit& hit) {
  constexpr MemberLists kDamagedLists{};
  const MemberList nobody{empty_list(generation.base), Check64(0).result(), 0};
  const GroupRecord& group = *hit.group;
  MemberLists lists{Found::kYes, nobody, nobody.references, nobody};
  if (!hit.in_delta) {
    lists.base = list_of(generation.base, group);
  } else {
    lists.added = list_of(generation.delta, group);
  }
  if (hit.in_delta && group.base_ordinal != kNone) {
    const GroupRecord* patched = group_by_ordinal(generation.base, group.base_ordinal);
    if (patched == nullptr || patched->n != group.n) return kDamagedLists;
    lists.base = list_of(generation.base, *patched);
    lists.removed = removed_list(generation.delta, group);
  }
  const std::uint64_t base_count = lists.base.references.count;
  if (lists.base.references.items == nullptr || lists.added.references.items == nullptr ||
      lists.removed.items == nullptr || lists.removed.count > base_count ||
      base_count - lists.removed.count + lists.added.references.count != group.member_count) {
    return kDamagedLists;
  }
  return lists;
}

bool verify_members(const Generation& generation, const MemberList& list) {
  MemberCheck check(list);
  for (std::uint32_t i = 0; i < list.references.count; ++i) {
    const char* name = member_name(generation, list_u32(list.references, i));
    if (name == nullptr) return false;
    check.add(load_name(name));
  }
  return check.matches(list);
}

KeysHit find_keys(const Image& delta, const Image& base, std::uint64_t n) {
  const Image* const files[] = {&delta, &base};
  for (const Image* image : files) {
    const KeysRecord* keys = nullptr;
    bool damaged = false;
    const auto visit = [&](std::uint32_t ref) {
      const KeysRecord* found = keys_at(*image, ref & kRefPlaceMask);
      if (found == nullptr) {
        damaged = true;
      } else if (found->n == n) {
        keys = found;
      }
      return damaged || keys != nullptr;
    };
    const bool sound = probe(*image, image->by_number, hash_number(n, image->seed), visit);
    if (!sound || damaged) return {Found::kDamaged, nullptr};
    if (keys != nullptr) return {keys->key_count != 0 ? Found::kYes : Found::kNo, keys};
  }
  return {Found::kNo, nullptr};
}

}  // namespace roster::nsscache
