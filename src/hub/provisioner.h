#pragma once

#include <condition_variable>
#include <mutex>
#include <stop_token>
#include <thread>

#include "directory/directory.h"

namespace roster::hub {

/// Gives POSIX identities to people and groups who came while their organization gave none, once it
/// does: in the background, in small writes. Nothing before the first wake().
class Provisioner {
 public:
  explicit Provisioner(directory::Directory& directory);

  /// Looks soon whether somebody waits. Cheap.
  void wake();

 private:
  void run(const std::stop_token& stop);
  void provision(const std::stop_token& stop, const directory::Org& org);

  directory::Directory& directory_;
  std::mutex mutex_;  // guards wanted_
  std::condition_variable_any work_;
  bool wanted_ = false;
  std::jthread thread_;  // last: stops first
};

}  // namespace roster::hub
