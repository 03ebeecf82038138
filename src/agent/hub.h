#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "agent/config.h"
#include "base/result.h"
#include "base/secret.h"
#include "base/time.h"
#include "feed/enrollment.h"
#include "http/client.h"

namespace roster::agent {

/// Exchanges the join token in `config.join_token_file` for a credential (feed/FORMAT.md 5). The
/// token's fingerprint, else the configured one, pins the hub's CA; the CA that the answer carries
/// must have it. `credential` is the one that the node would have. kNotFound when there is no
/// token, kUnauthenticated when the hub does not take it, kAlreadyExists while another live node
/// has this name or when another node has the credential, kUnavailable when the hub cannot be
/// reached, kFailedPrecondition when the answer is for another organization, role or CA.
Result<feed::Enrollment> enroll(const Config& config, std::uint32_t highest_id,
                                const Secret& credential);

/// A new credential for an enrolled node; the present one goes on being valid until the new one is
/// first used.
Result<feed::Enrollment> renew(const Config& config, const feed::Enrollment& present,
                               std::uint32_t highest_id);

/// When half of a credential's life is over.
Timestamp half_life(const feed::Enrollment& enrollment);

/// A client that trusts what this node trusts and sends its credential.
Result<std::unique_ptr<http::Client>> connect(const Config& config,
                                              const feed::Enrollment& enrollment);

/// What a status that is no success means to a node; `what` names the request.
Error answer_error(std::string_view what, const http::ClientResponse& response);

/// The Retry-After of an answer, within 1 to 300 seconds; nothing when there is none.
std::optional<std::chrono::milliseconds> retry_after(const http::ClientResponse& response,
                                                     Timestamp now);

/// The Date of an answer (IMF-fixdate, RFC 9110 5.6.7); nothing when it has none. Without TLS
/// anybody on the way could have written it, as they could the records, and the locks in them.
std::optional<Timestamp> hub_time(const http::ClientResponse& response);

}  // namespace roster::agent
