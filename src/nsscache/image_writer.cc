#include "nsscache/image_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>

namespace roster::nsscache {
namespace {

constexpr std::size_t kBufferBytes = 1 << 20;
constexpr std::size_t kTableEntriesPerBucket = 4;

void copy_label(char (&field)[64], std::string_view text) {
  CHECK(text.size() <= kLabelMax);
  std::memcpy(field, text.data(), text.size());
}

std::uint64_t round_up(std::uint64_t value, std::uint64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

void append(std::string& record, const void* data, std::size_t bytes) {
  record.append(static_cast<const char*>(data), bytes);
}

void append_string(std::string& record, std::string_view text) {
  record.append(text);
  record.push_back('\0');
}

template <typename Record>
void put_head(std::string& record, const Record& head) {
  std::memcpy(record.data(), &head, sizeof head);
}

}  // namespace

PaddedName padded_name(std::string_view name) {
  CHECK(name.size() <= kNameMax);
  PaddedName padded{};
  std::copy(name.begin(), name.end(), padded.begin());
  return padded;
}

Result<ImageWriter> ImageWriter::create(const FilePlace& place, const ImageLabel& label) {
  static std::atomic<unsigned> counter{0};
  std::string temporary = std::string(kTemporaryPrefix) + std::to_string(::getpid()) + "." +
                          std::to_string(counter.fetch_add(1));
  UniqueFd fd(::openat(place.directory_fd, temporary.c_str(),
                       O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd.valid()) return std::unexpected(errno_error("create a cache file", errno));
  return ImageWriter(place, std::move(fd), std::move(temporary), label);
}

ImageWriter::ImageWriter(FilePlace place, UniqueFd fd, std::string temporary,
                         const ImageLabel& label)
    : place_(place), fd_(std::move(fd)), temporary_(std::move(temporary)) {
  std::memcpy(header_.magic, label.magic, sizeof header_.magic);
  header_.major = kMajor;
  header_.minor = kMinor;
  header_.header_bytes = kHeaderBytes;
  header_.generation = label.generation;
  header_.hash_seed = label.hash_seed;
  header_.created_s = static_cast<std::uint64_t>(label.created_s);
  header_.base = label.base;
  header_.keys = label.keys;
  header_.totals = label.totals;
  copy_label(header_.epoch, label.epoch);
  copy_label(header_.org, label.org);
  copy_label(header_.view, label.view);
  CHECK(label.cursor.size() <= kCursorMax);
  header_.cursor_bytes = static_cast<std::uint16_t>(label.cursor.size());
  std::memcpy(header_.cursor, label.cursor.data(), label.cursor.size());
  salt_ = file_salt(header_.hash_seed, header_.generation);
  const ImageHeader blank{};
  write(&blank, sizeof blank);
}

ImageWriter::ImageWriter(ImageWriter&& other) noexcept
    : place_(other.place_),
      fd_(std::move(other.fd_)),
      temporary_(std::exchange(other.temporary_, {})),
      header_(other.header_),
      salt_(other.salt_),
      buffer_(std::move(other.buffer_)),
      position_(other.position_),
      records_offset_(other.records_offset_),
      error_(std::move(other.error_)),
      map_(std::exchange(other.map_, nullptr)),
      map_bytes_(other.map_bytes_) {}

ImageWriter::~ImageWriter() {
  unmap();
  if (!temporary_.empty()) ::unlinkat(place_.directory_fd, temporary_.c_str(), 0);
}

void ImageWriter::unmap() {
  if (map_ != nullptr) ::munmap(map_, map_bytes_);
  map_ = nullptr;
}

void ImageWriter::flush() {
  if (error_ || buffer_.empty()) return;
  if (auto written = write_all(fd_.get(), buffer_); !written) error_ = written.error();
  buffer_.clear();
}

void ImageWriter::write(const void* data, std::size_t bytes) {
  append(buffer_, data, bytes);
  position_ += bytes;
  if (buffer_.size() >= kBufferBytes) flush();
}

void ImageWriter::pad_to(std::uint64_t multiple) {
  static constexpr char kZeros[64] = {};
  write(kZeros, round_up(position_, multiple) - position_);
}

void ImageWriter::begin_section(SectionId id) {
  CHECK(header_.section_count < kSectionsMax);
  pad_to(64);
  header_.sections[header_.section_count] = {id, 0, position_, 0};
  if (id == kSectionRecords) records_offset_ = position_;
}

void ImageWriter::end_section() {
  Section& section = header_.sections[header_.section_count++];
  section.bytes = position_ - section.offset;
  if (section.id == kSectionRecords && section.bytes > kRecordBytesMax && !error_) {
    error_ = Error{Code::kTooLarge, "the cache's records exceed the 8 GiB of one file"};
  }
}

std::uint32_t ImageWriter::here() const {
  return static_cast<std::uint32_t>((position_ - records_offset_) / 8);
}

std::uint32_t ImageWriter::add_list(const void* items, std::size_t bytes, std::uint64_t check) {
  const std::uint32_t place = here();
  write(&check, sizeof check);
  write(items, bytes);
  pad_to(8);
  return place;
}

/// Completes a record whose first two fields are the check and n, and appends it.
std::uint32_t ImageWriter::add_record(std::string& record) {
  const std::uint64_t check = check64(record.data() + 8, record.size() - 8, salt_);
  std::memcpy(record.data(), &check, sizeof check);
  const std::uint32_t place = here();
  write(record.data(), record.size());
  return place;
}

std::uint32_t ImageWriter::add_user(const posix::NodeUser& user, std::uint32_t flags,
                                    std::uint32_t ordinal, std::span<const std::uint32_t> gids) {
  UserRecord head{};
  head.n = user.n;
  head.seq = user.seq.value;
  head.valid_until = user.valid_until;
  head.uid = user.uid;
  head.gid = user.gid;
  head.flags = flags;
  head.ordinal = ordinal;
  head.gid_count = static_cast<std::uint32_t>(gids.size());
  head.edge_count = static_cast<std::uint32_t>(user.groups.size());
  head.name_bytes = static_cast<std::uint8_t>(user.name.str().size());
  head.gecos_bytes = static_cast<std::uint16_t>(user.gecos.size());
  head.home_bytes = static_cast<std::uint16_t>(user.home.size());
  head.shell_bytes = static_cast<std::uint16_t>(user.shell.size());
  if (!gids.empty()) {
    head.gids_at = add_list(gids.data(), gids.size_bytes(),
                            check64(gids.data(), gids.size_bytes(), salt_ + user.n));
  }
  if (!user.groups.empty()) {
    const std::size_t bytes = user.groups.size() * sizeof user.groups[0];
    head.edges_at =
        add_list(user.groups.data(), bytes, check64(user.groups.data(), bytes, salt_ + user.n));
  }
  std::string record(sizeof head, '\0');
  append_string(record, user.name.str());
  append_string(record, user.gecos);
  append_string(record, user.home);
  append_string(record, user.shell);
  record.resize(round_up(record.size(), 8));
  head.record_bytes = static_cast<std::uint32_t>(record.size());
  put_head(record, head);
  return add_record(record);
}

std::uint32_t ImageWriter::add_group(const posix::NodeGroup& group, const GroupContent& content,
                                     const Members& members) {
  GroupRecord head{};
  head.n = group.n;
  head.seq = group.seq.value;
  head.gid = group.gid;
  head.flags = content.flags;
  head.ordinal = content.ordinal;
  head.member_count = content.member_count;
  head.member_name_bytes = content.member_name_bytes;
  head.base_ordinal = content.base_ordinal;
  head.members_count = static_cast<std::uint32_t>(members.references.size());
  head.removed_count = static_cast<std::uint32_t>(content.removed.size());
  head.parent_count = static_cast<std::uint32_t>(group.parents.size());
  head.name_bytes = static_cast<std::uint8_t>(group.name.str().size());
  if (!members.references.empty()) {
    Check64 check(salt_ + group.n);
    check.update(members.references.data(), members.references.size_bytes());
    for (const std::uint32_t reference : members.references) {
      const PaddedName name = members.name_of(reference);
      check.update(name.data(), name.size());
    }
    head.members_at =
        add_list(members.references.data(), members.references.size_bytes(), check.result());
  }
  if (!content.removed.empty()) {
    head.removed_at =
        add_list(content.removed.data(), content.removed.size_bytes(),
                 check64(content.removed.data(), content.removed.size_bytes(), salt_ + group.n));
  }
  if (!group.parents.empty()) {
    const std::size_t bytes = group.parents.size() * sizeof group.parents[0];
    head.parents_at = add_list(group.parents.data(), bytes,
                               check64(group.parents.data(), bytes, salt_ + group.n));
  }
  std::string record(sizeof head, '\0');
  append_string(record, group.name.str());
  record.resize(round_up(record.size(), 8));
  head.record_bytes = static_cast<std::uint32_t>(record.size());
  put_head(record, head);
  return add_record(record);
}

std::uint32_t ImageWriter::add_mark(const Mark& mark) {
  MarkRecord head{};
  head.n = mark.n;
  head.seq = mark.seq.value;
  head.id = mark.id;
  head.kind = mark.kind;
  head.removed = mark.removed ? 1 : 0;
  head.name_bytes = static_cast<std::uint8_t>(mark.name.size());
  std::string record(sizeof head, '\0');
  append_string(record, mark.name);
  record.resize(round_up(record.size(), 8));
  head.record_bytes = static_cast<std::uint32_t>(record.size());
  put_head(record, head);
  return add_record(record);
}

std::uint32_t ImageWriter::add_keys(std::uint64_t n, Seq seq,
                                    std::span<const posix::NodeKey> keys) {
  KeysRecord head{};
  head.n = n;
  head.seq = seq.value;
  head.key_count = static_cast<std::uint32_t>(keys.size());
  std::string record(sizeof head, '\0');
  for (const posix::NodeKey& key : keys) {
    const KeyHead key_head{key.not_before, key.not_after,
                           static_cast<std::uint32_t>(key.line.size()),
                           static_cast<std::uint32_t>(key.fingerprint.size())};
    append(record, &key_head, sizeof key_head);
    append_string(record, key.line);
    append_string(record, key.fingerprint);
    record.resize(round_up(record.size(), 8));
  }
  head.record_bytes = static_cast<std::uint32_t>(record.size());
  put_head(record, head);
  return add_record(record);
}

const std::uint8_t* ImageWriter::mapped() {
  flush();
  unmap();
  if (error_) return nullptr;
  void* map = ::mmap(nullptr, position_, PROT_READ, MAP_SHARED, fd_.get(), 0);
  if (map == MAP_FAILED) {
    error_ = errno_error("map a new cache file", errno);
    return nullptr;
  }
  map_ = map;
  map_bytes_ = position_;
  return static_cast<const std::uint8_t*>(map);
}

void ImageWriter::set_counts(std::uint32_t users, std::uint32_t groups, std::uint32_t marks) {
  header_.user_count = users;
  header_.group_count = groups;
  header_.mark_count = marks;
}

Result<Binding> ImageWriter::commit(const std::string& name) {
  pad_to(64);
  const std::uint8_t* bytes = mapped();
  if (error_) return std::unexpected(*error_);
  header_.file_bytes = position_;
  header_.body_check = check64(bytes + kHeaderBytes, position_ - kHeaderBytes, salt_);
  header_.header_crc = 0;
  header_.header_crc = header_crc32c(&header_, sizeof header_);
  unmap();
  if (::pwrite(fd_.get(), &header_, sizeof header_, 0) != ssize_t{sizeof header_}) {
    return std::unexpected(errno_error("write " + name, errno));
  }
  const uid_t owner = place_.owner ? place_.owner->uid : static_cast<uid_t>(-1);
  const gid_t owner_group = place_.owner ? place_.owner->gid : static_cast<gid_t>(-1);
  const gid_t group = place_.group.value_or(owner_group);
  // Owner before mode: a wider mode must not precede its owner.
  if (::fchown(fd_.get(), owner, group) != 0) {
    return std::unexpected(errno_error("chown " + name, errno));
  }
  if (::fchmod(fd_.get(), place_.mode) != 0) {
    return std::unexpected(errno_error("chmod " + name, errno));
  }
  if (::fsync(fd_.get()) != 0) return std::unexpected(errno_error("fsync " + name, errno));
  if (::renameat(place_.directory_fd, temporary_.c_str(), place_.directory_fd, name.c_str()) != 0) {
    return std::unexpected(errno_error("rename to " + name, errno));
  }
  temporary_.clear();
  return Binding{header_.generation, header_.file_bytes, header_.body_check};
}

TableBuilder::TableBuilder(std::size_t entries)
    : buckets_(std::max<std::size_t>(
          1, (entries + kTableEntriesPerBucket - 1) / kTableEntriesPerBucket)) {}

bool TableBuilder::insert(std::uint64_t hash, std::uint32_t ref,
                          const std::function<bool(std::uint32_t other)>& same) {
  const std::uint32_t tag = hash_tag(hash);
  std::uint64_t index = hash_bucket(hash, buckets_.size());
  while (true) {
    Bucket& bucket = buckets_[index];
    const std::uint32_t used = bucket.meta & 7;
    for (std::uint32_t i = 0; i < used; ++i) {
      if (bucket.entries[i].tag == tag && same(bucket.entries[i].ref)) return false;
    }
    if ((bucket.meta & kBucketOverflow) == 0 && used < kBucketEntries) {
      bucket.entries[used] = {tag, ref};
      ++bucket.meta;
      return true;
    }
    bucket.meta |= kBucketOverflow;
    if (++index == buckets_.size()) index = 0;
  }
}

void TableBuilder::write(ImageWriter& writer, SectionId id) {
  for (std::size_t i = 0; i < buckets_.size(); ++i) {
    buckets_[i].check = bucket_check(buckets_[i], writer.salt(), i);
  }
  writer.begin_section(id);
  writer.write(buckets_.data(), buckets_.size() * sizeof(Bucket));
  writer.end_section();
}

}  // namespace roster::nsscache
