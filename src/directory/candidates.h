#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "directory/types.h"
#include "store/database.h"

namespace roster::directory {

struct Candidate {
  std::string id;
  std::int64_t n = 0;
};

/// Row numbers in order of id, each once, of those behind `after_id`.
std::vector<std::int64_t> numbers_behind(std::vector<Candidate> candidates,
                                         std::string_view after_id);

/// The users or groups behind `after_id` that conditions leave, as numbers_behind(): found by the
/// index of the most telling condition. Others are left to the caller's evaluator, except kMember
/// of groups, which always holds for all that is returned. Nothing when no index narrows to
/// kCandidatesMax, one of a range or a prefix to `range_max`: walk all.
/// `kind`: row::kUser or row::kGroup.
Result<std::optional<std::vector<std::int64_t>>> find_candidates(
    store::Tx& tx, int kind, const Actor& actor, OrgN org, std::span<const Condition> conditions,
    std::string_view after_id, std::size_t range_max);

/// A member by SCIM id.
struct MemberRef {
  int kind = 0;
  std::int64_t n = 0;
};
Result<std::optional<MemberRef>> resolve_member(store::Tx& tx, OrgN org, std::string_view id);

}  // namespace roster::directory
