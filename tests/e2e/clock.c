/* LD_PRELOAD: a program whose clock goes ahead by ROSTER_TEST_CLOCK_AHEAD_S seconds (or behind). */

#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec* now) {
  const long failed = syscall(SYS_clock_gettime, clock, now);
  if (failed == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
    const char* ahead = getenv("ROSTER_TEST_CLOCK_AHEAD_S");
    if (ahead != NULL) now->tv_sec += atol(ahead);
  }
  return (int)failed;
}

time_t time(time_t* out) {
  struct timespec now;
  if (clock_gettime(CLOCK_REALTIME, &now) != 0) return (time_t)-1;
  if (out != NULL) *out = now.tv_sec;
  return now.tv_sec;
}
