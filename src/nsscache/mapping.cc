#include "nsscache/mapping.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>

namespace roster::nsscache {

#ifdef ROSTER_NSSCACHE_TESTING
bool testing::keep_addresses = false;
#endif

namespace {

constexpr const char* kDirectories[] = {"/var/lib/roster/cache", "/run/roster/cache"};
constexpr std::size_t kPathMax = 1024;
constexpr int kOpenTries = 3;

// fstat(2) and fstatat(2) by number: glibc 2.33 gave them new symbol versions, and one build of the
// module serves older systems too. struct stat is the kernel's on these architectures.
#if !defined(__x86_64__) && !defined(__aarch64__)
#error "struct stat must equal the kernel's: check this architecture"
#endif
bool stat_fd(int fd, struct stat& status) { return syscall(SYS_fstat, fd, &status) == 0; }
bool stat_path(const char* path, struct stat& status) {
  return syscall(SYS_newfstatat, AT_FDCWD, path, &status, 0) == 0;
}

/// Closes a descriptor at the end of a scope.
class ScopedFd {
 public:
  explicit ScopedFd(int fd) : fd_(fd) {}
  ScopedFd(const ScopedFd&) = delete;
  ScopedFd& operator=(const ScopedFd&) = delete;
  ~ScopedFd() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

/// Keeps errno as it was: a lookup that succeeds leaves no trace of what it tried.
class KeepErrno {
 public:
  KeepErrno() : value_(errno) {}
  KeepErrno(const KeepErrno&) = delete;
  KeepErrno& operator=(const KeepErrno&) = delete;
  ~KeepErrno() { errno = value_; }

