#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "http/client.h"
#include "mirror/maps.h"
#include "mirror/page.h"
#include "mirror/resolve.h"
#include "mirror/testing/guide.h"
#include "mirror/testing/saved.h"

using namespace roster;
using namespace roster::mirror;

// Whatever a server answers: a page or an error; and from a page, only lines with the fields of
// their map and nothing that could be read as another field, line or account.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Settings settings = [] {
    auto parsed = parse_settings(mirror::testing::kGuideConf, "token");
    CHECK(parsed.has_value());
    parsed->attributes.home_template.clear();
    parsed->inactive = Inactive::kLock;
    return std::move(*parsed);
  }();
  std::string body(reinterpret_cast<const char*>(data), size);
  // As the client gives it, or not.
  if (size % 2 == 0) body.reserve(size + http::ClientResponse::kSpareBytes);
  Roll roll;
  PageReader reader(settings, roll);
  (void)reader.read_people(body);
  (void)reader.read_groups(body);
  IdentityMemory memory;
  resolve(settings, nsscache::RuleSet(), memory, roll);
  CHECK(IdentityMemory::parse(mirror::testing::saved(memory)).has_value());
  for (const Map map : kAllMaps) {
    std::string text;
    nsscache::TextMap out([&text](std::string_view bytes) -> Result<void> {
      text += bytes;
      return {};
    });
    CHECK(write_map(settings, roll, map, out).has_value());
    const std::ptrdiff_t colons = map == Map::kPasswd ? 6 : map == Map::kGroup ? 3 : 8;
    each_line(text, [&](std::string_view line) {
      if (line.empty()) return;
      for (const char c : line) CHECK(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f);
      CHECK(line[0] == '_' || (line[0] >= 'a' && line[0] <= 'z'));
      if (map != Map::kSshKey) CHECK(std::ranges::count(line, ':') == colons);
      if (map == Map::kPasswd) CHECK(!line.contains(":x:0:"));
    });
  }
  return 0;
}
