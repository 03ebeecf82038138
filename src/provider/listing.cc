#include "provider/listing.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "provider/render.h"
#include "scim/error.h"

namespace roster::provider {
namespace {

using directory::Condition;
using directory::Directory;
using directory::Group;
using directory::Load;
using directory::User;

constexpr std::size_t kRowsPerRead = 1000;
/// Groups with all their members: each may have thousands.
constexpr std::size_t kGroupsPerRead = 10;

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
  static Result<directory::Page<User>> page(Directory& directory, const Call& call,
                                            std::span<const Condition> conditions,
                                            std::string_view after, std::size_t limit, Load load) {
    return directory.list_users(call.actor, call.org.n, conditions, after, limit, load);
  }
  static Result<User> get(Directory& directory, const Call& call, std::string_view id, Load load) {
    return directory.get_user(call.actor, call.org.n, id, load);
  }
  static Load load_for(const std::function<bool(std::string_view)>& wanted) {
    return {.keys = wanted("sunkSshKeys"), .groups = wanted("groups"), .members = false};
  }
  static std::int64_t count(const directory::Org& org) { return org.users; }
};

struct Groups {
  using Item = Group;
  static const scim::ResourceType& type() { return scim::group_type(); }
  static Result<directory::Page<Group>> page(Directory& directory, const Call& call,
                                             std::span<const Condition> conditions,
                                             std::string_view after, std::size_t limit, Load load) {
    return directory.list_groups(call.actor, call.org.n, conditions, after, limit, load);
  }
  static Result<Group> get(Directory& directory, const Call& call, std::string_view id, Load load) {
    return directory.get_group(call.actor, call.org.n, id, load);
  }
  static Load load_for(const std::function<bool(std::string_view)>& wanted) {
    return {.keys = false, .groups = false, .members = wanted("members")};
  }
  static std::int64_t count(const directory::Org& org) { return org.groups; }
};

/// The matches of one query among the resources of one kind.
template <typename Kind>
class KindMatches final : public Matches {
 public:
  using Item = typename Kind::Item;

  KindMatches(Directory& directory, PageMemory& pages, const Call& call, ListQuery query)
      : directory_(directory), pages_(pages), call_(call), query_(std::move(query)) {
    const scim::Projection& projection = query_.projection;
    page_load_ = Kind::load_for([&projection](std::string_view name) {
      return projection.wants(name == "sunkSshKeys" ? scim::kCoreWeaveUserUrn : "", name);
    });
    page_load_.flattened = call.reader();
    if (query_.filter) conditions_ = conditions_of(Kind::type(), *query_.filter);
    if (std::is_same_v<Item, User> && query_.only_active) {
      conditions_.push_back({.field = Condition::Field::kActive,
                             .op = Condition::Op::kEqual,
                             .text = {},
                             .number = 1});
    }
    // What is judged one by one is loaded only as far as it is looked at.
    scan_load_ = !query_.filter && !query_.sort ? page_load_ : load_to_judge();
  }

  Result<Listing> slice(std::int64_t skip, std::int64_t take) override {
    if (!is_everything()) return scan(skip, take);
    Listing listing{.total = Kind::count(call_.org), .resources = {}};
    if (take == 0 || skip >= listing.total) return listing;
    // By token: another client's pages began elsewhere when something was deleted between them.
    const std::string memory_key = std::to_string(call_.org.n) + ' ' +
                                   std::to_string(call_.actor.token) +
                                   std::string(Kind::type().endpoint);
    ASSIGN_OR_RETURN(const std::string after, id_before(memory_key, skip));
    if (skip > 0 && after.empty()) return listing;
    ASSIGN_OR_RETURN(auto page, Kind::page(directory_, call_, {}, after,
                                           static_cast<std::size_t>(take), page_load_));
    for (Item& item : page.items) listing.resources.emplace_back(shown(item));
    if (page.more) {
      pages_.remember(memory_key, skip + static_cast<std::int64_t>(page.items.size()),
                      page.items.back().id);
    }
    return listing;
  }

