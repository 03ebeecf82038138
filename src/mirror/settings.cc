#include "mirror/settings.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "base/encoding.h"
#include "base/text.h"
#include "base/unicode.h"
#include "mirror/python_ini.h"
#include "posix/id_ranges.h"
#include "posix/shell.h"

namespace roster::mirror {
namespace {

constexpr std::string_view kDefault = "DEFAULT";
constexpr std::string_view kBlanks = " \t\r\n";
constexpr std::array<std::string_view, 7> kShadowFields = {"lstchg", "min",    "max", "warn",
                                                           "inact",  "expire", "flag"};
/// Sources and caches of nsscache that are not ours. A file may hold settings of those, which
/// nsscache leaves alone, too, while another source is chosen.
constexpr std::array<std::string_view, 6> kOthers = {"ldap_", "http_",   "s3_",
                                                     "gcs_",  "consul_", "nssdb_"};

std::unexpected<Error> bad(std::string_view section, std::string_view key, std::string_view why) {
  return fail(Code::kInvalidArgument,
              "[" + std::string(section) + "] " + std::string(key) + ": " + std::string(why));
}

constexpr double kNumberMax = 1e12;

/// At most an hour, and not nothing of what is more than nothing.
std::chrono::milliseconds in_milliseconds(double seconds) {
  return std::chrono::milliseconds(std::llround(std::ceil(std::min(seconds, 3600.0) * 1000)));
}

std::string unquoted(std::string text) {
  const bool quoted = text.size() >= 2 && (text.front() == '"' || text.front() == '\'') &&
                      text.back() == text.front();
  return quoted ? text.substr(1, text.size() - 2) : text;
}

std::vector<std::string> split_trimmed(std::string_view text, char separator) {
  std::vector<std::string> parts;
  for (const std::string_view part : split(text, separator))
    parts.emplace_back(trim(part, kBlanks));
  return parts;
}

/// Encoded, as nsscache does with what stands there plainly: the last of repeated names counts, at
/// the place of the first.
std::string encoded_parameters(std::string_view text, bool& by_cursor) {
  while (text.starts_with('?') || text.starts_with('&')) text.remove_prefix(1);
  std::vector<std::pair<std::string, std::string>> items;
  for (const std::string& part : split_trimmed(text, '&')) {
    if (part.empty()) continue;
    const std::size_t at = part.find('=');
    std::string name = part.substr(0, at);
    std::string value = at != std::string::npos ? part.substr(at + 1) : std::string();
    by_cursor = by_cursor || name == "cursor";
    const auto known = std::ranges::find(items, name, &std::pair<std::string, std::string>::first);
    if (known != items.end()) {
      known->second = std::move(value);
    } else {
      items.emplace_back(std::move(name), std::move(value));
    }
  }
  std::string out;
  for (const auto& [name, value] : items) {
    if (!out.empty()) out += '&';
    out.append(percent_encode(name)).append("=").append(percent_encode(value));
  }
  return out;
}

/// One section with what it inherits; remembers which of its keys somebody knows.
class Section {
 public:
  Section(const PythonIni& ini, std::string name) : ini_(ini), name_(std::move(name)) {}

  const std::string& name() const { return name_; }

