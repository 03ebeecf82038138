#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace roster::http {

/// Who waits for which key to pass which value. For one thread.
///
/// A notification that comes after a handler decided to wait, but before its request is parked,
/// must not be lost: the last value of each key is kept. Keys nobody waits for are forgotten when
/// there are too many; evictions() then changes, and a request whose handler started before that is
/// not parked but asked again.
template <typename Waiter>
class WaitTable {
 public:
  using Ticket = std::uint64_t;

  explicit WaitTable(std::size_t idle_keys_max) : idle_keys_max_(idle_keys_max) {}

  /// `evictions`: what evictions() said before the handler ran.
  /// Nothing when the handler must be asked again right away.
  std::optional<Ticket> park(const std::string& key, std::uint64_t after, std::uint64_t evictions,
                             Waiter waiter) {
    auto found = keys_.find(key);
    if (found == keys_.end()) {
      if (evictions != evictions_) return std::nullopt;
      found = keys_.emplace(key, Key{}).first;
    } else if (found->second.last > after) {
      return std::nullopt;
    } else if (found->second.waiters.empty()) {
      --idle_keys_;
    }
    const Ticket ticket = ++last_ticket_;
    found->second.waiters.emplace(ticket, Parked{after, std::move(waiter)});
    ++parked_;
    return ticket;
  }

  /// Does nothing when the waiter was notified already.
  void remove(const std::string& key, Ticket ticket) {
    const auto found = keys_.find(key);
    if (found == keys_.end() || found->second.waiters.erase(ticket) == 0) return;
    --parked_;
    if (found->second.waiters.empty()) became_idle();
  }

  /// Takes out those whose `after` is below `value`.
  std::vector<Waiter> notify(const std::string& key, std::uint64_t value) {
    std::vector<Waiter> woken;
    const auto [found, added] = keys_.try_emplace(key);
    Key& entry = found->second;
    entry.last = entry.last < value ? value : entry.last;
    for (auto it = entry.waiters.begin(); it != entry.waiters.end();) {
      if (it->second.after >= value) {
        ++it;
        continue;
      }
      woken.push_back(std::move(it->second.waiter));
      it = entry.waiters.erase(it);
    }
    parked_ -= woken.size();
    if (entry.waiters.empty() && (added || !woken.empty())) became_idle();
    return woken;
  }

  std::uint64_t evictions() const { return evictions_; }
  std::size_t parked() const { return parked_; }

 private:
  struct Parked {
    std::uint64_t after;
    Waiter waiter;
  };
  struct Key {
    std::uint64_t last = 0;
    std::unordered_map<Ticket, Parked> waiters;
  };

  void became_idle() {
    if (++idle_keys_ <= idle_keys_max_) return;
    std::erase_if(keys_, [](const auto& item) { return item.second.waiters.empty(); });
    idle_keys_ = 0;
    ++evictions_;
  }

  std::size_t idle_keys_max_;
  std::size_t idle_keys_ = 0;
  std::size_t parked_ = 0;
  std::uint64_t evictions_ = 0;
  Ticket last_ticket_ = 0;
  std::unordered_map<std::string, Key> keys_;
};

}  // namespace roster::http
