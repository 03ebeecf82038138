#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace roster::mirror {

/// A number as Python's int() or, failing that, float() reads it: blanks around it, a sign, digits
/// with single underscores between them, an exponent, "inf", "nan". Nothing for what both refuse.
std::optional<double> python_number(std::string_view text);

/// A configuration file of Python's configparser (its documentation, "Supported INI File
/// Structure"), with its defaults: sections, `key = value` or `key: value`, keys without case,
/// whole-line comments by '#' and ';', values that go on in indented lines, [DEFAULT] as what every
/// section inherits, duplicates refused, and basic interpolation: `%(key)s` is another key's value,
/// `%%` a percent sign, and any other '%' an error.
class PythonIni {
 public:
  struct Limits {
    std::size_t bytes_max = 1 << 20;
    std::size_t value_bytes_max = 64 << 10;  // after interpolation
  };
  static constexpr std::size_t kNestingMax = 10;  // of interpolation, as in Python
  static constexpr std::size_t kStepsMax = 1000;  // of one value's interpolation

  /// kInvalidArgument with the line and what is wrong with it.
  static Result<PythonIni> parse(std::string_view text, const Limits& limits);
  static Result<PythonIni> parse(std::string_view text) { return parse(text, Limits()); }

  /// In the order of the file, without [DEFAULT].
  const std::vector<std::string>& sections() const { return names_; }
  bool has_section(std::string_view name) const { return sections_.contains(name); }
  /// Keys of a section and of [DEFAULT], lower case, sorted; of [DEFAULT] alone when there is no
  /// such section.
  std::vector<std::string> keys(std::string_view section) const;
  /// The interpolated value; nothing when neither the section nor [DEFAULT] has the key.
  /// kInvalidArgument naming section and key when the interpolation fails.
  Result<std::optional<std::string>> get(std::string_view section, std::string_view key) const;

 private:
  using Values = std::map<std::string, std::string, std::less<>>;
  class Reader;

  const std::string* raw(std::string_view section, std::string_view key) const;
  struct Expansion {
    std::string text;
    std::size_t steps = 0;
  };
  Result<void> expand(std::string_view section, std::string_view text, std::size_t depth,
                      Expansion& out) const;

  std::size_t value_bytes_max_ = 0;
  std::vector<std::string> names_;
  std::map<std::string, Values, std::less<>> sections_;
  Values defaults_;
};

}  // namespace roster::mirror
