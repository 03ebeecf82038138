#include "mirror/verify.h"

#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <unordered_map>
#include <unordered_set>

#include "base/file.h"
#include "base/text.h"
#include "mirror/roll.h"

namespace roster::mirror {
namespace {

constexpr std::size_t kProblemsMax = 100;

std::size_t fields_of(Map map) {
  switch (map) {
    case Map::kPasswd:
      return 7;
    case Map::kGroup:
      return 4;
    case Map::kShadow:
      return 9;
    case Map::kSshKey:
      break;
  }
  return 0;  // a key may have colons
}

class MapCheck {
 public:
  MapCheck(const Settings& settings, Map map) : map_(map), path_(settings.files_of(map).of(map)) {}

  std::vector<std::string> run(const std::filesystem::path& nsswitch) {
    auto text = read_file(path_, kMapBytesMax);
    if (!text) {
      problem(text.error().message);
      return std::move(problems_);
    }
    text_ = std::move(*text);
    if (!text_.empty() && !text_.ends_with('\n')) problem("the last line is cut");
    check_lines();
    check_index(".ixname", 0);
    if (map_ == Map::kPasswd) check_index(".ixuid", 2);
    if (map_ == Map::kGroup) check_index(".ixgid", 2);
    if ((map_ == Map::kPasswd || map_ == Map::kGroup) && asks_us(nsswitch)) check_nss();
    return std::move(problems_);
  }

 private:
  void problem(const std::string& what) {
    if (problems_.size() < kProblemsMax) problems_.push_back(path_.string() + ": " + what);
  }

  void check_lines() {
    std::string_view before;
    std::unordered_set<std::string_view> names;
    std::size_t number = 0;
    each_line(text_, [&](std::string_view line) {
      ++number;
      if (line.empty() && number > 1) {
        if (line.data() != text_.data() + text_.size()) problem("an empty line");
        return;
      }
      const std::vector<std::string_view> fields = split(line, ':');
      const std::size_t wanted = fields_of(map_);
      if (fields.size() < 2 || (wanted != 0 && fields.size() != wanted)) {
        problem("line " + std::to_string(number) + " has " + std::to_string(fields.size()) +
                " fields");
        return;
      }
      const bool goes_on = map_ == Map::kSshKey && fields[0] == before;
      before = fields[0];
      if (!goes_on && !names.insert(fields[0]).second) {
        problem(std::string(fields[0]) + " is there twice");
      }
    });
    names_ = names.size();
  }

  /// Every line of the index leads to a line of the map with its key, and no name is missing.
  void check_index(const char* suffix, std::size_t field) {
    const std::string index_path = path_.string() + suffix;
    struct stat data_status;
    struct stat index_status;
    const auto index = read_file(index_path, kMapBytesMax);
    if (!index || ::stat(path_.c_str(), &data_status) != 0 ||
        ::stat(index_path.c_str(), &index_status) != 0) {
      problem("there is no " + std::string(suffix) + ": readers go through the whole file");
      return;
    }
    if (index_status.st_mtim.tv_sec < data_status.st_mtim.tv_sec) {
      problem(std::string(suffix) + " is older than the map: readers go through the whole file");
    }
    std::string_view before;
    std::size_t lines = 0;
    each_line(*index, [&](std::string_view line) {
      if (line.empty()) return;
      ++lines;
      const std::size_t end = line.find('\0');
      const std::string_view key = line.substr(0, end);
      std::size_t offset = text_.size();
      if (end != std::string_view::npos) {
        std::from_chars(line.data() + end + 1, line.data() + line.size(), offset);
      }
      const std::string_view rest = std::string_view(text_).substr(std::min(offset, text_.size()));
      const auto fields = split(rest.substr(0, rest.find('\n')), ':');
      if (fields.size() <= field || fields[field] != key) {
        problem(std::string(suffix) + " leads from " + std::string(key) + " to another line");
      }
      if (key <= before && lines > 1) problem(std::string(suffix) + " is not sorted");
      before = key;
    });
    if (lines == 0 && !text_.empty()) problem(std::string(suffix) + " is empty");
    if (field == 0 && lines != 0 && lines < names_) {
      problem(std::string(suffix) + " lacks " + std::to_string(names_ - lines) + " names");
    }
  }

  bool asks_us(const std::filesystem::path& nsswitch) const {
    const auto text = read_file(nsswitch, 1 << 20);
    if (!text) return false;
    bool asks = false;
    each_line(*text, [&](std::string_view line) {
      const std::string name = std::string(map_name(map_)) + ":";
      if (!line.starts_with(name)) return;
      asks = line.contains("cache") || line.contains("roster");
    });
    return asks;
  }

  void check_nss() {
    std::string buffer(1 << 20, '\0');
    each_line(text_, [&](std::string_view line) {
      const auto fields = split(line, ':');
      if (fields.size() != fields_of(map_)) return;
      const std::string name(fields[0]);
      std::string number;
      if (map_ == Map::kPasswd) {
        passwd entry{};
        passwd* found = nullptr;
        ::getpwnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found);
        if (found != nullptr) number = std::to_string(found->pw_uid);
      } else {
        ::group entry{};
        ::group* found = nullptr;
        ::getgrnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found);
        if (found != nullptr) number = std::to_string(found->gr_gid);
      }
      if (number.empty())
        problem(name + " is not known to this node");
      else if (number != fields[2])
        problem(name + " has id " + number + " on this node");
    });
  }

  const Map map_;
  const std::filesystem::path path_;
  std::string text_;
  std::size_t names_ = 0;
  std::vector<std::string> problems_;
};

}  // namespace

std::vector<std::string> verify_map(const Settings& settings, Map map,
                                    const std::filesystem::path& nsswitch) {
  return MapCheck(settings, map).run(nsswitch);
}

}  // namespace roster::mirror
