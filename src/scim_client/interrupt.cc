#include "scim_client/interrupt.h"

#include "base/result.h"
#include "http/client.h"

namespace roster::scim_client {

void Interrupt::raise() {
  const std::lock_guard lock(mutex_);
  raised_ = true;
  changed_.notify_all();
  if (client_ != nullptr) client_->interrupt();
}

void Interrupt::lower() {
  const std::lock_guard lock(mutex_);
  raised_ = false;
}

bool Interrupt::raised() const {
  const std::lock_guard lock(mutex_);
  return raised_;
}

bool Interrupt::wait_for(std::chrono::milliseconds time) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, time, [this] { return raised_; });
}

Interrupt::Scope::Scope(Interrupt& interrupt, http::Client& client) : interrupt_(interrupt) {
  const std::lock_guard lock(interrupt_.mutex_);
  CHECK(interrupt_.client_ == nullptr);
  interrupt_.client_ = &client;
  if (interrupt_.raised_) client.interrupt();
}

Interrupt::Scope::~Scope() {
  const std::lock_guard lock(interrupt_.mutex_);
  interrupt_.client_ = nullptr;
}

}  // namespace roster::scim_client
