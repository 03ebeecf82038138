#include "nsscache/publisher.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <unordered_map>

#include "nsscache/build.h"
#include "nsscache/cache_directory.h"
#include "nsscache/decode.h"
#include "nsscache/image_writer.h"
#include "nsscache/local_rules.h"
#include "nsscache/served.h"
#include "nsscache/spool.h"

namespace roster::nsscache {
namespace {

// With more collected changes than this part of the base, a delta would only be thrown away at
// once.
constexpr std::size_t kRebaseShare = 8;
constexpr std::size_t kRebaseUsersMin = 4096;
// After a merge failed (disk full), the delta grows by this factor before the next try.
constexpr double kMergeRetryGrowth = 1.25;
// A lockout writes a delta and a keys file, while those before it are kept for their minute.
constexpr double kReserveRounds = 2;

/// A delta beyond this is merged into its base: the cost of both balances over time.
double merge_limit(const ImageHeader& base) {
  const double records = std::max(1.0, double{1} * base.user_count + base.group_count);
  const auto bytes = static_cast<double>(base.file_bytes);
  return std::sqrt(2.0 * bytes * (bytes / records));
}

std::uint64_t seconds_of(Timestamp time) {
  return static_cast<std::uint64_t>(std::max<std::int64_t>(0, to_millis(time) / 1000));
}

bool has_unsafe_byte(std::string_view text) {
  return std::ranges::any_of(text, [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte < 0x20 || byte == 0x7f || c == ':';
  });
}

bool is_rising(const std::vector<std::uint64_t>& numbers) {
  return std::ranges::adjacent_find(numbers, std::greater_equal<>()) == numbers.end();
}

Result<void> check_text(std::string_view what, std::string_view text, std::size_t bytes_max) {
  if (text.size() > bytes_max) {
    return fail(Code::kInvalidArgument,
                std::string(what) + " has more than " + std::to_string(bytes_max) + " bytes");
  }
  if (has_unsafe_byte(text)) {
    return fail(Code::kInvalidArgument, std::string(what) + " has a control character or a colon");
  }
  return {};
}

Result<void> check_keys(const std::vector<posix::NodeKey>& keys) {
  if (keys.size() > kKeysPerUserMax) {
    return fail(Code::kInvalidArgument,
                "more than " + std::to_string(kKeysPerUserMax) + " keys of one user");
  }
  for (const posix::NodeKey& key : keys) {
    for (const std::string& text : {std::cref(key.line), std::cref(key.fingerprint)}) {
      const bool unsafe = std::ranges::any_of(
          text, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
      if (unsafe || text.size() > kKeyLineMax) {
        return fail(Code::kInvalidArgument, "an SSH key is not one line of at most " +
                                                std::to_string(kKeyLineMax) + " bytes");
      }
    }
  }
  return {};
}

Result<void> check_user(const posix::NodeUser& user) {
  RETURN_IF_ERROR(check_text("the full name", user.gecos, kGecosMax));
  RETURN_IF_ERROR(check_text("the home directory", user.home, kHomeMax));
  RETURN_IF_ERROR(check_text("the shell", user.shell, kShellMax));
  if (user.groups.size() > kGroupsPerUserMax || !is_rising(user.groups)) {
    return fail(Code::kInvalidArgument, "the groups of a user are not rising numbers, at most " +
                                            std::to_string(kGroupsPerUserMax));
  }
  return check_keys(user.keys);
}

Result<void> check_group(const posix::NodeGroup& group) {
  if (group.parents.size() > kGroupsPerUserMax || !is_rising(group.parents)) {
    return fail(Code::kInvalidArgument, "the parents of a group are not rising numbers, at most " +
                                            std::to_string(kGroupsPerUserMax));
  }
  return {};
}

/// The files of one generation. Users' and groups' files are always there, keys' only when
/// published.
struct Published {
  std::uint64_t generation;
  ImageFile base;
  ImageFile delta;
  std::optional<ImageFile> keybase;
  std::optional<ImageFile> keys;

  Generation view() const { return {delta.image(), base.image()}; }
};

/// The user with this number in the published generation.
UserHit find_by_number(const Published& published, std::uint64_t n) {
  const Generation view = published.view();
  for (const bool in_delta : {true, false}) {
    const Image& image = in_delta ? view.delta : view.base;
    const auto ordinal = ordinal_of_user(image, n);
    if (ordinal && *ordinal == kNone) continue;
    const UserRecord* user = ordinal ? user_by_ordinal(image, *ordinal) : nullptr;
    if (user == nullptr) return {Found::kDamaged, in_delta, nullptr};
    return {in_delta ? Found::kYes : is_current(view, *user), in_delta, user};
  }
  return {Found::kNo, false, nullptr};
}

GroupHit find_group_by_number(const Published& published, std::uint64_t n) {
  const Generation view = published.view();
  for (const bool in_delta : {true, false}) {
    const Image& image = in_delta ? view.delta : view.base;
    const auto ordinal = ordinal_of_group(image, n);
    if (ordinal && *ordinal == kNone) continue;
    const GroupRecord* group = ordinal ? group_by_ordinal(image, *ordinal) : nullptr;
    if (group == nullptr) return {Found::kDamaged, in_delta, nullptr, nullptr};
    return {in_delta ? Found::kYes : is_current(view, *group), in_delta, group, nullptr};
  }
  return {Found::kNo, false, nullptr, nullptr};
}

struct Replacement {
  UserSpool spool;
  GroupMap groups;
  std::set<std::uint64_t> removed_users;
  std::set<std::uint64_t> removed_groups;
};

struct Retired {
  std::string name;
  Timestamp since;
};

}  // namespace

struct Publisher::Impl {
  Impl(PublisherOptions given, CacheDirectory opened, ControlFile page)
      : options(std::move(given)), directory(std::move(opened)), control(std::move(page)) {}

  // Opening and taking up what is on disk.
  void recover(Timestamp now);
  std::optional<Published> load_generation(std::uint64_t generation) const;
  Result<void> take_up();
  Result<void> take_up_groups();
  Result<void> take_up_delta();
  Result<void> take_up_keys();
  Result<void> check_whole() const;

  // Changes.
  Result<UserState*> state_of(std::uint64_t n);
  Result<UserState> pull(std::uint32_t base_ordinal) const;
  Result<bool> equals_current(const posix::NodeUser& user) const;
  Result<std::vector<posix::NodeKey>> keys_of(std::uint64_t n) const;
  void note_keys(std::uint64_t n, Seq seq, std::vector<posix::NodeKey> keys);
  std::uint32_t user_flags(const posix::NodeUser& user) const;
  std::uint32_t group_flags(const posix::NodeGroup& group) const;
  Result<void> collect(posix::NodeUser user);
  void collect(posix::NodeGroup group);

  // Settling: effective groups and flags of what changed.
  Result<void> settle();
  Result<void> settle_rules();
  Result<void> settle_graph();
  Result<void> pull_members(std::uint64_t group);
  void settle_user(UserState& state);

