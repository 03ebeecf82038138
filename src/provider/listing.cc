#include "provider/listing.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <span>
#include <utility>

#include "crypto/hash.h"
#include "directory/nesting.h"
#include "provider/render.h"
#include "scim/error.h"

namespace roster::provider {
namespace {

using directory::Condition;
using directory::Directory;
using directory::Group;
using directory::Load;
using directory::User;

using Numbers = std::span<const std::int64_t>;

constexpr std::size_t kRowsPerRead = 1000;
/// Of those to be found among others, at first.
constexpr std::size_t kOutlinesPerReadMin = 100;
/// With their members, which end most reads before.
constexpr std::size_t kGroupsPerRead = 50;
/// How often Call::scanned_rows_max people may be looked at for the first of a page by index.
constexpr int kEmptyStretchesMax = 10;
/// How long a page by index goes on where the one before it ended, and tells how many matches there
/// were when the walk began.
constexpr std::chrono::minutes kWalkLifetime{10};

std::optional<Condition::Op> condition_op(scim::Op op) {
  switch (op) {
    case scim::Op::kEq:
      return Condition::Op::kEqual;
    case scim::Op::kSw:
      return Condition::Op::kStartsWith;
    case scim::Op::kGt:
      return Condition::Op::kGreater;
    case scim::Op::kGe:
      return Condition::Op::kGreaterOrEqual;
    case scim::Op::kLt:
      return Condition::Op::kLess;
    case scim::Op::kLe:
      return Condition::Op::kLessOrEqual;
    case scim::Op::kNe:
    case scim::Op::kCo:
    case scim::Op::kEw:
    case scim::Op::kPr:
      return std::nullopt;
  }
  return std::nullopt;
}

/// What the directory has an index for, by resource type and attribute.
struct Indexed {
  const scim::ResourceType& (*type)();
  std::string_view attribute;
  std::string_view sub;
  Condition::Field field;
  bool prefix;  // "sw" too
  bool order;   // comparisons too
};
constexpr std::array kIndexed = {
    Indexed{scim::user_type, "id", "", Condition::Field::kId, false, false},
    Indexed{scim::user_type, "userName", "", Condition::Field::kUserName, true, false},
    Indexed{scim::user_type, "externalId", "", Condition::Field::kExternalId, true, false},
    Indexed{scim::user_type, "active", "", Condition::Field::kActive, false, false},
    Indexed{scim::user_type, "sunkPosixUserId", "", Condition::Field::kPosixNumber, false, false},
    Indexed{scim::user_type, "meta", "created", Condition::Field::kCreated, false, true},
    Indexed{scim::user_type, "meta", "lastModified", Condition::Field::kModified, false, true},
    Indexed{scim::group_type, "id", "", Condition::Field::kId, false, false},
    Indexed{scim::group_type, "displayName", "", Condition::Field::kDisplayName, true, false},
    Indexed{scim::group_type, "externalId", "", Condition::Field::kExternalId, true, false},
    Indexed{scim::group_type, "sunkPosixGroupId", "", Condition::Field::kPosixNumber, false, false},
    Indexed{scim::group_type, "meta", "created", Condition::Field::kCreated, false, true},
    Indexed{scim::group_type, "meta", "lastModified", Condition::Field::kModified, false, true},
    Indexed{scim::group_type, "members", "value", Condition::Field::kMember, false, false},
};

const Indexed* index_of(const scim::ResourceType& type, const scim::AttributeRef& path) {
  const std::string_view sub = path.sub != nullptr ? path.sub->name : std::string_view();
  const auto* found = std::ranges::find_if(kIndexed, [&type, &path, sub](const Indexed& each) {
    return &each.type() == &type && each.attribute == path.attribute->name && each.sub == sub;
  });
  return found != kIndexed.end() ? found : nullptr;
}

std::optional<Condition> condition_for(const scim::ResourceType& type,
                                       const scim::Comparison& comparison) {
  const Indexed* index = index_of(type, *comparison.path);
  const auto op = condition_op(comparison.op);
  if (index == nullptr || !op || comparison.literal.null) return std::nullopt;
  const bool prefix = *op == Condition::Op::kStartsWith;
  const bool order = !prefix && *op != Condition::Op::kEqual;
  if ((prefix && !index->prefix) || (order && !index->order)) return std::nullopt;
  Condition condition{.field = index->field, .op = *op, .text = {}, .number = 0};
  switch (index->field) {
    case Condition::Field::kActive:
      condition.number = comparison.literal.boolean ? 1 : 0;
      break;
    case Condition::Field::kPosixNumber: {
      const double number = comparison.literal.number;
      if (number < 0 || number > UINT32_MAX || number != std::floor(number)) return std::nullopt;
      condition.number = static_cast<std::int64_t>(number);
      break;
    }
    case Condition::Field::kCreated:
    case Condition::Field::kModified:
      condition.number = to_millis(comparison.literal.time);
      break;
    case Condition::Field::kId:
    case Condition::Field::kUserName:
    case Condition::Field::kExternalId:
    case Condition::Field::kDisplayName:
    case Condition::Field::kMember:
      condition.text = comparison.literal.text;
      break;
  }
  return condition;
}

/// `members eq "x"`, `members.value eq "x"` or `members[value eq "x"]`.
bool is_member_equality(const scim::FilterNode& node) {
  if (node.kind == scim::FilterNode::Kind::kValuePath) {
    return is_member_equality(node.children.front());
  }
  if (node.kind != scim::FilterNode::Kind::kComparison || !node.comparison.path) return false;
  const scim::AttributeRef& path = *node.comparison.path;
  return path.attribute != nullptr && path.attribute->name == "members" && path.sub != nullptr &&
         path.sub->name == "value" && node.comparison.op == scim::Op::kEq &&
         !node.comparison.literal.null;
}

/// Whether the index alone decides everything that the filter says about members, so that nobody
/// has to load ten thousand of them.
bool members_are_indexed(const scim::FilterNode& root) {
  const auto decided = [](const scim::FilterNode& node) {
    return !scim::uses(node, "members") || is_member_equality(node);
  };
  if (root.kind != scim::FilterNode::Kind::kAnd) return decided(root);
  return std::ranges::all_of(root.children, decided);
}

std::unexpected<Error> nobody_among(std::int64_t rows) {
  return fail(Code::kInvalidArgument,
              "more than " + std::to_string(rows) +
                  " people in a row are left out: page by cursor (cursor=)",
              scim::kTooMany);
}

std::unexpected<Error> too_many(std::int64_t rows_max) {
  return fail(Code::kInvalidArgument,
              "the filter would have to read more than " + std::to_string(rows_max) +
                  " resources; narrow it by an attribute with an index, such as userName",
              scim::kTooMany);
}

// ---- the two resource types ----

struct Users {
  using Item = User;
  static const scim::ResourceType& type() { return scim::user_type(); }
  static Result<directory::Page<User>> list(Directory& directory, const Call& call,
                                            std::string_view after, std::size_t limit, Load load) {
    return directory.list_users(call.actor, call.org.n, after, limit, load);
  }
  /// As far as is_shown() and a walk by id need them.
  static Result<directory::Page<directory::UserOutline>> outlines(Directory& directory,
                                                                  const Call& call,
                                                                  std::string_view after) {
    return directory.outline_users(call.actor, call.org.n, after, directory::kOutlinesMax);
  }
  static Result<directory::Page<User>> get(Directory& directory, const Call& call, Numbers numbers,
                                           Load load) {
    return directory.get_users(call.actor, call.org.n, numbers, load);
  }
  static Result<User> get(Directory& directory, const Call& call, std::string_view id, Load load) {
    return directory.get_user(call.actor, call.org.n, id, load);
  }
  static Result<std::optional<std::vector<std::int64_t>>> select(
      Directory& directory, const Call& call, std::span<const Condition> conditions,
      std::string_view after, std::size_t range_max) {
    return directory.select_users(call.actor, call.org.n, conditions, after, range_max);
  }
  static Result<std::vector<std::int64_t>> named(Directory& directory, const Call& call,
                                                 std::span<const std::string> names,
                                                 std::string_view after) {
    return directory.select_members(call.org.n, names, after);
  }
  static Load load_for(const std::function<bool(std::string_view)>& wanted, directory::Nesting*) {
    return {.keys = wanted("sunkSshKeys"), .groups = wanted("groups"), .members = false};
  }
  static std::int64_t count(const directory::Org& org) { return org.users; }
};

struct Groups {
  using Item = Group;
  static const scim::ResourceType& type() { return scim::group_type(); }
  static Result<directory::Page<Group>> list(Directory& directory, const Call& call,
                                             std::string_view after, std::size_t limit, Load load) {
    return directory.list_groups(call.actor, call.org.n, after, limit, load);
  }
  static Result<directory::Page<Group>> outlines(Directory& directory, const Call& call,
                                                 std::string_view after) {
    return list(directory, call, after, kRowsPerRead, {});
  }
  static Result<directory::Page<Group>> get(Directory& directory, const Call& call, Numbers numbers,
                                            Load load) {
    return directory.get_groups(call.actor, call.org.n, numbers, load);
  }
  static Result<Group> get(Directory& directory, const Call& call, std::string_view id, Load load) {
    return directory.get_group(call.actor, call.org.n, id, load);
  }
  static Result<std::optional<std::vector<std::int64_t>>> select(
      Directory& directory, const Call& call, std::span<const Condition> conditions,
      std::string_view after, std::size_t range_max) {
    return directory.select_groups(call.actor, call.org.n, conditions, after, range_max);
  }
  static Result<std::vector<std::int64_t>> named(Directory& directory, const Call& call,
                                                 std::span<const std::string> names,
                                                 std::string_view after) {
    return directory.select_named(call.org.n, names, after);
  }
  static Load load_for(const std::function<bool(std::string_view)>& wanted,
                       directory::Nesting* nesting) {
    return {.keys = false, .groups = false, .members = wanted("members"), .flattened = nesting};
  }
  static std::int64_t count(const directory::Org& org) { return org.groups; }
};

/// What is left of `numbers` behind a page of the first `asked` of them.
template <typename Item>
Numbers behind(Numbers numbers, std::size_t asked, const directory::Page<Item>& page) {
  if (!page.more) return numbers.subspan(asked);
  const auto last = std::ranges::find(numbers, page.items.back().n);
  return numbers.subspan(static_cast<std::size_t>(last - numbers.begin()) + 1);
}

/// The matches of one query among the resources of one kind.
template <typename Kind>
class KindMatches final : public Matches {
 public:
  using Item = typename Kind::Item;

