#include "scim/patch.h"

#include <algorithm>
#include <utility>

#include "base/unicode.h"
#include "scim/error.h"
#include "scim/resource.h"
#include "scim/value.h"

namespace roster::scim {
namespace {

std::string_view name_of(const boost::json::key_value_pair& member) {
  return {member.key().data(), member.key().size()};
}

std::unexpected<Error> bad(std::string_view keyword, std::string message) {
  return fail(Code::kInvalidArgument, std::move(message), keyword);
}

// ---- parsing ----

std::size_t comparisons(const FilterNode& node) {
  std::size_t count = node.kind == FilterNode::Kind::kComparison ? 1 : 0;
  for (const FilterNode& child : node.children) count += comparisons(child);
  return count;
}

/// Values selected by a filter that is only `value eq "x"`, or several of them joined by "or".
bool only_values(const FilterNode& node, std::vector<std::string>& out) {
  if (node.kind == FilterNode::Kind::kOr) {
    return std::ranges::all_of(node.children,
                               [&out](const FilterNode& child) { return only_values(child, out); });
  }
  if (node.kind != FilterNode::Kind::kComparison || !node.comparison.path) return false;
  const AttributeRef& path = *node.comparison.path;
  const bool is_value = path.sub == nullptr || path.sub->name == "value";
  if (!is_value || node.comparison.op != Op::kEq || node.comparison.literal.null) return false;
  out.push_back(node.comparison.literal.text);
  return true;
}

Result<std::vector<std::string>> list_values(const Attribute& attribute, const json::value& value) {
  return attribute.name == "members" ? member_ids(value) : ssh_key_lines(value);
}

/// An operation on members or SSH keys.
Result<void> take_list(PatchKind kind, const Path& path, const json::value* value,
                       std::vector<ListOp>& out) {
  const Attribute& attribute = *path.ref.attribute;
  const std::string name(attribute.name);
  if (path.ref.sub != nullptr) {
    return bad(kMutabilityForbids, name + ": values are added and removed whole");
  }
  if (path.filter) {
    if (kind != PatchKind::kRemove) {
      return bad(kMutabilityForbids, name + ": values are added and removed whole");
    }
    ListOp op{.kind = ListOp::Kind::kRemove};
    if (!only_values(path.filter->root(), op.values)) {
      op = {.kind = ListOp::Kind::kRemoveWhere, .filter = path.filter};
    }
    out.push_back(std::move(op));
    return {};
  }
  if (kind == PatchKind::kRemove && value == nullptr) {
    out.push_back({.kind = ListOp::Kind::kReplace});
    return {};
  }
  if (kind == PatchKind::kRemove && value->is_null()) return {};  // nothing listed
  if (value == nullptr) return bad(kInvalidValue, name + ": the operation needs a value");
  ASSIGN_OR_RETURN(auto values, list_values(attribute, *value));
  const ListOp::Kind list_kind = kind == PatchKind::kAdd      ? ListOp::Kind::kAdd
                                 : kind == PatchKind::kRemove ? ListOp::Kind::kRemove
                                                              : ListOp::Kind::kReplace;
  // An empty list adds and removes nothing; it must never be taken for "all".
  if (values.empty() && list_kind != ListOp::Kind::kReplace) return {};
  out.push_back({.kind = list_kind, .values = std::move(values)});
  return {};
}

/// How many comparisons the filters on rows make with each of them.
std::size_t comparisons(const std::vector<ListOp>& ops) {
  std::size_t count = 0;
  for (const ListOp& op : ops) count += op.filter ? comparisons(op.filter->root()) : 0;
  return count;
}

Result<void> take_external_id(PatchKind kind, const Path& path, const json::value* value,
                              Patch& out) {
  json::value normal;
  if (kind != PatchKind::kRemove && value != nullptr) {
    ASSIGN_OR_RETURN(normal, normalize_value(*path.ref.attribute, *value, "externalId"));
  }
  if (normal.is_string() && !normal.get_string().empty()) {
    out.external_id.emplace(std::string(json::view(normal.get_string())));
  } else if (kind != PatchKind::kAdd) {
    out.external_id.emplace(std::nullopt);
  }
  return {};
}

/// The value in the form that `path` selects.
Result<json::value> normalize_for(const ResourceType& type, PatchKind kind, const Path& path,
                                  const json::value* value) {
  if (value == nullptr) return json::value(nullptr);
  const std::string where = full_name(type, path.ref);
  if (path.ref.sub != nullptr) return normalize_value(*path.ref.sub, *value, where);
  if (path.filter && kind != PatchKind::kRemove) {
    if (!value->is_array()) return normalize_element(*path.ref.attribute, *value, where);
    if (value->get_array().size() != 1) {
      return bad(kInvalidValue, where + ": a filtered value is replaced by one value");
    }
    return normalize_element(*path.ref.attribute, value->get_array().front(), where);
  }
  return normalize_value(*path.ref.attribute, *value, where);
}

Result<void> take_attribute(const ResourceType& type, PatchKind kind, Path path,
                            const json::value* value, Patch& out) {
  const Attribute& attribute = *path.ref.attribute;
  if (attribute.name == "members") return take_list(kind, path, value, out.members);
  if (attribute.name == "sunkSshKeys") return take_list(kind, path, value, out.keys);
  if (attribute.name == "externalId") return take_external_id(kind, path, value, out);
  if (attribute.mutability == Mutability::kWriteOnly) return {};  // password: discarded
  if (value == nullptr && kind != PatchKind::kRemove) {
    return bad(kInvalidValue, std::string(attribute.name) + ": the operation needs a value");
  }
  ASSIGN_OR_RETURN(json::value normal, normalize_for(type, kind, path, value));
  // What lists nothing (`[]`, `{}`, only unknown parts) removes nothing, unlike a missing value.
  const bool whole = !path.filter && path.ref.sub == nullptr;
  const bool empty_list =
      value != nullptr && normal.is_null() && (value->is_array() || (whole && !value->is_null()));
  if (kind == PatchKind::kRemove && attribute.multi_valued && empty_list) return {};
  out.document.push_back({.kind = kind, .path = std::move(path), .value = std::move(normal)});
  return {};
}

bool is_read_only(const AttributeRef& ref) {
  return ref.attribute->mutability == Mutability::kReadOnly ||
         (ref.sub != nullptr && ref.sub->mutability == Mutability::kReadOnly);
}

/// {"attr": value, ...} without path: one operation per name. `schema` is set inside an extension.
Result<void> take_pathless(const ResourceType& type, PatchKind kind, const json::value& value,
                           const Schema* schema, Patch& out) {
  if (!value.is_object()) {
    return bad(kInvalidValue, "an operation without path needs an object as its value");
  }
  for (const auto& member : value.get_object()) {
    std::string name(name_of(member));
    if (schema != nullptr) name.insert(0, std::string(schema->id) + ":");
    const Result<std::optional<Path>> path = parse_path(type, name);
    // Names that we do not have are ignored here, as they are in POST and PUT.
    if (!path && path.error().keyword == kInvalidPath) continue;
    if (!path) return std::unexpected(path.error());
    if (!*path) continue;
    const AttributeRef& ref = (*path)->ref;
    if (ref.attribute == nullptr) {
      if (member.value().is_null()) continue;
      if (schema != nullptr) continue;
      RETURN_IF_ERROR(take_pathless(type, kind, member.value(), ref.schema, out));
      continue;
    }
    if (is_read_only(ref)) continue;
    RETURN_IF_ERROR(take_attribute(type, kind, **path, &member.value(), out));
  }
  return {};
}

/// `remove` of a whole extension: of each attribute in it that can be removed.
Result<void> remove_extension(const ResourceType& type, const Schema& schema, Patch& out) {
  for (const Attribute& attribute : schema.attributes) {
    if (attribute.mutability == Mutability::kReadOnly) continue;
    Path path{.ref = {.schema = &schema, .attribute = &attribute}};
    RETURN_IF_ERROR(take_attribute(type, PatchKind::kRemove, std::move(path), nullptr, out));
  }
  return {};
}

Result<PatchKind> parse_kind(const json::object& operation) {
  const json::value* op = find_without_case(operation, "op");
  if (op != nullptr && op->is_string()) {
    const std::string_view text = json::view(op->get_string());
    if (ascii_iequals(text, "add")) return PatchKind::kAdd;
    if (ascii_iequals(text, "remove")) return PatchKind::kRemove;
    if (ascii_iequals(text, "replace")) return PatchKind::kReplace;
  }
  return bad(kInvalidSyntax, "\"op\" must be \"add\", \"remove\" or \"replace\"");
}

Result<void> take_operation(const ResourceType& type, const json::value& item, Patch& out) {
  if (!item.is_object()) return bad(kInvalidSyntax, "an operation must be an object");
  const json::object& operation = item.get_object();
  ASSIGN_OR_RETURN(const PatchKind kind, parse_kind(operation));
  const json::value* value = find_without_case(operation, "value");
  const json::value* path_value = find_without_case(operation, "path");
  if (path_value != nullptr && !path_value->is_null() && !path_value->is_string()) {
    return bad(kInvalidPath, "\"path\" must be a string");
  }
  const bool has_path =
      path_value != nullptr && path_value->is_string() && !path_value->get_string().empty();
  if (!has_path) {
    if (kind == PatchKind::kRemove) return bad(kNoTarget, "a remove operation needs a path");
    if (value == nullptr) return bad(kInvalidValue, "the operation needs a value");
    return take_pathless(type, kind, *value, nullptr, out);
  }
  ASSIGN_OR_RETURN(std::optional<Path> path,
                   parse_path(type, json::view(path_value->get_string())));
  if (!path) return {};
  if (path->ref.attribute == nullptr) {
    if (kind == PatchKind::kRemove) return remove_extension(type, *path->ref.schema, out);
    if (value == nullptr) return bad(kInvalidValue, "the operation needs a value");
    return take_pathless(type, kind, *value, path->ref.schema, out);
  }
  if (is_read_only(path->ref)) {
    return bad(kMutabilityForbids, full_name(type, path->ref) + " is read-only");
  }
  return take_attribute(type, kind, std::move(*path), value, out);
}

// ---- applying ----

/// By the schema: text in any case unless the attribute is caseExact.
bool same_value(const Attribute& attribute, const json::value& a, const json::value& b) {
  if (attribute.case_exact || !a.is_string() || !b.is_string()) return a == b;
  const std::string_view x = json::view(a.get_string());
  const std::string_view y = json::view(b.get_string());
  return x == y || text_key(attribute, x) == text_key(attribute, y);
}

bool same_part(const Attribute& attribute, std::string_view name, const json::object& a,
               const json::object& b) {
  const json::value* x = json::find(a, name);
  const json::value* y = json::find(b, name);
  if (x == nullptr || y == nullptr) return x == y;
  const Attribute* sub = find_attribute(attribute.sub_attributes, name);
  return sub != nullptr ? same_value(*sub, *x, *y) : *x == *y;
}

/// Whether `element` is one that `listed` means: the same in every part that the client named. A
/// boolean that is not there is false.
bool is_listed(const Attribute& attribute, const json::value& element, const json::value& listed) {
  if (!element.is_object() || !listed.is_object()) return same_value(attribute, element, listed);
  return std::ranges::all_of(listed.get_object(), [&attribute, &element](const auto& part) {
    const json::object& own = element.get_object();
    if (part.value().is_bool()) {
      return json::find_bool(own, name_of(part)).value_or(false) == part.value().get_bool();
    }
    const Attribute* sub = find_attribute(attribute.sub_attributes, name_of(part));
    const json::value* value = json::find(own, name_of(part));
    return sub != nullptr && value != nullptr && same_value(*sub, *value, part.value());
  });
}

/// Two elements that mean the same value: the same in `value` and `type` (RFC 7643 2.4: the pair
/// should not repeat), or in all parts where there is no `value`.
bool same_element(const Attribute& attribute, const json::value& a, const json::value& b) {
  const bool pair =
      a.is_object() && b.is_object() && json::find(a.get_object(), "value") != nullptr;
  if (!pair) return is_listed(attribute, a, b) && is_listed(attribute, b, a);
  return same_part(attribute, "value", a.get_object(), b.get_object()) &&
         same_part(attribute, "type", a.get_object(), b.get_object());
}

/// The element of `list` that `wanted` means: an equal one rather than one that differs in case.
json::value* find_same(json::array& list, const Attribute& attribute, const json::value& wanted) {
  json::value* found = nullptr;
  for (json::value& element : list) {
    if (element == wanted) return &element;
    if (found == nullptr && same_element(attribute, element, wanted)) found = &element;
  }
  return found;
}

bool is_primary(const json::value& element) {
  return element.is_object() && json::find_bool(element.get_object(), "primary").value_or(false);
}

/// RFC 7644 3.5.2: setting a new primary value clears the old one. `changed` marks the new values.
Result<void> settle_primary(json::array& list, const std::vector<bool>& changed,
                            const std::string& where) {
  std::size_t primaries = 0;
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (changed[i] && is_primary(list[i])) ++primaries;
  }
  if (primaries > 1) return bad(kInvalidValue, where + ": more than one value is primary");
  if (primaries == 0) return {};
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (!changed[i] && is_primary(list[i])) list[i].get_object().erase("primary");
  }
  return {};
}

