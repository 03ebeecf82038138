#include "scim/error.h"

#include <string>

#include "scim/schema.h"

namespace roster::scim {

int http_status(const Error& error) {
  if (error.keyword == kTooMany) return 400;
  switch (error.code) {
    case Code::kInvalidArgument:
      return 400;
    case Code::kUnauthenticated:
      return 401;
    case Code::kPermissionDenied:
      return 403;
    case Code::kNotFound:
      return 404;
    case Code::kAlreadyExists:
    case Code::kFailedPrecondition:
      return 409;
    case Code::kVersionMismatch:
      return 412;
    case Code::kTooLarge:
      return 413;
    case Code::kUnsupported:
      return 501;
    case Code::kUnavailable:
      return 503;
    case Code::kDataLoss:
    case Code::kInternal:
      return 500;
  }
  return 500;
}

json::object error_body(int status, std::string_view keyword, std::string_view detail) {
  json::object body;
  body["schemas"] = json::array{kErrorUrn};
  body["status"] = std::to_string(status);
  if (!keyword.empty()) body["scimType"] = keyword;
  body["detail"] = detail;
  return body;
}

}  // namespace roster::scim
