#include "scim/discovery.h"

#include <string>
#include <utility>

#include "base/unicode.h"
#include "scim/schema.h"

namespace roster::scim {
namespace {

std::string_view type_name(Type type) {
  switch (type) {
    case Type::kString:
      return "string";
    case Type::kBoolean:
      return "boolean";
    case Type::kInteger:
      return "integer";
    case Type::kDateTime:
      return "dateTime";
    case Type::kReference:
      return "reference";
    case Type::kBinary:
      return "binary";
    case Type::kComplex:
      return "complex";
  }
  return "string";
}

std::string_view mutability_name(Mutability mutability) {
  switch (mutability) {
    case Mutability::kReadOnly:
      return "readOnly";
    case Mutability::kReadWrite:
      return "readWrite";
    case Mutability::kImmutable:
      return "immutable";
    case Mutability::kWriteOnly:
      return "writeOnly";
  }
  return "readOnly";
}

std::string_view returned_name(Returned returned) {
  switch (returned) {
    case Returned::kAlways:
      return "always";
    case Returned::kDefault:
      return "default";
    case Returned::kRequest:
      return "request";
    case Returned::kNever:
      return "never";
  }
  return "default";
}

std::string_view uniqueness_name(Uniqueness uniqueness) {
  switch (uniqueness) {
    case Uniqueness::kNone:
      return "none";
    case Uniqueness::kServer:
      return "server";
    case Uniqueness::kGlobal:
      return "global";
  }
  return "none";
}

json::array strings(Strings values) {
  json::array out;
  for (const std::string_view value : values) out.emplace_back(value);
  return out;
}

json::object definition(const Attribute& attribute) {
  json::object out;
  out["name"] = attribute.name;
  out["type"] = type_name(attribute.type);
  out["multiValued"] = attribute.multi_valued;
  out["description"] = attribute.description;
  out["required"] = attribute.required;
  out["mutability"] = mutability_name(attribute.mutability);
  out["returned"] = returned_name(attribute.returned);
  if (attribute.type != Type::kComplex) {
    out["caseExact"] = attribute.case_exact;
    out["uniqueness"] = uniqueness_name(attribute.uniqueness);
  }
  if (!attribute.canonical_values.empty()) {
    out["canonicalValues"] = strings(attribute.canonical_values);
  }
  if (!attribute.reference_types.empty()) {
    out["referenceTypes"] = strings(attribute.reference_types);
  }
  if (!attribute.sub_attributes.empty()) {
    json::array sub;
    for (const Attribute& part : attribute.sub_attributes) {
      if (!part.unlisted) sub.emplace_back(definition(part));
    }
    out["subAttributes"] = std::move(sub);
  }
  return out;
}

void add_meta(json::object& out, std::string_view base, std::string_view resource_type,
              const std::string& path) {
  json::object meta;
  meta["resourceType"] = resource_type;
  if (!base.empty()) meta["location"] = std::string(base) + path;
  out["meta"] = std::move(meta);
}

json::object render(std::string_view base, const Schema& schema) {
  json::object out;
  out["schemas"] = json::array{kSchemaUrn};
  out["id"] = schema.id;
  out["name"] = schema.name;
  out["description"] = schema.description;
  json::array attributes;
  for (const Attribute& attribute : schema.attributes) {
    if (!attribute.unlisted) attributes.emplace_back(definition(attribute));
  }
  out["attributes"] = std::move(attributes);
  add_meta(out, base, "Schema", "/Schemas/" + std::string(schema.id));
  return out;
}

json::object render(std::string_view base, const ResourceType& type) {
  json::object out;
  out["schemas"] = json::array{kResourceTypeUrn};
  out["id"] = type.name;
  out["name"] = type.name;
  out["description"] = type.description;
  out["endpoint"] = type.endpoint;
  out["schema"] = type.core->id;
  json::array extensions;
  for (const Schema* extension : type.extensions) {
    json::object item;
    item["schema"] = extension->id;
    item["required"] = false;
    extensions.push_back(std::move(item));
  }
  if (!extensions.empty()) out["schemaExtensions"] = std::move(extensions);
  add_meta(out, base, "ResourceType", "/ResourceTypes/" + std::string(type.name));
  return out;
}

json::object list_of(json::array resources) {
  const auto total = static_cast<std::int64_t>(resources.size());
  return list_response(total, 1, std::move(resources));
}

}  // namespace

json::object service_provider_config(std::string_view base, const Offer& offer) {
  const auto supported = [](bool is) { return json::object{{"supported", is}}; };
  json::object out;
  out["schemas"] = json::array{kServiceProviderConfigUrn};
  out["patch"] = supported(offer.writes);
  out["bulk"] = json::object{{"supported", offer.bulk_operations_max > 0},
                             {"maxOperations", offer.bulk_operations_max},
                             {"maxPayloadSize", offer.bulk_bytes_max}};
  out["filter"] = json::object{{"supported", true}, {"maxResults", kPageMax}};
  out["changePassword"] = supported(false);
  out["sort"] = supported(true);
  out["etag"] = supported(true);
  json::object pagination;
  pagination["cursor"] = true;
  pagination["index"] = true;
  pagination["defaultPaginationMethod"] = "index";
  pagination["defaultPageSize"] = offer.page_default;
  pagination["maxPageSize"] = kPageMax;
  pagination["cursorTimeout"] = kCursorLifetime.count();
  out["pagination"] = std::move(pagination);
  json::object scheme;
  scheme["type"] = "oauthbearertoken";
  scheme["name"] = "Bearer token";
  scheme["description"] = "A token of this server in the Authorization header (RFC 6750).";
  scheme["specUri"] = "https://www.rfc-editor.org/info/rfc6750";
  scheme["primary"] = true;
  out["authenticationSchemes"] = json::array{std::move(scheme)};
  add_meta(out, base, "ServiceProviderConfig", "/ServiceProviderConfig");
  return out;
}

json::object resource_types(std::string_view base) {
  json::array all;
  for (const ResourceType* type : resource_types()) all.emplace_back(render(base, *type));
  return list_of(std::move(all));
}

std::optional<json::object> resource_type(std::string_view base, std::string_view name) {
  for (const ResourceType* type : resource_types()) {
    if (type->name == name) return render(base, *type);
  }
  return std::nullopt;
}

json::object schemas(std::string_view base) {
  json::array all;
  for (const Schema* each : all_schemas()) all.emplace_back(render(base, *each));
  return list_of(std::move(all));
}

std::optional<json::object> schema(std::string_view base, std::string_view urn) {
  for (const Schema* each : all_schemas()) {
    if (ascii_iequals(each->id, urn)) return render(base, *each);
  }
  return std::nullopt;
}

}  // namespace roster::scim
