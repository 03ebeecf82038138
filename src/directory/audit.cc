#include <set>

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
constexpr Statement kBeyond{
    "audit.beyond", "SELECT seq FROM audit WHERE org = $1 AND seq > $2 ORDER BY seq LIMIT 1"};
constexpr Statement kExists{"audit.exists", "SELECT seq FROM audit WHERE org = $1 AND seq = $2"};

constexpr std::string_view kErasure = "audit.erase";

std::string erasure_target(Seq seq) { return "audit/" + std::to_string(seq.value); }

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

/// One way along a chain, from its first row to its head.
class ChainWalk {
 public:
  ChainWalk(store::Database& db, OrgN org) : db_(db), org_(org) {}

  /// As far as the chain reaches now. kDataLoss at the first row that does not fit.
  Result<void> to_head() {
    ASSIGN_OR_RETURN(const std::optional<Head> head,
                     db_.read([this](Tx& tx) { return head_of(tx); }));
    if (!head) return fail(Code::kNotFound, "there is no such organization");
    reached_ = head->seq;
    for (std::size_t size = kPageMax; size == kPageMax;) {
      ASSIGN_OR_RETURN(const std::vector<StoredRow> rows, db_.read([this](Tx& tx) {
        return load_rows(tx, org_, after_, reached_, kPageMax);
      }));
      for (const StoredRow& stored : rows) RETURN_IF_ERROR(step(stored));
      size = rows.size();
    }
    if (chain_ == head->hash) return {};
    return fail(Code::kDataLoss,
                "audit rows after " + std::to_string(after_.value) + " were removed");
  }

  bool lacks_reasons() const { return !unexplained_.empty(); }

  /// The number of rows; kDataLoss when a diff is missing without a reason.
  Result<std::int64_t> finish() const {
    if (unexplained_.empty()) return verified_;
    return fail(Code::kDataLoss, "audit row " + std::to_string(*unexplained_.begin()) +
                                     ": its diff was erased, and no row says by whom");
  }

 private:
  /// Nothing may stand behind the head: nobody would ever look at it.
  Result<std::optional<Head>> head_of(Tx& tx) {
    ASSIGN_OR_RETURN(
        const std::optional<Head> head,
        tx.query_one(
            kHead, [](const Row& row) { return Head{row.integer(0), std::string(row.blob(1))}; },
            org_));
    if (!head) return head;
    ASSIGN_OR_RETURN(const auto beyond, tx.query_one(kBeyond, integer_column, org_, head->seq));
    if (!beyond) return head;
    return fail(Code::kDataLoss, "audit row " + std::to_string(*beyond) + " was added");
  }

  Result<void> step(const StoredRow& stored) {
    const std::string wrong = defect(stored, org_, chain_);
    if (!wrong.empty()) {
      return fail(Code::kDataLoss,
                  "audit row " + std::to_string(stored.row.seq.value) + ": " + wrong);
    }
    if (stored.erased) unexplained_.insert(stored.row.seq.value);
    if (stored.row.action == kErasure) {
      // Its own chain makes this row true, so it explains what came before it only.
      std::erase_if(unexplained_, [&stored](std::uint64_t seq) {
        return stored.row.target == erasure_target(Seq{seq});
      });
    }
    chain_ = stored.hash;
    after_ = stored.row.seq;
    ++verified_;
    return {};
  }

  store::Database& db_;
  const OrgN org_;
  std::string chain_;
  Seq after_;
  std::int64_t reached_ = 0;
  std::int64_t verified_ = 0;
  std::set<std::uint64_t> unexplained_;  // rows without a diff, in order
};

}  // namespace

Result<std::vector<AuditRow>> Directory::list_audit(std::optional<OrgN> org, Seq after,
                                                    std::size_t limit) {
  const OrgN chain = org.value_or(row::kHubOrg);
  return impl_->db.read([chain, after, limit](Tx& tx) -> Result<std::vector<AuditRow>> {
    ASSIGN_OR_RETURN(std::vector<StoredRow> stored,
                     load_rows(tx, chain, after, kEverything, std::min(limit, kPageMax)));
    std::vector<AuditRow> rows;
    rows.reserve(stored.size());
    for (StoredRow& row : stored) rows.push_back(std::move(row.row));
    return rows;
  });
}

Result<std::int64_t> Directory::verify_audit(std::optional<OrgN> org) {
  ChainWalk walk(impl_->db, org.value_or(row::kHubOrg));
  // Rows that come while it walks are for the next time, but the reason of an erased diff, which
  // was committed with the erasure, may be among them.
  RETURN_IF_ERROR(walk.to_head());
  if (walk.lacks_reasons()) RETURN_IF_ERROR(walk.to_head());
  return walk.finish();
}

Result<void> Directory::erase_audit_diff(const Actor& actor, OrgN org, Seq seq) {
  RETURN_IF_ERROR(authorize(actor, org));
  return impl_->db.write([this, &actor, org, seq](Tx& tx) -> Result<void> {
    ASSIGN_OR_RETURN(const auto found, tx.query_one(kExists, integer_column, org, seq.value));
    if (!found) return fail(Code::kNotFound, "there is no audit row with this number");
    ASSIGN_OR_RETURN(const std::int64_t erased, tx.execute(kErase, org, seq.value));
    if (erased == 0) return {};
    impl_->journal->add(journal_entry(actor, org, impl_->now(), kErasure, erasure_target(seq)));
    return {};
  });
}

}  // namespace roster::directory
