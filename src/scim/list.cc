#include "scim/list.h"

#include <algorithm>
#include <charconv>
#include <string>
#include <utility>

#include "scim/error.h"
#include "scim/schema.h"

namespace roster::scim {
namespace {

Result<std::int64_t> parse_integer(std::string_view name, std::string_view text,
                                   std::string_view keyword = kInvalidValue) {
  std::int64_t number = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || stop != end) {
    return fail(Code::kInvalidArgument, std::string(name) + " must be an integer", keyword);
  }
  return number;
}

}  // namespace

Result<Paging> parse_paging(std::optional<std::string_view> start_index,
                            std::optional<std::string_view> count, std::int64_t count_default) {
  Paging paging{.start_index = 1, .count = count_default};
  if (start_index) {
    ASSIGN_OR_RETURN(const std::int64_t number, parse_integer("startIndex", *start_index));
    paging.start_index = std::max<std::int64_t>(number, 1);
  }
  if (count) {
    ASSIGN_OR_RETURN(const std::int64_t number, parse_integer("count", *count));
    paging.count = std::clamp<std::int64_t>(number, 0, kPageMax);
  }
  return paging;
}

Result<std::int64_t> parse_cursor_count(std::optional<std::string_view> count,
                                        std::int64_t count_default) {
  if (!count) return count_default;
  ASSIGN_OR_RETURN(const std::int64_t number, parse_integer("count", *count, kInvalidCount));
  if (number < 0) return fail(Code::kInvalidArgument, "count is negative", kInvalidCount);
  return std::min(number, kPageMax);
}

json::object list_response(std::int64_t total, std::int64_t start_index, json::array resources) {
  json::object body;
  body["schemas"] = json::array{kListResponseUrn};
  body["totalResults"] = total;
  body["startIndex"] = start_index;
  body["itemsPerPage"] = resources.size();
  body["Resources"] = std::move(resources);
  return body;
}

json::object list_response(CursorPage page) {
  json::object body;
  body["schemas"] = json::array{kListResponseUrn};
  if (page.total) body["totalResults"] = *page.total;
  if (page.start_index) body["startIndex"] = *page.start_index;
  body["itemsPerPage"] = page.resources.size();
  if (page.next_cursor) body["nextCursor"] = *page.next_cursor;
  body["Resources"] = std::move(page.resources);
  return body;
}

}  // namespace roster::scim
