#pragma once

#include <optional>
#include <string_view>

#include "directory/types.h"
#include "posix/home.h"
#include "store/database.h"

namespace roster::directory {

/// kInvalidArgument naming the views that there are.
Result<void> check_view_exists(store::Tx& tx, OrgN org, std::string_view name);

/// The template of a view's homes, ready for use; nothing when it has none.
std::optional<posix::HomeTemplate> home_template(const View& view, std::string_view org_slug);

}  // namespace roster::directory