  KindMatches(Directory& directory, PageMemory& pages, const Call& call, ListQuery query)
      : directory_(directory), pages_(pages), call_(call), query_(std::move(query)) {
    const scim::Projection& projection = query_.projection;
    page_load_ = load_for([&projection](std::string_view name) {
      return projection.wants(name == "sunkSshKeys" ? scim::kCoreWeaveUserUrn : "", name);
    });
    if (query_.filter) conditions_ = conditions_of(Kind::type(), *query_.filter);
    // To them it is who may log in, which changes with time.
    const auto is_active = [](const Condition& condition) {
      return condition.field == Condition::Field::kActive;
    };
    if (call_.reader()) std::erase_if(conditions_, is_active);
    // Readers are shown the people of nested groups as members.
    for (Condition& condition : conditions_) condition.nested = call.reader();
    // What is judged one by one is loaded only as far as it is looked at.
    judge_load_ = !query_.filter && !query_.sort ? page_load_ : load_to_judge();
    scan_with(judge_load_);
  }

  Result<Listing> slice(std::int64_t skip, std::int64_t take) override {
    if (take > 0) return is_everything() ? slice_of_all(skip, take) : slice_of_some(skip, take);
    Listing listing;
    ASSIGN_OR_RETURN(listing.total, count());
    return listing;
  }

