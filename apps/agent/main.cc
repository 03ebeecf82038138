// roster-agent: keeps the identities of a node in step with the hub.

#include <signal.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "agent/agent.h"
#include "agent/commands.h"
#include "agent/config.h"
#include "agent/local_rules.h"
#include "agent/nsscache_command.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/time.h"
#include "setup.h"

namespace {

using roster::Code;
using roster::Result;
using roster::agent::Config;

constexpr const char* kDefaultConfig = "/etc/roster/agent.toml";

constexpr const char* kExamples = R"(
Examples:
  roster-agent run --config /etc/roster/agent.toml
  roster-agent sync --url https://hub:8443 --join-token-file /etc/roster/join-token
  roster-agent status --output json
  roster-agent wait --timeout 30s --user alice
  roster-agent deny alice          lock a person on this node at once, without the hub
  roster-agent setup               show what setting this node up would change
  roster-agent setup --apply       and do it; unsetup takes it back
  roster-agent seed /srv/image/var/lib/roster/seed.zst
  roster-agent sync --nsscache-conf /etc/nsscache.conf     any SCIM server, in nsscache's place
  roster-agent run --nsscache-conf /etc/nsscache.conf --publish cache --interval 1m

Exit status: 0 done, 1 failed, 2 wrong usage, 3 unreachable or stale, 4 refused.)";

/// What was given on the command line; it wins over the file.
struct Flags {
  std::optional<std::filesystem::path> config;
  std::optional<std::string> url, org, node_name, role, ca_sha256;
  std::optional<std::filesystem::path> join_token_file, state_dir, cache_dir, socket, ca_file, seed;
  bool plain_http = false;
  std::string output = "table";
  std::string timeout = "30s";
  std::string user;
  std::string entry;
  std::filesystem::path seed_file;
  roster::agent::MirrorOptions mirror;
  std::string interval = "60s";
  std::filesystem::path metrics_file;
};

template <typename T>
void override_with(T& target, const std::optional<T>& flag) {
  if (flag) target = *flag;
}

Result<Config> make_config(const Flags& flags) {
  std::optional<std::filesystem::path> file = flags.config;
  // A directory that this user may not look into throws without `error`, and is told by the
  // reading.
  std::error_code error;
  if (!file && (std::filesystem::exists(kDefaultConfig, error) || error)) file = kDefaultConfig;
  ASSIGN_OR_RETURN(Config config, roster::agent::load_config(file));
  override_with(config.url, flags.url);
  override_with(config.org, flags.org);
  override_with(config.node_name, flags.node_name);
  override_with(config.role, flags.role);
  override_with(config.ca_sha256, flags.ca_sha256);
  override_with(config.join_token_file, flags.join_token_file);
  override_with(config.state_dir, flags.state_dir);
  override_with(config.cache_dir, flags.cache_dir);
  override_with(config.socket, flags.socket);
  override_with(config.ca_file, flags.ca_file);
  config.plain_http |= flags.plain_http;
  return config;
}

Result<void> configure_log(const Config& config) {
  using roster::log::Level;
  const std::string& level = config.log_level;
  if (level != "debug" && level != "info" && level != "warn" && level != "error") {
    return roster::fail(Code::kInvalidArgument, "log.level is not debug, info, warn or error");
  }
  if (config.log_format != "text" && config.log_format != "json") {
    return roster::fail(Code::kInvalidArgument, "log.format is not text or json");
  }
  roster::log::configure(
      level == "debug"  ? Level::kDebug
      : level == "info" ? Level::kInfo
      : level == "warn" ? Level::kWarn
                        : Level::kError,
      config.log_format == "json" ? roster::log::Format::kJson : roster::log::Format::kText);
  return {};
}

void add_config_flag(CLI::App* command, Flags& flags) {
  command->add_option("--config", flags.config,
                      std::string("Configuration file (default ") + kDefaultConfig + ")");
}

void add_socket_flag(CLI::App* command, Flags& flags) {
  command->add_option("--socket", flags.socket, "The agent's socket");
}

