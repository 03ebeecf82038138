#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/result.h"
#include "slurm/rest.h"

namespace roster::slurm {

/// A batch job to submit, in the words of every version that we know.
struct JobRequest {
  std::string name;
  std::string script;     // begins with "#!"
  std::string directory;  // working directory
  std::string account;    // empty: the user's default
};

/// Body of POST /slurm/v0.0.N/job/submit. Its output goes to /dev/null.
json::object job_body(ApiVersion version, const JobRequest& job);

struct JobState {
  std::uint32_t id = 0;
  std::string state;   // "PENDING", "RUNNING", "COMPLETED", "FAILED", ...
  std::string reason;  // why it is pending
  std::string user;    // as whom it runs
  std::string account;
  bool over() const;
};

/// Of the answer to job/submit. kDataLoss when it has none.
Result<std::uint32_t> submitted_id(const json::object& body);
/// The first of `jobs`. kNotFound when there is none, kDataLoss for another form.
Result<JobState> first_job(const json::object& body);

}  // namespace roster::slurm