  Result<std::optional<std::string>> text(std::string_view key) {
    known_.emplace_back(key);
    ASSIGN_OR_RETURN(std::optional<std::string> value, ini_.get(name_, key));
    if (value) value = unquoted(std::move(*value));
    return value;
  }
  Result<std::string> text_or(std::string_view key, std::string_view fallback) {
    ASSIGN_OR_RETURN(std::optional<std::string> value, text(key));
    return value ? std::move(*value) : std::string(fallback);
  }
  Result<std::string> required(std::string_view key) {
    ASSIGN_OR_RETURN(const std::optional<std::string> value, text(key));
    if (!value || value->empty()) return bad(name_, key, "it is required");
    return *value;
  }
  /// Not below `least`; kNumberMax stands for what is more.
  Result<double> number_or(std::string_view key, double fallback, double least) {
    ASSIGN_OR_RETURN(const std::optional<std::string> value, text(key));
    if (!value) return fallback;
    const std::optional<double> number = python_number(*value);
    if (!number || !std::isfinite(*number)) {
      return bad(name_, key, "\"" + *value + "\" is not a number");
    }
    if (*number < least) {
      return bad(name_, key,
                 "\"" + *value + "\" is too small: it is at least " +
                     std::to_string(static_cast<std::int64_t>(least)));
    }
    return std::min(*number, kNumberMax);
  }
  Result<std::int64_t> whole_or(std::string_view key, std::int64_t fallback, std::int64_t least) {
    ASSIGN_OR_RETURN(const double number,
                     number_or(key, static_cast<double>(fallback), static_cast<double>(least)));
    if (number != std::floor(number)) return bad(name_, key, "it is a whole number");
    return static_cast<std::int64_t>(number);
  }
  Result<Path> path(std::string_view key, std::string_view fallback) {
    ASSIGN_OR_RETURN(const std::string value, text_or(key, fallback));
    if (value.empty()) return Path();
    Path path = split_trimmed(value, '/');
    const bool hollow = std::ranges::any_of(path, &std::string::empty);
    if (hollow || path.size() > 8) return bad(name_, key, "\"" + value + "\" is no path of names");
    return path;
  }

  /// Keys of ours and of the chosen source and cache that nobody asked for.
  Result<void> check_all_known() const {
    for (const std::string& key : ini_.keys(name_)) {
      const bool ours =
          key.starts_with("scim_") || key.starts_with("files_") || key.starts_with("roster_");
      if (!ours || std::ranges::find(known_, key) != known_.end()) continue;
      return bad(name_, key, "this option is not known here, so what it asks for would not happen");
    }
    return {};
  }

 private:
  const PythonIni& ini_;
  std::string name_;
  std::vector<std::string> known_;
};

class SettingsReader {
 public:
  SettingsReader(const PythonIni& ini, std::string_view environment_token, std::string_view maps)
      : ini_(ini), environment_token_(environment_token), chosen_(maps) {}

  Result<Settings> read() {
    RETURN_IF_ERROR(read_general());
    for (const Map map : out_.maps) RETURN_IF_ERROR(read_map(map));
    for (const std::string& section : ini_.sections()) {
      if (!map_by_name(section)) note_other_section(section);
    }
    if (out_.has(Map::kPasswd) && out_.attributes.uid.empty()) {
      return bad("passwd", "scim_path_uid", "it is required for the map passwd");
    }
    if (out_.has(Map::kPasswd) && out_.attributes.gid.empty()) {
      return bad("passwd", "scim_path_gid", "it is required for the map passwd");
    }
    if (out_.has(Map::kGroup) && out_.attributes.group_gid.empty()) {
      return bad("group", "scim_path_gid", "it is required for the map group");
    }
    if (out_.has(Map::kSshKey) && out_.attributes.ssh_keys.empty()) {
      return bad("sshkey", "scim_path_ssh_keys", "it is required for the map sshkey");
    }
    if (out_.state_file.empty()) out_.state_file = out_.timestamp_dir / "roster-mirror.json";
    return std::move(out_);
  }

 private:
  Result<void> read_general() {
    Section section(ini_, std::string(kDefault));
    ASSIGN_OR_RETURN(const std::string maps, section.required("maps"));
    ASSIGN_OR_RETURN(out_.maps, read_maps(maps));
    ASSIGN_OR_RETURN(out_.written, read_maps(chosen_.empty() ? maps : chosen_));
    for (const Map map : out_.written) {
      if (out_.has(map)) continue;
      return bad(kDefault, "maps", "it has no " + std::string(map_name(map)));
    }
    ASSIGN_OR_RETURN(out_.timestamp_dir, section.required("timestamp_dir"));
    ASSIGN_OR_RETURN(out_.lock_file, section.text_or("lockfile", out_.lock_file.string()));
    return read_ours(section);
  }

  static Result<std::vector<Map>> read_maps(std::string_view text) {
    std::vector<Map> maps;
    for (const std::string& name : split_trimmed(text, ',')) {
      const auto map = map_by_name(name);
      if (!map) {
        return bad(kDefault, "maps",
                   "\"" + name + "\" is none of passwd, group, shadow, sshkey; take it out");
      }
      if (std::ranges::find(maps, *map) == maps.end()) maps.push_back(*map);
    }
    return maps;
  }

