#include "http/testing/support.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <fstream>
#include <thread>

#include "base/encoding.h"

namespace roster::http::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kPatience{5'000};

template <typename F>
std::string to_pem(F write) {
  BIO* bio = BIO_new(BIO_s_mem());
  CHECK(write(bio) == 1);
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  std::string text(data, static_cast<std::size_t>(size));
  BIO_free(bio);
  return text;
}

std::string certificate_pem(X509* certificate) {
  return to_pem([certificate](BIO* bio) { return PEM_write_bio_X509(bio, certificate); });
}

void add_extension(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
  CHECK(extension != nullptr);
  CHECK(X509_add_ext(certificate, extension, -1) == 1);
  X509_EXTENSION_free(extension);
}

X509* new_certificate(EVP_PKEY* key, const std::string& name, X509* issuer) {
  static long serial = 1;
  X509* certificate = X509_new();
  X509_set_version(certificate, X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial++);
  X509_gmtime_adj(X509_getm_notBefore(certificate), -60);
  X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
  X509_set_pubkey(certificate, key);
  X509_NAME* subject = X509_get_subject_name(certificate);
  X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
  X509_set_issuer_name(certificate, issuer != nullptr ? X509_get_subject_name(issuer) : subject);
  return certificate;
}

}  // namespace

struct Authority::Impl {
  EVP_PKEY* key = nullptr;
  X509* certificate = nullptr;
};

Authority::Authority(const std::string& name) : impl_(std::make_unique<Impl>()) {
  impl_->key = EVP_EC_gen("P-256");
  impl_->certificate = new_certificate(impl_->key, name, nullptr);
  add_extension(impl_->certificate, impl_->certificate, NID_basic_constraints, "critical,CA:TRUE");
  add_extension(impl_->certificate, impl_->certificate, NID_key_usage, "critical,keyCertSign");
  add_extension(impl_->certificate, impl_->certificate, NID_subject_key_identifier, "hash");
  CHECK(X509_sign(impl_->certificate, impl_->key, EVP_sha256()) > 0);
}

Authority::~Authority() {
  X509_free(impl_->certificate);
  EVP_PKEY_free(impl_->key);
}

std::string Authority::pem() const { return certificate_pem(impl_->certificate); }

std::string Authority::sha256() const {
  std::array<unsigned char, 32> digest{};
  unsigned size = 0;
  CHECK(X509_digest(impl_->certificate, EVP_sha256(), digest.data(), &size) == 1);
  return hex_encode({reinterpret_cast<const char*>(digest.data()), size});
}

IssuedCertificate Authority::issue(const std::string& alternatives) const {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* leaf = new_certificate(key, "server", impl_->certificate);
  add_extension(leaf, impl_->certificate, NID_basic_constraints, "critical,CA:FALSE");
  add_extension(leaf, impl_->certificate, NID_ext_key_usage, "serverAuth");
  add_extension(leaf, impl_->certificate, NID_subject_alt_name, alternatives);
  CHECK(X509_sign(leaf, impl_->key, EVP_sha256()) > 0);
  IssuedCertificate issued{certificate_pem(leaf) + pem(), to_pem([key](BIO* bio) {
                             return PEM_write_bio_PrivateKey(bio, key, nullptr, nullptr, 0, nullptr,
                                                             nullptr);
                           })};
  X509_free(leaf);
  EVP_PKEY_free(key);
  return issued;
}

TempDirectory::TempDirectory() {
  std::string name = (std::filesystem::temp_directory_path() / "roster-http-XXXXXX").string();
  CHECK(::mkdtemp(name.data()) != nullptr);
  path_ = name;
}
TempDirectory::~TempDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

void write_text(const std::filesystem::path& path, std::string_view text) {
  std::ofstream(path, std::ios::binary | std::ios::trunc)
      .write(text.data(), static_cast<std::streamsize>(text.size()));
}