  Result<Stretch> after(std::string_view id, std::int64_t take) override {
    Stretch stretch{.resources = {}, .last_id = std::string(id), .more = false};
    const auto rows = is_everything() ? static_cast<std::size_t>(take) : rows_per_read();
    if (take == 0) return stretch;
    const auto visit = [this, &stretch, take](Item& item) -> Result<bool> {
      // Whoever stands behind the page ends it: what comes is known to be there.
      if (static_cast<std::int64_t>(stretch.resources.size()) == take) return false;
      ASSIGN_OR_RETURN(auto resource, show(item));
      if (resource) stretch.resources.emplace_back(std::move(*resource));
      return true;
    };
    const auto is_full = [this, &stretch, take] {
      return is_everything() && static_cast<std::int64_t>(stretch.resources.size()) == take;
    };
    ASSIGN_OR_RETURN(const End end, walk(std::string(id), rows, visit, is_full));
    stretch.more = end != End::kLast;
    if (stretch.more) stretch.last_id = passed_;
    return stretch;
  }

  Result<std::int64_t> count() override {
    if (is_everything()) return Kind::count(call_.org);
    std::int64_t total = 0;
    RETURN_IF_ERROR(each_match([&total](Item&) { ++total; }));
    return total;
  }

  Result<void> each(const std::function<void(std::string id, scim::SortKey key)>& offer) override {
    return each_match([this, &offer](Item& item) {
      offer(item.id, query_.sort ? query_.sort->key(render(call_, item)) : std::nullopt);
    });
  }

  Result<std::optional<json::object>> show(std::string_view id) override {
    auto item = Kind::get(directory_, call_, id, page_load_);
    if (!item && item.error().code == Code::kNotFound) return std::nullopt;
    if (!item) return std::unexpected(std::move(item).error());
    return shown(*item);
  }

 private:
  enum class End { kLast, kStopped, kTooMany };

  bool is_everything() const {
    return !query_.ids && !query_.filter && !query_.sort && conditions_.empty();
  }

  std::size_t rows_per_read() const { return scan_load_.members ? kGroupsPerRead : kRowsPerRead; }

  Load load_to_judge() {
    Load load = Kind::load_for([this](std::string_view name) {
      return (query_.filter && scim::uses(query_.filter->root(), name)) ||
             (query_.sort && query_.sort->uses(name));
    });
    const bool sorts = query_.sort && query_.sort->uses("members");
    if (load.members && !sorts && members_are_indexed(query_.filter->root())) {
      load.members = false;
      for (const Condition& condition : conditions_) {
        if (condition.field != Condition::Field::kMember) continue;
        indexed_members_.push_back({.id = condition.text, .display = {}, .posix_name = {}});
      }
    }
    return load;
  }

  /// Id of the resource number `skip`, counted from 1; empty when there are fewer.
  Result<std::string> id_before(const std::string& memory_key, std::int64_t skip) {
    if (skip == 0) return std::string();
    if (auto known = pages_.find(memory_key, skip)) return *known;
    std::string after;
    while (skip > 0) {
      const auto limit = std::min<std::size_t>(static_cast<std::size_t>(skip), kRowsPerRead);
      ASSIGN_OR_RETURN(const auto page, Kind::page(directory_, call_, {}, after, limit, {}));
      skip -= static_cast<std::int64_t>(page.items.size());
      if (page.items.empty() || (!page.more && skip > 0)) return std::string();
      after = page.items.back().id;
    }
    return after;
  }

  /// Visits the matches behind `after` in order of id, until `visit` says no or `enough` yes.
  /// `passed_` is then the last id that need not be looked at again.
  template <typename Visit, typename Enough>
  Result<End> walk(std::string after, std::size_t rows, const Visit& visit, const Enough& enough) {
    passed_ = std::move(after);
    std::int64_t read = 0;
    while (true) {
      ASSIGN_OR_RETURN(directory::Page<Item> page, next_page(rows));
      for (Item& item : page.items) {
        if (matches(item)) {
          ASSIGN_OR_RETURN(const bool goes_on, visit(item));
          if (!goes_on) return End::kStopped;
        }
        passed_ = item.id;
      }
      if (!page.more || page.items.empty()) return End::kLast;
      if (enough()) return End::kStopped;
      read += static_cast<std::int64_t>(page.items.size());
      if (read >= call_.scanned_rows_max && !call_.privileged()) return End::kTooMany;
    }
  }

