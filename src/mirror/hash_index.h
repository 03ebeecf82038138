#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "base/ids.h"

namespace roster::mirror {

/// SipHash-1-3 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012) under a key that
/// is drawn for each object: whoever chooses names and ids cannot choose them so that they collide.
class KeyedHash {
 public:
  explicit KeyedHash(const RandomBytes& random = system_random);

  std::uint32_t operator()(std::string_view text) const;
  std::uint32_t operator()(std::uint32_t number) const;

 private:
  std::array<std::uint64_t, 2> key_{};
};

/// Positions in somebody's list, found by the hash of a key that the list has there: open
/// addressing with linear probing. `same(position)` says whether the list has the wanted key at
/// that position. The hashes must be hard to foresee, as KeyedHash's are.
class HashIndex {
 public:
  /// Room for so many positions without growing.
  explicit HashIndex(std::size_t count = 0) { clear(count); }

  /// Forgets all; room for so many.
  void clear(std::size_t count = 0) {
    std::size_t size = kSlotsMin;
    while (full(size) < count) size *= 2;
    slots_.assign(size, {});
    used_ = 0;
  }
  std::size_t size() const { return used_; }

  template <typename Same>
  std::optional<std::uint32_t> find(std::uint32_t hash, const Same& same) const {
    const Slot& slot = slots_[seek(hash, same)];
    return slot.next == 0 ? std::nullopt : std::optional(slot.next - 1);
  }

  /// The position that has the key already, or `at`, which is added then.
  template <typename Same>
  std::uint32_t find_or_add(std::uint32_t hash, std::uint32_t at, const Same& same) {
    Slot& slot = slots_[seek(hash, same)];
    if (slot.next != 0) return slot.next - 1;
    add(slot, hash, at);
    return at;
  }

  /// `at` is where the key is from now on. Where it was before, if it was.
  template <typename Same>
  std::optional<std::uint32_t> assign(std::uint32_t hash, std::uint32_t at, const Same& same) {
    Slot& slot = slots_[seek(hash, same)];
    if (slot.next != 0) return std::exchange(slot.next, at + 1) - 1;
    add(slot, hash, at);
    return std::nullopt;
  }

  /// Forgets the key, if it is there.
  template <typename Same>
  void erase(std::uint32_t hash, const Same& same) {
    std::size_t hole = seek(hash, same);
    if (slots_[hole].next == 0) return;
    --used_;
    // Whatever comes after it without a gap moves up, unless it would be before its own place.
    for (std::size_t i = next(hole); slots_[i].next != 0; i = next(i)) {
      const std::size_t home = slots_[i].hash & mask();
      if (((i - home) & mask()) < ((i - hole) & mask())) continue;
      slots_[hole] = slots_[i];
      hole = i;
    }
    slots_[hole] = {};
  }

 private:
  struct Slot {
    std::uint32_t hash = 0;
    std::uint32_t next = 0;  // the position after the one that is meant; 0: the slot is free
  };
  static constexpr std::size_t kSlotsMin = 16;

  /// So many of `slots` may be used.
  static std::size_t full(std::size_t slots) { return slots / 5 * 4; }
  std::size_t mask() const { return slots_.size() - 1; }
  std::size_t next(std::size_t i) const { return (i + 1) & mask(); }

  /// The slot with the key, or the free one where it would be.
  template <typename Same>
  std::size_t seek(std::uint32_t hash, const Same& same) const {
    std::size_t i = hash & mask();
    while (slots_[i].next != 0 && !(slots_[i].hash == hash && same(slots_[i].next - 1))) {
      i = next(i);
    }
    return i;
  }

  void add(Slot& slot, std::uint32_t hash, std::uint32_t at) {
    slot = {hash, at + 1};
    if (++used_ > full(slots_.size())) grow();
  }

  void grow() {
    const std::vector<Slot> old = std::exchange(slots_, std::vector<Slot>(slots_.size() * 2));
    for (const Slot& slot : old) {
      if (slot.next == 0) continue;
      std::size_t i = slot.hash & mask();
      while (slots_[i].next != 0) i = next(i);
      slots_[i] = slot;
    }
  }

  std::vector<Slot> slots_;  // a power of two
  std::size_t used_ = 0;
};

/// Values by name. The texts of the names outlive it.
template <typename Value>
class NameMap {
 public:
  /// Room for so many without growing.
  explicit NameMap(std::size_t count) : index_(count) { items_.reserve(count); }

  /// The first value of a name counts.
  void add(std::string_view name, Value value) {
    const auto at = static_cast<std::uint32_t>(items_.size());
    const auto same = [&](std::uint32_t other) { return items_[other].first == name; };
    if (index_.find_or_add(hash_(name), at, same) == at) items_.emplace_back(name, value);
  }
  std::optional<Value> find(std::string_view name) const {
    const auto same = [&](std::uint32_t other) { return items_[other].first == name; };
    const auto at = index_.find(hash_(name), same);
    return at ? std::optional(items_[*at].second) : std::nullopt;
  }

 private:
  const KeyedHash hash_;
  HashIndex index_;
  std::vector<std::pair<std::string_view, Value>> items_;
};

}  // namespace roster::mirror
