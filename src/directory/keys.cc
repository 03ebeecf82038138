#include "directory/keys.h"

#include <algorithm>
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
constexpr Statement kKeepBounds{
    "key.keep_bounds",
    "INSERT INTO ssh_key_bound (user_n, fingerprint, not_before, not_after) "
    "SELECT user_n, fingerprint, not_before, not_after FROM ssh_key "
    "WHERE user_n = $1 AND fingerprint = $2 AND (not_before IS NOT NULL OR not_after IS NOT NULL) "
    "ON CONFLICT (user_n, fingerprint) DO NOTHING"};
constexpr Statement kBoundsOf{
    "key.bounds_of",
    "SELECT not_before, not_after FROM ssh_key_bound WHERE user_n = $1 AND fingerprint = $2"};
constexpr Statement kForgetBounds{
    "key.forget_bounds", "DELETE FROM ssh_key_bound WHERE user_n = $1 AND fingerprint = $2"};
constexpr Statement kForgetAllBounds{"key.forget_all_bounds",
                                     "DELETE FROM ssh_key_bound WHERE user_n = $1"};
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

/// The name of a key is its comment until somebody gives it another.
std::string kept_name(const SshKeyRow& stored, const KeyInput& wanted) {
  const auto parsed = posix::SshPublicKey::parse(stored.key);
  const bool is_comment = parsed && parsed->comment() == stored.name;
  return is_comment ? wanted.name : stored.name;
}

Result<void> check_count(std::size_t current, std::size_t fresh, const KeyPlan& plan) {
  if (fresh == 0 || current + fresh - plan.remove.size() <= posix::kSshKeysMax) return {};
  return fail(Code::kInvalidArgument,
              "sunkSshKeys: a person has at most " + std::to_string(posix::kSshKeysMax) + " keys",
              "invalidValue");
}

/// Times from before they were taken away.
Result<void> take_bounds(Tx& tx, UserN user, KeyInput& key) {
  const auto take = [&key](const Row& row) -> Result<void> {
    key.not_before = time_or_null(row, 0);
    key.not_after = time_or_null(row, 1);
    return {};
  };
  RETURN_IF_ERROR(tx.query(kBoundsOf, take, user, key.fingerprint));
  return {};
}

}  // namespace

Result<KeyPlan> plan_keys(const std::vector<SshKeyRow>& current, std::string_view source,
                          const std::vector<KeyInput>& wanted) {
  KeyPlan plan;
  std::size_t fresh = 0;
  std::unordered_set<std::string_view> seen;
  for (const KeyInput& key : wanted) {
    if (!seen.insert(key.fingerprint).second) continue;
    const auto found = std::ranges::find(current, key.fingerprint, &SshKeyRow::fingerprint);
    if (found == current.end()) {
      plan.add.push_back(key);
      ++fresh;
      continue;
    }
    if (found->source != source) continue;
    KeyInput kept = key;
    kept.name = kept_name(*found, key);
    kept.not_before = found->not_before;
    kept.not_after = found->not_after;
    if (!same_key(*found, kept)) plan.add.push_back(std::move(kept));
  }
  for (const SshKeyRow& key : current) {
    if (key.source == source && !seen.contains(key.fingerprint)) {
      plan.remove.push_back(key.fingerprint);
    }
  }
  RETURN_IF_ERROR(check_count(current.size(), fresh, plan));
  return plan;
}

Result<KeyPlan> plan_added_keys(const std::vector<SshKeyRow>& current, std::string_view source,
                                const std::vector<KeyInput>& added) {
  KeyPlan plan;
  plan.by_administrator = true;
  std::size_t fresh = 0;
  std::unordered_set<std::string_view> seen;
  for (const KeyInput& key : added) {
    if (!seen.insert(key.fingerprint).second) continue;
    const auto found = std::ranges::find(current, key.fingerprint, &SshKeyRow::fingerprint);
    if (found == current.end()) ++fresh;
    if (found == current.end() || (found->source == source && !same_key(*found, key))) {
      plan.add.push_back(key);
    }
  }
  RETURN_IF_ERROR(check_count(current.size(), fresh, plan));
  return plan;
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

Result<void> insert_keys(Tx& tx, UserN user, ClientN source, const std::vector<KeyInput>& keys,
                         Timestamp now) {
  for (const KeyInput& key : keys) {
    RETURN_IF_ERROR(tx.execute(kPutKey, user, key.fingerprint, key.line, key.name, source,
                               to_millis(now), millis_or_null(key.not_before),
                               millis_or_null(key.not_after)));
  }
  return {};
}

Result<void> apply_keys(Tx& tx, UserN user, ClientN source, const KeyPlan& plan, Timestamp now) {
  for (const std::string& fingerprint : plan.remove) {
    if (!plan.by_administrator) RETURN_IF_ERROR(tx.execute(kKeepBounds, user, fingerprint));
    RETURN_IF_ERROR(tx.execute(kDeleteKey, user, fingerprint));
  }
  std::vector<KeyInput> put = plan.add;
  for (KeyInput& key : put) {
    if (!plan.by_administrator) RETURN_IF_ERROR(take_bounds(tx, user, key));
    RETURN_IF_ERROR(tx.execute(kForgetBounds, user, key.fingerprint));
  }
  return insert_keys(tx, user, source, put, now);
}

Result<void> remove_all_keys(Tx& tx, UserN user) {
  RETURN_IF_ERROR(tx.execute(kDeleteKeys, user));
  RETURN_IF_ERROR(tx.execute(kForgetAllBounds, user));
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
