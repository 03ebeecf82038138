#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/file.h"
#include "base/ids.h"
#include "base/result.h"
#include "nsscache/generation.h"

namespace roster::nsscache {

/// "delta.1.42" taken apart.
struct CacheFileName {
  std::string prefix;  // "base", "delta", "keybase", "keys"
  std::uint64_t generation;
};
std::string cache_file_name(std::string_view prefix, std::uint64_t generation);
std::optional<CacheFileName> parse_cache_file_name(std::string_view name);

inline constexpr std::uint64_t kReserveStep = 4096;  // a block of most file systems

/// The cache's directory, held by one process at a time.
class CacheDirectory {
 public:
  /// Makes it when it is missing. kFailedPrecondition on a file system whose mappings cannot be
  /// trusted to outlive a rename, or when another process holds it.
  static Result<CacheDirectory> open(const std::filesystem::path& path,
                                     std::optional<FileOwner> owner, bool allow_any_filesystem);

  int fd() const { return fd_.get(); }
  /// Whether the path still leads here: somebody may have removed or replaced the directory.
  bool in_place() const;
  std::vector<std::string> names() const;
  void remove(const std::string& name) const;
  /// The device and inode behind a name here; nothing when there is none.
  struct Identity {
    dev_t device;
    ino_t inode;
    bool operator==(const Identity&) const = default;
  };
  std::optional<Identity> identify(const std::string& name) const;
  Result<void> sync() const;

  /// Room that is kept for the day when the disk is full: files of allocated blocks that nobody
  /// reads, three for their inodes. Their size; 0 when there are none.
  std::uint64_t reserved_bytes() const;
  /// Lets it grow to `bytes`, or as far as there is room.
  void reserve(std::uint64_t bytes) const;
  void give_up_reserve() const;

 private:
  std::uint64_t reserved_in(const char* name) const;
  void reserve_in(const char* name, std::uint64_t bytes) const;

  CacheDirectory(std::filesystem::path path, UniqueFd fd)
      : path_(std::move(path)), fd_(std::move(fd)) {}
  std::filesystem::path path_;
  UniqueFd fd_;
};

/// A published file, mapped.
class ImageFile {
 public:
  /// kDataLoss when header, or with `verify_body` the body's checksum, is wrong; kNotFound when
  /// missing.
  static Result<ImageFile> load(const CacheDirectory& directory, std::string name,
                                const char (&magic)[8], bool verify_body);
  ImageFile(ImageFile&& other) noexcept;
  ImageFile& operator=(ImageFile&& other) noexcept;
  ~ImageFile();

  const Image& image() const { return image_; }
  const std::string& name() const { return name_; }
  Binding binding() const;
  bool in_place(const CacheDirectory& directory) const {
    return directory.identify(name_) == identity_;
  }
  /// Gives the pages back that reading has brought in.
  void drop_pages() const;

 private:
  ImageFile() = default;
  std::string name_;
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
  CacheDirectory::Identity identity_{};
  Image image_;
};

/// control.1, mapped for writing: the only file that changes in place, by single 64-bit stores.
class ControlFile {
 public:
  /// Keeps a sound one that is there; else makes a new one in a single step.
  static Result<ControlFile> open(const CacheDirectory& directory, std::optional<FileOwner> owner,
                                  const RandomBytes& random);
  ControlFile(ControlFile&& other) noexcept;
  ControlFile& operator=(ControlFile&& other) noexcept;
  ~ControlFile();

  std::uint64_t generation() const;
  /// kUnavailable when the file system has no room for the page: nothing is stored then.
  Result<void> set_generation(std::uint64_t generation);
  std::uint64_t contact_s() const;
  /// Nothing is stored when there is no room.
  void set_contact_s(std::uint64_t seconds);
  void set_max_stale_s(std::uint64_t seconds);
  std::uint64_t max_stale_s() const;
  std::uint64_t latest_s() const;
  void set_latest_s(std::uint64_t seconds);
  /// Until the disk has it.
  Result<void> sync() const;
  bool in_place(const CacheDirectory& directory) const;

 private:
  ControlFile() = default;
  bool can_store() const;
  static Result<ControlFile> map(const CacheDirectory& directory);
  static Result<void> create(const CacheDirectory& directory, std::optional<FileOwner> owner,
                             const RandomBytes& random);
  Control* page_ = nullptr;
  CacheDirectory::Identity identity_{};
};

}  // namespace roster::nsscache
