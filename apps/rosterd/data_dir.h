#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "base/time.h"
#include "http/server.h"

namespace roster::rosterd {

/// What lies in a hub's data directory.
struct DataDir {
  std::filesystem::path root;

  std::filesystem::path database() const { return root / "roster.db"; }
  std::filesystem::path ca_certificate() const { return root / "ca.pem"; }
  std::filesystem::path ca_key() const { return root / "ca.key"; }
  std::filesystem::path server_certificate() const { return root / "server.pem"; }
  std::filesystem::path server_key() const { return root / "server.key"; }
  /// Exists while an initialization is not finished.
  std::filesystem::path unfinished() const { return root / "init.tmp"; }

  http::TlsFiles tls() const { return {server_certificate(), server_key()}; }
};

/// Names under which this machine is reached when nobody says more: localhost, both loopback
/// addresses, the host's name.
std::vector<std::string> default_hosts();

/// Makes the hub's own authority and writes its certificate and key. Lives ten years.
Result<void> create_authority(const DataDir& dir, Timestamp now, const RandomBytes& random);

/// Issues a server certificate for `hosts` from the hub's authority and writes it with its key.
Result<void> issue_certificate(const DataDir& dir, const std::vector<std::string>& hosts,
                               Timestamp now, const RandomBytes& random);

/// Renews the server certificate when it ends within 30 days, does not match its key, or lacks one
/// of `hosts`; its other names stay. True when there is a new one.
Result<bool> renew_certificate(const DataDir& dir, const std::vector<std::string>& hosts,
                               Timestamp now, const RandomBytes& random);

/// kFailedPrecondition unless `rosterd init` finished there. Removes what it left behind.
Result<void> check_initialized(const DataDir& dir);

/// kFailedPrecondition unless the file is there and not empty: only init makes a hub.
Result<void> check_store(const std::filesystem::path& database);

}  // namespace roster::rosterd
