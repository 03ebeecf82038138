#include "directory/keys.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "directory/impl.h"
#include "directory/query.h"
#include "directory/schema.h"
#include "posix/ssh_key.h"

namespace roster::directory {
namespace {

using store::Row;
using store::Statement;
using store::Tx;

constexpr Statement kPutKey{
    "key.put",
    "INSERT INTO ssh_key (user_n, fingerprint, line, name, source, created, not_before, not_after) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (user_n, fingerprint) DO UPDATE SET "
    "line = excluded.line, name = excluded.name, not_before = excluded.not_before, "
    "not_after = excluded.not_after"};
constexpr Statement kDeleteKey{"key.delete",
                               "DELETE FROM ssh_key WHERE user_n = $1 AND fingerprint = $2"};
constexpr Statement kDeleteKeys{"key.delete_all", "DELETE FROM ssh_key WHERE user_n = $1"};

const SetStatement& keys_of() {
  static const SetStatement statement(
      "key.of_users",
      "SELECT k.user_n, k.fingerprint, k.line, k.name, c.name, k.created, k.not_before, "
      "k.not_after FROM ssh_key k LEFT JOIN client c ON c.n = k.source WHERE k.user_n IN ",
      0, " ORDER BY k.user_n, k.fingerprint");
  return statement;
}

bool same_key(const SshKeyRow& stored, const KeyInput& wanted) {
  return stored.key == wanted.line && stored.name == wanted.name &&
         stored.not_before == wanted.not_before && stored.not_after == wanted.not_after;
}

Result<KeyPlan> plan(const std::vector<SshKeyRow>& current, std::string_view source,
                     const std::vector<KeyInput>& wanted, bool keep_others_of_source) {
  std::unordered_map<std::string_view, const SshKeyRow*> stored;
  for (const SshKeyRow& key : current) stored.emplace(key.fingerprint, &key);
  KeyPlan plan;
  std::size_t fresh = 0;
  std::unordered_set<std::string_view> seen;
  for (const KeyInput& key : wanted) {
    if (!seen.insert(key.fingerprint).second) continue;
    const auto found = stored.find(key.fingerprint);
    if (found == stored.end()) {
      plan.add.push_back(key);
      ++fresh;
    } else if (found->second->source == source && !same_key(*found->second, key)) {
      plan.add.push_back(key);
    }
  }
  if (!keep_others_of_source) {
    for (const SshKeyRow& key : current) {
      if (key.source == source && !seen.contains(key.fingerprint)) {
        plan.remove.push_back(key.fingerprint);
      }
    }
  }
  if (fresh > 0 && current.size() + fresh - plan.remove.size() > posix::kSshKeysMax) {
    return fail(Code::kInvalidArgument,
                "sunkSshKeys: a person has at most " + std::to_string(posix::kSshKeysMax) + " keys",
                "invalidValue");
  }
  return plan;
}

}  // namespace

Result<KeyPlan> plan_keys(const std::vector<SshKeyRow>& current, std::string_view source,
                          const std::vector<KeyInput>& wanted) {
  return plan(current, source, wanted, false);
}

Result<KeyPlan> plan_added_keys(const std::vector<SshKeyRow>& current, std::string_view source,
                                const std::vector<KeyInput>& added) {
  return plan(current, source, added, true);
}

void take_away(const std::vector<SshKeyRow>& current, const std::vector<std::string>& fingerprints,
               KeyPlan& plan) {
  for (const SshKeyRow& key : current) {
    const auto is_key = [&key](const std::string& fingerprint) {
      return fingerprint == key.fingerprint;
    };
    if (std::ranges::any_of(fingerprints, is_key) && std::ranges::none_of(plan.remove, is_key)) {
      plan.remove.push_back(key.fingerprint);
    }
  }
}

std::vector<std::string> KeyPlan::put() const {
  std::vector<std::string> fingerprints;
  for (const KeyInput& key : add) fingerprints.push_back(key.fingerprint);
  return fingerprints;
}

Result<void> apply_keys(Tx& tx, UserN user, ClientN source, const KeyPlan& plan, Timestamp now) {
  for (const std::string& fingerprint : plan.remove) {
    RETURN_IF_ERROR(tx.execute(kDeleteKey, user, fingerprint));
  }
  for (const KeyInput& key : plan.add) {
    RETURN_IF_ERROR(tx.execute(kPutKey, user, key.fingerprint, key.line, key.name, source,
                               to_millis(now), millis_or_null(key.not_before),
                               millis_or_null(key.not_after)));
  }
  return {};
}

Result<void> remove_all_keys(Tx& tx, UserN user) {
  RETURN_IF_ERROR(tx.execute(kDeleteKeys, user));
  return {};
}

Result<void> load_keys(Tx& tx, std::span<const std::int64_t> users,
                       const std::function<void(UserN, SshKeyRow&&)>& fn) {
  return keys_of().query(tx, {}, users, [&fn](const Row& row) -> Result<void> {
    fn(row.integer(0),
       {std::string(row.text(1)), std::string(row.text(2)), std::string(row.text(3)),
        row.text_or_null(4).value_or(std::string(kManualSource)), from_millis(row.integer(5)),
        time_or_null(row, 6), time_or_null(row, 7)});
    return {};
  });
}

}  // namespace roster::directory
