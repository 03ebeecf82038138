#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "node/settings.h"

namespace roster::node {

/// Shows (as text for the terminal) what would change so that this node is as `settings` say, and
/// with `apply` does it: all or nothing. What would not be valid is put back: sshd(8) must accept
/// its configuration and take the key helper from it, visudo(8) the sudoers file before it is in
/// place and all of them afterwards, and a fresh process must still know root, and somebody of
/// Roster when anybody is published. A process that is killed on the way leaves a node that another
/// setup or unsetup brings to its end.
/// kPermissionDenied unless root; kFailedPrecondition saying what is in the way; then nothing is
/// changed.
Result<std::string> set_up(const Settings& settings, const Paths& paths, bool apply);

/// The way back, likewise: every file as it was, but for what others have changed since.
Result<std::string> undo_setup(const Paths& paths, bool apply);

/// Whether what the switches need is on this node: modules, programs, users; and whether an account
/// of the node would lose the keys by which it logs in. kFailedPrecondition saying what is missing.
Result<void> check_requirements(const Settings& settings, const Paths& paths);

/// Accounts of the node that have keys in their home and no file of root's in their place: with
/// ssh_keys, and without home_keys, these keys open nothing.
Result<std::vector<std::string>> accounts_with_home_keys(const Paths& paths);

/// Asks fresh processes whether names are still resolved. Gives what could not be checked, or
/// nothing.
Result<std::string> check_lookups(const Paths& paths, bool roster_expected);

/// What is wrong with sshd's configuration as sshd itself reads it.
Result<void> check_sshd(const Settings& settings, const Paths& paths);

/// Whether visudo(8) accepts all files and reads ours.
Result<void> check_sudoers(const Paths& paths);

}  // namespace roster::node
