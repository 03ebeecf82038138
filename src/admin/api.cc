#include "admin/api.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "admin/body.h"
#include "admin/render.h"
#include "base/unicode.h"
#include "directory/nesting.h"
#include "http/respond.h"
#include "posix/id_ranges.h"
#include "posix/ssh_key.h"
#include "scim/schema.h"

namespace roster::admin {
namespace {

using directory::Scope;

constexpr std::size_t kPageMax = 1000;
constexpr std::size_t kBodyBytesMax = 1 << 20;

constexpr BodyField kSlug[] = {
    {"org", "string", true, "short name: [a-z0-9-], 1 to 63"},
    {"ids", "string", false,
     "its first block of ids, such as \"20000-29999\"; absent: the next free"}};
constexpr BodyField kIds[] = {{"ids", "string", true, "such as \"20000-29999\""}};
constexpr BodyField kSettings[] = {
    {"leaver_policy", "string", false, "lock or hide: what deactivation does on nodes"},
    {"home_template", "string", false, "e.g. /home/{login}"},
    {"home_prefixes", "array", false, "homes must lie below one of these"},
    {"default_shell", "string", false, "for people without one"},
    {"shells", "array", false, "the shells that may be asked for; empty: the built-in list"},
    {"admitted_ids", "array", false,
     "ids that imports may bring, such as \"2000-2999\"; only an operator changes them"},
    {"reserved_names", "array", false, "names that no person and no group gets"},
    {"user_provisioning", "boolean", false,
     "false: new people and groups get no POSIX identity and are on no node, until it is true"},
    {"login_from", "string", false,
     "userName, email, nickName or externalId: what logins are made "
     "from, userName where it is missing"},
    {"group_prefix", "string", false, "of the POSIX names of new groups, e.g. \"g-\""},
    {"primary_group", "string", false,
     "of new people: private (one each), or a group by POSIX name, displayName, id or gid"},
    {"rebind_deleted", "boolean", false, "a person created again gets the deleted identity back"},
    {"nested_groups", "boolean", false, "false: groups cannot be members of groups"},
    {"scim_api", "boolean", false, "false: tokens of scope scim, read and user are refused"},
    {"automated_provisioning", "boolean", false, "false: tokens of scope scim may only read"}};
constexpr BodyField kName[] = {{"name", "string", true, "name, unique in the organization"}};
constexpr BodyField kToken[] = {
    {"name", "string", true, "name, unique among living tokens"},
    {"scope", "string", true, "scim, read, join, user, admin or operator"},
    {"client", "string", false, "owner of what the token provisions; required for scope scim"},
    {"ttl", "string", false, "lifetime such as 90d; absent: does not expire"},
    {"user", "string", false, "login or userName; required for scope user"},
    {"active_only", "boolean", false, "read: people who may not log in are never shown"},
    {"cluster", "string", false, "join: the cluster of the nodes"},
    {"view", "string", false, "join: name of a view of the organization; absent: default"},
    {"role", "string", false, "join: login, compute, controller, dbd, rest or storage"},
    {"uses", "integer", false, "join: how many nodes may join; absent: any number"}};
constexpr BodyField kUser[] = {
    {"userName", "string", true, "sign-in name; the login is made from it"},
    {"displayName", "string", false, "full name"},
    {"email", "string", false, "address"},
    {"keys", "array", false, "SSH public keys, one line each"},
    {"active", "boolean", false, "default true"}};
constexpr BodyField kUserEdit[] = {
    {"userName", "string", false, "sign-in name; the login stays"},
    {"displayName", "string", false, "full name"},
    {"email", "string", false, "address, in the place of the primary one"},
    {"home", "string", false, "home directory; \"\": by the organization's template"},
    {"shell", "string", false, "login shell; \"\": the organization's default"}};
constexpr BodyField kGroupEdit[] = {
    {"displayName", "string", true, "name of the group; the POSIX name stays"}};
constexpr BodyField kLogin[] = {
    {"login", "string", true, "new login name; the old one stays taken"}};
constexpr BodyField kExpiry[] = {{"valid_until", "string", false, "RFC 3339 time; absent: no end"}};
constexpr BodyField kKeys[] = {
    {"keys", "array", true, "SSH public keys, one line each"},
    {"name", "string", false, "name for people; default: the key's comment"},
    {"not_before", "string", false, "RFC 3339 time"},
    {"not_after", "string", false, "RFC 3339 time"}};
constexpr BodyField kKeyEdit[] = {{"name", "string", false, "name for people"},
                                  {"not_before", "string", false, "RFC 3339 time; \"\": none"},
                                  {"not_after", "string", false, "RFC 3339 time; \"\": none"}};
constexpr BodyField kGroup[] = {
    {"displayName", "string", true, "name of the group; the POSIX name is made from it"},
    {"members", "array", false, "logins, userNames or ids"}};
constexpr BodyField kMembers[] = {{"add", "array", false, "logins, userNames or ids"},
                                  {"remove", "array", false, "logins, userNames or ids"}};
constexpr BodyField kView[] = {
    {"groups", "array", false,
     "POSIX names, displayNames or ids: who is in the view; absent: everybody"},
    {"attributes", "array", false, "of keys and gecos, what travels; absent: both"},
    {"home", "string", false, "template with {name}, {uid}, {org}; absent: each person's own"},
    {"shell", "string", false, "of people who are not locked; absent: each person's own"}};
constexpr BodyField kImportedPerson[] = {
    {"login", "string", true, "[a-z_][a-z0-9._-]*, at most 32 bytes"},
    {"uid", "integer", true, "in the organization's blocks or admitted_ids"},
    {"gid", "integer", false, "the primary group; absent or equal to uid: a private one"},
    {"gecos", "string", false, "full name, until the provider gives one"},
    {"home", "string", false, "absent: by the organization's template"},
    {"shell", "string", false, "absent: the organization's default"},
    {"userName", "string", false, "the push that it waits for; without this and externalId: none"},
    {"externalId", "string", false, "the push that it waits for"},
    {"client", "string", false, "whose push it waits for; absent: anybody's"}};
constexpr BodyField kImportedGroup[] = {
    {"name", "string", true, "[a-z_][a-z0-9._-]*, at most 32 bytes"},
    {"gid", "integer", true, "in the organization's blocks or admitted_ids"},
    {"displayName", "string", false, "the push that it waits for"},
    {"externalId", "string", false, "the push that it waits for"},
    {"client", "string", false, "whose push it waits for; absent: anybody's"}};
constexpr BodyField kImport[] = {
    {"people", "objects", false, "with groups 1,000 at most", kImportedPerson},
    {"groups", "objects", false, "named ones, not people's private ones", kImportedGroup},
    {"dry_run", "boolean", false, "judge and write nothing"},
    {"skip_clashes", "boolean", false, "import the others; absent: nobody when anything clashes"},
    {"gids", "integers", false,
     "dry_run: primary groups that the same import brings in another request"}};
constexpr BodyField kIdentityQuery[] = {
    {"after", "string", false, "the `next` of the page before"},
    {"limit", "integer", false, "1 to 1000, default 100"},
    {"members", "boolean", false, "with the logins of groups' members, nested ones included"}};
constexpr BodyField kPaging[] = {{"after", "string", false, "the `next` of the page before"},
                                 {"limit", "integer", false, "1 to 1000, default 100"}};
constexpr BodyField kAuditQuery[] = {
    {"after", "string", false, "the `next` of the page before"},
    {"limit", "integer", false, "1 to 1000, default 100"},
    {"operator", "boolean", false, "what operators did to the hub instead"}};
constexpr BodyField kHubQuery[] = {
    {"operator", "boolean", false, "what operators did to the hub instead"}};
constexpr BodyField kScopeQuery[] = {
    {"operator", "boolean", false, "operator tokens instead of the organization's"}};

#define ROSTER_CLUSTER_FIELDS                                                                     \
  {"scheduler", "string", false, "slurm"},                                                        \
      {"slurm_name", "string", false, "ClusterName of slurm.conf; absent: the cluster's name"},   \
      {"login_host", "string", false, "where people sign in over ssh; __USER__: the login name"}, \
      {"login_port", "integer", false, "default 22"},                                             \
      {"login_user", "string", false, "default __USER__"},                                        \
      {"endpoint", "string", false, "slurmrestd: unix:/path, http://host:port, https://..."},     \
      {"ca_file", "string", false, "on the hub: authorities of an https endpoint"},               \
      {"plain_http", "boolean", false, "allow http beyond loopback"},                             \
      {"await_nodes", "boolean", false, "accounts wait for controllers; default true"},           \
      {"signing", "string", false, "rs256 (default), or hs256 with Slurm's own key"},             \
      {"key_file", "string", false, "on the hub, of hs256"},                                      \
      {"accept_root_key", "boolean", false, "hs256: the hub may hold the key to the cluster"},    \
      {"token_ttl_max", "string", false, "of tokens that people take, default 1h, at most 24h"},  \
      {"service_user", "string", false, "the hub's name in Slurm, default slurm"},                \
      {"read_user", "string", false, "as whom tokens of scope read look; absent: refused"},       \
      {"user_access", "array", false, "at the gateway: \"GET,POST /slurm/*/job/submit\", ..."},   \
      {"read_access", "array", false, "likewise, for tokens of scope read"}
constexpr BodyField kNewCluster[] = {
    {"name", "string", true, "[a-z0-9_-], 1 to 40, as nodes give it when they join"},
    ROSTER_CLUSTER_FIELDS};
constexpr BodyField kCluster[] = {ROSTER_CLUSTER_FIELDS};
#undef ROSTER_CLUSTER_FIELDS
constexpr BodyField kCheck[] = {
    {"as", "string", false, "login, userName or id: whom to impersonate and run a job as"},
    {"job", "boolean", false, "false: submit none"}};
constexpr BodyField kRules[] = {{"rules", "string", true, "TOML; empty: none"},
                                {"file", "string", false, "its name, for errors"},
                                {"dry_run", "boolean", false, "judge and store nothing"}};
constexpr BodyField kForce[] = {{"force", "boolean", false, "without asking whether it may break"}};
constexpr BodyField kSlurmToken[] = {
    {"user", "string", false, "login, userName or id; a person's token: that person alone"},
    {"ttl", "string", false, "default 30m, at most the cluster's token_ttl_max"}};

// operation.id names the handler: the order is that of kHandlers.
constexpr Operation kOperations[] = {
    {"GET", "/api/v1/openapi.json", "describe", "This description", {}, {}},
    {"GET", "/api/v1/whoami", "whoami", "Who the token is", {}, {}},
    {"GET", "/api/v1/orgs", "listOrgs", "Organizations", {}, {}},
    {"POST", "/api/v1/orgs", "createOrg", "Create an organization (operator)", kSlug, {}},
    {"GET", "/api/v1/orgs/{org}", "getOrg", "One organization", {}, {}},
    {"PATCH", "/api/v1/orgs/{org}", "updateOrg", "Change settings", kSettings, {}},
    {"GET",
     "/api/v1/orgs/{org}/ids",
     "listIds",
     "Blocks that ids are taken from, in order",
     {},
     {}},
    {"POST", "/api/v1/orgs/{org}/ids", "addIds", "Add a block (operator)", kIds, {}},
    {"DELETE",
     "/api/v1/orgs/{org}/ids/{ids}",
     "closeIds",
     "No more ids from a block (operator)",
     {},
     {}},
    {"GET", "/api/v1/orgs/{org}/clients", "listClients", "Provisioning clients", {}, {}},
    {"POST", "/api/v1/orgs/{org}/clients", "createClient", "Create a client", kName, {}},
    {"GET", "/api/v1/orgs/{org}/tokens", "listTokens", "Tokens", {}, kScopeQuery},
    {"POST", "/api/v1/orgs/{org}/tokens", "createToken", "Create a token; shown once", kToken, {}},
    {"DELETE",
     "/api/v1/orgs/{org}/tokens/{name}",
     "revokeToken",
     "Revoke at once",
     {},
     kScopeQuery},
    {"GET", "/api/v1/orgs/{org}/users", "listUsers", "People, in order of id", {}, kPaging},
    {"POST", "/api/v1/orgs/{org}/users", "createUser", "Create a person by hand", kUser, {}},
    {"GET", "/api/v1/orgs/{org}/users/{user}", "getUser", "By login, userName or id", {}, {}},
    {"PATCH", "/api/v1/orgs/{org}/users/{user}", "updateUser", "Change a person", kUserEdit, {}},
    {"DELETE",
     "/api/v1/orgs/{org}/users/{user}",
     "deleteUser",
     "Delete; uid and login stay taken",
     {},
     {}},
    {"POST", "/api/v1/orgs/{org}/users/{user}/deactivate", "deactivateUser", "Lock out", {}, {}},
    {"POST",
     "/api/v1/orgs/{org}/users/{user}/reactivate",
     "reactivateUser",
     "Let in again",
     {},
     {}},
    {"POST", "/api/v1/orgs/{org}/users/{user}/rename", "renameUser", "New login", kLogin, {}},
    {"POST", "/api/v1/orgs/{org}/users/{user}/expire", "expireUser", "Set an end", kExpiry, {}},
    {"POST", "/api/v1/orgs/{org}/users/{user}/keys", "addKeys", "Add SSH keys", kKeys, {}},
    {"PATCH",
     "/api/v1/orgs/{org}/users/{user}/keys/{fingerprint}",
     "updateKey",
     "Name and times of a key",
     kKeyEdit,
     {}},
    {"DELETE",
     "/api/v1/orgs/{org}/users/{user}/keys/{fingerprint}",
     "removeKey",
     "Remove a key",
     {},
     {}},
    {"GET", "/api/v1/orgs/{org}/groups", "listGroups", "Groups, in order of id", {}, kPaging},
    {"POST", "/api/v1/orgs/{org}/groups", "createGroup", "Create a group by hand", kGroup, {}},
    {"GET",
     "/api/v1/orgs/{org}/groups/{group}",
     "getGroup",
     "By POSIX name, displayName or id",
     {},
     {}},
    {"PATCH", "/api/v1/orgs/{org}/groups/{group}", "updateGroup", "Change a group", kGroupEdit, {}},
    {"DELETE",
     "/api/v1/orgs/{org}/groups/{group}",
     "deleteGroup",
     "Delete; gid and name stay taken",
     {},
     {}},
    {"POST",
     "/api/v1/orgs/{org}/groups/{group}/rename",
     "renameGroup",
     "New POSIX name",
     kName,
     {}},
    {"POST",
     "/api/v1/orgs/{org}/groups/{group}/members",
     "changeMembers",
     "Add and remove members",
     kMembers,
     {}},
    {"POST",
     "/api/v1/orgs/{org}/import",
     "importIdentities",
     "Reserve identities that exist elsewhere",
     kImport,
     {}},
    {"GET",
     "/api/v1/orgs/{org}/identities",
     "listIdentities",
     "Everybody's who has or had a uid or gid, in order of it",
     {},
     kIdentityQuery},
    {"DELETE",
     "/api/v1/orgs/{org}/identities/{number}",
     "unreserveIdentity",
     "Take back what an import reserved and nobody came for",
     {},
     {}},
    {"GET", "/api/v1/orgs/{org}/nodes", "listNodes", "Enrolled nodes and how far they are", {}, {}},
    {"DELETE", "/api/v1/orgs/{org}/nodes/{cluster}/{name}", "deleteNode", "Forget a node", {}, {}},
    {"GET", "/api/v1/orgs/{org}/views", "listViews", "Views, built-in ones first", {}, {}},
    {"GET", "/api/v1/orgs/{org}/views/{view}", "getView", "One view", {}, {}},
    {"PUT",
     "/api/v1/orgs/{org}/views/{view}",
     "setView",
     "Define a view; its nodes take a snapshot",
     kView,
     {}},
    {"DELETE", "/api/v1/orgs/{org}/views/{view}", "removeView", "Unless nodes have it", {}, {}},
    {"GET",
     "/api/v1/orgs/{org}/clusters",
     "listClusters",
     "Slurm clusters; people see where they sign in",
     {},
     {},
     true},
    {"POST", "/api/v1/orgs/{org}/clusters", "addCluster", "Tell of a cluster", kNewCluster, {}},
    {"GET", "/api/v1/orgs/{org}/clusters/{cluster}", "getCluster", "One cluster", {}, {}},
    {"PATCH",
     "/api/v1/orgs/{org}/clusters/{cluster}",
     "updateCluster",
     "Change settings",
     kCluster,
     {}},
    {"DELETE",
     "/api/v1/orgs/{org}/clusters/{cluster}",
     "removeCluster",
     "Forget it and its keys; the cluster stays as it is",
     {},
     {}},
    {"POST",
     "/api/v1/orgs/{org}/clusters/{cluster}/check",
     "checkCluster",
     "Try everything that Roster needs of it",
     kCheck,
     {}},
    {"GET",
     "/api/v1/orgs/{org}/clusters/{cluster}/rules",
     "getClusterRules",
     "Which groups are accounts, with which limits",
     {},
     {}},
    {"PUT",
     "/api/v1/orgs/{org}/clusters/{cluster}/rules",
     "setClusterRules",
     "Replace the rules",
     kRules,
     {}},
    {"GET",
     "/api/v1/orgs/{org}/clusters/{cluster}/explain/{user}",
     "explainAccounts",
     "Why a person has which accounts",
     {},
     {}},
    {"GET",
     "/api/v1/orgs/{org}/clusters/{cluster}/jwks",
     "getJwks",
     "What Slurm's AuthAltParameters=jwks= reads",
     {},
     {}},
    {"GET",
     "/api/v1/orgs/{org}/clusters/{cluster}/keys",
     "listClusterKeys",
     "Signing keys, oldest first",
     {},
     {}},
    {"POST",
     "/api/v1/orgs/{org}/clusters/{cluster}/keys",
     "createClusterKey",
     "The next key, published and not yet signing",
     {},
     {}},
    {"POST",
     "/api/v1/orgs/{org}/clusters/{cluster}/keys/{key}/activate",
     "activateClusterKey",
     "Sign with it, once Slurm takes it",
     kForce,
     {}},
    {"DELETE",
     "/api/v1/orgs/{org}/clusters/{cluster}/keys/{key}",
     "dropClusterKey",
     "Forget a key that does not sign",
     {},
     kForce},
    {"POST",
     "/api/v1/orgs/{org}/clusters/{cluster}/tokens",
     "createSlurmToken",
     "A short-lived token for slurmrestd",
     kSlurmToken,
     {},
     true},
    {"GET", "/api/v1/orgs/{org}/fuse", "fuseStatus", "Are irreversible effects held?", {}, {}},
    {"POST", "/api/v1/orgs/{org}/fuse/release", "fuseRelease", "Let them pass for an hour", {}, {}},
    {"GET", "/api/v1/orgs/{org}/audit", "listAudit", "Audit rows, in order", {}, kAuditQuery},
    {"GET", "/api/v1/orgs/{org}/audit/verify", "verifyAudit", "Check the chain", {}, kHubQuery},
    {"DELETE",
     "/api/v1/orgs/{org}/audit/{seq}/diff",
     "eraseAudit",
     "Erase what a row says that was changed; the chain stays whole",
     {},
     {}},
};

// One table from codes to HTTP (RFC 9110 15).
int http_status(Code code) {
  switch (code) {
    case Code::kInvalidArgument:
      return 400;
    case Code::kNotFound:
      return 404;
    case Code::kAlreadyExists:
      return 409;
    case Code::kVersionMismatch:
      return 412;
    case Code::kFailedPrecondition:
      return 409;
    case Code::kUnauthenticated:
      return 401;
    case Code::kPermissionDenied:
      return 403;
    case Code::kTooLarge:
      return 413;
    case Code::kUnsupported:
      return 501;
    case Code::kUnavailable:
      return 503;
    case Code::kDataLoss:
      return 500;
    case Code::kInternal:
      return 500;
  }
  return 500;
}

http::Response problem(const Error& error) {
  const int status = http_status(error.code);
  http::Response response =
      http::json_response(status,
                          json::object{{"status", status},
                                       {"title", json::string(code_name(error.code))},
                                       {"detail", json::string(error.message)}},
                          "application/problem+json");
  if (status == 401) response.headers.set("WWW-Authenticate", "Bearer realm=\"roster\"");
  if (status == 503) response.headers.set("Retry-After", "1");
  return response;
}

Result<std::string_view> bearer(const http::Request& request) {
  const std::string_view header = request.headers.get("Authorization");
  constexpr std::string_view kScheme = "bearer ";
  if (header.size() <= kScheme.size() ||
      !ascii_iequals(header.substr(0, kScheme.size()), kScheme)) {
    return fail(Code::kUnauthenticated, "no bearer token: send Authorization: Bearer TOKEN");
  }
  return header.substr(kScheme.size());
}

bool has_type(const json::value& value, std::string_view type) {
  if (type == "string") return value.is_string();
  if (type == "boolean") return value.is_bool();
  if (type == "integer") return value.is_int64();
  if (!value.is_array()) return false;
  return std::ranges::all_of(value.get_array(), [type](const json::value& item) {
    return type == "objects"    ? item.is_object()
           : type == "integers" ? item.is_int64()
                                : item.is_string();
  });
}

std::string_view type_in_words(std::string_view type) {
  if (type == "array") return "a list of strings";
  if (type == "integers") return "a list of integers";
  return type == "objects" ? "a list of objects" : type;
}

/// Exactly the members that are described, and all that are required.
Result<void> check_members(std::string_view where, const json::object& object,
                           std::span<const BodyField> fields) {
  for (const auto& member : object) {
    const auto known = std::ranges::find(fields, std::string_view(member.key()), &BodyField::name);
    if (known == fields.end()) {
      return fail(Code::kInvalidArgument,
                  fmt::format("there is no '{}' in {}", std::string_view(member.key()), where));
    }
    if (!has_type(member.value(), known->type)) {
      return fail(Code::kInvalidArgument,
                  fmt::format("'{}' must be {}", known->name, type_in_words(known->type)));
    }
    if (known->type != "objects") continue;
    for (const json::value& item : member.value().get_array()) {
      RETURN_IF_ERROR(check_members(fmt::format("the objects of '{}'", known->name),
                                    item.get_object(), known->members));
    }
  }
  for (const BodyField& field : fields) {
    if (field.required && !object.contains(field.name)) {
      return fail(Code::kInvalidArgument, fmt::format("'{}' is missing", field.name));
    }
  }
  return {};
}

Result<json::object> parse_body(const Operation& operation, const http::Request& request) {
  if (operation.body.empty()) return json::object{};
  ASSIGN_OR_RETURN(json::value parsed, json::parse(request.body, {.bytes_max = kBodyBytesMax}));
  if (!parsed.is_object()) return fail(Code::kInvalidArgument, "the body must be a JSON object");
  RETURN_IF_ERROR(check_members(fmt::format("the body of {}", operation.id), parsed.get_object(),
                                operation.body));
  return std::move(parsed.get_object());
}

Result<std::vector<directory::KeyInput>> body_keys(const Call& call) {
  ASSIGN_OR_RETURN(const auto parsed, posix::parse_key_list("keys", body_list(call, "keys")));
  ASSIGN_OR_RETURN(const auto not_before, body_time(call, "not_before"));
  ASSIGN_OR_RETURN(const auto not_after, body_time(call, "not_after"));
  std::vector<directory::KeyInput> keys;
  for (const posix::SshPublicKey& key : parsed) {
    std::string name = body_text(call, "name");
    if (name.empty()) name = key.comment();
    keys.push_back({key.line(), key.fingerprint(), std::move(name), not_before, not_after});
  }
  return keys;
}

/// The settings that the body names, in the place of present ones. `primary_gid`: what the body's
/// primary_group stands for.
Result<directory::OrgSettings> edited_settings(const Call& call,
                                               std::optional<std::uint32_t> primary_gid,
                                               directory::OrgSettings settings) {
  if (const auto policy = json::find_string(call.body, "leaver_policy")) {
    if (*policy != "lock" && *policy != "hide") {
      return fail(Code::kInvalidArgument, "leaver_policy must be lock or hide");
    }
    settings.leaver_policy =
        *policy == "hide" ? directory::LeaverPolicy::kHide : directory::LeaverPolicy::kLock;
  }
  if (call.body.contains("home_template"))
    settings.home_template = body_text(call, "home_template");
  if (call.body.contains("home_prefixes"))
    settings.home_prefixes = body_list(call, "home_prefixes");
  if (call.body.contains("default_shell"))
    settings.default_shell = body_text(call, "default_shell");
  if (call.body.contains("shells")) settings.shells = body_list(call, "shells");
  if (call.body.contains("admitted_ids")) {
    settings.admitted_ids.clear();
    for (const std::string& text : body_list(call, "admitted_ids")) {
      const auto block = posix::parse_block(text);
      if (!block) return fail_in("admitted_ids", block.error());
      settings.admitted_ids.push_back(*block);
    }
  }
  if (call.body.contains("reserved_names")) {
    settings.reserved_names = body_list(call, "reserved_names");
  }
  const auto set = [&call](std::string_view name, bool& value) {
    value = json::find_bool(call.body, name).value_or(value);
  };
  set("rebind_deleted", settings.rebind_deleted);
  set("nested_groups", settings.nested_groups);
  set("user_provisioning", settings.user_provisioning);
  if (const auto source = json::find_string(call.body, "login_from")) {
    ASSIGN_OR_RETURN(settings.login_from, directory::parse_login_source(*source));
  }
  if (call.body.contains("group_prefix")) settings.group_prefix = body_text(call, "group_prefix");
  settings.primary_gid = primary_gid.value_or(settings.primary_gid);
  set("scim_api", settings.scim_api);
  set("automated_provisioning", settings.automated_provisioning);
  return settings;
}

Result<posix::IdBlock> parse_ids(std::string_view text) {
  auto block = posix::parse_block(text);
  if (!block) return fail_in("ids", block.error());
  return *block;
}

Result<std::size_t> page_limit(const Call& call) {
  const auto text = call.query.get("limit");
  if (!text) return 100;
  std::size_t limit = 0;
  const auto [end, problem] = std::from_chars(text->data(), text->data() + text->size(), limit);
  if (problem != std::errc{} || end != text->data() + text->size() || limit < 1 ||
      limit > kPageMax) {
    return fail(Code::kInvalidArgument, "limit must be a whole number from 1 to 1000");
  }
  return limit;
}

std::optional<directory::OrgN> token_org(const Call& call) {
  if (call.query.get("operator") == "true") return std::nullopt;
  return call.org->n;
}

Result<void> check_hub_audit(const Call& call) {
  if (token_org(call) || call.actor.scope == Scope::kOperator) return {};
  return fail(Code::kPermissionDenied, "only an operator's token sees what operators did");
}

Result<Seq> parse_seq(std::string_view what, std::string_view text) {
  Seq seq;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), seq.value);
  if (problem == std::errc{} && end == text.data() + text.size()) return seq;
  return fail(Code::kInvalidArgument, fmt::format("{} must be the seq of an audit row", what));
}

