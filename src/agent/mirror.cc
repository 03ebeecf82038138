#include "agent/mirror.h"

#include <malloc.h>

#include <algorithm>
#include <cstdlib>
#include <unordered_map>
#include <utility>

#include "agent/errors.h"
#include "agent/local_rules.h"
#include "agent/secrets.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "feed/messages.h"
#include "mirror/files.h"
#include "mirror/lock.h"
#include "mirror/pass_state.h"
#include "posix/flatten.h"
#include "posix/node.h"
#include "posix/ssh_key.h"

namespace roster::agent {
namespace {

using mirror::Person;
using mirror::Roll;
using mirror::Settings;
using mirror::Team;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::size_t kConfBytesMax = 1 << 20;
/// What the images of such a cache are labelled with.
constexpr const char* kOrg = "scim";
constexpr const char* kView = "mirror";
/// What --publish may name.
constexpr std::string_view kCache = "cache";
constexpr std::string_view kKubernetes = "kubernetes";
/// So many passes may be left out before it is a failure: somebody else may be at it.
constexpr unsigned kLeftOutMax = 3;

/// The node's mapped cache, as a snapshot.
class CacheTarget final : public mirror::Target {
 public:
  CacheTarget(NodeCache& cache, Clock clock) : cache_(cache), clock_(std::move(clock)) {}

  std::string_view name() const override { return "cache"; }
  bool is_current(const std::string& mark) override {
    return cache_.generation() > 0 && !mark.empty() && cache_.view().cursor == mark;
  }
  Result<void> confirm(const Settings&) override {
    cache_.touch_contact(cache_.openings(), std::nullopt);
    return {};
  }
  /// Local rules have their own way into the cache.
  Result<void> follow_files(const Settings&) override { return {}; }

  /// As they are published, but locked.
  Result<void> lock(const std::vector<Person>& inactive) override {
    std::vector<posix::NodeUser> leavers;
    for (const Person& person : inactive) {
      auto user = cache_.find_user(person.name);
      if (!user || user->uid != person.uid || user->locked) continue;
      user->locked = true;
      user->groups.clear();
      leavers.push_back(std::move(*user));
    }
    if (leavers.empty()) return {};
    RETURN_IF_ERROR(cache_.begin(feed::Kind::kDelta));
    Result<void> collected;
    for (posix::NodeUser& user : leavers) {
      if (collected) collected = cache_.apply(std::move(user));
    }
    // With no pass's mark: the next one that goes well publishes everything.
    if (collected) collected = cache_.complete("", kView, true);
    if (!collected) {
      cache_.abort();
      return collected;
    }
    RETURN_IF_ERROR(cache_.publish());
    return {};
  }

  Result<std::string> publish(const Settings& settings, Roll& roll) override {
    const Seq seq{static_cast<std::uint64_t>(to_millis(clock_()))};
    std::string mark = std::to_string(seq.value);
    RETURN_IF_ERROR(cache_.begin(feed::Kind::kSnapshot));
    auto collected = collect(roll, seq);
    // Whether it shrinks too much was judged with the files.
    if (collected) collected = cache_.complete(mark, kView, true);
    if (!collected) {
      cache_.abort();
      return std::unexpected(collected.error());
    }
    RETURN_IF_ERROR(cache_.publish());
    RETURN_IF_ERROR(confirm(settings));
    return mark;
  }

