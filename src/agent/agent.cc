#include "agent/agent.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "agent/commands.h"
#include "agent/control.h"
#include "agent/follow.h"
#include "agent/local_rules.h"
#include "agent/mirror.h"
#include "agent/node_cache.h"
#include "agent/notify.h"
#include "agent/secrets.h"
#include "agent/seed.h"
#include "agent/state.h"
#include "agent/status.h"
#include "agent/watch.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/log.h"
#include "base/metrics.h"

namespace roster::agent {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kControlGrace{2'000};
constexpr milliseconds kRetry{5'000};

/// SIGTERM, SIGINT and SIGHUP as a file descriptor; blocked for every thread that starts later.
Result<UniqueFd> take_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, number);
  if (pthread_sigmask(SIG_BLOCK, &set, nullptr) != 0) {
    return fail(Code::kInternal, "cannot block signals");
  }
  UniqueFd fd(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd.valid()) return std::unexpected(errno_error("signalfd", errno));
  return fd;
}

/// The agent's parts and the thread that looks after local files, signals and retired images.
class Agent {
 public:
  using MakeFeeder = std::function<std::unique_ptr<Feeder>(NodeCache&, StatusBoard&, Metrics&)>;

  /// `source`: where people come from, for the status.
  Agent(const Config& config, std::string source, UniqueFd signals, UniqueFd wake, Clock clock,
        const MakeFeeder& make_feeder)
      : config_(config),
        clock_(clock),
        signals_(std::move(signals)),
        wake_(std::move(wake)),
        cache_(config, clock, metrics_,
               [this](std::uint64_t generation) { published(generation); }),
        status_(std::move(source)),
        rules_(config.local),
        watch_({config.local.passwd, config.local.group, config.local.subuid, config.local.subgid,
                config.local.deny}),
        feeder_(make_feeder(cache_, status_, metrics_)) {}

  /// Before run(). kFailedPrecondition outside of a pod.
  Result<void> publish_secrets(bool force) {
    kubernetes::PublisherOptions options;
    options.force = force;
    ASSIGN_OR_RETURN(auto publisher, kubernetes::SecretPublisher::create(std::move(options)));
    secrets_ = std::make_unique<SecretFollower>(cache_, SecretMaps(std::move(publisher), metrics_),
                                                clock_);
    return {};
  }

  Result<void> run(const std::optional<std::filesystem::path>& seed) {
    ASSIGN_OR_RETURN(control_, create_control_server(config_, cache_, status_, metrics_, clock_));
    look_at_rules(true);
    RETURN_IF_ERROR(feeder_->resume());
    if (seed && cache_.generation() == 0) {
      // A node can do without: it then waits for the hub.
      if (auto loaded = load_seed(*seed, cache_); !loaded) {
        log::warn("cannot use the seed", {{"error", loaded.error().message}});
      }
    }
    control_->start();
    if (secrets_) secrets_->start();
    if (cache_.generation() > 0) announce_ready();
    mend_cache();
    std::thread following([this] { feeder_->run([this] { exchanged(); }); });
    look_after();
    notify_service_manager("STOPPING=1");
    feeder_->stop();
    if (secrets_) secrets_->stop();
    following.join();
    control_->stop(kControlGrace);
    return {};
  }

 private:
  void published(std::uint64_t generation) {
    if (control_) control_->notify(kGenerationKey, generation);
    if (secrets_) secrets_->notify();
    announce_ready();
    wake();
  }

  /// A feeder that publishes no cache is ready when it has done its work once.
  void exchanged() {
    if (status_.phase() == Phase::kFollowing) announce_ready();
    wake();
  }

  void announce_ready() {
    if (!announced_.exchange(true)) {
      notify_service_manager("READY=1\nSTATUS=identities are being served");
    }
  }

  void wake() {
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = write(wake_.get(), &one, sizeof one);
  }

  void look_at_rules(bool force) {
    const LocalRulesReader::Change change = rules_.refresh(force);
    std::vector<std::string> problems = rules_.problems();
    if (problems != rule_problems_) {
      for (const std::string& problem : problems) {
        log::warn("local rules", {{"problem", problem}});
      }
      rule_problems_ = problems;
    }
    status_.set_rule_problems(std::move(problems), rules_.known());
    if (std::exchange(rules_given_, true) && !change.masks && !change.deny) return;
    note_mended(cache_.set_rules(rules_.rules(), change.deny));
    if (change.deny) feeder_->denials_changed();
  }

  void mend_cache() { note_mended(cache_.mend()); }

  void note_mended(const Result<void>& mended) {
    mend_failed_ = !mended;
    const std::string problem = mended ? std::string() : mended.error().message;
    if (!mended && problem != mend_problem_) {
      log::warn("cannot publish local rules or mend the cache", {{"error", problem}});
    }
    mend_problem_ = problem;
  }

  /// Rules that are not in force, or not read, do not wait for the next word from the hub.
  bool must_retry() const {
    return mend_failed_ || !rules_.known() || cache_.has_unpublished_rules();
  }

