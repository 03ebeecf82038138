#include "node/record_store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/file.h"

namespace roster::node {
namespace {

constexpr std::size_t kRecordBytesMax = 16 << 20;

Result<Record> read(const std::filesystem::path& file, uid_t owner) {
  ASSIGN_OR_RETURN(const auto found, read_root_file(file, owner, kRecordBytesMax));
  if (!found) return Record();
  auto record = Record::parse(found->content);
  if (!record) return fail_in(file.string(), record.error());
  return record;
}

/// Whether it was made now.
Result<bool> make_directory(const std::filesystem::path& path, mode_t mode) {
  if (::mkdir(path.c_str(), mode) == 0) return true;
  if (errno == EEXIST) return false;
  return std::unexpected(errno_error("mkdir " + path.string(), errno));
}

}  // namespace

Result<Record> RecordStore::peek(const std::filesystem::path& directory, uid_t owner) {
  return read(directory / "record.json", owner);
}

Result<RecordStore> RecordStore::open(std::filesystem::path directory, uid_t owner) {
  const std::filesystem::path parent = directory.parent_path();
  RETURN_IF_ERROR(check_directory(parent.parent_path(), owner));
  ASSIGN_OR_RETURN(const bool made_parent, make_directory(parent, 0755));
  RETURN_IF_ERROR(check_directory(parent, owner));
  RETURN_IF_ERROR(make_directory(directory, 0700));
  RETURN_IF_ERROR(check_directory(directory, owner));
  UniqueFd lock(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!lock.valid()) return std::unexpected(errno_error("open " + directory.string(), errno));
  struct stat held{};
  struct stat named{};
  // Whoever held it before may have removed the directory at its end.
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0 || ::fstat(lock.get(), &held) != 0 ||
      ::stat(directory.c_str(), &named) != 0 || held.st_ino != named.st_ino) {
    return fail(Code::kFailedPrecondition,
                "another roster-agent sets this node up: try again when it has ended");
  }
  RecordStore store(std::move(directory), std::move(lock));
  remove_leftovers(store.file());
  remove_leftovers(store.scratch());
  RETURN_IF_ERROR(remove_root_file(store.scratch()));
  ASSIGN_OR_RETURN(store.record_, read(store.file(), owner));
  store.made_parent_ = made_parent || store.record_.made_parent;
  return store;
}

RecordStore::~RecordStore() {
  if (!lock_.valid()) return;
  ::unlink(scratch().c_str());
  if (record_ != Record()) return;
  // Only empty directories go.
  if (::rmdir(directory_.c_str()) == 0 && made_parent_) {
    ::rmdir(directory_.parent_path().c_str());
  }
}

Result<void> RecordStore::save(const Record& record) {
  if (record.files.empty() && !record.settings) {
    RETURN_IF_ERROR(remove_root_file(file()));
    record_ = Record();
    return {};
  }
  Record kept = record;
  kept.made_parent = made_parent_;
  RETURN_IF_ERROR(write_file_atomic(file(), kept.to_json(), 0600));
  record_ = std::move(kept);
  return {};
}

}  // namespace roster::node
