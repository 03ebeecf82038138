#include "options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "store/testing/engines.h"

namespace roster::rosterd {
namespace {

using ::testing::HasSubstr;

ServeOptions good() {
  ServeOptions options;
  options.data_dir = "/var/lib/roster";
  options.listen = {"0.0.0.0:8443"};
  return options;
}

// Would catch: tokens in the clear on a network.
TEST(Listener, IsLocalOnlyWhenNobodyElseCanReachIt) {
  for (const char* local : {"127.0.0.1:8080", "127.9.9.9:1", "[::1]:8080", "localhost:8080",
                            "unix:/run/roster/hub.sock"}) {
    EXPECT_TRUE(is_local_listener(local)) << local;
  }
  for (const char* open : {"0.0.0.0:8080", "[::]:8080", "10.0.0.1:80", "hub.example.org:80",
                           "127.example.org:80", "localhost.example.org:80", "[::ffff:0:1]:80",
                           ":8080", "8080", "[::1:80", "127.0.0.1.example:80"}) {
    EXPECT_FALSE(is_local_listener(open)) << open;
  }
}

TEST(ServeOptions, RefusesWhatCannotBeServedSafely) {
  EXPECT_TRUE(good().check());
  const struct {
    const char* what;
    void (*spoil)(ServeOptions&);
    const char* sentence;
  } cases[] = {
      {"no directory", [](ServeOptions& o) { o.data_dir.clear(); }, "--data-dir"},
      {"no address", [](ServeOptions& o) { o.listen.clear(); }, "--listen"},
      {"plain to all", [](ServeOptions& o) { o.plain_http = true; }, "in the clear"},
      {"plain, one of two open",
       [](ServeOptions& o) {
         o.plain_http = true;
         o.listen = {"127.0.0.1:1", "10.0.0.1:1"};
       },
       "10.0.0.1:1"},
      {"a certificate without key", [](ServeOptions& o) { o.tls_certificate = "a"; }, "together"},
      {"a key without certificate", [](ServeOptions& o) { o.tls_key = "a"; }, "together"},
      {"PostgreSQL", [](ServeOptions& o) { o.database = "postgres://db/roster"; }, "not there yet"},
      {"a path", [](ServeOptions& o) { o.database = "/tmp/x"; }, "sqlite:PATH"},
      {"no path", [](ServeOptions& o) { o.database = "sqlite:"; }, "sqlite:PATH"},
      {"a URL that is none", [](ServeOptions& o) { o.public_url = "hub"; }, ""},
      {"a format", [](ServeOptions& o) { o.log_format = "xml"; }, "json"},
      {"a level", [](ServeOptions& o) { o.log_level = "loud"; }, "warn"},
  };
  for (const auto& c : cases) {
    ServeOptions options = good();
    c.spoil(options);
    const auto checked = options.check();
    ASSERT_FALSE(checked) << c.what;
    EXPECT_THAT(checked.error().message, HasSubstr(c.sentence)) << c.what;
  }
}

TEST(ServeOptions, ComeFromAFileStrictly) {
  const store::testing::TempDirectory temp;
  const auto file = temp.path() / "rosterd.toml";
  const auto read = [&file](const char* text) {
    std::ofstream(file) << text;
    ServeOptions options;
    auto done = options.read(file);
    return done ? Result<ServeOptions>(options) : std::unexpected(done.error());
  };
  const auto options = read(
      "data_dir = \"/srv/roster\"\nlisten = [\"127.0.0.1:8080\", \"unix:/run/x\"]\n"
      "plain_http = true\n[log]\nformat = \"json\"\n[limits]\nuser_body_bytes = 2048\n");
  ASSERT_TRUE(options) << options.error().message;
  EXPECT_EQ(options->data_dir, "/srv/roster");
  EXPECT_EQ(options->listen.size(), 2U);
  EXPECT_EQ(options->user_body_bytes, 2'048);
  EXPECT_EQ(options->store(), "/srv/roster/roster.db");
  EXPECT_TRUE(options->check());
  const auto unknown = read("data_dir = \"/x\"\nplainhttp = true\n");
  ASSERT_FALSE(unknown);
  EXPECT_THAT(unknown.error().message, HasSubstr("rosterd.toml"));
  EXPECT_THAT(unknown.error().message, HasSubstr("plainhttp"));
  EXPECT_FALSE(read("[limits]\nworkers = 0\n"));
}

// What we hand out as an example must start.
TEST(ServeOptions, TheExampleFileIsRight) {
  ServeOptions options;
  const auto read = options.read(ROSTER_SOURCE_DIR "/deploy/rosterd.toml");
  ASSERT_TRUE(read) << read.error().message;
  const auto checked = options.check();
  EXPECT_TRUE(checked) << checked.error().message;
}

}  // namespace
}  // namespace roster::rosterd
