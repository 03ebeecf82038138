#include <CLI/CLI.hpp>
#include <iostream>
#include <optional>
#include <string>
#include <vector>

#include "base/log.h"
#include "init.h"
#include "options.h"
#include "serve.h"

namespace roster::rosterd {
namespace {

constexpr int kFailed = 1;
constexpr int kUsage = 2;
constexpr int kUnavailable = 3;

/// Flags of `serve` that were given; they override the configuration file.
struct ServeFlags {
  std::optional<std::string> config;
  std::optional<std::string> data_dir;
  std::optional<std::string> run_dir;
  std::vector<std::string> listen;
  bool plain_http = false;
  std::optional<std::string> public_url;
  std::optional<std::string> tls_certificate;
  std::optional<std::string> tls_key;
  std::optional<std::string> database;
  std::optional<std::string> log_format;
  std::optional<std::string> log_level;
};

int report(const Error& error) {
  std::cerr << "rosterd: " << error.message << '\n';
  if (error.code == Code::kInvalidArgument || error.code == Code::kUnsupported) return kUsage;
  return error.code == Code::kUnavailable ? kUnavailable : kFailed;
}

/// The only thing on stdout, as its last line; an error when nobody can have read it.
Result<void> print_token(const Secret& token) {
  std::cout << token.expose() << std::endl;
  if (!std::cout) return fail(Code::kUnavailable, "the token could not be written to stdout");
  return {};
}

int run_init(const InitOptions& options) {
  if (const auto done = init(options, print_token); !done) return report(done.error());
  std::cerr << "rosterd: made store, organization " << options.org
            << ", certificate authority and server certificate in " << options.data_dir.string()
            << "\nrosterd: clients trust " << (options.data_dir / "ca.pem").string()
            << "; the operator token above is not shown again\nrosterd: next: rosterd serve "
               "--data-dir "
            << options.data_dir.string() << " --listen 0.0.0.0:8443\n";
  return 0;
}

int run_token(const std::string& data_dir, const std::string& name) {
  const auto token = mint_operator_token(data_dir, name, system_now, system_random);
  if (!token) return report(token.error());
  if (const auto printed = print_token(*token); !printed) return report(printed.error());
  return 0;
}

Result<ServeOptions> merge(const ServeFlags& flags) {
  ServeOptions options;
  if (flags.config) RETURN_IF_ERROR(options.read(*flags.config));
  if (flags.data_dir) options.data_dir = *flags.data_dir;
  if (flags.run_dir) options.run_dir = *flags.run_dir;
  if (!flags.listen.empty()) options.listen = flags.listen;
  if (flags.plain_http) options.plain_http = true;
  if (flags.public_url) options.public_url = *flags.public_url;
  if (flags.tls_certificate) options.tls_certificate = *flags.tls_certificate;
  if (flags.tls_key) options.tls_key = *flags.tls_key;
  if (flags.database) options.database = *flags.database;
  if (flags.log_format) options.log_format = *flags.log_format;
  if (flags.log_level) options.log_level = *flags.log_level;
  RETURN_IF_ERROR(options.check());
  return options;
}

int run_serve(const ServeFlags& flags) {
  const auto options = merge(flags);
  if (!options) return report(options.error());
  log::configure(options->level(), options->format());
  if (const auto done = serve(*options, system_now, system_random); !done) {
    return report(done.error());
  }
  return 0;
}

void add_serve_flags(CLI::App& command, ServeFlags& flags) {
  command.add_option("--config", flags.config, "TOML file; flags override it");
  command.add_option("--data-dir", flags.data_dir, "directory that rosterd init made");
  command.add_option("--run-dir", flags.run_dir,
                     "directory that a reboot empties, such as /run/rosterd, for marks that make "
                     "a restart quick");
  command.add_option("--listen", flags.listen,
                     "HOST:PORT, [ADDRESS]:PORT or unix:PATH; may be repeated");
  command.add_flag("--plain-http", flags.plain_http,
                   "no TLS; on loopback addresses and unix sockets only");
  command.add_option("--public-url", flags.public_url, "URL under which clients reach the hub");
  command.add_option("--tls-cert", flags.tls_certificate,
                     "PEM chain, instead of the hub's own certificate");
  command.add_option("--tls-key", flags.tls_key, "PEM key of --tls-cert");
  command.add_option("--database", flags.database, "sqlite:PATH, instead of the data directory's");
  command.add_option("--log-format", flags.log_format, "text or json");
  command.add_option("--log-level", flags.log_level, "debug, info, warn or error");
  command.footer(
      "Examples:\n"
      "  rosterd serve --data-dir /var/lib/roster --listen 0.0.0.0:8443 "
      "--public-url https://hub.example.org:8443\n"
      "  rosterd serve --config /etc/roster/rosterd.toml\n"
      "SIGTERM ends in order, SIGHUP takes new certificate files.");
}

int run(int argc, char** argv) {
  CLI::App app("rosterd: the hub of Roster, an identity plane for Slurm clusters", "rosterd");
  app.set_version_flag("--version", "rosterd " ROSTER_VERSION);
  app.require_subcommand(1);
  app.footer("Exit status: 0 done, 1 failed, 2 wrong usage or settings, 3 not possible now.");

  InitOptions init_options;
  CLI::App* const init_command = app.add_subcommand(
      "init", "make a hub: store, organization, authority, certificate, operator token");
  init_command->add_option("--data-dir", init_options.data_dir, "directory to make")->required();
  init_command->add_option("--org", init_options.org, "first organization: [a-z0-9-]{1,63}")
      ->required();
  init_command->add_option("--dns", init_options.dns,
                           "more names or addresses for the certificate; may be repeated");
  init_command->footer(
      "The last line of stdout is the operator token; it is shown once.\n"
      "Example:\n"
      "  rosterd init --data-dir /var/lib/roster --org acme --dns hub.example.org > "
      "operator.token");

  std::string token_dir;
  std::string token_name;
  CLI::App* const token_command =
      app.add_subcommand("token", "a new operator token, while the hub is stopped");
  token_command->add_option("--data-dir", token_dir, "the hub's data directory")->required();
  token_command->add_option("--name", token_name, "name of the token")->required();

  ServeFlags flags;
  CLI::App* const serve_command = app.add_subcommand("serve", "serve until told to stop");
  add_serve_flags(*serve_command, flags);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& problem) {
    return app.exit(problem) == 0 ? 0 : kUsage;
  }
  if (init_command->parsed()) return run_init(init_options);
  if (token_command->parsed()) return run_token(token_dir, token_name);
  return run_serve(flags);
}

}  // namespace
}  // namespace roster::rosterd

int main(int argc, char** argv) { return roster::rosterd::run(argc, argv); }
