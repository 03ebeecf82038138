#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/json.h"
#include "base/result.h"
#include "scim_client/server.h"
#include "sync/source.h"

namespace roster::sync {

struct ScimOptions {
  scim_client::Options server;
  /// Without cursors, pages begin with the last resource of the page before, so that a list that
  /// moved meanwhile is noticed. Not for servers that take a startIndex of whole pages only.
  bool overlap = true;
};

/// Another SCIM server, or a Roster hub, by its lists of groups and people. Keys are the server's
/// ids, which it never gives to somebody else. Members that are groups are flattened. Memory: one
/// page, and the groups; of a server that tells nobody's keys the people, too.
Result<std::unique_ptr<Source>> open_scim(ScimOptions options, scim_client::Pause pause);

/// The lists of a server, as a source and a destination read them.
class ScimLists {
 public:
  /// Asks whether there are cursors (RFC 9865), which keep lists in order while they change.
  /// `overlap` as in ScimOptions.
  static Result<ScimLists> open(scim_client::Server& server, bool overlap);

  /// Every resource of `endpoint`, "Users" or "Groups", that `filter` selects. kUnavailable when
  /// the list changed while it was read, gave somebody twice, or was shorter than it said: somebody
  /// may be missing. By then `each` has had them all.
  Result<void> read(const std::string& endpoint, const std::string& filter,
                    const std::function<void(const json::object&)>& each);

 private:
  ScimLists(scim_client::Server& server, bool by_cursor, bool overlap)
      : server_(&server), by_cursor_(by_cursor), overlap_(overlap) {}
  scim_client::Server* server_;
  bool by_cursor_;
  bool overlap_;
};

}  // namespace roster::sync
