#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

// slurm.conf(5) and slurmdbd.conf(5), which are read alike: one setting a line, names without
// regard to case, '#' begins a comment, a backslash at the end continues the line, of several
// settings of one name the last counts. Pure.

namespace roster::cli {

struct ConfSetting {
  std::string value;     // without quotes
  std::size_t line = 0;  // where it begins, from 1
};

/// Every setting of that name. kFailedPrecondition naming the line for one that cannot be read as
/// one value.
Result<std::vector<ConfSetting>> conf_settings(std::string_view text, std::string_view name);

/// What "Include" lines name, as written.
std::vector<std::string> conf_includes(std::string_view text);

/// What tokens need: AuthAltTypes has auth/jwt, and AuthAltParameters has `option` ("jwks" or
/// "jwt_key") with `path`.
struct JwtSetting {
  std::string_view option;
  std::string path;  // absolute, of [A-Za-z0-9._/+-]
};

/// The two lines as they are where there was nothing.
std::string jwt_lines(const JwtSetting& wanted);

struct ConfChange {
  std::size_t line = 0;  // from 1, of the former text; of an insertion: in front of which
  std::string before;    // without newline at the end; empty: an insertion
  std::string after;
};

struct ConfEdit {
  std::string text;
  std::vector<ConfChange> changes;  // none: it was so already
};

/// Puts that into the text. What else the two settings say stays, and every other byte.
/// kInvalidArgument for a path that needs quotes; kFailedPrecondition naming the line for what
/// Slurm and its operator may read differently: a setting that is there twice, an option that is
/// there twice, more than one value, escapes, a comment within a continued value, and a file that
/// ends in the middle of a continued line.
Result<ConfEdit> add_jwt(std::string_view text, const JwtSetting& wanted);

}  // namespace roster::cli
