#include "node/insertion.h"

#include <gtest/gtest.h>

#include <random>

namespace roster::node {
namespace {

constexpr std::string_view kBody = "session optional pam_mkhomedir.so\n";

TEST(Block, AppendThenRemoveIsIdentity) {
  for (const std::string text : {"", "\n", "x", "x\n", "x\n\n", "x\r\n",
                                 "# end of pam-auth-update config\n", "#", "a\n#b"}) {
    for (const auto add : {append_block, prepend_block}) {
      const Edited edited = add(text, kBody);
      EXPECT_TRUE(has_block(edited.text));
      EXPECT_NE(edited.text.find(kBody), std::string::npos);
      const auto back = remove_block(edited.text, edited.insertions);
      ASSERT_TRUE(back);
      EXPECT_EQ(*back, text);
    }
  }
}

TEST(Block, LinesThatWereAddedAroundItStay) {
  const Edited edited = append_block("first", kBody);
  EXPECT_EQ(*remove_block("zero\n" + edited.text + "\nlast\n", edited.insertions),
            "zero\nfirst\nlast\n");
  const Edited front = prepend_block("first\n", kBody);
  EXPECT_EQ(*remove_block("zero\n" + front.text + "last\n", front.insertions),
            "zero\nfirst\nlast\n");
}

TEST(Block, FoundByItsMarkersWhenNothingIsRememberedOrTheInsideWasEdited) {
  EXPECT_EQ(*remove_block(append_block("x\n", kBody).text, {}), "x\n");
  const Edited old = append_block("x\n", "other\n");
  EXPECT_EQ(*remove_block(append_block("x\n", kBody).text, old.insertions), "x\n");
  EXPECT_EQ(*remove_block(append_block(append_block("x\n", kBody).text, kBody).text, {}), "x\n");
}

TEST(Block, ATornBlockIsLeftToTheOperator) {
  for (const char* text : {"# begin roster-agent setup\nx\n", "x\n# end roster-agent setup\n",
                           "# end roster-agent setup\n# begin roster-agent setup\n",
                           "# begin roster-agent setup\n# begin roster-agent setup\nx\n"
                           "# end roster-agent setup\n"}) {
    const auto back = remove_block(text, {});
    ASSERT_FALSE(back) << text;
    EXPECT_EQ(back.error().code, Code::kFailedPrecondition);
  }
  // Not at the start of a line: somebody's words.
  EXPECT_EQ(*remove_block("x # begin roster-agent setup\n", {}), "x # begin roster-agent setup\n");
}

TEST(Block, IdentityForOddInputs) {
  const std::vector<std::string> kWords = {
      "# begin roster-agent setup", "# end roster-agent setup", "\n",  "\n", "x", " ", "#", "\r\n",
      "@include common-auth",       std::string(1, '\0'),       "\xff"};
  std::mt19937 random(7);
  for (int round = 0; round < 20'000; ++round) {
    std::string text;
    for (auto words = random() % 10; words > 0; --words) text += kWords[random() % kWords.size()];
    const auto base = remove_block(text, {});
    if (!base) continue;
    const Edited edited = append_block(*base, kBody);
    const auto back = remove_block(edited.text, edited.insertions);
    ASSERT_TRUE(back) << edited.text;
    ASSERT_EQ(*back, *base);
  }
}

}  // namespace
}  // namespace roster::node
