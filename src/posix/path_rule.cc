#include "posix/path_rule.h"

#include <algorithm>

namespace roster::posix {
namespace {

bool is_allowed(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '_' || c == '+' || c == '@' || c == '-' || c == '/';
}

}  // namespace

std::string path_defect(std::string_view path) {
  if (path.empty()) return "it is empty";
  if (path.size() > kPathBytesMax) {
    return "it has " + std::to_string(path.size()) + " bytes, more than " +
           std::to_string(kPathBytesMax);
  }
  const auto bad = std::ranges::find_if_not(path, is_allowed);
  if (bad != path.end()) {
    return "byte " + std::to_string(bad - path.begin() + 1) +
           " is none of A-Z, a-z, 0-9 and ._+@-/";
  }
  if (path.front() != '/') return "it does not begin with '/'";
  while (!path.empty()) {
    path.remove_prefix(1);  // the '/'
    const std::string_view component = path.substr(0, path.find('/'));
    if (component.empty()) return "it has two '/' in a row or one at the end";
    if (component == "." || component == "..") return "it has a '.' or '..' component";
    path.remove_prefix(component.size());
  }
  return {};
}

}  // namespace roster::posix
