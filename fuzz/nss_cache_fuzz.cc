// Damaged caches through the NSS entry points. The input is a list of changes to the files of a
// small cache; most of them are sealed again with the right checksums, so that they reach the code
// behind the checks.

#include <fcntl.h>
#include <grp.h>
#include <nss.h>
#include <pwd.h>
#include <shadow.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "nsscache/generation.h"
#include "nsscache/publisher.h"
#include "nsscache/reader.h"

extern "C" {
nss_status _nss_roster_getpwnam_r(const char*, struct passwd*, char*, size_t, int*);
nss_status _nss_roster_getpwuid_r(uid_t, struct passwd*, char*, size_t, int*);
nss_status _nss_roster_getgrnam_r(const char*, struct group*, char*, size_t, int*);
nss_status _nss_roster_getgrgid_r(gid_t, struct group*, char*, size_t, int*);
nss_status _nss_roster_getspnam_r(const char*, struct spwd*, char*, size_t, int*);
nss_status _nss_roster_initgroups_dyn(const char*, gid_t, long*, long*, gid_t**, long, int*);
nss_status _nss_roster_setpwent(int);
nss_status _nss_roster_getpwent_r(struct passwd*, char*, size_t, int*);
nss_status _nss_roster_endpwent();
nss_status _nss_roster_setgrent(int);
nss_status _nss_roster_getgrent_r(struct group*, char*, size_t, int*);
nss_status _nss_roster_endgrent();
}

namespace {

using namespace roster;
using namespace roster::nsscache;

constexpr std::size_t kChangesMax = 16;
constexpr int kWalkMax = 1000;

struct File {
  std::filesystem::path path;
  std::string sound;
  const char* magic;
  std::string bytes;  // of this run, 64-aligned through `aligned`
};

/// A cache with every kind of record, made once.
class Cache {
 public:
  Cache() {
    std::string name =
        ::access("/dev/shm", W_OK) == 0 ? "/dev/shm/nss-fuzz-XXXXXX" : "/tmp/nss-fuzz-XXXXXX";
    CHECK(::mkdtemp(name.data()) != nullptr);
    CHECK(::chmod(name.c_str(), 0755) == 0);
    root_ = name;
    publish();
    for (const auto& [file, magic] : {std::pair("base.1.1", kBaseMagic),
                                      {"delta.1.2", kDeltaMagic},
                                      {"keybase.1.1", kKeyBaseMagic},
                                      {"keys.1.2", kKeysMagic}}) {
      File entry{root_ / "cache" / file, {}, magic, {}};
      std::ifstream in(entry.path, std::ios::binary);
      entry.sound.assign(std::istreambuf_iterator<char>(in), {});
      CHECK(!entry.sound.empty());
      files.push_back(std::move(entry));
    }
    ::setenv("ROSTER_CACHE_DIR", (root_ / "cache").c_str(), 1);
  }
  ~Cache() { std::filesystem::remove_all(root_); }

  std::vector<File> files;

 private:
  void publish() {
    PublisherOptions options;
    options.directory = root_ / "cache";
    options.org = "acme";
    options.view = "default";
    options.allow_any_filesystem = true;
    options.random = [](std::span<std::uint8_t> out) { std::ranges::fill(out, 7); };
    auto publisher = Publisher::open(options, from_millis(1));
    CHECK(publisher);
    publisher->set_local_rules({});
    for (std::uint64_t n = 1; n <= 3; ++n) CHECK(publisher->upsert_group(group(n)));
    for (std::uint64_t n = 1; n <= 8; ++n) CHECK(publisher->upsert_user(user(n)));
    CHECK(publisher->publish("1", "e", from_millis(1)));
    posix::NodeUser changed = user(2);
    changed.groups = {2};
    changed.keys.clear();
    CHECK(publisher->upsert_user(changed));
    CHECK(publisher->upsert_user(user(9)));
    CHECK(publisher->remove_user(3, Seq{3}));
    CHECK(publisher->publish("2", "e", from_millis(1)));
  }
  static posix::NodeUser user(std::uint64_t n) {
    const std::string name = "u" + std::to_string(n);
    const auto uid = static_cast<std::uint32_t>(10000 + n);
    return {.n = n,
            .seq = Seq{n},
            .name = posix::LoginName::parse(name).value(),
            .uid = uid,
            .gid = uid,
            .gecos = "User",
            .home = "/home/" + name,
            .shell = "/bin/sh",
            .locked = false,
            .valid_until = n == 5 ? 4'000'000'000 : 0,
            .groups = {1, 3},
            .keys = {{.line = "ssh-ed25519 AAAA", .fingerprint = "SHA256:x"}}};
  }
  static posix::NodeGroup group(std::uint64_t n) {
    return {.n = n,
            .seq = Seq{n},
            .name = posix::GroupName::parse("g" + std::to_string(n)).value(),
            .gid = static_cast<std::uint32_t>(20000 + n),
            .parents = {}};
  }

