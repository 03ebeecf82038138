#include "nsscache/text_map.h"

#include <endian.h>
#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <utility>

namespace roster::nsscache {
namespace {

std::size_t digits(std::uint64_t number) {
  std::size_t count = 1;
  while (number >= 10) {
    number /= 10;
    ++count;
  }
  return count;
}

/// The first bytes of a text, so that words rise as the texts do.
std::uint64_t word_of(std::string_view text) {
  std::uint64_t word = 0;
  if (text.empty()) return word;
  std::memcpy(&word, text.data(), std::min(text.size(), sizeof word));
  return be64toh(word);
}

std::string_view text_of(std::uint32_t number, std::array<char, 10>& text) {
  const auto [end, error] = std::to_chars(text.data(), text.data() + text.size(), number);
  return {text.data(), static_cast<std::size_t>(end - text.data())};
}

/// All digits of a number, so that words rise as its texts do.
std::uint64_t word_of(std::uint32_t number) {
  constexpr unsigned kBits = 4;
  std::array<char, 10> text;
  std::uint64_t word = 0;
  unsigned left = 64;
  for (const char digit : text_of(number, text)) {
    left -= kBits;
    word |= static_cast<std::uint64_t>(digit - '0' + 1) << left;
  }
  return word;
}

}  // namespace

TextMap::TextMap(ByteSink sink) : sink_(std::move(sink)) { buffer_.reserve(kPieceBytes * 2); }

void TextMap::note_entry(std::string_view name, std::uint32_t number) {
  // Of an entry with several lines the index leads to the first.
  if (entries_.empty() || entries_.back().name != name) {
    entries_.push_back({name, number, offset_});
  }
}

Result<void> TextMap::flush() {
  if (buffer_.empty()) return {};
  auto written = sink_(buffer_);
  buffer_.clear();
  return written;
}

/// Most names differ in the word behind what all of them begin with; where not, themselves count.
Result<void> TextMap::write_name_index(const ByteSink& sink) {
  std::string_view common = entries_.empty() ? std::string_view() : entries_.front().name;
  for (const Entry& entry : entries_) {
    if (entry.name.starts_with(common)) continue;
    const auto* differ = std::ranges::mismatch(common, entry.name).in1;
    common = common.substr(0, static_cast<std::size_t>(differ - common.begin()));
  }
  std::vector<Key> keys;
  keys.reserve(entries_.size());
  for (const Entry& entry : entries_) {
    keys.push_back(
        {word_of(entry.name.substr(common.size())), static_cast<std::uint32_t>(keys.size())});
  }
  const auto rises = [this](const Key& a, const Key& b) {
    if (a.word != b.word) return a.word < b.word;
    const int order = entries_[a.entry].name.compare(entries_[b.entry].name);
    return order != 0 ? order < 0 : a.entry < b.entry;
  };
  if (!std::ranges::is_sorted(keys, rises)) std::ranges::sort(keys, rises);
  return write_index(keys, sink, &Entry::name, [](std::string_view name) { return name; });
}

Result<void> TextMap::write_number_index(const ByteSink& sink) {
  std::vector<Key> keys;
  keys.reserve(entries_.size());
  for (const Entry& entry : entries_) {
    keys.push_back({word_of(entry.number), static_cast<std::uint32_t>(keys.size())});
  }
  if (!std::ranges::is_sorted(keys)) std::ranges::sort(keys);
  std::array<char, 10> text;
  return write_index(keys, sink, &Entry::number,
                     [&text](std::uint32_t number) { return text_of(number, text); });
}

/// `keys` sorted, equal ones in the order of their lines; `field` is what they are made of, and
/// `print` gives its text.
template <typename Field, typename Print>
Result<void> TextMap::write_index(const std::vector<Key>& keys, const ByteSink& sink,
                                  Field Entry::* field, const Print& print) const {
  std::size_t key_bytes = 0;
  std::uint64_t offset_max = 0;
  for (const Key& key : keys) {
    key_bytes = std::max(key_bytes, print(entries_[key.entry].*field).size());
    offset_max = std::max(offset_max, entries_[key.entry].offset);
  }
  std::string line(key_bytes + digits(offset_max) + 3, '\0');
  line.back() = '\n';
  std::string piece;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const Entry& entry = entries_[keys[i].entry];
    if (i + 1 < keys.size() && keys[i + 1].word == keys[i].word &&
        entries_[keys[i + 1].entry].*field == entry.*field) {
      continue;
    }
    char* const end = line.data() + line.size() - 1;
    char* to = std::ranges::copy(print(entry.*field), line.data()).out;
    *to++ = '\0';
    to = std::to_chars(to, end, entry.offset).ptr;
    std::fill(to, end, '\0');
    piece += line;
    if (piece.size() < kPieceBytes) continue;
    RETURN_IF_ERROR(sink(piece));
    piece.clear();
  }
  return piece.empty() ? Result<void>() : sink(piece);
}

namespace {

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

std::string python_repr(std::string_view text) {
  std::string out;
  append_python_repr(out, text);
  return out;
}

void append_python_repr(std::string& out, std::string_view text) {
  bool all_plain = true;  // without a way out early, so that it is done many bytes at a time
  for (const char c : text) all_plain &= c >= 0x20 && c <= 0x7e && c != '\'' && c != '\\';
  if (all_plain) {
    out.append("'").append(text).append("'");
    return;
  }
  const char quote = text.contains('\'') && !text.contains('"') ? '"' : '\'';
  out += quote;
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
  out += quote;
}

}  // namespace roster::nsscache
