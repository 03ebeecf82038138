#include "admin/render.h"

#include <algorithm>

namespace roster::admin {
namespace {

json::value text(std::string_view s) { return json::string(s); }

json::value time_or_null(const std::optional<Timestamp>& t) {
  if (!t) return nullptr;
  return text(format_rfc3339(*t));
}

json::array texts(const std::vector<std::string>& items) {
  json::array out;
  for (const std::string& item : items) out.push_back(text(item));
  return out;
}

// "Alice Example" from a SCIM document: displayName, else name.formatted, else its parts.
std::string display_name(const json::object& doc) {
  if (const auto display = json::find_string(doc, "displayName")) return std::string(*display);
  const json::object* name = json::find_object(doc, "name");
  if (name == nullptr) return {};
  if (const auto formatted = json::find_string(*name, "formatted")) return std::string(*formatted);
  const std::string given(json::find_string(*name, "givenName").value_or(""));
  const std::string family(json::find_string(*name, "familyName").value_or(""));
  return given.empty() || family.empty() ? given + family : given + ' ' + family;
}

json::array render_references(const std::vector<directory::Reference>& references) {
  json::array out;
  for (const directory::Reference& r : references) {
    out.push_back(json::object{{"id", text(r.id)},
                               {"name", text(r.posix_name)},
                               {"display", text(r.display)},
                               {"type", r.is_group ? "group" : "user"}});
  }
  return out;
}

void add_identity(json::object& out, const std::optional<directory::PosixIdentity>& posix,
                  const char* name_member, const char* number_member) {
  if (!posix) {
    out[name_member] = nullptr;
    out[number_member] = nullptr;
    return;
  }
  out[name_member] = text(posix->name);
  out[number_member] = posix->number;
  out["state"] = text(directory::identity_state_name(posix->state));
}

}  // namespace

json::object render(const directory::OrgSettings& settings) {
  std::vector<std::string> admitted;
  for (const posix::IdBlock& block : settings.admitted_ids) {
    admitted.push_back(posix::format_block(block));
  }
  return {
      {"leaver_policy", settings.leaver_policy == directory::LeaverPolicy::kHide ? "hide" : "lock"},
      {"home_template", text(settings.home_template)},
      {"home_prefixes", texts(settings.home_prefixes)},
      {"default_shell", text(settings.default_shell)},
      {"shells", texts(settings.shells)},
      {"admitted_ids", texts(admitted)},
      {"reserved_names", texts(settings.reserved_names)},
      {"rebind_deleted", settings.rebind_deleted},
      {"nested_groups", settings.nested_groups},
      {"user_provisioning", settings.user_provisioning},
      {"login_from", text(directory::login_source_name(settings.login_from))},
      {"group_prefix", text(settings.group_prefix)},
      {"primary_group", text(settings.primary_gid == 0 ? std::string(kPrivateGroups)
                                                       : std::to_string(settings.primary_gid))},
      {"scim_api", settings.scim_api},
      {"automated_provisioning", settings.automated_provisioning}};
}

json::object render(const directory::Org& org) {
  return {{"org", text(org.slug)},
          {"seq", org.seq.value},
          {"users", org.users},
          {"active_users", org.active_users},
          {"groups", org.groups},
          {"created", text(format_rfc3339(org.created))},
          {"settings", render(org.settings)}};
}

json::object render(const directory::OrgIdBlock& block) {
  return {{"ids", text(posix::format_block(block.ids))}, {"left", block.left}};
}

json::object render(const directory::Client& client) { return {{"name", text(client.name)}}; }

json::object render(const directory::TokenInfo& token, Timestamp now) {
  const char* state = token.revoked                            ? "revoked"
                      : token.expires && *token.expires <= now ? "expired"
                                                               : "active";
  json::object out{{"name", text(token.name)},
                   {"scope", text(directory::scope_name(token.scope))},
                   {"client", text(token.client_name)},
                   {"active_only", token.active_only},
                   {"state", state},
                   {"created", text(format_rfc3339(token.created))},
                   {"expires", time_or_null(token.expires)},
                   {"last_used", time_or_null(token.last_used)}};
  if (token.join) {
    out["join"] = json::object{{"cluster", text(token.join->cluster)},
                               {"view", text(token.join->view)},
                               {"role", text(token.join->role)},
                               {"uses_left", token.join->uses_left}};
  }
  return out;
}

json::object render(const directory::User& user) {
  json::object out{{"id", text(user.id)},
                   {"userName", text(json::find_string(user.doc, "userName").value_or(""))},
                   {"displayName", text(display_name(user.doc))},
                   {"email", text(directory::primary_email(user.doc))},
                   {"active", user.active},
                   {"managed_by", text(user.owner)},
                   {"created", text(format_rfc3339(user.created))},
                   {"modified", text(format_rfc3339(user.modified))},
                   {"valid_until", time_or_null(user.valid_until)}};
  add_identity(out, user.posix, "login", "uid");
  if (user.posix) out["gid"] = user.posix->gid;
  out["groups"] = render_references(user.groups);
  json::array keys;
  for (const directory::SshKeyRow& key : user.keys) {
    keys.push_back(json::object{{"fingerprint", text(key.fingerprint)},
                                {"name", text(key.name)},
                                {"source", text(key.source)},
                                {"key", text(key.key)},
                                {"created", text(format_rfc3339(key.created))},
                                {"not_before", time_or_null(key.not_before)},
                                {"not_after", time_or_null(key.not_after)}});
  }
  out["keys"] = std::move(keys);
  return out;
}

json::object render(const directory::Group& group) {
  json::object out{{"id", text(group.id)},
                   {"displayName", text(json::find_string(group.doc, "displayName").value_or(""))},
                   {"managed_by", text(group.owner)},
                   {"member_count", group.member_count},
                   {"created", text(format_rfc3339(group.created))},
                   {"modified", text(format_rfc3339(group.modified))}};
  add_identity(out, group.posix, "name", "gid");
  out["members"] = render_references(group.members);
  return out;
}

json::object render(const directory::IdentityRow& row) {
  json::object out{{"type", row.is_group ? "group" : "user"},
                   {"name", text(row.posix.name)},
                   {"number", row.posix.number},
                   {"state", text(directory::identity_state_name(row.posix.state))},
                   {"id", text(row.id)},
                   {row.is_group ? "displayName" : "userName", text(row.resource)},
                   {"externalId", text(row.external_id)},
                   {"client", text(row.client)}};
  if (row.is_group) return out;
  out["gid"] = row.posix.gid;
  out["gecos"] = text(row.gecos);
  out["home"] = text(row.home);
  out["shell"] = text(row.shell);
  return out;
}

namespace {

/// With its place in the request's list of people or groups; groups come first in `entries`.
json::object render_entry(std::span<const directory::ImportEntry> entries, std::size_t position) {
  const directory::ImportEntry& entry = entries[position];
  const auto groups = std::ranges::count_if(entries, &directory::ImportEntry::is_group);
  const std::size_t before = entry.is_group ? 0 : static_cast<std::size_t>(groups);
  return {{"type", entry.is_group ? "group" : "user"},
          {"index", position - before},
          {"name", text(entry.name)},
          {"number", entry.number}};
}

}  // namespace

json::object render(const directory::ImportClash& clash,
                    std::span<const directory::ImportEntry> entries) {
  json::object out{{"entry", render_entry(entries, clash.entry)},
                   {"what", text(clash.what)},
                   {"reason", text(clash.reason)},
                   {"owner", nullptr}};
  if (clash.other_entry) {
    json::object other = render_entry(entries, *clash.other_entry);
    other["state"] = "import";
    out["owner"] = std::move(other);
  } else if (clash.owner) {
    const directory::ImportOwner& owner = *clash.owner;
    json::object who{{"type", owner.is_group ? "group" : "user"},
                     {"name", text(owner.name)},
                     {"state", text(directory::identity_state_name(owner.state))},
                     {owner.is_group ? "displayName" : "userName", text(owner.resource)},
                     {"id", text(owner.id)}};
    who["number"] = owner.number ? json::value(*owner.number) : nullptr;
    out["owner"] = std::move(who);
  }
  return out;
}

json::object render(const directory::Node& node, Seq head, Timestamp now) {
  const std::uint64_t acknowledged = node.acknowledged.value;
  const char* state = node.expires <= now ? "expired" : node.last_seen ? "live" : "enrolled";
  return {{"name", text(node.name)},
          {"cluster", text(node.cluster)},
          {"role", text(node.role)},
          {"view", text(node.view)},
          {"state", state},
          {"acknowledged", acknowledged},
          {"behind", head.value > acknowledged ? head.value - acknowledged : 0},
          {"last_seen", time_or_null(node.last_seen)},
          {"expires", text(format_rfc3339(node.expires))},
          {"agent_version", text(node.agent_version)}};
}

json::object render(const directory::View& view) {
  json::array groups;
  for (const directory::ViewGroup& group : view.groups) {
    groups.push_back(json::object{{"id", text(group.group.id)},
                                  {"name", text(group.group.posix_name)},
                                  {"display", text(group.group.display)},
                                  {"deleted", group.group.id.empty()}});
  }
  json::array attributes;
  if (view.gecos) attributes.push_back("gecos");
  if (view.keys) attributes.push_back("keys");
  return {{"name", text(view.name)},
          {"built_in", view.built_in},
          {"everybody", view.groups.empty()},
          {"groups", std::move(groups)},
          {"attributes", std::move(attributes)},
          {"home", text(view.home)},
          {"shell", text(view.shell)},
          {"created", time_or_null(view.created)},
          {"modified", time_or_null(view.modified)}};
}

json::object render(const directory::AuditRow& row) {
  json::value diff = nullptr;
  if (auto parsed = json::parse(row.diff, {.bytes_max = 64 << 20, .values_max = 64 << 20}); parsed)
    diff = *parsed;
  return {{"seq", row.seq.value},       {"at", text(format_rfc3339(row.at))},
          {"actor", text(row.actor)},   {"remote", text(row.remote)},
          {"action", text(row.action)}, {"target", text(row.target)},
          {"diff", std::move(diff)}};
}

json::object render(const directory::Directory::Fuse& fuse) {
  return {{"leavers", fuse.leavers},
          {"limit", fuse.limit},
          {"held", fuse.held},
          {"released_until", time_or_null(fuse.released_until)}};
}

}  // namespace roster::admin
