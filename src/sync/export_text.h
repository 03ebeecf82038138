#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "sync/import_list.h"

namespace roster::sync {

/// An identity as a hub tells it.
struct Exported {
  enum class State { kActive, kLocked, kReserved, kDeleted } state = State::kActive;
  bool is_group = false;
  std::string name;
  std::uint32_t number = 0;
  std::uint32_t gid = 0;
  std::string gecos, home, shell;  // as they are there; empty: by the organization's settings
  std::string resource;            // userName or displayName
  std::string external_id, client;
  std::vector<std::string> members;
};

struct ExportOptions {
  ImportFormat format = ImportFormat::kPasswd;
  bool groups = false;  // these instead of people
  std::string base_dn = "o=roster";
  std::string default_shell = "/bin/bash";
  std::string home_template = "/home/{login}";
};

/// What comes before the first entry.
std::string export_head(const ExportOptions& options);

/// The entry as lines, or nothing: of the other kind, or deleted in a format that cannot say so.
/// passwd(5) and group(5): who is locked has "!" for a password and a shell that refuses; people's
/// private groups are groups. LDIF: likewise, with shadowExpire. CSV: as they are, with a state,
/// named groups only. kDataLoss for texts that no hub has.
Result<std::string> export_entry(const Exported& entry, const ExportOptions& options);

}  // namespace roster::sync
