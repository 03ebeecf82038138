#include "crypto/token.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <regex>
#include <set>

#include "base/encoding.h"
#include "crypto/hash.h"

namespace roster::crypto {
namespace {

using testing::HasSubstr;
using testing::Not;

RandomBytes counting_random() {
  return [next = std::uint8_t{0}](std::span<std::uint8_t> out) mutable {
    for (std::uint8_t& byte : out) byte = next++;
  };
}

const std::string kCa = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

// The format is public (secret scanners match it) and hashes of it are stored: this pins it.
TEST(TokenTest, FormatIsPinned) {
  const MintedToken api = mint_token(TokenKind::kApi, counting_random());
  EXPECT_EQ(api.token.expose(), "rst_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefg_2qMY5y");
  EXPECT_EQ(api.hash, sha256(api.token.expose()));

  const std::regex form("rs[tnj]_[0-9A-Za-z]{43}(_[0-9A-Za-z_-]{43})?_[0-9A-Za-z]{6}");
  for (const TokenKind kind : {TokenKind::kApi, TokenKind::kNode, TokenKind::kJoin}) {
    EXPECT_TRUE(std::regex_match(mint_token(kind, system_random).token.expose(), form));
  }
  EXPECT_TRUE(std::regex_match(mint_join_token(kCa, system_random)->token.expose(), form));
}

TEST(TokenTest, MintedTokensParseToTheirKindAndHash) {
  for (const TokenKind kind : {TokenKind::kApi, TokenKind::kNode, TokenKind::kJoin}) {
    const MintedToken minted = mint_token(kind, system_random);
    const Result<ParsedToken> parsed = parse_token(minted.token.expose());
    ASSERT_TRUE(parsed);
    EXPECT_EQ(parsed->kind, kind);
    EXPECT_EQ(parsed->hash, minted.hash);
  }
  const Result<MintedToken> join = mint_join_token(kCa, system_random);
  ASSERT_TRUE(join);
  EXPECT_EQ(parse_token(join->token.expose())->hash, join->hash);
}

// Catches a biased or short-circuited draw: every character of the alphabet, no repeats.
TEST(TokenTest, SecretsUseTheWholeAlphabetAndDiffer) {
  std::set<std::string> seen;
  std::array<int, 256> count{};
  for (int i = 0; i < 2000; ++i) {
    const std::string text = mint_token(TokenKind::kApi, system_random).token.expose();
    seen.insert(text);
    for (const char c : text.substr(4, 43)) ++count[static_cast<unsigned char>(c)];
  }
  EXPECT_EQ(seen.size(), 2000U);
  // 86,000 draws over 62 characters: 1,387 each, sigma 37. Ten sigma is no chance event.
  for (const char c :
       std::string("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")) {
    EXPECT_NEAR(count[static_cast<unsigned char>(c)], 1387, 370) << c;
  }
}

// A source that gives rejected bytes for a while must not stop or shorten a token.
TEST(TokenTest, RejectedBytesAreDrawnAgain) {
  int calls = 0;
  const RandomBytes stubborn = [&calls](std::span<std::uint8_t> out) {
    std::ranges::fill(out, ++calls < 5 ? std::uint8_t{255} : std::uint8_t{61});
  };
  EXPECT_EQ(mint_token(TokenKind::kApi, stubborn).token.expose().substr(0, 47),
            "rst_" + std::string(43, 'z'));
}

TEST(TokenTest, EverySingleCharacterChangeIsNoticed) {
  for (const std::string& token : {mint_token(TokenKind::kApi, system_random).token.expose(),
                                   mint_join_token(kCa, system_random)->token.expose()}) {
    for (std::size_t i = 0; i < token.size(); ++i) {
      for (const char c : {'0', 'a', '_', '-', ' ', '\n', '\0'}) {
        std::string changed = token;
        changed[i] = c;
        if (changed != token) EXPECT_FALSE(parse_token(changed)) << i;
      }
      EXPECT_FALSE(parse_token(token.substr(0, i)));
      EXPECT_FALSE(parse_token(token.substr(i + 1)));
    }
    EXPECT_FALSE(parse_token(token + "\n"));
    EXPECT_FALSE(parse_token(" " + token));
  }
}

TEST(TokenTest, OtherTextIsRefusedWithoutRepeatingIt) {
  const std::string token = mint_token(TokenKind::kApi, system_random).token.expose();
  for (const std::string& text :
       {std::string(), std::string("rst_"), std::string("ghp_") + token.substr(4),
        std::string(1 << 20, 'A'), "RST_" + token.substr(4),
        token.substr(0, 53) + (token[53] == 'x' ? "y" : "x"), "rsj_" + token.substr(4)}) {
    const Result<ParsedToken> parsed = parse_token(text);
    ASSERT_FALSE(parsed);
    EXPECT_EQ(parsed.error().code, Code::kUnauthenticated);
    EXPECT_LT(parsed.error().message.size(), 200U);
    EXPECT_THAT(parsed.error().message, Not(HasSubstr(token.substr(4, 20))));
  }
}

TEST(JoinTokenTest, CarriesTheFingerprint) {
  const Result<MintedToken> minted = mint_join_token(kCa, system_random);
  ASSERT_TRUE(minted);
  const Result<JoinToken> parsed = parse_join_token(minted->token.expose());
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->ca_sha256, kCa);
  EXPECT_EQ(parsed->token.expose(), minted->token.expose());
}

TEST(JoinTokenTest, FingerprintIsOptional) {
  const Result<MintedToken> minted = mint_join_token("", system_random);
  ASSERT_TRUE(minted);
  const Result<JoinToken> parsed = parse_join_token(minted->token.expose());
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->ca_sha256, "");
}

TEST(JoinTokenTest, BadFingerprintsAreNotMinted) {
  const std::string long_one = kCa + "00";
  for (const std::string& ca : {std::string("xyz"), kCa.substr(2), long_one}) {
    const Result<MintedToken> minted = mint_join_token(ca, system_random);
    ASSERT_FALSE(minted);
    EXPECT_EQ(minted.error().code, Code::kInvalidArgument);
  }
}

// An attacker who can alter a pasted token and fix its checksum still cannot keep the hub's secret
// valid: the hash covers the fingerprint.
TEST(JoinTokenTest, AnotherFingerprintIsAnotherToken) {
  const Result<MintedToken> minted = mint_join_token(kCa, counting_random());
  const Result<MintedToken> other = mint_join_token(std::string(64, '0'), counting_random());
  EXPECT_EQ(minted->token.expose().substr(0, 47), other->token.expose().substr(0, 47));
  EXPECT_NE(minted->hash, other->hash);
}

TEST(JoinTokenTest, OtherKindsSayWhatIsNeeded) {
  const MintedToken api = mint_token(TokenKind::kApi, system_random);
  const Result<JoinToken> parsed = parse_join_token(api.token.expose());
  ASSERT_FALSE(parsed);
  EXPECT_EQ(parsed.error().code, Code::kInvalidArgument);
  EXPECT_THAT(parsed.error().message, HasSubstr("--scope join"));
  EXPECT_THAT(parsed.error().message, Not(HasSubstr(api.token.expose().substr(4, 20))));
}

}  // namespace
}  // namespace roster::crypto
