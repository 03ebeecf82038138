// What a lookup costs: the NSS module, called as glibc calls it, against a bound that is as fast as
// this machine allows: a hand-written open-addressing table in a mapped file, without freshness,
// checks, states or nesting. Windows of both alternate, and the ratio is of the medians. The key
// helper's start is set against an empty static program.
//   nss_bench [USERS...]      default 1000 10000 100000 1000000

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <nss.h>
#include <pwd.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "base/file.h"
#include "nsscache/image.h"
#include "nsscache/publisher.h"

extern char** environ;

namespace {

using namespace roster;
using Clock = std::chrono::steady_clock;

constexpr std::uint32_t kUidBase = 1'000'000;
constexpr std::uint32_t kGidBase = 20'000'000;
constexpr std::size_t kMembers = 50;
constexpr std::size_t kKeys = 65536;
constexpr std::size_t kWindows = 9;
constexpr std::uint64_t kBusyUsers = 32;  // are in the first kBusyGroups groups, all of them
constexpr std::uint64_t kBusyGroups = 1000;

std::string login(std::uint64_t n) { return "user" + std::to_string(n); }

struct Population {
  std::uint64_t users;
  std::uint64_t groups() const { return std::max<std::uint64_t>(kBusyGroups, users / 100); }
  /// Everybody is in kMembers / 100 groups on average; members of a group are spread over all
  /// users but the busy ones, who are in no others.
  std::vector<std::uint64_t> members(std::uint64_t group) const {
    std::vector<std::uint64_t> out;
    std::mt19937_64 random(group + 1);
    for (std::uint64_t n = 0; group < kBusyGroups && n < kBusyUsers; ++n) out.push_back(n);
    while (out.size() < kMembers) {
      const std::uint64_t user = kBusyUsers + random() % (users - kBusyUsers);
      if (std::ranges::find(out, user) == out.end()) out.push_back(user);
    }
    std::ranges::sort(out);
    return out;
  }
};

// ---- the bound
// ------------------------------------------------------------------------------------

/// A mapped file: slots {hash, offset} of a power of two at most half full, and the records behind
/// them.
class BoundTable {
 public:
  void add(std::uint64_t hash, std::string_view record) {
    pending_.push_back({hash, bytes_.size()});
    bytes_.append(record);
    bytes_.resize((bytes_.size() + 7) / 8 * 8);
  }
  void seal(const std::filesystem::path& path) {
    std::size_t slots = 16;
    while (slots < pending_.size() * 2) slots *= 2;
    std::vector<Slot> table(slots, Slot{0, ~0ull});
    for (const Slot& entry : pending_) {
      std::size_t at = entry.hash & (slots - 1);
      while (table[at].offset != ~0ull) at = (at + 1) & (slots - 1);
      table[at] = entry;
    }
    std::ofstream file(path, std::ios::binary);
    file.write(reinterpret_cast<const char*>(table.data()),
               static_cast<std::streamsize>(slots * sizeof(Slot)));
    file.write(bytes_.data(), static_cast<std::streamsize>(bytes_.size()));
    file.close();
    const UniqueFd fd(::open(path.c_str(), O_RDONLY));
    const std::size_t size = slots * sizeof(Slot) + bytes_.size();
    void* map = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd.get(), 0);
    CHECK(map != MAP_FAILED);
    table_ = static_cast<const Slot*>(map);
    records_ = static_cast<const char*>(map) + slots * sizeof(Slot);
    mask_ = slots - 1;
    pending_ = {};
    bytes_ = {};
  }
  template <typename Matches>
  const char* find(std::uint64_t hash, Matches&& matches) const {
    for (std::size_t at = hash & mask_; table_[at].offset != ~0ull; at = (at + 1) & mask_) {
      if (table_[at].hash == hash && matches(records_ + table_[at].offset)) {
        return records_ + table_[at].offset;
      }
    }
    return nullptr;
  }

 private:
  struct Slot {
    std::uint64_t hash;
    std::uint64_t offset;
  };
  std::vector<Slot> pending_;
  std::string bytes_;
  const Slot* table_ = nullptr;
  const char* records_ = nullptr;
  std::size_t mask_ = 0;
};

