#pragma once

#include <string>
#include <string_view>
#include <unordered_set>

#include "reconcile/plan.h"

namespace roster::reconcile {

/// What of a plan failed, and what must therefore not be done any more, so that a plan in which any
/// step fails leaves a safe state as well.
class FailedSteps {
 public:
  void add(const Step& step);
  /// Why `step` must be left out, as a sentence; empty: it may be done.
  std::string_view forbids(const Step& step) const;

 private:
  std::unordered_set<std::string> still_members_;  // ids of people
  std::unordered_set<std::string> still_full_;     // ids of groups
};

}  // namespace roster::reconcile