  /// How long nothing is due: until what failed is tried again or a retired file may go, else for
  /// ever.
  int timeout_ms() {
    const auto due = cache_.remove_retired();
    if (must_retry()) return static_cast<int>(kRetry.count());
    if (!due) return -1;
    const std::int64_t left = to_millis(*due) - to_millis(clock_());
    return static_cast<int>(std::clamp<std::int64_t>(left, 1'000, 3'600'000));
  }

  /// True when it is time to stop.
  bool take_signal() {
    signalfd_siginfo info{};
    while (read(signals_.get(), &info, sizeof info) == sizeof info) {
      if (info.ssi_signo != SIGHUP) return true;
      look_at_rules(true);
    }
    return false;
  }

  /// Sleeps until a file changes, a signal comes, the follower has talked to the hub (which also
  /// bounds how long a change is missed where inotify cannot see it), or a file is due.
  void look_after() {
    while (true) {
      std::array<pollfd, 3> fds{
          {{signals_.get(), POLLIN, 0}, {wake_.get(), POLLIN, 0}, {watch_.fd(), POLLIN, 0}}};
      if (poll(fds.data(), fds.size(), timeout_ms()) < 0 && errno != EINTR) {
        log::error("poll failed", {{"errno", errno}});
        return;
      }
      if (fds[0].revents != 0 && take_signal()) return;
      const bool changed = fds[2].revents != 0 && watch_.drain();
      if (changed) look_at_rules(true);
      if (fds[1].revents == 0 && !must_retry()) continue;
      std::uint64_t count = 0;
      [[maybe_unused]] const ssize_t taken = read(wake_.get(), &count, sizeof count);
      watch_.rearm();
      look_at_rules(false);
      mend_cache();
    }
  }

  const Config& config_;
  const Clock clock_;
  const UniqueFd signals_, wake_;
  Metrics metrics_;
  NodeCache cache_;
  StatusBoard status_;
  LocalRulesReader rules_;
  bool rules_given_ = false;
  bool mend_failed_ = false;
  std::string mend_problem_;                // as logged last
  std::vector<std::string> rule_problems_;  // as logged last
  FileWatch watch_;
  const std::unique_ptr<Feeder> feeder_;
  std::unique_ptr<SecretFollower> secrets_;  // set before run()
  std::unique_ptr<http::Server> control_;
  std::atomic<bool> announced_{false};
};

}  // namespace

namespace {

struct HubExtras {
  std::optional<std::filesystem::path> seed;
  bool secrets = false;
  bool force_secrets = false;
};

Result<void> run_with(const Config& config, const std::string& source, const HubExtras& extras,
                      const Clock& clock, const Agent::MakeFeeder& make_feeder) {
  ASSIGN_OR_RETURN(UniqueFd signals, take_signals());
  UniqueFd wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake.valid()) return std::unexpected(errno_error("eventfd", errno));
  Agent agent(config, source, std::move(signals), std::move(wake), clock, make_feeder);
  if (extras.secrets) RETURN_IF_ERROR(agent.publish_secrets(extras.force_secrets));
  return agent.run(extras.seed);
}

}  // namespace

Result<void> run_agent(const Config& config, const RunOptions& options, Clock clock,
                       RandomBytes random) {
  HubExtras extras{.seed = options.seed, .force_secrets = options.force_secrets};
  for (const std::string& target : options.publish) {
    if (target != "kubernetes") {
      return fail(Code::kInvalidArgument,
                  "--publish " + target + ": besides the cache it is kubernetes");
    }
    extras.secrets = true;
  }
  ASSIGN_OR_RETURN(StateDir state, StateDir::open(config.state_dir));
  return run_with(config, config.url, extras, clock,
                  [&](NodeCache& cache, StatusBoard& status, Metrics& metrics) {
                    return std::make_unique<Follower>(config, std::move(state), cache, status,
                                                      metrics, clock, std::move(random));
                  });
}

Result<void> run_mirror(const Config& config, const MirrorOptions& options, Clock clock) {
  ASSIGN_OR_RETURN(const mirror::Settings settings, read_mirror_settings(options));
  return run_with(config, settings.server.base_url, {}, clock,
                  [&](NodeCache& cache, StatusBoard& status, Metrics& metrics) {
                    return std::make_unique<MirrorFeeder>(config, options, cache, status, metrics,
                                                          clock);
                  });
}

Result<MirrorPass> sync_mirror(const Config& config, const MirrorOptions& options,
                               const std::filesystem::path& metrics_file, Clock clock) {
  Metrics metrics;
  const auto result = mirror_once(config, options, metrics, clock);
  // Also when it could not begin: what monitoring read last may have been good.
  if (!result) mirror::record_failure(metrics);
  Result<void> written;
  if (!metrics_file.empty()) written = write_file_atomic(metrics_file, metrics.render(), 0644);
  if (!written) log::warn("cannot write the metrics", {{"error", written.error().message}});
  if (!result) return std::unexpected(result.error());
  MirrorPass pass{.text = result->to_text(), .json = result->to_json(clock()) + "\n"};
  // What the pass itself has to say comes first.
  if (!result->ok()) {
    pass.status = exit_status(failure_of(*result));
  } else if (!written) {
    pass.status = exit_status(written.error());
  }
  return pass;
}

Result<void> sync_once(const Config& config, Clock clock, RandomBytes random) {
  ASSIGN_OR_RETURN(StateDir state, StateDir::open(config.state_dir));
  Metrics metrics;
  NodeCache cache(config, clock, metrics, [](std::uint64_t) {});
  StatusBoard status(config.url);
  LocalRulesReader rules(config.local);
  rules.refresh(true);
  for (const std::string& problem : rules.problems()) {
    log::warn("local rules", {{"problem", problem}});
  }
  RETURN_IF_ERROR(cache.set_rules(rules.rules(), true));
  Follower follower(config, std::move(state), cache, status, metrics, clock, std::move(random));
  RETURN_IF_ERROR(follower.resume());
  RETURN_IF_ERROR(cache.mend());
  RETURN_IF_ERROR(follower.sync());
  if (rules.known()) return {};
  return fail(
      Code::kFailedPrecondition,
      "not all local files could be read, so nobody new is served: " + rules.problems().front(),
      kLocal);
}

}  // namespace roster::agent