void merge(json::object& target, const json::object& from) {
  for (const auto& member : from) target[member.key()] = member.value();
}

/// About the bytes of a value as text, without writing it; none for null.
std::size_t weight(const json::value* value) {
  constexpr std::size_t kScalarBytes = 8;  // a number or boolean; quotes, colon and comma
  if (value == nullptr) return 0;
  std::size_t bytes = kScalarBytes;
  if (value->is_string()) {
    bytes += value->get_string().size();
  } else if (value->is_array()) {
    for (const json::value& item : value->get_array()) bytes += weight(&item);
  } else if (value->is_object()) {
    for (const auto& member : value->get_object()) {
      bytes += member.key().size() + weight(&member.value());
    }
  }
  return bytes;
}

/// Bytes that an operation compares at most: what a filter looks at, and each value that it lists
/// with each that is there, or was listed before it.
/// `current`: null when the attribute has no value.
std::size_t compared_bytes(const DocumentOp& op, const json::value* current) {
  const std::size_t current_bytes = weight(current);
  std::size_t bytes = 0;
  if (op.path.filter) bytes += comparisons(op.path.filter->root()) * current_bytes;
  if (op.kind != PatchKind::kReplace && op.value.is_array()) {
    const std::size_t listed = op.value.get_array().size();
    const bool has_list = current != nullptr && current->is_array();
    const std::size_t there = has_list ? current->get_array().size() : 0;
    bytes += listed * current_bytes + (listed + there) * weight(&op.value);
  }
  return bytes;
}

