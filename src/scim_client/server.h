#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "base/secret.h"
#include "http/client.h"
#include "scim_client/interrupt.h"

namespace roster::scim_client {

/// Waits, or returns true at once when the program is to end; asked with 0 before every request.
using Pause = std::function<bool(std::chrono::milliseconds)>;

/// Keyword of a kUnavailable error that the server gave itself, for one request: it is there.
inline constexpr std::string_view kAnswered = "answered";

struct Options {
  std::string url;  // base of the SCIM service, without '/' at the end
  Secret token;
  std::filesystem::path ca_file;  // PEM; empty: the system's
  std::chrono::milliseconds timeout{60'000};
  int tries = 3;
  /// Before the second try, when the server names none; doubled and drawn from with `random`, the
  /// same before each without it.
  std::chrono::milliseconds retry_delay{5'000};
  RandomBytes random = {};
  std::int64_t cursor_pages_max = 100'000;
  std::string user_agent = "roster";
  /// What these are called where the user sets them, for errors.
  std::string url_setting = "url";
  std::string token_setting = "token_file";
  std::string pages_setting = {};  // none: the bound cannot be raised
};

/// What to ask for.
struct Listing {
  std::string endpoint;    // "Users"
  std::string parameters;  // as they stand behind '?', encoded
  bool by_cursor = false;  // RFC 9865
  /// Pages by index begin with the last resource of the page before: whoever comes twice is to be
  /// left out by the caller, and a list that moved between two pages is seen to have changed.
  bool overlap = false;
  bool operator==(const Listing&) const = default;
};

/// What a ListResponse (RFC 7644 3.4.2, RFC 9865) says of itself.
struct Page {
  std::optional<std::int64_t> total;     // totalResults
  std::optional<std::int64_t> start;     // startIndex
  std::optional<std::int64_t> per_page;  // itemsPerPage
  std::string next_cursor;
  std::size_t resources = 0;  // that came
  std::string first_id;       // of the first one
  std::string last_id;        // of the last one; needed where pages overlap
};

/// Where a page was and what its ETag was (RFC 9110 8.8.3).
struct PageTag {
  std::string target;
  std::string etag;
  bool operator==(const PageTag&) const = default;
};

/// One list as it was read.
struct Reading {
  std::vector<PageTag> pages;
  std::size_t resources = 0;
  bool changed = false;  // while it was read: somebody may be missing
  std::string note;      // what was odd about it, or empty
};

/// What a reading cost.
struct Traffic {
  std::size_t requests = 0;
  std::size_t bytes = 0;  // of bodies
};

/// A SCIM server that is not ours, over one connection. Temporary trouble (connections, 408, 425,
/// 429, 5xx, bodies that are cut or no SCIM) is tried again, honouring Retry-After; what is refused
/// (401, 403, 404, ...) is not. One thread at a time.
class Server {
 public:
  static constexpr std::size_t kPageBytesMax = 64 << 20;
  static constexpr std::size_t kPagesMax = 1'000'000;
  static constexpr std::size_t kResourcesMax = 5'000'000;
  static constexpr std::size_t kBytesMax = std::size_t{4} << 30;  // of all bodies
  static constexpr std::chrono::minutes kTimeMax{30};             // of everything that is read

  /// `interrupt`, unless null, ends requests in flight; it outlives the server.
  static Result<std::unique_ptr<Server>> create(const Options& options, Pause pause,
                                                Interrupt* interrupt = nullptr);
  ~Server();

  /// The pages of a list one after the other, each given to `take`. Every page must bring the
  /// reading forward; a list that ends before what it promised is read again by the caller.
  /// kUnavailable when the server cannot be reached or read, kUnauthenticated and kPermissionDenied
  /// for what it says of the token, kDataLoss for lists that lead nowhere, kTooLarge beyond bounds.
  Result<Reading> read(const Listing& listing,
                       const std::function<Result<Page>(const std::string& body)>& take);

  /// Whether every page still has its tag: one conditional request (304) for each. False as soon as
  /// one has not, had none, or cannot be asked for.
  bool is_unchanged(const std::vector<PageTag>& pages);

  /// One request with a SCIM body, tried again while that may help, unless `is_done`, which is
  /// asked before each further try, says that the one before had its effect. Any other status than
  /// those of temporary trouble is a value.
  Result<http::ClientResponse> send(std::string_view method, const std::string& target,
                                    const std::string& body,
                                    const std::function<bool()>& is_done = {});

  const Traffic& traffic() const;

 private:
  struct Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// What a refusal means, with the server's own words (`detail` of RFC 7644 3.12), cut and without
/// control characters.
Error refusal(const http::ClientResponse& response, const Options& options);

}  // namespace roster::scim_client
