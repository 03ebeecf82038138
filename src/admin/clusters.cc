#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "admin/api.h"
#include "admin/body.h"
#include "admin/render.h"
#include "base/log.h"
#include "clusters/access.h"
#include "clusters/check.h"
#include "clusters/facts.h"
#include "http/client.h"

// The operations on clusters.

namespace roster::admin {
namespace {

using directory::Cluster;
using directory::ClusterKey;
using directory::ClusterSettings;
using directory::Scope;
using directory::TokenSigning;

constexpr std::chrono::minutes kTokenTtl{30};

/// An endpoint that a client could be made for.
Result<void> check_endpoint(const std::string& endpoint) {
  if (endpoint.empty()) return {};
  if (auto url = http::Url::parse(endpoint); !url) return fail_in("endpoint", url.error());
  return {};
}

/// What the body names, in the place of present settings.
Result<ClusterSettings> edited(const Call& call, ClusterSettings settings) {
  for (const auto& [name, field] : std::initializer_list<std::pair<const char*, std::string*>>{
           {"scheduler", &settings.scheduler},
           {"slurm_name", &settings.slurm_name},
           {"login_host", &settings.login_host},
           {"login_user", &settings.login_user},
           {"endpoint", &settings.endpoint},
           {"ca_file", &settings.ca_file},
           {"key_file", &settings.key_file},
           {"service_user", &settings.service_user},
           {"read_user", &settings.read_user}}) {
    if (call.body.contains(name)) *field = body_text(call, name);
  }
  settings.login_port = json::find_int(call.body, "login_port").value_or(settings.login_port);
  settings.plain_http = json::find_bool(call.body, "plain_http").value_or(settings.plain_http);
  settings.await_nodes = json::find_bool(call.body, "await_nodes").value_or(settings.await_nodes);
  if (call.body.contains("user_access")) settings.user_access = body_list(call, "user_access");
  if (call.body.contains("read_access")) settings.read_access = body_list(call, "read_access");
  if (const auto ttl = json::find_string(call.body, "token_ttl_max")) {
    const auto length = parse_duration(*ttl);
    if (!length) return fail_in("token_ttl_max", length.error());
    settings.token_ttl_max = std::chrono::duration_cast<std::chrono::seconds>(*length);
  }
  if (const auto signing = json::find_string(call.body, "signing")) {
    ASSIGN_OR_RETURN(settings.signing, directory::parse_token_signing(*signing));
  }
  RETURN_IF_ERROR(check_endpoint(settings.endpoint));
  for (const auto& [name, lines] : {std::pair{"user_access", &settings.user_access},
                                    std::pair{"read_access", &settings.read_access}}) {
    if (auto access = clusters::Access::parse(*lines); !access) {
      return fail_in(name, access.error());
    }
  }
  return settings;
}

/// What reaches into the hub's machine and network, or decides whom the hub is in Slurm, is the
/// operator's: an administrator of one organization is a guest on this machine.
Result<void> check_operators_fields(const Call& call) {
  if (call.actor.scope == Scope::kOperator) return {};
  for (const char* name :
       {"endpoint", "ca_file", "key_file", "plain_http", "signing", "slurm_name", "service_user"}) {
    if (call.body.contains(name)) {
      return fail(Code::kPermissionDenied,
                  fmt::format("{}: only an operator's token sets it, as it reaches into the hub's "
                              "machine and network",
                              name));
    }
  }
  return {};
}

/// Slurm's own key makes root of the cluster whoever reads it: nobody gives it to the hub unawares.
Result<void> check_root_key(const Call& call, const ClusterSettings& before,
                            const ClusterSettings& after) {
  if (after.signing != TokenSigning::kHs256) return {};
  if (before.signing == TokenSigning::kHs256 && before.key_file == after.key_file) return {};
  if (!json::find_bool(call.body, "accept_root_key").value_or(false)) {
    return fail(Code::kFailedPrecondition,
                "with hs256 the hub holds Slurm's own key, and whoever has it is root on the "
                "cluster; signing rs256 needs no such key. If it must be, accept_root_key");
  }
  if (auto key = clusters::read_slurm_key(after.key_file); !key) {
    return fail_in("key_file", key.error());
  }
  return {};
}

json::object render(const Cluster& cluster) {
  json::object out = directory::cluster_settings_json(cluster.settings);
  out["name"] = cluster.name;
  out["created"] = format_rfc3339(cluster.created);
  out["modified"] = format_rfc3339(cluster.modified);
  return out;
}

/// What a person may know: where they sign in, and as whom.
json::object render_for(const Cluster& cluster, std::string_view login) {
  const ClusterSettings own = directory::for_person(cluster.settings, login);
  return {{"name", cluster.name},
          {"scheduler", own.scheduler},
          {"login_host", own.login_host},
          {"login_port", own.login_port},
          {"login_user", own.login_user}};
}

json::object render(const ClusterKey& key) {
  json::object out{{"id", key.id},
                   {"state", directory::cluster_key_state_name(key.state)},
                   {"created", format_rfc3339(key.created)}};
  out["former_since"] =
      key.former_since ? json::value(format_rfc3339(*key.former_since)) : json::value();
  return out;
}

json::array problems_json(const std::vector<reconcile::Problem>& problems) {
  json::array out;
  for (const reconcile::Problem& problem : problems) {
    out.push_back(json::object{{"subject", problem.subject}, {"sentence", problem.sentence}});
  }
  return out;
}

json::object settings_json(const slurm::accounting::Settings& settings) {
  json::object out;
  for (const auto& [setting, value] : settings) {
    out[slurm::accounting::name_of(setting)] = value;
  }
  return out;
}

json::object explanation_json(const slurm::Explanation& why) {
  json::array accounts;
  for (const auto& membership : why.wanted.memberships) {
    accounts.push_back(json::object{{"account", membership.account},
                                    {"settings", settings_json(membership.settings)}});
  }
  json::array reasons;
  for (const slurm::Reason& reason : why.reasons) {
    reasons.push_back(json::object{{"kind", slurm::name_of(reason.kind)},
                                   {"account", reason.account},
                                   {"group", reason.group},
                                   {"sentence", reason.sentence}});
  }
  return {{"login", why.login},
          {"locked", why.wanted.locked},
          {"ready", why.wanted.ready},
          {"admin_level", slurm::accounting::name_of(why.wanted.admin_level)},
          {"accounts", std::move(accounts)},
          {"reasons", std::move(reasons)}};
}

Result<std::chrono::seconds> wanted_ttl(const Call& call) {
  const auto text = json::find_string(call.body, "ttl");
  if (!text) return kTokenTtl;
  const auto length = parse_duration(*text);
  if (!length) return fail_in("ttl", length.error());
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(*length);
  if (seconds < std::chrono::seconds(1)) return fail(Code::kInvalidArgument, "ttl: at least 1s");
  return seconds;
}

}  // namespace

Result<Cluster> Api::cluster_of(const Call& call) {
  return directory_.find_cluster(call.org->n, call.param("cluster"));
}

Result<directory::User> Api::own_person(const Call& call) {
  const std::array own{*call.actor.user};
  ASSIGN_OR_RETURN(auto found, directory_.get_users(call.actor, call.org->n, own, {}));
  if (!found.items.empty()) return std::move(found.items.front());
  return fail(Code::kPermissionDenied, "the token's person is gone");
}

Result<Answer> Api::list_clusters(Call& call) {
  ASSIGN_OR_RETURN(const auto clusters, directory_.list_clusters(call.org->n));
  json::array out;
  if (call.actor.user) {
    ASSIGN_OR_RETURN(const directory::User person, own_person(call));
    const std::string login = person.posix ? person.posix->name : "";
    for (const Cluster& cluster : clusters) out.push_back(render_for(cluster, login));
  } else {
    for (const Cluster& cluster : clusters) out.push_back(render(cluster));
  }
  return Answer{200, json::object{{"clusters", std::move(out)}}};
}

Result<Answer> Api::add_cluster(Call& call) {
  RETURN_IF_ERROR(check_operators_fields(call));
  ASSIGN_OR_RETURN(const ClusterSettings settings, edited(call, {}));
  RETURN_IF_ERROR(check_root_key(call, {}, settings));
  ASSIGN_OR_RETURN(
      const Cluster cluster,
      directory_.add_cluster(call.actor, call.org->n, body_text(call, "name"), settings));
  RETURN_IF_ERROR(give_first_key(call.actor, cluster));
  return Answer{201, render(cluster)};
}

Result<void> Api::give_first_key(const directory::Actor& actor, const Cluster& cluster) {
  if (cluster.settings.signing != TokenSigning::kRs256) return {};
  ASSIGN_OR_RETURN(const auto keys, directory_.cluster_keys(cluster.n));
  if (!keys.empty()) return {};
  if (auto made = tokens_.create_key(actor, cluster); !made) return std::unexpected(made.error());
  return {};
}

Result<Answer> Api::get_cluster(Call& call) {
  ASSIGN_OR_RETURN(const Cluster cluster, cluster_of(call));
  return Answer{200, render(cluster)};
}

Result<Answer> Api::update_cluster(Call& call) {
  RETURN_IF_ERROR(check_operators_fields(call));
  ASSIGN_OR_RETURN(const Cluster before, cluster_of(call));
  ASSIGN_OR_RETURN(const ClusterSettings after, edited(call, before.settings));
  RETURN_IF_ERROR(check_root_key(call, before.settings, after));
  const auto edit = [&call](const ClusterSettings& current) { return edited(call, current); };
  ASSIGN_OR_RETURN(const Cluster cluster,
                   directory_.update_cluster(call.actor, call.org->n, call.param("cluster"), edit));
  RETURN_IF_ERROR(give_first_key(call.actor, cluster));
  return Answer{200, render(cluster)};
}

Result<Answer> Api::remove_cluster(Call& call) {
  RETURN_IF_ERROR(directory_.remove_cluster(call.actor, call.org->n, call.param("cluster")));
  return Answer{204, {}};
}

/// What asks a cluster holds a worker as long as that takes; people and nodes need the others.
Result<std::unique_lock<std::mutex>> Api::lock_checks() {
  std::unique_lock lock(check_mutex_, std::try_to_lock);
  if (lock.owns_lock()) return lock;
  return fail(Code::kUnavailable, "another connection check is running: try again");
}

Result<Answer> Api::check_cluster(Call& call) {
  ASSIGN_OR_RETURN(const Cluster cluster, cluster_of(call));
  clusters::CheckOptions options;
  if (const std::string as = body_text(call, "as"); !as.empty()) {
    ASSIGN_OR_RETURN(options.as, directory_.find_user(call.org->n, as, {}));
  }
  options.job = json::find_bool(call.body, "job").value_or(true);
  ASSIGN_OR_RETURN(const auto lock, lock_checks());
  return Answer{200, clusters::to_json(clusters::check_connection(tokens_, cluster, options))};
}

Result<Answer> Api::get_cluster_rules(Call& call) {
  ASSIGN_OR_RETURN(const Cluster cluster, cluster_of(call));
  ASSIGN_OR_RETURN(const std::string rules, directory_.cluster_rules(cluster.n));
  return Answer{200, json::object{{"rules", rules}}};
}

Result<Answer> Api::set_cluster_rules(Call& call) {
  ASSIGN_OR_RETURN(const Cluster cluster, cluster_of(call));
  const std::string text = body_text(call, "rules");
  const std::string name = call.body.contains("file") ? body_text(call, "file") : "rules";
  ASSIGN_OR_RETURN(const slurm::Rules rules, slurm::parse_rules(text, name));
  RETURN_IF_ERROR(check_roles(call, cluster, rules));
  ASSIGN_OR_RETURN(const slurm::Facts facts,
                   clusters::read_facts(directory_, *call.org, cluster, options_.clock()));
  const slurm::Outcome outcome = slurm::apply_rules(rules, facts);
  if (!json::find_bool(call.body, "dry_run").value_or(false)) {
    RETURN_IF_ERROR(directory_.set_cluster_rules(call.actor, cluster, text));
  }
  const auto members = std::ranges::count_if(
      outcome.desired.users, [](const auto& user) { return !user.second.memberships.empty(); });
  return Answer{200, json::object{{"accounts", outcome.desired.accounts.size()},
                                  {"people", members},
                                  {"problems", problems_json(outcome.problems)}}};
}

Result<void> Api::check_roles(const Call& call, const Cluster& cluster, const slurm::Rules& rules) {
  if (call.actor.scope == Scope::kOperator) return {};
  ASSIGN_OR_RETURN(const std::string text, directory_.cluster_rules(cluster.n));
  const auto before = slurm::parse_rules(text, "rules");
  if (before && before->operators == rules.operators &&
      before->administrators == rules.administrators) {
    return {};
  }
  if (!before && rules.operators.empty() && rules.administrators.empty()) return {};
  return fail(Code::kPermissionDenied,
              "[admins]: only an operator's token changes who administers Slurm's accounting, as "
              "that reaches every cluster of the same slurmdbd");
}

Result<Answer> Api::explain_accounts(Call& call) {
  ASSIGN_OR_RETURN(const Cluster cluster, cluster_of(call));
  ASSIGN_OR_RETURN(const auto user, directory_.find_user(call.org->n, call.param("user"), {}));
  if (!user.posix) {
    return fail(Code::kFailedPrecondition,
                "this person has no POSIX identity, so that no cluster knows them");
  }
  ASSIGN_OR_RETURN(const std::string text, directory_.cluster_rules(cluster.n));
  ASSIGN_OR_RETURN(const slurm::Rules rules, slurm::parse_rules(text, "rules"));
  ASSIGN_OR_RETURN(const slurm::Facts facts,
                   clusters::read_facts(directory_, *call.org, cluster, options_.clock()));
  ASSIGN_OR_RETURN(const slurm::Explanation why, slurm::explain(rules, facts, user.posix->name));
  return Answer{200, explanation_json(why)};
}

Result<Answer> Api::get_jwks(Call& call) {
  ASSIGN_OR_RETURN(const Cluster cluster, cluster_of(call));
  ASSIGN_OR_RETURN(json::object jwks, tokens_.jwks(cluster));
  return Answer{200, std::move(jwks)};
}

Result<Answer> Api::list_cluster_keys(Call& call) {
  ASSIGN_OR_RETURN(const Cluster cluster, cluster_of(call));
  ASSIGN_OR_RETURN(const auto keys, directory_.cluster_keys(cluster.n));
  json::array out;
  for (const ClusterKey& key : keys) out.push_back(render(key));
  return Answer{200, json::object{{"keys", std::move(out)}}};
}

Result<Answer> Api::create_cluster_key(Call& call) {
  ASSIGN_OR_RETURN(const Cluster cluster, cluster_of(call));
  if (cluster.settings.signing != TokenSigning::kRs256) {
    return fail(Code::kFailedPrecondition,
                "the tokens of this cluster are signed with Slurm's own key: rotate that one in "
                "slurm.conf and at the hub together");
  }
  ASSIGN_OR_RETURN(const std::string id, tokens_.create_key(call.actor, cluster));
  ASSIGN_OR_RETURN(const auto keys, directory_.cluster_keys(cluster.n));
  const auto made = std::ranges::find(keys, id, &ClusterKey::id);
  if (made == keys.end()) return fail(Code::kNotFound, "the key is gone already");
  return Answer{201, render(*made)};
}

Result<Answer> Api::activate_cluster_key(Call& call) {
  ASSIGN_OR_RETURN(const Cluster cluster, cluster_of(call));
  const std::string& id = call.param("key");
  if (!json::find_bool(call.body, "force").value_or(false)) {
    ASSIGN_OR_RETURN(const auto lock, lock_checks());
    RETURN_IF_ERROR(clusters::check_key(tokens_, cluster, id));
  }
  RETURN_IF_ERROR(directory_.sign_with_cluster_key(call.actor, cluster, id));
  return list_cluster_keys(call);
}

Result<Answer> Api::drop_cluster_key(Call& call) {
  ASSIGN_OR_RETURN(const Cluster cluster, cluster_of(call));
  ASSIGN_OR_RETURN(const auto keys, directory_.cluster_keys(cluster.n));
  const auto key = std::ranges::find(keys, call.param("key"), &ClusterKey::id);
  if (key != keys.end() && key->former_since && call.query.get("force") != "true") {
    // Tokens may be older than the present limit.
    const bool same_limit = cluster.modified < *key->former_since - directory::kTokenTtlMost;
    const Timestamp end = *key->former_since +
                          (same_limit ? cluster.settings.token_ttl_max : directory::kTokenTtlMost);
    if (options_.clock() < end) {
      return fail(Code::kFailedPrecondition, "tokens that this key signed are good until " +
                                                 format_rfc3339(end) +
                                                 ": drop it then, or at once with force=true");
    }
  }
  RETURN_IF_ERROR(directory_.drop_cluster_key(call.actor, cluster, call.param("key")));
  return Answer{204, {}};
}

Result<Answer> Api::create_slurm_token(Call& call) {
  ASSIGN_OR_RETURN(const Cluster cluster, cluster_of(call));
  ASSIGN_OR_RETURN(const std::chrono::seconds ttl, wanted_ttl(call));
  const std::string wanted = body_text(call, "user");
  directory::User user;
  if (call.actor.user) {
    ASSIGN_OR_RETURN(user, own_person(call));
    if (!wanted.empty() && wanted != user.id && (!user.posix || wanted != user.posix->name)) {
      return fail(Code::kPermissionDenied, "a person's token is good for that person only");
    }
  } else if (wanted.empty()) {
    return fail(Code::kInvalidArgument, "'user' is missing: whose token shall it be?");
  } else {
    ASSIGN_OR_RETURN(user, directory_.find_user(call.org->n, wanted, {}));
  }
  auto made = tokens_.for_person(cluster, user, ttl);
  if (!made && call.actor.user && made.error().keyword != clusters::kNoToken) {
    log::error("no token for a cluster can be signed",
               {{"cluster", cluster.name}, {"error", made.error().message}});
    return fail(Code::kUnavailable, "the hub cannot sign tokens for this cluster now");
  }
  if (!made) return std::unexpected(made.error());
  const clusters::SlurmToken& token = *made;
  // First the row, then the answer: no token without a trace.
  RETURN_IF_ERROR(directory_.note_slurm_token(call.actor, cluster, user, token.expires));
  const auto life =
      std::chrono::duration_cast<std::chrono::seconds>(token.expires - options_.clock());
  return Answer{201, json::object{{"token", token.token.expose()},
                                  {"expires_in", life.count()},
                                  {"user", token.user},
                                  {"cluster", cluster.name},
                                  {"expires", format_rfc3339(token.expires)}}};
}

}  // namespace roster::admin
