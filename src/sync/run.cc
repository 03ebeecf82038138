#include "sync/run.h"

#include <algorithm>
#include <optional>
#include <set>
#include <unordered_set>
#include <utility>

namespace roster::sync {
namespace {

using reconcile::Group;
using reconcile::Person;
using reconcile::Planner;
using reconcile::Problem;
using reconcile::Text;

constexpr int kTries = 3;
constexpr std::size_t kProgressStep = 100;

/// What of a source is meant: everything, or some groups and who is in them.
class Scope {
 public:
  explicit Scope(const std::vector<std::string>& groups)
      : names_(groups.begin(), groups.end()), missing_(groups.begin(), groups.end()) {}

  /// `in_part`: it has more members than these.
  bool takes(const Group& group, bool in_part) {
    if (names_.empty()) return true;
    if (!names_.contains(group.name)) return false;
    missing_.erase(group.name);
    people_.insert(group.members.begin(), group.members.end());
    in_part_ = in_part_ || in_part;
    return true;
  }
  /// Some group could not be read; it may be one of these.
  void miss_one() { missed_ = true; }
  /// Whether somebody may be meant of whom that is not known. From the first person on.
  bool is_unknown() const { return in_part_ || (missed_ && !missing_.empty()); }
  /// Who is locked may be passed on in any case.
  bool takes(const std::string& key, bool active) const {
    return names_.empty() || people_.contains(key) || (!active && is_unknown());
  }
  /// Whether somebody who cannot be read is meant.
  bool keeps(const std::string& key) const {
    return names_.empty() || key.empty() || people_.contains(key) || is_unknown();
  }
  const std::set<std::string>& missing() const { return missing_; }
  bool selects_nothing() const { return !names_.empty() && missing_.size() == names_.size(); }

 private:
  std::unordered_set<std::string> names_;
  std::set<std::string> missing_;
  std::unordered_set<std::string> people_;
  bool in_part_ = false;
  bool missed_ = false;
};

Result<Prepared> try_once(Source& source, Destination& destination, const RunOptions& options,
                          const RandomBytes& random, const Progress& progress) {
  const reconcile::Digester digester(random);
  progress("destination read", 0, 0);
  auto held = destination.read(digester);
  if (!held) return fail_in("destination", std::move(held).error());
  Planner planner(std::move(*held), digester, options.plan);
  Prepared prepared;
  Scope scope(options.groups);
  std::unordered_set<std::string> unreadable_groups;  // keys
  std::size_t people = 0;
  const Intake intake{
      .group =
          [&](Group group) {
            const bool in_part = unreadable_groups.contains(group.key);
            if (scope.takes(group, in_part)) planner.add(std::move(group));
          },
      .person =
          [&](Person person) {
            if (++people % kProgressStep == 0) progress("people read", people, 0);
            if (!scope.takes(person.key, person.active)) return;
            if (!options.homes_and_shells) {
              person.text(Text::kHome).reset();
              person.text(Text::kShell).reset();
            }
            planner.add(std::move(person));
          },
      .keep =
          [&](std::string key, Problem why) {
            if (scope.keeps(key)) planner.keep(std::move(key), std::move(why));
          },
      .keep_group =
          [&](std::string key, Problem why) {
            unreadable_groups.insert(key);
            scope.miss_one();
            planner.keep_group(std::move(key), std::move(why));
          },
      .hide_locks =
          [&](Problem why) {
            prepared.warnings.push_back(why);
            planner.hide_locks(std::move(why));
          },
      .warn = [&](Problem problem) { prepared.warnings.push_back(std::move(problem)); }};
  if (auto read = source.read(intake); !read) return fail_in("source", std::move(read).error());
  progress("people read", people, 0);
  if (scope.is_unknown()) {
    planner.keep("", {"groups", "one of those that are asked for cannot be read whole"});
  } else if (scope.selects_nothing()) {
    return fail(Code::kFailedPrecondition,
                "the source has none of the groups that are asked for: nothing is done");
  }
  for (const std::string& name : scope.missing()) {
    prepared.warnings.push_back({"group " + name, "the source has no group of this name"});
  }
  ASSIGN_OR_RETURN(prepared.plan, std::move(planner).finish());
  return prepared;
}

}  // namespace

Result<Prepared> prepare(Source& source, Destination& destination, const RunOptions& options,
                         const RandomBytes& random, const Progress& progress) {
  for (int attempt = 1;; ++attempt) {
    auto prepared = try_once(source, destination, options, random, progress);
    const bool again = !prepared && prepared.error().keyword == kChanged && attempt < kTries;
    if (!again) return prepared;
  }
}

}  // namespace roster::sync
