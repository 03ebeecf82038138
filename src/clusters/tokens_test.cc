#include "clusters/tokens.h"

#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/encoding.h"
#include "crypto/hash.h"
#include "directory/testing/fixture.h"

namespace roster::clusters {
namespace {

using directory::Cluster;
using directory::ClusterSettings;
using directory::TokenSigning;
using directory::User;
using directory::testing::must;
using directory::testing::World;
using ::testing::HasSubstr;

constexpr std::chrono::minutes kHalfAnHour{30};

json::object claims_of(const Secret& token) {
  const std::string& text = token.expose();
  const std::size_t begin = text.find('.') + 1;
  const std::string part = text.substr(begin, text.rfind('.') - begin);
  return json::parse(*base64url_decode(part)).value().as_object();
}

json::object header_of(const Secret& token) {
  const std::string& text = token.expose();
  return json::parse(*base64url_decode(text.substr(0, text.find('.')))).value().as_object();
}

class TokensTest : public ::testing::Test {
 protected:
  TokensTest() : world_(store::Engine::kSqlite), tokens_(*world_.directory, world_.clock.clock()) {}

  Cluster add(const ClusterSettings& settings = {}) {
    Cluster cluster =
        must(world_.directory->add_cluster(world_.operator_, world_.acme, "hpc", settings));
    if (settings.signing == TokenSigning::kRs256) {
      must(tokens_.create_key(world_.operator_, cluster));
    }
    return cluster;
  }
  User again(const User& user) {
    return must(world_.directory->find_user(world_.acme, user.id, {}));
  }
  std::string key_file(std::string_view bytes, mode_t mode) {
    const std::string path =
        std::filesystem::path(::testing::TempDir()) / ("key" + std::to_string(++files_));
    std::ofstream(path) << bytes;
    EXPECT_EQ(::chmod(path.c_str(), mode), 0);
    return path;
  }

