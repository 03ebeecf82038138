#pragma once

#include <optional>
#include <string_view>

#include "directory/types.h"
#include "store/database.h"

namespace roster::directory {

/// The token with this hash, if it is living and its user, where it has one, active.
Result<std::optional<TokenInfo>> find_token(store::Tx& tx, std::string_view hash, Timestamp now);

/// Whether there were any: then the cache of tokens must be cleared after the commit.
Result<bool> revoke_user_tokens(store::Tx& tx, UserN user, Timestamp now);

Result<void> stamp_token(store::Tx& tx, TokenN token, Timestamp used);

}  // namespace roster::directory
