#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/encoding.h"
#include "base/result.h"
#include "base/unicode.h"
#include "posix/ssh_key.h"

namespace {

using roster::posix::SshPublicKey;

/// What is accepted must be one line that sshd reads as this key and nothing else.
void check(std::string_view text) {
  const auto key = SshPublicKey::parse(text);
  const auto view = roster::posix::SshKeyView::parse(text);
  CHECK(view.has_value() == key.has_value());
  if (view) {
    std::string line;
    view->append_line_to(line);
    CHECK(line == key->line() && view->type == key->type() && view->comment == key->comment());
  } else {
    CHECK(view.error().message == key.error().message);
  }
  if (!key) {
    CHECK(key.error().message.size() < 300);
    CHECK(!roster::has_control_characters(key.error().message));
    return;
  }
  CHECK(key->line().size() <= roster::posix::kSshKeyBytesMax);
  CHECK(key->line().find_first_of("\r\n") == std::string::npos);
  CHECK(!roster::has_control_characters(key->line()));
  CHECK(key->line().starts_with(std::string(key->type()) + " AAAA"));
  CHECK(key->fingerprint().size() == 50 && key->fingerprint().starts_with("SHA256:"));
  CHECK(key->line().ends_with(key->comment()));
  const auto again = SshPublicKey::parse(key->line());
  CHECK(again && *again == *key);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  check(text);
  // The same bytes as the blob of a key, so that base64 does not hide the structure.
  if (size >= 4) {
    const std::size_t type_bytes = data[3];
    if (type_bytes <= size - 4) {
      check(std::string(text.substr(4, type_bytes)) + " " + roster::base64_encode(text) + " c");
    }
  }
  return 0;
}
