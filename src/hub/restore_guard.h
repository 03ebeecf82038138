#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>

#include "base/fd.h"
#include "base/result.h"
#include "base/time.h"
#include "directory/directory.h"

namespace roster::hub {

/// The head of each organization, in a file that outlives the process but neither a reboot nor a
/// move to another machine, and that no backup holds. Not thread-safe.
class HeadMarks {
 public:
  struct Mark {
    std::uint64_t seq = 0;
    std::uint64_t tag = 0;
  };

  static Result<HeadMarks> open(const std::filesystem::path& file);

  std::optional<Mark> read(directory::OrgN org) const;
  /// A mark that cannot be written takes the file with it: an old one would tell lies.
  void write(directory::OrgN org, const Mark& mark);

 private:
  HeadMarks(std::filesystem::path path, UniqueFd fd) : path_(std::move(path)), fd_(std::move(fd)) {}
  std::filesystem::path path_;
  UniqueFd fd_;
};

/// Keeps a hub that was restored from a backup from giving out ids that nodes know as somebody's.
///
/// Nodes tell the highest id that they know when they come (feed/FORMAT.md 3.1), but a provider may
/// come first. So after a start no new id is given out in an organization until its nodes were
/// heard, those that were there together with the one seen last, or for kLongest; unless the marks
/// of the process before prove that the store goes on where that one ended. When the marks prove
/// that it does not, nodes that the store does not know may come too, so kLongest must pass.
/// Thread-safe.
class RestoreGuard {
 public:
  /// Longer than the longest pause between a node's attempts.
  static constexpr std::chrono::seconds kLongest{75};

  struct Options {
    std::filesystem::path run_dir;  // of the marks; empty: there is none
    std::filesystem::path store;    // tells the hubs of one machine apart
    Clock clock = system_now;
  };
  static Result<std::unique_ptr<RestoreGuard>> create(directory::Directory& directory,
                                                      const Options& options);

  bool is_waiting(directory::OrgN org);
  /// The node came, and no id up to the highest that it knows will be given out.
  void heard(const directory::Node& node);
  /// Each commit.
  void committed(const directory::Commit& commit);

 private:
  enum class Past {
    kGoesOn,   // the store has the change that was marked
    kUnknown,  // there is no mark
    kOther,    // the store has another change with that number, or none
  };
  struct Wait {
    std::set<directory::NodeN> nodes;
    bool whole_time = false;
  };

  RestoreGuard(directory::Directory& directory, std::optional<HeadMarks> marks)
      : directory_(directory), marks_(std::move(marks)) {}

  Result<Past> past(const directory::Org& org) const;
  Result<void> wait_for_nodes(const directory::Org& org, Past past, Timestamp now);

  directory::Directory& directory_;

  std::mutex mutex_;                // guards all below
  std::optional<HeadMarks> marks_;  // nothing: every start waits
  std::map<directory::OrgN, Wait> waiting_;
};

}  // namespace roster::hub
