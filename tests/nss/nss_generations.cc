// A process that looks people up through glibc from before the first cache exists, and lives
// through very many generations, restarts of the publisher and a wiped directory, with a constant
// number of mappings. Runs where /etc/nsswitch.conf says "roster" for passwd and group, and the
// cache directory is its own. Usage: nss_generations DIRECTORY GENERATIONS

#include <errno.h>
#include <grp.h>
#include <pwd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <optional>

#include "nsscache/publisher.h"

namespace {

using namespace roster;

constexpr int kRestartEvery = 5000;
constexpr int kWipeEvery = 20000;

[[noreturn]] void fail_test(const std::string& what) {
  std::cerr << "nss_generations: " << what << "\n";
  std::exit(1);
}

nsscache::Publisher open_publisher(const std::filesystem::path& directory) {
  nsscache::PublisherOptions options;
  options.directory = directory;
  options.org = "acme";
  options.view = "default";
  auto publisher = nsscache::Publisher::open(options, system_now());
  if (!publisher) fail_test(publisher.error().message);
  publisher->set_local_rules({});
  return std::move(*publisher);
}

/// Mappings of delta files that are still held: the publisher has one, this process's reader one.
int held_deltas() {
  std::ifstream in("/proc/self/maps");
  int count = 0;
  for (std::string line; std::getline(in, line);) {
    if (line.find("/delta.1.") != std::string::npos) ++count;
  }
  return count;
}

std::string full_name(const char* login) {
  errno = 0;
  const struct passwd* entry = ::getpwnam(login);
  if (entry != nullptr) return entry->pw_gecos;
  return errno == EIO ? "unavailable" : "not found";
}

void publish(nsscache::Publisher& publisher, std::uint64_t k, Timestamp now) {
  const posix::NodeUser alice{.n = 1,
                              .seq = Seq{k},
                              .name = posix::LoginName::parse("alice").value(),
                              .uid = 10001,
                              .gid = 10001,
                              .gecos = std::to_string(k),
                              .home = "/home/alice",
                              .shell = "/bin/sh",
                              .groups = {1},
                              .keys = {}};
  const posix::NodeGroup group{.n = 1,
                               .seq = Seq{k},
                               .name = posix::GroupName::parse("g" + std::to_string(k)).value(),
                               .gid = 20001,
                               .parents = {}};
  if (!publisher.upsert_user(alice) || !publisher.upsert_group(group) ||
      !publisher.publish(std::to_string(k), "e", now)) {
    fail_test("cannot publish");
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const std::filesystem::path directory = argv[1];
  const std::uint64_t generations = std::stoull(argv[2]);
  for (int i = 0; i < 20; ++i) {
    if (const std::string seen = full_name("alice"); seen != "unavailable") {
      fail_test("before the first cache: " + seen);
    }
  }
  Timestamp now = system_now();
  std::optional<nsscache::Publisher> publisher(open_publisher(directory));
  int most = 0;
  for (std::uint64_t k = 1; k <= generations; ++k) {
    now += std::chrono::seconds(20);
    bool wiped = false;
    if (k % kRestartEvery == 0) {
      publisher.reset();
      wiped = k % kWipeEvery == 0;
      if (wiped) std::filesystem::remove_all(directory);
      publisher.emplace(open_publisher(directory));
    }
    publish(*publisher, k, now);
    if (wiped) {
      // The reader looks at the path once a second.
      while (full_name("alice") != std::to_string(k)) {
      }
    }
    if (full_name("alice") != std::to_string(k)) fail_test("not generation " + std::to_string(k));
    const struct group* group = ::getgrgid(20001);
    if (group == nullptr || group->gr_name != "g" + std::to_string(k) ||
        std::strcmp(group->gr_mem[0], "alice") != 0) {
      fail_test("another group in generation " + std::to_string(k));
    }
    if (k % 100 == 0) most = std::max(most, held_deltas());
  }
  if (most > 2) fail_test(std::to_string(most) + " deltas were mapped at once");
  std::cout << generations << " generations, at most " << most << " deltas mapped\n";
}
