#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "posix/names.h"

namespace roster::posix {

/// Where people's homes may be: directories that an organization's homes lie below.
class HomePrefixes {
 public:
  /// {"/home"}.
  HomePrefixes();

  /// `prefixes`: 1 to 16 clean absolute paths, one '/' at the end is dropped. kInvalidArgument for
  /// others, for "/", and for directories of the system such as /root, /etc or /usr.
  static Result<HomePrefixes> parse(std::span<const std::string> prefixes);

  /// Whether a clean absolute path lies below one of them and is no prefix, nor holds one, itself.
  bool contain(std::string_view path) const;

  const std::vector<std::string>& list() const { return prefixes_; }

 private:
  explicit HomePrefixes(std::vector<std::string> prefixes) : prefixes_(std::move(prefixes)) {}
  std::vector<std::string> prefixes_;
};

/// A home directory that somebody asked for, checked: absolute, [A-Za-z0-9._+@-] between single
/// slashes, no "." or ".." component, at most 255 bytes, below one of `prefixes`. One '/' at the
/// end is dropped. kInvalidArgument with the reason otherwise. That it is nobody else's is the
/// caller's to check: see homes_overlap().
Result<std::string> parse_home(std::string_view text, const HomePrefixes& prefixes);

/// Whether a clean path is a directory of the system, or lies in one, where a home could replace
/// what root or a daemon trusts.
bool belongs_to_system(std::string_view path);

/// Whether one clean path is the other or lies inside it: two people's homes must not.
bool homes_overlap(std::string_view a, std::string_view b);

/// What a home is made from when nobody asked for one: "/home/{login}", "/home/%u" as in sshd(8)
/// and pam(8), "/data/{uid}/home".
class HomeTemplate {
 public:
  /// "/home/{login}".
  HomeTemplate();

  /// Must name {login}, %u or {uid}, or all people would share a home; and must be a clean path
  /// below one of `prefixes` for any login. kInvalidArgument otherwise.
  static Result<HomeTemplate> parse(std::string_view text, const HomePrefixes& prefixes);

  /// A text that parse() took once. Not checked again: rules that became stricter since must not
  /// take everybody's home away.
  static HomeTemplate stored(std::string text) { return HomeTemplate(std::move(text)); }

  std::string expand(const LoginName& login, std::uint32_t uid) const;

  const std::string& text() const { return text_; }

 private:
  explicit HomeTemplate(std::string text) : text_(std::move(text)) {}
  std::string text_;
};

}  // namespace roster::posix
