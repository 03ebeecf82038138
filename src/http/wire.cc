#include "http/wire.h"

#include <algorithm>
#include <array>
#include <cstdio>

#include "base/unicode.h"

namespace roster::http {
namespace {

constexpr std::size_t kFieldsMax = 100;

constexpr Reject kMalformed{400, "malformed", "The request is malformed."};
constexpr Reject kHeaderTooLarge{431, "header_too_large", "The request's header is too large."};
constexpr Reject kBodyTooLarge{413, "body_too_large", "The request's body is too large."};
constexpr Reject kFraming{400, "malformed", "The request's length is ambiguous."};
constexpr Reject kHost{400, "malformed", "The request needs exactly one valid Host."};
constexpr Reject kCoding{501, "malformed", "Only the transfer coding \"chunked\" is supported."};
constexpr Reject kVersion{505, "malformed", "Only HTTP/1.0 and HTTP/1.1 are supported."};

bool is_alphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_blank(char c) { return c == ' ' || c == '\t'; }
bool is_control(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return (byte < 0x20 && byte != '\t') || byte == 0x7F;
}

bool is_host(std::string_view host) {
  return std::ranges::all_of(
      host, [](char c) { return is_alphanumeric(c) || std::string_view("-._~:[]%").contains(c); });
}

/// Takes a line with its CRLF from the front of a scanned head.
std::string_view take_line(std::string_view& head) {
  const std::size_t end = head.find("\r\n");
  CHECK(end != std::string_view::npos);
  const std::string_view line = head.substr(0, end);
  head.remove_prefix(end + 2);
  return line;
}

enum class Fields { kGood, kMalformed, kTooMany };

/// RFC 9112 5: field lines up to the empty one.
Fields parse_fields(std::string_view head, Headers& headers) {
  for (std::size_t count = 0;; ++count) {
    const std::string_view line = take_line(head);
    if (line.empty()) return Fields::kGood;
    if (count == kFieldsMax) return Fields::kTooMany;
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos || !is_token(line.substr(0, colon))) {
      return Fields::kMalformed;
    }
    std::string_view value = line.substr(colon + 1);
    while (!value.empty() && is_blank(value.front())) value.remove_prefix(1);
    while (!value.empty() && is_blank(value.back())) value.remove_suffix(1);
    if (!is_field_value(value)) return Fields::kMalformed;
    headers.add(line.substr(0, colon), value);
  }
}

std::size_t count(const Headers& headers, std::string_view name) {
  return static_cast<std::size_t>(std::ranges::count_if(
      headers.all(), [name](const auto& field) { return ascii_iequals(field.first, name); }));
}

bool wants_keep_alive(const Headers& headers, bool http_1_1) {
  if (lists(headers, "Connection", "close")) return false;
  return http_1_1 || lists(headers, "Connection", "keep-alive");
}

enum class Version { kHttp10, kHttp11, kOther, kMalformed };

Version parse_version(std::string_view text) {
  if (text == "HTTP/1.1") return Version::kHttp11;
  if (text == "HTTP/1.0") return Version::kHttp10;
  const bool versioned = text.size() == 8 && text.starts_with("HTTP/") && is_digit(text[5]) &&
                         text[6] == '.' && is_digit(text[7]);
  return versioned ? Version::kOther : Version::kMalformed;
}

std::optional<std::uint64_t> parse_content_length(std::string_view text) {
  if (text.empty() || text.size() > 18 || !std::ranges::all_of(text, is_digit)) {
    return std::nullopt;
  }
  std::uint64_t value = 0;
  for (const char c : text) value = value * 10 + static_cast<std::uint64_t>(c - '0');
  return value;
}

/// RFC 9112 3.2: origin form, absolute form (which replaces Host), or "*" for OPTIONS.
bool split_target(std::string target, Request& request) {
  const bool printable =
      std::ranges::all_of(target, [](char c) { return c > 0x20 && c < 0x7F && c != '#'; });
  if (!printable) return false;
  if (target == "*") {
    request.path = std::move(target);
    return request.method == "OPTIONS";
  }
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (!ascii_iequals(std::string_view(target).substr(0, scheme.size()), scheme)) continue;
    const std::size_t end = std::min(target.find_first_of("/?", scheme.size()), target.size());
    const std::string host = target.substr(scheme.size(), end - scheme.size());
    if (host.empty() || !is_host(host)) return false;
    request.headers.set("Host", host);
    target.erase(0, end);
    if (!target.starts_with('/')) target.insert(0, "/");
    break;
  }
  if (!target.starts_with('/')) return false;
  const std::size_t question = target.find('?');
  if (question != std::string::npos) {
    request.query = target.substr(question + 1);
    target.erase(question);
  }
  request.path = std::move(target);
  return true;
}

