#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "directory/types.h"

namespace roster::directory {

/// Tokens seen before, by hash, so that a request costs no query; and when they were last used, to
/// be written at intervals. Thread-safe.
///
/// Revocation is immediate: a reader takes the generation before it queries, and what it learned is
/// kept only when nothing was revoked meanwhile.
class TokenCache {
 public:
  struct Entry {
    Actor actor;
    std::optional<Timestamp> expires;
  };

  std::uint64_t generation() const;
  std::optional<Entry> find(const std::string& hash) const;
  void insert(const std::string& hash, const Entry& entry, std::uint64_t generation);
  /// Forgets all: after a revocation, which is rare.
  void clear();

  void used(TokenN token, Timestamp at);
  std::unordered_map<TokenN, Timestamp> take_stamps();
  std::optional<Timestamp> last_used(TokenN token) const;

 private:
  static constexpr std::size_t kEntriesMax = 10'000;

  mutable std::shared_mutex mutex_;
  std::uint64_t generation_ = 0;                    // guarded by mutex_
  std::unordered_map<std::string, Entry> entries_;  // guarded by mutex_
  mutable std::mutex stamps_mutex_;
  std::unordered_map<TokenN, Timestamp> stamps_;  // guarded by stamps_mutex_
};

/// Nodes by hash of their credential, and what they acknowledged. Thread-safe; as TokenCache.
class NodeCache {
 public:
  struct Seen {
    Timestamp at{};
    Seq acknowledged;
    std::uint32_t highest_id = 0;
  };

  std::uint64_t generation() const;
  std::optional<Node> find(const std::string& hash) const;
  void insert(const std::string& hash, const Node& node, std::uint64_t generation);
  void clear();

  /// The highest id only rises; the acknowledged number is the last one told, since after a restore
  /// of the hub it starts again.
  void seen(NodeN node, const Seen& seen);
  std::optional<Seen> last_seen(NodeN node) const;
  /// What was seen since the last call. last_seen() goes on answering.
  std::vector<std::pair<NodeN, Seen>> take_stamps();
  void untake_stamps(const std::vector<std::pair<NodeN, Seen>>& stamps);
  void forget(NodeN node);

 private:
  struct Stamp {
    Seen seen;
    bool dirty = false;
  };

  mutable std::shared_mutex mutex_;
  std::uint64_t generation_ = 0;                   // guarded by mutex_
  std::unordered_map<std::string, Node> entries_;  // guarded by mutex_
  mutable std::mutex stamps_mutex_;
  std::unordered_map<NodeN, Stamp> stamps_;  // guarded by stamps_mutex_
};

}  // namespace roster::directory
