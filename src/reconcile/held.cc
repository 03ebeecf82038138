#include "reconcile/held.h"

#include <algorithm>
#include <cstring>

#include "crypto/hash.h"

namespace roster::reconcile {
namespace {

constexpr std::size_t kSecretBytes = 32;

/// Type and base64 blob: a server may cut comments off, or add its own.
std::string_view without_comment(std::string_view line) {
  const std::size_t type_end = line.find(' ');
  if (type_end == std::string_view::npos) return line;
  return line.substr(0, line.find(' ', type_end + 1));
}

}  // namespace

std::string_view name_of(Text text) {
  switch (text) {
    case Text::kGivenName:
      return "given name";
    case Text::kFamilyName:
      return "family name";
    case Text::kDisplayName:
      return "display name";
    case Text::kEmail:
      return "email";
    case Text::kHome:
      return "home";
    case Text::kShell:
      return "shell";
  }
  CHECK(false);
}

Digester::Digester(const RandomBytes& random) : secret_(kSecretBytes, '\0') {
  random({reinterpret_cast<std::uint8_t*>(secret_.data()), secret_.size()});
}

Digest Digester::of(std::string_view text) const {
  crypto::Sha256 sha;
  sha.update(secret_);
  sha.update(text);
  const std::string whole = sha.finish();
  Digest digest{};
  std::memcpy(digest.data(), whole.data(), sizeof digest);
  return digest;
}

Digest Digester::of_keys(const std::vector<std::string>& lines) const {
  std::vector<std::string_view> keys;
  keys.reserve(lines.size());
  for (const std::string& line : lines) keys.push_back(without_comment(line));
  std::ranges::sort(keys);
  const auto repeated = std::ranges::unique(keys);
  keys.erase(repeated.begin(), repeated.end());
  std::string all;
  for (const std::string_view key : keys) all.append(key).push_back('\n');
  return of(all);
}

}  // namespace roster::reconcile