 private:
  /// People and groups have one space of names and of ids here, as everywhere in Roster: people
  /// win.
  Result<void> collect(Roll& roll, Seq seq) {
    std::unordered_map<std::string_view, const Person*> by_name;
    std::unordered_map<std::uint32_t, const Person*> by_uid;
    for (const Person& person : roll.people) {
      by_name.emplace(person.name, &person);
      by_uid.emplace(person.uid, &person);
    }
    std::unordered_map<std::string_view, std::vector<std::uint64_t>> groups_of;
    for (const Team& group : roll.groups) {
      const auto named = by_name.find(group.name);
      const auto numbered = by_uid.find(group.gid);
      if (named != by_name.end() && named->second->uid == group.gid &&
          named->second->gid == group.gid &&
          (group.members.empty() || group.members == group.name)) {
        continue;  // the person's own group: it is there with the person
      }
      if (named != by_name.end() || numbered != by_uid.end()) {
        const std::string owner(named != by_name.end() ? named->second->name
                                                       : numbered->second->name);
        roll.refuse(
            {.kind = "group",
             .id = std::string(group.id),
             .name = std::string(group.name),
             .reason = "not in the mapped cache: the person " + owner + " has this name or id"});
        continue;
      }
      ASSIGN_OR_RETURN(auto name, posix::GroupName::parse(group.name));
      RETURN_IF_ERROR(cache_.apply(posix::NodeGroup{
          .n = group.n, .seq = seq, .name = std::move(name), .gid = group.gid, .parents = {}}));
      each_line(group.members, [&groups_of, &group](std::string_view member) {
        groups_of[member].push_back(group.n);
      });
    }
    for (const Person& person : roll.people) {
      auto& groups = groups_of[person.name];
      std::ranges::sort(groups);
      groups.resize(std::min(groups.size(), posix::kEffectiveGroupsMax));
      RETURN_IF_ERROR(apply(person, std::move(groups), seq));
    }
    return {};
  }

  Result<void> apply(const Person& person, std::vector<std::uint64_t> groups, Seq seq) {
    ASSIGN_OR_RETURN(auto name, posix::LoginName::parse(person.name));
    posix::NodeUser user{.n = person.n,
                         .seq = seq,
                         .name = std::move(name),
                         .uid = person.uid,
                         .gid = person.gid,
                         .gecos = std::string(person.gecos),
                         .home = std::string(person.home),
                         .shell = std::string(person.shell),
                         .locked = !person.active,
                         .valid_until = 0,
                         .groups = std::move(groups),
                         .keys = {}};
    each_line(person.keys, [&user](std::string_view line) {
      auto key = posix::SshPublicKey::parse(line);
      CHECK(key.has_value());
      user.keys.push_back({.line = key->line(),
                           .fingerprint = key->fingerprint(),
                           .not_before = 0,
                           .not_after = 0});
    });
    return cache_.apply(std::move(user));
  }

  NodeCache& cache_;
  const Clock clock_;
};

}  // namespace

/// Secrets of the Kubernetes cluster that this pod runs in: what the files are.
class KubernetesTarget final : public mirror::Target {
 public:
  KubernetesTarget(SecretMaps secrets, MonotonicClock clock)
      : secrets_(std::move(secrets)), clock_(std::move(clock)) {}

  std::string_view name() const override { return kKubernetes; }
  bool is_current(const std::string& mark) override { return !mark.empty(); }
  Result<std::string> publish(const Settings& settings, Roll&) override {
    RETURN_IF_ERROR(follow_files(settings));
    return std::string("files");
  }
  Result<void> confirm(const Settings& settings) override { return follow_files(settings); }
  /// The files lock them, and these are what the files are.
  Result<void> lock(const std::vector<Person>&) override { return {}; }
  /// Somebody may have changed or removed them, which only asking tells: once in a while, and
  /// whenever the files are new.
  Result<void> follow_files(const Settings& settings) override {
    auto stamps = mirror::stamps_of_files(settings);
    const milliseconds now = clock_();
    if (compared_at_ && stamps == stamps_ && now - *compared_at_ < kCompareEvery) return {};
    compared_at_.reset();
    RETURN_IF_ERROR(secrets_.publish_files(settings));
    compared_at_ = now;
    stamps_ = std::move(stamps);
    return {};
  }
  void interrupt() { secrets_.interrupt(); }

