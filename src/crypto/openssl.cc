#include "crypto/openssl.h"

#include <openssl/err.h>
#include <openssl/pem.h>

#include <utility>

namespace roster::crypto {
namespace {

constexpr std::size_t kPemBytesMax = 1 << 20;

}  // namespace

std::unexpected<Error> openssl_failed(Code code, std::string sentence) {
  const unsigned long error = ERR_peek_last_error();
  if (const char* reason = error != 0 ? ERR_reason_error_string(error) : nullptr) {
    sentence.append(" (").append(reason).append(")");
  }
  ERR_clear_error();
  return fail(code, std::move(sentence));
}

int no_passphrase(char*, int, int, void*) { return -1; }

Result<Bio> reading(std::string_view pem) {
  if (pem.size() > kPemBytesMax) return fail(Code::kTooLarge, "the PEM text is over 1 MiB");
  Bio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  CHECK(bio != nullptr);
  return bio;
}

std::string written(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  CHECK(size >= 0);
  return {data, static_cast<std::size_t>(size)};
}

Result<Key> read_key(const Secret& pem) {
  ASSIGN_OR_RETURN(const Bio bio, reading(pem.expose()));
  Key key(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_passphrase, nullptr));
  if (!key) {
    return openssl_failed(Code::kInvalidArgument,
                          "there is no readable PEM private key without a passphrase");
  }
  return key;
}

Secret key_to_pem(EVP_PKEY* key) {
  const Bio bio(BIO_new(BIO_s_secmem()));  // wiped when freed
  CHECK(bio != nullptr &&
        PEM_write_bio_PKCS8PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr) == 1);
  return Secret(written(bio.get()));
}

}  // namespace roster::crypto
