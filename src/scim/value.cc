#include "scim/value.h"

#include <algorithm>
#include <utility>

#include "base/unicode.h"

namespace roster::scim {

const json::value* value_at(const ResourceType& type, const AttributeRef& ref,
                            const json::object& resource) {
  const json::object* container = &resource;
  if (ref.schema != type.core) {
    const json::value* extension = json::find(resource, ref.schema->id);
    if (extension == nullptr || ref.attribute == nullptr) return extension;
    container = extension->if_object();
    if (container == nullptr) return nullptr;
  }
  return ref.attribute == nullptr ? nullptr : json::find(*container, ref.attribute->name);
}

const json::value* find_without_case(const json::object& message, std::string_view name) {
  for (const auto& member : message) {
    if (ascii_iequals({member.key().data(), member.key().size()}, name)) return &member.value();
  }
  return nullptr;
}

bool names_schema(const json::value& schemas, std::string_view urn) {
  const json::array* list = schemas.if_array();
  return list != nullptr && std::ranges::any_of(*list, [urn](const json::value& item) {
           return item.is_string() && ascii_iequals(json::view(item.get_string()), urn);
         });
}

std::string text_key(const Attribute& attribute, std::string_view text) {
  if (attribute.case_exact) return std::string(text);
  const bool ascii =
      std::ranges::all_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x80; });
  if (ascii) return ascii_lower(text);
  Result<std::string> key = case_key(text);
  return key ? std::move(*key) : std::string(text);
}

}  // namespace roster::scim
