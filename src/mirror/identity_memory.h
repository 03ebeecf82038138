#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "mirror/hash_index.h"
#include "nsscache/text_map.h"

namespace roster::mirror {

/// People and groups have numbers and names of their own each.
enum class Kind : std::uint8_t { kUser, kGroup };

/// Whom every uid, gid and name was seen with, for ever: a server that is only read must not be
/// able to hand a uid, and with it somebody's files, to somebody else unnoticed. What has gone from
/// the server stays remembered.
///
/// A claim is good when its number and its name belong together as they did before, or both are
/// new. Everything else is refused until an operator accepts the pair. A number or name that was
/// given up is not free for others.
class IdentityMemory {
 public:
  struct Limits {
    std::size_t entries = 3'000'000;
    std::size_t file_bytes = std::size_t{1} << 30;
  };

  IdentityMemory() : IdentityMemory(Limits()) {}
  explicit IdentityMemory(Limits limits, const RandomBytes& random = system_random)
      : limits_(limits), hash_(random), file_bytes_(kFirstLine.size()) {}

  /// What write() gave; empty for a new one. kDataLoss with the line that is wrong.
  static Result<IdentityMemory> parse(std::string text) { return parse(std::move(text), Limits()); }
  static Result<IdentityMemory> parse(std::string text, Limits limits);
  /// In large pieces. kTooLarge when it has more bytes than are read again.
  Result<void> write(const nsscache::ByteSink& sink) const;
  /// Of all that write() gives.
  std::size_t file_bytes() const { return file_bytes_; }

  struct Claim {
    std::uint32_t number;  // uid or gid
    std::string_view name;
    std::string_view id;  // of the SCIM resource
  };
  /// The entity's number on this node, stable for ever. kFailedPrecondition with a sentence that
  /// names the owner when number or name belong to somebody else. kTooLarge when there is no room
  /// for what would have to be remembered.
  Result<std::uint64_t> claim(Kind kind, const Claim& claim);
  /// Whether this resource had exactly this number and name when they were last seen.
  bool knows(Kind kind, std::uint32_t number, std::string_view name, std::string_view id);
  /// One claim of this number by this name, of a person and of a group, is good, whoever had either
  /// before.
  void accept(std::string_view name, std::uint32_t number);
  /// Acceptances that no claim has used.
  std::vector<std::string> unused() const;

  /// Whether anything was learnt since parse().
  bool changed() const { return changed_; }
  std::size_t size() const { return entries_.size(); }
  /// The one by which it finds things itself.
  const KeyedHash& hash() const { return hash_; }

 private:
  struct Entry {
    std::uint64_t n = 0;
    std::uint32_t number = 0;
    std::uint32_t name_at = 0;  // in text_
    std::uint32_t name_bytes = 0;
    std::uint32_t id_at = 0;  // in text_
    std::uint32_t id_bytes = 0;
    Kind kind = Kind::kUser;
    bool replaced = false;  // an operator gave its number or name to another
    bool owner = false;     // its number and its name lead to it: it is not replaced
  };
  /// Entries of one kind; of equal keys, the latest.
  struct Index {
    HashIndex by_number;
    HashIndex by_name;
    HashIndex by_id;  // without those that have none; only once `ids_known`
    bool ids_known = false;
  };
  struct Accepted {
    std::string name;
    std::uint32_t number;
    std::array<bool, 2> used{};  // by kind
  };
  using Found = std::optional<std::uint32_t>;  // a position in entries_
  static constexpr std::string_view kFirstLine = "roster-mirror identities 1\n";

  bool take_entry(std::size_t begin, std::size_t end);
  void build_indexes();
  void index(std::uint32_t at);
  void index_ids(Kind kind);
  Index& index_of(Kind kind) { return indexes_[static_cast<std::size_t>(kind)]; }

  auto has_number(std::uint32_t number) const {
    return [this, number](std::uint32_t at) { return entries_[at].number == number; };
  }
  auto has_name(std::string_view name) const {
    return [this, name](std::uint32_t at) { return name_of(entries_[at]) == name; };
  }
  auto has_id(std::string_view id) const {
    return [this, id](std::uint32_t at) { return id_of(entries_[at]) == id; };
  }
  Found find_number(Kind kind, std::uint32_t number);
  Found find_name(Kind kind, std::string_view name);
  Found find_id(Kind kind, std::string_view id);

  std::string_view name_of(const Entry& entry) const {
    return std::string_view(text_).substr(entry.name_at, entry.name_bytes);
  }
  std::string_view id_of(const Entry& entry) const {
    return std::string_view(text_).substr(entry.id_at, entry.id_bytes);
  }
  std::uint32_t keep(std::string_view text);
  bool has_room(std::size_t text_bytes, std::size_t line_bytes) const;
  Result<void> change_id(std::uint32_t at, std::string_view id);
  bool is_accepted(Kind kind, const Claim& claim);
  Error conflict(Kind kind, const Claim& claim, Found number_owner, Found name_owner,
                 Found resource) const;

  Limits limits_;
  KeyedHash hash_;
  std::string text_;  // names and ids: the file as it was read, and what came since
  std::vector<Entry> entries_;
  std::array<Index, 2> indexes_;
  bool indexed_ = false;        // the numbers and names of all entries
  std::uint32_t expected_ = 0;  // lists mostly come in the same order: the entry after the latest
  std::uint64_t next_n_ = 1;
  std::size_t file_bytes_ = 0;
  std::vector<Accepted> accepted_;
  bool changed_ = false;
};

}  // namespace roster::mirror
