#include <algorithm>
#include <charconv>

#include "base/unicode.h"
#include "http/client.h"

namespace roster::http {
namespace {

std::unexpected<Error> bad(std::string_view why) {
  return fail(Code::kInvalidArgument, "URL: " + std::string(why));
}

bool is_host_name(std::string_view host) {
  if (host.empty() || host.size() > 253) return false;
  return std::ranges::all_of(host, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
  });
}

bool is_ipv6_text(std::string_view host) {
  return !host.empty() && std::ranges::all_of(host, [](char c) {
    return (c >= 'a' && c <= 'f') || (c >= '0' && c <= '9') || c == ':' || c == '.';
  });
}

bool is_port(std::string_view text) {
  unsigned value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && value >= 1 && value <= 65535;
}

/// Takes "host", "host:port" or "[v6]:port".
Result<void> split_authority(std::string_view authority, Url& url) {
  if (authority.starts_with('[')) {
    const std::size_t close = authority.find(']');
    if (close == std::string_view::npos) return bad("'[' without ']'");
    url.host = ascii_lower(authority.substr(1, close - 1));
    if (!is_ipv6_text(url.host)) return bad("bad IPv6 address");
    authority.remove_prefix(close + 1);
    if (!authority.empty() && !authority.starts_with(':')) return bad("text after ']'");
  } else {
    const std::size_t colon = std::min(authority.find(':'), authority.size());
    url.host = ascii_lower(authority.substr(0, colon));
    if (!is_host_name(url.host)) return bad("bad host name");
    authority.remove_prefix(colon);
  }
  if (authority.empty()) {
    url.port = url.scheme == "https" ? "443" : "80";
    return {};
  }
  url.port = authority.substr(1);
  if (!is_port(url.port)) return bad("bad port");
  return {};
}

}  // namespace

Result<Url> Url::parse(std::string_view text) {
  Url url;
  if (!std::ranges::all_of(text, [](char c) { return c > 0x20 && c < 0x7F; })) {
    return bad("only printable ASCII without spaces");
  }
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos) return bad("no scheme; use https://, http:// or unix:/path");
  url.scheme = ascii_lower(text.substr(0, colon));
  text.remove_prefix(colon + 1);
  if (url.scheme == "unix") {
    if (!text.starts_with('/')) return bad("unix: needs an absolute path");
    url.path = text;
    return url;
  }
  if (url.scheme != "http" && url.scheme != "https") {
    return bad("unknown scheme; use https://, http:// or unix:/path");
  }
  if (!text.starts_with("//")) return bad("no // after the scheme");
  text.remove_prefix(2);
  if (text.find_first_of("?#\\") != std::string_view::npos) return bad("query or fragment");
  const std::size_t slash = std::min(text.find('/'), text.size());
  const std::string_view authority = text.substr(0, slash);
  if (authority.contains('@')) return bad("user information does not belong in a URL");
  RETURN_IF_ERROR(split_authority(authority, url));
  url.path = text.substr(slash);
  while (url.path.ends_with('/')) url.path.pop_back();
  return url;
}

}  // namespace roster::http
