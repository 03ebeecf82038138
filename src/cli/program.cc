#include "cli/program.h"

#include <CLI/CLI.hpp>
#include <map>
#include <ostream>

#include "cli/clusters.h"
#include "cli/commands.h"
#include "cli/doctor.h"
#include "cli/export.h"
#include "cli/import.h"
#include "cli/sync.h"

#ifndef ROSTER_VERSION
#define ROSTER_VERSION "0.1.0"
#endif

namespace roster::cli {
namespace {

void add_global_options(CLI::App& app, Session& session) {
  app.add_option("--url", session.hub.url, "the hub, https://HOST:PORT")->envname("ROSTER_URL");
  app.add_option("--token-file", session.hub.token_file,
                 "file with the token, mode 0600; else ROSTER_TOKEN")
      ->envname("ROSTER_TOKEN_FILE");
  app.add_option("--ca-file", session.hub.ca_file, "PEM file with the hub's CA certificate")
      ->envname("ROSTER_CA_FILE");
  app.add_option("--org", session.hub.org, "organization")->envname("ROSTER_ORG");
  static const std::map<std::string, Output> kOutputs{{"table", Output::kTable},
                                                      {"json", Output::kJson}};
  app.add_option("--output", session.output, "table or json")
      ->transform(CLI::CheckedTransformer(kOutputs))
      ->default_str("table");
}

int exit_status(const Error& error) { return error.code == Code::kUnavailable ? 3 : 1; }

}  // namespace

int run(int argc, const char* const* argv, std::ostream& out, std::ostream& err) {
  CLI::App app("roster: administer a Roster hub: organizations, people, groups, tokens, nodes",
               "roster");
  app.set_version_flag("--version", "roster " ROSTER_VERSION);
  app.require_subcommand(1);
  app.fallthrough();  // global options may stand after the command, too
  app.footer(
      "Example:\n"
      "  export ROSTER_URL=https://hub.example.org:8443 ROSTER_ORG=acme\n"
      "  export ROSTER_TOKEN_FILE=~/.config/roster/token ROSTER_CA_FILE=/etc/roster/ca.pem\n"
      "  roster user list\n"
      "Exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 hub not reachable.");
  Session session{.hub = {}, .output = Output::kTable, .out = out, .action = {}};
  add_global_options(app, session);
  add_org_commands(app, session);
  add_client_commands(app, session);
  add_token_commands(app, session);
  add_user_commands(app, session);
  add_group_commands(app, session);
  add_node_commands(app, session);
  add_view_commands(app, session);
  add_cluster_commands(app, session);
  add_slurm_commands(app, session);
  add_fuse_commands(app, session);
  add_audit_commands(app, session);
  add_ssh_public_keys(app, session);
  add_doctor(app, session);
  add_sync(app, session);
  add_import(app, session);
  add_export(app, session);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& problem) {
    return app.exit(problem, out, err) == 0 ? 0 : 2;
  }
  if (session.local) return session.local();
  auto hub = Hub::connect(session.hub);
  if (!hub) {
    err << "roster: " << hub.error().message << '\n';
    return hub.error().code == Code::kInvalidArgument ? 2 : exit_status(hub.error());
  }
  if (const auto done = session.action(*hub); !done) {
    err << "roster: " << done.error().message << '\n';
    return exit_status(done.error());
  }
  return 0;
}

}  // namespace roster::cli
