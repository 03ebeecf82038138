#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "base/time.h"
#include "directory/clusters.h"
#include "directory/types.h"
#include "store/database.h"

namespace roster::directory {

struct Options {
  Clock clock = system_now;
  MonotonicClock monotonic = steady_now;
  RandomBytes random = system_random;
  /// How often last-use stamps of tokens and nodes reach the disk (they never make a read a write).
  std::chrono::milliseconds stamp_interval{60'000};
  /// How long a node's credential lives after its last contact.
  std::chrono::milliseconds node_ttl{std::chrono::days{30}};
  /// A node not seen for this long may be replaced by one that enrols with its name.
  std::chrono::milliseconds node_stale{std::chrono::minutes{10}};
};

struct KeyPlan;

/// People, groups, POSIX identities, keys, clients, tokens, nodes, changes and audit of every
/// organization: the only writer of these rows. Thread-safe; every method is one transaction.
/// Errors everywhere: kUnavailable when the store cannot now.
class Directory {
 public:
  /// Migrates the schema and installs the batch hooks that number changes. `database` outlives it.
  static Result<std::unique_ptr<Directory>> open(store::Database& database, Options options = {});
  /// Flushes the stamps. No call may be under way.
  ~Directory();
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;

  /// Called after each commit that changed something that nodes see.
  /// While nothing else can be written: must be quick. Set once, before the first write.
  void on_commit(std::function<void(const Commit&)> listener);

  // --- organizations (operator) -------------------------------------------------------------
  /// kInvalidArgument for a bad slug ([a-z0-9-]{1,63}), kAlreadyExists when taken. Gets the
  /// block `ids`, or the next free one; for `ids` also the errors of add_id_block().
  Result<Org> create_org(const Actor& actor, std::string_view slug,
                         std::optional<posix::IdBlock> ids = std::nullopt);
  Result<std::vector<Org>> list_orgs();
  /// As of the last commit that was told; from memory, mostly.
  Result<Org> find_org(std::string_view slug);
  /// From the store: never older than anything that was read before.
  Result<Org> org_now(std::string_view slug);
  /// Read, modify, write in one closure; `edit` may run more than once. Nothing is written when the
  /// settings stay the same. kInvalidArgument naming the setting that cannot be.
  using SettingsEdit = std::function<Result<OrgSettings>(const OrgSettings& current)>;
  Result<Org> update_org_settings(const Actor& actor, OrgN org, const SettingsEdit& edit);

  struct Provisioned {
    std::size_t given = 0;
    std::size_t refused = 0;  // they wait on
    std::string reason;       // of one of these
    std::int64_t last = 0;    // to go on behind; 0: nobody waits there
  };
  /// Gives identities to some of those who came while the organization gave none, when it does so
  /// again, in order of number. kUnavailable as for a creation.
  Result<Provisioned> provision(OrgN org, std::int64_t after);

  /// In the order in which ids are taken from them.
  Result<std::vector<OrgIdBlock>> id_blocks(OrgN org);
  /// Operators only. Used once the present blocks are full or closed. kInvalidArgument when ids may
  /// not be allocated from it, kAlreadyExists when it meets a block of any organization.
  Result<void> add_id_block(const Actor& actor, OrgN org, posix::IdBlock ids);
  /// Operators only. No more ids from it; the organization keeps it unless nobody ever had one of
  /// its ids. kNotFound.
  Result<void> close_id_block(const Actor& actor, OrgN org, posix::IdBlock ids);

  // --- clients and tokens -------------------------------------------------------------------
  Result<Client> create_client(const Actor& actor, OrgN org, std::string_view name);
  Result<std::vector<Client>> list_clients(OrgN org);

  struct TokenRequest {
    std::string name;
    Scope scope = Scope::kRead;
    std::optional<OrgN> org;                       // nothing only for kOperator
    std::optional<std::string> client;             // required for kScim
    std::optional<std::chrono::milliseconds> ttl;  // nothing: never expires
    std::optional<UserN> user;                     // required for kUser
    std::optional<JoinGrant> join;                 // for kJoin
    std::string ca_sha256;                         // for kJoin: hex, carried inside the token
    /// For kRead: people who may not log in are never shown, for readers that do not look at
    /// `active`.
    bool active_only = false;
  };
  Result<MintedToken> create_token(const Actor& actor, const TokenRequest& request);
  Result<std::vector<TokenInfo>> list_tokens(std::optional<OrgN> org);
  /// At once: the next request with it is refused. `name` is unique among living tokens of the
  /// organization.
  Result<void> revoke_token(const Actor& actor, std::optional<OrgN> org, std::string_view name);
  /// Who presents this bearer token. kUnauthenticated for unknown, expired, revoked (one message
  /// for all). Not for node credentials. Answers from memory when seen before; last use is
  /// coalesced.
  Result<Actor> authenticate(std::string_view bearer);

