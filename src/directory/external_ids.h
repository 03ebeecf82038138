#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>

#include "directory/types.h"
#include "store/database.h"

namespace roster::directory {

/// externalIds: one per client and record, not unique (RFC 7643 3.1). `kind`: schema.h.
Result<std::optional<std::string>> external_id(store::Tx& tx, int kind, ClientN client,
                                               std::int64_t owner_n);

Result<void> set_external_id(store::Tx& tx, int kind, ClientN client, std::int64_t owner_n,
                             const std::optional<std::string>& value);

/// Those of all clients.
Result<void> remove_external_ids(store::Tx& tx, OrgN org, int kind, std::int64_t owner_n);

/// Of many records, as `actor` sees them: its own client's, or without a client each owner's.
Result<void> load_external_ids(store::Tx& tx, const Actor& actor, int kind,
                               std::span<const std::int64_t> owners,
                               const std::function<void(std::int64_t, std::string&&)>& fn);

/// kInvalidArgument (keyword "invalidValue") unless 1 to 1,024 bytes without control characters.
Result<void> check_external_id(const std::optional<std::string>& value);

}  // namespace roster::directory