/// RFC 9112 6: the framing must be beyond doubt.
std::optional<Reject> check_framing(RequestHead& head) {
  const Headers& headers = head.request.headers;
  const std::size_t lengths = count(headers, "Content-Length");
  const std::size_t codings = count(headers, "Transfer-Encoding");
  if (lengths > 1 || codings > 1 || (lengths == 1 && codings == 1)) return kFraming;
  if (lengths == 1) {
    head.content_length = parse_content_length(headers.get("Content-Length"));
    if (!head.content_length) return kFraming;
  }
  if (codings == 1) {
    if (!head.http_1_1) return kFraming;
    if (!ascii_iequals(headers.get("Transfer-Encoding"), "chunked")) return kCoding;
    head.chunked = true;
  }
  return std::nullopt;
}

/// `text`: a scanned head. Method, version and fields, then what they mean together.
std::expected<RequestHead, Reject> parse_request_head(std::string_view text) {
  const std::string_view line = take_line(text);
  const std::size_t first = line.find(' ');
  const std::size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) return std::unexpected(kMalformed);
  RequestHead head;
  Request& request = head.request;
  request.method = line.substr(0, first);
  if (!is_token(request.method)) return std::unexpected(kMalformed);
  switch (parse_version(line.substr(last + 1))) {
    case Version::kHttp11:
      head.http_1_1 = true;
      break;
    case Version::kHttp10:
      break;
    case Version::kOther:
      return std::unexpected(kVersion);
    case Version::kMalformed:
      return std::unexpected(kMalformed);
  }
  switch (parse_fields(text, request.headers)) {
    case Fields::kGood:
      break;
    case Fields::kMalformed:
      return std::unexpected(kMalformed);
    case Fields::kTooMany:
      return std::unexpected(kHeaderTooLarge);
  }
  head.keep_alive = wants_keep_alive(request.headers, head.http_1_1);
  const std::size_t hosts = count(request.headers, "Host");
  if (hosts > 1 || (hosts == 0 && head.http_1_1)) return std::unexpected(kHost);
  if (!is_host(request.headers.get("Host"))) return std::unexpected(kHost);
  if (const auto reject = check_framing(head)) return std::unexpected(*reject);
  if (!split_target(std::string(line.substr(first + 1, last - first - 1)), request)) {
    return std::unexpected(kMalformed);
  }
  return head;
}

int hex_digit(char c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

bool is_token(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) {
    return is_alphanumeric(c) || std::string_view("!#$%&'*+-.^_`|~").contains(c);
  });
}

bool is_field_value(std::string_view text) {
  if (text.empty()) return true;
  if (is_blank(text.front()) || is_blank(text.back())) return false;
  return std::ranges::none_of(text, is_control);
}

bool lists(const Headers& headers, std::string_view name, std::string_view member) {
  for (const auto& [field, text] : headers.all()) {
    if (!ascii_iequals(field, name)) continue;
    std::string_view rest = text;
    while (!rest.empty()) {
      const std::size_t comma = std::min(rest.find(','), rest.size());
      std::string_view item = rest.substr(0, comma);
      rest.remove_prefix(std::min(comma + 1, rest.size()));
      while (!item.empty() && is_blank(item.front())) item.remove_prefix(1);
      while (!item.empty() && is_blank(item.back())) item.remove_suffix(1);
      if (ascii_iequals(item, member)) return true;
    }
  }
  return false;
}

std::string chunk_of(std::string_view piece) {
  std::array<char, 20> size{};
  const int digits = std::snprintf(size.data(), size.size(), "%zx\r\n", piece.size());
  std::string chunk;
  chunk.reserve(piece.size() + size.size());
  chunk.append(size.data(), static_cast<std::size_t>(digits)).append(piece).append("\r\n");
  return chunk;
}