  Result<Stretch> after(std::string_view id, std::int64_t take,
                        std::optional<std::int64_t> total) override {
    Stretch stretch{.resources = {}, .last_id = std::string(id), .more = false};
    if (take == 0) return stretch;
    begin_page();
    const auto visit = [this, take](Item& item) {
      // Whoever stands behind the page ends it: what comes is known to be there.
      if (chosen_ == take || is_full()) return false;
      choose(item);
      return true;
    };
    // Where all that are read are shown, the page itself tells whether there are more.
    const bool all = is_everything();
    const auto enough = [this, all, take] { return (all && chosen_ == take) || is_full(); };
    const auto wanted = static_cast<std::size_t>(take);
    if (all && leaves_out()) {
      RETURN_IF_ERROR(select_active(id, wanted + 1));
    } else {
      RETURN_IF_ERROR(select(id, range_worth_it(take, total)));
    }
    load_at_once_for(take);
    ASSIGN_OR_RETURN(const End end, walk(id, all ? wanted : kRowsPerRead, visit, enough));
    ASSIGN_OR_RETURN(const bool whole, show_chosen());
    stretch.resources = std::move(resources_);
    stretch.more = end != End::kLast || !whole || looked_upto_;
    if (!whole) {
      stretch.last_id = last_shown_;
    } else if (stretch.more) {
      stretch.last_id = end == End::kLast ? *looked_upto_ : passed_;
    }
    return stretch;
  }

