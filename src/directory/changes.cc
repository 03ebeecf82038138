#include <algorithm>
#include <map>
#include <set>
#include <unordered_map>

#include "directory/identity.h"
#include "directory/impl.h"
#include "directory/keys.h"
#include "directory/query.h"
#include "directory/schema.h"
#include "directory/scope.h"

namespace roster::directory {
namespace {

using store::Row;
using store::Statement;
using store::Tx;

constexpr std::size_t kScanMax = 1000;
constexpr std::size_t kChangesMax = 10'000;

/// Stands in records of those without an identity, who are nobody on nodes.
constexpr std::string_view kNoName = "_";

constexpr Statement kHead{"change.head", "SELECT seq, min_seq FROM org WHERE n = $1"};
constexpr Statement kChanges{
    "change.page",
    "SELECT seq, kind, a, b FROM change WHERE org = $1 AND seq > $2 ORDER BY seq LIMIT $3"};
constexpr Statement kTag{"change.tag", "SELECT tag FROM change WHERE org = $1 AND seq = $2"};
constexpr Statement kPrune{"change.prune",
                           "DELETE FROM change WHERE org = $1 AND seq >= $2 AND seq < $3"};
constexpr Statement kSetMinSeq{"change.set_min_seq", "UPDATE org SET min_seq = $2 WHERE n = $1"};
constexpr Statement kScanUsers{"change.scan_users",
                               "SELECT n FROM usr WHERE org = $1 AND n > $2 ORDER BY n LIMIT $3"};
constexpr Statement kScanGroups{"change.scan_groups",
                                "SELECT n FROM grp WHERE org = $1 AND n > $2 ORDER BY n LIMIT $3"};
constexpr Statement kTombstones{
    "change.tombstones",
    "SELECT n FROM posix_id WHERE org = $1 AND n > $2 AND state = 3 AND number IS NOT NULL "
    "ORDER BY n LIMIT $3"};

// The identity outlives the user, so what is gone has a row here too, without columns of usr.
const SetStatement& node_users() {
  static const SetStatement statement(
      "change.node_users",
      "SELECT p.n, p.seq, p.name, p.number, p.state, p.home, u.gecos, COALESCE(u.shell, p.shell), "
      "u.valid_until, u.n, p.gid "
      "FROM posix_id p LEFT JOIN usr u ON u.n = p.n WHERE p.n IN ",
      0, "");
  return statement;
}

const SetStatement& groups_of_users() {
  static const SetStatement statement(
      "change.groups_of_users",
      "SELECT member_n, group_n FROM member WHERE kind = 1 AND member_n IN ", 0, "");
  return statement;
}

const SetStatement& node_groups() {
  static const SetStatement statement(
      "change.node_groups",
      "SELECT p.n, p.seq, p.name, p.number, g.n FROM posix_id p LEFT JOIN grp g ON g.n = p.n "
      "WHERE p.n IN ",
      0, "");
  return statement;
}

const SetStatement& parents_of_groups() {
  static const SetStatement statement(
      "change.parents_of_groups",
      "SELECT member_n, group_n FROM member WHERE kind = 2 AND member_n IN ", 0, "");
  return statement;
}

std::uint64_t number_at(const Row& row, int column) {
  return static_cast<std::uint64_t>(row.integer(column));
}

posix::UnixSeconds seconds_or_zero(const std::optional<Timestamp>& t) {
  return t ? std::chrono::floor<std::chrono::seconds>(*t).time_since_epoch().count() : 0;
}

Result<Directory::FeedUser> read_feed_user(const Row& row, const Rules& rules) {
  const bool bare = row.is_null(3);
  ASSIGN_OR_RETURN(posix::LoginName name, posix::LoginName::parse(bare ? kNoName : row.text(2)));
  Directory::FeedUser user{
      .record = {.n = number_at(row, 0),
                 .seq = Seq{number_at(row, 1)},
                 .name = std::move(name),
                 .uid = bare ? 0 : static_cast<std::uint32_t>(row.integer(3)),
                 .gid = bare ? 0 : primary_gid(row, 10, 3),
                 .gecos = row.text_or_null(6).value_or(""),
                 .home = row.text_or_null(5).value_or(""),
                 .shell = row.text_or_null(7).value_or(rules.settings.default_shell),
                 .locked = row.integer(4) == row::kLocked,
                 .valid_until = seconds_or_zero(time_or_null(row, 8)),
                 .groups = {},
                 .keys = {}}};
  const bool hidden = user.record.locked && rules.settings.leaver_policy == LeaverPolicy::kHide;
  user.gone = row.is_null(9) || bare || hidden;
  return user;
}

/// In order of number, in three queries for up to 1,000.
Result<std::vector<Directory::FeedUser>> load_feed_users(Tx& tx, const Rules& rules,
                                                         std::span<const std::int64_t> numbers) {
  std::vector<Directory::FeedUser> users;
  users.reserve(numbers.size());
  RETURN_IF_ERROR(
      node_users().query(tx, {}, numbers, [&users, &rules](const Row& row) -> Result<void> {
        ASSIGN_OR_RETURN(Directory::FeedUser user, read_feed_user(row, rules));
        users.push_back(std::move(user));
        return {};
      }));
  std::ranges::sort(users, {}, [](const Directory::FeedUser& u) { return u.record.n; });
  std::unordered_map<std::int64_t, posix::NodeUser*> by_n;
  std::vector<std::int64_t> present;
  for (Directory::FeedUser& user : users) {
    if (user.gone) continue;
    by_n.emplace(static_cast<std::int64_t>(user.record.n), &user.record);
    present.push_back(static_cast<std::int64_t>(user.record.n));
  }
  RETURN_IF_ERROR(groups_of_users().query(tx, {}, present, [&by_n](const Row& row) -> Result<void> {
    by_n.at(row.integer(0))->groups.push_back(number_at(row, 1));
    return {};
  }));
  for (auto& [n, record] : by_n) std::ranges::sort(record->groups);
  RETURN_IF_ERROR(load_keys(tx, present, [&by_n](UserN n, SshKeyRow&& key) {
    by_n.at(n)->keys.push_back({std::move(key.key), std::move(key.fingerprint),
                                seconds_or_zero(key.not_before), seconds_or_zero(key.not_after)});
  }));
  return users;
}

Result<std::vector<Directory::FeedGroup>> load_feed_groups(Tx& tx,
                                                           std::span<const std::int64_t> numbers) {
  std::vector<Directory::FeedGroup> groups;
  groups.reserve(numbers.size());
  RETURN_IF_ERROR(node_groups().query(tx, {}, numbers, [&groups](const Row& row) -> Result<void> {
    const bool bare = row.is_null(3);
    ASSIGN_OR_RETURN(posix::GroupName name, posix::GroupName::parse(bare ? kNoName : row.text(2)));
    groups.push_back({.record = {.n = number_at(row, 0),
                                 .seq = Seq{number_at(row, 1)},
                                 .name = std::move(name),
                                 .gid = bare ? 0 : static_cast<std::uint32_t>(row.integer(3)),
                                 .parents = {}},
                      .gone = row.is_null(4) || bare});
    return {};
  }));
  std::ranges::sort(groups, {}, [](const Directory::FeedGroup& g) { return g.record.n; });
  std::unordered_map<std::int64_t, posix::NodeGroup*> by_n;
  std::vector<std::int64_t> present;
  for (Directory::FeedGroup& group : groups) {
    if (group.gone) continue;
    by_n.emplace(static_cast<std::int64_t>(group.record.n), &group.record);
    present.push_back(static_cast<std::int64_t>(group.record.n));
  }
  RETURN_IF_ERROR(
      parents_of_groups().query(tx, {}, present, [&by_n](const Row& row) -> Result<void> {
        by_n.at(row.integer(0))->parents.push_back(number_at(row, 1));
        return {};
      }));
  for (auto& [n, record] : by_n) std::ranges::sort(record->parents);
  return groups;
}

struct Range {
  std::uint64_t head;
  std::uint64_t min;
};

Result<Range> load_range(Tx& tx, OrgN org) {
  ASSIGN_OR_RETURN(
      const std::optional<Range> range,
      tx.query_one(
          kHead, [](const Row& row) { return Range{number_at(row, 0), number_at(row, 1)}; }, org));
  if (!range) return fail(Code::kNotFound, "there is no such organization");
  return *range;
}

template <typename... P>
Result<std::vector<std::int64_t>> numbers_of(Tx& tx, const Statement& statement,
                                             const P&... params) {
  std::vector<std::int64_t> numbers;
  RETURN_IF_ERROR(tx.query(
      statement,
      [&numbers](const Row& row) -> Result<void> {
        numbers.push_back(row.integer(0));
        return {};
      },
      params...));
  return numbers;
}

/// What a view with a scope shows of memberships. Without one, everything.
class ViewScope {
 public:
  /// In the transaction that reads the records, too: both are of one moment.
  static Result<ViewScope> load(Tx& tx, OrgN org, const Rules& rules,
                                std::span<const std::uint64_t> named) {
    ViewScope scope;
    scope.named_.assign(named.begin(), named.end());
    ASSIGN_OR_RETURN(scope.groups_, with_nested_groups(tx, scope.named_));
    if (named.empty()) return scope;
    ASSIGN_OR_RETURN(scope.primary_, primary_groups(tx, org, rules.settings));
    return scope;
  }

