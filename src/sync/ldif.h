#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace roster::sync {

/// An entry of an LDIF export.
struct LdifRecord {
  std::size_t line = 0;  // where it begins, from 1
  std::string dn;
  /// Attribute descriptions in lower case and values, decoded. Those with options (";lang-de") are
  /// left out.
  std::vector<std::pair<std::string, std::string>> attributes;

  /// The first value, or empty. `name` in lower case.
  std::string_view first(std::string_view name) const;
  /// The only value; of several, the one that the dn begins with. Empty when neither tells.
  std::string_view deciding(std::string_view name) const;
  std::size_t count(std::string_view name) const;
  /// Whether an objectClass has this value, whatever the case.
  bool is(std::string_view object_class) const;
};

/// Attributes of one record, at most.
inline constexpr std::size_t kLdifAttributesMax = 1'000'000;

/// RFC 2849: folded lines, comments, base64 values, version 1. kInvalidArgument with the line for
/// what is not LDIF and for values by URL; kUnsupported for change records; kTooLarge beyond
/// kLdifAttributesMax.
Result<std::vector<LdifRecord>> parse_ldif(std::string_view text);

/// "name: value" with the end of its line, folded and in base64 where RFC 2849 asks for it.
std::string ldif_line(std::string_view name, std::string_view value);

}  // namespace roster::sync
