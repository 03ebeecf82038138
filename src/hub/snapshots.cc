#include "hub/snapshots.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <system_error>
#include <variant>
#include <vector>

#include "base/encoding.h"
#include "base/file.h"
#include "base/log.h"
#include "feed/messages.h"
#include "feed/zstd.h"
#include "hub/errors.h"
#include "hub/feed_query.h"
#include "hub/range.h"
#include "hub/render.h"

namespace roster::hub {
namespace {

constexpr std::size_t kFlushBytes = 1 << 20;
constexpr std::string_view kFilePrefix = "snapshot-";
constexpr const char* kFileTemplate = "snapshot-XXXXXX";
constexpr std::chrono::seconds kPatience{60};  // of a parked request for one turn

std::string wait_key(const NodeAccess& access) {
  return "snapshot/" + access.org.slug + "/" + access.view.name;
}

/// Records go through the compressor into the file in blocks.
class Output {
 public:
  explicit Output(int fd) : fd_(fd) {}

  std::string& text() { return text_; }

  Result<void> flush_if_full() {
    if (text_.size() < kFlushBytes) return {};
    return flush();
  }

  Result<void> finish() {
    RETURN_IF_ERROR(flush());
    std::string rest;
    compressor_.finish(rest);
    return write(rest);
  }

  std::uint64_t size() const { return size_; }

 private:
  Result<void> flush() {
    std::string compressed;
    compressor_.push(text_, compressed);
    text_.clear();
    return write(compressed);
  }
  Result<void> write(std::string_view bytes) {
    size_ += bytes.size();
    return write_all(fd_, bytes);
  }

