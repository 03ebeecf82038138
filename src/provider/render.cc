#include "provider/render.h"

#include <utility>

#include "posix/shell.h"
#include "scim/schema.h"

namespace roster::provider {
namespace {

template <typename T>
json::object meta(const Call& call, const scim::ResourceType& type, const T& resource) {
  json::object out;
  out["resourceType"] = type.name;
  out["created"] = format_rfc3339(resource.created);
  out["lastModified"] = format_rfc3339(resource.modified);
  out["location"] = call.base + std::string(type.endpoint) + "/" + resource.id;
  out["version"] = entity_tag(resource.version);
  return out;
}

template <typename T>
json::object common(const Call& call, const scim::ResourceType& type, T& resource) {
  json::object out;
  out.reserve(resource.doc.size() + 8);
  out["schemas"] = json::array{type.core->id};
  out["id"] = resource.id;
  if (resource.external_id) out["externalId"] = *resource.external_id;
  out["meta"] = meta(call, type, resource);
  for (auto& member : resource.doc) out[member.key()] = std::move(member.value());
  return out;
}

/// Names the extensions that there is something in, as an answer with all of them does.
void add_schemas(const scim::ResourceType& type, json::object& out) {
  json::array& schemas = out["schemas"].get_array();
  for (const scim::Schema* extension : type.extensions) {
    const json::value* found = out.if_contains(extension->id);
    if (found != nullptr && found->is_object() && !found->get_object().empty()) {
      schemas.emplace_back(extension->id);
    }
  }
}

/// Adds what is not in the document to the CoreWeave extension.
void add_posix(const Call& call, const directory::User& user, json::object& out) {
  json::value& extension = out[scim::kCoreWeaveUserUrn];
  if (!extension.is_object()) extension.emplace_object();
  json::object& target = extension.get_object();
  if (user.posix) {
    target["sunkPosixUsername"] = user.posix->name;
    target["sunkPosixUserId"] = user.posix->number;
    target["sunkPosixGroupId"] = user.posix->gid;
  }
  if (call.reader() && user.posix) {
    // What a node gives the person, asked for or not.
    const std::string& default_shell = call.org.settings.default_shell;
    if (!user.home.empty()) target["sunkPreferredHomeDirectory"] = user.home;
    target["sunkLoginShell"] = user.shell.empty() ? default_shell : user.shell;
  }
  const bool locked = call.reader() && !may_log_in(user, call.now);
  if (locked) {
    target["sunkLoginShell"] = posix::kNologinShell;
  } else if (!user.keys.empty()) {
    json::array keys;
    keys.reserve(user.keys.size());
    for (const directory::SshKeyRow& row : user.keys) {
      const bool valid = (!row.not_before || *row.not_before <= call.now) &&
                         (!row.not_after || call.now < *row.not_after);
      if (valid || !call.reader()) keys.emplace_back(row.key);
    }
    if (!keys.empty()) target["sunkSshKeys"] = std::move(keys);
  }
  if (target.empty()) out.erase(scim::kCoreWeaveUserUrn);
}

}  // namespace

void leave_active(directory::Group& group, Timestamp now) {
  std::erase_if(group.members, [now](const directory::Reference& member) {
    return !member.is_group && !may_log_in(member, now);
  });
}

json::object render(const Call& call, directory::User&& user) {
  json::object out = common(call, scim::user_type(), user);
  // The row decides, also for documents of older versions. Readers turn it into who may log in.
  out["active"] = call.reader() ? may_log_in(user, call.now) : user.active;
  if (!user.groups.empty()) {
    json::array groups;
    groups.reserve(user.groups.size());
    for (const directory::Reference& group : user.groups) {
      groups.emplace_back(json::object{{"value", group.id},
                                       {"$ref", call.base + "/Groups/" + group.id},
                                       {"display", group.display},
                                       {"type", "direct"}});
    }
    out["groups"] = std::move(groups);
  }
  add_posix(call, user, out);
  add_schemas(scim::user_type(), out);
  return out;
}

json::object render_member(const Call& call, const directory::Reference& member) {
  json::object out;
  out.reserve(5);
  out["value"] = member.id;
  out["$ref"] = call.base + (member.is_group ? "/Groups/" : "/Users/") + member.id;
  out["type"] = member.is_group ? "Group" : "User";
  out["display"] = member.display;
  if (call.reader() && !member.is_group && !member.posix_name.empty()) {
    out["sunkPosixUsername"] = member.posix_name;
  }
  return out;
}

json::object render(const Call& call, directory::Group&& group) {
  json::object out = common(call, scim::group_type(), group);
  if (!group.members.empty()) {
    json::array members;
    members.reserve(group.members.size());
    for (const directory::Reference& member : group.members) {
      members.emplace_back(render_member(call, member));
    }
    out["members"] = std::move(members);
  }
  if (group.posix) {
    // Flat for readers: that is where nsscache's configuration looks.
    json::object extension;
    json::object& target = call.reader() ? out : extension;
    target["sunkPosixGroupId"] = group.posix->number;
    target["sunkPosixGroupName"] = group.posix->name;
    if (!call.reader()) out[scim::kPosixGroupUrn] = std::move(extension);
  }
  add_schemas(scim::group_type(), out);
  return out;
}

}  // namespace roster::provider
