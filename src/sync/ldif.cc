#include "sync/ldif.h"

#include <algorithm>

#include "base/encoding.h"
#include "base/unicode.h"

namespace roster::sync {
namespace {

constexpr std::size_t kColumns = 76;

std::unexpected<Error> bad(Code code, std::size_t line, const std::string& what) {
  return fail(code, "line " + std::to_string(line) + ": " + what);
}

struct Line {
  std::size_t number = 0;
  std::string text;
};

/// Takes the next line and those that continue it (RFC 2849 note 2) from `text`.
Line next_line(std::string_view& text, std::size_t& number) {
  Line line{number, {}};
  bool first = true;
  while (first || text.starts_with(' ')) {
    const std::size_t end = text.find('\n');
    std::string_view part = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    ++number;
    if (part.ends_with('\r')) part.remove_suffix(1);
    if (!first) part.remove_prefix(1);
    line.text += part;
    // What begins with a space behind an empty line continues nothing.
    if (first && part.empty()) break;
    first = false;
  }
  return line;
}

struct Attribute {
  std::string name, value;
  bool has_options = false;
};

Result<Attribute> parse_attribute(const Line& line) {
  const std::size_t colon = line.text.find(':');
  if (colon == std::string::npos || colon == 0) {
    return bad(Code::kInvalidArgument, line.number, "is not 'attribute: value'");
  }
  const std::size_t semicolon = std::min(colon, line.text.find(';'));
  Attribute attribute{ascii_lower(line.text.substr(0, semicolon)), {}, semicolon < colon};
  const auto is_letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
  };
  if (attribute.name.empty() || !std::ranges::all_of(attribute.name, is_letter)) {
    return bad(Code::kInvalidArgument, line.number, "does not begin with an attribute's name");
  }
  std::string_view rest = std::string_view(line.text).substr(colon + 1);
  const bool base64 = rest.starts_with(':');
  if (rest.starts_with('<')) {
    return bad(Code::kInvalidArgument, line.number, "a value by URL, which is not fetched");
  }
  if (base64) rest.remove_prefix(1);
  rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
  if (!base64) {
    attribute.value = rest;
    return attribute;
  }
  auto decoded = base64_decode(rest);
  if (!decoded) return bad(Code::kInvalidArgument, line.number, "its value is not base64");
  attribute.value = std::move(*decoded);
  return attribute;
}

/// RFC 2849 SAFE-STRING, and no space at the end (note 8).
bool is_safe(std::string_view value) {
  if (value.starts_with(' ') || value.starts_with(':') || value.starts_with('<') ||
      value.ends_with(' ')) {
    return false;
  }
  return std::ranges::all_of(value, [](char c) { return c >= 0x20 && c < 0x7F; });
}

}  // namespace

std::string_view LdifRecord::first(std::string_view name) const {
  const auto found =
      std::ranges::find(attributes, name, &std::pair<std::string, std::string>::first);
  return found == attributes.end() ? std::string_view() : found->second;
}

std::string_view LdifRecord::deciding(std::string_view name) const {
  if (count(name) < 2) return first(name);
  const std::size_t equals = dn.find('=');
  if (equals == std::string::npos || ascii_lower(dn.substr(0, equals)) != name) return {};
  const std::string_view named = std::string_view(dn).substr(equals + 1);
  for (const auto& [each, value] : attributes) {
    if (each == name && named.starts_with(value) && named.substr(value.size()).starts_with(',')) {
      return value;
    }
  }
  return {};
}

std::size_t LdifRecord::count(std::string_view name) const {
  return static_cast<std::size_t>(
      std::ranges::count(attributes, name, &std::pair<std::string, std::string>::first));
}

bool LdifRecord::is(std::string_view object_class) const {
  return std::ranges::any_of(attributes, [object_class](const auto& attribute) {
    return attribute.first == "objectclass" && ascii_iequals(attribute.second, object_class);
  });
}

Result<std::vector<LdifRecord>> parse_ldif(std::string_view text) {
  std::vector<LdifRecord> records;
  if (!text.empty() && !text.ends_with('\n')) {
    return fail(Code::kInvalidArgument, "ends inside a line: it is not whole");
  }
  bool inside = false;
  bool any = false;  // something was there that is not a comment
  std::size_t number = 1;
  while (!text.empty()) {
    const Line line = next_line(text, number);
    if (line.text.starts_with('#')) continue;
    if (line.text.empty()) {
      inside = false;
      continue;
    }
    ASSIGN_OR_RETURN(Attribute attribute, parse_attribute(line));
    if (!any && attribute.name == "version") {
      if (attribute.value != "1") {
        return bad(Code::kUnsupported, line.number, "not version 1 of LDIF");
      }
      any = true;
      continue;
    }
    any = true;
    if (attribute.name == "changetype" || attribute.name == "control") {
      return bad(Code::kUnsupported, line.number,
                 "a change; an export with the entries themselves is needed");
    }
    if (!inside) {
      if (attribute.name != "dn") {
        return bad(Code::kInvalidArgument, line.number, "an entry begins with its dn");
      }
      records.push_back({line.number, std::move(attribute.value), {}});
      inside = true;
      continue;
    }
    if (attribute.has_options) continue;
    if (records.back().attributes.size() == kLdifAttributesMax) {
      return bad(Code::kTooLarge, line.number, "too many attributes in one entry");
    }
    records.back().attributes.emplace_back(std::move(attribute.name), std::move(attribute.value));
  }
  return records;
}

std::string ldif_line(std::string_view name, std::string_view value) {
  std::string whole(name);
  whole += is_safe(value) ? ": " + std::string(value) : ":: " + base64_encode(value);
  std::string out = whole.substr(0, kColumns);
  for (std::size_t at = kColumns; at < whole.size(); at += kColumns - 1) {
    out += "\n " + whole.substr(at, kColumns - 1);
  }
  return out + '\n';
}

}  // namespace roster::sync