  int fd_;
  feed::Compressor compressor_;
  std::string text_;
  std::uint64_t size_ = 0;
};

/// Gives every page of `scan(after_n, limit)` to `take`, in order of numbers.
template <typename Scan, typename Take>
Result<void> for_each_page(const std::stop_token& stop, std::size_t limit, Scan scan, Take take) {
  for (std::uint64_t after = 0;;) {
    if (stop.stop_requested()) return fail(Code::kUnavailable, "the hub is stopping");
    ASSIGN_OR_RETURN(auto page, scan(after, limit));
    if (page.empty()) return {};
    ASSIGN_OR_RETURN(after, take(std::move(page)));
  }
}

/// Everything between head and end.
Result<feed::Counts> write_records(const std::stop_token& stop, directory::Directory& directory,
                                   const View& view, const directory::Org& org,
                                   std::size_t page_rows, Output& output) {
  RecordWriter writer(view);
  const auto take = [&](auto page) -> Result<std::uint64_t> {
    const std::uint64_t last = page.back().record.n;
    for (auto& item : page) writer.add_present(output.text(), std::move(item));
    RETURN_IF_ERROR(output.flush_if_full());
    return last;
  };
  RETURN_IF_ERROR(for_each_page(
      stop, page_rows,
      [&](auto after, auto limit) {
        return directory.scan_node_groups(org.n, after, limit, view.scope);
      },
      take));
  RETURN_IF_ERROR(for_each_page(
      stop, page_rows,
      [&](auto after, auto limit) {
        return directory.scan_node_users(org.n, after, limit, view.scope);
      },
      take));
  writer.add_removals(output.text(), org.seq);
  RETURN_IF_ERROR(for_each_page(
      stop, page_rows,
      [&](auto after, auto limit) { return directory.tombstones(org.n, after, limit); },
      [&](const std::vector<std::uint64_t>& page) -> Result<std::uint64_t> {
        for (const std::uint64_t n : page) writer.add_tombstone(output.text(), n, org.seq);
        RETURN_IF_ERROR(output.flush_if_full());
        return page.back();
      }));
  return writer.counts();
}

}  // namespace

Result<std::unique_ptr<Snapshots>> Snapshots::create(directory::Directory& directory,
                                                     Metrics& metrics, Notify notify,
                                                     SnapshotOptions options) {
  std::error_code error;
  std::filesystem::create_directories(options.directory, error);
  if (error) return fail_in("snapshots", errno_error(options.directory.string(), error.value()));
  std::unique_ptr<Snapshots> snapshots(
      new Snapshots(directory, metrics, std::move(notify), std::move(options)));
  snapshots->remove_leftovers();
  snapshots->thread_ =
      std::jthread([self = snapshots.get()](const std::stop_token& stop) { self->run(stop); });
  return snapshots;
}

Snapshots::Snapshots(directory::Directory& directory, Metrics& metrics, Notify notify,
                     SnapshotOptions options)
    : directory_(directory),
      metrics_(metrics),
      notify_(std::move(notify)),
      options_(std::move(options)) {}

Snapshots::~Snapshots() = default;

http::Response Snapshots::serve(const http::Request& request, http::Context& context,
                                std::string_view org_slug) {
  const auto query = http::Query::parse(request.query);
  if (!query) return error_response(query.error(), context);
  const auto access = authorize_node(directory_, request, org_slug, query->get("view"));
  if (!access) return error_response(access.error(), context);
  auto found = find_or_order(*access, request.headers.get("If-Match"), context);
  if (!found) return error_response(found.error(), context);
  if (auto* wait = std::get_if<http::WaitBody>(&*found)) {
    return http::Response{.status = 200, .headers = {}, .body = std::move(*wait)};
  }
  return send(*std::get<FilePtr>(*found), request);
}

http::Response Snapshots::send(const File& file, const http::Request& request) {
  http::Response response;
  response.headers.set("ETag", file.etag);
  response.headers.set("Accept-Ranges", "bytes");
  response.headers.set(feed::kCursorHeader, file.cursor);
  ByteRange range{.kind = ByteRange::Kind::kWhole, .first = 0, .size = file.size};
  const bool same =
      !request.headers.has("If-Range") || request.headers.get("If-Range") == file.etag;
  if (same) range = parse_range(request.headers.get("Range"), file.size);
  const std::string size = std::to_string(file.size);
  if (range.kind == ByteRange::Kind::kUnsatisfiable) {
    response.status = 416;
    response.headers.set("Content-Range", "bytes */" + size);
    return response;
  }
  if (range.kind == ByteRange::Kind::kPart) {
    response.status = 206;
    const std::string last = std::to_string(range.first + range.size - 1);
    response.headers.set("Content-Range",
                         "bytes " + std::to_string(range.first) + "-" + last + "/" + size);
  }
  response.headers.set("Content-Type", feed::kSnapshotContentType);
  response.body = http::FileBody{.fd = file.fd, .offset = range.first, .size = range.size};
  return response;
}

/// `if_match`: a transfer goes on, with the file that it began with or not at all.
/// A parked request takes whatever its turn gave, also when changes have overtaken it meanwhile:
/// the delta after it is right, only longer.
Result<std::variant<Snapshots::FilePtr, http::WaitBody>> Snapshots::find_or_order(
    const NodeAccess& access, std::string_view if_match, const http::Context& context) {
  ASSIGN_OR_RETURN(const bool shrink_ok, shrink_confirmed(access.org.n));
  const std::lock_guard lock(mutex_);
  Slot& slot = slots_[Key(access.org.n, access.view.name)];
  const bool same_epoch = slot.file != nullptr && slot.file->epoch == access.epoch;
  if (!if_match.empty()) {
    if (same_epoch && slot.file->etag == if_match) return slot.file;
    return fail(Code::kVersionMismatch, "this snapshot is not kept any more: begin with a new one");
  }
  if (same_epoch && (is_fresh(*slot.file, access, shrink_ok) || context.resumed)) {
    return slot.file;
  }
  if (context.resumed && !slot.wanted && slot.failed) return std::unexpected(*slot.failed);
  if (context.wait_expired) return fail(Code::kUnavailable, "the snapshot is still being rendered");
  if (!slot.wanted) {
    if (queue_.size() >= options_.queue_max) {
      return fail(Code::kUnavailable, "too many snapshots are waiting to be rendered");
    }
    slot.wanted = true;
    queue_.push_back(access);
    work_.notify_one();
  }
  return http::WaitBody{.key = wait_key(access), .after = slot.attempts, .deadline = kPatience};
}

/// Small is what costs a node less than another snapshot would cost the hub.
bool Snapshots::is_fresh(const File& file, const NodeAccess& access, bool shrink_ok) {
  const std::uint64_t changes_max = std::clamp<std::uint64_t>(file.records / 20, 100, 10'000);
  return file.shrink_ok == shrink_ok && access.org.seq >= file.head &&
         access.org.seq.value - file.head.value <= changes_max;
}

void Snapshots::run(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (work_.wait(lock, stop, [this] { return !queue_.empty(); })) {
    const NodeAccess access = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    auto file = render(stop, access);
    lock.lock();
    Slot& slot = slots_[Key(access.org.n, access.view.name)];
    slot.wanted = false;
    slot.failed.reset();
    if (file) {
      slot.file = std::move(*file);
    } else {
      slot.failed = file.error();
    }
    const std::uint64_t attempts = ++slot.attempts;
    lock.unlock();
    notify_(wait_key(access), attempts);
    lock.lock();
  }
}

Result<Snapshots::FilePtr> Snapshots::render(const std::stop_token& stop,
                                             const NodeAccess& access) {
  const auto began = std::chrono::steady_clock::now();
  // The organization as it is now, not as it was when the node asked: this is the stamp.
  ASSIGN_OR_RETURN(const directory::Org org, directory_.org_now(access.org.slug));
  // So the view's definition: it may have changed while the node waited for its turn.
  ASSIGN_OR_RETURN(const View view, find_view(directory_, org, access.view.name));
  const std::string epoch = view_epoch(org, view);
  ASSIGN_OR_RETURN(const feed::Cursor cursor, cursor_at(directory_, org.n, epoch, org.seq));
  ASSIGN_OR_RETURN(const bool shrink_ok, shrink_confirmed(org.n));
  ASSIGN_OR_RETURN(UniqueFd fd, open_nameless());
  Output output(fd.get());
  feed::append(output.text(), feed::Head{.epoch = epoch,
                                         .org = org.slug,
                                         .view = view.name,
                                         .kind = feed::Kind::kSnapshot,
                                         .head = org.seq,
                                         .keys = view.with_keys,
                                         .shrink_ok = shrink_ok});
  ASSIGN_OR_RETURN(const feed::Counts counts,
                   write_records(stop, directory_, view, org, options_.page_rows, output));
  feed::End end;
  end.counts = counts;
  end.cursor = cursor.encode();
  feed::append(output.text(), end);
  RETURN_IF_ERROR(output.finish());

  std::string random(8, '\0');
  options_.random({reinterpret_cast<std::uint8_t*>(random.data()), random.size()});
  auto file = std::make_shared<File>();
  file->fd = std::make_shared<UniqueFd>(std::move(fd));
  file->size = output.size();
  file->etag = "\"" + std::to_string(org.seq.value) + "-" + hex_encode(random) + "\"";
  file->cursor = cursor.encode();
  file->epoch = epoch;
  file->head = org.seq;
  file->records = counts.users + counts.groups;
  file->shrink_ok = shrink_ok;
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
  metrics_
      .histogram("roster_snapshot_render_seconds", "Time to render one snapshot.", {},
                 {0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100})
      .observe(took.count());
  log::info("snapshot rendered", {{"org", org.slug},
                                  {"view", view.name},
                                  {"head", org.seq.value},
                                  {"records", file->records},
                                  {"bytes", file->size},
                                  {"seconds", took.count()}});
  return file;
}

void Snapshots::forget_removed_views() {
  std::vector<Key> keys;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [key, slot] : slots_) keys.push_back(key);
  }
  for (const Key& key : keys) {
    const auto view = directory_.find_view(key.first, key.second);
    if (view || view.error().code != Code::kNotFound) continue;
    const std::lock_guard lock(mutex_);
    const auto found = slots_.find(key);
    // Not the slot: the number of its attempts must go on rising for those who wait.
    if (found != slots_.end()) found->second.file.reset();
  }
}

