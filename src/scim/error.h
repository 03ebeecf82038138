#pragma once

#include <string_view>

#include "base/json.h"
#include "base/result.h"

namespace roster::scim {

// Keywords of RFC 7644 table 9, for Error::keyword.
inline constexpr std::string_view kInvalidFilter = "invalidFilter";
inline constexpr std::string_view kTooMany = "tooMany";
inline constexpr std::string_view kUniquenessTaken = "uniqueness";
inline constexpr std::string_view kMutabilityForbids = "mutability";
inline constexpr std::string_view kInvalidSyntax = "invalidSyntax";
inline constexpr std::string_view kInvalidPath = "invalidPath";
inline constexpr std::string_view kNoTarget = "noTarget";
inline constexpr std::string_view kInvalidValue = "invalidValue";
// RFC 9865 4.
inline constexpr std::string_view kInvalidCursor = "invalidCursor";
inline constexpr std::string_view kExpiredCursor = "expiredCursor";
inline constexpr std::string_view kInvalidCount = "invalidCount";

/// HTTP status of an error (RFC 7644 3.12). The keyword tooMany is 400 whatever the code.
int http_status(const Error& error);

/// RFC 7644 3.12: `status` is a string; scimType is left out when `keyword` is empty.
json::object error_body(int status, std::string_view keyword, std::string_view detail);

}  // namespace roster::scim
