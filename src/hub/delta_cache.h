#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "base/ids.h"
#include "base/result.h"
#include "directory/types.h"
#include "http/message.h"

namespace roster::hub {

/// Rendered parts of deltas, so that a change is rendered once however many nodes wait for it.
/// Bounded by bytes (but for one part that is larger), least
/// recently used first out. Thread-safe.
class DeltaCache {
 public:
  struct Key {
    directory::OrgN org;
    std::string epoch;  // of the view
    std::string view;
    Seq after;
    Seq head;  // of a later part; 0 for a first one
    auto operator<=>(const Key&) const = default;
  };
  struct Part {
    http::SharedBytes bytes;
    Seq head;
  };
  using Render = std::function<Result<Part>()>;

  explicit DeltaCache(std::size_t bytes_max) : bytes_max_(bytes_max) {}

  /// The part under `key` if it is complete at `head_min` or later, else what `render` gives.
  /// Of callers with one key at one time, one renders and the others wait for it. Errors are not
  /// kept.
  Result<Part> get(const Key& key, Seq head_min, const Render& render);

  std::size_t bytes() const;

 private:
  struct Slot {
    std::mutex mutex;  // held while rendering; guards part
    Part part;
    // Guarded by mutex_ of the cache:
    std::size_t bytes = 0;
    std::list<Key>::iterator position;
  };

  std::shared_ptr<Slot> slot_of(const Key& key);
  void account(const Key& key, const std::shared_ptr<Slot>& slot, std::size_t bytes);
  void shrink();

  const std::size_t bytes_max_;
  mutable std::mutex mutex_;  // guards all below
  std::map<Key, std::shared_ptr<Slot>> slots_;
  std::list<Key> order_;  // most recently used first
  std::size_t bytes_ = 0;
};

}  // namespace roster::hub