struct BoundUser {
  std::uint32_t uid, gid;
  std::uint16_t name, gecos, home, shell;  // bytes with their NUL
};
struct BoundGroup {
  std::uint32_t gid, members, member_bytes, name;
};

template <typename Head>
std::string record(const Head& head, std::initializer_list<std::string_view> texts) {
  std::string out(reinterpret_cast<const char*>(&head), sizeof head);
  for (const std::string_view text : texts) {
    out.append(text);
    out.push_back('\0');
  }
  return out;
}

/// Passwd by name and uid, group by gid, gids by name: what a bare reader of one fixed file can do.
class Bound {
 public:
  Bound(const Population& people, const std::filesystem::path& directory) {
    for (std::uint64_t n = 0; n < people.users; ++n) {
      const std::string name = login(n);
      const std::string gecos = "User Number " + std::to_string(n);
      const std::string home = "/home/" + name;
      const auto uid = static_cast<std::uint32_t>(kUidBase + n);
      const BoundUser head{uid,
                           uid,
                           static_cast<std::uint16_t>(name.size() + 1),
                           static_cast<std::uint16_t>(gecos.size() + 1),
                           static_cast<std::uint16_t>(home.size() + 1),
                           10};
      const std::string bytes = record(head, {name, gecos, home, "/bin/bash"});
      by_name_.add(hash(name.c_str()), bytes);
      by_uid_.add(nsscache::hash_number(uid, 1), bytes);
    }
    std::vector<std::uint32_t> busy;
    for (std::uint64_t g = 0; g < people.groups(); ++g) {
      const auto gid = static_cast<std::uint32_t>(kGidBase + g);
      std::string members;
      for (const std::uint64_t n : people.members(g)) members += login(n) + '\0';
      const std::string name = "group" + std::to_string(g);
      const BoundGroup head{gid, kMembers, static_cast<std::uint32_t>(members.size()),
                            static_cast<std::uint32_t>(name.size() + 1)};
      by_gid_.add(nsscache::hash_number(gid, 1),
                  record(head, {}) + members + name + std::string(1, '\0'));
      if (g < kBusyGroups) busy.push_back(gid);
    }
    for (std::uint64_t n = 0; n < kBusyUsers; ++n) {
      std::string gids = login(n);
      gids.resize(32);
      gids.append(reinterpret_cast<const char*>(busy.data()), busy.size() * 4);
      gids_.add(hash(login(n).c_str()), gids);
    }
    by_name_.seal(directory / "bound.name");
    by_uid_.seal(directory / "bound.uid");
    by_gid_.seal(directory / "bound.gid");
    gids_.seal(directory / "bound.gids");
  }

  bool passwd(const char* name, struct passwd& out, char* buffer) const {
    return fill(by_name_.find(hash(name),
                              [name](const char* at) {
                                return std::strcmp(at + sizeof(BoundUser), name) == 0;
                              }),
                out, buffer);
  }
  bool passwd(uid_t uid, struct passwd& out, char* buffer) const {
    return fill(by_uid_.find(nsscache::hash_number(uid, 1),
                             [uid](const char* at) {
                               return reinterpret_cast<const BoundUser*>(at)->uid == uid;
                             }),
                out, buffer);
  }
  bool group(gid_t gid, struct group& out, char* buffer) const {
    const char* at = by_gid_.find(nsscache::hash_number(gid, 1), [gid](const char* record_at) {
      return reinterpret_cast<const BoundGroup*>(record_at)->gid == gid;
    });
    if (at == nullptr) return false;
    const auto& head = *reinterpret_cast<const BoundGroup*>(at);
    out.gr_gid = head.gid;
    out.gr_mem = reinterpret_cast<char**>(buffer);
    char* text = buffer + (head.members + 1) * sizeof(char*);
    std::memcpy(text, at + sizeof head, head.member_bytes + head.name);
    out.gr_name = text + head.member_bytes;
    for (std::uint32_t i = 0; i < head.members; ++i) {
      out.gr_mem[i] = text;
      text += std::strlen(text) + 1;
    }
    out.gr_mem[head.members] = nullptr;
    return true;
  }
  bool gids(const char* name, gid_t* out) const {
    const char* at = gids_.find(
        hash(name), [name](const char* record_at) { return std::strcmp(record_at, name) == 0; });
    if (at == nullptr) return false;
    std::memcpy(out, at + 32, kBusyGroups * sizeof(gid_t));
    return true;
  }

