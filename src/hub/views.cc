#include "hub/views.h"

#include <utility>

#include "base/encoding.h"
#include "crypto/audit_chain.h"
#include "directory/views.h"
#include "posix/shell.h"

namespace roster::hub {
namespace {

constexpr std::size_t kEpochBytes = 15;  // 20 characters: no two histories share them by chance

/// What no two definitions share. The three empty fields of a built-in view keep its epoch what it
/// was before there were others, so that an upgrade of the hub costs no node a snapshot.
std::string definition(const View& view) {
  if (!view.tag.empty()) return crypto::chain_hash({}, {view.name, view.tag});
  return crypto::chain_hash({}, {view.name, view.with_keys ? "1" : "0", "", "", ""});
}

}  // namespace

Result<View> find_view(directory::Directory& directory, const directory::Org& org,
                       std::string_view name) {
  ASSIGN_OR_RETURN(directory::View found, directory.find_view(org.n, name));
  View view;
  view.with_keys = found.keys;
  view.with_gecos = found.gecos;
  for (const directory::ViewGroup& group : found.groups) view.scope.push_back(group.n);
  view.home = directory::home_template(found, org.slug);
  view.name = std::move(found.name);
  view.shell = std::move(found.shell);
  view.tag = std::move(found.tag);
  return view;
}

std::string view_epoch(const directory::Org& org, const View& view) {
  const std::string hash = crypto::chain_hash({}, {org.epoch, definition(view)});
  return base64url_encode(hash.substr(0, kEpochBytes));
}

posix::NodeUser project(const View& view, posix::NodeUser user) {
  if (!view.with_keys) user.keys.clear();
  if (!view.with_gecos) user.gecos.clear();
  if (view.home) user.home = view.home->expand(user.name, user.uid);
  if (!view.shell.empty() && !user.locked && !posix::refuses_login(user.shell)) {
    user.shell = view.shell;
  }
  return user;
}

}  // namespace roster::hub
