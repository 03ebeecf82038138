#include "agent/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "base/file.h"

namespace roster::agent {
namespace {

using std::chrono::milliseconds;

class ConfigFile : public testing::Test {
 protected:
  Result<Config> load(const std::string& text) {
    const std::filesystem::path file =
        std::filesystem::path(testing::TempDir()) / ("agent" + std::to_string(getpid()) + ".toml");
    CHECK(write_file_atomic(file, text, 0600));
    auto config = load_config(file);
    std::filesystem::remove(file);
    return config;
  }
};

TEST_F(ConfigFile, IsReadAndUnknownKeysAreNamed) {
  auto config = load(
      "url = \"https://hub:8443\"\nheartbeat = \"30s\"\ndebounce = \"50ms\"\nkeys = false\n"
      "deny_file = \"/tmp/deny\"\n[local]\npasswd = \"/tmp/passwd\"\n[log]\nlevel = \"debug\"\n");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->url, "https://hub:8443");
  EXPECT_EQ(config->heartbeat, milliseconds(30'000));
  EXPECT_EQ(config->debounce, milliseconds(50));
  EXPECT_FALSE(config->keys);
  EXPECT_EQ(config->local.deny, "/tmp/deny");
  EXPECT_EQ(config->local.passwd, "/tmp/passwd");
  EXPECT_EQ(config->local.group, "/etc/group");
  EXPECT_EQ(config->log_level, "debug");
  ASSERT_TRUE(validate(*config));

  const auto unknown = load("url = \"https://hub\"\nhartbeat = \"30s\"\n");
  ASSERT_FALSE(unknown);
  EXPECT_THAT(unknown.error().message,
              testing::AllOf(testing::HasSubstr(":2"), testing::HasSubstr("hartbeat")));
}

TEST(Config, ValidationNamesTheSetting) {
  const struct {
    const char* named;
    void (*change)(Config&);
  } cases[] = {
      {"url", [](Config& c) { c.url.clear(); }},
      {"org", [](Config& c) { c.org = "../x"; }},
      {"role", [](Config& c) { c.role = "Login!"; }},
      {"node_name", [](Config& c) { c.node_name = "a b"; }},
      {"ca_sha256", [](Config& c) { c.ca_sha256 = "xyz"; }},
      {"heartbeat", [](Config& c) { c.heartbeat = milliseconds(10); }},
      {"heartbeat", [](Config& c) { c.heartbeat = milliseconds(400'000); }},
      {"debounce", [](Config& c) { c.debounce = milliseconds(61'000); }},
      {"max_stale", [](Config& c) { c.max_stale = milliseconds(1'000); }},
      {"cache_dir", [](Config& c) { c.cache_dir = "cache"; }},
      {"socket", [](Config& c) { c.socket = "agent.sock"; }},
  };
  for (const auto& c : cases) {
    Config config;
    config.url = "https://hub";
    config.node_name = "n1";
    ASSERT_TRUE(validate(config));
    c.change(config);
    const auto checked = validate(config);
    ASSERT_FALSE(checked) << c.named;
    EXPECT_THAT(checked.error().message, testing::StartsWith(c.named));
  }
}

TEST(Config, TheHostsNameIsTheDefault) {
  Config config;
  config.url = "https://hub";
  ASSERT_TRUE(validate(config));
  EXPECT_FALSE(config.node_name.empty());
  EXPECT_FALSE(config.join_token_file.empty());
}

}  // namespace
}  // namespace roster::agent
