#include "nsscache/reader.h"

#include <string.h>
#include <time.h>

namespace roster::nsscache {
namespace {

constexpr std::int64_t kSecondsPerDay = 86400;

std::int64_t wall_seconds() {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME_COARSE, &now);
  return now.tv_sec;
}

/// The clock by which time ends: not before the latest time known. A node that boots with an empty
/// clock battery, or whose clock is set back, must not let in who is past their time. What begins
/// (not_before) goes by the clock alone: a wrong time must not begin it early.
std::int64_t not_before_latest(std::int64_t now_s, const Control* control) {
  if (control == nullptr) return now_s;
  std::uint64_t latest_s = __atomic_load_n(&control->latest_s, __ATOMIC_ACQUIRE);
  // A writer that does not know the word: the last contact, which its clock has reached once. Only
  // then: a later contact may be a wrong clock's that the hub has corrected.
  if (latest_s == 0) latest_s = __atomic_load_n(&control->contact_s, __ATOMIC_ACQUIRE);
  if (latest_s > static_cast<std::uint64_t>(INT64_MAX)) return now_s;
  const auto latest = static_cast<std::int64_t>(latest_s);
  return latest > now_s ? latest : now_s;
}

std::int64_t ending_seconds(const Generation& generation) {
  return not_before_latest(wall_seconds(), generation.control);
}

bool is_expired(const UserRecord& user, std::int64_t now_s) {
  return user.valid_until != 0 && now_s >= user.valid_until;
}

/// Locked by the hub or this node, or past the end of its time.
bool is_locked(const Generation& generation, const UserRecord& user) {
  if ((user.flags & (kFlagLocked | kFlagDenied)) != 0) return true;
  return user.valid_until != 0 && is_expired(user, ending_seconds(generation));
}

/// Not for this node to answer, whatever the image says.
bool is_served(const UserRecord& user) {
  return (user.flags & (kFlagMasked | kFlagHidden)) == 0 && !is_never_served(user.uid) &&
         !is_never_served(user.gid);
}

bool is_served(const GroupRecord& group) {
  return (group.flags & (kFlagMasked | kFlagHidden)) == 0 && !is_never_served(group.gid);
}

/// Places strings one after the other; the caller has made sure that there is room.
class StringSpace {
 public:
  explicit StringSpace(char* at) : at_(at) {}
  char* put(const char* text, std::size_t bytes) {
    char* start = at_;
    memcpy(at_, text, bytes);
    at_[bytes] = '\0';
    at_ += bytes + 1;
    return start;
  }

