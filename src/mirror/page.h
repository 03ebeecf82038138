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

using scim_client::Page;

/// Reads pages of a foreign server into a Roll. What one resource has wrong is refused alone; what
/// the page has wrong, as a whole. Only texts that can stand in a line of a map get into the Roll:
/// names by posix::LoginName and GroupName, gecos by posix::sanitize_gecos, keys by
/// posix::SshPublicKey, homes and shells by posix::path_defect and validate_shell_path.
class PageReader {
 public:
  /// Both outlive it.
  PageReader(const Settings& settings, Roll& roll);
  ~PageReader();
  PageReader(const PageReader&) = delete;
  PageReader& operator=(const PageReader&) = delete;

  /// kDataLoss when the body is no ListResponse: cut, a gateway's page, another type. A body with
  /// http::ClientResponse::kSpareBytes is not copied.
  Result<Page> read_people(const std::string& body);
  Result<Page> read_groups(const std::string& body);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace roster::mirror