  // --- users --------------------------------------------------------------------------------
  /// Allocates the POSIX identity (login, number, primary group), as the settings say.
  /// `input.doc.active` false: allocated and locked. kAlreadyExists (keyword "uniqueness") when
  /// userName is taken; kInvalidArgument naming the attribute for a home, shell or key that is not
  /// allowed.
  Result<User> create_user(const Actor& actor, OrgN org, const UserInput& input);
  Result<User> get_user(const Actor& actor, OrgN org, std::string_view id, Load load);
  /// One page in order of id, of 1 to 1,000.
  Result<Page<User>> list_users(const Actor& actor, OrgN org, std::string_view after_id,
                                std::size_t limit, Load load);
  /// The same without documents, for who looks for some among many: of 1 to kOutlinesMax.
  Result<Page<UserOutline>> outline_users(const Actor& actor, OrgN org, std::string_view after_id,
                                          std::size_t limit);
  /// Row numbers of those behind `after_id` whom the conditions leave, and possibly of others (the
  /// caller's evaluator decides), in order of id. Nothing when no index leaves few enough: list
  /// all. An index of a range or a prefix counts when it leaves `range_max` at most.
  Result<std::optional<std::vector<UserN>>> select_users(const Actor& actor, OrgN org,
                                                         std::span<const Condition> conditions,
                                                         std::string_view after_id,
                                                         std::size_t range_max = kCandidatesMax);
  /// Likewise, the direct members of groups by their names (as find_group); unknown ones have none.
  Result<std::vector<UserN>> select_members(OrgN org, std::span<const std::string> groups,
                                            std::string_view after_id);
  /// Those of at most 1,000 row numbers that are there, in order of id.
  Result<Page<User>> get_users(const Actor& actor, OrgN org, std::span<const UserN> numbers,
                               Load load);
  /// How many may log in: active, and not past the end of their validity.
  Result<std::int64_t> count_who_may_log_in(OrgN org, Timestamp now);
  /// Read, modify, write in one closure: `edit` gets the current user with keys and may run more
  /// than once. Nothing is written when the state does not change. kVersionMismatch when
  /// `if_version` does not hold. kAlreadyExists when another client owns the record (keyword
  /// "uniqueness").
  using UserEdit = std::function<Result<UserInput>(const User& current)>;
  Result<User> update_user(const Actor& actor, OrgN org, std::string_view id,
                           const IfVersion& if_version, const UserEdit& edit);
  /// The identity becomes a tombstone: id and name stay taken, the node's user vanishes.
  Result<void> delete_user(const Actor& actor, OrgN org, std::string_view id,
                           const IfVersion& if_version);
  /// Finds by login, userName or SCIM id, for people at a terminal.
  Result<User> find_user(OrgN org, std::string_view name_or_id, Load load);
  /// SCIM id of the person that a token of scope user belongs to. kNotFound for other actors.
  Result<std::string> own_id(const Actor& actor);
  Result<User> set_user_active(const Actor& actor, OrgN org, std::string_view id, bool active);
  /// New login name; the old one stays reserved for this identity.
  Result<User> rename_user(const Actor& actor, OrgN org, std::string_view id,
                           const posix::LoginName& login);
  Result<User> set_valid_until(const Actor& actor, OrgN org, std::string_view id,
                               std::optional<Timestamp> valid_until);
  /// The last moment up to `now` at which the clock alone changed what people may do: a
  /// valid_until, or the begin or end of a key (of any organization).
  Result<std::optional<Timestamp>> last_moment(OrgN org, Timestamp now);
  Result<User> add_keys(const Actor& actor, OrgN org, std::string_view id,
                        const std::vector<KeyInput>& keys);
  /// Whoever wrote it. kNotFound.
  Result<User> update_key(const Actor& actor, OrgN org, std::string_view id,
                          std::string_view fingerprint, const KeyEdit& edit);
  Result<User> remove_key(const Actor& actor, OrgN org, std::string_view id,
                          std::string_view fingerprint);