template <typename T>
json::array render_all(const std::vector<T>& items) {
  json::array out;
  for (const T& item : items) out.push_back(render(item));
  return out;
}

template <typename T>
Answer page_answer(const char* member, const directory::Page<T>& page) {
  json::object body;
  body[member] = render_all(page.items);
  body["next"] = page.more ? json::value(json::string(page.items.back().id)) : nullptr;
  return {200, std::move(body)};
}

}  // namespace

std::span<const Operation> Api::operations() { return kOperations; }

Api::Handler Api::handler_of(const Operation& operation) {
  static constexpr std::array<Handler, std::size(kOperations)> kHandlers = {
      &Api::describe,
      &Api::whoami,
      &Api::list_orgs,
      &Api::create_org,
      &Api::get_org,
      &Api::update_org,
      &Api::list_ids,
      &Api::add_ids,
      &Api::close_ids,
      &Api::list_clients,
      &Api::create_client,
      &Api::list_tokens,
      &Api::create_token,
      &Api::revoke_token,
      &Api::list_users,
      &Api::create_user,
      &Api::get_user,
      &Api::update_user,
      &Api::delete_user,
      &Api::deactivate_user,
      &Api::reactivate_user,
      &Api::rename_user,
      &Api::expire_user,
      &Api::add_keys,
      &Api::update_key,
      &Api::remove_key,
      &Api::list_groups,
      &Api::create_group,
      &Api::get_group,
      &Api::update_group,
      &Api::delete_group,
      &Api::rename_group,
      &Api::change_members,
      &Api::import_identities,
      &Api::list_identities,
      &Api::unreserve_identity,
      &Api::list_nodes,
      &Api::delete_node,
      &Api::list_views,
      &Api::get_view,
      &Api::set_view,
      &Api::remove_view,
      &Api::list_clusters,
      &Api::add_cluster,
      &Api::get_cluster,
      &Api::update_cluster,
      &Api::remove_cluster,
      &Api::check_cluster,
      &Api::get_cluster_rules,
      &Api::set_cluster_rules,
      &Api::explain_accounts,
      &Api::get_jwks,
      &Api::list_cluster_keys,
      &Api::create_cluster_key,
      &Api::activate_cluster_key,
      &Api::drop_cluster_key,
      &Api::create_slurm_token,
      &Api::fuse_status,
      &Api::fuse_release,
      &Api::list_audit,
      &Api::verify_audit,
      &Api::erase_audit};
  const auto index = static_cast<std::size_t>(&operation - kOperations);
  CHECK(index < kHandlers.size());
  return kHandlers[index];
}

