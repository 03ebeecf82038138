#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "reconcile/directory.h"

namespace roster::reconcile {

/// Stands for a text without keeping it, so that a whole directory is held in little memory. Made
/// with a secret of the run: nobody can prepare two texts that look the same.
using Digest = std::array<std::uint64_t, 2>;

class Digester {
 public:
  explicit Digester(const RandomBytes& random);
  Digest of(std::string_view text) const;
  /// Of keys as a set: order, repetitions and comments do not count.
  Digest of_keys(const std::vector<std::string>& lines) const;

 private:
  std::string secret_;
};

/// What the destination has of a person that is ours.
struct HeldPerson {
  std::string id;   // the destination's
  std::string key;  // what follows our prefix in its externalId
  std::string user_name;
  bool active = true;
  std::array<Digest, kTexts> texts{};  // of an absent text: of the empty one
  Digest ssh_keys{};
  /// Why the rest is not known, in words; empty: it is. Such a record can be locked, no more.
  std::string unreadable = {};
};

/// What the destination has of a group that is ours.
struct HeldGroup {
  std::string id;
  std::string key;
  std::string name;
  std::vector<std::string> member_ids;  // of people and groups, ours or not
  std::string unreadable = {};          // as of people; such a group is left as it is
};

/// All that is ours at the destination. What is not, is not here: nobody can touch it by mistake.
struct Held {
  std::vector<HeldPerson> people;
  std::vector<HeldGroup> groups;
  /// Nobody can see who is locked there: everybody counts as active.
  bool hides_active = false;
};

}  // namespace roster::reconcile
