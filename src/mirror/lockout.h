#pragma once

#include <string>
#include <vector>

#include "mirror/map_lines.h"
#include "mirror/settings.h"
#include "nsscache/publisher.h"

namespace roster::mirror {

/// What became of a lockout.
struct Lockout {
  std::vector<Map> maps;              // whose files are new
  std::vector<std::string> problems;  // what could not be done, one sentence each
};

/// Locks these people in the files that are there: a shell that ends at once, an expired shadow
/// entry, no keys, in no group. `cause` begins the sentence that says what could not be done. The
/// next pass reads everything when a file is new. Under the lock.
Lockout lock_in_files(const Settings& settings, const NameSet& names, std::string_view cause);

/// The same for whom this node denies, as the next pass that reads the server will. Entries by uid
/// count for whom the map passwd has with it.
Lockout lock_denied(const Settings& settings, const nsscache::LocalRules& local);

}  // namespace roster::mirror
