#pragma once

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/secret.h"
#include "http/message.h"

namespace roster::http {

/// "https://host:port/base", "http://...", or "unix:/path". No user info, query or fragment.
struct Url {
  std::string scheme;  // "http", "https" or "unix"
  std::string host;
  std::string port;
  std::string path;  // base path without a trailing '/', or the socket's path for "unix"
  static Result<Url> parse(std::string_view text);
};

struct ClientOptions {
  std::string url;
  Secret bearer_token;
  /// PEM file with the authorities to trust; else the system's.
  std::optional<std::filesystem::path> ca_file;
  /// PEM text, instead of a file.
  std::string ca_pem;
  /// Hex SHA-256 of the DER of a CA certificate that must be in the server's chain (enrolment);
  /// replaces the check against authorities, not the check of the host name.
  std::string ca_sha256;
  bool allow_plain_http = false;  // http:// to anything but loopback is refused unless set
  std::chrono::milliseconds connect_timeout{5'000};
  std::chrono::milliseconds timeout{60'000};  // whole exchange; parked feeds set their own
  std::size_t body_bytes_max = 64 << 20;      // of collected bodies; a sink decides for itself
  std::string user_agent = "roster";
};

struct ClientRequest {
  std::string method = "GET";
  std::string target = "/";  // below the URL's base path, with query, starting with '/'
  Headers headers = {};
  std::string body = {};
  std::optional<std::chrono::milliseconds> timeout = {};
  /// When set, a 2xx body is given here piece by piece and `ClientResponse::body` stays empty; an
  /// error from it ends the exchange.
  std::function<Result<void>(std::string_view piece)> sink = {};
};

struct ClientResponse {
  /// For parsers that look past the end of a text: a body whose length the head announced has room
  /// for so many bytes more.
  static constexpr std::size_t kSpareBytes = 64;

  int status = 0;
  Headers headers;
  std::string body;
  /// With `ca_sha256`: PEM of the chain that was verified, from the server's certificate to the
  /// pinned authority, which is the last.
  std::string server_chain_pem;
};

class ClientImpl;

/// Blocking HTTP/1.1 client with one kept-alive connection; a dead idle connection is replaced once
/// for idempotent methods. No redirects, no cookies, no proxies. One thread at a time, except
/// `interrupt`.
class Client {
 public:
  static Result<std::unique_ptr<Client>> create(ClientOptions options);
  ~Client();

  /// Any status is a value; kUnavailable for connection, TLS or time-out trouble (with the reason),
  /// kTooLarge beyond body_bytes_max, kDataLoss for a body cut short.
  Result<ClientResponse> call(const ClientRequest& request);
  /// Makes a running or the next call return kUnavailable. From any thread.
  void interrupt();

 private:
  explicit Client(std::unique_ptr<ClientImpl> impl);
  std::unique_ptr<ClientImpl> impl_;
};

}  // namespace roster::http