  // Files.
  Result<void> restore_place();
  bool files_in_place() const;
  struct Parts {
    bool base = false;
    bool keybase = false;
    bool keys = false;
  };
  Result<void> write_generation(Parts parts, Timestamp now, PublishStats& stats);
  Result<std::optional<Binding>> write_keys(std::uint64_t next, Parts parts, Timestamp now,
                                            PublishStats& stats);
  Result<Binding> write_base(std::uint64_t next, Timestamp now, PublishStats& stats);
  struct Fresh {
    std::optional<ImageFile> base;
    std::optional<ImageFile> delta;
    std::optional<ImageFile> keybase;
    std::optional<ImageFile> keys;
  };
  Result<Fresh> write_files(std::uint64_t next, Parts parts, Timestamp now, PublishStats& stats);
  Result<void> switch_to(std::uint64_t next, Fresh fresh, Timestamp now);
  ImageLabel label(const char (&magic)[8], std::uint64_t next, std::uint64_t seed,
                   Timestamp now) const;
  std::uint64_t new_seed() const;
  UserSource current_users() const;
  KeySource current_keys() const;
  UserSource replacement_users() const;
  KeySource replacement_keys() const;
  FilePlace names_place() const { return {directory.fd(), options.owner, std::nullopt, 0644}; }
  FilePlace keys_place() const { return {directory.fd(), options.owner, options.keys_group, 0640}; }
  bool base_merge_due() const;
  bool keys_merge_due() const;
  Result<PublishStats> publish(std::string_view cursor, std::string_view epoch, Timestamp now,
                               Urgency urgency);
  Result<PublishStats> publish_once(std::string_view cursor, std::string_view epoch, Timestamp now,
                                    bool pressed);
  void merge_if_due(Timestamp now, PublishStats& stats);
  std::uint64_t reserve_wanted() const;
  void keep_reserve() const;
  void retire(const std::string& name, Timestamp now);
  void retire_left_behind(Timestamp now);
  std::optional<Timestamp> remove_retired(Timestamp now);
  void forget_changes();
  Result<void> forget_arrivals();

  PublisherOptions options;
  CacheDirectory directory;
  ControlFile control;
  std::optional<Published> published;
  std::uint64_t highest = 0;  // generation number that any file or reader may have seen
  std::string cursor;
  std::string epoch;
  std::string next_cursor;
  std::string next_epoch;

  // The state that the next publish() will show; nothing to show while it is torn.
  bool torn = false;  // what is published was not, or not wholly, taken up
  GroupMap groups;
  GroupGraph graph;  // of `groups`, when graph_touched is empty
  Overlay overlay;
  std::map<std::uint64_t, KeyEntry> key_changes;  // since the keybase
  bool keys_dirty = false;
  bool dirty = false;
  std::set<std::uint64_t> graph_touched;  // groups that came, went, or changed gid or parents
  std::optional<RuleSet> rules;
  bool rules_dirty = false;
  std::optional<Replacement> replacement;

  // What the base says.
  GroupGraph base_graph;
  std::unordered_map<std::uint64_t, std::uint32_t> base_groups;  // ordinals by number

