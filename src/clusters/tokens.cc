#include "clusters/tokens.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/fd.h"
#include "base/file.h"

namespace roster::clusters {
namespace {

using directory::Cluster;
using directory::ClusterKey;
using directory::ClusterKeyState;
using directory::TokenSigning;

constexpr std::size_t kKeyBytesMax = 4096;
constexpr std::size_t kSignersMax = 1000;

std::int64_t seconds_of(Timestamp t) {
  return std::chrono::floor<std::chrono::seconds>(t.time_since_epoch()).count();
}

/// Why the file must not be believed to be secret; empty: it may.
std::string weakness(const struct stat& status) {
  if (!S_ISREG(status.st_mode)) return "it is no regular file";
  if (status.st_uid != 0 && status.st_uid != ::geteuid()) {
    return "it belongs to uid " + std::to_string(status.st_uid) +
           ", neither root nor the hub's own user; chown it";
  }
  if ((status.st_mode & 07) != 0) return "others can open it; chmod o= it";
  if ((status.st_mode & 020) != 0) return "its group can write it; chmod g-w it";
  if ((status.st_mode & 040) != 0 && status.st_gid != ::getegid()) {
    return "the group with gid " + std::to_string(status.st_gid) + " can read it; chmod g= it";
  }
  return {};
}

/// Why there is no token for the person; empty: there may be.
std::string refusal(const Cluster& cluster, const directory::User& user, Timestamp now) {
  if (!user.posix) return "has no POSIX identity, so that Slurm's machines do not know them";
  if (!user.active || user.posix->state != directory::IdentityState::kActive) {
    return "is deactivated";
  }
  if (user.valid_until && *user.valid_until <= now) return "is past the end of their time";
  // SlurmUser and root are above everybody there, and the service user is the hub.
  const std::string& login = user.posix->name;
  if (login == "root" || login == "slurm" || login == cluster.settings.service_user) {
    return "has the login " + login + ", which is more than a person to Slurm";
  }
  return {};
}

}  // namespace

Result<Secret> read_slurm_key(const std::string& path) {
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (file.get() < 0) {
    return fail(errno == ENOENT ? Code::kNotFound : Code::kFailedPrecondition,
                path + ": " + std::strerror(errno));
  }
  struct stat status{};
  if (::fstat(file.get(), &status) != 0) return fail(Code::kUnavailable, path + ": fstat failed");
  if (const std::string reason = weakness(status); !reason.empty()) {
    return fail(Code::kFailedPrecondition, path + ": " + reason);
  }
  std::string bytes(kKeyBytesMax + 1, '\0');
  std::size_t size = 0;
  while (size < bytes.size()) {
    const ssize_t got = ::read(file.get(), bytes.data() + size, bytes.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(Code::kUnavailable, path + ": " + std::strerror(errno));
    if (got == 0) break;
    size += static_cast<std::size_t>(got);
  }
  if (size > kKeyBytesMax) return fail(Code::kTooLarge, path + ": over 4096 bytes is no key");
  bytes.resize(size);
  return Secret(std::move(bytes));
}

Tokens::Tokens(directory::Directory& directory, Clock clock)
    : directory_(directory), clock_(std::move(clock)) {}

Result<crypto::JwtSigner> Tokens::signer(const ClusterKey& key) {
  {
    const std::lock_guard lock(mutex_);
    if (const auto known = signers_.find(key.id); known != signers_.end()) return known->second;
  }
  ASSIGN_OR_RETURN(crypto::JwtSigner made, crypto::JwtSigner::rs256(key.private_pem));
  if (made.key_id() != key.id) {
    return fail(Code::kDataLoss, "the stored key " + key.id + " is another one than its name says");
  }
  const std::lock_guard lock(mutex_);
  if (signers_.size() >= kSignersMax) signers_.clear();
  signers_.emplace(key.id, made);
  return made;
}

Result<crypto::JwtSigner> Tokens::signer(const Cluster& cluster) {
  if (cluster.settings.signing == TokenSigning::kHs256) {
    ASSIGN_OR_RETURN(Secret key, read_slurm_key(cluster.settings.key_file));
    auto made = crypto::JwtSigner::hs256(std::move(key));
    if (!made) return fail_in(cluster.settings.key_file, made.error());
    return made;
  }
  ASSIGN_OR_RETURN(const std::vector<ClusterKey> keys, directory_.cluster_keys(cluster.n));
  const auto chosen = std::ranges::find(keys, ClusterKeyState::kSigning, &ClusterKey::state);
  if (chosen == keys.end()) {
    return fail(Code::kFailedPrecondition, "the cluster " + cluster.name +
                                               " has no signing key yet: roster slurm rotate " +
                                               cluster.name);
  }
  return signer(*chosen);
}

Result<SlurmToken> Tokens::signed_token(const crypto::JwtSigner& signer, std::string_view name,
                                        Timestamp now, Timestamp expires) const {
  const json::object claims{{"sun", name}, {"iat", seconds_of(now)}, {"exp", seconds_of(expires)}};
  return SlurmToken{signer.sign(claims), std::string(name), expires};
}

Result<SlurmToken> Tokens::for_name(const Cluster& cluster, std::string_view name,
                                    std::chrono::seconds ttl) {
  ASSIGN_OR_RETURN(const crypto::JwtSigner chosen, signer(cluster));
  const Timestamp now = clock_();
  return signed_token(chosen, name, now, now + ttl);
}

Result<SlurmToken> Tokens::with_key(const Cluster& cluster, std::string_view key_id,
                                    std::string_view name, std::chrono::seconds ttl) {
  ASSIGN_OR_RETURN(const std::vector<ClusterKey> keys, directory_.cluster_keys(cluster.n));
  const auto chosen = std::ranges::find(keys, key_id, &ClusterKey::id);
  if (chosen == keys.end()) return fail(Code::kNotFound, "the cluster has no such key");
  ASSIGN_OR_RETURN(const crypto::JwtSigner made, signer(*chosen));
  const Timestamp now = clock_();
  return signed_token(made, name, now, now + ttl);
}

Result<SlurmToken> Tokens::for_person(const Cluster& cluster, const directory::User& user,
                                      std::chrono::seconds ttl) {
  const Timestamp now = clock_();
  if (const std::string reason = refusal(cluster, user, now); !reason.empty()) {
    const std::string_view name = json::find_string(user.doc, "userName").value_or(user.id);
    return fail(Code::kFailedPrecondition, "no token: " + std::string(name) + " " + reason,
                kNoToken);
  }
  Timestamp expires = now + std::min(ttl, cluster.settings.token_ttl_max);
  if (user.valid_until) expires = std::min(expires, *user.valid_until);
  ASSIGN_OR_RETURN(const crypto::JwtSigner chosen, signer(cluster));
  return signed_token(chosen, user.posix->name, now, expires);
}

Result<json::object> Tokens::jwks(const Cluster& cluster) {
  if (cluster.settings.signing != TokenSigning::kRs256) {
    return fail(Code::kFailedPrecondition,
                "the tokens of the cluster " + cluster.name +
                    " are signed with Slurm's own key: there is no JWKS");
  }
  ASSIGN_OR_RETURN(const std::vector<ClusterKey> keys, directory_.cluster_keys(cluster.n));
  json::array published;
  for (const ClusterKey& key : keys) {
    ASSIGN_OR_RETURN(const crypto::JwtSigner made, signer(key));
    published.push_back(made.public_jwk());
  }
  return json::object{{"keys", std::move(published)}};
}

Result<std::string> Tokens::create_key(const directory::Actor& actor, const Cluster& cluster) {
  ASSIGN_OR_RETURN(const auto keys, directory_.cluster_keys(cluster.n));
  if (std::ranges::find(keys, ClusterKeyState::kNext, &ClusterKey::state) != keys.end()) {
    return fail(Code::kFailedPrecondition,
                "there is a next key already: let Slurm learn it and activate it, or drop it");
  }
  const Secret pem = crypto::create_rsa_key();
  ASSIGN_OR_RETURN(const crypto::JwtSigner made, crypto::JwtSigner::rs256(pem));
  RETURN_IF_ERROR(directory_.add_cluster_key(actor, cluster, made.key_id(), pem));
  return made.key_id();
}

}  // namespace roster::clusters
