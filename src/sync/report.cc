#include "sync/report.h"

#include <algorithm>

#include "base/unicode.h"

namespace roster::sync {
namespace {

using reconcile::Act;
using reconcile::Counts;
using reconcile::Problem;
using reconcile::Step;

constexpr std::size_t kActWidth = 16;
constexpr std::size_t kNameWidth = 24;

void pad(std::string& line, std::size_t width) {
  line.append(line.size() < width ? width - line.size() : 1, ' ');
}

/// "user name, email, ssh keys"
std::vector<std::string> changes_of(const Step& step) {
  std::vector<std::string> all;
  if (step.changes.user_name) all.emplace_back("user name");
  for (std::size_t i = 0; i < reconcile::kTexts; ++i) {
    if (step.changes.texts[i]) all.emplace_back(name_of(static_cast<reconcile::Text>(i)));
  }
  if (step.changes.ssh_keys) all.emplace_back("ssh keys");
  return all;
}

std::string joined(const std::vector<std::string>& all) {
  std::string out;
  for (const std::string& each : all) out += (out.empty() ? "" : ", ") + each;
  return out;
}

std::string counted(std::size_t n, const std::string& what) {
  return std::to_string(n) + " " + what + (n == 1 ? "" : "s");
}

std::string details_of(const Step& step) {
  switch (step.act) {
    case Act::kDeactivate:
      return "";
    case Act::kRemoveMembers:
      return counted(step.members.size(), "member");
    case Act::kCreateGroup:
    case Act::kAddMembers:
      return counted(step.members.size() + step.new_members.size(), "member");
    case Act::kRenameGroup:
      return "to " + printable(step.new_name);
    case Act::kCreate:
      return step.person.ssh_keys ? counted(step.person.ssh_keys->size(), "ssh key") : "";
    case Act::kUpdate:
    case Act::kReactivate: {
      std::string out = joined(changes_of(step));
      if (step.changes.user_name) out += " (to " + printable(step.new_name) + ")";
      return out;
    }
  }
  CHECK(false);
}

std::string line_of(const Step& step) {
  std::string line = "  " + std::string(name_of(step.act));
  pad(line, 2 + kActWidth);
  line += printable(step.name);
  const std::string details = details_of(step);
  if (!details.empty()) {
    pad(line, 2 + kActWidth + kNameWidth);
    line += details;
  }
  return line + '\n';
}

std::string lines_of(const std::vector<Problem>& problems, std::string_view kind) {
  std::string out;
  for (const Problem& each : problems) {
    out +=
        std::string(kind) + ": " + printable(each.subject) + ": " + printable(each.sentence) + '\n';
  }
  return out;
}

std::string numbers(const Counts& c) {
  std::string out = "people: " + std::to_string(c.people) + " at the source, " +
                    std::to_string(c.held_people) + " of ours at the destination (" +
                    std::to_string(c.held_active) + " active)\n";
  out += "people: " + std::to_string(c.created) + " to create, " + std::to_string(c.updated) +
         " to update, " + std::to_string(c.reactivated) + " to reactivate, " +
         std::to_string(c.deactivated) + " to deactivate\n";
  out += "groups: " + std::to_string(c.groups) + " at the source, " +
         std::to_string(c.groups_created) + " to create, " + std::to_string(c.groups_renamed) +
         " to rename; members: " + std::to_string(c.members_added) + " to add, " +
         std::to_string(c.members_removed) + " to remove\n";
  return out;
}

json::string text_of(std::string_view text) { return json::string(text.data(), text.size()); }

json::array problems_json(const std::vector<Problem>& problems) {
  json::array out;
  for (const Problem& each : problems) {
    out.push_back(
        json::object{{"subject", text_of(each.subject)}, {"sentence", text_of(each.sentence)}});
  }
  return out;
}

json::array texts_json(const std::vector<std::string>& texts) {
  json::array out;
  for (const std::string& each : texts) out.push_back(text_of(each));
  return out;
}

json::object counts_json(const Counts& c) {
  return {{"people", c.people},
          {"groups", c.groups},
          {"held_people", c.held_people},
          {"held_active", c.held_active},
          {"created", c.created},
          {"updated", c.updated},
          {"reactivated", c.reactivated},
          {"deactivated", c.deactivated},
          {"groups_created", c.groups_created},
          {"groups_renamed", c.groups_renamed},
          {"groups_emptied", c.groups_emptied},
          {"members_added", c.members_added},
          {"members_removed", c.members_removed}};
}

json::object step_json(const Step& step) {
  json::object out{{"act", text_of(name_of(step.act))},
                   {"key", text_of(step.key)},
                   {"name", text_of(step.name)}};
  if (!step.id.empty()) out["id"] = text_of(step.id);
  if (!step.new_name.empty()) out["new_name"] = text_of(step.new_name);
  const std::vector<std::string> changes = changes_of(step);
  if (!changes.empty()) out["changes"] = texts_json(changes);
  if (!step.members.empty()) out["members"] = texts_json(step.members);
  if (!step.new_members.empty()) out["new_members"] = texts_json(step.new_members);
  return out;
}

}  // namespace

std::string plan_text(const Prepared& prepared) {
  std::string out;
  for (const reconcile::Stage& stage : prepared.plan.stages) {
    for (const Step& step : stage.steps) out += line_of(step);
  }
  out += lines_of(prepared.plan.problems, "problem");
  out += lines_of(prepared.warnings, "warning");
  return out + numbers(prepared.plan.counts);
}

json::object plan_json(const Prepared& prepared) {
  json::array steps;
  std::size_t stage_number = 0;
  for (const reconcile::Stage& stage : prepared.plan.stages) {
    for (const Step& step : stage.steps) {
      json::object each = step_json(step);
      each["stage"] = stage_number;
      steps.push_back(std::move(each));
    }
    ++stage_number;
  }
  return {{"steps", std::move(steps)},
          {"problems", problems_json(prepared.plan.problems)},
          {"warnings", problems_json(prepared.warnings)},
          {"counts", counts_json(prepared.plan.counts)}};
}

std::string outcome_text(const Prepared& prepared, const Outcome& outcome) {
  std::string out;
  for (const StepFailure& failure : outcome.failures) {
    out += "failed: " + std::string(name_of(failure.step->act)) + " " +
           printable(failure.step->name) + ": " + printable(failure.sentence) + '\n';
  }
  out += lines_of(prepared.plan.problems, "problem");
  out += lines_of(prepared.warnings, "warning");
  if (!outcome.cut_off.empty()) out += "cut off: " + printable(outcome.cut_off) + '\n';
  return out + std::to_string(outcome.done) + " of " + std::to_string(prepared.plan.steps()) +
         " changes made, " + std::to_string(outcome.failures.size()) + " failed, " +
         std::to_string(outcome.not_tried) + " not tried\n" +
         (prepared.plan.steps() == 0 && prepared.plan.problems.empty() ? "nothing to do\n" : "");
}

json::object outcome_json(const Prepared& prepared, const Outcome& outcome) {
  json::object out = plan_json(prepared);
  out.erase("steps");
  json::array failures;
  for (const StepFailure& failure : outcome.failures) {
    json::object each = step_json(*failure.step);
    each["error"] = text_of(failure.sentence);
    failures.push_back(std::move(each));
  }
  out["done"] = outcome.done;
  out["failed"] = std::move(failures);
  out["not_tried"] = outcome.not_tried;
  if (!outcome.cut_off.empty()) out["cut_off"] = text_of(outcome.cut_off);
  return out;
}

}  // namespace roster::sync