  // --- groups -------------------------------------------------------------------------------
  Result<Group> create_group(const Actor& actor, OrgN org, const GroupInput& input,
                             std::span<const std::string> member_ids);
  Result<Group> get_group(const Actor& actor, OrgN org, std::string_view id, Load load);
  /// As list_users. With members a page ends early, behind the group that makes them
  /// kMembersPerRead or more.
  Result<Page<Group>> list_groups(const Actor& actor, OrgN org, std::string_view after_id,
                                  std::size_t limit, Load load);
  /// As select_users; conditions on kMember hold for all that is returned. kTooLarge (tooMany) when
  /// these alone leave too many.
  Result<std::optional<std::vector<GroupN>>> select_groups(const Actor& actor, OrgN org,
                                                           std::span<const Condition> conditions,
                                                           std::string_view after_id,
                                                           std::size_t range_max = kCandidatesMax);
  /// Likewise, groups by their names (as find_group).
  Result<std::vector<GroupN>> select_named(OrgN org, std::span<const std::string> names,
                                           std::string_view after_id);
  /// As get_users; ends early as list_groups.
  Result<Page<Group>> get_groups(const Actor& actor, OrgN org, std::span<const GroupN> numbers,
                                 Load load);
  /// `edit` sees the group without members and gives the new document and the member operations,
  /// carried out in order as set operations on rows. An unknown member is kInvalidArgument
  /// (keyword "invalidValue") naming it.
  struct GroupChange {
    GroupInput input;
    std::vector<MemberOp> members;
  };
  using GroupEdit = std::function<Result<GroupChange>(const Group& current)>;
  Result<Group> update_group(const Actor& actor, OrgN org, std::string_view id,
                             const IfVersion& if_version, const GroupEdit& edit);
  /// kFailedPrecondition when it is the primary group of people.
  Result<void> delete_group(const Actor& actor, OrgN org, std::string_view id,
                            const IfVersion& if_version);
  Result<Group> find_group(OrgN org, std::string_view name_or_id, Load load);
  Result<Group> rename_group(const Actor& actor, OrgN org, std::string_view id,
                             const posix::GroupName& name);
  /// Resolves ids of members whose display (userName, displayName) is `display`, inside no
  /// transaction of the caller; for `members[display eq "x"]`.
  Result<std::vector<std::string>> member_ids_by_display(OrgN org, std::string_view group_id,
                                                         std::string_view display);

  // --- identities that exist elsewhere ------------------------------------------------------
  /// Reserves the identities of up to 1,000 people and groups, groups first; who is there already
  /// with the same id and name stays as they are, so that a list may come again. All are judged
  /// before the first is written, and again in the transaction that writes, of 100 at most: a clash
  /// that appears meanwhile ends the import behind those before it, but for skip_clashes.
  /// kInvalidArgument for a list that is too long.
  Result<ImportResult> import_identities(const Actor& actor, OrgN org,
                                         std::span<const ImportEntry> entries,
                                         const ImportMode& mode);
  /// Takes back what an import reserved and nobody came for: id, name and home are free again.
  /// kNotFound when there is none, kFailedPrecondition when it is bound, was deleted, or is the
  /// primary group of people.
  Result<void> unreserve_identity(const Actor& actor, OrgN org, std::uint32_t number);
  /// Everybody's who has or had a number, those who wait and the deleted included: one page of 1 to
  /// 1,000, in order of number, behind `after`.
  Result<Page<IdentityRow>> list_identities(const Actor& actor, OrgN org, std::uint32_t after,
                                            std::size_t limit);

  // --- nodes --------------------------------------------------------------------------------
  struct EnrollRequest {
    std::string name;  // host name, [a-z0-9.-]{1,253}
    std::string agent_version;
    std::uint32_t highest_id = 0;
    /// Judges what the token gives, before it is used up; an error refuses. May run more than once.
    std::function<Result<void>(const JoinGrant&)> accept = {};
    /// Drawn by the node; empty: drawn here.
    Secret credential = {};
  };
  struct Enrolled {
    Node node;
    Secret credential;  // shown once
    std::string org_slug;
    std::string epoch;
  };
  /// With a join token. A live node of the same cluster and name is kAlreadyExists and audited;
  /// an expired one, or one not seen for `stale` (nor this process running so long), is replaced.
  /// A node that asks again with the credential that it was admitted with gets the same answer.
  /// kPermissionDenied when the token's view was removed since.
  Result<Enrolled> enroll_node(std::string_view join_bearer, const EnrollRequest& request,
                               std::string_view remote);
  /// A second credential; the first stays valid until the second is first used.
  Result<Enrolled> renew_node(const Node& node);
  Result<Node> authenticate_node(std::string_view bearer);
  /// In memory, flushed at intervals: the node published everything up to `seq`.
  void acknowledge(const Node& node, Seq seq, std::uint32_t highest_id);
  Result<std::vector<Node>> list_nodes(std::optional<OrgN> org);
  Result<void> delete_node(const Actor& actor, OrgN org, std::string_view cluster,
                           std::string_view name);

