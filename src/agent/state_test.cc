#include "agent/state.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>

#include "base/file.h"

namespace roster::agent {
namespace {

class State : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "state.XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  std::filesystem::path root_;
};

feed::Enrollment sample() {
  feed::Enrollment e;
  e.node_id = "n-1";
  e.credential = Secret("rsn_abc");
  e.org = "acme";
  e.view = "login";
  e.role = "login";
  e.issued = from_millis(1'000);
  e.expires = from_millis(2'000);
  return e;
}

TEST_F(State, SurvivesReopening) {
  const std::filesystem::path directory = root_ / "agent";
  {
    const auto state = StateDir::open(directory);
    ASSERT_TRUE(state) << state.error().message;
    const auto nothing = state->load_enrollment();
    ASSERT_TRUE(nothing);
    EXPECT_FALSE(*nothing);
    EXPECT_EQ(state->load_highest_id(), 0U);
    ASSERT_TRUE(state->save_enrollment(sample()));
    ASSERT_TRUE(state->save_highest_id(2147483647));
  }
  struct stat info{};
  ASSERT_EQ(stat((directory / "node.json").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600U);
  ASSERT_EQ(stat(directory.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700U);
  const auto state = StateDir::open(directory);
  const auto enrollment = state->load_enrollment();
  ASSERT_TRUE(enrollment && *enrollment);
  EXPECT_EQ((*enrollment)->credential.expose(), "rsn_abc");
  EXPECT_EQ(state->load_highest_id(), 2147483647U);
}

TEST_F(State, ExposedOrDamagedFilesAreRefused) {
  const auto state = StateDir::open(root_);
  ASSERT_TRUE(state);
  ASSERT_TRUE(state->save_enrollment(sample()));
  ASSERT_EQ(chmod((root_ / "node.json").c_str(), 0640), 0);
  EXPECT_EQ(state->load_enrollment().error().code, Code::kPermissionDenied);
  ASSERT_TRUE(write_file_atomic(root_ / "node.json", "{\"node_id\":", 0600));
  EXPECT_EQ(state->load_enrollment().error().code, Code::kDataLoss);
  for (const char* text : {"", "x\n", "12", "-1\n", "2147483648\n", "99999999999\n"}) {
    ASSERT_TRUE(write_file_atomic(root_ / "highest-id", text, 0600));
    EXPECT_FALSE(state->load_highest_id()) << text;
  }
  ASSERT_EQ(chmod(root_.c_str(), 0777), 0);
  EXPECT_EQ(StateDir::open(root_).error().code, Code::kPermissionDenied);
}

TEST_F(State, ACredentialToJoinWithIsDrawnOnceAndNeverTwiceUsed) {
  const StateDir state = *StateDir::open(root_ / "state");
  const Secret first = *state.begin_joining(system_random);
  EXPECT_EQ(state.begin_joining(system_random)->expose(), first.expose());
  // Killed between saving the enrolment and forgetting the rest: should the hub end this credential
  // later, joining anew must not bring it back.
  feed::Enrollment enrollment;
  enrollment.node_id = "node-1";
  enrollment.credential = first;
  enrollment.org = "acme";
  enrollment.view = enrollment.role = "login";
  enrollment.expires = from_millis(1'000);
  ASSERT_TRUE(state.save_enrollment(enrollment));
  const Secret second = *state.begin_joining(system_random);
  EXPECT_NE(second.expose(), first.expose());
  ASSERT_TRUE(write_file_atomic(root_ / "state" / "joining", "rsn_cut", 0600));
  EXPECT_NE(state.begin_joining(system_random)->expose(), "rsn_cut");
  state.end_joining();
  EXPECT_FALSE(std::filesystem::exists(root_ / "state" / "joining"));
}

}  // namespace
}  // namespace roster::agent
