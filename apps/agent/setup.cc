#include "setup.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <system_error>
#include <utility>

#include "node/setup.h"

namespace roster::agent {
namespace {

constexpr const char* kSetupExamples = R"(
Nothing is changed without --apply. Switches that are not given are those of [node] in the
configuration file, which must be root's.

Examples:
  roster-agent setup                              a diff of every file that would change
  roster-agent setup --apply
  roster-agent setup --sudo-access on --sudo-gid 20001 --apply
  roster-agent setup --ssh-keys off --home-directories off    a node that takes no logins)";

constexpr const char* kUnsetupExamples = R"(
Nothing is changed without --apply.

Examples:
  roster-agent unsetup
  roster-agent unsetup --apply)";

}  // namespace

SetupCommands::SetupCommands(CLI::App& app, std::filesystem::path default_config)
    : config_(std::move(default_config)) {
  setup_ = app.add_subcommand("setup", "Show or make the changes to this node that Roster needs");
  setup_->add_option("--config", config_, "Configuration file (default " + config_.string() + ")");
  setup_->add_flag("--apply", apply_, "Do it, instead of only showing it");
  add_switch("--user-population", user_population_, "People and groups, by nsswitch.conf");
  add_switch("--home-directories", home_directories_, "Homes at the first login, by pam_mkhomedir");
  add_switch("--ssh-keys", ssh_keys_, "SSH keys, by sshd's AuthorizedKeysCommand");
  add_switch("--sudo-access", sudo_access_, "sudo for the groups of --sudo-gid");
  setup_->add_option("--sudo-gid", sudo_gids_, "Number of a group whose members may use sudo")
      ->allow_extra_args(false);
  setup_->add_option("--home-umask", home_umask_, "umask of new home directories, e.g. 0077");
  add_switch("--home-keys", home_keys_, "Keys in home directories go on opening accounts");
  setup_->footer(kSetupExamples);
  unsetup_ = app.add_subcommand("unsetup", "Show or make the changes that take setup back");
  unsetup_->add_flag("--apply", apply_, "Do it, instead of only showing it");
  unsetup_->footer(kUnsetupExamples);
}

void SetupCommands::add_switch(const char* name, std::optional<bool>& target, const char* help) {
  setup_
      ->add_option_function<std::string>(
          name, [&target](const std::string& word) { target = word == "on"; }, help)
      ->check(CLI::IsMember({"on", "off"}))
      ->type_name("");
}

bool SetupCommands::is_given() const { return setup_->parsed() || unsetup_->parsed(); }

Result<int> SetupCommands::execute() const {
  const node::Paths paths;
  Result<std::string> text;
  if (unsetup_->parsed()) {
    text = node::undo_setup(paths, apply_);
  } else {
    std::error_code error;
    if (setup_->count("--config") > 0 && !std::filesystem::exists(config_, error)) {
      return fail(Code::kNotFound, config_.string() + " does not exist");
    }
    ASSIGN_OR_RETURN(node::Settings settings, node::load_settings(config_, paths.owner));
    settings.user_population = user_population_.value_or(settings.user_population);
    settings.home_directories = home_directories_.value_or(settings.home_directories);
    settings.ssh_keys = ssh_keys_.value_or(settings.ssh_keys);
    settings.sudo_access = sudo_access_.value_or(settings.sudo_access);
    settings.home_keys = home_keys_.value_or(settings.home_keys);
    settings.home_umask = home_umask_.value_or(settings.home_umask);
    if (!sudo_gids_.empty()) settings.sudo_gids = sudo_gids_;
    text = node::set_up(settings, paths, apply_);
  }
  if (!text) return std::unexpected(text.error());
  std::fputs(text->c_str(), stdout);
  return 0;
}

}  // namespace roster::agent