  bool rebase_needed = false;        // a file of the published generation is gone
  double merge_not_below_bytes = 0;  // raised by a merge that failed
  std::vector<Retired> retired;
  std::vector<std::string> left_behind;  // of earlier processes
};

// ---- Opening
// --------------------------------------------------------------------------------------

std::optional<Published> Publisher::Impl::load_generation(std::uint64_t generation) const {
  auto delta = ImageFile::load(directory, cache_file_name("delta", generation), kDeltaMagic, true);
  if (!delta) return std::nullopt;
  const ImageHeader& header = *delta->image().header;
  if (header.generation != generation || header.org != options.org || header.view != options.view) {
    return std::nullopt;
  }
  auto base =
      ImageFile::load(directory, cache_file_name("base", header.base.generation), kBaseMagic, true);
  if (!base || !is_bound_to(header.base, base->image())) return std::nullopt;
  Published found{generation, std::move(*base), std::move(*delta), std::nullopt, std::nullopt};
  if (!options.publish_keys) return found;
  // A cache without keys cannot gain them by a delta: start over.
  const Binding& binding = found.delta.image().header->keys;
  if (binding.generation == 0) return std::nullopt;
  auto keys =
      ImageFile::load(directory, cache_file_name("keys", binding.generation), kKeysMagic, true);
  if (!keys || !is_bound_to(binding, keys->image())) return std::nullopt;
  const Binding& below = keys->image().header->base;
  auto keybase =
      ImageFile::load(directory, cache_file_name("keybase", below.generation), kKeyBaseMagic, true);
  if (!keybase || !is_bound_to(below, keybase->image())) return std::nullopt;
  found.keys = std::move(*keys);
  found.keybase = std::move(*keybase);
  return found;
}

void Publisher::Impl::recover(Timestamp now) {
  std::set<std::uint64_t, std::greater<>> deltas;
  std::vector<std::string> files;
  highest = control.generation();
  for (const std::string& name : directory.names()) {
    if (name.starts_with(kTemporaryPrefix)) directory.remove(name);
    const auto parsed = parse_cache_file_name(name);
    if (!parsed) continue;
    files.push_back(name);
    highest = std::max(highest, parsed->generation);
    if (parsed->prefix == "delta") deltas.insert(parsed->generation);
  }
  for (const std::uint64_t generation : deltas) {
    published = load_generation(generation);
    if (!published) continue;
    if (take_up()) break;
    published.reset();
    forget_changes();
  }
  for (std::string& name : files) {
    const bool in_use =
        published && (name == published->base.name() || name == published->delta.name() ||
                      (published->keys && name == published->keys->name()) ||
                      (published->keybase && name == published->keybase->name()));
    if (!in_use) left_behind.push_back(std::move(name));
  }
  // Without a generation to continue, readers keep the one that the control word names, if any,
  // until the first publication.
  if (!published) return;
  // Without room it stays as it was, and is set before the next publication.
  if (control.set_generation(published->generation)) retire_left_behind(now);
}

/// Only when the control word names none of them: while it does, readers open them.
void Publisher::Impl::retire_left_behind(Timestamp now) {
  for (const std::string& name : left_behind) retire(name, now);
  left_behind.clear();
}

Result<void> Publisher::Impl::take_up_groups() {
  const Image& base = published->base.image();
  base_graph = GroupGraph();
  base_groups.clear();
  for (std::uint32_t ordinal = 0; ordinal < base.header->group_count; ++ordinal) {
    const GroupRecord* record = group_by_ordinal(base, ordinal);
    if (record == nullptr) return fail(Code::kDataLoss, "a group record does not verify");
    ASSIGN_OR_RETURN(auto group, decode_group(base, *record));
    base_graph.add(group.n, group.parents);
    base_groups[group.n] = ordinal;
    const std::uint64_t n = group.n;
    groups.insert_or_assign(
        n, GroupState{std::move(group), record->flags & ~std::uint32_t{kFlagExpiring}});
  }
  base_graph.seal();
  return {};
}

Result<void> Publisher::Impl::take_up_delta() {
  const Image& delta = published->delta.image();
  for (std::uint32_t i = 0; i < delta.header->user_count; ++i) {
    const UserRecord* record = user_by_ordinal(delta, i);
    if (record == nullptr) return fail(Code::kDataLoss, "a user record does not verify");
    ASSIGN_OR_RETURN(auto user, decode_user(delta, *record));
    ASSIGN_OR_RETURN(UserState * state, state_of(user.n));
    state->user = std::move(user);
    state->flags = record->flags;
    state->settled = false;
  }
  for (std::uint32_t i = 0; i < delta.header->group_count; ++i) {
    const GroupRecord* record = group_by_ordinal(delta, i);
    if (record == nullptr) return fail(Code::kDataLoss, "a group record does not verify");
    ASSIGN_OR_RETURN(auto group, decode_group(delta, *record));
    const std::uint64_t n = group.n;
    overlay.changed_groups.insert(n);
    groups.insert_or_assign(
        n, GroupState{std::move(group), record->flags & ~std::uint32_t{kFlagExpiring}});
  }
  for (std::uint32_t i = 0; i < delta.header->mark_count; ++i) {
    const MarkRecord* mark = mark_by_ordinal(delta, i);
    if (mark == nullptr) return fail(Code::kDataLoss, "a mark does not verify");
    if (mark->removed == 0) continue;
    if (mark->kind == kMarkGroup) {
      groups.erase(mark->n);
      overlay.removed_groups[mark->n] = Seq{mark->seq};
      continue;
    }
    ASSIGN_OR_RETURN(UserState * state, state_of(mark->n));
    state->user.reset();
    state->removed_seq = Seq{mark->seq};
    state->settled = false;
  }
  return {};
}

Result<void> Publisher::Impl::take_up_keys() {
  if (!published->keys) return {};
  const Image& keys = published->keys->image();
  for (std::uint32_t i = 0; i < keys.header->user_count; ++i) {
    const KeysRecord* record = keys_by_ordinal(keys, i);
    if (record == nullptr) return fail(Code::kDataLoss, "a keys record does not verify");
    ASSIGN_OR_RETURN(auto list, decode_keys(*record));
    key_changes[record->n] = {record->n, Seq{record->seq}, std::move(list)};
  }
  return {};
}

/// Brings the state in memory to what `published` holds.
Result<void> Publisher::Impl::take_up() {
  forget_changes();
  torn = true;
  RETURN_IF_ERROR(take_up_groups());
  RETURN_IF_ERROR(take_up_delta());
  RETURN_IF_ERROR(take_up_keys());
  for (const auto& [n, state] : groups) graph.add(n, state.group.parents);
  graph.seal();
  const ImageHeader& header = *published->delta.image().header;
  cursor.assign(header.cursor, header.cursor_bytes);
  epoch = header.epoch;
  // Rules and options of this process may differ from those that were published.
  rules_dirty = rules.has_value();
  if (!options.publish_keys && header.keys.generation != 0) dirty = true;
  torn = false;
  return {};
}

/// A part of a generation must not be published for the whole: who is missing from it would be
/// gone, and who was removed might be back.
Result<void> Publisher::Impl::check_whole() const {
  if (!torn) return {};
  return fail(Code::kDataLoss, "the published generation cannot be read back: open it anew");
}

void Publisher::Impl::forget_changes() {
  torn = false;
  groups.clear();
  graph = GroupGraph();
  overlay = Overlay{};
  key_changes.clear();
  keys_dirty = false;
  dirty = false;
  graph_touched.clear();
  replacement.reset();
}

Result<void> Publisher::Impl::forget_arrivals() {
  RETURN_IF_ERROR(check_whole());
  for (auto entry = overlay.users.begin(); entry != overlay.users.end();) {
    const std::uint64_t n = entry->first;
    UserState& state = entry->second;
    if (!state.user || find_by_number(*published, n).found != Found::kNo) {
      ++entry;
      continue;
    }
    key_changes.erase(n);
    if (published->keys) {
      const Image& keys = published->keys->image();
      const KeysHit hit = find_keys(keys, keys, n);
      if (hit.found == Found::kDamaged) return fail(Code::kDataLoss, "a keys record is damaged");
      if (hit.found == Found::kYes) {
        ASSIGN_OR_RETURN(auto list, decode_keys(*hit.keys));
        key_changes[n] = {n, Seq{hit.keys->seq}, std::move(list)};
      }
    }
    // Somebody of the base who was gone, and would have come back, is gone still.
    state.user.reset();
    state.settled = false;
    entry = state.base_ordinal == kNone ? overlay.users.erase(entry) : std::next(entry);
  }
  for (auto entry = groups.begin(); entry != groups.end();) {
    const std::uint64_t n = entry->first;
    if (find_group_by_number(*published, n).found != Found::kNo) {
      ++entry;
      continue;
    }
    overlay.changed_groups.erase(n);
    if (base_groups.contains(n)) overlay.removed_groups[n] = entry->second.group.seq;
    graph_touched.insert(n);
    entry = groups.erase(entry);
  }
  return {};
}

// ---- Collecting changes
// ---------------------------------------------------------------------------

Result<UserState> Publisher::Impl::pull(std::uint32_t base_ordinal) const {
  const Image& base = published->base.image();
  const UserRecord* record = user_by_ordinal(base, base_ordinal);
  if (record == nullptr) return fail(Code::kDataLoss, "a user record does not verify");
  ASSIGN_OR_RETURN(auto user, decode_user(base, *record));
  UserState state;
  state.base_ordinal = base_ordinal;
  state.flags = record->flags;
  if (is_listed(record->flags)) state.base_groups = base_graph.effective(user.groups);
  state.user = std::move(user);
  return state;
}

/// The user's state in the overlay, brought there from the base when need be; empty for a new
/// number.
Result<UserState*> Publisher::Impl::state_of(std::uint64_t n) {
  if (const auto found = overlay.users.find(n); found != overlay.users.end()) {
    return &found->second;
  }
  UserState state;
  if (published) {
    ASSIGN_OR_RETURN(const std::uint32_t ordinal, ordinal_of_user(published->base.image(), n));
    if (ordinal != kNone) {
      ASSIGN_OR_RETURN(state, pull(ordinal));
    }
  }
  return &overlay.users.emplace(n, std::move(state)).first->second;
}

Result<std::vector<posix::NodeKey>> Publisher::Impl::keys_of(std::uint64_t n) const {
  if (const auto found = key_changes.find(n); found != key_changes.end()) {
    return found->second.keys;
  }
  if (!published || !published->keybase) return std::vector<posix::NodeKey>{};
  const Image& keybase = published->keybase->image();
  const KeysHit hit = find_keys(keybase, keybase, n);
  if (hit.found == Found::kDamaged) {
    return fail(Code::kDataLoss, "a keys record does not verify");
  }
  if (hit.found == Found::kNo) return std::vector<posix::NodeKey>{};
  return decode_keys(*hit.keys);
}

/// Whether the user with all keys is already what the next publish() will show.
Result<bool> Publisher::Impl::equals_current(const posix::NodeUser& user) const {
  std::optional<posix::NodeUser> current;
  if (const auto found = overlay.users.find(user.n); found != overlay.users.end()) {
    current = found->second.user;
  } else if (published) {
    const Image& base = published->base.image();
    ASSIGN_OR_RETURN(const std::uint32_t ordinal, ordinal_of_user(base, user.n));
    if (ordinal != kNone) {
      const UserRecord* record = user_by_ordinal(base, ordinal);
      if (record == nullptr) return fail(Code::kDataLoss, "a user record does not verify");
      ASSIGN_OR_RETURN(current, decode_user(base, *record));
    }
  }
  if (!current) return false;
  if (options.publish_keys) {
    ASSIGN_OR_RETURN(current->keys, keys_of(user.n));
  } else {
    current->keys = user.keys;
  }
  return *current == user;
}

void Publisher::Impl::note_keys(std::uint64_t n, Seq seq, std::vector<posix::NodeKey> keys) {
  if (!options.publish_keys) return;
  const auto current = keys_of(n);
  if (current && *current == keys) return;
  key_changes[n] = {n, seq, std::move(keys)};
  keys_dirty = true;
  dirty = true;
}

Result<void> Publisher::Impl::collect(posix::NodeUser user) {
  ASSIGN_OR_RETURN(const bool same, equals_current(user));
  if (same) return {};
  note_keys(user.n, user.seq, std::move(user.keys));
  user.keys.clear();
  ASSIGN_OR_RETURN(UserState * state, state_of(user.n));
  state->user = std::move(user);
  state->settled = false;
  dirty = true;
  return {};
}

std::uint32_t Publisher::Impl::user_flags(const posix::NodeUser& user) const {
  const std::uint32_t flags =
      (user.locked ? kFlagLocked : 0u) | rules->user_flags(user.name.str(), user.uid, user.gid);
  const std::uint32_t unknown = rules->unknown_flags();
  if (unknown == 0) return flags;
  const UserHit hit =
      published ? find_by_number(*published, user.n) : UserHit{Found::kNo, false, nullptr};
  const bool same = hit.found == Found::kYes && user.name.str() == user_name(*hit.user) &&
                    user.uid == hit.user->uid && user.gid == hit.user->gid;
  return flags | (same ? hit.user->flags & unknown : unknown);
}

std::uint32_t Publisher::Impl::group_flags(const posix::NodeGroup& group) const {
  if (!rules) return 0;
  const std::uint32_t flags = rules->group_flags(group.name.str(), group.gid);
  const std::uint32_t unknown = rules->unknown_flags() & kFlagMasked;
  if (unknown == 0) return flags;
  const GroupHit hit = published ? find_group_by_number(*published, group.n)
                                 : GroupHit{Found::kNo, false, nullptr, nullptr};
  const bool same = hit.found == Found::kYes && group.name.str() == group_name(*hit.group) &&
                    group.gid == hit.group->gid;
  return flags | (same ? hit.group->flags & unknown : unknown);
}

void Publisher::Impl::collect(posix::NodeGroup group) {
  const std::uint64_t n = group.n;
  const auto found = groups.find(n);
  if (found != groups.end() && found->second.group == group) return;
  const std::uint32_t flags = group_flags(group);
  if (found == groups.end() || found->second.group.gid != group.gid ||
      found->second.group.parents != group.parents || found->second.flags != flags) {
    graph_touched.insert(n);
  }
  overlay.changed_groups.insert(n);
  overlay.removed_groups.erase(n);
  groups.insert_or_assign(n, GroupState{std::move(group), flags});
  dirty = true;
}

// ---- Settling
// -------------------------------------------------------------------------------------

void Publisher::Impl::settle_user(UserState& state) {
  state.groups.clear();
  if (state.user) {
    const std::uint32_t flags = user_flags(*state.user);
    if (flags != state.flags) dirty = true;
    state.flags = flags;
    if (is_listed(flags)) state.groups = graph.effective(state.user->groups);
  }
  state.settled = true;
}

/// Applies rules that changed to every record.
Result<void> Publisher::Impl::settle_rules() {
  for (auto& [n, state] : groups) {
    const std::uint32_t flags = group_flags(state.group);
    if (flags == state.flags) continue;
    state.flags = flags;
    overlay.changed_groups.insert(n);
    graph_touched.insert(n);
    dirty = true;
  }
  for (auto& [n, state] : overlay.users) state.settled = false;
  if (!published) return {};
  const Image& base = published->base.image();
  for (std::uint32_t ordinal = 0; ordinal < base.header->user_count; ++ordinal) {
    const UserRecord* record = user_by_ordinal(base, ordinal);
    if (record == nullptr) return fail(Code::kDataLoss, "a user record does not verify");
    const std::uint32_t flags =
        rules->user_flags({user_name(*record), record->name_bytes}, record->uid, record->gid) |
        (record->flags & rules->unknown_flags());
    if ((record->flags & (kFlagMasked | kFlagDenied)) == flags) continue;
    if (overlay.users.contains(record->n)) continue;
    ASSIGN_OR_RETURN(auto state, pull(ordinal));
    overlay.users.emplace(record->n, std::move(state));
    dirty = true;
  }
  return {};
}

/// Brings everybody whom the base lists in a group into the overlay.
Result<void> Publisher::Impl::pull_members(std::uint64_t group) {
  const Image& base = published->base.image();
  std::vector<std::uint32_t> ordinals;
  if (const auto found = base_groups.find(group); found != base_groups.end()) {
    const GroupRecord* record = group_by_ordinal(base, found->second);
    if (record == nullptr) return fail(Code::kDataLoss, "a group record does not verify");
    const Generation view{base, base};
    const MemberLists lists = locate_members(view, {Found::kYes, false, record, nullptr});
    if (lists.found != Found::kYes || !verify_members(view, lists.base)) {
      return fail(Code::kDataLoss, "a member list does not verify");
    }
    for (std::uint32_t i = 0; i < lists.base.references.count; ++i) {
      ordinals.push_back(list_u32(lists.base.references, i));
    }
  }
  const std::uint64_t edges = base.dangling.bytes / sizeof(DanglingEdge);
  const auto* first = reinterpret_cast<const DanglingEdge*>(base.dangling.data);
  for (const DanglingEdge& edge :
       std::ranges::equal_range(std::span(first, edges), group, {}, &DanglingEdge::group_n)) {
    ordinals.push_back(static_cast<std::uint32_t>(edge.user_ordinal));
  }
  for (const std::uint32_t ordinal : ordinals) {
    const UserRecord* record = user_by_ordinal(base, ordinal);
    if (record == nullptr) return fail(Code::kDataLoss, "a user record does not verify");
    if (overlay.users.contains(record->n)) continue;
    ASSIGN_OR_RETURN(auto state, pull(ordinal));
    overlay.users.emplace(record->n, std::move(state));
  }
  return {};
}

/// Groups that came, went or changed: recomputes whoever is in them or in a group inside them.
Result<void> Publisher::Impl::settle_graph() {
  if (graph_touched.empty()) return {};
  graph = GroupGraph();
  std::set<std::uint64_t> affected = graph_touched;
  for (const auto& [n, state] : groups) {
    graph.add(n, state.group.parents);
    for (const std::uint64_t parent : state.group.parents) {
      if (graph_touched.contains(parent)) affected.insert(n);
    }
  }
  graph.seal();
  if (published) {
    for (const std::uint64_t group : affected) RETURN_IF_ERROR(pull_members(group));
  }
  for (auto& [n, state] : overlay.users) state.settled = false;
  graph_touched.clear();
  return {};
}

Result<void> Publisher::Impl::settle() {
  if (rules_dirty) RETURN_IF_ERROR(settle_rules());
  rules_dirty = false;
  RETURN_IF_ERROR(settle_graph());
  for (auto& [n, state] : overlay.users) {
    if (!state.settled) settle_user(state);
  }
  // Who came and went since the base leaves no trace.
  std::erase_if(overlay.users, [](const auto& entry) {
    return !entry.second.user && entry.second.base_ordinal == kNone;
  });
  return {};
}

// ---- Writing files
// --------------------------------------------------------------------------------

ImageLabel Publisher::Impl::label(const char (&magic)[8], std::uint64_t next, std::uint64_t seed,
                                  Timestamp now) const {
  return ImageLabel{.magic = magic,
                    .generation = next,
                    .hash_seed = seed,
                    .created_s = static_cast<std::int64_t>(seconds_of(now)),
                    .epoch = next_epoch,
                    .org = options.org,
                    .view = options.view,
                    .cursor = next_cursor};
}

std::uint64_t Publisher::Impl::new_seed() const {
  std::array<std::uint8_t, 8> bytes;
  options.random(bytes);
  return load64(bytes.data());
}

/// Base and overlay, merged in the order of numbers.
UserSource Publisher::Impl::current_users() const {
  return [this, ordinal = std::uint32_t{0},
          changed = overlay.users.begin()]() mutable -> Result<std::optional<UserEntry>> {
    const Image* base = published ? &published->base.image() : nullptr;
    while (true) {
      const UserRecord* record = nullptr;
      if (base != nullptr && ordinal < base->header->user_count) {
        record = user_by_ordinal(*base, ordinal);
        if (record == nullptr) return fail(Code::kDataLoss, "a user record does not verify");
      }
      if (changed == overlay.users.end() || (record != nullptr && record->n < changed->first)) {
        if (record == nullptr) return std::nullopt;
        ++ordinal;
        ASSIGN_OR_RETURN(auto user, decode_user(*base, *record));
        return UserEntry{std::move(user), record->flags};
      }
      if (record != nullptr && record->n == changed->first) ++ordinal;
      const UserState& state = changed->second;
      ++changed;
      if (state.user) return UserEntry{*state.user, state.flags};
    }
  };
}

KeySource Publisher::Impl::current_keys() const {
  return [this, ordinal = std::uint32_t{0},
          changed = key_changes.begin()]() mutable -> Result<std::optional<KeyEntry>> {
    const Image* base = published && published->keybase ? &published->keybase->image() : nullptr;
    while (true) {
      const KeysRecord* record = nullptr;
      if (base != nullptr && ordinal < base->header->user_count) {
        record = keys_by_ordinal(*base, ordinal);
        if (record == nullptr) return fail(Code::kDataLoss, "a keys record does not verify");
      }
      if (changed == key_changes.end() || (record != nullptr && record->n < changed->first)) {
        if (record == nullptr) return std::nullopt;
        ++ordinal;
        ASSIGN_OR_RETURN(auto keys, decode_keys(*record));
        return KeyEntry{record->n, Seq{record->seq}, std::move(keys)};
      }
      if (record != nullptr && record->n == changed->first) ++ordinal;
      const KeyEntry& entry = changed->second;
      ++changed;
      if (!entry.keys.empty()) return entry;
    }
  };
}

UserSource Publisher::Impl::replacement_users() const {
  return [this, index = std::size_t{0}]() mutable -> Result<std::optional<UserEntry>> {
    const UserSpool& spool = replacement->spool;
    if (index == spool.entries().size()) return std::nullopt;
    ASSIGN_OR_RETURN(auto user, spool.read(index++));
    user.keys.clear();
    const std::uint32_t flags = user_flags(user);
    return UserEntry{std::move(user), flags};
  };
}

KeySource Publisher::Impl::replacement_keys() const {
  return [this, index = std::size_t{0}]() mutable -> Result<std::optional<KeyEntry>> {
    const UserSpool& spool = replacement->spool;
    while (index < spool.entries().size()) {
      ASSIGN_OR_RETURN(auto user, spool.read(index++));
      if (!user.keys.empty()) return KeyEntry{user.n, user.seq, std::move(user.keys)};
    }
    return std::nullopt;
  };
}

Result<Binding> Publisher::Impl::write_base(std::uint64_t next, Timestamp now,
                                            PublishStats& stats) {
  const GroupMap& from = replacement ? replacement->groups : groups;
  GroupGraph fresh;
  for (const auto& [n, state] : from) fresh.add(n, state.group.parents);
  fresh.seal();
  ASSIGN_OR_RETURN(const BuiltFile built,
                   build_base(names_place(), label(kBaseMagic, next, new_seed(), now),
                              replacement ? replacement_users() : current_users(), from, fresh));
  stats.bytes_written += built.bytes;
  return built.binding;
}

/// Binding of the keys file that the new generation refers to; nothing when keys are not published.
Result<std::optional<Binding>> Publisher::Impl::write_keys(std::uint64_t next, Parts parts,
                                                           Timestamp now, PublishStats& stats) {
  if (!options.publish_keys) return std::nullopt;
  if (!parts.keybase && !parts.keys) return published->keys->binding();
  ImageLabel keys_label = label(kKeysMagic, next, 0, now);
  KeySource changes = [this,
                       at = key_changes.begin()]() mutable -> Result<std::optional<KeyEntry>> {
    if (at == key_changes.end()) return std::nullopt;
    return (at++)->second;
  };
  if (parts.keybase) {
    ASSIGN_OR_RETURN(const BuiltFile built,
                     build_keys(keys_place(), label(kKeyBaseMagic, next, new_seed(), now),
                                replacement ? replacement_keys() : current_keys()));
    stats.bytes_written += built.bytes;
    keys_label.base = built.binding;
    changes = []() -> Result<std::optional<KeyEntry>> { return std::nullopt; };
  } else {
    keys_label.base = published->keybase->binding();
  }
  keys_label.hash_seed = new_seed();
  ASSIGN_OR_RETURN(const BuiltFile built, build_keys(keys_place(), keys_label, changes));
  stats.bytes_written += built.bytes;
  return built.binding;
}

Result<Publisher::Impl::Fresh> Publisher::Impl::write_files(std::uint64_t next, Parts parts,
                                                            Timestamp now, PublishStats& stats) {
  Fresh fresh;
  ASSIGN_OR_RETURN(const auto keys, write_keys(next, parts, now, stats));
  const auto load = [&](const char* prefix, const char(&magic)[8]) {
    return ImageFile::load(directory, cache_file_name(prefix, next), magic, false);
  };
  if (options.publish_keys && parts.keybase) {
    ASSIGN_OR_RETURN(fresh.keybase, load("keybase", kKeyBaseMagic));
  }
  if (options.publish_keys && (parts.keybase || parts.keys)) {
    ASSIGN_OR_RETURN(fresh.keys, load("keys", kKeysMagic));
  }
  if (parts.base) {
    RETURN_IF_ERROR(write_base(next, now, stats));
    ASSIGN_OR_RETURN(fresh.base, load("base", kBaseMagic));
  }
  const ImageFile& below = fresh.base ? *fresh.base : published->base;
  ImageLabel delta_label = label(kDeltaMagic, next, below.image().header->hash_seed, now);
  delta_label.base = below.binding();
  if (keys) delta_label.keys = *keys;
  // On a new base there is nothing to say: its groups and users are current.
  static const Overlay kNothing;
  ASSIGN_OR_RETURN(const BuiltFile built, build_delta(names_place(), delta_label, below.image(),
                                                      base_groups, fresh.base ? kNothing : overlay,
                                                      replacement ? replacement->groups : groups));
  stats.bytes_written += built.bytes;
  ASSIGN_OR_RETURN(fresh.delta, load("delta", kDeltaMagic));
  RETURN_IF_ERROR(directory.sync());
  return fresh;
}

/// Writes the files of the next generation and makes it the current one. What was current stays
/// served, and the state in memory stays as it is, until everything is on disk.
Result<void> Publisher::Impl::write_generation(Parts parts, Timestamp now, PublishStats& stats) {
  const std::uint64_t next = ++highest;  // never twice, whatever becomes of this one
  auto fresh = write_files(next, parts, now, stats);
  if (fresh) {
    if (auto set = control.set_generation(next); !set) fresh = std::unexpected(set.error());
  }
  if (!fresh) {
    for (const char* prefix : {"base", "delta", "keybase", "keys"}) {
      directory.remove(cache_file_name(prefix, next));
    }
    return std::unexpected(std::move(fresh).error());
  }
  stats.generation = next;
  stats.published = true;
  return switch_to(next, std::move(*fresh), now);
}

/// Makes the generation that readers now see ours too.
Result<void> Publisher::Impl::switch_to(std::uint64_t next, Fresh fresh, Timestamp now) {
  const bool new_base = fresh.base.has_value() || fresh.keybase.has_value();
  const ImageHeader& header = *fresh.delta->image().header;
  cursor.assign(header.cursor, header.cursor_bytes);
  epoch = header.epoch;
  retire_left_behind(now);
  keys_dirty = false;
  dirty = false;
  if (!published) {
    published = Published{next, std::move(*fresh.base), std::move(*fresh.delta),
                          std::move(fresh.keybase), std::move(fresh.keys)};
  } else {
    published->generation = next;
    const auto exchange = [&](ImageFile& old, std::optional<ImageFile>& newer) {
      if (!newer) return;
      retire(old.name(), now);
      old = std::move(*newer);
    };
    exchange(published->delta, fresh.delta);
    exchange(published->base, fresh.base);
    if (published->keys) exchange(*published->keys, fresh.keys);
    if (published->keybase) exchange(*published->keybase, fresh.keybase);
  }
  if (!new_base) return {};
  // Ordinals and graph are those of the new base now.
  const bool rules_waiting = rules_dirty;
  RETURN_IF_ERROR(take_up());
  for (auto& [n, state] : overlay.users) settle_user(state);
  rules_dirty = rules_waiting;
  dirty = false;
  published->base.drop_pages();
  return {};
}

bool Publisher::Impl::base_merge_due() const {
  const double limit = merge_limit(*published->base.image().header);
  const auto delta = static_cast<double>(published->delta.image().header->file_bytes);
  return delta >
         std::max({static_cast<double>(options.merge_bytes_min), limit, merge_not_below_bytes});
}

bool Publisher::Impl::keys_merge_due() const {
  if (!published->keys) return false;
  const double limit = merge_limit(*published->keybase->image().header);
  const auto keys = static_cast<double>(published->keys->image().header->file_bytes);
  return keys >
         std::max({static_cast<double>(options.merge_bytes_min), limit, merge_not_below_bytes});
}

bool Publisher::Impl::files_in_place() const {
  return published->base.in_place(directory) && published->delta.in_place(directory) &&
         (!published->keys || published->keys->in_place(directory)) &&
         (!published->keybase || published->keybase->in_place(directory));
}

/// Somebody may have wiped the directory, or a part of it: makes it fit to publish into again.
Result<void> Publisher::Impl::restore_place() {
  if (!directory.in_place()) {
    ASSIGN_OR_RETURN(directory, CacheDirectory::open(options.directory, options.owner,
                                                     options.allow_any_filesystem));
  }
  if (!control.in_place(directory)) {
    const std::uint64_t contact = control.contact_s();
    const std::uint64_t max_stale = control.max_stale_s();
    const std::uint64_t latest = control.latest_s();
    ASSIGN_OR_RETURN(control, ControlFile::open(directory, options.owner, options.random));
    control.set_contact_s(contact);
    control.set_max_stale_s(max_stale);
    control.set_latest_s(latest);
  }
  if (!published) return {};
  if (!files_in_place()) {
    rebase_needed = true;
  } else if (control.generation() != published->generation) {
    RETURN_IF_ERROR(control.set_generation(published->generation));
  }
  return {};
}

/// Twice what a delta and a keys file may grow to before they are merged, in whole blocks: disks
/// give no less. Nothing without a generation.
std::uint64_t Publisher::Impl::reserve_wanted() const {
  if (!published) return 0;
  double bytes = 0;
  const auto add = [&](const ImageFile& base, const ImageFile& delta) {
    bytes +=
        std::max({static_cast<double>(options.merge_bytes_min), merge_limit(*base.image().header),
                  static_cast<double>(delta.image().header->file_bytes)});
  };
  add(published->base, published->delta);
  if (published->keys) add(*published->keybase, *published->keys);
  const std::uint64_t wanted =
      std::max(options.reserve_bytes_min, static_cast<std::uint64_t>(kReserveRounds * bytes));
  return (wanted + kReserveStep - 1) / kReserveStep * kReserveStep;
}

Result<PublishStats> Publisher::Impl::publish(std::string_view new_cursor,
                                              std::string_view new_epoch, Timestamp now,
                                              Urgency urgency) {
  auto stats = publish_once(new_cursor, new_epoch, now, false);
  const auto is_full = [&stats] { return !stats && stats.error().code == Code::kUnavailable; };
  // A smaller reserve than wanted also says that the disk is full; only what takes access away may
  // have it, for once it is given up others may take its place.
  const bool pressed = is_full() && urgency == Urgency::kRevocation && published;
  if (pressed) {
    directory.give_up_reserve();
    stats = publish_once(new_cursor, new_epoch, now, true);
    if (is_full()) {
      // Superseded files before their minute is over: a reader that opens one just now is told to
      // look at the control word again.
      remove_retired(Timestamp::max());
      stats = publish_once(new_cursor, new_epoch, now, true);
    }
    if (stats) stats->from_reserve = true;
  }
  keep_reserve();
  return stats;
}

/// Without a generation there is nobody to lock out, and the room is for the first one.
void Publisher::Impl::keep_reserve() const {
  if (published) {
    directory.reserve(reserve_wanted());
  } else {
    directory.give_up_reserve();
  }
}

/// `pressed`: with as few bytes as can be.
Result<PublishStats> Publisher::Impl::publish_once(std::string_view new_cursor,
                                                   std::string_view new_epoch, Timestamp now,
                                                   bool pressed) {
  if (!rules) {
    return fail(Code::kFailedPrecondition, "the local rules were not given before publishing");
  }
  if (new_cursor.size() > kCursorMax || new_epoch.size() > kLabelMax ||
      new_epoch.find('\0') != std::string_view::npos) {
    return fail(Code::kInvalidArgument, "the cursor or the epoch is too long");
  }
  RETURN_IF_ERROR(check_whole());
  RETURN_IF_ERROR(restore_place());
  PublishStats stats{.generation = published ? published->generation : 0};
  next_cursor = new_cursor;
  next_epoch = new_epoch;
  if (replacement) {
    RETURN_IF_ERROR(replacement->spool.sort());
    for (auto& [n, state] : replacement->groups) state.flags = group_flags(state.group);
  } else {
    RETURN_IF_ERROR(settle());
    if (published && !dirty && !rebase_needed && new_cursor == cursor && new_epoch == epoch) {
      remove_retired(now);
      return stats;
    }
  }
  const bool whole =
      replacement || !published || rebase_needed ||
      (!pressed &&
       overlay.users.size() >
           std::max<std::size_t>(kRebaseUsersMin,
                                 published->base.image().header->user_count / kRebaseShare));
  const bool whole_keys = whole && (replacement || !published || rebase_needed);
  RETURN_IF_ERROR(
      write_generation({.base = whole, .keybase = whole_keys, .keys = keys_dirty}, now, stats));
  stats.merged = whole;
  rebase_needed = false;
  if (!pressed) merge_if_due(now, stats);
  remove_retired(now);
  return stats;
}

/// Readers already see the change; a merge that fails (disk full) is only put off.
void Publisher::Impl::merge_if_due(Timestamp now, PublishStats& stats) {
  const Parts due{.base = base_merge_due(), .keybase = keys_merge_due()};
  if (!due.base && !due.keybase) return;
  if (write_generation(due, now, stats)) {
    stats.merged = true;
    merge_not_below_bytes = 0;
    return;
  }
  merge_not_below_bytes =
      kMergeRetryGrowth * static_cast<double>(std::max(
                              published->delta.image().header->file_bytes,
                              published->keys ? published->keys->image().header->file_bytes : 0));
}

void Publisher::Impl::retire(const std::string& name, Timestamp now) {
  retired.push_back({name, now});
}

std::optional<Timestamp> Publisher::Impl::remove_retired(Timestamp now) {
  std::optional<Timestamp> next;
  bool synced = false;
  std::erase_if(retired, [&](const Retired& file) {
    const Timestamp due = file.since + options.retire_after;
    if (due > now) {
      if (!next || due < *next) next = due;
      return false;
    }
    // After a power failure the control word must not name a generation whose files are gone.
    if (!synced) synced = control.sync().has_value();
    if (synced) directory.remove(file.name);
    return synced;
  });
  return next;
}

// ---- The public face
// ------------------------------------------------------------------------------

Publisher::Publisher(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Publisher::Publisher(Publisher&&) noexcept = default;
Publisher& Publisher::operator=(Publisher&&) noexcept = default;
Publisher::~Publisher() = default;

Result<Publisher> Publisher::open(PublisherOptions options, Timestamp now) {
  if (options.org.size() > kLabelMax || options.view.size() > kLabelMax) {
    return fail(Code::kInvalidArgument, "an organization's or view's name has more than 63 bytes");
  }
  ASSIGN_OR_RETURN(auto directory, CacheDirectory::open(options.directory, options.owner,
                                                        options.allow_any_filesystem));
  auto control = ControlFile::open(directory, options.owner, options.random);
  if (!control && control.error().code == Code::kUnavailable) {
    // On a full disk without a control file readers have nothing: that comes before lockouts.
    directory.give_up_reserve();
    control = ControlFile::open(directory, options.owner, options.random);
  }
  if (!control) return std::unexpected(std::move(control.error()));
  auto impl = std::make_unique<Impl>(std::move(options), std::move(directory), std::move(*control));
  impl->recover(now);
  impl->keep_reserve();
  return Publisher(std::move(impl));
}

std::uint64_t Publisher::generation() const {
  return impl_->published ? impl_->published->generation : 0;
}

const std::string& Publisher::cursor() const { return impl_->cursor; }
const std::string& Publisher::epoch() const { return impl_->epoch; }

CacheCounts Publisher::counts() const {
  if (!impl_->published) return {};
  const Totals& totals = impl_->published->delta.image().header->totals;
  return {totals.users, totals.groups, totals.masked_users, totals.masked_groups,
          totals.denied_users};
}

std::uint32_t Publisher::highest_id() const {
  std::uint32_t highest = 0;
  if (!impl_->published) return highest;
  for (const Image& image : {impl_->published->delta.image(), impl_->published->base.image()}) {
    for (std::uint32_t i = 0; i < image.header->user_count; ++i) {
      const UserRecord* user = user_by_ordinal(image, i);
      if (user != nullptr) highest = std::max({highest, user->uid, user->gid});
    }
    for (std::uint32_t i = 0; i < image.header->group_count; ++i) {
      const GroupRecord* group = group_by_ordinal(image, i);
      if (group != nullptr) highest = std::max(highest, group->gid);
    }
  }
  return highest;
}

Publisher::Reserve Publisher::reserve() const {
  return {impl_->directory.reserved_bytes(), impl_->reserve_wanted()};
}

std::vector<std::string> Publisher::masked(std::size_t max) const {
  std::vector<std::string> out;
  const CacheCounts totals = counts();
  const std::uint64_t wanted =
      std::min<std::uint64_t>(max, totals.masked_users + totals.masked_groups);
  if (wanted == 0) return out;
  const Generation view = impl_->published->view();
  const auto take = [&](const char* kind, const char* name, std::uint32_t id) {
    out.push_back(std::string(kind) + " " + name + " (" + std::to_string(id) + ")");
  };
  for (const bool in_delta : {true, false}) {
    const Image& image = in_delta ? view.delta : view.base;
    for (std::uint32_t i = 0; i < image.header->group_count && out.size() < wanted; ++i) {
      const GroupRecord* group = group_by_ordinal(image, i);
      if (group == nullptr || (group->flags & kFlagMasked) == 0) continue;
      if (in_delta || is_current(view, *group) == Found::kYes) {
        take("group", group_name(*group), group->gid);
      }
    }
    for (std::uint32_t i = 0; i < image.header->user_count && out.size() < wanted; ++i) {
      const UserRecord* user = user_by_ordinal(image, i);
      if (user == nullptr || (user->flags & kFlagMasked) == 0) continue;
      if (in_delta || is_current(view, *user) == Found::kYes) {
        take("user", user_name(*user), user->uid);
      }
    }
  }
  return out;
}

namespace {

std::optional<posix::NodeUser> decoded(const Published& published, const UserHit& hit) {
  if (hit.found != Found::kYes) return std::nullopt;
  auto user =
      decode_user(hit.in_delta ? published.delta.image() : published.base.image(), *hit.user);
  if (!user) return std::nullopt;
  if (published.keys) {
    const KeysHit keys =
        find_keys(published.keys->image(), published.keybase->image(), hit.user->n);
    if (keys.found == Found::kYes) {
      if (auto list = decode_keys(*keys.keys)) user->keys = std::move(*list);
    }
  }
  return *std::move(user);
}

}  // namespace

std::optional<posix::NodeUser> Publisher::find_user(std::string_view login) const {
  if (!impl_->published) return std::nullopt;
  return decoded(*impl_->published,
                 nsscache::find_user(impl_->published->view(), login.data(), login.size()));
}

std::optional<posix::NodeUser> Publisher::find_user(std::uint64_t n) const {
  if (!impl_->published) return std::nullopt;
  return decoded(*impl_->published, find_by_number(*impl_->published, n));
}

std::optional<posix::NodeGroup> Publisher::find_group(std::uint64_t n) const {
  if (!impl_->published) return std::nullopt;
  const GroupHit hit = find_group_by_number(*impl_->published, n);
  if (hit.found != Found::kYes) return std::nullopt;
  const Generation view = impl_->published->view();
  auto group = decode_group(hit.in_delta ? view.delta : view.base, *hit.group);
  if (!group) return std::nullopt;
  return *std::move(group);
}

bool Publisher::serves_user(std::string_view login) const {
  if (!impl_->published) return false;
  const UserHit hit = nsscache::find_user(impl_->published->view(), login.data(), login.size());
  return hit.found == Found::kYes && (hit.user->flags & (kFlagMasked | kFlagHidden)) == 0;
}

Result<ServedGeneration> Publisher::served() const {
  if (!impl_->published) return fail(Code::kNotFound, "nothing is published yet");
  const Published& published = *impl_->published;
  const auto map = [this](const ImageFile& file, const char(&magic)[8]) {
    return ImageFile::load(impl_->directory, file.name(), magic, false);
  };
  ASSIGN_OR_RETURN(ImageFile base, map(published.base, kBaseMagic));
  ASSIGN_OR_RETURN(ImageFile delta, map(published.delta, kDeltaMagic));
  if (!published.keys) {
    return ServedGeneration(std::move(base), std::move(delta), std::nullopt, std::nullopt);
  }
  ASSIGN_OR_RETURN(ImageFile keybase, map(*published.keybase, kKeyBaseMagic));
  ASSIGN_OR_RETURN(ImageFile keys, map(*published.keys, kKeysMagic));
  return ServedGeneration(std::move(base), std::move(delta), std::move(keybase), std::move(keys));
}

Result<void> Publisher::upsert_user(posix::NodeUser user) {
  RETURN_IF_ERROR(check_user(user));
  RETURN_IF_ERROR(impl_->check_whole());
  return impl_->replacement ? impl_->replacement->spool.add(user) : impl_->collect(std::move(user));
}

Result<void> Publisher::upsert_group(posix::NodeGroup group) {
  RETURN_IF_ERROR(check_group(group));
  RETURN_IF_ERROR(impl_->check_whole());
  if (!impl_->replacement) {
    impl_->collect(std::move(group));
    return {};
  }
  const std::uint64_t n = group.n;
  impl_->replacement->groups.insert_or_assign(n, GroupState{std::move(group), 0});
  return {};
}

Result<void> Publisher::remove_user(std::uint64_t n, Seq seq) {
  RETURN_IF_ERROR(impl_->check_whole());
  if (impl_->replacement) {
    impl_->replacement->spool.remove(n);
    impl_->replacement->removed_users.insert(n);
    return {};
  }
  ASSIGN_OR_RETURN(UserState * state, impl_->state_of(n));
  if (!state->user) {
    if (state->base_ordinal == kNone) impl_->overlay.users.erase(n);
    return {};
  }
  state->user.reset();
  state->removed_seq = seq;
  state->settled = false;
  impl_->note_keys(n, seq, {});
  impl_->dirty = true;
  return {};
}

Result<void> Publisher::remove_group(std::uint64_t n, Seq seq) {
  RETURN_IF_ERROR(impl_->check_whole());
  if (impl_->replacement) {
    impl_->replacement->groups.erase(n);
    impl_->replacement->removed_groups.insert(n);
    return {};
  }
  if (impl_->groups.erase(n) == 0) return {};
  impl_->overlay.changed_groups.erase(n);
  if (impl_->base_groups.contains(n)) impl_->overlay.removed_groups[n] = seq;
  impl_->graph_touched.insert(n);
  impl_->dirty = true;
  return {};
}

Result<void> Publisher::begin_replace() {
  RETURN_IF_ERROR(discard());
  ASSIGN_OR_RETURN(auto spool, UserSpool::create(impl_->directory));
  impl_->replacement.emplace(Replacement{std::move(spool), {}, {}, {}});
  return {};
}

bool Publisher::replacing() const { return impl_->replacement.has_value(); }

Result<Shrinkage> Publisher::shrinkage() const {
  CHECK(impl_->replacement);
  Replacement& replacement = *impl_->replacement;
  RETURN_IF_ERROR(replacement.spool.sort());
  Shrinkage out;
  const auto& entries = replacement.spool.entries();
  auto coming = entries.begin();
  UserSource current = impl_->current_users();
  while (true) {
    ASSIGN_OR_RETURN(const auto entry, current());
    if (!entry) break;
    const std::uint64_t n = entry->user.n;
    ++out.users_before;
    while (coming != entries.end() && coming->n < n) ++coming;
    const bool stays = coming != entries.end() && coming->n == n;
    if (!stays && !replacement.removed_users.contains(n)) ++out.users_lost;
  }
  for (const auto& [n, state] : impl_->groups) {
    ++out.groups_before;
    if (!replacement.groups.contains(n) && !replacement.removed_groups.contains(n)) {
      ++out.groups_lost;
    }
  }
  return out;
}

void Publisher::set_local_rules(LocalRules rules) {
  impl_->rules.emplace(rules);
  impl_->rules_dirty = true;
}

Result<PublishStats> Publisher::publish(std::string_view cursor, std::string_view epoch,
                                        Timestamp now, Urgency urgency) {
  return impl_->publish(cursor, epoch, now, urgency);
}

Result<void> Publisher::discard() {
  if (!impl_->published) {
    impl_->forget_changes();
    return {};
  }
  return impl_->take_up();
}

Result<void> Publisher::forget_arrivals() {
  CHECK(!impl_->replacement);
  return impl_->published ? impl_->forget_arrivals() : Result<void>{};
}

void Publisher::touch_contact(Timestamp now, std::optional<Timestamp> hub_time) {
  ControlFile& control = impl_->control;
  const std::uint64_t known = control.latest_s() != 0 ? control.latest_s() : control.contact_s();
  // First: without the word readers take the contact, which may be earlier than the one before.
  control.set_latest_s(hub_time ? seconds_of(*hub_time) : std::max(known, seconds_of(now)));
  control.set_contact_s(seconds_of(now));
}

std::optional<Timestamp> Publisher::contact() const {
  const std::uint64_t seconds = impl_->control.contact_s();
  if (seconds == 0) return std::nullopt;
  return from_millis(static_cast<std::int64_t>(seconds) * 1000);
}

void Publisher::set_max_stale(std::chrono::seconds max_stale) {
  impl_->control.set_max_stale_s(
      static_cast<std::uint64_t>(std::max<std::int64_t>(0, max_stale.count())));
}

std::optional<Timestamp> Publisher::remove_retired(Timestamp now) {
  const auto next = impl_->remove_retired(now);
  impl_->keep_reserve();
  return next;
}

}  // namespace roster::nsscache
