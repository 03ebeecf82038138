#pragma once

#include <filesystem>
#include <optional>

#include "agent/config.h"
#include "agent/mirror.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/time.h"

namespace roster::agent {

struct RunOptions {
  std::optional<std::filesystem::path> seed;  // published when there is no generation yet
  std::vector<std::string> publish;           // besides the cache: "kubernetes"
  bool force_secrets = false;                 // take over keys of another field manager
};

/// The long-running agent: until SIGTERM or SIGINT. SIGHUP reads the node's local files again. The
/// calling thread must be the process's only one: signals are blocked for all.
Result<void> run_agent(const Config& config, const RunOptions& options, Clock clock,
                       RandomBytes random);

/// The same with the people of a SCIM server, as nsscache.conf says.
Result<void> run_mirror(const Config& config, const MirrorOptions& options, Clock clock);

/// What a pass over a SCIM server did.
struct MirrorPass {
  std::string text;  // for people
  std::string json;
  int status = 0;  // exit status
};
/// One such pass without a running agent. `metrics_file`: Prometheus text, unless empty.
Result<MirrorPass> sync_mirror(const Config& config, const MirrorOptions& options,
                               const std::filesystem::path& metrics_file, Clock clock);

/// One pass without a running agent: the node has what the hub had, or the error says why not.
Result<void> sync_once(const Config& config, Clock clock, RandomBytes random);

}  // namespace roster::agent
