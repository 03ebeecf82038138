#pragma once

#include <span>
#include <string_view>

namespace roster::posix {

/// Whether no person and no group from outside may get this name, because somewhere it is, or will
/// be, a local account or carries power: system users and groups of Debian and of Enterprise Linux,
/// common daemons and schedulers, the groups that sudo(8), polkit(8) and container engines trust,
/// the first users of cloud images, and our own. Exact match only, so that a suffix always leads
/// out of the list.
bool is_reserved_name(std::string_view name);

/// The listed names, rising.
std::span<const std::string_view> reserved_names();

}  // namespace roster::posix
