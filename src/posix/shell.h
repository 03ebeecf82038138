#pragma once

#include <array>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace roster::posix {

/// What a locked account has. At this path on Debian and on EL alike.
inline constexpr std::string_view kNologinShell = "/usr/sbin/nologin";

inline constexpr std::string_view kDefaultShell = "/bin/bash";

/// Shells that an organization allows unless its settings say otherwise: those of Debian's and EL's
/// packages, and the two that refuse.
inline constexpr auto kDefaultShells = std::to_array<std::string_view>({
    "/bin/bash",
    "/bin/dash",
    "/bin/fish",
    "/bin/ksh",
    "/bin/sh",
    "/bin/tcsh",
    "/bin/zsh",
    "/sbin/nologin",
    "/usr/bin/bash",
    "/usr/bin/dash",
    "/usr/bin/fish",
    "/usr/bin/ksh",
    "/usr/bin/sh",
    "/usr/bin/tcsh",
    "/usr/bin/zsh",
    "/usr/sbin/nologin",
});

/// Whether it ends a session at once: a service's account, or somebody who may not log in.
bool refuses_login(std::string_view shell);

/// Whether a person may have this shell: exactly one of `allowed`. kInvalidArgument otherwise.
Result<void> check_shell(std::string_view shell, std::span<const std::string> allowed);
Result<void> check_shell(std::string_view shell);  // against kDefaultShells

/// Whether an organization may allow this shell at all: an absolute, normalized path of
/// [A-Za-z0-9._+-], at most 256 bytes. kInvalidArgument otherwise.
Result<void> validate_shell_path(std::string_view path);

}  // namespace roster::posix