  Result<std::int64_t> count() override {
    if (is_everything()) {
      if (leaves_out()) return directory_.count_who_may_log_in(call_.org.n, call_.now);
      return Kind::count(call_.org);
    }
    std::int64_t total = 0;
    RETURN_IF_ERROR(select(""));
    if (index_decides()) return std::ssize(*selected_);
    RETURN_IF_ERROR(each_match([&total](Item&) { ++total; }));
    return total;
  }

  Result<void> each(const std::function<void(std::string id, scim::SortKey key)>& offer) override {
    RETURN_IF_ERROR(select(""));
    return each_match([this, &offer](Item& item) {
      offer(item.id, query_.sort
                         ? query_.sort->key(judged_ ? *judged_ : render(call_, std::move(item)))
                         : std::nullopt);
    });
  }

  Result<std::optional<json::object>> show(std::string_view id) override {
    auto item = Kind::get(directory_, call_, id, page_load_);
    if (!item && item.error().code == Code::kNotFound) return std::nullopt;
    if (!item) return std::unexpected(std::move(item).error());
    return shown(*item);
  }

  bool is_full() const override { return members_shown_ >= call_.page_members_max; }

 private:
  enum class End { kLast, kStopped, kTooMany };

  bool is_everything() const { return !query_.names && !query_.filter && !query_.sort; }
  /// Whether people are not shown who are there.
  bool leaves_out() const { return std::is_same_v<Item, User> && query_.only_active; }

  Load load_for(const std::function<bool(std::string_view)>& wanted) {
    return Kind::load_for(wanted, call_.reader() ? &nesting_ : nullptr);
  }

  Load load_to_judge() {
    const auto looks_at = [this](std::string_view name) {
      return (query_.filter && scim::uses(query_.filter->root(), name)) ||
             (query_.sort && query_.sort->uses(name));
    };
    Load load = load_for(looks_at);
    // An extension is among the schemas when there is something in it.
    if (looks_at("schemas")) load.keys = std::is_same_v<Item, User>;
    const bool sorts = query_.sort && query_.sort->uses("members");
    if (load.members && !sorts && !query_.names && members_are_indexed(query_.filter->root())) {
      load.members = false;
      for (const Condition& condition : conditions_) {
        if (condition.field != Condition::Field::kMember) continue;
        indexed_members_.push_back({.id = condition.text, .display = {}, .posix_name = {}});
      }
    }
    return load;
  }

