#pragma once

#include <functional>
#include <ostream>

#include "base/result.h"
#include "cli/hub.h"

namespace CLI {
class App;
}

namespace roster::cli {

enum class Output { kTable, kJson };

/// What every command has at hand. The command line's parser fills `hub` and `output`, then the
/// command that was named sets `action` or `local`, which runs once.
struct Session {
  HubOptions hub;
  Output output = Output::kTable;
  std::ostream& out;
  std::function<Result<void>(Hub&)> action;
  /// In its place, of a command that needs no hub; its exit status.
  std::function<int()> local = {};
};

void add_org_commands(CLI::App& app, Session& session);
void add_client_commands(CLI::App& app, Session& session);
void add_token_commands(CLI::App& app, Session& session);
void add_user_commands(CLI::App& app, Session& session);
void add_group_commands(CLI::App& app, Session& session);
void add_node_commands(CLI::App& app, Session& session);
void add_view_commands(CLI::App& app, Session& session);
void add_fuse_commands(CLI::App& app, Session& session);
void add_audit_commands(CLI::App& app, Session& session);
void add_ssh_public_keys(CLI::App& app, Session& session);

}  // namespace roster::cli
