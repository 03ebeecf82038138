#include <algorithm>

#include "nsscache/build.h"
#include "nsscache/cache_directory.h"

namespace roster::nsscache {
namespace {

std::unexpected<Error> twins(std::string_view kind, std::string_view key, std::uint64_t a,
                             std::uint64_t b) {
  return fail(Code::kAlreadyExists, "two " + std::string(kind) + "s have " + std::string(key) +
                                        ": numbers " + std::to_string(std::min(a, b)) + " and " +
                                        std::to_string(std::max(a, b)));
}

/// What is known of a group while the users stream by.
struct GroupContents {
  std::uint64_t n;
  const GroupState* state;
  std::vector<std::uint32_t> members;
  std::uint64_t name_bytes = 0;
  bool expiring = false;
};

class BaseBuilder {
 public:
  BaseBuilder(ImageWriter& writer, const GroupMap& groups, const GroupGraph& graph)
      : writer_(writer), graph_(graph) {
    contents_.reserve(groups.size());
    for (const auto& [n, state] : groups) {
      index_of_[n] = contents_.size();
      contents_.push_back({.n = n, .state = &state, .members = {}});
    }
  }

  Result<void> write(const UserSource& users) {
    writer_.begin_section(kSectionRecords);
    RETURN_IF_ERROR(write_users(users));
    RETURN_IF_ERROR(write_groups());
    writer_.end_section();
    write_index(kSectionUserIndex, user_places_);
    write_index(kSectionGroupIndex, group_places_);
    writer_.begin_section(kSectionDangling);
    std::ranges::sort(dangling_, {}, [](const DanglingEdge& edge) {
      return std::pair(edge.group_n, edge.user_ordinal);
    });
    writer_.write(dangling_.data(), dangling_.size() * sizeof(DanglingEdge));
    writer_.end_section();
    RETURN_IF_ERROR(write_names());
    RETURN_IF_ERROR(write_table(kSectionByName, "the name"));
    RETURN_IF_ERROR(write_table(kSectionById, "the id"));
    writer_.set_counts(totals_.users, totals_.groups, 0);
    writer_.set_totals(totals_);
    return {};
  }

  const Totals& totals() const { return totals_; }

 private:
  Result<void> write_users(const UserSource& users) {
    std::optional<std::uint64_t> last;
    while (true) {
      ASSIGN_OR_RETURN(const auto entry, users());
      if (!entry) break;
      if (last && *last >= entry->user.n) return twins("user", "one number", *last, entry->user.n);
      if (user_places_.size() == kUsersMax) return too_many("users");
      last = entry->user.n;
      write_user(*entry);
    }
    totals_.users = static_cast<std::uint32_t>(user_places_.size());
    return {};
  }

  void write_user(const UserEntry& entry) {
    const posix::NodeUser& user = entry.user;
    const auto ordinal = static_cast<std::uint32_t>(user_places_.size());
    std::vector<std::uint32_t> gids;
    if (is_listed(entry.flags)) {
      for (const std::uint64_t group : graph_.effective(user.groups)) {
        GroupContents& contents = contents_[index_of_.at(group)];
        contents.members.push_back(ordinal);
        contents.name_bytes += user.name.str().size() + 1;
        contents.expiring = contents.expiring || user.valid_until != 0;
        if (is_listed(contents.state->flags)) gids.push_back(contents.state->group.gid);
      }
      std::ranges::sort(gids);
    }
    for (const std::uint64_t group : user.groups) {
      if (!graph_.knows(group)) dangling_.push_back({group, ordinal});
    }
    if ((entry.flags & kFlagMasked) != 0) ++totals_.masked_users;
    if ((entry.flags & kFlagDenied) != 0) ++totals_.denied_users;
    user_places_.push_back(writer_.add_user(user, entry.flags, ordinal, gids));
  }

  Result<void> write_groups() {
    if (contents_.size() > kUsersMax) return too_many("groups");
    const Result<const std::uint8_t*> records = mapped_records();
    if (!records) return std::unexpected(records.error());
    // A copy of the users' part stays mapped while groups are appended behind it.
    const std::uint8_t* users = *records;
    const auto name_of = [this, users](std::uint32_t ordinal) {
      const auto* user =
          reinterpret_cast<const UserRecord*>(users + std::uint64_t{user_places_[ordinal]} * 8);
      return padded_name({user_name(*user), user->name_bytes});
    };
    for (GroupContents& contents : contents_) {
      ImageWriter::GroupContent content;
      content.flags = contents.state->flags | (contents.expiring ? kFlagExpiring : 0u);
      content.ordinal = static_cast<std::uint32_t>(group_places_.size());
      content.member_count = static_cast<std::uint32_t>(contents.members.size());
      content.member_name_bytes = contents.name_bytes;
      if ((contents.state->flags & kFlagMasked) != 0) ++totals_.masked_groups;
      group_places_.push_back(
          writer_.add_group(contents.state->group, content, {contents.members, name_of}));
      contents.members = {};
    }
    totals_.groups = static_cast<std::uint32_t>(group_places_.size());
    return {};
  }

  void write_index(SectionId id, const std::vector<std::uint32_t>& places) {
    writer_.begin_section(id);
    writer_.write(places.data(), places.size() * sizeof places[0]);
    writer_.end_section();
  }

  Result<void> write_names() {
    ASSIGN_OR_RETURN(const std::uint8_t* records, mapped_records());
    writer_.begin_section(kSectionUserNames);
    for (const std::uint32_t place : user_places_) {
      const auto& user = record<UserRecord>(records, place);
      const PaddedName name = padded_name({user_name(user), user.name_bytes});
      writer_.write(name.data(), name.size());
    }
    writer_.end_section();
    return {};
  }

