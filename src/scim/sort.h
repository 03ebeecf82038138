#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/result.h"
#include "scim/schema.h"

namespace roster::scim {

/// Text is sorted by at most so many bytes of its key, so that a cursor can carry it.
inline constexpr std::size_t kSortKeyBytesMax = 256;

/// What a resource is sorted by: keys compare as bytes; nothing: the resource has no value.
using SortKey = std::optional<std::string>;

/// Whether `a` stands before `b`: resources without a value last when ascending, first when
/// descending (RFC 7644 3.4.2.3).
bool sorts_before(const SortKey& a, const SortKey& b, bool descending);

/// `sortBy` for one resource type: the primary value of a list or, without one, its first; a
/// complex attribute stands for its `value`; case is as the attribute's caseExact says.
class Sort {
 public:
  /// A name that the type does not have: no resource of it has a value. kInvalidArgument
  /// (invalidPath) for what is no attribute path or is a complex attribute without `value`.
  static Result<Sort> parse(const ResourceType& type, std::string_view sort_by);

  bool known() const { return ref_.has_value(); }
  /// Whether it looks at this attribute (name as in its definition).
  bool uses(std::string_view attribute) const { return ref_ && ref_->attribute->name == attribute; }
  /// `resource` is in schema case.
  SortKey key(const json::object& resource) const;

 private:
  explicit Sort(const ResourceType& type) : type_(&type) {}

  const ResourceType* type_;
  std::optional<AttributeRef> ref_;
};

/// True for "descending", false for "ascending" or nothing. kInvalidArgument (invalidValue).
Result<bool> parse_descending(std::optional<std::string_view> sort_order);

}  // namespace roster::scim
