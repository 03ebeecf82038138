#include "cli/import.h"

#include <CLI/CLI.hpp>
#include <chrono>
#include <iostream>
#include <map>
#include <memory>
#include <set>
#include <thread>
#include <utility>

#include "base/file.h"
#include "base/unicode.h"
#include "cli/commands.h"
#include "cli/progress.h"
#include "cli/table.h"
#include "posix/id_ranges.h"
#include "sync/import_list.h"

namespace roster::cli {
namespace {

using sync::Imported;
using sync::ImportFormat;
using sync::ImportList;

/// What the hub takes in one request.
constexpr std::size_t kEntriesMax = 1000;
constexpr std::size_t kBytesMax = 512 << 10;
/// A hub that is busy or just starts again is asked so often, after 0.25, 0.5, ... seconds.
constexpr int kTriesMax = 6;
constexpr std::chrono::milliseconds kFirstPause{250};

struct Flags {
  ImportFormat format = ImportFormat::kPasswd;
  std::filesystem::path file, group_file;
  std::vector<std::string> match;
  sync::ImportOptions options;
  bool dry_run = false;
  bool skip_clashes = false;
};

/// What became of the list.
struct Outcome {
  std::int64_t reserved = 0, changed = 0, unchanged = 0, skipped = 0;
  json::array clashes;  // as the hub renders them, with file and line
  bool applied = false;
  bool stopped = false;  // in the middle, by a clash that appeared meanwhile
};

json::object entry_json(const ImportList& list, std::size_t position) {
  const Imported& entry = list.entries[position];
  return {{"type", entry.is_group ? "group" : "user"},
          {"name", json::string(entry.name)},
          {"number", entry.number},
          {"place", json::string(list.place(entry.file, entry.line))}};
}

/// As the hub wants it.
json::object wanted(const Imported& entry) {
  json::object o;
  const auto set = [&o](const char* name, const std::string& text) {
    if (!text.empty()) o[name] = json::string(text);
  };
  set(entry.is_group ? "name" : "login", entry.name);
  o[entry.is_group ? "gid" : "uid"] = entry.number;
  if (!entry.is_group) o["gid"] = entry.gid;
  set("gecos", entry.gecos);
  set("home", entry.home);
  set("shell", entry.shell);
  set(entry.is_group ? "displayName" : "userName", entry.user_name.value_or(""));
  set("externalId", entry.external_id);
  set("client", entry.client);
  return o;
}

class Importer {
 public:
  Importer(Hub& hub, const ImportList& list, const Flags& flags)
      : hub_(hub), list_(list), flags_(flags) {}

  /// Judges all, then writes, unless anything clashes. An error leaves `outcome` as far as it came.
  Result<void> run() {
    std::set<std::size_t> left_out;
    for (const sync::ListClash& clash : sync::clashes_within(list_)) {
      json::object owner = entry_json(list_, clash.owner);
      owner["state"] = "import";
      outcome.clashes.push_back(json::object{{"entry", entry_json(list_, clash.entry)},
                                             {"what", json::string(clash.what)},
                                             {"reason", json::string(clash.reason)},
                                             {"owner", std::move(owner)}});
      left_out.insert(clash.entry);
    }
    outcome.skipped = static_cast<std::int64_t>(left_out.size());
    for (std::size_t i = 0; i < list_.entries.size(); ++i) {
      if (!left_out.contains(i)) order_.push_back(i);
    }
    RETURN_IF_ERROR(pass(true));
    if (flags_.dry_run || (!outcome.clashes.empty() && !flags_.skip_clashes)) return {};
    outcome.applied = true;
    if (outcome.reserved + outcome.changed == 0) return {};
    outcome.reserved = outcome.changed = outcome.unchanged = 0;
    std::erase_if(order_, [this](std::size_t i) { return clashed_.contains(i); });
    return pass(false);
  }

  Outcome outcome;

 private:
  Result<void> pass(bool dry_run);
  /// Takes the next entries that fit into one request: groups or people.
  json::object next_batch(std::size_t& at, std::vector<std::size_t>& positions) const;
  Result<json::object> send(const json::object& body);
  void add(const json::object& answer, const std::vector<std::size_t>& positions);

