#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "base/time.h"
#include "scim/schema.h"

namespace roster::scim {

inline constexpr std::size_t kFilterBytesMax = 8 << 10;
inline constexpr std::size_t kFilterDepthMax = 32;
inline constexpr std::size_t kFilterNodesMax = 200;

/// RFC 7644 table 3.
enum class Op { kEq, kNe, kCo, kSw, kEw, kPr, kGt, kGe, kLt, kLe };

/// The right side of a comparison, prepared for the attribute's type.
struct Literal {
  bool null = false;
  std::string text;  // as written, without quotes and escapes
  std::string key;   // what string comparisons use: case folded unless the attribute is caseExact
  double number = 0;
  bool boolean = false;
  Timestamp time{};
};

/// `path op literal`. No path: an attribute that the resource type does not have, so without value.
/// Inside a value path, `path.sub` (or the element itself when there is none) is compared.
struct Comparison {
  std::optional<AttributeRef> path;
  Op op = Op::kPr;
  Literal literal;
};

struct FilterNode {
  enum class Kind { kAnd, kOr, kNot, kComparison, kValuePath } kind = Kind::kComparison;
  Comparison comparison = {};             // kComparison
  std::optional<AttributeRef> path = {};  // kValuePath
  std::vector<FilterNode> children = {};  // kAnd, kOr: two or more; kNot, kValuePath: one
};

/// Whether any part of it compares this attribute (name as in its definition), or asks whether a
/// whole schema has anything.
bool uses(const FilterNode& node, std::string_view attribute);

/// A filter (RFC 7644 3.4.2.2), checked against a resource type.
///
/// The whole grammar, with URN-prefixed names, value paths (also followed by a sub-attribute) and
/// Entra's bare words (`externalId eq jyoung`). Attributes that the type does not have count as
/// having no value. `ne` is true exactly when `eq` is not, also without a value and for lists.
/// A complex attribute without sub-attribute stands for its `value` (`emails co "@x"`).
class Filter {
 public:
  /// kInvalidArgument (invalidFilter) with the position for what is not a filter, for an operator
  /// that the attribute's type does not have (`active gt true`), and beyond the limits above.
  static Result<Filter> parse(const ResourceType& type, std::string_view text);

  /// `resource` is in schema case, as we answer it.
  bool matches(const json::object& resource) const;
  /// For filters of a value path: one element of the attribute.
  bool matches_element(const json::value& element) const;

  /// Comparisons that must all hold for a resource to match; those inside value paths say that some
  /// value fulfils them. Valid as long as the filter.
  std::vector<const Comparison*> conjuncts() const;

  const FilterNode& root() const { return root_; }

 private:
  friend class FilterParser;
  Filter(const ResourceType& type, FilterNode root) : type_(&type), root_(std::move(root)) {}

  const ResourceType* type_;
  FilterNode root_;
};

/// RFC 7644 3.5.2: an attribute path, or a value path with an optional sub-attribute.
struct Path {
  AttributeRef ref;  // `sub` is set also behind a filter: emails[type eq "work"].value
  std::optional<Filter> filter = {};
};

/// kInvalidArgument (invalidPath) with the position when the text is no path or names an attribute
/// that the type does not have; (invalidFilter) for the part in brackets, where an unknown name is
/// an error too. Nothing when it is a path below a URN that the type does not have: such extensions
/// are ignored.
Result<std::optional<Path>> parse_path(const ResourceType& type, std::string_view text);

}  // namespace roster::scim
