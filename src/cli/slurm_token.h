#pragma once

#include <chrono>
#include <filesystem>
#include <string>

#include "base/result.h"
#include "cli/commands.h"

namespace roster::cli {

/// How a token is written down.
enum class TokenForm {
  kToken,     // alone, one line
  kEnv,       // SLURM_JWT=..., as scontrol token prints it
  kSlurmWeb,  // the section [slurmrestd] of Slurm-web's agent.ini with jwt_mode = static
};

struct TokenWish {
  std::string cluster;  // empty: the only one that there is
  std::string user;     // empty: the caller
  std::string ttl;
  TokenForm form = TokenForm::kToken;
  std::filesystem::path watch;  // keep this file renewed
  unsigned mode = 0600;         // of that file
};

/// The cluster that is meant when none is named: the only one. kInvalidArgument naming them all
/// when there are more.
Result<std::string> chosen_cluster(Hub& hub, const std::string& named);

/// `roster slurm token`: prints one, or keeps a file renewed until SIGTERM or SIGINT. A renewal is
/// due at half the token's life; one that fails is tried again, with the old token in place.
Result<void> slurm_token(Session& session, Hub& hub, const TokenWish& wish);

}  // namespace roster::cli
