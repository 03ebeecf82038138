#pragma once

#include "base/result.h"
#include "cli/commands.h"
#include "cli/slurm_plan.h"

namespace roster::cli {

struct SetupWish {
  std::string cluster;  // empty: the only one that there is
  SlurmMachine machine;
  bool apply = false;
  bool restart = false;  // the daemons, by systemctl(1), after applying
  bool check = false;    // say whether the daemons run with it, and change nothing
};

/// `roster slurm setup`: shows what this machine of Slurm's needs to take the hub's tokens, does
/// it, or says whether its daemons run with it.
Result<void> slurm_setup(Session& session, Hub& hub, SetupWish wish);

void add_slurm_setup(CLI::App* slurm, Session& session);

}  // namespace roster::cli
