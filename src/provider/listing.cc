#include "provider/listing.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <unordered_set>

#include "base/unicode.h"
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
/// Names in `groups=` and `name=`.
constexpr std::size_t kNamesMax = 100;

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

/// One listing at work.
template <typename Kind>
class Lister {
 public:
  using Item = typename Kind::Item;

  Lister(Directory& directory, PageMemory& pages, const Call& call, const ListQuery& query)
      : directory_(directory), pages_(pages), call_(call), query_(query) {
    const scim::Projection& projection = query.projection;
    page_load_ = Kind::load_for([&projection](std::string_view name) {
      return projection.wants(name == "sunkSshKeys" ? scim::kCoreWeaveUserUrn : "", name);
    });
    if (query.filter) {
      conditions_ = conditions_of(Kind::type(), *query.filter);
      const scim::FilterNode& root = query.filter->root();
      scan_load_ =
          Kind::load_for([&root](std::string_view name) { return scim::uses(root, name); });
      if (scan_load_.members && members_are_indexed(root)) {
        scan_load_.members = false;
        for (const Condition& condition : conditions_) {
          if (condition.field != Condition::Field::kMember) continue;
          indexed_members_.push_back({.id = condition.text, .display = {}, .posix_name = {}});
        }
      }
    }
  }

  Result<Listing> run(std::int64_t skip, std::int64_t take) {
    if (query_.ids) return by_ids(skip, take);
    if (query_.filter || (query_.only_active && std::is_same_v<Item, User>)) {
      return scan(skip, take);
    }
    return all(skip, take);
  }

