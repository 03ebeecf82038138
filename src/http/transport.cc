#include "http/transport.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/x509_vfy.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdint>
#include <system_error>

#include "base/result.h"

namespace roster::http {
namespace {

bool would_block(int error_number) {
  return error_number == EAGAIN || error_number == EWOULDBLOCK || error_number == EINTR;
}

// OpenSSL's own socket BIO uses write(2), which raises SIGPIPE when the peer is gone. A library
// must not change the process's signals, so this one uses send(2) with MSG_NOSIGNAL.
int bio_fd(BIO* bio) {
  return static_cast<int>(reinterpret_cast<std::intptr_t>(BIO_get_data(bio)));
}

int bio_write(BIO* bio, const char* data, std::size_t size, std::size_t* written) {
  BIO_clear_retry_flags(bio);
  const ssize_t sent = ::send(bio_fd(bio), data, size, MSG_NOSIGNAL);
  *written = sent > 0 ? static_cast<std::size_t>(sent) : 0;
  if (sent < 0 && would_block(errno)) BIO_set_retry_write(bio);
  return sent > 0 ? 1 : 0;
}

int bio_read(BIO* bio, char* data, std::size_t size, std::size_t* got) {
  BIO_clear_retry_flags(bio);
  const ssize_t received = ::recv(bio_fd(bio), data, size, 0);
  *got = received > 0 ? static_cast<std::size_t>(received) : 0;
  if (received < 0 && would_block(errno)) BIO_set_retry_read(bio);
  if (received == 0) BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
  return received > 0 ? 1 : 0;
}

long bio_ctrl(BIO* bio, int command, long, void*) {
  switch (command) {
    case BIO_CTRL_FLUSH:
      return 1;
    case BIO_CTRL_EOF:
      return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0 ? 1 : 0;
    default:
      return 0;
  }
}

const BIO_METHOD* bio_method() {
  static const BIO_METHOD* const method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket");
    CHECK(made != nullptr);
    BIO_meth_set_write_ex(made, bio_write);
    BIO_meth_set_read_ex(made, bio_read);
    BIO_meth_set_ctrl(made, bio_ctrl);
    return made;
  }();
  return method;
}

}  // namespace

std::string take_openssl_error(std::string_view fallback) {
  const unsigned long code = ERR_get_error();
  ERR_clear_error();
  if (code == 0) return std::string(fallback);
  const char* reason = ERR_reason_error_string(code);
  return reason != nullptr ? std::string(reason) : std::string(fallback);
}

Transport::Transport(UniqueFd fd, SslPtr ssl) : fd_(std::move(fd)), ssl_(std::move(ssl)) {
  if (!ssl_) return;
  BIO* bio = BIO_new(bio_method());
  CHECK(bio != nullptr);
  BIO_set_data(bio, reinterpret_cast<void*>(static_cast<std::intptr_t>(fd_.get())));
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl_.get(), bio, bio);  // one reference serves both directions
  // Idle connections give their 32 kB of record buffers back.
  SSL_set_mode(ssl_.get(), SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                               SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
}

Transport::Io Transport::errno_result(const char* what) {
  error_ = std::string(what) + ": " + std::generic_category().message(errno);
  return {State::kError};
}

Transport::Io Transport::tls_result(int result, std::size_t bytes) {
  if (result > 0) return {State::kDone, bytes};
  const int error_number = errno;
  switch (SSL_get_error(ssl_.get(), result)) {
    case SSL_ERROR_WANT_READ:
      return {State::kWantRead};
    case SSL_ERROR_WANT_WRITE:
      return {State::kWantWrite};
    case SSL_ERROR_ZERO_RETURN:
      return {State::kEof};
    case SSL_ERROR_SYSCALL:
      error_ = error_number != 0 ? std::generic_category().message(error_number)
                                 : "connection closed without a TLS goodbye";
      ERR_clear_error();
      return {State::kError};
    default:
      error_ = take_openssl_error("TLS error");
      return {State::kError};
  }
}

Transport::Io Transport::handshake() {
  if (!ssl_) return {State::kDone};
  ERR_clear_error();
  errno = 0;
  const int result = SSL_do_handshake(ssl_.get());
  const Io io = tls_result(result, 0);
  const long verified = SSL_get_verify_result(ssl_.get());
  if (io.state == State::kError && verified != X509_V_OK) {
    error_ = X509_verify_cert_error_string(verified);
  }
  return io;
}

Transport::Io Transport::read(std::span<char> into) {
  if (ssl_) {
    ERR_clear_error();
    errno = 0;
    std::size_t bytes = 0;
    const int result = SSL_read_ex(ssl_.get(), into.data(), into.size(), &bytes);
    return tls_result(result, bytes);
  }
  const ssize_t got = ::recv(fd_.get(), into.data(), into.size(), 0);
  if (got > 0) return {State::kDone, static_cast<std::size_t>(got)};
  if (got == 0) return {State::kEof};
  return would_block(errno) ? Io{State::kWantRead} : errno_result("read");
}

Transport::Io Transport::write(std::string_view bytes) {
  if (ssl_) {
    ERR_clear_error();
    errno = 0;
    std::size_t written = 0;
    const int result = SSL_write_ex(ssl_.get(), bytes.data(), bytes.size(), &written);
    return tls_result(result, written);
  }
  const ssize_t sent = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
  if (sent >= 0) return {State::kDone, static_cast<std::size_t>(sent)};
  return would_block(errno) ? Io{State::kWantWrite} : errno_result("write");
}

void Transport::say_goodbye() {
  if (!ssl_ || SSL_in_init(ssl_.get()) != 0 || !error_.empty()) return;
  ERR_clear_error();
  if (SSL_shutdown(ssl_.get()) < 0) ERR_clear_error();
}

void Transport::shutdown_write() {
  say_goodbye();
  ::shutdown(fd_.get(), SHUT_WR);
}

}  // namespace roster::http
