#include "mirror/resolve.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mirror/hash_index.h"
#include "nsscache/image.h"
#include "posix/id_ranges.h"
#include "posix/reserved_names.h"

namespace roster::mirror {
namespace {

std::string_view kind_name(Kind kind) { return kind == Kind::kUser ? "user" : "group"; }

template <typename Item>
void refuse(Roll& roll, Kind kind, const Item& item, std::string reason) {
  roll.refuse({.kind = std::string(kind_name(kind)),
               .id = std::string(item.id),
               .name = std::string(item.name),
               .reason = std::move(reason)});
}

/// In the place of an id that the configuration does not ask for: no account's.
std::uint32_t or_nobodys(std::uint32_t id) { return id != 0 ? id : posix::kIdMax; }

std::uint32_t number_of(const Person& person) { return person.uid; }
std::uint32_t number_of(const Team& group) { return group.gid; }

/// Of resources that a list brings twice, the later one is newer: it takes the place of the other.
template <typename Item>
void keep_latest_of_each(const KeyedHash& hash, std::vector<Item>& items) {
  HashIndex by_id(items.size());
  std::uint32_t kept = 0;
  for (const Item& item : items) {
    const std::uint32_t at = by_id.find_or_add(
        hash(item.id), kept, [&](std::uint32_t other) { return items[other].id == item.id; });
    items[at] = item;
    if (at == kept) ++kept;
  }
  items.resize(kept);
}

/// Marks those who share their name or number with another one.
template <typename Item>
std::vector<bool> find_contested(const KeyedHash& hash, const std::vector<Item>& items) {
  std::vector<bool> contested(items.size());
  HashIndex known(items.size());
  const auto compare = [&](const auto& key_of) {
    for (std::uint32_t i = 0; i < items.size(); ++i) {
      const auto key = key_of(items[i]);
      if (key == decltype(key)()) continue;  // no number
      const std::uint32_t first = known.find_or_add(
          hash(key), i, [&](std::uint32_t other) { return key_of(items[other]) == key; });
      if (first != i) contested[first] = contested[i] = true;
    }
  };
  compare([](const Item& item) { return item.name; });
  known.clear(items.size());
  compare([](const Item& item) { return number_of(item); });
  return contested;
}

/// Numbers each, in the order of the list. Those who share a name or a number: whoever had both
/// before goes on with them, and nobody when nobody had.
template <typename Item>
void settle_identities(Kind kind, IdentityMemory& memory, Roll& roll, std::vector<Item>& items) {
  keep_latest_of_each(memory.hash(), items);
  const std::vector<bool> contested = find_contested(memory.hash(), items);
  std::size_t next = 0;
  std::erase_if(items, [&](Item& item) {
    const bool numbered = number_of(item) != 0;
    if (contested[next++] &&
        !(numbered && memory.knows(kind, number_of(item), item.name, item.id))) {
      refuse(roll, kind, item, "another one of the list has the same name or id");
      return true;
    }
    if (!numbered) return false;
    const auto n = memory.claim(kind, {number_of(item), item.name, item.id});
    if (n) {
      item.n = *n;
      return false;
    }
    refuse(roll, kind, item, n.error().message);
    return true;
  });
}

/// Names that carry power somewhere: sudoers, polkit and Slurm go by them, whatever the id.
template <typename Item>
void leave_reserved_names(const Settings& settings, Roll& roll, Kind kind,
                          std::vector<Item>& items) {
  std::erase_if(items, [&](const Item& item) {
    if (!posix::is_reserved_name(item.name)) return false;
    if (std::ranges::find(settings.admitted_names, item.name) != settings.admitted_names.end()) {
      return false;
    }
    refuse(roll, kind, item,
           "the name is one of the system's; if it is meant, name it in roster_admit_names");
    return true;
  });
}

/// Whether a person is to be in groups.
using Shown = NameMap<bool>;

void leave_known_members(Roll& roll, const Shown& people) {
  std::string kept;
  for (Team& group : roll.groups) {
    kept.clear();
    std::size_t left_out = 0;
    each_line(group.members, [&](std::string_view name) {
      const std::optional<bool> shown = people.find(name);
      if (!shown.value_or(false)) {
        ++left_out;
        if (!shown) {
          roll.refuse({.kind = "member",
                       .id = std::string(group.id),
                       .name = std::string(group.name),
                       .reason = std::string(name) + " is not among the people"});
        }
        return;
      }
      if (!kept.empty()) kept += '\n';
      kept += name;
    });
    if (left_out > 0) group.members = roll.texts.keep(kept);
  }
}

/// Of members of whom nothing but the name is known.
void leave_out_denied(Roll& roll, const nsscache::RuleSet& local) {
  std::string kept;
  for (Team& group : roll.groups) {
    kept.clear();
    each_line(group.members, [&kept, &local](std::string_view name) {
      const std::uint32_t flags = local.user_flags(name, or_nobodys(0), or_nobodys(0));
      if ((flags & nsscache::kFlagDenied) != 0) return;
      if (!kept.empty()) kept += '\n';
      kept += name;
    });
    if (kept.size() < group.members.size()) group.members = roll.texts.keep(kept);
  }
}

}  // namespace

void resolve(const Settings& settings, const nsscache::RuleSet& local, IdentityMemory& memory,
             Roll& roll) {
  constexpr const char* kLocal = "this node has an account of its own with this name or id";
  leave_reserved_names(settings, roll, Kind::kUser, roll.people);
  leave_reserved_names(settings, roll, Kind::kGroup, roll.groups);
  settle_identities(Kind::kUser, memory, roll, roll.people);
  settle_identities(Kind::kGroup, memory, roll, roll.groups);
  Shown shown(roll.people.size());
  std::erase_if(roll.people, [&](Person& person) {
    const std::uint32_t flags =
        local.user_flags(person.name, or_nobodys(person.uid), or_nobodys(person.gid));
    if ((flags & nsscache::kFlagMasked) != 0) {
      refuse(roll, Kind::kUser, person, kLocal);
      shown.add(person.name, false);
      return true;
    }
    person.denied = (flags & nsscache::kFlagDenied) != 0;
    if (person.denied) person.active = false;
    shown.add(person.name, person.active);
    if (person.active || person.denied || settings.inactive != Inactive::kOmit) return false;
    roll.omitted.push_back(person);
    return true;
  });
  std::erase_if(roll.groups, [&](const Team& group) {
    const bool masked = (local.group_flags(group.name, group.gid) & nsscache::kFlagMasked) != 0;
    if (masked) refuse(roll, Kind::kGroup, group, kLocal);
    return masked;
  });
  const bool people_known =
      settings.has(Map::kPasswd) || settings.has(Map::kShadow) || settings.has(Map::kSshKey);
  if (people_known) {
    leave_known_members(roll, shown);
  } else {
    leave_out_denied(roll, local);
  }
}

}  // namespace roster::mirror