  // --- views --------------------------------------------------------------------------------
  /// The built-in views `default`, `login` and `compute`, then the organization's own by name.
  Result<std::vector<View>> list_views(OrgN org);
  /// kNotFound when there is none. Built-in ones cost no query.
  Result<View> find_view(OrgN org, std::string_view name);
  struct SetView {
    View view;
    bool is_new = false;
  };
  /// Replaces the whole definition, or makes the view. kInvalidArgument naming the part that is
  /// wrong, kFailedPrecondition for a built-in view or when there are too many. Its nodes are woken
  /// for a snapshot when the definition is another one.
  Result<SetView> set_view(const Actor& actor, OrgN org, std::string_view name,
                           const ViewInput& input);
  /// kFailedPrecondition for a built-in view, and naming the nodes when some have it.
  Result<void> remove_view(const Actor& actor, OrgN org, std::string_view name);

  // --- clusters -----------------------------------------------------------------------------
  Result<std::vector<Cluster>> list_clusters(OrgN org);
  /// kNotFound when there is none.
  Result<Cluster> find_cluster(OrgN org, std::string_view name);
  /// kInvalidArgument naming the field that is wrong, kAlreadyExists, kFailedPrecondition when
  /// there are too many.
  Result<Cluster> add_cluster(const Actor& actor, OrgN org, std::string_view name,
                              const ClusterSettings& settings);
  using ClusterEdit = std::function<Result<ClusterSettings>(const ClusterSettings& current)>;
  /// `edit` may run more than once.
  Result<Cluster> update_cluster(const Actor& actor, OrgN org, std::string_view name,
                                 const ClusterEdit& edit);
  /// With its keys; what is on the cluster stays as it is.
  Result<void> remove_cluster(const Actor& actor, OrgN org, std::string_view name);

  /// The text of its accounting rules; empty: none. kNotFound.
  Result<std::string> cluster_rules(ClusterN cluster);
  /// Any text of 256 KiB at most: what it means is the caller's to check.
  Result<void> set_cluster_rules(const Actor& actor, const Cluster& cluster,
                                 std::string_view rules);

  /// Oldest first.
  Result<std::vector<ClusterKey>> cluster_keys(ClusterN cluster);
  /// The first signs at once, a later one is the next. kFailedPrecondition when there is a next
  /// one.
  Result<void> add_cluster_key(const Actor& actor, const Cluster& cluster, std::string_view id,
                               const Secret& private_pem);
  /// The one that signed so far becomes a former one. kNotFound.
  Result<void> sign_with_cluster_key(const Actor& actor, const Cluster& cluster,
                                     std::string_view id);
  /// kNotFound; kFailedPrecondition for the key that signs.
  Result<void> drop_cluster_key(const Actor& actor, const Cluster& cluster, std::string_view id);
  /// The audit row of a token for slurmrestd.
  /// kFailedPrecondition when the person was deactivated meanwhile: then there must be no token.
  Result<void> note_slurm_token(const Actor& actor, const Cluster& cluster, const User& user,
                                Timestamp expires);

  /// The audit row of a request that changes something in Slurm, before it is made. As above.
  Result<void> note_slurm_request(const Actor& actor, const Cluster& cluster, const User& user,
                                  std::string_view request);

  // --- changes, for the feed ----------------------------------------------------------------
  // `scope`: numbers of groups; only these, what is nested in them and their members are shown, and
  // of their memberships only those in such groups. Empty: everything.

