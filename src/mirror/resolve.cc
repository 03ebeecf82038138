#include "mirror/resolve.h"

#include <algorithm>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

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

/// Resources with the same id, name or number as one before. Of those that a list brings twice, the
/// later one is newer.
template <typename Item>
std::vector<Item> latest_of_each(std::vector<Item> items) {
  std::unordered_map<std::string_view, std::size_t> at;
  at.reserve(items.size());
  std::vector<Item> out;
  out.reserve(items.size());
  for (Item& item : items) {
    const auto [known, made] = at.try_emplace(item.id, out.size());
    if (made) {
      out.push_back(item);
    } else {
      out[known->second] = item;
    }
  }
  return out;
}

struct Rivals {
  std::unordered_map<std::string_view, int> names;
  std::unordered_map<std::uint32_t, int> numbers;
};

template <typename Item>
Rivals rivals_of(const std::vector<Item>& items) {
  Rivals rivals;
  rivals.names.reserve(items.size());
  rivals.numbers.reserve(items.size());
  for (const Item& item : items) {
    ++rivals.names[item.name];
    if (number_of(item) != 0) ++rivals.numbers[number_of(item)];
  }
  return rivals;
}

/// Numbers each, in the order of the list. Those who share a name or a number: whoever had both
/// before goes on with them, and nobody when nobody had.
template <typename Item>
void settle_identities(Kind kind, IdentityMemory& memory, Roll& roll, std::vector<Item>& items) {
  items = latest_of_each(std::move(items));
  const Rivals rivals = rivals_of(items);
  std::erase_if(items, [&](Item& item) {
    const bool numbered = number_of(item) != 0;
    const bool contested =
        rivals.names.at(item.name) > 1 || (numbered && rivals.numbers.at(number_of(item)) > 1);
    if (contested && !(numbered && memory.knows(kind, number_of(item), item.name, item.id))) {
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

void leave_known_members(Roll& roll, const std::unordered_set<std::string_view>& shown,
                         const std::unordered_set<std::string_view>& hidden) {
  std::string kept;
  for (Team& group : roll.groups) {
    kept.clear();
    std::size_t left_out = 0;
    each_line(group.members, [&](std::string_view name) {
      if (!shown.contains(name)) {
        ++left_out;
        if (!hidden.contains(name)) {
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
  std::unordered_set<std::string_view> shown;
  std::unordered_set<std::string_view> hidden;  // there, and not to be in any group
  shown.reserve(roll.people.size());
  std::erase_if(roll.people, [&](Person& person) {
    const std::uint32_t flags =
        local.user_flags(person.name, or_nobodys(person.uid), or_nobodys(person.gid));
    if ((flags & nsscache::kFlagMasked) != 0) {
      refuse(roll, Kind::kUser, person, kLocal);
      hidden.insert(person.name);
      return true;
    }
    if ((flags & nsscache::kFlagDenied) != 0) {
      person.active = false;
      person.denied = true;
      hidden.insert(person.name);
      return false;
    }
    (person.active ? shown : hidden).insert(person.name);
    return !person.active && settings.inactive == Inactive::kOmit;
  });
  std::erase_if(roll.groups, [&](const Team& group) {
    const bool masked = (local.group_flags(group.name, group.gid) & nsscache::kFlagMasked) != 0;
    if (masked) refuse(roll, Kind::kGroup, group, kLocal);
    return masked;
  });
  const bool people_known =
      settings.has(Map::kPasswd) || settings.has(Map::kShadow) || settings.has(Map::kSshKey);
  if (people_known) {
    leave_known_members(roll, shown, hidden);
  } else {
    leave_out_denied(roll, local);
  }
}

}  // namespace roster::mirror
