#include <set>

#include "admin/api.h"

namespace roster::admin {
namespace {

json::object schema_of(std::span<const BodyField> fields);

json::object schema_of(const BodyField& field) {
  const bool list = field.type == "array" || field.type == "integers" || field.type == "objects";
  json::object schema{{"type", list ? json::string("array") : json::string(field.type)},
                      {"description", json::string(field.meaning)}};
  if (field.type == "array") schema["items"] = json::object{{"type", "string"}};
  if (field.type == "integers") schema["items"] = json::object{{"type", "integer"}};
  if (field.type == "objects") schema["items"] = schema_of(field.members);
  return schema;
}

json::object schema_of(std::span<const BodyField> fields) {
  json::object properties;
  json::array required;
  for (const BodyField& field : fields) {
    properties[field.name] = schema_of(field);
    if (field.required) required.push_back(json::string(field.name));
  }
  json::object schema{{"type", "object"}, {"additionalProperties", false}};
  schema["properties"] = std::move(properties);
  if (!required.empty()) schema["required"] = std::move(required);
  return schema;
}

json::array parameters_of(const Operation& operation) {
  json::array out;
  std::string_view rest = operation.path;
  while (true) {
    const std::size_t open = rest.find('{');
    if (open == std::string_view::npos) break;
    const std::size_t close = rest.find('}', open);
    out.push_back(json::object{{"name", json::string(rest.substr(open + 1, close - open - 1))},
                               {"in", "path"},
                               {"required", true},
                               {"schema", json::object{{"type", "string"}}}});
    rest = rest.substr(close + 1);
  }
  for (const BodyField& field : operation.query) {
    out.push_back(json::object{{"name", json::string(field.name)},
                               {"in", "query"},
                               {"required", field.required},
                               {"description", json::string(field.meaning)},
                               {"schema", json::object{{"type", json::string(field.type)}}}});
  }
  return out;
}

json::object describe_operation(const Operation& operation) {
  json::object out{{"operationId", json::string(operation.id)},
                   {"summary", json::string(operation.summary)},
                   {"parameters", parameters_of(operation)}};
  if (!operation.body.empty()) {
    out["requestBody"] = json::object{
        {"required", true},
        {"content",
         json::object{{"application/json", json::object{{"schema", schema_of(operation.body)}}}}}};
  }
  out["responses"] = json::object{
      {"2XX", json::object{{"description", "Done; the body is the new or present state."},
                           {"content", json::object{{"application/json", json::object{}}}}}},
      {"4XX",
       json::object{{"description", "Refused; RFC 9457 problem details say why."},
                    {"content", json::object{{"application/problem+json", json::object{}}}}}},
      {"503", json::object{{"description", "Cannot now; try again after Retry-After."}}}};
  return out;
}

}  // namespace

json::object openapi(std::span<const Operation> operations, std::string_view version) {
  json::object paths;
  for (const Operation& operation : operations) {
    json::value& item = paths[operation.path];
    if (item.is_null()) item = json::object{};
    std::string method(operation.method);
    for (char& c : method) c = static_cast<char>(c - 'A' + 'a');
    item.get_object()[method] = describe_operation(operation);
  }
  return {{"openapi", "3.1.0"},
          {"info", json::object{{"title", "Roster admin API"}, {"version", json::string(version)}}},
          {"components",
           json::object{
               {"securitySchemes",
                json::object{{"token", json::object{{"type", "http"}, {"scheme", "bearer"}}}}}}},
          {"security", json::array{json::object{{"token", json::array{}}}}},
          {"paths", std::move(paths)}};
}

}  // namespace roster::admin
