#include "crypto/x509.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <climits>
#include <memory>
#include <set>
#include <utility>

#include "base/encoding.h"
#include "base/unicode.h"
#include "crypto/hash.h"
#include "crypto/openssl.h"

namespace roster::crypto {
namespace {

using Certificate = std::unique_ptr<X509, Free<X509_free>>;
using Extension = std::unique_ptr<X509_EXTENSION, Free<X509_EXTENSION_free>>;
using GeneralNames = std::unique_ptr<GENERAL_NAMES, Free<GENERAL_NAMES_free>>;

constexpr std::size_t kCommonNameBytesMax = 64;  // RFC 5280 A.1, ub-common-name
constexpr std::size_t kHostsMax = 100;
constexpr std::chrono::days kLifetimeMax{36'500};

Result<Certificate> read_certificate(std::string_view pem) {
  ASSIGN_OR_RETURN(const Bio bio, reading(pem));
  Certificate certificate(PEM_read_bio_X509(bio.get(), nullptr, no_passphrase, nullptr));
  if (!certificate) {
    return openssl_failed(Code::kInvalidArgument, "there is no readable PEM certificate");
  }
  return certificate;
}

std::string certificate_to_pem(X509* certificate) {
  const Bio bio(BIO_new(BIO_s_mem()));
  CHECK(bio != nullptr && PEM_write_bio_X509(bio.get(), certificate) == 1);
  return written(bio.get());
}

std::time_t to_seconds(Timestamp t) {
  return std::chrono::floor<std::chrono::seconds>(t).time_since_epoch().count();
}

Result<Timestamp> from_asn1(const ASN1_TIME* time) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) {
    return openssl_failed(Code::kInvalidArgument, "a date in the certificate cannot be read");
  }
  return Timestamp(std::chrono::seconds(timegm(&parts)));
}

/// One leading 01 keeps the number positive and of one length; 128 random bits follow.
void set_serial(X509* certificate, const RandomBytes& random) {
  std::array<std::uint8_t, 17> bytes{1};
  random(std::span(bytes).subspan(1));
  const BigNumber number(BN_bin2bn(bytes.data(), static_cast<int>(bytes.size()), nullptr));
  CHECK(number != nullptr);
  CHECK(BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate)) != nullptr);
}

void add_common_name(X509_NAME* name, std::string_view value) {
  CHECK(X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8,
                                   reinterpret_cast<const unsigned char*>(value.data()),
                                   static_cast<int>(value.size()), -1, 0) == 1);
}

/// `value`: OpenSSL's configuration syntax; constants only, nothing from outside.
void add_extension(X509* certificate, X509* issuer, int nid, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const Extension extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value));
  CHECK(extension != nullptr && X509_add_ext(certificate, extension.get(), -1) == 1);
}

/// A certificate with new key, serial and validity; not yet signed, named or constrained.
Certificate new_certificate(EVP_PKEY* key, Timestamp not_before, Timestamp not_after,
                            const RandomBytes& random) {
  Certificate certificate(X509_new());
  CHECK(certificate != nullptr && X509_set_version(certificate.get(), X509_VERSION_3) == 1);
  set_serial(certificate.get(), random);
  CHECK(ASN1_TIME_set(X509_getm_notBefore(certificate.get()), to_seconds(not_before)) != nullptr);
  CHECK(ASN1_TIME_set(X509_getm_notAfter(certificate.get()), to_seconds(not_after)) != nullptr);
  CHECK(X509_set_pubkey(certificate.get(), key) == 1);
  return certificate;
}

Result<Key> new_key() {
  Key key(EVP_EC_gen("P-256"));
  if (!key) return openssl_failed(Code::kInternal, "OpenSSL made no P-256 key");
  return key;
}

Result<void> check_lifetime(std::chrono::days lifetime) {
  if (lifetime < std::chrono::days{1} || lifetime > kLifetimeMax) {
    return fail(Code::kInvalidArgument, "a certificate's lifetime is 1 to 36500 days");
  }
  return {};
}

bool is_dns_name(std::string_view name) {
  if (name.empty() || name.size() > 253) return false;
  std::string_view label;
  for (std::size_t start = 0; start <= name.size(); start += label.size() + 1) {
    label = name.substr(start, name.find('.', start) - start);
    if (label.empty() || label.size() > 63 || label.front() == '-' || label.back() == '-') {
      return false;
    }
    const bool characters = std::ranges::all_of(
        label, [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; });
    if (!characters) return false;
  }
  // A last label of digits only would be a mistyped IPv4 address (RFC 3696 2).
  return label.find_first_not_of("0123456789") != label.npos;
}

/// The 4 or 16 bytes of an address in text form; empty when it is none.
std::string address_bytes(const std::string& text) {
  std::array<char, sizeof(in6_addr)> bytes;
  if (inet_pton(AF_INET, text.c_str(), bytes.data()) == 1) return {bytes.data(), sizeof(in_addr)};
  if (inet_pton(AF_INET6, text.c_str(), bytes.data()) == 1) return {bytes.data(), sizeof(in6_addr)};
  return {};
}

