#pragma once

#include <compare>
#include <cstdint>
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
  /// kInvalidArgument with the rule that was broken.
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
  /// kInvalidArgument with the rule that was broken.
  static Result<GroupName> parse(std::string_view text);
  const std::string& str() const { return value_; }
  auto operator<=>(const GroupName&) const = default;

 private:
  explicit GroupName(std::string value) : value_(std::move(value)) {}
  std::string value_;
};

/// The name that a SCIM `userName` or a group's `displayName` asks for; empty when nothing usable
/// is left, and the caller then takes `u<uid>` or `g<gid>`. Not necessarily free or unreserved.
/// Text with exactly one '@' counts as an e-mail address and gives its local part. Then: NFKD,
/// marks dropped, lower case, only [a-z0-9._-] kept, cut to 32 bytes. What does not begin with a
/// letter or
/// '_' after that gives nothing, as does text that is not UTF-8.
///   "Alice.Smith@example.org" -> "alice.smith"   "José Núñez" -> "josenunez"   "42" -> ""
std::string propose_name(std::string_view text);

/// `base` for the n-th owner of the same proposal: "alice", 2 -> "alice2". `base` is cut so that
/// the whole stays within 32 bytes. `base`: not empty; `n`: from 2. The caller takes the smallest n
/// that no name of the organization ever had, deleted ones included, so that the same history
/// always gives the same names.
std::string with_suffix(std::string_view base, std::uint32_t n);

}  // namespace roster::posix
