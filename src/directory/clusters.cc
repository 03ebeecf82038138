#include "directory/clusters.h"

#include <algorithm>
#include <array>
#include <tuple>
#include <utility>

#include "base/unicode.h"
#include "directory/directory.h"
#include "directory/impl.h"
#include "directory/schema.h"
#include "posix/names.h"

namespace roster::directory {
namespace {

using store::Row;
using store::Statement;
using store::Tx;

constexpr std::size_t kNameBytesMax = 40;  // Slurm keeps ClusterName in 40 bytes and tables' names
constexpr std::size_t kClustersMax = 100;
constexpr std::size_t kTextBytesMax = 1024;
constexpr std::size_t kAccessMax = 200;
constexpr std::size_t kRulesBytesMax = 256 << 10;
constexpr std::chrono::seconds kTtlMin{60};

#define ROSTER_CLUSTER_COLUMNS "SELECT n, org, name, settings, created, modified FROM cluster "
constexpr Statement kByName{"cluster.by_name",
                            ROSTER_CLUSTER_COLUMNS "WHERE org = $1 AND name = $2"};
constexpr Statement kList{"cluster.list", ROSTER_CLUSTER_COLUMNS "WHERE org = $1 ORDER BY name"};
#undef ROSTER_CLUSTER_COLUMNS
constexpr Statement kInsert{
    "cluster.insert",
    "INSERT INTO cluster (org, name, settings, created, modified) VALUES ($1, $2, $3, $4, $4) "
    "RETURNING n"};
constexpr Statement kUpdate{"cluster.update",
                            "UPDATE cluster SET settings = $2, modified = $3 WHERE n = $1"};
constexpr Statement kRules{"cluster.rules", "SELECT rules FROM cluster WHERE n = $1"};
constexpr Statement kSetRules{"cluster.set_rules",
                              "UPDATE cluster SET rules = $2, modified = $3 WHERE n = $1"};
constexpr Statement kDelete{"cluster.delete", "DELETE FROM cluster WHERE n = $1"};
constexpr Statement kUserIsActive{"cluster.user_is_active",
                                  "SELECT active FROM usr WHERE n = $1 AND org = $2"};
constexpr Statement kKeys{"cluster.keys",
                          "SELECT id, state, created, former_since, private_pem FROM cluster_key "
                          "WHERE cluster = $1"};
constexpr Statement kInsertKey{"cluster.insert_key",
                               "INSERT INTO cluster_key (cluster, id, state, created, private_pem) "
                               "VALUES ($1, $2, $3, $4, $5)"};
constexpr Statement kSetKeyState{
    "cluster.set_key_state",
    "UPDATE cluster_key SET state = $3, former_since = $4 WHERE cluster = $1 AND id = $2"};
constexpr Statement kDeleteKey{"cluster.delete_key",
                               "DELETE FROM cluster_key WHERE cluster = $1 AND id = $2"};
constexpr Statement kDeleteKeys{"cluster.delete_keys",
                                "DELETE FROM cluster_key WHERE cluster = $1"};

constexpr std::array kSignings = std::to_array<std::pair<TokenSigning, std::string_view>>({
    {TokenSigning::kRs256, "rs256"},
    {TokenSigning::kHs256, "hs256"},
});
constexpr std::array kKeyStates = std::to_array<std::pair<ClusterKeyState, std::string_view>>({
    {ClusterKeyState::kNext, "next"},
    {ClusterKeyState::kSigning, "signing"},
    {ClusterKeyState::kFormer, "former"},
});

std::string target_of(std::string_view name) { return "cluster/" + std::string(name); }

json::array texts_json(const std::vector<std::string>& texts) {
  json::array out;
  for (const std::string& text : texts) out.emplace_back(text);
  return out;
}

std::vector<std::string> texts_of(const json::object& o, std::string_view name) {
  std::vector<std::string> texts;
  if (const json::array* items = json::find_array(o, name)) {
    for (const json::value& item : *items) {
      if (item.is_string()) texts.emplace_back(json::view(item.get_string()));
    }
  }
  return texts;
}

Result<Cluster> read_cluster(const Row& row) {
  Cluster cluster;
  cluster.n = row.integer(0);
  cluster.org = row.integer(1);
  cluster.name = row.text(2);
  ASSIGN_OR_RETURN(cluster.settings, cluster_settings_from_json(row.text(3)));
  cluster.created = from_millis(row.integer(4));
  cluster.modified = from_millis(row.integer(5));
  return cluster;
}

template <typename... P>
Result<std::vector<Cluster>> load_clusters(Tx& tx, const Statement& statement, const P&... params) {
  std::vector<Cluster> clusters;
  RETURN_IF_ERROR(tx.query(
      statement,
      [&clusters](const Row& row) -> Result<void> {
        ASSIGN_OR_RETURN(Cluster cluster, read_cluster(row));
        clusters.push_back(std::move(cluster));
        return {};
      },
      params...));
  return clusters;
}

Result<Cluster> load_cluster(Tx& tx, OrgN org, std::string_view name) {
  ASSIGN_OR_RETURN(std::vector<Cluster> found, load_clusters(tx, kByName, org, name));
  if (found.empty()) return fail(Code::kNotFound, "there is no cluster " + std::string(name));
  return std::move(found.front());
}

Result<std::vector<ClusterKey>> load_keys(Tx& tx, ClusterN cluster) {
  std::vector<ClusterKey> keys;
  RETURN_IF_ERROR(tx.query(
      kKeys,
      [&keys](const Row& row) -> Result<void> {
        keys.push_back({std::string(row.text(0)),
                        kKeyStates.at(static_cast<std::size_t>(row.integer(1))).first,
                        from_millis(row.integer(2)), time_or_null(row, 3),
                        Secret(std::string(row.text(4)))});
        return {};
      },
      cluster));
  std::ranges::sort(keys, {}, [](const ClusterKey& key) { return std::tie(key.created, key.id); });
  return keys;
}

/// The place in kKeyStates, as it stands in rows.
std::int64_t state_number(ClusterKeyState state) {
  return std::ranges::find(kKeyStates, state, &decltype(kKeyStates)::value_type::first) -
         kKeyStates.begin();
}

/// Slurm's ClusterName becomes part of its database's table names; ours must fit in a URL, too.
Result<void> check_name(std::string_view name) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  };
  if (!name.empty() && name.size() <= kNameBytesMax && std::ranges::all_of(name, allowed)) {
    return {};
  }
  return fail(Code::kInvalidArgument, "the name of a cluster has 1 to 40 of a-z, 0-9, '-' and '_'");
}

