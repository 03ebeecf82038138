#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/time.h"
#include "posix/node.h"

namespace roster::nsscache {

struct PublisherOptions {
  std::filesystem::path directory;  // created (0755) when it does not exist; its parent must
  std::string org;                  // at most 63 bytes each; recorded in every image. An existing
  std::string view;                // cache of another org or view is not continued: open() is empty
  bool publish_keys = true;        // false: no keys file at all, for nodes that take no logins
  std::optional<FileOwner> owner;  // of directory and files; nothing: as the process creates them
  std::optional<gid_t> keys_group;    // group that may read the keys file (0640); nothing: owner's
  bool allow_any_filesystem = false;  // network and overlay file systems are refused otherwise
  std::chrono::seconds retire_after{60};      // superseded files stay at least so long
  std::size_t merge_bytes_min = 64 << 10;     // a delta smaller than this is never worth a new base
  std::uint64_t reserve_bytes_min = 1 << 20;  // kept for lockouts on a full disk; more when needed
  RandomBytes random = system_random;
};

/// What this node itself decides about names and ids. A user or group whose name or id (for a user:
/// login, uid or primary gid) is masked is never answered; a denied user is served as locked.
struct LocalRules {
  std::vector<std::string> masked_names{};
  std::vector<std::uint32_t> masked_ids{};
  std::vector<std::pair<std::uint32_t, std::uint32_t>>
      masked_ranges{};  // first and last, inclusive
  std::vector<std::string> denied_names{};
  std::vector<std::uint32_t> denied_uids{};
  /// Not all that masks, or denies, could be read yet. A published record then keeps its flag while
  /// its name and ids stay as they are, and every other one gets it: removals and locks take
  /// effect, and nobody is served whom these rules might hold back.
  bool masks_unknown = false;
  bool denials_unknown = false;
};

/// What the reserve is for.
enum class Urgency {
  kOrdinary,
  kRevocation,  // takes access away: goes on when the disk is full, from the reserve
};

struct PublishStats {
  bool published = false;     // false: nothing differed, the generation stayed
  bool merged = false;        // a new base was written
  bool from_reserve = false;  // the disk is full otherwise
  std::uint64_t generation = 0;
  std::uint64_t bytes_written = 0;  // by this call, all files together
};

struct CacheCounts {
  std::uint64_t users = 0;
  std::uint64_t groups = 0;
  std::uint64_t masked_users = 0;
  std::uint64_t masked_groups = 0;
  std::uint64_t denied_users = 0;
};

/// What finishing a replacement would take away: records that are served now, are not in the
/// replacement, and were not removed by name of their number (remove_user, remove_group) since
/// begin_replace().
struct Shrinkage {
  std::uint64_t users_before = 0;
  std::uint64_t users_lost = 0;
  std::uint64_t groups_before = 0;
  std::uint64_t groups_lost = 0;
};

/// Whether so many of so many are more than leave at once: a fifth, and at least ten. Asked again,
/// the source may know better; an operator who knows can say so.
constexpr bool is_landslide(std::uint64_t before, std::uint64_t lost) {
  constexpr std::uint64_t kLostMin = 10;
  constexpr std::uint64_t kLostPercent = 20;
  return lost >= kLostMin && lost * 100 > before * kLostPercent;
}

class ServedGeneration;

/// The one writer of a node's identity cache (FORMAT.md). Changes are collected in memory and
/// become visible together at publish(); readers never see half of them. Memory grows with the
/// changes since the last base, not with the directory (groups' edges excepted). Not thread-safe.
///
/// Every call that returns a Result is kDataLoss when what it needs of the published generation
/// does not verify (any more), and once that could not be read back after publish() or discard().
/// It stays so: open() anew finds the newest generation that verifies.
class Publisher {
 public:
  /// Continues from the newest generation on disk whose checksums all verify, and removes what an
  /// interrupted predecessor left. Without one, the cache is empty and readers say "unavailable"
  /// until the first publish(). kFailedPrecondition on a network or overlay file system, or when
  /// another process holds the directory.
  static Result<Publisher> open(PublisherOptions options, Timestamp now);

  Publisher(Publisher&&) noexcept;
  Publisher& operator=(Publisher&&) noexcept;
  ~Publisher();

