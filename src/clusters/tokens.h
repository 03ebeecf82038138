#pragma once

#include <chrono>
#include <map>
#include <mutex>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/result.h"
#include "base/secret.h"
#include "base/time.h"
#include "crypto/jwt.h"
#include "directory/directory.h"

namespace roster::clusters {

/// Keyword of errors that are about the person, and may be told to them.
inline constexpr std::string_view kNoToken = "no_token";

/// A token that slurmrestd, slurmctld and slurmdbd take (Slurm's jwt.html): claims `sun` (the
/// user's name), `iat` and `exp`, in seconds.
struct SlurmToken {
  Secret token;
  std::string user;
  Timestamp expires;
};

/// Makes tokens for clusters. Thread-safe.
class Tokens {
 public:
  Tokens(directory::Directory& directory, Clock clock);

  /// For a person, `ttl` long at most: never beyond the cluster's token_ttl_max nor the person's
  /// end. kFailedPrecondition (keyword kNoToken) for who may not log in or has no POSIX identity: a
  /// token for a name that nodes do not know would be somebody's without limits (Slurm reads as
  /// nobody then); and for a person who has the name of somebody above people in Slurm.
  Result<SlurmToken> for_person(const directory::Cluster& cluster, const directory::User& user,
                                std::chrono::seconds ttl);
  /// For a name in Slurm, without asking who that is: of the hub itself, or of a check.
  Result<SlurmToken> for_name(const directory::Cluster& cluster, std::string_view name,
                              std::chrono::seconds ttl);
  /// As for_name, signed with the key `key_id` of the cluster, whatever its state.
  Result<SlurmToken> with_key(const directory::Cluster& cluster, std::string_view key_id,
                              std::string_view name, std::chrono::seconds ttl);

  /// What Slurm's AuthAltParameters=jwks= reads: the public half of every key of the cluster
  /// (RFC 7517 5). kFailedPrecondition when its tokens are signed otherwise.
  Result<json::object> jwks(const directory::Cluster& cluster);

  /// A new key; its id. The first signs at once.
  Result<std::string> create_key(const directory::Actor& actor, const directory::Cluster& cluster);

 private:
  Result<crypto::JwtSigner> signer(const directory::ClusterKey& key);
  Result<crypto::JwtSigner> signer(const directory::Cluster& cluster);
  Result<SlurmToken> signed_token(const crypto::JwtSigner& signer, std::string_view name,
                                  Timestamp now, Timestamp expires) const;

  directory::Directory& directory_;
  const Clock clock_;
  std::mutex mutex_;                                  // guards what follows
  std::map<std::string, crypto::JwtSigner> signers_;  // by key id
};

/// Reads the key that Slurm signs with (AuthAltParameters=jwt_key=). Whoever reads it is root on
/// the cluster: kFailedPrecondition, with the mend, unless it is a regular file of root or of this
/// process's user that nobody else can read or write, but for this process's group, which may read.
Result<Secret> read_slurm_key(const std::string& path);

}  // namespace roster::clusters
