#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "mirror/settings.h"
#include "scim_client/server.h"

namespace roster::mirror {

/// What the last pass that went well was made of: while all of this is as it was, reading the
/// server again would change nothing. Kept in Settings::state_file.
struct PassState {
  std::string inputs;  // hash of configuration, local rules and program
  std::vector<scim_client::PageTag> users;
  std::vector<scim_client::PageTag> groups;
  std::map<std::string, std::string> files;    // path: device, inode, size and times
  std::map<std::string, std::string> targets;  // name: mark
  json::object report;                         // see PassResult::keep

  /// Empty when there is none, or it is damaged: then everything is read.
  static PassState load(const std::filesystem::path& path);
  Result<void> save(const std::filesystem::path& path) const;
};

/// Of all files of the maps, as they are now.
std::map<std::string, std::string> stamps_of_files(const Settings& settings);

}  // namespace roster::mirror
