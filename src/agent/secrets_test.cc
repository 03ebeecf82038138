#include "agent/secrets.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <thread>

#include "kubernetes/testing/api_server.h"

namespace roster::agent {
namespace {

using kubernetes::testing::ApiServer;
using std::chrono::steady_clock;

constexpr const char* kKey =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f alice@laptop";

posix::NodeUser user(std::uint64_t n, const char* name, std::uint32_t uid, std::uint32_t gid,
                     std::vector<std::uint64_t> groups) {
  return {.n = n,
          .seq = Seq{1},
          .name = posix::LoginName::parse(name).value(),
          .uid = uid,
          .gid = gid,
          .gecos = name,
          .home = std::string("/home/") + name,
          .shell = "/bin/bash",
          .locked = false,
          .valid_until = 0,
          .groups = std::move(groups),
          .keys = {}};
}

posix::NodeGroup group(std::uint64_t n, const char* name, std::uint32_t gid,
                       std::vector<std::uint64_t> parents) {
  return {.n = n,
          .seq = Seq{1},
          .name = posix::GroupName::parse(name).value(),
          .gid = gid,
          .parents = std::move(parents)};
}

/// A node's cache with a few people, and an API server of Kubernetes.
class SecretsTest : public ::testing::Test {
 protected:
  SecretsTest() {
    std::string name = (std::filesystem::temp_directory_path() / "roster-secrets-XXXXXX").string();
    CHECK(::mkdtemp(name.data()) != nullptr);
    config_.cache_dir = name;
    config_.keys_group.clear();
    config_.allow_any_filesystem = true;
    cache_ = std::make_unique<NodeCache>(
        config_, [this] { return now_; }, metrics_, [](std::uint64_t) {});
    CHECK(cache_->open("acme", "default").has_value());
    CHECK(cache_->set_rules({.masked_names = {"slurm"}, .denied_names = {"denied"}}, true));
    server_.accept({"t"});
    server_.write_token("t");
  }
  ~SecretsTest() override {
    cache_.reset();
    std::filesystem::remove_all(config_.cache_dir);
  }

  void publish(std::vector<feed::Message> messages) {
    CHECK(cache_->begin(feed::Kind::kSnapshot).has_value());
    for (feed::Message& message : messages) CHECK(cache_->apply(std::move(message)).has_value());
    CHECK(cache_->complete("c", "e", true).has_value());
    CHECK(cache_->publish().has_value());
  }

  SecretMaps maps() {
    kubernetes::PublisherOptions options;
    options.api_url = server_.url();
    options.service_account = server_.service_account();
    auto publisher = kubernetes::SecretPublisher::create(std::move(options));
    CHECK(publisher.has_value());
    return SecretMaps(std::move(*publisher), metrics_);
  }

  std::string data(const std::string& map) const {
    const std::string name = "slurm-nsscache-" + map;
    if (!server_.has(name)) return "no secret";
    const auto secret = server_.secret(name);
    const auto found = secret.data.find(map + ".cache");
    return found == secret.data.end() ? "no key" : found->second;
  }

  /// Until a map is what it should be, or ten seconds.
  std::string eventually(const std::string& map, const std::string& wanted) const {
    const auto until = steady_clock::now() + std::chrono::seconds(10);
    while (data(map) != wanted && steady_clock::now() < until) std::this_thread::yield();
    return data(map);
  }

  Timestamp now_ = from_millis(1'763'712'000'000);
  Config config_;
  Metrics metrics_;
  ApiServer server_;
  std::unique_ptr<NodeCache> cache_;
};

TEST_F(SecretsTest, EachGenerationBecomesSecrets) {
  auto alice = user(1, "alice", 20001, 20001, {10});
  alice.keys.push_back({.line = kKey, .fingerprint = "SHA256:x", .not_before = 0, .not_after = 0});
  alice.keys.push_back({.line = "ssh-ed25519 AAAA ended",
                        .fingerprint = "SHA256:y",
                        .not_before = 0,
                        .not_after = to_millis(now_) / 1000});
  auto locked = user(2, "locked", 20002, 30000, {10});
  locked.locked = true;
  auto ended = user(3, "ended", 20003, 30000, {10});
  ended.valid_until = to_millis(now_) / 1000 - 1;
  publish({alice, locked, ended, user(4, "slurm", 20004, 30000, {10}),
           user(5, "denied", 20005, 30000, {10}), group(10, "eng", 30001, {11}),
           group(11, "all", 30002, {})});
  SecretFollower follower(*cache_, maps(), [this] { return now_; });
  follower.start();
  EXPECT_EQ(eventually("passwd",
                       "alice:x:20001:20001:alice:/home/alice:/bin/bash\n"
                       "locked:x:20002:30000:locked:/home/locked:/usr/sbin/nologin\n"
                       "ended:x:20003:30000:ended:/home/ended:/usr/sbin/nologin\n"
                       "denied:x:20005:30000:denied:/home/denied:/usr/sbin/nologin\n"),
            data("passwd"));
  EXPECT_EQ(data("passwd").substr(0, 6), "alice:");
  EXPECT_EQ(eventually("sshkey", "alice:['" + std::string(kKey) + "']\nlocked:\nended:\ndenied:\n"),
            "alice:['" + std::string(kKey) + "']\nlocked:\nended:\ndenied:\n");
  EXPECT_EQ(data("group"), "alice:x:20001:\neng:x:30001:alice\nall:x:30002:alice\n");
  EXPECT_EQ(data("shadow"),
            "alice:*:::::::\nlocked:*::::::1:\nended:*::::::1:\ndenied:*::::::1:\n");

  publish({group(10, "eng", 30001, {}), user(6, "bob", 20006, 20006, {10})});
  follower.notify();
  const std::string bob = "bob:x:20006:\neng:x:30001:bob\n";
  EXPECT_EQ(eventually("group", bob), bob);
  follower.stop();
}

// A lockout must not wait for somebody who reads a whole generation.
TEST_F(SecretsTest, ReadingAGenerationHoldsNothingUp) {
  publish({user(1, "alice", 20001, 20001, {}), user(2, "bob", 20002, 20002, {})});
  const auto served = cache_->served();
  ASSERT_TRUE(served);
  int seen = 0;
  EXPECT_TRUE(served->each(
      [&](const posix::NodeUser& person) -> Result<void> {
        EXPECT_FALSE(person.locked);
        ++seen;
        const std::uint64_t before = cache_->generation();
        EXPECT_TRUE(cache_->set_rules({.denied_names = {seen == 1 ? "bob" : "alice"}}, true));
        EXPECT_GT(cache_->generation(), before);
        return {};
      },
      [](const posix::NodeGroup&) -> Result<void> { return {}; }));
  EXPECT_EQ(seen, 2);
}

TEST_F(SecretsTest, NothingIsWrittenBeforeTheFirstGenerationAndStopEndsAWait) {
  SecretFollower follower(*cache_, maps(), [this] { return now_; });
  follower.start();
  follower.notify();
  follower.stop();
  EXPECT_EQ(server_.writes(), 0U);
}

}  // namespace
}  // namespace roster::agent
