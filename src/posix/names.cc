#include "posix/names.h"

#include <algorithm>

#include "base/unicode.h"

namespace roster::posix {
namespace {

bool may_begin(char c) { return (c >= 'a' && c <= 'z') || c == '_'; }

bool may_follow(char c) { return may_begin(c) || (c >= '0' && c <= '9') || c == '.' || c == '-'; }

/// Nothing when `text` is a name; else what is wrong with it. The text itself is not repeated: it
/// may be a megabyte or hold terminal escapes.
std::string defect(std::string_view text) {
  if (text.empty()) return "it is empty";
  if (text.size() > kNameBytesMax) {
    return "it has " + std::to_string(text.size()) + " bytes, more than " +
           std::to_string(kNameBytesMax);
  }
  if (!may_begin(text.front())) return "it does not begin with a lower-case letter or '_'";
  const auto bad = std::ranges::find_if_not(text, may_follow);
  if (bad == text.end()) return {};
  return "byte " + std::to_string(bad - text.begin() + 1) +
         " is none of a-z, 0-9, '.', '_' and '-'";
}

std::unexpected<Error> bad_name(std::string_view kind, std::string_view why) {
  return fail(Code::kInvalidArgument, "not a " + std::string(kind) + ": " + std::string(why));
}

}  // namespace

Result<LoginName> LoginName::parse(std::string_view text) {
  const std::string why = defect(text);
  if (!why.empty()) return bad_name("login name", why);
  return LoginName(std::string(text));
}

Result<GroupName> GroupName::parse(std::string_view text) {
  const std::string why = defect(text);
  if (!why.empty()) return bad_name("group name", why);
  return GroupName(std::string(text));
}

std::string propose_name(std::string_view text) {
  const std::size_t at = text.find('@');
  if (at != text.npos && text.find('@', at + 1) == text.npos) text = text.substr(0, at);
  const Result<std::string> folded = fold_to_base_letters(text);
  if (!folded) return {};
  std::string name;
  for (const char c : *folded) {
    if (name.size() == kNameBytesMax) break;
    if (may_follow(c)) name += c;
  }
  if (name.empty() || !may_begin(name.front())) return {};
  return name;
}

std::string with_suffix(std::string_view base, std::uint32_t n) {
  CHECK(!base.empty() && n >= 2);
  const std::string suffix = std::to_string(n);
  return std::string(base.substr(0, kNameBytesMax - suffix.size())) + suffix;
}

}  // namespace roster::posix
