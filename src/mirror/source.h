#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "mirror/interrupt.h"
#include "mirror/page.h"
#include "mirror/settings.h"

namespace roster::mirror {

/// Waits, or returns true at once when the program is to end; asked with 0 before every request.
using Pause = std::function<bool(std::chrono::milliseconds)>;

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

/// A foreign SCIM server. Reads only. Temporary trouble (connections, 408, 425, 429, 5xx, bodies
/// that are cut or no SCIM) is tried again as the configuration says, honouring Retry-After; what
/// is refused (401, 403, 404, ...) is not.
class Source {
 public:
  static constexpr std::size_t kPagesMax = 1'000'000;
  static constexpr std::size_t kResourcesMax = 5'000'000;
  static constexpr std::size_t kBytesMax = std::size_t{4} << 30;      // of all bodies
  static constexpr std::chrono::minutes kTimeMax = Server::kTimeMax;  // of everything

  /// `interrupt`, unless null, ends requests in flight; it outlives the source.
  static Result<std::unique_ptr<Source>> create(const Settings& settings, Pause pause,
                                                Interrupt* interrupt);
  ~Source();

  /// The pages of a list one after the other, each given to `take`. Every page must bring the
  /// reading forward; a list that ends before what it promised is read again by the caller.
  /// kUnavailable when the server cannot be reached or read, kUnauthenticated and kPermissionDenied
  /// for what it says of the token, kDataLoss for lists that lead nowhere, kTooLarge beyond bounds.
  Result<Reading> read(const Listing& listing,
                       const std::function<Result<Page>(std::string_view body)>& take);

  /// Whether every page still has its tag: one conditional request (304) for each. False as soon as
  /// one has not, had none, or cannot be asked for.
  bool is_unchanged(const std::vector<PageTag>& pages);

  const Traffic& traffic() const;

 private:
  struct Impl;
  explicit Source(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace roster::mirror
