#include "directory/id_blocks.h"

#include <optional>
#include <string>
#include <utility>

#include "directory/impl.h"

namespace roster::directory {
namespace {

using store::Row;
using store::Statement;
using store::Tx;

constexpr Statement kTakeNumber{
    "id_block.take_number",
    "UPDATE id_block SET next = next + 1 WHERE n = "
    "(SELECT n FROM id_block WHERE org = $1 AND next <= last ORDER BY n LIMIT 1) "
    "RETURNING next - 1"};
constexpr Statement kAllBlocks{"id_block.all_blocks",
                               "SELECT n, org, first, last, next FROM id_block ORDER BY n"};
constexpr Statement kInsertBlock{
    "id_block.insert_block",
    "INSERT INTO id_block (org, first, last, next) VALUES ($1, $2, $3, $4)"};
constexpr Statement kSetNext{"id_block.set_next", "UPDATE id_block SET next = $2 WHERE n = $1"};
constexpr Statement kNumberTaken{"id_block.number_taken",
                                 "SELECT n FROM posix_id WHERE org = $1 AND number = $2"};
constexpr Statement kNumberBetween{
    "id_block.number_between",
    "SELECT n FROM posix_id WHERE org = $1 AND number >= $2 AND number <= $3 LIMIT 1"};
constexpr Statement kRemoveBlock{"id_block.remove", "DELETE FROM id_block WHERE n = $1"};

}  // namespace

Result<std::vector<IdBlockRow>> all_id_blocks(Tx& tx) {
  std::vector<IdBlockRow> blocks;
  RETURN_IF_ERROR(tx.query(kAllBlocks, [&blocks](const Row& row) -> Result<void> {
    blocks.push_back(
        {row.integer(0),
         row.integer(1),
         {static_cast<std::uint32_t>(row.integer(2)), static_cast<std::uint32_t>(row.integer(3))},
         static_cast<std::uint32_t>(row.integer(4))});
    return {};
  }));
  return blocks;
}

Result<std::uint32_t> take_number(Tx& tx, OrgN org) {
  for (;;) {
    ASSIGN_OR_RETURN(const std::optional<std::int64_t> number,
                     tx.query_one(kTakeNumber, integer_column, org));
    if (!number) {
      RETURN_IF_ERROR(add_id_block(tx, org));
      continue;
    }
    ASSIGN_OR_RETURN(const auto taken, tx.query_one(kNumberTaken, integer_column, org, *number));
    if (!taken) return static_cast<std::uint32_t>(*number);
  }
}

Result<void> add_id_block(Tx& tx, OrgN org) {
  ASSIGN_OR_RETURN(const std::vector<IdBlockRow> blocks, all_id_blocks(tx));
  std::vector<posix::IdBlock> taken;
  for (const IdBlockRow& block : blocks) taken.push_back(block.ids);
  ASSIGN_OR_RETURN(const posix::IdBlock next, posix::next_block(taken));
  RETURN_IF_ERROR(tx.execute(kInsertBlock, org, next.first, next.last, next.first));
  return {};
}

Result<void> add_id_block(Tx& tx, OrgN org, posix::IdBlock ids) {
  RETURN_IF_ERROR(posix::validate_block(ids));
  if (ids.overlaps(posix::kSliceSpace)) {
    return fail(Code::kInvalidArgument, "the ids " + posix::format_block(posix::kSliceSpace) +
                                            " are given out in slices by the hub itself");
  }
  ASSIGN_OR_RETURN(const std::vector<IdBlockRow> blocks, all_id_blocks(tx));
  for (const IdBlockRow& block : blocks) {
    if (!block.ids.overlaps(ids)) continue;
    return fail(Code::kAlreadyExists, "the block " + posix::format_block(block.ids) + " of " +
                                          (block.org == org ? "this" : "another") +
                                          " organization has some of these ids");
  }
  RETURN_IF_ERROR(tx.execute(kInsertBlock, org, ids.first, ids.last, ids.first));
  return {};
}

Result<void> close_id_block(Tx& tx, OrgN org, posix::IdBlock ids) {
  ASSIGN_OR_RETURN(const std::vector<IdBlockRow> blocks, all_id_blocks(tx));
  for (const IdBlockRow& block : blocks) {
    if (block.org != org || block.ids != ids) continue;
    ASSIGN_OR_RETURN(const auto somebody,
                     tx.query_one(kNumberBetween, integer_column, org, ids.first, ids.last));
    if (block.next == ids.first && !somebody) {
      RETURN_IF_ERROR(tx.execute(kRemoveBlock, block.n));
    } else {
      RETURN_IF_ERROR(tx.execute(kSetNext, block.n, ids.last + 1));
    }
    return {};
  }
  return fail(Code::kNotFound, "the organization has no block " + posix::format_block(ids));
}

namespace {

/// How far beyond the slices in use an id may lie and still be believed to come from a slice that
/// this hub gave out and forgot when it was restored. Keeps a lying node from taking slices far
/// off.
constexpr std::size_t kSlicesAhead = 8;

struct Lift {
  bool believed = false;
  std::vector<std::pair<std::int64_t, std::uint32_t>> next;  // block -> new next
  std::optional<posix::IdBlock> claim;
};

Lift plan_lift(const std::vector<IdBlockRow>& blocks, OrgN org, std::uint32_t highest) {
  Lift lift;
  const IdBlockRow* holder = nullptr;
  std::size_t slices = 0;
  for (const IdBlockRow& block : blocks) {
    if (block.ids.first >= posix::kSliceSpace.first) ++slices;
    if (block.ids.contains(highest)) holder = &block;
  }
  if (holder == nullptr) {
    if (!posix::kSliceSpace.contains(highest)) return lift;
    const std::uint32_t index = (highest - posix::kSliceSpace.first) / posix::kSliceSize;
    if (index >= slices + kSlicesAhead) return lift;
    const std::uint32_t first = posix::kSliceSpace.first + index * posix::kSliceSize;
    lift.claim = posix::IdBlock{first, first + posix::kSliceSize - 1};
  } else if (holder->org != org) {
    return lift;
  }
  lift.believed = true;
  for (const IdBlockRow& block : blocks) {
    if (block.org != org || (holder != nullptr && block.n > holder->n)) continue;
    const std::uint32_t next = &block == holder ? highest + 1 : block.ids.last + 1;
    if (block.next < next) lift.next.emplace_back(block.n, next);
  }
  return lift;
}

}  // namespace

/// Whether somebody has an id of the organization's newest block. If nobody does, the block may
/// itself be such a claim, and a second one in a row is not believed.
Result<bool> newest_block_in_use(Tx& tx, const std::vector<IdBlockRow>& blocks, OrgN org) {
  const IdBlockRow* newest = nullptr;
  for (const IdBlockRow& block : blocks) {
    if (block.org == org) newest = &block;
  }
  if (newest == nullptr) return false;
  ASSIGN_OR_RETURN(const auto somebody, tx.query_one(kNumberBetween, integer_column, org,
                                                     newest->ids.first, newest->ids.last));
  return somebody.has_value();
}

Result<LiftNeed> judge_highest_id(Tx& tx, OrgN org, std::uint32_t highest) {
  ASSIGN_OR_RETURN(const std::vector<IdBlockRow> blocks, all_id_blocks(tx));
  const Lift lift = plan_lift(blocks, org, highest);
  if (lift.claim) {
    ASSIGN_OR_RETURN(const bool in_use, newest_block_in_use(tx, blocks, org));
    return in_use ? LiftNeed::kLift : LiftNeed::kNotOurs;
  }
  if (!lift.believed) return LiftNeed::kNotOurs;
  return lift.next.empty() ? LiftNeed::kNone : LiftNeed::kLift;
}

Result<bool> lift_ids(Tx& tx, OrgN org, std::uint32_t highest) {
  ASSIGN_OR_RETURN(const LiftNeed need, judge_highest_id(tx, org, highest));
  if (need != LiftNeed::kLift) return need == LiftNeed::kNone;
  ASSIGN_OR_RETURN(const std::vector<IdBlockRow> blocks, all_id_blocks(tx));
  const Lift lift = plan_lift(blocks, org, highest);
  for (const auto& [block, next] : lift.next) RETURN_IF_ERROR(tx.execute(kSetNext, block, next));
  if (lift.claim) {
    RETURN_IF_ERROR(
        tx.execute(kInsertBlock, org, lift.claim->first, lift.claim->last, highest + 1));
  }
  return true;
}

Result<bool> is_imported(Tx& tx, OrgN org, const std::vector<posix::IdBlock>& admitted,
                         std::uint32_t id) {
  const auto has = [id](const posix::IdBlock& ids) { return ids.contains(id); };
  ASSIGN_OR_RETURN(const std::vector<IdBlockRow> blocks, all_id_blocks(tx));
  if (std::ranges::any_of(blocks, has, &IdBlockRow::ids)) return false;
  if (std::ranges::any_of(admitted, has)) return true;
  ASSIGN_OR_RETURN(const auto owner, tx.query_one(kNumberTaken, integer_column, org, id));
  return owner.has_value();
}

Result<void> fill_id_blocks_below(Tx& tx, OrgN org, std::uint32_t id) {
  ASSIGN_OR_RETURN(const std::vector<IdBlockRow> blocks, all_id_blocks(tx));
  for (const IdBlockRow& block : blocks) {
    if (block.org != org || block.ids.first > id) continue;
    RETURN_IF_ERROR(tx.execute(kSetNext, block.n, block.ids.last + 1));
  }
  return {};
}

}  // namespace roster::directory
