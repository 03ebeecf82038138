#pragma once

#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "node/root_file.h"

namespace roster::cli {

enum class SlurmRole { kController, kDbd, kRest };

/// What the hub says of the cluster.
struct ClusterFacts {
  std::string name;
  std::string slurm_name;  // ClusterName of slurm.conf
  bool rs256 = true;
  std::string endpoint;
  std::string jwks;  // the file's content, of rs256
};

/// A machine of Slurm's.
struct SlurmMachine {
  std::filesystem::path conf_dir = "/etc/slurm";
  std::filesystem::path sbin_dir = "/usr/sbin";
  std::filesystem::path systemd_dir = "/etc/systemd/system";
  std::string jwks_file;  // empty: jwks.json in conf_dir
  std::string key_file;   // of hs256; empty: what jwt_key= says, else jwt_hs256.key in conf_dir
  std::string socket_group = "rosterd";  // who may connect to slurmrestd's unix socket
  std::vector<SlurmRole> roles;
  std::optional<std::pair<int, int>> release;  // {24, 11}
};

/// One file as it is and as it shall be.
struct PlannedFile {
  std::filesystem::path path;
  uid_t owner = 0;  // who besides root may own it and its folders
  std::optional<node::RootFile> before;
  node::RootFile after;
  std::string shown;  // what changes; never a line that does not, which may be a password
};

struct SlurmPlan {
  std::vector<PlannedFile> files;  // in the order of writing; only those that change
  std::vector<std::string> notes;
  std::vector<std::vector<std::string>> restarts;  // commands, in their order
};

/// What is there on the machine: slurmctld with slurm.conf, slurmdbd.conf, slurmrestd.
std::vector<SlurmRole> roles_here(const SlurmMachine& machine);

/// "24.11" from what `slurmctld -V` prints.
std::optional<std::pair<int, int>> parse_release(std::string_view text);

/// Reads the machine's files; changes nothing. kFailedPrecondition naming what is missing,
/// ambiguous or of another cluster, kPermissionDenied for files that others than root and SlurmUser
/// may write.
Result<SlurmPlan> plan_slurm(const ClusterFacts& facts, const SlurmMachine& machine);

/// Writes all files of the plan, or none; beside each former one stays a copy, NAME.roster-before.
Result<void> apply_slurm(const SlurmPlan& plan);

}  // namespace roster::cli