  Result<void> read_ours(Section& section) {
    ASSIGN_OR_RETURN(const std::string inactive, section.text_or("roster_inactive", "omit"));
    if (inactive != "omit" && inactive != "lock") {
      return bad(kDefault, "roster_inactive", "it is omit or lock");
    }
    out_.inactive = inactive == "lock" ? Inactive::kLock : Inactive::kOmit;
    ASSIGN_OR_RETURN(const std::string form, section.text_or("roster_sshkey_form", "list"));
    if (form != "list" && form != "lines") {
      return bad(kDefault, "roster_sshkey_form", "it is list or lines");
    }
    out_.key_form = form == "lines" ? KeyForm::kLines : KeyForm::kPythonList;
    ASSIGN_OR_RETURN(const std::int64_t id_min,
                     section.whole_or("roster_id_min", posix::kIdMin, 0));
    if (id_min < posix::kIdMin || id_min > posix::kIdMax) {
      return bad(kDefault, "roster_id_min",
                 "it is from " + std::to_string(posix::kIdMin) + ": smaller ids are the system's");
    }
    out_.id_min = static_cast<std::uint32_t>(id_min);
    ASSIGN_OR_RETURN(const std::string admitted, section.text_or("roster_admit_names", ""));
    if (!admitted.empty()) out_.admitted_names = split_trimmed(admitted, ',');
    ASSIGN_OR_RETURN(out_.ca_file, section.text_or("roster_ca_file", ""));
    ASSIGN_OR_RETURN(out_.state_file, section.text_or("roster_state_file", ""));
    return {};
  }

  Result<void> read_map(Map map) {
    Section section(ini_, std::string(map_name(map)));
    ASSIGN_OR_RETURN(const std::string source, section.required("source"));
    ASSIGN_OR_RETURN(const std::string cache, section.required("cache"));
    if (source != "scim") {
      return bad(section.name(), "source", "\"" + source + "\": only scim can be read here");
    }
    if (cache != "files") {
      return bad(section.name(), "cache", "\"" + cache + "\": only files can be written here");
    }
    RETURN_IF_ERROR(read_source(map, section));
    RETURN_IF_ERROR(read_attributes(map, section));
    Files& files = out_.files[static_cast<std::size_t>(map)];
    ASSIGN_OR_RETURN(files.directory, section.text_or("files_dir", "."));
    ASSIGN_OR_RETURN(files.suffix, section.text_or("files_cache_filename_suffix", "cache"));
    if (files.suffix.empty() || files.suffix.contains('/')) {
      return bad(section.name(), "files_cache_filename_suffix", "it is no part of a file's name");
    }
    // Read once, from [DEFAULT].
    for (const char* key : {"roster_inactive", "roster_sshkey_form", "roster_id_min",
                            "roster_ca_file", "roster_state_file", "roster_admit_names"}) {
      ASSIGN_OR_RETURN(const auto here, section.text(key));
      ASSIGN_OR_RETURN(const auto there, ini_.get(kDefault, key));
      if (here && (!there || *here != unquoted(*there))) {
        return bad(section.name(), key, "it counts for all maps: write it into [DEFAULT]");
      }
    }
    RETURN_IF_ERROR(section.check_all_known());
    for (const std::string& key : ini_.keys(section.name())) {
      if (std::ranges::any_of(kOthers, [&key](auto prefix) { return key.starts_with(prefix); })) {
        note(key + " is of a source or cache that is not chosen");
      }
    }
    return {};
  }

