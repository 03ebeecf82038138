// What a node sends to the hub besides its credential: the feed's query and the snapshot's range.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/result.h"
#include "hub/feed_query.h"
#include "hub/range.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto query = roster::hub::FeedQuery::parse(text); query) {
    CHECK(query->wait.count() <= 300);
    CHECK(query->highest_id <= 2'147'483'647U);
    if (query->more) CHECK(query->more->reached < query->more->head);
  }
  constexpr std::uint64_t kSize = 1'000;
  const auto range = roster::hub::parse_range(text, kSize);
  if (range.kind == roster::hub::ByteRange::Kind::kPart) {
    CHECK(range.size > 0);
    CHECK(range.first < kSize && range.size <= kSize - range.first);
  }
  return 0;
}
