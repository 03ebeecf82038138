#include "crypto/jwt.h"

#include <gtest/gtest.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>

#include <vector>

#include "base/encoding.h"
#include "crypto/hash.h"
#include "crypto/openssl.h"

namespace roster::crypto {
namespace {

std::vector<std::string> parts_of(const Secret& token) {
  std::vector<std::string> parts;
  std::string_view rest = token.expose();
  for (std::size_t dot; (dot = rest.find('.')) != rest.npos; rest.remove_prefix(dot + 1)) {
    parts.emplace_back(rest.substr(0, dot));
  }
  parts.emplace_back(rest);
  return parts;
}

json::object decoded(const std::string& part) {
  return json::parse(*base64url_decode(part)).value().as_object();
}

BigNumber number_in(const json::object& jwk, const char* name) {
  const std::string bytes = *base64url_decode(*json::find_string(jwk, name));
  return BigNumber(BN_bin2bn(reinterpret_cast<const unsigned char*>(bytes.data()),
                             static_cast<int>(bytes.size()), nullptr));
}

/// As somebody would who has nothing but the JWK.
bool verifies(const json::object& jwk, const std::string& text, const std::string& signature) {
  const BigNumber n = number_in(jwk, "n");
  const BigNumber e = number_in(jwk, "e");
  const std::unique_ptr<OSSL_PARAM_BLD, Free<OSSL_PARAM_BLD_free>> builder(OSSL_PARAM_BLD_new());
  OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_N, n.get());
  OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_E, e.get());
  const std::unique_ptr<OSSL_PARAM, Free<OSSL_PARAM_free>> parameters(
      OSSL_PARAM_BLD_to_param(builder.get()));
  const std::unique_ptr<EVP_PKEY_CTX, Free<EVP_PKEY_CTX_free>> maker(
      EVP_PKEY_CTX_new_from_name(nullptr, "RSA", nullptr));
  EVP_PKEY* made = nullptr;
  EVP_PKEY_fromdata_init(maker.get());
  EVP_PKEY_fromdata(maker.get(), &made, EVP_PKEY_PUBLIC_KEY, parameters.get());
  const Key key(made);
  const std::unique_ptr<EVP_MD_CTX, Free<EVP_MD_CTX_free>> context(EVP_MD_CTX_new());
  EVP_DigestVerifyInit(context.get(), nullptr, EVP_sha256(), nullptr, key.get());
  return EVP_DigestVerify(context.get(), reinterpret_cast<const unsigned char*>(signature.data()),
                          signature.size(), reinterpret_cast<const unsigned char*>(text.data()),
                          text.size()) == 1;
}

// RFC 7515 A.1: the key and the signature over its header and payload are the same as ours over
// ours, which are written without its line breaks.
TEST(JwtTest, Hs256IsHmacOverHeaderAndPayload) {
  const Secret key(
      *base64url_decode("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTw"
                        "jAzZr1Z9CAow"));
  const JwtSigner signer = JwtSigner::hs256(key).value();
  const auto parts = parts_of(signer.sign({{"sun", "ada"}, {"exp", 1300819380}}));
  ASSERT_EQ(parts.size(), 3);
  EXPECT_EQ(decoded(parts[0]), (json::object{{"alg", "HS256"}, {"typ", "JWT"}}));
  EXPECT_EQ(decoded(parts[1]), (json::object{{"sun", "ada"}, {"exp", 1300819380}}));
  EXPECT_EQ(*base64url_decode(parts[2]), hmac_sha256(key.expose(), parts[0] + "." + parts[1]));
  EXPECT_TRUE(signer.key_id().empty());
  EXPECT_TRUE(signer.public_jwk().empty());
}

TEST(JwtTest, Rs256IsVerifiedWithTheJwkAlone) {
  const JwtSigner signer = JwtSigner::rs256(create_rsa_key()).value();
  const auto parts = parts_of(signer.sign({{"sun", "ada"}}));
  const json::object jwk = signer.public_jwk();
  const std::string signature = *base64url_decode(parts.at(2));
  EXPECT_TRUE(verifies(jwk, parts[0] + "." + parts[1], signature));
  EXPECT_FALSE(verifies(jwk, parts[0] + "." + parts[1] + "x", signature));
  EXPECT_EQ(decoded(parts[0]),
            (json::object{{"alg", "RS256"}, {"typ", "JWT"}, {"kid", signer.key_id()}}));
  // RFC 7638 3: SHA-256 of the required members, sorted, without spaces.
  EXPECT_EQ(signer.key_id(), base64url_encode(sha256(json::canonical(json::object{
                                 {"kty", "RSA"}, {"n", jwk.at("n")}, {"e", jwk.at("e")}}))));
}

TEST(JwtTest, AnotherKeyHasAnotherIdAndVerifiesNothing) {
  const JwtSigner one = JwtSigner::rs256(create_rsa_key()).value();
  const JwtSigner other = JwtSigner::rs256(create_rsa_key()).value();
  EXPECT_NE(one.key_id(), other.key_id());
  const auto parts = parts_of(one.sign({{"sun", "ada"}}));
  EXPECT_FALSE(
      verifies(other.public_jwk(), parts.at(0) + "." + parts[1], *base64url_decode(parts.at(2))));
}

TEST(JwtTest, TheSameKeyHasTheSameId) {
  const Secret pem = create_rsa_key();
  EXPECT_EQ(JwtSigner::rs256(pem)->key_id(), JwtSigner::rs256(pem)->key_id());
}

TEST(JwtTest, RefusesKeysThatAreNone) {
  EXPECT_FALSE(JwtSigner::rs256(Secret("no key")));
  EXPECT_FALSE(JwtSigner::rs256(key_to_pem(Key(EVP_EC_gen("P-256")).get())));
  EXPECT_FALSE(JwtSigner::rs256(key_to_pem(Key(EVP_RSA_gen(1024)).get())));
  EXPECT_FALSE(JwtSigner::hs256(Secret(std::string(31, 'k'))));
  EXPECT_FALSE(JwtSigner::hs256(Secret(std::string(4097, 'k'))));
  EXPECT_TRUE(JwtSigner::hs256(Secret(std::string(32, 'k'))));
}

}  // namespace
}  // namespace roster::crypto