Result<void> check_text(std::string_view what, std::string_view text) {
  if (text.size() > kTextBytesMax) {
    return fail(Code::kInvalidArgument, std::string(what) + ": longer than 1024 bytes");
  }
  if (has_control_characters(text)) {
    return fail(Code::kInvalidArgument, std::string(what) + ": it has control characters");
  }
  return {};
}

Result<void> check_user(std::string_view what, std::string_view name) {
  if (auto valid = posix::LoginName::parse(name); !valid) return fail_in(what, valid.error());
  return {};
}

/// What reaches ssh's command line must not look like an option there.
Result<void> check_login(const ClusterSettings& settings) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '-' || c == '_' || c == ':';
  };
  for (const auto& [what, text] :
       {std::pair{"login_host", std::string_view(settings.login_host)},
        std::pair{"login_user", std::string_view(settings.login_user)}}) {
    RETURN_IF_ERROR(check_text(what, text));
    if (text.starts_with('-') || !std::ranges::all_of(text, allowed)) {
      return fail(Code::kInvalidArgument,
                  std::string(what) + ": letters, digits, '.', '-', '_' and ':' only");
    }
  }
  if (settings.login_user.empty()) {
    return fail(Code::kInvalidArgument, "login_user: such as " + std::string(kUserPlaceholder));
  }
  if (settings.login_port < 1 || settings.login_port > 65535) {
    return fail(Code::kInvalidArgument, "login_port: 1 to 65535");
  }
  return {};
}

