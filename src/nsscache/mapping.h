#pragma once

// How a process gets at the generation that is current, and how it lets go: the only part of the
// reader with system calls and state. No lock, no allocation, no descriptor kept, only libc.

#include <sys/types.h>

#include <cstddef>
#include <cstdint>

#include "nsscache/generation.h"
#include "nsscache/image.h"

namespace roster::nsscache {

struct Mapping {
  const std::uint8_t* data = nullptr;
  std::size_t bytes = 0;
};

/// control.1 and the files of the generation that it named, mapped and sound.
struct MappedGeneration {
  Mapping control;
  Mapping delta;
  Mapping base;
  Mapping keys;  // both only when asked for and when this generation has them
  Mapping keybase;
  Generation names;
  Image keys_delta;
  Image keys_base;
  std::uint64_t generation = 0;
  dev_t control_device = 0;
  ino_t control_inode = 0;

  const Control& control_page() const { return *reinterpret_cast<const Control*>(control.data); }
};

enum class Parts { kNames, kNamesAndKeys };

/// Maps what is current in `directory`, or, when that is null, in the node's cache directory. Tries
/// three times when files vanish between the control word and their opening. False when there is
/// nothing sound to map; then nothing stays mapped. errno stays as it was, here and in all below.
bool map_generation(MappedGeneration& mapped, const char* directory, Parts parts);
void unmap_generation(MappedGeneration& mapped);

/// A hold on one generation for the length of one call.
struct Lease {
  const Generation* generation = nullptr;  // null: unavailable
  int slot = -1;                           // of the process's table; -1: `local`
};

/// Room for a generation mapped for one call; left as it is while the table serves.
union LocalGeneration {
  LocalGeneration() {}
  MappedGeneration mapped;
};

/// Pins the current generation of the process's table, or maps it for this call into `local`
/// (during the first few calls of a process, and whenever the table has no place).
Lease acquire_lease(LocalGeneration& local);
void release_lease(const Lease& lease, LocalGeneration& local);

#ifdef ROSTER_NSSCACHE_TESTING
/// Only in the variant of the reader that tests link; that one also honours ROSTER_CACHE_DIR as
/// root.
namespace testing {
extern bool keep_addresses;   // unmapping leaves an inaccessible range in place
void forget_process_state();  // as in a process that has just begun; one thread only
void skip_local_calls();      // the next call already keeps its mapping
void expire_checks();         // as if a second had passed
}  // namespace testing
#endif

}  // namespace roster::nsscache
