#include "base/json.h"

#include <gtest/gtest.h>

namespace roster::json {
namespace {

TEST(Json, RefusesWhatIsNotOneText) {
  for (const char* bad : {"", "{", "[1,]", "{\"a\":1} x", "{\"a\":1}{", "'a'", "[1] // c",
                          "\"\\u0000\"", "{\"a\\u0000\":1}", "\"\xff\"", "NaN"}) {
    const auto parsed = parse(bad);
    ASSERT_FALSE(parsed) << bad;
    EXPECT_EQ(parsed.error().code, Code::kInvalidArgument) << bad;
  }
  EXPECT_TRUE(parse(" {\"a\":1} \n"));
  EXPECT_TRUE(parse("7"));
}

// A small text that would cost a deep stack or a lot of memory.
TEST(Json, LimitsDepthAndSize) {
  EXPECT_FALSE(parse(std::string(1000, '[') + std::string(1000, ']')));
  EXPECT_TRUE(parse(std::string(30, '[') + std::string(30, ']')));
  EXPECT_EQ(parse(std::string(100, ' ') + "1", {.bytes_max = 100}).error().code, Code::kTooLarge);
}

// An empty string of two bytes becomes a value of many.
TEST(Json, LimitsTheNumberOfValues) {
  const auto parses = [](std::string_view text) {
    return parse(text, {.values_max = 4}).has_value();
  };
  EXPECT_TRUE(parses(R"(["a","b","c","d"])"));
  EXPECT_FALSE(parses(R"(["a","b","c","d","e"])"));
  EXPECT_FALSE(parses(R"([[],[],[]])"));
  EXPECT_FALSE(parses(R"({"a":1,"b":{"c":1,"d":2,"e":3}})"));
  EXPECT_TRUE(parses(R"(["a,b,[{,,,,,","\\",",\",,,,"])")) << "not what stands in strings";
  EXPECT_EQ(parse("[" + std::string(600'000, ',') + "]").error().code, Code::kTooLarge);
  EXPECT_FALSE(parses("\"unfinished,,,,,,,"));
}

TEST(Json, CanonicalSortsAtEveryLevel) {
  EXPECT_EQ(canonical(*parse(R"({"b":[{"z":1,"a":null}],"a":"é\n"})")),
            "{\"a\":\"é\\n\",\"b\":[{\"a\":null,\"z\":1}]}");
}

TEST(Json, TypedAccessGivesNothingForOtherKinds) {
  const value v = *parse(R"({"s":"x","i":5,"b":true,"big":18446744073709551615})");
  const object& o = v.get_object();
  EXPECT_EQ(find_string(o, "s"), "x");
  EXPECT_EQ(find_string(o, "i"), std::nullopt);
  EXPECT_EQ(find_int(o, "i"), 5);
  EXPECT_EQ(find_int(o, "big"), std::nullopt);
  EXPECT_EQ(find_bool(o, "b"), true);
  EXPECT_EQ(find_bool(o, "none"), std::nullopt);
}

}  // namespace
}  // namespace roster::json
