#include "agent/commands.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "agent/errors.h"
#include "agent/join.h"
#include "agent/seed.h"
#include "agent/state.h"
#include "agent/status.h"
#include "base/encoding.h"
#include "base/json.h"
#include "http/client.h"

namespace roster::agent {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kControlTimeout{10'000};
constexpr milliseconds kNoAgentPause{100};
constexpr milliseconds kWaitMax{3'600'000};  // of one request

Result<std::unique_ptr<http::Client>> control_client(const Config& config) {
  http::ClientOptions options;
  options.url = "unix:" + config.socket.string();
  options.timeout = kControlTimeout;
  return http::Client::create(std::move(options));
}

std::string text_of(const json::object& o, std::string_view name) {
  const json::value* found = json::find(o, name);
  if (found == nullptr || found->is_null()) return "-";
  if (const json::string* text = found->if_string()) {
    return text->empty() ? "-" : std::string(json::view(*text));
  }
  return json::serialize(*found);
}

void put(std::string& out, std::string_view label, const std::string& value) {
  std::string line(label);
  line.resize(14, ' ');
  out += line + value + '\n';
}

std::string status_table(const json::object& status) {
  std::string out;
  put(out, "phase", text_of(status, "phase"));
  put(out, "hub", text_of(status, "hub"));
  put(out, "organization", text_of(status, "org"));
  put(out, "node",
      text_of(status, "node_id") + "  cluster " + text_of(status, "cluster") + ", view " +
          text_of(status, "view") + ", role " + text_of(status, "role"));
  if (const json::object* cache = json::find_object(status, "cache")) {
    put(out, "generation",
        text_of(*cache, "generation") + "  change " + text_of(status, "seq") + " of " +
            text_of(status, "hub_seq"));
    put(out, "records",
        text_of(*cache, "users") + " people, " + text_of(*cache, "groups") + " groups");
    put(out, "masked",
        text_of(*cache, "masked_users") + " people, " + text_of(*cache, "masked_groups") +
            " groups");
    put(out, "denied", text_of(*cache, "denied_users") + " people");
    put(out, "contact",
        text_of(*cache, "contact") + "  " + text_of(*cache, "contact_age_s") + " s ago");
  }
  if (const json::object* error = json::find_object(status, "error")) {
    put(out, "error", text_of(*error, "message") + "  (since " + text_of(*error, "since") + ")");
  }
  for (const std::string_view kind : {"disk_problems", "rule_problems"}) {
    const json::array* problems = json::find_array(status, kind);
    if (problems == nullptr) continue;
    for (const json::value& problem : *problems) {
      if (problem.is_string()) put(out, "problem", std::string(json::view(problem.get_string())));
    }
  }
  return out;
}

int status_of(const json::object& status) {
  const std::string_view phase = json::find_string(status, "phase").value_or("");
  const json::object* error = json::find_object(status, "error");
  const bool local = error != nullptr && json::find_string(*error, "code") == kLocal;
  if (phase == phase_name(Phase::kRefused)) return local ? kExitFailed : kExitRefused;
  if (phase != phase_name(Phase::kFollowing)) return kExitUnreachable;
  const json::array* problems = json::find_array(status, "disk_problems");
  const bool full = problems != nullptr && !problems->empty();
  return full || !json::find_bool(status, "rules_known").value_or(true) ? kExitFailed : kExitOk;
}

}  // namespace

std::string_view version() { return ROSTER_VERSION; }

int exit_status(const Error& error) {
  if (error.keyword == kLocal) return kExitFailed;
  switch (error.code) {
    case Code::kUnavailable:
    case Code::kDataLoss:
    case Code::kVersionMismatch:
      return kExitUnreachable;
    case Code::kUnauthenticated:
    case Code::kAlreadyExists:
    case Code::kFailedPrecondition:
      return kExitRefused;
    case Code::kInvalidArgument:
    case Code::kNotFound:
    case Code::kPermissionDenied:
    case Code::kTooLarge:
    case Code::kUnsupported:
    case Code::kInternal:
      return kExitFailed;
  }
  return kExitFailed;
}

Result<CommandOutput> show_status(const Config& config, bool as_json) {
  ASSIGN_OR_RETURN(const auto client, control_client(config));
  http::ClientRequest request;
  request.target = "/status";
  ASSIGN_OR_RETURN(const http::ClientResponse response, client->call(request));
  if (response.status != 200) {
    return fail(Code::kUnavailable, "the agent answered " + std::to_string(response.status));
  }
  ASSIGN_OR_RETURN(const json::value parsed, json::parse(response.body));
  if (!parsed.is_object()) return fail(Code::kInternal, "the agent's status is no object");
  const json::object& status = parsed.get_object();
  CommandOutput out;
  out.text = as_json ? response.body + "\n" : status_table(status);
  out.status = status_of(status);
  return out;
}

Result<void> wait_ready(const Config& config, std::string_view user, milliseconds timeout) {
  const auto deadline = steady_clock::now() + timeout;
  ASSIGN_OR_RETURN(const auto client, control_client(config));
  std::string why = "no agent answers at " + config.socket.string();
  while (true) {
    const auto left = std::chrono::duration_cast<milliseconds>(deadline - steady_clock::now());
    if (left.count() <= 0) return fail(Code::kUnavailable, "not ready in time: " + why);
    const auto seconds = std::chrono::floor<std::chrono::seconds>(std::min(left, kWaitMax));
    http::ClientRequest request;
    request.target = "/wait?seconds=" + std::to_string(seconds.count());
    if (!user.empty()) request.target += "&user=" + percent_encode(user);
    request.timeout = seconds + kControlTimeout;
    const auto response = client->call(request);
    if (response && response->status == 200) return {};
    if (response) why = user.empty() ? "no generation yet" : "this login is not served yet";
    std::this_thread::sleep_for(std::min(left, kNoAgentPause));
  }
}

Result<void> make_seed(const Config& config, const std::filesystem::path& file,
                       const RandomBytes& random) {
  ASSIGN_OR_RETURN(const StateDir state, StateDir::open(config.state_dir));
  ASSIGN_OR_RETURN(auto enrollment, state.load_enrollment());
  if (!enrollment) {
    ASSIGN_OR_RETURN(enrollment, join(config, state, 0, random));
  }
  return write_seed(config, *enrollment, file);
}

}  // namespace roster::agent
