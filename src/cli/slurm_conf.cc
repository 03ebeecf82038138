#include "cli/slurm_conf.h"

#include <algorithm>
#include <optional>

#include "base/text.h"
#include "base/unicode.h"

namespace roster::cli {
namespace {

constexpr std::string_view kTypes = "AuthAltTypes";
constexpr std::string_view kParameters = "AuthAltParameters";
constexpr std::string_view kPlugin = "auth/jwt";
constexpr std::string_view kInclude = "include";

/// isspace(3) of the C locale, as Slurm's parser.
bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

bool is_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '.';
}

/// What Slurm reads as one line.
struct Line {
  std::size_t number = 1;       // of its first line in the file
  std::size_t begin = 0;        // in the file
  std::size_t end = 0;          // behind its newline
  std::string content;          // without comments and continuations
  std::vector<std::size_t> at;  // where each byte of `content` stands in the file
  bool unfinished = false;      // the file ends where it is continued
};

struct Piece {
  std::size_t end = 0;  // of what counts
  bool continued = false;
};

/// One line of the file, from `begin` to its newline at `stop`.
Piece judge_piece(std::string_view text, std::size_t begin, std::size_t stop) {
  std::size_t backslashes = 0;
  std::size_t end = begin;
  for (; end < stop; ++end) {
    if (text[end] == '#' && backslashes % 2 == 0) break;
    backslashes = text[end] == '\\' ? backslashes + 1 : 0;
  }
  std::size_t last = end;
  while (last > begin && is_space(text[last - 1])) --last;
  std::size_t trailing = 0;
  while (last - trailing > begin && text[last - trailing - 1] == '\\') ++trailing;
  if (trailing % 2 == 1) return {last - 1, true};
  return {end, false};
}

std::vector<Line> lines_of(std::string_view text) {
  std::vector<Line> out;
  std::size_t at = 0;
  std::size_t number = 1;
  while (at < text.size()) {
    Line line;
    line.number = number;
    line.begin = at;
    bool more = true;
    while (more) {
      const std::size_t newline = std::min(text.find('\n', at), text.size());
      const Piece piece = judge_piece(text, at, newline);
      for (std::size_t i = at; i < piece.end; ++i) {
        line.content += text[i];
        line.at.push_back(i);
      }
      at = std::min(newline + 1, text.size());
      ++number;
      more = piece.continued && at < text.size();
      line.unfinished = piece.continued && at == text.size();
    }
    line.end = at;
    out.push_back(std::move(line));
  }
  return out;
}

/// Name and value within a line's content.
struct Parsed {
  std::string_view name;
  std::size_t value_begin = 0;
  std::size_t value_end = 0;
  bool sound = false;  // one value, and nothing behind it
};

std::optional<Parsed> parse(std::string_view content) {
  std::size_t at = 0;
  const auto blanks = [&] {
    while (at < content.size() && is_space(content[at])) ++at;
  };
  blanks();
  const std::size_t begin = at;
  while (at < content.size() && is_name(content[at])) ++at;
  if (at == begin) return std::nullopt;
  Parsed out{.name = content.substr(begin, at - begin)};
  blanks();
  if (at == content.size() || content[at] != '=') return out;
  ++at;
  blanks();
  const bool quoted = at < content.size() && content[at] == '"';
  if (quoted) ++at;
  out.value_begin = at;
  while (at < content.size() && (quoted ? content[at] != '"' : !is_space(content[at]))) ++at;
  out.value_end = at;
  if (quoted && at == content.size()) return out;
  if (quoted) ++at;
  blanks();
  const std::string_view value = content.substr(out.value_begin, out.value_end - out.value_begin);
  out.sound = at == content.size() && !value.empty() && !value.contains('\\') &&
              !value.contains('"') && !value.contains('\0');
  return out;
}

std::unexpected<Error> unclear(std::size_t line, std::string_view name, std::string_view why) {
  return fail(Code::kFailedPrecondition,
              "line " + std::to_string(line) + ": " + std::string(name) + " " + std::string(why));
}

/// A setting and its line.
struct Found {
  const Line* line = nullptr;
  Parsed parsed;
  std::string value;
};

Result<std::vector<Found>> find_all(const std::vector<Line>& lines, std::string_view name) {
  std::vector<Found> out;
  for (const Line& line : lines) {
    const auto parsed = parse(line.content);
    if (!parsed || !ascii_iequals(parsed->name, name)) continue;
    if (!parsed->sound) return unclear(line.number, name, "cannot be read as one plain value");
    out.push_back(
        {&line, *parsed,
         line.content.substr(parsed->value_begin, parsed->value_end - parsed->value_begin)});
  }
  return out;
}

Result<std::optional<Found>> find_one(const std::vector<Line>& lines, std::string_view name) {
  ASSIGN_OR_RETURN(std::vector<Found> all, find_all(lines, name));
  if (all.size() > 1) return unclear(all[1].line->number, name, "is set a second time");
  if (all.empty()) return std::optional<Found>();
  return std::optional(std::move(all.front()));
}

std::string with_item(std::string value, std::string_view item) {
  if (!value.ends_with(',')) value += ',';
  return value + std::string(item);
}

std::string types_with_jwt(const std::string& value) {
  for (const std::string_view type : split(value, ',')) {
    if (ascii_iequals(trim(type), kPlugin)) return value;
  }
  return with_item(value, kPlugin);
}

Result<std::string> parameters_with(const Found& found, const JwtSetting& wanted) {
  const std::string key = std::string(wanted.option) + "=";
  const std::string item = key + wanted.path;
  std::string out;
  bool there = false;
  for (const std::string_view part : split(found.value, ',')) {
    // Slurm looks for the option anywhere in the text.
    const std::size_t at = ascii_lower(part).find(key);
    const bool is_it = at != std::string::npos;
    if (is_it && (there || at != 0)) {
      return unclear(found.line->number, kParameters, "has " + key + " twice");
    }
    there = there || is_it;
    out += (is_it ? item : std::string(part)) + ",";
  }
  out.pop_back();
  return there ? out : with_item(found.value, item);
}

bool is_plain_path(std::string_view path) {
  return path.starts_with('/') && std::ranges::all_of(path, [](char c) {
           return is_name(c) || c == '/' || c == '-' || c == '+';
         });
}

std::string_view without_newline(std::string_view text) {
  while (text.ends_with('\n') || text.ends_with('\r')) text.remove_suffix(1);
  return text;
}

struct Splice {
  std::size_t begin;
  std::size_t end;
  std::string text;
};

class Editor {
 public:
  explicit Editor(std::string_view text)
      : text_(text), newline_(text.contains("\r\n") ? "\r\n" : "\n") {}