Api::Api(directory::Directory& directory, clusters::Tokens& tokens, ApiOptions options)
    : directory_(directory), tokens_(tokens), options_(std::move(options)) {}

Result<Answer> Api::run(const Operation& operation, const http::Request& request,
                        const http::Context& context, const http::Params& params) {
  ASSIGN_OR_RETURN(const std::string_view token, bearer(request));
  ASSIGN_OR_RETURN(directory::Actor actor, directory_.authenticate(token));
  const bool person = actor.scope == Scope::kUser && operation.people;
  if (actor.scope != Scope::kAdmin && actor.scope != Scope::kOperator && !person) {
    return fail(Code::kPermissionDenied,
                fmt::format("a token of scope {} cannot administer; use one of scope admin or "
                            "operator",
                            directory::scope_name(actor.scope)));
  }
  actor.remote = context.remote;
  actor.request_id = context.request_id;
  ASSIGN_OR_RETURN(http::Query query, http::Query::parse(request.query));
  Call call{request, params, std::move(query), std::move(actor), std::nullopt, {}};
  if (operation.path.contains("{org}")) {
    const std::string& slug = params.get("org");
    auto org = directory_.find_org(slug);
    // The same answer for another tenant's organization and for none: names do not leak.
    if (org && call.actor.org && *call.actor.org != org->n) {
      org = fail(Code::kNotFound, "");
    }
    if (!org && org.error().code == Code::kNotFound) {
      return fail(Code::kNotFound, fmt::format("there is no organization '{}'", slug));
    }
    if (!org) return std::unexpected(org.error());
    call.org = *std::move(org);
  }
  ASSIGN_OR_RETURN(call.body, parse_body(operation, request));
  return (this->*handler_of(operation))(call);
}

