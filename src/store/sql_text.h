#pragma once

#include <string>
#include <string_view>

namespace roster::store {

/// SQL in SQLite's form of numbered parameters.
struct NumberedSql {
  std::string sql;
  int parameters_max = 0;  // highest number, 0 when there is none
};

/// `$3` becomes `?3` outside of string literals, quoted names and comments.
/// SQLite takes `$3` for a name and numbers names in the order of their first occurrence, so that
/// "... SET a = $2 WHERE n = $1" would silently bind the wrong values.
NumberedSql number_parameters(std::string_view sql);

}  // namespace roster::store