  Result<void> write_table(SectionId id, std::string_view key) {
    ASSIGN_OR_RETURN(const std::uint8_t* records, mapped_records());
    const bool by_name = id == kSectionByName;
    TableBuilder table(user_places_.size() + group_places_.size());
    for (const std::uint32_t place : user_places_) {
      const auto& user = record<UserRecord>(records, place);
      std::uint64_t twin = 0;
      const auto same = [&](std::uint32_t ref) {
        if (ref >> 30 != kRefUser) return false;
        const auto& other = record<UserRecord>(records, ref & kRefPlaceMask);
        twin = other.n;
        return by_name ? std::string_view(user_name(user)) == user_name(other)
                       : user.uid == other.uid;
      };
      const std::uint64_t hash = by_name ? hash_name(user_name(user), user.name_bytes, seed())
                                         : hash_number(user.uid, seed());
      if (!table.insert(hash, place | kRefUser << 30, same)) {
        return twins("user", described(key, by_name, user_name(user), user.uid), twin, user.n);
      }
    }
    for (const std::uint32_t place : group_places_) {
      const auto& group = record<GroupRecord>(records, place);
      std::uint64_t twin = 0;
      bool is_user = false;
      const auto same = [&](std::uint32_t ref) {
        is_user = ref >> 30 == kRefUser;
        if (is_user) {
          // Its login and uid are those of its private group.
          const auto& user = record<UserRecord>(records, ref & kRefPlaceMask);
          twin = user.n;
          return by_name ? std::string_view(group_name(group)) == user_name(user)
                         : group.gid == user.uid;
        }
        const auto& other = record<GroupRecord>(records, ref & kRefPlaceMask);
        twin = other.n;
        return by_name ? std::string_view(group_name(group)) == group_name(other)
                       : group.gid == other.gid;
      };
      const std::uint64_t hash = by_name ? hash_name(group_name(group), group.name_bytes, seed())
                                         : hash_number(group.gid, seed());
      if (!table.insert(hash, place | kRefGroup << 30, same)) {
        return twins(is_user ? "record" : "group",
                     described(key, by_name, group_name(group), group.gid), twin, group.n);
      }
    }
    table.write(writer_, id);
    return {};
  }

  static std::string described(std::string_view key, bool by_name, const char* name,
                               std::uint32_t id) {
    return std::string(key) + " " + (by_name ? std::string(name) : std::to_string(id));
  }

  static std::unexpected<Error> too_many(std::string_view what) {
    return fail(Code::kTooLarge, "more than " + std::to_string(kUsersMax) + " " +
                                     std::string(what) + " do not fit a cache file");
  }

  template <typename Record>
  static const Record& record(const std::uint8_t* records, std::uint32_t place) {
    return *reinterpret_cast<const Record*>(records + std::uint64_t{place} * 8);
  }

  Result<const std::uint8_t*> mapped_records() {
    const std::uint8_t* bytes = writer_.mapped();
    if (bytes == nullptr) {
      return fail(Code::kUnavailable, "cannot write the node cache: the disk is full or failing");
    }
    return bytes + writer_.records_offset();
  }

  std::uint64_t seed() const { return writer_.hash_seed(); }

  ImageWriter& writer_;
  const GroupGraph& graph_;
  std::unordered_map<std::uint64_t, std::size_t> index_of_;
  std::vector<GroupContents> contents_;
  std::vector<std::uint32_t> user_places_;
  std::vector<std::uint32_t> group_places_;
  std::vector<DanglingEdge> dangling_;
  Totals totals_{};
};

}  // namespace

Result<BuiltFile> build_base(const FilePlace& place, const ImageLabel& label,
                             const UserSource& users, const GroupMap& groups,
                             const GroupGraph& graph) {
  ASSIGN_OR_RETURN(auto writer, ImageWriter::create(place, label));
  BaseBuilder builder(writer, groups, graph);
  RETURN_IF_ERROR(builder.write(users));
  ASSIGN_OR_RETURN(const Binding binding, writer.commit(cache_file_name("base", label.generation)));
  return BuiltFile{binding, builder.totals(), writer.bytes_written()};
}

Result<BuiltFile> build_keys(const FilePlace& place, const ImageLabel& label,
                             const KeySource& keys) {
  ASSIGN_OR_RETURN(auto writer, ImageWriter::create(place, label));
  std::vector<std::uint32_t> places;
  std::vector<std::uint64_t> numbers;
  writer.begin_section(kSectionRecords);
  while (true) {
    ASSIGN_OR_RETURN(const auto entry, keys());
    if (!entry) break;
    places.push_back(writer.add_keys(entry->n, entry->seq, entry->keys));
    numbers.push_back(entry->n);
  }
  writer.end_section();
  writer.begin_section(kSectionKeyIndex);
  writer.write(places.data(), places.size() * sizeof places[0]);
  writer.end_section();
  TableBuilder table(places.size());
  for (std::size_t i = 0; i < places.size(); ++i) {
    table.insert(hash_number(numbers[i], label.hash_seed), places[i],
                 [](std::uint32_t) { return false; });
  }
  table.write(writer, kSectionByNumber);
  writer.set_counts(static_cast<std::uint32_t>(places.size()), 0, 0);
  const bool is_base = std::equal(std::begin(label.magic), std::end(label.magic), kKeyBaseMagic);
  ASSIGN_OR_RETURN(const Binding binding,
                   writer.commit(cache_file_name(is_base ? "keybase" : "keys", label.generation)));
  return BuiltFile{binding, {}, writer.bytes_written()};
}

}  // namespace roster::nsscache
