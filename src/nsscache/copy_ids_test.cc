#include "nsscache/copy_ids.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "nsscache/image.h"

namespace roster::nsscache {
namespace {

// Would catch: a vector path that sums, copies or looks at other bytes than the portable one.
TEST(CopyIds, EveryPathCopiesAndChecksTheSame) {
  std::mt19937 random(1);
  for (std::uint32_t count = 0; count <= 100; ++count) {
    std::vector<std::uint8_t> bytes(std::size_t{count} * 4 + 3);
    for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(random());
    for (std::size_t shift = 0; shift < 4; ++shift) {
      const std::uint8_t* items = bytes.data() + shift;
      for (const auto copy : {copy_ids, copy_ids_plain}) {
        std::vector<std::uint32_t> out(count + 1, 0xdeadbeef);
        const CopiedIds copied = copy(items, count, 77, out.data());
        EXPECT_EQ(copied.check, check64(items, std::size_t{count} * 4, 77)) << count;
        EXPECT_EQ(std::memcmp(out.data(), items, std::size_t{count} * 4), 0) << count;
        EXPECT_EQ(out[count], 0xdeadbeef) << "one too many of " << count;
      }
    }
  }
}

TEST(CopyIds, FindsASystemIdWhereverItStands) {
  for (const std::uint32_t count : {1U, 7U, 8U, 9U, 40U, 43U}) {
    std::vector<std::uint32_t> ids(count, 1000);
    std::vector<std::uint32_t> out(count);
    const auto* items = reinterpret_cast<const std::uint8_t*>(ids.data());
    for (const auto copy : {copy_ids, copy_ids_plain}) {
      EXPECT_FALSE(copy(items, count, 0, out.data()).has_system_id);
      for (std::uint32_t at = 0; at < count; ++at) {
        for (const std::uint32_t id : {0U, 999U, 0x80000000U, 0xffffffffU}) {
          ids[at] = id;
          EXPECT_TRUE(copy(items, count, 0, out.data()).has_system_id) << at << ' ' << id;
        }
        ids[at] = 2147483647;
      }
    }
  }
}

}  // namespace
}  // namespace roster::nsscache
