#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/encoding.h"
#include "base/result.h"
#include "crypto/token.h"

// Tokens arrive in the Authorization header of anybody who can connect.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto parsed = roster::crypto::parse_token(text);
  const auto join = roster::crypto::parse_join_token(text);
  if (parsed) CHECK(parsed->hash.size() == 32);
  if (join) {
    CHECK(parsed && parsed->kind == roster::crypto::TokenKind::kJoin);
    CHECK(join->token.expose() == text);
    CHECK(join->ca_sha256.empty() || roster::hex_decode(join->ca_sha256)->size() == 32);
  }

  // A right checksum, which no fuzzer would find: the same text as the secret and pin of a token.
  if (size == 32) {
    const auto minted =
        roster::crypto::mint_join_token(roster::hex_encode(text), [&](std::span<std::uint8_t> out) {
          for (std::size_t i = 0; i < out.size(); ++i) {
            out[i] = static_cast<std::uint8_t>(data[i % size] % 248);
          }
        });
    const auto again = roster::crypto::parse_join_token(minted->token.expose());
    CHECK(again && again->ca_sha256 == roster::hex_encode(text));
  }
  return 0;
}