void add_hub_flags(CLI::App* command, Flags& flags) {
  add_config_flag(command, flags);
  command->add_option("--url", flags.url, "The hub, e.g. https://hub:8443");
  command->add_option("--org", flags.org, "Organization that the node must be enrolled in");
  command->add_option("--join-token-file", flags.join_token_file,
                      "Join token, for the first contact; a file for its owner only");
  command->add_option("--node-name", flags.node_name, "Name of the node (default: the host's)");
  command->add_option("--role", flags.role, "Role that the join token must give");
  command->add_option("--state-dir", flags.state_dir, "Where the node's credential is kept");
  command->add_option("--cache-dir", flags.cache_dir, "Where the identity cache is published");
  command->add_option("--ca-file", flags.ca_file, "PEM file with the authorities to trust");
  command->add_option("--ca-sha256", flags.ca_sha256, "Fingerprint of the hub's CA to pin");
  command->add_flag("--plain-http", flags.plain_http,
                    "Allow http:// beyond loopback: everybody on the way can read and change it");
  add_socket_flag(command, flags);
}

/// Gives what the options need that are of no use with a hub: silence would be a lie.
CLI::Option* add_mirror_flags(CLI::App* command, Flags& flags) {
  CLI::Option* conf =
      command->add_option("--nsscache-conf", flags.mirror.conf,
                          "Read a SCIM server as this nsscache.conf says, instead of the hub");
  conf->check([](const std::string& path) { return path.empty() ? "a path is needed" : ""; });
  command
      ->add_option("--publish", flags.mirror.publish,
                   "kubernetes: Secrets, too; with --nsscache-conf also cache: libnss_roster's")
      ->delimiter(',');
  command->add_flag("--force-secrets", flags.mirror.secrets.force,
                    "With --publish kubernetes: take over what another field manager owns");
  return conf;
}

struct Commands {
  CLI::App *run, *sync, *status, *wait, *deny, *allow, *seed;
};

Commands add_commands(CLI::App& app, Flags& flags) {
  Commands out{};
  out.run = app.add_subcommand("run", "Follow the hub and publish, until stopped");
  add_hub_flags(out.run, flags);
  out.run->add_option("--seed", flags.seed, "Seed file to publish when there is nothing yet");
  out.sync = app.add_subcommand("sync", "One pass without a running agent, then exit");
  add_hub_flags(out.sync, flags);
  out.run->add_option("--interval", flags.interval, "With --nsscache-conf: between two passes")
      ->needs(add_mirror_flags(out.run, flags));
  CLI::Option* conf = add_mirror_flags(out.sync, flags);
  out.sync
      ->add_flag("--full", flags.mirror.pass.full,
                 "With --nsscache-conf: read everything although nothing changed")
      ->needs(conf);
  out.sync
      ->add_flag("--force-write", flags.mirror.pass.accept_shrink,
                 "With --nsscache-conf: write maps that shrink, or are empty")
      ->needs(conf);
  out.sync
      ->add_option("--accept-id", flags.mirror.pass.accepted_ids,
                   "With --nsscache-conf, NAME=ID: this id is this name's from now on")
      ->allow_extra_args(false)
      ->needs(conf);
  out.sync
      ->add_option("--metrics-file", flags.metrics_file,
                   "With --nsscache-conf: write Prometheus text there")
      ->needs(conf);
  out.sync->add_option("--output", flags.output, "With --nsscache-conf: table or json")
      ->check(CLI::IsMember({"table", "json"}))
      ->needs(conf);
  out.status = app.add_subcommand("status", "Ask the running agent how it is");
  out.status->add_option("--output", flags.output, "table or json")
      ->check(CLI::IsMember({"table", "json"}));
  out.wait = app.add_subcommand("wait", "Wait until identities are being served");
  out.wait->add_option("--timeout", flags.timeout, "How long, e.g. 30s");
  out.wait->add_option("--user", flags.user, "Wait until this login is served");
  for (CLI::App* command : {out.status, out.wait}) {
    add_config_flag(command, flags);
    add_socket_flag(command, flags);
  }
  out.deny = app.add_subcommand("deny", "Lock a person on this node at once, without the hub");
  out.allow = app.add_subcommand("allow", "Take a person off this node's deny list");
  for (CLI::App* command : {out.deny, out.allow}) {
    add_config_flag(command, flags);
    command->add_option("NAME|UID", flags.entry, "Login or uid")->required();
  }
  out.seed = app.add_subcommand("seed", "Write what the hub has now to a file for boot images");
  add_hub_flags(out.seed, flags);
  out.seed->add_option("FILE", flags.seed_file, "Seed file to write")->required();
  app.require_subcommand(1);
  return out;
}

