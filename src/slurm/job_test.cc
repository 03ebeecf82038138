#include "slurm/job.h"

#include <gtest/gtest.h>

namespace roster::slurm {
namespace {

json::object parsed(std::string_view text) { return json::parse(text).value().as_object(); }

TEST(JobBodyTest, HasTheFormOfItsVersion) {
  const JobRequest job{.name = "n", .script = "#!/bin/sh\n", .directory = "/tmp", .account = "a"};
  const json::object old = job_body({38}, job);
  EXPECT_TRUE(old.at("job").at("environment").is_object());
  EXPECT_EQ(old.at("job").at("time_limit"), 1);
  EXPECT_EQ(old.at("job").at("account"), "a");
  const json::object between = job_body({39}, job);
  EXPECT_TRUE(between.at("job").at("environment").is_array());
  EXPECT_FALSE(between.at("job").get_object().contains("time_limit"));
  const json::object now = job_body({42}, job);
  EXPECT_TRUE(now.at("job").at("environment").is_array());
  EXPECT_EQ(now.at("job").at("time_limit"), (json::object{{"set", true}, {"number", 1}}));
}

TEST(JobStateTest, IsReadInBothForms) {
  const JobState old = *first_job(parsed(
      R"({"jobs":[{"job_id":7,"job_state":"RUNNING","user_name":"ada","account":"physics"}]})"));
  EXPECT_EQ(old.id, 7U);
  EXPECT_EQ(old.state, "RUNNING");
  EXPECT_EQ(old.user, "ada");
  EXPECT_EQ(old.account, "physics");
  EXPECT_FALSE(old.over());
  EXPECT_TRUE(first_job(parsed(R"({"jobs":[{"job_state":["COMPLETED"]}]})"))->over());
  EXPECT_FALSE(first_job(parsed(R"({"jobs":[{"job_state":["COMPLETING"]}]})"))->over());
  EXPECT_FALSE(first_job(parsed(R"({"jobs":[{}]})"))->over());
  EXPECT_EQ(first_job(parsed(R"({"jobs":[]})")).error().code, Code::kNotFound);
  EXPECT_EQ(first_job(parsed(R"({"jobs":[1]})")).error().code, Code::kDataLoss);
  EXPECT_EQ(first_job({}).error().code, Code::kDataLoss);
}

TEST(SubmittedTest, WithoutANumberItIsNotBelieved) {
  EXPECT_EQ(*submitted_id(parsed(R"({"job_id":12})")), 12U);
  EXPECT_FALSE(submitted_id(parsed(R"({"job_id":0})")));
  EXPECT_FALSE(submitted_id(parsed(R"({"job_id":"12"})")));
  EXPECT_FALSE(submitted_id(parsed(R"({"job_id":99999999999})")));
}

}  // namespace
}  // namespace roster::slurm
