#include "agent/node_cache.h"

#include <grp.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/log.h"

namespace roster::agent {
namespace {

constexpr std::size_t kMaskedReportMax = 100;

/// Nothing when the group does not exist: the keys file is then the agent's own.
std::optional<gid_t> find_gid(const std::string& name) {
  if (name.empty()) return std::nullopt;
  group entry{};
  group* found = nullptr;
  std::vector<char> buffer(64 << 10);
  if (getgrnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found) != 0 ||
      found == nullptr) {
    return std::nullopt;
  }
  return found->gr_gid;
}

bool lost_key(const posix::NodeUser& before, const posix::NodeUser& after) {
  return !std::ranges::all_of(before.keys, [&after](const posix::NodeKey& key) {
    return std::ranges::find(after.keys, key) != after.keys.end();
  });
}

bool lost_access(const posix::NodeUser& before, const posix::NodeUser& after) {
  return after.locked != before.locked || after.valid_until != before.valid_until ||
         !std::ranges::includes(after.groups, before.groups) || lost_key(before, after);
}

std::unexpected<Error> goes_back(std::string_view what, std::uint64_t n) {
  return fail(Code::kFailedPrecondition,
              "the hub goes back: " + std::string(what) + " " + std::to_string(n) +
                  " is older than what is published",
              kGoesBack);
}

std::unexpected<Error> interrupted() {
  return fail(Code::kFailedPrecondition, "a local rule took effect during the transfer",
              kInterrupted);
}

}  // namespace

NodeCache::NodeCache(const Config& config, Clock clock, Metrics& metrics, OnPublish on_publish)
    : config_(config),
      clock_(std::move(clock)),
      on_publish_(std::move(on_publish)),
      generation_gauge_(metrics.gauge("roster_agent_generation", "Published generation")),
      users_gauge_(metrics.gauge("roster_agent_users", "People in the published generation")),
      groups_gauge_(metrics.gauge("roster_agent_groups", "Groups in the published generation")),
      masked_gauge_(metrics.gauge("roster_agent_masked_records",
                                  "People and groups hidden by local accounts")),
      denied_gauge_(metrics.gauge("roster_agent_denied_users", "People locked by the deny file")),
      contact_gauge_(metrics.gauge("roster_agent_contact_timestamp_seconds",
                                   "When the hub last confirmed the published generation")),
      reserve_gauge_(metrics.gauge("roster_agent_reserve_bytes",
                                   "Disk space kept for lockouts; little: the disk is full")),
      publish_seconds_(metrics.histogram("roster_agent_publish_seconds",
                                         "Time to write and switch to a new generation")),
      bytes_counter_(
          metrics.counter("roster_agent_published_bytes_total", "Bytes of images written")),
      merges_counter_(
          metrics.counter("roster_agent_merges_total", "Publications with a new base")) {}

Result<void> NodeCache::open(const std::string& org, const std::string& view) {
  const std::lock_guard lock(mutex_);
  if (publisher_ && org_ == org && view_ == view) return {};
  org_ = org;
  view_ = view;
  return open_locked();
}

Result<void> NodeCache::open_locked() {
  publisher_.reset();
  stage_ = Stage::kIdle;
  nsscache::PublisherOptions options;
  options.directory = config_.cache_dir;
  options.org = org_;
  options.view = view_;
  options.publish_keys = config_.keys;
  options.allow_any_filesystem = config_.allow_any_filesystem;
  if (config_.keys) {
    options.keys_group = find_gid(config_.keys_group);
    if (!options.keys_group && !config_.keys_group.empty()) {
      log::warn("group of the key helper does not exist; only the agent can read the keys file",
                {{"group", config_.keys_group}});
    }
  }
  ASSIGN_OR_RETURN(publisher_, nsscache::Publisher::open(std::move(options), clock_()));
  ++openings_;
  publisher_->set_max_stale(std::chrono::ceil<std::chrono::seconds>(config_.max_stale));
  if (rules_) publisher_->set_local_rules(*rules_);
  // The files may have changed while we were away.
  rules_unpublished_ = rules_ && publisher_->generation() > 0;
  highest_id_ = std::max(highest_id_, publisher_->highest_id());
  set_gauges_locked();
  return {};
}

/// A cache that was closed because it could not be opened anew: nobody's lockout waits for the hub
/// to be there.
Result<void> NodeCache::reopen_closed_locked() {
  if (publisher_ || org_.empty()) return {};
  return on_this_node(open_locked());
}

