#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/secret.h"
#include "base/time.h"

/// What a node and the hub say to each other when the node joins or renews: FORMAT.md 5.
namespace roster::feed {

inline constexpr std::string_view kEnrollPath = "/api/v1/nodes/enroll";
inline constexpr std::string_view kRenewPath = "/api/v1/nodes/renew";

/// Host name of a node, in lower case: `[a-z0-9][a-z0-9.-]*`, at most 253 bytes.
bool is_node_name(std::string_view text);

/// `[a-z0-9-]{1,63}`.
bool is_org_slug(std::string_view text);

/// `[a-z0-9_-]{1,63}`: names of views, roles and clusters.
bool is_label(std::string_view text);

struct EnrollRequest {
  std::string name;  // empty in a renewal
  std::string role;  // empty: the token's
  std::string agent_version;
  std::uint32_t highest_id = 0;
  Secret credential{};  // in an enrolment: what the node proposes; empty: the hub draws one

  std::string to_json() const;
  /// kInvalidArgument naming the member. `name` is required when `renewal` is false.
  static Result<EnrollRequest> parse(std::string_view body, bool renewal);
};

struct Enrollment {
  std::string node_id;
  Secret credential;
  std::string org;
  std::string cluster;  // may be empty
  std::string view;
  std::string role;
  Timestamp issued{};
  Timestamp expires{};
  std::string ca_pem;  // may be empty

  std::string to_json() const;
  /// kInvalidArgument naming the member; never repeats the credential.
  static Result<Enrollment> parse(std::string_view body);
};

}  // namespace roster::feed
