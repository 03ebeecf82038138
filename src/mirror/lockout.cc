#include "mirror/lockout.h"

#include <algorithm>

#include "base/file.h"
#include "base/log.h"
#include "mirror/files.h"
#include "mirror/map_lines.h"
#include "mirror/pass_state.h"
#include "mirror/roll.h"

namespace roster::mirror {
namespace {

std::string problem_of(std::string_view cause, Map map, const Error& error) {
  log::error("a lockout has no effect on a map",
             {{"cause", cause}, {"map", map_name(map)}, {"error", error.message}});
  return std::string(cause) + " has no effect on the map " + std::string(map_name(map)) + ": " +
         error.message;
}

/// The names that the map passwd has for denied uids.
void add_denied_by_uid(const Settings& settings, const nsscache::LocalRules& local,
                       NameSet& denied) {
  if (local.denied_uids.empty()) return;
  const auto text = read_file(settings.files_of(Map::kPasswd).of(Map::kPasswd), kMapBytesMax);
  if (!text) return;
  each_line(*text, [&](std::string_view line) {
    const std::string_view name = name_in(line);
    const auto found = std::ranges::find(local.denied_uids, number_in(line));
    if (!name.empty() && found != local.denied_uids.end()) denied.emplace(name);
  });
}

}  // namespace

Lockout lock_in_files(const Settings& settings, const NameSet& names, std::string_view cause) {
  Lockout out;
  if (names.empty()) return out;
  MapFiles files(settings);
  for (const Map map : settings.written) {
    const auto staged = files.stage_lockout(map, names);
    if (!staged) {
      files.drop(map);
      out.problems.push_back(problem_of(cause, map, staged.error()));
    } else if (*staged) {
      out.maps.push_back(map);
    }
  }
  for (const auto& [map, error] : files.seal()) {
    out.problems.push_back(problem_of(cause, map, error));
    std::erase(out.maps, map);
  }
  if (out.maps.empty()) return out;
  PassState state = PassState::load(settings.state_file);
  const bool known = state.files == stamps_of_files(settings);
  for (const auto& [map, error] : files.commit()) {
    out.problems.push_back(problem_of(cause, map, error));
  }
  // A deny file, or a server, that becomes what it was does not make the files what they were.
  state.inputs.clear();
  if (known) state.files = stamps_of_files(settings);
  if (auto saved = state.save(settings.state_file); !saved) {
    log::error("the state of the maps is not kept", {{"error", saved.error().message}});
    out.problems.push_back("the state is not kept: " + saved.error().message);
  }
  return out;
}

Lockout lock_denied(const Settings& settings, const nsscache::LocalRules& local) {
  NameSet denied(local.denied_names.begin(), local.denied_names.end());
  if (settings.has(Map::kPasswd)) add_denied_by_uid(settings, local, denied);
  return lock_in_files(settings, denied, "the deny file");
}

}  // namespace roster::mirror
