#include "node/doctor.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "crypto/x509.h"

namespace roster::node {
namespace {

const Timestamp kNow = from_millis(1'800'000'000'000);

json::object status_with(std::string_view cache, std::string_view rest = "") {
  const std::string text = R"({"phase":"following","hub":"https://hub","credential_expires":")" +
                           format_rfc3339(kNow + std::chrono::days(20)) + R"(","cache":{)" +
                           std::string(cache) + "}" + std::string(rest) + "}";
  auto parsed = json::parse(text);
  CHECK(parsed);
  return parsed->get_object();
}

constexpr std::string_view kWell =
    R"("generation":7,"users":3,"groups":2,"masked_users":0,"masked_groups":0,"contact_age_s":12)";

Health worst(const std::vector<Finding>& findings, std::string_view check) {
  Health out = Health::kGood;
  for (const Finding& finding : findings) {
    if (finding.check == check) out = std::max(out, finding.health);
  }
  return out;
}

TEST(Doctor, AWellAgent) {
  const auto findings = judge_status(status_with(kWell), kNow);
  EXPECT_TRUE(is_healthy(findings));
  EXPECT_EQ(findings.size(), 4U);
}

TEST(Doctor, WhatTheAgentTells) {
  const struct {
    std::string_view cache;
    std::string_view rest;
    std::string_view check;
    Health health;
  } kCases[] = {
      {R"("generation":0)", "", "generation", Health::kBad},
      {R"("generation":7,"contact_age_s":null)", "", "generation", Health::kBad},
      {R"("generation":7,"contact_age_s":901)", "", "generation", Health::kBad},
      {R"("generation":7,"contact_age_s":1,"masked_users":1,"masked":["carol"])", "", "masked",
       Health::kNotice},
      {kWell, R"(,"disk_problems":["full"])", "agent", Health::kBad},
      {kWell, R"(,"rule_problems":["/etc/passwd:3: no colon"])", "agent", Health::kBad},
      {kWell, R"(,"disk_problems":[7])", "agent", Health::kGood},
  };
  for (const auto& c : kCases) {
    EXPECT_EQ(worst(judge_status(status_with(c.cache, c.rest), kNow), c.check), c.health)
        << c.cache << c.rest;
  }
  json::object status = status_with(kWell);
  status["phase"] = "unreachable";
  status["error"] = json::object{{"message", "connection refused"}};
  const auto findings = judge_status(status, kNow);
  EXPECT_EQ(worst(findings, "agent"), Health::kBad);
  EXPECT_NE(findings.front().detail.find("connection refused"), std::string::npos);
  EXPECT_EQ(worst(judge_status(json::object(), kNow), "generation"), Health::kUnknown);
}

TEST(Doctor, ACredentialThatIsNotRenewed) {
  const auto status = status_with(kWell);
  EXPECT_EQ(worst(judge_status(status, kNow + std::chrono::days(14)), "credential"), Health::kBad);
  EXPECT_EQ(worst(judge_status(status, kNow + std::chrono::days(21)), "credential"), Health::kBad);
  json::object none = status;
  none["credential_expires"] = nullptr;
  EXPECT_EQ(worst(judge_status(none, kNow), "credential"), Health::kUnknown);
}

TEST(Doctor, OrderOfSources) {
  const struct {
    std::string_view passwd;
    Health health;
  } kCases[] = {
      {"passwd: files roster systemd\n", Health::kGood},
      {"passwd: files roster sss\n", Health::kGood},
      {"passwd: files systemd\n", Health::kBad},
      {"passwd: files # roster\n", Health::kBad},
      {"passwd: roster files\n", Health::kBad},
      {"passwd: files [NOTFOUND=return] roster\n", Health::kBad},
      {"passwd: files sss roster\n", Health::kNotice},
      {"passwd: files cache roster\n", Health::kNotice},
      {"passwd: files roster\npasswd: files\n", Health::kBad},
      {"", Health::kBad},
  };
  for (const auto& c : kCases) {
    const std::string text = std::string(c.passwd) + "group: files roster\nshadow: files roster\n";
    EXPECT_EQ(worst(judge_nsswitch(text), "nsswitch"), c.health) << c.passwd;
  }
  EXPECT_EQ(worst(judge_nsswitch("passwd: files roster\ngroup: files roster\nshadow: files "
                                 "roster\ninitgroups: files\n"),
                  "nsswitch"),
            Health::kBad);
}

TEST(Doctor, CachesOfNscd) {
  EXPECT_TRUE(nscd_caches("").empty());
  EXPECT_TRUE(nscd_caches("#\tenable-cache passwd yes\nenable-cache hosts yes\n").empty());
  EXPECT_EQ(nscd_caches("\tenable-cache\t\tpasswd\t\tyes\n enable-cache group YES # x"),
            (std::vector<std::string>{"passwd", "group"}));
  EXPECT_TRUE(nscd_caches("enable-cache passwd yes\nenable-cache passwd no\n").empty());
}

TEST(Doctor, PamThatMakesHomes) {
  EXPECT_TRUE(makes_homes("session\toptional\tpam_mkhomedir.so umask=0077\n"));
  EXPECT_TRUE(makes_homes("session optional /lib/security/pam_mkhomedir.so"));
  EXPECT_TRUE(makes_homes("-session optional pam_oddjob_mkhomedir.so\r\n"));
  EXPECT_FALSE(makes_homes("#session optional pam_mkhomedir.so\n"));
  EXPECT_FALSE(
      makes_homes("auth optional pam_mkhomedir.so\nsession required pam_unix.so # "
                  "pam_mkhomedir.so\n"));
}

TEST(Doctor, AnAuthorityThatEnds) {
  using std::chrono::days;
  const auto ca = crypto::create_ca("Roster hub", kNow, days(365), system_random);
  ASSERT_TRUE(ca);
  EXPECT_EQ(judge_authority(ca->certificate_pem, kNow).health, Health::kGood);
  EXPECT_EQ(judge_authority(ca->certificate_pem, kNow + days(300)).health, Health::kNotice);
  EXPECT_EQ(judge_authority(ca->certificate_pem, kNow + days(366)).health, Health::kBad);
  EXPECT_EQ(judge_authority("no certificate", kNow).health, Health::kBad);
}

TEST(Doctor, Clock) {
  using std::chrono::seconds;
  EXPECT_EQ(judge_clock(kNow, kNow).health, Health::kGood);
  EXPECT_EQ(judge_clock(kNow + seconds(4), kNow).health, Health::kGood);
  EXPECT_EQ(judge_clock(kNow - seconds(30), kNow).health, Health::kNotice);
  EXPECT_EQ(judge_clock(kNow - seconds(61), kNow).health, Health::kBad);
  EXPECT_NE(judge_clock(kNow - seconds(61), kNow).detail.find("61 s behind"), std::string::npos);
}

TEST(Doctor, WhatCouldNotBeCheckedIsNotHealthy) {
  EXPECT_TRUE(is_healthy(
      {{"a", Health::kGood, "", ""}, {"b", Health::kNotice, "", ""}, {"c", Health::kOff, "", ""}}));
  EXPECT_FALSE(is_healthy({{"a", Health::kGood, "", ""}, {"b", Health::kUnknown, "", ""}}));
  EXPECT_FALSE(is_healthy({{"a", Health::kBad, "", ""}}));
}

/// A bare machine: every check gives an answer, and nothing that was not seen is called good.
TEST(Doctor, ANodeWithNothingOnIt) {
  DoctorOptions options;
  options.config = "/nonexistent/agent.toml";
  options.clock = [] { return kNow; };
  options.paths.record_dir = "/nonexistent/setup";
  options.paths.nsswitch = "/nonexistent/nsswitch.conf";
  options.paths.sshd = "/nonexistent/sshd";
  options.paths.pam_stacks = {"/nonexistent/common-session"};
  options.nscd_socket = "/nonexistent/socket";
  const auto findings = examine(options);
  EXPECT_FALSE(is_healthy(findings));
  for (const char* check : {"agent", "nsswitch", "homes"}) {
    EXPECT_EQ(worst(findings, check), Health::kBad) << check;
  }
  EXPECT_GE(worst(findings, "sshd"), Health::kBad);
  EXPECT_EQ(worst(findings, "clock"), Health::kUnknown);
  EXPECT_EQ(worst(findings, "nscd"), Health::kGood);
  EXPECT_EQ(worst(findings, "sudo"), Health::kOff);
  for (const Finding& finding : findings) {
    if (finding.health == Health::kBad || finding.health == Health::kUnknown) {
      EXPECT_FALSE(finding.mend.empty()) << finding.check << ": " << finding.detail;
    }
  }
}

}  // namespace
}  // namespace roster::node
