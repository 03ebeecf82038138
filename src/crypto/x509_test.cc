#include "crypto/x509.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include <memory>

#include "base/encoding.h"
#include "crypto/hash.h"

namespace roster::crypto {
namespace {

using std::chrono::days;
using testing::ElementsAre;
using testing::HasSubstr;

const Timestamp kNow = parse_rfc3339("2026-11-21T08:00:00Z").value();

template <auto kFree>
struct Free {
  template <typename T>
  void operator()(T* object) const {
    kFree(object);
  }
};
using Bio = std::unique_ptr<BIO, Free<BIO_free_all>>;
using Certificate = std::unique_ptr<X509, Free<X509_free>>;

KeyedCertificate make_ca(std::string_view name = "Roster CA of acme") {
  return create_ca(name, kNow, days{3650}, system_random).value();
}

Result<KeyedCertificate> issue(const KeyedCertificate& ca, std::vector<std::string> hosts,
                               Timestamp now = kNow, days lifetime = days{90}) {
  return issue_server_certificate(ca, hosts, now, lifetime, system_random);
}

Certificate load(std::string_view pem) {
  const Bio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  return Certificate(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
}

/// OpenSSL's own verdict, as a TLS client would come to it: X509_V_OK or the error.
int verify(std::string_view server_pem, std::string_view ca_pem, const std::string& host,
           Timestamp at) {
  const Certificate server = load(server_pem);
  const Certificate ca = load(ca_pem);
  const std::unique_ptr<X509_STORE, Free<X509_STORE_free>> store(X509_STORE_new());
  X509_STORE_add_cert(store.get(), ca.get());
  const std::unique_ptr<X509_STORE_CTX, Free<X509_STORE_CTX_free>> context(X509_STORE_CTX_new());
  X509_STORE_CTX_init(context.get(), store.get(), server.get(), nullptr);
  X509_STORE_CTX_set_default(context.get(), "ssl_server");
  X509_VERIFY_PARAM* param = X509_STORE_CTX_get0_param(context.get());
  X509_VERIFY_PARAM_set_time(param, to_millis(at) / 1000);
  X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_X509_STRICT);
  if (X509_VERIFY_PARAM_set1_ip_asc(param, host.c_str()) != 1) {
    ERR_clear_error();
    X509_VERIFY_PARAM_set1_host(param, host.c_str(), host.size());
  }
  X509_verify_cert(context.get());
  return X509_STORE_CTX_get_error(context.get());
}

TEST(X509Test, OpensslAcceptsWhatWeIssue) {
  const KeyedCertificate ca = make_ca();
  const auto server = issue(ca, {"hub.example.org", "localhost", "127.0.0.1", "::1"});
  ASSERT_TRUE(server) << server.error().message;
  for (const char* host : {"hub.example.org", "localhost", "127.0.0.1", "::1"}) {
    EXPECT_EQ(verify(server->certificate_pem, ca.certificate_pem, host, kNow), X509_V_OK) << host;
  }
}

TEST(X509Test, OpensslRefusesTheRest) {
  const KeyedCertificate ca = make_ca();
  const KeyedCertificate other = make_ca();
  const std::string server = issue(ca, {"hub.example.org", "127.0.0.1"})->certificate_pem;
  const auto at = [&](std::string_view authority, const char* host, Timestamp when) {
    return verify(server, authority, host, when);
  };
  EXPECT_EQ(at(ca.certificate_pem, "evil.example.org", kNow), X509_V_ERR_HOSTNAME_MISMATCH);
  EXPECT_EQ(at(ca.certificate_pem, "127.0.0.2", kNow), X509_V_ERR_IP_ADDRESS_MISMATCH);
  EXPECT_NE(at(other.certificate_pem, "hub.example.org", kNow), X509_V_OK);
  EXPECT_EQ(at(ca.certificate_pem, "hub.example.org", kNow + days{91}),
            X509_V_ERR_CERT_HAS_EXPIRED);
  // Half an hour behind is tolerated, a day is not.
  EXPECT_EQ(at(ca.certificate_pem, "hub.example.org", kNow - std::chrono::minutes{30}), X509_V_OK);
  EXPECT_NE(at(ca.certificate_pem, "hub.example.org", kNow - days{1}), X509_V_OK);
}

// A stolen server key must not mint certificates, and the CA's is no server certificate.
TEST(X509Test, RolesAreSeparate) {
  const KeyedCertificate ca = make_ca();
  const auto server = issue(ca, {"hub.example.org"});
  EXPECT_EQ(X509_check_ca(load(server->certificate_pem).get()), 0);
  const auto forged = issue(*server, {"evil.example.org"});
  ASSERT_FALSE(forged);
  EXPECT_THAT(forged.error().message, HasSubstr("not a CA"));
  const Certificate authority = load(ca.certificate_pem);
  EXPECT_EQ(X509_check_ca(authority.get()), 1);
  EXPECT_EQ(X509_get_pathlen(authority.get()), 0);
  EXPECT_EQ(X509_get_key_usage(authority.get()),
            static_cast<std::uint32_t>(KU_KEY_CERT_SIGN | KU_CRL_SIGN));
  const Certificate leaf = load(server->certificate_pem);
  EXPECT_EQ(X509_get_key_usage(leaf.get()), static_cast<std::uint32_t>(KU_DIGITAL_SIGNATURE));
  EXPECT_EQ(X509_get_extended_key_usage(leaf.get()), static_cast<std::uint32_t>(XKU_SSL_SERVER));
  EXPECT_NE(X509_get0_subject_key_id(leaf.get()), nullptr);
  EXPECT_EQ(ASN1_OCTET_STRING_cmp(X509_get0_authority_key_id(leaf.get()),
                                  X509_get0_subject_key_id(authority.get())),
            0);
}

TEST(X509Test, InfoTellsWhatWasIssued) {
  const KeyedCertificate ca = make_ca("Roster CA, Zürich");
  const auto server = issue(ca, {"Hub.Example.ORG", "10.0.0.1", "hub.example.org", "fe80::1"});
  ASSERT_TRUE(server);
  const auto info = certificate_info(server->certificate_pem);
  ASSERT_TRUE(info) << info.error().message;
  EXPECT_EQ(info->subject, "CN=Roster hub");
  EXPECT_EQ(info->issuer, "CN=Roster CA\\, Zürich");
  EXPECT_THAT(info->hosts, ElementsAre("hub.example.org", "10.0.0.1", "fe80::1"));
  EXPECT_EQ(info->not_before, kNow - kBackdating);
  EXPECT_EQ(info->not_after, kNow + days{90});
  EXPECT_FALSE(info->is_ca);
  EXPECT_EQ(info->serial.size(), 34U);
  EXPECT_EQ(info->serial.substr(0, 2), "01");

  const auto authority = certificate_info(ca.certificate_pem);
  ASSERT_TRUE(authority);
  EXPECT_TRUE(authority->is_ca);
  EXPECT_EQ(authority->subject, authority->issuer);
  // The fingerprint is SHA-256 over exactly the bytes between the PEM lines.
  std::string base64;
  std::size_t at = ca.certificate_pem.find('\n') + 1;
  for (; ca.certificate_pem[at] != '-'; ++at) {
    if (ca.certificate_pem[at] != '\n') base64 += ca.certificate_pem[at];
  }
  EXPECT_EQ(authority->sha256, hex_encode(sha256(base64_decode(base64).value())));
}

// A joining node finds the pinned CA in what the server sends.
TEST(X509Test, ServerPemEndsWithItsCa) {
  const KeyedCertificate ca = make_ca();
  const auto server = issue(ca, {"localhost"});
  ASSERT_TRUE(server);
  EXPECT_TRUE(server->certificate_pem.ends_with(ca.certificate_pem));
  EXPECT_GT(server->certificate_pem.size(), ca.certificate_pem.size());
}

TEST(X509Test, SerialsComeFromTheGivenSourceAndDiffer) {
  const RandomBytes zeros = [](std::span<std::uint8_t> out) { std::ranges::fill(out, 0); };
  const auto ca = create_ca("x", kNow, days{1}, zeros);
  ASSERT_TRUE(ca);
  EXPECT_EQ(certificate_info(ca->certificate_pem)->serial, "01" + std::string(32, '0'));
  const KeyedCertificate real = make_ca();
  EXPECT_NE(certificate_info(issue(real, {"a"})->certificate_pem)->serial,
            certificate_info(issue(real, {"a"})->certificate_pem)->serial);
}

TEST(X509Test, ServerNeverOutlivesItsCa) {
  const auto ca = create_ca("short", kNow, days{10}, system_random);
  const auto server = issue(*ca, {"localhost"}, kNow, days{90});
  ASSERT_TRUE(server);
  EXPECT_EQ(certificate_info(server->certificate_pem)->not_after, kNow + days{10});
  const auto late = issue(*ca, {"localhost"}, kNow + days{11}, days{90});
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, Code::kFailedPrecondition);
  EXPECT_THAT(late.error().message, HasSubstr("2026-12-01T08:00:00.000Z"));
}

TEST(X509Test, BadHostsAreRefused) {
  const KeyedCertificate ca = make_ca();
  const std::string long_label(64, 'a');
  const std::string long_name = std::string(63, 'a') + "." + std::string(63, 'b') + "." +
                                std::string(63, 'c') + "." + std::string(63, 'd');
  for (const std::string& host :
       {std::string(), std::string("a b"), std::string("a,DNS:evil"), std::string("*.example.org"),
        std::string("hub:8443"), std::string("[::1]"), std::string("-a"), std::string("a-"),
        std::string("a..b"), std::string("a."), std::string(".a"), std::string("300.1.1.1"),
        std::string("a\0b", 3), std::string("127.0.0.1\0x", 11), std::string("hüb"), long_label,
        long_name}) {
    const auto server = issue(ca, {"ok", host});
    ASSERT_FALSE(server) << host;
    EXPECT_EQ(server.error().code, Code::kInvalidArgument);
    EXPECT_THAT(server.error().message, HasSubstr("host 2 ")) << host;
  }
  EXPECT_FALSE(issue(ca, {}));
  EXPECT_FALSE(issue(ca, std::vector<std::string>(101, "a")));
  EXPECT_TRUE(issue(ca, std::vector<std::string>(100, "a")));
}

TEST(X509Test, BadNamesAndLifetimesAreRefused) {
  for (const std::string& name : {std::string(), std::string(65, 'x'), std::string("a\nb"),
                                  std::string("\xff"), std::string("a\0b", 3)}) {
    EXPECT_FALSE(create_ca(name, kNow, days{1}, system_random));
  }
  for (const days lifetime : {days{0}, days{-1}, days{36'501}}) {
    EXPECT_FALSE(create_ca("x", kNow, lifetime, system_random));
    EXPECT_FALSE(issue(make_ca(), {"a"}, kNow, lifetime));
  }
}

TEST(X509Test, KeyMatching) {
  const KeyedCertificate ca = make_ca();
  const auto server = issue(ca, {"a"});
  EXPECT_TRUE(check_key_matches(ca.certificate_pem, ca.key_pem));
  EXPECT_TRUE(check_key_matches(server->certificate_pem, server->key_pem));
  EXPECT_FALSE(check_key_matches(server->certificate_pem, ca.key_pem));
  EXPECT_FALSE(issue({server->certificate_pem, ca.key_pem}, {"a"}));
  EXPECT_FALSE(check_key_matches("nothing", ca.key_pem));
  EXPECT_FALSE(check_key_matches(ca.certificate_pem, Secret("nothing")));
  // Errors of these calls must not surface in the next TLS read of the same thread.
  EXPECT_EQ(ERR_peek_error(), 0UL);
}

// Would hang on the terminal if OpenSSL's default passphrase prompt were reached.
TEST(X509Test, EncryptedKeyIsAnErrorNotAPrompt) {
  const std::unique_ptr<EVP_PKEY, Free<EVP_PKEY_free>> key(EVP_EC_gen("P-256"));
  const Bio bio(BIO_new(BIO_s_mem()));
  char passphrase[] = "secret";
  ASSERT_EQ(PEM_write_bio_PKCS8PrivateKey(bio.get(), key.get(), EVP_aes_256_cbc(), passphrase, 6,
                                          nullptr, nullptr),
            1);
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  const Secret pem(std::string(data, static_cast<std::size_t>(size)));
  const auto result = check_key_matches(make_ca().certificate_pem, pem);
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message, HasSubstr("without a passphrase"));
}

TEST(X509Test, DamagedCertificatesAreErrors) {
  const std::string pem = make_ca().certificate_pem;
  EXPECT_FALSE(certificate_info(""));
  EXPECT_FALSE(certificate_info("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"));
  EXPECT_EQ(certificate_info(std::string((1 << 20) + 1, 'x')).error().code, Code::kTooLarge);
  // A changed character of the body gives an error or other values, never a crash.
  for (std::size_t i = pem.find('\n') + 1; i < pem.find("\n-----END"); ++i) {
    std::string changed = pem;
    changed[i] = changed[i] == 'A' ? 'B' : 'A';
    const auto info = certificate_info(changed);
    if (!info) EXPECT_EQ(info.error().code, Code::kInvalidArgument);
  }
}

}  // namespace
}  // namespace roster::crypto
