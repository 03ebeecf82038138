#include "base/config.h"

#include <gtest/gtest.h>

#include <map>

namespace roster {
namespace {

struct Settings {
  std::string listen = "127.0.0.1:8443";
  bool plain = false;
  std::int64_t workers = 4;
  std::chrono::milliseconds grace{5000};
  std::filesystem::path data;
  std::vector<std::string> hosts;

  Result<void> read(std::string_view text) {
    ConfigReader reader;
    reader.bind("listen", listen);
    reader.bind("plain_http", plain);
    reader.bind("limits.workers", workers, 1, 64);
    reader.bind("limits.grace", grace);
    reader.bind("data_dir", data);
    reader.bind("allowed_hosts", hosts);
    return reader.read_text(text, "rosterd.toml");
  }
};

TEST(Config, ReadsEveryTypeAndKeepsDefaults) {
  Settings s;
  const auto read = s.read(
      "listen = \"[::1]:1\"\nplain_http = true\ndata_dir = \"/x\"\n"
      "allowed_hosts = [\"a\", \"b\"]\n[limits]\ngrace = \"2m\"\n");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(s.listen, "[::1]:1");
  EXPECT_TRUE(s.plain);
  EXPECT_EQ(s.workers, 4);
  EXPECT_EQ(s.grace, std::chrono::minutes(2));
  EXPECT_EQ(s.data, "/x");
  EXPECT_EQ(s.hosts, (std::vector<std::string>{"a", "b"}));
}

// A setting that is silently ignored is a hole: each error says file, line and key.
TEST(Config, RefusesWhatItDoesNotKnow) {
  const struct {
    const char* text;
    const char* message;
  } kCases[] = {
      {"\nlisten_on = \"x\"\n", "rosterd.toml:2: listen_on: no such setting"},
      {"[limit]\nworkers = 1\n", "rosterd.toml:1: limit: no such section"},
      {"[limits]\nworker = 1\n", "rosterd.toml:2: limits.worker: no such setting"},
      {"plain_http = \"yes\"\n", "rosterd.toml:1: plain_http: must be true or false"},
      {"[limits]\nworkers = 65\n",
       "rosterd.toml:2: limits.workers: must be a whole number from 1 to 64"},
      {"[limits]\ngrace = 5\n", "rosterd.toml:2: limits.grace: must be a duration such as \"30s\""},
      {"allowed_hosts = [1]\n", "rosterd.toml:1: allowed_hosts: must be a list of strings"},
  };
  for (const auto& c : kCases) {
    const auto read = Settings().read(c.text);
    ASSERT_FALSE(read) << c.text;
    EXPECT_EQ(read.error().code, Code::kInvalidArgument);
    EXPECT_EQ(read.error().message, c.message);
  }
}

TEST(Config, ListsOfNumbersAreBounded) {
  std::vector<std::int64_t> gids{1};
  ConfigReader reader;
  reader.bind("node.sudo_gids", gids, 1000, 60000);
  ASSERT_TRUE(reader.read_text("[node]\nsudo_gids = [1000, 2000]\n", "agent.toml"));
  EXPECT_EQ(gids, (std::vector<std::int64_t>{1000, 2000}));
  for (const char* text : {"[node]\nsudo_gids = [0]\n", "[node]\nsudo_gids = [\"1000\"]\n",
                           "[node]\nsudo_gids = 1000\n"}) {
    const auto read = reader.read_text(text, "agent.toml");
    ASSERT_FALSE(read) << text;
    EXPECT_EQ(read.error().message,
              "agent.toml:2: node.sudo_gids: must be a list of whole numbers from 1000 to 60000");
  }
}

struct Shop {
  std::map<std::string, std::string> prices;
  std::map<std::string, std::vector<std::string>> rooms;

  Result<void> read(std::string_view text) {
    ConfigReader reader;
    reader.bind_texts("prices", [this](std::string name, std::string value) -> Result<void> {
      if (value == "0") return fail(Code::kInvalidArgument, "must not be nothing");
      prices[std::move(name)] = std::move(value);
      return {};
    });
    reader.bind_tables("room", [this](std::string name, ConfigReader& inner) -> Result<void> {
      if (name == "attic") return fail(Code::kInvalidArgument, "there is no attic");
      inner.bind_list("inside.shelves",
                      [&room = rooms[name]](std::vector<std::string> items) -> Result<void> {
                        room = std::move(items);
                        return {};
                      });
      return {};
    });
    return reader.read_text(text, "shop.toml");
  }
};

TEST(Config, TablesMayHaveFreeNames) {
  Shop shop;
  ASSERT_TRUE(
      shop.read("[prices]\ntea = 3\n\"green tea\" = \"4 or 5\"\n"
                "[room.cellar.inside]\nshelves = [\"a\", \"b\"]\n[room.\"a.b\"]\n"));
  EXPECT_EQ(shop.prices,
            (std::map<std::string, std::string>{{"tea", "3"}, {"green tea", "4 or 5"}}));
  EXPECT_EQ(shop.rooms["cellar"], (std::vector<std::string>{"a", "b"}));
  EXPECT_TRUE(shop.rooms.contains("a.b"));
}

TEST(Config, ErrorsInTablesOfFreeNamesSayWhere) {
  const struct {
    const char* text;
    const char* message;
  } cases[] = {
      {"[prices]\ntea = 0\n", "shop.toml:2: prices.tea: must not be nothing"},
      {"[prices]\ntea = [3]\n", "shop.toml:2: prices.tea: must be a string or a whole number"},
      {"prices = 3\n", "shop.toml:1: prices: must be a table"},
      {"room = 3\n", "shop.toml:1: room: must be a table of tables"},
      {"[room]\ncellar = 3\n", "shop.toml:2: room.cellar: must be a table"},
      {"[room.attic]\n", "shop.toml:1: room.attic: there is no attic"},
      {"[room.a]\ncolour = 1\n", "shop.toml:2: room.a.colour: no such setting"},
      {"[room.a.garden]\n", "shop.toml:1: room.a.garden: no such section"},
      {"[room.\"a\\u001b\"]\nx = 1\n", "shop.toml:2: room.a?.x: no such setting"},
      {"[room.a.inside]\nshelves = 1\n",
       "shop.toml:2: room.a.inside.shelves: must be a list of strings"},
  };
  for (const auto& c : cases) {
    const auto read = Shop().read(c.text);
    ASSERT_FALSE(read) << c.text;
    EXPECT_EQ(read.error().message, c.message);
  }
}

TEST(Config, APartOfAnotherProgramsFileIsRead) {
  std::string socket;
  ConfigReader reader;
  reader.bind("socket", socket);
  reader.ignore_unknown_keys();
  ASSERT_TRUE(reader.read_text("url = \"x\"\nsocket = \"/s\"\n[log]\nlevel = \"info\"\n", "a"));
  EXPECT_EQ(socket, "/s");
  EXPECT_FALSE(reader.read_text("socket = 5\n", "a"));
}

TEST(Config, SyntaxErrorNamesTheLine) {
  const auto read = Settings().read("listen = \"a\"\nlisten = \n");
  ASSERT_FALSE(read);
  EXPECT_TRUE(read.error().message.starts_with("rosterd.toml:2: ")) << read.error().message;
}

}  // namespace
}  // namespace roster
