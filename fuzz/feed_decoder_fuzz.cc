// A feed's stream from a hostile hub, cut at places that the input chooses. What is accepted must
// be writable again and read back as the same.

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "feed/messages.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using roster::Result;
  using roster::feed::Message;
  if (size == 0) return 0;
  const std::size_t piece = data[0] + std::size_t{1};
  const std::string_view stream(reinterpret_cast<const char*>(data + 1), size - 1);
  roster::feed::Decoder decoder({.line_bytes_max = 4096, .records_max = 100, .groups_max = 16});
  for (std::size_t at = 0; at < stream.size(); at += piece) {
    const auto pushed = decoder.push(stream.substr(at, piece), [](Message&& message) {
      std::string line;
      std::visit([&line](const auto& m) { roster::feed::append(line, m); }, message);
      CHECK(line.ends_with('\n') && line.find('\n') == line.size() - 1);
      const auto again = roster::feed::parse_message(line.substr(0, line.size() - 1));
      CHECK(again && *again && **again == message);
      return Result<void>();
    });
    if (!pushed) break;
  }
  (void)decoder.finish();
  return 0;
}
