#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/json.h"
#include "scim/patch.h"
#include "scim/resource.h"

using namespace roster;

// Whatever a PATCH does, the document stays one that a client could have sent: normalizing it again
// changes nothing, and nothing that is kept elsewhere gets into it.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const json::object user =
      json::parse(R"({"userName":"ada","active":true,"name":{"givenName":"Ada"},
        "emails":[{"value":"a@x","type":"work","primary":true},{"value":"b"}],
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"manager":{"value":"7"}}})")
          .value()
          .as_object();
  static const json::object group = json::object{{"displayName", "g"}};
  const auto body = json::parse({reinterpret_cast<const char*>(data), size});
  if (!body) return 0;
  for (const scim::ResourceType* type : scim::resource_types()) {
    const auto patch = scim::parse_patch(*type, *body);
    if (!patch) continue;
    const auto doc = scim::apply(*type, type->name == "User" ? user : group, patch->document);
    if (!doc) continue;
    const auto again = scim::normalize(*type, *doc);
    CHECK(again.has_value());
    CHECK(again->doc == *doc);
    CHECK(!again->external_id && !again->members);
    CHECK(!again->ssh_keys || again->ssh_keys->empty());
  }
  return 0;
}
