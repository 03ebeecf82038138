#include "sync/scim_format.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/unicode.h"

namespace roster::sync {
namespace {

using reconcile::Person;
using reconcile::Text;

constexpr std::string_view kUser = "urn:ietf:params:scim:schemas:core:2.0:User";
constexpr std::string_view kGroup = "urn:ietf:params:scim:schemas:core:2.0:Group";
constexpr std::string_view kCoreWeaveUser =
    "urn:coreweave:params:scim:schemas:extension:coreweave:2.0:CoreWeaveUser";
constexpr std::string_view kPatchOp = "urn:ietf:params:scim:api:messages:2.0:PatchOp";

json::string text_of(std::string_view text) { return json::string(text.data(), text.size()); }

std::string found(const json::object* object, std::string_view name) {
  return object == nullptr ? "" : std::string(json::find_string(*object, name).value_or(""));
}

/// The primary address, else the first.
std::string email_of(const json::object& resource) {
  const json::array* emails = json::find_array(resource, "emails");
  if (emails == nullptr) return "";
  std::string first;
  for (const json::value& item : *emails) {
    const json::object* email = item.if_object();
    const std::string value = found(email, "value");
    if (value.empty()) continue;
    if (json::find_bool(*email, "primary").value_or(false)) return value;
    if (first.empty()) first = value;
  }
  return first;
}

/// A list of lines, or one line. In another form they are not known, and not none.
std::optional<std::vector<std::string>> keys_in(const json::value* keys) {
  std::vector<std::string> out;
  if (keys == nullptr || keys->is_null()) return out;
  const auto take = [&out](const json::value& item) {
    if (item.is_string()) out.emplace_back(json::view(item.get_string()));
    return item.is_string();
  };
  const json::array* list = keys->if_array();
  const bool readable = list == nullptr ? take(*keys) : std::ranges::all_of(*list, take);
  return readable ? std::optional(std::move(out)) : std::nullopt;
}

/// Also as a text, as Entra sends it: "False". Nothing when it is there and says neither; nothing
/// within when it is not there.
std::optional<std::optional<bool>> active_in(const json::value* active) {
  if (active == nullptr || active->is_null()) return std::optional<bool>();
  if (active->is_bool()) return active->get_bool();
  const std::string_view word = active->is_string() ? json::view(active->get_string()) : "";
  if (ascii_iequals(word, "true")) return true;
  if (ascii_iequals(word, "false")) return false;
  return std::nullopt;
}

json::array as_array(std::span<const std::string> texts) {
  json::array out;
  out.reserve(texts.size());
  for (const std::string& text : texts) out.push_back(text_of(text));
  return out;
}

json::array as_members(std::span<const std::string> ids) {
  json::array out;
  out.reserve(ids.size());
  for (const std::string& id : ids) out.push_back(json::object{{"value", text_of(id)}});
  return out;
}

json::array as_emails(std::string_view address) {
  return {json::object{{"value", text_of(address)}, {"type", "work"}, {"primary", true}}};
}

std::string extension_path(std::string_view attribute) {
  return std::string(kCoreWeaveUser) + ":" + std::string(attribute);
}

std::string path_of(Text text) {
  switch (text) {
    case Text::kGivenName:
      return "name.givenName";
    case Text::kFamilyName:
      return "name.familyName";
    case Text::kDisplayName:
      return "displayName";
    case Text::kEmail:
      return "emails";
    case Text::kHome:
      return extension_path("sunkPreferredHomeDirectory");
    case Text::kShell:
      return extension_path("sunkLoginShell");
  }
  CHECK(false);
}

/// Replaces a value, or removes the attribute when there is none.
json::object operation(std::string_view path, std::optional<json::value> value) {
  json::object out{{"op", value ? "replace" : "remove"}, {"path", text_of(path)}};
  if (value) out["value"] = std::move(*value);
  return out;
}

std::string patch_of(json::array operations) {
  return json::serialize(json::object{{"schemas", json::array{text_of(kPatchOp)}},
                                      {"Operations", std::move(operations)}});
}

}  // namespace

Result<ScimPerson> read_person(const json::object& resource) {
  ScimPerson out;
  out.id = found(&resource, "id");
  if (out.id.empty()) return fail(Code::kInvalidArgument, "a User without id");
  out.external_id = found(&resource, "externalId");
  Person& person = out.person;
  const auto active = active_in(json::find(resource, "active"));
  if (!active) out.unreadable = "a User whose `active` is neither true nor false";
  out.tells_active = active && active->has_value();
  person.active = out.tells_active ? **active : true;
  person.user_name = found(&resource, "userName");
  if (person.user_name.empty()) out.unreadable = "a User without userName";
  const json::object* name = json::find_object(resource, "name");
  person.text(Text::kGivenName) = found(name, "givenName");
  person.text(Text::kFamilyName) = found(name, "familyName");
  person.text(Text::kDisplayName) = found(&resource, "displayName");
  person.text(Text::kEmail) = email_of(resource);
  const json::object* extension = json::find_object(resource, kCoreWeaveUser);
  if (extension == nullptr) return out;
  out.has_extension = true;
  person.text(Text::kHome) = found(extension, "sunkPreferredHomeDirectory");
  person.text(Text::kShell) = found(extension, "sunkLoginShell");
  person.ssh_keys = keys_in(json::find(*extension, "sunkSshKeys"));
  if (!person.ssh_keys) out.unreadable = "a User whose `sunkSshKeys` are no texts";
  return out;
}

Result<ScimGroup> read_group(const json::object& resource) {
  ScimGroup out;
  out.id = found(&resource, "id");
  if (out.id.empty()) return fail(Code::kInvalidArgument, "a Group without id");
  out.external_id = found(&resource, "externalId");
  out.name = found(&resource, "displayName");
  if (out.name.empty()) out.unreadable = "a Group without displayName";
  const json::value* members = json::find(resource, "members");
  if (members == nullptr || members->is_null()) return out;
  const auto take = [&out](const json::value& member) {
    std::string id = found(member.if_object(), "value");
    if (id.empty()) return false;
    out.members.push_back(std::move(id));
    return true;
  };
  const json::array* list = members->if_array();
  if (list == nullptr || !std::ranges::all_of(*list, take)) {
    out.unreadable = "a Group whose `members` have no `value`";
  }
  return out;
}

Result<scim_client::Page> read_list(std::string_view body,
                                    const std::function<void(const json::object&)>& each) {
  const auto no_list = [] {
    return fail(Code::kDataLoss, "the answer is no SCIM ListResponse (is the URL right?)");
  };
  const auto value = json::parse(
      body, {.bytes_max = scim_client::Server::kPageBytesMax, .values_max = 16'000'000});
  if (!value || !value->is_object()) return no_list();
  const json::object& list = value->get_object();
  scim_client::Page page;
  page.total = json::find_int(list, "totalResults");
  page.start = json::find_int(list, "startIndex");
  page.per_page = json::find_int(list, "itemsPerPage");
  page.next_cursor = found(&list, "nextCursor");
  const json::array* resources = json::find_array(list, "Resources");
  // RFC 7644 3.4.2: Resources is there whenever totalResults is not 0.
  if (resources == nullptr) {
    if (!page.total) return no_list();
    return page;
  }
  page.resources = resources->size();
  // All of it, or nothing: a page that cannot be read is asked for again.
  const auto is_object = [](const json::value& resource) { return resource.is_object(); };
  if (!std::ranges::all_of(*resources, is_object)) return no_list();
  if (!resources->empty()) {
    page.first_id = found(&resources->front().get_object(), "id");
    page.last_id = found(&resources->back().get_object(), "id");
  }
  for (const json::value& resource : *resources) each(resource.get_object());
  return page;
}

std::string person_body(const Person& person, std::string_view external_id) {
  json::object out;
  json::array schemas{text_of(kUser)};
  json::object name;
  json::object extension;
  const auto put = [&person](Text text, json::object& target, std::string_view attribute) {
    const auto& value = person.text(text);
    if (value && !value->empty()) target[attribute] = text_of(*value);
  };
  put(Text::kGivenName, name, "givenName");
  put(Text::kFamilyName, name, "familyName");
  put(Text::kHome, extension, "sunkPreferredHomeDirectory");
  put(Text::kShell, extension, "sunkLoginShell");
  if (person.ssh_keys && !person.ssh_keys->empty()) {
    extension["sunkSshKeys"] = as_array(*person.ssh_keys);
  }
  out["externalId"] = text_of(external_id);
  out["userName"] = text_of(person.user_name);
  out["active"] = person.active;
  put(Text::kDisplayName, out, "displayName");
  if (!name.empty()) out["name"] = std::move(name);
  const auto& email = person.text(Text::kEmail);
  if (email && !email->empty()) out["emails"] = as_emails(*email);
  if (!extension.empty()) {
    schemas.push_back(text_of(kCoreWeaveUser));
    out[kCoreWeaveUser] = std::move(extension);
  }
  out["schemas"] = std::move(schemas);
  return json::serialize(out);
}

std::string group_body(std::string_view name, std::string_view external_id,
                       std::span<const std::string> members) {
  json::object out{{"schemas", json::array{text_of(kGroup)}},
                   {"externalId", text_of(external_id)},
                   {"displayName", text_of(name)}};
  if (!members.empty()) out["members"] = as_members(members);
  return json::serialize(out);
}

std::string person_patch(const reconcile::Step& step) {
  json::array operations;
  if (step.act == reconcile::Act::kDeactivate) operations.push_back(operation("active", false));
  if (step.changes.ssh_keys) {
    const std::vector<std::string>& keys = *step.person.ssh_keys;
    operations.push_back(
        operation(extension_path("sunkSshKeys"),
                  keys.empty() ? std::nullopt : std::optional<json::value>(as_array(keys))));
  }
  if (step.changes.user_name) operations.push_back(operation("userName", text_of(step.new_name)));
  for (std::size_t i = 0; i < reconcile::kTexts; ++i) {
    if (!step.changes.texts[i]) continue;
    const auto text = static_cast<Text>(i);
    const std::string& value = *step.person.text(text);
    std::optional<json::value> given;
    if (!value.empty() && text == Text::kEmail) given = as_emails(value);
    if (!value.empty() && text != Text::kEmail) given = text_of(value);
    operations.push_back(operation(path_of(text), std::move(given)));
  }
  if (step.act == reconcile::Act::kReactivate) operations.push_back(operation("active", true));
  return patch_of(std::move(operations));
}

std::string rename_patch(std::string_view name) {
  return patch_of({operation("displayName", text_of(name))});
}

std::string add_members_patch(std::span<const std::string> ids) {
  return patch_of({json::object{{"op", "add"}, {"path", "members"}, {"value", as_members(ids)}}});
}

std::string remove_members_patch(std::span<const std::string> ids) {
  json::array operations;
  for (const std::string& id : ids) {
    // A text in a filter is a JSON string (RFC 7644 3.4.2.2).
    const std::string quoted = json::serialize(json::value(text_of(id)));
    operations.push_back(operation("members[value eq " + quoted + "]", std::nullopt));
  }
  return patch_of(std::move(operations));
}

std::string replace_members_patch(std::span<const std::string> ids) {
  return patch_of({operation("members", as_members(ids))});
}

}  // namespace roster::sync
