#include "crypto/hash.h"
#include "directory/impl.h"
#include "directory/schema.h"

namespace roster::directory {
namespace {

using store::Row;
using store::Statement;
using store::Tx;

constexpr std::size_t kPageMax = 1000;

#define ROSTER_AUDIT_PAGE \
  "FROM audit WHERE org = $1 AND seq > $2 AND seq <= $3 ORDER BY seq LIMIT $4"
constexpr Statement kList{
    "audit.list",
    "SELECT seq, at, actor, remote, action, target, diff, diff_hash, hash " ROSTER_AUDIT_PAGE};
#undef ROSTER_AUDIT_PAGE
constexpr Statement kHead{"audit.head", "SELECT seq, audit_hash FROM org WHERE n = $1"};
constexpr Statement kErase{
    "audit.erase", "UPDATE audit SET diff = NULL WHERE org = $1 AND seq = $2 AND diff IS NOT NULL"};
constexpr Statement kExists{"audit.exists", "SELECT seq FROM audit WHERE org = $1 AND seq = $2"};

constexpr std::int64_t kEverything = INT64_MAX;

struct StoredRow {
  AuditRow row;
  bool erased = false;
  std::string diff_hash;
  std::string hash;
};

StoredRow read_row(const Row& row) {
  StoredRow stored;
  stored.row.seq = Seq{static_cast<std::uint64_t>(row.integer(0))};
  stored.row.at = from_millis(row.integer(1));
  stored.row.actor = row.text(2);
  stored.row.remote = row.text(3);
  stored.row.action = row.text(4);
  stored.row.target = row.text(5);
  stored.erased = row.is_null(6);
  stored.row.diff = row.text_or_null(6).value_or("");
  stored.diff_hash = row.blob(7);
  stored.hash = row.blob(8);
  return stored;
}

Result<std::vector<StoredRow>> load_rows(Tx& tx, OrgN org, Seq after, std::int64_t upto,
                                         std::size_t limit) {
  std::vector<StoredRow> rows;
  RETURN_IF_ERROR(tx.query(
      kList,
      [&rows](const Row& row) -> Result<void> {
        rows.push_back(read_row(row));
        return {};
      },
      org, after.value, upto, limit));
  return rows;
}

struct Head {
  std::int64_t seq;
  std::string hash;
};

/// What does not fit in a row that follows one with hash `previous`; empty when all does.
std::string defect(const StoredRow& stored, OrgN org, std::string_view previous) {
  const AuditRow& row = stored.row;
  if (!stored.erased && crypto::sha256(row.diff) != stored.diff_hash) return "its diff was changed";
  const std::string expected = audit_hash(previous, org, row.seq, row.at, row.actor, row.remote,
                                          row.action, row.target, stored.diff_hash);
  if (expected == stored.hash) return "";
  return "it was changed, or rows before it were changed, removed or reordered";
}

}  // namespace

Result<std::vector<AuditRow>> Directory::list_audit(OrgN org, Seq after, std::size_t limit) {
  return impl_->db.read([org, after, limit](Tx& tx) -> Result<std::vector<AuditRow>> {
    ASSIGN_OR_RETURN(std::vector<StoredRow> stored,
                     load_rows(tx, org, after, kEverything, std::min(limit, kPageMax)));
    std::vector<AuditRow> rows;
    rows.reserve(stored.size());
    for (StoredRow& row : stored) rows.push_back(std::move(row.row));
    return rows;
  });
}

Result<std::int64_t> Directory::verify_audit(OrgN org) {
  // Rows that come while it walks are for the next time: the chain must lead to this head.
  ASSIGN_OR_RETURN(const std::optional<Head> head, impl_->db.read([org](Tx& tx) {
    return tx.query_one(
        kHead, [](const Row& row) { return Head{row.integer(0), std::string(row.blob(1))}; }, org);
  }));
  if (!head) return fail(Code::kNotFound, "there is no such organization");
  std::string chain;
  Seq after;
  std::int64_t verified = 0;
  for (;;) {
    ASSIGN_OR_RETURN(const std::vector<StoredRow> rows, impl_->db.read([org, after, &head](Tx& tx) {
      return load_rows(tx, org, after, head->seq, kPageMax);
    }));
    for (const StoredRow& stored : rows) {
      const std::string wrong = defect(stored, org, chain);
      if (!wrong.empty()) {
        return fail(Code::kDataLoss,
                    "audit row " + std::to_string(stored.row.seq.value) + ": " + wrong);
      }
      chain = stored.hash;
      after = stored.row.seq;
      ++verified;
    }
    if (rows.size() < kPageMax) break;
  }
  if (chain != head->hash) {
    return fail(Code::kDataLoss,
                "audit rows after " + std::to_string(after.value) + " were removed");
  }
  return verified;
}

Result<void> Directory::erase_audit_diff(const Actor& actor, OrgN org, Seq seq) {
  RETURN_IF_ERROR(authorize(actor, org));
  return impl_->db.write([this, &actor, org, seq](Tx& tx) -> Result<void> {
    ASSIGN_OR_RETURN(const auto found, tx.query_one(kExists, integer_column, org, seq.value));
    if (!found) return fail(Code::kNotFound, "there is no audit row with this number");
    ASSIGN_OR_RETURN(const std::int64_t erased, tx.execute(kErase, org, seq.value));
    if (erased == 0) return {};
    impl_->journal->add(journal_entry(actor, org, impl_->now(), "audit.erase",
                                      "audit/" + std::to_string(seq.value)));
    return {};
  });
}

}  // namespace roster::directory
