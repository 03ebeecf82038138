#include "agent/watch.h"

#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

namespace roster::agent {
namespace {

constexpr std::uint32_t kEvents = IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE |
                                  IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;
constexpr std::uint32_t kAncestorEvents =
    IN_CREATE | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;

}  // namespace

FileWatch::FileWatch(const std::vector<std::filesystem::path>& files)
    : inotify_(inotify_init1(IN_CLOEXEC | IN_NONBLOCK)) {
  for (const std::filesystem::path& file : files) {
    const std::filesystem::path parent = file.parent_path();
    auto known = std::ranges::find(directories_, parent, &Directory::path);
    if (known == directories_.end()) {
      directories_.push_back({parent, {}, -1});
      known = std::prev(directories_.end());
    }
    known->names.insert(file.filename().string());
  }
  rearm();
}

void FileWatch::rearm() {
  if (!inotify_.valid()) return;
  for (Directory& directory : directories_) {
    // Adding a watch that exists gives the same number again.
    directory.watch = inotify_add_watch(inotify_.get(), directory.path.c_str(), kEvents);
  }
  // Afterwards, because the above takes away what this adds.
  for (Directory& directory : directories_) {
    directory.ancestor_watch = -1;
    if (directory.watch < 0) watch_ancestor(directory);
  }
}

void FileWatch::watch_ancestor(Directory& directory) {
  std::filesystem::path path = directory.path;
  while (path.has_relative_path()) {
    directory.missing = path.filename().string();
    path = path.parent_path();
    directory.ancestor_watch =
        inotify_add_watch(inotify_.get(), path.c_str(), kAncestorEvents | IN_MASK_ADD);
    if (directory.ancestor_watch >= 0) break;
  }
  // It may have come while nobody watched.
  directory.watch =
      inotify_add_watch(inotify_.get(), directory.path.c_str(), kEvents | IN_MASK_ADD);
}

/// Whether this event is about one of the files, or about a directory of theirs.
bool FileWatch::take(std::uint32_t mask, int watch, const std::string& name) {
  if ((mask & (IN_Q_OVERFLOW | IN_DELETE_SELF | IN_MOVE_SELF)) != 0) return true;
  return std::ranges::any_of(directories_, [&](const Directory& directory) {
    return (directory.watch == watch && directory.names.contains(name)) ||
           (directory.ancestor_watch == watch && directory.missing == name);
  });
}

bool FileWatch::drain() {
  bool relevant = false;
  alignas(inotify_event) std::array<char, 4096> buffer{};
  while (true) {
    const ssize_t size = read(inotify_.get(), buffer.data(), buffer.size());
    if (size <= 0) break;
    for (ssize_t at = 0; at < size;) {
      inotify_event event{};
      std::memcpy(&event, buffer.data() + at, sizeof event);
      const char* name = buffer.data() + at + sizeof event;
      at += static_cast<ssize_t>(sizeof event + event.len);
      relevant |= take(event.mask, event.wd, event.len > 0 ? name : "");
    }
  }
  // Before the caller reads the files: what comes later is seen.
  if (relevant) rearm();
  return relevant;
}

}  // namespace roster::agent
