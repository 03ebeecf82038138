#include <string>

#include "base/json.h"
#include "mirror/pass.h"

namespace roster::mirror {
namespace {

double seconds_of(Timestamp at) { return static_cast<double>(to_millis(at)) / 1000; }

/// A metric of one line, or of one for each value of a label.
class MetricsText {
 public:
  void describe(std::string_view name, std::string_view type, std::string_view help) {
    text_.append("# HELP ").append(name).append(" ").append(help).append("\n");
    text_.append("# TYPE ").append(name).append(" ").append(type).append("\n");
  }
  void add(std::string_view name, std::string_view label, std::string_view value, double number) {
    text_.append(name);
    if (!label.empty()) {
      text_.append("{").append(label).append("=\"").append(value).append("\"}");
    }
    text_.append(" ").append(json::serialize(json::value(number))).append("\n");
  }
  std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

bool is_good(const MapResult& map) {
  return map.error.empty() &&
         (map.outcome == Outcome::kPublished || map.outcome == Outcome::kUnchanged);
}

}  // namespace

std::string_view outcome_name(Outcome outcome) {
  switch (outcome) {
    case Outcome::kPublished:
      return "published";
    case Outcome::kUnchanged:
      return "unchanged";
    case Outcome::kRefused:
      return "refused";
    case Outcome::kFailed:
      return "failed";
  }
  return "failed";
}

bool PassResult::ok() const {
  if (error) return false;
  for (const MapResult& map : maps) {
    if (!is_good(map)) return false;
  }
  for (const auto& [name, problem] : targets) {
    if (!problem.empty()) return false;
  }
  return true;
}

std::string PassResult::to_json(Timestamp at) const {
  json::object out{{"at", format_rfc3339(at)}, {"ok", ok()}, {"conditional", conditional}};
  if (error) out["error"] = error->message;
  json::object map_list;
  for (const MapResult& map : maps) {
    json::object each{{"outcome", outcome_name(map.outcome)},
                      {"entries", map.entries},
                      {"before", map.before},
                      {"lost", map.lost}};
    if (!map.error.empty()) each["error"] = map.error;
    map_list[map_name(map.map)] = std::move(each);
  }
  out["maps"] = std::move(map_list);
  json::object target_list;
  for (const auto& [name, problem] : targets) {
    target_list[name] = problem.empty() ? json::value("published") : json::value(problem);
  }
  out["targets"] = std::move(target_list);
  out["people"] = people;
  out["groups"] = groups;
  json::object counts;
  for (const auto& [kind, count] : refused) counts[kind] = count;
  out["refused"] = std::move(counts);
  json::array list;
  for (const Refusal& refusal : refusals) {
    list.push_back(json::object{{"kind", refusal.kind},
                                {"id", refusal.id},
                                {"name", refusal.name},
                                {"reason", refusal.reason}});
  }
  out["refusals"] = std::move(list);
  json::array note_list;
  for (const std::string& note : notes) note_list.emplace_back(note);
  out["notes"] = std::move(note_list);
  out["requests"] = traffic.requests;
  out["bytes"] = traffic.bytes;
  out["seconds"] = seconds;
  return json::serialize(out);
}

std::string PassResult::to_metrics(Timestamp at) const {
  MetricsText text;
  text.describe("roster_mirror_ok", "gauge",
                "Whether the last pass did all that it was asked for.");
  text.add("roster_mirror_ok", "", "", ok() ? 1 : 0);
  text.describe("roster_mirror_last_pass_timestamp_seconds", "gauge", "End of the last pass.");
  text.add("roster_mirror_last_pass_timestamp_seconds", "", "", seconds_of(at));
  text.describe("roster_mirror_pass_seconds", "gauge", "What the last pass took.");
  text.add("roster_mirror_pass_seconds", "", "", seconds);
  text.describe("roster_mirror_requests", "gauge", "Requests of the last pass.");
  text.add("roster_mirror_requests", "", "", static_cast<double>(traffic.requests));
  text.describe("roster_mirror_map_ok", "gauge", "Whether the map is what the server has.");
  for (const MapResult& map : maps) {
    text.add("roster_mirror_map_ok", "map", map_name(map.map), is_good(map) ? 1 : 0);
  }
  if (!conditional && !error) {
    text.describe("roster_mirror_map_entries", "gauge", "Entries of the map.");
    for (const MapResult& map : maps) {
      text.add("roster_mirror_map_entries", "map", map_name(map.map),
               static_cast<double>(map.entries));
    }
    text.describe("roster_mirror_refused", "gauge", "What the server has and the maps have not.");
    for (const auto& [kind, count] : refused) {
      text.add("roster_mirror_refused", "kind", kind, static_cast<double>(count));
    }
  }
  return text.take();
}

}  // namespace roster::mirror
