#include "mirror/pass.h"

#include <algorithm>
#include <charconv>
#include <iterator>
#include <utility>

#include "base/encoding.h"
#include "base/file.h"
#include "crypto/hash.h"
#include "mirror/files.h"
#include "mirror/identity_memory.h"
#include "mirror/lockout.h"
#include "mirror/page.h"
#include "mirror/pass_state.h"
#include "mirror/resolve.h"
#include "posix/names.h"

namespace roster::mirror {
namespace {

/// Who is left without keys has lost as much as who is gone: a source that forgets an attribute
/// must not lock a cluster out. Of whom it says that they are not active is locked at once, however
/// many they are: that is no omission, and it can be taken back.
bool is_suspicious(const MapFiles::Written& written) {
  return nsscache::is_landslide(written.before, written.lost) ||
         nsscache::is_landslide(written.open, written.open_gone + written.keyless);
}

/// Whether the server gave nobody, or nobody but those who are not active while others are gone.
bool is_emptied(const MapFiles::Written& written, const Roll& roll) {
  if (written.entries > 0) return false;
  // No group at all is what a small site may have; nobody at all, a list that was asked wrongly.
  if (written.map == Map::kGroup) return written.before > 0;
  return roll.omitted.empty() || written.lost > 0;
}

std::string losses_of(const MapFiles::Written& written) {
  std::string text = "it would ";
  auto add = [&text, first = true](std::size_t count, std::string_view before, std::size_t of,
                                   std::string_view after) mutable {
    if (count == 0) return;
    if (!std::exchange(first, false)) text += ", ";
    text.append(before).append(std::to_string(count)).append(" of ");
    text.append(std::to_string(of)).append(after);
  };
  add(written.lost, "lose ", written.before, " entries");
  add(written.keyless, "take all keys from ", written.open, " people");
  return text;
}

/// Of whom the server says so. Whom this node denies is locked already.
std::vector<Person> inactive_in(const Roll& roll) {
  std::vector<Person> inactive = roll.omitted;
  std::ranges::copy_if(roll.people, std::back_inserter(inactive),
                       [](const Person& person) { return !person.active && !person.denied; });
  return inactive;
}

/// Everything besides the server that the maps depend on.
std::string hash_of_inputs(const Settings& settings, const nsscache::LocalRules& local) {
  std::string text = settings.fingerprint;
  const auto add = [&text](std::string_view part) { text.append(part) += '\n'; };
  for (const auto* names : {&local.masked_names, &local.denied_names}) {
    for (const std::string& name : *names) add(name);
    add("-");
  }
  for (const auto* ids : {&local.masked_ids, &local.denied_uids}) {
    for (const std::uint32_t id : *ids) add(std::to_string(id));
    add("-");
  }
  for (const auto& [first, last] : local.masked_ranges) {
    add(std::to_string(first) + "-" + std::to_string(last));
  }
  add(ROSTER_VERSION);
  return hex_encode(crypto::sha256(text));
}

/// What this node fails by is not the server's fault.
template <typename T>
Result<T> on_this_node(Result<T> result) {
  if (!result) result.error().keyword = "local";
  return result;
}

/// Nothing when it is not one.
std::optional<std::uint32_t> id_in(std::string_view text) {
  std::uint32_t id = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (text.empty() || error != std::errc() || stop != text.data() + text.size()) {
    return std::nullopt;
  }
  return id;
}

/// Of nsscache's files, which know whom ids belong to before there is a memory.
void learn_from_files(const Settings& settings, IdentityMemory& memory) {
  for (const auto& [map, kind] :
       {std::pair{Map::kPasswd, Kind::kUser}, {Map::kGroup, Kind::kGroup}}) {
    if (!settings.has(map)) continue;
    const auto text = read_file(settings.files_of(map).of(map), kMapBytesMax);
    if (!text) continue;
    each_line(*text, [&memory, kind](std::string_view line) {
      const std::size_t name_end = line.find(':');
      const std::size_t id_begin = line.find(':', name_end + 1);
      if (name_end == 0 || id_begin == std::string_view::npos) return;
      // What nsscache let through and we would not belongs to nobody.
      if (!posix::LoginName::parse(line.substr(0, name_end))) return;
      const std::string_view rest = line.substr(id_begin + 1);
      const auto id = id_in(rest.substr(0, rest.find(':')));
      // A clash in there is settled by whoever comes first.
      if (id) (void)memory.claim(kind, {*id, line.substr(0, name_end), ""});
    });
  }
}

Result<IdentityMemory> load_memory(const Settings& settings) {
  const std::filesystem::path path = memory_file(settings);
  auto text = read_file(path, IdentityMemory::Limits().file_bytes);
  if (!text && text.error().code == Code::kNotFound) {
    IdentityMemory memory;
    learn_from_files(settings, memory);
    return memory;
  }
  if (!text) return std::unexpected(text.error());
  if (text->empty())
    return fail(Code::kDataLoss, path.string() + " is empty: put a good copy there");
  auto memory = IdentityMemory::parse(std::move(*text));
  if (!memory) return fail_in(path.string(), memory.error());
  return memory;
}

/// As write_file_atomic(). When it does not succeed, the memory of before is still there.
Result<void> save_memory(const Settings& settings, const IdentityMemory& memory) {
  const std::filesystem::path path = memory_file(settings);
  ASSIGN_OR_RETURN(StagedFile file, StagedFile::create(path));
  RETURN_IF_ERROR(memory.write([&file](std::string_view bytes) { return file.append(bytes); }));
  RETURN_IF_ERROR(file.seal(0600, std::nullopt));
  RETURN_IF_ERROR(file.commit());
  return fsync_directory(path.has_parent_path() ? path.parent_path() : ".");
}

/// "NAME=ID".
Result<void> accept(IdentityMemory& memory, const std::string& text) {
  const std::size_t at = text.find('=');
  const auto id =
      at == std::string::npos ? std::nullopt : id_in(std::string_view(text).substr(at + 1));
  if (!id || at == 0) {
    return fail(Code::kInvalidArgument,
                "--accept-id " + text + ": it is NAME=ID, as in alice=20001");
  }
  memory.accept(std::string_view(text).substr(0, at), *id);
  return {};
}

class Pass {
 public:
  Pass(const Settings& settings, const PassOptions& options, const scim_client::Pause& pause,
       const Clock& clock)
      : settings_(settings), options_(options), pause_(pause), clock_(clock) {}

