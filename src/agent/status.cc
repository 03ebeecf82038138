#include "agent/status.h"

#include <utility>

#include "base/json.h"

namespace roster::agent {
namespace {

json::array strings(const std::vector<std::string>& items) {
  json::array out;
  for (const std::string& item : items) out.emplace_back(item);
  return out;
}

json::value time_or_null(const std::optional<Timestamp>& time) {
  if (!time) return nullptr;
  return json::value(json::string(format_rfc3339(*time)));
}

json::object cache_json(const NodeCache::View& cache, Timestamp now) {
  json::object o;
  o["generation"] = cache.generation;
  o["epoch"] = cache.epoch;
  o["cursor"] = cache.cursor;
  o["users"] = cache.counts.users;
  o["groups"] = cache.counts.groups;
  o["masked_users"] = cache.counts.masked_users;
  o["masked_groups"] = cache.counts.masked_groups;
  o["masked"] = strings(cache.masked);
  o["denied_users"] = cache.counts.denied_users;
  o["deny_entries"] = cache.denied_rules;
  o["reserve_bytes"] = cache.reserve.bytes;
  o["contact"] = time_or_null(cache.contact);
  o["contact_age_s"] =
      cache.contact ? json::value((to_millis(now) - to_millis(*cache.contact)) / 1000) : nullptr;
  return o;
}

/// Full disks hold nothing back that takes access away, but somebody should make room.
json::array disk_problems(const NodeCache::View& cache, const std::string& state_problem) {
  json::array out;
  if (cache.reserve.bytes < cache.reserve.wanted) {
    out.emplace_back(
        "the disk of the cache directory is full: " + std::to_string(cache.reserve.bytes) + " of " +
        std::to_string(cache.reserve.wanted) + " bytes are kept for lockouts");
  }
  if (!state_problem.empty()) out.emplace_back("the state directory: " + state_problem);
  return out;
}

}  // namespace

std::string_view phase_name(Phase phase) {
  switch (phase) {
    case Phase::kStarting:
      return "starting";
    case Phase::kEnrolling:
      return "enrolling";
    case Phase::kFollowing:
      return "following";
    case Phase::kUnreachable:
      return "unreachable";
    case Phase::kRefused:
      return "refused";
  }
  return "";
}

void StatusBoard::set_enrollment(const feed::Enrollment& enrollment) {
  const std::lock_guard lock(mutex_);
  node_id_ = enrollment.node_id;
  cluster_ = enrollment.cluster;
  role_ = enrollment.role;
  credential_expires_ = enrollment.expires;
}

void StatusBoard::set_phase(Phase phase) {
  const std::lock_guard lock(mutex_);
  phase_ = phase;
  last_error_.clear();
  last_error_code_ = {};
  failing_since_.reset();
}

Phase StatusBoard::phase() const {
  const std::lock_guard lock(mutex_);
  return phase_;
}

void StatusBoard::set_failure(Phase phase, const Error& error, Timestamp now) {
  const std::lock_guard lock(mutex_);
  phase_ = phase;
  last_error_ = error.message;
  last_error_code_ = error.keyword.empty() ? code_name(error.code) : error.keyword;
  if (!failing_since_) failing_since_ = now;
}

void StatusBoard::set_hub_seq(Seq seq) {
  const std::lock_guard lock(mutex_);
  hub_seq_ = seq;
}

void StatusBoard::set_position(std::string cursor) {
  const std::lock_guard lock(mutex_);
  position_ = std::move(cursor);
}

void StatusBoard::set_highest_id(std::uint32_t id) {
  const std::lock_guard lock(mutex_);
  highest_id_ = id;
}

void StatusBoard::set_state_problem(std::string problem) {
  const std::lock_guard lock(mutex_);
  state_problem_ = std::move(problem);
}

void StatusBoard::set_mirror(std::string pass) {
  const std::lock_guard lock(mutex_);
  mirror_ = std::move(pass);
}

void StatusBoard::set_rule_problems(std::vector<std::string> problems, bool known) {
  const std::lock_guard lock(mutex_);
  rules_known_ = known;
  rule_problems_ = std::move(problems);
}

std::string StatusBoard::to_json(const NodeCache::View& cache, Timestamp now) const {
  const std::lock_guard lock(mutex_);
  json::object o;
  o["version"] = ROSTER_VERSION;
  o["phase"] = phase_name(phase_);
  o["hub"] = hub_url_;
  o["node_id"] = node_id_;
  o["org"] = cache.org;
  o["cluster"] = cluster_;
  o["view"] = cache.view;
  o["role"] = role_;
  o["credential_expires"] = time_or_null(credential_expires_);
  o["position"] = position_;
  const auto position = feed::Cursor::decode(position_);
  o["seq"] = position ? position->seq.value : 0;
  o["hub_seq"] = hub_seq_.value;
  o["highest_id"] = highest_id_;
  o["cache"] = cache_json(cache, now);
  o["rules_known"] = rules_known_;
  o["rule_problems"] = strings(rule_problems_);
  o["disk_problems"] = disk_problems(cache, state_problem_);
  if (!last_error_.empty()) {
    o["error"] = json::object{{"code", json::value(json::string(last_error_code_))},
                              {"message", json::value(json::string(last_error_))},
                              {"since", time_or_null(failing_since_)}};
  }
  if (!mirror_.empty()) {
    constexpr json::Limits kLimits{.bytes_max = 64 << 20};
    if (auto pass = json::parse(mirror_, kLimits)) o["mirror"] = std::move(*pass);
  }
  return json::serialize(o);
}

}  // namespace roster::agent