Result<void> check_cluster_settings(const ClusterSettings& settings) {
  if (settings.scheduler != "slurm") {
    return fail(Code::kInvalidArgument, "scheduler: slurm is the only one");
  }
  if (!settings.slurm_name.empty()) {
    if (auto valid = check_name(settings.slurm_name); !valid) {
      return fail_in("slurm_name", valid.error());
    }
  }
  RETURN_IF_ERROR(check_login(settings));
  RETURN_IF_ERROR(check_text("endpoint", settings.endpoint));
  for (const auto& [what, path] : {std::pair{"ca_file", std::string_view(settings.ca_file)},
                                   std::pair{"key_file", std::string_view(settings.key_file)}}) {
    RETURN_IF_ERROR(check_text(what, path));
    if (!path.empty() && !path.starts_with('/')) {
      return fail(Code::kInvalidArgument, std::string(what) + ": an absolute path on the hub");
    }
  }
  if (settings.signing == TokenSigning::kHs256 && settings.key_file.empty()) {
    return fail(Code::kInvalidArgument,
                "key_file: the file on the hub with Slurm's jwt_key, for tokens signed by hs256");
  }
  if (settings.token_ttl_max < kTtlMin || settings.token_ttl_max > kTokenTtlMost) {
    return fail(Code::kInvalidArgument, "token_ttl_max: 1m to 24h");
  }
  RETURN_IF_ERROR(check_user("service_user", settings.service_user));
  if (!settings.read_user.empty()) RETURN_IF_ERROR(check_user("read_user", settings.read_user));
  for (const std::vector<std::string>* access : {&settings.user_access, &settings.read_access}) {
    if (access->size() > kAccessMax) {
      return fail(Code::kInvalidArgument, "an access list has at most 200 lines");
    }
    for (const std::string& line : *access) RETURN_IF_ERROR(check_text("access", line));
  }
  return {};
}

void note_cluster(Directory::Impl& impl, const Actor& actor, const Cluster& cluster,
                  std::string_view action, const Diff& diff) {
  JournalEntry entry =
      journal_entry(actor, cluster.org, impl.now(), action, target_of(cluster.name));
  entry.diff = diff.text();
  impl.journal->add(std::move(entry));
}

/// Writes come one after the other, so that nobody is deactivated between this and the commit.
Result<void> check_still_active(Tx& tx, OrgN org, const User& user) {
  CHECK(user.posix.has_value());
  ASSIGN_OR_RETURN(const auto active, tx.query_one(kUserIsActive, integer_column, user.n, org));
  if (active.value_or(0) != 0) return {};
  return fail(Code::kFailedPrecondition, "this person was deactivated just now");
}

void note_key(Directory::Impl& impl, const Actor& actor, const Cluster& cluster,
              std::string_view id, std::string_view before, std::string_view after) {
  const auto known = [](std::string_view state) {
    return state.empty() ? json::value() : json::value(json::string(state));
  };
  Diff diff;
  diff.set("key " + std::string(id), known(before), known(after));
  note_cluster(impl, actor, cluster, "cluster.key", diff);
}

}  // namespace

std::string_view token_signing_name(TokenSigning signing) {
  return std::ranges::find(kSignings, signing, &decltype(kSignings)::value_type::first)->second;
}

Result<TokenSigning> parse_token_signing(std::string_view text) {
  const auto* found = std::ranges::find(kSignings, text, &decltype(kSignings)::value_type::second);
  if (found != kSignings.end()) return found->first;
  return fail(Code::kInvalidArgument, "signing must be rs256 or hs256");
}

std::string_view cluster_key_state_name(ClusterKeyState state) {
  return std::ranges::find(kKeyStates, state, &decltype(kKeyStates)::value_type::first)->second;
}

ClusterSettings for_person(ClusterSettings settings, std::string_view login) {
  for (std::string* field : {&settings.login_host, &settings.login_user, &settings.endpoint,
                             &settings.ca_file, &settings.key_file}) {
    for (std::size_t at = 0; (at = field->find(kUserPlaceholder, at)) != field->npos;
         at += login.size()) {
      field->replace(at, kUserPlaceholder.size(), login);
    }
  }
  return settings;
}