  /// Of the published generation: 0 and empty before the first.
  std::uint64_t generation() const;
  const std::string& cursor() const;
  const std::string& epoch() const;
  CacheCounts counts() const;
  /// Names and ids that are in the published generation but masked on this node, at most `max`.
  std::vector<std::string> masked(std::size_t max) const;

  /// Highest uid or gid of the published generation; 0 before the first. Reads all of it.
  std::uint32_t highest_id() const;

  /// What is kept free for lockouts, and what should be. Less than that: the disk is full. Neither
  /// before the first generation: the room is for that one.
  struct Reserve {
    std::uint64_t bytes = 0;
    std::uint64_t wanted = 0;
  };
  Reserve reserve() const;

  /// Whether a record is in the published generation (masked or not).
  std::optional<posix::NodeUser> find_user(std::string_view login) const;
  std::optional<posix::NodeUser> find_user(std::uint64_t n) const;
  std::optional<posix::NodeGroup> find_group(std::uint64_t n) const;
  /// Whether a login is in the published generation and not masked.
  bool serves_user(std::string_view login) const;

  /// The published generation, to be read at leisure: nothing that happens here changes it.
  /// kNotFound before the first.
  Result<ServedGeneration> served() const;

  /// Collects a change; any order, repeats are harmless. kInvalidArgument when a bound of the
  /// format is broken (FORMAT.md "Bounds"): nothing is collected then.
  Result<void> upsert_user(posix::NodeUser user);
  Result<void> upsert_group(posix::NodeGroup group);
  /// Removing what is not there is no change.
  Result<void> remove_user(std::uint64_t n, Seq seq);
  Result<void> remove_group(std::uint64_t n, Seq seq);

  /// From here until publish() or discard(), upserts describe the whole content, records in any
  /// order; what does not come is gone. Of records with one number the last counts, and a removal
  /// takes back what came before it: a snapshot is followed by the delta since it was begun.
  /// Records are spooled to an unlinked file.
  Result<void> begin_replace();
  bool replacing() const;
  /// What publish() would take away; only while replacing.
  Result<Shrinkage> shrinkage() const;

  /// Takes effect with the next publish(), which then publishes even without other changes when a
  /// record's state differs. Must be called once before the first publish(): a program that forgot
  /// its local accounts must not overrule them.
  void set_local_rules(LocalRules rules);

  /// Makes all collected changes visible as one new generation that carries `cursor` (at most 256
  /// bytes) and `epoch` (at most 63). On any error readers keep the generation they have, and the
  /// collected changes stay until discard(): kAlreadyExists when two users, two groups, or a
  /// user and a group would share a name or an id (says which), kUnavailable when the disk is full,
  /// kFailedPrecondition without local rules. Also restores files that somebody removed: call it
  /// now and then although nothing changed.
  Result<PublishStats> publish(std::string_view cursor, std::string_view epoch, Timestamp now,
                               Urgency urgency = Urgency::kOrdinary);

  /// Forgets every change since the last publish().
  Result<void> discard();
  /// Forgets who and what was collected but is not published: what is left are removals and changes
  /// of what readers have, for a disk without room for more. To be published with the cursor that
  /// is published, so that the rest comes again. Not while replacing.
  Result<void> forget_arrivals();

  /// The hub confirmed that what is published is current: at `now` of this node's clock. What ends
  /// (valid_until, not_after) ends from then on by no earlier time than `hub_time`, or, without
  /// one, than any `now` before. `hub_time` is the hub's own, and nobody else's: it alone can take
  /// back what a clock of this node claimed that was ahead.
  void touch_contact(Timestamp now, std::optional<Timestamp> hub_time = {});
  std::optional<Timestamp> contact() const;
  /// Age of the last contact beyond which keys are withheld; 0 = never.
  void set_max_stale(std::chrono::seconds max_stale);

  /// Unlinks files that stopped being current at least `retire_after` ago. publish() does so too;
  /// call it once more when nothing changes. Returns when the next one is due, if any.
  std::optional<Timestamp> remove_retired(Timestamp now);

 private:
  struct Impl;
  explicit Publisher(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace roster::nsscache
