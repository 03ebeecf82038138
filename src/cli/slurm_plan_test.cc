#include "cli/slurm_plan.h"

#include <gtest/gtest.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "base/file.h"

namespace roster::cli {
namespace {

namespace fs = std::filesystem;

/// A machine of Slurm's in a folder, whose SlurmUser is whoever runs this.
class SlurmPlanTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "slurm-plan-XXXXXX").string();
    root_ = fs::canonical(::mkdtemp(pattern.data()));
    const passwd* const self = ::getpwuid(::geteuid());
    user_ = self->pw_name;
    machine_.conf_dir = root_ / "etc";
    machine_.systemd_dir = root_ / "systemd";
    machine_.socket_group = "root";
    machine_.roles = {SlurmRole::kController, SlurmRole::kDbd};
    fs::create_directory(machine_.conf_dir);
    fs::create_directory(machine_.systemd_dir);
    write("slurm.conf", "ClusterName=hpc\nSlurmUser=" + user_ + "\n", 0644);
    write("slurmdbd.conf", "SlurmUser=" + user_ + "\nStoragePass=geheim\n", 0600);
    facts_ = {"hpc", "hpc", true, "unix:/run/slurmrestd/slurmrestd.socket",
              R"({"keys":[]})"
              "\n"};
  }
  void TearDown() override { fs::remove_all(root_); }

  void write(const std::string& name, const std::string& text, mode_t mode) {
    ASSERT_TRUE(write_file_atomic(machine_.conf_dir / name, text, mode));
  }
  std::string read(const std::string& name) const {
    return read_file(machine_.conf_dir / name, 1 << 20).value_or("(none)");
  }
  mode_t mode_of(const std::string& name) const {
    struct stat info{};
    return ::stat((machine_.conf_dir / name).c_str(), &info) == 0 ? info.st_mode & 07777 : 0;
  }
  std::string refusal() {
    const auto plan = plan_slurm(facts_, machine_);
    return plan ? "planned" : plan.error().message;
  }

  fs::path root_;
  std::string user_;
  SlurmMachine machine_;
  ClusterFacts facts_;
};

TEST_F(SlurmPlanTest, WritesAllThreeAndThenNothing) {
  const auto plan = plan_slurm(facts_, machine_);
  ASSERT_TRUE(plan) << plan.error().message;
  ASSERT_EQ(plan->files.size(), 3U);
  for (const PlannedFile& file : plan->files) {
    EXPECT_FALSE(file.shown.contains("geheim")) << "a password was shown: " << file.shown;
  }
  EXPECT_EQ(read("jwks.json"), "(none)") << "a plan changes nothing";
  const std::string before = read("slurmdbd.conf");
  ASSERT_TRUE(apply_slurm(*plan));
  EXPECT_EQ(read("jwks.json"), facts_.jwks);
  EXPECT_TRUE(read("slurm.conf").contains("jwks=" + (machine_.conf_dir / "jwks.json").string()));
  EXPECT_TRUE(read("slurmdbd.conf").contains("AuthAltTypes=auth/jwt\n"));
  EXPECT_EQ(read("slurmdbd.conf.roster-before"), before);
  EXPECT_EQ(mode_of("slurmdbd.conf"), 0600U);
  EXPECT_EQ(mode_of("slurmdbd.conf.roster-before"), 0600U);
  EXPECT_EQ(mode_of("jwks.json"), 0644U);
  const auto again = plan_slurm(facts_, machine_);
  ASSERT_TRUE(again);
  EXPECT_TRUE(again->files.empty());
  EXPECT_TRUE(again->restarts.empty());
}

TEST_F(SlurmPlanTest, RestartsByTheRulesOfTheRelease) {
  const std::vector<std::string> dbd{"/usr/bin/systemctl", "restart", "slurmdbd"};
  const std::vector<std::string> ctld{"/usr/bin/systemctl", "restart", "slurmctld"};
  const std::vector<std::string> reread{"/usr/bin/scontrol", "reconfigure"};
  machine_.release = {24, 11};
  const auto first = plan_slurm(facts_, machine_);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->restarts, (std::vector{dbd, ctld})) << "settings count from a start on";
  ASSERT_TRUE(apply_slurm(*first));
  facts_.jwks = R"({"keys":[{}]})";
  struct Case {
    std::optional<std::pair<int, int>> release;
    std::vector<std::string> controller;
  };
  for (const Case& each :
       {Case{std::nullopt, ctld}, Case{std::pair{22, 5}, ctld}, Case{std::pair{24, 5}, ctld},
        Case{std::pair{24, 11}, reread}, Case{std::pair{25, 5}, reread}}) {
    machine_.release = each.release;
    const auto next = plan_slurm(facts_, machine_);
    ASSERT_TRUE(next);
    EXPECT_EQ(next->restarts, (std::vector{dbd, each.controller}));
  }
}