Result<void> NodeCache::begin(feed::Kind kind) {
  const std::lock_guard lock(mutex_);
  CHECK(!org_.empty());
  forget_locked();
  RETURN_IF_ERROR(reopen_closed_locked());
  const bool unknown = !rules_ || rules_->masks_unknown || rules_->denials_unknown;
  if (!rules_ || (unknown && publisher_->generation() == 0)) {
    return fail(Code::kFailedPrecondition,
                "the local accounts are not known, so nothing is served yet", kLocal);
  }
  if (kind == feed::Kind::kSnapshot) {
    if (auto begun = publisher_->begin_replace(); !begun) {
      reopen_damaged_locked(begun.error());
      return on_this_node(std::move(begun));
    }
  }
  kind_ = kind;
  stage_ = Stage::kCollecting;
  takes_access_away_ = false;
  applied_ = false;
  return {};
}

Result<void> NodeCache::note_user_locked(const posix::NodeUser& user) {
  highest_id_ = std::max({highest_id_, user.uid, user.gid});
  if (kind_ == feed::Kind::kSnapshot) return {};
  const auto before = publisher_->find_user(user.n);
  if (!before) return {};
  if (before->seq > user.seq) return goes_back("user", user.n);
  takes_access_away_ |= lost_access(*before, user);
  return {};
}

Result<void> NodeCache::apply_record_locked(feed::Message&& message) {
  if (auto* user = std::get_if<posix::NodeUser>(&message)) {
    RETURN_IF_ERROR(note_user_locked(*user));
    return publisher_->upsert_user(std::move(*user));
  }
  if (auto* group = std::get_if<posix::NodeGroup>(&message)) {
    highest_id_ = std::max(highest_id_, group->gid);
    if (kind_ == feed::Kind::kDelta) {
      const auto before = publisher_->find_group(group->n);
      if (before && before->seq > group->seq) return goes_back("group", group->n);
      takes_access_away_ |= before && !std::ranges::includes(group->parents, before->parents);
    }
    return publisher_->upsert_group(std::move(*group));
  }
  if (const auto* gone = std::get_if<feed::UserGone>(&message)) {
    takes_access_away_ |= publisher_->find_user(gone->n).has_value();
    return publisher_->remove_user(gone->n, gone->seq);
  }
  const auto* gone = std::get_if<feed::GroupGone>(&message);
  CHECK(gone != nullptr);
  takes_access_away_ |= publisher_->find_group(gone->n).has_value();
  return publisher_->remove_group(gone->n, gone->seq);
}

Result<void> NodeCache::apply(feed::Message message) {
  const std::lock_guard lock(mutex_);
  if (stage_ != Stage::kCollecting) return interrupted();
  applied_ = true;
  auto applied = apply_record_locked(std::move(message));
  if (applied) return applied;
  reopen_damaged_locked(applied.error());
  // A bound that a record breaks is the hub's doing; all else is the cache's.
  if (applied.error().code == Code::kInvalidArgument) return applied;
  return on_this_node(std::move(applied));
}

Result<void> NodeCache::check_shrinkage_locked() const {
  ASSIGN_OR_RETURN(const nsscache::Shrinkage s, on_this_node(publisher_->shrinkage()));
  if (!nsscache::is_landslide(s.users_before, s.users_lost) &&
      !nsscache::is_landslide(s.groups_before, s.groups_lost)) {
    return {};
  }
  return fail(Code::kFailedPrecondition,
              "the hub's snapshot would take away " + std::to_string(s.users_lost) + " of " +
                  std::to_string(s.users_before) + " people and " + std::to_string(s.groups_lost) +
                  " of " + std::to_string(s.groups_before) +
                  " groups; confirm it at the hub or mend the hub",
              kShrinks);
}

Result<void> NodeCache::complete(std::string cursor, std::string epoch, bool shrink_ok) {
  const std::lock_guard lock(mutex_);
  if (stage_ != Stage::kCollecting) return interrupted();
  if (kind_ == feed::Kind::kSnapshot && !shrink_ok) {
    if (auto checked = check_shrinkage_locked(); !checked) {
      reopen_damaged_locked(checked.error());
      forget_locked();
      return checked;
    }
  }
  pending_cursor_ = std::move(cursor);
  pending_epoch_ = std::move(epoch);
  transfer_published_ = false;
  stage_ = Stage::kComplete;
  return {};
}

void NodeCache::abort() {
  const std::lock_guard lock(mutex_);
  forget_locked();
}

void NodeCache::forget_locked() {
  if (!publisher_ || stage_ == Stage::kIdle) return;
  stage_ = Stage::kIdle;
  auto discarded = publisher_->discard();
  if (discarded) {
    if (rules_) publisher_->set_local_rules(*rules_);
    return;
  }
  reopen_locked(discarded.error());
}

