#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "mirror/settings.h"

namespace roster::mirror {

using NameSet = std::set<std::string, std::less<>>;

/// Lines of the maps as maps.h writes them, read back. Lines that are none have no name.
std::string_view name_in(std::string_view line);
/// The third field of passwd and group; 0 when it is no number.
std::uint32_t number_in(std::string_view line);

/// Whether a line lets somebody in, as far as its map decides that: a shell, no expiry, a key.
bool is_open(Map map, std::string_view line);

/// The line without access for those of `denied`, as for whoever is not active. Nothing when the
/// line gives them none.
std::optional<std::string> without_access(Map map, std::string_view line, const NameSet& denied);

}  // namespace roster::mirror
