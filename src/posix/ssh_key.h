#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace roster::posix {

/// Longest key in bytes, comment included. An RSA key of 16384 bits takes 2.8 kB.
inline constexpr std::size_t kSshKeyBytesMax = 8192;
/// Keys of one person.
inline constexpr std::size_t kSshKeysMax = 100;
inline constexpr unsigned kRsaBitsMin = 2048;
inline constexpr unsigned kRsaBitsMax = 16384;

/// One public key as a line of authorized_keys(5): type, base64 blob, comment; never options.
class SshPublicKey {
 public:
  /// Accepts ssh-ed25519 (RFC 8709), ecdsa-sha2-nistp256, -384, -521 (RFC 5656), ssh-rsa of 2048 to
  /// 16384 bits (RFC 4253 6.6), and the FIDO forms sk-ssh-ed25519@openssh.com and
  /// sk-ecdsa-sha2-nistp256@openssh.com (OpenSSH's PROTOCOL.u2f). The blob is read to its last
  /// byte: its own type must be the line's, lengths, curve, point form and integers must be exact.
  /// Spaces around the parts are normalized; the comment stays as it is.
  /// kInvalidArgument with the reason for anything else: options, certificates, ssh-dss, private
  /// keys, newlines or control characters, text that is not UTF-8. The sentence never repeats the
  /// key: it could be a private one.
  static Result<SshPublicKey> parse(std::string_view text);

  /// "ssh-ed25519 AAAA... comment", or without a comment and its space.
  const std::string& line() const { return line_; }
  /// "SHA256:" and unpadded base64, as ssh-keygen -l and sshd's %f.
  const std::string& fingerprint() const { return fingerprint_; }
  std::string_view type() const { return type_; }
  /// May be empty.
  std::string_view comment() const { return std::string_view(line_).substr(comment_at_); }

  bool operator==(const SshPublicKey&) const = default;

 private:
  SshPublicKey() = default;
  std::string line_;
  std::string fingerprint_;
  std::string_view type_;  // static storage
  std::size_t comment_at_ = 0;
};

/// A text that SshPublicKey::parse() takes, in its parts: for those who pass keys on and look none
/// up. The views are of the text.
struct SshKeyView {
  std::string_view type;
  std::string_view data;     // base64
  std::string_view comment;  // may be empty

  /// Takes and refuses what SshPublicKey::parse() does, for the same reasons.
  static Result<SshKeyView> parse(std::string_view text);
  /// SshPublicKey::line().
  void append_line_to(std::string& out) const;
};

/// A person's keys, in the given order; of equal keys (comments apart) the first is kept.
/// kInvalidArgument naming `attribute` and the index, from 0, of a key that does not parse, or that
/// there are more than 100 different ones.
///   "sunkSshKeys[3]: not an SSH public key: it begins with options"
Result<std::vector<SshPublicKey>> parse_key_list(std::string_view attribute,
                                                 std::span<const std::string> texts);

}  // namespace roster::posix
