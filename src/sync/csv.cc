#include "sync/csv.h"

#include <algorithm>
#include <utility>

namespace roster::sync {
namespace {

std::unexpected<Error> bad(Code code, std::size_t line, const char* what) {
  return fail(code, "line " + std::to_string(line) + ": " + what);
}

class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  Result<std::vector<CsvRow>> read() {
    if (text_.starts_with("\xEF\xBB\xBF")) at_ = 3;
    std::vector<CsvRow> rows;
    while (at_ < text_.size()) {
      if (end_of_line()) continue;
      ASSIGN_OR_RETURN(CsvRow row, read_row());
      rows.push_back(std::move(row));
    }
    return rows;
  }

 private:
  /// Passes over the end of a line, if one is next.
  bool end_of_line() {
    const std::string_view rest = text_.substr(at_);
    const std::size_t bytes = rest.starts_with("\r\n") ? 2 : rest.starts_with('\n') ? 1 : 0;
    at_ += bytes;
    line_ += bytes > 0 ? 1 : 0;
    return bytes > 0;
  }

  Result<CsvRow> read_row() {
    CsvRow row{line_, {}};
    for (;;) {
      if (row.fields.size() == kCsvFieldsMax) return bad(Code::kTooLarge, line_, "too many fields");
      ASSIGN_OR_RETURN(std::string field, read_field());
      row.fields.push_back(std::move(field));
      if (at_ == text_.size() || end_of_line()) return row;
      ++at_;  // the comma
    }
  }

  /// Up to the comma, end of line or end of text behind it.
  Result<std::string> read_field() {
    if (at_ < text_.size() && text_[at_] == '"') return read_quoted();
    std::size_t end = text_.find_first_of(",\n\"", at_);
    if (end == std::string_view::npos) end = text_.size();
    if (end < text_.size() && text_[end] == '"') {
      return bad(Code::kInvalidArgument, line_, "a quote in the middle of a field");
    }
    std::string field(text_.substr(at_, end - at_));
    at_ = end;
    if (field.ends_with('\r') && end < text_.size() && text_[end] == '\n') {
      field.pop_back();
      --at_;
    }
    return field;
  }

  Result<std::string> read_quoted() {
    const std::size_t begin = line_;
    std::string field;
    ++at_;
    for (;;) {
      const std::size_t quote = text_.find('"', at_);
      if (quote == std::string_view::npos) {
        return bad(Code::kInvalidArgument, begin, "a quote that does not end");
      }
      const std::string_view part = text_.substr(at_, quote - at_);
      field += part;
      line_ += static_cast<std::size_t>(std::ranges::count(part, '\n'));
      at_ = quote + 1;
      if (!text_.substr(at_).starts_with('"')) break;
      field += '"';
      ++at_;
    }
    const std::string_view rest = text_.substr(at_);
    if (!rest.empty() && !rest.starts_with(',') && !rest.starts_with('\n') &&
        !rest.starts_with("\r\n")) {
      return bad(Code::kInvalidArgument, line_, "text behind the quote that ends a field");
    }
    return field;
  }

  const std::string_view text_;
  std::size_t at_ = 0;
  std::size_t line_ = 1;
};

}  // namespace

Result<std::vector<CsvRow>> parse_csv(std::string_view text) {
  if (!text.empty() && !text.ends_with('\n')) {
    return fail(Code::kInvalidArgument, "ends inside a line: it is not whole");
  }
  return Reader(text).read();
}

std::string csv_field(std::string_view value) {
  if (value.find_first_of(",\"\r\n") == std::string_view::npos) return std::string(value);
  std::string out = "\"";
  for (const char c : value) {
    if (c == '"') out += '"';
    out += c;
  }
  return out + '"';
}

}  // namespace roster::sync
