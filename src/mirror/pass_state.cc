#include "mirror/pass_state.h"

#include <sys/stat.h>

#include "base/file.h"
#include "base/json.h"

namespace roster::mirror {
namespace {

constexpr std::size_t kBytesMax = 256 << 20;  // a million pages

json::array to_json(const std::vector<scim_client::PageTag>& pages) {
  json::array out;
  out.reserve(pages.size());
  for (const scim_client::PageTag& page : pages) out.push_back(json::array{page.target, page.etag});
  return out;
}

std::vector<scim_client::PageTag> pages_in(const json::object& state, std::string_view name) {
  std::vector<scim_client::PageTag> pages;
  const json::array* list = json::find_array(state, name);
  if (list == nullptr) return pages;
  for (const json::value& item : *list) {
    const json::array* pair = item.if_array();
    if (pair == nullptr || pair->size() != 2 || !(*pair)[0].is_string() ||
        !(*pair)[1].is_string()) {
      return {};
    }
    pages.push_back({std::string(json::view((*pair)[0].get_string())),
                     std::string(json::view((*pair)[1].get_string()))});
  }
  return pages;
}

std::map<std::string, std::string> texts_in(const json::object& state, std::string_view name) {
  std::map<std::string, std::string> texts;
  const json::object* object = json::find_object(state, name);
  if (object == nullptr) return texts;
  for (const auto& [key, text] : *object) {
    if (text.is_string()) texts.emplace(key, json::view(text.get_string()));
  }
  return texts;
}

json::object to_json(const std::map<std::string, std::string>& texts) {
  json::object out;
  for (const auto& [key, text] : texts) out[key] = text;
  return out;
}

}  // namespace

PassState PassState::load(const std::filesystem::path& path) {
  PassState state;
  const auto text = read_file(path, kBytesMax);
  if (!text) return state;
  const auto parsed =
      json::parse(*text, {.bytes_max = kBytesMax, .depth_max = 8, .values_max = 10'000'000});
  if (!parsed || !parsed->is_object()) return state;
  const json::object& object = parsed->get_object();
  if (json::find_int(object, "version") != 1) return state;
  state.inputs = json::find_string(object, "inputs").value_or("");
  state.users = pages_in(object, "users");
  state.groups = pages_in(object, "groups");
  state.files = texts_in(object, "files");
  state.targets = texts_in(object, "targets");
  if (const json::object* report = json::find_object(object, "report")) state.report = *report;
  return state;
}

Result<void> PassState::save(const std::filesystem::path& path) const {
  const json::object object{{"version", 1},
                            {"inputs", inputs},
                            {"users", to_json(users)},
                            {"groups", to_json(groups)},
                            {"files", to_json(files)},
                            {"targets", to_json(targets)},
                            {"report", report}};
  return write_file_atomic(path, json::serialize(object) + "\n", 0600);
}

std::map<std::string, std::string> stamps_of_files(const Settings& settings) {
  std::map<std::string, std::string> stamps;
  for (const Map map : settings.maps) {
    const std::string path = settings.files_of(map).of(map).string();
    for (const char* suffix : {"", ".ixname", ".ixuid", ".ixgid"}) {
      struct stat status;
      if (::stat((path + suffix).c_str(), &status) != 0) continue;
      stamps[path + suffix] =
          std::to_string(status.st_dev) + ' ' + std::to_string(status.st_ino) + ' ' +
          std::to_string(status.st_size) + ' ' + std::to_string(status.st_mtim.tv_sec) + '.' +
          std::to_string(status.st_mtim.tv_nsec) + ' ' + std::to_string(status.st_ctim.tv_sec) +
          '.' + std::to_string(status.st_ctim.tv_nsec);
    }
  }
  return stamps;
}

}  // namespace roster::mirror
