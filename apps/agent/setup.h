#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace CLI {
class App;
}

namespace roster::agent {

/// `roster-agent setup` and `unsetup`.
class SetupCommands {
 public:
  /// `app` writes to this object when it parses.
  SetupCommands(CLI::App& app, std::filesystem::path default_config);
  SetupCommands(const SetupCommands&) = delete;
  SetupCommands& operator=(const SetupCommands&) = delete;

  bool is_given() const;
  /// Prints the plan, or what was done; the exit status.
  Result<int> execute() const;

 private:
  void add_switch(const char* name, std::optional<bool>& target, const char* help);

  CLI::App* setup_ = nullptr;
  CLI::App* unsetup_ = nullptr;
  std::filesystem::path config_;
  bool apply_ = false;
  std::optional<bool> user_population_, home_directories_, ssh_keys_, sudo_access_, home_keys_;
  std::vector<std::int64_t> sudo_gids_;
  std::optional<std::string> home_umask_;
};

}  // namespace roster::agent
