// What publishing costs on a node: single changes one after the other, merges included, amortized;
// one membership in a large group; somebody who leaves a hundred groups. On the file system behind
// $TMPDIR. Set against a bound: one file of as many bytes, written, fsynced and renamed, and its
// directory fsynced, measured right after.
//   publish_bench [CHANGES [USERS...]]      default 10000 changes, 100000 and 1000000 users

#include <stdlib.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "base/file.h"
#include "nsscache/publisher.h"

namespace {

using namespace roster;
using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kGroups = 1000;
constexpr std::uint64_t kLargeGroup = 1;  // with 10,000 members
constexpr std::uint64_t kLargeMembers = 10000;

posix::NodeUser person(std::uint64_t n, std::uint64_t seq) {
  const std::string name = "user" + std::to_string(n);
  const auto uid = static_cast<std::uint32_t>(1'000'000 + n);
  std::vector<std::uint64_t> groups;
  if (n <= kLargeMembers) groups.push_back(kLargeGroup);
  for (std::uint64_t g = 0; g < 5; ++g) groups.push_back(2 + (n * 7 + g * 131) % (kGroups - 2));
  std::ranges::sort(groups);
  groups.erase(std::ranges::unique(groups).begin(), groups.end());
  posix::NodeUser user{.n = n,
                       .seq = Seq{seq},
                       .name = posix::LoginName::parse(name).value(),
                       .uid = uid,
                       .gid = uid,
                       .gecos = "User Number " + std::to_string(n),
                       .home = "/home/" + name,
                       .shell = "/bin/bash",
                       .groups = std::move(groups),
                       .keys = {}};
  for (int k = 0; k < 2; ++k) {
    user.keys.push_back(
        {.line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + std::string(43, 'k') + " " + name,
         .fingerprint = "SHA256:" + std::to_string(n) + std::string(36, 'f')});
  }
  return user;
}

struct Cost {
  std::vector<double> us;
  double bytes = 0;
  int merges = 0;

  void add(Clock::time_point begin, const nsscache::PublishStats& stats) {
    us.push_back(std::chrono::duration<double, std::micro>(Clock::now() - begin).count());
    bytes += static_cast<double>(stats.bytes_written);
    if (stats.merged) ++merges;
  }
  double mean_bytes() const { return bytes / static_cast<double>(us.size()); }
  void print(const char* what, std::uint64_t users, double bound_us) {
    std::ranges::sort(us);
    double sum = 0;
    for (const double value : us) sum += value;
    const auto at = [this](double share) {
      return us[static_cast<std::size_t>(share * static_cast<double>(us.size() - 1))];
    };
    const auto count = static_cast<double>(us.size());
    std::printf(
        "%-36s %8llu users  mean %8.0f us  median %7.0f  p99 %8.0f  max %9.0f  %8.0f B each  "
        "%d merges  bound %6.0f us  ratio %5.2f\n",
        what, static_cast<unsigned long long>(users), sum / count, at(0.5), at(0.99), at(1),
        bytes / count, merges, bound_us, sum / count / bound_us);
    std::fflush(stdout);
  }
};

class Node {
 public:
  Node(std::uint64_t users, const std::filesystem::path& directory)
      : users_(users), bound_file_(directory.parent_path() / "bound") {
    nsscache::PublisherOptions options;
    options.directory = directory;
    options.org = "acme";
    options.view = "default";
    options.allow_any_filesystem = true;
    publisher_ =
        std::make_unique<nsscache::Publisher>(nsscache::Publisher::open(options, now_).value());
    publisher_->set_local_rules({});
    const auto begin = Clock::now();
    CHECK(publisher_->begin_replace());
    for (std::uint64_t g = 1; g <= kGroups; ++g) {
      CHECK(publisher_->upsert_group(
          {.n = g,
           .seq = Seq{1},
           .name = posix::GroupName::parse("group" + std::to_string(g)).value(),
           .gid = static_cast<std::uint32_t>(20'000'000 + g),
           .parents = {}}));
    }
    for (std::uint64_t n = 1; n <= users; ++n) CHECK(publisher_->upsert_user(person(n, 1)));
    const auto stats = publisher_->publish("0", "e", now_);
    CHECK(stats);
    struct rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    std::printf("%-36s %8llu users  %.2f s  %.1f MB  peak memory %ld MiB\n", "first snapshot",
                static_cast<unsigned long long>(users),
                std::chrono::duration<double>(Clock::now() - begin).count(),
                static_cast<double>(stats->bytes_written) / 1e6, usage.ru_maxrss / 1024);
  }

