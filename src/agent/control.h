#pragma once

#include <memory>

#include "agent/config.h"
#include "agent/node_cache.h"
#include "agent/status.h"
#include "base/metrics.h"
#include "base/result.h"
#include "base/time.h"
#include "http/server.h"

namespace roster::agent {

/// Key with which the control server is notified of new generations.
inline constexpr const char* kGenerationKey = "generation";

/// The agent's unix socket, 0660:
///   GET /status                      JSON
///   GET /metrics                     Prometheus text
///   GET /wait?user=NAME&seconds=N    200 once there is a generation (and it serves this login),
///                                    503 when N seconds (at most 3600) pass before
Result<std::unique_ptr<http::Server>> create_control_server(const Config& config, NodeCache& cache,
                                                            const StatusBoard& status,
                                                            Metrics& metrics, Clock clock);

}  // namespace roster::agent
