#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "directory/types.h"
#include "posix/home.h"
#include "posix/node.h"

namespace roster::hub {

/// What the nodes with one kind of credential see of an organization. All groups are in every
/// view: names without visible members give nobody anything.
struct View {
  std::string name;
  bool with_keys = true;
  /// Numbers of groups; the view has the direct members of any of them. Empty: everybody.
  std::vector<std::uint64_t> scope_groups;
  /// Replaces the person's home.
  std::optional<posix::HomeTemplate> home;
  /// Replaces the shell of people who are not locked. Empty: the person's own.
  std::string shell;
};

/// Built in: `default` and `login` (everybody, with keys), `compute` (everybody, no keys).
std::optional<View> find_view(std::string_view name);

/// The history that this view's cursors belong to: feed::is_epoch_text. Another one when the
/// organization's epoch or the view's definition is: nodes then take a snapshot.
std::string view_epoch(const directory::Org& org, const View& view);

/// The person as the view shows them; nothing when they are outside of its scope.
std::optional<posix::NodeUser> project(const View& view, posix::NodeUser user);

}  // namespace roster::hub
