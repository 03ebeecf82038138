#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/json.h"
#include "base/secret.h"
#include "base/time.h"
#include "posix/id_ranges.h"
#include "posix/node.h"

namespace roster::directory {

/// Row numbers: of one hub, never reused.
using OrgN = std::int64_t;
using ClientN = std::int64_t;
using TokenN = std::int64_t;
using UserN = std::int64_t;
using GroupN = std::int64_t;
using NodeN = std::int64_t;

/// What a token may do. Names on the command line and in the store: scope_name().
enum class Scope { kScim, kRead, kJoin, kUser, kAdmin, kOperator };
std::string_view scope_name(Scope scope);
Result<Scope> parse_scope(std::string_view text);

/// Who acts, as authenticated. Audit rows carry it.
struct Actor {
  TokenN token = 0;         // 0: the hub itself
  std::optional<OrgN> org;  // nothing: the operator, every organization
  std::optional<ClientN>
      client;                 // owner of externalIds and records; nothing for operator and admin
  std::optional<UserN> user;  // scope user
  Scope scope = Scope::kRead;
  bool active_only = false;  // scope read: as TokenRequest
  std::string name;          // "token:okta-2026", "node:login1", "hub": for people and audit
  std::string remote;        // address
  std::string request_id;
};

/// What a person's login is made from; userName where it is missing.
enum class LoginSource { kUserName, kEmail, kNickName, kExternalId };
std::string_view login_source_name(LoginSource source);
Result<LoginSource> parse_login_source(std::string_view text);

/// What becomes of a person who is deactivated, on nodes.
enum class LeaverPolicy { kLock, kHide };

/// Settings of an organization; stored as JSON, every field has a default.
struct OrgSettings {
  LeaverPolicy leaver_policy = LeaverPolicy::kLock;
  std::string home_template = "/home/{login}";
  std::vector<std::string> home_prefixes = {"/home"};
  std::string default_shell = "/bin/bash";
  std::vector<std::string> shells;           // empty: posix's default list
  std::vector<posix::IdBlock> admitted_ids;  // numbers that imports may bring, outside the blocks
  /// POST of a user after DELETE gets the old identity back when externalId (same client) or
  /// userName matches. A group is always a new one.
  bool rebind_deleted = false;
  /// Names that no person and no group gets, besides posix::is_reserved_name.
  std::vector<std::string> reserved_names;
  /// Off: new people and groups are in the directory but on no node, until it is on (again); those
  /// who have an identity keep it.
  bool user_provisioning = true;
  // For identities that are given from now on:
  LoginSource login_from = LoginSource::kUserName;
  std::string group_prefix;            // of the POSIX names of groups
  std::uint32_t primary_gid = 0;       // the primary group of people; 0: each has a private one
  bool nested_groups = true;           // groups may be members of groups
  bool scim_api = true;                // tokens of scope scim, read and user are answered
  bool automated_provisioning = true;  // tokens of scope scim may write
};

struct Org {
  OrgN n = 0;
  std::string slug;
  std::string epoch;
  Seq seq;
  Seq min_seq;  // the first position that can be continued; changes before it were pruned
  std::int64_t users = 0;
  std::int64_t active_users = 0;
  std::int64_t groups = 0;
  OrgSettings settings;
  Timestamp created;
};

/// Ids that an organization gives out.
struct OrgIdBlock {
  posix::IdBlock ids;
  std::uint32_t left = 0;  // that it may still give out
};

/// An organization's head after a commit, and the random tag of the change with that number.
struct Commit {
  OrgN org = 0;
  std::string slug;
  Seq head;
  std::uint64_t tag = 0;
  bool settings = false;  // settings are among what changed
};

struct Client {
  ClientN n = 0;
  OrgN org = 0;
  std::string name;
};

/// What a join token gives its nodes.
struct JoinGrant {
  std::string cluster = "default";
  std::string view = "default";
  std::string role = "compute";
  std::int64_t uses_left = -1;  // -1: any number until it expires
  bool operator==(const JoinGrant&) const = default;
};

struct TokenInfo {
  TokenN n = 0;
  std::optional<OrgN> org;
  std::optional<ClientN> client;
  std::string client_name;
  std::optional<UserN> user;
  std::string name;
  Scope scope = Scope::kRead;
  bool active_only = false;
  Timestamp created;
  std::optional<Timestamp> expires;
  std::optional<Timestamp> last_used;
  std::optional<Timestamp> revoked;
  std::optional<JoinGrant> join;
};

struct MintedToken {
  TokenInfo info;
  Secret secret;  // shown once
};

enum class IdentityState { kReserved, kActive, kLocked, kTombstone };
std::string_view identity_state_name(IdentityState state);

/// A row of posix_id: who somebody is on the nodes. Its `n` is NodeUser::n and NodeGroup::n.
struct PosixIdentity {
  std::uint64_t n = 0;
  std::uint32_t number = 0;  // uid and gid, or gid
  std::string name;
  IdentityState state = IdentityState::kActive;
  std::uint32_t gid = 0;  // primary group; == number: a private one. Of a group itself: number
};

/// Somebody or a group that exists elsewhere, for Directory::import(). Texts as they came.
struct ImportEntry {
  bool is_group = false;
  std::string name = {};         // login or POSIX name
  std::uint32_t number = 0;      // uid or gid
  std::uint32_t gid = 0;         // of people: the primary group; == number: a private one
  std::string gecos = {};        // of people
  std::string home = {};         // of people; empty: by the template when they come
  std::string shell = {};        // of people; empty: the organization's default
  std::string user_name = {};    // waits for this userName or displayName; empty: for none
  std::string external_id = {};  // waits for this externalId; empty: for none
  std::string client = {};       // whose push it waits for; empty: anybody's
  bool operator==(const ImportEntry&) const = default;
};

/// Who has what an import wants.
struct ImportOwner {
  bool is_group = false;
  std::string name;
  std::optional<std::uint32_t> number;
  IdentityState state = IdentityState::kActive;
  std::string resource;  // userName or displayName; what it waits for; or empty
  std::string id;        // SCIM id, or empty
};

struct ImportClash {
  std::size_t entry = 0;                   // position in the list
  std::string_view what;                   // "name", "id", "gid", "home", "shell", "match"
  std::string reason;                      // a sentence
  std::optional<ImportOwner> owner;        // who has it in the directory
  std::optional<std::size_t> other_entry;  // or in the list
};

struct ImportMode {
  bool dry_run = false;
  bool skip_clashes = false;  // the others are imported; else nobody is
  /// Primary groups that the same import brings in another list. Believed in a dry run only.
  std::vector<std::uint32_t> gids = {};
};

struct ImportResult {
  std::size_t reserved = 0;   // new, or would be
  std::size_t changed = 0;    // waited already, otherwise
  std::size_t unchanged = 0;  // waited already, or are there
  std::size_t skipped = 0;    // because of clashes
  std::vector<ImportClash> clashes;
};

/// A row of Directory::list_identities().
struct IdentityRow {
  PosixIdentity posix;
  bool is_group = false;
  std::string id;     // SCIM id; empty: reserved or deleted
  std::string gecos;  // of people, like home and shell
  std::string home;
  std::string shell;        // empty: the organization's default
  std::string resource;     // userName or displayName, or what it waits for
  std::string external_id;  // of the owner, or what it waits for
  std::string client;       // the owner, or whose push it waits for
};

struct SshKeyRow {
  std::string fingerprint;  // "SHA256:..."
  std::string key;          // one line, without options
  std::string name;         // for people; the key's comment by default
  std::string source;       // name of the client that wrote it, or "manual"
  Timestamp created;
  std::optional<Timestamp> not_before;
  std::optional<Timestamp> not_after;
};

/// The primary e-mail address of a user's document, else the first; else empty.
std::string primary_email(const json::object& doc);

/// A reference to a group or user as SCIM shows it.
struct Reference {
  std::string id;
  std::string display;     // userName or displayName
  std::string posix_name;  // login or POSIX group name; empty without an identity
  bool is_group = false;
  bool active = true;  // users; groups always
  std::optional<Timestamp> valid_until = {};
};

struct User {
  UserN n = 0;
  std::string id;    // UUIDv7
  json::object doc;  // writable SCIM attributes in schema case: no id, meta, groups, keys,
                     // password, externalId
  bool active = true;
  std::string owner;                       // name of the owning client, or empty: manual
  std::optional<std::string> external_id;  // of the asking client, else of the owner
  std::int64_t version = 1;
  Timestamp created;
  Timestamp modified;
  std::optional<PosixIdentity> posix;  // nothing: not provisioned (OrgSettings)
  std::string home;                    // in effect, whether asked for or made from the template
  std::string shell;                   // asked for; empty: the organization's default
  std::optional<Timestamp> valid_until;
  std::vector<SshKeyRow> keys;    // when asked for
  std::vector<Reference> groups;  // direct groups, when asked for
};

struct Group {
  GroupN n = 0;
  std::string id;
  json::object doc;
  std::string owner;
  std::optional<std::string> external_id;
  std::int64_t version = 1;
  std::int64_t member_count = 0;
  Timestamp created;
  Timestamp modified;
  std::optional<PosixIdentity> posix;
  std::vector<Reference> members;  // when asked for
};

/// A key to store; `line` was parsed with posix::SshPublicKey.
struct KeyInput {
  std::string line;
  std::string fingerprint;
  std::string name;
  std::optional<Timestamp> not_before;
  std::optional<Timestamp> not_after;
  bool operator==(const KeyInput&) const = default;
};

/// What to change about a stored key. Outer nothing: leave as is; inner nothing: none.
struct KeyEdit {
  std::optional<std::string> name;
  std::optional<std::optional<Timestamp>> not_before;
  std::optional<std::optional<Timestamp>> not_after;
};

/// The state a write wants; made from a body (POST, PUT) or from the current user (PATCH).
struct UserInput {
  json::object doc;  // userName is required in it; `active` is taken from it (default true)
  /// outer nothing: leave as is; inner nothing: remove.
  std::optional<std::optional<std::string>> external_id;
  /// nothing: leave the keys alone; else exactly these for the writing client (others' keys stay).
  std::optional<std::vector<KeyInput>> keys;
  /// Fingerprints of keys to take away, whoever wrote them.
  std::vector<std::string> removed_keys = {};
};

/// The versions of a resource at which a write may go ahead (If-Match and If-None-Match of RFC 9110
/// 13.1). By default all.
class IfVersion {
 public:
  IfVersion() = default;
  IfVersion(std::int64_t only) : one_of_({only}) {}
  static IfVersion one_of(std::vector<std::int64_t> versions) {
    IfVersion condition;
    condition.one_of_ = std::move(versions);
    return condition;
  }
  void exclude(std::vector<std::int64_t> versions) { none_of_ = std::move(versions); }

