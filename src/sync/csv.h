#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace roster::sync {

struct CsvRow {
  std::size_t line = 0;  // where it begins, from 1
  std::vector<std::string> fields;
};

/// Fields in one row, at most.
inline constexpr std::size_t kCsvFieldsMax = 100;

/// RFC 4180: rows end with CRLF or LF, a field in quotes may hold commas, line ends and doubled
/// quotes. A byte order mark before the first row is passed over, and so are empty lines.
/// kInvalidArgument with the line for quotes in the middle of a field or without end, kTooLarge for
/// more than kCsvFieldsMax fields.
Result<std::vector<CsvRow>> parse_csv(std::string_view text);

/// The field as it stands in a row, in quotes where it needs them.
std::string csv_field(std::string_view value);

}  // namespace roster::sync
