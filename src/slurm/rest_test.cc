#include "slurm/rest.h"

#include <gmock/gmock.h>

namespace roster::slurm {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<int> numbers(std::string_view openapi) {
  std::vector<int> out;
  for (const ApiVersion version : versions_in(openapi)) out.push_back(version.n);
  return out;
}

TEST(VersionsTest, AreReadFromPathsInEitherEscaping) {
  // As 22.05 and 24.11 write them.
  EXPECT_THAT(
      numbers(R"({"paths":{"\/slurmdb\/v0.0.36\/job\/{job_id}":{},"\/slurm\/v0.0.38\/ping":{},
                          "\/slurm\/v0.0.37\/ping":{}}})"),
      ElementsAre(37, 38));
  EXPECT_THAT(numbers(R"({"paths":{"/slurm/v0.0.42/ping/":{},"/slurm/v0.0.40/jobs/":{},
                          "/slurm/v0.0.42/jobs/":{}}})"),
              ElementsAre(40, 42));
  EXPECT_THAT(numbers(R"("/slurm/v0.0.x" "/slurm/v0.0." "/slurm/v0.0.99999999999" "/slurm/")"),
              IsEmpty());
  EXPECT_THAT(numbers("/slurm\\"), IsEmpty());
}

TEST(VersionsTest, TheNewestThatBothKnowIsTaken) {
  EXPECT_EQ(newest_common({{36}, {37}, {38}})->text(), "v0.0.38");
  EXPECT_EQ(newest_common({{44}, {45}, {46}})->text(), "v0.0.45");
  EXPECT_THAT(newest_common({{36}, {37}}).error().message, HasSubstr("v0.0.36, v0.0.37"));
  EXPECT_THAT(newest_common({{46}}).error().message, HasSubstr("v0.0.38 to v0.0.45"));
  EXPECT_EQ(newest_common({}).error().code, Code::kUnsupported);
}

struct Said {
  const char* what;
  int status;
  const char* type;
  const char* body;
  Code code;
  const char* sentence;
};

constexpr const char* kJson = "application/json";

// What real releases answer when something is wrong: most of it with a misleading status.
const Said kSaid[] = {
    {"22.05, token refused by slurmctld, or slurmctld down", 500, kJson,
     R"j({"errors":[{"description":"slurmctld config is unable to load","error_number":-1,
         "error":"Unspecified error","source":"slurm_load_ctl_conf"}]})j",
     Code::kUnavailable, "slurmctld config is unable to load"},
    {"22.05, likewise, jobs", 500, kJson,
     R"j({"errors":[{"description":"Failed while looking for jobs","error_number":-1,
         "error":"Unspecified error","source":"slurm_load_jobs"}]})j",
     Code::kUnavailable, "Failed while looking for jobs"},
    {"22.05, likewise, partitions", 500, kJson,
     R"j({"errors":[{"error":"Unspecified error","errno":-1}],"partitions":[]})j",
     Code::kUnavailable, "without words (-1)"},
    {"24.11, token refused, partitions", 511, kJson, R"j({"errors":[],"warnings":[]})j",
     Code::kUnauthenticated, "511"},
    {"24.11, slurmctld is down", 502, kJson,
     R"j({"errors":[{"description":"slurm_load_licenses() was unable to load licenses",
         "error_number":1800,"error":"Unable to contact slurm controller (connect failure)",
         "source":"op_handler_licenses"}]})j",
     Code::kUnavailable, "Unable to contact slurm controller"},
    {"22.05, token refused by slurmdbd", 500, kJson,
     R"j({"errors":[{"error_number":1007,"error":"Protocol authentication error",
         "source":"slurmdb_users_get"}]})j",
     Code::kUnauthenticated, "Protocol authentication error (slurmdb_users_get, 1007)"},
    {"24.11, token refused by slurmctld", 511, kJson,
     R"j({"errors":[{"description":"Unable to query jobs","error_number":1007,
         "error":"Protocol authentication error","source":"slurm_load_jobs()"}]})j",
     Code::kUnauthenticated, "Unable to query jobs: Protocol authentication error"},
    {"24.11, token refused by slurmdbd", 502, kJson,
     R"j({"errors":[{"description":"Failed to open slurmdbd connection, authentication error",
         "error_number":7000,"error":"Unable to connect to database",
         "source":"openapi_get_db_conn"}]})j",
     Code::kUnauthenticated, "authentication error"},
    {"slurmdbd is down", 502, kJson,
     R"j({"errors":[{"description":"Failed to open slurmdbd connection",
         "error_number":7000,"error":"Unable to connect to database",
         "source":"openapi_get_db_conn"}]})j",
     Code::kUnavailable, "Unable to connect to database"},
    {"no headers, or a token without user in 22.05", 401, "text/plain", "Authentication failure",
     Code::kUnauthenticated, "Authentication failure"},
    {"unknown version", 404, "text/plain",
     "Unable find requested URL. Please view /openapi/v3 for API reference.", Code::kNotFound,
     "Unable find requested URL"},
    {"not allowed", 500, kJson,
     R"j({"errors":[{"error_number":2002,"error":"Access/permission denied","source":"x"}]})j",
     Code::kPermissionDenied, "Access/permission denied"},
    {"jobs of the association run", 500, kJson,
     R"j({"errors":[{"error_number":7001,
         "error":"Job(s) active, cancel job(s) before remove","source":"x"}]})j",
     Code::kFailedPrecondition, "Job(s) active"},
    {"22.05, account that is not there, with a good status", 200, kJson,
     R"j({"errors":[{"error_number":9003,"error":"Nothing found","source":"x"}]})j",
     Code::kNotFound, "Nothing found"},
    {"an error without anything", 200, kJson, R"j({"errors":[{}]})j", Code::kInternal,
     "without words"},
    {"an error as a text", 200, kJson, R"j({"errors":["odd"]})j", Code::kInternal, "odd"},
    {"body that it could not read", 400, "text/plain", "Unable to parse query.",
     Code::kInvalidArgument, "Unable to parse query."},
    {"gateway of somebody else", 503, "text/html", "<html>\n\x1b[31m", Code::kUnavailable, "503"},
};

