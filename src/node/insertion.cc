#include "node/insertion.h"

#include <algorithm>

namespace roster::node {
namespace {

constexpr std::string_view kBegin = "# begin roster-agent setup";
constexpr std::string_view kEnd = "# end roster-agent setup";

std::string block_of(std::string_view body) {
  std::string out(kBegin);
  out += ": changes between these lines are lost\n";
  out += body;
  if (!body.empty() && !body.ends_with('\n')) out += '\n';
  out += kEnd;
  return out;
}

/// Position of the first line from `from` on that begins with `marker`, or npos.
std::size_t find_line(std::string_view text, std::string_view marker, std::size_t from) {
  while (true) {
    const std::size_t at = text.find(marker, from);
    if (at == std::string_view::npos || at == 0 || text[at - 1] == '\n') return at;
    from = at + 1;
  }
}

std::size_t line_end(std::string_view text, std::size_t at) {
  const std::size_t newline = text.find('\n', at);
  return newline == std::string_view::npos ? text.size() : newline + 1;
}

}  // namespace

Edited append_block(std::string_view text, std::string_view body) {
  // Behind a last line without newline the block has none either: taking it out gives back the
  // former end, and lines that somebody appends later stay lines.
  const bool whole = text.empty() || text.ends_with('\n');
  const std::string block = block_of(body);
  Insertion inserted{.database = {}, .text = whole ? block + "\n" : "\n" + block};
  std::string out = std::string(text) + inserted.text;
  return {.text = std::move(out), .insertions = {std::move(inserted)}};
}

Edited prepend_block(std::string_view text, std::string_view body) {
  Insertion inserted{.database = {}, .text = block_of(body) + "\n"};
  std::string out = inserted.text + std::string(text);
  return {.text = std::move(out), .insertions = {std::move(inserted)}};
}

bool has_block(std::string_view text) {
  return find_line(text, kBegin, 0) != std::string_view::npos;
}

Result<std::string> remove_block(std::string_view text, std::span<const Insertion> insertions) {
  std::string out(text);
  for (const Insertion& insertion : insertions) {
    if (insertion.text.empty()) continue;
    const std::size_t at = out.find(insertion.text);
    if (at != std::string::npos) out.erase(at, insertion.text.size());
  }
  const auto torn = [] {
    return fail(Code::kFailedPrecondition,
                "a line \"" + std::string(kBegin) + "\" or \"" + std::string(kEnd) +
                    "\" has lost its partner: remove by hand what remains of the block");
  };
  while (true) {
    const std::size_t begin = find_line(out, kBegin, 0);
    const std::size_t end = find_line(out, kEnd, 0);
    if (begin == std::string::npos && end == std::string::npos) return out;
    if (begin == std::string::npos || end == std::string::npos || end < begin ||
        find_line(out, kBegin, begin + 1) < end) {
      return torn();
    }
    out.erase(begin, line_end(out, end) - begin);
  }
}

}  // namespace roster::node
