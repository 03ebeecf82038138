#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/secret.h"

namespace roster::sync {

/// ACTIVATE's command line as far as it tells people's keys. From any thread.
class ActivateKeys {
 public:
  struct Options {
    std::filesystem::path program;
    std::string host;  // of the platform
    Secret credential;
    std::filesystem::path home;
    std::filesystem::path ca_file;
    std::chrono::milliseconds timeout{};
  };
  explicit ActivateKeys(Options options);

  /// What `pw ssh-public-keys USER` prints, line by line, not yet looked at. kInvalidArgument for a
  /// name that could be read as an option, kUnavailable when pw fails for this person (the sentence
  /// has its last words, without the credential), kFailedPrecondition when it is not there or has
  /// failed for the first 20 people: it will for everybody.
  Result<std::vector<std::string>> read(const std::string& username);

 private:
  Options options_;
  std::vector<std::string> environment_;
  std::atomic<bool> worked_{false};
  std::atomic<std::size_t> failures_{0};
};

}  // namespace roster::sync
