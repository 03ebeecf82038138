// LD_PRELOAD library: records what a program does to the files below one directory, so that a test
// can build every state in which a power loss may leave them. ROSTER_RECORD_DIR is the directory,
// ROSTER_RECORD_LOG the file that gets the records (power_loss_test.py reads them).
//
// Each record is a Head, then `text_bytes` of path(s), then `data_bytes` of data. It is written
// when the call has returned, so a change is never later in the log than what the program did
// knowing of it. Syncs are written when they begin and when they end: only what stands in the log
// before the beginning counts as durable at the end. Pages that are mapped for writing are compared
// with their last known content before each record.

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum Kind {
  kOpen = 1,    // path; file; a: created, b: truncated, c: is a directory
  kWrite,       // file; a: offset; data
  kTruncate,    // file; a: size
  kAllocate,    // file; a: offset, b: length, c: mode
  kSyncBegin,   // file; a: number of the sync
  kSyncEnd,     // file; a: number of the sync, b: 1 when it succeeded
  kRename,      // "from\0to"
  kUnlink,      // path
  kMakeDir,     // path
  kChangeMode,  // file; a: mode
};

struct Head {
  uint32_t kind;
  uint32_t text_bytes;
  uint64_t data_bytes;
  uint64_t file;  // inode
  int64_t a;
  int64_t b;
  int64_t c;
};

enum { kFiles = 4096, kMaps = 64 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static char root[PATH_MAX];
static size_t root_bytes;
static int log_fd = -1;
static uint64_t tracked[kFiles];  // by descriptor: inode, 0 for what is not below the directory
static int64_t syncs;
static struct {
  char* at;
  char* known;
  size_t bytes;
  uint64_t file;
  off_t offset;
} maps[kMaps];

static void* real(const char* name) {
  void* function = dlsym(RTLD_NEXT, name);
  if (function == NULL) abort();
  return function;
}
#define REAL(name) ((__typeof__(&name))real(#name))

static void put(const void* bytes, size_t count) {
  const char* at = bytes;
  while (count > 0) {
    const long done = syscall(SYS_write, log_fd, at, count);
    if (done < 0) abort();
    at += done;
    count -= (size_t)done;
  }
}

static void put_record(enum Kind kind, uint64_t file, const char* text, size_t text_bytes,
                       const void* data, size_t data_bytes, int64_t a, int64_t b, int64_t c) {
  const struct Head head = {(uint32_t)kind, (uint32_t)text_bytes, data_bytes, file, a, b, c};
  put(&head, sizeof head);
  put(text, text_bytes);
  put(data, data_bytes);
}

static void put_mapped_changes(void) {
  for (int i = 0; i < kMaps; ++i) {
    if (maps[i].at == NULL) continue;
    for (size_t word = 0; word + 8 <= maps[i].bytes; word += 8) {
      uint64_t now = __atomic_load_n((uint64_t*)(void*)(maps[i].at + word), __ATOMIC_ACQUIRE);
      if (memcmp(maps[i].known + word, &now, 8) == 0) continue;
      memcpy(maps[i].known + word, &now, 8);
      put_record(kWrite, maps[i].file, "", 0, &now, 8, maps[i].offset + (off_t)word, 0, 0);
    }
  }
}

static void record(enum Kind kind, uint64_t file, const char* text, size_t text_bytes,
                   const void* data, size_t data_bytes, int64_t a, int64_t b, int64_t c) {
  put_mapped_changes();
  put_record(kind, file, text, text_bytes, data, data_bytes, a, b, c);
}

__attribute__((constructor)) static void begin(void) {
  const char* directory = getenv("ROSTER_RECORD_DIR");
  const char* log = getenv("ROSTER_RECORD_LOG");
  if (directory == NULL || log == NULL || realpath(directory, root) == NULL) return;
  root_bytes = strlen(root);
  const int fd = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND, 0600);
  if (fd < 0) abort();
  log_fd = (int)syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 1000);
  syscall(SYS_close, fd);
  if (log_fd < 0) abort();
}

