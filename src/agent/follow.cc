#include "agent/follow.h"

#include <algorithm>
#include <utility>

#include "agent/errors.h"
#include "agent/join.h"
#include "base/encoding.h"
#include "base/log.h"

namespace roster::agent {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kAnswerTimeout{60'000};  // beyond the parked time
constexpr milliseconds kSnapshotTimeout{600'000};
constexpr milliseconds kParkedMin{10'000};  // hubs park for half a minute at least
constexpr milliseconds kRenewRetry{60'000};
// A lockout may be behind what the disk has no room for. Not for whole snapshots: they cost the hub
// and the network.
constexpr milliseconds kLocalRetryMax{5'000};
constexpr std::chrono::hours kTotalsSnapshotEvery{1};
constexpr int kPartsMax = 10'000;
constexpr int kResumesMax = 20;

milliseconds since(steady_clock::time_point begin) {
  return std::chrono::duration_cast<milliseconds>(steady_clock::now() - begin);
}

std::uint64_t record_count(const feed::Counts& counts) {
  return counts.users + counts.groups + counts.gone;
}

/// What a failure means to somebody who looks at the node, and its label in metrics.
std::pair<Phase, std::string_view> classify(const Error& error) {
  if (error.keyword == kLocal) return {Phase::kRefused, kLocal};
  switch (error.code) {
    case Code::kUnavailable:
      return {Phase::kUnreachable, "unreachable"};
    case Code::kUnauthenticated:
    case Code::kPermissionDenied:
    case Code::kNotFound:
      return {Phase::kRefused, "credential"};
    case Code::kInvalidArgument:
    case Code::kTooLarge:
    case Code::kUnsupported:
      return {Phase::kRefused, "protocol"};
    case Code::kDataLoss:
    case Code::kVersionMismatch:
      return {Phase::kUnreachable, "cut"};
    case Code::kAlreadyExists:
    case Code::kFailedPrecondition:
      return {Phase::kRefused, error.keyword.empty() ? std::string_view("data") : error.keyword};
    case Code::kInternal:
      return {Phase::kRefused, kLocal};
  }
  return {Phase::kRefused, kLocal};
}

}  // namespace

Follower::Follower(const Config& config, StateDir state, NodeCache& cache, StatusBoard& status,
                   Metrics& metrics, Clock clock, RandomBytes random)
    : config_(config),
      state_(std::move(state)),
      cache_(cache),
      status_(status),
      metrics_(metrics),
      clock_(std::move(clock)),
      random_(std::move(random)),
      backoff_gauge_(metrics.gauge("roster_agent_backoff_seconds",
                                   "Delay before the next try; 0 while all is well")),
      seq_gauge_(metrics.gauge("roster_agent_seq", "Change up to which the node is complete")),
      hub_seq_gauge_(metrics.gauge("roster_agent_hub_seq", "Last change that the hub told of")),
      lag_gauge_(metrics.gauge("roster_agent_lag_changes", "Changes of the hub not yet published")),
      snapshots_counter_(metrics.counter("roster_agent_snapshots_total", "Snapshots downloaded")),
      records_counter_(
          metrics.counter("roster_agent_records_total", "Records and removals received")),
      backoff_(config.backoff_min, config.backoff_max) {}

Result<void> Follower::resume() {
  auto highest = state_.load_highest_id();
  if (!highest && highest.error().code != Code::kDataLoss) {
    return std::unexpected(std::move(highest.error()));
  }
  if (!highest) {
    log::warn("the highest id is lost but for what is published",
              {{"error", highest.error().message}});
  }
  highest_id_ = saved_highest_id_ = highest.value_or(0);
  status_.set_highest_id(highest_id_);
  auto stored = state_.load_enrollment();
  if (!stored) {
    if (stored.error().code != Code::kDataLoss) return std::unexpected(std::move(stored.error()));
    log::warn("stored enrolment is damaged; joining anew", {{"error", stored.error().message}});
    return {};
  }
  if (!*stored) return {};
  if (!config_.org.empty() && (*stored)->org != config_.org) {
    return fail(Code::kFailedPrecondition, "this node is enrolled in organization " +
                                               (*stored)->org + ", the configuration says " +
                                               config_.org + ": empty " +
                                               config_.state_dir.string() + " to join anew");
  }
  // A second enrolment that was cut off must go on with the credential that the hub may have
  // admitted in the place of this one.
  state_.end_joining_of((*stored)->credential);
  return adopt(std::move(**stored));
}

Result<void> Follower::adopt(feed::Enrollment enrollment) {
  ASSIGN_OR_RETURN(std::shared_ptr<http::Client> client, connect(config_, enrollment));
  RETURN_IF_ERROR(on_this_node(cache_.open(enrollment.org, enrollment.view)));
  {
    const std::lock_guard lock(client_mutex_);
    client_ = std::move(client);
  }
  status_.set_enrollment(enrollment);
  enrollment_ = std::move(enrollment);
  unadopted_.reset();
  credential_refused_ = false;
  take_position();
  return {};
}

Result<void> Follower::ensure_enrolled() {
  if (enrollment_ && !credential_refused_) return {};
  // An enrolment is taken up again, not repeated: each costs a use of the token.
  if (unadopted_) return adopt(*unadopted_);
  auto enrollment = join(config_, state_, highest_id_, random_);
  if (!enrollment) {
    if (!enrollment_) return std::unexpected(std::move(enrollment.error()));
    // Without a good token the old credential is all there is; the hub may take it again.
    log::warn("cannot join anew", {{"error", enrollment.error().message}});
    return {};
  }
  log::info("enrolled", {{"org", enrollment->org},
                         {"cluster", enrollment->cluster},
                         {"view", enrollment->view},
                         {"role", enrollment->role},
                         {"node_id", enrollment->node_id}});
  if (enrollment_ &&
      enrollment_->org + '/' + enrollment_->view != enrollment->org + '/' + enrollment->view) {
    position_.clear();
  }
  unadopted_ = std::move(*enrollment);
  return adopt(*unadopted_);
}

/// A cache that was opened anew may hold less than what was published.
void Follower::take_position() {
  const std::uint64_t openings = cache_.openings();
  if (openings == openings_ && !position_.empty()) return;
  openings_ = openings;
  position_ = cache_.view().cursor;
  status_.set_position(position_);
}

bool Follower::must_start_anew() const {
  return cache_.generation() == 0 || position_.empty() || position_lost_;
}

/// What begins may have opened the cache anew, as may have what ended before it: the transfer goes
/// on from what the cache holds now.
Result<void> Follower::begin(feed::Kind kind) {
  auto begun = cache_.begin(kind);
  take_position();
  return begun;
}

void Follower::renew_if_due() {
  const Timestamp now = clock_();
  if (now < half_life(*enrollment_) || now < renew_not_before_) return;
  renew_not_before_ = now + kRenewRetry;
  auto renewed = renew(config_, *enrollment_, highest_id_);
  // On disk before its first use: that use ends the old credential.
  const auto saved = renewed ? state_.save_enrollment(*renewed) : Result<void>();
  if (!renewed || !saved) {
    const Error& error = !renewed ? renewed.error() : saved.error();
    metrics_.counter("roster_agent_failures_total", "Exchanges that failed", {{"reason", "renew"}})
        .add();
    log::warn("cannot renew the credential",
              {{"error", error.message}, {"expires", format_rfc3339(enrollment_->expires)}});
    return;
  }
  log::info("credential renewed", {{"expires", format_rfc3339(renewed->expires)}});
  if (auto adopted = adopt(std::move(*renewed)); !adopted) {
    log::error("cannot use the renewed credential", {{"error", adopted.error().message}});
  }
}

Result<http::ClientResponse> Follower::call(const http::ClientRequest& request) {
  std::shared_ptr<http::Client> client;
  {
    const std::lock_guard lock(client_mutex_);
    client = client_;
  }
  if (stop_.stopped()) return fail(Code::kUnavailable, "stopping");
  auto response = client->call(request);
  if (!response) return response;
  retry_after_ = retry_after(*response, clock_());
  hub_time_ = hub_time(*response);
  if (response->status == 401) credential_refused_ = true;
  return response;
}

Result<void> Follower::step(milliseconds wait) {
  retry_after_.reset();
  remember_highest_id();  // a seed's, or what the disk had no room for
  RETURN_IF_ERROR(ensure_enrolled());
  renew_if_due();
  take_position();
  took_snapshot_ = false;
  if (must_start_anew()) return follow_snapshot();
  if (is_recount_due()) {
    if (const auto counted = recount(); !counted) {
      log::warn("cannot take a snapshot to settle the difference; changes are followed",
                {{"error", counted.error().message}});
    }
  }
  return follow_delta(wait);
}

Result<void> Follower::follow_delta(milliseconds wait) {
  took_snapshot_ = false;
  RETURN_IF_ERROR(begin(feed::Kind::kDelta));
  if (must_start_anew()) {
    cache_.abort();
    return follow_snapshot();
  }
  const auto began = steady_clock::now();
  const auto delta = read_delta({"since", position_, cache_.view().epoch}, wait);
  if (!delta) {
    cache_.abort();
    return std::unexpected(delta.error());
  }
  if (delta->reset) {
    cache_.abort();
    log::warn("the hub asks for a new start", {{"reason", delta->reset->reason}});
    position_lost_ = true;
    return follow_snapshot();
  }
  auto accepted = accept_delta(*delta, wait, since(began));
  if (!accepted) cache_.abort();
  return accepted;
}

Result<void> Follower::accept_delta(const Delta& delta, milliseconds wait, milliseconds took) {
  const std::string& cursor = delta.end.cursor;
  RETURN_IF_ERROR(check_progress(position_, cursor, delta.head.epoch));
  if (delta.records == 0) {
    // Changes outside of the view move the position without a new generation.
    cache_.abort();
    if (!cache_.touch_contact(openings_, hub_time_)) {
      return fail(Code::kFailedPrecondition, "the cache was opened anew during the transfer",
                  kInterrupted);
    }
    const bool moved = position_ != cursor;
    position_ = cursor;
    const bool early = wait.count() > 0 && took < std::min(wait / 2, kParkedMin);
    if (wait.count() > 0) early_answers_ = early && !moved ? early_answers_ + 1 : 0;
    // Once is a hub that says goodbye to whom it has parked: the next request tells.
    if (early && early_answers_ > 1) {
      return fail(Code::kUnavailable, "the hub answers without waiting");
    }
    note_success();
    if (wait.count() > 0 && early_answers_ == 0) backoff_.reset();
    if (early) stop_.wait_for(config_.backoff_min);
    return {};
  }
  if (cursor == position_) {
    return fail(Code::kInvalidArgument, "the hub repeats itself: records without a new cursor");
  }
  RETURN_IF_ERROR(publish(cursor, delta.head.epoch, false, true));
  compare_totals(delta.end);
  return {};
}

Result<Follower::Delta> Follower::read_delta(const Position& position, milliseconds wait) {
  Delta so_far;
  for (int part = 0; part < kPartsMax; ++part) {
    ASSIGN_OR_RETURN(Delta next, read_part(position, so_far, part == 0 ? wait : milliseconds(0)));
    if (next.reset) return next;
    so_far.records += record_count(next.end.counts);
    so_far.head = std::move(next.head);
    so_far.end = std::move(next.end);
    hub_seq_ = so_far.head.head;
    status_.set_hub_seq(hub_seq_);
    hub_seq_gauge_.set(static_cast<double>(hub_seq_.value));
    if (so_far.end.final) return so_far;
  }
  return fail(Code::kTooLarge, "a delta of more than " + std::to_string(kPartsMax) + " parts");
}

Result<Follower::Delta> Follower::read_part(const Position& position, const Delta& so_far,
                                            milliseconds wait) {
  const bool first = so_far.end.more.empty();
  http::ClientRequest request;
  request.target = "/api/organizations/" + enrollment_->org + "/feed?view=" + enrollment_->view +
                   '&' + std::string(position.parameter) + '=' + percent_encode(position.cursor) +
                   "&highest_id=" + std::to_string(highest_id_);
  if (!first) request.target += "&more=" + percent_encode(so_far.end.more);
  if (wait.count() > 0) {
    request.target +=
        "&wait=" + std::to_string(std::chrono::ceil<std::chrono::seconds>(wait).count());
  }
  request.headers.set("Accept", feed::kContentType);
  request.headers.set("Accept-Encoding", "zstd");
  request.timeout = wait + kAnswerTimeout;
  Intake intake(cache_, {.org = enrollment_->org,
                         .view = enrollment_->view,
                         .kind = feed::Kind::kDelta,
                         .epoch = position.epoch,
                         .head = first ? std::nullopt : std::optional(so_far.head.head)});
  request.sink = [&intake](std::string_view piece) { return intake.push(piece); };
  const auto response = call(request);
  if (intake.error()) return std::unexpected(*intake.error());
  if (!response) return std::unexpected(response.error());
  Delta delta;
  if (response->status == 409) {
    delta.reset = feed::Reset{"the position cannot be continued"};
    const auto message = feed::parse_message(response->body.substr(0, response->body.find('\n')));
    if (message && *message && std::holds_alternative<feed::Reset>(**message)) {
      delta.reset = std::get<feed::Reset>(**message);
    }
    return delta;
  }
  if (response->status != 200) return std::unexpected(answer_error("feed", *response));
  RETURN_IF_ERROR(intake.finish());
  if (intake.reset()) {
    delta.reset = intake.reset();
    return delta;
  }
  delta.head = intake.head();
  delta.end = intake.end();
  records_counter_.add(static_cast<double>(record_count(delta.end.counts)));
  return delta;
}

Result<void> Follower::follow_snapshot() {
  const std::string target =
      "/api/organizations/" + enrollment_->org + "/feed/snapshot?view=" + enrollment_->view;
  http::ClientRequest head;
  head.method = "HEAD";
  head.target = target;
  ASSIGN_OR_RETURN(const http::ClientResponse offered, call(head));
  if (offered.status != 200) return std::unexpected(answer_error("snapshot", offered));
  const std::string etag(offered.headers.get("ETag"));
  if (!etag.empty() && etag == refused_etag_) {
    return fail(Code::kFailedPrecondition,
                "the hub still offers the snapshot that was refused; confirm it at the hub or mend "
                "the hub",
                kShrinks);
  }
  took_snapshot_ = true;
  RETURN_IF_ERROR(begin(feed::Kind::kSnapshot));
  Intake intake(cache_, {.org = enrollment_->org,
                         .view = enrollment_->view,
                         .kind = feed::Kind::kSnapshot,
                         .epoch = {},
                         .head = {}});
  auto taken = download_snapshot(etag, intake);
  if (taken) taken = catch_up(intake.head(), intake.end());
  if (!taken) {
    cache_.abort();
    if (taken.error().keyword == kShrinks) refused_etag_ = etag;
    return taken;
  }
  refused_etag_.clear();
  position_lost_ = false;
  return {};
}

Result<void> Follower::download_snapshot(const std::string& etag, Intake& intake) {
  snapshots_counter_.add();
  std::uint64_t offset = 0;
  for (int resumed = 0;; ++resumed) {
    const std::uint64_t begin = offset;
    http::ClientRequest request;
    request.target =
        "/api/organizations/" + enrollment_->org + "/feed/snapshot?view=" + enrollment_->view;
    request.headers.set("Accept", feed::kSnapshotContentType);
    if (!etag.empty()) request.headers.set("If-Match", etag);
    if (begin > 0) request.headers.set("Range", "bytes=" + std::to_string(begin) + "-");
    request.timeout = kSnapshotTimeout;
    request.sink = [&intake, &offset](std::string_view piece) {
      offset += piece.size();
      return intake.push(piece);
    };
    const auto response = call(request);
    if (intake.error()) return std::unexpected(*intake.error());
    if (response) {
      if (response->status != (begin == 0 ? 200 : 206)) {
        return std::unexpected(answer_error("snapshot", *response));
      }
      RETURN_IF_ERROR(intake.finish());
      if (intake.reset()) return fail(Code::kUnavailable, "a reset instead of a snapshot");
      records_counter_.add(static_cast<double>(record_count(intake.end().counts)));
      return {};
    }
    // Cut: taken up again as long as each try brings something.
    const bool can_resume = !etag.empty() && offset > begin && resumed < kResumesMax;
    if (!can_resume || stop_.wait_for(config_.backoff_min)) {
      return std::unexpected(response.error());
    }
  }
}

Result<void> Follower::catch_up(const feed::Head& snapshot_head, const feed::End& snapshot_end) {
  RETURN_IF_ERROR(check_progress("", snapshot_end.cursor, snapshot_head.epoch));
  ASSIGN_OR_RETURN(const Delta delta,
                   read_delta({"from", snapshot_end.cursor, snapshot_head.epoch}, milliseconds(0)));
  if (delta.reset) return fail(Code::kUnavailable, "the snapshot's position is already gone");
  // Against the snapshot, and against what is published, unless that is of an earlier epoch.
  RETURN_IF_ERROR(check_progress(snapshot_end.cursor, delta.end.cursor, delta.head.epoch));
  RETURN_IF_ERROR(check_progress(position_, delta.end.cursor, delta.head.epoch));
  RETURN_IF_ERROR(publish(delta.end.cursor, delta.head.epoch, snapshot_head.shrink_ok, false));
  compare_totals(delta.end);
  return {};
}

Result<void> Follower::publish(const std::string& cursor, const std::string& epoch, bool shrink_ok,
                               bool may_wait) {
  remember_highest_id();
  RETURN_IF_ERROR(cache_.complete(cursor, epoch, shrink_ok));
  if (may_wait && !cache_.takes_access_away()) {
    const milliseconds delay = draw_up_to(debounce(), random_);
    if (delay.count() > 0) stop_.wait_for(delay);
  }
  ASSIGN_OR_RETURN(const nsscache::PublishStats stats, cache_.publish());
  log::debug("published", {{"generation", stats.generation}, {"bytes", stats.bytes_written}});
  position_ = cursor;
  cache_.touch_contact(openings_, hub_time_);
  note_success();
  backoff_.reset();
  return {};
}

/// A hub restored from a backup must never give out ids that were seen on this node. The file only
/// adds the ids of who is gone: what is published is in the images, and read from them at the
/// start. So a state directory that is full holds nothing back; it is tried again with each
/// exchange.
void Follower::remember_highest_id() {
  highest_id_ = std::max(highest_id_, cache_.highest_id());
  status_.set_highest_id(highest_id_);
  if (highest_id_ == saved_highest_id_) return;
  const auto saved = state_.save_highest_id(highest_id_);
  if (saved) saved_highest_id_ = highest_id_;
  const std::string problem = saved ? std::string() : saved.error().message;
  if (!saved && problem != state_problem_) {
    log::warn("cannot remember the highest id seen", {{"error", problem}});
  }
  state_problem_ = problem;
  status_.set_state_problem(problem);
}

void Follower::compare_totals(const feed::End& end) {
  if (!end.totals) return;
  const nsscache::CacheCounts counts = cache_.view().counts;
  recount_wanted_ = counts.users != end.totals->users || counts.groups != end.totals->groups;
  if (!recount_wanted_) return;
  log::warn("the node's cache differs from the hub's view", {{"users", counts.users},
                                                             {"hub_users", end.totals->users},
                                                             {"groups", counts.groups},
                                                             {"hub_groups", end.totals->groups}});
  metrics_.counter("roster_agent_failures_total", "Exchanges that failed", {{"reason", "totals"}})
      .add();
}

bool Follower::is_recount_due() const {
  if (!recount_wanted_ || !recounted_at_) return recount_wanted_;
  const Timestamp now = clock_();
  return now < *recounted_at_ || now >= *recounted_at_ + kTotalsSnapshotEvery;
}

/// A snapshot because the totals differ. When it cannot be had (the hub is busy, it takes away too
/// much, this disk has no room for it), lockouts must go on to come by deltas: it is tried again in
/// an hour. What differs after it, too, no other snapshot would settle: the next records tell anew.
Result<void> Follower::recount() {
  recounted_at_ = clock_();
  auto taken = follow_snapshot();
  recount_wanted_ = !taken;
  if (!taken && taken.error().keyword == kInterrupted) recounted_at_.reset();
  return taken;
}

milliseconds Follower::debounce() const {
  if (config_.debounce >= milliseconds(0)) return config_.debounce;
  return default_debounce(enrollment_->role);
}

void Follower::note_success() {
  backoff_gauge_.set(0);
  status_.set_phase(Phase::kFollowing);
  status_.set_position(position_);
  set_lag();
}

void Follower::set_lag() {
  const auto cursor = feed::Cursor::decode(position_);
  const std::uint64_t seq = cursor ? cursor->seq.value : 0;
  seq_gauge_.set(static_cast<double>(seq));
  lag_gauge_.set(static_cast<double>(std::max(hub_seq_.value, seq) - seq));
}

milliseconds Follower::note_failure(const Error& error) {
  if (error.keyword == kInterrupted) return milliseconds(0);
  auto [phase, reason] = classify(error);
  if (!enrollment_ && phase == Phase::kUnreachable) phase = Phase::kEnrolling;
  metrics_
      .counter("roster_agent_failures_total", "Exchanges that failed",
               {{"reason", std::string(reason)}})
      .add();
  Error shown = error;
  if (reason == kLocal) shown.keyword = kLocal;
  status_.set_failure(phase, shown, clock_());
  set_lag();
  milliseconds delay = std::max(backoff_.next(random_), retry_after_.value_or(milliseconds(0)));
  if (reason == kLocal && !took_snapshot_) delay = std::min(delay, kLocalRetryMax);
  backoff_gauge_.set(std::chrono::duration<double>(delay).count());
  log::warn("cannot follow the hub; what is published goes on being served",
            {{"reason", reason}, {"error", error.message}, {"retry_ms", delay.count()}});
  return delay;
}

void Follower::run(const std::function<void()>& between) {
  // The first request, and the first after a failure, is not parked: that all is well again should
  // show at once.
  bool park = false;
  while (!stop_.stopped()) {
    const milliseconds tenth = config_.heartbeat / 10;
    const milliseconds wait = config_.heartbeat - tenth + draw_up_to(2 * tenth, random_);
    const auto stepped = step(park ? wait : milliseconds(0));
    if (stop_.stopped()) break;
    park = stepped.has_value();
    if (!stepped) {
      const milliseconds delay = note_failure(stepped.error());
      if (delay.count() > 0 && stop_.wait_for(delay)) break;
    }
    between();
  }
}

Result<void> Follower::sync() {
  auto stepped = step(milliseconds(0));
  if (stepped && is_recount_due()) stepped = recount();
  if (!stepped) note_failure(stepped.error());
  return stepped;
}

void Follower::stop() {
  stop_.stop();
  const std::lock_guard lock(client_mutex_);
  if (client_) client_->interrupt();
}

}  // namespace roster::agent
