#include "nsscache/text_map.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <utility>
#include <vector>

namespace roster::nsscache {
namespace {

using std::string_literals::operator""s;

struct Files {
  std::string data, names, numbers;
};

struct Line {
  const char* text;
  const char* name;
  std::uint32_t number;
};

Files written(std::initializer_list<Line> lines) {
  Files out;
  const auto into = [](std::string& to) {
    return [&to](std::string_view bytes) -> Result<void> {
      to += bytes;
      return {};
    };
  };
  TextMap map(into(out.data));
  for (const Line& line : lines) EXPECT_TRUE(map.add(line.text, line.name, line.number));
  EXPECT_TRUE(map.flush());
  EXPECT_TRUE(map.write_name_index(into(out.names)));
  EXPECT_TRUE(map.write_number_index(into(out.numbers)));
  return out;
}

// Made by nsscache 0.49 from the same entries.
TEST(TextMap, WritesWhatNsscacheWrites) {
  const Files files =
      written({{"zoe:x:20002:30000::/home/zoe:/bin/sh", "zoe", 20002},
               {"alice:x:20001:30000:Alice A:/home/alice:/bin/bash", "alice", 20001}});
  EXPECT_EQ(files.data,
            "zoe:x:20002:30000::/home/zoe:/bin/sh\n"
            "alice:x:20001:30000:Alice A:/home/alice:/bin/bash\n");
  EXPECT_EQ(files.names,
            "alice\0"
            "37\0"
            "\n"
            "zoe\0"
            "0\0"
            "\0\0\0"
            "\n"s);
  EXPECT_EQ(files.numbers,
            "20001\0"
            "37\0"
            "\n"
            "20002\0"
            "0\0"
            "\0"
            "\n"s);
}

// Names that begin alike, that differ far behind, that are the beginning of one another or have
// bytes from 0x80; numbers by their digits, not by their values.
TEST(TextMap, IndexesRiseByTheBytesOfTheirKeys) {
  std::vector<std::pair<std::string, std::uint32_t>> entries;
  const std::string longer(300, 'x');
  for (const char* name : {"user-b", "user-", "user-a\xC3\xA9", "user-a", "user-azzzzzzzzzzzzz1",
                           "user-azzzzzzzzzzzzz0", "user-azzzzzzzz", "user-_"}) {
    entries.emplace_back(name, 0);
    entries.emplace_back(name + longer, 0);
  }
  std::uint32_t number = 1;
  for (auto& [name, value] : entries) value = number = number * 3 % 2147483647;
  entries[0].second = 2147483647;
  entries[1].second = 4294967295;
  entries[2].second = 0;
  std::string names;
  std::string numbers;
  TextMap map([](std::string_view) -> Result<void> { return {}; });
  std::set<std::string> sorted_names;
  std::set<std::string> sorted_numbers;
  for (const auto& [name, value] : entries) {
    EXPECT_TRUE(map.add(name, name, value));
    sorted_names.insert(name);
    sorted_numbers.insert(std::to_string(value));
  }
  EXPECT_TRUE(map.write_name_index([&names](std::string_view bytes) -> Result<void> {
    names += bytes;
    return {};
  }));
  EXPECT_TRUE(map.write_number_index([&numbers](std::string_view bytes) -> Result<void> {
    numbers += bytes;
    return {};
  }));
  const auto keys_of = [](const std::string& index) {
    std::vector<std::string> keys;
    std::size_t line_bytes = index.find('\n') + 1;
    for (std::size_t at = 0; at < index.size(); at += line_bytes) {
      EXPECT_EQ(index.find('\n', at), at + line_bytes - 1);
      keys.emplace_back(index.c_str() + at);
    }
    return keys;
  };
  EXPECT_EQ(keys_of(names), std::vector(sorted_names.begin(), sorted_names.end()));
  EXPECT_EQ(keys_of(numbers), std::vector(sorted_numbers.begin(), sorted_numbers.end()));
}

TEST(TextMap, OffsetsCountBytes) {
  const Files files = written({{"a:x:1:1:\xC3\xA9\xC3\xA9:/:/", "a", 1}, {"b:x:2:1::/:/", "b", 2}});
  EXPECT_EQ(files.names,
            "a\0"
            "0\0"
            "\0"
            "\n"
            "b\0"
            "17\0"
            "\n"s);
}

TEST(TextMap, OfEqualNumbersTheLastCountsAndOfRepeatedNamesTheFirstLine) {
  const Files files = written({{"a:k1", "a", 7}, {"a:k2", "a", 7}, {"b:k3", "b", 7}});
  EXPECT_EQ(files.names,
            "a\0"
            "0\0"
            "\0"
            "\n"
            "b\0"
            "10\0"
            "\n"s);
  EXPECT_EQ(files.numbers,
            "7\0"
            "10\0"
            "\n"s);
}

TEST(TextMap, AnEmptyMapHasEmptyFiles) {
  const Files files = written({});
  EXPECT_TRUE(files.data.empty() && files.names.empty() && files.numbers.empty());
}

// Each as Python 3.11 prints it.
TEST(PythonRepr, IsAddedToWhatIsThere) {
  std::string out = "[";
  append_python_repr(out, "plain \"text\" ~");
  append_python_repr(out += ", ", "it's");
  append_python_repr(out += ", ", "");
  EXPECT_EQ(out, "['plain \"text\" ~', \"it's\", ''");
}

TEST(PythonRepr, QuotesAndEscapes) {
  EXPECT_EQ(python_repr(""), "''");
  EXPECT_EQ(python_repr("ssh-ed25519 AAAA a@x"), "'ssh-ed25519 AAAA a@x'");
  EXPECT_EQ(python_repr("it's"), "\"it's\"");
  EXPECT_EQ(python_repr("\"q\" it's"), "'\"q\" it\\'s'");
  EXPECT_EQ(python_repr("a\\b\t\n\r"), "'a\\\\b\\t\\n\\r'");
  EXPECT_EQ(python_repr("J\xC3\xB6rg \xF0\x9F\x94\x91"), "'J\xC3\xB6rg \xF0\x9F\x94\x91'");
  EXPECT_EQ(python_repr("\xC2\xA0\xC2\xAD\xE2\x80\x8B\xE2\x80\xA8"), "'\\xa0\\xad\\u200b\\u2028'");
  EXPECT_EQ(python_repr("\x01\x7f\xF3\xA0\x80\x81"), "'\\x01\\x7f\\U000e0001'");
}

}  // namespace
}  // namespace roster::nsscache