 private:
  static std::uint64_t hash(const char* name) {
    return nsscache::hash_name(name, std::strlen(name), 1);
  }
  static bool fill(const char* at, struct passwd& out, char* buffer) {
    if (at == nullptr) return false;
    const auto& head = *reinterpret_cast<const BoundUser*>(at);
    const std::size_t bytes = std::size_t{head.name} + head.gecos + head.home + head.shell;
    std::memcpy(buffer, at + sizeof head, bytes);
    out.pw_uid = head.uid;
    out.pw_gid = head.gid;
    out.pw_name = buffer;
    out.pw_gecos = buffer + head.name;
    out.pw_dir = out.pw_gecos + head.gecos;
    out.pw_shell = out.pw_dir + head.home;
    return true;
  }

  BoundTable by_name_;
  BoundTable by_uid_;
  BoundTable by_gid_;
  BoundTable gids_;
};

// ---- the module
// -----------------------------------------------------------------------------------

struct Module {
  explicit Module(const std::filesystem::path& path) {
    void* handle = ::dlopen(path.c_str(), RTLD_NOW);
    if (handle == nullptr) {
      std::fprintf(stderr, "nss_bench: %s\n", ::dlerror());
      std::exit(1);
    }
    const auto bind = [handle](auto& function, const char* name) {
      function =
          reinterpret_cast<std::remove_reference_t<decltype(function)>>(::dlsym(handle, name));
      CHECK(function != nullptr);
    };
    bind(getpwnam, "_nss_roster_getpwnam_r");
    bind(getpwuid, "_nss_roster_getpwuid_r");
    bind(getgrgid, "_nss_roster_getgrgid_r");
    bind(initgroups, "_nss_roster_initgroups_dyn");
  }
  nss_status (*getpwnam)(const char*, struct passwd*, char*, std::size_t, int*) = nullptr;
  nss_status (*getpwuid)(uid_t, struct passwd*, char*, std::size_t, int*) = nullptr;
  nss_status (*getgrgid)(gid_t, struct group*, char*, std::size_t, int*) = nullptr;
  nss_status (*initgroups)(const char*, gid_t, long*, long*, gid_t**, long, int*) = nullptr;
};

void publish(const Population& people, const std::filesystem::path& directory) {
  nsscache::PublisherOptions options;
  options.directory = directory;
  options.org = "acme";
  options.view = "default";
  options.allow_any_filesystem = true;
  auto publisher = nsscache::Publisher::open(options, system_now());
  CHECK(publisher);
  publisher->set_local_rules({});
  CHECK(publisher->begin_replace());
  std::vector<std::vector<std::uint64_t>> groups(people.users);
  for (std::uint64_t g = 0; g < people.groups(); ++g) {
    CHECK(publisher->upsert_group(
        {.n = g + 1,
         .seq = Seq{1},
         .name = posix::GroupName::parse("group" + std::to_string(g)).value(),
         .gid = static_cast<std::uint32_t>(kGidBase + g),
         .parents = {}}));
    for (const std::uint64_t n : people.members(g)) groups[n].push_back(g + 1);
  }
  for (std::uint64_t n = 0; n < people.users; ++n) {
    const std::string name = login(n);
    const auto uid = static_cast<std::uint32_t>(kUidBase + n);
    CHECK(publisher->upsert_user({.n = n + 1,
                                  .seq = Seq{1},
                                  .name = posix::LoginName::parse(name).value(),
                                  .uid = uid,
                                  .gid = uid,
                                  .gecos = "User Number " + std::to_string(n),
                                  .home = "/home/" + name,
                                  .shell = "/bin/bash",
                                  .groups = std::move(groups[n]),
                                  .keys = {}}));
  }
  CHECK(publisher->publish("1", "e", system_now()));
  // A node has followed for a while: there is a delta to look at first.
  for (std::uint64_t n = 100; n < 200; ++n) {
    auto user = publisher->find_user(n);
    CHECK(user);
    user->shell = "/bin/zsh";
    CHECK(publisher->upsert_user(*user));
  }
  CHECK(publisher->publish("2", "e", system_now()));
}

// ---- measuring
// ------------------------------------------------------------------------------------

