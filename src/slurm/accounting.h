#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "reconcile/accounting.h"
#include "slurm/rest.h"

/// Reads what the accounting of one cluster has, and carries out what a plan wants of it.
///
/// Slurm 23.11 and later (v0.0.40) are asked and written to by slurmrestd alone. Before, slurmrestd
/// cannot tell what is set from what is inherited, takes a fifth of a second for each association
/// and ignores coordinators: there Slurm's own commands do it, which must be on this host.
namespace roster::slurm {

namespace accounting = reconcile::accounting;

/// Slurm's commands on this host. They connect to slurmdbd and slurmctld themselves and show the
/// caller's token there, so they need no munge; slurm.conf must name auth/jwt.
struct SlurmCommands {
  std::filesystem::path folder{"/usr/bin"};  // of sacctmgr, scontrol and scancel
  std::filesystem::path slurm_conf = {};     // SLURM_CONF; empty: where they look by themselves
  std::chrono::milliseconds deadline{120'000};
};

struct AccountingAccess {
  std::string cluster;  // as slurmdbd knows it
  Caller caller;        // an operator or administrator of Slurm, or its user
  ApiVersion version;   // of accounting_version()
  /// Necessary for v0.0.38. Else optional: without them broken associations are not noticed, and a
  /// list of QOS cannot be taken back.
  std::optional<SlurmCommands> commands = {};
};

/// The one to use of those that a slurmrestd offers: the newest from v0.0.40 on, else v0.0.38.
/// kUnsupported naming what was offered.
Result<ApiVersion> accounting_version(const std::vector<ApiVersion>& offered);

/// For one thread. Every error says which daemon was asked.
class Accounting {
 public:
  /// kInvalidArgument for a name of a cluster that cannot be one; kFailedPrecondition without the
  /// commands that are needed. `rest` must outlive this.
  static Result<Accounting> create(RestClient& rest, AccountingAccess access);
  Accounting(Accounting&&) noexcept;
  Accounting& operator=(Accounting&&) noexcept;
  ~Accounting();

  /// All but jobs is read whole; jobs of these users. kNotFound when slurmdbd does not know the
  /// cluster; kDataLoss for an answer that is not understood, or that contradicts itself.
  Result<accounting::Held> read(const std::set<std::string>& jobs_of = {});

  /// Carries out the steps of one stage, in as few calls as can be, and looks at what came of each;
  /// an answer alone is not believed. Outcomes are in the order of the steps. One that fails hides
  /// no other: a call for many that is refused is repeated for halves of them, within bounds.
  /// Errors have Slurm's own words. kUnavailable also when it cannot be told what was done.
  std::vector<Result<void>> write(std::span<const accounting::Step> steps);

  struct Cost {
    std::size_t requests = 0;  // to slurmrestd
    std::size_t commands = 0;
  };
  Cost cost() const;

 private:
  class Session;
  explicit Accounting(std::unique_ptr<Session> session);
  std::unique_ptr<Session> session_;
};

/// What became of a plan.
struct Carried {
  std::size_t done = 0;
  struct Failure {
    accounting::Step step;
    Error error;
  };
  std::vector<Failure> failures;  // and what was left out because of them
  accounting::Owned owned;        // after it
  bool whole() const { return failures.empty(); }
};

/// Keeps the record of what is ours. It is told of what is about to become ours before that is
/// done.
using KeepOwned = std::function<Result<void>(const accounting::Owned&)>;

/// Carries out all stages in their order. When a daemon cannot be reached, the rest is left for the
/// next pass. An error is `keep`'s: then nothing more was done.
Result<Carried> carry_out(Accounting& accounting, const accounting::Plan& plan,
                          const KeepOwned& keep);

}  // namespace roster::slurm
