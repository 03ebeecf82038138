#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/result.h"
#include "base/secret.h"

struct evp_pkey_st;

namespace roster::crypto {

/// A new RSA key of 2048 bits, PEM (PKCS #8, not encrypted). About 100 ms.
Secret create_rsa_key();

/// Signs JSON Web Tokens (RFC 7519) in compact form (RFC 7515 3.1) with one key. Thread-safe.
class JwtSigner {
 public:
  /// RS256 (RFC 7518 3.3). The key's id is its thumbprint (RFC 7638), so that two keys never share
  /// one. kInvalidArgument unless `key_pem` is an RSA key of 2048 to 8192 bits.
  static Result<JwtSigner> rs256(const Secret& key_pem);
  /// HS256 (RFC 7518 3.2), without a key id. kInvalidArgument for fewer than 32 bytes, which are
  /// less than the hash is worth, or more than 4096.
  static Result<JwtSigner> hs256(Secret key);

  Secret sign(const json::object& claims) const;

  /// Empty of HS256.
  const std::string& key_id() const { return key_id_; }
  /// The public half as a JWK for "sig" with alg, kid, n and e (RFC 7517 4, RFC 7518 6.3.1); empty
  /// of HS256.
  json::object public_jwk() const;

 private:
  struct Free {
    void operator()(evp_pkey_st* key) const;
  };
  JwtSigner() = default;

  std::shared_ptr<evp_pkey_st> rsa_;  // or
  Secret hmac_key_;
  std::string key_id_;
  std::string modulus_;   // base64url
  std::string exponent_;  // base64url
};

}  // namespace roster::crypto
