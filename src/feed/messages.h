#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "base/ids.h"
#include "base/result.h"
#include "posix/node.h"

/// The messages of the change feed: FORMAT.md.
namespace roster::feed {

inline constexpr std::string_view kContentType = "application/x-ndjson";
inline constexpr std::string_view kSnapshotContentType = "application/zstd";
inline constexpr std::string_view kCursorHeader = "Roster-Cursor";
inline constexpr std::size_t kCursorBytesMax = 256;

/// Position in one organization's changes (FORMAT.md 2).
struct Cursor {
  std::string epoch;  // is_epoch_text
  Seq seq;
  std::string tag;  // lower-case hex, at most 64 digits; empty for seq 0
  bool operator==(const Cursor&) const = default;

  std::string encode() const;
  /// kInvalidArgument for anything that `encode` does not give.
  static Result<Cursor> decode(std::string_view text);
};

/// `[A-Za-z0-9_-]{1,63}`: an organization's epoch together with the view's definition.
bool is_epoch_text(std::string_view text);

/// Whether a text may be a cursor, judged by its characters alone.
bool is_cursor_text(std::string_view text);

enum class Kind { kDelta, kSnapshot };

struct Head {
  std::string epoch;
  std::string org;
  std::string view;
  Kind kind = Kind::kDelta;
  Seq head;
  bool keys = false;
  bool shrink_ok = false;
  bool operator==(const Head&) const = default;
};

struct UserGone {
  std::uint64_t n = 0;
  Seq seq;
  bool operator==(const UserGone&) const = default;
};

struct GroupGone {
  std::uint64_t n = 0;
  Seq seq;
  bool operator==(const GroupGone&) const = default;
};

/// Lines of a stream by kind.
struct Counts {
  std::uint64_t users = 0;
  std::uint64_t groups = 0;
  std::uint64_t gone = 0;
  bool operator==(const Counts&) const = default;
};

/// Records in a view.
struct Totals {
  std::uint64_t users = 0;
  std::uint64_t groups = 0;
  bool operator==(const Totals&) const = default;
};

struct End {
  Counts counts;
  bool final = true;
  std::string more;    // when not final
  std::string cursor;  // when final
  std::optional<Totals> totals;
  bool operator==(const End&) const = default;
};

struct Reset {
  std::string reason;
  bool operator==(const Reset&) const = default;
};

using Message =
    std::variant<Head, posix::NodeUser, posix::NodeGroup, UserGone, GroupGone, End, Reset>;

/// Each appends one line. Records come from parsed types, so there is nothing to fail.
/// Keys are written as they are in the record: the caller's projection leaves them out of views
/// without keys.
void append(std::string& out, const Head& head);
void append(std::string& out, const posix::NodeUser& user);
void append(std::string& out, const posix::NodeGroup& group);
void append(std::string& out, const UserGone& gone);
void append(std::string& out, const GroupGone& gone);
void append(std::string& out, const End& end);
void append(std::string& out, const Reset& reset);

struct Limits {
  std::size_t line_bytes_max = 4 << 20;
  std::uint64_t records_max = 4'000'000;  // of each kind
  std::size_t groups_max = 65'536;        // of one user, or parents of one group
  std::size_t keys_max = 100;
};

/// How many streams the input holds: a seed file is a chain of them.
enum class Chain { kOne, kMany };

/// Reads streams piece by piece. Holds at most one line.
class Decoder {
 public:
  using Sink = std::function<Result<void>(Message&&)>;

  explicit Decoder(Limits limits = {}, Chain chain = Chain::kOne)
      : limits_(limits), chain_(chain) {}

  /// Gives each complete message to `sink`, in order; pieces may be cut anywhere. An error of the
  /// sink is returned as it is. kInvalidArgument naming line and member for what breaks FORMAT.md,
  /// kTooLarge beyond a limit. After an error the stream is dead: every later call returns it
  /// again.
  Result<void> push(std::string_view piece, const Sink& sink);

  /// At the end of input: kDataLoss unless the (last) stream was complete.
  Result<void> finish() const;

 private:
  enum class State { kStart, kRecords, kDone };

  Result<void> take_line(std::string_view line, const Sink& sink);
  Result<void> accept(const Message& message);
  Result<void> accept_record(const Message& message);

  Limits limits_;
  Chain chain_;
  State state_ = State::kStart;
  Head head_;
  Counts counts_;
  std::uint64_t lines_ = 0;
  std::uint64_t last_user_ = 0;  // snapshot order
  std::uint64_t last_group_ = 0;
  std::string partial_;
  std::optional<Error> failed_;
};

/// One line without its LF. Nothing for a type that this version does not know.
Result<std::optional<Message>> parse_message(std::string_view line, const Limits& limits = {});

}  // namespace roster::feed