  std::filesystem::path root_;
};

/// One change: where, what, and what is sealed afterwards.
struct Change {
  std::uint8_t kind;
  std::uint8_t file;
  std::uint16_t item;
  std::uint16_t offset;
  std::uint16_t unused;
  std::uint32_t value;
};
static_assert(sizeof(Change) == 12);

void poke(std::string& bytes, std::uint64_t at, std::uint32_t value) {
  if (at + 4 <= bytes.size()) std::memcpy(bytes.data() + at, &value, 4);
}

template <typename T>
void store(std::string& bytes, std::uint64_t at, T value) {
  if (at + sizeof value <= bytes.size()) std::memcpy(bytes.data() + at, &value, sizeof value);
}

/// Recomputes the check over [from, to) with a salt and stores it at `at`.
void seal(std::string& bytes, std::uint64_t at, std::uint64_t from, std::uint64_t to,
          std::uint64_t salt) {
  if (from > to || to > bytes.size()) return;
  store(bytes, at, check64(bytes.data() + from, to - from, salt));
}

class Mutator {
 public:
  explicit Mutator(File& file) : file_(file), bytes_(file.bytes) {
    std::memcpy(&header_, file.sound.data(), sizeof header_);
    salt_ = file_salt(header_.hash_seed, header_.generation);
  }

  void apply(const Change& change) {
    switch (change.kind % 5) {
      case 0:
        return poke(bytes_, change.offset % bytes_.size(), change.value);
      case 1:
        return change_header(change);
      case 2:
        return change_record(change);
      case 3:
        return change_bucket(change);
      case 4:
        return change_list(change);
      default:
        return;
    }
  }

 private:
  const Section* section(std::uint32_t id) const {
    for (std::uint32_t i = 0; i < header_.section_count; ++i) {
      if (header_.sections[i].id == id) return &header_.sections[i];
    }
    return nullptr;
  }
  /// Offset in the file of a record that an index names.
  std::uint64_t record(const Change& change) const {
    static constexpr std::array kIndexes = {kSectionUserIndex, kSectionGroupIndex,
                                            kSectionMarkIndex, kSectionKeyIndex};
    const Section* index = section(kIndexes[change.item % kIndexes.size()]);
    if (index == nullptr || index->bytes == 0) return 0;
    const std::uint64_t entry = change.item / 4 % (index->bytes / 4);
    std::uint32_t place = 0;
    std::memcpy(&place, file_.sound.data() + index->offset + entry * 4, 4);
    return section(kSectionRecords)->offset + std::uint64_t{place} * 8;
  }

  void change_header(const Change& change) {
    poke(bytes_, change.offset % (kHeaderBytes - 4), change.value);
    store(bytes_, offsetof(ImageHeader, header_crc), std::uint32_t{0});
    store(bytes_, offsetof(ImageHeader, header_crc), header_crc32c(bytes_.data(), kHeaderBytes));
  }
  void change_record(const Change& change) {
    const std::uint64_t at = record(change);
    if (at == 0) return;
    poke(bytes_, at + 8 + change.offset % 120, change.value);
    // The length stands at another offset in each kind; the sound file says which.
    for (const std::uint64_t field :
         {std::uint64_t{48}, std::uint64_t{44}, std::uint64_t{28}, std::uint64_t{24}}) {
      std::uint32_t length = 0;
      if (at + field + 4 > file_.sound.size()) continue;
      std::memcpy(&length, file_.sound.data() + at + field, 4);
      if (length % 8 == 0 && length >= 32 && length < 400) {
        seal(bytes_, at, at + 8, at + length, salt_);
        if ((change.unused & 1) == 0) return;
      }
    }
  }
  void change_bucket(const Change& change) {
    static constexpr std::array kTables = {kSectionByName, kSectionById, kSectionByNumber};
    const Section* table = section(kTables[change.item % kTables.size()]);
    if (table == nullptr) return;
    const std::uint64_t index = change.item / 3 % (table->bytes / sizeof(Bucket));
    const std::uint64_t at = table->offset + index * sizeof(Bucket);
    poke(bytes_, at + change.offset % (sizeof(Bucket) - 4), change.value);
    Bucket bucket;
    std::memcpy(&bucket, bytes_.data() + at, sizeof bucket);
    store(bytes_, at, bucket_check(bucket, salt_, index));
  }
  void change_list(const Change& change) {
    const std::uint64_t at = record(change);
    const std::uint64_t records = section(kSectionRecords)->offset;
    if (at == 0 || at + sizeof(GroupRecord) > file_.sound.size()) return;
    std::uint64_t n = 0;
    std::memcpy(&n, file_.sound.data() + at + 8, 8);
    const std::uint64_t field =
        change.item % 4 == 0 ? offsetof(UserRecord, gids_at) : offsetof(GroupRecord, removed_at);
    std::uint32_t place = 0;
    std::uint32_t count = 0;
    std::memcpy(&place, file_.sound.data() + at + field, 4);
    std::memcpy(&count, file_.sound.data() + at + field + 4, 4);
    const std::uint64_t list = records + std::uint64_t{place} * 8;
    if (count == 0 || count > 64 || list + 8 + count * 4 > bytes_.size()) return;
    poke(bytes_, list + 8 + change.offset % (count * 4), change.value);
    seal(bytes_, list, list + 8, list + 8 + count * 4, salt_ + n);
  }