  bool is_everything() const { return named_.empty(); }

  /// Whether a view's definition names the group.
  bool names(std::int64_t group) const { return std::ranges::find(named_, group) != named_.end(); }

  /// Takes memberships in groups that are not shown away; false when the person or group is not
  /// shown, either.
  bool narrow(posix::NodeUser& user) const {
    narrow(user.groups);
    return !user.groups.empty();
  }
  bool narrow(posix::NodeGroup& group) const {
    narrow(group.parents);
    return shows(group.n) ||
           std::ranges::binary_search(primary_, static_cast<std::int64_t>(group.n));
  }

 private:
  bool shows(std::uint64_t group) const {
    return std::ranges::binary_search(groups_, static_cast<std::int64_t>(group));
  }
  void narrow(std::vector<std::uint64_t>& groups) const {
    std::erase_if(groups, [this](std::uint64_t n) { return !shows(n); });
  }

  std::vector<std::int64_t> named_;
  std::vector<std::int64_t> groups_;  // rising
  /// Likewise: shown everywhere, so that every gid has a name, but who is a member is no reason to
  /// show anybody.
  std::vector<std::int64_t> primary_;
};

/// Marks what a page of a scan has from outside of the scope.
template <typename Record>
void mark_outside(const ViewScope& scope, std::vector<Record>& page) {
  if (scope.is_everything()) return;
  for (Record& item : page) item.gone = item.gone || !scope.narrow(item.record);
}

/// The entities of one page of changes, each with its last change in the page.
struct Touched {
  std::map<std::int64_t, std::uint64_t> users;
  std::map<std::int64_t, std::uint64_t> groups;
  std::set<std::int64_t> moved;  // into the scope or out of it, or within it

