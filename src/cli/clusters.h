#pragma once

#include "cli/commands.h"

namespace roster::cli {

/// roster cluster add|list|show|set|check|remove
void add_cluster_commands(CLI::App& app, Session& session);

/// roster slurm token|jwks|keys|rotate|keygen|setup
void add_slurm_commands(CLI::App& app, Session& session);

}  // namespace roster::cli