  /// By token: another client's pages began elsewhere when something was deleted between them.
  std::string memory_key() const {
    std::string key = std::to_string(call_.org.n) + ' ' + std::to_string(call_.actor.token) +
                      (query_.only_active ? " active" : " ") + std::string(Kind::type().endpoint);
    if (!query_.text.empty()) key += ' ' + crypto::sha256(query_.text);
    return key;
  }

  Result<Listing> slice_of_all(std::int64_t skip, std::int64_t take) {
    Listing listing;
    ASSIGN_OR_RETURN(listing.total, count());
    const std::string key = memory_key();
    // Behind a page that was given, even if so many are not there any more.
    const auto known = pages_.find(key, skip, call_.now);
    if (skip >= listing.total && !known) return listing;
    std::string before;
    if (known) {
      before = known->last_id;
    } else {
      ASSIGN_OR_RETURN(before, id_before(skip));
    }
    Stretch stretch;
    if (skip == 0 || !before.empty()) {
      ASSIGN_OR_RETURN(stretch, after(before, take, std::nullopt));
    }
    // Who reads by index takes an empty page for the end.
    for (int i = 1; stretch.more && stretch.resources.empty(); ++i) {
      if (i == kEmptyStretchesMax) return nobody_among(i * call_.scanned_rows_max);
      ASSIGN_OR_RETURN(stretch, after(stretch.last_id, take, std::nullopt));
    }
    listing.resources = std::move(stretch.resources);
    const std::int64_t given = skip + std::ssize(listing.resources);
    if (stretch.more) {
      // The end is where the walk ends: who asks until they were given all must get there.
      listing.total = std::max(listing.total, given + 1);
      pages_.remember(
          key, given,
          {.last_id = std::move(stretch.last_id), .count = std::nullopt, .at = call_.now});
    } else if (known) {
      listing.total = given;
    } else {
      // Who was let in again in front of the pages before is for the next list: readers would ask
      // for the rest that the total promises forever.
      listing.total = std::min(listing.total, given);
    }
    return listing;
  }

  /// A page behind one that is remembered costs no more than by cursor, any other all matches.
  Result<Listing> slice_of_some(std::int64_t skip, std::int64_t take) {
    const std::string key = memory_key();
    std::optional<PageStart> start;
    if (skip > 0) start = pages_.find(key, skip, call_.now);
    if (!start || !start->count) return scan(key, skip, take);
    if (call_.now - start->count->at > kWalkLifetime) {
      ASSIGN_OR_RETURN(const std::int64_t total, count());
      start->count = {.total = total, .at = call_.now};
    }
    ASSIGN_OR_RETURN(Stretch stretch, after(start->last_id, take, start->count->total));
    if (stretch.more && stretch.resources.empty()) return scan(key, skip, take);
    Listing listing{.total = start->count->total, .resources = std::move(stretch.resources)};
    // The end is where the walk ends: who asks until they were given all must get there.
    const std::int64_t given = skip + std::ssize(listing.resources);
    listing.total = stretch.more ? std::max(listing.total, given + 1) : given;
    if (stretch.more) {
      pages_.remember(
          key, given,
          {.last_id = std::move(stretch.last_id), .count = start->count, .at = call_.now});
    }
    return listing;
  }

  /// Id of the resource number `skip`, counted from 1; empty when there are fewer.
  Result<std::string> id_before(std::int64_t skip) {
    if (skip == 0) return std::string();
    std::string after;
    while (true) {
      ASSIGN_OR_RETURN(const auto page, Kind::outlines(directory_, call_, after));
      for (const auto& item : page.items) {
        if (is_shown(item) && --skip == 0) return item.id;
      }
      if (!page.more) return std::string();
      after = page.items.back().id;
    }
  }

