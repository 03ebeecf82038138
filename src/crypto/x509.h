#pragma once

#include <chrono>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "base/secret.h"
#include "base/time.h"

namespace roster::crypto {

/// A certificate and its private key, both PEM. The key is PKCS #8, not encrypted.
struct KeyedCertificate {
  std::string certificate_pem;
  Secret key_pem;
};

/// Certificates begin this much before `now`, for nodes whose clock is behind.
inline constexpr std::chrono::hours kBackdating{1};

/// Self-signed ECDSA P-256 authority that signs server certificates only: path length 0,
/// keyCertSign and cRLSign (RFC 5280 4.2.1). Serial numbers come from `random`, keys from OpenSSL.
/// `common_name`: 1 to 64 bytes of UTF-8 without control characters. `lifetime`: 1 to 36,500 days.
/// kInvalidArgument otherwise.
Result<KeyedCertificate> create_ca(std::string_view common_name, Timestamp now,
                                   std::chrono::days lifetime, const RandomBytes& random);

/// Server certificate with a new ECDSA P-256 key, for TLS servers only (serverAuth), never
/// outliving its CA. The PEM holds the certificate, then the CA's: a server must send both, because
/// a joining node knows nothing but the CA's fingerprint. `hosts`: 1 to 100 DNS names or IP
/// addresses (no port, no brackets); duplicates are dropped. kInvalidArgument for a bad host,
/// lifetime or CA, naming it; kFailedPrecondition when the CA has expired.
Result<KeyedCertificate> issue_server_certificate(const KeyedCertificate& ca,
                                                  std::span<const std::string> hosts, Timestamp now,
                                                  std::chrono::days lifetime,
                                                  const RandomBytes& random);

struct CertificateInfo {
  std::string subject;  // RFC 2253: "CN=Roster hub"
  std::string issuer;   // RFC 2253
  std::string serial;   // lower-case hex
  Timestamp not_before;
  Timestamp not_after;
  std::vector<std::string> hosts;  // subjectAltName: DNS names and IP addresses, in that order
  bool is_ca = false;
  std::string sha256;  // of the DER form, lower-case hex: what join tokens carry
};

/// Of the first certificate in `pem`. kInvalidArgument when there is none.
Result<CertificateInfo> certificate_info(std::string_view pem);

/// Whether `key_pem` is the private key of the first certificate in `certificate_pem`.
/// kInvalidArgument when either cannot be read (an encrypted key cannot) or they do not match.
Result<void> check_key_matches(std::string_view certificate_pem, const Secret& key_pem);

}  // namespace roster::crypto
