// What an API server, or whoever answers in its place, may send: Secrets, Status, Retry-After.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "kubernetes/answers.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace roster::kubernetes;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto secret = parse_secret(text, "s", "k");
      secret && (secret->resource_version.empty() || secret->other_bytes > text.size())) {
    std::abort();
  }
  const ApiStatus status = parse_status(text);
  if (status.conflicts.size() > 8 || status.fields.size() > 8) std::abort();
  for (const char c : status.message + status.reason + status.kind) {
    if (c < 0x20 || c > 0x7E) std::abort();
  }
  for (const FieldConflict& conflict : status.conflicts) {
    if (conflict.manager.empty() || conflict.manager.size() > 200) std::abort();
  }
  return 0;
}
