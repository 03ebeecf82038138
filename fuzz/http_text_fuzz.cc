// Query strings, URLs and request paths.
#include <cstdint>
#include <string_view>

#include "base/unicode.h"
#include "http/client.h"
#include "http/message.h"
#include "http/respond.h"
#include "http/router.h"

namespace {

using roster::http::Context;
using roster::http::Params;
using roster::http::Request;

roster::http::Router make_router() {
  roster::http::Router router;
  const auto say = [](const Request&, Context&, const Params& params) {
    return roster::http::text_response(200, std::to_string(params.rest().size()));
  };
  router.add("GET", "/", say);
  router.add("GET", "/a/{x}/b", say);
  router.add("GET", "/a/{x}/{y}", say);
  router.add("GET", "/a/b/{*rest}", say);
  return router;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const roster::http::Router router = make_router();
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto query = roster::http::Query::parse(text)) {
    for (const auto& [name, value] : query->all()) {
      CHECK(roster::is_valid_utf8(name) && roster::is_valid_utf8(value));
      CHECK(!value.contains('\0'));
    }
  }
  if (const auto url = roster::http::Url::parse(text)) {
    CHECK(url->scheme == "unix" || (!url->host.empty() && !url->port.empty()));
  }
  if (const auto segments = roster::http::decode_path(text)) {
    for (const auto& segment : *segments) {
      CHECK(!segment.empty() && segment != "." && segment != ".." && !segment.contains('\0'));
    }
  }
  Request request;
  request.method = "GET";
  request.path = text;
  Context context;
  const int status = router(request, context).status;
  CHECK(status == 200 || status == 400 || status == 404);
  return 0;
}
