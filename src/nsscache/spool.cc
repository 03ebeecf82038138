#include "nsscache/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <tuple>

#include "base/file.h"
#include "nsscache/image_writer.h"

namespace roster::nsscache {
namespace {

constexpr std::size_t kBufferBytes = 1 << 20;

void put_number(std::string& out, std::uint64_t value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void put_text(std::string& out, std::string_view text) {
  put_number(out, text.size());
  out.append(text);
}

/// Reads back what put_* wrote; these bytes never leave the process.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}
  std::uint64_t number() {
    CHECK(bytes_.size() >= 8);
    const std::uint64_t value = load64(bytes_.data());
    bytes_.remove_prefix(8);
    return value;
  }
  std::string text() {
    const std::uint64_t size = number();
    CHECK(bytes_.size() >= size);
    std::string out(bytes_.substr(0, size));
    bytes_.remove_prefix(size);
    return out;
  }

 private:
  std::string_view bytes_;
};

std::string encode(const posix::NodeUser& user) {
  std::string out;
  put_number(out, user.n);
  put_number(out, user.seq.value);
  put_text(out, user.name.str());
  put_number(out, user.uid);
  put_number(out, user.gid);
  put_text(out, user.gecos);
  put_text(out, user.home);
  put_text(out, user.shell);
  put_number(out, user.locked ? 1 : 0);
  put_number(out, static_cast<std::uint64_t>(user.valid_until));
  put_number(out, user.groups.size());
  for (const std::uint64_t group : user.groups) put_number(out, group);
  put_number(out, user.keys.size());
  for (const posix::NodeKey& key : user.keys) {
    put_text(out, key.line);
    put_text(out, key.fingerprint);
    put_number(out, static_cast<std::uint64_t>(key.not_before));
    put_number(out, static_cast<std::uint64_t>(key.not_after));
  }
  return out;
}

Result<posix::NodeUser> decode(std::string_view bytes) {
  Reader in(bytes);
  const std::uint64_t n = in.number();
  const Seq seq{in.number()};
  ASSIGN_OR_RETURN(auto name, posix::LoginName::parse(in.text()));
  // Members of a braced list are evaluated in order.
  posix::NodeUser user{.n = n,
                       .seq = seq,
                       .name = std::move(name),
                       .uid = static_cast<std::uint32_t>(in.number()),
                       .gid = static_cast<std::uint32_t>(in.number()),
                       .gecos = in.text(),
                       .home = in.text(),
                       .shell = in.text(),
                       .locked = in.number() != 0,
                       .valid_until = static_cast<posix::UnixSeconds>(in.number()),
                       .groups = {},
                       .keys = {}};
  user.groups.resize(in.number());
  for (std::uint64_t& group : user.groups) group = in.number();
  user.keys.resize(in.number());
  for (posix::NodeKey& key : user.keys) {
    key.line = in.text();
    key.fingerprint = in.text();
    key.not_before = static_cast<posix::UnixSeconds>(in.number());
    key.not_after = static_cast<posix::UnixSeconds>(in.number());
  }
  return user;
}

}  // namespace

Result<UserSpool> UserSpool::create(const CacheDirectory& directory) {
  const std::string name = std::string(kTemporaryPrefix) + "spool";
  ::unlinkat(directory.fd(), name.c_str(), 0);
  UniqueFd fd(::openat(directory.fd(), name.c_str(),
                       O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd.valid()) return std::unexpected(errno_error("create a spool file", errno));
  ::unlinkat(directory.fd(), name.c_str(), 0);
  return UserSpool(std::move(fd));
}

Result<void> UserSpool::add(const posix::NodeUser& user) {
  const std::string bytes = encode(user);
  if (!entries_.empty() && entries_.back().n >= user.n) sorted_ = false;
  entries_.push_back({user.n, position_, bytes.size()});
  position_ += bytes.size();
  buffer_ += bytes;
  return buffer_.size() >= kBufferBytes ? flush() : Result<void>{};
}

Result<void> UserSpool::flush() {
  // May be called again after a disk that was full: what was written is not written twice.
  while (!buffer_.empty()) {
    const ssize_t wrote =
        ::pwrite(fd_.get(), buffer_.data(), buffer_.size(), static_cast<off_t>(flushed_));
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return std::unexpected(errno_error("write the spool file", errno));
    flushed_ += static_cast<std::uint64_t>(wrote);
    buffer_.erase(0, static_cast<std::size_t>(wrote));
  }
  return {};
}

void UserSpool::remove(std::uint64_t n) {
  entries_.push_back({n, position_, 0});
  sorted_ = false;
}

Result<void> UserSpool::sort() {
  RETURN_IF_ERROR(flush());
  if (sorted_) return {};
  // In order of arrival within a number: a removal has no bytes, so it comes before what follows
  // it.
  std::ranges::sort(entries_, {}, [](const Entry& entry) {
    return std::tuple(entry.n, entry.offset, entry.bytes);
  });
  std::size_t kept = 0;
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    const bool last = i + 1 == entries_.size() || entries_[i + 1].n != entries_[i].n;
    if (last && entries_[i].bytes > 0) entries_[kept++] = entries_[i];
  }
  entries_.resize(kept);
  sorted_ = true;
  return {};
}

Result<posix::NodeUser> UserSpool::read(std::size_t index) const {
  const Entry& entry = entries_[index];
  std::string bytes(entry.bytes, '\0');
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t got = ::pread(fd_.get(), bytes.data() + done, bytes.size() - done,
                                static_cast<off_t>(entry.offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return std::unexpected(errno_error("read the spool file", errno));
    if (got == 0) return fail(Code::kDataLoss, "the spool file is shorter than what was written");
    done += static_cast<std::size_t>(got);
  }
  return decode(bytes);
}

}  // namespace roster::nsscache
