#include <algorithm>
#include <unordered_set>

#include "nsscache/build.h"
#include "nsscache/cache_directory.h"

namespace roster::nsscache {
namespace {

/// One user joining or leaving one group's list.
struct ListChange {
  std::uint64_t group;
  bool joins;
  std::uint32_t ordinal;  // leaves: in the base; joins: in the delta
  std::uint32_t name_bytes;
  bool expiring;
};

struct Placed {
  std::uint64_t n;
  std::uint32_t place;
  std::string_view name;
  std::uint32_t id;
};

class DeltaBuilder {
 public:
  DeltaBuilder(ImageWriter& writer, const Image& base,
               const std::unordered_map<std::uint64_t, std::uint32_t>& base_groups,
               const Overlay& overlay, const GroupMap& groups)
      : writer_(writer),
        base_(base),
        base_groups_(base_groups),
        overlay_(overlay),
        groups_(groups) {}

  Result<void> write() {
    writer_.begin_section(kSectionRecords);
    totals_ = base_.header->totals;
    totals_.groups = static_cast<std::uint32_t>(groups_.size());
    for (const auto& [n, state] : overlay_.users) RETURN_IF_ERROR(write_user(n, state));
    RETURN_IF_ERROR(write_groups());
    RETURN_IF_ERROR(check_against_base());
    write_marks();
    writer_.end_section();
    write_index(kSectionUserIndex, users_);
    write_index(kSectionGroupIndex, groups_placed_);
    write_index(kSectionMarkIndex, marks_);
    writer_.begin_section(kSectionUserNames);
    writer_.write(names_.data(), names_.size() * sizeof names_[0]);
    writer_.end_section();
    RETURN_IF_ERROR(write_table(kSectionByName));
    RETURN_IF_ERROR(write_table(kSectionById));
    writer_.set_counts(static_cast<std::uint32_t>(users_.size()),
                       static_cast<std::uint32_t>(groups_placed_.size()),
                       static_cast<std::uint32_t>(marks_.size()));
    writer_.set_totals(totals_);
    return {};
  }

  const Totals& totals() const { return totals_; }

 private:
  static std::unexpected<Error> damaged() {
    return fail(Code::kDataLoss, "a record of the node cache's base does not verify");
  }

  Result<const UserRecord*> base_user(const UserState& state) const {
    if (state.base_ordinal == kNone) return nullptr;
    const UserRecord* record = user_by_ordinal(base_, state.base_ordinal);
    if (record == nullptr) return damaged();
    return record;
  }

  void count(std::uint32_t flags, std::uint32_t by) {
    totals_.users += by;
    if ((flags & kFlagMasked) != 0) totals_.masked_users += by;
    if ((flags & kFlagDenied) != 0) totals_.denied_users += by;
  }

  Result<void> write_user(std::uint64_t n, const UserState& state) {
    CHECK(state.settled);
    ASSIGN_OR_RETURN(const UserRecord* base, base_user(state));
    if (base != nullptr) count(base->flags, static_cast<std::uint32_t>(-1));
    const auto ordinal = static_cast<std::uint32_t>(users_.size());
    if (state.user) {
      count(state.flags, 1);
      const std::uint32_t place =
          writer_.add_user(*state.user, state.flags, ordinal, gids_of(state));
      users_.push_back({n, place, state.user->name.str(), state.user->uid});
      names_.push_back(padded_name(state.user->name.str()));
    }
    note_list_changes(state, base, ordinal);
    return {};
  }

  std::vector<std::uint32_t> gids_of(const UserState& state) const {
    std::vector<std::uint32_t> gids;
    for (const std::uint64_t n : state.groups) {
      const GroupState& group = groups_.at(n);
      if (is_listed(group.flags)) gids.push_back(group.group.gid);
    }
    std::ranges::sort(gids);
    return gids;
  }

  /// A list of the base names users by ordinal and with the name they had: whoever is known by
  /// another name or end now leaves all lists and joins them anew.
  void note_list_changes(const UserState& state, const UserRecord* base, std::uint32_t ordinal) {
    const bool same_person = base != nullptr && state.user &&
                             state.user->name.str() == user_name(*base) &&
                             state.user->valid_until == base->valid_until;
    const auto changes = [&](const std::vector<std::uint64_t>& from,
                             const std::vector<std::uint64_t>& without, auto&& note) {
      for (const std::uint64_t group : from) {
        if (!same_person || !std::ranges::binary_search(without, group)) note(group);
      }
    };
    if (base != nullptr) {
      changes(state.base_groups, state.groups, [&](std::uint64_t group) {
        changes_.push_back({group, false, state.base_ordinal, base->name_bytes, false});
      });
    }
    changes(state.groups, state.base_groups, [&](std::uint64_t group) {
      changes_.push_back({group, true, ordinal,
                          static_cast<std::uint32_t>(state.user->name.str().size()),
                          state.user->valid_until != 0});
    });
  }

