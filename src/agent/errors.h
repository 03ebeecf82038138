#pragma once

#include <string_view>
#include <utility>

#include "base/result.h"

namespace roster::agent {

/// Keyword of the error that a transfer gets when a local rule took it along, in vain or
/// unfinished: nothing of it is published and it begins anew.
inline constexpr std::string_view kInterrupted = "interrupted";
/// Keywords of what is refused: an operator must look.
inline constexpr std::string_view kShrinks = "shrinks";
inline constexpr std::string_view kClash = "clash";
inline constexpr std::string_view kGoesBack = "goes_back";
/// Keyword of what fails on this node's side, such as a full or damaged disk.
inline constexpr std::string_view kLocal = "local";

/// A disk of this node that is full, read-only or damaged is not a hub that cannot be reached or is
/// refused: whatever fails was asked of this node alone. A keyword that says more is kept.
template <typename T>
[[nodiscard]] Result<T> on_this_node(Result<T> result) {
  if (!result && result.error().keyword.empty()) result.error().keyword = kLocal;
  return result;
}

}  // namespace roster::agent
