#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/text.h"
#include "mirror/text_arena.h"
#include "posix/gecos.h"

namespace roster::mirror {

/// A person of the server, parsed: every text can stand in a line of its map. Texts live as long as
/// the Roll.
struct Person {
  std::string_view id;    // of the SCIM resource
  std::string_view name;  // a LoginName
  std::uint32_t uid = 0;  // 0: the configuration asks for none
  std::uint32_t gid = 0;
  std::string_view gecos;
  std::string_view home;
  std::string_view shell;
  std::string_view keys;  // lines of authorized_keys(5) without options, '\n' between them
  bool active = true;
  bool denied = false;  // and not active, because this node's deny file says so
  std::uint64_t n = 0;  // the person's number on this node, see IdentityMemory
};

struct Team {
  std::string_view id;
  std::string_view name;  // a GroupName
  std::uint32_t gid = 0;
  std::string_view members;  // names, '\n' between them, no name twice
  std::uint64_t n = 0;
};

/// Something that the server has and the maps have not, and why.
struct Refusal {
  std::string kind;    // "user", "group", "key", "member"
  std::string id;      // of the SCIM resource
  std::string name;    // as far as it is known
  std::string reason;  // one sentence, without secrets
};

/// What one reading of the server gave.
class Roll {
 public:
  static constexpr std::size_t kRefusalsKept = 1000;

  TextArena texts;
  // Apart, so that they are close together: they are looked at again and again.
  TextArena names;
  TextArena ids;
  std::vector<Person> people;  // in the server's order
  std::vector<Team> groups;
  std::vector<Person> omitted;  // who was among the people, but is not active

  /// Counts it; the first thousand are kept word for word.
  void refuse(Refusal refusal) {
    ++refused_[refusal.kind];
    if (refusals_.size() >= kRefusalsKept) return;
    // Ids and names are the server's: on one line, and nothing that a terminal obeys.
    for (std::string* text : {&refusal.id, &refusal.name}) *text = posix::sanitize_gecos(*text);
    refusals_.push_back(std::move(refusal));
  }
  const std::vector<Refusal>& refusals() const { return refusals_; }
  const std::map<std::string, std::size_t, std::less<>>& refused() const { return refused_; }

 private:
  std::vector<Refusal> refusals_;
  std::map<std::string, std::size_t, std::less<>> refused_;  // by kind
};

}  // namespace roster::mirror