RawPeer::RawPeer(const std::string& address) {
  SocketAddress to;
  if (address.starts_with("unix:")) {
    to = *unix_address(address.substr(5));
  } else {
    const std::size_t colon = address.rfind(':');
    std::string host = address.substr(0, colon);
    if (host.starts_with('[')) host = host.substr(1, host.size() - 2);
    to = resolve_numeric(host, address.substr(colon + 1))->front();
  }
  fd_ = UniqueFd(::socket(to.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(::connect(fd_.get(), to.get(), to.size), 0) << address;
}

void RawPeer::send(std::string_view bytes) const {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return;  // the server may have closed: the answer is what a test looks at
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
}

bool RawPeer::read_some(milliseconds time) {
  pollfd polled{fd_.get(), POLLIN, 0};
  if (::poll(&polled, 1, static_cast<int>(time.count())) <= 0) return false;
  std::array<char, 65536> buffer;
  const ssize_t got = ::recv(fd_.get(), buffer.data(), buffer.size(), 0);
  if (got <= 0) ended_ = true;
  if (got > 0) got_.append(buffer.data(), static_cast<std::size_t>(got));
  return true;
}

std::string RawPeer::read_until(std::string_view marker) {
  const auto deadline = steady_clock::now() + kPatience;
  while (!got_.contains(marker) && !ended_ && steady_clock::now() < deadline) {
    read_some(milliseconds(100));
  }
  const std::size_t at = got_.find(marker);
  return take(at == std::string::npos ? at : at + marker.size());
}

std::string RawPeer::read_answer() {
  std::string answer = read_until("\r\n\r\n");
  const std::size_t at = answer.find("Content-Length: ");
  const std::size_t length = at == std::string::npos ? 0 : std::stoul(answer.substr(at + 16));
  const auto deadline = steady_clock::now() + kPatience;
  while (got_.size() < length && !ended_ && steady_clock::now() < deadline) {
    read_some(milliseconds(100));
  }
  return answer + take(length);
}

std::string RawPeer::take(std::size_t bytes) {
  std::string text = got_.substr(0, bytes);
  got_.erase(0, bytes);
  return text;
}

std::string RawPeer::read_to_end() {
  EXPECT_TRUE(closed_within(kPatience));
  return std::exchange(got_, {});
}

bool RawPeer::closed_within(milliseconds time) {
  const auto deadline = steady_clock::now() + time;
  while (!ended_ && steady_clock::now() < deadline) read_some(milliseconds(20));
  return ended_;
}

void RawPeer::shutdown_write() const { ::shutdown(fd_.get(), SHUT_WR); }

ScriptedServer::ScriptedServer(Script script, const std::string& listen)
    : listener_(*Listener::open(listen, 0600)), thread_([this, script = std::move(script)] {
        for (int connection = 0; !stopping_; ++connection) {
          pollfd waited{listener_.fd(), POLLIN, 0};
          ::poll(&waited, 1, -1);
          const UniqueFd peer(::accept(listener_.fd(), nullptr, nullptr));
          if (peer.valid() && !stopping_) script(peer.get(), connection);
        }
      }) {}

ScriptedServer::~ScriptedServer() {
  stopping_ = true;
  ::shutdown(listener_.fd(), SHUT_RDWR);
  thread_.join();
}

std::string ScriptedServer::url() const {
  return (listener_.is_unix() ? "" : "http://") + listener_.address();
}

std::string ScriptedServer::read_head(int fd) {
  std::string text;
  char c = 0;
  while (!text.ends_with("\r\n\r\n") && ::recv(fd, &c, 1, 0) == 1) text += c;
  return text;
}

void ScriptedServer::say(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t sent = ::send(fd, text.data(), text.size(), MSG_NOSIGNAL);
    if (sent <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(sent));
  }
}

void ScriptedServer::await_end(int fd) {
  std::array<char, 4096> ignored;
  while (::recv(fd, ignored.data(), ignored.size(), 0) > 0) {
  }
}

int status_of(std::string_view answer) {
  if (!answer.starts_with("HTTP/1.1 ") || answer.size() < 12) return 0;
  return std::atoi(std::string(answer.substr(9, 3)).c_str());
}

}  // namespace roster::http::testing
