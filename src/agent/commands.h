#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <string_view>

#include "agent/config.h"
#include "base/ids.h"
#include "base/result.h"

namespace roster::agent {

/// Exit statuses of roster-agent.
inline constexpr int kExitOk = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitUnreachable =
    3;                                  // hub or agent not reachable, or what is served is stale
inline constexpr int kExitRefused = 4;  // credential or data refused: an operator must look

int exit_status(const Error& error);

std::string_view version();

struct CommandOutput {
  std::string text;  // for stdout
  int status = kExitOk;
};

/// Asks the running agent. kExitUnreachable while the hub is, kExitRefused while the agent refuses
/// the hub's data or the hub its credential, kExitFailed while it is this node that fails: a disk
/// is full, or a local file was not readable since the start. kUnavailable when no agent runs.
Result<CommandOutput> show_status(const Config& config, bool as_json);

/// Waits until the agent serves a generation, and in it this login unless empty. An agent that does
/// not run yet is waited for. kUnavailable when the time is over.
Result<void> wait_ready(const Config& config, std::string_view user,
                        std::chrono::milliseconds timeout);

/// Writes a seed file for boot images. Uses this node's enrolment, else joins with the join token
/// and keeps the enrolment.
Result<void> make_seed(const Config& config, const std::filesystem::path& file,
                       const RandomBytes& random);

}  // namespace roster::agent
