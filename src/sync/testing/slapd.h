#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <string_view>

namespace roster::sync::testing {

inline constexpr std::string_view kReader = "cn=reader,dc=example,dc=org";
inline constexpr std::string_view kLimited = "cn=limited,dc=example,dc=org";
inline constexpr std::string_view kReaderPassword = "reader-pass-word";

struct SlapdOptions {
  bool bis = false;  // RFC 2307bis instead of 2307
  std::string certificate_pem = {};
  std::string key_pem = {};
  std::string entries = {};  // LDIF below ou=people and ou=groups
  std::string access = {};   // slapd.access(5) lines before those that let kReader read all
};

/// OpenLDAP's server with a directory of its own, on loopback and a socket; ended with the object.
/// `kReader` may read all in pages but 500 entries at once; `kLimited` never more than 500; root of
/// this machine may do all by EXTERNAL; others may only bind.
class Slapd {
 public:
  static bool is_installed();
  explicit Slapd(const SlapdOptions& options);
  ~Slapd();
  Slapd(const Slapd&) = delete;
  Slapd& operator=(const Slapd&) = delete;

  std::string ldap_url() const { return "ldap://127.0.0.1:" + std::to_string(port_); }
  std::string ldaps_url() const { return "ldaps://127.0.0.1:" + std::to_string(tls_port_); }
  std::string ldapi_url() const;
  /// The password of kReader and kLimited in a private file.
  std::filesystem::path password_file() const { return directory_ / "password"; }
  std::filesystem::path operator/(std::string_view name) const { return directory_ / name; }
  /// Carries out LDIF changes.
  void modify(std::string_view ldif) const;
  /// As if its machine lost power.
  void kill();

 private:
  void load(const SlapdOptions& options) const;
  void start();

  std::filesystem::path directory_;
  int port_ = 0;
  int tls_port_ = 0;
  pid_t pid_ = -1;
};

/// A port of loopback that was free a moment ago.
int free_port();

}  // namespace roster::sync::testing
