#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/secret.h"
#include "scim_client/server.h"

namespace roster::mirror {

/// The maps of nsscache that a SCIM server can fill.
enum class Map : std::uint8_t { kPasswd, kGroup, kShadow, kSshKey };

inline constexpr std::array kAllMaps = {Map::kPasswd, Map::kGroup, Map::kShadow, Map::kSshKey};

/// "passwd", "group", "shadow", "sshkey".
std::string_view map_name(Map map);
std::optional<Map> map_by_name(std::string_view name);

/// Where a resource has an attribute: names of nested objects, "urn:.../sunkPosixUsername" is two.
using Path = std::vector<std::string>;

/// What becomes of somebody with `active: false`.
enum class Inactive : std::uint8_t { kOmit, kLock };

/// How several keys of one person stand in the sshkey map.
enum class KeyForm : std::uint8_t {
  kPythonList,  // name:['key', 'key'], as nsscache writes it
  kLines,       // name:key, a line for each
};

struct Server {
  std::string base_url;  // without '/' at the end

  std::chrono::milliseconds timeout{60'000};  // of one request
  int tries = 3;
  std::chrono::milliseconds retry_delay{5'000};
  std::int64_t cursor_pages_max = 500;
  bool operator==(const Server&) const = default;
};

/// Where the attributes of people and groups are, and what stands for those that are missing.
struct Attributes {
  Path user_name{"userName"};
  Path uid;
  Path gid;
  Path home;
  Path shell;
  Path ssh_keys;
  Path group_gid;
  Path group_name;            // empty: displayName
  Path member{"userName"};    // inside an element of `members`
  std::string home_template;  // with %u; empty: what the server says
  std::string default_shell = "/bin/bash";
  std::array<std::string, 7> shadow;  // lstchg, min, max, warn, inact, expire, flag
};

/// What a map, or an index of it, is read up to.
inline constexpr std::size_t kMapBytesMax = std::size_t{1} << 30;

/// A map's files.
struct Files {
  std::filesystem::path directory;
  std::string suffix = "cache";
  std::filesystem::path of(Map map) const {
    return directory / (std::string(map_name(map)) + "." + suffix);
  }
};

/// Everything that one pass needs, from nsscache.conf(5).
struct Settings {
  std::vector<Map> maps;     // in the order of the file: what is read is for all of them
  std::vector<Map> written;  // of these
  Server server;
  scim_client::Listing users;
  scim_client::Listing groups;
  Secret token;
  Attributes attributes;
  std::array<Files, kAllMaps.size()> files;  // by Map
  std::filesystem::path timestamp_dir;
  std::filesystem::path lock_file = "/var/run/nsscache";

  // Ours, by keys that begin with roster_; nsscache does not look at them.
  Inactive inactive = Inactive::kOmit;
  KeyForm key_form = KeyForm::kPythonList;
  std::uint32_t id_min = 1000;
  std::vector<std::string> admitted_names;  // although posix::is_reserved_name
  std::filesystem::path ca_file;            // PEM; empty: the system's
  std::filesystem::path state_file;         // what is remembered between passes

  /// The file's text: while it is the same, so are the settings.
  std::string fingerprint;
  /// What is accepted but has no effect, one sentence each.
  std::vector<std::string> notes;

  bool has(Map map) const;
  const Files& files_of(Map map) const { return files[static_cast<std::size_t>(map)]; }
};

/// Reads nsscache.conf as nsscache does, unchanged. `environment_token`: NSSCACHE_SCIM_AUTH_TOKEN,
/// used when the file has none. kInvalidArgument naming section and key for what is wrong or
/// missing, and for what cannot be honoured: another source or cache than scim and files, an
/// unverified connection, an unknown option of scim, files or roster. `maps`: write only these of
/// the file's; everything is read all the same.
Result<Settings> parse_settings(std::string_view text, std::string_view environment_token,
                                std::string_view maps = "");

}  // namespace roster::mirror
