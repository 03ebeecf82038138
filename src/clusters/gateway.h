#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "clusters/access.h"
#include "clusters/tokens.h"
#include "directory/directory.h"
#include "http/message.h"
#include "http/upstream.h"

namespace roster::clusters {

struct GatewayOptions {
  std::chrono::milliseconds answer_timeout{120'000};
  std::size_t forwards_max = 64;  // at once, of one slurmrestd; beyond: 503
  std::size_t of_person_max = 8;  // at once, of one person or service; beyond: 429
};

/// /slurm/{cluster}/...: the caller shows a token of Roster's, slurmrestd gets the request as that
/// very person, by a token of a few minutes, and nothing else of the caller's headers.
///
/// Tokens come as `Authorization: Bearer`, or as X-SLURM-USER-TOKEN, for programs that speak to
/// slurmrestd; X-SLURM-USER-NAME may be absent, else it must be the person. Scope user acts as that
/// person; scope read as the cluster's read_user, by read_access; others are refused. Thread-safe.
class Gateway {
 public:
  Gateway(directory::Directory& directory, Tokens& tokens, GatewayOptions options = {});
  ~Gateway();

  http::Response handle(const http::Request& request, http::Context& context);

 private:
  class Busy;
  struct Asked;
  Result<Asked> judge_request(const http::Request& request, const http::Context& context);
  Result<http::Response> forward(const http::Request& request, const http::Context& context);
  Result<directory::Actor> authenticate(const http::Request& request, const http::Context& context);
  Result<directory::User> person_of(const directory::Actor& actor,
                                    const directory::Cluster& cluster);
  Result<std::shared_ptr<http::Upstream>> upstream(const directory::Cluster& cluster,
                                                   std::string_view login);

  directory::Directory& directory_;
  Tokens& tokens_;
  const GatewayOptions options_;
  const std::shared_ptr<Busy> busy_;  // outlives this in callbacks of requests under way
  std::mutex mutex_;                  // guards upstreams_
  std::map<std::string, std::shared_ptr<http::Upstream>> upstreams_;  // by what makes them
};

/// The status for an answer of slurmrestd to this method: it says 200 to what it refused, 500 to
/// what is not there, and 304 to a write that did nothing, also where it should have. Its own when
/// that is honest.
int honest_status(std::string_view method, int status, std::string_view content_type,
                  std::string_view body);

}  // namespace roster::clusters
