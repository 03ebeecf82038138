#include "store/sql_text.h"

#include <algorithm>
#include <cstddef>

namespace roster::store {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool continues_name(char c) {
  const auto u = static_cast<unsigned char>(c);
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '_' || c == '$' ||
         u >= 0x80;
}

/// End of the quoted text that starts at `start`. A doubled quote is two adjoining texts to us,
/// which comes to the same.
std::size_t quoted_end(std::string_view sql, std::size_t start) {
  const char quote = sql[start] == '[' ? ']' : sql[start];
  const std::size_t end = sql.find(quote, start + 1);
  return end == std::string_view::npos ? sql.size() : end + 1;
}

/// End of the literal, name or comment that starts at `start`; `start` itself when none does.
std::size_t opaque_end(std::string_view sql, std::size_t start) {
  const char c = sql[start];
  if (c == '\'' || c == '"' || c == '`' || c == '[') return quoted_end(sql, start);
  if (sql.substr(start, 2) == "--") return std::min(sql.find('\n', start), sql.size());
  if (sql.substr(start, 2) == "/*") {
    const std::size_t end = sql.find("*/", start + 2);
    return end == std::string_view::npos ? sql.size() : end + 2;
  }
  std::size_t end = start;
  if (c != '$') {
    while (end < sql.size() && continues_name(sql[end])) ++end;
  }
  return end;
}

}  // namespace

NumberedSql number_parameters(std::string_view sql) {
  NumberedSql out;
  out.sql.reserve(sql.size());
  std::size_t at = 0;
  while (at < sql.size()) {
    if (const std::size_t end = opaque_end(sql, at); end > at) {
      out.sql.append(sql, at, end - at);
      at = end;
      continue;
    }
    if (sql[at] != '$' || at + 1 == sql.size() || !is_digit(sql[at + 1])) {
      out.sql += sql[at++];
      continue;
    }
    int number = 0;
    out.sql += '?';
    for (++at; at < sql.size() && is_digit(sql[at]); ++at) {
      out.sql += sql[at];
      number = std::min(number * 10 + (sql[at] - '0'), 100'000);
    }
    out.parameters_max = std::max(out.parameters_max, number);
  }
  return out;
}

}  // namespace roster::store
