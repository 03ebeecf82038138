#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "scim/filter.h"
#include "scim/schema.h"

namespace roster::scim {

inline constexpr std::size_t kPatchOpsMax = 1000;
/// By how many bytes (about, as text) a document may be longer between two operations than it was
/// in the beginning. What may be stored is the store's to say.
inline constexpr std::size_t kDocGrowthMax = 1 << 20;
/// Comparisons in all filters on members and keys of one PATCH.
inline constexpr std::size_t kListComparisonsMax = 1000;
/// Bytes of values that the operations of one PATCH may compare with filters and listed values.
inline constexpr std::size_t kComparedBytesMax = 64 << 20;

enum class PatchKind { kAdd, kRemove, kReplace };

/// One operation on the document, on one attribute. `value` is normalized for what `path` selects;
/// null is "unassigned" (and "no value" of a remove).
struct DocumentOp {
  PatchKind kind;
  Path path;
  json::value value;
};

/// One operation on a list that is kept as rows: a group's members, a user's SSH keys.
/// As set operations, in the client's order.
struct ListOp {
  enum class Kind {
    kAdd,
    kRemove,       // of `values`; those that are not there are no error
    kRemoveWhere,  // of those that `filter` matches (elements as we answer them)
    kReplace,      // by `values`; empty: remove all
  } kind;
  std::vector<std::string> values = {};  // ids of members; key lines
  std::optional<Filter> filter = {};     // kRemoveWhere
};

/// A PATCH body, split by where each part is kept. Parts do not depend on each other, so that only
/// the order within each matters.
struct Patch {
  std::vector<DocumentOp> document;
  std::vector<ListOp> members;
  std::vector<ListOp> keys;
  /// outer nothing: not touched; inner nothing: removed.
  std::optional<std::optional<std::string>> external_id;
};

/// RFC 7644 3.5.2, with both of Entra's dialects and Okta's: operations without case; "True" and
/// "False"; values wrapped in a list; keys of a path-less value that are paths themselves
/// ("name.givenName", "URN:attr", "emails[type eq \"work\"].value"); removal of listed values
/// (`"path": "members", "value": [...]`). A path-less value's unknown and readOnly names (`id`,
/// `meta`) are ignored, as are paths below unknown URNs.
///
/// kInvalidArgument: invalidSyntax for a body that is no PatchOp message, invalidPath,
/// invalidFilter, invalidValue, mutability for a readOnly path, noTarget for a remove without path;
/// kTooLarge (tooMany) beyond kPatchOpsMax or kListComparisonsMax.
Result<Patch> parse_patch(const ResourceType& type, const json::value& body);

/// `doc` after all operations in order. The caller's document is unchanged whatever happens. Listed
/// values are compared by the schema (caseExact), and an absent boolean in them counts as false.
/// kInvalidArgument: noTarget when a value path selects nothing (except Entra's create-on-missing:
/// `add` with an `eq` filter, and `replace` of a sub-attribute selected by a standard `type` or by
/// `primary`), mutability for the removal of a required attribute, invalidValue; kTooLarge beyond
/// kDocGrowthMax or kComparedBytesMax.
/// A remove that finds nothing is done already.
Result<json::object> apply(const ResourceType& type, json::object doc,
                           std::span<const DocumentOp> ops);

}  // namespace roster::scim
