#include "clusters/access.h"

#include <gmock/gmock.h>

namespace roster::clusters {
namespace {

using ::testing::HasSubstr;

std::vector<std::string> segments(std::string_view path) {
  std::vector<std::string> out;
  for (std::size_t at = 1; at <= path.size();) {
    const std::size_t end = std::min(path.find('/', at), path.size());
    out.emplace_back(path.substr(at, end - at));
    at = end + 1;
  }
  return out;
}

bool allows(const std::vector<std::string>& lines, std::string_view method, std::string_view path) {
  return Access::parse(lines)->allows(method, segments(path));
}

TEST(AccessTest, MethodsAndSegmentsMustMatch) {
  const std::vector<std::string> lines = {"GET,POST /slurm/*/job/submit", "DELETE /slurm/*/job/**"};
  EXPECT_TRUE(allows(lines, "POST", "/slurm/v0.0.42/job/submit"));
  EXPECT_TRUE(allows(lines, "HEAD", "/slurm/v0.0.42/job/submit"));
  EXPECT_FALSE(allows(lines, "PUT", "/slurm/v0.0.42/job/submit"));
  EXPECT_FALSE(allows(lines, "post", "/slurm/v0.0.42/job/submit"));
  EXPECT_FALSE(allows(lines, "POST", "/slurm/v0.0.42/job/submit/x"));
  EXPECT_FALSE(allows(lines, "POST", "/slurm/job/submit"));
  EXPECT_FALSE(allows(lines, "POST", "/slurm/a/b/job/submit"));
  EXPECT_TRUE(allows(lines, "DELETE", "/slurm/v0.0.42/job/7"));
  EXPECT_TRUE(allows(lines, "DELETE", "/slurm/v0.0.42/job"));
  EXPECT_FALSE(allows(lines, "DELETE", "/slurm/v0.0.42/jobs"));
  EXPECT_FALSE(allows({}, "GET", "/slurm/v0.0.42/jobs")) << "what no line allows is refused";
}

TEST(AccessTest, ARefusalWinsWhereverItStands) {
  for (const auto& lines : {std::vector<std::string>{"* /**", "!GET /slurm/*/diag"},
                            std::vector<std::string>{"!GET /slurm/*/diag", "* /**"}}) {
    EXPECT_FALSE(allows(lines, "GET", "/slurm/v0.0.42/diag"));
    EXPECT_TRUE(allows(lines, "GET", "/slurm/v0.0.42/jobs"));
  }
}

TEST(AccessTest, WhatIsBuiltIn) {
  const struct {
    const char* method;
    const char* path;
    bool person, reader;
  } kCases[] = {
      {"GET", "/openapi/v3", true, true},
      {"GET", "/openapi", true, true},
      {"GET", "/slurm/v0.0.38/jobs", true, true},
      {"GET", "/slurmdb/v0.0.38/associations", true, true},
      {"POST", "/slurm/v0.0.38/job/submit", true, false},
      {"DELETE", "/slurm/v0.0.38/job/7", true, false},
      {"DELETE", "/slurm/v0.0.42/jobs", true, false},
      // A GET that changes something, and what makes an operator an administrator in 22.05.
      {"GET", "/slurm/v0.0.42/reconfigure", false, false},
      {"GET", "/slurm/v0.0.45/job/7/requeue", true, false},
      {"GET", "/slurm/v0.0.42/job/7", true, true},
      {"GET", "/slurm/v0.0.42/jobs/state", true, true},
      {"GET", "/slurm/v0.0.42/something/new", false, false},
      {"POST", "/slurmdb/v0.0.38/users", false, false},
      {"DELETE", "/slurmdb/v0.0.38/user/ada", false, false},
      {"POST", "/slurm/v0.0.42/nodes", false, false},
      {"POST", "/slurm/v0.0.42/node/n1", false, false},
      {"PATCH", "/slurm/v0.0.38/jobs", false, false},
      {"GET", "/metrics", false, false},
  };
  for (const auto& c : kCases) {
    EXPECT_EQ(allows(default_user_access(), c.method, c.path), c.person) << c.method << c.path;
    EXPECT_EQ(allows(default_read_access(), c.method, c.path), c.reader) << c.method << c.path;
  }
}

TEST(AccessTest, ALineThatIsNoneIsNamed) {
  for (const char* line :
       {"", "GET", "GET slurm", "get /slurm", "GET, /slurm", "GET /slurm//x", "GET /slurm/v*",
        "GET /**/x", " /slurm", "! /slurm", "GET  /x", "!HEAD /slurm/**"}) {
    const auto parsed = Access::parse({"GET /slurm/**", line});
    ASSERT_FALSE(parsed) << line;
    EXPECT_THAT(parsed.error().message, HasSubstr("\"" + std::string(line) + "\"")) << line;
  }
}

}  // namespace
}  // namespace roster::clusters
