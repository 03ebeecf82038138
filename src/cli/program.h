#pragma once

#include <iosfwd>

namespace roster::cli {

/// The `roster` command. Answers go to `out`, errors to `err`.
/// Exit status: 0 done; 1 refused or failed; 2 wrong usage; 3 the hub cannot be reached.
int run(int argc, const char* const* argv, std::ostream& out, std::ostream& err);

}  // namespace roster::cli