void append_name(GENERAL_NAMES* names, int type, std::string_view value) {
  ASN1_STRING* string = type == GEN_DNS ? ASN1_IA5STRING_new() : ASN1_OCTET_STRING_new();
  CHECK(string != nullptr &&
        ASN1_STRING_set(string, value.data(), static_cast<int>(value.size())) == 1);
  GENERAL_NAME* name = GENERAL_NAME_new();
  CHECK(name != nullptr);
  GENERAL_NAME_set0_value(name, type, string);
  CHECK(sk_GENERAL_NAME_push(names, name) > 0);
}

Result<GeneralNames> alternative_names(std::span<const std::string> hosts) {
  if (hosts.empty() || hosts.size() > kHostsMax) {
    return fail(Code::kInvalidArgument, "a server certificate is for 1 to 100 hosts");
  }
  GeneralNames names(GENERAL_NAMES_new());
  CHECK(names != nullptr);
  std::set<std::string> seen;
  for (std::size_t i = 0; i < hosts.size(); ++i) {
    const std::string host = ascii_lower(hosts[i]);
    // inet_pton() would stop at a zero byte.
    const std::string address = host.find('\0') == host.npos ? address_bytes(host) : "";
    if (address.empty() && !is_dns_name(host)) {
      return fail(Code::kInvalidArgument, "host " + std::to_string(i + 1) +
                                              " of the certificate is neither a DNS name nor an IP "
                                              "address");
    }
    if (!seen.insert(address.empty() ? host : address).second) continue;
    append_name(names.get(), address.empty() ? GEN_DNS : GEN_IPADD,
                address.empty() ? host : address);
  }
  return names;
}

Result<std::string> text_of(const X509_NAME* name) {
  const Bio bio(BIO_new(BIO_s_mem()));
  CHECK(bio != nullptr);
  // RFC 2253 with UTF-8 kept readable; control characters and separators are escaped.
  if (X509_NAME_print_ex(bio.get(), name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) < 0) {
    return openssl_failed(Code::kInvalidArgument, "a name in the certificate cannot be read");
  }
  return written(bio.get());
}

Result<std::string> serial_of(const X509* certificate) {
  const BigNumber number(ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), nullptr));
  if (!number) {
    return openssl_failed(Code::kInvalidArgument, "the certificate's serial number is malformed");
  }
  std::string bytes(static_cast<std::size_t>(BN_num_bytes(number.get())), '\0');
  BN_bn2bin(number.get(), reinterpret_cast<unsigned char*>(bytes.data()));
  return hex_encode(bytes);
}

std::vector<std::string> hosts_of(const X509* certificate) {
  const GeneralNames names(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  std::vector<std::string> dns;
  std::vector<std::string> addresses;
  for (int i = 0; names != nullptr && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    int type = 0;
    const void* value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names.get(), i), &type);
    if (type != GEN_DNS && type != GEN_IPADD) continue;
    const auto* string = static_cast<const ASN1_STRING*>(value);
    const unsigned char* data = ASN1_STRING_get0_data(string);
    const int size = ASN1_STRING_length(string);
    if (type == GEN_DNS) {
      dns.emplace_back(reinterpret_cast<const char*>(data), static_cast<std::size_t>(size));
      continue;
    }
    std::array<char, INET6_ADDRSTRLEN> text;
    const int family = size == sizeof(in_addr) ? AF_INET : AF_INET6;
    if (size != sizeof(in_addr) && size != sizeof(in6_addr)) continue;
    CHECK(inet_ntop(family, data, text.data(), text.size()) != nullptr);
    addresses.emplace_back(text.data());
  }
  dns.insert(dns.end(), addresses.begin(), addresses.end());
  return dns;
}

std::string fingerprint_of(X509* certificate) {
  unsigned char* der = nullptr;
  const int size = i2d_X509(certificate, &der);
  CHECK(size > 0);
  std::string digest = sha256({reinterpret_cast<const char*>(der), static_cast<std::size_t>(size)});
  OPENSSL_free(der);
  return hex_encode(digest);
}

struct Issuer {
  Certificate certificate;
  Key key;
  Timestamp not_before;
  Timestamp not_after;
};

Result<Issuer> read_issuer(const KeyedCertificate& ca, Timestamp now) {
  ASSIGN_OR_RETURN(Certificate certificate, read_certificate(ca.certificate_pem));
  ASSIGN_OR_RETURN(Key key, read_key(ca.key_pem));
  if (X509_check_private_key(certificate.get(), key.get()) != 1) {
    return openssl_failed(Code::kInvalidArgument,
                          "the CA's private key does not belong to its certificate");
  }
  if (X509_check_ca(certificate.get()) != 1) {
    return fail(Code::kInvalidArgument, "the issuing certificate is not a CA's");
  }
  ASSIGN_OR_RETURN(const Timestamp not_before, from_asn1(X509_get0_notBefore(certificate.get())));
  ASSIGN_OR_RETURN(const Timestamp not_after, from_asn1(X509_get0_notAfter(certificate.get())));
  if (not_after <= now) {
    return fail(Code::kFailedPrecondition, "the CA expired at " + format_rfc3339(not_after));
  }
  return Issuer{std::move(certificate), std::move(key), not_before, not_after};
}

}  // namespace

