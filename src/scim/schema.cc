#include "scim/schema.h"

#include <algorithm>
#include <array>

#include "base/unicode.h"

namespace roster::scim {
namespace {

using enum Type;
using enum Mutability;
using enum Returned;
using enum Uniqueness;

constexpr std::array<std::string_view, 3> kPlaceTypes = {"work", "home", "other"};
constexpr std::array<std::string_view, 6> kPhoneTypes = {"work", "home",  "mobile",
                                                         "fax",  "pager", "other"};
constexpr std::array<std::string_view, 8> kImTypes = {"aim", "gtalk", "icq", "xmpp",
                                                      "msn", "skype", "qq",  "yahoo"};
constexpr std::array<std::string_view, 2> kPhotoTypes = {"photo", "thumbnail"};
constexpr std::array<std::string_view, 2> kGroupKinds = {"direct", "indirect"};
constexpr std::array<std::string_view, 2> kMemberTypes = {"User", "Group"};
constexpr std::array<std::string_view, 1> kExternal = {"external"};
constexpr std::array<std::string_view, 1> kUri = {"uri"};
constexpr std::array<std::string_view, 1> kUserReference = {"User"};
constexpr std::array<std::string_view, 2> kUserGroupReference = {"User", "Group"};

constexpr std::size_t kNameBytes = 256;
constexpr std::size_t kPictureBytes = 128 << 10;

// RFC 7643 2.4: the sub-attributes that multi-valued attributes share.
constexpr Attribute kDisplay = {.name = "display", .description = "Name for people to read."};
constexpr Attribute kPrimary = {.name = "primary",
                                .description = "Whether this is the preferred value; at most one.",
                                .type = kBoolean};

constexpr Attribute kind(Strings canonical) {
  return {.name = "type", .description = "Label of the value.", .canonical_values = canonical};
}

constexpr std::array kEmailAttributes = {
    Attribute{.name = "value", .description = "E-mail address."}, kDisplay, kind(kPlaceTypes),
    kPrimary};
constexpr std::array kPhoneAttributes = {
    Attribute{.name = "value", .description = "Telephone number."}, kDisplay, kind(kPhoneTypes),
    kPrimary};
constexpr std::array kImAttributes = {
    Attribute{.name = "value", .description = "Instant messaging address."}, kDisplay,
    kind(kImTypes), kPrimary};
constexpr std::array kPhotoAttributes = {Attribute{.name = "value",
                                                   .description = "URI of an image.",
                                                   .type = kReference,
                                                   .case_exact = true,
                                                   .reference_types = kExternal,
                                                   .bytes_max = kPictureBytes},
                                         kDisplay, kind(kPhotoTypes), kPrimary};
constexpr std::array kAddressAttributes = {
    Attribute{.name = "formatted", .description = "Whole address.", .multiline = true},
    Attribute{.name = "streetAddress", .description = "Street and number.", .multiline = true},
    Attribute{.name = "locality", .description = "City."},
    Attribute{.name = "region", .description = "State or region."},
    Attribute{.name = "postalCode", .description = "Postal code."},
    Attribute{.name = "country", .description = "Country."},
    kind(kPlaceTypes),
    kPrimary};
constexpr std::array kGroupAttributes = {
    Attribute{.name = "value",
              .description = "Identifier of the group.",
              .case_exact = true,
              .mutability = kReadOnly},
    Attribute{.name = "$ref",
              .description = "URI of the group.",
              .type = kReference,
              .case_exact = true,
              .mutability = kReadOnly,
              .reference_types = kUserGroupReference},
    Attribute{.name = "display", .description = "Name of the group.", .mutability = kReadOnly},
    Attribute{.name = "type",
              .description = "Direct or through another group.",
              .mutability = kReadOnly,
              .canonical_values = kGroupKinds}};
constexpr std::array kLabelledAttributes = {Attribute{.name = "value", .description = "The value."},
                                            kDisplay, kind({}), kPrimary};
constexpr std::array kCertificateAttributes = {
    Attribute{.name = "value",
              .description = "DER certificate in base64.",
              .type = kBinary,
              .case_exact = true,
              .bytes_max = kPictureBytes},
    kDisplay, kind({}), kPrimary};
constexpr std::array kNameAttributes = {
    Attribute{.name = "formatted", .description = "Full name as displayed."},
    Attribute{.name = "familyName", .description = "Family name."},
    Attribute{.name = "givenName", .description = "Given name."},
    Attribute{.name = "middleName", .description = "Middle name."},
    Attribute{.name = "honorificPrefix", .description = "Title in front of the name."},
    Attribute{.name = "honorificSuffix", .description = "Suffix after the name."}};

// RFC 7643 4.1.
constexpr std::array kUserAttributes = {
    Attribute{.name = "userName",
              .description = "Name the person signs in with. Unique in the organization.",
              .required = true,
              .uniqueness = kServer,
              .bytes_max = kNameBytes},
    Attribute{.name = "name",
              .description = "Components of the person's name.",
              .type = kComplex,
              .sub_attributes = kNameAttributes},
    Attribute{.name = "displayName", .description = "Name for people to read."},
    Attribute{.name = "nickName", .description = "Casual name."},
    Attribute{.name = "profileUrl",
              .description = "URI of a page about the person.",
              .type = kReference,
              .case_exact = true,
              .reference_types = kExternal},
    Attribute{.name = "title", .description = "Title, such as \"Vice President\"."},
    Attribute{.name = "userType", .description = "Relation to the organization."},
    Attribute{.name = "preferredLanguage", .description = "Language (RFC 7231 5.3.5)."},
    Attribute{.name = "locale", .description = "Locale, such as \"en-US\"."},
    Attribute{.name = "timezone", .description = "IANA time zone name."},
    Attribute{.name = "active",
              .description = "Whether the person may log in. Unassigned means no.",
              .type = kBoolean},
    Attribute{.name = "password",
              .description = "Accepted and discarded.",
              .case_exact = true,
              .mutability = kWriteOnly,
              .returned = kNever},
    Attribute{.name = "emails",
              .description = "E-mail addresses.",
              .type = kComplex,
              .multi_valued = true,
              .sub_attributes = kEmailAttributes},
    Attribute{.name = "phoneNumbers",
              .description = "Telephone numbers.",
              .type = kComplex,
              .multi_valued = true,
              .sub_attributes = kPhoneAttributes},
    Attribute{.name = "ims",
              .description = "Instant messaging addresses.",
              .type = kComplex,
              .multi_valued = true,
              .sub_attributes = kImAttributes},
    Attribute{.name = "photos",
              .description = "URIs of images.",
              .type = kComplex,
              .multi_valued = true,
              .sub_attributes = kPhotoAttributes},
    Attribute{.name = "addresses",
              .description = "Postal addresses.",
              .type = kComplex,
              .multi_valued = true,
              .sub_attributes = kAddressAttributes},
    Attribute{.name = "groups",
              .description = "Groups the person is in. Change them at the group.",
              .type = kComplex,
              .multi_valued = true,
              .mutability = kReadOnly,
              .sub_attributes = kGroupAttributes},
    Attribute{.name = "entitlements",
              .description = "Entitlements.",
              .type = kComplex,
              .multi_valued = true,
              .sub_attributes = kLabelledAttributes},
    Attribute{.name = "roles",
              .description = "Roles.",
              .type = kComplex,
              .multi_valued = true,
              .sub_attributes = kLabelledAttributes},
    Attribute{.name = "x509Certificates",
              .description = "Certificates.",
              .type = kComplex,
              .multi_valued = true,
              .sub_attributes = kCertificateAttributes}};

// RFC 7643 4.3.
constexpr std::array kManagerAttributes = {
    Attribute{.name = "value", .description = "Identifier of the manager.", .case_exact = true},
    Attribute{.name = "$ref",
              .description = "URI of the manager.",
              .type = kReference,
              .case_exact = true,
              .reference_types = kUserReference},
    Attribute{
        .name = "displayName", .description = "Name of the manager.", .mutability = kReadOnly}};
constexpr std::array kEnterpriseAttributes = {
    Attribute{.name = "employeeNumber", .description = "Employee number."},
    Attribute{.name = "costCenter", .description = "Cost center."},
    Attribute{.name = "organization", .description = "Organization."},
    Attribute{.name = "division", .description = "Division."},
    Attribute{.name = "department", .description = "Department."},
    Attribute{.name = "manager",
              .description = "The person's manager.",
              .type = kComplex,
              .sub_attributes = kManagerAttributes}};

constexpr std::array kCoreWeaveAttributes = {
    Attribute{.name = "sunkPosixUsername",
              .description = "Login name on the cluster's nodes.",
              .case_exact = true,
              .mutability = kReadOnly,
              .uniqueness = kServer},
    Attribute{.name = "sunkPosixUserId",
              .description = "uid on the cluster's nodes.",
              .type = kInteger,
              .mutability = kReadOnly,
              .uniqueness = kServer},
    Attribute{.name = "sunkPosixGroupId",
              .description = "Primary gid on the cluster's nodes.",
              .type = kInteger,
              .mutability = kReadOnly},
    Attribute{.name = "sunkPreferredHomeDirectory",
              .description = "Home directory: an absolute path under a prefix that the "
                             "organization allows.",
              .case_exact = true},
    Attribute{.name = "sunkLoginShell",
              .description = "Login shell, one of the organization's list.",
              .case_exact = true},
    Attribute{.name = "sunkSshKeys",
              .description = "SSH public keys, one line each, without options.",
              .multi_valued = true,
              .case_exact = true,
              .bytes_max = 16 << 10}};

// RFC 7643 4.2. The flat sunk* names are what nsscache's configuration for SUNK reads.
constexpr std::array kMemberAttributes = {
    Attribute{.name = "value",
              .description = "Identifier of the member.",
              .case_exact = true,
              .mutability = kImmutable},
    Attribute{.name = "$ref",
              .description = "URI of the member.",
              .type = kReference,
              .case_exact = true,
              .mutability = kImmutable,
              .reference_types = kUserGroupReference},
    Attribute{.name = "display", .description = "Name of the member.", .mutability = kReadOnly},
    Attribute{.name = "type",
              .description = "User or Group.",
              .mutability = kImmutable,
              .canonical_values = kMemberTypes},
    Attribute{.name = "sunkPosixUsername",
              .description = "Login name of a member that is a user.",
              .case_exact = true,
              .mutability = kReadOnly,
              .unlisted = true}};
constexpr std::array kGroupCoreAttributes = {
    Attribute{.name = "displayName",
              .description = "Name of the group. Unique in the organization.",
              .required = true,
              .uniqueness = kServer,
              .bytes_max = kNameBytes},
    Attribute{.name = "members",
              .description = "Users and groups in the group.",
              .type = kComplex,
              .multi_valued = true,
              .sub_attributes = kMemberAttributes},
    Attribute{.name = "sunkPosixGroupId",
              .description = "gid on the cluster's nodes.",
              .type = kInteger,
              .mutability = kReadOnly,
              .unlisted = true},
    Attribute{.name = "sunkPosixGroupName",
              .description = "Group name on the cluster's nodes.",
              .case_exact = true,
              .mutability = kReadOnly,
              .unlisted = true}};

// RFC 7643 3.1.
constexpr std::array kMetaAttributes = {Attribute{.name = "resourceType",
                                                  .description = "Name of the resource type.",
                                                  .case_exact = true,
                                                  .mutability = kReadOnly},
                                        Attribute{.name = "created",
                                                  .description = "When the resource was created.",
                                                  .type = kDateTime,
                                                  .mutability = kReadOnly},
                                        Attribute{.name = "lastModified",
                                                  .description = "When the resource last changed.",
                                                  .type = kDateTime,
                                                  .mutability = kReadOnly},
                                        Attribute{.name = "location",
                                                  .description = "URI of the resource.",
                                                  .type = kReference,
                                                  .case_exact = true,
                                                  .mutability = kReadOnly,
                                                  .reference_types = kUri},
                                        Attribute{.name = "version",
                                                  .description = "Weak entity tag.",
                                                  .case_exact = true,
                                                  .mutability = kReadOnly}};
constexpr std::array kCommonAttributes = {
    Attribute{.name = "schemas",
              .description = "URIs of the schemas in the resource.",
              .type = kReference,
              .multi_valued = true,
              .case_exact = false,
              .mutability = kReadOnly,
              .returned = kAlways,
              .reference_types = kUri},
    Attribute{.name = "id",
              .description = "Identifier given by this server.",
              .case_exact = true,
              .mutability = kReadOnly,
              .returned = kAlways,
              .uniqueness = kServer},
    Attribute{.name = "externalId",
              .description = "Identifier given by the provisioning client, seen by it alone.",
              .case_exact = true,
              .bytes_max = 1024},
    Attribute{.name = "meta",
              .description = "Metadata.",
              .type = kComplex,
              .mutability = kReadOnly,
              .sub_attributes = kMetaAttributes}};

constexpr std::array kPosixGroupAttributes = {
    Attribute{.name = "sunkPosixGroupId",
              .description = "gid on the cluster's nodes.",
              .type = kInteger,
              .mutability = kReadOnly,
              .uniqueness = kServer},
    Attribute{.name = "sunkPosixGroupName",
              .description = "Name on the cluster's nodes.",
              .case_exact = true,
              .mutability = kReadOnly,
              .uniqueness = kServer}};

// RFC 7643 5.
constexpr Attribute fixed(std::string_view name, std::string_view description,
                          Type type = kString) {
  return {.name = name,
          .description = description,
          .type = type,
          .required = true,
          .mutability = kReadOnly};
}
constexpr std::array kSupportedAttributes = {
    fixed("supported", "Whether the operation is supported.", kBoolean)};
constexpr std::array kBulkAttributes = {
    fixed("supported", "Whether the operation is supported.", kBoolean),
    fixed("maxOperations", "Largest number of operations.", kInteger),
    fixed("maxPayloadSize", "Largest payload in bytes.", kInteger)};
constexpr std::array kFilterAttributes = {
    fixed("supported", "Whether the operation is supported.", kBoolean),
    fixed("maxResults", "Largest number of resources in an answer.", kInteger)};
// RFC 9865 5.
constexpr std::array<std::string_view, 2> kPaginationMethods = {"cursor", "index"};
constexpr std::array kPaginationAttributes = {
    fixed("cursor", "Whether lists are paged by cursor.", kBoolean),
    fixed("index", "Whether lists are paged by index.", kBoolean),
    Attribute{.name = "defaultPaginationMethod",
              .description = "What is used when a client names neither.",
              .mutability = kReadOnly,
              .canonical_values = kPaginationMethods},
    Attribute{.name = "defaultPageSize",
              .description = "Resources on a page when the client does not say.",
              .type = kInteger,
              .mutability = kReadOnly},
    Attribute{.name = "maxPageSize",
              .description = "Most resources on a page.",
              .type = kInteger,
              .mutability = kReadOnly},
    Attribute{.name = "cursorTimeout",
              .description = "Seconds for which a cursor is taken.",
              .type = kInteger,
              .mutability = kReadOnly}};
constexpr std::array kSchemeAttributes = {
    fixed("type", "Authentication scheme."),
    fixed("name", "Common name of the scheme."),
    fixed("description", "Description of the scheme."),
    Attribute{.name = "specUri",
              .description = "URI of the scheme's specification.",
              .type = kReference,
              .case_exact = true,
              .mutability = kReadOnly,
              .reference_types = kExternal},
    Attribute{.name = "documentationUri",
              .description = "URI of the scheme's documentation.",
              .type = kReference,
              .case_exact = true,
              .mutability = kReadOnly,
              .reference_types = kExternal},
    Attribute{.name = "primary",
              .description = "Whether this scheme is preferred.",
              .type = kBoolean,
              .mutability = kReadOnly}};

constexpr Attribute option(std::string_view name, std::span<const Attribute> sub) {
  return {.name = name,
          .description = "Support of the operation.",
          .type = kComplex,
          .required = true,
          .mutability = kReadOnly,
          .sub_attributes = sub};
}
constexpr std::array kServiceProviderConfigAttributes = {
    Attribute{.name = "documentationUri",
              .description = "URI of the documentation.",
              .type = kReference,
              .case_exact = true,
              .mutability = kReadOnly,
              .reference_types = kExternal},
    option("patch", kSupportedAttributes),
    option("bulk", kBulkAttributes),
    option("filter", kFilterAttributes),
    option("changePassword", kSupportedAttributes),
    option("sort", kSupportedAttributes),
    option("etag", kSupportedAttributes),
    Attribute{.name = "pagination",
              .description = "How lists are paged.",
              .type = kComplex,
              .mutability = kReadOnly,
              .sub_attributes = kPaginationAttributes},
    Attribute{.name = "authenticationSchemes",
              .description = "How a client authenticates.",
              .type = kComplex,
              .multi_valued = true,
              .required = true,
              .mutability = kReadOnly,
              .sub_attributes = kSchemeAttributes}};

// RFC 7643 6.
constexpr std::array kSchemaExtensionAttributes = {
    Attribute{.name = "schema",
              .description = "URI of the extension.",
              .type = kReference,
              .required = true,
              .case_exact = true,
              .mutability = kReadOnly,
              .reference_types = kUri},
    fixed("required", "Whether a resource must have it.", kBoolean)};
constexpr std::array kResourceTypeAttributes = {
    Attribute{.name = "id",
              .description = "Identifier of the resource type.",
              .case_exact = true,
              .mutability = kReadOnly},
    fixed("name", "Name of the resource type."),
    Attribute{.name = "description", .description = "Description.", .mutability = kReadOnly},
    Attribute{.name = "endpoint",
              .description = "Path of the endpoint below the base URL.",
              .type = kReference,
              .required = true,
              .case_exact = true,
              .mutability = kReadOnly,
              .reference_types = kUri},
    Attribute{.name = "schema",
              .description = "URI of the core schema.",
              .type = kReference,
              .required = true,
              .case_exact = true,
              .mutability = kReadOnly,
              .reference_types = kUri},
    Attribute{.name = "schemaExtensions",
              .description = "Extensions of the resource type.",
              .type = kComplex,
              .multi_valued = true,
              .mutability = kReadOnly,
              .sub_attributes = kSchemaExtensionAttributes}};

// RFC 7643 7.
constexpr std::array<std::string_view, 8> kTypeNames = {
    "string", "boolean", "decimal", "integer", "dateTime", "reference", "binary", "complex"};
constexpr std::array<std::string_view, 4> kMutabilityNames = {"readOnly", "readWrite", "immutable",
                                                              "writeOnly"};
constexpr std::array<std::string_view, 4> kReturnedNames = {"always", "never", "default",
                                                            "request"};
constexpr std::array<std::string_view, 3> kUniquenessNames = {"none", "server", "global"};

constexpr Attribute word(std::string_view name, std::string_view description, Strings canonical) {
  return {.name = name,
          .description = description,
          .case_exact = true,
          .mutability = kReadOnly,
          .canonical_values = canonical};
}
constexpr Attribute words(std::string_view name, std::string_view description) {
  return {.name = name,
          .description = description,
          .multi_valued = true,
          .case_exact = true,
          .mutability = kReadOnly};
}
constexpr std::array kDefinitionAttributes = {
    fixed("name", "Name of the attribute."),
    Attribute{.name = "type",
              .description = "Data type.",
              .required = true,
              .case_exact = true,
              .mutability = kReadOnly,
              .canonical_values = kTypeNames},
    fixed("multiValued", "Whether there may be several values.", kBoolean),
    Attribute{.name = "description", .description = "Description.", .mutability = kReadOnly},
    fixed("required", "Whether a value must be given.", kBoolean),
    words("canonicalValues", "Suggested values."),
    Attribute{.name = "caseExact",
              .description = "Whether values compare with case.",
              .type = kBoolean,
              .mutability = kReadOnly},
    word("mutability", "Who may change the value, and when.", kMutabilityNames),
    word("returned", "When the value is in an answer.", kReturnedNames),
    word("uniqueness", "How values are unique.", kUniquenessNames),
    words("referenceTypes", "Resource types that a reference may name.")};

// A definition's own sub-attributes: RFC 7643 8.7.2 lists them once more, without a third level.
constexpr std::array kTopDefinitionAttributes = [] {
  std::array<Attribute, kDefinitionAttributes.size() + 1> all{};
  std::ranges::copy(kDefinitionAttributes, all.begin());
  all.back() = {.name = "subAttributes",
                .description = "Definitions of a complex attribute's parts.",
                .type = kComplex,
                .multi_valued = true,
                .mutability = kReadOnly,
                .sub_attributes = kDefinitionAttributes};
  return all;
}();
constexpr std::array kSchemaAttributes = {
    Attribute{.name = "id",
              .description = "URI of the schema.",
              .required = true,
              .case_exact = true,
              .mutability = kReadOnly,
              .uniqueness = kServer},
    fixed("name", "Name of the schema."),
    Attribute{.name = "description", .description = "Description.", .mutability = kReadOnly},
    Attribute{.name = "attributes",
              .description = "Definitions of the attributes.",
              .type = kComplex,
              .multi_valued = true,
              .required = true,
              .mutability = kReadOnly,
              .sub_attributes = kTopDefinitionAttributes}};

constexpr Schema kUserSchema = {kUserUrn, "User", "User account", kUserAttributes};
constexpr Schema kGroupSchema = {kGroupUrn, "Group", "Group", kGroupCoreAttributes};
constexpr Schema kEnterpriseSchema = {kEnterpriseUserUrn, "EnterpriseUser", "Enterprise user",
                                      kEnterpriseAttributes};
constexpr Schema kCoreWeaveSchema = {kCoreWeaveUserUrn, "CoreWeaveUser",
                                     "POSIX identity and SSH keys on Slurm clusters",
                                     kCoreWeaveAttributes};
constexpr Schema kPosixGroupSchema = {kPosixGroupUrn, "PosixGroup",
                                      "POSIX identity on Slurm clusters", kPosixGroupAttributes};
constexpr Schema kServiceProviderConfigSchema = {kServiceProviderConfigUrn, "ServiceProviderConfig",
                                                 "What this server supports",
                                                 kServiceProviderConfigAttributes};
constexpr Schema kResourceTypeSchema = {kResourceTypeUrn, "ResourceType", "Resource type",
                                        kResourceTypeAttributes};
constexpr Schema kSchemaSchema = {kSchemaUrn, "Schema", "Schema definition", kSchemaAttributes};

constexpr std::array<const Schema*, 2> kUserExtensions = {&kEnterpriseSchema, &kCoreWeaveSchema};
constexpr ResourceType kUserType = {"User", "/Users", "User accounts", &kUserSchema,
                                    kUserExtensions};
constexpr std::array<const Schema*, 1> kGroupExtensions = {&kPosixGroupSchema};
constexpr ResourceType kGroupType = {"Group", "/Groups", "Groups of users", &kGroupSchema,
                                     kGroupExtensions};
constexpr std::array<const ResourceType*, 2> kResourceTypes = {&kUserType, &kGroupType};
constexpr std::array<const Schema*, 8> kAllSchemas = {
    &kUserSchema,         &kGroupSchema,      &kEnterpriseSchema,
    &kCoreWeaveSchema,    &kPosixGroupSchema, &kServiceProviderConfigSchema,
    &kResourceTypeSchema, &kSchemaSchema};

/// "URN:rest" or "URN" without case: the rest (empty for the URN alone), or nothing.
std::optional<std::string_view> after_urn(std::string_view name, std::string_view urn) {
  if (name.size() < urn.size() || !ascii_iequals(name.substr(0, urn.size()), urn)) {
    return std::nullopt;
  }
  name.remove_prefix(urn.size());
  if (name.empty()) return name;
  if (name.front() != ':' || name.size() == 1) return std::nullopt;
  return name.substr(1);
}

bool is_name(std::string_view text) {
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  if (text.empty() || (!letter(text.front()) && text.front() != '$')) return false;
  return std::ranges::all_of(text.substr(1), [&letter](char c) {
    return letter(c) || (c >= '0' && c <= '9') || c == '-' || c == '_';
  });
}

}  // namespace

const ResourceType& user_type() { return kUserType; }
const ResourceType& group_type() { return kGroupType; }
std::span<const ResourceType* const> resource_types() { return kResourceTypes; }
std::span<const Schema* const> all_schemas() { return kAllSchemas; }

const Attribute* find_attribute(std::span<const Attribute> attributes, std::string_view name) {
  for (const Attribute& attribute : attributes) {
    if (ascii_iequals(attribute.name, name)) return &attribute;
  }
  return nullptr;
}

const Attribute* find_core_attribute(const ResourceType& type, std::string_view name) {
  const Attribute* found = find_attribute(type.core->attributes, name);
  return found != nullptr ? found : find_attribute(kCommonAttributes, name);
}

const Schema* find_extension(const ResourceType& type, std::string_view urn) {
  for (const Schema* extension : type.extensions) {
    if (ascii_iequals(extension->id, urn)) return extension;
  }
  return nullptr;
}

std::optional<AttributeRef> resolve(const ResourceType& type, std::string_view name) {
  AttributeRef ref{.schema = type.core};
  std::optional<std::string_view> rest = after_urn(name, type.core->id);
  for (const Schema* extension : type.extensions) {
    if (rest) break;
    rest = after_urn(name, extension->id);
    if (rest) ref.schema = extension;
  }
  if (rest && rest->empty()) return ref;
  const std::string_view path = rest.value_or(name);
  const std::size_t dot = path.find('.');
  const std::string_view head = path.substr(0, dot);
  ref.attribute = ref.schema == type.core ? find_core_attribute(type, head)
                                          : find_attribute(ref.schema->attributes, head);
  if (ref.attribute == nullptr) return std::nullopt;
  if (dot == std::string_view::npos) return ref;
  ref.sub = find_attribute(ref.attribute->sub_attributes, path.substr(dot + 1));
  if (ref.sub == nullptr) return std::nullopt;
  return ref;
}

std::string full_name(const ResourceType& type, const AttributeRef& ref) {
  std::string name;
  if (ref.schema != type.core || ref.attribute == nullptr) name = ref.schema->id;
  if (ref.attribute == nullptr) return name;
  if (!name.empty()) name += ':';
  name += ref.attribute->name;
  if (ref.sub != nullptr) name.append(".").append(ref.sub->name);
  return name;
}

bool is_attribute_path(std::string_view text) {
  // The last colon ends a URN, whose version may hold dots ("...:core:2.0:User:userName").
  const std::size_t colon = text.rfind(':');
  if (colon != std::string_view::npos) {
    const std::string_view urn = text.substr(0, colon);
    if (urn.size() < 4 || !ascii_iequals(urn.substr(0, 4), "urn:")) return false;
    text.remove_prefix(colon + 1);
  }
  const std::size_t dot = text.find('.');
  if (dot == std::string_view::npos) return is_name(text);
  return is_name(text.substr(0, dot)) && is_name(text.substr(dot + 1));
}

}  // namespace roster::scim
