#include <algorithm>

#include "directory/impl.h"
#include "directory/orgs.h"
#include "directory/schema.h"

namespace roster::directory {
namespace {

using store::Row;
using store::Statement;
using store::Tx;

constexpr std::chrono::hours kWindow{1};
constexpr std::chrono::hours kRelease{1};
constexpr std::int64_t kLimitMin = 20;
constexpr std::int64_t kLimitPercent = 2;

constexpr Statement kLeavers{"fuse.leavers",
                             "SELECT COUNT(*) FROM posix_id WHERE org = $1 AND left_at > $2"};
constexpr Statement kState{"fuse.state",
                           "SELECT active_count, fuse_released_until FROM org WHERE n = $1"};
constexpr Statement kReleaseUntil{"fuse.release",
                                  "UPDATE org SET fuse_released_until = $2 WHERE n = $1"};

Result<Directory::Fuse> load_fuse(Tx& tx, OrgN org, Timestamp now) {
  struct State {
    std::int64_t active;
    std::optional<Timestamp> released_until;
  };
  ASSIGN_OR_RETURN(
      const std::optional<State> state,
      tx.query_one(
          kState, [](const Row& row) { return State{row.integer(0), time_or_null(row, 1)}; }, org));
  if (!state) return fail(Code::kNotFound, "there is no such organization");
  ASSIGN_OR_RETURN(const std::optional<std::int64_t> leavers,
                   tx.query_one(kLeavers, integer_column, org, to_millis(now - kWindow)));
  Directory::Fuse fuse;
  fuse.leavers = leavers.value_or(0);
  // Of those who were active when the hour began: they do not shrink the limit by leaving.
  fuse.limit = std::max(kLimitMin, (state->active + fuse.leavers) * kLimitPercent / 100);
  if (state->released_until && *state->released_until > now) {
    fuse.released_until = state->released_until;
  }
  fuse.held = fuse.leavers > fuse.limit && !fuse.released_until;
  return fuse;
}

}  // namespace

Result<Directory::Fuse> Directory::fuse(OrgN org) {
  return impl_->db.read([this, org](Tx& tx) { return load_fuse(tx, org, impl_->now()); });
}

Result<Directory::Fuse> Directory::release_fuse(const Actor& actor, OrgN org) {
  RETURN_IF_ERROR(authorize(actor, org));
  return impl_->db.write([this, &actor, org](Tx& tx) -> Result<Fuse> {
    const Timestamp now = impl_->now();
    ASSIGN_OR_RETURN(const Org current, load_org(tx, org));
    RETURN_IF_ERROR(tx.execute(kReleaseUntil, org, to_millis(now + kRelease)));
    impl_->journal->add(journal_entry(actor, org, now, "fuse.release", "org/" + current.slug));
    return load_fuse(tx, org, now);
  });
}

}  // namespace roster::directory
