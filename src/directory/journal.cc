#include "directory/journal.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>

#include "base/unicode.h"
#include "crypto/audit_chain.h"
#include "crypto/hash.h"
#include "directory/schema.h"

namespace roster::directory {
namespace {

constexpr store::Statement kTakeNumbers{
    "journal.take_numbers",
    "UPDATE org SET seq = seq + $2, user_count = user_count + $3, "
    "active_count = active_count + $4, group_count = group_count + $5 "
    "WHERE n = $1 RETURNING seq, audit_hash, slug"};
constexpr store::Statement kInsertChange{
    "journal.insert_change",
    "INSERT INTO change (org, seq, kind, a, b, tag) VALUES ($1, $2, $3, $4, $5, $6)"};
constexpr store::Statement kTouchEntity{"journal.touch_entity",
                                        "UPDATE posix_id SET seq = $2 WHERE n = $1"};
constexpr store::Statement kInsertAudit{
    "journal.insert_audit",
    "INSERT INTO audit (org, seq, at, actor, remote, action, target, diff, diff_hash, hash) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"};
constexpr store::Statement kSetAuditHash{"journal.set_audit_hash",
                                         "UPDATE org SET audit_hash = $2 WHERE n = $1"};

struct Head {
  std::uint64_t seq;
  std::string audit_hash;
  std::string slug;
};

std::size_t numbers_of(const JournalEntry& entry) {
  return std::max<std::size_t>(1, entry.changes.size());
}

}  // namespace

std::string audit_hash(std::string_view previous, OrgN org, Seq seq, Timestamp at,
                       std::string_view actor, std::string_view remote, std::string_view action,
                       std::string_view target, std::string_view diff_hash) {
  return crypto::chain_hash(
      previous, {std::to_string(org), std::to_string(seq.value), std::to_string(to_millis(at)),
                 actor, remote, action, target, diff_hash});
}

store::BatchHooks Journal::hooks(const std::shared_ptr<Journal>& journal) {
  return {.mark = [journal] { return journal->entries_.size(); },
          .truncate =
              [journal](std::size_t mark) {
                CHECK(mark <= journal->entries_.size());
                journal->entries_.resize(mark);
              },
          .finish = [journal](store::Tx& tx) { return journal->finish(tx); },
          .committed = [journal] { journal->committed(); }};
}

void Journal::add(JournalEntry entry) {
  for (std::string* text : {&entry.actor, &entry.remote, &entry.target, &entry.diff}) {
    if (is_valid_utf8(*text) && text->find('\0') == std::string::npos) continue;
    *text = text == &entry.diff ? R"({"unreadable":true})" : "unreadable";
  }
  entries_.push_back(std::move(entry));
}

Result<void> Journal::finish(store::Tx& tx) {
  finished_.clear();
  std::map<OrgN, std::vector<const JournalEntry*>> by_org;
  for (const JournalEntry& entry : entries_) by_org[entry.org].push_back(&entry);
  for (const auto& [org, mine] : by_org) {
    ASSIGN_OR_RETURN(Finished finished, finish_org(tx, org, mine));
    finished_.push_back(std::move(finished));
  }
  return {};
}

Result<Journal::Finished> Journal::finish_org(store::Tx& tx, OrgN org,
                                              const std::vector<const JournalEntry*>& mine) {
  std::size_t numbers = 0;
  std::int64_t users = 0;
  std::int64_t active_users = 0;
  std::int64_t groups = 0;
  for (const JournalEntry* entry : mine) {
    numbers += numbers_of(*entry);
    users += entry->users;
    active_users += entry->active_users;
    groups += entry->groups;
  }
  ASSIGN_OR_RETURN(const std::optional<Head> head,
                   tx.query_one(
                       kTakeNumbers,
                       [](const store::Row& row) {
                         return Head{static_cast<std::uint64_t>(row.integer(0)),
                                     std::string(row.blob(1)), std::string(row.text(2))};
                       },
                       org, numbers, users, active_users, groups));
  CHECK(head);

  std::vector<std::uint8_t> random(numbers * sizeof(std::int64_t));
  random_(random);
  const std::uint8_t* next_tag = random.data();
  Finished finished{
      {.org = org, .slug = head->slug, .head = Seq{head->seq}, .tag = 0, .settings = false}, false};
  std::map<std::int64_t, std::uint64_t> touched;
  std::string chain = head->audit_hash;
  std::uint64_t seq = head->seq - numbers;
  constexpr std::array kOnlyAudit{ChangeRow{row::kNothing, 0, 0}};
  for (const JournalEntry* entry : mine) {
    const std::span<const ChangeRow> changes =
        entry->changes.empty() ? std::span<const ChangeRow>(kOnlyAudit) : entry->changes;
    for (const ChangeRow& change : changes) {
      std::int64_t tag = 0;
      std::memcpy(&tag, next_tag, sizeof tag);
      next_tag += sizeof tag;
      finished.commit.tag = static_cast<std::uint64_t>(tag);
      RETURN_IF_ERROR(tx.execute(kInsertChange, org, ++seq, change.kind, change.a, change.b, tag));
      if (change.kind == row::kNothing) continue;
      finished.wakes = true;
      // The record itself is the same: only which views show it may be other ones.
      if (change.kind == row::kScopeUser || change.kind == row::kScopeGroup) continue;
      touched[change.a] = seq;
    }
    if (entry->wakes || entry->settings) finished.wakes = true;
    if (entry->settings) finished.commit.settings = true;
    const std::string diff_hash = crypto::sha256(entry->diff);
    chain = audit_hash(chain, org, Seq{seq}, entry->at, entry->actor, entry->remote, entry->action,
                       entry->target, diff_hash);
    RETURN_IF_ERROR(tx.execute(kInsertAudit, org, seq, to_millis(entry->at), entry->actor,
                               entry->remote, entry->action, entry->target, entry->diff,
                               store::BlobView{diff_hash}, store::BlobView{chain}));
  }
  for (const auto& [entity, last] : touched) {
    RETURN_IF_ERROR(tx.execute(kTouchEntity, entity, last));
  }
  RETURN_IF_ERROR(tx.execute(kSetAuditHash, org, store::BlobView{chain}));
  return finished;
}

void Journal::committed() {
  entries_.clear();
  for (const Finished& finished : finished_) {
    if (org_changed_) org_changed_(finished.commit.org);
  }
  for (const Finished& finished : finished_) {
    if (finished.wakes && listener_) listener_(finished.commit);
  }
  finished_.clear();
}

}  // namespace roster::directory