  bool holds(std::int64_t version) const {
    const auto has = [version](const std::vector<std::int64_t>& versions) {
      return std::ranges::find(versions, version) != versions.end();
    };
    return (!one_of_ || has(*one_of_)) && !has(none_of_);
  }

 private:
  std::optional<std::vector<std::int64_t>> one_of_;  // nothing: any
  std::vector<std::int64_t> none_of_;
};

struct GroupInput {
  json::object doc;  // displayName is required in it
  std::optional<std::optional<std::string>> external_id;
};

/// One set operation on a group's members, by SCIM id of a user or group. In order.
struct MemberOp {
  enum class Kind { kAdd, kRemove, kReplaceAll, kRemoveAll } kind;
  std::vector<std::string> ids;  // empty for kRemoveAll
};

/// Beyond this many, narrowing is not worth it and a walk of all is as good.
inline constexpr std::size_t kCandidatesMax = 100'000;

/// Narrowing by an index; the SCIM filter's evaluator still decides. Text is compared by its key
/// (case folded where the attribute is not caseExact).
struct Condition {
  enum class Field {
    kId,
    kUserName,
    kExternalId,
    kDisplayName,
    kActive,
    kPosixNumber,
    kCreated,
    kModified,
    kMember
  } field;
  enum class Op { kEqual, kStartsWith, kGreater, kGreaterOrEqual, kLess, kLessOrEqual } op;
  std::string text;
  std::int64_t number = 0;  // kActive (0/1), kPosixNumber, kCreated and kModified (ms)
  bool nested = false;      // kMember: people alone, and those of nested groups too
};

class Nesting;

/// What to load besides the row; each costs a query per page.
struct Load {
  bool keys = false;
  bool groups = false;   // of users
  bool members = false;  // of groups
  /// With `members`: people alone, those of nested groups included, each once, in order of id. It
  /// remembers for the next call what it read for this one.
  Nesting* flattened = nullptr;
};

inline constexpr std::size_t kOutlinesMax = 10'000;

/// What tells whether a person may log in, without their document.
struct UserOutline {
  UserN n = 0;
  std::string id;
  bool active = true;
  std::optional<Timestamp> valid_until;
};

template <typename T>
struct Page {
  std::vector<T> items;
  bool more = false;  // there are others behind items.back()
};

/// A node as enrolled.
struct Node {
  NodeN n = 0;
  OrgN org = 0;
  std::string id;
  std::string cluster;
  std::string name;
  std::string role;
  std::string view;
  Timestamp created;
  std::optional<Timestamp> last_seen;
  Timestamp expires;
  Seq acknowledged;
  std::string agent_version;
};

/// A definition of a view, as asked for.
struct ViewInput {
  std::vector<std::string> groups = {};  // POSIX names, displayNames or ids; empty: everybody
  bool keys = true;                      // SSH keys travel
  bool gecos = true;                     // full names travel
  std::string home = {};                 // template; empty: the person's own
  std::string shell = {};                // of people who are not locked; empty: the person's own
};

/// A group that the scope of a view names.
struct ViewGroup {
  std::uint64_t n = 0;
  Reference group;  // an empty id: deleted since, so that nobody is in it
};

/// What the nodes with one kind of credential see of an organization.
struct View {
  std::string name;
  bool built_in = false;
  bool keys = true;
  bool gecos = true;
  std::vector<ViewGroup> groups;  // in order of number; empty: everybody and every group
  std::string home;
  std::string shell;
  std::string tag;  // another one after each change of the definition; empty when built in
  std::optional<Timestamp> created;
  std::optional<Timestamp> modified;
};

struct AuditRow {
  Seq seq;
  Timestamp at;
  std::string actor;
  std::string remote;
  std::string action;  // "user.create", "group.members", ...
  std::string target;  // "user/<id>"
  std::string diff;    // JSON; empty when erased
};

}  // namespace roster::directory
