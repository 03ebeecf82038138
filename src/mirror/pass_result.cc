#include <algorithm>
#include <string>

#include "base/json.h"
#include "mirror/pass.h"

namespace roster::mirror {
namespace {

constexpr const char* kOkHelp = "Whether the last pass did all that it was asked for";

double seconds_of(Timestamp at) { return static_cast<double>(to_millis(at)) / 1000; }

bool is_good(const MapResult& map) {
  return map.error.empty() &&
         (map.outcome == Outcome::kPublished || map.outcome == Outcome::kUnchanged);
}

json::array to_list(const std::vector<Refusal>& refusals) {
  json::array list;
  for (const Refusal& refusal : refusals) {
    list.push_back(json::object{{"kind", refusal.kind},
                                {"id", refusal.id},
                                {"name", refusal.name},
                                {"reason", refusal.reason}});
  }
  return list;
}

std::size_t count_in(const json::object& object, std::string_view name) {
  return static_cast<std::size_t>(
      std::max<std::int64_t>(0, json::find_int(object, name).value_or(0)));
}

std::string text_in(const json::object& object, std::string_view name) {
  return std::string(json::find_string(object, name).value_or(""));
}

}  // namespace

json::object PassResult::keep() const {
  json::object counts;
  for (const auto& [kind, count] : refused) counts[kind] = count;
  json::object entries;
  for (const MapResult& map : maps) entries[map_name(map.map)] = map.entries;
  return {{"people", people},
          {"groups", groups},
          {"entries", std::move(entries)},
          {"refused", std::move(counts)},
          {"refusals", to_list(refusals)}};
}

void PassResult::recall(const json::object& kept) {
  people = count_in(kept, "people");
  groups = count_in(kept, "groups");
  if (const json::object* entries = json::find_object(kept, "entries")) {
    for (const Map map : kAllMaps) {
      kept_entries[std::string(map_name(map))] = count_in(*entries, map_name(map));
    }
  }
  if (const json::object* counts = json::find_object(kept, "refused")) {
    for (const auto& [kind, count] : *counts) refused[std::string(kind)] = count_in(*counts, kind);
  }
  const json::array* list = json::find_array(kept, "refusals");
  for (const json::value& item : list != nullptr ? *list : json::array()) {
    if (!item.is_object()) continue;
    const json::object& each = item.get_object();
    refusals.push_back({.kind = text_in(each, "kind"),
                        .id = text_in(each, "id"),
                        .name = text_in(each, "name"),
                        .reason = text_in(each, "reason")});
  }
}

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
                      {"lost", map.lost},
                      {"locked", map.locked},
                      {"without_keys", map.keyless}};
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
  out["refusals"] = to_list(refusals);
  json::array note_list;
  for (const std::string& note : notes) note_list.emplace_back(note);
  out["notes"] = std::move(note_list);
  out["requests"] = traffic.requests;
  out["bytes"] = traffic.bytes;
  out["seconds"] = seconds;
  return json::serialize(out);
}

std::string PassResult::to_text() const {
  std::string text;
  const auto add = [&text](std::string_view what, const std::string& outcome) {
    std::string line(what);
    line.resize(std::max<std::size_t>(line.size() + 1, 12), ' ');
    text.append(line).append(outcome).append("\n");
  };
  if (error) add("error", error->message);
  for (const MapResult& map : maps) {
    std::string outcome(outcome_name(map.outcome));
    outcome += ", " + std::to_string(map.entries) + " entries";
    if (!map.error.empty()) outcome += ": " + map.error;
    add(map_name(map.map), outcome);
  }
  for (const auto& [name, problem] : targets) add(name, problem.empty() ? "published" : problem);
  for (const Refusal& refusal : refusals) {
    add("left out", refusal.kind + " " + refusal.name + " (" + refusal.id + "): " + refusal.reason);
  }
  for (const auto& [kind, count] : refused) {
    add("left out", std::to_string(count) + " of kind " + kind + " in all");
  }
  for (const std::string& note : notes) add("note", note);
  return text;
}

void record_failure(Metrics& metrics) { metrics.gauge("roster_mirror_ok", kOkHelp).set(0); }

void PassResult::record(Metrics& metrics, Timestamp at) const {
  const auto set = [&metrics](const char* name, const char* help, double value,
                              const Metrics::Labels& labels = {}) {
    metrics.gauge(name, help, labels).set(value);
  };
  set("roster_mirror_ok", kOkHelp, ok() ? 1 : 0);
  set("roster_mirror_last_pass_timestamp_seconds", "End of the last pass", seconds_of(at));
  set("roster_mirror_pass_seconds", "What the last pass took", seconds);
  set("roster_mirror_pass_requests", "Requests of the last pass",
      static_cast<double>(traffic.requests));
  for (const MapResult& map : maps) {
    const Metrics::Labels labels{{"map", std::string(map_name(map.map))}};
    set("roster_mirror_map_ok", "Whether the map is what the server has", is_good(map) ? 1 : 0,
        labels);
    if (is_good(map)) {
      set("roster_mirror_map_entries", "Entries of the map", static_cast<double>(map.entries),
          labels);
    }
  }
  if (error) return;
  for (const char* kind : {"user", "group", "member", "key"}) {
    const auto count = refused.find(kind);
    set("roster_mirror_refused", "What the server has and the maps have not",
        count == refused.end() ? 0 : static_cast<double>(count->second), {{"kind", kind}});
  }
}

}  // namespace roster::mirror