  /// Whether all that was selected match: by name, without a filter, or the filter is nothing but
  /// an externalId of the client.
  bool index_decides() const {
    if (!selected_ || leaves_out()) return false;
    if (query_.names) return !query_.filter;
    return query_.filter && call_.actor.client &&
           query_.filter->root().kind == scim::FilterNode::Kind::kComparison &&
           conditions_.size() == 1 && conditions_.front().field == Condition::Field::kExternalId;
  }

  /// The most that an index of a range may leave for a page of `take`; 0: walk all. What the index
  /// leaves costs a third of a row that is read and judged, on every page again; a walk in order
  /// reads the rows between the matches.
  std::size_t range_worth_it(std::int64_t take, std::optional<std::int64_t> total) const {
    const auto rows = static_cast<double>(take) * static_cast<double>(Kind::count(call_.org));
    const auto most = static_cast<std::size_t>(std::sqrt(3 * rows)) + 1;
    return total && *total > static_cast<std::int64_t>(most) ? 0 : most;
  }

  /// Finds what is to be walked, behind an id.
  Result<void> select(std::string_view after, std::size_t range_max = directory::kCandidatesMax) {
    scan_with(judge_load_);
    if (query_.names) {
      ASSIGN_OR_RETURN(selected_, Kind::named(directory_, call_, *query_.names, after));
      return {};
    }
    for (const Condition& condition : conditions_) {
      if (condition.field != Condition::Field::kMember || !query_.only_active) continue;
      const auto member = directory_.get_user(call_.actor, call_.org.n, condition.text, {});
      if (!member && member.error().code != Code::kNotFound) return std::unexpected(member.error());
      if (!member || may_log_in(*member, call_.now)) continue;
      selected_.emplace();  // such a member is in no group that is shown
      return {};
    }
    ASSIGN_OR_RETURN(selected_, Kind::select(directory_, call_, conditions_, after, range_max));
    return {};
  }

  /// Finds `wanted` people who may log in behind an id, or as many as are among the first
  /// Call::scanned_rows_max; whom they leave out are not read.
  Result<void> select_active(std::string_view after, std::size_t wanted) {
    selected_.emplace();
    looked_upto_.emplace(after);
    auto left = std::max(static_cast<std::size_t>(call_.scanned_rows_max), kOutlinesPerReadMin);
    std::size_t rows = std::max(wanted, kOutlinesPerReadMin);
    while (selected_->size() < wanted && left > 0) {
      rows = std::min(rows, left);
      ASSIGN_OR_RETURN(const auto page,
                       directory_.outline_users(call_.actor, call_.org.n, *looked_upto_, rows));
      for (const directory::UserOutline& person : page.items) {
        if (may_log_in(person, call_.now)) selected_->push_back(person.n);
      }
      if (!page.more) {
        looked_upto_.reset();
        return {};
      }
      looked_upto_ = page.items.back().id;
      left -= page.items.size();
      rows = directory::kOutlinesMax;
    }
    return {};
  }

  /// When the index leaves hardly more than the page takes, reading them once with all that is
  /// shown is less work than again those that match. Members are too many for that.
  void load_at_once_for(std::int64_t take) {
    if (!selected_ || std::ssize(*selected_) > 2 * take || page_load_.members) return;
    Load load = judge_load_;
    load.keys = load.keys || page_load_.keys;
    load.groups = load.groups || page_load_.groups;
    scan_with(load);
  }

  void scan_with(Load load) {
    scan_load_ = load;
    shows_scanned_ = (load.keys || !page_load_.keys) && (load.groups || !page_load_.groups) &&
                     (load.members || !page_load_.members);
  }

  /// Visits the matches among what was selected behind `after`, in order of id, until `visit` says
  /// no or `enough` yes. `passed_` is then the last id that need not be looked at again.
  template <typename Visit, typename Enough>
  Result<End> walk(std::string_view after, std::size_t rows, const Visit& visit,
                   const Enough& enough) {
    left_ = selected_ ? Numbers(*selected_) : Numbers();
    passed_ = after;
    if (scan_load_.members) rows = std::min(rows, kGroupsPerRead);
    std::int64_t read = 0;
    while (true) {
      ASSIGN_OR_RETURN(directory::Page<Item> page, next_page(rows));
      for (Item& item : page.items) {
        if (matches(item) && !visit(item)) return End::kStopped;
        passed_ = item.id;
      }
      if (!page.more) return End::kLast;
      if (enough()) return End::kStopped;
      read += static_cast<std::int64_t>(page.items.size());
      if (is_limited() && read >= call_.scanned_rows_max) return End::kTooMany;
    }
  }

