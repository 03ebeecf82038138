#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/metrics.h"
#include "base/result.h"
#include "base/time.h"
#include "mirror/roll.h"
#include "mirror/settings.h"
#include "nsscache/publisher.h"
#include "scim_client/interrupt.h"
#include "scim_client/server.h"

namespace roster::mirror {

/// Where a reading goes besides the files: the node's mapped cache, Kubernetes.
class Target {
 public:
  virtual ~Target() = default;
  virtual std::string_view name() const = 0;
  /// Whether it still has what a pass gave it that ended with this mark; none: no pass did.
  virtual bool is_current(const std::string& mark) = 0;
  /// What it cannot take is refused in `roll`. The mark of what it has now.
  virtual Result<std::string> publish(const Settings& settings, Roll& roll) = 0;
  /// The server was asked, and nothing has changed: what somebody did to the target is mended.
  virtual Result<void> confirm(const Settings& settings) = 0;
  /// The server was not asked: makes it what the files are, if it is made of them.
  virtual Result<void> follow_files(const Settings& settings) = 0;
  /// The reading as a whole goes nowhere: whom it says not to be active lose their access all the
  /// same, unless it is made of the files, which see to that.
  virtual Result<void> lock(const std::vector<Person>& inactive) = 0;
};

struct PassOptions {
  bool full = false;           // read everything although the server says that nothing changed
  bool accept_shrink = false;  // maps may become empty, or much smaller
  std::vector<std::string> accepted_ids{};  // "NAME=ID"
  nsscache::LocalRules local{};
  std::vector<Target*> targets{};
  /// Why the server cannot be asked, such as a configuration that cannot be read: whom `local`
  /// denies is locked all the same, and the pass ends with this.
  std::optional<Error> obstacle{};
  scim_client::Interrupt* interrupt =
      nullptr;  // ends a request in flight, when scim_client::Pause would say so
};

enum class Outcome : std::uint8_t {
  kPublished,  // the files are new
  kUnchanged,  // the files are as they were
  kRefused,    // it would take away too much
  kFailed,
};
std::string_view outcome_name(Outcome outcome);

struct MapResult {
  explicit MapResult(Map the_map) : map(the_map) {}

  Map map;
  Outcome outcome = Outcome::kFailed;
  std::size_t entries = 0;
  std::size_t before = 0;
  std::size_t lost = 0;     // of these, without a word of the server
  std::size_t locked = 0;   // who were not, and are not active
  std::size_t keyless = 0;  // who had keys
  std::string error;        // empty when all is well
};

/// What a pass did, for people, programs and the exit status.
struct PassResult {
  std::optional<Error> error;  // the server could not be read, or nothing could be written
  bool conditional = false;    // the server said that nothing changed
  std::vector<MapResult> maps;
  std::map<std::string, std::string> targets;  // by name: what went wrong, empty when nothing did
  std::size_t people = 0;
  std::size_t groups = 0;
  std::map<std::string, std::size_t, std::less<>> refused;  // by kind
  std::vector<Refusal> refusals;
  std::vector<std::string> notes;
  scim_client::Traffic traffic;
  double seconds = 0;
  std::map<std::string, std::size_t> kept_entries;  // by map, of the last pass that read

  /// What a pass that reads nothing has to tell all the same, and back.
  json::object keep() const;
  void recall(const json::object& kept);

  /// Everything that was asked for is in place.
  bool ok() const;
  std::string to_json(Timestamp at) const;  // one line
  std::string to_text() const;              // a line for each map, target and note
  /// As gauges roster_mirror_*.
  void record(Metrics& metrics, Timestamp at) const;
};

/// A pass that could not begin: its configuration is wrong, or the node's own files are.
void record_failure(Metrics& metrics);

/// Locks whom `local` denies in what is there, then reads the server once and writes all maps from
/// that reading. Never half: a map whose new content is refused or cannot be written leaves its
/// files as they are, but that whom the reading says not to be active are locked in them, and the
/// result says so. The caller holds the lock.
PassResult run_pass(const Settings& settings, const PassOptions& options,
                    const scim_client::Pause& pause, const Clock& clock);

}  // namespace roster::mirror
