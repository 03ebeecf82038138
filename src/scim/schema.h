#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace roster::scim {

inline constexpr std::string_view kUserUrn = "urn:ietf:params:scim:schemas:core:2.0:User";
inline constexpr std::string_view kGroupUrn = "urn:ietf:params:scim:schemas:core:2.0:Group";
inline constexpr std::string_view kEnterpriseUserUrn =
    "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
/// POSIX identity and SSH keys of a user, as CoreWeave's SUNK publishes and consumes them.
inline constexpr std::string_view kCoreWeaveUserUrn =
    "urn:coreweave:params:scim:schemas:extension:coreweave:2.0:CoreWeaveUser";
/// POSIX identity of a group, for clients that provision; readers made for nsscache get the same
/// attributes flat.
inline constexpr std::string_view kPosixGroupUrn =
    "urn:roster:params:scim:schemas:extension:posix:2.0:Group";
inline constexpr std::string_view kServiceProviderConfigUrn =
    "urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig";
inline constexpr std::string_view kResourceTypeUrn =
    "urn:ietf:params:scim:schemas:core:2.0:ResourceType";
inline constexpr std::string_view kSchemaUrn = "urn:ietf:params:scim:schemas:core:2.0:Schema";
inline constexpr std::string_view kListResponseUrn =
    "urn:ietf:params:scim:api:messages:2.0:ListResponse";
inline constexpr std::string_view kPatchOpUrn = "urn:ietf:params:scim:api:messages:2.0:PatchOp";
inline constexpr std::string_view kSearchRequestUrn =
    "urn:ietf:params:scim:api:messages:2.0:SearchRequest";
inline constexpr std::string_view kBulkRequestUrn =
    "urn:ietf:params:scim:api:messages:2.0:BulkRequest";
inline constexpr std::string_view kBulkResponseUrn =
    "urn:ietf:params:scim:api:messages:2.0:BulkResponse";
inline constexpr std::string_view kErrorUrn = "urn:ietf:params:scim:api:messages:2.0:Error";

/// RFC 7643 2.3.
enum class Type { kString, kBoolean, kInteger, kDateTime, kReference, kBinary, kComplex };
/// RFC 7643 7, "mutability".
enum class Mutability { kReadOnly, kReadWrite, kImmutable, kWriteOnly };
/// RFC 7643 7, "returned".
enum class Returned { kAlways, kDefault, kRequest, kNever };
/// RFC 7643 7, "uniqueness".
enum class Uniqueness { kNone, kServer, kGlobal };

using Strings = std::span<const std::string_view>;

/// Definition of one attribute (RFC 7643 7). All tables have static storage.
struct Attribute {
  std::string_view name;
  std::string_view description;
  Type type = Type::kString;
  bool multi_valued = false;
  bool required = false;
  bool case_exact = false;
  Mutability mutability = Mutability::kReadWrite;
  Returned returned = Returned::kDefault;
  Uniqueness uniqueness = Uniqueness::kNone;
  std::span<const Attribute> sub_attributes = {};
  Strings canonical_values = {};
  Strings reference_types = {};
  /// Longest value of a string, in bytes.
  std::size_t bytes_max = 4096;
  /// Tab and line ends are content (postal addresses); other control characters never are.
  bool multiline = false;
  /// Answered and filterable, but outside of the standard schema: not shown by /Schemas.
  bool unlisted = false;
};

struct Schema {
  std::string_view id;
  std::string_view name;
  std::string_view description;
  std::span<const Attribute> attributes;
};

/// RFC 7643 6. `core` may hold unlisted attributes.
struct ResourceType {
  std::string_view name;
  std::string_view endpoint;  // "/Users"
  std::string_view description;
  const Schema* core;
  std::span<const Schema* const> extensions;
};

const ResourceType& user_type();
const ResourceType& group_type();
/// User and Group, in the order of /ResourceTypes.
std::span<const ResourceType* const> resource_types();
/// Every schema that /Schemas shows, those of the discovery resources included.
std::span<const Schema* const> all_schemas();

/// An attribute of a resource type as a name in a filter, path or `attributes` parameter says it.
struct AttributeRef {
  const Schema* schema = nullptr;        // the core schema (also for id, meta, ...) or an extension
  const Attribute* attribute = nullptr;  // nothing: the whole schema
  const Attribute* sub = nullptr;

  /// The definition that a value found here has.
  const Attribute& leaf() const { return sub != nullptr ? *sub : *attribute; }
  bool operator==(const AttributeRef&) const = default;
};

/// Finds by name without case; nothing when absent.
const Attribute* find_attribute(std::span<const Attribute> attributes, std::string_view name);
/// Core and common attributes (id, externalId, meta, schemas) of a type.
const Attribute* find_core_attribute(const ResourceType& type, std::string_view name);
const Schema* find_extension(const ResourceType& type, std::string_view urn);

/// Resolves "userName", "name.givenName", "URN:attr.sub" or a schema's URN alone, without case
/// (RFC 7643 2.1, RFC 7644 3.10). Nothing when the type has no such attribute.
std::optional<AttributeRef> resolve(const ResourceType& type, std::string_view name);

/// "name.givenName", or with the URN in front inside an extension.
std::string full_name(const ResourceType& type, const AttributeRef& ref);

/// Whether the text is one or two RFC 7644 3.10 names ("emails.type"), with or without a URN.
bool is_attribute_path(std::string_view text);

}  // namespace roster::scim