TEST_F(SlurmPlanTest, RefusesWhatIsNotClear) {
  write("slurm.conf", "ClusterName=other\nSlurmUser=" + user_ + "\n", 0644);
  EXPECT_TRUE(refusal().contains("is of the cluster other")) << refusal();
  write("slurm.conf", "SlurmUser=nobody-here-has-it\n", 0644);
  EXPECT_TRUE(refusal().contains("is no user")) << refusal();
  write("slurm.conf", "SlurmUser=" + user_ + "\nAuthAltTypes=a\nAuthAltTypes=b\n", 0644);
  EXPECT_TRUE(refusal().contains("line 3")) << refusal();
  write("slurm.conf", "SlurmUser=" + user_ + "\n", 0666);
  EXPECT_TRUE(refusal().contains("written by others")) << refusal();
  fs::remove(machine_.conf_dir / "slurm.conf");
  EXPECT_TRUE(refusal().contains("--conf-dir")) << refusal();
}

TEST_F(SlurmPlanTest, IncludedFilesAreNamedAndNotEdited) {
  machine_.roles = {SlurmRole::kController};
  const std::string base = "ClusterName=hpc\nSlurmUser=" + user_ + "\nInclude auth_%c.conf\n";
  write("slurm.conf", base, 0644);
  EXPECT_TRUE(refusal().contains("includes a file")) << refusal();
  write("auth_hpc.conf", "# nothing\n", 0644);
  auto plan = plan_slurm(facts_, machine_);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(plan->files.size(), 2U);
  EXPECT_TRUE(plan->notes.front().contains("auth_hpc.conf"));
  write("auth_hpc.conf", "AuthAltTypes=auth/jwt\nAuthAltParameters=jwt_key=/k\n", 0644);
  EXPECT_TRUE(refusal().contains("not edited")) << refusal();
  const std::string jwks = (machine_.conf_dir / "jwks.json").string();
  write("auth_hpc.conf", "AuthAltTypes=auth/jwt\nAuthAltParameters=jwt_key=/k,jwks=" + jwks + "\n",
        0644);
  plan = plan_slurm(facts_, machine_);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(plan->files.size(), 1U) << "the key file only";
  write("slurm.conf", base + "AuthAltTypes=auth/jwt\n", 0644);
  EXPECT_TRUE(refusal().contains("so does a file")) << refusal();
  write("slurm.conf", "SlurmUser=" + user_ + "\nInclude slurm.conf\n", 0644);
  EXPECT_TRUE(refusal().contains("include each other")) << refusal();
}

TEST_F(SlurmPlanTest, SlurmsOwnKeyMustBeKept) {
  facts_.rs256 = false;
  machine_.roles = {SlurmRole::kController};
  const std::string key = (machine_.conf_dir / "jwt_hs256.key").string();
  EXPECT_TRUE(refusal().contains("roster slurm keygen " + key)) << refusal();
  write("jwt_hs256.key", "0123456789abcdef", 0640);
  EXPECT_TRUE(refusal().contains("chmod 0600")) << refusal();
  write("jwt_hs256.key", "0123456789abcdef", 0600);
  const auto plan = plan_slurm(facts_, machine_);
  ASSERT_TRUE(plan) << plan.error().message;
  ASSERT_EQ(plan->files.size(), 1U);
  EXPECT_TRUE(plan->files[0].after.content.contains("AuthAltParameters=jwt_key=" + key));
  EXPECT_FALSE(plan->files[0].shown.contains("0123456789abcdef"));
  ASSERT_TRUE(apply_slurm(*plan));
  const auto again = plan_slurm(facts_, machine_);
  ASSERT_TRUE(again);
  EXPECT_TRUE(again->files.empty());
}

TEST_F(SlurmPlanTest, KeysThatDifferAreNotGuessedAt) {
  facts_.rs256 = false;
  write("slurm.conf", "SlurmUser=" + user_ + "\nAuthAltParameters=jwt_key=/a\n", 0644);
  write("slurmdbd.conf", "SlurmUser=" + user_ + "\nAuthAltParameters=jwt_key=/b\n", 0600);
  EXPECT_TRUE(refusal().contains("--key-file")) << refusal();
  write("k", "0123456789abcdef", 0600);
  machine_.key_file = (machine_.conf_dir / "k").string();
  const auto plan = plan_slurm(facts_, machine_);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(plan->files.size(), 2U);
}

