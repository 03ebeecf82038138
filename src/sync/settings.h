#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/secret.h"
#include "sync/activate_source.h"
#include "sync/destination.h"
#include "sync/files_source.h"
#include "sync/ldap_source.h"
#include "sync/run.h"
#include "sync/source.h"
#include "sync/surroundings.h"

namespace roster::sync {

/// Reads one variable of the environment; nothing when it is not set or empty.
using Environment = std::function<std::optional<std::string>(const std::string& name)>;

/// A directory by URL and token.
struct Endpoint {
  std::string url = {};
  std::filesystem::path token_file = {};
  std::filesystem::path ca_file = {};
  bool overlap = true;  // as in ScimOptions
};

/// Everything that one run needs. Filled from a TOML file, then by flags; the environment fills
/// what is still missing.
struct Settings {
  std::string source_kind = {};  // "scim", "activate", "ldap" or "files"
  Endpoint source = {};
  Endpoint destination = {};
  std::string prefix = {};
  std::vector<std::string> groups = {};
  std::int64_t parallel = 8;
  bool replace_members = false;
  bool homes_and_shells = false;
  std::int64_t shrink_people_max = 10;
  std::int64_t shrink_percent_max = 20;
  bool accept_shrink = false;
  bool accept_return = false;
  std::string ldap_schema = "rfc2307";
  LdapOptions ldap = {};
  FilesOptions files = {};
  ActivateOptions activate = {};

  /// Tokens of the environment, in the place of files.
  Secret source_token = {};
  Secret destination_token = {};

  Settings();

  /// Keys as in docs/sync.md. kInvalidArgument naming file, line and key.
  Result<void> read_file(const std::filesystem::path& file);

  /// Fills what neither file nor flags gave: tokens from ROSTER_SYNC_SOURCE_TOKEN and
  /// ROSTER_SYNC_TOKEN, and whatever the variables of pw-activate-scim-sync say (docs/sync.md):
  /// ACTIVATE as the source, CoreWeave's SCIM service as the destination, the prefix
  /// "pw-activate:". kInvalidArgument when one of these lacks the other it needs.
  Result<void> read_environment(const Environment& environment);

  /// kInvalidArgument naming the setting that is missing or wrong.
  Result<std::unique_ptr<Source>> open_source(const Surroundings& surroundings) const;
  Result<Destination> open_destination(const Surroundings& surroundings) const;
  RunOptions run_options() const;
};

}  // namespace roster::sync
