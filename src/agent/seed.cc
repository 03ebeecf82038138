#include "agent/seed.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <optional>
#include <utility>

#include "agent/errors.h"
#include "agent/hub.h"
#include "base/encoding.h"
#include "base/fd.h"
#include "base/file.h"
#include "feed/messages.h"
#include "feed/zstd.h"

namespace roster::agent {
namespace {

constexpr std::uint64_t kStreamBytesMax = std::uint64_t{16} << 30;
constexpr std::chrono::milliseconds kTimeout{600'000};
constexpr int kPartsMax = 10'000;

/// The seed file while it is being written: a temporary one that disappears unless `commit`ted.
class SeedFile {
 public:
  static Result<SeedFile> create(const std::filesystem::path& file) {
    SeedFile out;
    out.file_ = file;
    out.temporary_ = file.string() + ".tmp";
    unlink(out.temporary_.c_str());
    out.fd_ = UniqueFd(
        open(out.temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!out.fd_.valid()) {
      return on_this_node<SeedFile>(
          std::unexpected(errno_error("create " + out.temporary_, errno)));
    }
    return out;
  }
  SeedFile(SeedFile&&) = default;
  SeedFile& operator=(SeedFile&&) = delete;
  ~SeedFile() {
    if (fd_.valid()) unlink(temporary_.c_str());
  }

  Result<void> write(std::string_view text) {
    compressor_.push(text, packed_);
    return on_this_node(flush());
  }
  Result<void> commit() { return on_this_node(finish()); }

 private:
  SeedFile() = default;
  Result<void> finish() {
    compressor_.finish(packed_);
    RETURN_IF_ERROR(flush());
    if (fsync(fd_.get()) != 0) return std::unexpected(errno_error("fsync " + temporary_, errno));
    if (rename(temporary_.c_str(), file_.c_str()) != 0) {
      return std::unexpected(errno_error("rename " + temporary_, errno));
    }
    fd_ = UniqueFd();
    return fsync_directory(file_.parent_path().empty() ? "." : file_.parent_path());
  }
  Result<void> flush() {
    auto written = write_all(fd_.get(), packed_);
    packed_.clear();
    return written;
  }

  std::filesystem::path file_;
  std::string temporary_;
  UniqueFd fd_;
  feed::Compressor compressor_;
  std::string packed_;
};

/// Copies one stream into the seed, reading it on the way.
class Copier {
 public:
  Copier(SeedFile& seed, const feed::Enrollment& enrollment, feed::Kind kind)
      : seed_(seed), enrollment_(enrollment), kind_(kind) {}

  Result<void> push(std::string_view bytes) {
    if (!started_ && !bytes.empty()) {
      started_ = true;
      if (bytes.front() == '\x28') decompressor_.emplace(kStreamBytesMax);
    }
    if (!decompressor_) return push_text(bytes);
    return decompressor_->push(bytes, [this](std::string_view text) { return push_text(text); });
  }
  Result<feed::End> finish() {
    RETURN_IF_ERROR(decoder_.finish());
    if (decompressor_) RETURN_IF_ERROR(decompressor_->finish());
    if (!end_) return fail(Code::kUnavailable, "the hub asks for a new start");
    return *end_;
  }

 private:
  Result<void> push_text(std::string_view text) {
    RETURN_IF_ERROR(decoder_.push(text, [this](feed::Message&& m) { return look(m); }));
    return seed_.write(text);
  }
  Result<void> look(const feed::Message& message) {
    if (const auto* head = std::get_if<feed::Head>(&message)) {
      if (head->org != enrollment_.org || head->view != enrollment_.view || head->kind != kind_) {
        return fail(Code::kFailedPrecondition, "not the stream that was asked for");
      }
    }
    if (const auto* end = std::get_if<feed::End>(&message)) end_ = *end;
    return {};
  }

  SeedFile& seed_;
  const feed::Enrollment& enrollment_;
  const feed::Kind kind_;
  feed::Decoder decoder_;
  std::optional<feed::Decompressor> decompressor_;
  bool started_ = false;
  std::optional<feed::End> end_;
};

Result<feed::End> copy_stream(http::Client& client, SeedFile& seed,
                              const feed::Enrollment& enrollment, feed::Kind kind,
                              std::string target) {
  Copier copier(seed, enrollment, kind);
  http::ClientRequest request;
  request.target = std::move(target);
  request.timeout = kTimeout;
  request.sink = [&copier](std::string_view piece) { return copier.push(piece); };
  ASSIGN_OR_RETURN(const http::ClientResponse response, client.call(request));
  if (response.status != 200) return std::unexpected(answer_error("seed", response));
  return copier.finish();
}

/// Plays a chain of streams into the cache, as if the hub had sent them.
class Player {
 public:
  explicit Player(NodeCache& cache) : cache_(cache) {}

  Result<void> take(feed::Message&& message) {
    if (auto* head = std::get_if<feed::Head>(&message)) return begin(std::move(*head));
    if (auto* end = std::get_if<feed::End>(&message)) {
      end_ = std::move(*end);
      return {};
    }
    if (std::holds_alternative<feed::Reset>(message)) {
      return fail(Code::kInvalidArgument, "a reset inside a seed");
    }
    return cache_.apply(std::move(message));
  }
  Result<void> publish() {
    if (!first_ || !end_ || !end_->final) return fail(Code::kDataLoss, "the seed is not whole");
    RETURN_IF_ERROR(cache_.complete(end_->cursor, first_->epoch, true));
    RETURN_IF_ERROR(cache_.publish());
    return {};
  }

 private:
  Result<void> begin(feed::Head head) {
    if (first_) {
      const bool goes_on = head.kind == feed::Kind::kDelta && head.org == first_->org &&
                           head.view == first_->view && head.epoch == first_->epoch;
      if (!goes_on)
        return fail(Code::kInvalidArgument, "the seed's streams do not belong together");
      return {};
    }
    if (head.kind != feed::Kind::kSnapshot) {
      return fail(Code::kInvalidArgument, "a seed begins with a snapshot");
    }
    RETURN_IF_ERROR(cache_.open(head.org, head.view));
    if (cache_.generation() > 0) {
      return fail(Code::kFailedPrecondition, "there is a generation already");
    }
    RETURN_IF_ERROR(cache_.begin(feed::Kind::kSnapshot));
    first_ = std::move(head);
    return {};
  }

  NodeCache& cache_;
  std::optional<feed::Head> first_;
  std::optional<feed::End> end_;
};

}  // namespace

Result<void> write_seed(const Config& config, const feed::Enrollment& enrollment,
                        const std::filesystem::path& file) {
  ASSIGN_OR_RETURN(const auto client, connect(config, enrollment));
  ASSIGN_OR_RETURN(SeedFile seed, SeedFile::create(file));
  const std::string base = "/api/organizations/" + enrollment.org + "/feed";
  ASSIGN_OR_RETURN(feed::End end, copy_stream(*client, seed, enrollment, feed::Kind::kSnapshot,
                                              base + "/snapshot?view=" + enrollment.view));
  const std::string from =
      base + "?view=" + enrollment.view + "&from=" + percent_encode(end.cursor);
  std::string more;
  for (int part = 0; part < kPartsMax; ++part) {
    ASSIGN_OR_RETURN(end, copy_stream(*client, seed, enrollment, feed::Kind::kDelta, from + more));
    if (end.final) return seed.commit();
    more = "&more=" + percent_encode(end.more);
  }
  return fail(Code::kTooLarge, "a delta of too many parts");
}

Result<void> load_seed(const std::filesystem::path& file, NodeCache& cache) {
  const UniqueFd fd(open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return std::unexpected(errno_error("open " + file.string(), errno));
  Player player(cache);
  feed::Decoder decoder({}, feed::Chain::kMany);
  feed::Decompressor decompressor(kStreamBytesMax);
  const auto take_text = [&decoder, &player](std::string_view text) {
    return decoder.push(text, [&player](feed::Message&& m) { return player.take(std::move(m)); });
  };
  const auto load = [&]() -> Result<void> {
    std::array<char, 64 << 10> buffer;
    while (true) {
      const ssize_t size = read(fd.get(), buffer.data(), buffer.size());
      if (size < 0 && errno == EINTR) continue;
      if (size < 0) return std::unexpected(errno_error("read", errno));
      if (size == 0) break;
      RETURN_IF_ERROR(
          decompressor.push({buffer.data(), static_cast<std::size_t>(size)}, take_text));
    }
    RETURN_IF_ERROR(decompressor.finish());
    RETURN_IF_ERROR(decoder.finish());
    return player.publish();
  };
  auto loaded = load();
  if (loaded) return {};
  cache.abort();
  return fail_in("seed " + file.string(), std::move(loaded.error()));
}

}  // namespace roster::agent
