#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/secret.h"
#include "directory/types.h"

namespace roster::directory {

using ClusterN = std::int64_t;

/// How the tokens for a cluster's slurmrestd are signed.
enum class TokenSigning {
  kRs256,  // with a key of the hub's; Slurm has the public half (AuthAltParameters=jwks=)
  kHs256,  // with Slurm's own key (jwt_key=), which is root on the cluster
};
std::string_view token_signing_name(TokenSigning signing);
Result<TokenSigning> parse_token_signing(std::string_view text);

/// Of the longest token that a cluster's settings may allow.
inline constexpr std::chrono::hours kTokenTtlMost{24};

/// In a field of a cluster, stands for the login name of the person it is used for.
inline constexpr std::string_view kUserPlaceholder = "__USER__";

/// A cluster as the hub reaches it; stored as JSON, every field has a default.
struct ClusterSettings {
  std::string scheduler = "slurm";  // the only one
  std::string slurm_name;           // ClusterName in slurm.conf; empty: the cluster's own name
  std::string login_host;           // where people sign in over ssh; empty: nowhere known
  std::int64_t login_port = 22;
  std::string login_user{kUserPlaceholder};
  /// slurmrestd: "unix:/path", "http://host:port" or "https://host:port"; empty: none.
  std::string endpoint;
  std::string ca_file;      // on the hub: PEM authorities of an https endpoint; empty: the system's
  bool plain_http = false;  // an http endpoint beyond loopback: who can listen, has people's tokens
  TokenSigning signing = TokenSigning::kRs256;
  std::string key_file;                      // on the hub, of kHs256
  std::chrono::seconds token_ttl_max{3600};  // of tokens that people take away
  std::string service_user = "slurm";        // the hub's own name in Slurm, for accounting
  std::string read_user;  // person as whom tokens of scope read look; empty: refused
  /// An association in Slurm waits until every node of this cluster with role controller or dbd has
  /// acknowledged the person. Off: where Slurm's daemons learn names otherwise.
  bool await_nodes = true;
  std::vector<std::string> user_access;  // at the gateway; empty: the built-in policy
  std::vector<std::string> read_access;
  bool operator==(const ClusterSettings&) const = default;
};

/// Every field with kUserPlaceholder replaced.
ClusterSettings for_person(ClusterSettings settings, std::string_view login);

/// JSON with one member per field, all written. Unknown members are ignored when read, absent ones
/// have their default. kDataLoss when the text is no such object.
json::object cluster_settings_json(const ClusterSettings& settings);
Result<ClusterSettings> cluster_settings_from_json(std::string_view text);

struct Cluster {
  ClusterN n = 0;
  OrgN org = 0;
  std::string name;
  ClusterSettings settings;
  Timestamp created;
  Timestamp modified;
};

/// Keys are rotated in stages: one is published, so that Slurm learns it, then it signs, then the
/// former one is forgotten.
enum class ClusterKeyState { kNext, kSigning, kFormer };
std::string_view cluster_key_state_name(ClusterKeyState state);

/// A key of kRs256.
struct ClusterKey {
  std::string id;  // thumbprint
  ClusterKeyState state = ClusterKeyState::kNext;
  Timestamp created;
  std::optional<Timestamp> former_since;
  Secret private_pem;
};

}  // namespace roster::directory