std::string_view status_phrase(int status) {
  struct Phrase {
    int status;
    std::string_view text;
  };
  static constexpr auto kPhrases = std::to_array<Phrase>({
      {100, "Continue"},
      {200, "OK"},
      {201, "Created"},
      {202, "Accepted"},
      {204, "No Content"},
      {206, "Partial Content"},
      {301, "Moved Permanently"},
      {302, "Found"},
      {303, "See Other"},
      {304, "Not Modified"},
      {307, "Temporary Redirect"},
      {308, "Permanent Redirect"},
      {400, "Bad Request"},
      {401, "Unauthorized"},
      {403, "Forbidden"},
      {404, "Not Found"},
      {405, "Method Not Allowed"},
      {406, "Not Acceptable"},
      {408, "Request Timeout"},
      {409, "Conflict"},
      {410, "Gone"},
      {411, "Length Required"},
      {412, "Precondition Failed"},
      {413, "Content Too Large"},
      {414, "URI Too Long"},
      {415, "Unsupported Media Type"},
      {416, "Range Not Satisfiable"},
      {417, "Expectation Failed"},
      {422, "Unprocessable Content"},
      {428, "Precondition Required"},
      {429, "Too Many Requests"},
      {431, "Request Header Fields Too Large"},
      {500, "Internal Server Error"},
      {501, "Not Implemented"},
      {502, "Bad Gateway"},
      {503, "Service Unavailable"},
      {504, "Gateway Timeout"},
      {505, "HTTP Version Not Supported"},
      {507, "Insufficient Storage"},
  });
  const auto found = std::ranges::find(kPhrases, status, &Phrase::status);
  return found == kPhrases.end() ? "Status" : found->text;
}

// ---- chunks ----

std::optional<ChunkDecoder::Outcome> ChunkDecoder::size_digit(char c) {
  const int digit = hex_digit(c);
  if (digit < 0 || chunk_left_ >> 59 != 0) return Outcome::kMalformed;
  chunk_left_ = chunk_left_ << 4 | static_cast<std::uint64_t>(digit);
  state_ = State::kSize;
  return std::nullopt;
}

std::optional<ChunkDecoder::Outcome> ChunkDecoder::size_end() {
  if (chunk_left_ > body_left_) return Outcome::kBodyTooLarge;
  body_left_ -= chunk_left_;
  state_ = chunk_left_ > 0 ? State::kData : State::kTrailerBegin;
  return std::nullopt;
}

/// A byte of an extension or of a trailer field.
std::optional<ChunkDecoder::Outcome> ChunkDecoder::overhead_byte(char c, State after_cr) {
  if (overhead_left_ == 0) return Outcome::kOverheadTooLarge;
  --overhead_left_;
  if (c == '\r') {
    state_ = after_cr;
    return std::nullopt;
  }
  // A bare LF here is where others may see the end of the line.
  if (is_control(c)) return Outcome::kMalformed;
  return std::nullopt;
}

std::optional<ChunkDecoder::Outcome> ChunkDecoder::line_byte(char c) {
  const auto expect = [this, c](char wanted, State next) -> std::optional<Outcome> {
    if (c != wanted) return Outcome::kMalformed;
    state_ = next;
    return std::nullopt;
  };
  switch (state_) {
    case State::kSizeBegin:
      chunk_left_ = 0;
      return size_digit(c);
    case State::kSize:
      if (c == '\r') return expect('\r', State::kSizeLf);
      if (c == ';') return expect(';', State::kExtension);
      return size_digit(c);
    case State::kExtension:
      return overhead_byte(c, State::kSizeLf);
    case State::kSizeLf:
      return c == '\n' ? size_end() : Outcome::kMalformed;
    case State::kDataCr:
      return expect('\r', State::kDataLf);
    case State::kDataLf:
      return expect('\n', State::kSizeBegin);
    case State::kTrailerBegin:
      if (c == '\r') return expect('\r', State::kLastLf);
      state_ = State::kTrailer;
      return overhead_byte(c, State::kTrailerLf);
    case State::kTrailer:
      return overhead_byte(c, State::kTrailerLf);
    case State::kTrailerLf:
      return expect('\n', State::kTrailerBegin);
    case State::kLastLf:
      return c == '\n' ? Outcome::kDone : Outcome::kMalformed;
    case State::kData:
      break;
  }
  CHECK(false);
}

