#include "posix/ssh_key.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <set>

#include "base/encoding.h"
#include "base/text.h"
#include "base/unicode.h"
#include "crypto/hash.h"

namespace roster::posix {
namespace {

/// Reads the data types of RFC 4251 5 from a key blob.
class BlobView {
 public:
  explicit BlobView(std::string_view bytes) : left_(bytes) {}

  /// string: four bytes of length, then so many bytes.
  std::optional<std::string_view> next_string() {
    if (left_.size() < 4) return std::nullopt;
    std::uint32_t size = 0;
    for (const char c : left_.substr(0, 4)) size = size << 8 | static_cast<unsigned char>(c);
    if (left_.size() - 4 < size) return std::nullopt;
    const std::string_view value = left_.substr(4, size);
    left_.remove_prefix(4 + std::size_t{size});
    return value;
  }

  bool at_end() const { return left_.empty(); }

 private:
  std::string_view left_;
};

// Each check of a blob's body returns nothing when the body is right, else what is wrong with it.

constexpr std::string_view kCutOff = "its data is cut off or damaged";

std::string check_ed25519(BlobView& blob) {
  const auto key = blob.next_string();
  if (!key) return std::string(kCutOff);
  if (key->size() != 32) return "its ed25519 key is not 32 bytes";
  return {};
}

/// SEC 1 2.3.3: 04, then both coordinates. Compressed points are not used in SSH (RFC 5656 3.1).
std::string check_ecdsa(BlobView& blob, std::string_view curve, std::size_t coordinate_bytes) {
  const auto name = blob.next_string();
  const auto point = blob.next_string();
  if (!name || !point) return std::string(kCutOff);
  if (*name != curve) return "its curve is not that of its type";
  if (point->size() != 1 + 2 * coordinate_bytes || point->front() != '\x04') {
    return "its point is not an uncompressed point of the curve";
  }
  return {};
}

std::string check_nistp256(BlobView& blob) { return check_ecdsa(blob, "nistp256", 32); }
std::string check_nistp384(BlobView& blob) { return check_ecdsa(blob, "nistp384", 48); }
std::string check_nistp521(BlobView& blob) { return check_ecdsa(blob, "nistp521", 66); }

/// Bits of a positive mpint in its shortest form (RFC 4251 5); 0 for any other.
std::size_t mpint_bits(std::string_view mpint) {
  if (mpint.empty()) return 0;
  const auto byte = [mpint](std::size_t i) { return static_cast<unsigned char>(mpint[i]); };
  if (byte(0) >= 0x80) return 0;  // negative
  std::size_t zeros = 0;
  if (byte(0) == 0) {
    if (mpint.size() == 1 || byte(1) < 0x80) return 0;  // zero, or longer than needed
    zeros = 1;
  }
  std::size_t bits = (mpint.size() - zeros) * 8;
  for (unsigned char top = byte(zeros); top < 0x80; top = static_cast<unsigned char>(top << 1)) {
    --bits;
  }
  return bits;
}

std::string check_rsa(BlobView& blob) {
  const auto exponent = blob.next_string();
  const auto modulus = blob.next_string();
  if (!exponent || !modulus) return std::string(kCutOff);
  const std::size_t exponent_bits = mpint_bits(*exponent);
  const std::size_t bits = mpint_bits(*modulus);
  if (exponent_bits == 0 || bits == 0) return "its RSA numbers are not positive integers";
  // OpenSSL takes no exponent above 64 bits with a modulus above 3072 bits.
  if (exponent_bits < 2 || exponent_bits > 64 || (exponent->back() & 1) == 0) {
    return "its RSA exponent is not an odd number from 3 to 2^64";
  }
  if (bits < kRsaBitsMin) {
    return "its RSA key has " + std::to_string(bits) + " bits, fewer than " +
           std::to_string(kRsaBitsMin);
  }
  if (bits > kRsaBitsMax) {
    return "its RSA key has " + std::to_string(bits) + " bits, more than " +
           std::to_string(kRsaBitsMax);
  }
  if ((modulus->back() & 1) == 0) return "its RSA modulus is even";
  return {};
}

/// The FIDO "application", by default "ssh:".
std::string check_application(BlobView& blob) {
  const auto application = blob.next_string();
  if (!application) return std::string(kCutOff);
  const bool printable =
      std::ranges::all_of(*application, [](char c) { return c > 0x20 && c < 0x7F; });
  if (application->empty() || application->size() > 256 || !printable) {
    return "its FIDO application is not 1 to 256 printable characters";
  }
  return {};
}

std::string check_sk_ed25519(BlobView& blob) {
  std::string why = check_ed25519(blob);
  return why.empty() ? check_application(blob) : why;
}

std::string check_sk_nistp256(BlobView& blob) {
  std::string why = check_nistp256(blob);
  return why.empty() ? check_application(blob) : why;
}

struct KeyType {
  std::string_view name;
  std::string (*check)(BlobView&);
};

constexpr auto kTypes = std::to_array<KeyType>({
    {"ssh-ed25519", check_ed25519},
    {"ecdsa-sha2-nistp256", check_nistp256},
    {"ecdsa-sha2-nistp384", check_nistp384},
    {"ecdsa-sha2-nistp521", check_nistp521},
    {"ssh-rsa", check_rsa},
    {"sk-ssh-ed25519@openssh.com", check_sk_ed25519},
    {"sk-ecdsa-sha2-nistp256@openssh.com", check_sk_nistp256},
});

const KeyType* find_type(std::string_view name) {
  const auto type = std::ranges::find(kTypes, name, &KeyType::name);
  return type == kTypes.end() ? nullptr : &*type;
}

/// Cuts off and returns the text up to the first space; `rest` begins after the spaces.
std::string_view take_word(std::string_view& rest) {
  const std::string_view word = rest.substr(0, rest.find(' '));
  rest = trim(rest.substr(word.size()), " ");
  return word;
}

bool is_private_key(std::string_view text) {
  // "b3BlbnNzaC1rZXktdjE" is base64 of "openssh-key-v1", how OpenSSH's own format begins.
  for (const std::string_view mark :
       {"PRIVATE KEY-----", "PuTTY-User-Key-File", "b3BlbnNzaC1rZXktdjE"}) {
    if (text.find(mark) != text.npos) return true;
  }
  return false;
}

bool holds_known_type(std::string_view words) {
  while (!words.empty()) {
    if (find_type(take_word(words)) != nullptr) return true;
  }
  return false;
}

/// Why the first word is no type that we take, for people who pasted something else.
std::string_view explain_type(std::string_view word, std::string_view rest) {
  if (word.ends_with("-cert-v01@openssh.com")) {
    return "it is a certificate; give the public key it was made for";
  }
  if (word == "ssh-dss") return "DSA keys are too weak; use ed25519";
  if (word.find_first_not_of("0123456789") == word.npos) {
    return "keys of SSH protocol 1 are not accepted";
  }
  if (word.starts_with("AAAA")) return "its type is missing in front";
  if (holds_known_type(rest) || word.find('=') != word.npos || word.find('"') != word.npos) {
    return "it begins with options, which are not accepted";
  }
  return "it does not begin with ssh-ed25519, ecdsa-sha2-nistp256, -384 or -521, ssh-rsa, "
         "sk-ssh-ed25519@openssh.com or sk-ecdsa-sha2-nistp256@openssh.com";
}

/// What keeps `text` from being one clean line; nothing when it is one.
std::string check_line(std::string_view text) {
  if (text.empty()) return "it is empty";
  if (is_private_key(text)) {
    return "it is a private key; give the public one (the .pub file), and replace this key, "
           "because "
           "it has left its machine";
  }
  if (text.size() > kSshKeyBytesMax) {
    return "it has " + std::to_string(text.size()) + " bytes, more than " +
           std::to_string(kSshKeyBytesMax);
  }
  if (text.starts_with("---- BEGIN")) {
    return "it is in the form of RFC 4716; ssh-keygen -i converts it";
  }
  if (is_printable_ascii(text)) return {};
  if (text.find_first_of("\r\n") != text.npos) return "it has a newline; a key is one line";
  if (!is_valid_utf8(text)) return "it is not UTF-8";
  if (has_control_characters(text)) return "it has a control character";
  return {};
}

/// What is wrong with a blob of this type; nothing when all its bytes are right.
std::string check_blob(const KeyType& type, std::string_view bytes) {
  BlobView blob(bytes);
  const auto inner = blob.next_string();
  if (!inner) return std::string(kCutOff);
  if (*inner != type.name) return "the type inside its data is another than that in front";
  std::string why = type.check(blob);
  if (!why.empty()) return why;
  if (!blob.at_end()) return "it has extra bytes after the key";
  return {};
}

std::unexpected<Error> bad_key(std::string_view why) {
  return fail(Code::kInvalidArgument, "not an SSH public key: " + std::string(why));
}

/// A key that is right.
struct Parts {
  const KeyType* type;
  SshKeyView view;
  std::string blob;

