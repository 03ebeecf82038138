#pragma once

#include <string>

#include "base/metrics.h"
#include "base/time.h"
#include "directory/directory.h"
#include "http/message.h"

namespace roster::hub {

/// `POST /api/v1/nodes/enroll` and `/renew` (feed/FORMAT.md 5). Thread-safe.
class Enrollment {
 public:
  /// `ca_pem`: the authority of the hub's own certificate; empty when that is another's.
  Enrollment(directory::Directory& directory, Metrics& metrics, Clock clock, std::string ca_pem);

  http::Response enroll(const http::Request& request, http::Context& context);
  http::Response renew(const http::Request& request, http::Context& context);

 private:
  Result<directory::Directory::Enrolled> try_enroll(const http::Request& request,
                                                    const http::Context& context);
  Result<directory::Directory::Enrolled> try_renew(const http::Request& request);
  http::Response answer(int status, const Result<directory::Directory::Enrolled>& enrolled,
                        std::string_view action, const http::Context& context);

  directory::Directory& directory_;
  Metrics& metrics_;
  const Clock clock_;
  const std::string ca_pem_;
};

}  // namespace roster::hub
