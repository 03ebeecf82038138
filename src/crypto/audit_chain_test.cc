#include "crypto/audit_chain.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

#include "crypto/hash.h"

namespace roster::crypto {
namespace {

using Row = std::vector<std::string_view>;

// The encoding is stored in databases for years: this pins its bytes.
TEST(ChainHashTest, EncodingIsTheDocumentedOne) {
  const std::string u64_0(8, '\0');
  const std::string u64_1 = std::string(1, '\1') + std::string(7, '\0');
  const std::string u64_2 = std::string(1, '\2') + std::string(7, '\0');
  const std::string u64_32 = std::string(1, ' ') + std::string(7, '\0');
  EXPECT_EQ(chain_hash("", {}), sha256("roster-chain-1\n" + u64_0 + u64_0));
  const std::string previous(32, 'p');
  EXPECT_EQ(chain_hash(previous, {"a", "bc"}),
            sha256("roster-chain-1\n" + u64_32 + previous + u64_2 + u64_1 + "a" + u64_2 + "bc"));
}

// Catches encodings that join fields without their lengths.
TEST(ChainHashTest, FieldsCannotShiftIntoEachOther) {
  const std::string previous(32, 'p');
  const Row rows[] = {{"ab", "c"},     {"a", "bc"}, {"abc"}, {"abc", ""}, {"", "abc"},
                      {"ab", "", "c"}, {},          {""},    {"", ""},    {"c", "ab"}};
  std::set<std::string> hashes;
  for (const Row& row : rows) hashes.insert(chain_hash(previous, row));
  EXPECT_EQ(hashes.size(), std::size(rows));
  EXPECT_NE(chain_hash("", {"a"}), chain_hash(previous, {"a"}));
}

std::vector<std::string> chain_of(const std::vector<Row>& rows) {
  std::vector<std::string> hashes;
  for (const Row& row : rows)
    hashes.push_back(chain_hash(hashes.empty() ? "" : hashes.back(), row));
  return hashes;
}

TEST(ChainHashTest, EveryTamperingShowsAtTheEnd) {
  const std::vector<Row> rows = {{"1", "create"}, {"2", "lock"}, {"3", "delete"}, {"4", "create"}};
  const std::string end = chain_of(rows).back();

  std::vector<Row> changed = rows;
  changed[1][1] = "unlock";
  EXPECT_NE(chain_of(changed).back(), end);

  std::vector<Row> removed = rows;
  removed.erase(removed.begin() + 1);
  EXPECT_NE(chain_of(removed).back(), end);

  std::vector<Row> reordered = rows;
  std::swap(reordered[1], reordered[2]);
  EXPECT_NE(chain_of(reordered).back(), end);

  EXPECT_EQ(chain_of(rows).back(), end);
}

}  // namespace
}  // namespace roster::crypto