  World world_;
  Tokens tokens_;
  int files_ = 0;
};

TEST_F(TokensTest, SayWhoAndUntilWhen) {
  const Cluster hpc = add();
  const User ada = world_.add_user("ada");
  const SlurmToken token = must(tokens_.for_person(hpc, ada, kHalfAnHour));
  const std::int64_t now = to_millis(world_.clock.now()) / 1000;
  EXPECT_EQ(claims_of(token.token),
            (json::object{{"sun", "ada"}, {"iat", now}, {"exp", now + 1800}}));
  EXPECT_EQ(token.user, "ada");
  const auto keys = must(world_.directory->cluster_keys(hpc.n));
  EXPECT_EQ(header_of(token.token).at("kid"), keys.at(0).id.c_str());
}

TEST_F(TokensTest, LastNoLongerThanClusterAndPersonAllow) {
  ClusterSettings settings;
  settings.token_ttl_max = std::chrono::minutes(10);
  const Cluster hpc = add(settings);
  const User ada = world_.add_user("ada");
  EXPECT_EQ(must(tokens_.for_person(hpc, ada, std::chrono::hours(8))).expires,
            world_.clock.now() + std::chrono::minutes(10));
  const Timestamp end = world_.clock.now() + std::chrono::minutes(3);
  must(world_.directory->set_valid_until(world_.operator_, world_.acme, ada.id, end));
  EXPECT_EQ(must(tokens_.for_person(hpc, again(ada), kHalfAnHour)).expires, end);
  world_.clock.advance(std::chrono::minutes(3));
  EXPECT_THAT(tokens_.for_person(hpc, again(ada), kHalfAnHour).error().message,
              HasSubstr("past the end"));
}

TEST_F(TokensTest, AreNotForThoseWhoMayNotLogIn) {
  const Cluster hpc = add();
  const User ada = world_.add_user("ada");
  must(world_.directory->set_user_active(world_.okta, world_.acme, ada.id, false));
  const auto refused = tokens_.for_person(hpc, again(ada), kHalfAnHour);
  EXPECT_EQ(refused.error().code, Code::kFailedPrecondition);
  EXPECT_THAT(refused.error().message, HasSubstr("deactivated"));
  must(world_.directory->set_user_active(world_.okta, world_.acme, ada.id, true));
  must(tokens_.for_person(hpc, again(ada), kHalfAnHour));
}

TEST_F(TokensTest, AreNotForThoseWithoutIdentity) {
  const Cluster hpc = add();
  must(world_.directory->update_org_settings(
      world_.operator_, world_.acme, [](directory::OrgSettings settings) {
        settings.user_provisioning = false;
        return Result<directory::OrgSettings>(std::move(settings));
      }));
  const User bare = world_.add_user("bare");
  EXPECT_THAT(tokens_.for_person(hpc, bare, kHalfAnHour).error().message,
              HasSubstr("no POSIX identity"));
}

// A directory that people are pushed into must not make somebody the hub, or more.
TEST_F(TokensTest, AreNotForSomebodyWithTheNameOfTheHubInSlurm) {
  ClusterSettings settings;
  settings.service_user = "provisioner";
  const Cluster hpc = add(settings);
  const auto refused = tokens_.for_person(hpc, world_.add_user("provisioner"), kHalfAnHour);
  EXPECT_EQ(refused.error().keyword, kNoToken);
  EXPECT_THAT(refused.error().message, HasSubstr("more than a person"));
}

TEST_F(TokensTest, ANewKeyIsPublishedBeforeItSigns) {
  const Cluster hpc = add();
  const auto kid = [&] {
    return std::string(json::view(
        header_of(must(tokens_.for_name(hpc, "slurm", kHalfAnHour)).token).at("kid").get_string()));
  };
  const auto published = [&] {
    std::vector<std::string> ids;
    const json::object jwks = must(tokens_.jwks(hpc));
    for (const json::value& key : jwks.at("keys").get_array()) {
      ids.emplace_back(json::view(key.at("kid").get_string()));
      EXPECT_FALSE(key.get_object().contains("d")) << "a private key in a public place";
    }
    return ids;
  };
  const std::string first = kid();
  world_.clock.advance(std::chrono::seconds(1));
  const std::string second = must(tokens_.create_key(world_.operator_, hpc));
  EXPECT_EQ(kid(), first);
  EXPECT_EQ(published(), (std::vector{first, second}));
  EXPECT_EQ(header_of(must(tokens_.with_key(hpc, second, "slurm", kHalfAnHour)).token).at("kid"),
            second.c_str());
  must(world_.directory->sign_with_cluster_key(world_.operator_, hpc, second));
  EXPECT_EQ(kid(), second);
  EXPECT_EQ(published().size(), 2) << "tokens of the former key still live";
  must(world_.directory->drop_cluster_key(world_.operator_, hpc, first));
  EXPECT_EQ(published(), std::vector{second});
}

TEST_F(TokensTest, Hs256SignsWithSlurmsKey) {
  const std::string bytes(32, '\x01');
  ClusterSettings settings;
  settings.signing = TokenSigning::kHs256;
  settings.key_file = key_file(bytes, 0400);
  const Cluster hpc = add(settings);
  const std::string token = must(tokens_.for_name(hpc, "slurm", kHalfAnHour)).token.expose();
  const std::size_t dot = token.rfind('.');
  EXPECT_EQ(*base64url_decode(token.substr(dot + 1)),
            crypto::hmac_sha256(bytes, token.substr(0, dot)));
  EXPECT_EQ(tokens_.jwks(hpc).error().code, Code::kFailedPrecondition);
}

TEST_F(TokensTest, AKeyThatOthersMayReadIsRefused) {
  const std::string bytes(32, 'k');
  EXPECT_TRUE(read_slurm_key(key_file(bytes, 0400)));
  EXPECT_TRUE(read_slurm_key(key_file(bytes, 0600)));
  EXPECT_TRUE(read_slurm_key(key_file(bytes, 0440)));
  for (const mode_t mode : {0404U, 0444U, 0602U, 0420U, 0460U}) {
    const auto refused = read_slurm_key(key_file(bytes, mode));
    EXPECT_EQ(refused.error().code, Code::kFailedPrecondition) << std::oct << mode;
    EXPECT_THAT(refused.error().message, HasSubstr("chmod")) << std::oct << mode;
  }
  EXPECT_EQ(read_slurm_key("/nonexistent/key").error().code, Code::kNotFound);
  EXPECT_THAT(read_slurm_key("/tmp").error().message, HasSubstr("regular file"));
  const std::string link = std::string(::testing::TempDir()) + "/link";
  ::unlink(link.c_str());
  ASSERT_EQ(::symlink(key_file(bytes, 0400).c_str(), link.c_str()), 0);
  EXPECT_FALSE(read_slurm_key(link)) << "a link may be changed by whoever owns its folder";
  EXPECT_EQ(read_slurm_key(key_file(std::string(5000, 'k'), 0400)).error().code, Code::kTooLarge);
}

}  // namespace
}  // namespace roster::clusters
