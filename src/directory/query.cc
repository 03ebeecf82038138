#include "directory/query.h"

#include <array>

namespace roster::directory {
namespace {

constexpr std::array<std::size_t, 4> kSizes{1, 16, 256, 1000};

}  // namespace

SetStatement::SetStatement(std::string_view name, std::string_view head, std::size_t leading,
                           std::string_view tail)
    : name_(name), leading_(leading) {
  for (const std::size_t size : kSizes) {
    std::string sql(head);
    sql += '(';
    for (std::size_t i = 1; i <= size; ++i) {
      if (i > 1) sql += ',';
      sql += '$' + std::to_string(leading + i);
    }
    sql += ')';
    sql += tail;
    sizes_.push_back({size, std::move(sql)});
  }
}

Result<void> SetStatement::query(store::Tx& tx, std::initializer_list<store::Param> leading,
                                 std::span<const std::int64_t> numbers,
                                 const store::RowFn& fn) const {
  CHECK(leading.size() == leading_);
  std::vector<store::Param> params;
  while (!numbers.empty()) {
    const Size* size = &sizes_.back();
    for (const Size& candidate : sizes_) {
      if (numbers.size() <= candidate.numbers) {
        size = &candidate;
        break;
      }
    }
    const std::size_t taken = std::min(numbers.size(), size->numbers);
    params.assign(leading);
    for (std::size_t i = 0; i < size->numbers; ++i) {
      params.emplace_back(numbers[std::min(i, taken - 1)]);
    }
    RETURN_IF_ERROR(tx.query_bound({name_, size->sql}, params, fn));
    numbers = numbers.subspan(taken);
  }
  return {};
}

std::optional<std::string> prefix_end(std::string_view prefix) {
  std::string end(prefix);
  while (!end.empty()) {
    std::size_t start = end.size() - 1;
    while (start > 0 && (static_cast<unsigned char>(end[start]) & 0xC0) == 0x80) --start;
    char32_t code = static_cast<unsigned char>(end[start]);
    if (code >= 0x80) {
      const std::size_t size = end.size() - start;
      code &= size == 2 ? 0x1FU : size == 3 ? 0x0FU : 0x07U;
      for (std::size_t i = start + 1; i < end.size(); ++i) {
        code = code << 6 | (static_cast<unsigned char>(end[i]) & 0x3FU);
      }
    }
    end.resize(start);
    if (code >= 0x10FFFF) continue;  // the last of all: the character before it rises
    code = code == 0xD7FF ? 0xE000 : code + 1;
    const auto byte = [&end](char32_t bits) { end += static_cast<char>(bits); };
    if (code < 0x80) {
      byte(code);
    } else if (code < 0x800) {
      byte(0xC0 | code >> 6);
      byte(0x80 | (code & 0x3F));
    } else if (code < 0x10000) {
      byte(0xE0 | code >> 12);
      byte(0x80 | (code >> 6 & 0x3F));
      byte(0x80 | (code & 0x3F));
    } else {
      byte(0xF0 | code >> 18);
      byte(0x80 | (code >> 12 & 0x3F));
      byte(0x80 | (code >> 6 & 0x3F));
      byte(0x80 | (code & 0x3F));
    }
    return end;
  }
  return std::nullopt;
}

}  // namespace roster::directory
