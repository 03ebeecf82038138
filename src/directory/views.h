#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/ids.h"
#include "directory/types.h"
#include "posix/home.h"
#include "store/database.h"

namespace roster::directory {

/// kInvalidArgument naming the views that there are.
Result<void> check_view_exists(store::Tx& tx, OrgN org, std::string_view name);

/// Of a definition. Not a count: a node that comes back from long ago must not take a view that was
/// removed and made again, or changed to and fro, for the one it knew.
std::string new_view_tag(const RandomBytes& random);

/// The template of a view's homes, ready for use; nothing when it has none.
std::optional<posix::HomeTemplate> home_template(const View& view, std::string_view org_slug);

}  // namespace roster::directory
