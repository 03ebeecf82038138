#include "slurm/accounting_commands.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

namespace roster::slurm {
namespace {

using accounting::Act;
using accounting::Setting;
using accounting::Step;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

TEST(CheckStep, OnlyPlainNamesAndTextsAreSent) {
  const auto account = [](std::string name) {
    return check_step({.act = Act::kAddAccount, .account = std::move(name), .to = "root"});
  };
  EXPECT_TRUE(account("physics-2_a.b"));
  for (const char* name : {"a,b", "a b", "a'b", "-a", "A", "a\nb", "a|b", "a=b", "a:b", "ä"}) {
    EXPECT_FALSE(account(name)) << name;
  }
  const auto user = [](std::string name) {
    return check_step({.act = Act::kAddUser, .account = "a", .user = std::move(name)});
  };
  EXPECT_TRUE(user("jane.doe"));
  EXPECT_FALSE(user("jane,root"));
  EXPECT_FALSE(user("jane doe"));
  const auto text = [](std::string words) {
    return check_step({.act = Act::kDescribeAccount, .account = "a", .to = std::move(words)});
  };
  EXPECT_TRUE(text("Física: a=b, c"));
  for (const char* words : {"it's", "\"x\"", "a\\", "a\nb", "`id`"}) EXPECT_FALSE(text(words));
  EXPECT_FALSE(check_step({.act = Act::kAddAccount, .account = "a", .organization = "o'"}));
}

TEST(CheckStep, ValuesMustBeCanonical) {
  const auto set = [](Setting setting, std::string to) {
    return check_step({.act = Act::kSetAccount, .account = "a", .changes = {{setting, "", to}}});
  };
  EXPECT_TRUE(set(Setting::kMaxJobs, "5"));
  EXPECT_TRUE(set(Setting::kMaxJobs, ""));
  EXPECT_TRUE(set(Setting::kGrpTres, "cpu=4,mem=5"));
  EXPECT_FALSE(set(Setting::kMaxJobs, "05"));
  EXPECT_FALSE(set(Setting::kMaxJobs, "5 adminlevel=Administrator"));
  EXPECT_FALSE(set(Setting::kQos, "high' :AdminLevel='Administrator"));
}

TEST(WordsOf, NameWhatIsTakenBack) {
  EXPECT_THAT(
      words_of({{Setting::kMaxJobs, "", "5"},
                {Setting::kMaxWallDurationPerJob, "9", ""},
                {Setting::kQos, "high", ""},
                {Setting::kDefaultQos, "high", ""},
                {Setting::kFairshare, "5", "1"},
                {Setting::kMinPrioThreshold, "", "3"},
                {Setting::kGrpTres, "cpu=4,gres/gpu=2,mem=5", "cpu=8"},
                {Setting::kMaxTresPerJob, "cpu=4", ""}}),
      ElementsAre("MaxJobs=5", "MaxWallDurationPerJob=-1", "QOS=", "DefaultQOS=-1", "Fairshare=1",
                  "MinPrioThres=3", "GrpTRES=cpu=8,gres/gpu=-1,mem=-1", "MaxTRESPerJob=cpu=-1"));
}

TEST(LoadFile, NamesEachParentOnce) {
  const std::vector<Step> steps = {
      {.act = Act::kAddUser,
       .account = "a",
       .user = "u1",
       .changes = {{Setting::kMaxJobs, "", "5"}}},
      {.act = Act::kAddAssociation, .account = "b", .user = "u1"},
      {.act = Act::kAddUser, .account = "a", .user = "u2", .elsewhere = true},
      {.act = Act::kAddAccount,
       .account = "c",
       .to = "a",
       .description = "D: x",
       .organization = "o"},
      {.act = Act::kAddAccount, .account = "d", .to = "a", .elsewhere = true}};
  std::vector<const Step*> all;
  for (const Step& step : steps) all.push_back(&step);
  EXPECT_EQ(load_file("lab", all),
            "Cluster - 'lab'\n"
            "Parent - 'a'\n"
            "User - 'u1':DefaultAccount='a':MaxJobs='5'\n"
            "User - 'u2'\n"  // the default account of other clusters is left alone
            "Account - 'c':Description='D: x':Organization='o'\n"
            "Account - 'd'\n"
            "Parent - 'b'\n"
            "User - 'u1'\n");
}

/// A folder with programs of our own in the place of Slurm's.
class Commands : public testing::Test {
 protected:
  Commands() : folder_(testing::TempDir() + "commands-" + std::to_string(::getpid())) {
    std::filesystem::create_directory(folder_);
  }
  ~Commands() override { std::filesystem::remove_all(folder_); }

  CommandRunner with(std::string_view script) {
    std::ofstream(folder_ / "sacctmgr") << "#!/bin/sh\n" << script;
    ::chmod((folder_ / "sacctmgr").c_str(), 0755);
    return CommandRunner({.folder = folder_, .slurm_conf = "/x/slurm.conf"}, Secret("TOKEN"));
  }

 private:
  std::filesystem::path folder_;
};

TEST_F(Commands, TheTokenIsInTheEnvironmentOnly) {
  auto runner = with("echo \"$* | $SLURM_JWT | $SLURM_CONF\"; cat");
  const auto said = runner.sacctmgr({"load"}, "input");
  ASSERT_TRUE(said);
  EXPECT_EQ(*said, "-i -n -P -Q load | TOKEN | /x/slurm.conf\ninput");
}

TEST_F(Commands, FailuresAreNamed) {
  struct Row {
    std::string_view script;
    Code code;
    std::string_view seen;
    std::string_view keyword;
  };
  const Row rows[] = {
      {"echo ' Error with request: Job(s) active, cancel job(s) before remove' >&2; exit 1",
       Code::kFailedPrecondition, "Job(s) active", "7001"},
      {"echo ' You can not remove the default account of a user' >&2; exit 1",
       Code::kFailedPrecondition, "default account", "7009"},
      {"echo 'sacctmgr: error: slurm_persist_conn_open: failed to open persistent connection to "
       "host:h:1: Connection refused' >&2; exit 1",
       Code::kUnavailable, "slurmdbd: slurm_persist_conn_open", ""},
      // `load` ends with 0 when it could not read what it was given.
      {"echo ' Problem with line(3)' >&2", Code::kInternal, "Problem with line(3)", ""},
      {"echo ' Nothing modified'; exit 1", Code::kInternal, "Nothing modified", ""},
      {"exit 3", Code::kInternal, "exit status 3", ""},
      {"printf 'a\\033[2Jb\\n' >&2; exit 1", Code::kInternal, "a", ""},
  };
  for (const Row& row : rows) {
    auto runner = with(row.script);
    const auto ran = runner.sacctmgr({"x"});
    ASSERT_FALSE(ran) << row.script;
    EXPECT_EQ(ran.error().code, row.code) << ran.error().message;
    EXPECT_EQ(ran.error().keyword, row.keyword);
    EXPECT_THAT(ran.error().message, HasSubstr(row.seen));
    EXPECT_THAT(ran.error().message, Not(HasSubstr("\033")));
  }
}

}  // namespace
}  // namespace roster::slurm