json::object cluster_settings_json(const ClusterSettings& settings) {
  return {{"scheduler", settings.scheduler},
          {"slurm_name", settings.slurm_name},
          {"login_host", settings.login_host},
          {"login_port", settings.login_port},
          {"login_user", settings.login_user},
          {"endpoint", settings.endpoint},
          {"ca_file", settings.ca_file},
          {"plain_http", settings.plain_http},
          {"signing", token_signing_name(settings.signing)},
          {"key_file", settings.key_file},
          {"token_ttl_max_s", settings.token_ttl_max.count()},
          {"service_user", settings.service_user},
          {"read_user", settings.read_user},
          {"await_nodes", settings.await_nodes},
          {"user_access", texts_json(settings.user_access)},
          {"read_access", texts_json(settings.read_access)}};
}

Result<ClusterSettings> cluster_settings_from_json(std::string_view text) {
  const auto parsed = json::parse(text);
  if (!parsed || !parsed->is_object()) {
    return fail(Code::kDataLoss, "the stored settings of the cluster are not a JSON object");
  }
  const json::object& o = parsed->get_object();
  ClusterSettings settings;
  for (const auto& [name, field] :
       {std::pair{"scheduler", &settings.scheduler}, std::pair{"slurm_name", &settings.slurm_name},
        std::pair{"login_host", &settings.login_host},
        std::pair{"login_user", &settings.login_user}, std::pair{"endpoint", &settings.endpoint},
        std::pair{"ca_file", &settings.ca_file}, std::pair{"key_file", &settings.key_file},
        std::pair{"service_user", &settings.service_user},
        std::pair{"read_user", &settings.read_user}}) {
    *field = json::find_string(o, name).value_or(*field);
  }
  settings.plain_http = json::find_bool(o, "plain_http").value_or(false);
  settings.await_nodes = json::find_bool(o, "await_nodes").value_or(true);
  settings.login_port = json::find_int(o, "login_port").value_or(settings.login_port);
  if (const auto signing = json::find_string(o, "signing")) {
    const auto known = parse_token_signing(*signing);
    if (!known) return fail(Code::kDataLoss, known.error().message);
    settings.signing = *known;
  }
  settings.token_ttl_max = std::chrono::seconds(
      json::find_int(o, "token_ttl_max_s").value_or(settings.token_ttl_max.count()));
  settings.user_access = texts_of(o, "user_access");
  settings.read_access = texts_of(o, "read_access");
  return settings;
}

Result<std::vector<Cluster>> Directory::list_clusters(OrgN org) {
  return impl_->db.read([org](Tx& tx) { return load_clusters(tx, kList, org); });
}

Result<Cluster> Directory::find_cluster(OrgN org, std::string_view name) {
  return impl_->db.read([org, name](Tx& tx) { return load_cluster(tx, org, name); });
}

Result<Cluster> Directory::add_cluster(const Actor& actor, OrgN org, std::string_view name,
                                       const ClusterSettings& settings) {
  RETURN_IF_ERROR(authorize(actor, org));
  RETURN_IF_ERROR(check_name(name));
  RETURN_IF_ERROR(check_cluster_settings(settings));
  return impl_->db.write([this, &actor, org, name, &settings](Tx& tx) -> Result<Cluster> {
    ASSIGN_OR_RETURN(const std::vector<Cluster> all, load_clusters(tx, kList, org));
    if (std::ranges::find(all, name, &Cluster::name) != all.end()) {
      return fail(Code::kAlreadyExists, "there is a cluster " + std::string(name) + " already");
    }
    if (all.size() >= kClustersMax) {
      return fail(Code::kFailedPrecondition,
                  "an organization has at most " + std::to_string(kClustersMax) + " clusters");
    }
    const Timestamp now = impl_->now();
    const json::object described = cluster_settings_json(settings);
    ASSIGN_OR_RETURN(const auto n, tx.query_one(kInsert, integer_column, org, name,
                                                json::canonical(described), to_millis(now)));
    JournalEntry entry = journal_entry(actor, org, now, "cluster.create", target_of(name));
    Diff diff;
    diff.compare({}, described);
    entry.diff = diff.text();
    impl_->journal->add(std::move(entry));
    return Cluster{n.value(), org, std::string(name), settings, now, now};
  });
}

