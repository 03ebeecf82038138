#include "slurm/job.h"

#include <algorithm>
#include <array>

namespace roster::slurm {
namespace {

// slurmrestd demands an environment; the first version with a list in the place of an object, and
// the first with {set, infinite, number} in the place of numbers.
constexpr ApiVersion kEnvironmentList{39};
constexpr ApiVersion kNumberObjects{40};
constexpr std::string_view kPath = "/usr/local/bin:/usr/bin:/bin";

constexpr std::array<std::string_view, 3> kStillThere = {"PENDING", "RUNNING", "SUSPENDED"};
constexpr std::array<std::string_view, 5> kPassing = {"COMPLETING", "CONFIGURING", "REQUEUED",
                                                      "RESIZING", "SIGNALING"};

std::string text_of(const json::object& o, std::string_view name) {
  return std::string(json::find_string(o, name).value_or(""));
}

/// "PENDING", or the first of ["PENDING", ...].
std::string state_of(const json::object& job) {
  if (const json::array* states = json::find_array(job, "job_state")) {
    if (!states->empty() && states->front().is_string()) {
      return std::string(json::view(states->front().get_string()));
    }
    return {};
  }
  return text_of(job, "job_state");
}

}  // namespace

json::object job_body(ApiVersion version, const JobRequest& job) {
  json::object description{{"name", job.name},
                           {"current_working_directory", job.directory},
                           {"standard_output", "/dev/null"},
                           {"standard_error", "/dev/null"},
                           {"tasks", 1}};
  if (!job.account.empty()) description["account"] = job.account;
  if (version < kEnvironmentList) {
    description["environment"] = json::object{{"PATH", kPath}};
  } else {
    description["environment"] = json::array{"PATH=" + std::string(kPath)};
  }
  constexpr int kMinutes = 1;
  if (version < kEnvironmentList) {
    description["time_limit"] = kMinutes;
  } else if (version >= kNumberObjects) {
    description["time_limit"] = json::object{{"set", true}, {"number", kMinutes}};
  }
  return {{"script", job.script}, {"job", std::move(description)}};
}

bool JobState::over() const {
  return !state.empty() && std::ranges::find(kStillThere, state) == kStillThere.end() &&
         std::ranges::find(kPassing, state) == kPassing.end();
}

Result<std::uint32_t> submitted_id(const json::object& body) {
  const std::int64_t id = json::find_int(body, "job_id").value_or(0);
  if (id > 0 && id <= 0xffff'ffff) return static_cast<std::uint32_t>(id);
  return fail(Code::kDataLoss, "slurmrestd took the job and gave no number for it");
}

Result<JobState> first_job(const json::object& body) {
  const json::array* jobs = json::find_array(body, "jobs");
  if (jobs == nullptr) return fail(Code::kDataLoss, "slurmrestd's answer has no jobs");
  if (jobs->empty()) return fail(Code::kNotFound, "there is no such job");
  const json::object* job = jobs->front().if_object();
  if (job == nullptr) return fail(Code::kDataLoss, "slurmrestd's job is no object");
  JobState state;
  state.id = static_cast<std::uint32_t>(json::find_int(*job, "job_id").value_or(0));
  state.state = state_of(*job);
  state.reason = text_of(*job, "state_reason");
  state.user = text_of(*job, "user_name");
  state.account = text_of(*job, "account");
  return state;
}

}  // namespace roster::slurm
