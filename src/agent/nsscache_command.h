#pragma once

#include <span>
#include <string>

namespace roster::agent {

/// The command line of nsscache(1), for what calls it: update, status, verify, repair, help, with
/// its options, its environment and its exit statuses.
///   0 done, 1 or more: so many maps are not what they should be, or the configuration is wrong, 2
///   wrong options, 64 no command, 70 unknown command, 75 the server cannot be read, 200 another
///   pass is running
int run_nsscache_command(std::span<const std::string> arguments);

}  // namespace roster::agent
