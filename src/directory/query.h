#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "store/database.h"

namespace roster::directory {

/// A query over a set of numbers, `... IN ($k, $k+1, ...) ...`, in a few fixed sizes, so that each
/// is prepared once; a smaller set is filled up by repeating its last number.
class SetStatement {
 public:
  /// `head` ends before the list, `tail` begins after it; `leading` parameters $1.. stand before.
  SetStatement(std::string_view name, std::string_view head, std::size_t leading,
               std::string_view tail);

  /// Any number of `numbers`; the order of rows is by set of 1,000, then as the query says.
  Result<void> query(store::Tx& tx, std::initializer_list<store::Param> leading,
                     std::span<const std::int64_t> numbers, const store::RowFn& fn) const;

 private:
  struct Size {
    std::size_t numbers;
    std::string sql;
  };
  std::string_view name_;
  std::size_t leading_;
  std::vector<Size> sizes_;
};

/// The first text after all texts that begin with `prefix`, in the order of code points (which is
/// that of UTF-8 bytes); nothing when there is none. `prefix` is UTF-8.
std::optional<std::string> prefix_end(std::string_view prefix);

}  // namespace roster::directory
