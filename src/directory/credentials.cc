#include "directory/credentials.h"

#include <algorithm>
#include <utility>

namespace roster::directory {

std::uint64_t TokenCache::generation() const {
  const std::shared_lock lock(mutex_);
  return generation_;
}

std::optional<TokenCache::Entry> TokenCache::find(const std::string& hash) const {
  const std::shared_lock lock(mutex_);
  const auto found = entries_.find(hash);
  if (found == entries_.end()) return std::nullopt;
  return found->second;
}

void TokenCache::insert(const std::string& hash, const Entry& entry, std::uint64_t generation) {
  const std::unique_lock lock(mutex_);
  if (generation != generation_) return;
  if (entries_.size() >= kEntriesMax) entries_.clear();
  entries_.insert_or_assign(hash, entry);
}

void TokenCache::clear() {
  const std::unique_lock lock(mutex_);
  ++generation_;
  entries_.clear();
}

void TokenCache::used(TokenN token, Timestamp at) {
  const std::lock_guard lock(stamps_mutex_);
  Timestamp& last = stamps_[token];
  last = std::max(last, at);
}

std::unordered_map<TokenN, Timestamp> TokenCache::take_stamps() {
  const std::lock_guard lock(stamps_mutex_);
  return std::exchange(stamps_, {});
}

std::optional<Timestamp> TokenCache::last_used(TokenN token) const {
  const std::lock_guard lock(stamps_mutex_);
  const auto found = stamps_.find(token);
  return found == stamps_.end() ? std::nullopt : std::optional(found->second);
}

std::uint64_t NodeCache::generation() const {
  const std::shared_lock lock(mutex_);
  return generation_;
}

std::optional<Node> NodeCache::find(const std::string& hash) const {
  const std::shared_lock lock(mutex_);
  const auto found = entries_.find(hash);
  if (found == entries_.end()) return std::nullopt;
  return found->second;
}

void NodeCache::insert(const std::string& hash, const Node& node, std::uint64_t generation) {
  const std::unique_lock lock(mutex_);
  if (generation == generation_) entries_.insert_or_assign(hash, node);
}

void NodeCache::clear() {
  const std::unique_lock lock(mutex_);
  ++generation_;
  entries_.clear();
}

void NodeCache::seen(NodeN node, const Seen& seen) {
  const std::lock_guard lock(stamps_mutex_);
  Stamp& stamp = stamps_[node];
  stamp.seen.at = std::max(stamp.seen.at, seen.at);
  stamp.seen.acknowledged = seen.acknowledged;
  stamp.seen.highest_id = std::max(stamp.seen.highest_id, seen.highest_id);
  stamp.dirty = true;
}

std::optional<NodeCache::Seen> NodeCache::last_seen(NodeN node) const {
  const std::lock_guard lock(stamps_mutex_);
  const auto found = stamps_.find(node);
  return found == stamps_.end() ? std::nullopt : std::optional(found->second.seen);
}

std::vector<std::pair<NodeN, NodeCache::Seen>> NodeCache::take_stamps() {
  const std::lock_guard lock(stamps_mutex_);
  std::vector<std::pair<NodeN, Seen>> taken;
  for (auto& [node, stamp] : stamps_) {
    if (!stamp.dirty) continue;
    stamp.dirty = false;
    taken.emplace_back(node, stamp.seen);
  }
  return taken;
}

void NodeCache::untake_stamps(const std::vector<std::pair<NodeN, Seen>>& stamps) {
  for (const auto& [node, stamp] : stamps) seen(node, stamp);
}

void NodeCache::forget(NodeN node) {
  const std::lock_guard lock(stamps_mutex_);
  stamps_.erase(node);
}

}  // namespace roster::directory
