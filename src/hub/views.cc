#include "hub/views.h"

#include <algorithm>
#include <array>

#include "base/encoding.h"
#include "crypto/audit_chain.h"

namespace roster::hub {
namespace {

struct BuiltIn {
  std::string_view name;
  bool with_keys;
};
constexpr std::size_t kEpochBytes = 15;  // 20 characters: no two histories share them by chance

constexpr std::array kBuiltIn = {
    BuiltIn{"default", true},
    BuiltIn{"login", true},
    BuiltIn{"compute", false},
};

/// Every field of the definition, in a form that no two definitions share.
std::string definition(const View& view) {
  std::string scope;
  for (const std::uint64_t n : view.scope_groups) scope += std::to_string(n) + ",";
  return crypto::chain_hash({}, {view.name, view.with_keys ? "1" : "0", scope,
                                 view.home ? view.home->text() : "", view.shell});
}

bool in_scope(const View& view, const posix::NodeUser& user) {
  if (view.scope_groups.empty()) return true;
  return std::ranges::any_of(user.groups, [&view](std::uint64_t n) {
    return std::ranges::find(view.scope_groups, n) != view.scope_groups.end();
  });
}

}  // namespace

std::optional<View> find_view(std::string_view name) {
  for (const BuiltIn& built_in : kBuiltIn) {
    if (built_in.name == name) {
      View view;
      view.name = name;
      view.with_keys = built_in.with_keys;
      return view;
    }
  }
  return std::nullopt;
}

std::string view_epoch(const directory::Org& org, const View& view) {
  const std::string hash = crypto::chain_hash({}, {org.epoch, definition(view)});
  return base64url_encode(hash.substr(0, kEpochBytes));
}

std::optional<posix::NodeUser> project(const View& view, posix::NodeUser user) {
  if (!in_scope(view, user)) return std::nullopt;
  if (!view.with_keys) user.keys.clear();
  if (view.home) user.home = view.home->expand(user.name, user.uid);
  if (!view.shell.empty() && !user.locked) user.shell = view.shell;
  return user;
}

}  // namespace roster::hub
