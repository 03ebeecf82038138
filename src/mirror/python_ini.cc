#include "mirror/python_ini.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <utility>

#include "base/text.h"
#include "base/unicode.h"

namespace roster::mirror {
namespace {

constexpr std::string_view kDefault = "DEFAULT";
constexpr std::string_view kBlanks = " \t\f\v\r";

bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::size_t indentation(std::string_view line) {
  return std::min(line.find_first_not_of(kBlanks), line.size());
}

std::unexpected<Error> bad_line(std::size_t number, std::string_view why) {
  return fail(Code::kInvalidArgument, "line " + std::to_string(number) + ": " + std::string(why));
}

}  // namespace

std::optional<double> python_number(std::string_view text) {
  std::string digits;
  char before = 0;
  text = trim(text, " \t\n\r\f\v");
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char after = i + 1 < text.size() ? text[i + 1] : '\0';
    if (text[i] == '_') {
      if (!is_digit(before) || !is_digit(after)) return std::nullopt;
    } else {
      digits += text[i];
    }
    before = text[i];
  }
  const char* begin = digits.data();
  const char* end = begin + digits.size();
  if (digits.starts_with('+') && !digits.starts_with("+-")) ++begin;
  double number = 0;
  const auto [stop, error] = std::from_chars(begin, end, number);
  if (begin == end || stop != end) return std::nullopt;
  // Python has no bounds here, but zero and infinity.
  if (error == std::errc::result_out_of_range) return std::strtod(begin, nullptr);
  return error == std::errc() ? std::optional(number) : std::nullopt;
}

/// Goes through the lines once. A value is finished when a line comes that does not belong to it.
class PythonIni::Reader {
 public:
  explicit Reader(PythonIni& ini) : ini_(ini) {}

  Result<void> read(std::string_view text) {
    while (!text.empty()) {
      const std::size_t end = text.find('\n');
      ++number_;
      RETURN_IF_ERROR(read_line(text.substr(0, end)));
      text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    }
    finish_value();
    return {};
  }

 private:
  Result<void> read_line(std::string_view line) {
    const std::string_view content = trim(line, kBlanks);
    const bool comment = content.starts_with('#') || content.starts_with(';');
    if (content.empty() || comment) {
      // An empty line may stand inside a value; a comment leaves no trace.
      if (!comment && value_ != nullptr) lines_.emplace_back();
      return {};
    }
    const std::size_t indent = indentation(line);
    if (value_ != nullptr && indent > indent_) {
      lines_.emplace_back(content);
      return {};
    }
    finish_value();
    indent_ = indent;
    if (content.starts_with('[')) return begin_section(content);
    return begin_value(content);
  }

  Result<void> begin_section(std::string_view content) {
    const std::size_t end = content.rfind(']');
    if (end == std::string_view::npos || end == 1) {
      return bad_line(number_, "this is no section: a section is [name]");
    }
    const std::string name(content.substr(1, end - 1));
    if (name == kDefault) {
      section_ = &ini_.defaults_;
      return {};
    }
    const auto [entry, made] = ini_.sections_.try_emplace(name);
    if (!made) return bad_line(number_, "the section [" + name + "] is there twice");
    ini_.names_.push_back(name);
    section_ = &entry->second;
    return {};
  }

  Result<void> begin_value(std::string_view content) {
    if (section_ == nullptr) return bad_line(number_, "a setting before the first [section]");
    const std::size_t at = content.find_first_of("=:");
    const std::string key = ascii_lower(trim(content.substr(0, at), kBlanks));
    if (at == std::string_view::npos || key.empty()) {
      return bad_line(number_, "this is no setting: a setting is key = value");
    }
    const auto [entry, made] = section_->try_emplace(key);
    if (!made) return bad_line(number_, key + " is set twice in this section");
    value_ = &entry->second;
    lines_.emplace_back(trim(content.substr(at + 1), kBlanks));
    return {};
  }

