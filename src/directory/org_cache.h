#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "directory/types.h"

namespace roster::directory {

/// Organizations as of the last commit that was told, so that a request need not read the one it is
/// about: all writes go by this process. What another one wrote, against the rules, is seen after a
/// second. Not for the feed: its readers may have seen the commit before it was told. Thread-safe.
class OrgCache {
 public:
  /// Nothing when it is not known, or no longer.
  std::shared_ptr<const Org> find(std::string_view slug, std::chrono::milliseconds now) const {
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find(slug);
    return found != entries_.end() && now < found->second.until ? found->second.org : nullptr;
  }

  /// To be asked for before the read whose result is put.
  std::uint64_t generation() const {
    const std::lock_guard lock(mutex_);
    return generation_;
  }

  /// Unless there was a commit since: then the read may be from before it.
  void put(std::uint64_t generation, std::shared_ptr<const Org> org,
           std::chrono::milliseconds now) {
    const std::lock_guard lock(mutex_);
    if (generation != generation_) return;
    std::string slug = org->slug;
    entries_[std::move(slug)] = {std::move(org), now + kLifetime};
  }

  /// After every commit that changed a row of `org`, before anybody is told of it.
  void forget(OrgN org) {
    const std::lock_guard lock(mutex_);
    ++generation_;
    std::erase_if(entries_, [org](const auto& entry) { return entry.second.org->n == org; });
  }

 private:
  static constexpr std::chrono::milliseconds kLifetime{1000};
  struct Entry {
    std::shared_ptr<const Org> org;
    std::chrono::milliseconds until;  // of the monotonic clock
  };

  mutable std::mutex mutex_;
  std::uint64_t generation_ = 0;                       // guarded by mutex_
  std::map<std::string, Entry, std::less<>> entries_;  // likewise
};

}  // namespace roster::directory
