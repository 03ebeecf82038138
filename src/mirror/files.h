#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/result.h"
#include "base/time.h"
#include "mirror/map_lines.h"
#include "mirror/roll.h"
#include "mirror/settings.h"
#include "nsscache/text_map.h"

namespace roster::mirror {

/// The files of the maps, written beside those that are there and put into their places together.
/// Data and index of a map are never of two passes for a reader that finds nobody: the new index is
/// there before its data, and libnss-cache goes through the whole file when what an index says does
/// not fit.
class MapFiles {
 public:
  struct Written {
    Map map;
    std::size_t entries = 0;
    bool changed = false;    // the files differ from those that are there
    bool counted = true;     // whether the file that is there could be read for what follows
    std::size_t before = 0;  // entries of the file that is there
    std::size_t lost = 0;    // of these, of whom the new reading does not say what became of them
    // Of those who had access by the file that is there: a shell, no expiry, a key.
    std::size_t open = 0;
    std::size_t open_gone = 0;  // as `lost`
    std::size_t locked = 0;     // who are not active: locked or left out, and not by the deny file
    std::size_t keyless = 0;    // who are active and have no key in the new file (sshkey)
  };

  explicit MapFiles(const Settings& settings) : settings_(settings) {}

  /// Writes a map's files, without touching what is there.
  Result<Written> stage(const Roll& roll, Map map);
  /// Writes a map's files as they are, but that `denied` have no access by it, and without lines
  /// that are no entries. False, and nothing is staged, when there is no such map or none of them
  /// has any.
  Result<bool> stage_lockout(Map map, const NameSet& denied);
  /// Waits until all that was staged is on the disk, with its mode and owner; drops the maps of
  /// which something cannot be, and says why. Before commit().
  std::map<Map, Error> seal();
  /// Takes back what was staged for a map.
  void drop(Map map);
  /// Puts all that was staged, and differs, into place; by map, what could not be.
  std::map<Map, Error> commit();

 private:
  struct Staged {
    Map map;
    StagedFile file;
    bool sealed = false;
  };

  using Write = std::function<Result<void>(nsscache::TextMap& out)>;
  Result<Written> stage_text(Map map, const Write& write);

  const Settings& settings_;
  std::vector<Staged> staged_;  // indexes before their data
};

/// `<timestamp_dir>/timestamp-<map>-update`, as nsscache writes it: "2026-11-21T08:00:00Z\n".
Result<void> write_update_stamp(const Settings& settings, Map map, Timestamp now);
/// Nothing when there is none, or it is not a time.
std::optional<Timestamp> read_update_stamp(const Settings& settings, Map map);

/// The memory of ids beside the state file, and the report of the last pass.
std::filesystem::path memory_file(const Settings& settings);
std::filesystem::path report_file(const Settings& settings);

/// Removes what an interrupted pass left. Under the lock.
void remove_leftovers(const Settings& settings);

}  // namespace roster::mirror
