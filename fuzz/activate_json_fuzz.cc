#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/unicode.h"
#include "sync/activate_json.h"

using namespace roster;
using namespace roster::sync;

namespace {

void check_text(std::string_view text) {
  CHECK(is_valid_utf8(text));
  CHECK(!has_control_characters(text));
}

}  // namespace

// Whatever a platform answers: an error, or items with names that are names.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  if (const auto page = parse_activate_users(body)) {
    CHECK(page->total >= 0);
    for (const ActivateUser& user : page->items) {
      CHECK(!user.id.empty() && !user.username.empty());
      check_text(user.username);
      check_text(user.name.value_or(""));
      check_text(user.email.value_or(""));
    }
  }
  if (const auto page = parse_activate_groups(body)) {
    for (const ActivateGroup& group : page->items) {
      CHECK(!group.id.empty() && !group.name.empty());
      check_text(group.name);
    }
  }
  if (const auto members = parse_activate_members(body)) {
    for (const ActivateMember& member : *members) CHECK(!member.username.empty());
  }
  (void)parse_activate_organization(body);
  if (const auto host = activate_host(Secret(std::string(body)))) {
    CHECK(!host->contains('/') && !host->contains('@'));
  }
  return 0;
}
