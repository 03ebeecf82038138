#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/ids.h"
#include "base/result.h"
#include "base/secret.h"

namespace roster::crypto {

/// Bearer tokens, in a form that people and secret scanners recognize:
///
///   rst_<secret>_<checksum>         API token of a client, a person or an operator
///   rsn_<secret>_<checksum>         credential of one node
///   rsj_<secret>_<checksum>         join token: enrols nodes
///   rsj_<secret>_<pin>_<checksum>   join token that also carries the fingerprint of the hub's CA
///
/// secret: 43 characters of [0-9A-Za-z], each drawn evenly: 256 bits.
/// pin: SHA-256 of the CA certificate's DER form, base64url without padding: 43 characters.
/// checksum: CRC-32C of everything before its '_', six base-62 digits (0-9A-Za-z), highest first.
///
/// As a regular expression: rs[tnj]_[0-9A-Za-z]{43}(_[0-9A-Za-z_-]{43})?_[0-9A-Za-z]{6}
/// The checksum is no security: it tells a mangled paste or a chance match from a real token
/// without asking the database.
enum class TokenKind : std::uint8_t { kApi, kNode, kJoin };

/// What the server keeps is `hash` alone: SHA-256 of the whole token, 32 raw bytes. A token has 256
/// bits of entropy, so that a fast hash cannot be searched, and looking a row up by it leaks
/// nothing.
struct MintedToken {
  Secret token;
  std::string hash;
};

MintedToken mint_token(TokenKind kind, const RandomBytes& random);

/// `ca_sha256`: hex fingerprint of the CA that nodes shall pin; empty for a hub whose certificate
/// comes from an authority that nodes trust anyway. kInvalidArgument when it is neither.
Result<MintedToken> mint_join_token(std::string_view ca_sha256, const RandomBytes& random);

struct ParsedToken {
  TokenKind kind;
  std::string hash;  // 32 raw bytes, as MintedToken::hash
};

/// Checks form and checksum of a presented token. kUnauthenticated otherwise; the sentence never
/// repeats the text.
Result<ParsedToken> parse_token(std::string_view text);

struct JoinToken {
  Secret token;           // what is sent to the hub
  std::string ca_sha256;  // lower-case hex; empty = trust the system's authorities
};

/// The node's side: as parse_token, but only for join tokens. kInvalidArgument with a sentence for
/// the person who pasted it.
Result<JoinToken> parse_join_token(std::string_view text);

}  // namespace roster::crypto