  Result<void> write_groups() {
    std::ranges::sort(changes_, {}, [](const ListChange& change) {
      return std::tuple(change.group, change.joins, change.ordinal);
    });
    std::set<std::uint64_t> touched = overlay_.changed_groups;
    for (const ListChange& change : changes_) touched.insert(change.group);
    for (const auto& [n, state] : groups_) {
      if ((state.flags & kFlagMasked) != 0) ++masked_groups_;
    }
    totals_.masked_groups = masked_groups_;
    for (const std::uint64_t n : touched) {
      const auto found = groups_.find(n);
      if (found != groups_.end()) RETURN_IF_ERROR(write_group(found->second));
    }
    return {};
  }

  Result<void> write_group(const GroupState& state) {
    ImageWriter::GroupContent content;
    content.flags = state.flags;
    content.ordinal = static_cast<std::uint32_t>(groups_placed_.size());
    std::uint64_t members = 0;
    if (const auto in_base = base_groups_.find(state.group.n); in_base != base_groups_.end()) {
      const GroupRecord* base = group_by_ordinal(base_, in_base->second);
      if (base == nullptr) return damaged();
      content.base_ordinal = in_base->second;
      members = base->member_count;
      content.member_name_bytes = base->member_name_bytes;
      content.flags |= base->flags & kFlagExpiring;
    }
    std::vector<std::uint32_t> removed;
    std::vector<std::uint32_t> added;
    const auto changes = std::ranges::equal_range(changes_, state.group.n, {}, &ListChange::group);
    for (const ListChange& change : changes) {
      if (change.joins) {
        added.push_back(change.ordinal | kInDelta);
        content.member_name_bytes += change.name_bytes + 1;
        if (change.expiring) content.flags |= kFlagExpiring;
      } else {
        removed.push_back(change.ordinal);
        content.member_name_bytes -= change.name_bytes + 1;
      }
    }
    content.member_count = static_cast<std::uint32_t>(members - removed.size() + added.size());
    content.removed = removed;
    const std::uint32_t place = writer_.add_group(
        state.group, content,
        {added, [this](std::uint32_t reference) { return names_[reference & ~kInDelta]; }});
    groups_placed_.push_back({state.group.n, place, state.group.name.str(), state.group.gid});
    return {};
  }

  /// A name or id of the delta that a record of the base holds, which the delta does not replace.
  /// People and groups share one space: a person's login and uid are the private group's.
  Result<void> check_against_base() const {
    for (const Placed& user : users_) RETURN_IF_ERROR(check_against_base("user", user, true));
    for (const Placed& group : groups_placed_) {
      RETURN_IF_ERROR(check_against_base("group", group, false));
    }
    return {};
  }

  Result<void> check_against_base(std::string_view kind, const Placed& record, bool is_user) const {
    for (const UserHit& hit : {find_user_in(base_, record.name.data(), record.name.size()),
                               find_user_in(base_, record.id)}) {
      if (hit.found == Found::kDamaged) return damaged();
      if (hit.found != Found::kYes || (is_user && hit.user->n == record.n)) continue;
      if (!overlay_.users.contains(hit.user->n)) return taken(kind, record, hit.user->n);
    }
    for (const GroupHit& hit : {find_group_in(base_, record.name.data(), record.name.size()),
                                find_group_in(base_, record.id)}) {
      if (hit.found == Found::kDamaged) return damaged();
      if (hit.found != Found::kYes || (!is_user && hit.group->n == record.n)) continue;
      const bool replaced = overlay_.changed_groups.contains(hit.group->n) ||
                            overlay_.removed_groups.contains(hit.group->n);
      if (!replaced) return taken(kind, record, hit.group->n);
    }
    return {};
  }

  static std::unexpected<Error> taken(std::string_view kind, const Placed& record,
                                      std::uint64_t other) {
    return fail(Code::kAlreadyExists,
                std::string(kind) + " number " + std::to_string(record.n) + " (" +
                    std::string(record.name) + ", id " + std::to_string(record.id) +
                    ") has the name or id of number " + std::to_string(other));
  }