Result<Cluster> Directory::update_cluster(const Actor& actor, OrgN org, std::string_view name,
                                          const ClusterEdit& edit) {
  RETURN_IF_ERROR(authorize(actor, org));
  return impl_->db.write([this, &actor, org, name, &edit](Tx& tx) -> Result<Cluster> {
    ASSIGN_OR_RETURN(Cluster cluster, load_cluster(tx, org, name));
    ASSIGN_OR_RETURN(ClusterSettings settings, edit(cluster.settings));
    RETURN_IF_ERROR(check_cluster_settings(settings));
    if (settings == cluster.settings) return cluster;
    const Timestamp now = impl_->now();
    const json::object described = cluster_settings_json(settings);
    RETURN_IF_ERROR(tx.execute(kUpdate, cluster.n, json::canonical(described), to_millis(now)));
    JournalEntry entry = journal_entry(actor, org, now, "cluster.update", target_of(name));
    Diff diff;
    diff.compare(cluster_settings_json(cluster.settings), described);
    entry.diff = diff.text();
    impl_->journal->add(std::move(entry));
    cluster.settings = std::move(settings);
    cluster.modified = now;
    return cluster;
  });
}

Result<void> Directory::remove_cluster(const Actor& actor, OrgN org, std::string_view name) {
  RETURN_IF_ERROR(authorize(actor, org));
  return impl_->db.write([this, &actor, org, name](Tx& tx) -> Result<void> {
    ASSIGN_OR_RETURN(const Cluster cluster, load_cluster(tx, org, name));
    RETURN_IF_ERROR(tx.execute(kDeleteKeys, cluster.n));
    RETURN_IF_ERROR(tx.execute(kDelete, cluster.n));
    JournalEntry entry = journal_entry(actor, org, impl_->now(), "cluster.delete", target_of(name));
    Diff diff;
    diff.compare(cluster_settings_json(cluster.settings), {});
    entry.diff = diff.text();
    impl_->journal->add(std::move(entry));
    return {};
  });
}

Result<std::string> Directory::cluster_rules(ClusterN cluster) {
  ASSIGN_OR_RETURN(const std::optional<std::string> rules, impl_->db.read([cluster](Tx& tx) {
    return tx.query_one(kRules, text_column, cluster);
  }));
  if (!rules) return fail(Code::kNotFound, "the cluster is gone");
  return *rules;
}

Result<void> Directory::set_cluster_rules(const Actor& actor, const Cluster& cluster,
                                          std::string_view rules) {
  RETURN_IF_ERROR(authorize(actor, cluster.org));
  if (rules.size() > kRulesBytesMax) {
    return fail(Code::kTooLarge, "the rules of a cluster have at most 256 KiB");
  }
  return impl_->db.write([this, &actor, &cluster, rules](Tx& tx) -> Result<void> {
    ASSIGN_OR_RETURN(const std::optional<std::string> before,
                     tx.query_one(kRules, text_column, cluster.n));
    if (!before) return fail(Code::kNotFound, "the cluster is gone");
    if (*before == rules) return {};
    const Timestamp now = impl_->now();
    RETURN_IF_ERROR(tx.execute(kSetRules, cluster.n, rules, to_millis(now)));
    JournalEntry entry =
        journal_entry(actor, cluster.org, now, "cluster.rules", target_of(cluster.name));
    Diff diff;
    diff.set("rules", json::string(*before), json::string(rules));
    entry.diff = diff.text();
    impl_->journal->add(std::move(entry));
    return {};
  });
}

Result<std::vector<ClusterKey>> Directory::cluster_keys(ClusterN cluster) {
  return impl_->db.read([cluster](Tx& tx) { return load_keys(tx, cluster); });
}

