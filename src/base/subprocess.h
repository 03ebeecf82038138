#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

#include "base/result.h"

namespace roster {

struct ProcessOutput {
  int status = 0;   // exit status; 128 + n when signal n ended it
  std::string out;  // what it wrote to stdout and stderr, each cut at `output_bytes_max`
  std::string err;
};

struct ProcessLimits {
  std::chrono::milliseconds deadline{10'000};
  std::size_t output_bytes_max = 1 << 20;
  /// "NAME=value", besides PATH and LC_ALL. May hold secrets: they show up in no error, and only
  /// root and the same user can read them (/proc/PID/environ, proc(5)).
  std::vector<std::string> environment = {};
  /// What the program reads from stdin; as a file, so it can open /dev/stdin as well. Empty: its
  /// stdin is /dev/null.
  std::string input = {};
};

/// Runs a program without a shell: `argv[0]` is its absolute path. It gets an environment of PATH,
/// LC_ALL=C and what `limits` adds, no blocked or ignored signals, and none of
/// our descriptors (all are close-on-exec). Any exit status is a value. kNotFound when there is no
/// such program, kUnavailable when the deadline passed: then it and the processes of its group are
/// killed.
Result<ProcessOutput> run_program(const std::vector<std::string>& argv,
                                  const ProcessLimits& limits = {});

}  // namespace roster
