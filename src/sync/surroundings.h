#pragma once

#include "base/ids.h"
#include "base/time.h"
#include "scim_client/server.h"

namespace roster::sync {

using scim_client::Pause;

/// What a source does not make itself, so that a test can hold it still.
struct Surroundings {
  Pause pause;
  Clock clock;
  RandomBytes random;
};

}  // namespace roster::sync
