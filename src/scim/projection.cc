#include "scim/projection.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/unicode.h"
#include "scim/error.h"

namespace roster::scim {
namespace {

std::vector<AttributeRef> parse_names(const ResourceType& type, std::string_view list) {
  std::vector<AttributeRef> names;
  while (true) {
    const std::size_t comma = list.find(',');
    std::string_view name = list.substr(0, comma);
    while (name.starts_with(' ')) name.remove_prefix(1);
    while (name.ends_with(' ')) name.remove_suffix(1);
    if (const auto ref = resolve(type, name)) names.push_back(*ref);
    if (comma == std::string_view::npos) break;
    list.remove_prefix(comma + 1);
  }
  return names;
}

}  // namespace

Result<Projection> Projection::parse(const ResourceType& type,
                                     std::optional<std::string_view> attributes,
                                     std::optional<std::string_view> excluded, Options options) {
  if (attributes && attributes->empty()) attributes.reset();
  if (excluded && excluded->empty()) excluded.reset();
  if (attributes && excluded) {
    return fail(Code::kInvalidArgument, "attributes and excludedAttributes cannot be used together",
                kInvalidValue);
  }
  Projection projection(type);
  if (!options.on_request_extension.empty()) {
    projection.hidden_ = find_extension(type, options.on_request_extension);
  }
  if (attributes) {
    projection.names_ = parse_names(type, *attributes);
    const bool only_urns = !projection.names_.empty() &&
                           std::ranges::all_of(projection.names_, [](const AttributeRef& ref) {
                             return ref.attribute == nullptr;
                           });
    projection.mode_ = options.additive_urns && only_urns ? Mode::kAdd : Mode::kInclude;
  } else if (excluded) {
    projection.names_ = parse_names(type, *excluded);
    projection.mode_ = Mode::kExclude;
  }
  return projection;
}

Projection::Part Projection::part_of(const Schema& schema, const Attribute& attribute) const {
  if (attribute.returned == Returned::kNever) return Part::kNone;
  if (attribute.returned == Returned::kAlways) return Part::kAll;
  Part named = Part::kNone;
  for (const AttributeRef& ref : names_) {
    if (ref.schema != &schema) continue;
    if (ref.attribute == nullptr || (ref.attribute == &attribute && ref.sub == nullptr)) {
      named = Part::kAll;
      break;
    }
    if (ref.attribute == &attribute) named = Part::kSome;
  }
  const bool by_default = attribute.returned == Returned::kDefault && &schema != hidden_;
  switch (mode_) {
    case Mode::kDefault:
      return by_default ? Part::kAll : Part::kNone;
    case Mode::kAdd:
      return by_default ? Part::kAll : named;
    case Mode::kInclude:
      return named;
    case Mode::kExclude:
      if (!by_default || named == Part::kAll) return Part::kNone;
      return named == Part::kSome ? Part::kSome : Part::kAll;
  }
  return Part::kNone;
}

bool Projection::wants_sub(const Schema& schema, const Attribute& attribute,
                           const Attribute& sub) const {
  const bool named = std::ranges::any_of(names_, [&](const AttributeRef& ref) {
    return ref.schema == &schema && ref.attribute == &attribute && ref.sub == &sub;
  });
  return named != (mode_ == Mode::kExclude);
}

bool Projection::wants(std::string_view urn, std::string_view attribute) const {
  const Schema* schema = urn.empty() ? type_->core : find_extension(*type_, urn);
  if (schema == nullptr) return false;
  const Attribute* found = schema == type_->core ? find_core_attribute(*type_, attribute)
                                                 : find_attribute(schema->attributes, attribute);
  return found != nullptr && part_of(*schema, *found) != Part::kNone;
}

void Projection::prune_element(const Schema& schema, const Attribute& attribute,
                               json::value& element) const {
  if (!element.is_object()) return;
  json::object some;
  for (const auto& sub_member : element.get_object()) {
    const std::string_view sub_name(sub_member.key().data(), sub_member.key().size());
    const Attribute* sub = find_attribute(attribute.sub_attributes, sub_name);
    if (sub != nullptr && wants_sub(schema, attribute, *sub)) {
      some[sub_member.key()] = sub_member.value();
    }
  }
  element = std::move(some);
}

void Projection::prune(const Schema& schema, json::object& container) const {
  const bool core = &schema == type_->core;
  for (auto member = container.begin(); member != container.end();) {
    const std::string_view name(member->key().data(), member->key().size());
    const Attribute* attribute =
        core ? find_core_attribute(*type_, name) : find_attribute(schema.attributes, name);
    const bool is_extension = core && attribute == nullptr && find_extension(*type_, name);
    const Part part = attribute != nullptr ? part_of(schema, *attribute) : Part::kNone;
    if (part == Part::kNone && !is_extension) {
      member = container.stable_erase(member);
      continue;
    }
    if (part == Part::kSome) {
      if (json::array* list = member->value().if_array()) {
        for (json::value& each : *list) prune_element(schema, *attribute, each);
      } else {
        prune_element(schema, *attribute, member->value());
      }
    }
    ++member;
  }
}

json::object Projection::apply(json::object resource) const {
  json::array schemas{type_->core->id};
  for (const Schema* extension : type_->extensions) {
    const auto found = resource.find(extension->id);
    if (found == resource.end()) continue;
    json::object* container = found->value().if_object();
    if (container != nullptr) prune(*extension, *container);
    if (container == nullptr || container->empty()) {
      resource.stable_erase(found);
    } else {
      schemas.emplace_back(extension->id);
    }
  }
  prune(*type_->core, resource);
  resource["schemas"] = std::move(schemas);
  return resource;
}

}  // namespace roster::scim
