#include "mirror/pass.h"

#include <algorithm>
#include <utility>

#include "base/encoding.h"
#include "base/file.h"
#include "crypto/hash.h"
#include "mirror/files.h"
#include "mirror/identity_memory.h"
#include "mirror/pass_state.h"
#include "mirror/resolve.h"

namespace roster::mirror {
namespace {

constexpr std::size_t kLostMin = 10;
constexpr std::size_t kLostPercent = 20;

bool is_suspicious(const MapFiles::Written& written) {
  return written.lost >= kLostMin && written.lost * 100 > written.before * kLostPercent;
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

std::filesystem::path memory_path(const Settings& settings) {
  return settings.state_file.string() + ".ids";
}

Result<IdentityMemory> load_memory(const std::filesystem::path& path) {
  const auto text = read_file(path, IdentityMemory::kFileBytesMax);
  if (!text && text.error().code == Code::kNotFound) return IdentityMemory();
  if (!text) return std::unexpected(text.error());
  auto memory = IdentityMemory::parse(*text);
  if (!memory) return fail_in(path.string(), memory.error());
  return memory;
}

class Pass {
 public:
  Pass(const Settings& settings, const PassOptions& options, const Pause& pause, const Clock& clock)
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
    ASSIGN_OR_RETURN(source_, Source::create(settings_, pause_));
    if (is_current(inputs)) {
      confirm();
      return {};
    }
    ASSIGN_OR_RETURN(PassState state, read());
    ASSIGN_OR_RETURN(IdentityMemory memory, load_memory(memory_path(settings_)));
    for (const std::uint32_t id : options_.accepted_ids) memory.accept(id);
    resolve(settings_, nsscache::RuleSet(options_.local), memory, roll_);
    result_.people = roll_.people.size();
    result_.groups = roll_.groups.size();
    result_.refused = roll_.refused();
    result_.refusals = roll_.refusals();
    // Before anybody is served: an id that was published is never forgotten.
    if (memory.changed()) {
      RETURN_IF_ERROR(write_file_atomic(memory_path(settings_), memory.save(), 0600));
    }
    RETURN_IF_ERROR(write_maps());
    publish_targets();
    if (!result_.ok()) return {};
    state.inputs = inputs;
    state.files = stamps_of_files(settings_);
    return state.save(settings_.state_file);
  }

  /// Whether the server says that nothing changed, and nothing else did.
  bool is_current(const std::string& inputs) {
    if (options_.full || !options_.accepted_ids.empty()) return false;
    const PassState state = PassState::load(settings_.state_file);
    if (state.inputs != inputs || state.files != stamps_of_files(settings_)) return false;
    for (Target* target : options_.targets) {
      if (!target->is_current()) return false;
    }
    if (wants_people()) {
      if (!source_->is_unchanged(state.users)) return false;
    }
    return !settings_.has(Map::kGroup) || source_->is_unchanged(state.groups);
  }

  bool wants_people() const {
    return std::ranges::any_of(settings_.maps, [](Map map) { return map != Map::kGroup; });
  }

  void confirm() {
    result_.conditional = true;
    for (Target* target : options_.targets) target->confirm();
    for (const Map map : settings_.maps) {
      MapResult result(map);
      result.outcome = Outcome::kUnchanged;
      result_.maps.push_back(std::move(result));
      stamp(result_.maps.back());
    }
  }

  /// All lists, twice when one of them changed while it was read. A server that cannot count gives
  /// the same short list again, and then it counts.
  Result<PassState> read() {
    std::string odd;
    while (true) {
      roll_ = Roll();
      PageReader pages(settings_, roll_);
      PassState state;
      std::string note;
      if (wants_people()) {
        ASSIGN_OR_RETURN(Reading reading,
                         source_->read(settings_.users, [&pages](std::string_view body) {
                           return pages.read_people(body);
                         }));
        state.users = std::move(reading.pages);
        note += reading.note;
      }
      if (settings_.has(Map::kGroup)) {
        ASSIGN_OR_RETURN(Reading reading,
                         source_->read(settings_.groups, [&pages](std::string_view body) {
                           return pages.read_groups(body);
                         }));
        state.groups = std::move(reading.pages);
        note += reading.note;
      }
      if (note.empty()) return state;
      if (note == odd) {
        result_.notes.push_back(note);
        return state;
      }
      if (++rereadings_ > kRereadingsMax) {
        return fail(Code::kUnavailable, note + ": the list keeps changing while it is read");
      }
      odd = note;
    }
  }

  Result<void> write_maps() {
    MapFiles files(settings_);
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
      result_.maps.push_back(std::move(result));
    }
    auto committed = files.commit();
    for (MapResult& each : result_.maps) {
      if (!committed && each.outcome == Outcome::kPublished) {
        each.outcome = Outcome::kFailed;
        each.error = committed.error().message;
      }
      stamp(each);
    }
    return {};
  }

  void judge(const MapFiles::Written& written, MapResult& result) const {
    result.entries = written.entries;
    result.before = written.before;
    result.lost = written.lost;
    result.outcome = written.changed ? Outcome::kPublished : Outcome::kUnchanged;
    if (options_.accept_shrink) return;
    const std::string mend = "; if this is right, run it once with --force-write";
    // No group at all is what a small site may have; nobody at all, a list that was asked wrongly.
    if (written.entries == 0 && (written.map != Map::kGroup || written.before > 0)) {
      result.error = "the server gave nobody for this map: what is there stays" + mend;
    } else if (written.changed && is_suspicious(written)) {
      result.error = "it would lose " + std::to_string(written.lost) + " of " +
                     std::to_string(written.before) + " entries: what is there stays" + mend;
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

  /// Only what is good as a whole: other readers must not be given what the files are refused.
  void publish_targets() {
    const bool whole = std::ranges::all_of(result_.maps, [](const MapResult& each) {
      return each.outcome == Outcome::kPublished || each.outcome == Outcome::kUnchanged;
    });
    for (Target* target : options_.targets) {
      std::string& problem = result_.targets[std::string(target->name())];
      if (!whole) {
        problem = "a map was not written: what is there stays";
      } else if (auto published = target->publish(settings_, roll_); !published) {
        problem = published.error().message;
      }
    }
  }

  static constexpr int kRereadingsMax = 3;

  const Settings& settings_;
  const PassOptions& options_;
  const Pause& pause_;
  const Clock& clock_;
  std::unique_ptr<Source> source_;
  Roll roll_;
  int rereadings_ = 0;
  PassResult result_;
};

}  // namespace

PassResult run_pass(const Settings& settings, const PassOptions& options, const Pause& pause,
                    const Clock& clock) {
  return Pass(settings, options, pause, clock).run();
}

}  // namespace roster::mirror
