#include "http/respond.h"

#include <string>

namespace roster::http {

Response text_response(int status, std::string_view text) {
  Response response;
  response.status = status;
  response.headers.set("Content-Type", "text/plain; charset=utf-8");
  response.body = std::string(text) + '\n';
  return response;
}

Response json_response(int status, const json::value& body, std::string_view content_type) {
  Response response;
  response.status = status;
  response.headers.set("Content-Type", content_type);
  response.body = json::serialize(body);
  return response;
}

Response json_response(int status, const json::object& body, std::string_view content_type) {
  Response response;
  response.status = status;
  response.headers.set("Content-Type", content_type);
  response.body = json::serialize(body);
  return response;
}

}  // namespace roster::http