  static Result<Parts> parse(std::string_view text) {
    const std::string unclean = check_line(text);
    if (!unclean.empty()) return bad_key(unclean);
    std::string_view comment = trim(text, " ");
    if (comment.empty()) return bad_key("it is empty");
    const std::string_view type_name = take_word(comment);
    const KeyType* const type = find_type(type_name);
    if (type == nullptr) return bad_key(explain_type(type_name, comment));
    const std::string_view encoded = take_word(comment);
    if (encoded.empty()) return bad_key("there is nothing after its type");
    Result<std::string> blob = base64_decode(encoded);
    if (!blob) return bad_key("its data is not base64");
    const std::string why = check_blob(*type, *blob);
    if (!why.empty()) return bad_key(why);
    return Parts{type, {.type = type_name, .data = encoded, .comment = comment}, std::move(*blob)};
  }
};

}  // namespace

Result<SshPublicKey> SshPublicKey::parse(std::string_view text) {
  ASSIGN_OR_RETURN(const Parts parts, Parts::parse(text));
  SshPublicKey key;
  key.type_ = parts.type->name;
  parts.view.append_line_to(key.line_);
  key.comment_at_ = key.line_.size() - parts.view.comment.size();
  std::string digest = base64_encode(crypto::sha256(parts.blob));
  digest.erase(digest.find_last_not_of('=') + 1);
  key.fingerprint_ = "SHA256:" + digest;
  return key;
}

Result<SshKeyView> SshKeyView::parse(std::string_view text) {
  ASSIGN_OR_RETURN(const Parts parts, Parts::parse(text));
  return parts.view;
}

void SshKeyView::append_line_to(std::string& out) const {
  out.append(type).append(" ").append(data);
  if (!comment.empty()) out.append(" ").append(comment);
}

Result<std::vector<SshPublicKey>> parse_key_list(std::string_view attribute,
                                                 std::span<const std::string> texts) {
  std::vector<SshPublicKey> keys;
  std::set<std::string_view> fingerprints;
  keys.reserve(std::min(texts.size(), kSshKeysMax));  // no reallocation: the set's views stay valid
  for (std::size_t i = 0; i < texts.size(); ++i) {
    Result<SshPublicKey> key = SshPublicKey::parse(texts[i]);
    if (!key) {
      return fail_in(std::string(attribute) + "[" + std::to_string(i) + "]",
                     std::move(key).error());
    }
    if (fingerprints.contains(key->fingerprint())) continue;
    if (keys.size() == kSshKeysMax) {
      return fail(Code::kInvalidArgument, std::string(attribute) + "[" + std::to_string(i) +
                                              "]: a person has at most " +
                                              std::to_string(kSshKeysMax) + " different keys");
    }
    keys.push_back(std::move(*key));
    fingerprints.insert(keys.back().fingerprint());
  }
  return keys;
}

}  // namespace roster::posix
