#pragma once

// What the NSS module and the key helper call. No allocation, no lock, no exceptions, no descriptor
// kept, only libc (FORMAT.md "Reader"). Safe to call from any thread and after fork.

#include <grp.h>
#include <pwd.h>
#include <shadow.h>

#include <cstddef>
#include <cstdint>

#include "nsscache/mapping.h"

namespace roster::nsscache {

enum class Answer {
  kFound,
  kNotFound,     // known not to exist
  kUnavailable,  // no cache, or a damaged one: nothing is known
  kTooSmall,     // the buffer is; nothing was written that matters
};

/// Shell of a locked account, in the place where every distribution since the merged /usr has it.
inline constexpr char kNologinShell[] = "/usr/sbin/nologin";

/// getpwnam_r(3), getpwuid_r(3), getgrnam_r(3), getgrgid_r(3), getspnam_r(3): strings go to
/// `buffer`. kTooSmall exactly when they do not fit.
Answer read_passwd(const char* name, struct passwd& result, char* buffer, std::size_t bytes);
Answer read_passwd(uid_t uid, struct passwd& result, char* buffer, std::size_t bytes);
Answer read_group(const char* name, struct group& result, char* buffer, std::size_t bytes);
Answer read_group(gid_t gid, struct group& result, char* buffer, std::size_t bytes);
Answer read_shadow(const char* name, struct spwd& result, char* buffer, std::size_t bytes);

struct GidsResult {
  Answer answer;
  std::size_t count;  // kFound: written; kTooSmall: needed
};
/// Supplementary groups of a user, nested ones included, without `skip`; at most `capacity` are
/// written.
GidsResult read_gids(const char* name, gid_t skip, gid_t* gids, std::size_t capacity);

/// A walk over all entries of one generation, held from open to close.
struct Enumeration {
  MappedGeneration mapped;
  std::uint32_t stage = 0;
  std::uint32_t next = 0;
  bool is_open = false;
};
Answer open_enumeration(Enumeration& walk);
void close_enumeration(Enumeration& walk);
/// kNotFound at the end; kTooSmall leaves the walk where it is.
Answer next_passwd(Enumeration& walk, struct passwd& result, char* buffer, std::size_t bytes);
Answer next_group(Enumeration& walk, struct group& result, char* buffer, std::size_t bytes);

struct KeyQuery {
  const char* name;
  std::uint32_t uid;        // must be the record's
  const char* fingerprint;  // only the key with this one ("SHA256:..."); null: all
  std::int64_t now_s;       // Unix time
};
enum class KeyAnswer {
  kKnown,        // every key that holds was given, perhaps none
  kUnknown,      // no such user here, or none that may log in
  kStale,        // the hub was not heard of for longer than this node allows
  kUnavailable,  // no cache, a damaged one, or no right to read the keys
};
/// Calls emit(context, line, bytes) for each key; lines have no newline. `directory` null: the
/// node's cache.
KeyAnswer read_keys(const char* directory, const KeyQuery& query,
                    void (*emit)(void* context, const char* line, std::size_t bytes),
                    void* context);

}  // namespace roster::nsscache
