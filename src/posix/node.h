#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/ids.h"
#include "posix/names.h"

namespace roster::posix {

/// Seconds since the epoch; 0 = no bound.
using UnixSeconds = std::int64_t;

/// One SSH public key as a node needs it.
struct NodeKey {
  std::string line;         // "ssh-ed25519 AAAA... comment": one line, no options, validated
  std::string fingerprint;  // "SHA256:" + unpadded base64, as sshd's %f
  UnixSeconds not_before = 0;
  UnixSeconds not_after = 0;
  bool operator==(const NodeKey&) const = default;
};

/// A person as a node sees them: what the feed carries and the node's cache stores.
struct NodeUser {
  std::uint64_t n = 0;  // the person's number in the organization: stable, never reused
  Seq seq;              // the change that last touched this record or its memberships
  LoginName name;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;  // == uid: a private group with the login's name exists
  std::string gecos;      // sanitized: no ':', control characters or commas beyond the full name
  std::string home;
  std::string shell;
  bool locked = false;  // nologin shell, expired shadow entry, no keys, no supplementary groups
  UnixSeconds valid_until = 0;        // after that, as locked
  std::vector<std::uint64_t> groups;  // numbers of the groups with this person as direct member,
                                      // rising; also while locked
  std::vector<NodeKey> keys;
  bool operator==(const NodeUser&) const = default;
};

struct NodeGroup {
  std::uint64_t n = 0;  // the group's number: stable, never reused, apart from users' numbers
  Seq seq;
  GroupName name;
  std::uint32_t gid = 0;
  std::vector<std::uint64_t> parents;  // groups with this group as direct member, rising
  bool operator==(const NodeGroup&) const = default;
};

}  // namespace roster::posix