 private:
  char* at_;
};

Answer fill_passwd(const Generation& generation, const UserRecord& user, struct passwd& result,
                   char* buffer, std::size_t bytes) {
  if (!is_served(user)) return Answer::kNotFound;
  const bool locked = is_locked(generation, user);
  const char* shell = locked ? kNologinShell : user_shell(user);
  const std::size_t shell_bytes = locked ? sizeof kNologinShell - 1 : user.shell_bytes;
  // Name, full name and home stand in the record as they go to the buffer, NULs included.
  const std::size_t front_bytes =
      std::size_t{user.name_bytes} + user.gecos_bytes + user.home_bytes + 3;
  if (front_bytes + shell_bytes + 1 + sizeof "x" > bytes) return Answer::kTooSmall;
  memcpy(buffer, user_name(user), front_bytes);
  result.pw_name = buffer;
  result.pw_gecos = buffer + user.name_bytes + 1;
  result.pw_dir = result.pw_gecos + user.gecos_bytes + 1;
  StringSpace space(buffer + front_bytes);
  result.pw_shell = space.put(shell, shell_bytes);
  result.pw_passwd = space.put("x", 1);
  result.pw_uid = user.uid;
  result.pw_gid = user.gid;
  return Answer::kFound;
}

/// Room for a group's strings: the array of members first, aligned.
struct GroupSpace {
  char** members;
  char* strings;
  bool fits;
};

GroupSpace divide(char* buffer, std::size_t bytes, std::uint64_t member_count,
                  std::uint64_t string_bytes) {
  const std::size_t padding = -reinterpret_cast<std::uintptr_t>(buffer) % alignof(char*);
  const std::uint64_t array_bytes = (member_count + 1) * sizeof(char*);
  // One by one: what an image says may be any number, and a sum could wrap around.
  if (padding > bytes || array_bytes > bytes - padding ||
      string_bytes > bytes - padding - array_bytes) {
    return {nullptr, nullptr, false};
  }
  auto* members = reinterpret_cast<char**>(buffer + padding);
  return {members, buffer + padding + array_bytes, true};
}

void finish_group(struct group& result, const GroupSpace& space, std::size_t member_count,
                  StringSpace& strings, const char* name, std::size_t name_bytes,
                  std::uint32_t gid) {
  space.members[member_count] = nullptr;
  result.gr_mem = space.members;
  result.gr_name = strings.put(name, name_bytes);
  result.gr_passwd = strings.put("x", 1);
  result.gr_gid = gid;
}

Answer fill_private_group(const UserRecord& user, struct group& result, char* buffer,
                          std::size_t bytes) {
  if (!is_served(user)) return Answer::kNotFound;
  const GroupSpace space = divide(buffer, bytes, 0, user.name_bytes + 1u + sizeof "x");
  if (!space.fits) return Answer::kTooSmall;
  StringSpace strings(space.strings);
  finish_group(result, space, 0, strings, user_name(user), user.name_bytes, user.gid);
  return Answer::kFound;
}

/// Writes members' names one after the other, within the bytes that the group's record promises.
class MemberWriter {
 public:
  MemberWriter(const GroupSpace& space, std::uint64_t count, std::uint64_t name_bytes,
               const char* buffer_end)
      : members_(space.members),
        at_(space.strings),
        count_(count),
        names_end_(space.strings + name_bytes),
        buffer_end_(buffer_end) {}

  /// False when there is more than was promised.
  bool put(const char* name, const NameWords& words) {
    const std::size_t bytes = name_length(words);
    if (written_ == count_ || bytes + 1 > static_cast<std::size_t>(names_end_ - at_)) return false;
    if (buffer_end_ - at_ > std::ptrdiff_t{kNameMax}) {
      memcpy(at_, name, kNameMax);  // of fixed size, and what is too much is overwritten
    } else {
      memcpy(at_, name, bytes);
    }
    at_[bytes] = '\0';
    members_[written_++] = at_;
    at_ += bytes + 1;
    return true;
  }
  bool is_complete() const { return written_ == count_ && at_ == names_end_; }
  char* end() const { return at_; }

