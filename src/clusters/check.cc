#include "clusters/check.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "slurm/job.h"
#include "slurm/rest.h"

namespace roster::clusters {
namespace {

using directory::Cluster;
using directory::TokenSigning;
using Outcome = CheckStep::Outcome;

constexpr std::chrono::minutes kTokenTtl{5};
/// What slurmctld answers to everybody whose token it takes, in few bytes, and says so when not.
constexpr std::string_view kAnything = "licenses/";
constexpr std::chrono::seconds kKeyTimeout{10};
constexpr std::size_t kAnswerBytesMax = 8 << 20;  // descriptions have one or two

std::string_view outcome_name(Outcome outcome) {
  switch (outcome) {
    case Outcome::kGood:
      return "ok";
    case Outcome::kFailed:
      return "failed";
    case Outcome::kSkipped:
      return "skipped";
  }
  return "failed";
}

std::vector<std::string> cluster_names(const json::object& body) {
  std::vector<std::string> names;
  if (const json::array* clusters = json::find_array(body, "clusters")) {
    for (const json::value& item : *clusters) {
      const json::object* cluster = item.if_object();
      if (cluster == nullptr) continue;
      if (const auto name = json::find_string(*cluster, "name")) names.emplace_back(*name);
    }
  }
  return names;
}

std::string joined(const std::vector<std::string>& texts) {
  std::string out;
  for (const std::string& text : texts) out += (out.empty() ? "" : ", ") + text;
  return out;
}

Result<slurm::RestClient> connect(const directory::ClusterSettings& settings,
                                  std::chrono::milliseconds timeout) {
  slurm::RestOptions rest;
  rest.endpoint = directory::for_person(settings, settings.service_user).endpoint;
  if (!settings.ca_file.empty()) rest.ca_file = settings.ca_file;
  rest.allow_plain_http = settings.plain_http;
  rest.timeout = timeout;
  rest.body_bytes_max = kAnswerBytesMax;
  return slurm::RestClient::create(std::move(rest));
}

/// One run of the check.
class Check {
 public:
  Check(Tokens& tokens, const Cluster& cluster, const CheckOptions& options)
      : tokens_(tokens), cluster_(cluster), options_(options) {
    const std::string& name = cluster.settings.slurm_name;
    slurm_name_ = name.empty() ? cluster.name : name;
  }

  CheckReport run() && {
    // Each needs what is before it, but for slurmdbd, which is asked also when slurmctld fails.
    bool reached = token();
    reached = reached ? endpoint() : skip("endpoint");
    reached = reached ? version() : skip("version");
    const bool controller = reached ? slurmctld() : skip("slurmctld");
    const bool database = reached ? slurmdbd() : skip("slurmdbd");
    if (!options_.as) {
      for (const std::string_view step : {"impersonation", "job"}) {
        note(step, Outcome::kSkipped, "nobody was named to try as: --as USER");
      }
    } else {
      const bool as = controller ? impersonation() : skip("impersonation");
      if (!options_.job) {
        note("job", Outcome::kSkipped, "not asked for");
      } else if (as && database) {
        job();
      } else {
        skip("job");
      }
    }
    return std::move(report_);
  }

 private:
  void note(std::string_view step, Outcome outcome, std::string seen, std::string mend = {}) {
    report_.steps.push_back({step, outcome, std::move(seen), std::move(mend)});
  }
  bool good(std::string_view step, std::string seen) {
    note(step, Outcome::kGood, std::move(seen));
    return true;
  }
  bool failed(std::string_view step, std::string seen, std::string mend) {
    note(step, Outcome::kFailed, std::move(seen), std::move(mend));
    return false;
  }
  bool skip(std::string_view step) {
    note(step, Outcome::kSkipped, "a step before it failed");
    return false;
  }

  std::string target(std::string_view family, std::string_view rest) const {
    return "/" + std::string(family) + "/" + api_.text() + "/" + std::string(rest);
  }

  bool token();
  bool endpoint();
  bool version();
  bool slurmctld();
  bool slurmdbd();
  bool impersonation();
  bool job();
  bool watch_job(const slurm::Caller& person, std::uint32_t id);
  std::string mend_token(std::string_view daemon) const;
  std::string mend_endpoint() const;
  Result<slurm::Caller> person() const;

