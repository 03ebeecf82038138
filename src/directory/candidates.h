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

/// Beyond this many, narrowing is not worth it and a walk of all is as good.
inline constexpr std::size_t kCandidatesMax = 100'000;

/// The users or groups that conditions leave, in order of id: found by the index of the most
/// telling condition. Others are left to the caller's evaluator, except kMember of groups, which
/// always holds for all that is returned. Nothing when no index narrows: walk all. `kind`:
/// row::kUser or row::kGroup.
Result<std::optional<std::vector<Candidate>>> find_candidates(
    store::Tx& tx, int kind, const Actor& actor, OrgN org, std::span<const Condition> conditions);

/// The page of candidates after `after_id`.
struct CandidatePage {
  std::vector<std::int64_t> numbers;
  bool more = false;
};
CandidatePage candidate_page(const std::vector<Candidate>& candidates, std::string_view after_id,
                             std::size_t limit);

/// A member by SCIM id.
struct MemberRef {
  int kind = 0;
  std::int64_t n = 0;
};
Result<std::optional<MemberRef>> resolve_member(store::Tx& tx, OrgN org, std::string_view id);

}  // namespace roster::directory
