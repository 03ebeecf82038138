#include "base/subprocess.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>

namespace roster {
namespace {

using std::chrono::milliseconds;

std::vector<std::string> shell(const std::string& script) { return {"/bin/sh", "-c", script}; }

TEST(RunProgram, GivesStatusAndBothOutputs) {
  const auto ran = run_program(shell("echo out; echo err >&2; exit 3"));
  ASSERT_TRUE(ran) << ran.error().message;
  EXPECT_EQ(ran->status, 3);
  EXPECT_EQ(ran->out, "out\n");
  EXPECT_EQ(ran->err, "err\n");
}

TEST(RunProgram, TellsASignal) {
  const auto ran = run_program(shell("kill -TERM $$"));
  ASSERT_TRUE(ran);
  EXPECT_EQ(ran->status, 128 + SIGTERM);
}

TEST(RunProgram, PassesWordsUnparsed) {
  const auto ran = run_program({"/usr/bin/printf", "%s|", "a b", "$(id)", "; x", ""});
  ASSERT_TRUE(ran);
  EXPECT_EQ(ran->out, "a b|$(id)|; x||");
}

TEST(RunProgram, EnvironmentIsCleanAndStdinEmpty) {
  // LD_PRELOAD and IFS of whoever calls must not reach what runs as root.
  ::setenv("ROSTER_LEAK", "secret", 1);
  const auto ran = run_program(shell("/usr/bin/env; /usr/bin/wc -c"));
  ::unsetenv("ROSTER_LEAK");
  ASSERT_TRUE(ran);
  EXPECT_EQ(ran->out.find("ROSTER_LEAK"), std::string::npos);
  EXPECT_NE(ran->out.find("PATH=/usr/sbin:/usr/bin:/sbin:/bin\n"), std::string::npos);
  EXPECT_TRUE(ran->out.ends_with("0\n")) << ran->out;
}

TEST(RunProgram, TakesMoreOfAnEnvironment) {
  const auto ran = run_program(shell("printf '%s' \"$HOME|$KEY|$PATH\""),
                               {.environment = {"HOME=/home/a b", "KEY=x=y"}});
  ASSERT_TRUE(ran);
  EXPECT_EQ(ran->out, "/home/a b|x=y|/usr/sbin:/usr/bin:/sbin:/bin");
}

TEST(RunProgram, SignalsAreNotInherited) {
  ::signal(SIGPIPE, SIG_IGN);
  const auto ran = run_program(shell("kill -PIPE $$; echo survived"));
  ::signal(SIGPIPE, SIG_DFL);
  ASSERT_TRUE(ran);
  EXPECT_EQ(ran->status, 128 + SIGPIPE);
}

TEST(RunProgram, DeadlineEndsTheWholeGroup) {
  const auto ran =
      run_program(shell("/bin/sleep 600 & /bin/sleep 600"), {.deadline = milliseconds(100)});
  ASSERT_FALSE(ran);
  EXPECT_EQ(ran.error().code, Code::kUnavailable);
}

TEST(RunProgram, AChildLeftBehindWithThePipeDoesNotHoldUs) {
  const auto started = std::chrono::steady_clock::now();
  const auto ran = run_program(shell("/bin/sleep 5 & echo done"));
  ASSERT_TRUE(ran);
  EXPECT_EQ(ran->out, "done\n");
  EXPECT_LT(std::chrono::steady_clock::now() - started, std::chrono::seconds(4));
}

TEST(RunProgram, LongOutputIsCutAndDoesNotBlock) {
  const auto ran = run_program(shell("head -c 300000 /dev/zero"),
                               {.deadline = milliseconds(10'000), .output_bytes_max = 1000});
  ASSERT_TRUE(ran);
  EXPECT_EQ(ran->status, 0);
  EXPECT_EQ(ran->out.size(), 1000U);
}

TEST(RunProgram, InputIsReadFromStdinOrOpenedAsAFile) {
  // Longer than a pipe holds: neither side may wait for the other.
  const std::string input(300'000, 'x');
  const auto read = run_program(shell("wc -c"), {.input = input});
  ASSERT_TRUE(read);
  EXPECT_EQ(read->out, "300000\n");
  const auto opened = run_program(shell("wc -c < /dev/stdin"), {.input = input});
  ASSERT_TRUE(opened);
  EXPECT_EQ(opened->out, "300000\n");
  const auto none = run_program(shell("wc -c"));
  ASSERT_TRUE(none);
  EXPECT_EQ(none->out, "0\n");
}

TEST(RunProgram, NoSuchProgramIsNotFound) {
  const auto ran = run_program({"/nonexistent/program"});
  ASSERT_FALSE(ran);
  EXPECT_EQ(ran.error().code, Code::kNotFound);
}

}  // namespace
}  // namespace roster