// Path relative to the directory ("" for itself) in `out`; 0 when it lies elsewhere.
static int inside(int at, const char* path, char out[PATH_MAX]) {
  char full[2 * PATH_MAX];
  if (log_fd < 0 || path == NULL) return 0;
  if (path[0] == '/') {
    snprintf(full, sizeof full, "%s", path);
  } else {
    char link[64], base[PATH_MAX];
    snprintf(link, sizeof link, at == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", at);
    const ssize_t bytes = readlink(link, base, sizeof base - 1);
    if (bytes < 0) return 0;
    base[bytes] = 0;
    if (strcmp(path, ".") == 0) {
      snprintf(full, sizeof full, "%s", base);
    } else {
      snprintf(full, sizeof full, "%s/%s", base, path);
    }
  }
  if (strncmp(full, root, root_bytes) != 0) return 0;
  const char* rest = full + root_bytes;
  if (*rest != '/' && *rest != 0) return 0;
  while (*rest == '/') ++rest;
  snprintf(out, PATH_MAX, "%.*s", PATH_MAX - 1, rest);
  return 1;
}

static uint64_t file_of(int fd) { return fd >= 0 && fd < kFiles ? tracked[fd] : 0; }

static int opened(int at, const char* path, int flags, mode_t mode) {
  char name[PATH_MAX];
  if (!inside(at, path, name)) {
    const int elsewhere = (int)syscall(SYS_openat, at, path, flags, mode);
    if (elsewhere >= 0 && elsewhere < kFiles) tracked[elsewhere] = 0;
    return elsewhere;
  }
  pthread_mutex_lock(&mutex);
  struct stat before, after;
  const int existed = fstatat(at, path, &before, 0) == 0;
  const int fd = (int)syscall(SYS_openat, at, path, flags, mode);
  const int error = errno;
  if (fd >= 0 && fstat(fd, &after) == 0) {
    if (fd >= kFiles) abort();
    tracked[fd] = after.st_ino;
    const int truncated = existed && (flags & O_TRUNC) != 0;
    record(kOpen, after.st_ino, name, strlen(name), "", 0, !existed, truncated,
           S_ISDIR(after.st_mode));
    if (!existed) record(kChangeMode, after.st_ino, "", 0, "", 0, after.st_mode & 07777, 0, 0);
  }
  pthread_mutex_unlock(&mutex);
  errno = error;
  return fd;
}

#define MODE_OF(flags)                          \
  mode_t mode = 0;                              \
  if (((flags) & (O_CREAT | O_TMPFILE)) != 0) { \
    va_list rest;                               \
    va_start(rest, flags);                      \
    mode = va_arg(rest, mode_t);                \
    va_end(rest);                               \
  }

int open(const char* path, int flags, ...) {
  MODE_OF(flags)
  return opened(AT_FDCWD, path, flags, mode);
}
int open64(const char* path, int flags, ...) {
  MODE_OF(flags)
  return opened(AT_FDCWD, path, flags, mode);
}
int openat(int at, const char* path, int flags, ...) {
  MODE_OF(flags)
  return opened(at, path, flags, mode);
}
int openat64(int at, const char* path, int flags, ...) {
  MODE_OF(flags)
  return opened(at, path, flags, mode);
}
int __open_2(const char* path, int flags) { return opened(AT_FDCWD, path, flags, 0); }
int __open64_2(const char* path, int flags) { return opened(AT_FDCWD, path, flags, 0); }
int __openat_2(int at, const char* path, int flags) { return opened(at, path, flags, 0); }
int __openat64_2(int at, const char* path, int flags) { return opened(at, path, flags, 0); }

int close(int fd) {
  if (fd == log_fd && fd >= 0) return 0;
  if (fd >= 0 && fd < kFiles) tracked[fd] = 0;
  return (int)syscall(SYS_close, fd);
}

// Closes without a call of close(2) that could be seen.
int closedir(DIR* directory) {
  const int fd = dirfd(directory);
  if (fd >= 0 && fd < kFiles) tracked[fd] = 0;
  return REAL(closedir)(directory);
}

static ssize_t written(int fd, const void* data, ssize_t done, off_t offset) {
  const int error = errno;
  if (done > 0) {
    record(kWrite, file_of(fd), "", 0, data, (size_t)done, offset, 0, 0);
  }
  errno = error;
  return done;
}

ssize_t write(int fd, const void* data, size_t bytes) {
  if (file_of(fd) == 0) return syscall(SYS_write, fd, data, bytes);
  pthread_mutex_lock(&mutex);
  ssize_t done = syscall(SYS_write, fd, data, bytes);
  done = written(fd, data, done, done > 0 ? lseek(fd, 0, SEEK_CUR) - done : 0);
  pthread_mutex_unlock(&mutex);
  return done;
}

ssize_t pwrite(int fd, const void* data, size_t bytes, off_t offset) {
  if (file_of(fd) == 0) return syscall(SYS_pwrite64, fd, data, bytes, offset);
  pthread_mutex_lock(&mutex);
  const ssize_t done = written(fd, data, syscall(SYS_pwrite64, fd, data, bytes, offset), offset);
  pthread_mutex_unlock(&mutex);
  return done;
}
ssize_t pwrite64(int fd, const void* data, size_t bytes, off64_t offset) {
  return pwrite(fd, data, bytes, offset);
}

// Never partial in these programs' files; what is not modelled must not pass unseen.
ssize_t writev(int fd, const struct iovec* parts, int count) {
  if (file_of(fd) != 0) abort();
  return syscall(SYS_writev, fd, parts, count);
}
ssize_t pwritev(int fd, const struct iovec* parts, int count, off_t offset) {
  if (file_of(fd) != 0) abort();
  return REAL(pwritev)(fd, parts, count, offset);
}

int ftruncate(int fd, off_t size) {
  if (file_of(fd) == 0) return (int)syscall(SYS_ftruncate, fd, size);
  pthread_mutex_lock(&mutex);
  const int done = (int)syscall(SYS_ftruncate, fd, size);
  const int error = errno;
  if (done == 0) record(kTruncate, file_of(fd), "", 0, "", 0, size, 0, 0);
  pthread_mutex_unlock(&mutex);
  errno = error;
  return done;
}
int ftruncate64(int fd, off64_t size) { return ftruncate(fd, size); }

int fallocate(int fd, int mode, off_t offset, off_t bytes) {
  if (file_of(fd) == 0) return (int)syscall(SYS_fallocate, fd, mode, offset, bytes);
  pthread_mutex_lock(&mutex);
  const int done = (int)syscall(SYS_fallocate, fd, mode, offset, bytes);
  const int error = errno;
  if (done == 0) record(kAllocate, file_of(fd), "", 0, "", 0, offset, bytes, mode);
  pthread_mutex_unlock(&mutex);
  errno = error;
  return done;
}
int fallocate64(int fd, int mode, off64_t offset, off64_t bytes) {
  return fallocate(fd, mode, offset, bytes);
}
int posix_fallocate(int fd, off_t offset, off_t bytes) {
  return fallocate(fd, 0, offset, bytes) == 0 ? 0 : errno;
}
int posix_fallocate64(int fd, off64_t offset, off64_t bytes) {
  return posix_fallocate(fd, offset, bytes);
}

static int64_t sync_begins(uint64_t file) {
  pthread_mutex_lock(&mutex);
  const int64_t number = ++syncs;
  record(kSyncBegin, file, "", 0, "", 0, number, 0, 0);
  pthread_mutex_unlock(&mutex);
  return number;
}

static int sync_ends(uint64_t file, int64_t number, int done) {
  const int error = errno;
  pthread_mutex_lock(&mutex);
  record(kSyncEnd, file, "", 0, "", 0, number, done == 0, 0);
  pthread_mutex_unlock(&mutex);
  errno = error;
  return done;
}

int fsync(int fd) {
  const uint64_t file = file_of(fd);
  if (file == 0) return (int)syscall(SYS_fsync, fd);
  const int64_t number = sync_begins(file);
  return sync_ends(file, number, (int)syscall(SYS_fsync, fd));
}
int fdatasync(int fd) {
  const uint64_t file = file_of(fd);
  if (file == 0) return (int)syscall(SYS_fdatasync, fd);
  const int64_t number = sync_begins(file);
  return sync_ends(file, number, (int)syscall(SYS_fdatasync, fd));
}

static int map_at(const void* at) {
  for (int i = 0; i < kMaps; ++i) {
    if (maps[i].at != NULL && maps[i].at == at) return i;
  }
  return -1;
}

int msync(void* at, size_t bytes, int flags) {
  const int map = map_at(at);
  if (map < 0) return (int)syscall(SYS_msync, at, bytes, flags);
  const uint64_t file = maps[map].file;
  const int64_t number = sync_begins(file);
  return sync_ends(file, number, (int)syscall(SYS_msync, at, bytes, flags));
}

static int is_shared_memory_index(int fd) {
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t bytes = readlink(link, path, sizeof path - 1);
  return bytes > 4 && memcmp(path + bytes - 4, "-shm", 4) == 0;
}

void* mmap(void* at, size_t bytes, int protection, int flags, int fd, off_t offset) {
  void* result = (void*)syscall(SYS_mmap, at, bytes, protection, flags, fd, offset);
  if (result == MAP_FAILED || file_of(fd) == 0 || (protection & PROT_WRITE) == 0 ||
      (flags & MAP_SHARED) == 0 || is_shared_memory_index(fd)) {
    return result;
  }
  pthread_mutex_lock(&mutex);
  int free_map = 0;
  while (free_map < kMaps && maps[free_map].at != NULL) ++free_map;
  if (free_map == kMaps) abort();
  maps[free_map].known = malloc(bytes);
  memcpy(maps[free_map].known, result, bytes);
  maps[free_map].bytes = bytes;
  maps[free_map].file = file_of(fd);
  maps[free_map].offset = offset;
  maps[free_map].at = result;
  pthread_mutex_unlock(&mutex);
  return result;
}
void* mmap64(void* at, size_t bytes, int protection, int flags, int fd, off64_t offset) {
  return mmap(at, bytes, protection, flags, fd, offset);
}

int munmap(void* at, size_t bytes) {
  pthread_mutex_lock(&mutex);
  const int map = map_at(at);
  if (map >= 0) {
    put_mapped_changes();
    free(maps[map].known);
    memset(&maps[map], 0, sizeof maps[map]);
  }
  pthread_mutex_unlock(&mutex);
  return (int)syscall(SYS_munmap, at, bytes);
}

int renameat2(int from_at, const char* from, int to_at, const char* to, unsigned flags) {
  char names[2 * PATH_MAX], target[PATH_MAX];
  if (!inside(from_at, from, names) || !inside(to_at, to, target)) {
    return (int)syscall(SYS_renameat2, from_at, from, to_at, to, flags);
  }
  if (flags != 0) abort();
  pthread_mutex_lock(&mutex);
  const int done = (int)syscall(SYS_renameat2, from_at, from, to_at, to, flags);
  const int error = errno;
  const size_t first = strlen(names) + 1;
  memcpy(names + first, target, strlen(target));
  if (done == 0) record(kRename, 0, names, first + strlen(target), "", 0, 0, 0, 0);
  pthread_mutex_unlock(&mutex);
  errno = error;
  return done;
}
int renameat(int from_at, const char* from, int to_at, const char* to) {
  return renameat2(from_at, from, to_at, to, 0);
}
int rename(const char* from, const char* to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0); }