  bool is_limited() const { return !is_everything() && !call_.privileged(); }

  /// What comes behind `passed_`.
  Result<directory::Page<Item>> next_page(std::size_t rows) {
    if (!selected_) return Kind::list(directory_, call_, passed_, rows, scan_load_);
    const std::size_t asked = std::min(left_.size(), rows);
    ASSIGN_OR_RETURN(auto page, Kind::get(directory_, call_, left_.first(asked), scan_load_));
    left_ = behind(left_, asked, page);
    page.more = !left_.empty();
    return page;
  }

  /// Of all that was selected.
  template <typename Visit>
  Result<void> each_match(const Visit& visit) {
    const auto every = [&visit](Item& item) {
      visit(item);
      return true;
    };
    // Known beforehand, mostly.
    const std::int64_t rows = selected_ ? std::ssize(*selected_) : Kind::count(call_.org);
    if (is_limited() && rows > call_.scanned_rows_max) return too_many(call_.scanned_rows_max);
    ASSIGN_OR_RETURN(const End end, walk("", kRowsPerRead, every, [] { return false; }));
    if (end == End::kTooMany) return too_many(call_.scanned_rows_max);
    return {};
  }

  /// Everything that the index leaves, judged one by one.
  Result<Listing> scan(const std::string& memory_key, std::int64_t skip, std::int64_t take) {
    begin_page();
    RETURN_IF_ERROR(select(""));
    const bool decided = index_decides();
    Listing listing;
    std::int64_t at = 0;
    if (decided) {
      // Of those that all match, only the page is read.
      listing.total = std::ssize(*selected_);
      at = std::min(skip, listing.total);
      const auto first = selected_->begin() + at;
      selected_ = std::vector(first, first + std::min(take, listing.total - at));
    }
    load_at_once_for(take);
    RETURN_IF_ERROR(each_match([this, &at, skip, take](Item& item) {
      if (at >= skip && at < skip + take && !is_full()) choose(item);
      ++at;
    }));
    if (!decided) listing.total = at;
    ASSIGN_OR_RETURN(const bool whole, show_chosen());
    listing.resources = std::move(resources_);
    const std::int64_t given = skip + std::ssize(listing.resources);
    if (!listing.resources.empty() && given < listing.total) {
      pages_.remember(memory_key, given,
                      {.last_id = whole ? last_chosen_ : last_shown_,
                       .count = Count{.total = listing.total, .at = call_.now},
                       .at = call_.now});
    }
    return listing;
  }

  template <typename Outline>
  bool is_shown(const Outline& item) const {
    if constexpr (!std::is_same_v<Outline, Group>) {
      return !query_.only_active || may_log_in(item, call_.now);
    } else {
      return true;
    }
  }

  bool matches(Item& item) {
    if (!is_shown(item)) return false;
    if constexpr (std::is_same_v<Item, Group>) {
      if (!indexed_members_.empty()) item.members = indexed_members_;
      if (query_.only_active) leave_active(item, call_.now);
    }
    if (!query_.filter) return true;
    judged_ = render(call_, std::move(item));
    return query_.filter->matches(*judged_);
  }

  // ---- the page ----

  void begin_page() {
    chosen_ = 0;
    to_load_.clear();
    looked_upto_.reset();
  }

  /// Puts a match onto the page: at once, or with the others when more of them has to be loaded.
  void choose(Item& item) {
    ++chosen_;
    last_chosen_ = item.id;
    if (shows_scanned_) {
      resources_.emplace_back(shown(item, std::exchange(judged_, std::nullopt)));
    } else {
      to_load_.push_back(item.n);
    }
  }

