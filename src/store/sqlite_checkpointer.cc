#include "store/sqlite_checkpointer.h"

#include <sqlite3.h>

#include <algorithm>
#include <utility>

#include "base/log.h"

namespace roster::store {
namespace {

constexpr std::int64_t kFrameBytes = 4096 + 24;  // a page and its header in the log

// While it waits for readers, a checkpoint that starts the log anew keeps writers out: rather it
// gives up and comes again when the log has grown. A page of reading takes less.
constexpr int kPatienceMs = 50;

}  // namespace

SqliteCheckpointer::SqliteCheckpointer(std::unique_ptr<SqliteConnection> connection,
                                       std::int64_t checkpoint_bytes, std::int64_t wal_bytes_max,
                                       Metrics* metrics)
    : checkpoint_frames_(std::max<std::int64_t>(1, checkpoint_bytes / kFrameBytes)),
      frames_max_(std::max(checkpoint_frames_, wal_bytes_max / kFrameBytes)),
      wal_bytes_(metrics == nullptr ? nullptr
                                    : std::make_unique<Metrics::Gauge>(metrics->gauge(
                                          "roster_store_wal_bytes",
                                          "Size of the part of the write-ahead log in use."))),
      connection_(std::move(connection)) {
  sqlite3_busy_timeout(connection_->handle(), kPatienceMs);
  thread_ = std::thread([this] { run(); });
}

SqliteCheckpointer::~SqliteCheckpointer() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void SqliteCheckpointer::watch(SqliteConnection& writer) {
  sqlite3_wal_hook(
      writer.handle(),
      [](void* self, sqlite3*, const char*, int frames) {
        static_cast<SqliteCheckpointer*>(self)->log_grew(frames);
        return SQLITE_OK;
      },
      this);
}

void SqliteCheckpointer::log_grew(int frames) {
  if (wal_bytes_) wal_bytes_->set(static_cast<double>(frames * kFrameBytes));
  bool due = false;
  {
    const std::lock_guard lock(mutex_);
    if (frames < frames_) frames_checkpointed_ = 0;  // the log started anew
    frames_ = frames;
    due = frames_ - frames_checkpointed_ >= checkpoint_frames_;
  }
  if (due) wake_.notify_one();
}

void SqliteCheckpointer::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(
        lock, [this] { return stopping_ || frames_ - frames_checkpointed_ >= checkpoint_frames_; });
    if (stopping_) return;
    const int frames = frames_;
    // Noted before it is done: after a failure the next attempt comes when the log has grown again.
    frames_checkpointed_ = frames;
    lock.unlock();
    checkpoint(frames);
    lock.lock();
  }
}

void SqliteCheckpointer::checkpoint(int frames) {
  // Passive: in nobody's way. Under steady load it never catches the end of the log, so beyond the
  // bound the rest is copied while writers wait, and the log starts anew. RESTART keeps the file,
  // which journal_size_limit cuts to the bound: on a full disk its space is worth having.
  sqlite3* db = connection_->handle();
  int rc = sqlite3_wal_checkpoint_v2(db, nullptr, SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr);
  if (rc == SQLITE_OK && frames > frames_max_) {
    rc = sqlite3_wal_checkpoint_v2(db, nullptr, SQLITE_CHECKPOINT_RESTART, nullptr, nullptr);
  }
  if (rc != SQLITE_OK && rc != SQLITE_BUSY && rc != SQLITE_LOCKED) {
    log::warn("checkpoint of the write-ahead log failed", {{"error", sqlite3_errmsg(db)}});
  }
}

}  // namespace roster::store
