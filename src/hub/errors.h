#pragma once

#include "base/result.h"
#include "http/message.h"

namespace roster::hub {

/// HTTP status of a code on the hub's own routes (feed, enrolment, health).
int http_status(Code code);

/// Problem details (RFC 9457). 401 names the scheme (RFC 9110 11.6.1), 503 says when to come back;
/// broken promises are logged and told without their details.
http::Response error_response(const Error& error, const http::Context& context);

}  // namespace roster::hub