  /// All maps come from one server, and those of people from one list: else they would be of
  /// different moments.
  Result<void> read_source(Map map, Section& section) {
    ASSIGN_OR_RETURN(Server server, read_server(section));
    ASSIGN_OR_RETURN(std::string token, section.text_or("scim_auth_token", ""));
    if (token.empty()) token = environment_token_;
    if (token.empty()) {
      return bad(section.name(), "scim_auth_token",
                 "there is no token, neither here nor in NSSCACHE_SCIM_AUTH_TOKEN");
    }
    ASSIGN_OR_RETURN(scim_client::Listing users, read_listing(section, "users", "Users"));
    ASSIGN_OR_RETURN(scim_client::Listing groups, read_listing(section, "groups", "Groups"));
    const bool same_server = std::exchange(server_read_, true)
                                 ? server == out_.server && token == out_.token.expose()
                                 : true;
    out_.server = std::move(server);
    out_.token = Secret(std::move(token));
    scim_client::Listing& ours = map == Map::kGroup ? out_.groups : out_.users;
    scim_client::Listing& asked = map == Map::kGroup ? groups : users;
    const bool same_list = ours.endpoint.empty() || ours == asked;
    ours = std::move(asked);
    if (same_server && same_list) return {};
    return bad(section.name(), "scim_*",
               "the maps are made of one reading of one server, but this one asks another server, "
               "otherwise, or for another list of people than the map before it");
  }

  Result<Server> read_server(Section& section) {
    Server server;
    ASSIGN_OR_RETURN(server.base_url, section.required("scim_base_url"));
    while (server.base_url.ends_with('/')) server.base_url.pop_back();
    ASSIGN_OR_RETURN(const double timeout, section.number_or("scim_timeout", 60, 0));
    ASSIGN_OR_RETURN(const std::int64_t tries, section.whole_or("scim_retry_max", 3, 1));
    ASSIGN_OR_RETURN(const double delay, section.number_or("scim_retry_delay", 5, 0));
    ASSIGN_OR_RETURN(const double pages, section.number_or("scim_max_cursor_pages", 500, 1));
    // To libcurl, and so to nsscache, 0 is no limit: the one of the whole reading is left.
    server.timeout = timeout == 0 ? scim_client::Server::kTimeMax : in_milliseconds(timeout);
    server.tries = static_cast<int>(std::min<std::int64_t>(tries, 100));
    server.retry_delay = in_milliseconds(delay);
    server.cursor_pages_max = static_cast<std::int64_t>(pages);
    ASSIGN_OR_RETURN(const std::string verify, section.text_or("scim_verify_ssl", "true"));
    if (verify.empty() || python_number(verify) == 0.0) {
      return bad(section.name(), "scim_verify_ssl",
                 "the server's certificate is always verified: name the authority that signed it "
                 "by roster_ca_file");
    }
    if (ascii_iequals(verify, "false") || ascii_iequals(verify, "no")) {
      note("scim_verify_ssl = " + verify +
           " has no effect, here as in nsscache: the server's certificate is verified");
    }
    return server;
  }

  static Result<scim_client::Listing> read_listing(Section& section, const std::string& what,
                                                   std::string_view fallback) {
    scim_client::Listing listing;
    ASSIGN_OR_RETURN(listing.endpoint, section.text_or("scim_" + what + "_endpoint", fallback));
    const std::string key = "scim_" + what + "_parameters";
    ASSIGN_OR_RETURN(const std::string parameters, section.text_or(key, ""));
    listing.parameters = encoded_parameters(parameters, listing.by_cursor);
    return listing;
  }

  Result<void> read_attributes(Map map, Section& section) {
    Attributes& ours = out_.attributes;
    if (map == Map::kGroup) {
      ASSIGN_OR_RETURN(ours.group_gid, section.path("scim_path_gid", ""));
      ASSIGN_OR_RETURN(ours.group_name, section.path("scim_path_groupname", ""));
      ASSIGN_OR_RETURN(Path member, section.path("scim_path_username", "userName"));
      if (member.size() > 1 && member.front() != "members") {
        return bad(section.name(), "scim_path_username",
                   "members are read from \"members\" only, as in members/userName");
      }
      if (member.size() > 1) member.erase(member.begin());
      ours.member = std::move(member);
    } else {
      ASSIGN_OR_RETURN(Path name, section.path("scim_path_username", "userName"));
      if (names_read_ && name != ours.user_name) {
        return bad(section.name(), "scim_path_username",
                   "a person has one name: it must be the same for passwd, shadow and sshkey");
      }
      ours.user_name = std::move(name);
      names_read_ = true;
      // In the others' sections they may be what [DEFAULT] has for groups.
      if (map == Map::kPasswd) {
        ASSIGN_OR_RETURN(ours.gid, section.path("scim_path_gid", ""));
      }
      if (map == Map::kPasswd || !out_.has(Map::kPasswd)) {
        ASSIGN_OR_RETURN(Path uid, section.path("scim_path_uid", ""));
        if (!uid.empty()) ours.uid = std::move(uid);
      }
    }
    RETURN_IF_ERROR(read_account(map, section));
    return accept_the_rest(section);
  }