ChunkDecoder::Step ChunkDecoder::decode(std::string_view input, std::string& body) {
  std::size_t at = 0;
  while (at < input.size()) {
    if (state_ == State::kData) {
      const std::size_t size = std::min<std::uint64_t>(chunk_left_, input.size() - at);
      body.append(input, at, size);
      at += size;
      chunk_left_ -= size;
      if (chunk_left_ == 0) state_ = State::kDataCr;
      continue;
    }
    if (const auto outcome = line_byte(input[at++])) return {*outcome, at};
  }
  return {Outcome::kMore, at};
}

// ---- heads ----

HeadScanner::Outcome HeadScanner::scan(std::string_view input) {
  for (; at_ < input.size(); ++at_) {
    if (at_ >= bytes_max_) return Outcome::kTooLarge;
    const char c = input[at_];
    if (c == '\0' || (line_begin_ && is_blank(c))) return Outcome::kMalformed;
    if (c == '\n') {
      if (previous_ != '\r') return Outcome::kMalformed;
      if (empty_line_) {
        size_ = at_ + 1;
        return Outcome::kComplete;
      }
      line_begin_ = true;
    } else {
      if (previous_ == '\r') return Outcome::kMalformed;
      empty_line_ = line_begin_ && c == '\r';
      line_begin_ = false;
    }
    previous_ = c;
  }
  return Outcome::kMore;
}

// ---- requests ----

RequestParser::RequestParser(std::size_t header_bytes_max)
    : scanner_(header_bytes_max), chunks_(header_bytes_max) {}

std::expected<std::size_t, Reject> RequestParser::put(std::string_view input) {
  CHECK(!input.empty() && !done_);
  return head_done_ ? put_body(input) : put_head(input);
}

std::expected<std::size_t, Reject> RequestParser::put_head(std::string_view input) {
  // RFC 9112 2.2: one empty line before the request line is ignored.
  if (!leading_line_skipped_ && input.starts_with('\r')) {
    if (input.size() == 1) return 0;
    if (input[1] != '\n') return std::unexpected(kMalformed);
    leading_line_skipped_ = true;
    return 2;
  }
  leading_line_skipped_ = true;
  // What is not HTTP at all, such as TLS on a plain port, is refused at its first byte.
  if (!is_token(input.substr(0, 1))) return std::unexpected(kMalformed);
  switch (scanner_.scan(input)) {
    case HeadScanner::Outcome::kMore:
      return 0;
    case HeadScanner::Outcome::kMalformed:
      return std::unexpected(kMalformed);
    case HeadScanner::Outcome::kTooLarge:
      return std::unexpected(kHeaderTooLarge);
    case HeadScanner::Outcome::kComplete:
      break;
  }
  auto head = parse_request_head(input.substr(0, scanner_.size()));
  if (!head) return std::unexpected(head.error());
  head_ = std::move(*head);
  head_done_ = true;
  body_left_ = head_.content_length.value_or(0);
  done_ = !head_.chunked && body_left_ == 0;
  return scanner_.size();
}

std::expected<std::size_t, Reject> RequestParser::put_body(std::string_view input) {
  std::string& body = head_.request.body;
  if (!head_.chunked) {
    const std::size_t size = std::min<std::uint64_t>(body_left_, input.size());
    body.append(input, 0, size);
    body_left_ -= size;
    done_ = body_left_ == 0;
    return size;
  }
  const ChunkDecoder::Step step = chunks_.decode(input, body);
  switch (step.outcome) {
    case ChunkDecoder::Outcome::kDone:
      done_ = true;
      return step.used;
    case ChunkDecoder::Outcome::kMore:
      return step.used;
    case ChunkDecoder::Outcome::kMalformed:
      return std::unexpected(kMalformed);
    case ChunkDecoder::Outcome::kBodyTooLarge:
      return std::unexpected(kBodyTooLarge);
    case ChunkDecoder::Outcome::kOverheadTooLarge:
      return std::unexpected(kHeaderTooLarge);
  }
  CHECK(false);
}

