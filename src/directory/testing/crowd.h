#pragma once

#include <string>
#include <string_view>

#include "directory/testing/fixture.h"
#include "directory/types.h"
#include "store/database.h"

// Helpers of tests: more people than there is time to create.
namespace roster::directory::testing {

/// `count` people (once for a database) without POSIX identity: "crowd100001", "crowd100002", ...,
/// whose ids follow one another behind `id_before`. The directory knows how many people there are
/// after its next write.
inline void add_crowd(store::Database& database, OrgN org, std::string_view id_before, int count,
                      bool active) {
  static constexpr store::Statement kIdentities{
      "test.crowd_identities",
      "INSERT INTO posix_id (n, org, kind, name, state, created) "
      "WITH RECURSIVE k (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM k WHERE i < $1) "
      "SELECT 1000000 + i, $2, 1, 'crowd' || CAST(100000 + i AS TEXT), 1, 0 FROM k"};
  static constexpr store::Statement kPeople{
      "test.crowd_people",
      "INSERT INTO usr (n, org, id, user_name, user_name_key, active, owner_client, version, "
      "created, modified, gecos, doc) "
      "SELECT n, org, $1 || '-' || name, name, name, $2, 0, 1, 0, 0, '', "
      "'{\"userName\":\"' || name || '\"}' FROM posix_id WHERE n > 1000000 AND org = $3"};
  static constexpr store::Statement kCount{
      "test.crowd_count",
      "UPDATE org SET user_count = user_count + $2, active_count = active_count + $3 "
      "WHERE n = $1"};
  must(database.write([org, id_before, count, active](store::Tx& tx) -> Result<bool> {
    RETURN_IF_ERROR(tx.execute(kIdentities, count, org));
    RETURN_IF_ERROR(tx.execute(kPeople, id_before, active ? 1 : 0, org));
    RETURN_IF_ERROR(tx.execute(kCount, org, count, active ? count : 0));
    return true;
  }));
}

/// The whole crowd joins a group.
inline void join_crowd(store::Database& database, GroupN group) {
  static constexpr store::Statement kJoin{
      "test.crowd_joins",
      "INSERT INTO member (group_n, kind, member_n) SELECT $1, 1, n FROM usr WHERE n > 1000000"};
  static constexpr store::Statement kCount{
      "test.crowd_members",
      "UPDATE grp SET member_count = (SELECT COUNT(*) FROM member WHERE group_n = $1), "
      "version = version + 1 WHERE n = $1"};
  must(database.write([group](store::Tx& tx) -> Result<bool> {
    RETURN_IF_ERROR(tx.execute(kJoin, group));
    RETURN_IF_ERROR(tx.execute(kCount, group));
    return true;
  }));
}

}  // namespace roster::directory::testing
