#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/config.h"
#include "base/json.h"
#include "base/result.h"

namespace roster::node {

/// What Roster does on this node: four switches, and what they need.
struct Settings {
  bool user_population = true;   // people and groups through nsswitch.conf
  bool home_directories = true;  // made at the first login, by pam_mkhomedir
  bool ssh_keys = true;          // keys from the node's cache, by sshd's AuthorizedKeysCommand
  bool sudo_access = false;      // for members of the groups with the numbers of `sudo_gids`
  std::vector<std::int64_t> sudo_gids;
  std::string home_umask = "0077";  // octal, of new home directories
  bool home_keys = false;           // keys in home directories (~/.ssh) go on opening accounts
  bool operator==(const Settings&) const = default;
};

inline constexpr std::int64_t kSudoGidMin = 1000;
inline constexpr std::int64_t kSudoGidMax = 2147483647;

/// The `[node]` table of agent.toml.
void bind_settings(ConfigReader& reader, Settings& settings);

/// kInvalidArgument naming the setting: a umask that is not octal or that lets others write, sudo
/// without gids or with those of nobody (65534, 65535).
Result<void> validate(const Settings& settings);

json::object to_json(const Settings& settings);
/// kInvalidArgument naming the member.
Result<Settings> settings_from_json(const json::object& o);

/// Where things are on this node. Only tests name others.
struct Paths {
  std::filesystem::path nsswitch = "/etc/nsswitch.conf";
  std::filesystem::path sshd_config = "/etc/ssh/sshd_config";
  std::filesystem::path sshd_snippet = "/etc/ssh/sshd_config.d/50-roster.conf";
  std::filesystem::path sudoers_snippet = "/etc/sudoers.d/50-roster";
  /// The first that exists gets the lines for homes: Debian's, outside of what pam-auth-update(8)
  /// manages; elsewhere sshd's own, which no tool manages.
  std::vector<std::filesystem::path> pam_stacks = {"/etc/pam.d/common-session", "/etc/pam.d/sshd"};
  std::vector<std::filesystem::path> pam_modules = {"/usr/lib/x86_64-linux-gnu/security",
                                                    "/usr/lib/aarch64-linux-gnu/security",
                                                    "/usr/lib64/security", "/usr/lib/security"};
  std::filesystem::path record_dir = "/var/lib/roster/setup";
  std::filesystem::path sshd = "/usr/sbin/sshd";
  std::filesystem::path visudo = "/usr/sbin/visudo";
  std::filesystem::path getent = "/usr/bin/getent";
  std::filesystem::path key_helper = "/usr/bin/roster-authorized-keys";
  std::filesystem::path passwd = "/etc/passwd";
  std::filesystem::path kept_keys = "/etc/ssh/authorized_keys.d";  // a file of root for each NAME
  std::string nss_module = "libnss_roster.so.2";
  std::string keys_user = "roster-keys";
  uid_t owner = 0;  // of every file that is read or written, and of their directories
};

/// Settings of a file that only root may write: `[node]`; defaults without a file. It decides who
/// may become root, so it and its directories must be root's and nobody else's to write, and no
/// symlinks: kPermissionDenied otherwise, kInvalidArgument naming file, line and key.
Result<Settings> load_settings(const std::filesystem::path& file, uid_t owner);

}  // namespace roster::node