 private:
  char** members_;
  char* at_;
  std::uint64_t count_;
  std::uint64_t written_ = 0;
  const char* names_end_;
  const char* buffer_end_;
};

constexpr std::uint32_t kPrefetchNames = 16;

/// One list of members, without those in `removed` (in the same order): Put(reference, name, words)
/// -> false stops. False when it does not verify, or was stopped.
template <typename Put>
bool for_each_member(const Generation& generation, const MemberList& list, const ListView& removed,
                     Put&& put) {
  // Members are spread over all users: ask for the first names before the list is verified, and for
  // those to come while one is copied.
  for (std::uint32_t i = 0; i < kPrefetchNames && i < list.references.count; ++i) {
    __builtin_prefetch(member_name(generation, list_u32(list.references, i)));
  }
  MemberCheck check(list);
  std::uint32_t skipped = 0;
  for (std::uint32_t i = 0; i < list.references.count; ++i) {
    const std::uint32_t reference = list_u32(list.references, i);
    const char* name = member_name(generation, reference);
    if (name == nullptr) return false;
    if (i + kPrefetchNames < list.references.count) {
      __builtin_prefetch(member_name(generation, list_u32(list.references, i + kPrefetchNames)));
    }
    const NameWords words = load_name(name);
    check.add(words);
    if (skipped < removed.count && list_u32(removed, skipped) == reference) {
      ++skipped;
    } else if (!put(reference, name, words)) {
      return false;
    }
  }
  return skipped == removed.count && check.matches(list);
}

template <typename Put>
bool for_each_member(const Generation& generation, const MemberLists& lists, Put&& put) {
  return for_each_member(generation, lists.base, lists.removed, put) &&
         for_each_member(generation, lists.added, ListView{nullptr, 0}, put);
}

struct MemberTotals {
  bool sound;
  std::uint64_t count;
  std::uint64_t name_bytes;
};

/// Of the members whose time has not passed: only for groups that have members with an end.
MemberTotals living_members(const Generation& generation, const MemberLists& lists,
                            std::int64_t now_s) {
  MemberTotals totals{true, 0, 0};
  totals.sound = for_each_member(generation, lists,
                                 [&](std::uint32_t reference, const char*, const NameWords& words) {
                                   const UserRecord* user = member_user(generation, reference);
                                   if (user == nullptr) return false;
                                   if (is_expired(*user, now_s)) return true;
                                   ++totals.count;
                                   totals.name_bytes += name_length(words) + 1;
                                   return true;
                                 });
  return totals;
}

Answer fill_group(const Generation& generation, const GroupHit& hit, struct group& result,
                  char* buffer, std::size_t bytes) {
  if (hit.group == nullptr) return fill_private_group(*hit.user, result, buffer, bytes);
  const GroupRecord& group = *hit.group;
  if (!is_served(group)) return Answer::kNotFound;
  const bool expiring = (group.flags & kFlagExpiring) != 0;
  const std::int64_t now_s = expiring ? ending_seconds(generation) : 0;
  const MemberLists lists = locate_members(generation, hit);
  if (lists.found != Found::kYes) return Answer::kUnavailable;
  MemberTotals totals{true, group.member_count, group.member_name_bytes};
  if (totals.name_bytes > totals.count * (kNameMax + 1)) return Answer::kUnavailable;
  if (expiring) totals = living_members(generation, lists, now_s);
  if (!totals.sound) return Answer::kUnavailable;
  const GroupSpace space =
      divide(buffer, bytes, totals.count, totals.name_bytes + group.name_bytes + 1u + sizeof "x");
  if (!space.fits) return Answer::kTooSmall;
  MemberWriter writer(space, totals.count, totals.name_bytes, buffer + bytes);
  const bool sound = for_each_member(
      generation, lists, [&](std::uint32_t reference, const char* name, const NameWords& words) {
        if (expiring) {
          const UserRecord* user = member_user(generation, reference);
          if (user == nullptr) return false;
          if (is_expired(*user, now_s)) return true;
        }
        return writer.put(name, words);
      });
  if (!sound || !writer.is_complete()) return Answer::kUnavailable;
  StringSpace strings(writer.end());
  finish_group(result, space, totals.count, strings, group_name(group), group.name_bytes,
               group.gid);
  return Answer::kFound;
}

Answer fill_shadow(const Generation& generation, const UserRecord& user, struct spwd& result,
                   char* buffer, std::size_t bytes) {
  if (!is_served(user)) return Answer::kNotFound;
  if (user.name_bytes + 1u + sizeof "*" > bytes) return Answer::kTooSmall;
  StringSpace space(buffer);
  result.sp_namp = space.put(user_name(user), user.name_bytes);
  result.sp_pwdp = space.put("*", 1);  // no password ever works; keys do not need one
  result.sp_lstchg = -1;
  result.sp_min = -1;
  result.sp_max = -1;
  result.sp_warn = -1;
  result.sp_inact = -1;
  result.sp_expire = -1;
  if (is_locked(generation, user)) {
    // Day 1: sshd and pam_unix both refuse an account that expired, whatever authenticated it.
    result.sp_expire = 1;
  } else if (user.valid_until > 0) {
    result.sp_expire = user.valid_until / kSecondsPerDay + (user.valid_until % kSecondsPerDay != 0);
  }
  result.sp_flag = ~0ul;
  return Answer::kFound;
}

/// Fill(generation) under a lease on the current generation.
template <typename Fill>
Answer with_generation(Fill&& fill) {
  LocalGeneration local;
  const Lease lease = acquire_lease(local);
  if (lease.generation == nullptr) return Answer::kUnavailable;
  const Answer answer = fill(*lease.generation);
  release_lease(lease, local);
  return answer;
}

template <typename Hit, typename Fill>
Answer answer_for(const Hit& hit, Fill&& fill) {
  switch (hit.found) {
    case Found::kYes:
      return fill();
    case Found::kNo:
      return Answer::kNotFound;
    case Found::kDamaged:
      break;
  }
  return Answer::kUnavailable;
}

/// Length of a name from a caller; one byte more than kNameMax for anything longer.
std::size_t key_length(const char* name) { return strnlen(name, kNameMax + 1); }

template <typename... Key>
Answer passwd_by(struct passwd& result, char* buffer, std::size_t bytes, Key... key) {
  return with_generation([&](const Generation& generation) {
    const UserHit hit = find_user(generation, key...);
    return answer_for(hit,
                      [&] { return fill_passwd(generation, *hit.user, result, buffer, bytes); });
  });
}

template <typename... Key>
Answer group_by(struct group& result, char* buffer, std::size_t bytes, Key... key) {
  return with_generation([&](const Generation& generation) {
    const GroupHit hit = find_group(generation, key...);
    return answer_for(hit, [&] { return fill_group(generation, hit, result, buffer, bytes); });
  });
}

struct GidCopy {
  bool sound;
  std::size_t count;  // of all, though no more than the capacity are written
};

/// Whether ids in rising order have one from `first` to `last`.
bool has_gid(const gid_t* gids, std::uint32_t count, std::uint32_t first, std::uint32_t last) {
  if (count == 0 || gids[0] > last || gids[count - 1] < first) return false;
  std::uint32_t low = 0;
  std::uint32_t high = count;
  while (low < high) {
    const std::uint32_t middle = low + (high - low) / 2;
    if (gids[middle] < first) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low < count && gids[low] <= last;
}

/// The usual list fits and has nothing to leave out: it is copied and verified in one pass.
GidCopy copy_gid_list(const Image& image, const UserRecord& user, gid_t skip, gid_t* gids,
                      std::size_t capacity) {
  if (user.gid_count <= capacity) {
    const GidList list = copy_gids_verified(image, user, gids);
    if (list == GidList::kDamaged) return {false, 0};
    if (list == GidList::kPlain && !has_gid(gids, user.gid_count, skip, skip) &&
        !has_gid(gids, user.gid_count, 65534, 65535)) {
      return {true, user.gid_count};
    }
  }
  const ListView list = gid_list(image, user);
  if (list.items == nullptr) return {false, 0};
  std::size_t count = 0;
  for (std::uint32_t i = 0; i < list.count; ++i) {
    const std::uint32_t gid = list_u32(list, i);
    if (gid == skip || is_never_served(gid)) continue;
    if (count < capacity) gids[count] = gid;
    ++count;
  }
  return {true, count};
}

GidsResult copy_gids(const Generation& generation, const UserHit& hit, gid_t skip, gid_t* gids,
                     std::size_t capacity) {
  const UserRecord& user = *hit.user;
  if (!is_served(user)) return {Answer::kNotFound, 0};
  if (user.gid_count == 0 || is_locked(generation, user)) return {Answer::kFound, 0};
  const GidCopy copy =
      copy_gid_list(hit.in_delta ? generation.delta : generation.base, user, skip, gids, capacity);
  if (!copy.sound) return {Answer::kUnavailable, 0};
  return {copy.count <= capacity ? Answer::kFound : Answer::kTooSmall, copy.count};
}

}  // namespace

Answer read_passwd(const char* name, struct passwd& result, char* buffer, std::size_t bytes) {
  return passwd_by(result, buffer, bytes, name, key_length(name));
}

Answer read_passwd(uid_t uid, struct passwd& result, char* buffer, std::size_t bytes) {
  return passwd_by(result, buffer, bytes, std::uint32_t{uid});
}

Answer read_group(const char* name, struct group& result, char* buffer, std::size_t bytes) {
  return group_by(result, buffer, bytes, name, key_length(name));
}

Answer read_group(gid_t gid, struct group& result, char* buffer, std::size_t bytes) {
  return group_by(result, buffer, bytes, std::uint32_t{gid});
}

Answer read_shadow(const char* name, struct spwd& result, char* buffer, std::size_t bytes) {
  return with_generation([&](const Generation& generation) {
    const UserHit hit = find_user(generation, name, key_length(name));
    return answer_for(hit,
                      [&] { return fill_shadow(generation, *hit.user, result, buffer, bytes); });
  });
}

GidsResult read_gids(const char* name, gid_t skip, gid_t* gids, std::size_t capacity) {
  GidsResult result{Answer::kUnavailable, 0};
  const Answer answer = with_generation([&](const Generation& generation) {
    const UserHit hit = find_user(generation, name, key_length(name));
    return answer_for(hit, [&] {
      result = copy_gids(generation, hit, skip, gids, capacity);
      return result.answer;
    });
  });
  result.answer = answer;
  return result;
}

Answer open_enumeration(Enumeration& walk) {
  close_enumeration(walk);
  if (!map_generation(walk.mapped, nullptr, Parts::kNames)) return Answer::kUnavailable;
  walk.stage = 0;
  walk.next = 0;
  walk.is_open = true;
  return Answer::kFound;
}

void close_enumeration(Enumeration& walk) {
  if (walk.is_open) unmap_generation(walk.mapped);
  walk.is_open = false;
}

namespace {

/// The user at (stage, next): stage 0 is the delta, 1 the base; kNo for one that does not count.
UserHit user_of_walk(const Generation& generation, bool in_delta, std::uint32_t ordinal) {
  const UserRecord* user = user_by_ordinal(in_delta ? generation.delta : generation.base, ordinal);
  if (user == nullptr) return {Found::kDamaged, in_delta, nullptr};
  const Found found = in_delta ? Found::kYes : is_current(generation, *user);
  return {found, in_delta, user};
}

GroupHit group_of_walk(const Generation& generation, bool in_delta, std::uint32_t ordinal) {
  const GroupRecord* group =
      group_by_ordinal(in_delta ? generation.delta : generation.base, ordinal);
  if (group == nullptr) return {Found::kDamaged, in_delta, nullptr, nullptr};
  const Found found = in_delta ? Found::kYes : is_current(generation, *group);
  return {found, in_delta, group, nullptr};
}

/// The private group of a user, unless a group of its own has that id.
GroupHit private_group_of_walk(const Generation& generation, const UserHit& hit) {
  if (hit.found != Found::kYes) return {hit.found, hit.in_delta, nullptr, nullptr};
  const GroupHit by_id = find_group(generation, hit.user->gid);
  if (by_id.found == Found::kYes && by_id.user != hit.user) {
    return {Found::kNo, hit.in_delta, nullptr, nullptr};
  }
  return by_id;
}

/// Tries entries from where the walk stands until one is there to give.
template <typename Next>
Answer advance(Enumeration& walk, std::uint32_t stages, Next&& next) {
  if (!walk.is_open) return Answer::kUnavailable;
  const Generation& generation = walk.mapped.names;
  for (; walk.stage < stages; ++walk.stage, walk.next = 0) {
    const Image& image = walk.stage % 2 == 0 ? generation.delta : generation.base;
    const std::uint32_t count =
        walk.stage < 2 && stages == 4 ? image.header->group_count : image.header->user_count;
    for (; walk.next < count; ++walk.next) {
      const Answer answer = next(generation, walk.stage % 2 == 0);
      if (answer == Answer::kNotFound) continue;
      if (answer == Answer::kFound) ++walk.next;
      return answer;
    }
  }
  return Answer::kNotFound;
}

}  // namespace

Answer next_passwd(Enumeration& walk, struct passwd& result, char* buffer, std::size_t bytes) {
  return advance(walk, 2, [&](const Generation& generation, bool in_delta) {
    const UserHit hit = user_of_walk(generation, in_delta, walk.next);
    return answer_for(hit,
                      [&] { return fill_passwd(generation, *hit.user, result, buffer, bytes); });
  });
}

Answer next_group(Enumeration& walk, struct group& result, char* buffer, std::size_t bytes) {
  // Groups of the delta and the base, then the private groups of their users.
  return advance(walk, 4, [&](const Generation& generation, bool in_delta) {
    const GroupHit hit =
        walk.stage < 2
            ? group_of_walk(generation, in_delta, walk.next)
            : private_group_of_walk(generation, user_of_walk(generation, in_delta, walk.next));
    return answer_for(hit, [&] { return fill_group(generation, hit, result, buffer, bytes); });
  });
}

namespace {

bool is_stale(const Control& control, std::int64_t now_s) {
  const std::uint64_t max_stale_s = __atomic_load_n(&control.max_stale_s, __ATOMIC_ACQUIRE);
  if (max_stale_s == 0) return false;
  const std::uint64_t contact_s = __atomic_load_n(&control.contact_s, __ATOMIC_ACQUIRE);
  if (contact_s == 0) return true;
  const auto now = static_cast<std::uint64_t>(now_s);
  // A clock that far before the contact is wrong, and what it says of the age, too.
  const std::uint64_t apart = now > contact_s ? now - contact_s : contact_s - now;
  return apart > max_stale_s;
}

bool holds(const KeyHead& key, std::int64_t now_s, std::int64_t ending_s) {
  return (key.not_before == 0 || now_s >= key.not_before) &&
         (key.not_after == 0 || ending_s < key.not_after);
}

/// Two passes, so that a damaged record gives no key at all: count first, then emit.
template <typename Visit>
bool for_each_key(const KeysRecord& record, Visit&& visit) {
  const auto* bytes = reinterpret_cast<const char*>(&record);
  std::size_t at = sizeof(KeysRecord);
  for (std::uint32_t i = 0; i < record.key_count; ++i) {
    if (record.record_bytes - at < sizeof(KeyHead)) return false;
    KeyHead key;
    memcpy(&key, bytes + at, sizeof key);
    at += sizeof key;
    const std::size_t strings = std::size_t{key.line_bytes} + key.fingerprint_bytes + 2;
    const std::size_t padded = (strings + 7) / 8 * 8;
    if (padded > record.record_bytes - at) return false;
    visit(key, bytes + at, bytes + at + key.line_bytes + 1);
    at += padded;
  }
  return true;
}

}  // namespace

KeyAnswer read_keys(const char* directory, const KeyQuery& query,
                    void (*emit)(void* context, const char* line, std::size_t bytes),
                    void* context) {
  MappedGeneration mapped;
  if (!map_generation(mapped, directory, Parts::kNamesAndKeys)) return KeyAnswer::kUnavailable;
  const auto finish = [&mapped](KeyAnswer answer) {
    unmap_generation(mapped);
    return answer;
  };
  const std::int64_t ending_s = not_before_latest(query.now_s, mapped.names.control);
  const UserHit hit = find_user(mapped.names, query.name, key_length(query.name));
  if (hit.found == Found::kDamaged) return finish(KeyAnswer::kUnavailable);
  if (hit.found == Found::kNo || !is_served(*hit.user) || hit.user->uid != query.uid ||
      (hit.user->flags & (kFlagLocked | kFlagDenied)) != 0 || is_expired(*hit.user, ending_s)) {
    return finish(KeyAnswer::kUnknown);
  }
  if (is_stale(mapped.control_page(), query.now_s)) return finish(KeyAnswer::kStale);
  if (mapped.keys_delta.header == nullptr) return finish(KeyAnswer::kKnown);
  const KeysHit keys = find_keys(mapped.keys_delta, mapped.keys_base, hit.user->n);
  if (keys.found == Found::kNo) return finish(KeyAnswer::kKnown);
  if (keys.found == Found::kDamaged) return finish(KeyAnswer::kUnavailable);
  if (!for_each_key(*keys.keys, [](const KeyHead&, const char*, const char*) {})) {
    return finish(KeyAnswer::kUnavailable);
  }
  const std::size_t wanted = query.fingerprint != nullptr ? strlen(query.fingerprint) : 0;
  for_each_key(*keys.keys, [&](const KeyHead& key, const char* line, const char* fingerprint) {
    if (!holds(key, query.now_s, ending_s)) return;
    if (query.fingerprint != nullptr &&
        (key.fingerprint_bytes != wanted || memcmp(fingerprint, query.fingerprint, wanted) != 0)) {
      return;
    }
    emit(context, line, key.line_bytes);
  });
  return finish(KeyAnswer::kKnown);
}

}  // namespace roster::nsscache
