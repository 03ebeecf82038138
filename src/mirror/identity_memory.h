#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"

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
  static constexpr std::size_t kFileBytesMax = std::size_t{1} << 30;
  static constexpr std::size_t kEntriesMax = 3'000'000;

  /// The text of save(); empty for a new one. kDataLoss with the line that is wrong.
  static Result<IdentityMemory> parse(std::string_view text);
  std::string save() const;

  struct Claim {
    std::uint32_t number;  // uid or gid
    std::string_view name;
    std::string_view id;  // of the SCIM resource
  };
  /// The entity's number on this node, stable for ever. kFailedPrecondition with a sentence that
  /// names the owner when number or name belong to somebody else.
  Result<std::uint64_t> claim(Kind kind, const Claim& claim);
  /// Whether this resource had exactly this number and name when they were last seen.
  bool knows(Kind kind, std::uint32_t number, std::string_view name, std::string_view id) const;
  /// One claim of this number by this name, of a person and of a group, is good, whoever had either
  /// before.
  void accept(std::string_view name, std::uint32_t number);
  /// Acceptances that no claim has used.
  std::vector<std::string> unused() const;

  /// Whether anything was learnt since parse().
  bool changed() const { return changed_; }
  std::size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    Kind kind = Kind::kUser;
    std::uint64_t n = 0;
    std::uint32_t number = 0;
    std::string name;
    std::string id;
    bool replaced = false;  // an operator gave its number or name to another
  };
  struct Index {
    std::unordered_map<std::uint32_t, std::size_t> by_number;
    std::unordered_map<std::string, std::size_t> by_name;
    std::unordered_map<std::string, std::size_t> by_id;
  };

  void index(std::size_t at);
  Index& index_of(Kind kind) { return indexes_[static_cast<std::size_t>(kind)]; }

  std::vector<Entry> entries_;
  std::array<Index, 2> indexes_;
  std::uint64_t next_n_ = 1;
  struct Accepted {
    std::string name;
    std::uint32_t number;
    std::array<bool, 2> used{};  // by kind
  };
  bool is_accepted(Kind kind, const Claim& claim);
  std::vector<Accepted> accepted_;
  bool changed_ = false;
};

}  // namespace roster::mirror
