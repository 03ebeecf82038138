#include "posix/shell.h"

#include <algorithm>

#include "posix/path_rule.h"

namespace roster::posix {
namespace {

Error not_allowed() {
  return {Code::kInvalidArgument,
          "the login shell is not in the organization's list of allowed shells",
          {}};
}

}  // namespace

bool refuses_login(std::string_view shell) {
  const std::string_view program = shell.substr(shell.rfind('/') + 1);
  return program == "nologin" || program == "false";
}

Result<void> check_shell(std::string_view shell, std::span<const std::string> allowed) {
  if (std::ranges::find(allowed, shell) == allowed.end()) return std::unexpected(not_allowed());
  return {};
}

Result<void> check_shell(std::string_view shell) {
  if (std::ranges::find(kDefaultShells, shell) == kDefaultShells.end()) {
    return std::unexpected(not_allowed());
  }
  return {};
}

Result<void> validate_shell_path(std::string_view path) {
  const std::string why = path_defect(path);
  if (!why.empty()) return fail(Code::kInvalidArgument, "not a path of a shell: " + why);
  return {};
}

}  // namespace roster::posix
