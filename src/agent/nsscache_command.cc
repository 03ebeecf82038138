#include "agent/nsscache_command.h"

#include <sysexits.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <optional>
#include <string_view>
#include <thread>
#include <vector>

#include "agent/commands.h"
#include "agent/errors.h"
#include "agent/mirror.h"
#include "base/log.h"
#include "mirror/files.h"
#include "mirror/lock.h"
#include "mirror/verify.h"

namespace roster::agent {
namespace {

using mirror::Map;
using mirror::Settings;

constexpr int kExitLocked = 200;
constexpr const char* kDefaultConf = "/etc/nsscache.conf";
constexpr const char* kAgentConf = "/etc/roster/agent.toml";
constexpr const char* kExamples = R"(
Examples:
  nsscache update
  nsscache --config-file /etc/nsscache.conf update --full -m passwd -m group
  nsscache status --epoch
  nsscache verify

This is roster-agent under nsscache's name: it reads nsscache.conf as it is. What came of the last
pass is in roster-mirror-report.json in timestamp_dir.)";

struct Flags {
  std::string conf;
  bool verbose = false;
  bool debug = false;
  bool full = false;
  bool force_write = false;
  bool force_lock = false;
  bool epoch = false;
  unsigned sleep_seconds = 0;
  std::vector<std::string> maps;
  std::vector<std::string> accepted_ids;
  std::string topic;
  std::string text_form = "NSS map: %(map)s\n%(key)s: %(value)s";
};

int fail_with(const Error& error, int status) {
  std::fprintf(stderr, "nsscache: %s\n", error.message.c_str());
  return status;
}

MirrorOptions mirror_options(const Flags& flags) {
  MirrorOptions options;
  options.conf = flags.conf;
  options.pass.full = flags.full;
  options.pass.accept_shrink = flags.force_write;
  options.pass.accepted_ids = flags.accepted_ids;
  for (const std::string& map : flags.maps) {
    options.maps += (options.maps.empty() ? "" : ",") + map;
  }
  return options;
}

int status_of(const mirror::PassResult& result) {
  if (result.error) {
    return result.error->keyword == kLocal || result.error->code == Code::kInvalidArgument
               ? 1
               : EX_TEMPFAIL;
  }
  int bad = 0;
  for (const mirror::MapResult& map : result.maps) bad += map.error.empty() ? 0 : 1;
  return bad;
}

void report(const mirror::PassResult& result) {
  if (result.error) std::fprintf(stderr, "nsscache: %s\n", result.error->message.c_str());
  for (const mirror::MapResult& map : result.maps) {
    if (map.error.empty()) continue;
    std::fprintf(stderr, "nsscache: %s: %s\n", std::string(mirror::map_name(map.map)).c_str(),
                 map.error.c_str());
  }
  constexpr std::size_t kShown = 20;
  std::size_t count = 0;
  for (const auto& [kind, number] : result.refused) count += number;
  for (std::size_t i = 0; i < std::min(kShown, result.refusals.size()); ++i) {
    const mirror::Refusal& each = result.refusals[i];
    log::warn("left out",
              {{"kind", each.kind}, {"name", each.name}, {"id", each.id}, {"reason", each.reason}});
  }
  if (count > kShown) log::warn("more are left out, see the report", {{"all", count}});
}

int update(const Flags& flags) {
  if (flags.sleep_seconds > 0) {
    std::this_thread::sleep_for(std::chrono::seconds(flags.sleep_seconds));
  }
  const MirrorOptions options = mirror_options(flags);
  const auto settings = read_mirror_settings(options);
  if (!settings) return fail_with(settings.error(), 1);
  if (flags.force_lock) mirror::end_lock_holder(settings->lock_file);
  // The deny file and the node's accounts are where the agent has them.
  std::error_code absent;
  std::optional<std::filesystem::path> own;
  if (std::filesystem::exists(kAgentConf, absent)) own = kAgentConf;
  const auto config = load_config(own);
  if (!config) return fail_with(config.error(), 1);
  Metrics metrics;
  const auto result = mirror_once(*config, options, metrics, system_now);
  if (!result) {
    return fail_with(result.error(), result.error().code == Code::kAlreadyExists ? kExitLocked : 1);
  }
  report(*result);
  return status_of(*result);
}

std::string filled(std::string form, std::string_view map, std::string_view key,
                   std::string_view value) {
  for (const auto& [name, text] : {std::pair<std::string_view, std::string_view>{"%(map)s", map},
                                   {"%(key)s", key},
                                   {"%(value)s", value}}) {
    for (std::size_t at = 0; (at = form.find(name, at)) != std::string::npos; at += text.size()) {
      form.replace(at, name.size(), text);
    }
  }
  return form;
}

/// asctime(3) in local time, without its newline.
std::string local_time(Timestamp at) {
  const std::time_t seconds = static_cast<std::time_t>(to_millis(at) / 1000);
  std::tm parts{};
  std::array<char, 64> text{};
  if (::localtime_r(&seconds, &parts) == nullptr) return "Unknown";
  std::strftime(text.data(), text.size(), "%a %b %e %H:%M:%S %Y", &parts);
  return text.data();
}

int show_status(const Settings& settings, const Flags& flags) {
  for (const Map map : settings.written) {
    const auto updated = mirror::read_update_stamp(settings, map);
    const std::string none = flags.epoch ? "0" : "Unknown";
    std::string when = none;
    if (updated) {
      when = flags.epoch ? std::to_string(to_millis(*updated) / 1000) : local_time(*updated);
    }
    const std::string_view name = mirror::map_name(map);
    std::puts(filled(flags.text_form, name, "last-modify-timestamp", none).c_str());
    std::puts(filled(flags.text_form, name, "last-update-timestamp", when).c_str());
  }
  return 0;
}

int verify(const Settings& settings) {
  int bad = 0;
  for (const Map map : settings.written) {
    const std::vector<std::string> problems = mirror::verify_map(settings, map);
    for (const std::string& problem : problems) {
      std::fprintf(stderr, "nsscache: %s\n", problem.c_str());
    }
    bad += problems.empty() ? 0 : 1;
  }
  if (bad == 0) std::puts("all maps are in order");
  return bad;
}

struct Commands {
  CLI::App *update, *status, *verify, *repair, *help;
};

Commands add_commands(CLI::App& app, Flags& flags) {
  const char* from_environment = std::getenv("NSSCACHE_CONFIG");
  flags.conf = from_environment != nullptr ? from_environment : kDefaultConf;
  app.add_option("-c,--config-file", flags.conf, "Configuration file");
  app.add_flag("-v,--verbose", flags.verbose, "Say more");
  app.add_flag("-d,--debug", flags.debug, "Say everything");
  Commands out{};
  out.update = app.add_subcommand("update", "Make the maps what the server has");
  out.status = app.add_subcommand("status", "When each map was updated");
  out.verify = app.add_subcommand("verify", "Check the files, their indexes, and NSS");
  out.repair = app.add_subcommand("repair", "Check, and update when something is wrong");
  out.help = app.add_subcommand("help", "This text, or that of a command");
  out.help->add_option("COMMAND", flags.topic, "Command to be told of");
  for (CLI::App* command : {out.update, out.status, out.verify, out.repair}) {
    command->add_option("-m,--map", flags.maps, "Only this map; may be repeated")
        ->allow_extra_args(false);
  }
  for (CLI::App* command : {out.update, out.repair}) {
    command->add_flag("-f,--full", flags.full, "Read everything although nothing changed");
    command->add_flag("--force-write", flags.force_write, "Write maps that shrink, or are empty");
    command->add_flag("--force-lock", flags.force_lock, "End the pass that is running");
    command->add_option("-s,--sleep", flags.sleep_seconds, "Wait so many seconds before");
    command
        ->add_option("--accept-id", flags.accepted_ids,
                     "NAME=ID: this id is this name's from now on")
        ->allow_extra_args(false);
  }
  out.status->add_flag("--epoch", flags.epoch, "Seconds since 1970");
  out.status->add_option("--template", flags.text_form, "Form of each line");
  app.require_subcommand(0, 1);
  return out;
}

int help(const CLI::App& app, const std::string& topic) {
  if (topic.empty()) {
    // App::help() would be that of the command that was given: of `help`.
    const std::string name = app.get_name();
    std::fputs(app.get_formatter()->make_help(&app, name, CLI::AppFormatMode::Normal).c_str(),
               stdout);
    return 0;
  }
  const auto about = app.get_subcommands(
      [&topic](const CLI::App* command) { return command->get_name() == topic; });
  if (about.empty()) {
    std::fprintf(stderr, "command '%s' is not implemented\n", topic.c_str());
    return 1;
  }
  std::fputs(about.front()->help().c_str(), stdout);
  return 0;
}

int execute(const Commands& commands, const Flags& flags) {
  if (*commands.update) return update(flags);
  const auto settings = read_mirror_settings(mirror_options(flags));
  if (!settings) return fail_with(settings.error(), 1);
  if (*commands.status) return show_status(*settings, flags);
  const int bad = verify(*settings);
  if (*commands.verify || bad == 0) return bad;
  Flags full = flags;
  full.full = true;
  return update(full);
}

}  // namespace

int run_nsscache_command(std::span<const std::string> arguments) {
  CLI::App app("Makes the node's maps what a SCIM server has.", "nsscache");
  app.footer(kExamples);
  app.set_version_flag("--version", "nsscache (roster) " + std::string(version()));
  Flags flags;
  const Commands commands = add_commands(app, flags);
  // As in optparse, options after a command are the command's.
  std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
  try {
    app.parse(reversed);
  } catch (const CLI::ExtrasError& error) {
    app.exit(error);
    const std::vector<std::string> unknown = app.remaining();
    const bool option = !unknown.empty() && unknown.front().starts_with('-');
    return app.get_subcommands().empty() && !option ? EX_SOFTWARE : 2;
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  log::configure(flags.debug     ? log::Level::kDebug
                 : flags.verbose ? log::Level::kInfo
                                 : log::Level::kWarn,
                 log::Format::kText);
  if (app.get_subcommands().empty()) {
    std::fputs(("No command given\n" + app.help()).c_str(), stderr);
    return EX_USAGE;
  }
  if (*commands.help) return help(app, flags.topic);
  return execute(commands, flags);
}

}  // namespace roster::agent
