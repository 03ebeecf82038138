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
}

bool FileWatch::drain() {
  bool relevant = false;
  alignas(inotify_event) std::array<char, 4096> buffer{};
  while (true) {
    const ssize_t size = read(inotify_.get(), buffer.data(), buffer.size());
    if (size <= 0) return relevant;
    for (ssize_t at = 0; at < size;) {
      inotify_event event{};
      std::memcpy(&event, buffer.data() + at, sizeof event);
      const char* name = buffer.data() + at + sizeof event;
      at += static_cast<ssize_t>(sizeof event + event.len);
      const auto directory = std::ranges::find(directories_, event.wd, &Directory::watch);
      const bool named = directory != directories_.end() && event.len > 0 &&
                         directory->names.contains(std::string(name));
      const bool self = (event.mask & (IN_Q_OVERFLOW | IN_DELETE_SELF | IN_MOVE_SELF)) != 0;
      relevant |= named || self;
    }
  }
}

}  // namespace roster::agent
