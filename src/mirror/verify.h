#pragma once

#include <string>
#include <vector>

#include "mirror/settings.h"

namespace roster::mirror {

/// What is wrong with the files of a map: lines without their fields, names twice, indexes that
/// lead elsewhere or are older than their data; and people and groups whom getpwnam(3) or
/// getgrnam(3) does not know, or knows otherwise, when nsswitch.conf(5) has `cache` or `roster` for
/// them. One sentence each, at most a hundred. Empty: all is well.
std::vector<std::string> verify_map(const Settings& settings, Map map,
                                    const std::filesystem::path& nsswitch = "/etc/nsswitch.conf");

}  // namespace roster::mirror
