#include "nsscache/text_map.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <utility>

namespace roster::nsscache {
namespace {

constexpr std::size_t kPieceBytes = 256 << 10;

struct Key {
  std::string_view text;
  std::uint64_t offset;
  auto operator<=>(const Key&) const = default;
};

std::size_t digits(std::uint64_t number) {
  std::size_t count = 1;
  while (number >= 10) {
    number /= 10;
    ++count;
  }
  return count;
}

void append_number(std::string& out, std::uint64_t number) {
  std::array<char, 20> text{};
  const auto [end, error] = std::to_chars(text.data(), text.data() + text.size(), number);
  out.append(text.data(), static_cast<std::size_t>(end - text.data()));
}

/// `keys` sorted, equal ones in the order of their lines.
Result<void> write_index(const std::vector<Key>& keys, const ByteSink& sink) {
  std::size_t key_bytes = 0;
  std::size_t offset_bytes = 0;
  for (const Key& key : keys) {
    key_bytes = std::max(key_bytes, key.text.size());
    offset_bytes = std::max(offset_bytes, digits(key.offset));
  }
  std::string piece;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const Key& key = keys[i];
    if (i + 1 < keys.size() && keys[i + 1].text == key.text) continue;
    piece.append(key.text) += '\0';
    append_number(piece, key.offset);
    piece += '\0';
    piece.append(key_bytes + offset_bytes - key.text.size() - digits(key.offset), '\0');
    piece += '\n';
    if (piece.size() < kPieceBytes) continue;
    RETURN_IF_ERROR(sink(piece));
    piece.clear();
  }
  return piece.empty() ? Result<void>() : sink(piece);
}

/// As str.isprintable(): letters, marks, numbers, punctuation, symbols and the plain space.
bool is_printable(utf8proc_int32_t codepoint) {
  switch (utf8proc_category(codepoint)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return false;
    case UTF8PROC_CATEGORY_ZS:
      return codepoint == ' ';
    default:
      return true;
  }
}

void append_escape(std::string& out, utf8proc_int32_t codepoint) {
  std::array<char, 12> text{};
  const char* form = codepoint < 0x100 ? "\\x%02x" : codepoint < 0x10000 ? "\\u%04x" : "\\U%08x";
  const int length =
      std::snprintf(text.data(), text.size(), form, static_cast<unsigned>(codepoint));
  out.append(text.data(), static_cast<std::size_t>(length));
}

}  // namespace

TextMap::TextMap(ByteSink sink) : sink_(std::move(sink)) { buffer_.reserve(kPieceBytes * 2); }

Result<void> TextMap::add(std::string_view line, std::string_view name, std::uint32_t number) {
  // Of an entry with several lines the index leads to the first.
  if (entries_.empty() || entries_.back().name != name) {
    entries_.push_back({name, number, offset_});
  }
  buffer_.append(line) += '\n';
  offset_ += line.size() + 1;
  return buffer_.size() < kPieceBytes ? Result<void>() : flush();
}

Result<void> TextMap::flush() {
  if (buffer_.empty()) return {};
  auto written = sink_(buffer_);
  buffer_.clear();
  return written;
}

Result<void> TextMap::write_name_index(const ByteSink& sink) {
  std::vector<Key> keys;
  keys.reserve(entries_.size());
  for (const Entry& entry : entries_) keys.push_back({entry.name, entry.offset});
  std::ranges::sort(keys);
  return write_index(keys, sink);
}

Result<void> TextMap::write_number_index(const ByteSink& sink) {
  constexpr std::size_t kDigits = 10;  // of the largest
  std::vector<std::array<char, kDigits>> texts(entries_.size());
  std::vector<Key> keys;
  keys.reserve(entries_.size());
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    char* begin = texts[i].data();
    const auto [end, error] = std::to_chars(begin, begin + kDigits, entries_[i].number);
    keys.push_back({{begin, static_cast<std::size_t>(end - begin)}, entries_[i].offset});
  }
  std::ranges::sort(keys);
  return write_index(keys, sink);
}

std::string python_repr(std::string_view text) {
  const char quote = text.contains('\'') && !text.contains('"') ? '"' : '\'';
  std::string out(1, quote);
  out.reserve(text.size() + 2);
  while (!text.empty()) {
    // Most of it is plain.
    const auto* special = std::ranges::find_if(
        text, [quote](char c) { return c < 0x20 || c > 0x7e || c == quote || c == '\\'; });
    const auto plain = static_cast<std::size_t>(special - text.begin());
    out.append(text.substr(0, plain));
    text.remove_prefix(plain);
    if (text.empty()) break;
    utf8proc_int32_t codepoint = 0;
    const utf8proc_ssize_t bytes =
        utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                         static_cast<utf8proc_ssize_t>(text.size()), &codepoint);
    const std::string_view character =
        text.substr(0, bytes > 0 ? static_cast<std::size_t>(bytes) : 1);
    text.remove_prefix(character.size());
    if (character[0] == quote || character[0] == '\\') {
      out.append("\\").append(character);
    } else if (character[0] == '\n') {
      out += "\\n";
    } else if (character[0] == '\r') {
      out += "\\r";
    } else if (character[0] == '\t') {
      out += "\\t";
    } else if (bytes <= 0) {
      append_escape(out, static_cast<unsigned char>(character[0]));
    } else if (is_printable(codepoint)) {
      out.append(character);
    } else {
      append_escape(out, codepoint);
    }
  }
  return out += quote;
}

}  // namespace roster::nsscache
