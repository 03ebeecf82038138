#include "hub/enrollment.h"

#include <utility>

#include "base/log.h"
#include "feed/enrollment.h"
#include "hub/access.h"
#include "hub/errors.h"

namespace roster::hub {
namespace {

constexpr std::uint64_t kIdMax = 2'147'483'647;

Result<std::uint32_t> checked_id(std::uint64_t highest_id) {
  if (highest_id > kIdMax) return fail(Code::kInvalidArgument, "highest_id is out of range");
  return static_cast<std::uint32_t>(highest_id);
}

/// A node that gets another role than it expects would run with the wrong rules.
Result<void> check_grant(const directory::JoinGrant& grant, std::string_view role) {
  if (!role.empty() && role != grant.role) {
    return fail(Code::kPermissionDenied, "this join token is for role " + grant.role);
  }
  return {};
}

}  // namespace

Enrollment::Enrollment(directory::Directory& directory, Metrics& metrics, Clock clock,
                       std::string ca_pem)
    : directory_(directory),
      metrics_(metrics),
      clock_(std::move(clock)),
      ca_pem_(std::move(ca_pem)) {}

http::Response Enrollment::enroll(const http::Request& request, http::Context& context) {
  const auto enrolled = try_enroll(request, context);
  return answer(201, enrolled, "enroll", context);
}

http::Response Enrollment::renew(const http::Request& request, http::Context& context) {
  return answer(200, try_renew(request), "renew", context);
}

Result<directory::Directory::Enrolled> Enrollment::try_enroll(const http::Request& request,
                                                              const http::Context& context) {
  ASSIGN_OR_RETURN(const std::string_view token, bearer_credential(request.headers));
  ASSIGN_OR_RETURN(const feed::EnrollRequest body, feed::EnrollRequest::parse(request.body, false));
  ASSIGN_OR_RETURN(const std::uint32_t highest_id, checked_id(body.highest_id));
  return directory_.enroll_node(
      token,
      {.name = body.name,
       .agent_version = body.agent_version,
       .highest_id = highest_id,
       .accept =
           [&body](const directory::JoinGrant& grant) { return check_grant(grant, body.role); },
       .credential = body.credential},
      context.remote);
}

Result<directory::Directory::Enrolled> Enrollment::try_renew(const http::Request& request) {
  ASSIGN_OR_RETURN(const std::string_view credential, bearer_credential(request.headers));
  ASSIGN_OR_RETURN(const feed::EnrollRequest body, feed::EnrollRequest::parse(request.body, true));
  RETURN_IF_ERROR(checked_id(body.highest_id));
  ASSIGN_OR_RETURN(const directory::Node node, directory_.authenticate_node(credential));
  return directory_.renew_node(node);
}

http::Response Enrollment::answer(int status,
                                  const Result<directory::Directory::Enrolled>& enrolled,
                                  std::string_view action, const http::Context& context) {
  const std::string_view result = enrolled ? "ok" : code_name(enrolled.error().code);
  metrics_
      .counter("roster_node_credentials_total", "Enrolments and renewals of nodes, by result.",
               {{"action", std::string(action)}, {"result", std::string(result)}})
      .add();
  if (!enrolled) {
    log::warn(
        "a node was refused",
        {{"action", action}, {"remote", context.remote}, {"error", enrolled.error().message}});
    return error_response(enrolled.error(), context);
  }
  const directory::Node& node = enrolled->node;
  log::info("a node has a credential", {{"action", action},
                                        {"org", enrolled->org_slug},
                                        {"cluster", node.cluster},
                                        {"node", node.name},
                                        {"role", node.role},
                                        {"view", node.view}});
  http::Response response;
  response.status = status;
  response.headers.set("Content-Type", "application/json");
  response.body = feed::Enrollment{.node_id = node.id,
                                   .credential = enrolled->credential,
                                   .org = enrolled->org_slug,
                                   .cluster = node.cluster,
                                   .view = node.view,
                                   .role = node.role,
                                   .issued = clock_(),
                                   .expires = node.expires,
                                   .ca_pem = ca_pem_}
                      .to_json();
  return response;
}

}  // namespace roster::hub
