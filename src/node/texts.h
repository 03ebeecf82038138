#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "node/settings.h"

// The texts that the set-up puts into place: constants, and numbers and words from root's own
// configuration that were checked. Nothing from the hub. Pure.

namespace roster::node {

/// First line of every file of ours.
inline constexpr std::string_view kOwnHeader =
    "# Made by roster-agent setup; changes here are lost. See roster-agent(8).\n";

/// sshd_config(5).
std::string sshd_text(const Settings& settings, const Paths& paths);

/// sudoers(5): members of the groups with these numbers, whatever they are called, may do all
/// without a password: people of Roster have none.
std::string sudoers_text(const Settings& settings);

/// pam.conf(5) lines: homes for people, never for accounts of the system (uid below 1000, nobody),
/// whose home is often meant not to exist.
std::string pam_text(const Settings& settings);

/// Whether sshd_config text includes this file outside of any Match block.
bool includes(std::string_view sshd_config, const std::filesystem::path& snippet);

/// Value of a keyword in the output of `sshd -T`, which prints them in lower case.
std::optional<std::string> effective(std::string_view sshd_output, std::string_view keyword);

/// Lines of a unified diff, three lines of context, "--- a" and "+++ b" first; empty when equal.
/// Control characters but the tab are shown as '?'.
std::string unified_diff(std::string_view before, std::string_view after, std::string_view a,
                         std::string_view b);

}  // namespace roster::node
