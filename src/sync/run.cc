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

  bool takes(const Group& group) {
    if (names_.empty()) return true;
    if (!names_.contains(group.name)) return false;
    missing_.erase(group.name);
    people_.insert(group.members.begin(), group.members.end());
    return true;
  }
  bool takes(const std::string& key) const { return names_.empty() || people_.contains(key); }
  bool is_hard() const { return !names_.empty(); }
  const std::set<std::string>& missing() const { return missing_; }
  bool selects_nothing() const { return is_hard() && missing_.size() == names_.size(); }

 private:
  std::unordered_set<std::string> names_;
  std::set<std::string> missing_;
  std::unordered_set<std::string> people_;
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
  std::optional<Problem> unreadable_group;
  std::size_t people = 0;
  const Intake intake{
      .group =
          [&](Group group) {
            if (scope.takes(group)) planner.add(std::move(group));
          },
      .person =
          [&](Person person) {
            if (++people % kProgressStep == 0) progress("people read", people, 0);
            if (!scope.takes(person.key)) return;
            if (!options.homes_and_shells) {
              person.text(Text::kHome).reset();
              person.text(Text::kShell).reset();
            }
            planner.add(std::move(person));
          },
      .keep = [&](std::string key, Problem why) { planner.keep(std::move(key), std::move(why)); },
      .keep_group =
          [&](std::string key, Problem why) {
            if (!unreadable_group) unreadable_group = why;
            planner.keep_group(std::move(key), std::move(why));
          },
      .hide_locks = [&](Problem why) { planner.hide_locks(std::move(why)); },
      .warn = [&](Problem problem) { prepared.warnings.push_back(std::move(problem)); }};
  if (auto read = source.read(intake); !read) return fail_in("source", std::move(read).error());
  progress("people read", people, 0);
  if (unreadable_group && scope.is_hard() && !scope.missing().empty()) {
    return fail(Code::kFailedPrecondition,
                "source: " + unreadable_group->subject + ": " + unreadable_group->sentence +
                    ": it may be the group " + *scope.missing().begin() +
                    ", whose people would be locked. Nothing was changed");
  }
  if (scope.selects_nothing()) {
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