 private:
  /// Everything: one page by key, the total from the organization's counters.
  Result<Listing> all(std::int64_t skip, std::int64_t take) {
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

  /// Everything that the index leaves, judged one by one.
  Result<Listing> scan(std::int64_t skip, std::int64_t take) {
    if (!query_.filter) {
      conditions_.push_back({.field = Condition::Field::kActive,
                             .op = Condition::Op::kEqual,
                             .text = {},
                             .number = 1});
    }
    Listing listing;
    std::string after;
    std::int64_t scanned = 0;
    while (true) {
      ASSIGN_OR_RETURN(auto page,
                       Kind::page(directory_, call_, conditions_, after, kRowsPerRead, scan_load_));
      scanned += static_cast<std::int64_t>(page.items.size());
      for (Item& item : page.items) RETURN_IF_ERROR(judge(item, skip, take, listing));
      if (!page.more || page.items.empty()) return listing;
      if (scanned >= call_.scanned_rows_max && !call_.privileged()) {
        return too_many(call_.scanned_rows_max);
      }
      after = page.items.back().id;
    }
  }

  Result<Listing> by_ids(std::int64_t skip, std::int64_t take) {
    Listing listing;
    for (const std::string& id : *query_.ids) {
      auto item = Kind::get(directory_, call_, id, scan_load_);
      if (!item && item.error().code == Code::kNotFound) continue;
      if (!item) return std::unexpected(std::move(item).error());
      RETURN_IF_ERROR(judge(*item, skip, take, listing));
    }
    return listing;
  }

  /// Counts a resource that matches and renders it when it is on the page.
  Result<void> judge(Item& item, std::int64_t skip, std::int64_t take, Listing& listing) {
    if constexpr (std::is_same_v<Item, User>) {
      if (query_.only_active && !may_log_in(item, call_.now)) return {};
    } else if (!indexed_members_.empty()) {
      item.members = indexed_members_;
    }
    if (query_.filter && !query_.filter->matches(render(call_, item))) return {};
    const std::int64_t at = listing.total++;
    if (at < skip || at >= skip + take) return {};
    const bool loaded = (scan_load_.keys || !page_load_.keys) &&
                        (scan_load_.groups || !page_load_.groups) &&
                        (scan_load_.members || !page_load_.members);
    if (loaded) {
      listing.resources.emplace_back(shown(item));
      return {};
    }
    auto whole = Kind::get(directory_, call_, item.id, page_load_);
    if (!whole && whole.error().code != Code::kNotFound) {
      return std::unexpected(std::move(whole).error());
    }
    if (whole) listing.resources.emplace_back(shown(*whole));  // else deleted meanwhile
    return {};
  }

  json::object shown(Item& item) const {
    if constexpr (std::is_same_v<Item, Group>) {
      if (!page_load_.members) item.members.clear();
      if (query_.only_active) {
        std::erase_if(item.members, [this](const directory::Reference& member) {
          return !may_log_in(member, call_.now);
        });
      }
    }
    return query_.projection.apply(render(call_, item));
  }

  Directory& directory_;
  PageMemory& pages_;
  const Call& call_;
  const ListQuery& query_;
  std::vector<Condition> conditions_;
  Load page_load_;  // what the answer shows
  Load scan_load_;  // what the filter looks at
  std::vector<directory::Reference> indexed_members_;
};

// ---- the parameters ----

/// What GET has in its query and POST /.search in its body (RFC 7644 3.4.2, 3.4.3).
struct Search {
  std::optional<std::string> attributes;
  std::optional<std::string> excluded;
  std::optional<std::string> filter;
  std::optional<std::string> start_index;
  std::optional<std::string> count;
};

Result<Search> search_in_query(const http::Query& query) {
  const auto text = [&query](std::string_view name) -> std::optional<std::string> {
    const auto found = query.get(name);
    return found ? std::optional<std::string>(*found) : std::nullopt;
  };
  return Search{.attributes = text("attributes"),
                .excluded = text("excludedAttributes"),
                .filter = text("filter"),
                .start_index = text("startIndex"),
                .count = text("count")};
}

Result<std::optional<std::string>> search_member(const json::object& body, std::string_view name) {
  for (const auto& member : body) {
    if (!ascii_iequals({member.key().data(), member.key().size()}, name)) continue;
    const json::value& value = member.value();
    if (value.is_null()) return std::nullopt;
    if (value.is_string()) return std::string(json::view(value.get_string()));
    if (value.is_int64()) return std::to_string(value.get_int64());
    if (value.is_array()) {
      std::string joined;
      for (const json::value& item : value.get_array()) {
        if (!item.is_string()) break;
        if (!joined.empty()) joined += ',';
        joined += json::view(item.get_string());
      }
      return joined;
    }
    return fail(Code::kInvalidArgument, std::string(name) + " has the wrong type",
                scim::kInvalidSyntax);
  }
  return std::nullopt;
}

Result<Search> search_in_body(const json::object& body) {
  Search search;
  ASSIGN_OR_RETURN(search.attributes, search_member(body, "attributes"));
  ASSIGN_OR_RETURN(search.excluded, search_member(body, "excludedAttributes"));
  ASSIGN_OR_RETURN(search.filter, search_member(body, "filter"));
  ASSIGN_OR_RETURN(search.start_index, search_member(body, "startIndex"));
  ASSIGN_OR_RETURN(search.count, search_member(body, "count"));
  return search;
}

Result<std::vector<std::string>> split_names(std::string_view list) {
  std::vector<std::string> names;
  while (true) {
    const std::size_t comma = list.find(',');
    if (comma != 0 && !list.empty()) names.emplace_back(list.substr(0, comma));
    if (names.size() > kNamesMax) {
      return fail(Code::kInvalidArgument,
                  "more than " + std::to_string(kNamesMax) + " names in one list",
                  scim::kInvalidValue);
    }
    if (comma == std::string_view::npos) return names;
    list.remove_prefix(comma + 1);
  }
}

/// Readers narrow people by `groups=a,b` and groups by `name=a,b`: displayNames or POSIX names.
Result<std::optional<std::vector<std::string>>> scoped_ids(Directory& directory, const Call& call,
                                                           const scim::ResourceType& type) {
  const bool users = &type == &scim::user_type();
  const auto list = call.query.get(users ? "groups" : "name");
  if (!list) return std::nullopt;
  ASSIGN_OR_RETURN(const std::vector<std::string> names, split_names(*list));
  std::vector<std::string> ids;
  for (const std::string& name : names) {
    auto group = directory.find_group(call.org.n, name, {.members = users});
    if (!group && group.error().code == Code::kNotFound) continue;
    if (!group) return std::unexpected(std::move(group).error());
    if (!users) ids.push_back(group->id);
    for (const directory::Reference& member : group->members) {
      if (!member.is_group) ids.push_back(member.id);
    }
  }
  std::ranges::sort(ids);
  ids.erase(std::ranges::unique(ids).begin(), ids.end());
  return ids;
}

bool wants_only_active(const Call& call) {
  const auto value = call.query.get("excludeInactiveUsers");
  if (value && ascii_iequals(*value, "true")) return true;
  return call.reader() && call.org.settings.leaver_policy == directory::LeaverPolicy::kHide;
}

Result<ListQuery> list_query(Directory& directory, const Call& call, const scim::ResourceType& type,
                             const Search& search) {
  scim::Projection::Options options;
  if (call.reader()) {
    options = {.on_request_extension = scim::kCoreWeaveUserUrn, .additive_urns = true};
  }
  ASSIGN_OR_RETURN(scim::Projection projection,
                   scim::Projection::parse(type, search.attributes, search.excluded, options));
  ListQuery query{.filter = std::nullopt,
                  .projection = std::move(projection),
                  .only_active = wants_only_active(call),
                  .ids = std::nullopt};
  if (search.filter) {
    ASSIGN_OR_RETURN(query.filter, scim::Filter::parse(type, *search.filter));
  }
  ASSIGN_OR_RETURN(query.ids, scoped_ids(directory, call, type));
  return query;
}

Result<Listing> list_type(Directory& directory, PageMemory& pages, const Call& call,
                          const scim::ResourceType& type, const Search& search, std::int64_t skip,
                          std::int64_t take) {
  ASSIGN_OR_RETURN(const ListQuery query, list_query(directory, call, type, search));
  return &type == &scim::user_type() ? list_users(directory, pages, call, query, skip, take)
                                     : list_groups(directory, pages, call, query, skip, take);
}

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

Result<Listing> list_users(Directory& directory, PageMemory& pages, const Call& call,
                           const ListQuery& query, std::int64_t skip, std::int64_t take) {
  return Lister<Users>(directory, pages, call, query).run(skip, take);
}

Result<Listing> list_groups(Directory& directory, PageMemory& pages, const Call& call,
                            const ListQuery& query, std::int64_t skip, std::int64_t take) {
  return Lister<Groups>(directory, pages, call, query).run(skip, take);
}

namespace {

/// The organization's position. What readers are shown ends with time, too.
Result<std::string> list_tag(Directory& directory, const Call& call) {
  std::string tag = "W/\"" + call.org.epoch + "-" + std::to_string(call.org.seq.value);
  if (call.reader() || wants_only_active(call)) {
    ASSIGN_OR_RETURN(const auto moment, directory.last_moment(call.org.n, call.now));
    if (moment) tag += "-" + std::to_string(to_millis(*moment));
  }
  return tag + '"';
}

}  // namespace

Result<http::Response> answer_list(Directory& directory, PageMemory& pages, const Call& call,
                                   const scim::ResourceType* type, const json::object* search) {
  ASSIGN_OR_RETURN(const std::string tag, list_tag(directory, call));
  if (search == nullptr && if_none_match(call.request, tag)) {
    http::Response unchanged{.status = 304, .headers = {}, .body = {}};
    unchanged.headers.set("ETag", tag);
    return unchanged;
  }
  ASSIGN_OR_RETURN(const Search parameters,
                   search != nullptr ? search_in_body(*search) : search_in_query(call.query));
  ASSIGN_OR_RETURN(const scim::Paging paging,
                   scim::parse_paging(parameters.start_index, parameters.count,
                                      call.reader() ? scim::kPageMax : scim::kPageDefault));
  Listing listing;
  for (const scim::ResourceType* each : scim::resource_types()) {
    if (type != nullptr && type != each) continue;
    // At the root, the second type goes on where the first ended.
    const std::int64_t skip = std::max<std::int64_t>(paging.start_index - 1 - listing.total, 0);
    const std::int64_t take = paging.count - static_cast<std::int64_t>(listing.resources.size());
    ASSIGN_OR_RETURN(Listing part,
                     list_type(directory, pages, call, *each, parameters, skip, take));
    listing.total += part.total;
    for (json::value& resource : part.resources) listing.resources.push_back(std::move(resource));
  }
  http::Response response = json_answer(
      200, scim::list_response(listing.total, paging.start_index, std::move(listing.resources)));
  if (search == nullptr) response.headers.set("ETag", tag);
  return response;
}

}  // namespace roster::provider
