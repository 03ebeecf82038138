#include "reconcile/failed.h"

namespace roster::reconcile {

void FailedSteps::add(const Step& step) {
  if (step.act != Act::kRemoveMembers) return;
  still_members_.insert(step.members.begin(), step.members.end());
  still_full_.insert(step.id);
}

std::string_view FailedSteps::forbids(const Step& step) const {
  if (step.act == Act::kReactivate && still_members_.contains(step.id)) {
    return "not let in: a membership of theirs that is over could not be taken away";
  }
  if (step.act == Act::kRenameGroup && still_full_.contains(step.id)) {
    return "not renamed: members that it should not have could not be taken out";
  }
  return "";
}

}  // namespace roster::reconcile
