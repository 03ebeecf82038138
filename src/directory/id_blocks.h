#pragma once

#include <cstdint>
#include <vector>

#include "directory/types.h"
#include "posix/id_ranges.h"
#include "store/database.h"

namespace roster::directory {

/// A block of one organization: the blocks of a hub are disjoint, and each organization takes its
/// ids from its own in the order of n.
struct IdBlockRow {
  std::int64_t n = 0;
  OrgN org = 0;
  posix::IdBlock ids;
  std::uint32_t next = 0;  // last + 1: full
};
/// Of all organizations, in order of n.
Result<std::vector<IdBlockRow>> all_id_blocks(store::Tx& tx);

/// The next number of the organization that nobody has, not even an import. A further block is
/// taken when the present ones are full; kFailedPrecondition when all ids of the hub are given out.
Result<std::uint32_t> take_number(store::Tx& tx, OrgN org);

/// Gives an organization its next block of ids.
Result<void> add_id_block(store::Tx& tx, OrgN org);

/// One that the operator chose. kInvalidArgument when ids may not be allocated from it,
/// kAlreadyExists when it meets a block of any organization.
Result<void> add_id_block(store::Tx& tx, OrgN org, posix::IdBlock ids);

/// No more ids from this block of the organization: it is given back when nobody has one of it or
/// ever had, else it counts as full. kNotFound.
Result<void> close_id_block(store::Tx& tx, OrgN org, posix::IdBlock ids);

/// What an id that a node has seen asks for.
enum class LiftNeed {
  kNone,     // no id up to it would be given out anyway
  kLift,     // lift_ids()
  kNotOurs,  // it does not come from this organization
};
Result<LiftNeed> judge_highest_id(store::Tx& tx, OrgN org, std::uint32_t highest);

/// Makes sure that no id up to `highest` is given out (again) in this organization: `highest` was
/// seen on a node. A block that holds it goes on above it, and blocks filled before that one count
/// as full. An id of a slice that nobody has, close to those in use, takes that slice; anything
/// else does not come from here and changes nothing: false.
Result<bool> lift_ids(store::Tx& tx, OrgN org, std::uint32_t highest);

/// Whether an id is outside of all blocks, and somebody has it or an import may bring it.
Result<bool> is_imported(store::Tx& tx, OrgN org, const std::vector<posix::IdBlock>& admitted,
                         std::uint32_t id);

/// No more ids from blocks of the organization that begin below `id`.
Result<void> fill_id_blocks_below(store::Tx& tx, OrgN org, std::uint32_t id);

}  // namespace roster::directory
