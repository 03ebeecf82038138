#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "reconcile/plan.h"
#include "sync/destination.h"
#include "sync/source.h"

namespace roster::sync {

struct RunOptions {
  /// Names of groups: they, and who is in one of them, are all there is. Empty: everything.
  std::vector<std::string> groups;
  /// Carries home directories and login shells, too.
  bool homes_and_shells = false;
  reconcile::PlanOptions plan;
};

/// How far a run is: "people read", 1200, 0 (unknown) or the whole.
using Progress = std::function<void(std::string_view what, std::size_t done, std::size_t whole)>;

/// A run that can begin.
struct Prepared {
  reconcile::Plan plan;
  std::vector<reconcile::Problem> warnings;  // nothing wrong with the plan
};

/// Reads both sides and plans. Lists that change while they are read are read again, at most twice.
/// kFailedPrecondition when the source shrinks suspiciously, or a group scope selects nothing.
Result<Prepared> prepare(Source& source, Destination& destination, const RunOptions& options,
                         const RandomBytes& random, const Progress& progress);

}  // namespace roster::sync
