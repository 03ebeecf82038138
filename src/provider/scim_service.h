#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "directory/directory.h"
#include "http/message.h"

namespace roster::provider {

struct ScimOptions {
  /// "https://hub.example.org", without a path: what meta.location begins with. When empty, the
  /// request's Host is used if it is one of `allowed_hosts` ("hub:8443"), else the answer is 400:
  /// a client must not choose what others are sent to.
  std::string public_url;
  std::vector<std::string> allowed_hosts;
  std::size_t user_body_bytes_max = 1 << 20;
  std::size_t group_body_bytes_max = 16 << 20;  // a PUT of 10,000 members is 2.2 MB
  /// Resources that one filter may read for a token that is not an administrator's.
  std::int64_t scanned_rows_max = 100'000;
  /// A page ends behind the group by which it has so many members: each takes about a kilobyte, a
  /// group may have 100,000, and readers see the people of a nested group in every group above it.
  std::size_t page_members_max = 100'000;
  Clock clock = system_now;
  /// After this no further operation of a bulk request begins: one request must not keep a worker
  /// for long.
  std::chrono::milliseconds bulk_time_max = std::chrono::seconds(60);
  MonotonicClock monotonic_clock = steady_now;
};

/// The error body of RFC 7644 3.12 for what the HTTP edge refused at this (raw) path; nothing when
/// the path is none of SCIM's.
std::optional<http::Response> scim_refusal(std::string_view path, int status,
                                           std::string_view sentence);

/// Whether the answer is a look at one person, found by an index: GET /Users/{id}, and GET /Users
/// with a filter that is one `userName eq`, `externalId eq` or `id eq`. Looks at the request line
/// only.
bool is_one_persons(const http::Request& request);

/// SCIM 2.0 (RFC 7643, 7644) for every organization of the hub, below
/// /api/organizations/{org}/scim/v2 and its alias /scim/v2/{org}.
///
/// Tokens of scope scim provision; scope read may only read (writes are 501) and sees the form that
/// nsscache's configuration for SUNK expects: the CoreWeave extension on request, flat POSIX
/// attributes in groups, no keys and no login shell of people who may not log in. Scope user sees
/// the person's own record and changes their SSH keys. Scopes admin and operator may do everything.
/// A token of another organization sees 404, as if there were none.
///
/// Thread-safe.
class ScimService {
 public:
  /// `directory` outlives it.
  ScimService(directory::Directory& directory, ScimOptions options);
  ~ScimService();
  ScimService(const ScimService&) = delete;
  ScimService& operator=(const ScimService&) = delete;

  http::Response handle(const http::Request& request, http::Context& context);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace roster::provider