  void write_marks() {
    std::unordered_set<std::string_view> names;
    std::unordered_set<std::uint32_t> ids;
    for (const Placed& user : users_) {
      names.insert(user.name);
      ids.insert(user.id);
    }
    for (const auto& [n, state] : overlay_.users) {
      if (state.base_ordinal == kNone) continue;
      const UserRecord* base = user_by_ordinal(base_, state.base_ordinal);
      const std::string_view name(user_name(*base), base->name_bytes);
      write_mark({.n = n,
                  .seq = state.user ? state.user->seq : state.removed_seq,
                  .id = base->uid,
                  .kind = kMarkUser,
                  .removed = !state.user,
                  .name = name},
                 !names.contains(name), !ids.contains(base->uid));
    }
    names.clear();
    ids.clear();
    for (const Placed& group : groups_placed_) {
      names.insert(group.name);
      ids.insert(group.id);
    }
    std::set<std::uint64_t> touched = overlay_.changed_groups;
    for (const auto& [n, seq] : overlay_.removed_groups) touched.insert(n);
    for (const std::uint64_t n : touched) {
      const auto in_base = base_groups_.find(n);
      if (in_base == base_groups_.end()) continue;
      const GroupRecord* base = group_by_ordinal(base_, in_base->second);
      const auto removed = overlay_.removed_groups.find(n);
      const bool is_removed = removed != overlay_.removed_groups.end();
      const std::string_view name(group_name(*base), base->name_bytes);
      write_mark({.n = n,
                  .seq = is_removed ? removed->second : Seq{base->seq},
                  .id = base->gid,
                  .kind = kMarkGroup,
                  .removed = is_removed,
                  .name = name},
                 !names.contains(name), !ids.contains(base->gid));
    }
  }

  void write_mark(const ImageWriter::Mark& mark, bool marks_name, bool marks_id) {
    if (!mark.removed && !marks_name && !marks_id) return;
    const std::uint32_t place = writer_.add_mark(mark);
    marks_.push_back({mark.n, place, mark.name, mark.id});
    const std::uint32_t ref = place | (mark.kind == kMarkUser ? kRefUserMark : kRefGroupMark) << 30;
    if (marks_name) name_marks_.push_back({ref, mark.name, mark.id});
    if (marks_id) id_marks_.push_back({ref, mark.name, mark.id});
  }

  void write_index(SectionId id, const std::vector<Placed>& records) {
    writer_.begin_section(id);
    for (const Placed& record : records) writer_.write(&record.place, sizeof record.place);
    writer_.end_section();
  }

  std::uint64_t hash(bool by_name, std::string_view name, std::uint32_t id) const {
    return by_name ? hash_name(name.data(), name.size(), writer_.hash_seed())
                   : hash_number(id, writer_.hash_seed());
  }

  Result<void> insert_all(TableBuilder& table, bool by_name, RefKind kind, std::string_view noun,
                          const std::vector<Placed>& records) const {
    for (std::size_t i = 0; i < records.size(); ++i) {
      const Placed& record = records[i];
      const Placed* twin = nullptr;
      const auto same = [&](std::uint32_t ref) {
        const std::vector<Placed>& others = ref >> 30 == kRefUser ? users_ : groups_placed_;
        twin = &*std::ranges::lower_bound(others, ref & kRefPlaceMask, {}, &Placed::place);
        return by_name ? twin->name == record.name : twin->id == record.id;
      };
      if (!table.insert(hash(by_name, record.name, record.id), record.place | kind << 30, same)) {
        return taken(noun, record, twin->n);
      }
    }
    return {};
  }

  Result<void> write_table(SectionId id) {
    const bool by_name = id == kSectionByName;
    const auto& marks = by_name ? name_marks_ : id_marks_;
    TableBuilder table(users_.size() + groups_placed_.size() + marks.size());
    RETURN_IF_ERROR(insert_all(table, by_name, kRefUser, "user", users_));
    RETURN_IF_ERROR(insert_all(table, by_name, kRefGroup, "group", groups_placed_));
    for (const MarkEntry& mark : marks) {
      table.insert(hash(by_name, mark.name, mark.id), mark.ref,
                   [](std::uint32_t) { return false; });
    }
    table.write(writer_, id);
    return {};
  }

  struct MarkEntry {
    std::uint32_t ref;
    std::string_view name;
    std::uint32_t id;
  };

  ImageWriter& writer_;
  const Image& base_;
  const std::unordered_map<std::uint64_t, std::uint32_t>& base_groups_;
  const Overlay& overlay_;
  const GroupMap& groups_;
  std::vector<Placed> users_;  // by number, and so by place
  std::vector<PaddedName> names_;
  std::vector<Placed> groups_placed_;
  std::vector<Placed> marks_;
  std::vector<MarkEntry> name_marks_;
  std::vector<MarkEntry> id_marks_;
  std::vector<ListChange> changes_;
  std::uint32_t masked_groups_ = 0;
  Totals totals_{};
};

}  // namespace

Result<BuiltFile> build_delta(const FilePlace& place, const ImageLabel& label, const Image& base,
                              const std::unordered_map<std::uint64_t, std::uint32_t>& base_groups,
                              const Overlay& overlay, const GroupMap& groups) {
  ASSIGN_OR_RETURN(auto writer, ImageWriter::create(place, label));
  DeltaBuilder builder(writer, base, base_groups, overlay, groups);
  RETURN_IF_ERROR(builder.write());
  ASSIGN_OR_RETURN(const Binding binding,
                   writer.commit(cache_file_name("delta", label.generation)));
  return BuiltFile{binding, builder.totals(), writer.bytes_written()};
}

}  // namespace roster::nsscache
