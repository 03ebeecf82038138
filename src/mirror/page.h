#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "mirror/roll.h"
#include "mirror/settings.h"

namespace roster::mirror {

/// What a ListResponse (RFC 7644 3.4.2, RFC 9865) says of itself.
struct Page {
  std::optional<std::int64_t> total;     // totalResults
  std::optional<std::int64_t> start;     // startIndex
  std::optional<std::int64_t> per_page;  // itemsPerPage
  std::string next_cursor;
  std::size_t resources = 0;  // that came
  std::string first_id;       // of the first one
};

/// Reads pages of a foreign server into a Roll. What one resource has wrong is refused alone; what
/// the page has wrong, as a whole. Only texts that can stand in a line of a map get into the Roll:
/// names by posix::LoginName and GroupName, gecos by posix::sanitize_gecos, keys by
/// posix::SshPublicKey, homes and shells by posix::path_defect and validate_shell_path.
class PageReader {
 public:
  static constexpr std::size_t kPageBytesMax = 64 << 20;

  /// Both outlive it.
  PageReader(const Settings& settings, Roll& roll);
  ~PageReader();
  PageReader(const PageReader&) = delete;
  PageReader& operator=(const PageReader&) = delete;

  /// kDataLoss when the body is no ListResponse: cut, a gateway's page, another type.
  Result<Page> read_people(std::string_view body);
  Result<Page> read_groups(std::string_view body);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace roster::mirror
