#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/secret.h"
#include "reconcile/accounting.h"
#include "slurm/accounting.h"

/// Slurm's commands, and the texts that they are given. Nothing reaches them that was not checked.
namespace roster::slurm {

/// For the account and user names of a step, its values and its texts. kInvalidArgument says which.
Result<void> check_step(const accounting::Step& step);

/// "a,b,c"
template <typename Names>
std::string joined(const Names& names) {
  std::string out;
  for (const auto& name : names) {
    if (!out.empty()) out += ',';
    if constexpr (requires { std::string_view(name); }) {
      out += name;
    } else {
      out += std::to_string(name);
    }
  }
  return out;
}

/// "MaxJobs=5", "QOS=", "GrpTRES=cpu=4,mem=-1": words of sacctmgr(1) that make the changes.
std::vector<std::string> words_of(const std::vector<accounting::Change>& changes);

/// What is added, in the format of `sacctmgr load`: one command for all. `steps`: of the acts
/// kAddAccount, kAddUser and kAddAssociation.
std::string load_file(std::string_view cluster, const std::vector<const accounting::Step*>& steps);

class CommandRunner {
 public:
  CommandRunner(SlurmCommands commands, const Secret& token);
  /// stdout of a command whose exit status is 0. `asked`: the daemon, for sentences.
  Result<std::string> run(std::string_view program, std::vector<std::string> words,
                          std::string_view asked, std::string input = {});
  Result<std::string> sacctmgr(std::vector<std::string> words, std::string input = {});
  std::size_t runs() const { return runs_; }

 private:
  SlurmCommands commands_;
  Secret token_;
  std::size_t runs_ = 0;
};

}  // namespace roster::slurm
