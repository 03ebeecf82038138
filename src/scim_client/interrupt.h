#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

namespace roster::http {
class Client;
}

namespace roster::scim_client {

/// Ends what a program waits for from a server, from another thread: its pauses, and its request in
/// flight at once, whatever the server does. Thread-safe.
class Interrupt {
 public:
  /// Until lower().
  void raise();
  void lower();
  bool raised() const;
  /// True when it was raised meanwhile.
  bool wait_for(std::chrono::milliseconds time);

  /// While it lives, the requests of `client`, which outlives it, end with kUnavailable, too.
  class Scope {
   public:
    Scope(Interrupt& interrupt, http::Client& client);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Interrupt& interrupt_;
  };

 private:
  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  bool raised_ = false;
  http::Client* client_ = nullptr;
};

}  // namespace roster::scim_client