  /// One page of what changed after `since`, as current state, each entity once, in order of its
  /// last change within the page. `next` continues; `head` is the organization's head at the read.
  struct FeedUser {
    posix::NodeUser record;
    bool gone = false;  // tombstone, hidden, outside of the scope or without identity: only n and
                        // seq count
  };
  struct FeedGroup {
    posix::NodeGroup record;
    bool gone = false;
  };
  struct ChangePage {
    std::vector<FeedUser> users;
    std::vector<FeedGroup> groups;
    Seq next;
    Seq head;
    bool more = false;
  };
  /// kFailedPrecondition when changes after `since` were pruned or `since` is beyond the head.
  Result<ChangePage> changes(OrgN org, Seq since, std::size_t changes_max,
                             std::span<const std::uint64_t> scope = {});
  /// Forgets the changes before `upto`: positions from there on can still be continued.
  Result<void> prune_changes(OrgN org, Seq upto);
  /// Random tag of the change with this number; nothing when there is no such row (0 has tag 0).
  Result<std::optional<std::uint64_t>> change_tag(OrgN org, Seq seq);
  /// Every living entity, in order of its number, for snapshots: pages by `after_n`, at most 1,000.
  /// Who is hidden or outside of the scope comes too, with `gone`, so that a page with fewer than
  /// `limit` is the last.
  Result<std::vector<FeedUser>> scan_node_users(OrgN org, std::uint64_t after_n, std::size_t limit,
                                                std::span<const std::uint64_t> scope = {});
  Result<std::vector<FeedGroup>> scan_node_groups(OrgN org, std::uint64_t after_n,
                                                  std::size_t limit,
                                                  std::span<const std::uint64_t> scope = {});
  /// Identities that became tombstones: what explains a shrink. Numbers only.
  Result<std::vector<std::uint64_t>> tombstones(OrgN org, std::uint64_t after_n, std::size_t limit);
  /// A hub restored from a backup: draws a new epoch and lifts the id allocator above `highest_id`.
  /// Org::epoch is a decimal number from 1 to 2^62.
  Result<Org> new_epoch(OrgN org, std::uint32_t highest_id);
  /// Only the second half: no id up to `highest_id`, which a node has seen, is given out again. For
  /// every node that comes with a cursor of another epoch. False: an id that cannot come from this
  /// organization, which is ignored.
  Result<bool> lift_ids(OrgN org, std::uint32_t highest_id);
  /// Whether an id outside of all blocks is one that imports brought or may bring.
  Result<bool> is_imported(OrgN org, std::uint32_t id);
  /// For a node of a history that was lost, whose highest id is an imported one: that hides which
  /// ids of the blocks below it the node has seen, so no more are given out from these. False: it
  /// is no imported one, and nothing changed.
  Result<bool> pass_over_ids(OrgN org, std::uint32_t imported);
  /// For so long, or until allow_ids(), a creation that needs a new number is kUnavailable: the
  /// store may be an old one, whose next ids nodes know as somebody's already.
  void hold_ids(OrgN org, std::chrono::milliseconds time);
  void allow_ids(OrgN org);
  bool ids_are_held(OrgN org) const;

  // --- audit --------------------------------------------------------------------------------
  // Without an organization: what operators did to the hub itself.
  Result<std::vector<AuditRow>> list_audit(std::optional<OrgN> org, Seq after, std::size_t limit);
  /// Walks the hash chain; the number of rows. kDataLoss naming the first row that was changed,
  /// removed, added or reordered, or whose diff was erased without a row that says so.
  Result<std::int64_t> verify_audit(std::optional<OrgN> org);
  /// Removes the content of one row's diff, keeping the chain whole. kNotFound.
  Result<void> erase_audit_diff(const Actor& actor, OrgN org, Seq seq);

  // --- fuse ---------------------------------------------------------------------------------
  /// How many people left in the last hour, and whether irreversible effects are held:
  /// leavers > max(20, 2 % of the active users), until released.
  struct Fuse {
    std::int64_t leavers = 0;
    std::int64_t limit = 0;
    bool held = false;
    std::optional<Timestamp> released_until;
  };
  Result<Fuse> fuse(OrgN org);
  Result<Fuse> release_fuse(const Actor& actor, OrgN org);

  /// Last-use stamps and acknowledgements now, e.g. before stopping.
  Result<void> flush_stamps();

  struct Impl;  // impl.h, for this room only

 private:
  explicit Directory(std::unique_ptr<Impl> impl);
  Result<User> change_keys(
      const Actor& actor, OrgN org, std::string_view id, store::Urgency urgency,
      const std::function<Result<KeyPlan>(store::Tx&, const User&)>& make_plan);
  std::unique_ptr<Impl> impl_;
};

}  // namespace roster::directory
