#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "reconcile/plan.h"
#include "sync/destination.h"
#include "sync/run.h"

namespace roster::sync {

/// A plan for people: a line for each step, then what is wrong, then the numbers. Control
/// characters of names become '?'.
std::string plan_text(const Prepared& prepared);
/// The same for programs; docs/sync.md has the members.
json::object plan_json(const Prepared& prepared);

/// What became of it.
std::string outcome_text(const Prepared& prepared, const Outcome& outcome);
json::object outcome_json(const Prepared& prepared, const Outcome& outcome);

}  // namespace roster::sync
