#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"
#include "http/message.h"

// HTTP/1.1 on the wire (RFC 9112), without sockets: both sides feed bytes and take messages.
// Not Boost.Beast's parser: a last chunk that arrives in two pieces trips an assertion in it (1.81,
// basic_parser.ipp, "n >= 5"), trailer fields become header fields, and obs-fold, bare lists of
// lengths and unknown transfer codings pass.

namespace roster::http {

/// An answer that the edge gives by itself. Both texts are constants of ours, never outside bytes.
struct Reject {
  int status;
  std::string_view reason;  // metric label
  std::string_view sentence;
};

/// RFC 9110 5.6.2.
bool is_token(std::string_view text);
/// RFC 9110 5.5: no control characters except tab, no surrounding whitespace.
bool is_field_value(std::string_view text);
/// Whether a comma-separated list field has that member, without case (RFC 9110 5.6.1).
bool lists(const Headers& headers, std::string_view name, std::string_view member);
/// `piece` (not empty: that would be the last chunk) as a chunk (RFC 9112 7.1).
std::string chunk_of(std::string_view piece);
/// Standard phrase of a status code (RFC 9110 15, RFC 6585), "Status" for others.
std::string_view status_phrase(int status);

struct RequestHead {
  Request request;  // without body
  bool http_1_1 = false;
  bool keep_alive = false;
  bool chunked = false;
  std::optional<std::uint64_t> content_length;
};

/// Undoes the chunked coding (RFC 9112 7.1). Extensions and trailer fields are read and dropped;
/// together they may have `overhead_bytes_max` bytes.
class ChunkDecoder {
 public:
  enum class Outcome { kMore, kDone, kMalformed, kBodyTooLarge, kOverheadTooLarge };
  struct Step {
    Outcome outcome;
    std::size_t used;
  };

  explicit ChunkDecoder(std::size_t overhead_bytes_max) : overhead_left_(overhead_bytes_max) {}
  /// At most so many bytes of body from now on.
  void limit_body(std::uint64_t bytes_max) { body_left_ = bytes_max; }
  /// Appends what `input` holds of the body to `body`. Uses all of `input` unless it is done.
  Step decode(std::string_view input, std::string& body);

 private:
  enum class State {
    kSizeBegin,
    kSize,
    kExtension,
    kSizeLf,
    kData,
    kDataCr,
    kDataLf,
    kTrailerBegin,
    kTrailer,
    kTrailerLf,
    kLastLf,
  };
  std::optional<Outcome> line_byte(char c);
  std::optional<Outcome> size_digit(char c);
  std::optional<Outcome> size_end();
  std::optional<Outcome> overhead_byte(char c, State after_cr);

  State state_ = State::kSizeBegin;
  std::uint64_t chunk_left_ = 0;
  std::uint64_t body_left_ = UINT64_MAX;
  std::size_t overhead_left_;
};

/// Finds the end of a head before it is parsed, so that lines are judged by one rule: they end with
/// CRLF, none continues the one before it (obs-fold), and there is no NUL.
class HeadScanner {
 public:
  enum class Outcome { kMore, kComplete, kMalformed, kTooLarge };
  explicit HeadScanner(std::size_t bytes_max) : bytes_max_(bytes_max) {}
  /// `input` begins with the head each time; only what is new is looked at.
  Outcome scan(std::string_view input);
  /// Bytes of the head with its empty line, once complete.
  std::size_t size() const { return size_; }

 private:
  std::size_t bytes_max_;
  std::size_t at_ = 0;
  std::size_t size_ = 0;
  char previous_ = 0;
  bool line_begin_ = true;
  bool empty_line_ = false;
};

/// One request from bytes. Stricter than RFC 9112 lets a server be, because two parsers that
/// disagree about where a request ends are how requests are smuggled:
/// bare LF, obs-fold, several Host, several Content-Length (even equal ones), Content-Length with
/// Transfer-Encoding, any coding but a single "chunked", chunked in HTTP/1.0 are refused.
class RequestParser {
 public:
  explicit RequestParser(std::size_t header_bytes_max);

  /// Bytes used, from the front; call again with the rest and more. Stops after the head, so that
  /// limits can be set, and after the message. `input` is not empty, and not all done() yet.
  std::expected<std::size_t, Reject> put(std::string_view input);

  bool head_done() const { return head_done_; }
  bool done() const { return done_; }
  /// After head_done().
  const RequestHead& head() const { return head_; }
  /// Before the body; 413 for more.
  void limit_body(std::uint64_t bytes_max) { chunks_.limit_body(bytes_max); }
  /// Bytes of body so far.
  std::size_t body_bytes() const { return head_.request.body.size(); }
  /// After done().
  RequestHead take();

 private:
  std::expected<std::size_t, Reject> put_head(std::string_view input);
  std::expected<std::size_t, Reject> put_body(std::string_view input);

  HeadScanner scanner_;
  ChunkDecoder chunks_;
  std::uint64_t body_left_ = 0;
  bool leading_line_skipped_ = false;
  bool head_done_ = false;
  bool done_ = false;
  RequestHead head_;
};

/// One response from bytes. Errors are kDataLoss (we cannot make sense of the peer) or kTooLarge.
class ResponseParser {
 public:
  /// `to_head`: the request was a HEAD, so no body follows.
  ResponseParser(std::size_t header_bytes_max, bool to_head);

  /// As RequestParser::put.
  Result<std::size_t> put(std::string_view input);
  /// The peer closed. kDataLoss when the message is not complete.
  Result<void> put_eof();

  bool head_done() const { return head_done_; }
  bool done() const { return done_; }
  int status() const { return status_; }
  Headers& headers() { return headers_; }
  /// Whether the connection can carry another exchange.
  bool keep_alive() const { return keep_alive_; }
  /// Bytes of body that the head announced and that have not come; 0 when it did not say.
  std::uint64_t body_left() const { return body_left_; }
  /// So many of body_left() have come and went elsewhere.
  void skip_body(std::uint64_t bytes) {
    CHECK(bytes <= body_left_);
    body_left_ -= bytes;
    done_ = body_left_ == 0;
  }
  /// Body bytes since the last call.
  std::string take_body() { return std::exchange(body_, {}); }

 private:
  enum class Framing { kNone, kLength, kChunked, kUntilClose };
  Result<std::size_t> put_head(std::string_view input);
  Result<void> decide_framing();

  HeadScanner scanner_;
  ChunkDecoder chunks_;
  bool to_head_;
  bool head_done_ = false;
  bool done_ = false;
  bool keep_alive_ = false;
  Framing framing_ = Framing::kNone;
  std::uint64_t body_left_ = 0;
  int status_ = 0;
  Headers headers_;
  std::string body_;
};

}  // namespace roster::http