  /// Whether there was room for all that was chosen. Those that were deleted meanwhile are missing.
  Result<bool> show_chosen() {
    Numbers left(to_load_);
    const std::size_t rows = page_load_.members ? kGroupsPerRead : kRowsPerRead;
    while (!left.empty()) {
      const std::size_t asked = std::min(left.size(), rows);
      ASSIGN_OR_RETURN(auto page, Kind::get(directory_, call_, left.first(asked), page_load_));
      for (Item& item : page.items) {
        if (is_full()) return false;
        last_shown_ = item.id;
        resources_.emplace_back(shown(item));
      }
      left = behind(left, asked, page);
    }
    return true;
  }

  json::object shown(Item& item, std::optional<json::object> rendered = std::nullopt) {
    if constexpr (std::is_same_v<Item, Group>) {
      if (!page_load_.members) item.members.clear();
      if (query_.only_active) leave_active(item, call_.now);
      members_shown_ += item.members.size();
    }
    return query_.projection.apply(rendered ? std::move(*rendered)
                                            : render(call_, std::move(item)));
  }

  Directory& directory_;
  PageMemory& pages_;
  const Call& call_;
  const ListQuery query_;
  directory::Nesting nesting_;
  std::vector<Condition> conditions_;
  std::vector<directory::Reference> indexed_members_;
  Load page_load_;              // what the answer shows
  Load judge_load_;             // what the filter and the sort look at
  Load scan_load_;              // what is loaded to be judged
  bool shows_scanned_ = false;  // all that the answer shows was loaded to be judged

  // The walk:
  std::optional<std::vector<std::int64_t>> selected_;  // nothing: all
  Numbers left_;                                       // of these
  std::optional<std::string> looked_upto_;             // all but these were looked at up to here
  std::string passed_;

  // The page:
  json::array resources_;
  std::optional<json::object> judged_;  // the match that is visited, as the filter saw it
  std::int64_t chosen_ = 0;
  std::vector<std::int64_t> to_load_;
  std::string last_chosen_;
  std::string last_shown_;
  std::size_t members_shown_ = 0;
};

}  // namespace

std::optional<PageStart> PageMemory::find(const std::string& query, std::int64_t skipped,
                                          Timestamp now) {
  const std::lock_guard lock(mutex_);
  const auto found = by_key_.find(query + "#" + std::to_string(skipped));
  if (found == by_key_.end() || now - found->second->start.at > kWalkLifetime) return std::nullopt;
  return found->second->start;
}

void PageMemory::remember(const std::string& query, std::int64_t skipped, PageStart start) {
  const std::lock_guard lock(mutex_);
  std::string key = query + "#" + std::to_string(skipped);
  if (const auto found = by_key_.find(key); found != by_key_.end()) {
    found->second->start = std::move(start);
    entries_.splice(entries_.end(), entries_, found->second);
    return;
  }
  entries_.push_back({std::move(key), std::move(start)});
  by_key_.emplace(entries_.back().key, std::prev(entries_.end()));
  if (entries_.size() <= entries_max_) return;
  by_key_.erase(entries_.front().key);
  entries_.pop_front();
}

std::vector<Condition> conditions_of(const scim::ResourceType& type, const scim::Filter& filter) {
  std::vector<Condition> conditions;
  for (const scim::Comparison* comparison : filter.conjuncts()) {
    if (auto condition = condition_for(type, *comparison)) {
      conditions.push_back(std::move(*condition));
    }
  }
  return conditions;
}

std::unique_ptr<Matches> find_matches(Directory& directory, PageMemory& pages, const Call& call,
                                      const scim::ResourceType& type, ListQuery query) {
  if (&type == &scim::user_type()) {
    return std::make_unique<KindMatches<Users>>(directory, pages, call, std::move(query));
  }
  return std::make_unique<KindMatches<Groups>>(directory, pages, call, std::move(query));
}

}  // namespace roster::provider
