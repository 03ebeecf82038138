// What a provisioning client sends: method, path with query, and body, on a real directory. The
// first line is the method and the target, the rest the body.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <variant>

#include "base/json.h"
#include "base/result.h"
#include "directory/directory.h"
#include "provider/scim_service.h"
#include "store/testing/engines.h"

namespace {

using namespace roster;

/// A hub's SCIM side in memory, with a person and a group; made anew before it grows.
struct Site {
  static constexpr int kRequests = 2000;

  Site() {
    directory = directory::Directory::open(*database).value();
    directory::Actor hub;
    hub.scope = directory::Scope::kOperator;
    hub.name = "hub";
    const directory::OrgN org = directory->create_org(hub, "acme").value().n;
    CHECK(directory->create_client(hub, org, "okta").has_value());
    directory::Directory::TokenRequest request;
    request.name = "t";
    request.scope = directory::Scope::kScim;
    request.org = org;
    request.client = "okta";
    bearer = "Bearer " + directory->create_token(hub, request).value().secret.expose();
    provider::ScimOptions options;
    options.public_url = "https://hub";
    service = std::make_unique<provider::ScimService>(*directory, std::move(options));
    send("POST", "/Users", R"({"userName":"ada","title":"x"})");
    send("POST", "/Groups", R"({"displayName":"team"})");
  }

  void send(std::string_view method, std::string_view target, std::string_view body) {
    http::Request request;
    request.method = method;
    const std::size_t mark = target.find('?');
    request.path = "/scim/v2/acme" + std::string(target.substr(0, mark));
    if (mark != std::string_view::npos) request.query = target.substr(mark + 1);
    request.headers.set("Authorization", bearer);
    request.headers.set("Content-Type", "application/scim+json");
    request.body = body;
    http::Context context;
    const http::Response response = service->handle(request, context);
    // Whatever was asked, the answer is one of SCIM's: never a failure of ours.
    CHECK(response.status >= 200 && response.status != 500);
    const std::string& text = std::get<std::string>(response.body);
    CHECK(text.empty() || json::parse(text, {.bytes_max = 64 << 20}).has_value());
    ++requests;
  }

  store::testing::TestDatabase database{store::Engine::kSqlite};
  std::unique_ptr<directory::Directory> directory;
  std::unique_ptr<provider::ScimService> service;
  std::string bearer;
  int requests = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static std::unique_ptr<Site> site;
  if (!site || site->requests > Site::kRequests) {
    site.reset();
    site = std::make_unique<Site>();
  }
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const std::string_view line = text.substr(0, text.find('\n'));
  const std::string_view body = text.substr(std::min(line.size() + 1, text.size()));
  const std::size_t space = line.find(' ');
  if (space == std::string_view::npos) return 0;
  site->send(line.substr(0, space), line.substr(space + 1), body);
  return 0;
}