  Result<void> set_value(const Found& found, const std::string& value) {
    if (value == found.value) return {};
    const std::size_t begin = found.line->at[found.parsed.value_begin];
    const std::size_t end = found.line->at[found.parsed.value_end - 1] + 1;
    if (text_.substr(begin, end - begin).contains('#')) {
      return unclear(found.line->number, found.parsed.name, "has a comment within its value");
    }
    const std::string_view whole =
        text_.substr(found.line->begin, found.line->end - found.line->begin);
    std::string after(whole);
    after.replace(begin - found.line->begin, end - begin, value);
    changes_.push_back({found.line->number, std::string(without_newline(whole)),
                        std::string(without_newline(after))});
    splices_.push_back({begin, end, value});
    return {};
  }

  /// Lines behind `anchor`, or at the end; a last line without newline stays without one.
  void insert(const Line* anchor, const std::vector<std::string>& lines) {
    const std::size_t at = anchor == nullptr ? text_.size() : anchor->end;
    const bool open = at > 0 && text_[at - 1] != '\n';
    std::string inserted;
    for (const std::string& line : lines) inserted += open ? newline_ + line : line + newline_;
    splices_.push_back({at, at, inserted});
    const auto before = static_cast<std::size_t>(std::ranges::count(text_.substr(0, at), '\n'));
    for (const std::string& line : lines) {
      changes_.push_back({before + 1 + (open ? 1 : 0), "", line});
    }
  }

  ConfEdit done() && {
    ConfEdit out{std::string(text_), std::move(changes_)};
    // From the end, so that what is in front keeps its place.
    std::ranges::sort(splices_, {}, &Splice::begin);
    for (auto splice = splices_.rbegin(); splice != splices_.rend(); ++splice) {
      out.text.replace(splice->begin, splice->end - splice->begin, splice->text);
    }
    return out;
  }

 private:
  const std::string_view text_;
  const std::string newline_;
  std::vector<Splice> splices_;
  std::vector<ConfChange> changes_;
};

}  // namespace

Result<std::vector<ConfSetting>> conf_settings(std::string_view text, std::string_view name) {
  const std::vector<Line> lines = lines_of(text);
  ASSIGN_OR_RETURN(const std::vector<Found> all, find_all(lines, name));
  std::vector<ConfSetting> out;
  out.reserve(all.size());
  for (const Found& found : all) out.push_back({found.value, found.line->number});
  return out;
}

std::vector<std::string> conf_includes(std::string_view text) {
  std::vector<std::string> out;
  for (const Line& line : lines_of(text)) {
    const std::string_view content = trim(line.content, " \t\r\v\f\n");
    if (content.size() <= kInclude.size() || !is_space(content[kInclude.size()])) continue;
    if (!ascii_iequals(content.substr(0, kInclude.size()), kInclude)) continue;
    out.emplace_back(trim(content.substr(kInclude.size()), " \t\r\v\f\n"));
  }
  return out;
}

std::string jwt_lines(const JwtSetting& wanted) {
  return std::string(kTypes) + "=" + std::string(kPlugin) + "\n" + std::string(kParameters) + "=" +
         std::string(wanted.option) + "=" + wanted.path + "\n";
}

Result<ConfEdit> add_jwt(std::string_view text, const JwtSetting& wanted) {
  if (!is_plain_path(wanted.path)) {
    return fail(Code::kInvalidArgument,
                wanted.path +
                    ": an absolute path of letters, digits and ._-+/, as Slurm splits "
                    "the setting at commas and spaces");
  }
  const std::vector<Line> lines = lines_of(text);
  if (!lines.empty() && lines.back().unfinished) {
    return unclear(lines.back().number, "the last line", "is continued and does not go on");
  }
  ASSIGN_OR_RETURN(const auto types, find_one(lines, kTypes));
  ASSIGN_OR_RETURN(const auto parameters, find_one(lines, kParameters));
  ASSIGN_OR_RETURN(const auto primary, find_all(lines, "AuthType"));
  const Line* const anchor = types             ? types->line
                             : parameters      ? parameters->line
                             : primary.empty() ? nullptr
                                               : primary.back().line;
  Editor editor(text);
  std::vector<std::string> missing;
  if (types) {
    RETURN_IF_ERROR(editor.set_value(*types, types_with_jwt(types->value)));
  } else {
    missing.push_back(std::string(kTypes) + "=" + std::string(kPlugin));
  }
  if (parameters) {
    ASSIGN_OR_RETURN(const std::string value, parameters_with(*parameters, wanted));
    RETURN_IF_ERROR(editor.set_value(*parameters, value));
  } else {
    missing.push_back(std::string(kParameters) + "=" + std::string(wanted.option) + "=" +
                      wanted.path);
  }
  if (!missing.empty()) editor.insert(anchor, missing);
  return std::move(editor).done();
}

}  // namespace roster::cli
