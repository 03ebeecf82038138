#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "reconcile/directory.h"

namespace roster::sync {

/// Where a source puts what it reads. All groups come before the first person.
struct Intake {
  std::function<void(reconcile::Group)> group;
  std::function<void(reconcile::Person)> person;
  /// In the place of a person whose record cannot be taken: what the destination has of them stays.
  std::function<void(std::string key, reconcile::Problem why)> keep;
  /// Likewise of a group: its name and members stay. When it is told as well, after this, it has
  /// these members and perhaps others.
  std::function<void(std::string key, reconcile::Problem why)> keep_group;
  /// The source should show who is locked, and shows it of nobody: whoever is locked at the
  /// destination stays so.
  std::function<void(reconcile::Problem why)> hide_locks;
  /// Whatever else somebody should look at.
  std::function<void(reconcile::Problem)> warn;
};

/// Keyword of an error that means: read everything again, now.
inline constexpr std::string_view kChanged = "changed";

/// A directory that people come from. Reads only.
class Source {
 public:
  virtual ~Source() = default;
  /// What it is and where, for reports: "scim https://idp.example.org/scim/v2". No secret in it.
  virtual std::string describe() const = 0;
  /// Reads everything once. An error means that what came is not all: nothing may be concluded
  /// from what is missing. kUnavailable when another try may help.
  virtual Result<void> read(const Intake& intake) = 0;
};

}  // namespace roster::sync