 private:
  static constexpr milliseconds kCompareEvery{60'000};

  SecretMaps secrets_;
  const MonotonicClock clock_;
  std::optional<milliseconds> compared_at_;
  std::map<std::string, std::string> stamps_;  // of the files that they are
};

Error failure_of(const mirror::PassResult& result) {
  if (result.error) return *result.error;
  for (const mirror::MapResult& map : result.maps) {
    if (map.error.empty()) continue;
    const bool refused = map.outcome == mirror::Outcome::kRefused;
    return {refused ? Code::kFailedPrecondition : Code::kInternal,
            std::string(mirror::map_name(map.map)) + ": " + map.error, refused ? kShrinks : kLocal};
  }
  for (const auto& [name, problem] : result.targets) {
    if (!problem.empty()) return {Code::kInternal, name + ": " + problem, kLocal};
  }
  return {Code::kInternal, "the pass failed", kLocal};
}

Result<mirror::Settings> read_mirror_settings(const MirrorOptions& options) {
  const char* token = std::getenv("NSSCACHE_SCIM_AUTH_TOKEN");
  ASSIGN_OR_RETURN(const std::string text, read_file(options.conf, kConfBytesMax));
  auto settings = mirror::parse_settings(text, token == nullptr ? "" : token, options.maps);
  if (!settings) return fail_in(options.conf.string(), settings.error());
  for (const std::string& target : options.publish) {
    if (target == kKubernetes) continue;
    if (target != kCache) {
      return fail(Code::kInvalidArgument, "--publish " + target + ": it is cache or kubernetes");
    }
    if (!settings->has(mirror::Map::kPasswd) || !settings->has(mirror::Map::kGroup)) {
      return fail(Code::kInvalidArgument,
                  "--publish cache needs the maps passwd and group in " + options.conf.string());
    }
  }
  return settings;
}

MirrorFeeder::MirrorFeeder(const Config& config, MirrorOptions options, NodeCache& cache,
                           StatusBoard& status, Metrics& metrics, Clock clock)
    : config_(config),
      options_(std::move(options)),
      cache_(cache),
      status_(status),
      metrics_(metrics),
      clock_(std::move(clock)) {
  if (std::ranges::find(options_.publish, kCache) != options_.publish.end()) {
    cache_target_ = std::make_unique<CacheTarget>(cache_, clock_);
  }
}

MirrorFeeder::~MirrorFeeder() = default;

void MirrorFeeder::stop() {
  stopped_ = true;
  interrupt_.raise();
  const std::lock_guard lock(mutex_);
  if (secrets_) secrets_->interrupt();
}

void MirrorFeeder::denials_changed() {
  denied_ = true;
  interrupt_.raise();
}

Result<void> MirrorFeeder::open_secrets() {
  if (std::ranges::find(options_.publish, kKubernetes) == options_.publish.end()) return {};
  ASSIGN_OR_RETURN(auto publisher, kubernetes::SecretPublisher::create(options_.secrets));
  const std::lock_guard lock(mutex_);
  secrets_ = std::make_unique<KubernetesTarget>(SecretMaps(std::move(publisher), metrics_),
                                                options_.secrets.clock);
  return {};
}

Result<void> MirrorFeeder::resume() {
  ASSIGN_OR_RETURN(settings_, read_mirror_settings(options_));
  RETURN_IF_ERROR(open_secrets());
  return cache_target_ ? cache_.open(kOrg, kView) : Result<void>();
}

Result<mirror::PassResult> MirrorFeeder::pass() {
  CHECK(settings_.has_value());
  mirror::PassOptions options = options_.pass;
  // Read each time: what an operator changed counts at the next pass. What cannot be read does not
  // open what the deny file closes: the maps are where they were.
  if (auto read = read_mirror_settings(options_)) {
    settings_ = std::move(*read);
  } else {
    options.obstacle = std::move(read).error();
  }
  const Settings& settings = *settings_;
  ASSIGN_OR_RETURN(const mirror::PassLock lock,
                   on_this_node(mirror::PassLock::take(settings.lock_file)));
  LocalRulesReader rules(config_.local);
  rules.refresh(true);
  if (!rules.known() && !options.obstacle) {
    options.obstacle = {Code::kFailedPrecondition,
                        "not all local files could be read: " + rules.problems().front(), kLocal};
  }
  options.local = rules.rules();
  if (cache_target_) options.targets.push_back(cache_target_.get());
  if (secrets_) options.targets.push_back(secrets_.get());
  options.interrupt = &interrupt_;
  mirror::PassResult result = mirror::run_pass(
      settings, options, [this](milliseconds time) { return interrupt_.wait_for(time); }, clock_);
  // Cut short: the next one has more to tell.
  if (result.error && interrupt_.raised()) return result;
  result.record(metrics_, clock_());
  // What was refused may hold addresses: for the owner and the group.
  const std::string report = result.to_json(clock_()) + "\n";
  if (auto written = write_file_atomic(mirror::report_file(settings), report, 0640); !written) {
    log::warn("cannot write the report", {{"error", written.error().message}});
  }
  return result;
}

/// A pass that went wrong, or could not even begin.
void MirrorFeeder::tell_of(const mirror::PassResult& result) {
  status_.set_mirror(result.to_json(clock_()));
  if (result.ok()) {
    status_.set_phase(Phase::kFollowing);
    log::debug("the maps are what the server has",
               {{"requests", result.traffic.requests}, {"seconds", result.seconds}});
    return;
  }
  const Error error = failure_of(result);
  const bool unreachable = error.code == Code::kUnavailable || error.code == Code::kDataLoss;
  status_.set_failure(unreachable ? Phase::kUnreachable : Phase::kRefused, error, clock_());
  log::warn("a pass failed; what is published goes on being served", {{"error", error.message}});
}

/// Somebody else's pass is as good as ours, but not for ever.
void MirrorFeeder::tell_left_out(const Error& error) {
  ++left_out_;
  log::warn("the pass is left out", {{"reason", error.message}, {"in a row", left_out_}});
  if (left_out_ < kLeftOutMax) return;
  mirror::PassResult result;
  result.error = error;
  result.error->message += "; " + std::to_string(left_out_) + " passes are left out";
  tell_of(result);
}

void MirrorFeeder::run(const std::function<void()>& between) {
  bool denied = true;              // and perhaps not locked yet
  auto due = steady_clock::now();  // what is left out from then on is a pass, not a second try
  while (true) {
    interrupt_.lower();
    if (stopped_) return;
    denied = denied_.exchange(false) || denied;
    const auto result = pass();
    if (stopped_) return;
    // Cut short for those who are denied now.
    if (result && result->error && interrupt_.raised()) continue;
    if (!result) mirror::record_failure(metrics_);
    const auto now = steady_clock::now();
    const bool left_out = !result && result.error().code == Code::kAlreadyExists;
    denied = denied && left_out;
    if (left_out && now < due) {
      log::warn("a lockout waits for the lock", {{"reason", result.error().message}});
    } else if (left_out) {
      tell_left_out(result.error());
    } else {
      left_out_ = 0;
      mirror::PassResult failed;
      if (!result) failed.error = result.error();
      tell_of(result ? *result : failed);
    }
    if (!left_out || now >= due) due = now + options_.interval;
    metrics_
        .gauge("roster_mirror_passes_left_out",
               "Passes in a row for which another process held the lock")
        .set(left_out_);
    between();
    const auto rest = std::chrono::ceil<milliseconds>(due - now);
    interrupt_.wait_for(denied ? std::min(rest, options_.lockout_retry) : rest);
  }
}

Result<mirror::PassResult> mirror_once(const Config& config, const MirrorOptions& options,
                                       Metrics& metrics, Clock clock) {
  // The program ends with the pass: what is freed serves the next page or map, instead of going
  // back to the system and coming anew, which costs a twentieth of a large pass.
  ::mallopt(M_MMAP_THRESHOLD, 32 << 20);
  ::mallopt(M_TRIM_THRESHOLD, 1 << 30);
  NodeCache cache(config, clock, metrics, [](std::uint64_t) {});
  StatusBoard status("");
  LocalRulesReader rules(config.local);
  rules.refresh(true);
  RETURN_IF_ERROR(cache.set_rules(rules.rules(), true));
  MirrorFeeder feeder(config, options, cache, status, metrics, std::move(clock));
  RETURN_IF_ERROR(feeder.resume());
  const auto mended = cache.mend();  // also without the server
  auto result = feeder.pass();
  if (result && result->ok() && !mended) return std::unexpected(mended.error());
  return result;
}

}  // namespace roster::agent
