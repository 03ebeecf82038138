#include "posix/home.h"

#include <algorithm>
#include <array>

#include "posix/path_rule.h"

namespace roster::posix {
namespace {

constexpr std::size_t kPrefixesMax = 16;

/// A home inside one of these could replace what root or a daemon trusts. /home, /mnt, /data, /srv,
/// /opt, /scratch and the like stay free, as do directories below /var other than its own.
constexpr auto kSystemDirectories = std::to_array<std::string_view>({
    "/bin",     "/boot",    "/dev",       "/etc",       "/lib",     "/lib32",
    "/lib64",   "/libx32",  "/proc",      "/root",      "/run",     "/sbin",
    "/sys",     "/tmp",     "/usr",       "/var/cache", "/var/lib", "/var/lock",
    "/var/log", "/var/run", "/var/spool", "/var/tmp",
});

bool is_below(std::string_view path, std::string_view directory) {
  return path.size() > directory.size() + 1 && path[directory.size()] == '/' &&
         path.starts_with(directory);
}

std::string_view without_slash_at_end(std::string_view path) {
  if (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  return path;
}

std::unexpected<Error> bad_home(const std::string& why) {
  return fail(Code::kInvalidArgument, "not a home directory: " + why);
}

std::string replace_all(std::string text, std::string_view from, std::string_view to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != text.npos; at += to.size()) {
    text.replace(at, from.size(), to);
  }
  return text;
}

std::string expand_template(const std::string& text, std::string_view login, std::string_view uid) {
  // Neither value can hold '{' or '%', so that the order does not matter.
  return replace_all(replace_all(replace_all(text, "{login}", login), "%u", login), "{uid}", uid);
}

}  // namespace

bool belongs_to_system(std::string_view path) {
  return path == "/var" || std::ranges::any_of(kSystemDirectories, [path](std::string_view system) {
           return path == system || is_below(path, system);
         });
}

HomePrefixes::HomePrefixes() : prefixes_{"/home"} {}

Result<HomePrefixes> HomePrefixes::parse(std::span<const std::string> prefixes) {
  if (prefixes.empty() || prefixes.size() > kPrefixesMax) {
    return fail(Code::kInvalidArgument, "an organization has 1 to 16 prefixes of homes");
  }
  std::vector<std::string> clean;
  for (const std::string& text : prefixes) {
    const std::string_view prefix = without_slash_at_end(text);
    const std::string place = "prefix " + std::to_string(clean.size() + 1) + " of homes: ";
    const std::string why = path_defect(prefix);
    if (!why.empty()) return fail(Code::kInvalidArgument, place + why);
    if (belongs_to_system(prefix)) {
      return fail(Code::kInvalidArgument, place + std::string(prefix) + " belongs to the system");
    }
    clean.emplace_back(prefix);
  }
  return HomePrefixes(std::move(clean));
}

bool HomePrefixes::contain(std::string_view path) const {
  const auto is_inside = [path](const std::string& prefix) { return is_below(path, prefix); };
  // With /home and /home/team as prefixes, nobody may own /home/team and so everybody's home in it.
  const auto holds = [path](const std::string& prefix) {
    return path == prefix || is_below(prefix, path);
  };
  return std::ranges::any_of(prefixes_, is_inside) && std::ranges::none_of(prefixes_, holds);
}

Result<std::string> parse_home(std::string_view text, const HomePrefixes& prefixes) {
  const std::string_view path = without_slash_at_end(text);
  const std::string why = path_defect(path);
  if (!why.empty()) return bad_home(why);
  if (!prefixes.contain(path)) {
    std::string list;
    for (const std::string& prefix : prefixes.list()) {
      list.append(list.empty() ? "" : ", ").append(prefix);
    }
    return bad_home("it is not below " + list);
  }
  return std::string(path);
}

bool homes_overlap(std::string_view a, std::string_view b) {
  return a == b || is_below(a, b) || is_below(b, a);
}

HomeTemplate::HomeTemplate() : text_("/home/{login}") {}

Result<HomeTemplate> HomeTemplate::parse(std::string_view text, const HomePrefixes& prefixes) {
  const std::string clean(without_slash_at_end(text));
  // The longest and the shortest values there are; all characters of a login are fit for a path.
  const std::string longest = expand_template(clean, std::string(kNameBytesMax, 'x'), "2147483647");
  const std::string shortest = expand_template(clean, "x", "1000");
  if (longest == clean) {
    return fail(Code::kInvalidArgument,
                "a template of homes names {login}, %u or {uid}; else all would share one");
  }
  for (const std::string& home : {longest, shortest}) {
    const Result<std::string> parsed = parse_home(home, prefixes);
    if (!parsed) return fail_in("template of homes", parsed.error());
  }
  // "a" with uid 11000 and "a1" with uid 1000 would share a home.
  std::string marked = expand_template(clean, "\1", "\2");
  std::erase_if(marked, [](char c) { return c >= '0' && c <= '9'; });
  if (marked.contains("\1\2")) {
    return fail(Code::kInvalidArgument,
                "a template of homes keeps {login} and {uid} apart, with more than digits");
  }
  return HomeTemplate(clean);
}

std::string HomeTemplate::expand(const LoginName& login, std::uint32_t uid) const {
  return expand_template(text_, login.str(), std::to_string(uid));
}

}  // namespace roster::posix