  /// What comes behind `passed_`.
  Result<directory::Page<Item>> next_page(std::size_t rows) {
    if (!query_.ids) {
      return Kind::page(directory_, call_, conditions_, passed_, rows, scan_load_);
    }
    directory::Page<Item> page;
    const auto first = std::ranges::upper_bound(*query_.ids, passed_);
    for (auto id = first; id != query_.ids->end(); ++id) {
      auto item = Kind::get(directory_, call_, *id, scan_load_);
      if (!item && item.error().code == Code::kNotFound) continue;
      if (!item) return std::unexpected(std::move(item).error());
      if (page.items.size() == rows) {
        page.more = true;
        break;
      }
      page.items.push_back(std::move(*item));
    }
    return page;
  }

  template <typename Visit>
  Result<void> each_match(const Visit& visit) {
    const auto every = [&visit](Item& item) -> Result<bool> {
      visit(item);
      return true;
    };
    ASSIGN_OR_RETURN(const End end, walk("", rows_per_read(), every, [] { return false; }));
    if (end == End::kTooMany) return too_many(call_.scanned_rows_max);
    return {};
  }

  /// Everything that the index leaves, judged one by one.
  Result<Listing> scan(std::int64_t skip, std::int64_t take) {
    Listing listing;
    const auto visit = [this, &listing, skip, take](Item& item) -> Result<bool> {
      const std::int64_t at = listing.total++;
      if (at < skip || at >= skip + take) return true;
      ASSIGN_OR_RETURN(auto resource, show(item));
      if (resource) listing.resources.emplace_back(std::move(*resource));
      return true;
    };
    ASSIGN_OR_RETURN(const End end, walk("", rows_per_read(), visit, [] { return false; }));
    if (end == End::kTooMany) return too_many(call_.scanned_rows_max);
    return listing;
  }

  bool matches(Item& item) {
    if constexpr (std::is_same_v<Item, User>) {
      if (query_.only_active && !may_log_in(item, call_.now)) return false;
    } else if (!indexed_members_.empty()) {
      item.members = indexed_members_;
    }
    return !query_.filter || query_.filter->matches(render(call_, item));
  }

  /// What was read to be judged, as the client wants it; nothing when it was deleted meanwhile.
  Result<std::optional<json::object>> show(Item& item) {
    const bool loaded = (scan_load_.keys || !page_load_.keys) &&
                        (scan_load_.groups || !page_load_.groups) &&
                        (scan_load_.members || !page_load_.members) &&
                        (scan_load_.flattened || !page_load_.flattened);
    if (!loaded) return show(std::string_view(item.id));
    return shown(item);
  }

  json::object shown(Item& item) const {
    if constexpr (std::is_same_v<Item, Group>) {
      if (!page_load_.members) item.members.clear();
      if (query_.only_active) leave_active(item, call_.now);
    }
    return query_.projection.apply(render(call_, item));
  }

  Directory& directory_;
  PageMemory& pages_;
  const Call& call_;
  const ListQuery query_;
  std::vector<Condition> conditions_;
  std::vector<directory::Reference> indexed_members_;
  Load page_load_;  // what the answer shows
  Load scan_load_;  // what is judged
  std::string passed_;
};

}  // namespace

std::optional<std::string> PageMemory::find(const std::string& query, std::int64_t skipped) {
  const std::lock_guard lock(mutex_);
  const auto found = last_ids_.find(query + "#" + std::to_string(skipped));
  return found != last_ids_.end() ? std::optional(found->second) : std::nullopt;
}

void PageMemory::remember(const std::string& query, std::int64_t skipped, std::string last_id) {
  const std::lock_guard lock(mutex_);
  std::string key = query + "#" + std::to_string(skipped);
  const auto [entry, made] = last_ids_.insert_or_assign(key, std::move(last_id));
  if (!made) return;
  order_.push_back(std::move(key));
  if (order_.size() <= entries_max_) return;
  last_ids_.erase(order_.front());
  order_.pop_front();
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
