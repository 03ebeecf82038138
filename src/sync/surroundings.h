#pragma once

#include <chrono>
#include <functional>

#include "base/ids.h"
#include "base/time.h"

namespace roster::sync {

/// Waits, or returns true at once when the program is to end. Asked with 0 before every request.
/// From any thread.
using Pause = std::function<bool(std::chrono::milliseconds)>;

/// What a source does not make itself, so that a test can hold it still.
struct Surroundings {
  Pause pause;
  Clock clock;
  RandomBytes random;
};

}  // namespace roster::sync