RequestHead RequestParser::take() {
  CHECK(done_);
  return std::move(head_);
}

// ---- responses ----

ResponseParser::ResponseParser(std::size_t header_bytes_max, bool to_head)
    : scanner_(header_bytes_max), chunks_(header_bytes_max), to_head_(to_head) {}

Result<std::size_t> ResponseParser::put(std::string_view input) {
  CHECK(!input.empty() && !done_);
  if (!head_done_) return put_head(input);
  switch (framing_) {
    case Framing::kNone:
      break;
    case Framing::kUntilClose:
      body_.append(input);
      return input.size();
    case Framing::kLength: {
      const std::size_t size = std::min<std::uint64_t>(body_left_, input.size());
      body_.append(input, 0, size);
      body_left_ -= size;
      done_ = body_left_ == 0;
      return size;
    }
    case Framing::kChunked: {
      const ChunkDecoder::Step step = chunks_.decode(input, body_);
      done_ = step.outcome == ChunkDecoder::Outcome::kDone;
      if (done_ || step.outcome == ChunkDecoder::Outcome::kMore) return step.used;
      return fail(Code::kDataLoss, "the answer's body is malformed");
    }
  }
  CHECK(false);
}

Result<std::size_t> ResponseParser::put_head(std::string_view input) {
  switch (scanner_.scan(input)) {
    case HeadScanner::Outcome::kMore:
      return 0;
    case HeadScanner::Outcome::kMalformed:
      return fail(Code::kDataLoss, "the answer is not HTTP");
    case HeadScanner::Outcome::kTooLarge:
      return fail(Code::kTooLarge, "the answer's header is too large");
    case HeadScanner::Outcome::kComplete:
      break;
  }
  std::string_view head = input.substr(0, scanner_.size());
  const std::string_view line = take_line(head);
  const Version version = parse_version(line.substr(0, 8));
  const std::string_view code = line.substr(std::min<std::size_t>(9, line.size()), 3);
  const bool good_line = (version == Version::kHttp11 || version == Version::kHttp10) &&
                         line.size() >= 12 && line[8] == ' ' &&
                         std::ranges::all_of(code, is_digit) && code[0] != '0' &&
                         (line.size() == 12 || line[12] == ' ');
  if (!good_line) return fail(Code::kDataLoss, "the answer is not HTTP/1.1");
  status_ = (code[0] - '0') * 100 + (code[1] - '0') * 10 + (code[2] - '0');
  if (parse_fields(head, headers_) != Fields::kGood) {
    return fail(Code::kDataLoss, "the answer's header is malformed");
  }
  keep_alive_ = wants_keep_alive(headers_, version == Version::kHttp11);
  RETURN_IF_ERROR(decide_framing());
  head_done_ = true;
  return scanner_.size();
}

/// RFC 9112 6.3. A response whose length is in doubt is refused rather than guessed.
Result<void> ResponseParser::decide_framing() {
  const std::size_t lengths = count(headers_, "Content-Length");
  const std::size_t codings = count(headers_, "Transfer-Encoding");
  if (to_head_ || status_ / 100 == 1 || status_ == 204 || status_ == 304) {
    framing_ = Framing::kNone;
    done_ = true;
  } else if (codings + lengths > 1 ||
             (codings == 1 && !ascii_iequals(headers_.get("Transfer-Encoding"), "chunked"))) {
    return fail(Code::kDataLoss, "the length of the answer is ambiguous");
  } else if (codings == 1) {
    framing_ = Framing::kChunked;
  } else if (lengths == 1) {
    const auto length = parse_content_length(headers_.get("Content-Length"));
    if (!length) return fail(Code::kDataLoss, "the answer has a bad Content-Length");
    framing_ = Framing::kLength;
    body_left_ = *length;
    done_ = body_left_ == 0;
  } else {
    framing_ = Framing::kUntilClose;
    keep_alive_ = false;
  }
  return {};
}

Result<void> ResponseParser::put_eof() {
  if (done_) return {};
  if (!head_done_) return fail(Code::kDataLoss, "the answer's header was cut short");
  if (framing_ != Framing::kUntilClose) {
    return fail(Code::kDataLoss, "the answer's body was cut short");
  }
  done_ = true;
  return {};
}

}  // namespace roster::http
