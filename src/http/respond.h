#pragma once

#include <string_view>

#include "base/json.h"
#include "http/message.h"

namespace roster::http {

/// text/plain in UTF-8; a newline is added.
Response text_response(int status, std::string_view text);

/// `body` as JSON. SCIM passes "application/scim+json".
Response json_response(int status, const json::value& body,
                       std::string_view content_type = "application/json");
Response json_response(int status, const json::object& body,
                       std::string_view content_type = "application/json");

}  // namespace roster::http
