#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "sync/destination.h"
#include "sync/run.h"
#include "sync/source.h"

namespace roster::sync {

/// Reads one variable of the environment; nothing when it is not set or empty.
using Environment = std::function<std::optional<std::string>(const std::string& name)>;

/// A directory by URL and token.
struct Endpoint {
  std::string url;
  std::filesystem::path token_file;
  std::filesystem::path ca_file;
};

/// Everything that one run needs: from a TOML file, then the environment, then the command line.
struct Settings {
  std::string source_kind;  // "scim"
  Endpoint source;
  Endpoint destination;
  std::string prefix = "roster:";
  std::vector<std::string> groups;
  std::int64_t parallel = 8;
  bool replace_members = false;
  bool homes_and_shells = false;
  std::int64_t shrink_people_max = 10;
  std::int64_t shrink_percent_max = 20;
  bool accept_shrink = false;

  /// Tokens of the environment, in the place of files.
  Secret source_token;
  Secret destination_token;

  /// Keys as in docs/sync.md. kInvalidArgument naming file, line and key.
  Result<void> read_file(const std::filesystem::path& file);
  /// ROSTER_SYNC_SOURCE_TOKEN and ROSTER_SYNC_TOKEN, and the variables of pw-activate-scim-sync:
  /// when ACTIVATE_API_KEY is set, the source is ACTIVATE, the destination CoreWeave's SCIM service
  /// for CW_SCIM_ORG_USERID with CW_SCIM_BEARER_TOKEN, the prefix "pw-activate:", and members are
  /// written whole, each unless the file says otherwise.
  void read_environment(const Environment& environment);

  Result<std::unique_ptr<Source>> open_source(const scim_client::Pause& pause) const;
  Result<Destination> open_destination(const scim_client::Pause& pause) const;
  RunOptions run_options() const;
};

}  // namespace roster::sync