  Result<void> read_account(Map map, Section& section) {
    Attributes& ours = out_.attributes;
    if (map == Map::kPasswd) {
      ASSIGN_OR_RETURN(ours.home, section.path("scim_path_home_directory", ""));
      ASSIGN_OR_RETURN(ours.shell, section.path("scim_path_login_shell", ""));
      ASSIGN_OR_RETURN(ours.home_template, section.text_or("scim_override_home_directory", ""));
      ASSIGN_OR_RETURN(ours.default_shell,
                       section.text_or("scim_default_shell", posix::kDefaultShell));
      if (const auto shell = posix::validate_shell_path(ours.default_shell); !shell) {
        return bad(section.name(), "scim_default_shell", shell.error().message);
      }
    } else if (map == Map::kSshKey) {
      ASSIGN_OR_RETURN(ours.ssh_keys, section.path("scim_path_ssh_keys", ""));
    } else if (map == Map::kShadow) {
      for (std::size_t i = 0; i < kShadowFields.size(); ++i) {
        const std::string key = "scim_shadow_default_" + std::string(kShadowFields[i]);
        ASSIGN_OR_RETURN(ours.shadow[i], read_days(section, key));
      }
    }
    return {};
  }

  /// A field of shadow(5), where -1 is one that is empty, too. nsscache writes 0 as nothing.
  static Result<std::string> read_days(Section& section, const std::string& key) {
    ASSIGN_OR_RETURN(const std::string text, section.text_or(key, ""));
    if (text.empty()) return text;
    ASSIGN_OR_RETURN(const std::int64_t days, section.whole_or(key, 0, -1));
    if (days > std::numeric_limits<std::int32_t>::max()) {
      return bad(section.name(), key, "\"" + text + "\" is no number of days");
    }
    return days == 0 ? std::string() : std::to_string(days);
  }

  /// Options of other maps may stand in [DEFAULT].
  static Result<void> accept_the_rest(Section& section) {
    for (const char* key : {"scim_path_uid", "scim_path_gid", "scim_path_home_directory",
                            "scim_path_login_shell", "scim_path_groupname", "scim_path_ssh_keys",
                            "scim_override_home_directory", "scim_default_shell"}) {
      RETURN_IF_ERROR(section.text(key));
    }
    for (const std::string_view field : kShadowFields) {
      RETURN_IF_ERROR(section.text("scim_shadow_default_" + std::string(field)));
    }
    return {};
  }

  void note_other_section(const std::string& section) {
    note("[" + section + "] is none of the maps that can be made here");
  }

  void note(std::string text) {
    if (std::ranges::find(out_.notes, text) == out_.notes.end()) {
      out_.notes.push_back(std::move(text));
    }
  }

  const PythonIni& ini_;
  const std::string environment_token_;
  const std::string chosen_;
  Settings out_;
  bool server_read_ = false;
  bool names_read_ = false;
};

}  // namespace

std::string_view map_name(Map map) {
  switch (map) {
    case Map::kPasswd:
      return "passwd";
    case Map::kGroup:
      return "group";
    case Map::kShadow:
      return "shadow";
    case Map::kSshKey:
      return "sshkey";
  }
  return "";
}

std::optional<Map> map_by_name(std::string_view name) {
  for (const Map map : kAllMaps) {
    if (map_name(map) == name) return map;
  }
  return std::nullopt;
}

bool Settings::has(Map map) const { return std::ranges::find(maps, map) != maps.end(); }

Result<Settings> parse_settings(std::string_view text, std::string_view environment_token,
                                std::string_view maps) {
  ASSIGN_OR_RETURN(const PythonIni ini, PythonIni::parse(text));
  ASSIGN_OR_RETURN(Settings settings, SettingsReader(ini, environment_token, maps).read());
  settings.fingerprint = text;
  return settings;
}

}  // namespace roster::mirror
