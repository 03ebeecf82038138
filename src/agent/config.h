#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "node/settings.h"

namespace roster::agent {

/// Where the node's own accounts and rules are kept. subuid, subgid and deny that do
/// not exist count as empty.
struct LocalSources {
  std::filesystem::path passwd = "/etc/passwd";  // passwd(5)
  std::filesystem::path group = "/etc/group";    // group(5)
  std::filesystem::path subuid = "/etc/subuid";  // subuid(5)
  std::filesystem::path subgid = "/etc/subgid";
  std::filesystem::path deny = "/etc/roster/deny";  // name or uid per line, '#' comments
};

struct Config {
  std::string url;
  std::string org;        // empty: the join token's; else it must be that one
  std::string node_name;  // empty: the host's name
  std::string role;       // empty: the join token's; else it must be that one
  std::filesystem::path join_token_file;
  std::filesystem::path state_dir = "/var/lib/roster/agent";
  std::filesystem::path cache_dir = "/var/lib/roster/cache";
  std::filesystem::path socket = "/run/roster/agent.sock";
  bool plain_http = false;
  std::filesystem::path ca_file;  // empty: the CA learned at enrolment, else the system's
  std::string ca_sha256;          // hex; pins the CA when the join token carries no fingerprint
  std::chrono::milliseconds heartbeat{60'000};
  std::chrono::milliseconds debounce{-1};  // negative: by role
  std::chrono::milliseconds max_stale{0};  // 0: keys are never withheld
  bool keys = true;
  std::string keys_group = "roster-keys";
  bool allow_any_filesystem = false;
  LocalSources local;
  node::Settings node;  // of `roster-agent setup`: checked here, used there
  std::string log_level = "info";
  std::string log_format = "text";
  // Not in the file: tests shorten them.
  std::chrono::milliseconds backoff_min{500};
  std::chrono::milliseconds backoff_max{60'000};
};

/// Defaults, then the file when there is one. Flags are applied by the caller, then `validate`.
/// kInvalidArgument naming file, line and key.
Result<Config> load_config(const std::optional<std::filesystem::path>& file);

/// Checks values that depend on each other, and fills in `node_name` and `join_token_file`.
/// kInvalidArgument naming the setting.
Result<void> validate(Config& config);

/// Longest delay between a change's arrival and its publication on a node of this role. Compute
/// nodes get a random part of it, so that a thousand of them do not work in the same instant.
std::chrono::milliseconds default_debounce(std::string_view role);

}  // namespace roster::agent
