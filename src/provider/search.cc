#include "provider/search.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/unicode.h"
#include "provider/cursor.h"
#include "scim/error.h"
#include "scim/list.h"
#include "scim/sort.h"
#include "scim/value.h"

namespace roster::provider {
namespace {

using directory::Directory;

/// Names in `groups=` and `name=`.
constexpr std::size_t kNamesMax = 100;
/// Resources in front of a sorted page that is asked for by index: all of them are held.
constexpr std::int64_t kSortedMax = 100'000;

/// What GET has in its query and POST /.search in its body (RFC 7644 3.4.2, 3.4.3).
struct Search {
  std::optional<std::string> attributes;
  std::optional<std::string> excluded;
  std::optional<std::string> filter;
  std::optional<std::string> start_index;
  std::optional<std::string> count;
  std::optional<std::string> cursor;
  std::optional<std::string> sort_by;
  std::optional<std::string> sort_order;
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
                .count = text("count"),
                .cursor = text("cursor"),
                .sort_by = text("sortBy"),
                .sort_order = text("sortOrder")};
}

std::unexpected<Error> wrong_type(std::string_view name) {
  return fail(Code::kInvalidArgument, std::string(name) + " has the wrong type",
              scim::kInvalidSyntax);
}

using Member = Result<std::optional<std::string>>;

Member text_member(const json::object& body, std::string_view name) {
  const json::value* value = scim::find_without_case(body, name);
  if (value == nullptr || value->is_null()) return std::nullopt;
  if (!value->is_string()) return wrong_type(name);
  return std::string(json::view(value->get_string()));
}

Member integer_member(const json::object& body, std::string_view name) {
  const json::value* value = scim::find_without_case(body, name);
  if (value == nullptr || !value->is_int64()) return text_member(body, name);
  return std::to_string(value->get_int64());
}

/// Names in a list, or in one text as in a query.
Member names_member(const json::object& body, std::string_view name) {
  const json::value* value = scim::find_without_case(body, name);
  if (value == nullptr || !value->is_array()) return text_member(body, name);
  std::string joined;
  for (const json::value& item : value->get_array()) {
    if (!item.is_string()) return wrong_type(name);
    if (!joined.empty()) joined += ',';
    joined += json::view(item.get_string());
  }
  return joined;
}

Result<Search> search_in_body(const json::object& body) {
  const json::value* schemas = scim::find_without_case(body, "schemas");
  if (schemas != nullptr && !scim::names_schema(*schemas, scim::kSearchRequestUrn)) {
    return fail(Code::kInvalidArgument, "schemas must name " + std::string(scim::kSearchRequestUrn),
                scim::kInvalidSyntax);
  }
  Search search;
  ASSIGN_OR_RETURN(search.attributes, names_member(body, "attributes"));
  ASSIGN_OR_RETURN(search.excluded, names_member(body, "excludedAttributes"));
  ASSIGN_OR_RETURN(search.filter, text_member(body, "filter"));
  ASSIGN_OR_RETURN(search.start_index, integer_member(body, "startIndex"));
  ASSIGN_OR_RETURN(search.count, integer_member(body, "count"));
  ASSIGN_OR_RETURN(search.cursor, text_member(body, "cursor"));
  ASSIGN_OR_RETURN(search.sort_by, text_member(body, "sortBy"));
  ASSIGN_OR_RETURN(search.sort_order, text_member(body, "sortOrder"));
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

/// Readers narrow people by `groups=a,b` and groups by `name=a,b`.
Result<std::optional<std::vector<std::string>>> scope_names(const Call& call,
                                                            const scim::ResourceType& type) {
  if (!call.reader()) return std::nullopt;
  const auto list = call.query.get(&type == &scim::user_type() ? "groups" : "name");
  if (!list) return std::nullopt;
  ASSIGN_OR_RETURN(std::vector<std::string> names, split_names(*list));
  return std::optional(std::move(names));
}

Result<ListQuery> list_query(const Call& call, const scim::ResourceType& type,
                             const Search& search) {
  ASSIGN_OR_RETURN(scim::Projection projection,
                   parse_projection(call, type, search.attributes, search.excluded));
  ListQuery query{.filter = std::nullopt,
                  .projection = std::move(projection),
                  .only_active = call.only_active(),
                  .names = std::nullopt,
                  .sort = std::nullopt,
                  .text = {}};
  if (search.filter) {
    ASSIGN_OR_RETURN(query.filter, scim::Filter::parse(type, *search.filter));
  }
  if (search.sort_by) {
    ASSIGN_OR_RETURN(query.sort, scim::Sort::parse(type, *search.sort_by));
  }
  ASSIGN_OR_RETURN(query.names, scope_names(call, type));
  if (query.filter || query.names) {
    json::array parts{search.filter ? json::value(*search.filter) : json::value()};
    if (query.names) parts.insert(parts.end(), query.names->begin(), query.names->end());
    query.text = json::serialize(parts);
  }
  return query;
}

/// The matches of one type that is asked for.
struct TypeMatches {
  std::size_t type = 0;  // index in scim::resource_types()
  std::unique_ptr<Matches> matches;
};

/// One question at work.
struct Question {
  const Call& call;
  const Search& search;
  std::vector<TypeMatches> types;
  bool sorts = false;
  bool descending = false;
};

Result<Question> make_question(Directory& directory, PageMemory& pages, const Call& call,
                               const scim::ResourceType* type, const Search& search) {
  Question question{.call = call,
                    .search = search,
                    .types = {},
                    .sorts = search.sort_by.has_value(),
                    .descending = false};
  ASSIGN_OR_RETURN(question.descending, scim::parse_descending(search.sort_order));
  bool knows_attribute = false;
  for (std::size_t i = 0; i < scim::resource_types().size(); ++i) {
    const scim::ResourceType& each = *scim::resource_types()[i];
    if (type != nullptr && type != &each) continue;
    ASSIGN_OR_RETURN(ListQuery query, list_query(call, each, search));
    knows_attribute = knows_attribute || (query.sort && query.sort->known());
    question.types.push_back({i, find_matches(directory, pages, call, each, std::move(query))});
  }
  if (question.sorts && !knows_attribute) {
    return fail(Code::kInvalidArgument, "sortBy: there is no attribute " + *search.sort_by,
                scim::kInvalidPath);
  }
  return question;
}

Result<Listing> by_index(const Question& question, const scim::Paging& paging) {
  Listing listing;
  bool ended = false;  // some of a type are for the next page
  for (const TypeMatches& each : question.types) {
    // The second type goes on where the first ended.
    const std::int64_t skip = std::max<std::int64_t>(paging.start_index - 1 - listing.total, 0);
    const std::int64_t left = paging.count - static_cast<std::int64_t>(listing.resources.size());
    ASSIGN_OR_RETURN(Listing part, each.matches->slice(skip, ended ? 0 : left));
    ended = ended || skip + std::ssize(part.resources) < part.total;
    listing.total += part.total;
    for (json::value& resource : part.resources) listing.resources.push_back(std::move(resource));
  }
  return listing;
}

// ---- sorted ----

/// Keeps the first places of all that are offered, behind `after` if there is one.
class Sorter {
 public:
  Sorter(bool descending, std::size_t keep, std::optional<Place> after)
      : descending_(descending), keep_(keep), after_(std::move(after)) {}

  void offer(Place place) {
    ++total_;
    if (keep_ == 0 || (after_ && !before(*after_, place))) return;
    const auto order = [this](const Place& a, const Place& b) { return before(a, b); };
    if (first_.size() == keep_) {
      if (!before(place, first_.front())) return;
      std::ranges::pop_heap(first_, order);
      first_.pop_back();
    }
    first_.push_back(std::move(place));
    std::ranges::push_heap(first_, order);
  }

  std::int64_t total() const { return total_; }
  std::vector<Place> take() {
    std::ranges::sort(first_, [this](const Place& a, const Place& b) { return before(a, b); });
    return std::move(first_);
  }

 private:
  bool before(const Place& a, const Place& b) const {
    if (a.key != b.key) return scim::sorts_before(a.key, b.key, descending_);
    return a.type != b.type ? a.type < b.type : a.id < b.id;
  }

  const bool descending_;
  const std::size_t keep_;
  const std::optional<Place> after_;
  std::vector<Place> first_;  // a heap with the last one in front
  std::int64_t total_ = 0;
};

Result<Sorter> sorted(const Question& question, std::int64_t keep, std::optional<Place> after) {
  Sorter sorter(question.descending, static_cast<std::size_t>(keep), std::move(after));
  for (const TypeMatches& each : question.types) {
    RETURN_IF_ERROR(each.matches->each([&sorter, &each](std::string id, scim::SortKey key) {
      sorter.offer({.key = std::move(key), .type = each.type, .id = std::move(id)});
    }));
  }
  return sorter;
}

/// The first of these places that make a page. What was deleted meanwhile is missing.
struct ShownPlaces {
  json::array resources;
  std::size_t places = 0;
};

Result<ShownPlaces> show(const Question& question, std::span<const Place> places) {
  ShownPlaces shown;
  for (const Place& place : places) {
    const auto each = std::ranges::find(question.types, place.type, &TypeMatches::type);
    if (each->matches->is_full()) break;
    ASSIGN_OR_RETURN(auto resource, each->matches->show(place.id));
    if (resource) shown.resources.emplace_back(std::move(*resource));
    ++shown.places;
  }
  return shown;
}

Result<Listing> by_index_sorted(const Question& question, const scim::Paging& paging) {
  const std::int64_t skip = paging.start_index - 1;
  if (paging.count > 0 && skip > kSortedMax) {
    return fail(Code::kInvalidArgument,
                "a sorted list goes beyond " + std::to_string(kSortedMax) + " only with a cursor",
                scim::kTooMany);
  }
  ASSIGN_OR_RETURN(Sorter sorter,
                   sorted(question, paging.count > 0 ? skip + paging.count : 0, std::nullopt));
  Listing listing{.total = sorter.total(), .resources = {}};
  const std::vector<Place> places = sorter.take();
  if (static_cast<std::size_t>(skip) < places.size()) {
    ASSIGN_OR_RETURN(ShownPlaces shown,
                     show(question, std::span(places).subspan(static_cast<std::size_t>(skip))));
    listing.resources = std::move(shown.resources);
  }
  return listing;
}

// ---- by cursor ----

struct CursorListing {
  json::array resources;
  std::optional<Place> last;          // set when there may be more behind it
  std::optional<std::int64_t> total;  // when it was counted
};

Result<CursorListing> after_place(const Question& question, const std::optional<Cursor>& cursor,
                                  std::int64_t count) {
  CursorListing out;
  for (const TypeMatches& each : question.types) {
    if (cursor && each.type < cursor->last.type) continue;
    const bool goes_on = cursor && each.type == cursor->last.type;
    const std::int64_t take = count - static_cast<std::int64_t>(out.resources.size());
    if (take == 0) {
      out.last = Place{.key = {}, .type = each.type, .id = {}};
      return out;
    }
    ASSIGN_OR_RETURN(Stretch stretch, each.matches->after(goes_on ? cursor->last.id : "", take,
                                                          cursor ? cursor->total : std::nullopt));
    for (json::value& resource : stretch.resources) out.resources.push_back(std::move(resource));
    if (stretch.more) {
      out.last = Place{.key = {}, .type = each.type, .id = std::move(stretch.last_id)};
      return out;
    }
  }
  return out;
}

Result<CursorListing> after_place_sorted(const Question& question,
                                         const std::optional<Cursor>& cursor, std::int64_t count) {
  const auto after = cursor ? std::optional(cursor->last) : std::nullopt;
  ASSIGN_OR_RETURN(Sorter sorter, sorted(question, count + 1, after));
  CursorListing out;
  out.total = sorter.total();
  const std::vector<Place> places = sorter.take();
  const std::size_t wanted = std::min(places.size(), static_cast<std::size_t>(count));
  ASSIGN_OR_RETURN(ShownPlaces shown, show(question, std::span(places).first(wanted)));
  out.resources = std::move(shown.resources);
  if (shown.places < places.size()) out.last = places[shown.places - 1];
  return out;
}

/// How many match in all; nothing when that would take too long, which only readers cannot be told
/// (what they are made of stops at the first page without it).
Result<std::optional<std::int64_t>> count_matches(const Question& question) {
  std::int64_t total = 0;
  for (const TypeMatches& each : question.types) {
    const auto part = each.matches->count();
    if (!part && part.error().keyword == scim::kTooMany && !question.call.reader()) {
      return std::nullopt;
    }
    if (!part) return std::unexpected(part.error());
    total += *part;
  }
  return total;
}

/// What a cursor is good for: this question, whatever its page.
std::string query_text(const Question& question) {
  json::array parts;
  const auto add = [&parts](const auto& text) {
    parts.emplace_back(text ? json::value(std::string_view(*text)) : json::value());
  };
  parts.emplace_back(question.call.org.n);
  for (const TypeMatches& each : question.types) parts.emplace_back(each.type);
  add(question.search.attributes);
  add(question.search.excluded);
  add(question.search.filter);
  add(question.search.sort_by);
  add(question.search.sort_order);
  for (const char* name : {"groups", "name", "excludeInactiveUsers"}) {
    add(question.call.query.get(name));
  }
  return json::serialize(parts);
}

Result<json::object> by_cursor(const Question& question) {
  const Call& call = question.call;
  ASSIGN_OR_RETURN(const std::int64_t count,
                   scim::parse_cursor_count(question.search.count, call.page_default()));
  const std::string query = query_text(question);
  std::optional<Cursor> cursor;
  if (!question.search.cursor->empty()) {
    ASSIGN_OR_RETURN(
        cursor, Cursor::decode(*question.search.cursor, call.bearer(), query, count, call.now));
  }
  CursorListing listing;
  if (count > 0) {
    ASSIGN_OR_RETURN(listing, question.sorts ? after_place_sorted(question, cursor, count)
                                             : after_place(question, cursor, count));
  }
  std::optional<std::int64_t> total = cursor ? cursor->total : listing.total;
  if (!cursor && !total) {
    ASSIGN_OR_RETURN(total, count_matches(question));
  }
  const std::int64_t given = cursor ? cursor->given : 0;
  scim::CursorPage page{.resources = std::move(listing.resources),
                        .total = total,
                        .start_index = std::nullopt,
                        .next_cursor = std::nullopt};
  if (call.reader()) page.start_index = given + 1;
  if (listing.last) {
    const Cursor next{.last = std::move(*listing.last),
                      .given = given + static_cast<std::int64_t>(page.resources.size()),
                      .total = total,
                      .count = count,
                      .issued = call.now};
    page.next_cursor = next.encode(call.bearer(), query);
  }
  return scim::list_response(std::move(page));
}

}  // namespace

Result<http::Response> answer_list(Directory& directory, PageMemory& pages, const Call& call,
                                   const scim::ResourceType* type, const json::object* search) {
  ASSIGN_OR_RETURN(const std::string tag, state_tag(directory, call));
  if (search == nullptr && if_none_match(call.request, tag)) return not_modified(tag);
  ASSIGN_OR_RETURN(const Search parameters,
                   search != nullptr ? search_in_body(*search) : search_in_query(call.query));
  ASSIGN_OR_RETURN(const Question question,
                   make_question(directory, pages, call, type, parameters));
  json::object body;
  if (parameters.cursor) {
    ASSIGN_OR_RETURN(body, by_cursor(question));
  } else {
    ASSIGN_OR_RETURN(
        const scim::Paging paging,
        scim::parse_paging(parameters.start_index, parameters.count, call.page_default()));
    ASSIGN_OR_RETURN(Listing listing, question.sorts ? by_index_sorted(question, paging)
                                                     : by_index(question, paging));
    body = scim::list_response(listing.total, paging.start_index, std::move(listing.resources));
  }
  http::Response response = json_answer(200, body);
  if (search == nullptr) response.headers.set("ETag", tag);
  return response;
}

}  // namespace roster::provider
