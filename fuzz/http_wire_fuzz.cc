// HTTP/1.1 messages as a peer sends them. Besides memory errors it looks for input whose meaning
// depends on how the network cut it into pieces: that would be a way to smuggle requests.
#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "http/wire.h"

namespace {

using roster::http::RequestParser;
using roster::http::ResponseParser;

constexpr std::size_t kHeaderMax = 512;

/// What a parser made of the whole input, as text. A request parser that wants more than it was
/// given and one that was refused are different outcomes.
std::string read_requests(std::string_view input, std::size_t piece) {
  std::string outcome;
  std::string buffer;
  RequestParser parser(kHeaderMax);
  while (true) {
    bool moved = false;
    if (!buffer.empty()) {
      const bool had_head = parser.head_done();
      const auto used = parser.put(buffer);
      if (!used) return outcome + "!" + std::to_string(used.error().status);
      CHECK(*used <= buffer.size());
      if (!had_head && parser.head_done()) parser.limit_body(1000);
      buffer.erase(0, *used);
      moved = *used > 0;
    }
    if (parser.head_done() && parser.done()) {
      const auto head = parser.take();
      outcome += head.request.method + ' ' + head.request.path + '?' + head.request.query + '\n';
      for (const auto& [name, value] : head.request.headers.all()) {
        CHECK(roster::http::is_token(name) && roster::http::is_field_value(value));
        outcome += name + ": " + value + '\n';
      }
      outcome += head.request.body + '\n';
      parser = RequestParser(kHeaderMax);
      continue;
    }
    if (moved && !buffer.empty()) continue;
    if (input.empty()) return outcome + "~";
    const std::size_t size = std::min(piece, input.size());
    buffer.append(input.substr(0, size));
    input.remove_prefix(size);
  }
}

std::string read_response(std::string_view input, std::size_t piece) {
  std::string outcome;
  std::string buffer;
  ResponseParser parser(kHeaderMax, /*to_head=*/false);
  while (!parser.done()) {
    bool moved = false;
    if (!buffer.empty()) {
      const auto used = parser.put(buffer);
      if (!used) return outcome + parser.take_body() + "!";
      buffer.erase(0, *used);
      moved = *used > 0;
      outcome += parser.take_body();
    }
    if (parser.done() || (moved && !buffer.empty())) continue;
    if (input.empty()) return outcome + (parser.put_eof() ? "." : "~");
    const std::size_t size = std::min(piece, input.size());
    buffer.append(input.substr(0, size));
    input.remove_prefix(size);
  }
  return outcome + ".";
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t piece = data[0] % 16 + 1;
  const std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  CHECK(read_requests(input, piece) == read_requests(input, input.size() + 1));
  CHECK(read_response(input, piece) == read_response(input, input.size() + 1));
  return 0;
}