Result<int> edit_deny(const Config& config, const Flags& flags, bool denied) {
  ASSIGN_OR_RETURN(const bool changed,
                   roster::agent::edit_deny_file(config.local.deny, flags.entry, denied));
  std::printf("%s is %s%s\n", flags.entry.c_str(), denied ? "denied on this node" : "not denied",
              changed ? "" : " already");
  return roster::agent::kExitOk;
}

void print_pass(const roster::agent::MirrorPass& pass, bool as_json) {
  std::fputs((as_json ? pass.json : pass.text).c_str(), stdout);
}

Result<int> mirror(const Commands& commands, const Config& config, Flags flags) {
  ASSIGN_OR_RETURN(flags.mirror.interval, roster::parse_duration(flags.interval));
  if (flags.mirror.interval < std::chrono::milliseconds(100)) {
    return roster::fail(Code::kInvalidArgument, "--interval is below 100ms");
  }
  if (*commands.run) {
    RETURN_IF_ERROR(roster::agent::run_mirror(config, flags.mirror, roster::system_now));
    return roster::agent::kExitOk;
  }
  ASSIGN_OR_RETURN(
      const auto pass,
      roster::agent::sync_mirror(config, flags.mirror, flags.metrics_file, roster::system_now));
  print_pass(pass, flags.output == "json");
  return pass.status;
}

Result<int> execute(const Commands& commands, const Flags& flags) {
  ASSIGN_OR_RETURN(Config config, make_config(flags));
  RETURN_IF_ERROR(configure_log(config));
  if (*commands.deny) return edit_deny(config, flags, true);
  if (*commands.allow) return edit_deny(config, flags, false);
  if (*commands.status) {
    ASSIGN_OR_RETURN(const auto out, roster::agent::show_status(config, flags.output == "json"));
    std::fputs(out.text.c_str(), stdout);
    return out.status;
  }
  if (*commands.wait) {
    ASSIGN_OR_RETURN(const auto timeout, roster::parse_duration(flags.timeout));
    RETURN_IF_ERROR(roster::agent::wait_ready(config, flags.user, timeout));
    return roster::agent::kExitOk;
  }
  if (!flags.mirror.conf.empty() && (*commands.run || *commands.sync)) {
    return mirror(commands, config, flags);
  }
  RETURN_IF_ERROR(roster::agent::validate(config));
  if (*commands.seed) {
    RETURN_IF_ERROR(roster::agent::make_seed(config, flags.seed_file, roster::system_random));
  } else if (*commands.sync) {
    if (!flags.mirror.publish.empty()) {
      return roster::fail(Code::kInvalidArgument,
                          "sync takes --publish with --nsscache-conf only; `run` publishes what "
                          "comes from the hub");
    }
    RETURN_IF_ERROR(roster::agent::sync_once(config, roster::system_now, roster::system_random));
  } else {
    RETURN_IF_ERROR(roster::agent::run_agent(config,
                                             {.seed = flags.seed,
                                              .publish = flags.mirror.publish,
                                              .force_secrets = flags.mirror.secrets.force},
                                             roster::system_now, roster::system_random));
  }
  return roster::agent::kExitOk;
}

}  // namespace

int main(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);
  if (std::filesystem::path(argv[0]).filename() == "nsscache") {
    return roster::agent::run_nsscache_command(std::vector<std::string>(argv + 1, argv + argc));
  }
  CLI::App app("Keeps the people and groups of this node in step with the Roster hub.",
               "roster-agent");
  app.footer(kExamples);
  app.set_version_flag("--version", std::string(roster::agent::version()));
  Flags flags;
  const Commands commands = add_commands(app, flags);
  roster::agent::SetupCommands setup(app, kDefaultConfig);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? roster::agent::kExitOk : roster::agent::kExitUsage;
  }
  const Result<int> status = setup.is_given() ? setup.execute() : execute(commands, flags);
  if (status) return *status;
  std::fprintf(stderr, "roster-agent: %s\n", status.error().message.c_str());
  return setup.is_given() ? roster::agent::kExitFailed : roster::agent::exit_status(status.error());
}
