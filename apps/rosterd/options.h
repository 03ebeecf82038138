#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/result.h"

namespace roster::rosterd {

/// Settings of `rosterd serve`, from the configuration file and from flags.
struct ServeOptions {
  std::filesystem::path data_dir;
  std::filesystem::path run_dir;    // outlives the process, not a reboot; empty: there is none
  std::vector<std::string> listen;  // "HOST:PORT", "[::1]:8443", "unix:/path"
  bool plain_http = false;
  std::string public_url;
  std::vector<std::string> allowed_hosts;
  std::filesystem::path tls_certificate;
  std::filesystem::path tls_key;
  std::string database;  // empty: the data directory's
  std::string log_format = "text";
  std::string log_level = "info";
  bool metrics_public = false;
  std::int64_t workers = 16;  // as many writes can share a commit
  std::int64_t io_threads = 1;
  std::int64_t queue_max = 256;
  std::int64_t connections_max = 20'000;
  std::int64_t user_body_bytes = 1 << 20;
  std::int64_t group_body_bytes = 16 << 20;

  /// The file's values replace those here; kInvalidArgument with file, line and key.
  Result<void> read(const std::filesystem::path& file);

  /// Everything that can be judged without opening anything. kInvalidArgument with a sentence for
  /// the operator; kUnsupported for an engine that cannot serve yet.
  Result<void> check() const;

  log::Level level() const;             // after check()
  log::Format format() const;           // after check()
  std::filesystem::path store() const;  // the SQLite file, after check()
};

/// A listener that only this machine can reach: a loopback address or a unix socket.
bool is_local_listener(const std::string& listen);

}  // namespace roster::rosterd
