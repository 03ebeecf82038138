#pragma once

#include <sys/types.h>

#include <cstdint>
#include <ctime>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "agent/config.h"
#include "base/result.h"
#include "nsscache/publisher.h"

namespace roster::agent {

/// What one local file contributes.
struct FileRules {
  std::vector<std::string> names;
  std::vector<std::uint32_t> ids;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> ranges;  // first and last
  bool operator==(const FileRules&) const = default;
};

/// passwd(5) and group(5): names and ids of the local accounts. Lines that are none (NIS "+", cut
/// lines) are skipped: they answer for nobody. Blanks before a name do not count, as in glibc.
FileRules parse_accounts(std::string_view text);
/// subuid(5): "owner:first:count" per line.
FileRules parse_sub_ids(std::string_view text);

/// One entry of the deny file: a login or a uid.
struct DenyEntry {
  std::string text;                  // as written, without comment and blanks
  std::optional<std::uint32_t> uid;  // when it is a number
};
/// Entries that are neither login nor uid are given to `problems`, one sentence each.
std::vector<DenyEntry> parse_deny(std::string_view text, std::vector<std::string>& problems);

/// Keeps what the local files say. A file that cannot be read, and passwd or group that is absent
/// or names no account, keeps its last known content: not knowing is not permission.
class LocalRulesReader {
 public:
  struct Change {
    bool masks = false;
    bool deny = false;
  };

  explicit LocalRulesReader(LocalSources sources) : sources_(std::move(sources)) {}

  /// Reads the files that changed since the last call (all when `force`).
  Change refresh(bool force);

  /// Whether every file was understood once. Until then rules() says what is unknown.
  bool known() const;
  nsscache::LocalRules rules() const;
  /// What could not be read or understood, one sentence each.
  std::vector<std::string> problems() const;

 private:
  struct Stamp {
    dev_t device = 0;
    ino_t inode = 0;
    off_t size = -1;
    std::int64_t modified_ns = 0;
    std::int64_t changed_ns = 0;
    bool operator==(const Stamp&) const = default;
  };
  struct Source {
    std::optional<Stamp> stamp;
    bool known = false;  // its content, or that it is absent
    FileRules rules;
    std::vector<std::string> problems;
  };
  using Parse = Result<FileRules> (*)(std::string_view, std::vector<std::string>&);

  static bool refresh_one(const std::filesystem::path& path, Parse parse, Source& source,
                          bool force);

  LocalSources sources_;
  Source passwd_, group_, subuid_, subgid_, deny_;
};

/// Adds or removes one entry of the deny file, as one step; concurrent edits wait for each other.
/// True when the file changed. kInvalidArgument unless `entry` is a login or a uid.
Result<bool> edit_deny_file(const std::filesystem::path& file, std::string_view entry, bool denied);

}  // namespace roster::agent
