#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "sync/surroundings.h"

namespace roster::sync {

/// A directory server and who asks it.
struct LdapServer {
  /// "ldaps://host", "ldap://host:389" or "ldapi://%2Frun%2Fslapd%2Fldapi" (percent-encoded path).
  std::string url = {};
  /// Of ldap://: nothing but the STARTTLS request goes in the clear. May be off for loopback only.
  bool start_tls = true;
  std::filesystem::path ca_file = {};  // authorities to trust instead of the system's
  std::string bind_dn = {};            // empty: nobody in particular
  /// Holds the password of `bind_dn`: a file that only its owner can read.
  std::filesystem::path password_file = {};
  /// SASL EXTERNAL over ldapi://: the server knows who asks from the socket.
  bool sasl_external = false;
  std::int64_t page_size = 500;               // 1..10000 entries (RFC 2696)
  std::chrono::milliseconds timeout{30'000};  // of each wait for the server
};

/// One entry as the server gave it: values are bytes, attribute descriptions as they came.
struct LdapEntry {
  std::string dn;
  std::vector<std::pair<std::string, std::vector<std::string>>> attributes;

  /// Values of an attribute, whose name compares without case; empty when there is none.
  const std::vector<std::string>& values(std::string_view attribute) const;
};

/// Lower case and one way of writing it (RFC 4514), so that equal DNs are mostly equal texts. What
/// is no DN stays as it is, in lower case.
std::string normal_dn(const std::string& dn);

/// The value of an attribute in the entry's own name (its leftmost RDN), or empty.
std::string rdn_value(const std::string& dn, std::string_view attribute);

/// One bound connection to a directory server (RFC 4511), by OpenLDAP's library. What ldap.conf(5)
/// and LDAP* variables say of TLS does not count. One thread at a time. No call raises SIGPIPE.
class LdapConnection {
 public:
  static constexpr std::size_t kEntriesMax = 2'000'000;
  static constexpr std::size_t kMessageBytesMax = std::size_t{64} << 20;
  static constexpr std::chrono::minutes kTimeMax{30};  // of one search

  /// Connects, STARTTLS, binds. kInvalidArgument for a server that must not be asked so (plain text
  /// to another machine, an empty password), kUnauthenticated when the bind is refused,
  /// kUnavailable when the server cannot be reached or trusted.
  static Result<std::unique_ptr<LdapConnection>> open(const LdapServer& server, Pause pause);
  ~LdapConnection();

  /// Every entry below `base` that `filter` (RFC 4515) matches, page by page. An error whenever
  /// that is not all: a limit of the server's (kTooLarge), a lost connection or time-out
  /// (kUnavailable), no such base (kNotFound), a list that leads nowhere (kDataLoss). References to
  /// other servers are not followed.
  struct Found {
    std::size_t entries = 0;
    std::size_t references = 0;
  };
  Result<Found> search(const std::string& base, const std::string& filter,
                       const std::vector<std::string>& attributes,
                       const std::function<Result<void>(LdapEntry)>& take);

 private:
  struct Impl;
  explicit LdapConnection(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// Whether a server may be asked as it says; open() checks it, too. kInvalidArgument otherwise.
Result<void> check_ldap_server(const LdapServer& server);

}  // namespace roster::sync
