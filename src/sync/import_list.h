#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace roster::sync {

/// Largest file that is imported: some three million people. And its longest line and field.
inline constexpr std::size_t kImportFileBytesMax = std::size_t{256} << 20;
inline constexpr std::size_t kImportLineBytesMax = std::size_t{4} << 20;
inline constexpr std::size_t kImportFieldBytesMax = 1024;

enum class ImportFormat { kPasswd, kLdif, kCsv };

/// Somebody, or a named group, as a file has them.
struct Imported {
  bool is_group = false;
  std::string name;
  std::uint32_t number = 0;
  std::uint32_t gid = 0;  // of people
  std::string gecos, home, shell, mail;
  std::optional<std::string> user_name;  // userName or displayName; nothing: not said
  std::string external_id, client;
  bool deleted = false;  // the id and the name shall be nobody's
  std::size_t members = 0;
  std::size_t file = 0;  // in ImportList::files
  std::size_t line = 0;
};

struct ImportProblem {
  std::size_t file = 0;
  std::size_t line = 0;  // 0: the whole file
  std::string sentence;
};

/// What files tell. Problems are named, up to kImportProblemsMax, and nothing is left out silently.
struct ImportList {
  std::vector<std::string> files;  // their names
  std::vector<Imported> entries;   // groups first, once finished
  std::vector<ImportProblem> problems;
  std::size_t problem_count = 0;
  std::size_t outside = 0;         // ids below id_min, 65534 and 65535
  std::size_t private_groups = 0;  // of people with gid = uid
  std::size_t others = 0;          // entries of LDIF that are neither, NIS entries
  std::size_t memberships = 0;     // which no import carries

  std::string place(std::size_t file, std::size_t line) const;
};

inline constexpr std::size_t kImportProblemsMax = 1000;

struct ImportOptions {
  std::uint32_t id_min = 1000;
  /// What people wait for. Groups wait for a displayName, their name unless the file says another.
  bool match_user_name = true;
  bool match_external_id = true;
  /// Of people whose userName the file does not tell: {login}, {uid}, {mail}.
  std::string user_name = "{login}";
  std::string client = {};      // whose push everybody waits for, unless the file says
  bool private_groups = false;  // everybody has one, whatever the file says
};

/// Adds what a file has. The text of passwd(5) and group(5) is `is_group_file` or not; LDIF and CSV
/// say it themselves. Strict: whatever cannot be read as it is meant is a problem.
void add_import_text(ImportList& list, ImportFormat format, std::string name, std::string_view text,
                     bool is_group_file, const ImportOptions& options);

/// Once all files are in: takes out private groups, settles what everybody waits for.
/// kInvalidArgument when the template of options is none.
Result<void> finish_import(ImportList& list, const ImportOptions& options);

/// Two entries of one list that cannot both be.
struct ListClash {
  std::size_t entry = 0;
  std::size_t owner = 0;  // who comes first
  std::string_view what;  // as the hub says it: "name", "id", "home", "match"
  std::string reason;
};
std::vector<ListClash> clashes_within(const ImportList& list);

}  // namespace roster::sync
