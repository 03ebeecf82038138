#pragma once

#include <atomic>
#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "http/socket.h"
#include "http/testing/running_server.h"

// What the tests of this room share: certificates, and a peer that may misbehave.

namespace roster::http::testing {

struct IssuedCertificate {
  std::string chain_pem;  // the server's own certificate, then its authority's
  std::string key_pem;
};

/// A certificate authority made on the spot (P-256).
class Authority {
 public:
  explicit Authority(const std::string& name);
  ~Authority();
  Authority(const Authority&) = delete;
  Authority& operator=(const Authority&) = delete;

  std::string pem() const;
  /// Hex SHA-256 of the DER.
  std::string sha256() const;
  /// `alternatives`: as in openssl's subjectAltName, "DNS:localhost,IP:127.0.0.1".
  IssuedCertificate issue(const std::string& alternatives) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// A directory that goes away with the object.
class TempDirectory {
 public:
  TempDirectory();
  ~TempDirectory();
  TempDirectory(const TempDirectory&) = delete;
  TempDirectory& operator=(const TempDirectory&) = delete;
  std::filesystem::path operator/(std::string_view name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

void write_text(const std::filesystem::path& path, std::string_view text);

/// A plain socket that sends exactly the bytes it is told to.
class RawPeer {
 public:
  /// "127.0.0.1:1234" or "unix:/path".
  explicit RawPeer(const std::string& address);
  void send(std::string_view bytes) const;
  /// Reads until `marker` has come, or the end, or five seconds.
  std::string read_until(std::string_view marker);
  /// Reads one answer with its Content-Length.
  std::string read_answer();
  /// Reads until the end; fails the test after five seconds.
  std::string read_to_end();
  /// Whether the peer closed within `time`.
  bool closed_within(std::chrono::milliseconds time);
  void shutdown_write() const;
  void close() { fd_ = UniqueFd(); }
  int fd() const { return fd_.get(); }

 private:
  std::string take(std::size_t bytes);
  bool read_some(std::chrono::milliseconds time);
  UniqueFd fd_;
  std::string got_;
  bool ended_ = false;
};

/// A server of one thread that does exactly what the test's function does with each connection,
/// which ends when the function returns.
class ScriptedServer {
 public:
  using Script = std::function<void(int fd, int connection)>;
  explicit ScriptedServer(Script script, const std::string& listen = "127.0.0.1:0");
  ~ScriptedServer();
  ScriptedServer(const ScriptedServer&) = delete;
  ScriptedServer& operator=(const ScriptedServer&) = delete;
  std::string url() const;

  /// Reads up to the end of a header; less when the peer closed.
  static std::string read_head(int fd);
  static void say(int fd, std::string_view text);
  /// Reads until the peer closes.
  static void await_end(int fd);

 private:
  Listener listener_;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

/// Status code of a raw answer.
int status_of(std::string_view answer);

}  // namespace roster::http::testing
