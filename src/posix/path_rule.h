#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace roster::posix {

/// Longest home or shell in bytes: what a node's cache has room for (a shell there has 255). Far
/// below PATH_MAX, so that programs with fixed buffers are safe.
inline constexpr std::size_t kPathBytesMax = 255;

/// Nothing when `path` can stand in a passwd line, a shell's command and a file system without
/// meaning anything else there: absolute, no empty, "." or ".." component, no '/' at the end,
/// characters [A-Za-z0-9._+@-] only, at most 255 bytes. Else what is wrong, for "...: it ...".
std::string path_defect(std::string_view path);

}  // namespace roster::posix
