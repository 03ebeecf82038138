#include "http/tls.h"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include <array>
#include <climits>
#include <cstring>

#include "base/encoding.h"
#include "base/file.h"
#include "base/unicode.h"

namespace roster::http {
namespace {

constexpr std::size_t kPemBytesMax = 4 << 20;

struct BioDelete {
  void operator()(BIO* bio) const { BIO_free(bio); }
};
struct KeyDelete {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
struct CertificateDelete {
  void operator()(X509* certificate) const { X509_free(certificate); }
};
using BioPtr = std::unique_ptr<BIO, BioDelete>;
using CertificatePtr = std::unique_ptr<X509, CertificateDelete>;

std::unexpected<Error> bad(std::string_view what) {
  return fail(Code::kInvalidArgument,
              std::string(what) + ": " + take_openssl_error("no usable PEM"));
}

BioPtr memory_bio(std::string_view text) {
  CHECK(text.size() <= INT_MAX);
  return BioPtr(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

// A key with a passphrase must fail, not ask on the terminal of a daemon.
int no_passphrase(char*, int, int, void*) { return -1; }

Result<TlsContext> new_context(const SSL_METHOD* method) {
  ERR_clear_error();
  TlsContext context(SSL_CTX_new(method), SSL_CTX_free);
  if (!context) return fail(Code::kInternal, take_openssl_error("SSL_CTX_new"));
  SSL_CTX* raw = context.get();
  SSL_CTX_set_min_proto_version(raw, TLS1_2_VERSION);
  SSL_CTX_set_options(raw, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET |
                               SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_session_cache_mode(raw, SSL_SESS_CACHE_OFF);
  CHECK(SSL_CTX_set_cipher_list(raw, "ECDHE+AESGCM:ECDHE+CHACHA20") == 1);
  return context;
}

int choose_alpn(SSL*, const unsigned char** out, unsigned char* out_size, const unsigned char* in,
                unsigned in_size, void*) {
  static constexpr unsigned char kHttp11[] = {8, 'h', 't', 't', 'p', '/', '1', '.', '1'};
  unsigned char* chosen = nullptr;
  if (SSL_select_next_proto(&chosen, out_size, kHttp11, sizeof kHttp11, in, in_size) !=
      OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  }
  *out = chosen;
  return SSL_TLSEXT_ERR_OK;
}

Result<void> use_chain(SSL_CTX* context, std::string_view pem) {
  const BioPtr bio = memory_bio(pem);
  const CertificatePtr leaf(PEM_read_bio_X509_AUX(bio.get(), nullptr, no_passphrase, nullptr));
  if (!leaf || SSL_CTX_use_certificate(context, leaf.get()) != 1) return bad("certificate");
  while (true) {
    CertificatePtr next(PEM_read_bio_X509(bio.get(), nullptr, no_passphrase, nullptr));
    if (!next) break;
    if (SSL_CTX_add0_chain_cert(context, next.get()) != 1) return bad("certificate chain");
    (void)next.release();
  }
  const unsigned long last = ERR_peek_last_error();
  if (ERR_GET_REASON(last) != PEM_R_NO_START_LINE) return bad("certificate chain");
  ERR_clear_error();
  return {};
}

Result<void> trust_pem(SSL_CTX* context, std::string_view pem) {
  const BioPtr bio = memory_bio(pem);
  X509_STORE* store = SSL_CTX_get_cert_store(context);
  std::size_t count = 0;
  while (true) {
    const CertificatePtr authority(PEM_read_bio_X509(bio.get(), nullptr, no_passphrase, nullptr));
    if (!authority) break;
    if (X509_STORE_add_cert(store, authority.get()) != 1) return bad("authority");
    ++count;
  }
  const unsigned long last = ERR_peek_last_error();
  if (count == 0 || ERR_GET_REASON(last) != PEM_R_NO_START_LINE) return bad("authorities");
  ERR_clear_error();
  return {};
}

using Fingerprint = std::array<unsigned char, 32>;

int fingerprint_index() {
  static const int index = SSL_CTX_get_ex_new_index(
      0, nullptr, nullptr, nullptr, [](void*, void* data, CRYPTO_EX_DATA*, int, long, void*) {
        delete static_cast<Fingerprint*>(data);
      });
  return index;
}

X509* find_pinned(STACK_OF(X509) * chain, const Fingerprint& wanted) {
  for (int i = 0; i < sk_X509_num(chain); ++i) {
    X509* certificate = sk_X509_value(chain, i);
    Fingerprint found{};
    unsigned size = 0;
    if (X509_digest(certificate, EVP_sha256(), found.data(), &size) == 1 && size == found.size() &&
        found == wanted && X509_check_ca(certificate) > 0) {
      return certificate;
    }
  }
  return nullptr;
}

/// The pinned authority, and nothing else, is trusted; everything that a chain must fulfil
/// (signatures, dates, purpose, host) is still OpenSSL's check.
int verify_pinned(X509_STORE_CTX* store, void* argument) {
  const auto* wanted = static_cast<const Fingerprint*>(argument);
  X509* pinned = find_pinned(X509_STORE_CTX_get0_untrusted(store), *wanted);
  STACK_OF(X509)* trusted = sk_X509_new_null();
  CHECK(trusted != nullptr);
  if (pinned == nullptr || sk_X509_push(trusted, pinned) == 0) {
    sk_X509_free(trusted);
    X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_UNTRUSTED);
    return 0;
  }
  X509_STORE_CTX_set0_trusted_stack(store, trusted);
  X509_STORE_CTX_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);  // it may be an intermediate
  const int verified = X509_verify_cert(store);
  sk_X509_free(trusted);  // the certificate itself belongs to the peer's chain
  return verified;
}

Result<void> trust_fingerprint(SSL_CTX* context, std::string_view hex) {
  ASSIGN_OR_RETURN(const std::string bytes, hex_decode(ascii_lower(hex)));
  if (bytes.size() != sizeof(Fingerprint)) {
    return fail(Code::kInvalidArgument, "ca_sha256: not 64 hexadecimal digits");
  }
  auto pin = std::make_unique<Fingerprint>();
  std::memcpy(pin->data(), bytes.data(), pin->size());
  CHECK(SSL_CTX_set_ex_data(context, fingerprint_index(), pin.get()) == 1);
  SSL_CTX_set_cert_verify_callback(context, verify_pinned, pin.release());
  return {};
}

}  // namespace

Result<TlsContext> server_tls_context(std::string_view certificate_pem, std::string_view key_pem) {
  ASSIGN_OR_RETURN(TlsContext context, new_context(TLS_server_method()));
  SSL_CTX_set_num_tickets(context.get(), 0);
  SSL_CTX_set_alpn_select_cb(context.get(), choose_alpn, nullptr);
  RETURN_IF_ERROR(use_chain(context.get(), certificate_pem));
  const BioPtr bio = memory_bio(key_pem);
  const std::unique_ptr<EVP_PKEY, KeyDelete> key(
      PEM_read_bio_PrivateKey(bio.get(), nullptr, no_passphrase, nullptr));
  if (!key) return bad("private key");
  if (SSL_CTX_use_PrivateKey(context.get(), key.get()) != 1 ||
      SSL_CTX_check_private_key(context.get()) != 1) {
    return bad("private key does not fit the certificate");
  }
  return context;
}

Result<TlsContext> client_tls_context(const ClientOptions& options) {
  ASSIGN_OR_RETURN(TlsContext context, new_context(TLS_client_method()));
  SSL_CTX* raw = context.get();
  SSL_CTX_set_verify(raw, SSL_VERIFY_PEER, nullptr);
  static constexpr unsigned char kHttp11[] = {8, 'h', 't', 't', 'p', '/', '1', '.', '1'};
  CHECK(SSL_CTX_set_alpn_protos(raw, kHttp11, sizeof kHttp11) == 0);
  if (!options.ca_sha256.empty()) {
    RETURN_IF_ERROR(trust_fingerprint(raw, options.ca_sha256));
  } else if (!options.ca_pem.empty()) {
    RETURN_IF_ERROR(trust_pem(raw, options.ca_pem));
  } else if (options.ca_file) {
    ASSIGN_OR_RETURN(const std::string pem, read_file(*options.ca_file, kPemBytesMax));
    RETURN_IF_ERROR(trust_pem(raw, pem));
  } else if (SSL_CTX_set_default_verify_paths(raw) != 1) {
    return bad("the system's authorities");
  }
  return context;
}

SslPtr new_server_tls(const TlsContext& context) {
  SslPtr ssl(SSL_new(context.get()));
  CHECK(ssl != nullptr);
  SSL_set_accept_state(ssl.get());
  return ssl;
}

Result<SslPtr> new_client_tls(const TlsContext& context, const std::string& host) {
  SslPtr ssl(SSL_new(context.get()));
  CHECK(ssl != nullptr);
  SSL_set_connect_state(ssl.get());
  std::array<unsigned char, sizeof(in6_addr)> address{};
  const bool is_ip = inet_pton(AF_INET, host.c_str(), address.data()) == 1 ||
                     inet_pton(AF_INET6, host.c_str(), address.data()) == 1;
  X509_VERIFY_PARAM* param = SSL_get0_param(ssl.get());
  if (is_ip) {
    if (X509_VERIFY_PARAM_set1_ip_asc(param, host.c_str()) != 1) return bad("host");
    return ssl;
  }
  SSL_set_hostflags(ssl.get(), X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  if (SSL_set1_host(ssl.get(), host.c_str()) != 1 ||
      SSL_set_tlsext_host_name(ssl.get(), host.c_str()) != 1) {
    return bad("host");
  }
  return ssl;
}

std::string verified_chain_pem(SSL* ssl) {
  std::string pem;
  STACK_OF(X509)* chain = SSL_get0_verified_chain(ssl);
  const BioPtr bio(BIO_new(BIO_s_mem()));
  CHECK(bio != nullptr);
  for (int i = 0; i < sk_X509_num(chain); ++i) {
    CHECK(PEM_write_bio_X509(bio.get(), sk_X509_value(chain, i)) == 1);
  }
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  if (size > 0) pem.assign(data, static_cast<std::size_t>(size));
  return pem;
}

}  // namespace roster::http
