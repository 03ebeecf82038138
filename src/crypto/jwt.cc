#include "crypto/jwt.h"

#include <openssl/core_names.h>
#include <openssl/rsa.h>

#include <utility>

#include "base/encoding.h"
#include "crypto/hash.h"
#include "crypto/openssl.h"

namespace roster::crypto {
namespace {

constexpr unsigned kRsaBits = 2048;
constexpr int kRsaBitsMin = 2048;
constexpr int kRsaBitsMax = 8192;
constexpr std::size_t kHmacKeyBytesMin = kSha256Bytes;
constexpr std::size_t kHmacKeyBytesMax = 4096;

/// A public number of an RSA key as JWK has it: big-endian, as short as can be.
std::string number_of(const EVP_PKEY* key, const char* name) {
  BIGNUM* raw = nullptr;
  CHECK(EVP_PKEY_get_bn_param(key, name, &raw) == 1);
  const BigNumber number(raw);
  std::string bytes(static_cast<std::size_t>(BN_num_bytes(raw)), '\0');
  BN_bn2bin(raw, reinterpret_cast<unsigned char*>(bytes.data()));
  return base64url_encode(bytes);
}

/// RSASSA-PKCS1-v1_5 with SHA-256.
std::string rsa_signature(EVP_PKEY* key, std::string_view text) {
  const std::unique_ptr<EVP_MD_CTX, Free<EVP_MD_CTX_free>> context(EVP_MD_CTX_new());
  CHECK(context != nullptr);
  CHECK(EVP_DigestSignInit(context.get(), nullptr, EVP_sha256(), nullptr, key) == 1);
  const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
  std::size_t size = 0;
  CHECK(EVP_DigestSign(context.get(), nullptr, &size, bytes, text.size()) == 1);
  std::string signature(size, '\0');
  CHECK(EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(signature.data()), &size,
                       bytes, text.size()) == 1);
  signature.resize(size);
  return signature;
}

}  // namespace

Secret create_rsa_key() {
  const Key key(EVP_RSA_gen(kRsaBits));
  CHECK(key != nullptr);
  return key_to_pem(key.get());
}

Result<JwtSigner> JwtSigner::rs256(const Secret& key_pem) {
  ASSIGN_OR_RETURN(Key key, read_key(key_pem));
  if (EVP_PKEY_is_a(key.get(), "RSA") != 1) {
    return fail(Code::kInvalidArgument, "RS256 takes an RSA key; this is another kind");
  }
  const int bits = EVP_PKEY_get_bits(key.get());
  if (bits < kRsaBitsMin || bits > kRsaBitsMax) {
    return fail(Code::kInvalidArgument,
                "RS256 takes an RSA key of 2048 to 8192 bits; this has " + std::to_string(bits));
  }
  JwtSigner signer;
  signer.modulus_ = number_of(key.get(), OSSL_PKEY_PARAM_RSA_N);
  signer.exponent_ = number_of(key.get(), OSSL_PKEY_PARAM_RSA_E);
  signer.key_id_ = base64url_encode(sha256(R"({"e":")" + signer.exponent_ +
                                           R"(","kty":"RSA","n":")" + signer.modulus_ + R"("})"));
  signer.rsa_ = std::move(key);
  return signer;
}

Result<JwtSigner> JwtSigner::hs256(Secret key) {
  const std::size_t size = key.expose().size();
  if (size < kHmacKeyBytesMin || size > kHmacKeyBytesMax) {
    return fail(Code::kInvalidArgument,
                "an HS256 key has 32 to 4096 bytes; this has " + std::to_string(size));
  }
  JwtSigner signer;
  signer.hmac_key_ = std::move(key);
  return signer;
}

Secret JwtSigner::sign(const json::object& claims) const {
  json::object header{{"alg", rsa_ ? "RS256" : "HS256"}, {"typ", "JWT"}};
  if (!key_id_.empty()) header.emplace("kid", key_id_);
  std::string token = base64url_encode(json::serialize(header));
  token += '.';
  token += base64url_encode(json::serialize(claims));
  const std::string signature =
      rsa_ ? rsa_signature(rsa_.get(), token) : hmac_sha256(hmac_key_.expose(), token);
  token += '.';
  token += base64url_encode(signature);
  return Secret(std::move(token));
}

json::object JwtSigner::public_jwk() const {
  if (!rsa_) return {};
  return {{"kty", "RSA"},   {"use", "sig"},  {"alg", "RS256"},
          {"kid", key_id_}, {"n", modulus_}, {"e", exponent_}};
}

}  // namespace roster::crypto
