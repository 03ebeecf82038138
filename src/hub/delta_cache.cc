#include "hub/delta_cache.h"

#include <utility>

namespace roster::hub {
namespace {

/// What an entry costs besides its bytes: so that empty ones are bounded, too.
constexpr std::size_t kSlotBytes = 512;

}  // namespace

Result<DeltaCache::Part> DeltaCache::get(const Key& key, Seq head_min, const Render& render) {
  const std::shared_ptr<Slot> slot = slot_of(key);
  const std::lock_guard lock(slot->mutex);
  if (slot->part.bytes != nullptr && slot->part.head >= head_min) return slot->part;
  ASSIGN_OR_RETURN(slot->part, render());
  account(key, slot, slot->part.bytes->size() + kSlotBytes);
  return slot->part;
}

std::size_t DeltaCache::bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_;
}

std::shared_ptr<DeltaCache::Slot> DeltaCache::slot_of(const Key& key) {
  const std::lock_guard lock(mutex_);
  const auto [found, is_new] = slots_.try_emplace(key);
  if (is_new) {
    found->second = std::make_shared<Slot>();
    found->second->bytes = kSlotBytes;
    bytes_ += kSlotBytes;
    order_.push_front(key);
    found->second->position = order_.begin();
    shrink();
  } else {
    order_.splice(order_.begin(), order_, found->second->position);
  }
  return found->second;
}

void DeltaCache::account(const Key& key, const std::shared_ptr<Slot>& slot, std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  const auto found = slots_.find(key);
  if (found == slots_.end() || found->second != slot) return;  // it went while it was rendered
  bytes_ += bytes - slot->bytes;
  slot->bytes = bytes;
  shrink();
}

void DeltaCache::shrink() {
  while (bytes_ > bytes_max_ && order_.size() > 1) {
    const auto oldest = slots_.find(order_.back());
    bytes_ -= oldest->second->bytes;
    order_.pop_back();
    slots_.erase(oldest);
  }
}

}  // namespace roster::hub
