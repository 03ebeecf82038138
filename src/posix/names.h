#pragma once

#include <compare>
#include <string>
#include <string_view>

#include "base/result.h"

namespace roster::posix {

/// Longest login or group name in bytes (useradd(8), utmp's 32-byte ut_user).
inline constexpr std::size_t kNameBytesMax = 32;

/// A login name: `[a-z_][a-z0-9._-]*`, at most 32 bytes. The only type that writers of passwd lines
/// accept.
class LoginName {
 public:
  static Result<LoginName> parse(std::string_view text);
  const std::string& str() const { return value_; }
  auto operator<=>(const LoginName&) const = default;

 private:
  explicit LoginName(std::string value) : value_(std::move(value)) {}
  std::string value_;
};

/// A POSIX group name, by the same rule.
class GroupName {
 public:
  static Result<GroupName> parse(std::string_view text);
  const std::string& str() const { return value_; }
  auto operator<=>(const GroupName&) const = default;

 private:
  explicit GroupName(std::string value) : value_(std::move(value)) {}
  std::string value_;
};

}  // namespace roster::posix
