#pragma once

#include <string>
#include <vector>

#include "mirror/settings.h"
#include "nsscache/publisher.h"

namespace roster::mirror {

/// What became of a lockout without the server.
struct Lockout {
  std::vector<Map> maps;              // whose files are new
  std::vector<std::string> problems;  // what could not be done, one sentence each
};

/// Locks whom this node denies in the files that are there, as the next pass that reads the server
/// will: a shell that ends at once, an expired shadow entry, no keys, in no group. Entries by uid
/// count for whom the map passwd has with it. The next pass reads everything then. Under the lock.
Lockout lock_denied(const Settings& settings, const nsscache::LocalRules& local);

}  // namespace roster::mirror
