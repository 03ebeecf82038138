#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "directory/directory.h"
#include "posix/home.h"
#include "posix/node.h"

namespace roster::hub {

/// What the nodes with one kind of credential see of an organization, ready to be applied.
struct View {
  std::string name;
  bool with_keys = true;
  bool with_gecos = true;
  /// Numbers of groups: Directory::changes(). Empty: everybody.
  std::vector<std::uint64_t> scope;
  /// Replaces the person's home.
  std::optional<posix::HomeTemplate> home;
  /// Replaces the shell of people who may log in. Empty: the person's own.
  std::string shell;
  /// Of this definition among all that the view ever had; empty when it is built in.
  std::string tag;
};

/// kNotFound when there is none.
Result<View> find_view(directory::Directory& directory, const directory::Org& org,
                       std::string_view name);

/// The history that this view's cursors belong to: feed::is_epoch_text. Another one when the
/// organization's epoch or the view's definition is: nodes then take a snapshot.
std::string view_epoch(const directory::Org& org, const View& view);

/// A person of the view's scope as the view shows them.
posix::NodeUser project(const View& view, posix::NodeUser user);

}  // namespace roster::hub
