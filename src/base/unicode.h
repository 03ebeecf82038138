#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace roster {

/// Whether the bytes are well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms).
bool is_valid_utf8(std::string_view text);

/// Key for case-insensitive comparison and uniqueness: NFKC casefold (Unicode UAX #31,
/// NFKC_Casefold), the same on every engine. kInvalidArgument when not UTF-8.
Result<std::string> case_key(std::string_view text);

/// The text in lower case, letter by letter; nothing when more than case could be lost: it is not
/// in NFC, or one of its letters is not the only upper case of its lower case ("\u0130"). What
/// equals such a text in all but case has the same; what merely compares equal (case_key) has not.
std::optional<std::string> plain_lower(std::string_view text);

/// NFKD, combining marks dropped, lower case: the first step from a display form to a POSIX name.
Result<std::string> fold_to_base_letters(std::string_view text);

/// Whether all of it is space to '~'.
bool is_printable_ascii(std::string_view text);

/// Whether there is a control character (C0, DEL, C1).
bool has_control_characters(std::string_view text);

/// The text with '?' for every control character (C0, DEL, C1), so that a name from outside cannot
/// drive a terminal.
std::string printable(std::string_view text);

/// ASCII only, for protocol keywords, header names, attribute names.
std::string ascii_lower(std::string_view text);
bool ascii_iequals(std::string_view a, std::string_view b);

}  // namespace roster
