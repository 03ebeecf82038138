#pragma once

#include "base/ids.h"
#include "base/result.h"
#include "base/time.h"
#include "options.h"

namespace roster::rosterd {

/// Serves until SIGTERM or SIGINT, then ends in order; SIGHUP takes new certificate files.
/// `options` passed check(). Errors are those of starting.
Result<void> serve(const ServeOptions& options, const Clock& clock, const RandomBytes& random);

}  // namespace roster::rosterd
