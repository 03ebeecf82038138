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

/// A member of a message by its name, without case; null when it has none.
const json::value* find_without_case(const json::object& message, std::string_view name);

/// Whether the value of `schemas` is a list that holds the URN.
bool names_schema(const json::value& schemas, std::string_view urn);

/// What text is compared by: case folded unless the attribute is caseExact. UTF-8.
std::string text_key(const Attribute& attribute, std::string_view text);

}  // namespace roster::scim
