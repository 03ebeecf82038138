#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "scim/schema.h"

namespace roster::scim {

/// Values in one multi-valued attribute, SSH keys included. Members of groups are bounded by the
/// body's size only.
inline constexpr std::size_t kValuesMax = 100;

/// What a client's body says about a resource (POST, PUT), split by where each part is kept.
struct Resource {
  /// Writable attributes in schema case, normalized: no id, meta, groups, members, externalId, SSH
  /// keys, password or `schemas`; extensions under their URN; nothing unassigned or empty.
  json::object doc;
  std::optional<std::string> external_id;
  /// Ids of members, each once, in order. Nothing: the body does not name `members`; null and []
  /// are an empty list.
  std::optional<std::vector<std::string>> members;
  /// Nothing: the body does not name the CoreWeave extension. Inside it, absent keys are no keys.
  std::optional<std::vector<std::string>> ssh_keys;
  /// Extensions that the body names, also when null or empty.
  std::vector<const Schema*> extensions;
};

/// Reads a body: names without case, unknown attributes and URNs dropped, readOnly ignored, null
/// and
/// [] unassigned (RFC 7643 2.5), "True" and "False" for booleans (Entra), a bare string for a
/// complex value (`manager`), control characters refused. kInvalidArgument (invalidSyntax) when not
/// an object or two names differ by case only; (invalidValue) naming the attribute for a wrong
/// type, a limit, a second primary value, or a missing required attribute.
Result<Resource> normalize(const ResourceType& type, const json::value& body);

/// RFC 7644 3.5.1, with the parts that a PUT which does not mention them leaves alone: extensions
/// whose URN is not in the body (a client that knows nothing of an extension must not clear it) and
/// `active` (an omission must not let a locked person in again).
json::object replace_document(const ResourceType& type, const json::object& current,
                              const Resource& body);

/// One value (or list of values) for an attribute, as normalize does it. JSON null when unassigned.
/// `where` names the attribute in errors.
Result<json::value> normalize_value(const Attribute& attribute, const json::value& value,
                                    const std::string& where);
/// The same for one element of a multi-valued attribute.
Result<json::value> normalize_element(const Attribute& attribute, const json::value& value,
                                      const std::string& where);

/// Ids in a value for `members`: a list or one of {"value": id, ...} or bare ids, each id once.
Result<std::vector<std::string>> member_ids(const json::value& value);

/// Strings in a value for `sunkSshKeys`: unparsed but bounded in number and size.
Result<std::vector<std::string>> ssh_key_lines(const json::value& value);

/// null, or an empty array or object.
bool is_unassigned(const json::value& value);

/// kInvalidArgument (invalidValue) naming the first required attribute that is not in `doc`.
Result<void> check_required(const ResourceType& type, const json::object& doc);

}  // namespace roster::scim
