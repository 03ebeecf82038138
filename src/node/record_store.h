#pragma once

#include <sys/types.h>

#include <filesystem>

#include "base/fd.h"
#include "base/result.h"
#include "node/record.h"

namespace roster::node {

/// The record on disk, and the lock of whoever changes the node. The directory is root's, so that
/// no service of ours can tell root what to restore.
class RecordStore {
 public:
  /// Reads without a lock; an empty record when there is none. kPermissionDenied as
  /// read_root_file, kDataLoss for a damaged record.
  static Result<Record> peek(const std::filesystem::path& directory, uid_t owner);

  /// Makes the directory (0700) when needed and locks it until this goes away.
  /// kFailedPrecondition while another process holds it.
  static Result<RecordStore> open(std::filesystem::path directory, uid_t owner);
  RecordStore(RecordStore&&) = default;
  RecordStore(const RecordStore&) = delete;
  /// Without a record nothing is left behind.
  ~RecordStore();

  const Record& record() const { return record_; }
  /// An empty record removes the file.
  Result<void> save(const Record& record);
  /// Name of a file for trials, which does not outlive the store, nor a kill by more than one run.
  std::filesystem::path scratch() const { return directory_ / "scratch"; }

 private:
  RecordStore(std::filesystem::path directory, UniqueFd lock)
      : directory_(std::move(directory)), lock_(std::move(lock)) {}
  std::filesystem::path file() const { return directory_ / "record.json"; }

  std::filesystem::path directory_;
  UniqueFd lock_;  // of the directory
  bool made_parent_ = false;
  Record record_;
};

}  // namespace roster::node
