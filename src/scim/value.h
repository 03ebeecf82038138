#pragma once

#include <string>
#include <string_view>

#include "base/json.h"
#include "scim/schema.h"

namespace roster::scim {

/// The value of a whole attribute or extension (`ref.sub` is not looked at) in a resource in schema
/// case; null when it has none.
const json::value* value_at(const ResourceType& type, const AttributeRef& ref,
                            const json::object& resource);

/// What text is compared by: case folded unless the attribute is caseExact. UTF-8.
std::string text_key(const Attribute& attribute, std::string_view text);

}  // namespace roster::scim