TEST_F(SlurmPlanTest, SaysWhichKeysEnd) {
  machine_.roles = {SlurmRole::kController};
  write("slurm.conf", "SlurmUser=" + user_ + "\nAuthAltParameters=jwks=/etc/keycloak.json\n", 0644);
  write("jwks.json", R"({"keys":[{"kid":"old"},{"kid":"a\u001bb"},{}]})", 0644);
  facts_.jwks = R"({"keys":[{"kid":"new"}]})";
  auto plan = plan_slurm(facts_, machine_);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_TRUE(plan->notes.front().contains("/etc/keycloak.json, whose tokens end"));
  EXPECT_TRUE(
      plan->files[0].shown.ends_with("-public key old\n-public key a?b\n"
                                     "-public key without a name\n+public key new\n"))
      << plan->files[0].shown;
  write("jwks.json", "[1", 0644);
  plan = plan_slurm(facts_, machine_);
  ASSERT_TRUE(plan);
  EXPECT_TRUE(plan->files[0].shown.contains("-(no JWKS)\n")) << plan->files[0].shown;
}

TEST_F(SlurmPlanTest, SlurmrestdIsLetToTheHubAlone) {
  machine_.roles = {SlurmRole::kRest};
  auto plan = plan_slurm(facts_, machine_);
  ASSERT_TRUE(plan) << plan.error().message;
  ASSERT_EQ(plan->files.size(), 1U);
  const std::string& text = plan->files[0].after.content;
  for (const char* line :
       {"ExecStart=\nExecStart=/usr/sbin/slurmrestd -a rest_auth/jwt "
        "unix:/run/slurmrestd/slurmrestd.socket\n",
        "Environment=SLURM_JWT=daemon\n", "DynamicUser=yes\n", "RuntimeDirectoryMode=0710\n",
        "ExecStartPre=+/bin/chgrp root /run/slurmrestd\n"}) {
    EXPECT_TRUE(text.contains(line)) << line << text;
  }
  ASSERT_TRUE(apply_slurm(*plan));
  plan = plan_slurm(facts_, machine_);
  ASSERT_TRUE(plan);
  EXPECT_TRUE(plan->files.empty());
  facts_.endpoint = "unix:/tmp/slurmrestd.socket";
  EXPECT_TRUE(refusal().contains("below /run")) << refusal();
  facts_.endpoint = "http://127.0.0.1:6820/";
  plan = plan_slurm(facts_, machine_);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_TRUE(plan->files[0].after.content.contains("rest_auth/jwt 127.0.0.1:6820\n"));
  facts_.endpoint = "unix:/run/s/x\nUser=root";
  EXPECT_FALSE(plan_slurm(facts_, machine_)) << "no line of a unit comes from the hub";
  machine_.socket_group = "no-such-group";
  facts_.endpoint = "";
  EXPECT_TRUE(refusal().contains("--socket-group")) << refusal();
}

TEST_F(SlurmPlanTest, AllOrNothing) {
  const auto plan = plan_slurm(facts_, machine_);
  ASSERT_TRUE(plan);
  const std::string conf = read("slurm.conf");
  const std::string dbd = read("slurmdbd.conf");
  // The last cannot be put into place: a folder that is not empty stands where its copy goes.
  fs::create_directories(machine_.conf_dir / "slurmdbd.conf.roster-before" / "x");
  const auto done = apply_slurm(*plan);
  ASSERT_FALSE(done);
  EXPECT_TRUE(done.error().message.contains("everything is as it was")) << done.error().message;
  EXPECT_EQ(read("slurm.conf"), conf);
  EXPECT_EQ(read("slurmdbd.conf"), dbd);
  EXPECT_EQ(read("jwks.json"), "(none)");
  fs::remove_all(machine_.conf_dir / "slurmdbd.conf.roster-before");
  write("slurmdbd.conf", dbd + "# edited meanwhile\n", 0600);
  EXPECT_FALSE(apply_slurm(*plan)) << "somebody else's edit would be lost";
  EXPECT_EQ(read("slurm.conf"), conf);
}

TEST(ParseReleaseTest, OfDebianAndSchedMd) {
  EXPECT_EQ(parse_release("slurm-wlm 22.05.8\n"), std::pair(22, 5));
  EXPECT_EQ(parse_release("slurm 24.11.5"), std::pair(24, 11));
  EXPECT_EQ(parse_release("slurm 25.05.0-rc1"), std::pair(25, 5));
  EXPECT_EQ(parse_release("slurm 26.05-0rc1"), std::pair(26, 5));
  EXPECT_EQ(parse_release("slurm"), std::nullopt);
  EXPECT_EQ(parse_release(""), std::nullopt);
}

}  // namespace
}  // namespace roster::cli