/// What does not verify under the mapping fails at every try, and files that do not are not taken
/// up again. Only for errors of the publisher: the hub's data is not damage of this cache.
void NodeCache::reopen_damaged_locked(const Error& error) {
  if (error.code == Code::kDataLoss) reopen_locked(error);
}

void NodeCache::reopen_locked(const Error& error) {
  log::error("the cache is damaged: it is opened anew", {{"error", error.message}});
  if (auto opened = open_locked(); !opened) {
    log::error("cannot open the cache", {{"error", opened.error().message}});
  }
}

Result<nsscache::PublishStats> NodeCache::publish() {
  std::unique_lock lock(mutex_);
  if (stage_ == Stage::kIdle) {
    // A rule that changed since complete() took the transfer along, or lost it.
    if (!transfer_published_) return interrupted();
    return nsscache::PublishStats{.generation = publisher_->generation()};
  }
  CHECK(stage_ == Stage::kComplete);
  const std::uint64_t before = publisher_->generation();
  auto published = publish_locked();
  // What a transfer fails by must not hold local rules back.
  if (!published && publisher_ && rules_unpublished_) {
    if (auto rules = publish_locked(); !rules) {
      log::warn("cannot publish local rules", {{"error", rules.error().message}});
    }
  }
  announce_since(before, std::move(lock));
  return published;
}

void NodeCache::announce_since(std::uint64_t before, std::unique_lock<std::mutex> lock) {
  const std::uint64_t now = publisher_ ? publisher_->generation() : 0;
  lock.unlock();
  if (now > before) on_publish_(now);
}

/// Arrivals wait for the disk; what takes access away does not, nor what puts removed files back. A
/// snapshot is too much for the reserve whatever it holds, and whatever rules wait with it.
nsscache::Urgency NodeCache::urgency_locked() const {
  const bool arrivals =
      stage_ == Stage::kComplete && (kind_ == feed::Kind::kSnapshot || !takes_access_away_);
  return arrivals ? nsscache::Urgency::kOrdinary : nsscache::Urgency::kRevocation;
}