  File& file_;
  std::string& bytes_;
  ImageHeader header_{};
  std::uint64_t salt_ = 0;
};

bool inside(const char* text, const char* buffer, std::size_t bytes) {
  return text >= buffer && text < buffer + bytes &&
         std::memchr(text, 0, static_cast<std::size_t>(buffer + bytes - text)) != nullptr;
}

void check_user(nss_status status, const struct passwd& user, const char* buffer,
                std::size_t bytes) {
  if (status != NSS_STATUS_SUCCESS) return;
  CHECK(!is_never_served(user.pw_uid) && !is_never_served(user.pw_gid));
  for (const char* text :
       {user.pw_name, user.pw_passwd, user.pw_gecos, user.pw_dir, user.pw_shell}) {
    CHECK(inside(text, buffer, bytes));
  }
}

void check_group(nss_status status, const struct group& group, const char* buffer,
                 std::size_t bytes) {
  if (status != NSS_STATUS_SUCCESS) return;
  CHECK(!is_never_served(group.gr_gid));
  CHECK(inside(group.gr_name, buffer, bytes) && inside(group.gr_passwd, buffer, bytes));
  for (char** member = group.gr_mem; *member != nullptr; ++member) {
    CHECK(inside(*member, buffer, bytes));
  }
}

void ask_everything(std::size_t bytes) {
  struct passwd user{};
  struct group group{};
  struct spwd shadow{};
  int error = 0;
  std::vector<char> room(bytes);
  char* buffer = room.data();
  for (const char* name : {"u1", "u2", "u3", "u5", "u9", "g1", "g2", "g3", "nobody-here"}) {
    check_user(_nss_roster_getpwnam_r(name, &user, buffer, bytes, &error), user, buffer, bytes);
    check_group(_nss_roster_getgrnam_r(name, &group, buffer, bytes, &error), group, buffer, bytes);
    _nss_roster_getspnam_r(name, &shadow, buffer, bytes, &error);
    long start = 1;
    long size = 2;
    auto* gids = static_cast<gid_t*>(std::malloc(2 * sizeof(gid_t)));
    if (_nss_roster_initgroups_dyn(name, 10001, &start, &size, &gids, 65536, &error) ==
        NSS_STATUS_SUCCESS) {
      for (long i = 1; i < start; ++i) CHECK(!is_never_served(gids[i]));
    }
    std::free(gids);
  }
  for (const std::uint32_t id : {0u, 10001u, 10002u, 10003u, 10005u, 10009u, 20001u, 20003u}) {
    check_user(_nss_roster_getpwuid_r(id, &user, buffer, bytes, &error), user, buffer, bytes);
    check_group(_nss_roster_getgrgid_r(id, &group, buffer, bytes, &error), group, buffer, bytes);
  }
  _nss_roster_setpwent(0);
  for (int i = 0; i < kWalkMax; ++i) {
    const nss_status status = _nss_roster_getpwent_r(&user, buffer, bytes, &error);
    if (status != NSS_STATUS_SUCCESS) break;
    check_user(status, user, buffer, bytes);
  }
  _nss_roster_endpwent();
  _nss_roster_setgrent(0);
  for (int i = 0; i < kWalkMax; ++i) {
    const nss_status status = _nss_roster_getgrent_r(&group, buffer, bytes, &error);
    if (status != NSS_STATUS_SUCCESS) break;
    check_group(status, group, buffer, bytes);
  }
  _nss_roster_endgrent();
  for (const std::uint32_t n : {1u, 2u, 9u}) {
    const std::string name = "u" + std::to_string(n);
    std::size_t total = 0;
    read_keys(
        nullptr, {name.c_str(), 10000 + n, nullptr, 1000},
        [](void* context, const char* line, std::size_t length) {
          for (std::size_t i = 0; i < length; ++i) {
            *static_cast<std::size_t*>(context) += static_cast<unsigned char>(line[i]);
          }
        },
        &total);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static Cache cache;
  if (size < 2) return 0;
  const std::size_t buffer_bytes = data[0] % 4 == 0 ? data[1] : 4096;
  data += 2;
  size -= 2;
  for (File& file : cache.files) file.bytes = file.sound;
  for (std::size_t i = 0; i < kChangesMax && size >= sizeof(Change); ++i) {
    Change change;
    std::memcpy(&change, data, sizeof change);
    data += sizeof change;
    size -= sizeof change;
    Mutator(cache.files[change.file % cache.files.size()]).apply(change);
  }
  for (const File& file : cache.files) {
    const UniqueFd fd(::open(file.path.c_str(), O_WRONLY));
    CHECK(::pwrite(fd.get(), file.bytes.data(), file.bytes.size(), 0) ==
          static_cast<ssize_t>(file.bytes.size()));
  }
  testing::forget_process_state();
  testing::skip_local_calls();
  // A file that is refused as a whole is refused each time: once is enough.
  MappedGeneration mapped;
  if (!map_generation(mapped, nullptr, Parts::kNames)) return 0;
  unmap_generation(mapped);
  ask_everything(buffer_bytes);
  return 0;
}
