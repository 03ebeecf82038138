#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace roster::nsscache {

using ByteSink = std::function<Result<void>(std::string_view bytes)>;

/// One map as libnss-cache reads it: a line for each entry, as in passwd(5), group(5) and
/// shadow(5), and indexes beside it (nss_cache.c of libnss-cache: files
/// `<map>.cache.ix<attribute>`). What is written is byte for byte what nsscache writes, but that
/// offsets count bytes, where nsscache counts characters.
class TextMap {
 public:
  /// `sink` gets the lines in large pieces.
  explicit TextMap(ByteSink sink);

  /// So many entries are to come.
  void reserve(std::size_t entries) { entries_.reserve(entries); }
  /// `write(std::string& out)` appends a line without its newline; `name` is its first field,
  /// `number` its uid or gid. `name` must live until the indexes are written.
  template <typename Write>
  Result<void> add(std::string_view name, std::uint32_t number, const Write& write) {
    note_entry(name, number);
    const std::size_t before = buffer_.size();
    write(buffer_);
    buffer_ += '\n';
    offset_ += buffer_.size() - before;
    return buffer_.size() < kPieceBytes ? Result<void>() : flush();
  }
  Result<void> add(std::string_view line, std::string_view name, std::uint32_t number) {
    return add(name, number, [line](std::string& out) { out.append(line); });
  }
  /// After the last line.
  Result<void> flush();

  std::size_t entries() const { return entries_.size(); }

  /// Every index line is "key NUL offset NUL padding newline", all of one length, rising by the
  /// keys' bytes; of equal keys the last line counts.
  Result<void> write_name_index(const ByteSink& sink);
  Result<void> write_number_index(const ByteSink& sink);

 private:
  static constexpr std::size_t kPieceBytes = 256 << 10;

  void note_entry(std::string_view name, std::uint32_t number);

  struct Entry {
    std::string_view name;
    std::uint32_t number;
    std::uint64_t offset;
  };

  /// An entry of an index, and what decides its place for the most part.
  struct Key {
    std::uint64_t word;
    std::uint32_t entry;
    auto operator<=>(const Key&) const = default;
  };
  template <typename Field, typename Print>
  Result<void> write_index(const std::vector<Key>& keys, const ByteSink& sink, Field Entry::* field,
                           const Print& print) const;

  ByteSink sink_;
  std::string buffer_;
  std::uint64_t offset_ = 0;
  std::vector<Entry> entries_;
};

/// A text as Python's repr() writes it: what nsscache puts into the sshkey map. The quotes are
/// double ones when the text has single ones only; backslashes, control characters and what
/// Unicode does not count as printable are escaped.
std::string python_repr(std::string_view text);
void append_python_repr(std::string& out, std::string_view text);

}  // namespace roster::nsscache
