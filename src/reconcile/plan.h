#pragma once

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "reconcile/directory.h"
#include "reconcile/held.h"

namespace roster::reconcile {

enum class Act {
  kDeactivate,  // active: false, nothing else
  kRemoveMembers,
  kUpdate,  // what `changes` says; never active: true
  kCreate,
  kReactivate,   // active: true, and what `changes` says, in one request
  kCreateGroup,  // with its members
  kRenameGroup,
  kAddMembers,
};
/// "deactivate", "remove members", ...
std::string_view name_of(Act act);

struct Changes {
  bool user_name = false;
  std::bitset<kTexts> texts = {};
  bool ssh_keys = false;
  bool any() const { return user_name || texts.any() || ssh_keys; }
  bool operator==(const Changes&) const = default;
};

/// One request to the destination.
struct Step {
  Act act{};
  std::string id;        // at the destination; empty of what is created
  std::string key;       // of the person or group
  std::string name;      // userName or displayName: as it is, or of a creation as it will be
  std::string new_name;  // kRenameGroup; of a person's step with changes.user_name
  Changes changes = {};
  Person person;                         // of kCreate, kUpdate and kReactivate: the values
  std::vector<std::string> members;      // ids of people at the destination
  std::vector<std::string> new_members;  // kCreateGroup, kAddMembers: keys of people created before
  std::vector<std::string> stay;         // kRemoveMembers, kAddMembers: ids of the other members
};

/// Steps that do not depend on each other. A stage begins when the one before it is over.
struct Stage {
  std::vector<Step> steps;
};

struct Counts {
  std::size_t people = 0;  // that the source tells of and that are in scope
  std::size_t groups = 0;
  std::size_t held_people = 0;  // of ours at the destination, deactivated ones included
  std::size_t held_active = 0;
  std::size_t created = 0, updated = 0, reactivated = 0, deactivated = 0;
  std::size_t groups_created = 0, groups_renamed = 0, groups_emptied = 0;
  std::size_t members_added = 0, members_removed = 0;
};

/// What leads from what the destination has to what the source tells.
///
/// Any part of the plan from its beginning leaves a safe state: whoever has a key, a membership or
/// an open account there had it before or shall have it, because what is taken away comes first,
/// and nobody is let in before their old keys and memberships are gone.
struct Plan {
  std::vector<Stage> stages;
  std::vector<Problem> problems;
  Counts counts;

  std::size_t steps() const;
};

struct PlanOptions {
  /// When more people than both vanish, or lose all keys, or more memberships are taken away, or
  /// all of three or more, the plan is refused unless `accept_shrink`: the source is more likely
  /// broken than so much gone at once. Whom it says to be inactive is not counted.
  std::size_t shrink_people_max = 10;
  std::size_t shrink_percent_max = 20;
  bool accept_shrink = false;
  /// When more of those who are locked at the destination than both would be let in again, they
  /// stay locked unless this is set, and the plan says so: the source has more likely lost its
  /// locks than let so many in at once. Of a source that hides who is locked (Planner::hide_locks),
  /// anybody who returns stays locked, and nobody is created when they are more than both, beside
  /// those who are there.
  bool accept_return = false;
};

/// Makes a plan. People and groups are given one by one, so that only what changes is kept.
class Planner {
 public:
  Planner(Held held, Digester digester, PlanOptions options);
  ~Planner();
  Planner(Planner&&) noexcept;

  /// In any order. A key that comes twice, or an empty one, is a problem of the plan. Whoever is
  /// not active may lack a name: they are locked.
  void add(Person person);
  void add(Group group);
  /// Somebody whose record cannot be read now: whatever the destination has of them stays. With an
  /// empty key it may be anybody: then nobody is taken for gone.
  void keep(std::string key, Problem why);
  /// A group that is added as well has those members at least: nobody is taken out of it.
  void keep_group(std::string key, Problem why);
  /// The source should show who is locked, and shows it of nobody: whoever is locked at the
  /// destination stays so. `why` becomes a problem of the plan when that concerns somebody.
  void hide_locks(Problem why);

  /// kFailedPrecondition when the plan shrinks the destination suspiciously; the sentence has the
  /// numbers. Once, at the end.
  Result<Plan> finish() &&;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace roster::reconcile