  void finish_value() {
    if (value_ == nullptr) return;
    while (lines_.size() > 1 && lines_.back().empty()) lines_.pop_back();
    for (std::size_t i = 0; i < lines_.size(); ++i) {
      if (i > 0) *value_ += '\n';
      *value_ += lines_[i];
    }
    lines_.clear();
    value_ = nullptr;
  }

  PythonIni& ini_;
  std::size_t number_ = 0;
  Values* section_ = nullptr;
  std::string* value_ = nullptr;    // that is being read
  std::vector<std::string> lines_;  // of it
  std::size_t indent_ = 0;          // of its first line
};

Result<PythonIni> PythonIni::parse(std::string_view text, const Limits& limits) {
  if (text.size() > limits.bytes_max) {
    return fail(Code::kTooLarge,
                "the configuration has more than " + std::to_string(limits.bytes_max) + " bytes");
  }
  if (!is_valid_utf8(text) || text.contains('\0')) {
    return fail(Code::kInvalidArgument, "the configuration is not UTF-8 text");
  }
  PythonIni ini;
  ini.value_bytes_max_ = limits.value_bytes_max;
  RETURN_IF_ERROR(Reader(ini).read(text));
  return ini;
}

std::vector<std::string> PythonIni::keys(std::string_view section) const {
  std::vector<std::string> keys;
  for (const auto& [key, value] : defaults_) keys.push_back(key);
  if (const auto found = sections_.find(section); found != sections_.end()) {
    for (const auto& [key, value] : found->second) keys.push_back(key);
  }
  std::ranges::sort(keys);
  const auto repeated = std::ranges::unique(keys);
  keys.erase(repeated.begin(), repeated.end());
  return keys;
}

const std::string* PythonIni::raw(std::string_view section, std::string_view key) const {
  if (const auto found = sections_.find(section); found != sections_.end()) {
    if (const auto value = found->second.find(key); value != found->second.end()) {
      return &value->second;
    }
  }
  const auto value = defaults_.find(key);
  return value != defaults_.end() ? &value->second : nullptr;
}

Result<std::optional<std::string>> PythonIni::get(std::string_view section,
                                                  std::string_view key) const {
  const std::string* value = raw(section, key);
  if (value == nullptr) return std::nullopt;
  Expansion out;
  if (auto expanded = expand(section, *value, 1, out); !expanded) {
    return fail_in("[" + std::string(section) + "] " + std::string(key), expanded.error());
  }
  return std::move(out.text);
}

Result<void> PythonIni::expand(std::string_view section, std::string_view text, std::size_t depth,
                               Expansion& out) const {
  if (depth > kNestingMax || ++out.steps > kStepsMax) {
    return fail(Code::kInvalidArgument, "%(...)s is nested too deeply, or in a circle");
  }
  while (true) {
    const std::size_t at = text.find('%');
    out.text.append(text.substr(0, at));
    if (out.text.size() > value_bytes_max_) {
      return fail(Code::kTooLarge, "the value becomes too long by its %(...)s");
    }
    if (at == std::string_view::npos) return {};
    text.remove_prefix(at + 1);
    if (text.starts_with('%')) {
      out.text += '%';
      text.remove_prefix(1);
      continue;
    }
    const std::size_t end = text.find(")s");
    if (!text.starts_with('(') || end == std::string_view::npos) {
      return fail(Code::kInvalidArgument,
                  "a '%' stands before neither '%' nor '(': write %% for a percent sign");
    }
    const std::string key = ascii_lower(text.substr(1, end - 1));
    const std::string* value = raw(section, key);
    if (value == nullptr) {
      return fail(Code::kInvalidArgument, "%(" + key + ")s: there is no such setting");
    }
    RETURN_IF_ERROR(expand(section, *value, depth + 1, out));
    text.remove_prefix(end + 2);
  }
}

}  // namespace roster::mirror
