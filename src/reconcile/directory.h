#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace roster::reconcile {

/// What is told of a person besides name, state and keys; each a text of its own.
enum class Text { kGivenName, kFamilyName, kDisplayName, kEmail, kHome, kShell };
inline constexpr std::size_t kTexts = 6;
/// For reports: "given name", "email", ...
std::string_view name_of(Text text);

/// A person as a source tells of them. What the source cannot tell is nothing, and stays as it is
/// at the destination; what it tells as empty is removed there.
struct Person {
  std::string key;  // what the source never gives to somebody else; not empty
  std::string user_name;
  bool active = true;
  std::array<std::optional<std::string>, kTexts> texts = {};
  /// Lines of posix::SshPublicKey, in any order.
  std::optional<std::vector<std::string>> ssh_keys = {};

  std::optional<std::string>& text(Text which) { return texts[static_cast<std::size_t>(which)]; }
  const std::optional<std::string>& text(Text which) const {
    return texts[static_cast<std::size_t>(which)];
  }
  bool operator==(const Person&) const = default;
};

/// A group as a source tells of it. Flat: who is in it through other groups is named, too.
struct Group {
  std::string key;
  std::string name;
  std::vector<std::string> members;  // keys of people, in any order
  bool operator==(const Group&) const = default;
};

/// What is said of one record that could not be taken as it is.
struct Problem {
  std::string subject;  // "person alice", "group dev": a kind and the best name there is
  std::string sentence;
  bool operator==(const Problem&) const = default;
};

}  // namespace roster::reconcile