  PassResult run() {
    const auto begin = std::chrono::steady_clock::now();
    result_.notes = settings_.notes;
    if (auto done = carry_out(); !done) result_.error = std::move(done).error();
    if (source_) result_.traffic = source_->traffic();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    result_.seconds = took.count();
    return std::move(result_);
  }

 private:
  Result<void> carry_out() {
    remove_leftovers(settings_);
    const std::string inputs = hash_of_inputs(settings_, options_.local);
    before_ = PassState::load(settings_.state_file);
    if (options_.obstacle || !is_as_left(inputs)) lock_out();
    if (options_.obstacle) return std::unexpected(*options_.obstacle);
    ASSIGN_OR_RETURN(source_,
                     scim_client::Server::create(server_options(), pause_, options_.interrupt));
    if (is_current(inputs)) return {};
    Result<PassState> reading = read();
    if (!reading) {
      keep_targets();
      return std::unexpected(std::move(reading).error());
    }
    PassState state = std::move(*reading);
    ASSIGN_OR_RETURN(IdentityMemory memory, on_this_node(load_memory(settings_)));
    for (const std::string& text : options_.accepted_ids) RETURN_IF_ERROR(accept(memory, text));
    resolve(settings_, nsscache::RuleSet(options_.local), memory, roll_);
    for (const std::string& pair : memory.unused()) {
      result_.notes.push_back("--accept-id " + pair + " was not needed: nobody claimed it");
    }
    // It has told all that it knows: the maps can have its room.
    if (!memory.changed()) memory = IdentityMemory();
    MapFiles files(settings_);
    stage_maps(files);
    const Result<void> remembered = remember(memory);
    if (!is_whole()) lock_inactive();
    RETURN_IF_ERROR(remembered);
    const bool known = before_.files == stamps_of_files(settings_);
    const bool was_whole = is_whole();
    commit_maps(files);
    if (was_whole && !is_whole()) lock_inactive();  // a file that cannot be replaced
    publish_targets(state);
    result_.people = roll_.people.size();
    result_.groups = roll_.groups.size();
    result_.refused = roll_.refused();
    result_.refusals = roll_.refusals();
    // Files that were left alone may not be what the server has.
    if (!result_.ok() || settings_.written.size() != settings_.maps.size()) {
      if (known) keep_files();
      return {};
    }
    state.inputs = inputs;
    state.files = stamps_of_files(settings_);
    state.report = result_.keep();
    if (auto saved = state.save(settings_.state_file); !saved) {
      result_.notes.push_back("the next pass reads everything: " + saved.error().message);
    }
    return {};
  }