Result<nsscache::PublishStats> NodeCache::publish_locked() {
  const bool transfer = stage_ == Stage::kComplete;
  const std::string cursor = transfer ? pending_cursor_ : publisher_->cursor();
  const std::string epoch = transfer ? pending_epoch_ : publisher_->epoch();
  const std::uint64_t openings = openings_;
  const Stage after = transfer ? Stage::kIdle : stage_;  // a delta without records goes on
  const auto begin = std::chrono::steady_clock::now();
  auto stats = publisher_->publish(cursor, epoch, clock_(), urgency_locked());
  reserve_gauge_.set(static_cast<double>(publisher_->reserve().bytes));
  if (!stats) {
    const bool full = stats.error().code == Code::kUnavailable;
    if (transfer && full && urgency_locked() == nsscache::Urgency::kRevocation) {
      publish_leavers_locked();
    }
    reopen_damaged_locked(stats.error());
    forget_locked();
    stage_ = publisher_ && openings == openings_ ? after : Stage::kIdle;
    Error error = std::move(stats.error());
    error.keyword = error.code == Code::kAlreadyExists ? kClash : kLocal;
    return std::unexpected(std::move(error));
  }
  stage_ = after;
  transfer_published_ |= transfer;
  rules_unpublished_ = false;
  if (!stats->published) return *stats;
  if (stats->from_reserve) {
    log::warn("the disk of the cache is full: published from the reserve",
              {{"generation", stats->generation}, {"reserve_bytes", publisher_->reserve().bytes}});
  }
  publish_seconds_.observe(
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  bytes_counter_.add(static_cast<double>(stats->bytes_written));
  if (stats->merged) merges_counter_.add();
  set_gauges_locked();
  return *stats;
}

/// Not even the reserve has room for all of a delta: what it takes away must not wait for those who
/// come with it. With the old position, so that all of it comes again.
void NodeCache::publish_leavers_locked() {
  if (auto forgotten = publisher_->forget_arrivals(); !forgotten) {
    reopen_damaged_locked(forgotten.error());
    return;
  }
  const std::string cursor = publisher_->cursor();
  const std::string epoch = publisher_->epoch();
  const auto stats = publisher_->publish(cursor, epoch, clock_(), nsscache::Urgency::kRevocation);
  reserve_gauge_.set(static_cast<double>(publisher_->reserve().bytes));
  if (!stats) {
    log::error("the disk of the cache is full: cannot lock people out",
               {{"error", stats.error().message}});
    reopen_damaged_locked(stats.error());
    return;
  }
  rules_unpublished_ = false;
  log::warn("the disk of the cache is full: published without those who are new",
            {{"generation", stats->generation}});
  bytes_counter_.add(static_cast<double>(stats->bytes_written));
  set_gauges_locked();
}

bool NodeCache::takes_access_away() const {
  const std::lock_guard lock(mutex_);
  return takes_access_away_;
}

std::uint32_t NodeCache::highest_id() const {
  const std::lock_guard lock(mutex_);
  return highest_id_;
}

bool NodeCache::holds_records_locked() const {
  return stage_ == Stage::kCollecting && (applied_ || kind_ == feed::Kind::kSnapshot);
}

Result<void> NodeCache::set_rules(nsscache::LocalRules rules, bool urgent) {
  {
    const std::lock_guard lock(mutex_);
    rules_ = std::move(rules);
    if (publisher_) {
      publisher_->set_local_rules(*rules_);
      if (publisher_->generation() == 0) return {};
      rules_unpublished_ = true;
    }
    if (holds_records_locked()) {
      if (!urgent) return {};
      forget_locked();  // the transfer's next step notices
    }
  }
  return mend();
}

Result<void> NodeCache::mend() {
  std::unique_lock lock(mutex_);
  const std::uint64_t before = publisher_ ? publisher_->generation() : 0;
  RETURN_IF_ERROR(reopen_closed_locked());
  if (!publisher_ || !rules_ || holds_records_locked()) return {};
  const std::uint64_t openings = openings_;
  const bool transfer = stage_ == Stage::kComplete;
  if (!rules_unpublished_ && (transfer || publisher_->generation() == 0)) return {};
  auto published = publish_locked();
  // Without the transfer, which begins anew, or into what verified.
  const bool again = transfer || openings != openings_;
  if (!published && again && publisher_ && rules_unpublished_) published = publish_locked();
  announce_since(before, std::move(lock));
  if (!published) return std::unexpected(std::move(published.error()));
  return {};
}

bool NodeCache::touch_contact(std::uint64_t openings, std::optional<Timestamp> hub_time) {
  const std::lock_guard lock(mutex_);
  if (!publisher_ || openings != openings_ || publisher_->generation() == 0) return false;
  const Timestamp now = clock_();
  publisher_->touch_contact(now, hub_time);
  contact_gauge_.set(static_cast<double>(to_millis(now)) / 1000);
  return true;
}

std::optional<Timestamp> NodeCache::remove_retired() {
  const std::lock_guard lock(mutex_);
  if (!publisher_) return std::nullopt;
  return publisher_->remove_retired(clock_());
}

NodeCache::View NodeCache::view() const {
  const std::lock_guard lock(mutex_);
  View out;
  if (!publisher_) return out;
  out.generation = publisher_->generation();
  out.org = org_;
  out.view = view_;
  out.cursor = publisher_->cursor();
  out.epoch = publisher_->epoch();
  out.counts = publisher_->counts();
  out.contact = publisher_->contact();
  out.masked = publisher_->masked(kMaskedReportMax);
  out.reserve = publisher_->reserve();
  if (rules_) out.denied_rules = rules_->denied_names.size() + rules_->denied_uids.size();
  return out;
}

std::uint64_t NodeCache::generation() const {
  const std::lock_guard lock(mutex_);
  return publisher_ ? publisher_->generation() : 0;
}

std::uint64_t NodeCache::openings() const {
  const std::lock_guard lock(mutex_);
  return openings_;
}

bool NodeCache::has_unpublished_rules() const {
  const std::lock_guard lock(mutex_);
  return rules_unpublished_;
}

Result<nsscache::ServedGeneration> NodeCache::served() const {
  const std::lock_guard lock(mutex_);
  if (!publisher_) return fail(Code::kUnavailable, "there is no cache");
  return publisher_->served();
}

std::optional<posix::NodeUser> NodeCache::find_user(std::string_view login) const {
  const std::lock_guard lock(mutex_);
  return publisher_ ? publisher_->find_user(login) : std::nullopt;
}

bool NodeCache::serves_user(std::string_view login) const {
  const std::lock_guard lock(mutex_);
  return publisher_ && publisher_->serves_user(login);
}

void NodeCache::set_gauges_locked() {
  const nsscache::CacheCounts counts = publisher_->counts();
  generation_gauge_.set(static_cast<double>(publisher_->generation()));
  users_gauge_.set(static_cast<double>(counts.users));
  groups_gauge_.set(static_cast<double>(counts.groups));
  masked_gauge_.set(static_cast<double>(counts.masked_users + counts.masked_groups));
  denied_gauge_.set(static_cast<double>(counts.denied_users));
  reserve_gauge_.set(static_cast<double>(publisher_->reserve().bytes));
}

}  // namespace roster::agent
