#include "sync/settings.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/config.h"
#include "base/encoding.h"
#include "base/file.h"
#include "base/text.h"
#include "sync/scim_source.h"

namespace roster::sync {
namespace {

constexpr std::size_t kTokenBytesMax = 16 << 10;
constexpr std::size_t kPrefixBytesMax = 64;
constexpr std::string_view kPrefix = "roster:";
constexpr std::string_view kActivatePrefix = "pw-activate:";
constexpr std::string_view kCoreWeaveScim = "https://api.coreweave.com/scim/";

Result<Secret> token_of(const Endpoint& endpoint, const Secret& given, std::string_view setting) {
  if (endpoint.token_file.empty()) {
    if (!given.empty()) return given;
    return fail(Code::kInvalidArgument, std::string(setting) +
                                            ": missing (a file with the token, mode 0600), and "
                                            "there is none in the environment");
  }
  ASSIGN_OR_RETURN(std::string token, read_private_file(endpoint.token_file, kTokenBytesMax));
  return Secret(std::move(token));
}

Result<scim_client::Options> client_options(const Endpoint& endpoint, const Secret& given,
                                            const std::string& section) {
  scim_client::Options options;
  options.url_setting = section + ".url";
  options.token_setting = section + ".token_file";
  options.url = endpoint.url;
  while (options.url.ends_with('/')) options.url.pop_back();
  if (options.url.empty()) {
    return fail(Code::kInvalidArgument, options.url_setting +
                                            ": missing (the base of the SCIM service, such as "
                                            "https://HOST/api/organizations/ORG/scim/v2)");
  }
  ASSIGN_OR_RETURN(options.token, token_of(endpoint, given, options.token_setting));
  options.ca_file = endpoint.ca_file;
  options.user_agent = "roster-sync";
  return options;
}

void bind_ldap(ConfigReader& reader, LdapOptions& ldap) {
  reader.bind("source.start_tls", ldap.server.start_tls);
  reader.bind("source.bind_dn", ldap.server.bind_dn);
  reader.bind("source.password_file", ldap.server.password_file);
  reader.bind("source.sasl_external", ldap.server.sasl_external);
  reader.bind("source.people_base", ldap.people_base);
  reader.bind("source.people_filter", ldap.people_filter);
  reader.bind("source.groups_base", ldap.groups_base);
  reader.bind("source.groups_filter", ldap.groups_filter);
  reader.bind("source.active_filter", ldap.active_filter);
  reader.bind("source.active_percent_min", ldap.active_percent_min, 0, 100);
  reader.bind("source.inactive", ldap.inactive);
  reader.bind("source.attributes.key", ldap.key);
  reader.bind("source.attributes.group_key", ldap.group_key);
  reader.bind("source.attributes.user_name", ldap.user_name);
  reader.bind("source.attributes.group_name", ldap.group_name);
  reader.bind("source.attributes.display_name", ldap.display_name);
  reader.bind("source.attributes.given_name", ldap.given_name);
  reader.bind("source.attributes.family_name", ldap.family_name);
  reader.bind("source.attributes.email", ldap.email);
  reader.bind("source.attributes.home", ldap.home);
  reader.bind("source.attributes.shell", ldap.shell);
  reader.bind("source.attributes.gid_number", ldap.gid_number);
  reader.bind("source.attributes.ssh_keys", ldap.ssh_keys);
  reader.bind("source.attributes.member_uid", ldap.member_uid);
  reader.bind("source.attributes.member", ldap.member);
}

void bind_files(ConfigReader& reader, FilesOptions& files) {
  reader.bind("source.passwd", files.passwd);
  reader.bind("source.group", files.group);
  reader.bind("source.shadow", files.shadow);
  reader.bind("source.id_min", files.id_min, 0, 2'147'483'647);
  reader.bind("source.id_max", files.id_max, 0, 2'147'483'647);
  reader.bind("source.nologin_is_inactive", files.nologin_is_inactive);
  reader.bind("source.locked_password_is_inactive", files.locked_password_is_inactive);
}

void bind_activate(ConfigReader& reader, ActivateOptions& activate) {
  reader.bind("source.organization", activate.organization);
  reader.bind("source.user_key", activate.user_key);
  reader.bind("source.pw_program", activate.pw_program);
  reader.bind("source.pw_timeout", activate.pw_timeout);
  reader.bind("source.pw_home", activate.pw_home);
}

/// The program of this name in PATH, or nothing.
std::filesystem::path in_path(const std::string& name, const Environment& environment) {
  for (const std::string_view directory : split(environment("PATH").value_or(""), ':')) {
    if (!directory.starts_with('/')) continue;
    std::filesystem::path program = std::filesystem::path(directory) / name;
    if (::access(program.c_str(), X_OK) == 0) return program;
  }
  return {};
}

/// A value that was made of a file ends with its newline.
template <typename T>
void fill(T& setting, const std::optional<std::string>& value) {
  if (setting.empty() && value) setting = T(std::string(trim(*value, "\r\n")));
}

}  // namespace

Settings::Settings() {
  auto defaults = ldap_defaults(ldap_schema);
  CHECK(defaults);
  ldap = std::move(*defaults);
}

Result<void> Settings::read_file(const std::filesystem::path& file) {
  ConfigReader schema;
  schema.bind("source.schema", ldap_schema);
  schema.ignore_unknown_keys();
  RETURN_IF_ERROR(schema.read_file(file));
  auto defaults = ldap_defaults(ldap_schema);
  if (!defaults) return fail_in(file.string() + ": source.schema", defaults.error());
  ldap = std::move(*defaults);

  ConfigReader reader;
  reader.bind("prefix", prefix);
  const std::vector<std::string> not_given{std::string(1, '\0')};
  std::vector<std::string> listed = not_given;
  reader.bind("groups", listed);
  reader.bind("parallel", parallel, 1, 64);
  reader.bind("homes_and_shells", homes_and_shells);
  reader.bind("shrink.people", shrink_people_max, 0, 1'000'000);
  reader.bind("shrink.percent", shrink_percent_max, 0, 100);
  reader.bind("source.kind", source_kind);
  reader.bind("source.schema", ldap_schema);
  reader.bind("source.url", source.url);
  reader.bind("source.token_file", source.token_file);
  reader.bind("source.ca_file", source.ca_file);
  reader.bind("source.overlap", source.overlap);
  reader.bind("destination.url", destination.url);
  reader.bind("destination.token_file", destination.token_file);
  reader.bind("destination.ca_file", destination.ca_file);
  reader.bind("destination.overlap", destination.overlap);
  reader.bind("destination.replace_members", replace_members);
  bind_ldap(reader, ldap);
  bind_files(reader, files);
  bind_activate(reader, activate);
  RETURN_IF_ERROR(reader.read_file(file));
  if (listed == not_given) return {};
  if (listed.empty() || std::ranges::find(listed, "") != listed.end()) {
    return fail(Code::kInvalidArgument,
                file.string() + ": groups: holds no name; leave it out when everybody is meant");
  }
  groups = std::move(listed);
  return {};
}

Result<void> Settings::read_environment(const Environment& environment) {
  fill(source_token, environment("ROSTER_SYNC_SOURCE_TOKEN"));
  fill(destination_token, environment("ROSTER_SYNC_TOKEN"));

  const auto api_key = environment("ACTIVATE_API_KEY");
  if (api_key && source_kind.empty()) source_kind = "activate";
  if (source_kind == "activate") {
    fill(source_token, api_key);
    fill(source.url, environment("ACTIVATE_API_URL"));
    fill(activate.organization, environment("ACTIVATE_ORG_NAME"));
    if (activate.pw_program.empty()) activate.pw_program = in_path("pw", environment);
    const std::string names = environment("ACTIVATE_SYNC_GROUPS").value_or("");
    if (groups.empty()) {
      for (const std::string_view name : split(names, ',')) {
        if (!trim(name).empty()) groups.emplace_back(trim(name));
      }
      if (groups.empty() && !names.empty()) {
        return fail(Code::kInvalidArgument, "ACTIVATE_SYNC_GROUPS: holds no name");
      }
    }
  }

  const auto owner = environment("CW_SCIM_ORG_USERID");
  const auto token = environment("CW_SCIM_BEARER_TOKEN");
  if (owner && destination.url.empty()) {
    if (!token && destination.token_file.empty()) {
      return fail(Code::kInvalidArgument,
                  "CW_SCIM_BEARER_TOKEN: missing beside CW_SCIM_ORG_USERID");
    }
    destination.url = std::string(kCoreWeaveScim) + percent_encode(trim(*owner, " \t\r\n"));
    replace_members = true;
    fill(destination_token, token);  // for that server, and no other
    if (prefix.empty() && source_kind == "activate") prefix = kActivatePrefix;
  }
  return {};
}

Result<std::unique_ptr<Source>> Settings::open_source(const Surroundings& surroundings) const {
  if (source_kind == "scim") {
    ScimOptions options{.server = {}, .overlap = source.overlap};
    ASSIGN_OR_RETURN(options.server, client_options(source, source_token, "source"));
    options.server.random = surroundings.random;
    return open_scim(std::move(options), surroundings.pause);
  }
  if (source_kind == "activate") {
    ActivateOptions options = activate;
    options.url = source.url;
    options.ca_file = source.ca_file;
    options.groups = groups;
    ASSIGN_OR_RETURN(options.credential, token_of(source, source_token, "source.token_file"));
    return open_activate(std::move(options), surroundings);
  }
  if (source_kind == "ldap") {
    LdapOptions options = ldap;
    options.server.url = source.url;
    options.server.ca_file = source.ca_file;
    return open_ldap(std::move(options), surroundings);
  }
  if (source_kind == "files") return open_files(files, surroundings.clock);
  return fail(Code::kInvalidArgument, source_kind.empty()
                                          ? "source.kind: missing (scim, activate, ldap or files)"
                                          : "source.kind: there is no kind \"" + source_kind +
                                                "\" (scim, activate, ldap or files)");
}

Result<Destination> Settings::open_destination(const Surroundings& surroundings) const {
  DestinationOptions options;
  options.prefix = prefix.empty() ? kPrefix : prefix;
  const bool ambiguous = options.prefix.ends_with("user:") || options.prefix.ends_with("group:");
  if (options.prefix.size() > kPrefixBytesMax || ambiguous) {
    return fail(Code::kInvalidArgument,
                "prefix: 1 to 64 bytes that do not end with \"user:\" or \"group:\", such as "
                "\"roster:\": it marks what may be changed");
  }
  ASSIGN_OR_RETURN(options.server, client_options(destination, destination_token, "destination"));
  options.parallel = static_cast<std::size_t>(parallel);
  options.replace_members = replace_members;
  options.overlap = destination.overlap;
  options.server.random = surroundings.random;
  return Destination(std::move(options), surroundings.pause);
}

RunOptions Settings::run_options() const {
  RunOptions options;
  options.groups = groups;
  options.homes_and_shells = homes_and_shells;
  options.plan.shrink_people_max = static_cast<std::size_t>(shrink_people_max);
  options.plan.shrink_percent_max = static_cast<std::size_t>(shrink_percent_max);
  options.plan.accept_shrink = accept_shrink;
  options.plan.accept_return = accept_return;
  return options;
}

}  // namespace roster::sync