void Api::add_routes(http::Router& router) {
  for (const Operation& operation : kOperations) {
    router.add(operation.method, operation.path,
               [this, &operation](const http::Request& request, http::Context& context,
                                  const http::Params& params) {
                 return answer(operation, request, context, params);
               });
  }
}

http::Response Api::answer(const Operation& operation, const http::Request& request,
                           http::Context& context, const http::Params& params) {
  auto answered = run(operation, request, context, params);
  if (!answered) return problem(answered.error());
  if (answered->body.is_null()) {
    http::Response response;
    response.status = 204;
    return response;
  }
  return http::json_response(answered->status, answered->body);
}

Result<Answer> Api::describe(Call&) { return Answer{200, openapi(operations(), options_.version)}; }

Result<Answer> Api::whoami(Call& call) {
  json::object body{{"name", json::string(call.actor.name)},
                    {"scope", json::string(directory::scope_name(call.actor.scope))}};
  if (call.actor.org) {
    ASSIGN_OR_RETURN(const auto orgs, directory_.list_orgs());
    for (const directory::Org& org : orgs) {
      if (org.n == *call.actor.org) body["org"] = json::string(org.slug);
    }
  }
  return Answer{200, std::move(body)};
}

Result<Answer> Api::list_orgs(Call& call) {
  ASSIGN_OR_RETURN(const auto orgs, directory_.list_orgs());
  json::array out;
  for (const directory::Org& org : orgs) {
    if (!call.actor.org || *call.actor.org == org.n) out.push_back(render(org));
  }
  return Answer{200, json::object{{"orgs", std::move(out)}}};
}