Result<KeyedCertificate> create_ca(std::string_view common_name, Timestamp now,
                                   std::chrono::days lifetime, const RandomBytes& random) {
  RETURN_IF_ERROR(check_lifetime(lifetime));
  if (common_name.empty() || common_name.size() > kCommonNameBytesMax ||
      !is_valid_utf8(common_name) || has_control_characters(common_name)) {
    return fail(Code::kInvalidArgument,
                "a CA's common name is 1 to 64 bytes of UTF-8 without control characters");
  }
  ASSIGN_OR_RETURN(const Key key, new_key());
  const Certificate certificate =
      new_certificate(key.get(), now - kBackdating, now + lifetime, random);
  X509* const cert = certificate.get();
  add_common_name(X509_get_subject_name(cert), common_name);
  CHECK(X509_set_issuer_name(cert, X509_get_subject_name(cert)) == 1);
  add_extension(cert, cert, NID_basic_constraints, "critical,CA:TRUE,pathlen:0");
  add_extension(cert, cert, NID_key_usage, "critical,keyCertSign,cRLSign");
  add_extension(cert, cert, NID_subject_key_identifier, "hash");
  add_extension(cert, cert, NID_authority_key_identifier, "keyid:always");
  if (X509_sign(cert, key.get(), EVP_sha256()) == 0) {
    return openssl_failed(Code::kInternal, "the CA could not sign itself");
  }
  return KeyedCertificate{certificate_to_pem(cert), key_to_pem(key.get())};
}

Result<KeyedCertificate> issue_server_certificate(const KeyedCertificate& ca,
                                                  std::span<const std::string> hosts, Timestamp now,
                                                  std::chrono::days lifetime,
                                                  const RandomBytes& random) {
  RETURN_IF_ERROR(check_lifetime(lifetime));
  ASSIGN_OR_RETURN(const Issuer issuer, read_issuer(ca, now));
  ASSIGN_OR_RETURN(const GeneralNames names, alternative_names(hosts));
  ASSIGN_OR_RETURN(const Key key, new_key());
  X509* const issuer_cert = issuer.certificate.get();
  const Certificate certificate =
      new_certificate(key.get(), std::max<Timestamp>(now - kBackdating, issuer.not_before),
                      std::min<Timestamp>(now + lifetime, issuer.not_after), random);
  X509* const cert = certificate.get();
  add_common_name(X509_get_subject_name(cert), "Roster hub");
  CHECK(X509_set_issuer_name(cert, X509_get_subject_name(issuer_cert)) == 1);
  add_extension(cert, issuer_cert, NID_basic_constraints, "critical,CA:FALSE");
  add_extension(cert, issuer_cert, NID_key_usage, "critical,digitalSignature");
  add_extension(cert, issuer_cert, NID_ext_key_usage, "serverAuth");
  add_extension(cert, issuer_cert, NID_subject_key_identifier, "hash");
  add_extension(cert, issuer_cert, NID_authority_key_identifier, "keyid:always");
  CHECK(X509_add1_ext_i2d(cert, NID_subject_alt_name, names.get(), 0, X509V3_ADD_DEFAULT) == 1);
  if (X509_sign(cert, issuer.key.get(), EVP_sha256()) == 0) {
    return openssl_failed(Code::kInternal, "the CA could not sign the server certificate");
  }
  return KeyedCertificate{certificate_to_pem(cert) + certificate_to_pem(issuer_cert),
                          key_to_pem(key.get())};
}

Result<CertificateInfo> certificate_info(std::string_view pem) {
  ASSIGN_OR_RETURN(const Certificate certificate, read_certificate(pem));
  X509* const cert = certificate.get();
  CertificateInfo info;
  ASSIGN_OR_RETURN(info.subject, text_of(X509_get_subject_name(cert)));
  ASSIGN_OR_RETURN(info.issuer, text_of(X509_get_issuer_name(cert)));
  ASSIGN_OR_RETURN(info.serial, serial_of(cert));
  ASSIGN_OR_RETURN(info.not_before, from_asn1(X509_get0_notBefore(cert)));
  ASSIGN_OR_RETURN(info.not_after, from_asn1(X509_get0_notAfter(cert)));
  info.hosts = hosts_of(cert);
  info.is_ca = X509_check_ca(cert) == 1;
  info.sha256 = fingerprint_of(cert);
  return info;
}

Result<void> check_key_matches(std::string_view certificate_pem, const Secret& key_pem) {
  ASSIGN_OR_RETURN(const Certificate certificate, read_certificate(certificate_pem));
  ASSIGN_OR_RETURN(const Key key, read_key(key_pem));
  if (X509_check_private_key(certificate.get(), key.get()) != 1) {
    return openssl_failed(Code::kInvalidArgument,
                          "the private key does not belong to the certificate");
  }
  return {};
}

}  // namespace roster::crypto