  /// Whether the files are as the last pass that went well left them, and would be again.
  bool is_as_left(const std::string& inputs) const {
    return before_.inputs == inputs && before_.files == stamps_of_files(settings_);
  }

  /// Before the server is asked: it may take its time, or be away.
  void lock_out() {
    note_lockout(lock_denied(settings_, options_.local),
                 "the deny file took effect on the maps that were there:");
    // Also for a lockout that a target did not take when it was made.
    keep_targets();
  }

  /// Of a reading that does not go into all maps: before those that it goes into, where that is
  /// known by then, so that the targets that are made of files see them of one pass.
  void lock_inactive() {
    const std::vector<Person> inactive = inactive_in(roll_);
    NameSet names;
    for (const Person& person : inactive) names.emplace(person.name);
    note_lockout(lock_in_files(settings_, names, "that somebody is not active"),
                 "who is not active is locked in the maps that were there:");
    for (Target* target : options_.targets) lock_in(*target, inactive);
    keep_targets();
  }

  void lock_in(Target& target, const std::vector<Person>& inactive) {
    if (auto locked = target.lock(inactive); !locked) {
      result_.notes.push_back("that somebody is not active has no effect on " +
                              std::string(target.name()) + ": " + locked.error().message);
    }
  }

  void note_lockout(Lockout lockout, std::string note) {
    for (std::string& problem : lockout.problems) result_.notes.push_back(std::move(problem));
    if (lockout.maps.empty()) return;
    for (const Map map : lockout.maps) note.append(" ").append(map_name(map));
    result_.notes.push_back(std::move(note));
    before_ = PassState::load(settings_.state_file);
  }

  /// What was published goes on being so, although the server is not asked, or does not answer.
  /// Only files that a pass has judged, or locked since, and only targets that a pass has filled:
  /// what somebody else wrote is not shown to other readers.
  void keep_targets() {
    if (before_.files != stamps_of_files(settings_)) return;
    for (Target* target : options_.targets) {
      if (mark_of(*target).empty()) continue;
      const std::string name(target->name());
      auto followed = target->follow_files(settings_);
      // What it did not take before, it has now.
      if (followed) result_.targets.erase(name);
      if (!followed) result_.targets[name] = followed.error().message;
    }
  }

  std::string mark_of(const Target& target) const {
    const auto mark = before_.targets.find(std::string(target.name()));
    return mark == before_.targets.end() ? std::string() : mark->second;
  }

  /// Whether the server says that nothing changed, and nothing else did; all is told then.
  bool is_current(const std::string& inputs) {
    if (options_.full || !options_.accepted_ids.empty() || !is_as_left(inputs)) return false;
    for (Target* target : options_.targets) {
      if (!target->is_current(mark_of(*target))) return false;
    }
    if (wants_people() && !source_->is_unchanged(before_.users)) return false;
    if (settings_.has(Map::kGroup) && !source_->is_unchanged(before_.groups)) return false;
    result_.recall(before_.report);
    confirm();
    return true;
  }

  bool wants_people() const {
    return std::ranges::any_of(settings_.maps, [](Map map) { return map != Map::kGroup; });
  }

