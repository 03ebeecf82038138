#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "reconcile/accounting_state.h"

/// What Slurm answers about its accounting, taken apart. Nothing is guessed: an answer of another
/// form is kDataLoss with what is wrong with it, and so is an empty one where there must be
/// something.
namespace roster::slurm {

namespace accounting = reconcile::accounting;

/// One association of the cluster, of an account (`user` is empty) or of a person.
struct AssociationRow {
  std::uint64_t id = 0;  // 0: the listing does not tell
  std::string account = {};
  std::string user = {};
  std::string partition = {};
  std::string parent = {};  // of an account: the one above; empty of the root account
  accounting::Settings settings = {};
  bool is_default = false;  // the user's default account, where the listing tells
};

struct AccountRow {
  std::string name;
  std::string description;
  std::string organization;
  bool elsewhere = false;  // it has associations in a cluster other than the asked one
};

struct UserRow {
  std::string name;
  accounting::AdminLevel admin_level = accounting::AdminLevel::kNone;
  std::set<std::string> coordinates;  // accounts, directly
};

/// GET /slurmdb/v0.0.40 and later/associations, without limits of parents and with raw QOS. What is
/// marked as deleted, and what belongs to a cluster other than `cluster`, is left out.
Result<std::vector<AssociationRow>> associations_of(const json::object& body,
                                                    std::string_view cluster);
/// GET .../accounts of all versions, asked with associations.
Result<std::vector<AccountRow>> accounts_of(const json::object& body, std::string_view cluster);
/// GET .../users of all versions, asked with coordinators.
Result<std::vector<UserRow>> users_of(const json::object& body);
/// GET .../qos: names in lower case.
Result<std::set<std::string>> qos_of(const json::object& body);
/// GET /slurm/.../jobs: those that are not over. `names`: of uids that slurmrestd could not name.
Result<std::vector<accounting::Job>> jobs_of(const json::object& body,
                                             const std::map<std::uint32_t, std::string>& names);

/// The columns of `sacctmgr -n -P show associations` that `associations_in` reads.
std::string association_columns();
/// Its output, with wopl and withrawqos, of one cluster.
Result<std::vector<AssociationRow>> associations_in(std::string_view text);
/// Output of `sacctmgr -n -P show users format=user,defaultaccount`: name to default account.
Result<std::map<std::string, std::string>> default_accounts_in(std::string_view text);
/// A user as slurmctld has them.
struct ControllerUser {
  std::uint32_t uid = 0;  // accounting::kUnresolvedUid: it could not resolve the name
  bool has_default = false;
  bool operator==(const ControllerUser&) const = default;
};
/// Output of `scontrol -o show assoc_mgr flags=users`, by name.
Result<std::map<std::string, ControllerUser>> controller_users_in(std::string_view text);

}  // namespace roster::slurm
