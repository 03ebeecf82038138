#include "clusters/gateway.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/encoding.h"
#include "base/log.h"
#include "base/unicode.h"
#include "http/respond.h"
#include "http/router.h"
#include "slurm/rest.h"

namespace roster::clusters {
namespace {

using directory::Actor;
using directory::Cluster;
using directory::Scope;

constexpr std::chrono::minutes kTokenTtl{5};
constexpr std::size_t kUpstreamsMax = 1000;
constexpr std::size_t kJudgeBytesMax = 256 << 10;
constexpr std::string_view kBusy = "busy";
constexpr std::string_view kUserHeader = "X-SLURM-USER-NAME";
constexpr std::string_view kTokenHeader = "X-SLURM-USER-TOKEN";

int status_of(Code code) {
  switch (code) {
    case Code::kInvalidArgument:
      return 400;
    case Code::kNotFound:
      return 404;
    case Code::kAlreadyExists:
    case Code::kVersionMismatch:
    case Code::kFailedPrecondition:
      return 409;
    case Code::kUnauthenticated:
      return 401;
    case Code::kPermissionDenied:
      return 403;
    case Code::kTooLarge:
      return 413;
    case Code::kUnsupported:
      return 405;
    case Code::kUnavailable:
      return 503;
    case Code::kDataLoss:
    case Code::kInternal:
      return 500;
  }
  return 500;
}

/// In the form of slurmrestd's own errors, which its clients read.
http::Response refusal(int status, std::string_view sentence) {
  http::Response response = http::json_response(
      status, json::object{{"errors", json::array{json::object{{"description", sentence},
                                                               {"error_number", status},
                                                               {"error", "refused by Roster"},
                                                               {"source", "roster"}}}}});
  if (status == 401) response.headers.set("WWW-Authenticate", "Bearer realm=\"roster\"");
  if (status == 429 || status == 503) response.headers.set("Retry-After", "1");
  return response;
}

/// slurmrestd 22.05 takes each piece of a request line that arrives by itself for a new path, so
/// that one that spans segments of TCP might end as another than was judged. This fits into the
/// first.
constexpr std::size_t kPathBytesMax = 400;

/// What changes something is told to the audit, also where it is a GET.
bool is_write(std::string_view method, const std::vector<std::string>& segments) {
  static const Access reading = *Access::parse(default_read_access());
  return !reading.allows(method, segments);
}

/// Slashes are data there; likewise because of the above.
std::string safe_query(std::string_view query) {
  std::string out;
  for (const char c : query) c == '/' ? out.append("%2F") : out.append(1, c);
  return out;
}

/// The caller's token, by either way. kUnauthenticated when there is none, or two that differ.
Result<std::string_view> shown_token(const http::Request& request) {
  const std::string_view header = request.headers.get("Authorization");
  const std::string_view slurm = request.headers.get(kTokenHeader);
  constexpr std::string_view kScheme = "bearer ";
  std::string_view bearer;
  if (header.size() > kScheme.size() && ascii_iequals(header.substr(0, kScheme.size()), kScheme)) {
    bearer = header.substr(kScheme.size());
  }
  if (bearer.empty() && slurm.empty()) {
    return fail(Code::kUnauthenticated,
                "no token: send one of Roster's as Authorization: Bearer or X-SLURM-USER-TOKEN");
  }
  if (!bearer.empty() && !slurm.empty() && !constant_time_equal(bearer, slurm)) {
    return fail(Code::kUnauthenticated,
                "Authorization and X-SLURM-USER-TOKEN hold different tokens: send one");
  }
  return bearer.empty() ? slurm : bearer;
}

std::string path_of(const std::vector<std::string>& segments) {
  std::string path;
  for (const std::string& segment : segments) path += "/" + percent_encode(segment);
  return path;
}

http::Verdict judge_answer(std::string_view method, int status, http::Headers headers,
                           std::optional<std::string_view> body) {
  http::Verdict verdict{std::move(headers), std::nullopt};
  if (!body) return verdict;
  const int honest = honest_status(method, status, verdict.headers.get("Content-Type"), *body);
  if (honest == status) return verdict;
  http::Response instead;
  instead.status = honest;
  instead.headers = verdict.headers;
  if (honest != 204) instead.body = std::string(*body);
  verdict.instead = std::move(instead);
  return verdict;
}

}  // namespace

/// Who has how many requests under way.
class Gateway::Busy {
 public:
  /// Held as long as the request lasts; nothing when `who` has as many as allowed.
  static std::shared_ptr<void> seat(const std::shared_ptr<Busy>& busy, const std::string& who,
                                    std::size_t most) {
    const std::lock_guard lock(busy->mutex_);
    std::size_t& count = busy->counts_[who];
    if (count >= most) return nullptr;
    ++count;
    return {static_cast<void*>(busy.get()), [busy, who](void*) { busy->leave(who); }};
  }

