#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "admin/api.h"

// Members of request bodies. Internal to this room.

namespace roster::admin {

/// Empty when absent.
std::string body_text(const Call& call, std::string_view name);
std::vector<std::string> body_list(const Call& call, std::string_view name);
/// RFC 3339. kInvalidArgument naming the member.
Result<std::optional<Timestamp>> body_time(const Call& call, std::string_view name);
/// Of what the directory stores as it is: 1,024 bytes at most, no control characters.
Result<void> check_texts(const Call& call, std::initializer_list<const char*> names);

}  // namespace roster::admin
