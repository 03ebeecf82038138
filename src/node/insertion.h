#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

// Edits of files that belong to the operator. All are insertions whose bytes are remembered, so
// that they can be taken out again and nothing else changes. Pure.

namespace roster::node {

/// `text` was inserted: into the line of an nsswitch.conf `database`, or, when that is empty,
/// anywhere as a whole.
struct Insertion {
  std::string database;
  std::string text;
  bool operator==(const Insertion&) const = default;
};

struct Edited {
  std::string text;
  std::vector<Insertion> insertions;  // what `text` has beyond the input
};

/// Inserts `body` (whole lines) between marker lines, at the end of `text` or in front of it. A
/// last line without newline stays without one.
Edited append_block(std::string_view text, std::string_view body);
Edited prepend_block(std::string_view text, std::string_view body);

/// Takes a block out: the remembered bytes when they are there, else everything from a begin marker
/// to its end marker, also when nothing is remembered. kFailedPrecondition when a marker has no
/// partner: somebody cut into the block, and only they know what belongs to it.
Result<std::string> remove_block(std::string_view text, std::span<const Insertion> insertions);

/// Whether there is a line with the begin marker.
bool has_block(std::string_view text);

}  // namespace roster::node
