#pragma once

#include "directory/types.h"
#include "store/database.h"

namespace roster::directory {

/// kNotFound when there is none.
Result<Org> load_org(store::Tx& tx, OrgN org);

}  // namespace roster::directory
