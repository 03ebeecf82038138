#include "feed/zstd.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace roster::feed {
namespace {

std::string pack(std::string_view text) {
  Compressor compressor;
  std::string out;
  compressor.push(text.substr(0, text.size() / 3), out);
  compressor.push(text.substr(text.size() / 3), out);
  compressor.finish(out);
  return out;
}

Result<std::string> unpack(std::string_view packed, std::size_t piece, std::uint64_t bytes_max) {
  Decompressor decompressor(bytes_max);
  std::string out;
  for (std::size_t at = 0; at < packed.size(); at += piece) {
    RETURN_IF_ERROR(
        decompressor.push(packed.substr(at, piece), [&out](std::string_view part) -> Result<void> {
          out += part;
          return {};
        }));
  }
  RETURN_IF_ERROR(decompressor.finish());
  return out;
}

std::string noise(std::size_t size) {
  std::mt19937 random(3);
  std::string text(size, '\0');
  for (char& c : text) c = static_cast<char>('a' + random() % 16);
  return text;
}

TEST(Zstd, RoundTripsInPieces) {
  for (const std::size_t size : {0UL, 1UL, 1000UL, 3'000'000UL}) {
    const std::string text = noise(size);
    const std::string packed = pack(text);
    for (const std::size_t piece : {std::size_t{13}, std::size_t{4096}, packed.size()}) {
      const auto back = unpack(packed, piece, 4'000'000);
      ASSERT_TRUE(back) << back.error().message;
      EXPECT_TRUE(*back == text) << size << " in pieces of " << piece;
    }
  }
}

TEST(Zstd, ABombIsStoppedAtTheBound) {
  const std::string packed = pack(std::string(50'000'000, '0'));
  ASSERT_LT(packed.size(), 100'000U);
  const auto got = unpack(packed, packed.size(), 1'000'000);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, Code::kTooLarge);
}

TEST(Zstd, CutDamagedAndExtendedInputIsRefused) {
  const std::string packed = pack(noise(100'000));
  EXPECT_EQ(unpack(packed.substr(0, packed.size() - 1), 4096, 1'000'000).error().code,
            Code::kDataLoss);
  EXPECT_FALSE(unpack("", 1, 10));
  EXPECT_FALSE(unpack("not zstd at all", 4, 1'000'000));
  EXPECT_FALSE(unpack(packed + "x", 4096, 1'000'000));
  std::string damaged = packed;
  damaged[packed.size() / 2] = static_cast<char>(damaged[packed.size() / 2] ^ 1);
  EXPECT_FALSE(unpack(damaged, 4096, 1'000'000));
}

TEST(Zstd, ErrorsOfTheSinkPassThrough) {
  const std::string packed = pack("hello");
  Decompressor decompressor(100);
  const auto got = decompressor.push(packed, [](std::string_view) -> Result<void> {
    return fail(Code::kFailedPrecondition, "no");
  });
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, Code::kFailedPrecondition);
}

}  // namespace
}  // namespace roster::feed
