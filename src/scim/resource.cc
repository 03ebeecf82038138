#include "scim/resource.h"

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "base/unicode.h"
#include "scim/error.h"
#include "scim/value.h"

namespace roster::scim {
namespace {

std::unexpected<Error> bad_value(const std::string& where, std::string_view what) {
  return fail(Code::kInvalidArgument, where + ": " + std::string(what), kInvalidValue);
}

template <typename Range, typename T>
bool contains(const Range& range, const T& item) {
  return std::ranges::find(range, item) != range.end();
}

std::string_view name_of(const boost::json::key_value_pair& member) {
  return {member.key().data(), member.key().size()};
}

/// Longest excerpt of a client's own text in an error.
std::string excerpt(std::string_view text) {
  constexpr std::size_t kExcerptMax = 64;
  std::string out;
  for (const char c : text.substr(0, kExcerptMax)) {
    out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  }
  // A cut inside a UTF-8 sequence would make the answer ill-formed.
  while (!out.empty() && !is_valid_utf8(out)) out.pop_back();
  return out;
}

bool has_forbidden_characters(const Attribute& attribute, std::string_view text) {
  if (!attribute.multiline) return has_control_characters(text);
  std::string rest(text);
  std::erase_if(rest, [](char c) { return c == '\n' || c == '\r' || c == '\t'; });
  return has_control_characters(rest);
}

Result<json::value> normalize_string(const Attribute& attribute, const json::value& value,
                                     const std::string& where) {
  if (!value.is_string()) return bad_value(where, "must be a string");
  const std::string_view text = json::view(value.get_string());
  if (text.size() > attribute.bytes_max) {
    return bad_value(where, "is longer than " + std::to_string(attribute.bytes_max) + " bytes");
  }
  if (has_forbidden_characters(attribute, text)) return bad_value(where, "has control characters");
  if (attribute.required && text.empty()) return bad_value(where, "must not be empty");
  return value;
}

Result<json::value> normalize_boolean(const json::value& value, const std::string& where) {
  if (value.is_bool()) return value;
  // Entra sends {"op": "Replace", "path": "active", "value": "False"}.
  if (value.is_string()) {
    if (ascii_iequals(json::view(value.get_string()), "true")) return json::value(true);
    if (ascii_iequals(json::view(value.get_string()), "false")) return json::value(false);
  }
  return bad_value(where, "must be true or false");
}

Result<json::value> normalize_complex(const Attribute& attribute, const json::value& value,
                                      const std::string& where) {
  json::object out;
  if (value.is_string()) {
    // "manager": "id", "members": ["id"]: a bare string stands for its value.
    const Attribute* sub = find_attribute(attribute.sub_attributes, "value");
    if (sub == nullptr) return bad_value(where, "must be an object");
    ASSIGN_OR_RETURN(out["value"], normalize_value(*sub, value, where + ".value"));
    return out;
  }
  if (!value.is_object()) return bad_value(where, "must be an object");
  std::vector<const Attribute*> seen;
  for (const auto& member : value.get_object()) {
    const Attribute* sub = find_attribute(attribute.sub_attributes, name_of(member));
    if (sub == nullptr || sub->mutability == Mutability::kReadOnly) continue;
    const std::string sub_where = where + "." + std::string(sub->name);
    if (contains(seen, sub)) {
      return fail(Code::kInvalidArgument, sub_where + ": named twice", kInvalidSyntax);
    }
    seen.push_back(sub);
    ASSIGN_OR_RETURN(json::value normal, normalize_value(*sub, member.value(), sub_where));
    if (!normal.is_null()) out[sub->name] = std::move(normal);
  }
  if (out.empty()) return json::value(nullptr);
  return out;
}

Result<json::value> normalize_list(const Attribute& attribute, const json::value& value,
                                   const std::string& where) {
  const json::array single = value.is_array() ? json::array{} : json::array(1, value);
  const json::array& items = value.is_array() ? value.get_array() : single;
  if (items.size() > kValuesMax) {
    return bad_value(where, "has more than " + std::to_string(kValuesMax) + " values");
  }
  json::array out;
  std::size_t primaries = 0;
  for (std::size_t i = 0; i < items.size(); ++i) {
    ASSIGN_OR_RETURN(json::value element,
                     normalize_element(attribute, items[i], where + "[" + std::to_string(i) + "]"));
    if (element.is_null() || contains(out, element)) continue;
    if (element.is_object() && json::find_bool(element.get_object(), "primary").value_or(false)) {
      ++primaries;
    }
    out.push_back(std::move(element));
  }
  if (primaries > 1) return bad_value(where, "more than one value is primary");
  if (out.empty()) return json::value(nullptr);
  return out;
}

/// One attribute of the body into the part of `out` that keeps it; `target` is the core document or
/// an extension's.
Result<void> take(const Attribute& attribute, const json::value& value, const std::string& where,
                  json::object& target, Resource& out) {
  if (attribute.mutability == Mutability::kReadOnly) return {};
  if (attribute.name == "members") {
    ASSIGN_OR_RETURN(out.members, member_ids(value));
    return {};
  }
  if (attribute.name == "sunkSshKeys") {
    ASSIGN_OR_RETURN(out.ssh_keys, ssh_key_lines(value));
    return {};
  }
  ASSIGN_OR_RETURN(json::value normal, normalize_value(attribute, value, where));
  if (normal.is_null() || attribute.mutability == Mutability::kWriteOnly) return {};
  if (attribute.name == "externalId") {
    const std::string_view id = json::view(normal.get_string());
    if (!id.empty()) out.external_id = std::string(id);
    return {};
  }
  target[attribute.name] = std::move(normal);
  return {};
}

Result<void> take_extension(const Schema& extension, const json::value& value, Resource& out) {
  if (contains(out.extensions, &extension)) {
    return fail(Code::kInvalidArgument, std::string(extension.id) + ": named twice",
                kInvalidSyntax);
  }
  out.extensions.push_back(&extension);
  if (extension.id == kCoreWeaveUserUrn) out.ssh_keys.emplace();
  if (value.is_null()) return {};
  if (!value.is_object()) return bad_value(std::string(extension.id), "must be an object");
  json::object target;
  std::vector<const Attribute*> seen;
  for (const auto& member : value.get_object()) {
    const Attribute* attribute = find_attribute(extension.attributes, name_of(member));
    if (attribute == nullptr) continue;
    const std::string where(attribute->name);
    if (contains(seen, attribute)) {
      return fail(Code::kInvalidArgument, where + ": named twice", kInvalidSyntax);
    }
    seen.push_back(attribute);
    RETURN_IF_ERROR(take(*attribute, member.value(), where, target, out));
  }
  if (!target.empty()) out.doc[extension.id] = std::move(target);
  return {};
}

/// A body that names schemas must name the type's own; what else it names is the client's business
/// (Entra adds a URI of its own to groups).
Result<void> check_schemas(const ResourceType& type, const json::value& value) {
  const json::array* list = value.if_array();
  if (list == nullptr || list->empty()) {
    return bad_value("schemas", "must be a list of schema URIs");
  }
  if (!names_schema(value, type.core->id)) {
    return bad_value("schemas", "must hold " + std::string(type.core->id));
  }
  return {};
}

}  // namespace

bool is_unassigned(const json::value& value) {
  return value.is_null() || (value.is_array() && value.get_array().empty()) ||
         (value.is_object() && value.get_object().empty());
}

Result<json::value> normalize_element(const Attribute& attribute, const json::value& value,
                                      const std::string& where) {
  if (is_unassigned(value)) return json::value(nullptr);
  // Entra's older dialect wraps simple values: [{"$ref": null, "value": "x"}].
  if (attribute.type != Type::kComplex && value.is_object()) {
    const json::value* inner = json::find(value.get_object(), "value");
    if (inner == nullptr || inner->is_object()) return bad_value(where, "must be a simple value");
    return normalize_element(attribute, *inner, where);
  }
  switch (attribute.type) {
    case Type::kComplex:
      return normalize_complex(attribute, value, where);
    case Type::kBoolean:
      return normalize_boolean(value, where);
    case Type::kInteger:
      if (!value.is_int64()) return bad_value(where, "must be an integer");
      return value;
    case Type::kString:
    case Type::kDateTime:
    case Type::kReference:
    case Type::kBinary:
      return normalize_string(attribute, value, where);
  }
  return bad_value(where, "has an unknown type");
}

Result<json::value> normalize_value(const Attribute& attribute, const json::value& value,
                                    const std::string& where) {
  if (is_unassigned(value)) return json::value(nullptr);
  if (attribute.multi_valued) return normalize_list(attribute, value, where);
  if (!value.is_array()) return normalize_element(attribute, value, where);
  // Entra's older dialect sends single values as a list of one.
  if (value.get_array().size() != 1) return bad_value(where, "has a single value");
  return normalize_element(attribute, value.get_array().front(), where);
}

Result<std::vector<std::string>> member_ids(const json::value& value) {
  constexpr std::size_t kIdBytesMax = 256;
  std::vector<std::string> ids;
  if (is_unassigned(value)) return ids;
  const json::array single = value.is_array() ? json::array{} : json::array(1, value);
  const json::array& items = value.is_array() ? value.get_array() : single;
  std::unordered_set<std::string_view> seen;
  ids.reserve(items.size());
  seen.reserve(items.size());
  for (std::size_t i = 0; i < items.size(); ++i) {
    const std::string where = "members[" + std::to_string(i) + "]";
    const json::value* id = &items[i];
    if (id->is_object()) {
      const json::object& member = id->get_object();
      id = nullptr;
      for (const auto& part : member) {
        if (ascii_iequals(name_of(part), "value")) id = &part.value();
      }
    }
    if (id == nullptr || !id->is_string() || id->get_string().empty()) {
      return bad_value(where, "needs \"value\", the identifier of a user or group");
    }
    const std::string_view text = json::view(id->get_string());
    if (text.size() > kIdBytesMax || has_control_characters(text)) {
      return bad_value(where, "is not an identifier: " + excerpt(text));
    }
    if (seen.insert(text).second) ids.emplace_back(text);
  }
  return ids;
}

Result<std::vector<std::string>> ssh_key_lines(const json::value& value) {
  constexpr std::size_t kKeyBytesMax = 16 << 10;
  std::vector<std::string> lines;
  if (is_unassigned(value)) return lines;
  const json::array single = value.is_array() ? json::array{} : json::array(1, value);
  const json::array& items = value.is_array() ? value.get_array() : single;
  if (items.size() > kValuesMax) {
    return bad_value("sunkSshKeys", "has more than " + std::to_string(kValuesMax) + " keys");
  }
  for (std::size_t i = 0; i < items.size(); ++i) {
    const json::value* item = &items[i];
    if (const json::object* wrapped = item->if_object()) item = json::find(*wrapped, "value");
    const std::string where = "sunkSshKeys[" + std::to_string(i) + "]";
    if (item == nullptr || !item->is_string()) return bad_value(where, "must be a string");
    const std::string_view line = json::view(item->get_string());
    if (line.size() > kKeyBytesMax) {
      return bad_value(where, "is longer than " + std::to_string(kKeyBytesMax) + " bytes");
    }
    lines.emplace_back(line);
  }
  return lines;
}

Result<void> check_required(const ResourceType& type, const json::object& doc) {
  for (const Attribute& attribute : type.core->attributes) {
    if (attribute.required && json::find(doc, attribute.name) == nullptr) {
      return bad_value(std::string(attribute.name), "is required");
    }
  }
  return {};
}

Result<Resource> normalize(const ResourceType& type, const json::value& body) {
  if (!body.is_object()) {
    return fail(Code::kInvalidArgument, "the body must be a JSON object", kInvalidSyntax);
  }
  Resource out;
  std::vector<const Attribute*> seen;
  for (const auto& member : body.get_object()) {
    const std::string_view name = name_of(member);
    if (const Schema* extension = find_extension(type, name)) {
      RETURN_IF_ERROR(take_extension(*extension, member.value(), out));
      continue;
    }
    const Attribute* attribute = find_core_attribute(type, name);
    if (attribute == nullptr) continue;
    if (contains(seen, attribute)) {
      return fail(Code::kInvalidArgument, std::string(attribute->name) + ": named twice",
                  kInvalidSyntax);
    }
    seen.push_back(attribute);
    if (attribute->name == "schemas") {
      RETURN_IF_ERROR(check_schemas(type, member.value()));
      continue;
    }
    RETURN_IF_ERROR(take(*attribute, member.value(), std::string(attribute->name), out.doc, out));
  }
  RETURN_IF_ERROR(check_required(type, out.doc));
  return out;
}

json::object replace_document(const ResourceType& type, const json::object& current,
                              const Resource& body) {
  json::object doc = body.doc;
  for (const Schema* extension : type.extensions) {
    if (contains(body.extensions, extension)) continue;
    if (const json::value* kept = json::find(current, extension->id)) doc[extension->id] = *kept;
  }
  if (json::find(doc, "active") == nullptr) {
    if (const json::value* kept = json::find(current, "active")) doc["active"] = *kept;
  }
  return doc;
}

}  // namespace roster::scim