/// One document being changed, in place.
class Applier {
 public:
  Applier(const ResourceType& type, json::object& doc) : type_(type), doc_(doc) {}

  Result<void> apply(const DocumentOp& op) {
    const Attribute& attribute = *op.path.ref.attribute;
    const bool extension = op.path.ref.schema != type_.core;
    if (extension) {
      json::value& inner = doc_[op.path.ref.schema->id];
      if (!inner.is_object()) inner.emplace_object();
    }
    json::object& container = extension ? doc_[op.path.ref.schema->id].get_object() : doc_;
    const json::value* current = json::find(container, attribute.name);
    compared_ += compared_bytes(op, current);
    if (compared_ > kComparedBytesMax) {
      return fail(Code::kTooLarge, "the operations compare more than " +
                                       std::to_string(kComparedBytesMax) + " bytes of values");
    }
    removed_ += weight(current);
    RETURN_IF_ERROR(apply_to(op, attribute, container));
    added_ += weight(json::find(container, attribute.name));
    if (added_ > removed_ + kDocGrowthMax) {
      return fail(Code::kTooLarge, "the operations add more than " + std::to_string(kDocGrowthMax) +
                                       " bytes to the resource");
    }
    if (extension && container.empty()) doc_.erase(op.path.ref.schema->id);
    return {};
  }

