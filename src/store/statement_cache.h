#pragma once

#include <cstddef>
#include <iterator>
#include <list>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

namespace roster::store {

/// Prepared statements of one connection by their key (SQL text), least recently used first out.
/// Not thread-safe: a connection has one user at a time.
template <typename Handle>
class StatementCache {
 public:
  struct Entry {
    std::string key;
    Handle handle;
    bool in_use = false;  // is being stepped, must not be evicted or used a second time
  };

  explicit StatementCache(std::size_t size_max) : size_max_(size_max) {}

  /// The entry, now the most recently used one; null when there is none.
  Entry* find(std::string_view key) {
    const auto found = by_key_.find(key);
    if (found == by_key_.end()) return nullptr;
    entries_.splice(entries_.begin(), entries_, found->second);
    return &entries_.front();
  }

  /// `key` must not be in the cache.
  Entry* insert(std::string_view key, Handle handle) {
    entries_.push_front(Entry{std::string(key), std::move(handle)});
    by_key_.emplace(entries_.front().key, entries_.begin());
    return &entries_.front();
  }

  /// Takes out the least recently used idle entry while there are more than the bound.
  std::optional<Handle> evict() {
    if (entries_.size() <= size_max_) return std::nullopt;
    for (auto entry = std::prev(entries_.end()); entry != entries_.begin(); --entry) {
      if (entry->in_use) continue;
      std::optional<Handle> handle(std::move(entry->handle));
      by_key_.erase(entry->key);
      entries_.erase(entry);
      return handle;
    }
    return std::nullopt;
  }

  void clear() {
    by_key_.clear();
    entries_.clear();
  }

  std::size_t size() const { return entries_.size(); }

 private:
  const std::size_t size_max_;
  std::list<Entry> entries_;  // most recently used first
  std::unordered_map<std::string_view, typename std::list<Entry>::iterator> by_key_;
};

}  // namespace roster::store
