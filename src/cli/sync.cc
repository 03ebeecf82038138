#include "cli/sync.h"

#include <CLI/CLI.hpp>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <thread>

#include "base/ids.h"
#include "base/unicode.h"
#include "cli/commands.h"
#include "cli/progress.h"
#include "sync/report.h"
#include "sync/run.h"
#include "sync/settings.h"

namespace roster::cli {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kLook{50};

std::atomic<bool> stopping = false;

void stop_on_signal(int) { stopping = true; }

/// Of the run: waits, unless somebody ends the program.
bool pause_for(milliseconds time) {
  const auto end = std::chrono::steady_clock::now() + time;
  while (!stopping && std::chrono::steady_clock::now() < end) std::this_thread::sleep_for(kLook);
  return stopping;
}

/// Ends between two requests, so that the report is exact.
void end_on_signals() {
  struct sigaction action = {};
  action.sa_handler = stop_on_signal;
  action.sa_flags = static_cast<int>(SA_RESETHAND);  // the second time, at once
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
}

std::optional<std::string> from_environment(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  if (value == nullptr || *value == '\0') return std::nullopt;
  return value;
}

struct Flags {
  std::filesystem::path config;
  std::string kind;
  sync::Endpoint source;
  sync::Endpoint destination;
  std::string prefix;
  std::vector<std::string> groups;
  std::int64_t parallel = 0;
  std::filesystem::path passwd;
  std::filesystem::path group;
  bool dry_run = false;
  bool accept_shrink = false;
  bool accept_return = false;
};

void override_with(const Flags& flags, sync::Settings& settings) {
  const auto take = [](const auto& flag, auto& setting) {
    if (!flag.empty()) setting = flag;
  };
  take(flags.kind, settings.source_kind);
  take(flags.source.url, settings.source.url);
  take(flags.source.token_file, settings.source.token_file);
  take(flags.source.ca_file, settings.source.ca_file);
  take(flags.destination.url, settings.destination.url);
  take(flags.destination.token_file, settings.destination.token_file);
  take(flags.destination.ca_file, settings.destination.ca_file);
  take(flags.passwd, settings.files.passwd);
  take(flags.group, settings.files.group);
  take(flags.prefix, settings.prefix);
  take(flags.groups, settings.groups);
  if (flags.parallel > 0) settings.parallel = flags.parallel;
  settings.accept_shrink = flags.accept_shrink;
  settings.accept_return = flags.accept_return;
}

int status_of(const Error& error) {
  if (error.code == Code::kUnavailable) return 3;
  return error.code == Code::kInvalidArgument ? 2 : 1;
}

int report(const Error& error) {
  std::cerr << "roster: sync: " << printable(error.message) << '\n';
  return status_of(error);
}

/// Of what is set up, not of what a server says.
int report_setting(const Error& error) {
  report(error);
  return 2;
}

int carry_out(const sync::Prepared& prepared, sync::Destination& destination, Session& session) {
  ProgressLine line;
  std::size_t done = 0;
  const std::size_t whole = prepared.plan.steps();
  const sync::Outcome outcome = destination.apply(
      prepared.plan, [&line, &done, whole] { line.show("changes", ++done, whole); });
  line.clear();
  if (session.output == Output::kJson) {
    session.out << json::serialize(sync::outcome_json(prepared, outcome)) << '\n';
  } else {
    session.out << sync::outcome_text(prepared, outcome);
  }
  return outcome.whole() && prepared.plan.problems.empty() ? 0 : 1;
}

int run(const Flags& flags, Session& session) {
  sync::Settings settings;
  if (!flags.config.empty()) {
    if (auto read = settings.read_file(flags.config); !read) return report_setting(read.error());
  }
  override_with(flags, settings);
  if (auto read = settings.read_environment(from_environment); !read) {
    return report_setting(read.error());
  }
  end_on_signals();
  const sync::Surroundings surroundings{
      .pause = pause_for, .clock = system_now, .random = system_random};
  auto source = settings.open_source(surroundings);
  if (!source) return report_setting(source.error());
  auto destination = settings.open_destination(surroundings);
  if (!destination) return report_setting(destination.error());

  ProgressLine line;
  const auto progress = [&line](std::string_view what, std::size_t done, std::size_t whole) {
    line.show(what, done, whole);
  };
  const auto prepared =
      sync::prepare(**source, *destination, settings.run_options(), system_random, progress);
  line.clear();
  if (!prepared) {
    report(prepared.error());
    return stopping ? 1 : status_of(prepared.error());
  }
  if (!flags.dry_run) return carry_out(*prepared, *destination, session);
  if (session.output == Output::kJson) {
    session.out << json::serialize(sync::plan_json(*prepared)) << '\n';
  } else {
    session.out << (*source)->describe() << " -> " << destination->describe() << '\n'
                << sync::plan_text(*prepared);
  }
  return prepared->plan.problems.empty() ? 0 : 1;
}

}  // namespace

void add_sync(CLI::App& app, Session& session) {
  CLI::App* sync = app.add_subcommand("sync", "carry people and groups to another directory");
  auto flags = std::make_shared<Flags>();
  sync->add_option("--config", flags->config, "TOML file; flags override it");
  sync->add_option("--from", flags->kind, "kind of the source")
      ->check(CLI::IsMember({"scim", "activate", "ldap", "files"}));
  sync->add_option("--from-url", flags->source.url, "of the source's service");
  sync->add_option("--from-token-file", flags->source.token_file, "mode 0600");
  sync->add_option("--from-ca-file", flags->source.ca_file, "PEM; default: the system's");
  sync->add_option("--passwd", flags->passwd, "of --from files: passwd(5)");
  sync->add_option("--group-file", flags->group, "of --from files: group(5)");
  sync->add_option("--to", flags->destination.url, "base of the destination's SCIM service");
  sync->add_option("--to-token-file", flags->destination.token_file, "mode 0600");
  sync->add_option("--to-ca-file", flags->destination.ca_file, "PEM; default: the system's");
  sync->add_option("--prefix", flags->prefix,
                   "of the externalIds that mark what is ours; default roster:");
  sync->add_option("--group", flags->groups,
                   "only this group and who is in it; may be repeated. Others are deactivated")
      ->allow_extra_args(false);
  sync->add_option("--parallel", flags->parallel, "requests at once; default 8")
      ->check(CLI::Range(1, 64));
  sync->add_flag("--dry-run", flags->dry_run, "print the plan and change nothing");
  sync->add_flag("--accept-shrink", flags->accept_shrink,
                 "although much of what is there would be taken away");
  sync->add_flag("--accept-return", flags->accept_return,
                 "although many, or who the source does not say is active, would be let in again");
  sync->footer(
      "Whoever is gone from the source is deactivated, never deleted. What lacks the prefix is\n"
      "neither seen nor touched. The variables of pw-activate-scim-sync are enough in their "
      "place.\n"
      "Example:\n"
      "  roster sync --from scim --from-url https://hub:8443/api/organizations/acme/scim/v2 \\\n"
      "    --from-token-file read.token --to https://api.example.org/scim/v2 \\\n"
      "    --to-token-file write.token --dry-run\n"
      "Exit status: 0 all is as the source says, 1 something is not (the report says what),\n"
      "2 wrong usage, 3 a server cannot be reached.");
  sync->callback(
      [flags, &session] { session.local = [flags, &session] { return run(*flags, session); }; });
}

}  // namespace roster::cli