 private:
  Result<void> apply_to(const DocumentOp& op, const Attribute& attribute, json::object& container) {
    if (attribute.multi_valued && (op.path.filter || op.path.ref.sub != nullptr)) {
      return change_elements(op, attribute, container);
    }
    if (op.path.filter) return change_filtered_single(op, attribute, container);
    if (op.path.ref.sub != nullptr) return change_sub(op, attribute, container);
    return change_whole(op, attribute, container);
  }

  Result<void> erase(const Attribute& attribute, json::object& container) {
    if (attribute.required) {
      return bad(kMutabilityForbids, std::string(attribute.name) + " is required");
    }
    container.erase(attribute.name);
    return {};
  }

  Result<void> change_whole(const DocumentOp& op, const Attribute& attribute,
                            json::object& container) {
    if (op.kind == PatchKind::kRemove) {
      if (attribute.multi_valued && !op.value.is_null()) {
        return remove_listed(op.value.get_array(), attribute, container);
      }
      return erase(attribute, container);
    }
    if (op.value.is_null()) {
      return op.kind == PatchKind::kAdd ? Result<void>() : erase(attribute, container);
    }
    if (attribute.multi_valued && op.kind == PatchKind::kAdd) {
      return append(op.value.get_array(), attribute, container);
    }
    json::value& target = container[attribute.name];
    if (attribute.type == Type::kComplex && !attribute.multi_valued && target.is_object()) {
      merge(target.get_object(), op.value.get_object());
    } else {
      target = op.value;
    }
    return {};
  }

