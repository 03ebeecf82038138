#pragma once

#include <optional>
#include <string_view>

#include "directory/types.h"
#include "store/database.h"

namespace roster::directory {

/// The token with this hash, if it is living and its user, where it has one, active.
Result<std::optional<TokenInfo>> find_token(store::Tx& tx, std::string_view hash, Timestamp now);

/// Whether a user has living tokens: those who lock the user must clear the cache of tokens.
Result<bool> has_user_tokens(store::Tx& tx, UserN user);
/// Whether there were any.
Result<bool> revoke_user_tokens(store::Tx& tx, UserN user, Timestamp now);

Result<void> stamp_token(store::Tx& tx, TokenN token, Timestamp used);

}  // namespace roster::directory