Result<Answer> Api::create_org(Call& call) {
  if (call.actor.scope != Scope::kOperator) {
    return fail(Code::kPermissionDenied, "only an operator's token can create organizations");
  }
  std::optional<posix::IdBlock> ids;
  if (call.body.contains("ids")) {
    ASSIGN_OR_RETURN(ids, parse_ids(body_text(call, "ids")));
  }
  ASSIGN_OR_RETURN(const auto org, directory_.create_org(call.actor, body_text(call, "org"), ids));
  return Answer{201, render(org)};
}

Result<Answer> Api::get_org(Call& call) { return Answer{200, render(*call.org)}; }

Result<std::optional<std::uint32_t>> Api::primary_gid(const Call& call) {
  const auto wanted = json::find_string(call.body, "primary_group");
  if (!wanted) return std::nullopt;
  if (*wanted == kPrivateGroups) return 0;
  std::uint32_t gid = 0;
  const char* const last = wanted->data() + wanted->size();
  const auto [end, problem] = std::from_chars(wanted->data(), last, gid);
  if (problem == std::errc{} && end == last && gid != 0) return gid;
  const auto group = directory_.find_group(call.org->n, *wanted, {});
  if (!group && group.error().code == Code::kNotFound) {
    return fail(Code::kInvalidArgument, "primary_group: " + group.error().message);
  }
  if (!group) return std::unexpected(group.error());
  if (!group->posix) {
    return fail(Code::kInvalidArgument, "primary_group: the group has no POSIX identity");
  }
  return group->posix->number;
}

Result<Answer> Api::update_org(Call& call) {
  ASSIGN_OR_RETURN(const auto gid, primary_gid(call));
  ASSIGN_OR_RETURN(const auto org, directory_.update_org_settings(
                                       call.actor, call.org->n,
                                       [&call, gid](const directory::OrgSettings& current) {
                                         return edited_settings(call, gid, current);
                                       }));
  return Answer{200, render(org)};
}

Result<Answer> Api::list_ids(Call& call) {
  ASSIGN_OR_RETURN(const auto blocks, directory_.id_blocks(call.org->n));
  return Answer{200, json::object{{"blocks", render_all(blocks)}}};
}

Result<Answer> Api::add_ids(Call& call) {
  ASSIGN_OR_RETURN(const posix::IdBlock ids, parse_ids(body_text(call, "ids")));
  RETURN_IF_ERROR(directory_.add_id_block(call.actor, call.org->n, ids));
  return list_ids(call);
}

Result<Answer> Api::close_ids(Call& call) {
  ASSIGN_OR_RETURN(const posix::IdBlock ids, parse_ids(call.param("ids")));
  RETURN_IF_ERROR(directory_.close_id_block(call.actor, call.org->n, ids));
  return list_ids(call);
}

Result<Answer> Api::list_clients(Call& call) {
  ASSIGN_OR_RETURN(const auto clients, directory_.list_clients(call.org->n));
  return Answer{200, json::object{{"clients", render_all(clients)}}};
}

Result<Answer> Api::create_client(Call& call) {
  ASSIGN_OR_RETURN(const auto client,
                   directory_.create_client(call.actor, call.org->n, body_text(call, "name")));
  return Answer{201, render(client)};
}

Result<Answer> Api::list_tokens(Call& call) {
  if (!token_org(call) && call.actor.scope != Scope::kOperator) {
    return fail(Code::kPermissionDenied, "only an operator's token sees operator tokens");
  }
  ASSIGN_OR_RETURN(const auto tokens, directory_.list_tokens(token_org(call)));
  json::array out;
  for (const directory::TokenInfo& token : tokens) out.push_back(render(token, options_.clock()));
  return Answer{200, json::object{{"tokens", std::move(out)}}};
}

