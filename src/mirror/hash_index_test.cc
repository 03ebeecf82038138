#include "mirror/hash_index.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace roster::mirror {
namespace {

RandomBytes rising_bytes() {
  return [](std::span<std::uint8_t> out) {
    std::uint8_t next = 0;
    for (std::uint8_t& byte : out) byte = next++;
  };
}

// The low halves of SipHash-1-3 with the key 00..0f, from another implementation, which gives the
// published vector for SipHash-2-4.
TEST(KeyedHashTest, IsSipHash13) {
  const KeyedHash hash(rising_bytes());
  EXPECT_EQ(hash(std::string_view("")), 0x050fc4dcU);
  EXPECT_EQ(hash(std::string_view("\x00\x01\x02\x03\x04\x05\x06", 7)), 0x9bb11140U);
  EXPECT_EQ(hash(std::string_view("\x00\x01\x02\x03\x04\x05\x06\x07", 8)), 0x8d299a8eU);
  EXPECT_EQ(hash(std::uint32_t{0x03020100}), hash(std::string_view("\x00\x01\x02\x03", 4)));
}

// What collides under one key is spread under the next: nobody can prepare names that make every
// search walk through all of them.
TEST(KeyedHashTest, EachObjectHasItsOwnKey) {
  const KeyedHash one;
  const KeyedHash other;
  std::vector<std::string> colliding;
  for (int i = 0; colliding.size() < 200; ++i) {
    std::string name = "user" + std::to_string(i);
    if (one(name) % 256 == 0) colliding.push_back(std::move(name));
  }
  std::set<std::uint32_t> places;
  for (const std::string& name : colliding) places.insert(other(name) % 256);
  EXPECT_GT(places.size(), 80U);  // 138 expected of 200 throws into 256
}

// All operations against std::map, with hashes so bad that runs are long and go around the end.
TEST(HashIndexTest, DoesWhatAMapDoes) {
  std::mt19937 random(1);
  for (const std::uint32_t hashes : {1U, 3U, 16U, 100'000U}) {
    HashIndex index;
    std::vector<std::uint32_t> keys;             // by position
    std::map<std::uint32_t, std::uint32_t> map;  // key to position
    const auto hash = [hashes](std::uint32_t key) { return ~(key * 2654435761U % hashes); };
    for (int i = 0; i < 3000; ++i) {
      const std::uint32_t key = random() % 200;
      const auto same = [&](std::uint32_t at) { return keys[at] == key; };
      const auto at = static_cast<std::uint32_t>(keys.size());
      keys.push_back(key);
      switch (random() % 3) {
        case 0:
          EXPECT_EQ(index.find_or_add(hash(key), at, same), map.try_emplace(key, at).first->second);
          break;
        case 1:
          index.assign(hash(key), at, same);
          map[key] = at;
          break;
        default:
          index.erase(hash(key), same);
          map.erase(key);
      }
      EXPECT_EQ(index.size(), map.size());
      for (std::uint32_t each = 0; each < 200; each += 7) {
        const auto found =
            index.find(hash(each), [&](std::uint32_t other) { return keys[other] == each; });
        const auto wanted = map.find(each);
        EXPECT_EQ(found, wanted == map.end() ? std::nullopt : std::optional(wanted->second));
      }
    }
  }
}

TEST(HashIndexTest, GrowsBeyondWhatItWasMadeFor) {
  const KeyedHash hash;
  HashIndex index(10);
  for (std::uint32_t i = 0; i < 100'000; ++i) {
    EXPECT_EQ(index.find_or_add(hash(i), i, [i](std::uint32_t at) { return at == i; }), i);
  }
  for (std::uint32_t i = 0; i < 100'000; ++i) {
    EXPECT_EQ(index.find(hash(i), [i](std::uint32_t at) { return at == i; }), i);
  }
  index.clear();
  EXPECT_EQ(index.size(), 0U);
  EXPECT_FALSE(index.find(hash(1U), [](std::uint32_t) { return true; }));
}

TEST(NameMapTest, TheFirstValueOfANameCounts) {
  NameMap<int> map(1);
  for (const auto& [name, value] : {std::pair{"alice", 1}, {"bob", 2}, {"alice", 3}, {"", 4}}) {
    map.add(name, value);
  }
  EXPECT_EQ(map.find("alice"), 1);
  EXPECT_EQ(map.find("bob"), 2);
  EXPECT_EQ(map.find(""), 4);
  EXPECT_EQ(map.find("carol"), std::nullopt);
}

}  // namespace
}  // namespace roster::mirror
