#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/encoding.h"
#include "directory/types.h"
#include "posix/ssh_key.h"

namespace roster::directory::testing {

/// The n-th of a row of valid Ed25519 keys (nobody has their private halves).
inline KeyInput ssh_key(unsigned n, std::string comment = "key") {
  const auto field = [](std::string_view bytes) {
    std::string out(4, '\0');
    out[3] = static_cast<char>(bytes.size());
    return out.append(bytes);
  };
  std::string point(32, '\x42');
  point[0] = static_cast<char>(n & 0xFF);
  point[1] = static_cast<char>(n >> 8 & 0xFF);
  point[2] = static_cast<char>(n >> 16 & 0xFF);
  const std::string text =
      "ssh-ed25519 " + base64_encode(field("ssh-ed25519") + field(point)) + " " + comment;
  const auto key = posix::SshPublicKey::parse(text);
  CHECK(key);
  return {key->line(), key->fingerprint(), std::move(comment), std::nullopt, std::nullopt};
}

}  // namespace roster::directory::testing