  Hub& hub_;
  const ImportList& list_;
  const Flags& flags_;
  std::vector<std::size_t> order_;  // positions, groups first
  std::set<std::size_t> clashed_;
};

json::object Importer::next_batch(std::size_t& at, std::vector<std::size_t>& positions) const {
  const bool groups = list_.entries[order_[at]].is_group;
  json::array entries;
  std::size_t bytes = 0;
  for (; at < order_.size() && entries.size() < kEntriesMax; ++at) {
    const Imported& entry = list_.entries[order_[at]];
    if (entry.is_group != groups) break;
    json::object o = wanted(entry);
    bytes += json::serialize(o).size() + 1;
    if (!entries.empty() && bytes > kBytesMax) break;
    entries.push_back(std::move(o));
    positions.push_back(order_[at]);
  }
  json::object body;
  body[groups ? "groups" : "people"] = std::move(entries);
  return body;
}

Result<json::object> Importer::send(const json::object& body) {
  auto pause = kFirstPause;
  for (int tries = 1;; ++tries) {
    auto answer = hub_.call_org("POST", "/import", body);
    if (answer || answer.error().code != Code::kUnavailable || tries == kTriesMax) return answer;
    std::this_thread::sleep_for(pause);
    pause *= 2;
  }
}

void Importer::add(const json::object& answer, const std::vector<std::size_t>& positions) {
  const auto count = [&answer](const char* name) {
    return json::find_int(answer, name).value_or(0);
  };
  outcome.reserved += count("reserved");
  outcome.changed += count("changed");
  outcome.unchanged += count("unchanged");
  outcome.skipped += count("skipped");
  const json::array* clashes = json::find_array(answer, "clashes");
  if (clashes == nullptr) return;
  for (const json::value& item : *clashes) {
    if (!item.is_object()) continue;
    json::object clash = item.get_object();
    for (const char* role : {"entry", "owner"}) {
      const json::object* named = json::find_object(clash, role);
      const auto index = named == nullptr ? std::nullopt : json::find_int(*named, "index");
      if (!index) continue;
      if (*index < 0 || static_cast<std::size_t>(*index) >= positions.size()) continue;
      const std::size_t position = positions[static_cast<std::size_t>(*index)];
      if (role == std::string_view("entry")) clashed_.insert(position);
      clash[role] = entry_json(list_, position);
    }
    outcome.clashes.push_back(std::move(clash));
  }
}

Result<void> Importer::pass(bool dry_run) {
  std::set<std::uint32_t> coming;  // groups of the list that do not clash
  ProgressLine line;
  for (std::size_t at = 0; at < order_.size();) {
    std::vector<std::size_t> positions;
    json::object body = next_batch(at, positions);
    body["dry_run"] = dry_run;
    body["skip_clashes"] = flags_.skip_clashes;
    if (dry_run) {
      std::set<std::uint32_t> gids;
      for (const std::size_t i : positions) {
        if (coming.contains(list_.entries[i].gid)) gids.insert(list_.entries[i].gid);
      }
      body["gids"] = json::array(gids.begin(), gids.end());
    }
    ASSIGN_OR_RETURN(const json::object answer, send(body));
    const std::size_t before = outcome.clashes.size();
    add(answer, positions);
    for (const std::size_t i : positions) {
      const Imported& entry = list_.entries[i];
      if (entry.is_group && !clashed_.contains(i)) coming.insert(entry.number);
    }
    if (!dry_run && !flags_.skip_clashes && outcome.clashes.size() > before) {
      outcome.stopped = true;
      return {};
    }
    line.show(dry_run ? "checked" : "imported", at, order_.size());
  }
  return {};
}

std::string who(const json::object& o) {
  const auto text = [&o](const char* name) {
    return std::string(json::find_string(o, name).value_or(""));
  };
  std::string out = text("type") + " " + text("name");
  if (const auto number = json::find_int(o, "number")) out += " (" + std::to_string(*number) + ")";
  const std::string resource = text("userName") + text("displayName");
  if (!resource.empty()) out += ", " + resource;
  const std::string state = text("state");
  if (!state.empty() && state != "import") out += ", " + state;
  return out;
}

void print_clashes(const json::array& clashes, std::ostream& out) {
  Table table({"WHERE", "WHO", "WHAT", "WHY", "WHOSE IT IS"});
  for (const json::value& item : clashes) {
    const json::object& clash = item.get_object();
    const json::object* entry = json::find_object(clash, "entry");
    const json::object* owner = json::find_object(clash, "owner");
    std::string whose;
    if (owner != nullptr) {
      whose = std::string(json::find_string(*owner, "place").value_or(""));
      whose += (whose.empty() ? "" : " ") + who(*owner);
    }
    table.add({entry == nullptr ? "" : std::string(json::find_string(*entry, "place").value_or("")),
               entry == nullptr ? "" : who(*entry),
               std::string(json::find_string(clash, "what").value_or("")),
               std::string(json::find_string(clash, "reason").value_or("")), std::move(whose)});
  }
  out << table.render();
}

void print_text(const ImportList& list, const Outcome& outcome, std::ostream& out) {
  if (!outcome.clashes.empty()) print_clashes(outcome.clashes, out);
  const auto groups = std::ranges::count_if(list.entries, &Imported::is_group);
  out << list.entries.size() - static_cast<std::size_t>(groups) << " people and " << groups
      << " groups read";
  const auto left_out = [&out](std::size_t count, const char* what) {
    if (count > 0) out << "; left out: " << count << ' ' << what;
  };
  left_out(list.outside, "with ids of the system");
  left_out(list.private_groups, "private groups, which come with their people");
  left_out(list.others, "that are neither");
  left_out(list.memberships, "memberships, which the identity provider tells");
  out << '\n'
      << outcome.reserved << (outcome.applied ? " reserved, " : " would be reserved, ")
      << outcome.changed << (outcome.applied ? " changed, " : " would be changed, ")
      << outcome.unchanged << " unchanged, " << outcome.skipped << " clash\n";
  if (outcome.stopped) {
    out << "stopped at a clash that was not there before; run it again to see them all\n";
  } else if (!outcome.applied && !outcome.clashes.empty()) {
    out << "nothing was imported\n";
  }
}

json::object outcome_json(const ImportList& list, const Outcome& outcome) {
  return {{"entries", list.entries.size()},
          {"left_out", json::object{{"system_ids", list.outside},
                                    {"private_groups", list.private_groups},
                                    {"others", list.others},
                                    {"memberships", list.memberships}}},
          {"applied", outcome.applied},
          {"stopped", outcome.stopped},
          {"reserved", outcome.reserved},
          {"changed", outcome.changed},
          {"unchanged", outcome.unchanged},
          {"skipped", outcome.skipped},
          {"clashes", outcome.clashes}};
}

int refuse(const Error& error) {
  std::cerr << "roster: import: " << printable(error.message) << '\n';
  if (error.code == Code::kUnavailable) return 3;
  return error.code == Code::kInvalidArgument ? 2 : 1;
}

Result<ImportList> read_list(const Flags& flags) {
  ImportList list;
  const auto add = [&list, &flags](const std::filesystem::path& path,
                                   bool is_group_file) -> Result<void> {
    if (path.empty()) return {};
    const auto text = read_file(path, sync::kImportFileBytesMax);
    if (!text) return std::unexpected(text.error());
    sync::add_import_text(list, flags.format, path.string(), *text, is_group_file, flags.options);
    return {};
  };
  RETURN_IF_ERROR(add(flags.file, false));
  RETURN_IF_ERROR(add(flags.group_file, true));
  RETURN_IF_ERROR(sync::finish_import(list, flags.options));
  return list;
}

int run(Flags flags, Session& session) {
  if (!flags.match.empty()) {
    const auto has = [&flags](std::string_view name) {
      return std::ranges::find(flags.match, name) != flags.match.end();
    };
    flags.options.match_user_name = has("userName");
    flags.options.match_external_id = has("externalId");
    if (flags.format != sync::ImportFormat::kCsv && !flags.options.match_user_name) {
      return refuse(
          {Code::kInvalidArgument,
           "--match externalId: only CSV has externalIds; everybody would wait for nobody"});
    }
  }
  const auto list = read_list(flags);
  if (!list) return refuse(list.error());
  for (const sync::ImportProblem& problem : list->problems) {
    std::cerr << printable(list->place(problem.file, problem.line) + ": " + problem.sentence)
              << '\n';
  }
  if (list->problem_count > 0) {
    return refuse({Code::kFailedPrecondition,
                   std::to_string(list->problem_count) + " lines cannot be read as they are meant; "
                                                         "nothing was imported",
                   {}});
  }
  auto hub = Hub::connect(session.hub);
  if (!hub) return refuse(hub.error());
  Importer importer(*hub, *list, flags);
  const Result<void> done = importer.run();
  const Outcome& outcome = importer.outcome;
  if (!done) {
    if (outcome.applied) {
      std::cerr << "roster: import: " << outcome.reserved + outcome.changed + outcome.unchanged
                << " of " << list->entries.size() << " are in; run it again to go on\n";
    }
    const int status = refuse(done.error());
    return status == 2 ? 1 : status;
  }
  if (session.output == Output::kJson) {
    session.out << json::serialize(outcome_json(*list, outcome)) << '\n';
  } else {
    print_text(*list, outcome, session.out);
  }
  return outcome.clashes.empty() ? 0 : 1;
}

}  // namespace

void add_import(CLI::App& app, Session& session) {
  CLI::App* import = app.add_subcommand("import", "reserve ids and names that exist elsewhere");
  auto flags = std::make_shared<Flags>();
  static const std::map<std::string, ImportFormat> kFormats{{"passwd", ImportFormat::kPasswd},
                                                            {"ldif", ImportFormat::kLdif},
                                                            {"csv", ImportFormat::kCsv}};
  import->add_option("--format", flags->format, "passwd, ldif or csv")
      ->transform(CLI::CheckedTransformer(kFormats))
      ->required();
  import->add_option("FILE", flags->file, "with the people")->required();
  import->add_option("--group-file", flags->group_file, "with the groups, in the same format");
  import
      ->add_option("--match", flags->match,
                   "what people wait for: userName, externalId; default: both, as far as told")
      ->check(CLI::IsMember({"userName", "externalId"}))
      ->allow_extra_args(false);
  import->add_option("--user-name", flags->options.user_name,
                     "userName of people whose file tells none, of {login}, {uid}, {mail}; "
                     "default {login}");
  import->add_option("--client", flags->options.client,
                     "wait for this client's push only; default: anybody's");
  import
      ->add_option("--id-min", flags->options.id_min,
                   "leave lower ids out: those of the nodes; default 1000")
      ->check(CLI::Range(1U, posix::kIdMax));
  import->add_flag("--private-groups", flags->options.private_groups,
                   "everybody has a private primary group, whatever the file says");
  import->add_flag("--skip-clashes", flags->skip_clashes, "import the others");
  import->add_flag("--dry-run", flags->dry_run, "judge everything and change nothing");
  import->footer(
      "Everything is judged before the first write, and nothing is written when anything clashes.\n"
      "After an interruption the same command goes on. Ids outside of the organization's blocks\n"
      "must be admitted first: roster org set --admit-ids 1000-9999\n"
      "Example:\n"
      "  getent passwd >people; getent group >groups\n"
      "  roster import --format passwd people --group-file groups \\\n"
      "    --user-name '{login}@example.org' --dry-run\n"
      "Exit status: 0 all is there, 1 something clashes or cannot be read (the report says what),\n"
      "2 wrong usage, 3 the hub cannot be reached.");
  import->callback(
      [flags, &session] { session.local = [flags, &session] { return run(*flags, session); }; });
  CLI::App* back = app.add_subcommand("unreserve", "take back what an import reserved in error");
  auto numbers = std::make_shared<std::vector<std::uint32_t>>();
  back->add_option("ID", *numbers, "uids and gids that nobody came for yet")->required();
  back->footer("Example: roster unreserve 1005 1006");
  back->callback([numbers, &session] {
    session.action = [numbers](Hub& hub) -> Result<void> {
      for (const std::uint32_t number : *numbers) {
        RETURN_IF_ERROR(hub.call_org("DELETE", "/identities/" + std::to_string(number)));
      }
      return {};
    };
  });
}

}  // namespace roster::cli
