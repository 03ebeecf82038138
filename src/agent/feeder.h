#pragma once

#include <functional>

#include "base/result.h"

namespace roster::agent {

/// What fills the node's cache while the agent runs: the hub's feed, or a SCIM server. One thread
/// runs it; `stop` may come from any.
class Feeder {
 public:
  virtual ~Feeder() = default;
  /// Opens what is on disk, so that local rules apply before anybody is reached.
  virtual Result<void> resume() = 0;
  /// Until stop(). `between` is called after each exchange.
  virtual void run(const std::function<void()>& between) = 0;
  virtual void stop() = 0;
  /// Whom the node's deny file names has changed, and NodeCache knows already. From any thread.
  virtual void denials_changed() {}
};

}  // namespace roster::agent
