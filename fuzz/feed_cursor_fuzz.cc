// Cursors come back from nodes: whatever decodes must be exactly what was encoded.

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "feed/enrollment.h"
#include "feed/messages.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto cursor = roster::feed::Cursor::decode(text)) {
    CHECK(cursor->encode() == text);
    CHECK(roster::feed::is_cursor_text(text));
  }
  if (const auto request = roster::feed::EnrollRequest::parse(text, false)) {
    CHECK(roster::feed::EnrollRequest::parse(request->to_json(), false));
  }
  if (const auto enrollment = roster::feed::Enrollment::parse(text)) {
    CHECK(roster::feed::Enrollment::parse(enrollment->to_json()));
  }
  return 0;
}