Result<Answer> Api::create_token(Call& call) {
  ASSIGN_OR_RETURN(const Scope scope, directory::parse_scope(body_text(call, "scope")));
  directory::Directory::TokenRequest wanted;
  wanted.name = body_text(call, "name");
  wanted.scope = scope;
  if (scope == Scope::kOperator) {
    if (call.actor.scope != Scope::kOperator) {
      return fail(Code::kPermissionDenied, "only an operator's token can create operator tokens");
    }
  } else {
    wanted.org = call.org->n;
  }
  if (call.body.contains("client")) wanted.client = body_text(call, "client");
  if (const auto ttl = json::find_string(call.body, "ttl")) {
    auto lifetime = parse_duration(*ttl);
    if (!lifetime) return fail_in("ttl", lifetime.error());
    wanted.ttl = *lifetime;
  }
  wanted.active_only = json::find_bool(call.body, "active_only").value_or(false);
  if (call.body.contains("user")) {
    ASSIGN_OR_RETURN(const auto user,
                     directory_.find_user(call.org->n, body_text(call, "user"), {}));
    wanted.user = user.n;
  }
  if (scope == Scope::kJoin) {
    directory::JoinGrant grant;
    if (call.body.contains("cluster")) grant.cluster = body_text(call, "cluster");
    if (call.body.contains("view")) grant.view = body_text(call, "view");
    if (call.body.contains("role")) grant.role = body_text(call, "role");
    grant.uses_left = json::find_int(call.body, "uses").value_or(-1);
    wanted.join = grant;
    wanted.ca_sha256 = options_.ca_sha256;
  }
  ASSIGN_OR_RETURN(const auto minted, directory_.create_token(call.actor, wanted));
  json::object body = render(minted.info, options_.clock());
  body["token"] = json::string(minted.secret.expose());
  return Answer{201, std::move(body)};
}

Result<Answer> Api::revoke_token(Call& call) {
  const auto org = token_org(call);
  if (!org && call.actor.scope != Scope::kOperator) {
    return fail(Code::kPermissionDenied, "only an operator's token can revoke operator tokens");
  }
  RETURN_IF_ERROR(directory_.revoke_token(call.actor, org, call.param("name")));
  return Answer{204, nullptr};
}

Result<Answer> Api::list_users(Call& call) {
  ASSIGN_OR_RETURN(const std::size_t limit, page_limit(call));
  ASSIGN_OR_RETURN(const auto page,
                   directory_.list_users(call.actor, call.org->n,
                                         call.query.get("after").value_or(""), limit, {}));
  return page_answer("users", page);
}

Result<Answer> Api::create_user(Call& call) {
  RETURN_IF_ERROR(check_texts(call, {"displayName", "email"}));
  directory::UserInput input;
  input.doc["userName"] = json::string(body_text(call, "userName"));
  input.doc["active"] = json::find_bool(call.body, "active").value_or(true);
  if (call.body.contains("displayName")) {
    input.doc["displayName"] = json::string(body_text(call, "displayName"));
  }
  if (call.body.contains("email")) {
    input.doc["emails"] = json::array{json::object{
        {"value", json::string(body_text(call, "email"))}, {"type", "work"}, {"primary", true}}};
  }
  ASSIGN_OR_RETURN(input.keys, body_keys(call));
  ASSIGN_OR_RETURN(const auto user, directory_.create_user(call.actor, call.org->n, input));
  return Answer{201, render(user)};
}

Result<Answer> Api::get_user(Call& call) {
  ASSIGN_OR_RETURN(const auto user, directory_.find_user(call.org->n, call.param("user"),
                                                         {.keys = true, .groups = true}));
  return Answer{200, render(user)};
}

namespace {

/// Puts a text into the document, or takes the member away when there is none.
void set_text(json::object& doc, std::string_view name, const std::string& value) {
  if (value.empty()) {
    doc.erase(name);
  } else {
    doc[name] = json::string(value);
  }
}

/// In the place of the primary address, else of the first; none takes that one away.
void set_email(json::object& doc, const std::string& value) {
  json::value& emails = doc["emails"];
  if (!emails.is_array()) emails.emplace_array();
  json::array& list = emails.get_array();
  const auto is_primary = [](const json::value& each) {
    const json::object* email = each.if_object();
    return email != nullptr && json::find_bool(*email, "primary").value_or(false);
  };
  auto chosen = std::find_if(list.begin(), list.end(), is_primary);
  if (chosen == list.end()) chosen = list.begin();
  if (value.empty()) {
    if (chosen != list.end()) list.erase(chosen);
  } else if (chosen != list.end() && chosen->is_object()) {
    chosen->get_object()["value"] = json::string(value);
  } else {
    list.push_back(
        json::object{{"value", json::string(value)}, {"type", "work"}, {"primary", true}});
  }
  if (list.empty()) doc.erase("emails");
}

}  // namespace

Result<Answer> Api::update_user(Call& call) {
  RETURN_IF_ERROR(check_texts(call, {"displayName", "email"}));
  ASSIGN_OR_RETURN(const auto user, directory_.find_user(call.org->n, call.param("user"), {}));
  const auto edit = [&call](const directory::User& current) -> Result<directory::UserInput> {
    directory::UserInput input;
    input.doc = current.doc;
    for (const char* name : {"userName", "displayName"}) {
      if (call.body.contains(name)) set_text(input.doc, name, body_text(call, name));
    }
    if (call.body.contains("email")) set_email(input.doc, body_text(call, "email"));
    for (const auto& [name, attribute] :
         {std::pair("home", "sunkPreferredHomeDirectory"), std::pair("shell", "sunkLoginShell")}) {
      if (!call.body.contains(name)) continue;
      json::value& extension = input.doc[scim::kCoreWeaveUserUrn];
      if (!extension.is_object()) extension.emplace_object();
      set_text(extension.get_object(), attribute, body_text(call, name));
      if (extension.get_object().empty()) input.doc.erase(scim::kCoreWeaveUserUrn);
    }
    return input;
  };
  ASSIGN_OR_RETURN(const auto after,
                   directory_.update_user(call.actor, call.org->n, user.id, {}, edit));
  return Answer{200, render(after)};
}

Result<Answer> Api::delete_user(Call& call) {
  ASSIGN_OR_RETURN(const auto user, directory_.find_user(call.org->n, call.param("user"), {}));
  RETURN_IF_ERROR(directory_.delete_user(call.actor, call.org->n, user.id, {}));
  return Answer{204, nullptr};
}

Result<Answer> Api::deactivate_user(Call& call) {
  ASSIGN_OR_RETURN(const auto user, directory_.find_user(call.org->n, call.param("user"), {}));
  ASSIGN_OR_RETURN(const auto after,
                   directory_.set_user_active(call.actor, call.org->n, user.id, false));
  return Answer{200, render(after)};
}

Result<Answer> Api::reactivate_user(Call& call) {
  ASSIGN_OR_RETURN(const auto user, directory_.find_user(call.org->n, call.param("user"), {}));
  ASSIGN_OR_RETURN(const auto after,
                   directory_.set_user_active(call.actor, call.org->n, user.id, true));
  return Answer{200, render(after)};
}

Result<Answer> Api::rename_user(Call& call) {
  ASSIGN_OR_RETURN(const auto login, posix::LoginName::parse(body_text(call, "login")));
  ASSIGN_OR_RETURN(const auto user, directory_.find_user(call.org->n, call.param("user"), {}));
  ASSIGN_OR_RETURN(const auto after,
                   directory_.rename_user(call.actor, call.org->n, user.id, login));
  return Answer{200, render(after)};
}

