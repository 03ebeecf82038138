#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace roster::reconcile {

/// One record that gets a name: a new one, or one that gives up `from`. Names are compared as
/// given, so fold them first (case_key). Nobody else of the list wants the same `to`.
struct Move {
  std::optional<std::string> from;
  std::string to;
};

/// When a move can be made.
struct Turn {
  static constexpr std::size_t kNever = static_cast<std::size_t>(-1);
  std::size_t level = 0;  // after all moves of lower levels; kNever: the name is not given up
  bool parked = false;    // first to a name that nobody has: it is part of a circle
};

/// Orders moves so that each finds its name free. `taken`: what is held now, by those who move and
/// those who do not. In a circle (a takes b's name, b takes a's) one is parked.
std::vector<Turn> order_moves(const std::vector<Move>& moves,
                              const std::vector<std::string>& taken);

}  // namespace roster::reconcile
