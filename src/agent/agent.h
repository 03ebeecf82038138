#pragma once

#include <filesystem>
#include <optional>

#include "agent/config.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/time.h"

namespace roster::agent {

/// The long-running agent: until SIGTERM or SIGINT. SIGHUP reads the node's local files again.
/// `seed` is published when there is no generation yet. The calling thread must be the process's
/// only one: signals are blocked for all.
Result<void> run_agent(const Config& config, const std::optional<std::filesystem::path>& seed,
                       Clock clock, RandomBytes random);

/// One pass without a running agent: the node has what the hub had, or the error says why not.
Result<void> sync_once(const Config& config, Clock clock, RandomBytes random);

}  // namespace roster::agent