Result<Answer> Api::expire_user(Call& call) {
  ASSIGN_OR_RETURN(const auto until, body_time(call, "valid_until"));
  ASSIGN_OR_RETURN(const auto user, directory_.find_user(call.org->n, call.param("user"), {}));
  ASSIGN_OR_RETURN(const auto after,
                   directory_.set_valid_until(call.actor, call.org->n, user.id, until));
  return Answer{200, render(after)};
}

Result<Answer> Api::add_keys(Call& call) {
  ASSIGN_OR_RETURN(const auto keys, body_keys(call));
  ASSIGN_OR_RETURN(const auto user, directory_.find_user(call.org->n, call.param("user"), {}));
  ASSIGN_OR_RETURN(const auto after, directory_.add_keys(call.actor, call.org->n, user.id, keys));
  return Answer{200, render(after)};
}

Result<Answer> Api::update_key(Call& call) {
  directory::KeyEdit edit;
  if (call.body.contains("name")) edit.name = body_text(call, "name");
  const auto time =
      [&call](std::string_view name) -> Result<std::optional<std::optional<Timestamp>>> {
    const auto text = json::find_string(call.body, name);
    if (!text) return std::nullopt;
    if (text->empty()) return std::optional<std::optional<Timestamp>>(std::in_place, std::nullopt);
    ASSIGN_OR_RETURN(const auto moment, body_time(call, name));
    return std::optional<std::optional<Timestamp>>(moment);
  };
  ASSIGN_OR_RETURN(edit.not_before, time("not_before"));
  ASSIGN_OR_RETURN(edit.not_after, time("not_after"));
  ASSIGN_OR_RETURN(const auto user, directory_.find_user(call.org->n, call.param("user"), {}));
  ASSIGN_OR_RETURN(const auto after, directory_.update_key(call.actor, call.org->n, user.id,
                                                           call.param("fingerprint"), edit));
  return Answer{200, render(after)};
}

Result<Answer> Api::remove_key(Call& call) {
  ASSIGN_OR_RETURN(const auto user, directory_.find_user(call.org->n, call.param("user"), {}));
  ASSIGN_OR_RETURN(const auto after, directory_.remove_key(call.actor, call.org->n, user.id,
                                                           call.param("fingerprint")));
  return Answer{200, render(after)};
}

Result<Answer> Api::list_groups(Call& call) {
  ASSIGN_OR_RETURN(const std::size_t limit, page_limit(call));
  ASSIGN_OR_RETURN(const auto page,
                   directory_.list_groups(call.actor, call.org->n,
                                          call.query.get("after").value_or(""), limit, {}));
  return page_answer("groups", page);
}

Result<std::vector<std::string>> Api::member_ids(const Call& call, std::string_view field) {
  std::vector<std::string> ids;
  for (const std::string& name : body_list(call, field)) {
    auto user = directory_.find_user(call.org->n, name, {});
    if (user) {
      ids.push_back(user->id);
      continue;
    }
    if (user.error().code != Code::kNotFound) return std::unexpected(user.error());
    ASSIGN_OR_RETURN(const auto group, directory_.find_group(call.org->n, name, {}));
    ids.push_back(group.id);
  }
  return ids;
}

Result<Answer> Api::create_group(Call& call) {
  directory::GroupInput input;
  input.doc["displayName"] = json::string(body_text(call, "displayName"));
  ASSIGN_OR_RETURN(const auto members, member_ids(call, "members"));
  ASSIGN_OR_RETURN(const auto group,
                   directory_.create_group(call.actor, call.org->n, input, members));
  return Answer{201, render(group)};
}

Result<Answer> Api::get_group(Call& call) {
  ASSIGN_OR_RETURN(const auto group,
                   directory_.find_group(call.org->n, call.param("group"), {.members = true}));
  return Answer{200, render(group)};
}

Result<Answer> Api::update_group(Call& call) {
  ASSIGN_OR_RETURN(const auto group, directory_.find_group(call.org->n, call.param("group"), {}));
  const auto edit =
      [&call](const directory::Group& current) -> Result<directory::Directory::GroupChange> {
    directory::Directory::GroupChange change{{.doc = current.doc, .external_id = {}}, {}};
    change.input.doc["displayName"] = json::string(body_text(call, "displayName"));
    return change;
  };
  ASSIGN_OR_RETURN(const auto after,
                   directory_.update_group(call.actor, call.org->n, group.id, {}, edit));
  return Answer{200, render(after)};
}

Result<Answer> Api::delete_group(Call& call) {
  ASSIGN_OR_RETURN(const auto group, directory_.find_group(call.org->n, call.param("group"), {}));
  RETURN_IF_ERROR(directory_.delete_group(call.actor, call.org->n, group.id, {}));
  return Answer{204, nullptr};
}

Result<Answer> Api::rename_group(Call& call) {
  ASSIGN_OR_RETURN(const auto name, posix::GroupName::parse(body_text(call, "name")));
  ASSIGN_OR_RETURN(const auto group, directory_.find_group(call.org->n, call.param("group"), {}));
  ASSIGN_OR_RETURN(const auto after,
                   directory_.rename_group(call.actor, call.org->n, group.id, name));
  return Answer{200, render(after)};
}

Result<Answer> Api::change_members(Call& call) {
  using Kind = directory::MemberOp::Kind;
  ASSIGN_OR_RETURN(auto added, member_ids(call, "add"));
  ASSIGN_OR_RETURN(auto removed, member_ids(call, "remove"));
  const std::vector<directory::MemberOp> ops{{Kind::kRemove, std::move(removed)},
                                             {Kind::kAdd, std::move(added)}};
  ASSIGN_OR_RETURN(const auto group, directory_.find_group(call.org->n, call.param("group"), {}));
  ASSIGN_OR_RETURN(
      const auto after,
      directory_.update_group(
          call.actor, call.org->n, group.id, {},
          [&ops](const directory::Group& current) -> Result<directory::Directory::GroupChange> {
            return directory::Directory::GroupChange{
                {.doc = current.doc, .external_id = std::nullopt}, ops};
          }));
  return Answer{200, render(after)};
}

namespace {

/// Ids of 32 bits; others are nobody's, and so -1, which is never served.
std::uint32_t id_of(const json::object& o, std::string_view name, std::uint32_t otherwise) {
  const auto number = json::find_int(o, name);
  if (!number) return otherwise;
  constexpr std::uint32_t kNobody = 4294967295;
  return *number < 0 || *number > kNobody ? kNobody : static_cast<std::uint32_t>(*number);
}

Result<std::uint32_t> parse_id(std::string_view what, std::string_view text) {
  std::uint32_t id = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (problem == std::errc{} && end == text.data() + text.size()) return id;
  return fail(Code::kInvalidArgument, fmt::format("{} must be a uid or gid", what));
}

directory::ImportEntry import_entry(const json::object& o, bool is_group) {
  const auto of = [&o](const char* name) {
    return std::string(json::find_string(o, name).value_or(""));
  };
  directory::ImportEntry entry;
  entry.is_group = is_group;
  entry.name = of(is_group ? "name" : "login");
  entry.number = id_of(o, is_group ? "gid" : "uid", 0);
  entry.gid = id_of(o, "gid", entry.number);
  entry.user_name = of(is_group ? "displayName" : "userName");
  entry.external_id = of("externalId");
  entry.client = of("client");
  if (is_group) return entry;
  entry.gecos = of("gecos");
  entry.home = of("home");
  entry.shell = of("shell");
  return entry;
}

}  // namespace