TEST(OutcomeTest, StatusesAreNotBelieved) {
  for (const Said& said : kSaid) {
    const auto answer = parse_answer(said.status, said.type, said.body);
    ASSERT_TRUE(answer) << said.what;
    const auto result = outcome(*answer);
    ASSERT_FALSE(result) << said.what;
    EXPECT_EQ(result.error().code, said.code) << said.what;
    EXPECT_THAT(result.error().message, HasSubstr(said.sentence)) << said.what;
    for (const char c : result.error().message) EXPECT_GE(c, ' ') << said.what;
  }
}

TEST(OutcomeTest, GoodOnesAreGood) {
  EXPECT_TRUE(outcome(*parse_answer(200, kJson, R"({"errors":[],"jobs":[]})")));
  EXPECT_TRUE(outcome(*parse_answer(304, "", "")));
  EXPECT_TRUE(outcome(*parse_answer(200, kJson, R"({"errors":null})")));
}

TEST(OutcomeTest, APageOfSomebodyElseIsNoSuccess) {
  for (const auto& answer : {*parse_answer(200, "text/html", "<html>"), *parse_answer(200, "", ""),
                             *parse_answer(200, kJson, "{}")}) {
    EXPECT_EQ(outcome(answer).error().code, Code::kDataLoss);
  }
}

TEST(OutcomeTest, NumbersThatCallersActOnAreKeywords) {
  const auto answer = parse_answer(500, kJson, R"({"errors":[{"error_number":7009}]})");
  EXPECT_EQ(outcome(*answer).error().keyword, "7009");
}

TEST(AnswerTest, APingThatNobodyAnswersIsSeen) {
  const auto nobody = [](std::string_view body) {
    return nobody_answers(parse_answer(200, kJson, body)->body);
  };
  EXPECT_TRUE(nobody(R"({"pings":[{"pinged":"DOWN","responding":false}]})"));
  EXPECT_TRUE(nobody(R"({"pings":[{"ping":"DOWN","status":1}]})"));
  EXPECT_TRUE(nobody(R"({"pings":[]})"));
  EXPECT_TRUE(nobody(R"({"pings":["UP"]})"));
  EXPECT_FALSE(nobody(R"({"pings":[{"ping":"DOWN"},{"ping":"UP"}]})")) << "the backup answers";
  EXPECT_FALSE(nobody(R"({"pings":[{"pinged":"UP"}]})"));
  EXPECT_FALSE(nobody(R"({"pings":[{"responding":true}]})"));
  EXPECT_FALSE(nobody(R"({"jobs":[]})"));
}

TEST(AnswerTest, JsonThatIsNoneIsDataLoss) {
  EXPECT_EQ(parse_answer(200, kJson, "{").error().code, Code::kDataLoss);
  EXPECT_EQ(parse_answer(200, kJson, "[]").error().code, Code::kDataLoss);
}

TEST(AnswerTest, MetaTellsReleaseAndCluster) {
  const auto old = parse_answer(200, kJson, R"({"meta":{"Slurm":{"release":"22.05.8"}}})");
  EXPECT_EQ(release_of(old->body), "22.05.8");
  EXPECT_EQ(cluster_of(old->body), "");
  const auto now =
      parse_answer(200, kJson, R"({"meta":{"slurm":{"release":"24.11.5","cluster":"hpc"}}})");
  EXPECT_EQ(release_of(now->body), "24.11.5");
  EXPECT_EQ(cluster_of(now->body), "hpc");
  EXPECT_EQ(release_of({}), "");
}

}  // namespace
}  // namespace roster::slurm
