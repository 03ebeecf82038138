#include "nsscache/cache_directory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <memory>
#include <span>

#include "nsscache/image_writer.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23  // Linux 5.14; older headers lack it
#endif

namespace roster::nsscache {
namespace {

constexpr std::array<std::string_view, 4> kPrefixes = {"base", "delta", "keybase", "keys"};
constexpr std::string_view kMajorPart = ".1.";
// Three, because a file system may run out of inodes before it runs out of blocks: a lockout makes
// a keys file and a delta, and the control file may have to be made anew.
constexpr std::array<const char*, 3> kReserveNames = {"reserve", "reserve.2", "reserve.3"};

struct RefusedFileSystem {
  std::uint32_t magic;
  const char* name;
};

// A mapping of a file on these may fail later (SIGBUS in every process of the node), or another
// machine may write to it. Magic numbers: statfs(2) and the file systems' sources.
constexpr RefusedFileSystem kRefused[] = {
    {0x00006969, "NFS"},      {0x0000517b, "SMB"},   {0xff534d42, "CIFS"},
    {0xfe534d42, "SMB2"},     {0x65735546, "FUSE"},  {0x794c7630, "overlayfs"},
    {0x01021997, "9p"},       {0x00c36400, "Ceph"},  {0x0bd00bd0, "Lustre"},
    {0x47504653, "GPFS"},     {0x5346414f, "AFS"},   {0x19830326, "BeeGFS"},
    {0x01161970, "GFS2"},     {0x7461636f, "OCFS2"}, {0x6b414653, "kAFS"},
    {0x20030528, "OrangeFS"}, {0x61756673, "aufs"},
};

Result<void> check_filesystem(int fd, const std::filesystem::path& path) {
  struct statfs info;
  if (::fstatfs(fd, &info) != 0) {
    return std::unexpected(errno_error("statfs " + path.string(), errno));
  }
  for (const RefusedFileSystem& refused : kRefused) {
    if (static_cast<std::uint32_t>(info.f_type) == refused.magic) {
      return fail(
          Code::kFailedPrecondition,
          path.string() + " is on " + refused.name +
              ": the node cache needs a local file system; set cache-dir to one (tmpfs will do)");
    }
  }
  return {};
}

std::uint64_t random64(const RandomBytes& random) {
  std::array<std::uint8_t, 8> bytes;
  random(bytes);
  return load64(bytes.data());
}

}  // namespace

std::string cache_file_name(std::string_view prefix, std::uint64_t generation) {
  return std::string(prefix) + std::string(kMajorPart) + std::to_string(generation);
}

std::optional<CacheFileName> parse_cache_file_name(std::string_view name) {
  for (const std::string_view prefix : kPrefixes) {
    if (!name.starts_with(prefix)) continue;
    const std::string_view rest = name.substr(prefix.size());
    if (!rest.starts_with(kMajorPart)) continue;
    const std::string_view digits = rest.substr(kMajorPart.size());
    std::uint64_t generation = 0;
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), generation);
    if (error != std::errc() || end != digits.data() + digits.size()) continue;
    return CacheFileName{std::string(prefix), generation};
  }
  return std::nullopt;
}

Result<CacheDirectory> CacheDirectory::open(const std::filesystem::path& path,
                                            std::optional<FileOwner> owner,
                                            bool allow_any_filesystem) {
  const bool made = ::mkdir(path.c_str(), 0755) == 0;
  if (!made && errno != EEXIST)
    return std::unexpected(errno_error("mkdir " + path.string(), errno));
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return std::unexpected(errno_error("open " + path.string(), errno));
  if (made && owner && ::fchown(fd.get(), owner->uid, owner->gid) != 0) {
    return std::unexpected(errno_error("chown " + path.string(), errno));
  }
  // The umask may have taken bits away that every process of the node needs.
  if (made && ::fchmod(fd.get(), 0755) != 0) {
    return std::unexpected(errno_error("chmod " + path.string(), errno));
  }
  if (!allow_any_filesystem) RETURN_IF_ERROR(check_filesystem(fd.get(), path));
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    return fail(Code::kFailedPrecondition,
                path.string() + ": another process publishes here; stop it first");
  }
  return CacheDirectory(path, std::move(fd));
}

