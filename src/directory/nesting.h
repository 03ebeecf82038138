#pragma once

#include <cstddef>
#include <unordered_map>
#include <vector>

#include "directory/types.h"
#include "store/database.h"

namespace roster::directory {

struct DirectMembers {
  std::vector<UserN> people;
  std::vector<GroupN> groups;
};
/// Each rising.
Result<DirectMembers> direct_members(store::Tx& tx, GroupN group);

/// Who is in groups, those nested in them included. Groups that nest the same ones are often asked
/// for together: what was read for one is remembered for the next, within bounds. For one request,
/// on one thread.
class Nesting {
 public:
  /// Everybody in a group and below it, rising. Circles are followed once.
  Result<std::vector<UserN>> people(store::Tx& tx, GroupN group);
  /// For what has changed since.
  void forget() { *this = Nesting(); }

 private:
  std::unordered_map<GroupN, DirectMembers> known_;
  std::size_t numbers_ = 0;  // in known_
};

}  // namespace roster::directory
