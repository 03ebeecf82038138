#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/json.h"
#include "scim/filter.h"

using namespace roster;

// Any text is a filter or an error; a filter can be asked about any resource.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const json::object resource =
      json::parse(R"({"id":"1","userName":"ada","active":true,"name":{"givenName":"Ada"},
        "emails":[{"value":"a@x","type":"work","primary":true},{"value":"b"}],
        "meta":{"created":"2026-01-01T00:00:00Z"},"groups":[{"value":"g"}],
        "urn:coreweave:params:scim:schemas:extension:coreweave:2.0:CoreWeaveUser":
          {"sunkPosixUserId":10000,"sunkSshKeys":["k"]}})")
          .value()
          .as_object();
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const scim::ResourceType* type : scim::resource_types()) {
    const auto filter = scim::Filter::parse(*type, text);
    if (!filter) continue;
    filter->matches(resource);
    filter->matches_element(resource.at("emails").as_array()[0]);
    for (const scim::Comparison* c : filter->conjuncts()) CHECK(c->path->attribute != nullptr);
  }
  return 0;
}