  Result<void> remove_listed(const json::array& listed, const Attribute& attribute,
                             json::object& container) {
    json::value* current = container.if_contains(attribute.name);
    if (current == nullptr) return {};
    json::array& list = current->get_array();
    const auto is_gone = [&listed, &attribute](const json::value& element) {
      return std::ranges::any_of(listed, [&attribute, &element](const json::value& l) {
        return is_listed(attribute, element, l);
      });
    };
    list.erase(std::remove_if(list.begin(), list.end(), is_gone), list.end());
    return check_list(list, attribute, container);
  }

  Result<void> append(const json::array& added, const Attribute& attribute,
                      json::object& container) {
    json::array& list = list_in(attribute, container);
    std::vector<bool> changed(list.size(), false);
    for (const json::value& element : added) {
      json::value* same = find_same(list, attribute, element);
      if (same == nullptr) {
        list.push_back(element);
        changed.push_back(true);
      } else {
        if (same->is_object()) merge(same->get_object(), element.get_object());
        changed[static_cast<std::size_t>(same - list.begin())] = true;
      }
    }
    RETURN_IF_ERROR(settle_primary(list, changed, std::string(attribute.name)));
    return check_list(list, attribute, container);
  }

  /// name.givenName, manager.value
  Result<void> change_sub(const DocumentOp& op, const Attribute& attribute,
                          json::object& container) {
    if (op.kind == PatchKind::kRemove || op.value.is_null()) {
      json::value* current = container.if_contains(attribute.name);
      if (current == nullptr || (op.kind == PatchKind::kAdd)) return {};
      current->get_object().erase(op.path.ref.sub->name);
      if (current->get_object().empty()) container.erase(attribute.name);
      return {};
    }
    json::value& target = container[attribute.name];
    if (!target.is_object()) target.emplace_object();
    target.get_object()[op.path.ref.sub->name] = op.value;
    return {};
  }

  /// name[familyName eq "x"]: a complex attribute taken as a list of at most one.
  Result<void> change_filtered_single(const DocumentOp& op, const Attribute& attribute,
                                      json::object& container) {
    json::value* current = container.if_contains(attribute.name);
    if (current == nullptr || !op.path.filter->matches_element(*current)) {
      if (op.kind == PatchKind::kRemove) return {};
      return bad(kNoTarget, std::string(attribute.name) + ": the filter matches no value");
    }
    return op.path.ref.sub != nullptr ? change_sub(op, attribute, container)
                                      : change_whole(op, attribute, container);
  }

  /// emails[type eq "work"], emails[...].value, emails.value
  Result<void> change_elements(const DocumentOp& op, const Attribute& attribute,
                               json::object& container) {
    json::array& list = list_in(attribute, container);
    std::vector<bool> changed(list.size(), false);
    bool any = false;
    for (std::size_t i = 0; i < list.size(); ++i) {
      if (op.path.filter && !op.path.filter->matches_element(list[i])) continue;
      change_element(op, list[i]);
      changed[i] = any = true;
    }
    if (!any && op.kind != PatchKind::kRemove) {
      ASSIGN_OR_RETURN(json::value made, make_missing(op, attribute));
      if (!made.is_null()) {
        list.push_back(std::move(made));
        changed.push_back(true);
      }
    }
    RETURN_IF_ERROR(settle_primary(list, changed, std::string(attribute.name)));
    list.erase(std::remove_if(list.begin(), list.end(), is_unassigned), list.end());
    return check_list(list, attribute, container);
  }

  static void change_element(const DocumentOp& op, json::value& element) {
    const bool removes =
        op.kind == PatchKind::kRemove || (op.kind == PatchKind::kReplace && op.value.is_null());
    if (op.path.ref.sub == nullptr) {
      if (removes) {
        element = nullptr;
      } else if (op.kind == PatchKind::kAdd && element.is_object() && op.value.is_object()) {
        merge(element.get_object(), op.value.get_object());
      } else if (!op.value.is_null()) {
        element = op.value;
      }
    } else if (removes) {
      element.get_object().erase(op.path.ref.sub->name);
    } else if (!op.value.is_null()) {
      element.get_object()[op.path.ref.sub->name] = op.value;
    }
  }

