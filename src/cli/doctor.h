#pragma once

#include "cli/commands.h"

namespace roster::cli {

/// `roster doctor`: looks at this node; needs no hub and no token.
void add_doctor(CLI::App& app, Session& session);

}  // namespace roster::cli
