#include "agent/config.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>

#include "base/config.h"
#include "base/unicode.h"
#include "feed/enrollment.h"

namespace roster::agent {
namespace {

using std::chrono::milliseconds;

std::unexpected<Error> bad(std::string_view setting, std::string_view why) {
  return fail(Code::kInvalidArgument, std::string(setting) + " " + std::string(why));
}

Result<std::string> host_name() {
  std::array<char, 256> buffer{};
  if (gethostname(buffer.data(), buffer.size() - 1) != 0) {
    return fail(Code::kInternal, "gethostname failed");
  }
  return ascii_lower(buffer.data());
}

/// systemd's LoadCredential=join-token gives root's file to a service without root.
std::filesystem::path default_join_token_file() {
  const char* credentials = std::getenv("CREDENTIALS_DIRECTORY");
  if (credentials != nullptr && *credentials == '/') {
    return std::filesystem::path(credentials) / "join-token";
  }
  return "/etc/roster/join-token";
}

}  // namespace

Result<Config> load_config(const std::optional<std::filesystem::path>& file) {
  Config config;
  if (!file) return config;
  ConfigReader reader;
  reader.bind("url", config.url);
  reader.bind("org", config.org);
  reader.bind("node_name", config.node_name);
  reader.bind("role", config.role);
  reader.bind("join_token_file", config.join_token_file);
  reader.bind("state_dir", config.state_dir);
  reader.bind("cache_dir", config.cache_dir);
  reader.bind("socket", config.socket);
  reader.bind("plain_http", config.plain_http);
  reader.bind("ca_file", config.ca_file);
  reader.bind("ca_sha256", config.ca_sha256);
  reader.bind("heartbeat", config.heartbeat);
  reader.bind("debounce", config.debounce);
  reader.bind("max_stale", config.max_stale);
  reader.bind("keys", config.keys);
  reader.bind("keys_group", config.keys_group);
  reader.bind("allow_any_filesystem", config.allow_any_filesystem);
  reader.bind("deny_file", config.local.deny);
  reader.bind("local.passwd", config.local.passwd);
  reader.bind("local.group", config.local.group);
  reader.bind("local.subuid", config.local.subuid);
  reader.bind("local.subgid", config.local.subgid);
  node::bind_settings(reader, config.node);
  reader.bind("log.level", config.log_level);
  reader.bind("log.format", config.log_format);
  RETURN_IF_ERROR(reader.read_file(*file));
  return config;
}

Result<void> validate(Config& config) {
  if (config.url.empty()) return bad("url", "is not set: --url https://HUB or url in the config");
  if (!config.org.empty() && !feed::is_org_slug(config.org)) {
    return bad("org", "is not an organization's slug ([a-z0-9-])");
  }
  if (!config.role.empty() && !feed::is_label(config.role)) {
    return bad("role", "is not a role's name ([a-z0-9_-])");
  }
  if (config.node_name.empty()) {
    ASSIGN_OR_RETURN(config.node_name, host_name());
  }
  if (!feed::is_node_name(config.node_name)) {
    return bad("node_name", "\"" + config.node_name + "\" is not a host name of [a-z0-9.-]");
  }
  if (config.join_token_file.empty()) config.join_token_file = default_join_token_file();
  if (!config.ca_sha256.empty() &&
      (config.ca_sha256.size() != 64 || !std::ranges::all_of(config.ca_sha256, [](char c) {
         return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
       }))) {
    return bad("ca_sha256", "is not 64 lower-case hex digits");
  }
  if (config.heartbeat < milliseconds(1'000) || config.heartbeat > milliseconds(300'000)) {
    return bad("heartbeat", "is not from 1s to 300s");
  }
  if (config.debounce > milliseconds(60'000)) return bad("debounce", "is above 60s");
  if (config.max_stale != milliseconds(0) && config.max_stale < 3 * config.heartbeat) {
    return bad("max_stale", "is below three heartbeats");
  }
  for (const auto& [name, path] : {std::pair{"state_dir", &config.state_dir},
                                   {"cache_dir", &config.cache_dir},
                                   {"socket", &config.socket}}) {
    if (!path->is_absolute()) return bad(name, "is not an absolute path");
  }
  return {};
}

milliseconds default_debounce(std::string_view role) {
  if (role == "compute") return milliseconds(5'000);
  if (role == "storage") return milliseconds(500);
  return milliseconds(0);  // login, controller, dbd, rest: somebody waits for the answer
}

}  // namespace roster::agent