double median(std::vector<double> values) {
  std::ranges::nth_element(values, values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2));
  return values[values.size() / 2];
}

/// Of this thread: what others do on the machine counts as little as possible.
double cpu_ns() {
  struct timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

/// Zero, which the compiler does not know.
volatile std::size_t opaque_zero = 0;

/// How keys follow each other.
enum class Keys {
  kDependent,    // on the last answer, as with a caller who uses what it asked for
  kIndependent,  // known in advance: the processor works on as many lookups at once as it can
};

/// Nanoseconds per call of one window over all keys.
template <typename Call>
double window(Keys keys, std::size_t calls, Call&& call) {
  const std::size_t zero = opaque_zero;
  if (keys == Keys::kIndependent) {
    const double begin = cpu_ns();
    for (std::size_t i = 0; i < calls; ++i) call(i);
    return (cpu_ns() - begin) / static_cast<double>(calls);
  }
  std::size_t answer = 0;
  const double begin = cpu_ns();
  for (std::size_t i = 0; i < calls; ++i) answer = call(i + (answer & zero));
  return (cpu_ns() - begin) / static_cast<double>(calls);
}

template <typename A, typename B>
void compare(const char* what, std::uint64_t users, std::size_t calls, A&& module, B&& bound) {
  std::printf("%-26s %8llu users", what, static_cast<unsigned long long>(users));
  for (const Keys keys : {Keys::kDependent, Keys::kIndependent}) {
    std::vector<double> a;
    std::vector<double> b;
    window(keys, calls, module);
    window(keys, calls, bound);
    for (std::size_t i = 0; i < kWindows; ++i) {
      a.push_back(window(keys, calls, module));
      b.push_back(window(keys, calls, bound));
    }
    std::printf("  %s: module %6.0f ns, bound %6.0f ns, ratio %5.2f",
                keys == Keys::kDependent ? "in turn" : "at once", median(a), median(b),
                median(a) / median(b));
  }
  std::printf("\n");
  std::fflush(stdout);
}

void measure(const Module& module, std::uint64_t users, const std::filesystem::path& root) {
  const Population people{users};
  const std::filesystem::path cache = root / "cache";
  std::filesystem::remove_all(cache);
  publish(people, cache);
  const Bound bound(people, root);
  std::mt19937_64 random(1);
  std::vector<std::string> names;
  std::vector<std::string> unknown;
  std::vector<uid_t> uids;
  std::vector<gid_t> gids;
  for (std::size_t i = 0; i < kKeys; ++i) {
    const std::uint64_t n = random() % users;
    names.push_back(login(n));
    unknown.push_back("nouser" + std::to_string(n));
    uids.push_back(static_cast<uid_t>(kUidBase + random() % users));
    gids.push_back(static_cast<gid_t>(kGidBase + random() % people.groups()));
  }
  struct passwd user;
  struct group group;
  alignas(16) static char buffer[1 << 16];
  int error = 0;
  // The process has been running for a while: its first few calls are over.
  for (int i = 0; i < 10; ++i) module.getpwuid(kUidBase, &user, buffer, sizeof buffer, &error);
  const auto found = [](nss_status status) { CHECK(status == NSS_STATUS_SUCCESS); };
  const auto by_name = [&](const std::vector<std::string>& keys, nss_status wanted) {
    return [&, wanted](std::size_t i) {
      CHECK(module.getpwnam(keys[i].c_str(), &user, buffer, sizeof buffer, &error) == wanted);
      return std::size_t{user.pw_uid};
    };
  };
  const auto bound_by_name = [&](const std::vector<std::string>& keys, bool wanted) {
    return [&, wanted](std::size_t i) {
      CHECK(bound.passwd(keys[i].c_str(), user, buffer) == wanted);
      return std::size_t{user.pw_uid};
    };
  };
  const auto bound_by_uid = [&](std::size_t i) {
    CHECK(bound.passwd(uids[i], user, buffer));
    return std::size_t{user.pw_uid};
  };
  const auto by_gid = [&](const std::vector<gid_t>& keys) {
    return [&](std::size_t i) {
      found(module.getgrgid(keys[i], &group, buffer, sizeof buffer, &error));
      return std::size_t{group.gr_gid};
    };
  };
  compare("getpwnam", users, kKeys, by_name(names, NSS_STATUS_SUCCESS), bound_by_name(names, true));
  compare("getpwnam, unknown", users, kKeys, by_name(unknown, NSS_STATUS_NOTFOUND),
          bound_by_name(unknown, false));
  const auto by_uid = [&](std::size_t i) {
    found(module.getpwuid(uids[i], &user, buffer, sizeof buffer, &error));
    return std::size_t{user.pw_uid};
  };
  compare("getpwuid", users, kKeys, by_uid, bound_by_uid);
  compare("getgrgid, private group", users, kKeys, by_gid(uids), bound_by_uid);
  compare("getgrgid, 50 members", users, kKeys / 4, by_gid(gids), [&](std::size_t i) {
    CHECK(bound.group(gids[i], group, buffer));
    return std::size_t{group.gr_gid};
  });
  long size = 2 * kBusyGroups;
  auto* list = static_cast<gid_t*>(std::malloc(static_cast<std::size_t>(size) * sizeof(gid_t)));
  std::vector<std::string> busy;
  for (std::size_t i = 0; i < kKeys; ++i) busy.push_back(login(random() % kBusyUsers));
  const auto initgroups = [&](std::size_t i) {
    long start = 1;
    found(module.initgroups(busy[i].c_str(), kUidBase, &start, &size, &list, -1, &error));
    CHECK(start == 1 + long{kBusyGroups});
    return std::size_t{list[kBusyGroups]};
  };
  compare("initgroups, 1000 groups", users, kKeys / 4, initgroups, [&](std::size_t i) {
    CHECK(bound.gids(busy[i].c_str(), list + 1));
    return std::size_t{list[kBusyGroups]};
  });
  std::free(list);
}

double start_us(const std::vector<std::string>& command) {
  std::vector<char*> argv;
  for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  const auto begin = Clock::now();
  pid_t child = 0;
  int status = 0;
  CHECK(::posix_spawn(&child, argv[0], &actions, nullptr, argv.data(), environ) == 0);
  CHECK(::waitpid(child, &status, 0) == child);
  const std::chrono::duration<double, std::micro> spent = Clock::now() - begin;
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  ::posix_spawn_file_actions_destroy(&actions);
  return spent.count();
}

void measure_helper(const std::filesystem::path& build, const std::filesystem::path& root) {
  const std::vector<std::string> helper = {build / "bin/roster-authorized-keys", "--cache-dir",
                                           root / "cache", login(7), std::to_string(kUidBase + 7)};
  const std::vector<std::string> empty = {build / "bench/empty_static"};
  std::vector<double> a;
  std::vector<double> b;
  for (int i = 0; i < 1000; ++i) {
    a.push_back(start_us(helper));
    b.push_back(start_us(empty));
  }
  std::printf("key helper %.0f us, an empty static program %.0f us, ratio %.2f\n", median(a),
              median(b), median(a) / median(b));
}

}  // namespace

