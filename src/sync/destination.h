#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "reconcile/held.h"
#include "reconcile/plan.h"
#include "scim_client/server.h"

namespace roster::sync {

struct DestinationOptions {
  scim_client::Options server;
  /// What the externalId of everything of ours begins with. What does not is never touched.
  std::string prefix = "roster:";
  /// Requests under way at once.
  std::size_t parallel = 8;
  /// Members are written whole, for servers that cannot add or remove single ones.
  bool replace_members = false;
  bool overlap = true;  // as in ScimOptions
};

/// What became of one step.
struct StepFailure {
  const reconcile::Step* step;
  std::string sentence;
};

struct Outcome {
  std::size_t done = 0;
  std::vector<StepFailure> failures;
  std::size_t not_tried = 0;
  /// Why it ended before the plan was over, or empty.
  std::string cut_off;
  bool whole() const { return failures.empty() && not_tried == 0; }
};

/// A SCIM server that people are carried to: another's, or a Roster hub.
class Destination {
 public:
  Destination(DestinationOptions options, scim_client::Pause pause);

  /// "scim https://api.example.org/scim/v2".
  std::string describe() const;

  /// All that is ours. kUnavailable when another try may help.
  Result<reconcile::Held> read(const reconcile::Digester& digester);

  /// Carries a plan out, stage by stage. What fails is reported and the rest goes on, but for
  /// steps that would not be safe then; trouble with the token or the server ends everything.
  /// `done` is called after each step, by one thread at a time.
  Outcome apply(const reconcile::Plan& plan, const std::function<void()>& done);

 private:
  DestinationOptions options_;
  scim_client::Pause pause_;
};

}  // namespace roster::sync