Result<void> Directory::add_cluster_key(const Actor& actor, const Cluster& cluster,
                                        std::string_view id, const Secret& private_pem) {
  RETURN_IF_ERROR(authorize(actor, cluster.org));
  return impl_->db.write([this, &actor, &cluster, id, &private_pem](Tx& tx) -> Result<void> {
    ASSIGN_OR_RETURN(const std::vector<ClusterKey> keys, load_keys(tx, cluster.n));
    if (std::ranges::find(keys, ClusterKeyState::kNext, &ClusterKey::state) != keys.end()) {
      return fail(Code::kFailedPrecondition,
                  "there is a next key already: let Slurm learn it and activate it, or drop it");
    }
    const auto state = keys.empty() ? ClusterKeyState::kSigning : ClusterKeyState::kNext;
    const Timestamp now = impl_->now();
    RETURN_IF_ERROR(tx.execute(kInsertKey, cluster.n, id, state_number(state), to_millis(now),
                               private_pem.expose()));
    note_key(*impl_, actor, cluster, id, {}, cluster_key_state_name(state));
    return {};
  });
}

Result<void> Directory::sign_with_cluster_key(const Actor& actor, const Cluster& cluster,
                                              std::string_view id) {
  RETURN_IF_ERROR(authorize(actor, cluster.org));
  return impl_->db.write([this, &actor, &cluster, id](Tx& tx) -> Result<void> {
    ASSIGN_OR_RETURN(const std::vector<ClusterKey> keys, load_keys(tx, cluster.n));
    const auto chosen = std::ranges::find(keys, id, &ClusterKey::id);
    if (chosen == keys.end()) return fail(Code::kNotFound, "the cluster has no such key");
    if (chosen->state == ClusterKeyState::kSigning) return {};
    const Timestamp now = impl_->now();
    for (const ClusterKey& key : keys) {
      if (key.state != ClusterKeyState::kSigning) continue;
      RETURN_IF_ERROR(tx.execute(kSetKeyState, cluster.n, key.id,
                                 state_number(ClusterKeyState::kFormer), to_millis(now)));
      note_key(*impl_, actor, cluster, key.id, "signing", "former");
    }
    RETURN_IF_ERROR(
        tx.execute(kSetKeyState, cluster.n, id, state_number(ClusterKeyState::kSigning), nullptr));
    note_key(*impl_, actor, cluster, id, cluster_key_state_name(chosen->state), "signing");
    return {};
  });
}

Result<void> Directory::drop_cluster_key(const Actor& actor, const Cluster& cluster,
                                         std::string_view id) {
  RETURN_IF_ERROR(authorize(actor, cluster.org));
  return impl_->db.write([this, &actor, &cluster, id](Tx& tx) -> Result<void> {
    ASSIGN_OR_RETURN(const std::vector<ClusterKey> keys, load_keys(tx, cluster.n));
    const auto chosen = std::ranges::find(keys, id, &ClusterKey::id);
    if (chosen == keys.end()) return fail(Code::kNotFound, "the cluster has no such key");
    if (chosen->state == ClusterKeyState::kSigning) {
      return fail(Code::kFailedPrecondition, "this key signs: activate another one first");
    }
    RETURN_IF_ERROR(tx.execute(kDeleteKey, cluster.n, id));
    note_key(*impl_, actor, cluster, id, cluster_key_state_name(chosen->state), {});
    return {};
  });
}

Result<void> Directory::note_slurm_request(const Actor& actor, const Cluster& cluster,
                                           const User& user, std::string_view request) {
  return impl_->db.write([this, &actor, &cluster, &user, request](Tx& tx) -> Result<void> {
    RETURN_IF_ERROR(check_still_active(tx, cluster.org, user));
    Diff diff;
    diff.set("login", nullptr, json::string(user.posix->name));
    diff.set("request", nullptr, json::string(request));
    note_cluster(*impl_, actor, cluster, "cluster.request", diff);
    return {};
  });
}

Result<void> Directory::note_slurm_token(const Actor& actor, const Cluster& cluster,
                                         const User& user, Timestamp expires) {
  return impl_->db.write([this, &actor, &cluster, &user, expires](Tx& tx) -> Result<void> {
    RETURN_IF_ERROR(check_still_active(tx, cluster.org, user));
    Diff diff;
    diff.set("user", nullptr, json::string(user.id));
    diff.set("login", nullptr, json::string(user.posix->name));
    diff.set("expires", nullptr, json::string(format_rfc3339(expires)));
    note_cluster(*impl_, actor, cluster, "cluster.token", diff);
    return {};
  });
}

}  // namespace roster::directory
