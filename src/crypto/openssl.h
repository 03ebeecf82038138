#pragma once

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/evp.h>

#include <expected>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/secret.h"

// OpenSSL's objects with owners, and private keys as PEM. Internal to this room.

namespace roster::crypto {

template <auto kFree>
struct Free {
  template <typename T>
  void operator()(T* object) const {
    kFree(object);
  }
};
using Bio = std::unique_ptr<BIO, Free<BIO_free_all>>;
using BigNumber = std::unique_ptr<BIGNUM, Free<BN_free>>;
using Key = std::unique_ptr<EVP_PKEY, Free<EVP_PKEY_free>>;

/// Also empties OpenSSL's queue: a leftover there would be read as an error of the next TLS call.
std::unexpected<Error> openssl_failed(Code code, std::string sentence);

/// An encrypted key is an error, never a prompt on the terminal.
int no_passphrase(char*, int, int, void*);

/// A reader of `pem`, which must outlive it. kTooLarge beyond 1 MiB.
Result<Bio> reading(std::string_view pem);
/// All that was written to `bio`, a memory buffer.
std::string written(BIO* bio);

/// kInvalidArgument when there is no key in the text, or only one behind a passphrase.
Result<Key> read_key(const Secret& pem);
/// PKCS #8, not encrypted.
Secret key_to_pem(EVP_PKEY* key);

}  // namespace roster::crypto
