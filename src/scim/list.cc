#include "scim/list.h"

#include <algorithm>
#include <charconv>
#include <string>
#include <utility>

#include "scim/error.h"
#include "scim/schema.h"

namespace roster::scim {
namespace {

Result<std::int64_t> parse_integer(std::string_view name, std::string_view text) {
  std::int64_t number = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || stop != end) {
    return fail(Code::kInvalidArgument, std::string(name) + " must be an integer", kInvalidValue);
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

json::object list_response(std::int64_t total, std::int64_t start_index, json::array resources) {
  json::object body;
  body["schemas"] = json::array{kListResponseUrn};
  body["totalResults"] = total;
  body["startIndex"] = start_index;
  body["itemsPerPage"] = resources.size();
  body["Resources"] = std::move(resources);
  return body;
}

}  // namespace roster::scim
