#include "cli/program.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <sstream>
#include <string>
#include <vector>

namespace roster::cli {
namespace {

struct Outcome {
  int status;
  std::string out;
  std::string err;
};

Outcome roster(std::vector<const char*> words) {
  words.insert(words.begin(), "roster");
  std::ostringstream out;
  std::ostringstream err;
  const int status = run(static_cast<int>(words.size()), words.data(), out, err);
  return {status, out.str(), err.str()};
}

class ProgramTest : public ::testing::Test {
 protected:
  ProgramTest() {
    for (const char* name : {"ROSTER_URL", "ROSTER_TOKEN", "ROSTER_TOKEN_FILE", "ROSTER_ORG"}) {
      ::unsetenv(name);
    }
  }
};

TEST_F(ProgramTest, HelpHasAnExampleForEveryCommand) {
  const std::vector<std::vector<const char*>> kCommands = {{"org", "create"},
                                                           {"org", "list"},
                                                           {"org", "set"},
                                                           {"org", "ids", "list"},
                                                           {"org", "ids", "add"},
                                                           {"org", "ids", "close"},
                                                           {"client", "create"},
                                                           {"client", "list"},
                                                           {"token", "create"},
                                                           {"token", "list"},
                                                           {"token", "revoke"},
                                                           {"user", "create"},
                                                           {"user", "list"},
                                                           {"user", "get"},
                                                           {"user", "deactivate"},
                                                           {"user", "reactivate"},
                                                           {"user", "rename"},
                                                           {"user", "set"},
                                                           {"user", "expire"},
                                                           {"user", "delete"},
                                                           {"user", "keys", "add"},
                                                           {"user", "keys", "list"},
                                                           {"user", "keys", "remove"},
                                                           {"group", "create"},
                                                           {"group", "list"},
                                                           {"group", "get"},
                                                           {"group", "rename"},
                                                           {"group", "set"},
                                                           {"group", "delete"},
                                                           {"group", "members"},
                                                           {"node", "list"},
                                                           {"node", "delete"},
                                                           {"view", "list"},
                                                           {"view", "get"},
                                                           {"view", "set"},
                                                           {"view", "remove"},
                                                           {"fuse", "status"},
                                                           {"fuse", "release"},
                                                           {"audit", "list"},
                                                           {"audit", "verify"},
                                                           {"audit", "erase"},
                                                           {"ssh-public-keys"},
                                                           {"import"},
                                                           {"unreserve"},
                                                           {"export"},
                                                           {"doctor", "--config=/x"}};
  for (auto words : kCommands) {
    words.push_back("--help");
    const Outcome outcome = roster(words);
    EXPECT_EQ(outcome.status, 0) << words[0];
    EXPECT_NE(outcome.out.find("Example"), std::string::npos) << words[0] << ' ' << words[1];
  }
}

TEST_F(ProgramTest, WrongUsageIsTwoAndSaysHowToMendIt) {
  EXPECT_EQ(roster({}).status, 2);
  EXPECT_EQ(roster({"user"}).status, 2);
  EXPECT_EQ(roster({"token", "create", "--name", "x", "--scope", "root"}).status, 2);
  EXPECT_EQ(roster({"view", "set"}).status, 2);
  EXPECT_EQ(roster({"view", "set", "v", "--attribute", "uid"}).status, 2);
  const Outcome no_hub = roster({"org", "list"});
  EXPECT_EQ(no_hub.status, 2);
  EXPECT_NE(no_hub.err.find("ROSTER_URL"), std::string::npos);
  const Outcome no_token = roster({"org", "list", "--url", "http://127.0.0.1:1"});
  EXPECT_EQ(no_token.status, 2);
  EXPECT_NE(no_token.err.find("--token-file"), std::string::npos);
}

TEST_F(ProgramTest, ATokenOnTheCommandLineIsNoOption) {
  const Outcome outcome = roster({"org", "list", "--token", "rst_secret"});
  EXPECT_EQ(outcome.status, 2);
}

TEST_F(ProgramTest, AnUnreachableHubIsThree) {
  ::setenv("ROSTER_TOKEN", "rst_x", 1);
  const Outcome outcome = roster({"org", "list", "--url", "http://127.0.0.1:1"});
  EXPECT_EQ(outcome.status, 3) << outcome.err;
  EXPECT_EQ(outcome.err.find("rst_x"), std::string::npos);
}

}  // namespace
}  // namespace roster::cli
