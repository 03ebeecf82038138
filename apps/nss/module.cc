// libnss_roster.so.2: glibc's entry points (nss.h, "Name Service Switch" in the glibc manual) over
// the node cache. It is loaded into every process of a node: it owns nothing and throws nothing.

#include <errno.h>
#include <nss.h>
#include <stdlib.h>

#include <atomic>

#include "nsscache/reader.h"

namespace {

namespace cache = roster::nsscache;

/// Unavailable is said with EIO, so that a caller can tell it from "no such user"; a buffer that is
/// too small with ERANGE, upon which glibc calls again with a larger one.
nss_status status_of(cache::Answer answer, int* errnop) {
  switch (answer) {
    case cache::Answer::kFound:
      return NSS_STATUS_SUCCESS;
    case cache::Answer::kNotFound:
      return NSS_STATUS_NOTFOUND;
    case cache::Answer::kTooSmall:
      *errnop = ERANGE;
      return NSS_STATUS_TRYAGAIN;
    case cache::Answer::kUnavailable:
      break;
  }
  *errnop = EIO;
  return NSS_STATUS_UNAVAIL;
}

/// The walk of set-, get- and endXXent. glibc serializes these calls within its own lock; anybody
/// else who calls at the same time is told to try again.
class Walk {
 public:
  nss_status open(int* errnop) {
    const Hold hold(*this);
    if (!hold) return busy(errnop);
    return status_of(cache::open_enumeration(walk_), errnop);
  }

  nss_status close() {
    const Hold hold(*this);
    if (hold) cache::close_enumeration(walk_);
    return NSS_STATUS_SUCCESS;
  }

  template <typename Next>
  nss_status next(int* errnop, Next&& next_entry) {
    const Hold hold(*this);
    if (!hold) return busy(errnop);
    if (!walk_.is_open) {
      const cache::Answer opened = cache::open_enumeration(walk_);
      if (opened != cache::Answer::kFound) return status_of(opened, errnop);
    }
    const cache::Answer answer = next_entry(walk_);
    // The end is told with ENOENT: getXXent_r(3) returns errno to its caller.
    if (answer == cache::Answer::kNotFound) *errnop = ENOENT;
    return status_of(answer, errnop);
  }

 private:
  class Hold {
   public:
    explicit Hold(Walk& walk) : walk_(walk), held_(!walk.busy_.exchange(true)) {}
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;
    ~Hold() {
      if (held_) walk_.busy_.store(false);
    }
    explicit operator bool() const { return held_; }

   private:
    Walk& walk_;
    bool held_;
  };

  static nss_status busy(int* errnop) {
    *errnop = EAGAIN;
    return NSS_STATUS_TRYAGAIN;
  }

  std::atomic<bool> busy_{false};
  cache::Enumeration walk_;
};

constinit Walk users;
constinit Walk groups;

/// Makes room for `needed` more ids behind `start`, within glibc's limit (0 or less: none).
bool grow(long start, long needed, long limit, long* size, gid_t** gids) {
  long wanted = start + needed;
  if (wanted < 2 * *size) wanted = 2 * *size;
  if (limit > 0 && wanted > limit) wanted = limit;
  if (wanted <= *size) return false;
  void* grown = realloc(*gids, static_cast<size_t>(wanted) * sizeof(gid_t));
  if (grown == nullptr) return false;
  *gids = static_cast<gid_t*>(grown);
  *size = wanted;
  return true;
}

}  // namespace

#define ROSTER_EXPORT extern "C" __attribute__((visibility("default")))

ROSTER_EXPORT nss_status _nss_roster_getpwnam_r(const char* name, struct passwd* result,
                                                char* buffer, size_t bytes, int* errnop) {
  return status_of(cache::read_passwd(name, *result, buffer, bytes), errnop);
}

ROSTER_EXPORT nss_status _nss_roster_getpwuid_r(uid_t uid, struct passwd* result, char* buffer,
                                                size_t bytes, int* errnop) {
  return status_of(cache::read_passwd(uid, *result, buffer, bytes), errnop);
}

ROSTER_EXPORT nss_status _nss_roster_getgrnam_r(const char* name, struct group* result,
                                                char* buffer, size_t bytes, int* errnop) {
  return status_of(cache::read_group(name, *result, buffer, bytes), errnop);
}

ROSTER_EXPORT nss_status _nss_roster_getgrgid_r(gid_t gid, struct group* result, char* buffer,
                                                size_t bytes, int* errnop) {
  return status_of(cache::read_group(gid, *result, buffer, bytes), errnop);
}

ROSTER_EXPORT nss_status _nss_roster_getspnam_r(const char* name, struct spwd* result, char* buffer,
                                                size_t bytes, int* errnop) {
  return status_of(cache::read_shadow(name, *result, buffer, bytes), errnop);
}

/// Appends the user's groups to (*gids)[*start...]; `group` is there already.
ROSTER_EXPORT nss_status _nss_roster_initgroups_dyn(const char* user, gid_t group, long* start,
                                                    long* size, gid_t** gids, long limit,
                                                    int* errnop) {
  while (true) {
    const long room = *size > *start ? *size - *start : 0;
    const cache::GidsResult result =
        cache::read_gids(user, group, *gids + *start, static_cast<size_t>(room));
    if (result.answer == cache::Answer::kFound) *start += static_cast<long>(result.count);
    if (result.answer != cache::Answer::kTooSmall) return status_of(result.answer, errnop);
    if (limit > 0 && *size >= limit) {  // the caller wants no more than this
      *start += room;
      return NSS_STATUS_SUCCESS;
    }
    if (!grow(*start, static_cast<long>(result.count), limit, size, gids)) {
      *errnop = ENOMEM;
      return NSS_STATUS_TRYAGAIN;
    }
  }
}

ROSTER_EXPORT nss_status _nss_roster_setpwent(int /*stay_open*/) {
  int ignored = 0;
  return users.open(&ignored);
}

ROSTER_EXPORT nss_status _nss_roster_endpwent() { return users.close(); }

ROSTER_EXPORT nss_status _nss_roster_getpwent_r(struct passwd* result, char* buffer, size_t bytes,
                                                int* errnop) {
  return users.next(errnop, [&](cache::Enumeration& walk) {
    return cache::next_passwd(walk, *result, buffer, bytes);
  });
}

ROSTER_EXPORT nss_status _nss_roster_setgrent(int /*stay_open*/) {
  int ignored = 0;
  return groups.open(&ignored);
}

ROSTER_EXPORT nss_status _nss_roster_endgrent() { return groups.close(); }

ROSTER_EXPORT nss_status _nss_roster_getgrent_r(struct group* result, char* buffer, size_t bytes,
                                                int* errnop) {
  return groups.next(errnop, [&](cache::Enumeration& walk) {
    return cache::next_group(walk, *result, buffer, bytes);
  });
}