  void note(const ViewScope& scope, std::uint64_t seq, std::int64_t kind, std::int64_t a,
            std::int64_t b) {
    switch (kind) {
      case row::kUserChanged:
        users[a] = seq;
        break;
      case row::kGroupChanged:
        groups[a] = seq;
        break;
      case row::kUserJoined:
      case row::kUserLeft:
        if (scope.is_everything()) users[a] = seq;
        break;
      case row::kGroupJoined:
      case row::kGroupLeft:
        if (scope.is_everything()) groups[a] = seq;
        break;
      case row::kScopeUser:
      case row::kScopeGroup:
        if (!scope.names(b)) break;
        (kind == row::kScopeUser ? users : groups)[a] = seq;
        moved.insert(a);
        break;
      default:
        break;
    }
  }
};

/// Who is outside of the scope is a removal when something moved them, and else was outside before.
template <typename Record>
void keep_in_scope(const ViewScope& scope, const Touched& touched, std::vector<Record>& records) {
  if (scope.is_everything()) return;
  std::erase_if(records, [&scope, &touched](Record& item) {
    if (item.gone || scope.narrow(item.record)) return false;
    item.gone = true;
    return !touched.moved.contains(static_cast<std::int64_t>(item.record.n));
  });
}

std::vector<std::int64_t> keys_of(const std::map<std::int64_t, std::uint64_t>& touched) {
  std::vector<std::int64_t> numbers;
  numbers.reserve(touched.size());
  for (const auto& [n, seq] : touched) numbers.push_back(n);
  return numbers;
}

/// Puts records in the order of their last change within the page.
template <typename Record>
void order_by_change(std::vector<Record>& records,
                     const std::map<std::int64_t, std::uint64_t>& touched) {
  std::ranges::sort(records, {}, [&touched](const Record& r) {
    return touched.at(static_cast<std::int64_t>(r.record.n));
  });
}

}  // namespace

Result<Directory::ChangePage> Directory::changes(OrgN org, Seq since, std::size_t changes_max,
                                                 std::span<const std::uint64_t> scope) {
  changes_max = std::clamp<std::size_t>(changes_max, 1, kChangesMax);
  return impl_->db.read([this, org, since, changes_max, scope](Tx& tx) -> Result<ChangePage> {
    ASSIGN_OR_RETURN(const Range range, load_range(tx, org));
    if (since.value > range.head || since.value < range.min) {
      return fail(Code::kFailedPrecondition, since.value > range.head
                                                 ? "the position is beyond the head of the changes"
                                                 : "the changes after this position were pruned");
    }
    ASSIGN_OR_RETURN(const std::shared_ptr<const Rules> rules, impl_->rules.get(tx, org));
    ASSIGN_OR_RETURN(const ViewScope shown, ViewScope::load(tx, org, *rules, scope));
    ChangePage page;
    page.next = since;
    page.head = Seq{range.head};
    Touched touched;
    RETURN_IF_ERROR(tx.query(
        kChanges,
        [&page, &touched, &shown](const Row& row) -> Result<void> {
          page.next = Seq{number_at(row, 0)};
          touched.note(shown, page.next.value, row.integer(1), row.integer(2), row.integer(3));
          return {};
        },
        org, since.value, changes_max));
    page.more = page.next < page.head;
    ASSIGN_OR_RETURN(page.users, load_feed_users(tx, *rules, keys_of(touched.users)));
    ASSIGN_OR_RETURN(page.groups, load_feed_groups(tx, keys_of(touched.groups)));
    keep_in_scope(shown, touched, page.users);
    keep_in_scope(shown, touched, page.groups);
    order_by_change(page.users, touched.users);
    order_by_change(page.groups, touched.groups);
    return page;
  });
}

Result<std::optional<std::uint64_t>> Directory::change_tag(OrgN org, Seq seq) {
  if (seq.value == 0) return std::optional<std::uint64_t>(0);
  return impl_->db.read([org, seq](Tx& tx) {
    return tx.query_one(kTag, [](const Row& row) { return number_at(row, 0); }, org, seq.value);
  });
}

Result<void> Directory::prune_changes(OrgN org, Seq upto) {
  for (;;) {
    ASSIGN_OR_RETURN(const bool done, impl_->db.write([org, upto](Tx& tx) -> Result<bool> {
      ASSIGN_OR_RETURN(const Range range, load_range(tx, org));
      // The row of `last` itself stays: its tag proves the positions that are still served.
      const std::uint64_t last = std::min({upto.value, range.head, range.min + kChangesMax});
      if (last <= range.min) return true;
      RETURN_IF_ERROR(tx.execute(kPrune, org, range.min, last));
      RETURN_IF_ERROR(tx.execute(kSetMinSeq, org, last));
      return false;
    }));
    impl_->orgs.forget(org);  // min_seq
    if (done) return {};
  }
}

Result<std::vector<Directory::FeedUser>> Directory::scan_node_users(
    OrgN org, std::uint64_t after_n, std::size_t limit, std::span<const std::uint64_t> scope) {
  limit = std::min(limit, kScanMax);
  return impl_->db.read(
      [this, org, after_n, limit, scope](Tx& tx) -> Result<std::vector<FeedUser>> {
        ASSIGN_OR_RETURN(const std::shared_ptr<const Rules> rules, impl_->rules.get(tx, org));
        ASSIGN_OR_RETURN(const std::vector<std::int64_t> numbers,
                         numbers_of(tx, kScanUsers, org, after_n, limit));
        ASSIGN_OR_RETURN(const ViewScope shown, ViewScope::load(tx, org, *rules, scope));
        ASSIGN_OR_RETURN(std::vector<FeedUser> page, load_feed_users(tx, *rules, numbers));
        mark_outside(shown, page);
        return page;
      });
}

Result<std::vector<Directory::FeedGroup>> Directory::scan_node_groups(
    OrgN org, std::uint64_t after_n, std::size_t limit, std::span<const std::uint64_t> scope) {
  limit = std::min(limit, kScanMax);
  return impl_->db.read(
      [this, org, after_n, limit, scope](Tx& tx) -> Result<std::vector<FeedGroup>> {
        ASSIGN_OR_RETURN(const std::shared_ptr<const Rules> rules, impl_->rules.get(tx, org));
        ASSIGN_OR_RETURN(const std::vector<std::int64_t> numbers,
                         numbers_of(tx, kScanGroups, org, after_n, limit));
        ASSIGN_OR_RETURN(const ViewScope shown, ViewScope::load(tx, org, *rules, scope));
        ASSIGN_OR_RETURN(std::vector<FeedGroup> page, load_feed_groups(tx, numbers));
        mark_outside(shown, page);
        return page;
      });
}

Result<std::vector<std::uint64_t>> Directory::tombstones(OrgN org, std::uint64_t after_n,
                                                         std::size_t limit) {
  limit = std::min(limit, kScanMax);
  return impl_->db.read([org, after_n, limit](Tx& tx) -> Result<std::vector<std::uint64_t>> {
    ASSIGN_OR_RETURN(const std::vector<std::int64_t> numbers,
                     numbers_of(tx, kTombstones, org, after_n, limit));
    return std::vector<std::uint64_t>(numbers.begin(), numbers.end());
  });
}

}  // namespace roster::directory