bool CacheDirectory::in_place() const {
  struct stat held;
  struct stat named;
  return ::fstat(fd_.get(), &held) == 0 && ::stat(path_.c_str(), &named) == 0 &&
         held.st_dev == named.st_dev && held.st_ino == named.st_ino;
}

std::vector<std::string> CacheDirectory::names() const {
  std::vector<std::string> names;
  const int copy = ::openat(fd_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (copy < 0) return names;
  const auto close = [](DIR* directory) { ::closedir(directory); };
  const std::unique_ptr<DIR, decltype(close)> directory(::fdopendir(copy), close);
  if (!directory) {
    ::close(copy);
    return names;
  }
  while (const dirent* entry = ::readdir(directory.get())) names.emplace_back(entry->d_name);
  return names;
}

void CacheDirectory::remove(const std::string& name) const {
  ::unlinkat(fd_.get(), name.c_str(), 0);
}

std::optional<CacheDirectory::Identity> CacheDirectory::identify(const std::string& name) const {
  struct stat status;
  if (::fstatat(fd_.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) return std::nullopt;
  return Identity{status.st_dev, status.st_ino};
}

Result<void> CacheDirectory::sync() const {
  if (::fsync(fd_.get()) != 0) {
    return std::unexpected(errno_error("fsync " + path_.string(), errno));
  }
  return {};
}

std::uint64_t CacheDirectory::reserved_bytes() const {
  std::uint64_t bytes = 0;
  for (const char* name : kReserveNames) bytes += reserved_in(name);
  return bytes;
}

std::uint64_t CacheDirectory::reserved_in(const char* name) const {
  struct stat status;
  if (::fstatat(fd_.get(), name, &status, AT_SYMLINK_NOFOLLOW) != 0) return 0;
  return S_ISREG(status.st_mode) ? static_cast<std::uint64_t>(status.st_size) : 0;
}

void CacheDirectory::reserve(std::uint64_t bytes) const {
  // The small ones first: an inode that is missing shows as bytes that are.
  std::uint64_t rest = bytes;
  for (std::size_t i = kReserveNames.size(); i-- > 1;) {
    reserve_in(kReserveNames[i], kReserveStep);
    rest -= std::min(rest, kReserveStep);
  }
  reserve_in(kReserveNames[0], rest);
}

void CacheDirectory::reserve_in(const char* name, std::uint64_t bytes) const {
  std::uint64_t have = reserved_in(name);
  if (have >= bytes) return;
  const UniqueFd fd(::openat(fd_.get(), name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd.valid()) return;
  // All that there is, in ever smaller pieces: a part of it still serves.
  for (std::uint64_t more = bytes - have; have < bytes; more /= 2) {
    if (::posix_fallocate(fd.get(), static_cast<off_t>(have), static_cast<off_t>(more)) == 0) {
      have += more;
    } else if (::ftruncate(fd.get(), static_cast<off_t>(have)) != 0) {
      break;  // what a failed try left behind would count as reserved
    }
    if (more <= kReserveStep) break;
  }
  if (have == 0) remove(name);
}

void CacheDirectory::give_up_reserve() const {
  for (const char* name : kReserveNames) remove(name);
}

Result<ImageFile> ImageFile::load(const CacheDirectory& directory, std::string name,
                                  const char (&magic)[8], bool verify_body) {
  const UniqueFd fd(::openat(directory.fd(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  struct stat status;
  if (!fd.valid() || ::fstat(fd.get(), &status) != 0) {
    return std::unexpected(errno_error("open " + name, errno));
  }
  ImageFile file;
  file.name_ = std::move(name);
  file.identity_ = {status.st_dev, status.st_ino};
  if (!S_ISREG(status.st_mode) || status.st_size < ssize_t{sizeof(ImageHeader)}) {
    return fail(Code::kDataLoss, file.name_ + ": not a whole cache file");
  }
  const auto bytes = static_cast<std::size_t>(status.st_size);
  void* data = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd.get(), 0);
  if (data == MAP_FAILED) return std::unexpected(errno_error("map " + file.name_, errno));
  file.data_ = data;
  file.bytes_ = bytes;
  file.image_ = parse_image(data, bytes, magic);
  if (file.image_.header == nullptr) {
    return fail(Code::kDataLoss, file.name_ + ": the header does not verify");
  }
  if (verify_body) {
    const std::uint32_t head = file.image_.header->header_bytes;
    const auto* at = static_cast<const std::uint8_t*>(data);
    if (check64(at + head, bytes - head, file.image_.salt) != file.image_.header->body_check) {
      return fail(Code::kDataLoss, file.name_ + ": the content does not verify");
    }
    file.drop_pages();
  }
  return file;
}

ImageFile::ImageFile(ImageFile&& other) noexcept
    : name_(std::move(other.name_)),
      data_(std::exchange(other.data_, nullptr)),
      bytes_(other.bytes_),
      identity_(other.identity_),
      image_(other.image_) {}

ImageFile& ImageFile::operator=(ImageFile&& other) noexcept {
  std::swap(name_, other.name_);
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  std::swap(identity_, other.identity_);
  std::swap(image_, other.image_);
  return *this;
}

ImageFile::~ImageFile() {
  if (data_ != nullptr) ::munmap(data_, bytes_);
}

Binding ImageFile::binding() const {
  const ImageHeader& header = *image_.header;
  return {header.generation, header.file_bytes, header.body_check};
}

void ImageFile::drop_pages() const { ::madvise(data_, bytes_, MADV_DONTNEED); }

Result<ControlFile> ControlFile::open(const CacheDirectory& directory,
                                      std::optional<FileOwner> owner, const RandomBytes& random) {
  auto existing = map(directory);
  if (existing) return existing;
  RETURN_IF_ERROR(create(directory, owner, random));
  return map(directory);
}

Result<ControlFile> ControlFile::map(const CacheDirectory& directory) {
  const UniqueFd fd(::openat(directory.fd(), kControlName, O_RDWR | O_NOFOLLOW | O_CLOEXEC));
  struct stat status;
  if (!fd.valid() || ::fstat(fd.get(), &status) != 0) {
    return std::unexpected(errno_error("open control.1", errno));
  }
  if (!S_ISREG(status.st_mode) || status.st_size != ssize_t{sizeof(Control)}) {
    return fail(Code::kDataLoss, "control.1 has a wrong size");
  }
  void* page = ::mmap(nullptr, sizeof(Control), PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (page == MAP_FAILED) return std::unexpected(errno_error("map control.1", errno));
  ControlFile file;
  file.page_ = static_cast<Control*>(page);
  file.identity_ = {status.st_dev, status.st_ino};
  if (!control_is_sound(*file.page_)) {
    return fail(Code::kDataLoss, "control.1 does not verify");
  }
  return file;
}

Result<void> ControlFile::create(const CacheDirectory& directory, std::optional<FileOwner> owner,
                                 const RandomBytes& random) {
  Control control{};
  std::memcpy(control.magic, kControlMagic, sizeof control.magic);
  control.major = kMajor;
  control.minor = kMinor;
  control.instance = random64(random);
  control.header_crc = header_crc32c(&control, kControlHeaderBytes);
  const std::string temporary = std::string(kTemporaryPrefix) + kControlName;
  ::unlinkat(directory.fd(), temporary.c_str(), 0);
  const UniqueFd fd(::openat(directory.fd(), temporary.c_str(),
                             O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd.valid()) return std::unexpected(errno_error("create control.1", errno));
  RETURN_IF_ERROR(write_all(fd.get(), {reinterpret_cast<const char*>(&control), sizeof control}));
  if (owner && ::fchown(fd.get(), owner->uid, owner->gid) != 0) {
    return std::unexpected(errno_error("chown control.1", errno));
  }
  if (::fchmod(fd.get(), 0644) != 0 || ::fsync(fd.get()) != 0 ||
      ::renameat(directory.fd(), temporary.c_str(), directory.fd(), kControlName) != 0) {
    return std::unexpected(errno_error("create control.1", errno));
  }
  return directory.sync();
}

ControlFile::ControlFile(ControlFile&& other) noexcept
    : page_(std::exchange(other.page_, nullptr)), identity_(other.identity_) {}

ControlFile& ControlFile::operator=(ControlFile&& other) noexcept {
  std::swap(page_, other.page_);
  std::swap(identity_, other.identity_);
  return *this;
}

ControlFile::~ControlFile() {
  if (page_ != nullptr) ::munmap(page_, sizeof(Control));
}

std::uint64_t ControlFile::generation() const {
  return __atomic_load_n(&page_->generation, __ATOMIC_ACQUIRE);
}

/// Whether a store into the page is a store and not a SIGBUS. A file system that never overwrites a
/// block in place (btrfs and others) wants a new one even for a page that was allocated long ago,
/// and on a full disk there is none; the fault is asked for in a way that answers instead:
/// madvise(2), MADV_POPULATE_WRITE, EFAULT: "a SIGBUS would have been generated on actual memory
/// access". Kernels before 5.14 do not know it (EINVAL), then the store is tried as it is.
///
/// pwrite(2) of the 8 bytes would report ENOSPC, too, but is no single-copy atomic store towards
/// readers that load from their mappings: on x86-64 the kernel may copy from user space by
/// `rep movsb` (copy_user_generic), whose fast-string form promises no order and no granularity
/// (Intel SDM, volume 1, 7.3.9.3). What is left is the page being written back and protected again
/// between this and the store, with the disk still full.
bool ControlFile::can_store() const {
  return ::madvise(page_, sizeof(Control), MADV_POPULATE_WRITE) == 0 || errno != EFAULT;
}

Result<void> ControlFile::set_generation(std::uint64_t generation) {
  if (!can_store()) return fail(Code::kUnavailable, "control.1: No space left on device");
  __atomic_store_n(&page_->generation, generation, __ATOMIC_RELEASE);
  return {};
}
std::uint64_t ControlFile::contact_s() const {
  return __atomic_load_n(&page_->contact_s, __ATOMIC_ACQUIRE);
}
void ControlFile::set_contact_s(std::uint64_t seconds) {
  if (can_store()) __atomic_store_n(&page_->contact_s, seconds, __ATOMIC_RELEASE);
}
std::uint64_t ControlFile::max_stale_s() const {
  return __atomic_load_n(&page_->max_stale_s, __ATOMIC_ACQUIRE);
}
void ControlFile::set_max_stale_s(std::uint64_t seconds) {
  if (can_store()) __atomic_store_n(&page_->max_stale_s, seconds, __ATOMIC_RELEASE);
}
std::uint64_t ControlFile::latest_s() const {
  return __atomic_load_n(&page_->latest_s, __ATOMIC_ACQUIRE);
}
void ControlFile::set_latest_s(std::uint64_t seconds) {
  if (can_store()) __atomic_store_n(&page_->latest_s, seconds, __ATOMIC_RELEASE);
}

Result<void> ControlFile::sync() const {
  if (::msync(page_, sizeof(Control), MS_SYNC) != 0) {
    return std::unexpected(errno_error("msync control.1", errno));
  }
  return {};
}

bool ControlFile::in_place(const CacheDirectory& directory) const {
  return directory.identify(kControlName) == identity_;
}

}  // namespace roster::nsscache
