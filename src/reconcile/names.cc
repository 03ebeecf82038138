#include "reconcile/names.h"

#include <string_view>
#include <unordered_map>
#include <unordered_set>

namespace roster::reconcile {
namespace {

/// Who must move first, of each: moves form paths and circles, because names are given up and
/// wanted by one at most.
struct Chains {
  static constexpr std::size_t kNobody = static_cast<std::size_t>(-1);
  static constexpr std::size_t kStays = static_cast<std::size_t>(-2);
  std::vector<std::size_t> first;  // the move that frees `to`, kNobody or kStays
};

Chains chains_of(const std::vector<Move>& moves, const std::vector<std::string>& taken) {
  const std::unordered_set<std::string_view> held(taken.begin(), taken.end());
  std::unordered_map<std::string_view, std::size_t> giving_up;
  for (std::size_t i = 0; i < moves.size(); ++i) {
    if (moves[i].from) giving_up.emplace(*moves[i].from, i);
  }
  Chains chains;
  for (const Move& move : moves) {
    const auto found = giving_up.find(move.to);
    if (found != giving_up.end()) {
      chains.first.push_back(found->second);
    } else {
      chains.first.push_back(held.contains(move.to) ? Chains::kStays : Chains::kNobody);
    }
  }
  return chains;
}

}  // namespace

std::vector<Turn> order_moves(const std::vector<Move>& moves,
                              const std::vector<std::string>& taken) {
  const Chains chains = chains_of(moves, taken);
  std::vector<Turn> turns(moves.size());
  std::vector<bool> known(moves.size());
  std::vector<std::size_t> path;
  for (std::size_t start = 0; start < moves.size(); ++start) {
    path.clear();
    std::size_t at = start;
    while (at != Chains::kNobody && at != Chains::kStays && !known[at]) {
      known[at] = true;
      path.push_back(at);
      at = chains.first[at];
      if (at == start) break;
    }
    if (path.empty()) continue;
    std::size_t level = 0;
    if (at == start) {
      // The first of the circle is parked, which frees its name for the last; it comes in at the
      // end, when the one it waited for has moved.
      turns[start].parked = true;
      level = 1;
      for (std::size_t i = path.size(); i-- > 1;) turns[path[i]].level = level++;
      turns[start].level = level;
      continue;
    }
    if (at == Chains::kStays) {
      level = Turn::kNever;
    } else if (at != Chains::kNobody) {
      level = turns[at].level == Turn::kNever ? Turn::kNever : turns[at].level + 1;
    }
    for (std::size_t i = path.size(); i-- > 0;) {
      turns[path[i]].level = level;
      if (level != Turn::kNever) ++level;
    }
  }
  return turns;
}

}  // namespace roster::reconcile
