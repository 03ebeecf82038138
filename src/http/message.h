#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "base/time.h"

namespace roster::http {

/// Header fields in order; names compare without case.
class Headers {
 public:
  void set(std::string_view name, std::string_view value);  // replaces all of that name
  void add(std::string_view name, std::string_view value);
  /// First value, or empty.
  std::string_view get(std::string_view name) const;
  bool has(std::string_view name) const;
  const std::vector<std::pair<std::string, std::string>>& all() const { return fields_; }

 private:
  std::vector<std::pair<std::string, std::string>> fields_;
};

/// IMF-fixdate, the form that every sender uses (RFC 9110 5.6.7): "Sun, 06 Nov 1994 08:49:37 GMT".
/// Nothing for any other text, and for dates before 1970.
std::optional<Timestamp> parse_date(std::string_view text);

/// How long a Retry-After field asks to wait (RFC 9110 10.2.3): seconds, or a date, which counts
/// from `now`. Not negative, and a day at most; nothing when it says neither.
std::optional<std::chrono::milliseconds> parse_retry_after(std::string_view text, Timestamp now);

/// Query parameters, percent-decoded, in order. Names compare exactly; `get` gives the first.
class Query {
 public:
  /// application/x-www-form-urlencoded. kInvalidArgument for bad percent-encoding, text that is not
  /// UTF-8 or holds U+0000, or more than 100 parameters.
  static Result<Query> parse(std::string_view text);
  std::optional<std::string_view> get(std::string_view name) const;
  const std::vector<std::pair<std::string, std::string>>& all() const { return items_; }

 private:
  std::vector<std::pair<std::string, std::string>> items_;
};

struct Request {
  std::string method;  // upper case
  std::string path;   // percent-decoded after splitting is the router's work: this is raw, no query
  std::string query;  // raw, without '?'
  Headers headers;
  std::string body;
};

/// Who is on the other end of a unix socket (SO_PEERCRED, unix(7)).
struct PeerCredentials {
  int pid;
  unsigned uid;
  unsigned gid;
};

struct Context {
  std::string remote;  // "127.0.0.1:4711", "[::1]:4711", "unix"
  std::optional<PeerCredentials> credentials;
  bool tls = false;
  std::string request_id;  // made by the server, for logs and audit; sent back as X-Request-Id
  std::string route;  // pattern that matched, for metrics: set by Router, never bytes from outside
  /// True when the handler is called again because a Wait's deadline passed.
  bool wait_expired = false;
  /// True at each call after the first for the same request.
  bool resumed = false;
};

/// A regular file, or a part of it, sent from disk.
struct FileBody {
  std::shared_ptr<UniqueFd> fd;
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
};

/// Pulled on a worker until it gives an empty string; each pull does its own (short) reads.
/// An error ends the connection without the final chunk, so that the client sees a broken body.
struct ChunksBody {
  std::function<Result<std::string>()> next;
};

/// "Nothing yet": the edge parks the request without a thread and calls the handler again when
/// Server::notify(key, value > after) happens or the deadline passes.
struct WaitBody {
  std::string key;
  std::uint64_t after = 0;
  std::chrono::milliseconds deadline{0};  // from now
};

class Upstream;  // http/upstream.h
struct Verdict;

/// How a forwarded request ended.
struct ForwardOutcome {
  int status = 0;                // told to the caller; 0 when nothing was
  int upstream_status = 0;       // 0 when the upstream gave no answer
  std::uint64_t body_bytes = 0;  // of the answer's body, handed to the caller's connection
  /// Why the caller did not get the upstream's whole answer, or one that `judge` made of it, in our
  /// own words; empty when it did. Without an answer, a request that changes something may have
  /// been carried out or not.
  std::string error;
};

/// "Ask that server": the edge sends this request to the upstream and passes on the answer as it
/// comes, without a thread. Nothing of the caller's request goes along but what is put here. See
/// docs/http.md for what passes on the way back, and for the answers of the edge's own when the
/// upstream gives none (502, 503, 504). The Response's own headers go with an answer that is passed
/// on, before the upstream's of the same name; its status says nothing.
struct ForwardBody {
  std::shared_ptr<Upstream> upstream;
  std::string method = "GET";
  std::string target = "/";  // below the URL's base path, with query
  Headers headers = {};      // all there are but Host, User-Agent and Content-Length
  std::string body = {};
  std::chrono::milliseconds connect_timeout{5'000};
  std::chrono::milliseconds answer_timeout{60'000};    // from the request to the answer's head
  std::chrono::milliseconds progress_timeout{30'000};  // of either body, without a byte
  std::chrono::milliseconds total_timeout{900'000};    // or slow readers would keep the upstream
  std::uint64_t answer_bytes_max = 512 << 20;          // of the body; more breaks it off
  /// Looks at the answer before anything of it goes to the caller: status, the headers that would
  /// go, and the whole body when it has at most judge_bytes_max bytes, else nothing of it. Called
  /// on a worker, like a handler. What it throws becomes a 500.
  std::function<Verdict(int status, Headers headers, std::optional<std::string_view> body)> judge =
      {};
  std::size_t judge_bytes_max = 64 << 10;
  /// Called exactly once when all is over, on a worker as a rule (where the server is destroyed
  /// when it stops meanwhile). For audit; what it throws is logged.
  std::function<void(const ForwardOutcome& outcome)> done = {};
};

using SharedBytes = std::shared_ptr<const std::string>;
using Body = std::variant<std::string, SharedBytes, FileBody, ChunksBody, WaitBody, ForwardBody>;

struct Response {
  int status = 200;
  Headers headers;
  Body body;
};

/// What ForwardBody::judge says: go on with these headers, or with another answer instead, which is
/// neither a wait nor a forward.
struct Verdict {
  Headers headers = {};
  std::optional<Response> instead = {};
};

/// Synchronous, called on a bounded pool of workers (ServerOptions::is_quick: on an io thread).
/// What it throws becomes a 500. The edge owns Content-Length, Transfer-Encoding, Connection, Date
/// and X-Request-Id.
using Handler = std::function<Response(const Request&, Context&)>;

/// Makes an answer that no handler gave (404, 405, 413, 503, ...) in the form that the path's
/// clients read. `path` is raw, and empty when the request's head was not read. Quick, and from any
/// thread.
using Refusal =
    std::function<Response(std::string_view path, int status, std::string_view sentence)>;

}  // namespace roster::http