  void change(posix::NodeUser user, Cost& cost) {
    now_ += std::chrono::milliseconds(100);
    const auto begin = Clock::now();
    CHECK(publisher_->upsert_user(std::move(user)));
    const auto stats = publisher_->publish(std::to_string(++seq_), "e", now_);
    CHECK(stats && stats->published);
    cost.add(begin, *stats);
  }

  void single_changes(int changes) {
    Cost cost;
    for (int i = 0; i < changes; ++i) {
      posix::NodeUser user = person(some_user(), seq_);
      user.gecos = "Change " + std::to_string(i);
      change(std::move(user), cost);
    }
    cost.print("single changes", users_, bound_us(cost));
  }
  void keys() {
    Cost cost;
    for (int i = 0; i < 1000; ++i) {
      posix::NodeUser user = person(some_user(), seq_);
      user.keys.pop_back();
      change(std::move(user), cost);
    }
    cost.print("one key less", users_, bound_us(cost));
  }
  void memberships() {
    Cost cost;
    for (std::uint64_t i = 0; i < 500; ++i) {
      posix::NodeUser user = person(i + 1, seq_);
      std::erase(user.groups, kLargeGroup);
      change(std::move(user), cost);
    }
    cost.print("one of 10,000 leaves the group", users_, bound_us(cost));
  }
  void leavers() {
    Cost join;
    Cost leave;
    for (std::uint64_t i = 0; i < 100; ++i) {
      posix::NodeUser user = person(20000 + i, seq_);
      user.groups.clear();
      for (std::uint64_t g = 0; g < 100; ++g) user.groups.push_back(2 + g * 9);
      change(user, join);
      user.locked = true;
      user.seq = Seq{seq_ + 1};
      change(std::move(user), leave);
    }
    leave.print("a leaver in 100 groups", users_, bound_us(leave));
  }

 private:
  std::uint64_t some_user() {
    random_ = random_ * 6364136223846793005u + 1442695040888963407u;
    return 1 + (random_ >> 33) % users_;
  }

  /// Mean of what the disk alone takes for as many bytes as one change of `cost`.
  double bound_us(const Cost& cost) const {
    constexpr int kFiles = 500;
    const std::string content(static_cast<std::size_t>(cost.mean_bytes()), 'b');
    const auto begin = Clock::now();
    for (int i = 0; i < kFiles; ++i) CHECK(write_file_atomic(bound_file_, content, 0600));
    return std::chrono::duration<double, std::micro>(Clock::now() - begin).count() / kFiles;
  }

  std::uint64_t users_;
  std::filesystem::path bound_file_;
  Timestamp now_ = system_now();
  std::unique_ptr<nsscache::Publisher> publisher_;
  std::uint64_t seq_ = 1;
  std::uint64_t random_ = 42;
};

}  // namespace

int main(int argc, char** argv) {
  const int changes = argc > 1 ? std::stoi(argv[1]) : 10000;
  std::vector<std::uint64_t> sizes;
  for (int i = 2; i < argc; ++i) sizes.push_back(std::stoull(argv[i]));
  if (sizes.empty()) sizes = {100000, 1000000};
  const char* temporary = ::getenv("TMPDIR");
  for (const std::uint64_t users : sizes) {
    std::string name = std::string(temporary != nullptr ? temporary : "/tmp") + "/publish-XXXXXX";
    CHECK(::mkdtemp(name.data()) != nullptr);
    {
      Node node(users, std::filesystem::path(name) / "cache");
      node.single_changes(changes);
      node.keys();
      node.memberships();
      node.leavers();
    }
    std::filesystem::remove_all(name);
  }
}
