#pragma once

#include <functional>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/time.h"
#include "clusters/tokens.h"
#include "directory/directory.h"
#include "http/message.h"
#include "http/router.h"
#include "slurm/rules.h"

namespace roster::admin {

struct ApiOptions {
  Clock clock = system_now;
  /// Hex SHA-256 of the hub's CA, carried in join tokens so that a node knows its hub. Empty when
  /// the hub's certificate is from an authority that nodes trust anyway.
  std::string ca_sha256;
  std::string version;
};

/// One operation as its handler sees it: authenticated, authorized for the organization in its
/// path.
struct Call {
  const http::Request& request;
  const http::Params& params;  // from the path, decoded
  http::Query query;
  directory::Actor actor;
  std::optional<directory::Org> org;  // when the path has {org}
  json::object body;                  // empty for GET and DELETE

  const std::string& param(std::string_view name) const { return params.get(name); }
};

struct Answer {
  int status = 200;
  json::value body;  // null: 204
};

/// A member of a request body, for checking it and for the OpenAPI page.
struct BodyField {
  std::string_view name;
  /// "string", "boolean", "integer", "array" (of strings), "integers", "objects"
  std::string_view type;
  bool required;
  std::string_view meaning;
  std::span<const BodyField> members = {};  // of each of "objects"
};

struct Operation {
  std::string_view method;
  std::string_view path;  // with {parameters}
  std::string_view id;
  std::string_view summary;
  std::span<const BodyField> body;
  std::span<const BodyField> query;
  bool people = false;  // tokens of scope user may ask as well, about their own person
};

/// The administrators' HTTP API below /api/v1: JSON in and out, errors as RFC 9457 problem details.
/// Tokens of scope admin reach their own organization, those of scope operator every one.
class Api {
 public:
  Api(directory::Directory& directory, clusters::Tokens& tokens, ApiOptions options);

  /// Adds every operation. The router must not outlive this.
  void add_routes(http::Router& router);

  static std::span<const Operation> operations();

 private:
  http::Response answer(const Operation& operation, const http::Request& request,
                        http::Context& context, const http::Params& params);

  using Handler = Result<Answer> (Api::*)(Call&);
  static Handler handler_of(const Operation& operation);
  Result<Answer> run(const Operation& operation, const http::Request& request,
                     const http::Context& context, const http::Params& params);

  /// SCIM ids of the users and groups that a list in the body names.
  Result<std::vector<std::string>> member_ids(const Call& call, std::string_view field);

  Result<Answer> describe(Call& call);
  Result<Answer> whoami(Call& call);
  Result<Answer> list_orgs(Call& call);
  Result<Answer> create_org(Call& call);
  Result<Answer> get_org(Call& call);
  Result<Answer> update_org(Call& call);
  Result<std::optional<std::uint32_t>> primary_gid(const Call& call);
  Result<Answer> list_ids(Call& call);
  Result<Answer> add_ids(Call& call);
  Result<Answer> close_ids(Call& call);
  Result<Answer> list_clients(Call& call);
  Result<Answer> create_client(Call& call);
  Result<Answer> list_tokens(Call& call);
  Result<Answer> create_token(Call& call);
  Result<Answer> revoke_token(Call& call);
  Result<Answer> list_users(Call& call);
  Result<Answer> create_user(Call& call);
  Result<Answer> get_user(Call& call);
  Result<Answer> update_user(Call& call);
  Result<Answer> delete_user(Call& call);
  Result<Answer> deactivate_user(Call& call);
  Result<Answer> reactivate_user(Call& call);
  Result<Answer> rename_user(Call& call);
  Result<Answer> expire_user(Call& call);
  Result<Answer> add_keys(Call& call);
  Result<Answer> remove_key(Call& call);
  Result<Answer> update_key(Call& call);
  Result<Answer> list_groups(Call& call);
  Result<Answer> create_group(Call& call);
  Result<Answer> get_group(Call& call);
  Result<Answer> update_group(Call& call);
  Result<Answer> delete_group(Call& call);
  Result<Answer> rename_group(Call& call);
  Result<Answer> change_members(Call& call);
  Result<Answer> import_identities(Call& call);
  Result<Answer> list_identities(Call& call);
  Result<Answer> unreserve_identity(Call& call);
  Result<std::size_t> add_members(const Call& call, const directory::IdentityRow& row,
                                  json::object& rendered);
  Result<Answer> list_nodes(Call& call);
  Result<Answer> delete_node(Call& call);
  Result<Answer> list_views(Call& call);
  Result<Answer> get_view(Call& call);
  Result<Answer> set_view(Call& call);
  Result<Answer> remove_view(Call& call);
  Result<Answer> list_clusters(Call& call);
  Result<Answer> add_cluster(Call& call);
  Result<Answer> get_cluster(Call& call);
  Result<Answer> update_cluster(Call& call);
  Result<Answer> remove_cluster(Call& call);
  Result<Answer> check_cluster(Call& call);
  Result<Answer> get_cluster_rules(Call& call);
  Result<Answer> set_cluster_rules(Call& call);
  Result<void> check_roles(const Call& call, const directory::Cluster& cluster,
                           const slurm::Rules& rules);
  Result<Answer> explain_accounts(Call& call);
  Result<Answer> get_jwks(Call& call);
  Result<Answer> list_cluster_keys(Call& call);
  Result<Answer> create_cluster_key(Call& call);
  Result<Answer> activate_cluster_key(Call& call);
  Result<Answer> drop_cluster_key(Call& call);
  Result<Answer> create_slurm_token(Call& call);
  Result<directory::User> own_person(const Call& call);
  Result<std::unique_lock<std::mutex>> lock_checks();
  Result<directory::Cluster> cluster_of(const Call& call);
  Result<void> give_first_key(const directory::Actor& actor, const directory::Cluster& cluster);
  Result<Answer> fuse_status(Call& call);
  Result<Answer> fuse_release(Call& call);
  Result<Answer> list_audit(Call& call);
  Result<Answer> verify_audit(Call& call);
  Result<Answer> erase_audit(Call& call);

  directory::Directory& directory_;
  clusters::Tokens& tokens_;
  ApiOptions options_;
  std::mutex check_mutex_;  // held by the one connection check that runs
};

/// OpenAPI 3.1 description of every operation.
json::object openapi(std::span<const Operation> operations, std::string_view version);

}  // namespace roster::admin