  /// Entra selects a value by its type and expects it to be made when there is none.
  Result<json::value> make_missing(const DocumentOp& op, const Attribute& attribute) {
    if (op.value.is_null()) return json::value(nullptr);
    json::object made;
    bool possible = attribute.type == Type::kComplex;
    bool standard = op.path.ref.sub != nullptr;
    if (op.path.filter) {
      for (const FilterNode* part : conjunction(op.path.filter->root())) {
        possible = possible && take_condition(*part, made, standard);
      }
    }
    if (!possible || (op.kind == PatchKind::kReplace && !standard)) {
      return bad(kNoTarget, std::string(attribute.name) + ": the filter matches no value");
    }
    if (op.path.ref.sub != nullptr) {
      made[op.path.ref.sub->name] = op.value;
    } else if (op.value.is_object()) {
      merge(made, op.value.get_object());
    }
    return made;
  }

  static std::vector<const FilterNode*> conjunction(const FilterNode& root) {
    if (root.kind != FilterNode::Kind::kAnd) return {&root};
    std::vector<const FilterNode*> parts;
    for (const FilterNode& child : root.children) parts.push_back(&child);
    return parts;
  }

  /// `sub eq literal` becomes a part of the new element. `standard` stays true while only `primary`
  /// and types that the schema suggests select.
  static bool take_condition(const FilterNode& node, json::object& made, bool& standard) {
    if (node.kind != FilterNode::Kind::kComparison || !node.comparison.path) return false;
    const Comparison& comparison = node.comparison;
    const Attribute* sub = comparison.path->sub;
    if (sub == nullptr || comparison.op != Op::kEq || comparison.literal.null ||
        sub->mutability == Mutability::kReadOnly) {
      return false;
    }
    if (sub->type == Type::kBoolean) {
      made[sub->name] = comparison.literal.boolean;
      standard = standard && comparison.literal.boolean;
      return true;
    }
    const std::string& text = comparison.literal.text;
    if (text.size() > sub->bytes_max || has_control_characters(text)) return false;
    made[sub->name] = text;
    standard = standard && sub->name == "type" &&
               std::ranges::any_of(sub->canonical_values, [&text](std::string_view canonical) {
                 return ascii_iequals(canonical, text);
               });
    return true;
  }

  static json::array& list_in(const Attribute& attribute, json::object& container) {
    json::value& value = container[attribute.name];
    return value.is_array() ? value.get_array() : value.emplace_array();
  }

  /// After a change: not too long, and not there at all when empty.
  Result<void> check_list(const json::array& list, const Attribute& attribute,
                          json::object& container) {
    if (list.size() > kValuesMax) {
      return bad(kInvalidValue, std::string(attribute.name) + ": has more than " +
                                    std::to_string(kValuesMax) + " values");
    }
    return list.empty() ? erase(attribute, container) : Result<void>();
  }

  const ResourceType& type_;
  json::object& doc_;
  std::size_t added_ = 0;
  std::size_t removed_ = 0;
  std::size_t compared_ = 0;
};

}  // namespace

Result<Patch> parse_patch(const ResourceType& type, const json::value& body) {
  if (!body.is_object()) return bad(kInvalidSyntax, "the body must be a JSON object");
  const json::object& message = body.get_object();
  if (const json::value* schemas = find_without_case(message, "schemas")) {
    if (!names_schema(*schemas, kPatchOpUrn)) {
      return bad(kInvalidSyntax, "schemas: must hold " + std::string(kPatchOpUrn));
    }
  }
  const json::value* operations = find_without_case(message, "Operations");
  if (operations == nullptr || !operations->is_array() || operations->get_array().empty()) {
    return bad(kInvalidSyntax, "Operations: must be a list of at least one operation");
  }
  const json::array& items = operations->get_array();
  if (items.size() > kPatchOpsMax) {
    return fail(Code::kTooLarge,
                "Operations: more than " + std::to_string(kPatchOpsMax) + " operations", kTooMany);
  }
  Patch out;
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (Result<void> taken = take_operation(type, items[i], out); !taken) {
      return fail_in("Operations[" + std::to_string(i) + "]", std::move(taken).error());
    }
  }
  if (comparisons(out.members) + comparisons(out.keys) > kListComparisonsMax) {
    return fail(Code::kTooLarge,
                "Operations: filters on members or keys with more than " +
                    std::to_string(kListComparisonsMax) + " comparisons in all",
                kTooMany);
  }
  return out;
}

Result<json::object> apply(const ResourceType& type, json::object doc,
                           std::span<const DocumentOp> ops) {
  Applier applier(type, doc);
  for (const DocumentOp& op : ops) RETURN_IF_ERROR(applier.apply(op));
  RETURN_IF_ERROR(check_required(type, doc));
  return doc;
}

}  // namespace roster::scim
