#include "crypto/hash.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/result.h"

namespace roster::crypto {
namespace {

// Fetched once and kept: EVP_sha256() alone makes every digest look the provider up again.
const EVP_MD* sha256_md() {
  static const EVP_MD* const md = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  CHECK(md != nullptr);
  return md;
}

unsigned char* data_of(std::string& bytes) {
  return reinterpret_cast<unsigned char*>(bytes.data());
}

}  // namespace

std::string sha256(std::string_view bytes) {
  std::string out(kSha256Bytes, '\0');
  CHECK(EVP_Digest(bytes.data(), bytes.size(), data_of(out), nullptr, sha256_md(), nullptr) == 1);
  return out;
}

std::string hmac_sha256(std::string_view key, std::string_view message) {
  std::string out(kSha256Bytes, '\0');
  // A null key pointer means "as in the last call" to HMAC(); an empty view may have one.
  const char* key_data = key.empty() ? "" : key.data();
  CHECK(HMAC(sha256_md(), key_data, static_cast<int>(key.size()),
             reinterpret_cast<const unsigned char*>(message.data()), message.size(), data_of(out),
             nullptr) != nullptr);
  return out;
}

void Sha256::Free::operator()(evp_md_ctx_st* context) const { EVP_MD_CTX_free(context); }

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  CHECK(context_ != nullptr);
  CHECK(EVP_DigestInit_ex2(context_.get(), sha256_md(), nullptr) == 1);
}

void Sha256::update(std::string_view bytes) {
  CHECK(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1);
}

std::string Sha256::finish() {
  std::string out(kSha256Bytes, '\0');
  CHECK(EVP_DigestFinal_ex(context_.get(), data_of(out), nullptr) == 1);
  CHECK(EVP_DigestInit_ex2(context_.get(), sha256_md(), nullptr) == 1);
  return out;
}

}  // namespace roster::crypto
