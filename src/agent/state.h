#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "base/ids.h"
#include "base/result.h"
#include "base/secret.h"
#include "feed/enrollment.h"

namespace roster::agent {

/// What a node must remember besides its cache, below a directory of mode 0700:
///   node.json    the enrolment with credential and CA, 0600
///   joining      the credential that is being enrolled, 0600
///   highest-id   the highest uid or gid ever seen
/// Each is replaced as one step, so that a kill at any instant leaves the old or the new one.
class StateDir {
 public:
  /// Makes the directory when it does not exist (its parent must).
  static Result<StateDir> open(std::filesystem::path directory);

  /// Nothing before enrolment. kPermissionDenied when others may read the file, kDataLoss when it
  /// does not parse.
  Result<std::optional<feed::Enrollment>> load_enrollment() const;
  Result<void> save_enrollment(const feed::Enrollment& enrollment) const;
  /// A credential to enrol with, on disk: whoever died on the way goes on with the same one, so
  /// that the hub knows it again. Never the one of the enrolment that is there.
  Result<Secret> begin_joining(const RandomBytes& random) const;
  /// The enrolment is on disk, or this credential will never be admitted.
  void end_joining() const;
  /// Ends the joining that brought `credential`; one that is still on its way goes on.
  void end_joining_of(const Secret& credential) const;

  /// 0 before the first.
  Result<std::uint32_t> load_highest_id() const;
  Result<void> save_highest_id(std::uint32_t id) const;

 private:
  explicit StateDir(std::filesystem::path directory) : directory_(std::move(directory)) {}
  std::filesystem::path directory_;
};

}  // namespace roster::agent
