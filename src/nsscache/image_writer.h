#pragma once

// Encoding of image files: the counterpart of generation.h. A file is written to a temporary name
// in its directory and appears under its own name only when it is whole, synced, and owned as
// asked.

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/file.h"
#include "base/result.h"
#include "nsscache/image.h"
#include "posix/node.h"

namespace roster::nsscache {

/// Names of temporary files begin so; whoever owns the directory removes them at start.
inline constexpr std::string_view kTemporaryPrefix = ".new.";

/// Where and for whom a file is written. `directory_fd` stays open as long as this is used.
struct FilePlace {
  int directory_fd;
  std::optional<FileOwner> owner;
  std::optional<gid_t> group;
  mode_t mode;
};

/// The fields of a header that the caller decides.
struct ImageLabel {
  const char (&magic)[8];
  std::uint64_t generation;
  std::uint64_t hash_seed;
  std::int64_t created_s;
  std::string epoch;
  std::string org;
  std::string view;
  std::string cursor;
  Binding base{};
  Binding keys{};
  Totals totals{};
};

/// A login as it stands in kSectionUserNames.
using PaddedName = std::array<char, kNameMax>;
PaddedName padded_name(std::string_view name);

/// Sections are written one after the other, records first. Write errors are kept and reported by
/// commit().
class ImageWriter {
 public:
  static Result<ImageWriter> create(const FilePlace& place, const ImageLabel& label);
  ImageWriter(ImageWriter&& other) noexcept;
  ImageWriter& operator=(ImageWriter&&) = delete;
  /// Removes the temporary file unless commit() gave it its name.
  ~ImageWriter();

  std::uint64_t salt() const { return salt_; }
  std::uint64_t hash_seed() const { return header_.hash_seed; }

  void begin_section(SectionId id);
  void end_section();
  void write(const void* data, std::size_t bytes);

  /// Records and lists; only inside kSectionRecords. Each returns the place that refers to it.
  std::uint32_t add_user(const posix::NodeUser& user, std::uint32_t flags, std::uint32_t ordinal,
                         std::span<const std::uint32_t> gids);
  struct Members {
    std::span<const std::uint32_t> references;
    std::function<PaddedName(std::uint32_t reference)> name_of;
  };
  struct GroupContent {
    std::uint32_t flags = 0;
    std::uint32_t ordinal = 0;
    std::uint32_t member_count = 0;
    std::uint64_t member_name_bytes = 0;
    std::uint32_t base_ordinal = kNone;
    std::span<const std::uint32_t> removed;
  };
  std::uint32_t add_group(const posix::NodeGroup& group, const GroupContent& content,
                          const Members& members);
  struct Mark {
    std::uint64_t n;
    Seq seq;
    std::uint32_t id;
    MarkKind kind;
    bool removed;
    std::string_view name;
  };
  std::uint32_t add_mark(const Mark& mark);
  std::uint32_t add_keys(std::uint64_t n, Seq seq, std::span<const posix::NodeKey> keys);

  /// Everything written so far, mapped; until the next call of any function. Null after a write
  /// error.
  const std::uint8_t* mapped();
  /// Start of kSectionRecords in mapped().
  std::uint64_t records_offset() const { return records_offset_; }

  void set_counts(std::uint32_t users, std::uint32_t groups, std::uint32_t marks);
  void set_totals(const Totals& totals) { header_.totals = totals; }

  /// Completes the header, syncs, and renames to `name`. The directory still has to be synced.
  Result<Binding> commit(const std::string& name);
  std::uint64_t bytes_written() const { return position_; }

 private:
  ImageWriter(FilePlace place, UniqueFd fd, std::string temporary, const ImageLabel& label);
  void flush();
  void pad_to(std::uint64_t multiple);
  std::uint32_t here() const;
  std::uint32_t add_list(const void* items, std::size_t bytes, std::uint64_t check);
  std::uint32_t add_record(std::string& record);
  void unmap();

  FilePlace place_;
  UniqueFd fd_;
  std::string temporary_;
  ImageHeader header_{};
  std::uint64_t salt_ = 0;
  std::string buffer_;
  std::uint64_t position_ = 0;  // bytes of the file, buffered ones included
  std::uint64_t records_offset_ = 0;
  std::optional<Error> error_;
  void* map_ = nullptr;
  std::uint64_t map_bytes_ = 0;
};

/// An open-addressing table of buckets, sized for `entries`.
class TableBuilder {
 public:
  explicit TableBuilder(std::size_t entries);
  /// False when an entry with this hash's tag is `same` as the new one; nothing is inserted then.
  bool insert(std::uint64_t hash, std::uint32_t ref,
              const std::function<bool(std::uint32_t other)>& same);
  /// Writes the table as one section.
  void write(ImageWriter& writer, SectionId id);

 private:
  std::vector<Bucket> buckets_;
};

}  // namespace roster::nsscache
