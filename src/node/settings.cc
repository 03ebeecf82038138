#include "node/settings.h"

#include <algorithm>

#include "node/root_file.h"

namespace roster::node {
namespace {

constexpr std::size_t kConfigBytesMax = 1 << 20;

std::unexpected<Error> bad(std::string_view setting, std::string_view why) {
  return fail(Code::kInvalidArgument, "node." + std::string(setting) + " " + std::string(why));
}

/// Three or four octal digits; the write bit of others is always taken away.
bool is_home_umask(std::string_view text) {
  if (text.size() == 4 && text.front() == '0') text.remove_prefix(1);
  return text.size() == 3 &&
         std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '7'; }) &&
         ((text[2] - '0') & 2) != 0;
}

}  // namespace

void bind_settings(ConfigReader& reader, Settings& settings) {
  reader.bind("node.user_population", settings.user_population);
  reader.bind("node.home_directories", settings.home_directories);
  reader.bind("node.ssh_keys", settings.ssh_keys);
  reader.bind("node.sudo_access", settings.sudo_access);
  reader.bind("node.sudo_gids", settings.sudo_gids, kSudoGidMin, kSudoGidMax);
  reader.bind("node.home_umask", settings.home_umask);
  reader.bind("node.home_keys", settings.home_keys);
}

Result<void> validate(const Settings& settings) {
  if (!is_home_umask(settings.home_umask)) {
    return bad("home_umask", "is not a umask such as \"0077\" that keeps others from writing");
  }
  for (const std::int64_t gid : settings.sudo_gids) {
    if (gid < kSudoGidMin || gid > kSudoGidMax || gid == 65534 || gid == 65535) {
      return bad("sudo_gids", std::to_string(gid) + " is no group of Roster's");
    }
  }
  if (settings.sudo_access && settings.sudo_gids.empty()) {
    return bad("sudo_gids", "names no group: sudo_access needs at least one");
  }
  return {};
}

json::object to_json(const Settings& settings) {
  json::array gids;
  for (const std::int64_t gid : settings.sudo_gids) gids.emplace_back(gid);
  return {{"user_population", settings.user_population},
          {"home_directories", settings.home_directories},
          {"ssh_keys", settings.ssh_keys},
          {"sudo_access", settings.sudo_access},
          {"sudo_gids", std::move(gids)},
          {"home_umask", settings.home_umask},
          {"home_keys", settings.home_keys}};
}

Result<Settings> settings_from_json(const json::object& o) {
  Settings out;
  const struct {
    std::string_view name;
    bool& target;
  } kSwitches[] = {{"user_population", out.user_population},
                   {"home_directories", out.home_directories},
                   {"ssh_keys", out.ssh_keys},
                   {"sudo_access", out.sudo_access},
                   {"home_keys", out.home_keys}};
  for (const auto& [name, target] : kSwitches) {
    const auto value = json::find_bool(o, name);
    if (!value) return bad(name, "is missing");
    target = *value;
  }
  const auto umask = json::find_string(o, "home_umask");
  const json::array* gids = json::find_array(o, "sudo_gids");
  if (!umask || gids == nullptr) return bad("home_umask or sudo_gids", "is missing");
  out.home_umask = *umask;
  for (const json::value& gid : *gids) {
    if (!gid.is_int64()) return bad("sudo_gids", "holds what is no number");
    out.sudo_gids.push_back(gid.get_int64());
  }
  RETURN_IF_ERROR(validate(out));
  return out;
}

Result<Settings> load_settings(const std::filesystem::path& file, uid_t owner) {
  Settings settings;
  ASSIGN_OR_RETURN(const std::optional<RootFile> found,
                   read_root_file(file, owner, kConfigBytesMax));
  if (!found) return settings;
  ConfigReader reader;
  bind_settings(reader, settings);
  reader.ignore_unknown_keys();
  RETURN_IF_ERROR(reader.read_text(found->content, file.string()));
  RETURN_IF_ERROR(validate(settings));
  return settings;
}

}  // namespace roster::node