int main(int argc, char** argv) {
  // As root the module does not look where the environment says.
  if (::geteuid() == 0)
    CHECK(::setresgid(65534, 65534, 65534) == 0 && ::setresuid(65534, 65534, 65534) == 0);
  std::string name =
      ::access("/dev/shm", W_OK) == 0 ? "/dev/shm/nss-bench-XXXXXX" : "/tmp/nss-bench-XXXXXX";
  CHECK(::mkdtemp(name.data()) != nullptr);
  const std::filesystem::path root = name;
  ::setenv("ROSTER_CACHE_DIR", (root / "cache").c_str(), 1);
  const std::filesystem::path build = std::filesystem::path(argv[0]).parent_path() / "..";
  const Module module(build / "lib/libnss_roster.so.2");
  std::vector<std::uint64_t> sizes;
  for (int i = 1; i < argc; ++i) sizes.push_back(std::stoull(argv[i]));
  if (sizes.empty()) sizes = {1000, 10000, 100000, 1000000};
  for (const std::uint64_t users : sizes) {
    // A child each: the module of one process belongs to one cache.
    const pid_t child = ::fork();
    if (child == 0) {
      measure(module, users, root);
      std::fflush(stdout);
      ::_exit(0);
    }
    int status = 0;
    CHECK(::waitpid(child, &status, 0) == child && status == 0);
  }
  measure_helper(build, root);
  std::filesystem::remove_all(root);
}
