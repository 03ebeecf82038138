#include "directory/external_ids.h"

#include "base/unicode.h"
#include "directory/impl.h"
#include "directory/query.h"
#include "directory/schema.h"

namespace roster::directory {
namespace {

using store::Row;
using store::Statement;
using store::Tx;

constexpr std::size_t kExternalIdBytesMax = 1024;

constexpr Statement kGet{
    "external_id.get",
    "SELECT value FROM external_id WHERE client = $1 AND kind = $2 AND owner_n = $3"};
constexpr Statement kPut{
    "external_id.put",
    "INSERT INTO external_id (client, kind, owner_n, value) VALUES ($1, $2, $3, $4) "
    "ON CONFLICT (client, kind, owner_n) DO UPDATE SET value = excluded.value"};
constexpr Statement kDelete{
    "external_id.delete",
    "DELETE FROM external_id WHERE client = $1 AND kind = $2 AND owner_n = $3"};
constexpr Statement kDeleteAll{"external_id.delete_all",
                               "DELETE FROM external_id WHERE kind = $2 AND owner_n = $3 "
                               "AND client IN (SELECT n FROM client WHERE org = $1)"};

const SetStatement& of_client() {
  static const SetStatement statement(
      "external_id.of_client",
      "SELECT owner_n, value FROM external_id WHERE client = $1 AND kind = $2 AND owner_n IN ", 2,
      "");
  return statement;
}

const SetStatement& of_user_owners() {
  static const SetStatement statement("external_id.of_user_owners",
                                      "SELECT u.n, e.value FROM usr u JOIN external_id e "
                                      "ON e.client = u.owner_client AND e.kind = 1 "
                                      "AND e.owner_n = u.n WHERE u.n IN ",
                                      0, "");
  return statement;
}

const SetStatement& of_group_owners() {
  static const SetStatement statement("external_id.of_group_owners",
                                      "SELECT g.n, e.value FROM grp g JOIN external_id e "
                                      "ON e.client = g.owner_client AND e.kind = 2 "
                                      "AND e.owner_n = g.n WHERE g.n IN ",
                                      0, "");
  return statement;
}

}  // namespace

Result<std::optional<std::string>> external_id(Tx& tx, int kind, ClientN client,
                                               std::int64_t owner_n) {
  return tx.query_one(kGet, text_column, client, kind, owner_n);
}

Result<void> set_external_id(Tx& tx, int kind, ClientN client, std::int64_t owner_n,
                             const std::optional<std::string>& value) {
  if (value) {
    RETURN_IF_ERROR(tx.execute(kPut, client, kind, owner_n, *value));
  } else {
    RETURN_IF_ERROR(tx.execute(kDelete, client, kind, owner_n));
  }
  return {};
}

Result<void> remove_external_ids(Tx& tx, OrgN org, int kind, std::int64_t owner_n) {
  RETURN_IF_ERROR(tx.execute(kDeleteAll, org, kind, owner_n));
  RETURN_IF_ERROR(tx.execute(kDelete, row::kNoClient, kind, owner_n));
  return {};
}

Result<void> load_external_ids(Tx& tx, const Actor& actor, int kind,
                               std::span<const std::int64_t> owners,
                               const std::function<void(std::int64_t, std::string&&)>& fn) {
  const auto give = [&fn](const Row& row) -> Result<void> {
    fn(row.integer(0), std::string(row.text(1)));
    return {};
  };
  if (actor.client) return of_client().query(tx, {*actor.client, std::int64_t{kind}}, owners, give);
  return (kind == row::kUser ? of_user_owners() : of_group_owners()).query(tx, {}, owners, give);
}

Result<void> check_external_id(const std::optional<std::string>& value) {
  if (!value) return {};
  if (value->empty() || value->size() > kExternalIdBytesMax || has_control_characters(*value)) {
    return fail(Code::kInvalidArgument, "externalId: 1 to 1024 bytes without control characters",
                "invalidValue");
  }
  return {};
}

}  // namespace roster::directory