/// An operator who releases the fuse says that many are meant to go; nodes may believe it, too.
Result<bool> Snapshots::shrink_confirmed(directory::OrgN org) {
  ASSIGN_OR_RETURN(const directory::Directory::Fuse fuse, directory_.fuse(org));
  return fuse.released_until && *fuse.released_until > options_.clock();
}

Result<UniqueFd> Snapshots::open_nameless() const {
  struct statvfs space{};
  if (::statvfs(options_.directory.c_str(), &space) != 0) {
    return std::unexpected(errno_error("statvfs " + options_.directory.string(), errno));
  }
  if (static_cast<std::uint64_t>(space.f_bavail) * space.f_frsize < options_.disk_free_min) {
    return fail(Code::kUnavailable,
                "too little disk space for a snapshot in " + options_.directory.string());
  }
  // Not O_TMPFILE, which overlay file systems had to learn first.
  std::string path = (options_.directory / kFileTemplate).string();
  UniqueFd fd(::mkostemp(path.data(), O_CLOEXEC));
  if (!fd.valid()) return std::unexpected(errno_error("create " + path, errno));
  if (::unlink(path.c_str()) != 0) return std::unexpected(errno_error("unlink " + path, errno));
  return fd;
}

/// Of a process that ended between making a file and taking its name away.
void Snapshots::remove_leftovers() const {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(options_.directory, error)) {
    if (!entry.path().filename().string().starts_with(kFilePrefix)) continue;
    std::filesystem::remove(entry.path(), error);
    log::info("removed an unfinished snapshot", {{"path", entry.path().string()}});
  }
}

}  // namespace roster::hub
