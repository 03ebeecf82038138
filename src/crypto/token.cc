#include "crypto/token.h"

#include <string.h>

#include <array>
#include <optional>

#include "base/encoding.h"
#include "crypto/hash.h"

namespace roster::crypto {
namespace {

constexpr std::string_view kBase62 =
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
constexpr std::size_t kPrefixChars = 4;  // "rst_"
constexpr std::size_t kSecretChars = 43;
constexpr std::size_t kPinChars = 43;
constexpr std::size_t kChecksumChars = 6;
constexpr std::size_t kPlainChars = kPrefixChars + kSecretChars + 1 + kChecksumChars;
constexpr std::size_t kPinnedChars = kPlainChars + 1 + kPinChars;

std::string_view prefix_of(TokenKind kind) {
  switch (kind) {
    case TokenKind::kApi:
      return "rst_";
    case TokenKind::kNode:
      return "rsn_";
    case TokenKind::kJoin:
      return "rsj_";
  }
  return {};
}

std::optional<TokenKind> kind_of(std::string_view text) {
  for (const TokenKind kind : {TokenKind::kApi, TokenKind::kNode, TokenKind::kJoin}) {
    if (text.starts_with(prefix_of(kind))) return kind;
  }
  return std::nullopt;
}

void append_secret(std::string& out, const RandomBytes& random) {
  std::array<std::uint8_t, 64> bytes;
  std::size_t left = kSecretChars;
  while (left > 0) {
    random(bytes);
    for (std::size_t i = 0; i < bytes.size() && left > 0; ++i) {
      // 248 = 4 * 62: higher values would make the first characters of the alphabet likelier.
      if (bytes[i] >= 248) continue;
      out += kBase62[bytes[i] % 62];
      --left;
    }
  }
  explicit_bzero(bytes.data(), bytes.size());
}

std::string checksum(std::string_view body) {
  std::uint32_t value = crc32c(body);
  std::string out(kChecksumChars, '0');
  for (std::size_t i = kChecksumChars; i-- > 0; value /= 62) out[i] = kBase62[value % 62];
  return out;
}

MintedToken mint(TokenKind kind, std::string_view pin, const RandomBytes& random) {
  std::string text(prefix_of(kind));
  text.reserve(kPinnedChars);
  append_secret(text, random);
  if (!pin.empty()) text.append("_").append(pin);
  const std::string check = checksum(text);
  text.append("_").append(check);
  std::string hash = sha256(text);
  return {Secret(std::move(text)), std::move(hash)};
}

bool is_base62(std::string_view text) { return text.find_first_not_of(kBase62) == text.npos; }

/// Nothing when all is right, else what is wrong, said without a part of the text.
std::string_view defect(std::string_view text, std::optional<TokenKind> kind) {
  if (!kind) return "it starts with none of rst_, rsn_, rsj_";
  const bool pinned = *kind == TokenKind::kJoin && text.size() == kPinnedChars;
  if (!pinned && text.size() != kPlainChars) return "it was cut off or has extra characters";
  const std::string_view body = text.substr(0, text.size() - kChecksumChars - 1);
  const bool separated =
      text[body.size()] == '_' && (!pinned || text[kPrefixChars + kSecretChars] == '_');
  if (!separated || !is_base62(text.substr(kPrefixChars, kSecretChars)) ||
      text.substr(body.size() + 1) != checksum(body)) {
    return "its checksum does not match, so it was mistyped or mangled";
  }
  return {};
}

}  // namespace

MintedToken mint_token(TokenKind kind, const RandomBytes& random) { return mint(kind, {}, random); }

Result<MintedToken> mint_join_token(std::string_view ca_sha256, const RandomBytes& random) {
  if (ca_sha256.empty()) return mint(TokenKind::kJoin, {}, random);
  const Result<std::string> raw = hex_decode(ca_sha256);
  if (!raw || raw->size() != kSha256Bytes) {
    return fail(Code::kInvalidArgument, "the CA fingerprint is not 64 hex digits");
  }
  return mint(TokenKind::kJoin, base64url_encode(*raw), random);
}

Result<ParsedToken> parse_token(std::string_view text) {
  const std::optional<TokenKind> kind = kind_of(text);
  const std::string_view wrong = defect(text, kind);
  if (!wrong.empty()) {
    return fail(Code::kUnauthenticated, "not a token of this hub: " + std::string(wrong));
  }
  return ParsedToken{*kind, sha256(text)};
}

Result<JoinToken> parse_join_token(std::string_view text) {
  const std::optional<TokenKind> kind = kind_of(text);
  if (kind && *kind != TokenKind::kJoin) {
    return fail(Code::kInvalidArgument,
                "not a join token: join tokens start with rsj_; make one with "
                "`roster token create --scope join`");
  }
  const std::string_view wrong = defect(text, kind);
  if (!wrong.empty()) {
    return fail(Code::kInvalidArgument, "not a join token: " + std::string(wrong));
  }
  JoinToken out{Secret(std::string(text)), {}};
  if (text.size() == kPinnedChars) {
    const Result<std::string> raw =
        base64url_decode(text.substr(kPrefixChars + kSecretChars + 1, kPinChars));
    if (!raw)
      return fail(Code::kInvalidArgument, "not a join token: its CA fingerprint is damaged");
    out.ca_sha256 = hex_encode(*raw);
  }
  return out;
}

}  // namespace roster::crypto
