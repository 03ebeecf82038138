#include "mirror/hash_index.h"

#include <bit>
#include <cstring>
#include <span>

namespace roster::mirror {
namespace {

struct SipState {
  std::uint64_t v0;
  std::uint64_t v1;
  std::uint64_t v2;
  std::uint64_t v3;

  explicit SipState(const std::array<std::uint64_t, 2>& key)
      : v0(key[0] ^ 0x736f6d6570736575),
        v1(key[1] ^ 0x646f72616e646f6d),
        v2(key[0] ^ 0x6c7967656e657261),
        v3(key[1] ^ 0x7465646279746573) {}

  void round() {
    v0 += v1;
    v1 = std::rotl(v1, 13) ^ v0;
    v0 = std::rotl(v0, 32);
    v2 += v3;
    v3 = std::rotl(v3, 16) ^ v2;
    v0 += v3;
    v3 = std::rotl(v3, 21) ^ v0;
    v2 += v1;
    v1 = std::rotl(v1, 17) ^ v2;
    v2 = std::rotl(v2, 32);
  }
  void put(std::uint64_t word) {
    v3 ^= word;
    round();
    v0 ^= word;
  }
  std::uint32_t finish() {
    v2 ^= 0xff;
    for (int i = 0; i < 3; ++i) round();
    return static_cast<std::uint32_t>(v0 ^ v1 ^ v2 ^ v3);
  }
};

}  // namespace

KeyedHash::KeyedHash(const RandomBytes& random) {
  std::array<std::uint8_t, sizeof key_> bytes{};
  random(bytes);
  std::memcpy(key_.data(), bytes.data(), sizeof key_);
}

std::uint32_t KeyedHash::operator()(std::string_view text) const {
  SipState state(key_);
  const std::uint64_t size = text.size();
  std::uint64_t word = 0;
  for (; text.size() >= sizeof word; text.remove_prefix(sizeof word)) {
    std::memcpy(&word, text.data(), sizeof word);
    state.put(word);
  }
  word = size << 56;
  for (std::size_t i = 0; i < text.size(); ++i) {
    word |= std::uint64_t{static_cast<unsigned char>(text[i])} << (8 * i);
  }
  state.put(word);
  return state.finish();
}

std::uint32_t KeyedHash::operator()(std::uint32_t number) const {
  SipState state(key_);
  state.put(number | std::uint64_t{sizeof number} << 56);
  return state.finish();
}

}  // namespace roster::mirror
