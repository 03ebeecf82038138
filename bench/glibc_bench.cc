// Lookups as programs make them, getpwnam_r and the others of glibc, with the NSS module and with a
// module that knows every answer at once (libnss_floor.so.2): what is left then is glibc's own, for
// it stats /etc/nsswitch.conf at each call. Windows of both alternate; the ratio is of the medians.
// Needs root, for a private mount namespace with an nsswitch.conf of its own, and a node's cache
// with the people person0@... to personN-1@... in it.
//   glibc_bench PEOPLE SCRATCH-FILE

#include <grp.h>
#include <pwd.h>
#include <sched.h>
#include <sys/mount.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/result.h"

namespace {

using namespace roster;

constexpr std::size_t kCalls = 32'768;
constexpr std::size_t kWindows = 9;

const char* scratch_file = nullptr;

/// In place: the file is the one that is mounted over nsswitch.conf.
void serve(const std::string& service) {
  std::FILE* file = std::fopen(scratch_file, "w");
  CHECK(file != nullptr);
  std::fprintf(file, "passwd: %s\ngroup: %s\n", service.c_str(), service.c_str());
  CHECK(std::fclose(file) == 0);
}

void enter_namespace() {
  serve("roster");
  if (::unshare(CLONE_NEWNS) != 0 ||
      ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      ::mount(scratch_file, "/etc/nsswitch.conf", nullptr, MS_BIND, nullptr) != 0) {
    std::perror("glibc_bench: a private mount namespace");
    std::exit(1);
  }
}

/// Of this thread, in ns, the kernel's part included.
double cpu_ns() {
  struct timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

template <typename Call>
double window(const char* service, Call&& call) {
  serve(service);
  for (std::size_t i = 0; i < 16; ++i) call(i);  // glibc reads its configuration anew
  const double begin = cpu_ns();
  for (std::size_t i = 0; i < kCalls; ++i) call(i);
  return (cpu_ns() - begin) / static_cast<double>(kCalls);
}

template <typename Call>
void compare(const char* what, std::uint64_t people, Call&& call) {
  window("roster", call);
  window("floor", call);
  std::vector<double> module;
  std::vector<double> floor;
  for (std::size_t i = 0; i < kWindows; ++i) {
    module.push_back(window("roster", call));
    floor.push_back(window("floor", call));
  }
  std::printf("%-28s %9llu users  glibc %7.0f ns  its floor %7.0f ns  ratio %5.2f\n", what,
              static_cast<unsigned long long>(people), median(module), median(floor),
              median(module) / median(floor));
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: glibc_bench PEOPLE SCRATCH-FILE\n");
    return 2;
  }
  const std::uint64_t people = std::strtoull(argv[1], nullptr, 10);
  CHECK(people > 0);
  scratch_file = argv[2];
  enter_namespace();
  std::mt19937_64 random(1);
  std::vector<std::string> names;
  std::vector<std::string> unknown;
  std::vector<uid_t> uids;
  struct passwd user{};
  struct passwd* found = nullptr;
  struct group group{};
  struct group* found_group = nullptr;
  static char buffer[1 << 16];
  for (std::size_t i = 0; i < kCalls; ++i) {
    names.push_back("person" + std::to_string(random() % people));
    unknown.push_back("nobody" + std::to_string(random() % people));
    CHECK(::getpwnam_r(names.back().c_str(), &user, buffer, sizeof buffer, &found) == 0);
    CHECK(found != nullptr);
    uids.push_back(user.pw_uid);
  }
  compare("getpwnam", people, [&](std::size_t i) {
    CHECK(::getpwnam_r(names[i].c_str(), &user, buffer, sizeof buffer, &found) == 0 &&
          found != nullptr);
  });
  compare("getpwnam, unknown", people, [&](std::size_t i) {
    CHECK(::getpwnam_r(unknown[i].c_str(), &user, buffer, sizeof buffer, &found) == 0 &&
          found == nullptr);
  });
  compare("getpwuid", people, [&](std::size_t i) {
    CHECK(::getpwuid_r(uids[i], &user, buffer, sizeof buffer, &found) == 0 && found != nullptr);
  });
  compare("getgrgid, private group", people, [&](std::size_t i) {
    CHECK(::getgrgid_r(uids[i], &group, buffer, sizeof buffer, &found_group) == 0 &&
          found_group != nullptr);
  });
}
