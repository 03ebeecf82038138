#pragma once

#include <filesystem>

#include "agent/config.h"
#include "agent/node_cache.h"
#include "base/result.h"
#include "feed/enrollment.h"

namespace roster::agent {

/// Writes what the hub has now into a seed file (feed/FORMAT.md 6), mode 0600, for boot images.
/// What the hub sends is read to its end, but not published here.
Result<void> write_seed(const Config& config, const feed::Enrollment& enrollment,
                        const std::filesystem::path& file);

/// Publishes a seed file as the first generation. kFailedPrecondition when there is a generation
/// already: what the node has is newer than its image.
Result<void> load_seed(const std::filesystem::path& file, NodeCache& cache);

}  // namespace roster::agent
