#include "posix/ssh_key.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/encoding.h"
#include "base/unicode.h"

namespace roster::posix {
namespace {

using testing::HasSubstr;
using testing::Not;

struct KnownKey {
  std::string_view type;
  std::string line;
  std::string_view fingerprint;
  std::string_view comment;
};

// Made by ssh-keygen (OpenSSH 9.2), as are the fingerprints; the two FIDO keys wrap the first two
// keys' points, and ssh-keygen -l reads them.
const KnownKey kKnownKeys[] = {
    {"ssh-ed25519",
     "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINjYSciBKTNwQfZsarOrr3QQvY8JCTQwjI9sYwnkTq07 ali"
     "ce@laptop",
     "SHA256:+4UBAyufPD5d/RMczuV0b5uAm63u+/CDxCEb9972oyI", "alice@laptop"},
    {"ecdsa-sha2-nistp256",
     "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBBTwPYlSp8IQ"
     "Ajpmol/d1h8MngAkA3DZn1PkH88g5GiGhjmOBDNQnX7gjbJyjrf3RlGvc+Vu1B+vLhp+dur5uhM= ecdsa 2"
     "56",
     "SHA256:LOYgX6zZi2T3TlTdQXFfk5yd0bxodW+zEa3pwRxVcBM", "ecdsa 256"},
    {"ecdsa-sha2-nistp384",
     "ecdsa-sha2-nistp384 AAAAE2VjZHNhLXNoYTItbmlzdHAzODQAAAAIbmlzdHAzODQAAABhBEN2mazwNJ8f"
     "XscWsr18dBNcTcNjABr+nj0mBavFma6QVxtnFe4XXZzYn+UD1c7DKGfTRPSjHYCypC5lS3xbWPkNkWcGkhKF"
     "qxnVU9Lvf03YDry1d7wPyi8Q55nvt1fNYQ== ecdsa 384",
     "SHA256:K2v+5KnvkpOOYs7gWvJuoLwM4iFMMbMupQJHGVG4qew", "ecdsa 384"},
    {"ecdsa-sha2-nistp521",
     "ecdsa-sha2-nistp521 AAAAE2VjZHNhLXNoYTItbmlzdHA1MjEAAAAIbmlzdHA1MjEAAACFBAHZMnTE/puC"
     "dZlLAx8iItsAKTMCllV+R3cETyuP5icVu94Y0cPKrQkEigy02PJcymCUWMlBS9CNxTtGFl9Lr9axZwHumFak"
     "y7C+nPrUmoKN1cJkMjQY58y/lxPPRvhrE9ifvJubwqhhwgq43K9J4/6Kpz72fJiu37Pi8USyJVpHAYx1tA=="
     " ecdsa 521",
     "SHA256:VaSC25PNBjtuKdM7K9ZxJm+YHl7zWc6uyXBMzxBl4zI", "ecdsa 521"},
    {"ssh-rsa",
     "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQCV6pDUGwmvmzW59pSMrDoxheS+oZGnIwyl0Qt65tdv9gUQ"
     "Ifq5X4s1Ki+iAzJRSXonxISG3xuMJZGgwjD77MI+AlsVEZrBb0+Ygc2inJ2HwLRQ+SXusFCIBchkXnMLpGEM"
     "Rxfjr5M5GecYfRxkK6PA1UdvKhGCG9WXh2nq51y1ca//61VY/7vJySvButRUvnmfz/eppM3OOaeNh0XOp/h8"
     "LYwlFFMBkB1ly4vgCvoAaUxFhc7DwzZrPN5eHZFZxqas/fMSa6NZapNgAsadODarFw2Cu78DGxk/X+MW+rlh"
     "hnMb5BqTqfDUAPxES/yDWFZIbkuPxo98GDIld5K4k7LJ",
     "SHA256:Cf75zNCuQjTo4wh9sRDEA+uVGWw5B7yh3ISXcYMD64s", ""},
    {"sk-ssh-ed25519@openssh.com",
     "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAINjYSciBKTNwQ"
     "fZsarOrr3QQvY8JCTQwjI9sYwnkTq07AAAABHNzaDo= yubikey",
     "SHA256:L58KKqpRj+M/YoxKvfbcmwaEjRnLtimZDHo9L61ln18", "yubikey"},
    {"sk-ecdsa-sha2-nistp256@openssh.com",
     "sk-ecdsa-sha2-nistp256@openssh.com AAAAInNrLWVjZHNhLXNoYTItbmlzdHAyNTZAb3BlbnNzaC5jb"
     "20AAAAIbmlzdHAyNTYAAABBBBTwPYlSp8IQAjpmol/d1h8MngAkA3DZn1PkH88g5GiGhjmOBDNQnX7gjbJyj"
     "rf3RlGvc+Vu1B+vLhp+dur5uhMAAAAEc3NoOg== yubikey 2",
     "SHA256:7414VXlVAER9yd7Rud8dTxJdSzhKGgGI5kOyXVh7LHo", "yubikey 2"},
};
const std::string kRsa1024 =
    "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQDWNxWkRchFyIKA6kCWkeDsaGvx/56uDmRArvAHdqQcMu5s"
    "gAxkXyWuv5x/BTqwMnvEbIpfIrMBWn5LUbT6M976+wJd4zuyD7xIpfxAg+tjcQ2uXxvT/HxZ5r9L3wEO1Ul5"
    "ti8DhJKbdK9sZe3QrkJGfo71nRUYhalkpld5YpGKdQ== weak";
const std::string kDsa =
    "ssh-dss AAAAB3NzaC1kc3MAAACBAPAj8N8UVOEhFZCjBC+74wBpLnZTLU4WvxxHPzy/knQUJXzMpgbUibu0"
    "wklg58PImLjEYQiQrf8sYij2KmRm+8Tms4sersik615m1j6cxOVPXz6R1NZi7AC91ez5G/BrFCx3dI1++1dM"
    "bCx17epK36cJjSKkbo8soYXReAfDCwqxAAAAFQDxaNFrqRgL70GSjE6RkZ1itj9OlwAAAIAhAp3WlwErQmcq"
    "O8vHhyZk4qKIa3XRA3oFYooMZZ1F32t/ZzpjF3swZ4k3pN0ozsoNXpiIoEtm1VYcz4a41RzeTxQfWMG7kNBp"
    "awdWIezWJuh523bBJrQFxfdOw1TUjP6LyyttF66RS6V0V6iwJRpq0Qz9TYokXxq69uIrZNxGNQAAAIBx6lxF"
    "+7oBKhcaYf0tsQ58MfYAwVr//JuzQVyrQxyk3Fqe2dEM4ExVLY1kEoR4Vhf+3zITcrLRS1E0nFqDiY7lICJq"
    "c9urAThBJwSl4iw16LXt9LnlC6MzcZYkpA+WUiGlUwLo/SK/IMvRr0SUODCxvUUkrEGw6Yc+vFmJHpuyFA=="
    " dsa";
const std::string kCertificate =
    "ssh-ed25519-cert-v01@openssh.com AAAAIHNzaC1lZDI1NTE5LWNlcnQtdjAxQG9wZW5zc2guY29tAAA"
    "AIJyMtBmHgr29MKNLmBmDegY4oc+rw/qwomAagccvFe1sAAAAINjYSciBKTNwQfZsarOrr3QQvY8JCTQwjI9"
    "sYwnkTq07AAAAAAAAAAAAAAABAAAAAmlkAAAACQAAAAVhbGljZQAAAAAAAAAA//////////8AAAAAAAAAggA"
    "AABVwZXJtaXQtWDExLWZvcndhcmRpbmcAAAAAAAAAF3Blcm1pdC1hZ2VudC1mb3J3YXJkaW5nAAAAAAAAABZ"
    "wZXJtaXQtcG9ydC1mb3J3YXJkaW5nAAAAAAAAAApwZXJtaXQtcHR5AAAAAAAAAA5wZXJtaXQtdXNlci1yYwA"
    "AAAAAAAAAAAAAMwAAAAtzc2gtZWQyNTUxOQAAACCFRwDB5RLEc4TYSJmHxoSKgAxrIJBWwu9N1BVt+uhSlwA"
    "AAFMAAAALc3NoLWVkMjU1MTkAAABANBkgorOwhDhlhxkq3Jz3nF9Dw1yHA8dl7CbrWsjBbp9JJsHyy3GEBOk"
    "pD65CGrOkCLZ4/T9MEsP0ohIdEwG/BQ== alice@laptop";

std::string ssh_string(std::string_view value) {
  std::string out;
  for (int shift = 24; shift >= 0; shift -= 8) {
    out += static_cast<char>(value.size() >> shift & 0xFF);
  }
  return out.append(value);
}

/// "type base64" over a blob of these strings.
std::string key_of(std::string_view type, std::initializer_list<std::string_view> strings,
                   std::string_view extra = {}) {
  std::string blob;
  for (const std::string_view value : strings) blob += ssh_string(value);
  blob += extra;
  return std::string(type) + " " + base64_encode(blob);
}

/// A modulus of so many bits: 1...1, with the zero byte in front when it needs one.
std::string modulus(std::size_t bits) {
  std::string out((bits + 7) / 8, '\xff');
  if (bits % 8 != 0) {
    out[0] = static_cast<char>(0xFF >> (8 - bits % 8));
  } else {
    out.insert(out.begin(), '\0');
  }
  return out;
}

const std::string kExponent("\1\0\1", 3);

std::string reason(const std::string& text) {
  const auto key = SshPublicKey::parse(text);
  const auto view = SshKeyView::parse(text);
  EXPECT_EQ(view.has_value(), key.has_value());
  if (key) return "accepted";
  EXPECT_EQ(view.error().message, key.error().message);
  EXPECT_EQ(key.error().code, Code::kInvalidArgument);
  return key.error().message;
}

TEST(SshKeyTest, ReadsWhatSshKeygenWrites) {
  for (const KnownKey& known : kKnownKeys) {
    const auto key = SshPublicKey::parse(known.line);
    ASSERT_TRUE(key) << known.type << ": " << key.error().message;
    EXPECT_EQ(key->type(), known.type);
    EXPECT_EQ(key->line(), known.line);
    EXPECT_EQ(key->fingerprint(), known.fingerprint);
    EXPECT_EQ(key->comment(), known.comment);
    std::string line;
    SshKeyView::parse("  " + known.line + " ")->append_line_to(line);
    EXPECT_EQ(line, known.line);
    // What we print we read, to the same.
    EXPECT_EQ(SshPublicKey::parse(key->line()).value(), *key);
  }
}

TEST(SshKeyTest, SpacesAreNormalizedAndTheCommentKept) {
  const std::string base = key_of("ssh-ed25519", {"ssh-ed25519", std::string(32, 'k')});
  EXPECT_EQ(SshPublicKey::parse("  " + base + "  ")->line(), base);
  const std::string data = base.substr(base.find(' ') + 1);
  const auto key = SshPublicKey::parse("ssh-ed25519   " + data + "   José's  laptop, 2026: #1 ");
  ASSERT_TRUE(key);
  EXPECT_EQ(key->line(), base + " José's  laptop, 2026: #1");
  EXPECT_EQ(key->comment(), "José's  laptop, 2026: #1");
}

struct RefusedKey {
  std::string text;
  std::string_view reason;
};

TEST(SshKeyTest, RefusesOtherLines) {
  const std::string& good = kKnownKeys[0].line;
  const std::string data = good.substr(12, 68);
  const RefusedKey cases[] = {
      {"", "it is empty"},
      {"   ", "it is empty"},
      {"ssh-ed25519", "nothing after its type"},
      {"ssh-ed25519 ", "nothing after its type"},
      {"hello world", "does not begin with ssh-ed25519"},
      {data, "its type is missing"},
      {kDsa, "DSA"},
      {kCertificate, "it is a certificate"},
      {"2048 65537 1234567 me", "protocol 1"},
      {"command=\"/bin/sh\" " + good, "options"},
      {"no-pty " + good, "options"},
      {"restrict,from=\"*\" " + good, "options"},
      {"environment=\"LD_PRELOAD=/tmp/x.so\" " + good, "options"},
      {"cert-authority " + good, "options"},
      {"# " + good, "options"},
      {good + "\n", "newline"},
      {good + "\nssh-rsa AAAA", "newline"},
      {"\n" + good, "newline"},
      {good + "\r", "newline"},
      {good + "\r\n" + good, "newline"},
      {good + std::string("\0", 1), "control character"},
      {good + "\x1b[2J", "control character"},
      {good + "\xC2\x9B", "control character"},
      {"ssh-ed25519\t" + data, "control character"},
      {good + "\xff", "not UTF-8"},
      {"SSH-ED25519 " + data, "does not begin with"},
      {"ssh-ed25519 " + data + "=", "not base64"},
      {"ssh-ed25519 " + data.substr(0, 67), "not base64"},
      {"ssh-ed25519 " + data.substr(0, 64), "cut off"},
      {"ssh-ed25519 " + data.substr(0, 30) + "-" + data.substr(31), "not base64"},
      {"ssh-ed25519 ====", "not base64"},
      {"ssh-ed25519 AAAA", "cut off"},
      {"ssh-rsa " + data, "the type inside"},
      {"ecdsa-sha2-nistp256 " + kKnownKeys[2].line.substr(20), "the type inside"},
      {"sk-ssh-ed25519@openssh.com " + data, "the type inside"},
      {good + std::string(kSshKeyBytesMax, 'c'), "bytes, more than 8192"},
      {std::string(1 << 20, 'A'), "more than 8192"},
      {"---- BEGIN SSH2 PUBLIC KEY ----\nAAAA", "RFC 4716"},
  };
  for (const RefusedKey& c : cases) {
    EXPECT_THAT(reason(c.text), HasSubstr(c.reason)) << c.text.substr(0, 80);
    EXPECT_THAT(reason(c.text), HasSubstr("not an SSH public key: "));
  }
}

TEST(SshKeyTest, RefusesBadBlobs) {
  const std::string k32(32, 'k');
  const std::string p256 = "\x04" + std::string(64, 'p');
  const std::string p384 = "\x04" + std::string(96, 'p');
  const auto ed = [](std::initializer_list<std::string_view> strings, std::string_view extra = {}) {
    return key_of("ssh-ed25519", strings, extra);
  };
  const auto ec = [](std::initializer_list<std::string_view> strings, std::string_view extra = {}) {
    return key_of("ecdsa-sha2-nistp256", strings, extra);
  };
  const RefusedKey cases[] = {
      {ed({"ssh-ed25519", k32}), "accepted"},
      {ed({"ssh-ed25519"}), "cut off"},
      {ed({"ssh-ed25519", std::string(31, 'k')}), "not 32 bytes"},
      {ed({"ssh-ed25519", std::string(33, 'k')}), "not 32 bytes"},
      {ed({"ssh-ed25519", ""}), "not 32 bytes"},
      {ed({"ssh-ed25519", k32, ""}), "extra bytes"},
      {ed({"ssh-ed25519", k32}, "x"), "extra bytes"},
      {ed({"ssh-ed25519"}, std::string("\0\0\0\x21", 4) + k32), "cut off"},
      {ed({"ssh-ed25519"}, "\xff\xff\xff\xff" + k32), "cut off"},  // length overflow
      {ed({}, "\xff\xff\xff\xff"), "cut off"},
      {ed({"ssh-ed25519 "}, ""), "the type inside"},
      {ec({"ecdsa-sha2-nistp256", "nistp256", p256}), "accepted"},
      {ec({"ecdsa-sha2-nistp256", "nistp384", p384}), "curve"},
      {ec({"ecdsa-sha2-nistp256", "nistp256", p384}), "point"},
      {ec({"ecdsa-sha2-nistp256", "nistp256", "\x02" + std::string(32, 'p')}), "point"},
      {ec({"ecdsa-sha2-nistp256", "nistp256", "\x05" + std::string(64, 'p')}), "point"},
      {ec({"ecdsa-sha2-nistp256", "nistp256", ""}), "point"},
      {ec({"ecdsa-sha2-nistp256", "nistp256"}), "cut off"},
      {ec({"ecdsa-sha2-nistp256", "nistp256", p256}, "x"), "extra bytes"},
  };
  for (const RefusedKey& c : cases) EXPECT_THAT(reason(c.text), HasSubstr(c.reason)) << c.text;
}

TEST(SshKeyTest, RsaNumbers) {
  const auto rsa = [](std::string_view e, std::string_view n, std::string_view extra = {}) {
    return key_of("ssh-rsa", {"ssh-rsa", e, n}, extra);
  };
  std::string even = modulus(2048);
  even.back() = '\xfe';
  const RefusedKey cases[] = {
      {kRsa1024, "has 1024 bits, fewer than 2048"},
      {rsa(kExponent, modulus(2048)), "accepted"},
      {rsa(kExponent, modulus(2049)), "accepted"},
      {rsa(kExponent, modulus(16384)), "accepted"},
      {rsa("\3", modulus(2048)), "accepted"},
      {rsa("\x7f" + std::string(7, '\xff'), modulus(2048)), "accepted"},
      {rsa(kExponent, modulus(2047)), "has 2047 bits, fewer than 2048"},
      {rsa(kExponent, modulus(1)), "has 1 bits"},
      {rsa(kExponent, modulus(16385)), "has 16385 bits, more than 16384"},
      {rsa(kExponent, even), "modulus is even"},
      {rsa(kExponent, ""), "positive integers"},
      {rsa(kExponent, std::string(1, '\0')), "positive integers"},
      {rsa(kExponent, modulus(2048).substr(1)), "positive integers"},               // negative
      {rsa(kExponent, std::string(1, '\0') + modulus(2048)), "positive integers"},  // too long
      {rsa(kExponent, std::string(1, '\0') + modulus(2047)), "positive integers"},
      {rsa("", modulus(2048)), "positive integers"},
      {rsa(std::string(1, '\0'), modulus(2048)), "positive integers"},
      {rsa(std::string("\0\3", 2), modulus(2048)), "positive integers"},
      {rsa("\xff", modulus(2048)), "positive integers"},
      {rsa("\1", modulus(2048)), "exponent"},
      {rsa("\4", modulus(2048)), "exponent"},
      {rsa("\1" + std::string(8, '\1'), modulus(2048)), "exponent"},
      {rsa(kExponent, modulus(2048), "x"), "extra bytes"},
      {key_of("ssh-rsa", {"ssh-rsa", kExponent}), "cut off"},
  };
  for (const RefusedKey& c : cases) {
    EXPECT_THAT(reason(c.text), HasSubstr(c.reason)) << c.text.substr(0, 60);
  }
}

TEST(SshKeyTest, FidoApplications) {
  const auto sk = [](std::initializer_list<std::string_view> strings, std::string_view extra = {}) {
    return key_of("sk-ssh-ed25519@openssh.com", strings, extra);
  };
  const std::string_view type = "sk-ssh-ed25519@openssh.com";
  const std::string k32(32, 'k');
  EXPECT_EQ(reason(sk({type, k32, "ssh:"})), "accepted");
  EXPECT_EQ(reason(sk({type, k32, "ssh:cluster"})), "accepted");
  EXPECT_THAT(reason(sk({type, k32})), HasSubstr("cut off"));
  EXPECT_THAT(reason(sk({type, k32, ""})), HasSubstr("application"));
  EXPECT_THAT(reason(sk({type, k32, "ssh:\n"})), HasSubstr("application"));
  EXPECT_THAT(reason(sk({type, k32, std::string(257, 'a')})), HasSubstr("application"));
  EXPECT_THAT(reason(sk({type, k32, "ssh:"}, "x")), HasSubstr("extra bytes"));
  EXPECT_THAT(reason(sk({type, "short", "ssh:"})), HasSubstr("not 32 bytes"));
  EXPECT_THAT(reason(key_of("sk-ecdsa-sha2-nistp256@openssh.com",
                            {"sk-ecdsa-sha2-nistp256@openssh.com", "nistp256", k32, "ssh:"})),
              HasSubstr("point"));
}

// A private key pasted by mistake must not reach an answer or a log.
TEST(SshKeyTest, PrivateKeysAreNamedAndNotRepeated) {
  const std::string body = "c2VjcmV0c2VjcmV0c2VjcmV0";
  for (const std::string& text :
       {"-----BEGIN OPENSSH PRIVATE "
        "KEY-----\n" +
            body + "\n",
        "-----BEGIN RSA PRIVATE "
        "KEY-----\r\n" +
            body,
        "PuTTY-User-Key-File-3: " + body, "b3BlbnNzaC1rZXktdjEAAAAA" + body,
        "ssh-ed25519 b3BlbnNzaC1rZXktdjEAAAAA" + body,
        std::string(1 << 20, ' ') +
            "-----BEGIN PRIVATE "
            "KEY-----" +
            body}) {
    EXPECT_THAT(reason(text), HasSubstr("it is a private key"));
    EXPECT_THAT(reason(text), Not(HasSubstr(body)));
  }
}

TEST(SshKeyTest, ErrorsNeverRepeatTheText) {
  const std::string mark = "zzSECRETzz";
  for (const std::string& text :
       {mark, mark + " x", "ssh-ed25519 " + mark, "ssh-rsa " + mark + " c",
        mark + "=\"x\" " + kKnownKeys[0].line, mark + "-cert-v01@openssh.com AAAA"}) {
    EXPECT_THAT(reason(text), Not(HasSubstr(mark))) << text;
  }
}

// Every change of one character gives an error or another key: the fingerprint covers all bytes.
TEST(SshKeyTest, ChangedCharactersNeverKeepTheFingerprint) {
  for (const KnownKey& known : kKnownKeys) {
    const std::size_t start = known.line.find(' ') + 1;
    const std::size_t end = std::min(known.line.find(' ', start), known.line.size());
    for (std::size_t i = start; i < end; ++i) {
      for (const char c : {'A', '/', '=', ' ', '"'}) {
        std::string changed = known.line;
        if (changed[i] == c) continue;
        changed[i] = c;
        const auto key = SshPublicKey::parse(changed);
        if (key) EXPECT_NE(key->fingerprint(), known.fingerprint) << i << c;
      }
    }
  }
}

TEST(SshKeyListTest, KeepsOrderAndDropsDuplicates) {
  const std::string a = key_of("ssh-ed25519", {"ssh-ed25519", std::string(32, 'a')});
  const std::string b = key_of("ssh-ed25519", {"ssh-ed25519", std::string(32, 'b')});
  const auto keys =
      parse_key_list("keys", std::vector<std::string>{b + " one", a, b + " two", "  " + a});
  ASSERT_TRUE(keys);
  ASSERT_EQ(keys->size(), 2U);
  EXPECT_EQ((*keys)[0].line(), b + " one");
  EXPECT_EQ((*keys)[1].line(), a);
  EXPECT_TRUE(parse_key_list("keys", {})->empty());
}

TEST(SshKeyListTest, ErrorsNameTheIndex) {
  const std::string a = key_of("ssh-ed25519", {"ssh-ed25519", std::string(32, 'a')});
  const auto keys = parse_key_list("sunkSshKeys", std::vector<std::string>{a, a, kDsa});
  ASSERT_FALSE(keys);
  EXPECT_EQ(keys.error().code, Code::kInvalidArgument);
  EXPECT_EQ(keys.error().message,
            "sunkSshKeys[2]: not an SSH public key: DSA keys are too weak; use ed25519");
}

TEST(SshKeyListTest, AtMostHundredDifferentOnes) {
  std::vector<std::string> texts;
  for (int i = 0; i < 100; ++i) {
    std::string k(32, 'k');
    k[0] = static_cast<char>(i);
    texts.push_back(key_of("ssh-ed25519", {"ssh-ed25519", k}));
    texts.push_back(texts.back() + " again");
  }
  const auto keys = parse_key_list("keys", texts);
  ASSERT_TRUE(keys);
  EXPECT_EQ(keys->size(), 100U);
  texts.push_back(kKnownKeys[0].line);
  const auto more = parse_key_list("keys", texts);
  ASSERT_FALSE(more);
  EXPECT_EQ(more.error().message, "keys[200]: a person has at most 100 different keys");
}

}  // namespace
}  // namespace roster::posix
