#include "sync/export_text.h"

#include <initializer_list>
#include <string_view>

#include "base/unicode.h"
#include "posix/gecos.h"
#include "posix/home.h"
#include "posix/names.h"
#include "posix/path_rule.h"
#include "posix/shell.h"
#include "sync/csv.h"
#include "sync/ldif.h"

namespace roster::sync {
namespace {

using State = Exported::State;

std::string_view state_name(State state) {
  switch (state) {
    case State::kActive:
      return "active";
    case State::kLocked:
      return "locked";
    case State::kReserved:
      return "reserved";
    case State::kDeleted:
      return "deleted";
  }
  return "";
}

/// A number that waits for nobody is as good as deleted: nobody will ever come for it.
State state_of(const Exported& entry) {
  const bool waits = !entry.resource.empty() || !entry.external_id.empty();
  return entry.state == State::kReserved && !waits ? State::kDeleted : entry.state;
}

std::string csv_row(std::initializer_list<std::string_view> fields) {
  std::string row;
  for (const std::string_view field : fields) {
    if (!row.empty()) row += ',';
    row += csv_field(field);
  }
  return row + '\n';
}

std::string joined(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) {
    if (!out.empty()) out += ',';
    out += name;
  }
  return out;
}

std::unexpected<Error> no_text_of_a_hub(const Exported& entry, const char* what) {
  return fail(Code::kDataLoss, "the hub's record of " + printable(entry.name) + " has " + what +
                                   " that cannot stand in a file");
}

/// Nothing that could end a line or a field comes from a hub; one that lies writes no passwd file.
Result<void> check(const Exported& entry) {
  if (!posix::LoginName::parse(entry.name)) return no_text_of_a_hub(entry, "a name");
  for (const std::string& member : entry.members) {
    if (!posix::LoginName::parse(member)) return no_text_of_a_hub(entry, "a member");
  }
  for (const std::string* path : {&entry.home, &entry.shell}) {
    if (!path->empty() && !posix::path_defect(*path).empty()) {
      return no_text_of_a_hub(entry, "a path");
    }
  }
  if (posix::sanitize_gecos(entry.gecos) != entry.gecos) return no_text_of_a_hub(entry, "a gecos");
  for (const std::string* text : {&entry.resource, &entry.external_id, &entry.client}) {
    if (!is_valid_utf8(*text) || has_control_characters(*text)) {
      return no_text_of_a_hub(entry, "a text");
    }
  }
  return {};
}

/// With what the settings give, and no way in for who is locked.
Exported in_effect(Exported entry, const ExportOptions& options) {
  if (entry.home.empty()) {
    const auto login = posix::LoginName::parse(entry.name);
    CHECK(login);
    entry.home = posix::HomeTemplate::stored(options.home_template).expand(*login, entry.number);
  }
  if (entry.shell.empty()) entry.shell = options.default_shell;
  if (entry.state == State::kLocked) entry.shell = posix::kNologinShell;
  return entry;
}

std::string csv_entry(const Exported& e) {
  const bool deleted = state_of(e) == State::kDeleted;
  const std::string number = std::to_string(e.number);
  const std::string_view resource = deleted ? "" : std::string_view(e.resource);
  const std::string_view external = deleted ? "" : std::string_view(e.external_id);
  const std::string_view client = deleted ? "" : std::string_view(e.client);
  if (e.is_group) {
    return csv_row(
        {e.name, number, resource, external, client, joined(e.members), state_name(state_of(e))});
  }
  return csv_row({e.name, number, std::to_string(e.gid), resource, external, client, e.gecos,
                  e.home, e.shell, state_name(state_of(e))});
}

std::string passwd_line(const Exported& e) {
  const std::string number = std::to_string(e.number);
  return e.name + (e.state == State::kLocked ? ":!:" : ":x:") + number + ':' +
         std::to_string(e.gid) + ':' + e.gecos + ':' + e.home + ':' + e.shell + '\n';
}

std::string ldif_person(const Exported& e, const ExportOptions& options) {
  const std::string full_name = e.gecos.empty() ? e.name : e.gecos;
  const std::size_t space = full_name.rfind(' ');
  const bool locked = e.state == State::kLocked;
  std::string out = ldif_line("dn", "uid=" + e.name + ",ou=people," + options.base_dn);
  for (const char* object_class : {"top", "inetOrgPerson", "posixAccount"}) {
    out += ldif_line("objectClass", object_class);
  }
  if (locked) out += ldif_line("objectClass", "shadowAccount");
  out += ldif_line("uid", e.name);
  out += ldif_line("uidNumber", std::to_string(e.number));
  out += ldif_line("gidNumber", std::to_string(e.gid));
  out += ldif_line("cn", full_name);
  out += ldif_line("sn", space == std::string::npos ? full_name : full_name.substr(space + 1));
  out += ldif_line("homeDirectory", e.home);
  out += ldif_line("loginShell", e.shell);
  if (e.resource.contains('@')) out += ldif_line("mail", e.resource);
  // A day long past: the account has expired.
  if (locked) out += ldif_line("shadowExpire", "1");
  return out + '\n';
}

std::string ldif_group(const Exported& e, const ExportOptions& options) {
  std::string out = ldif_line("dn", "cn=" + e.name + ",ou=groups," + options.base_dn);
  for (const char* object_class : {"top", "posixGroup"}) {
    out += ldif_line("objectClass", object_class);
  }
  out += ldif_line("cn", e.name);
  out += ldif_line("gidNumber", std::to_string(e.number));
  for (const std::string& member : e.members) out += ldif_line("memberUid", member);
  return out + '\n';
}

}  // namespace

std::string export_head(const ExportOptions& options) {
  switch (options.format) {
    case ImportFormat::kPasswd:
      return "";
    case ImportFormat::kLdif:
      return "version: 1\n\n";
    case ImportFormat::kCsv:
      return options.groups ? "name,gid,displayName,externalId,client,members,state\n"
                            : "login,uid,gid,userName,externalId,client,gecos,home,shell,state\n";
  }
  return "";
}

Result<std::string> export_entry(const Exported& entry, const ExportOptions& options) {
  RETURN_IF_ERROR(check(entry));
  if (options.format == ImportFormat::kCsv) {
    return entry.is_group == options.groups ? csv_entry(entry) : "";
  }
  if (state_of(entry) == State::kDeleted) return "";
  const bool ldif = options.format == ImportFormat::kLdif;
  if (!options.groups) {
    if (entry.is_group) return "";
    const Exported effective = in_effect(entry, options);
    return ldif ? ldif_person(effective, options) : passwd_line(effective);
  }
  if (!entry.is_group && entry.gid != entry.number) return "";
  return ldif ? ldif_group(entry, options)
              : entry.name + ":x:" + std::to_string(entry.number) + ':' + joined(entry.members) +
                    '\n';
}

}  // namespace roster::sync
