#include "data_dir.h"

#include <limits.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <system_error>

#include "base/file.h"
#include "base/log.h"
#include "base/secret.h"
#include "crypto/x509.h"

namespace roster::rosterd {
namespace {

constexpr std::chrono::days kAuthorityLifetime{3650};
constexpr std::chrono::days kCertificateLifetime{90};
constexpr std::chrono::days kRenewBefore{30};
constexpr std::size_t kPemBytesMax = 64 << 10;

/// What stands in the way of using the certificate as it is; empty when nothing does.
std::string reason_to_renew(const std::string& certificate, const Result<std::string>& key,
                            const crypto::CertificateInfo& info,
                            const std::vector<std::string>& hosts, Timestamp now) {
  if (!key || !crypto::check_key_matches(certificate, Secret(*key))) {
    return "the key does not match";
  }
  if (info.not_after - now < kRenewBefore) return "it ends soon";
  for (const std::string& host : hosts) {
    if (std::ranges::find(info.hosts, host) == info.hosts.end()) return "it lacks " + host;
  }
  return {};
}

}  // namespace

std::vector<std::string> default_hosts() {
  std::vector<std::string> hosts{"localhost", "127.0.0.1", "::1"};
  std::array<char, HOST_NAME_MAX + 1> name{};
  if (::gethostname(name.data(), name.size() - 1) == 0 && name[0] != '\0') {
    hosts.emplace_back(name.data());
  }
  return hosts;
}

Result<void> create_authority(const DataDir& dir, Timestamp now, const RandomBytes& random) {
  ASSIGN_OR_RETURN(const crypto::KeyedCertificate ca,
                   crypto::create_ca("Roster hub authority", now, kAuthorityLifetime, random));
  RETURN_IF_ERROR(write_file_atomic(dir.ca_key(), ca.key_pem.expose(), 0600));
  return write_file_atomic(dir.ca_certificate(), ca.certificate_pem, 0644);
}

Result<void> issue_certificate(const DataDir& dir, const std::vector<std::string>& hosts,
                               Timestamp now, const RandomBytes& random) {
  crypto::KeyedCertificate ca;
  ASSIGN_OR_RETURN(ca.certificate_pem, read_file(dir.ca_certificate(), kPemBytesMax));
  ASSIGN_OR_RETURN(std::string key, read_private_file(dir.ca_key(), kPemBytesMax));
  ca.key_pem = Secret(std::move(key));
  ASSIGN_OR_RETURN(const crypto::KeyedCertificate server,
                   crypto::issue_server_certificate(ca, hosts, now, kCertificateLifetime, random));
  // Between the two writes the files do not match; the next start notices and issues again.
  RETURN_IF_ERROR(write_file_atomic(dir.server_key(), server.key_pem.expose(), 0600));
  return write_file_atomic(dir.server_certificate(), server.certificate_pem, 0644);
}

Result<bool> renew_certificate(const DataDir& dir, const std::vector<std::string>& hosts,
                               Timestamp now, const RandomBytes& random) {
  ASSIGN_OR_RETURN(const std::string certificate,
                   read_file(dir.server_certificate(), kPemBytesMax));
  ASSIGN_OR_RETURN(const crypto::CertificateInfo info, crypto::certificate_info(certificate));
  const auto key = read_private_file(dir.server_key(), kPemBytesMax);
  const std::string reason = reason_to_renew(certificate, key, info, hosts, now);
  if (reason.empty()) return false;
  std::vector<std::string> all = info.hosts;
  all.insert(all.end(), hosts.begin(), hosts.end());
  RETURN_IF_ERROR(issue_certificate(dir, all, now, random));
  log::info("issued a new server certificate", {{"reason", reason}});
  return true;
}

Result<void> check_initialized(const DataDir& dir) {
  std::error_code error;
  if (!std::filesystem::exists(dir.database(), error)) {
    return fail(Code::kFailedPrecondition, dir.root.string() +
                                               " is not initialized: run rosterd init --data-dir " +
                                               dir.root.string() + " --org ORG");
  }
  std::filesystem::remove_all(dir.unfinished(), error);
  return check_store(dir.database());
}

Result<void> check_store(const std::filesystem::path& database) {
  std::error_code error;
  const std::uintmax_t bytes = std::filesystem::file_size(database, error);
  if (!error && bytes > 0) return {};
  return fail(Code::kFailedPrecondition,
              database.string() + " holds no hub: " + (error ? error.message() : "it is empty"));
}

}  // namespace roster::rosterd