int unlinkat(int at, const char* path, int flags) {
  char name[PATH_MAX];
  if (!inside(at, path, name)) return (int)syscall(SYS_unlinkat, at, path, flags);
  pthread_mutex_lock(&mutex);
  const int done = (int)syscall(SYS_unlinkat, at, path, flags);
  const int error = errno;
  if (done == 0) record(kUnlink, 0, name, strlen(name), "", 0, 0, 0, 0);
  pthread_mutex_unlock(&mutex);
  errno = error;
  return done;
}
int unlink(const char* path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char* path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int mkdirat(int at, const char* path, mode_t mode) {
  char name[PATH_MAX];
  if (!inside(at, path, name)) return (int)syscall(SYS_mkdirat, at, path, mode);
  pthread_mutex_lock(&mutex);
  const int done = (int)syscall(SYS_mkdirat, at, path, mode);
  const int error = errno;
  if (done == 0) record(kMakeDir, 0, name, strlen(name), "", 0, 0, 0, 0);
  pthread_mutex_unlock(&mutex);
  errno = error;
  return done;
}
int mkdir(const char* path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

// std::filesystem::remove.
int remove(const char* path) {
  struct stat status;
  if (lstat(path, &status) == 0 && S_ISDIR(status.st_mode)) return rmdir(path);
  return unlink(path);
}

int fchmod(int fd, mode_t mode) {
  const int done = (int)syscall(SYS_fchmod, fd, mode);
  const int error = errno;
  if (done == 0 && file_of(fd) != 0) {
    pthread_mutex_lock(&mutex);
    record(kChangeMode, file_of(fd), "", 0, "", 0, mode & 07777, 0, 0);
    pthread_mutex_unlock(&mutex);
  }
  errno = error;
  return done;
}