 private:
  int value_;
};

struct Directory {
  int fd;
  uid_t owner;
};

// A path chosen by the environment would let a user invent accounts for a program that runs with
// more power than they have.
const char* directory_of_environment() {
#ifndef ROSTER_NSSCACHE_TESTING
  if (getuid() == 0 || geteuid() == 0) return nullptr;
#endif
  const char* path = secure_getenv("ROSTER_CACHE_DIR");
  return path != nullptr && path[0] == '/' ? path : nullptr;
}

Mapping map_file(const Directory& directory, const char* name, std::uint64_t bytes_min,
                 struct stat& status) {
  const ScopedFd fd(openat(directory.fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
  if (fd.get() < 0 || !stat_fd(fd.get(), status)) return {};
  if (!S_ISREG(status.st_mode) || (status.st_mode & (S_IWGRP | S_IWOTH)) != 0 ||
      status.st_uid != directory.owner || status.st_size < 0 ||
      static_cast<std::uint64_t>(status.st_size) < bytes_min) {
    return {};
  }
  const auto bytes = static_cast<std::size_t>(status.st_size);
  void* data = mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd.get(), 0);
  if (data == MAP_FAILED) return {};
  return {static_cast<const std::uint8_t*>(data), bytes};
}

void unmap(Mapping& mapping) {
  if (mapping.data == nullptr) return;
  void* data = const_cast<std::uint8_t*>(mapping.data);
#ifdef ROSTER_NSSCACHE_TESTING
  // A use after this must crash, and not find whatever is mapped here next.
  if (testing::keep_addresses) {
    mmap(data, mapping.bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE,
         -1, 0);
    mapping = {};
    return;
  }
#endif
  munmap(data, mapping.bytes);
  mapping = {};
}

/// "base.1.42"; `name` has room for the longest.
constexpr std::size_t kFileNameMax = 40;
void file_name(char (&name)[kFileNameMax], const char* prefix, std::uint64_t generation) {
  char digits[20];
  std::size_t count = 0;
  do {
    digits[count++] = static_cast<char>('0' + generation % 10);
    generation /= 10;
  } while (generation != 0);
  std::size_t at = 0;
  for (const char* p = prefix; *p != '\0'; ++p) name[at++] = *p;
  while (count > 0) name[at++] = digits[--count];
  name[at] = '\0';
}

Image map_image(Mapping& mapping, const Directory& directory, const char* prefix,
                std::uint64_t generation, const char (&magic)[8]) {
  char name[kFileNameMax];
  file_name(name, prefix, generation);
  struct stat status;
  mapping = map_file(directory, name, sizeof(ImageHeader), status);
  if (mapping.data == nullptr) return {};
  Image image = parse_image(mapping.data, mapping.bytes, magic);
  if (image.header != nullptr && image.header->generation != generation) image.header = nullptr;
  return image;
}

void unmap_images(MappedGeneration& mapped) {
  unmap(mapped.delta);
  unmap(mapped.base);
  unmap(mapped.keys);
  unmap(mapped.keybase);
}

bool map_keys(MappedGeneration& mapped, const Directory& directory) {
  const Binding& binding = mapped.names.delta.header->keys;
  if (binding.generation == 0) return true;  // this node publishes no keys
  mapped.keys_delta = map_image(mapped.keys, directory, "keys.1.", binding.generation, kKeysMagic);
  if (!is_bound_to(binding, mapped.keys_delta)) return false;
  const Binding& base = mapped.keys_delta.header->base;
  mapped.keys_base =
      map_image(mapped.keybase, directory, "keybase.1.", base.generation, kKeyBaseMagic);
  return is_bound_to(base, mapped.keys_base);
}

bool map_images(MappedGeneration& mapped, const Directory& directory, std::uint64_t generation,
                Parts parts) {
  mapped.names.delta = map_image(mapped.delta, directory, "delta.1.", generation, kDeltaMagic);
  if (mapped.names.delta.header == nullptr) return false;
  const Binding& base = mapped.names.delta.header->base;
  mapped.names.base = map_image(mapped.base, directory, "base.1.", base.generation, kBaseMagic);
  if (!is_bound_to(base, mapped.names.base)) return false;
  return parts == Parts::kNames || map_keys(mapped, directory);
}

std::uint64_t control_word(const MappedGeneration& mapped) {
  return __atomic_load_n(&mapped.control_page().generation, __ATOMIC_ACQUIRE);
}

enum class MapResult { kMapped, kNoCache, kUnsound };

MapResult map_directory(MappedGeneration& mapped, const char* path, Parts parts) {
  const ScopedFd fd(open(path, O_PATH | O_DIRECTORY | O_CLOEXEC));
  struct stat status;
  if (fd.get() < 0 || !stat_fd(fd.get(), status)) return MapResult::kNoCache;
  if ((status.st_mode & (S_IWGRP | S_IWOTH)) != 0) return MapResult::kUnsound;
  const Directory directory{fd.get(), status.st_uid};
  errno = 0;
  mapped.control = map_file(directory, kControlName, sizeof(Control), status);
  if (mapped.control.data == nullptr) {
    return errno == ENOENT ? MapResult::kNoCache : MapResult::kUnsound;
  }
  mapped.control_device = status.st_dev;
  mapped.control_inode = status.st_ino;
  if (control_is_sound(mapped.control_page())) {
    for (int i = 0; i < kOpenTries; ++i) {
      // The writer may retire a generation between our reading its number and opening its files.
      mapped.generation = control_word(mapped);
      if (mapped.generation == 0) break;
      if (map_images(mapped, directory, mapped.generation, parts)) {
        mapped.names.control = &mapped.control_page();
        return MapResult::kMapped;
      }
      unmap_images(mapped);
    }
  }
  unmap(mapped.control);
  return MapResult::kUnsound;
}

/// Whether the control file in the cache directory is still the one that is mapped.
bool control_is_in_place(const MappedGeneration& mapped) {
  const char* from_environment = directory_of_environment();
  for (const char* directory : kDirectories) {
    if (from_environment != nullptr) directory = from_environment;
    char path[kPathMax];
    const std::size_t bytes = strlen(directory);
    if (bytes + 1 + sizeof kControlName > sizeof path) return false;
    memcpy(path, directory, bytes);
    path[bytes] = '/';
    memcpy(path + bytes + 1, kControlName, sizeof kControlName);
    struct stat status;
    if (stat_path(path, status)) {
      return status.st_dev == mapped.control_device && status.st_ino == mapped.control_inode;
    }
    if (from_environment != nullptr) break;
  }
  // Gone: nothing better to map. What we hold stays until there is a new one.
  return true;
}

// ---- the process's table
// --------------------------------------------------------------------------

constexpr int kSlots = 4;
constexpr std::uint32_t kLocalCalls = 8;  // a shell makes a few lookups and then lives for weeks
constexpr std::uint32_t kFree = 0xffffffffu;
constexpr std::uint32_t kBusy = 0xfffffffeu;  // being filled or emptied by one thread
constexpr std::uint32_t kPinsMax = 0x7fffffffu;

struct Slot {
  // Pins, or kFree, or kBusy. `mapped` is written only while kBusy and read only while pinned. A
  // slot becomes current only while the thread that filled it still holds its pin: no pins and not
  // current means retired for good.
  std::atomic<std::uint32_t> state{kFree};
  MappedGeneration mapped;
};

constinit Slot slots[kSlots];
constinit std::atomic<int> current{-1};
constinit std::atomic<std::uint32_t> calls{0};
constinit std::atomic<std::int64_t> checked_s{-1};  // coarse second of the last stat of the path
constinit std::atomic<std::int64_t> failed_s{-1};   // of the last failure to map something newer

std::int64_t coarse_seconds() {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return now.tv_sec;
}

/// Frees a slot that is retired. Whoever loses the race leaves it to the winner.
void close_if_retired(int index) {
  Slot& slot = slots[index];
  // Whoever retires the slot while it is busy here leaves it to us: hence the second look.
  while (current.load() != index) {
    std::uint32_t none = 0;
    if (!slot.state.compare_exchange_strong(none, kBusy)) return;
    if (current.load() != index) {
      unmap_generation(slot.mapped);
      slot.state.store(kFree);
      return;
    }
    slot.state.store(0);  // refilled since the caller looked
  }
}

bool pin(int index) {
  std::atomic<std::uint32_t>& state = slots[index].state;
  std::uint32_t pins = state.load();
  do {
    if (pins >= kPinsMax) return false;
  } while (!state.compare_exchange_weak(pins, pins + 1));
  return true;
}

void unpin(int index) {
  if (slots[index].state.fetch_sub(1) == 1 && current.load() != index) close_if_retired(index);
}

/// A slot that this call may fill, now kBusy; -1 when there is none.
int take_slot() {
  for (int i = 0; i < kSlots; ++i) {
    std::uint32_t state = kFree;
    if (slots[i].state.compare_exchange_strong(state, kBusy)) return i;
  }
  return -1;
}

constexpr int kNoSlot = -1;
constexpr int kNothingToMap = -2;

/// Maps what is current now into a slot, pinned, and makes it the current one.
int map_into_slot() {
  const int index = take_slot();
  if (index < 0) return kNoSlot;
  Slot& slot = slots[index];
  if (!map_generation(slot.mapped, nullptr, Parts::kNames)) {
    slot.state.store(kFree);
    return kNothingToMap;
  }
  slot.state.store(1);
  const int old = current.exchange(index);
  if (old >= 0 && old != index) close_if_retired(old);
  return index;
}

/// For a pinned slot that is not the newest: the slot to read from, pinned; kNoSlot when this call
/// has to map for itself.
int refresh(int index, std::int64_t now_s) {
  if (failed_s.load(std::memory_order_relaxed) == now_s) return index;
  const int newer = map_into_slot();
  if (newer == kNothingToMap) {
    // Stale answers, never fewer: keep what we have, and do not try again with each lookup.
    failed_s.store(now_s, std::memory_order_relaxed);
    return index;
  }
  unpin(index);
  return newer;
}

/// Pins the current slot, brought up to date; kNoSlot when there is none to pin just now.
int pin_current() {
  int index = current.load();
  while (true) {
    if (index < 0 || !pin(index)) return kNoSlot;
    const int again = current.load();
    if (again == index) break;
    unpin(index);
    index = again;
  }
  const MappedGeneration& mapped = slots[index].mapped;
  const std::int64_t now_s = coarse_seconds();
  bool stale = control_word(mapped) != mapped.generation;
  std::int64_t last_s = checked_s.load(std::memory_order_relaxed);
  if (last_s != now_s && checked_s.compare_exchange_strong(last_s, now_s)) {
    const KeepErrno keep;
    if (!control_is_in_place(mapped)) stale = true;
  }
  return stale ? refresh(index, now_s) : index;
}

}  // namespace

bool map_generation(MappedGeneration& mapped, const char* directory, Parts parts) {
  const KeepErrno keep;  // POSIX: no function sets errno to 0, and a lookup that worked not at all
  mapped = MappedGeneration{};
  if (directory == nullptr) directory = directory_of_environment();
  if (directory != nullptr) return map_directory(mapped, directory, parts) == MapResult::kMapped;
  for (const char* standard : kDirectories) {
    switch (map_directory(mapped, standard, parts)) {
      case MapResult::kMapped:
        return true;
      case MapResult::kUnsound:
        return false;
      case MapResult::kNoCache:
        break;
    }
  }
  return false;
}

void unmap_generation(MappedGeneration& mapped) {
  const KeepErrno keep;
  unmap_images(mapped);
  unmap(mapped.control);
}

Lease acquire_lease(LocalGeneration& local) {
  int index = pin_current();
  if (index < 0 && current.load() < 0 &&
      calls.fetch_add(1, std::memory_order_relaxed) >= kLocalCalls) {
    index = map_into_slot();
    if (index == kNothingToMap) return {};
  }
  if (index < 0) {
    if (map_generation(local.mapped, nullptr, Parts::kNames)) return {&local.mapped.names, -1};
    index = current.load();  // no place in the table and nothing newer to map: what there is
    if (index < 0 || !pin(index)) return {};
  }
  return {&slots[index].mapped.names, index};
}

void release_lease(const Lease& lease, LocalGeneration& local) {
  if (lease.slot >= 0) {
    unpin(lease.slot);
  } else if (lease.generation != nullptr) {
    unmap_generation(local.mapped);
  }
}

#ifdef ROSTER_NSSCACHE_TESTING
void testing::forget_process_state() {
  for (Slot& slot : slots) {
    if (slot.state.load() != kFree) unmap_generation(slot.mapped);
    slot.state.store(kFree);
  }
  current.store(-1);
  calls.store(0);
  expire_checks();
}

void testing::skip_local_calls() { calls.store(kLocalCalls); }

void testing::expire_checks() {
  checked_s.store(-1);
  failed_s.store(-1);
}
#endif

}  // namespace roster::nsscache