Result<Answer> Api::import_identities(Call& call) {
  std::vector<directory::ImportEntry> entries;
  for (const char* list : {"groups", "people"}) {
    const json::array* items = json::find_array(call.body, list);
    if (items == nullptr) continue;
    for (const json::value& item : *items) {
      entries.push_back(import_entry(item.get_object(), list == std::string_view("groups")));
    }
  }
  directory::ImportMode mode;
  mode.dry_run = json::find_bool(call.body, "dry_run").value_or(false);
  mode.skip_clashes = json::find_bool(call.body, "skip_clashes").value_or(false);
  if (const json::array* gids = json::find_array(call.body, "gids")) {
    for (const json::value& gid : *gids) {
      const std::int64_t number = gid.get_int64();
      if (number > 0 && number <= posix::kIdMax) {
        mode.gids.push_back(static_cast<std::uint32_t>(number));
      }
    }
  }
  ASSIGN_OR_RETURN(const auto result,
                   directory_.import_identities(call.actor, call.org->n, entries, mode));
  json::array clashes;
  for (const directory::ImportClash& clash : result.clashes) {
    clashes.push_back(render(clash, entries));
  }
  return Answer{200, json::object{{"reserved", result.reserved},
                                  {"changed", result.changed},
                                  {"unchanged", result.unchanged},
                                  {"skipped", result.skipped},
                                  {"clashes", std::move(clashes)}}};
}

Result<std::size_t> Api::add_members(const Call& call, const directory::IdentityRow& row,
                                     json::object& rendered) {
  json::array logins;
  directory::Nesting nesting;
  const auto n = static_cast<directory::GroupN>(row.posix.n);
  ASSIGN_OR_RETURN(const auto groups,
                   directory_.get_groups(call.actor, call.org->n, {&n, 1},
                                         {.members = true, .flattened = &nesting}));
  for (const directory::Group& group : groups.items) {
    for (const directory::Reference& member : group.members) {
      if (!member.posix_name.empty()) logins.emplace_back(member.posix_name);
    }
  }
  const std::size_t count = logins.size();
  rendered["members"] = std::move(logins);
  return count;
}

Result<Answer> Api::list_identities(Call& call) {
  // A page ends behind so many members.
  constexpr std::size_t kMembersMax = 100'000;
  ASSIGN_OR_RETURN(const std::size_t limit, page_limit(call));
  std::uint32_t after = 0;
  if (const auto text = call.query.get("after")) {
    ASSIGN_OR_RETURN(after, parse_id("after", *text));
  }
  const bool with_members = call.query.get("members") == "true";
  ASSIGN_OR_RETURN(const auto page,
                   directory_.list_identities(call.actor, call.org->n, after, limit));
  json::array out;
  json::value next = nullptr;
  std::size_t members = 0;
  for (const directory::IdentityRow& row : page.items) {
    json::object rendered = render(row);
    if (with_members && row.is_group && !row.id.empty()) {
      ASSIGN_OR_RETURN(const std::size_t count, add_members(call, row, rendered));
      members += count;
    }
    out.push_back(std::move(rendered));
    const bool last = &row == &page.items.back();
    if (last ? page.more : members >= kMembersMax) {
      next = json::string(std::to_string(row.posix.number));
      break;
    }
  }
  return Answer{200, json::object{{"identities", std::move(out)}, {"next", std::move(next)}}};
}

Result<Answer> Api::unreserve_identity(Call& call) {
  ASSIGN_OR_RETURN(const std::uint32_t number, parse_id("number", call.param("number")));
  RETURN_IF_ERROR(directory_.unreserve_identity(call.actor, call.org->n, number));
  return Answer{204, nullptr};
}

Result<Answer> Api::list_nodes(Call& call) {
  ASSIGN_OR_RETURN(const auto nodes, directory_.list_nodes(call.org->n));
  json::array out;
  for (const directory::Node& node : nodes) {
    out.push_back(render(node, call.org->seq, options_.clock()));
  }
  return Answer{200, json::object{{"head", call.org->seq.value}, {"nodes", std::move(out)}}};
}

Result<Answer> Api::delete_node(Call& call) {
  RETURN_IF_ERROR(
      directory_.delete_node(call.actor, call.org->n, call.param("cluster"), call.param("name")));
  return Answer{204, nullptr};
}

Result<Answer> Api::list_views(Call& call) {
  ASSIGN_OR_RETURN(const auto views, directory_.list_views(call.org->n));
  return Answer{200, json::object{{"views", render_all(views)}}};
}

Result<Answer> Api::get_view(Call& call) {
  ASSIGN_OR_RETURN(const auto view, directory_.find_view(call.org->n, call.param("view")));
  return Answer{200, render(view)};
}

Result<Answer> Api::set_view(Call& call) {
  directory::ViewInput input;
  input.groups = body_list(call, "groups");
  // An empty list may well mean "nobody": it must not become everybody.
  if (call.body.contains("groups") && input.groups.empty()) {
    return fail(Code::kInvalidArgument, "groups: name one, or leave it out for everybody");
  }
  if (call.body.contains("attributes")) {
    input.keys = input.gecos = false;
    for (const std::string& attribute : body_list(call, "attributes")) {
      if (attribute != "keys" && attribute != "gecos") {
        return fail(Code::kInvalidArgument,
                    fmt::format("attributes: '{}' is not one of keys and gecos", attribute));
      }
      (attribute == "keys" ? input.keys : input.gecos) = true;
    }
  }
  input.home = body_text(call, "home");
  input.shell = body_text(call, "shell");
  ASSIGN_OR_RETURN(const auto set,
                   directory_.set_view(call.actor, call.org->n, call.param("view"), input));
  return Answer{set.is_new ? 201 : 200, render(set.view)};
}

Result<Answer> Api::remove_view(Call& call) {
  RETURN_IF_ERROR(directory_.remove_view(call.actor, call.org->n, call.param("view")));
  return Answer{204, nullptr};
}

Result<Answer> Api::fuse_status(Call& call) {
  ASSIGN_OR_RETURN(const auto fuse, directory_.fuse(call.org->n));
  return Answer{200, render(fuse)};
}

Result<Answer> Api::fuse_release(Call& call) {
  ASSIGN_OR_RETURN(const auto fuse, directory_.release_fuse(call.actor, call.org->n));
  return Answer{200, render(fuse)};
}

Result<Answer> Api::list_audit(Call& call) {
  RETURN_IF_ERROR(check_hub_audit(call));
  ASSIGN_OR_RETURN(const std::size_t limit, page_limit(call));
  Seq after;
  if (const auto text = call.query.get("after")) {
    ASSIGN_OR_RETURN(after, parse_seq("after", *text));
  }
  ASSIGN_OR_RETURN(const auto rows, directory_.list_audit(token_org(call), after, limit));
  json::object body{{"audit", render_all(rows)}};
  body["next"] = rows.size() == limit
                     ? json::value(json::string(std::to_string(rows.back().seq.value)))
                     : nullptr;
  return Answer{200, std::move(body)};
}

Result<Answer> Api::verify_audit(Call& call) {
  RETURN_IF_ERROR(check_hub_audit(call));
  ASSIGN_OR_RETURN(const std::int64_t rows, directory_.verify_audit(token_org(call)));
  return Answer{200, json::object{{"rows", rows}, {"intact", true}}};
}

Result<Answer> Api::erase_audit(Call& call) {
  ASSIGN_OR_RETURN(const Seq seq, parse_seq("seq", call.params.get("seq")));
  RETURN_IF_ERROR(directory_.erase_audit_diff(call.actor, call.org->n, seq));
  return Answer{204, nullptr};
}

}  // namespace roster::admin