  void confirm() {
    result_.conditional = true;
    for (Target* target : options_.targets) {
      auto confirmed = target->confirm(settings_);
      if (!confirmed) result_.targets[std::string(target->name())] = confirmed.error().message;
    }
    for (const Map map : settings_.written) {
      MapResult result(map);
      result.outcome = Outcome::kUnchanged;
      result.entries = result_.kept_entries[std::string(map_name(map))];
      result_.maps.push_back(std::move(result));
      stamp(result_.maps.back());
    }
  }

  scim_client::Options server_options() const {
    scim_client::Options options;
    options.url = settings_.server.base_url;
    options.token = settings_.token;
    options.ca_file = settings_.ca_file;
    options.timeout = settings_.server.timeout;
    options.tries = settings_.server.tries;
    options.retry_delay = settings_.server.retry_delay;
    options.cursor_pages_max = settings_.server.cursor_pages_max;
    options.user_agent = "roster-mirror";
    options.url_setting = "scim_base_url";
    options.token_setting = "scim_auth_token";
    options.pages_setting = "scim_max_cursor_pages";
    return options;
  }

  /// All lists, twice when one of them changed while it was read. A server that cannot count gives
  /// the same short list again, and then it counts.
  Result<PassState> read() {
    std::string odd;
    while (true) {
      roll_ = Roll();
      PassState state;
      std::string note;
      bool changed = false;
      // Groups first: their pages are the largest, and the people are not in memory yet.
      if (settings_.has(Map::kGroup)) {
        PageReader pages(settings_, roll_);
        ASSIGN_OR_RETURN(scim_client::Reading reading,
                         source_->read(settings_.groups, [&pages](const std::string& body) {
                           return pages.read_groups(body);
                         }));
        state.groups = std::move(reading.pages);
        note += reading.note;
        changed = reading.changed;
      }
      if (wants_people()) {
        PageReader pages(settings_, roll_);
        ASSIGN_OR_RETURN(scim_client::Reading reading,
                         source_->read(settings_.users, [&pages](const std::string& body) {
                           return pages.read_people(body);
                         }));
        state.users = std::move(reading.pages);
        note += reading.note;
        changed = changed || reading.changed;
      }
      if (!changed && note.empty()) return state;
      if (!changed && note == odd) {
        result_.notes.push_back(note);
        return state;
      }
      if (++rereadings_ > kRereadingsMax) {
        return fail(Code::kUnavailable, "the lists keep changing while they are read " + note);
      }
      odd = note;
    }
  }

  void stage_maps(MapFiles& files) {
    bool people_refused = false;
    // Also those that are not asked for: what they would lose, the groups lose.
    for (const Map map : settings_.maps) {
      MapResult result(map);
      const auto written = files.stage(roll_, map);
      if (!written) {
        files.drop(map);
        result.error = written.error().message;
      } else {
        judge(*written, result);
        if (result.outcome == Outcome::kRefused) files.drop(map);
      }
      people_refused |= map != Map::kGroup && result.outcome == Outcome::kRefused;
      if (std::ranges::find(settings_.written, map) == settings_.written.end()) {
        files.drop(map);
      } else {
        if (result.outcome == Outcome::kPublished) note_locked(*written);
        result_.maps.push_back(std::move(result));
      }
    }
    // Whoever keeps the account keeps the groups.
    for (MapResult& each : result_.maps) {
      if (!people_refused || each.map != Map::kGroup || each.outcome != Outcome::kPublished)
        continue;
      files.drop(each.map);
      each.outcome = Outcome::kRefused;
      each.error = "the people that it goes with are refused: what is there stays";
    }
    note_problems(files.seal());
  }

  /// Some of the files are new. All are judged, so that lockouts reach what is made of them.
  void keep_files() {
    auto stamps = stamps_of_files(settings_);
    if (stamps == before_.files) return;
    before_.inputs.clear();
    before_.files = std::move(stamps);
    if (auto saved = before_.save(settings_.state_file); !saved) {
      result_.notes.push_back("the state is not kept: " + saved.error().message);
    }
  }

