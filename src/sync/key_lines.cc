#include "sync/key_lines.h"

#include <set>
#include <utility>

#include "posix/ssh_key.h"

namespace roster::sync {

std::vector<std::string> take_keys(const std::string& subject, std::span<const std::string> texts,
                                   const std::function<void(reconcile::Problem)>& warn) {
  std::vector<std::string> lines;
  std::set<std::string> fingerprints;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const auto key = posix::SshPublicKey::parse(texts[i]);
    if (!key) {
      warn({subject, "SSH key " + std::to_string(i + 1) + " of " + std::to_string(texts.size()) +
                         " is left out: " + key.error().message});
      continue;
    }
    if (!fingerprints.insert(key->fingerprint()).second) continue;
    if (lines.size() == posix::kSshKeysMax) {
      warn({subject, "has more than " + std::to_string(posix::kSshKeysMax) +
                         " SSH keys; the others are left out"});
      break;
    }
    lines.push_back(key->line());
  }
  return lines;
}

}  // namespace roster::sync