  Tokens& tokens_;
  const Cluster& cluster_;
  const CheckOptions& options_;
  std::string slurm_name_;
  CheckReport report_;
  slurm::Caller service_;
  std::optional<slurm::RestClient> rest_;
  std::vector<slurm::ApiVersion> offered_;
  slurm::ApiVersion api_;
};

std::string Check::mend_token(std::string_view daemon) const {
  const std::string which(daemon);
  if (cluster_.settings.signing == TokenSigning::kHs256) {
    return "give the hub the same key as AuthAltParameters=jwt_key= of " + which +
           " (compare their sums), and compare the clocks; " + which + "'s log has the reason";
  }
  return "put what `roster slurm jwks " + cluster_.name +
         "` prints into the file that AuthAltParameters=jwks= names in " + which +
         "'s configuration, restart " + which + ", and compare the clocks; its log has the reason";
}

std::string Check::mend_endpoint() const {
  if (cluster_.settings.endpoint.starts_with("unix:")) {
    return "start slurmrestd on this socket, and let the hub's user reach it: every folder on the "
           "way must be searchable and the socket writable";
  }
  return "start slurmrestd there, and let the hub reach that port";
}

bool Check::token() {
  auto made = tokens_.for_name(cluster_, cluster_.settings.service_user, kTokenTtl);
  const std::string_view way = directory::token_signing_name(cluster_.settings.signing);
  if (!made) return failed("token", made.error().message, "give the cluster a key to sign with");
  service_ = {made->user, std::move(made->token)};
  return good("token", "signed for " + service_.user + " by " + std::string(way));
}

bool Check::endpoint() {
  const directory::ClusterSettings& settings = cluster_.settings;
  if (settings.endpoint.empty()) {
    return failed("endpoint", "the cluster has no endpoint",
                  "roster cluster set " + cluster_.name +
                      " --endpoint unix:/run/slurmrestd/slurmrestd.socket");
  }
  auto made = connect(settings, options_.request_timeout);
  if (!made) return failed("endpoint", made.error().message, "roster cluster set --endpoint");
  rest_.emplace(std::move(*made));
  auto offered = rest_->versions(service_);
  if (!offered) {
    const Error& error = offered.error();
    if (error.code == Code::kUnauthenticated) {
      return failed("endpoint", "slurmrestd refuses tokens: " + error.message,
                    "start slurmrestd with -a rest_auth/jwt, and set AuthAltTypes=auth/jwt in "
                    "slurm.conf");
    }
    return failed("endpoint", error.message, mend_endpoint());
  }
  offered_ = std::move(*offered);
  return good("endpoint", "slurmrestd answers at " + settings.endpoint);
}

bool Check::version() {
  std::vector<std::string> names;
  for (const slurm::ApiVersion version : offered_) names.push_back(version.text());
  const auto chosen = slurm::newest_common(offered_);
  if (!chosen) return failed("version", chosen.error().message, "use a release that shares one");
  api_ = *chosen;
  report_.api = api_.text();
  return good("version", "it offers " + joined(names) + "; " + api_.text() + " is used");
}

bool Check::slurmctld() {
  const auto pinged = rest_->call(service_, "GET", target("slurm", "ping/"));
  // Where a ping is not answered in time, nothing is: the time is spent once.
  const Result<json::object> asked =
      pinged ? rest_->get(service_, target("slurm", kAnything)) : std::unexpected(pinged.error());
  if (pinged) {
    report_.release = slurm::release_of(pinged->body);
    report_.cluster = slurm::cluster_of(pinged->body);
  }
  if (asked) {
    if (report_.release.empty()) report_.release = slurm::release_of(*asked);
    return good("slurmctld", "slurmctld takes the token of " + service_.user);
  }
  const Error& error = asked.error();
  if (error.code == Code::kUnauthenticated) {
    return failed("slurmctld",
                  "slurmctld refuses the token of " + service_.user + ": " + error.message,
                  mend_token("slurmctld"));
  }
  // 22.05 says nothing that would tell a refused token from a slurmctld that is down.
  if (error.keyword == slurm::kUnspecifiedKeyword) {
    return failed("slurmctld",
                  "slurmctld does not answer, or refuses the token of " + service_.user + ": " +
                      error.message,
                  "if `scontrol ping` finds it up: " + mend_token("slurmctld"));
  }
  return failed("slurmctld", "slurmctld does not answer: " + error.message,
                "look at slurmctld and its log; `scontrol ping` on its machine");
}

bool Check::slurmdbd() {
  const auto asked = rest_->get(service_, target("slurmdb", "clusters/"));
  if (!asked) {
    const Error& error = asked.error();
    if (error.code == Code::kUnauthenticated) {
      return failed("slurmdbd",
                    "slurmdbd refuses the token of " + service_.user + ": " + error.message,
                    mend_token("slurmdbd"));
    }
    return failed("slurmdbd", "slurmdbd does not answer: " + error.message,
                  "look at slurmdbd and its log; AccountingStorageType must be "
                  "accounting_storage/slurmdbd");
  }
  const std::vector<std::string> names = cluster_names(*asked);
  if (std::ranges::find(names, slurm_name_) == names.end()) {
    return failed("slurmdbd",
                  "slurmdbd knows no cluster " + slurm_name_ + ", but " +
                      (names.empty() ? "none" : joined(names)),
                  "roster cluster set " + cluster_.name +
                      " --slurm-name NAME, with ClusterName of slurm.conf");
  }
  if (report_.cluster.empty()) report_.cluster = slurm_name_;
  if (report_.cluster != slurm_name_) {
    return failed(
        "slurmdbd",
        "this slurmrestd is of the cluster " + report_.cluster + ", not of " + slurm_name_,
        "correct --endpoint or --slurm-name");
  }
  return good("slurmdbd", "slurmdbd takes the token, and knows the cluster " + slurm_name_);
}

Result<slurm::Caller> Check::person() const {
  ASSIGN_OR_RETURN(SlurmToken token, tokens_.for_person(cluster_, *options_.as, kTokenTtl));
  return slurm::Caller{token.user, std::move(token.token)};
}

bool Check::impersonation() {
  auto made = person();
  if (!made) {
    return failed("impersonation", made.error().message, "name somebody who may log in");
  }
  const slurm::Caller somebody = std::move(*made);
  if (const auto asked = rest_->get(somebody, target("slurm", kAnything)); !asked) {
    return failed("impersonation",
                  "a token of " + somebody.user + " is refused: " + asked.error().message,
                  "`id " + somebody.user + "` on the machine of slurmctld");
  }
  // Their token with another's name must act as nobody, and that must be what is said.
  const slurm::Caller mixed{service_.user, somebody.token};
  const auto as_another = rest_->get(mixed, target("slurm", kAnything));
  if (as_another) {
    return failed("impersonation",
                  "with a token of " + somebody.user + " slurmrestd acts as " + service_.user,
                  somebody.user + " is a privileged user of Slurm (SlurmUser, root): name another");
  }
  if (as_another.error().code != Code::kUnauthenticated &&
      as_another.error().keyword != slurm::kUnspecifiedKeyword) {
    return failed("impersonation",
                  "whether a token of " + somebody.user + " is taken for " + service_.user +
                      " could not be seen: " + as_another.error().message,
                  "run the check again");
  }
  const slurm::Caller borrowed{somebody.user, service_.token};
  const bool root = rest_->get(borrowed, target("slurm", kAnything)).has_value();
  return good("impersonation", somebody.user + " is taken as themselves, and as nobody else; " +
                                   service_.user +
                                   (root ? " may act as anybody" : " may not act as others"));
}

bool Check::job() {
  auto made = person();
  if (!made) return failed("job", made.error().message, "name somebody who may log in");
  const slurm::Caller somebody = std::move(*made);
  const json::object body = slurm::job_body(api_, {.name = "roster-check",
                                                   .script = "#!/bin/sh\nexit 0\n",
                                                   .directory = "/tmp",
                                                   .account = ""});
  const auto submit = [&]() -> Result<std::uint32_t> {
    ASSIGN_OR_RETURN(const slurm::RestAnswer answer,
                     rest_->call(somebody, "POST", target("slurm", "job/submit"), &body));
    RETURN_IF_ERROR(slurm::outcome(answer));
    return slurm::submitted_id(answer.body);
  };
  const Result<std::uint32_t> id = submit();
  if (!id) {
    return failed("job", "a job of " + somebody.user + " is refused: " + id.error().message,
                  "give them an account: `roster slurm explain " + somebody.user +
                      "`; if they have one, slurmctld may not have known the name when it was "
                      "added: `scontrol show assoc_mgr users=" +
                      somebody.user + " flags=users` and `scontrol reconfigure`");
  }
  const bool done = watch_job(somebody, *id);
  if (!done) {  // best effort: its time limit is a minute
    (void)rest_->call(somebody, "DELETE", target("slurm", "job/" + std::to_string(*id)));
  }
  return done;
}

bool Check::watch_job(const slurm::Caller& person, std::uint32_t id) {
  const std::string path = target("slurm", "job/" + std::to_string(id));
  const std::string name = "job " + std::to_string(id);
  const auto begin = options_.monotonic();
  slurm::JobState last;
  while (true) {
    const auto asked = rest_->get(person, path);
    if (!asked)
      return failed("job", name + " is lost: " + asked.error().message, "look at slurmctld");
    const auto state = slurm::first_job(*asked);
    if (!state)
      return failed("job", name + " is lost: " + state.error().message, "look at slurmctld");
    last = *state;
    if (last.over()) break;
    if (options_.monotonic() - begin >= options_.job_timeout) {
      return failed("job", name + " is still " + last.state + " (" + last.reason + "), cancelled",
                    "`sinfo` and `squeue`: are there free nodes?");
    }
    std::this_thread::sleep_for(options_.job_poll);
  }
  if (last.state != "COMPLETED") {
    return failed("job", name + " ended as " + last.state,
                  "the log of slurmd on its node; `id " + person.user + "` there");
  }
  if (!last.user.empty() && last.user != person.user) {
    return failed("job", name + " ran as " + last.user, "compare the uids on slurmctld's machine");
  }
  return good("job", name + " ran as " + person.user + " under the account " + last.account);
}

}  // namespace

bool CheckReport::good() const {
  return std::ranges::find(steps, Outcome::kFailed, &CheckStep::outcome) == steps.end();
}

std::string CheckReport::summary() const {
  const auto failure = std::ranges::find(steps, Outcome::kFailed, &CheckStep::outcome);
  if (failure != steps.end()) {
    return "connection failed (" + std::string(failure->name) + "): " + failure->seen;
  }
  return "connection successful (slurm: " + release + ", cluster: " + cluster + ", api: " + api +
         ")";
}

CheckReport check_connection(Tokens& tokens, const Cluster& cluster, const CheckOptions& options) {
  return Check(tokens, cluster, options).run();
}

Result<void> check_key(Tokens& tokens, const Cluster& cluster, std::string_view key_id) {
  ASSIGN_OR_RETURN(SlurmToken token,
                   tokens.with_key(cluster, key_id, cluster.settings.service_user, kTokenTtl));
  const slurm::Caller caller{token.user, std::move(token.token)};
  ASSIGN_OR_RETURN(slurm::RestClient rest, connect(cluster.settings, kKeyTimeout));
  ASSIGN_OR_RETURN(const auto offered, rest.versions(caller));
  ASSIGN_OR_RETURN(const slurm::ApiVersion api, slurm::newest_common(offered));
  struct Daemon {
    const char* name;
    std::string target;
    const char* reload;
  };
  const Daemon daemons[] = {
      {"slurmctld", "/slurm/" + api.text() + "/" + std::string(kAnything),
       "before Slurm 24.11 slurmctld must be restarted, later `scontrol reconfigure` is enough"},
      {"slurmdbd", "/slurmdb/" + api.text() + "/clusters/", "slurmdbd must be restarted"}};
  for (const Daemon& daemon : daemons) {
    const auto asked = rest.get(caller, daemon.target);
    if (asked) continue;
    return fail(Code::kFailedPrecondition,
                std::string(daemon.name) + " does not take the key: " + asked.error().message +
                    ". Put the output of `roster slurm jwks " + cluster.name +
                    "` where its AuthAltParameters=jwks= points; " + daemon.reload);
  }
  return {};
}

json::object to_json(const CheckReport& report) {
  json::array steps;
  for (const CheckStep& step : report.steps) {
    steps.push_back(json::object{{"step", step.name},
                                 {"outcome", outcome_name(step.outcome)},
                                 {"seen", step.seen},
                                 {"mend", step.mend}});
  }
  return {{"good", report.good()},     {"summary", report.summary()}, {"slurm", report.release},
          {"cluster", report.cluster}, {"api", report.api},           {"steps", std::move(steps)}};
}

}  // namespace roster::clusters