  /// Before anybody is served, and not for a reading that is refused: whom an id was published for
  /// is never forgotten, and what was not is not remembered.
  Result<void> remember(const IdentityMemory& memory) {
    if (!memory.changed() || !is_believed()) return {};
    auto saved = on_this_node(save_memory(settings_, memory));
    if (saved) return saved;
    for (MapResult& each : result_.maps) {
      each.outcome = Outcome::kFailed;
      each.error = saved.error().message;
    }
    return saved;
  }

  void commit_maps(MapFiles& files) {
    note_problems(files.commit());
    for (MapResult& each : result_.maps) stamp(each);
  }

  void note_problems(const std::map<Map, Error>& problems) {
    for (MapResult& each : result_.maps) {
      const auto problem = problems.find(each.map);
      if (problem == problems.end()) continue;
      each.outcome = Outcome::kFailed;
      each.error = problem->second.message;
    }
  }

  /// Once a pass, for people to look at.
  void note_locked(const MapFiles::Written& written) {
    if (!nsscache::is_landslide(written.open, written.locked)) return;
    if (std::exchange(locked_noted_, true)) return;
    result_.notes.push_back("the server says that " + std::to_string(written.locked) + " of " +
                            std::to_string(written.open) + " people who had access are not active");
  }

  void judge(const MapFiles::Written& written, MapResult& result) const {
    result.entries = written.entries;
    result.before = written.before;
    result.lost = written.lost;
    result.locked = written.locked;
    result.keyless = written.keyless;
    result.outcome = written.changed ? Outcome::kPublished : Outcome::kUnchanged;
    if (options_.accept_shrink) return;
    const std::string mend = "; if this is right, run it once with --force-write";
    if (is_emptied(written, roll_)) {
      result.error = "the server gave nobody for this map: what is there stays" + mend;
    } else if (!written.counted) {
      result.error =
          "the file that is there cannot be read to its end, so that nobody knows what " +
          std::string("the new one would take away: what is there stays") + mend;
    } else if (written.changed && is_suspicious(written)) {
      result.error = losses_of(written) + ": what is there stays" + mend;
    } else {
      return;
    }
    result.outcome = Outcome::kRefused;
  }

  void stamp(MapResult& result) const {
    if (result.outcome != Outcome::kPublished && result.outcome != Outcome::kUnchanged) return;
    if (auto stamped = write_update_stamp(settings_, result.map, clock_()); !stamped) {
      result.error = stamped.error().message;
    }
  }

  static bool is_good(const MapResult& map) {
    return map.outcome == Outcome::kPublished || map.outcome == Outcome::kUnchanged;
  }
  /// Whether something of the reading goes into a map, or nothing was there to be refused.
  bool is_believed() const {
    return is_whole() || std::ranges::any_of(result_.maps, [](const MapResult& each) {
             return each.outcome == Outcome::kPublished;
           });
  }
  bool is_whole() const { return std::ranges::all_of(result_.maps, is_good); }

  /// Only what is good as a whole: other readers must not be given what the files are refused.
  void publish_targets(PassState& state) {
    for (Target* target : options_.targets) {
      std::string& problem = result_.targets[std::string(target->name())];
      if (!is_whole()) {
        if (problem.empty()) problem = "a map was not written: what is there stays";
        continue;
      }
      auto mark = target->publish(settings_, roll_);
      // What it could not take of a lockout before, it has now.
      problem = mark ? std::string() : mark.error().message;
      if (mark) {
        state.targets[std::string(target->name())] = std::move(*mark);
      } else {
        lock_in(*target, inactive_in(roll_));
      }
    }
  }

  static constexpr int kRereadingsMax = 3;

  const Settings& settings_;
  const PassOptions& options_;
  const scim_client::Pause& pause_;
  const Clock& clock_;
  PassState before_;  // of the last pass that went well
  std::unique_ptr<scim_client::Server> source_;
  Roll roll_;
  int rereadings_ = 0;
  bool locked_noted_ = false;
  PassResult result_;
};

}  // namespace

PassResult run_pass(const Settings& settings, const PassOptions& options,
                    const scim_client::Pause& pause, const Clock& clock) {
  return Pass(settings, options, pause, clock).run();
}

}  // namespace roster::mirror
