#include "hub/errors.h"

#include <string>

#include "base/json.h"
#include "base/log.h"
#include "http/respond.h"

namespace roster::hub {

int http_status(Code code) {
  switch (code) {
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
    case Code::kDataLoss:
    case Code::kInternal:
      return 500;
    case Code::kUnsupported:
      return 501;
    case Code::kUnavailable:
      return 503;
  }
  return 500;
}

http::Response error_response(const Error& error, const http::Context& context) {
  const int status = http_status(error.code);
  std::string detail = error.message;
  if (status == 500) {
    log::error("request failed", {{"request", context.request_id},
                                  {"code", code_name(error.code)},
                                  {"error", error.message}});
    detail = "the hub failed; its log has the reason under request " + context.request_id;
  }
  http::Response response =
      http::json_response(status,
                          json::object{{"status", status},
                                       {"title", json::string(code_name(error.code))},
                                       {"detail", json::string(detail)}},
                          "application/problem+json");
  if (status == 401) response.headers.set("WWW-Authenticate", "Bearer realm=\"roster\"");
  if (status == 503) response.headers.set("Retry-After", "5");
  return response;
}

}  // namespace roster::hub