 private:
  void leave(const std::string& who) {
    const std::lock_guard lock(mutex_);
    const auto found = counts_.find(who);
    if (--found->second == 0) counts_.erase(found);
  }
  std::mutex mutex_;
  std::map<std::string, std::size_t> counts_;  // guarded by mutex_
};

/// A request that may go to slurmrestd, and as whom.
struct Gateway::Asked {
  Actor actor;
  Cluster cluster;
  directory::User user;
  std::string target;  // of slurmrestd, with query
  bool writes = false;
  bool described = false;  // OpenAPI, not data
  SlurmToken token;
};

int honest_status(std::string_view method, int status, std::string_view content_type,
                  std::string_view body) {
  if (status == 304) return method == "GET" ? 304 : method == "DELETE" ? 204 : 409;
  const auto answer = slurm::parse_answer(status, content_type, body);
  if (!answer) return 502;
  if (const auto done = slurm::outcome(*answer); !done) {
    // Our own token was refused: the fault is between the hub and Slurm, not the caller's.
    if (done.error().code == Code::kUnauthenticated) return 502;
    if (done.error().code == Code::kDataLoss) return 502;
    if (status >= 300 && done.error().code == Code::kInternal) return status;
    return status_of(done.error().code);
  }
  return slurm::nobody_answers(answer->body) ? 503 : status;
}

Gateway::Gateway(directory::Directory& directory, Tokens& tokens, GatewayOptions options)
    : directory_(directory), tokens_(tokens), options_(options), busy_(std::make_shared<Busy>()) {}

Gateway::~Gateway() = default;

http::Response Gateway::handle(const http::Request& request, http::Context& context) {
  context.route = "/slurm/{cluster}/{*rest}";
  auto forwarded = forward(request, context);
  if (forwarded) return std::move(*forwarded);
  const Error& error = forwarded.error();
  return refusal(error.keyword == kBusy ? 429 : status_of(error.code), error.message);
}

Result<Actor> Gateway::authenticate(const http::Request& request, const http::Context& context) {
  ASSIGN_OR_RETURN(const std::string_view token, shown_token(request));
  ASSIGN_OR_RETURN(Actor actor, directory_.authenticate(token));
  if (!actor.org || (actor.scope != Scope::kUser && actor.scope != Scope::kRead)) {
    return fail(Code::kPermissionDenied,
                "a token of scope " + std::string(directory::scope_name(actor.scope)) +
                    " acts as nobody in Slurm: use one of scope user or read");
  }
  actor.remote = context.remote;
  actor.request_id = context.request_id;
  return actor;
}

Result<directory::User> Gateway::person_of(const Actor& actor, const Cluster& cluster) {
  if (actor.user) {
    const std::array own{*actor.user};
    ASSIGN_OR_RETURN(auto found, directory_.get_users(actor, *actor.org, own, {}));
    if (!found.items.empty()) return std::move(found.items.front());
    return fail(Code::kPermissionDenied, "the token's person is gone");
  }
  if (cluster.settings.read_user.empty()) {
    return fail(Code::kPermissionDenied,
                "the cluster " + cluster.name +
                    " has no read_user, so tokens of scope read see nothing of it");
  }
  auto found = directory_.find_user(*actor.org, cluster.settings.read_user, {});
  const bool known = found && found->posix && found->posix->name == cluster.settings.read_user;
  if ((found && !known) || (!found && found.error().code == Code::kNotFound)) {
    return fail(Code::kPermissionDenied, "the cluster's read_user is nobody of the directory");
  }
  return found;
}

Result<std::shared_ptr<http::Upstream>> Gateway::upstream(const Cluster& cluster,
                                                          std::string_view login) {
  const directory::ClusterSettings settings = directory::for_person(cluster.settings, login);
  if (settings.endpoint.empty()) {
    return fail(Code::kUnavailable, "the cluster " + cluster.name + " has no slurmrestd");
  }
  const std::string key = std::to_string(cluster.n) + '\n' + settings.endpoint + '\n' +
                          settings.ca_file + '\n' + (settings.plain_http ? "plain" : "");
  const std::lock_guard lock(mutex_);
  if (const auto known = upstreams_.find(key); known != upstreams_.end()) return known->second;
  http::UpstreamOptions options;
  options.name = "slurmrestd of cluster " + cluster.name;
  options.url = settings.endpoint;
  if (!settings.ca_file.empty()) options.ca_file = settings.ca_file;
  options.allow_plain_http = settings.plain_http;
  options.forwards_max = options_.forwards_max;
  auto made = http::Upstream::create(std::move(options));
  if (!made) {
    log::error("a cluster's slurmrestd cannot be asked",
               {{"cluster", cluster.name}, {"error", made.error().message}});
    return fail(Code::kUnavailable, "the cluster's endpoint cannot be used");
  }
  // Settings that were changed leave theirs behind; requests under way keep them alive.
  if (upstreams_.size() >= kUpstreamsMax) upstreams_.clear();
  upstreams_.emplace(key, *made);
  return *made;
}

Result<Gateway::Asked> Gateway::judge_request(const http::Request& request,
                                              const http::Context& context) {
  Asked asked;
  ASSIGN_OR_RETURN(asked.actor, authenticate(request, context));
  ASSIGN_OR_RETURN(std::vector<std::string> segments, http::decode_path(request.path));
  if (segments.size() < 3) {
    return fail(Code::kNotFound, "a path is /slurm/CLUSTER/ and one of slurmrestd's");
  }
  ASSIGN_OR_RETURN(asked.cluster, directory_.find_cluster(*asked.actor.org, segments[1]));
  segments.erase(segments.begin(), segments.begin() + 2);
  const directory::ClusterSettings& settings = asked.cluster.settings;
  const bool person = asked.actor.scope == Scope::kUser;
  const auto& own = person ? settings.user_access : settings.read_access;
  const auto& built_in = person ? default_user_access() : default_read_access();
  ASSIGN_OR_RETURN(const Access access, Access::parse(own.empty() ? built_in : own));
  if (!access.allows(request.method, segments)) {
    return fail(Code::kPermissionDenied, "the cluster's policy for tokens of scope " +
                                             std::string(directory::scope_name(asked.actor.scope)) +
                                             " does not allow this");
  }
  ASSIGN_OR_RETURN(asked.user, person_of(asked.actor, asked.cluster));
  auto token = tokens_.for_person(asked.cluster, asked.user, kTokenTtl);
  if (!token && token.error().keyword == kNoToken) {
    return fail(Code::kPermissionDenied, token.error().message);
  }
  if (!token) {
    log::error("no token for a cluster can be signed",
               {{"cluster", asked.cluster.name}, {"error", token.error().message}});
    return fail(Code::kUnavailable, "the hub cannot sign tokens for this cluster now");
  }
  asked.token = std::move(*token);
  for (const auto& [name, value] : request.headers.all()) {
    if (!ascii_iequals(name, kUserHeader) || value == asked.token.user) continue;
    return fail(Code::kPermissionDenied, "the token is " + asked.token.user +
                                             "'s: X-SLURM-USER-NAME must be that or absent");
  }
  asked.target = path_of(segments);
  if (asked.target.size() > kPathBytesMax) {
    return fail(Code::kInvalidArgument, "no path of slurmrestd's is so long");
  }
  if (!request.query.empty()) asked.target += "?" + safe_query(request.query);
  asked.writes = is_write(request.method, segments);
  asked.described = segments.front() == "openapi";
  return asked;
}

Result<http::Response> Gateway::forward(const http::Request& request,
                                        const http::Context& context) {
  ASSIGN_OR_RETURN(const Asked asked, judge_request(request, context));
  const std::string& login = asked.token.user;
  http::ForwardBody forward;
  ASSIGN_OR_RETURN(forward.upstream, upstream(asked.cluster, login));
  const auto seat =
      Busy::seat(busy_, std::to_string(asked.cluster.n) + "/" + login, options_.of_person_max);
  if (!seat) {
    return fail(Code::kUnavailable, "too many requests of " + login + " are under way", kBusy);
  }
  if (asked.writes) {
    RETURN_IF_ERROR(directory_.note_slurm_request(asked.actor, asked.cluster, asked.user,
                                                  request.method + " " + asked.target));
  }
  // slurmrestd ends the connection at a HEAD; the edge sends the head alone all the same.
  forward.method = request.method == "HEAD" ? "GET" : request.method;
  forward.target = asked.target;
  if (request.headers.has("Content-Type")) {
    forward.headers.set("Content-Type", request.headers.get("Content-Type"));
  }
  // Data is asked for in the one form that is judged.
  const std::string_view form =
      asked.described ? request.headers.get("Accept") : "application/json";
  if (!form.empty()) forward.headers.set("Accept", form);
  forward.headers.set(kUserHeader, login);
  forward.headers.set(kTokenHeader, asked.token.token.expose());
  forward.body = request.body;
  forward.answer_timeout = options_.answer_timeout;
  if (!asked.described) {
    forward.judge = [method = forward.method](int status, http::Headers headers,
                                              std::optional<std::string_view> body) {
      return judge_answer(method, status, std::move(headers), body);
    };
  }
  forward.judge_bytes_max = kJudgeBytesMax;
  forward.done = [seat, writes = asked.writes, login, cluster = asked.cluster.name,
                  request_line = request.method + " " + asked.target,
                  id = context.request_id](const http::ForwardOutcome& outcome) {
    if (!writes) return;
    log::info("slurmrestd was asked to change something", {{"cluster", cluster},
                                                           {"login", login},
                                                           {"request", request_line},
                                                           {"status", outcome.status},
                                                           {"error", outcome.error},
                                                           {"request_id", id}});
  };
  http::Response response;
  response.body = std::move(forward);
  return response;
}

}  // namespace roster::clusters
