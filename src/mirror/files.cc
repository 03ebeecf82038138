#include "mirror/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <functional>
#include <optional>
#include <utility>

#include "mirror/hash_index.h"
#include "mirror/map_lines.h"
#include "mirror/maps.h"
#include "nsscache/text_map.h"

namespace roster::mirror {
namespace {

constexpr std::size_t kPieceBytes = 256 << 10;
constexpr std::size_t kLineBytesMax = 64 << 20;

/// Mode and owner of the system's own file of that name, as nsscache takes them.
struct Access {
  mode_t mode;
  std::optional<FileOwner> owner;
};

Access access_of(Map map) {
  const std::string path = "/etc/" + std::string(map_name(map));
  struct stat status;
  if (map != Map::kSshKey && ::stat(path.c_str(), &status) == 0) {
    // Only root can give files away; as somebody else, they stay the writer's, who reads them.
    if (::geteuid() != 0) return {(status.st_mode & 0777) | 0400, std::nullopt};
    return {status.st_mode & 0777, FileOwner{status.st_uid, status.st_gid}};
  }
  switch (map) {
    case Map::kSshKey:
      return {0444, std::nullopt};
    case Map::kShadow:
      return {0640, std::nullopt};
    case Map::kPasswd:
    case Map::kGroup:
      break;
  }
  return {0644, std::nullopt};
}

/// Whether the map's third field is the id of its entry.
bool has_numbers(Map map) { return map == Map::kPasswd || map == Map::kGroup; }

/// Reads a file piece by piece; `visit` gets each. False when it cannot be read.
bool each_piece(int fd, const std::function<bool(std::string_view)>& visit) {
  std::string piece(kPieceBytes, '\0');
  off_t offset = 0;
  while (true) {
    const ssize_t got = ::pread(fd, piece.data(), piece.size(), offset);
    if (got < 0) return false;
    if (got == 0) return true;
    offset += got;
    if (!visit(std::string_view(piece).substr(0, static_cast<std::size_t>(got)))) return false;
  }
}

UniqueFd open_to_read(const std::filesystem::path& path) {
  return UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
}

/// Same bytes, mode and owner.
bool is_same(const StagedFile& staged, const Access& access) {
  const UniqueFd there = open_to_read(staged.target());
  struct stat old_status;
  struct stat new_status;
  if (!there.valid() || ::fstat(there.get(), &old_status) != 0 ||
      ::fstat(staged.fd(), &new_status) != 0 || !S_ISREG(old_status.st_mode) ||
      old_status.st_size != new_status.st_size || (old_status.st_mode & 07777) != access.mode ||
      (access.owner &&
       (old_status.st_uid != access.owner->uid || old_status.st_gid != access.owner->gid))) {
    return false;
  }
  std::string other(kPieceBytes, '\0');
  off_t offset = 0;
  return each_piece(staged.fd(), [&](std::string_view piece) {
    const ssize_t got = ::pread(there.get(), other.data(), piece.size(), offset);
    offset += got;
    return got == static_cast<ssize_t>(piece.size()) &&
           std::memcmp(other.data(), piece.data(), piece.size()) == 0;
  });
}

/// Each whole line of a file, without its newline. False when it cannot be read to its end, or has
/// a line as none of ours has.
bool each_line_of(int fd, const std::function<void(std::string_view)>& visit) {
  std::string begun;  // in the piece before
  return each_piece(fd, [&](std::string_view piece) {
    for (std::size_t end; (end = piece.find('\n')) != std::string_view::npos;) {
      if (begun.empty()) {
        visit(piece.substr(0, end));
      } else {
        visit(begun.append(piece.substr(0, end)));
        begun.clear();
      }
      piece.remove_prefix(end + 1);
    }
    if (begun.size() + piece.size() > kLineBytesMax) return false;
    begun.append(piece);
    return true;
  });
}

enum class Standing : std::uint8_t { kOpen, kLocked, kKeyless };

/// What the people or groups of a map have by its new lines.
NameMap<Standing> standings_of(const Roll& roll, Map map) {
  if (map == Map::kGroup) {
    NameMap<Standing> standings(roll.groups.size());
    for (const Team& group : roll.groups) standings.add(group.name, Standing::kOpen);
    return standings;
  }
  NameMap<Standing> standings(roll.people.size() + roll.omitted.size());
  for (const Person& person : roll.people) {
    Standing standing = Standing::kOpen;  // also of whom this node denies: no server's doing
    if (!person.denied && !person.active) standing = Standing::kLocked;
    if (person.active && map == Map::kSshKey && person.keys.empty()) standing = Standing::kKeyless;
    standings.add(person.name, standing);
  }
  for (const Person& person : roll.omitted) standings.add(person.name, Standing::kLocked);
  return standings;
}

/// What those of the file that is there would lose. False when it cannot be read to its end.
bool count_losses(const std::filesystem::path& path, const Roll& roll, MapFiles::Written& written) {
  const UniqueFd there = open_to_read(path);
  if (!there.valid()) return errno == ENOENT;
  struct stat status;
  if (::fstat(there.get(), &status) != 0) return false;
  if (!S_ISREG(status.st_mode)) return true;  // no map
  const NameMap<Standing> standings = standings_of(roll, written.map);
  std::string latest;
  return each_line_of(there.get(), [&](std::string_view line) {
    const std::string_view name = name_in(line);
    // A person with several lines is one.
    if (name.empty() || name == latest) return;
    latest = name;
    const bool open = is_open(written.map, line);
    const std::optional<Standing> found = standings.find(name);
    written.before += 1;
    written.lost += !found;
    if (!open) return;
    written.open += 1;
    written.open_gone += !found;
    written.locked += found == Standing::kLocked;
    written.keyless += found == Standing::kKeyless;
  });
}

std::filesystem::path with_suffix(const std::filesystem::path& path, std::string_view suffix) {
  return path.string() + std::string(suffix);
}

std::filesystem::path directory_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

std::filesystem::path stamp_path(const Settings& settings, Map map) {
  return settings.timestamp_dir / ("timestamp-" + std::string(map_name(map)) + "-update");
}

}  // namespace

Result<MapFiles::Written> MapFiles::stage(const Roll& roll, Map map) {
  ASSIGN_OR_RETURN(Written written, stage_text(map, [&](nsscache::TextMap& out) {
                     return write_map(settings_, roll, map, out);
                   }));
  if (written.changed) {
    written.counted = count_losses(settings_.files_of(map).of(map), roll, written);
  }
  return written;
}

Result<bool> MapFiles::stage_lockout(Map map, const NameSet& denied) {
  const auto text = read_file(settings_.files_of(map).of(map), kMapBytesMax);
  if (!text && text.error().code == Code::kNotFound) return false;
  if (!text) return std::unexpected(text.error());
  bool opens = false;
  each_line(*text, [&](std::string_view line) {
    opens = opens || without_access(map, line, denied).has_value();
  });
  if (!opens) return false;
  const auto write = [&](nsscache::TextMap& out) -> Result<void> {
    Result<void> added;
    std::string_view locked;  // whose further keys are lines of their own
    each_line(*text, [&](std::string_view line) {
      const std::string_view name = name_in(line);
      const std::uint32_t number = has_numbers(map) ? number_in(line) : 0;
      // No entry of the map: as a key of an index it would lead readers astray.
      if (name.empty() || (has_numbers(map) && number == 0)) return;
      if (!added || (map == Map::kSshKey && name == locked)) return;
      const auto other = without_access(map, line, denied);
      if (other) locked = name;
      added = out.add(other ? std::string_view(*other) : line, name, number);
    });
    RETURN_IF_ERROR(added);
    return out.flush();
  };
  ASSIGN_OR_RETURN(const Written written, stage_text(map, write));
  return written.changed;
}

Result<MapFiles::Written> MapFiles::stage_text(Map map, const Write& write) {
  const std::filesystem::path path = settings_.files_of(map).of(map);
  const Access access = access_of(map);
  const auto sink_of = [](StagedFile& file) {
    return [&file](std::string_view bytes) { return file.append(bytes); };
  };
  ASSIGN_OR_RETURN(StagedFile data, StagedFile::create(path));
  nsscache::TextMap text(sink_of(data));
  RETURN_IF_ERROR(write(text));
  ASSIGN_OR_RETURN(StagedFile names, StagedFile::create(with_suffix(path, ".ixname")));
  RETURN_IF_ERROR(text.write_name_index(sink_of(names)));
  std::vector<StagedFile> files;
  files.push_back(std::move(names));
  if (has_numbers(map)) {
    ASSIGN_OR_RETURN(StagedFile numbers, StagedFile::create(with_suffix(
                                             path, map == Map::kPasswd ? ".ixuid" : ".ixgid")));
    RETURN_IF_ERROR(text.write_number_index(sink_of(numbers)));
    files.push_back(std::move(numbers));
  }
  files.push_back(std::move(data));

  Written written{.map = map, .entries = text.entries()};
  for (const StagedFile& file : files) {
    written.changed = written.changed || !is_same(file, access);
  }
  if (!written.changed) return written;
  for (StagedFile& file : files) {
    // While the disk is at it, the next map is made.
    file.start_writing();
    staged_.push_back({.map = map, .file = std::move(file)});
  }
  return written;
}

std::map<Map, Error> MapFiles::seal() {
  std::map<Map, Error> problems;
  for (Staged& each : staged_) {
    const Access access = access_of(each.map);
    if (auto sealed = each.file.seal(access.mode, access.owner); !sealed) {
      problems.emplace(each.map, sealed.error());
    }
    each.sealed = true;
  }
  for (const auto& [map, problem] : problems) drop(map);
  return problems;
}

void MapFiles::drop(Map map) {
  std::vector<Staged> kept;
  for (Staged& each : staged_) {
    if (each.map != map) kept.push_back(std::move(each));
  }
  staged_.swap(kept);
}

std::map<Map, Error> MapFiles::commit() {
  std::map<Map, Error> problems;
  std::map<std::filesystem::path, Map> directories;
  for (Staged& each : staged_) {
    CHECK(each.sealed);
    // All that can be put into place is.
    if (auto placed = each.file.commit(); !placed) problems.emplace(each.map, placed.error());
    directories.emplace(directory_of(each.file.target()), each.map);
  }
  staged_.clear();
  for (const auto& [directory, map] : directories) {
    if (auto synced = fsync_directory(directory); !synced) problems.emplace(map, synced.error());
  }
  return problems;
}

Result<void> write_update_stamp(const Settings& settings, Map map, Timestamp now) {
  std::string text = format_rfc3339(now);  // with milliseconds
  text = text.substr(0, text.find('.')) + "Z\n";
  return write_file_atomic(stamp_path(settings, map), text, 0644);
}

std::optional<Timestamp> read_update_stamp(const Settings& settings, Map map) {
  auto text = read_file(stamp_path(settings, map), 64);
  if (!text) return std::nullopt;
  if (text->ends_with('\n')) text->pop_back();
  const auto time = parse_rfc3339(*text);
  return time ? std::optional(*time) : std::nullopt;
}

void remove_leftovers(const Settings& settings) {
  std::vector<std::filesystem::path> targets{settings.state_file, memory_file(settings),
                                             report_file(settings)};
  for (const Map map : settings.maps) {
    targets.push_back(settings.files_of(map).of(map));
    targets.push_back(stamp_path(settings, map));
  }
  for (const std::filesystem::path& path : targets) {
    const std::string prefix = "." + path.filename().string() + ".";
    std::error_code error;
    std::filesystem::directory_iterator entry(directory_of(path), error);
    for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
      const std::string name = entry->path().filename().string();
      if (!name.starts_with(prefix) || !name.ends_with(".tmp")) continue;
      std::error_code ignored;
      std::filesystem::remove(entry->path(), ignored);
    }
  }
}

std::filesystem::path memory_file(const Settings& settings) {
  return settings.state_file.string() + ".ids";
}

std::filesystem::path report_file(const Settings& settings) {
  return directory_of(settings.state_file) / "roster-mirror-report.json";
}

}  // namespace roster::mirror
