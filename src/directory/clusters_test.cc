#include "directory/clusters.h"

#include <gmock/gmock.h>

#include "directory/schema.h"
#include "directory/testing/fixture.h"

namespace roster::directory {
namespace {

using ::testing::HasSubstr;
using testing::must;
using ::testing::Not;
using testing::World;

class ClustersTest : public store::testing::BothEngines {};
ROSTER_BOTH_ENGINES(ClustersTest);

ClusterSettings some_settings() {
  ClusterSettings settings;
  settings.login_host = "login.hpc.example";
  settings.endpoint = "unix:/run/slurmrestd/slurmrestd.socket";
  settings.user_access = {"GET /slurm/*/jobs"};
  return settings;
}

std::vector<AuditRow> audit(World& world) {
  return must(world.directory->list_audit(world.acme, Seq{}, 1000));
}

TEST_P(ClustersTest, WhatWasSetIsThereAfterARestart) {
  World world(GetParam());
  ClusterSettings settings = some_settings();
  settings.login_port = 2222;
  settings.slurm_name = "lab";
  settings.plain_http = true;
  settings.await_nodes = false;
  settings.signing = TokenSigning::kHs256;
  settings.key_file = "/etc/roster/slurm.key";
  settings.ca_file = "/etc/roster/ca.pem";
  settings.token_ttl_max = std::chrono::minutes(5);
  settings.service_user = "roster";
  settings.read_user = "viewer";
  settings.read_access = {"GET /slurm/*/nodes"};
  must(world.directory->add_cluster(world.operator_, world.acme, "hpc", settings));
  world.reopen();
  EXPECT_EQ(must(world.directory->find_cluster(world.acme, "hpc")).settings, settings);
  ASSERT_EQ(must(world.directory->list_clusters(world.acme)).size(), 1);
  EXPECT_EQ(audit(world).back().action, "cluster.create");
}

TEST_P(ClustersTest, AnEditIsStoredAndAudited) {
  World world(GetParam());
  must(world.directory->add_cluster(world.operator_, world.acme, "hpc", some_settings()));
  const auto move = [](ClusterSettings settings) -> Result<ClusterSettings> {
    settings.login_host = "__USER__.login.example";
    return settings;
  };
  must(world.directory->update_cluster(world.operator_, world.acme, "hpc", move));
  EXPECT_THAT(audit(world).back().diff, HasSubstr("__USER__.login.example"));
  const std::size_t rows = audit(world).size();
  must(world.directory->update_cluster(world.operator_, world.acme, "hpc", move));
  EXPECT_EQ(audit(world).size(), rows) << "a write that changes nothing leaves no row";
}

TEST_P(ClustersTest, RefusesWhatCannotBe) {
  World world(GetParam());
  const auto refused = [&world](std::string_view name, auto change) {
    ClusterSettings settings = some_settings();
    change(settings);
    const auto added = world.directory->add_cluster(world.operator_, world.acme, name, settings);
    return added ? "accepted" : added.error().message;
  };
  using S = ClusterSettings;
  EXPECT_THAT(refused("HPC", [](S&) {}), HasSubstr("a-z"));
  EXPECT_THAT(refused("", [](S&) {}), HasSubstr("a-z"));
  EXPECT_THAT(refused(std::string(41, 'a'), [](S&) {}), HasSubstr("1 to 40"));
  EXPECT_THAT(refused("hpc", [](S& s) { s.scheduler = "pbs"; }), HasSubstr("scheduler"));
  EXPECT_THAT(refused("hpc", [](S& s) { s.login_host = "-oProxyCommand=id"; }),
              HasSubstr("login_host"));
  EXPECT_THAT(refused("hpc", [](S& s) { s.login_user = "a b"; }), HasSubstr("login_user"));
  EXPECT_THAT(refused("hpc", [](S& s) { s.login_port = 0; }), HasSubstr("login_port"));
  EXPECT_THAT(refused("hpc", [](S& s) { s.signing = TokenSigning::kHs256; }),
              HasSubstr("key_file"));
  EXPECT_THAT(refused("hpc", [](S& s) { s.key_file = "relative"; }), HasSubstr("absolute"));
  EXPECT_THAT(refused("hpc", [](S& s) { s.endpoint = "unix:/a\nb"; }), HasSubstr("endpoint"));
  EXPECT_THAT(refused("hpc", [](S& s) { s.service_user = "Not A Login"; }),
              HasSubstr("service_user"));
  EXPECT_THAT(refused("hpc", [](S& s) { s.token_ttl_max = std::chrono::hours(25); }),
              HasSubstr("token_ttl_max"));
  EXPECT_EQ(refused("hpc", [](S&) {}), "accepted");
  EXPECT_THAT(refused("hpc", [](S&) {}), HasSubstr("already"));
}

TEST_P(ClustersTest, AreOneOrganizationsOnly) {
  World world(GetParam());
  const OrgN other = must(world.directory->create_org(world.operator_, "other")).n;
  must(world.directory->add_cluster(world.operator_, world.acme, "hpc", some_settings()));
  EXPECT_EQ(world.directory->find_cluster(other, "hpc").error().code, Code::kNotFound);
  Actor admin;
  admin.org = other;
  admin.scope = Scope::kAdmin;
  EXPECT_EQ(world.directory->remove_cluster(admin, world.acme, "hpc").error().code,
            Code::kPermissionDenied);
  must(world.directory->add_cluster(admin, other, "hpc", some_settings()));
}

TEST_P(ClustersTest, EveryFieldMayHoldThePersonsName) {
  ClusterSettings settings = some_settings();
  settings.login_host = "__USER__.login.example";
  settings.login_user = "x-__USER__-__USER__";
  const ClusterSettings ada = for_person(settings, "ada");
  EXPECT_EQ(ada.login_host, "ada.login.example");
  EXPECT_EQ(ada.login_user, "x-ada-ada");
  EXPECT_EQ(for_person(settings, "__USER__").login_user, "x-__USER__-__USER__");
}

TEST_P(ClustersTest, RulesAreStoredAndAudited) {
  World world(GetParam());
  Directory& directory = *world.directory;
  const Cluster hpc =
      must(directory.add_cluster(world.operator_, world.acme, "hpc", some_settings()));
  EXPECT_EQ(must(directory.cluster_rules(hpc.n)), "");
  must(directory.set_cluster_rules(world.operator_, hpc, "[accounts]\nfrom = \"all\"\n"));
  EXPECT_EQ(must(directory.cluster_rules(hpc.n)), "[accounts]\nfrom = \"all\"\n");
  EXPECT_THAT(audit(world).back().diff, HasSubstr("from ="));
  const std::size_t rows = audit(world).size();
  must(directory.set_cluster_rules(world.operator_, hpc, "[accounts]\nfrom = \"all\"\n"));
  EXPECT_EQ(audit(world).size(), rows);
  EXPECT_EQ(
      directory.set_cluster_rules(world.operator_, hpc, std::string(300'000, '#')).error().code,
      Code::kTooLarge);
  must(directory.remove_cluster(world.operator_, world.acme, "hpc"));
  EXPECT_EQ(directory.cluster_rules(hpc.n).error().code, Code::kNotFound);
}

TEST_P(ClustersTest, ATokenOfSomebodyWhoJustLeftIsNotNoted) {
  World world(GetParam());
  Directory& directory = *world.directory;
  const Cluster hpc =
      must(directory.add_cluster(world.operator_, world.acme, "hpc", some_settings()));
  const User ada = world.add_user("ada");
  must(directory.note_slurm_token(world.operator_, hpc, ada, world.clock.now()));
  must(directory.note_slurm_request(world.operator_, hpc, ada, "POST /x"));
  must(directory.set_user_active(world.okta, world.acme, ada.id, false));
  EXPECT_FALSE(directory.note_slurm_token(world.operator_, hpc, ada, world.clock.now()));
  EXPECT_FALSE(directory.note_slurm_request(world.operator_, hpc, ada, "POST /x"));
}

using State = ClusterKeyState;

TEST_P(ClustersTest, KeysAreRotatedInStages) {
  World world(GetParam());
  Directory& directory = *world.directory;
  const Actor& admin = world.operator_;
  const Cluster hpc = must(directory.add_cluster(admin, world.acme, "hpc", some_settings()));
  const auto states = [&] {
    std::vector<std::pair<std::string, State>> out;
    for (const ClusterKey& key : must(directory.cluster_keys(hpc.n))) {
      out.emplace_back(key.id, key.state);
    }
    return out;
  };
  using Keys = std::vector<std::pair<std::string, State>>;
  must(directory.add_cluster_key(admin, hpc, "one", Secret("pem of one")));
  EXPECT_EQ(states(), (Keys{{"one", State::kSigning}}));
  world.clock.advance(std::chrono::seconds(1));
  must(directory.add_cluster_key(admin, hpc, "two", Secret("pem of two")));
  EXPECT_EQ(states(), (Keys{{"one", State::kSigning}, {"two", State::kNext}}));
  EXPECT_EQ(directory.add_cluster_key(admin, hpc, "three", Secret("x")).error().code,
            Code::kFailedPrecondition);
  EXPECT_EQ(directory.drop_cluster_key(admin, hpc, "one").error().code, Code::kFailedPrecondition);
  EXPECT_EQ(directory.sign_with_cluster_key(admin, hpc, "none").error().code, Code::kNotFound);
  must(directory.sign_with_cluster_key(admin, hpc, "two"));
  EXPECT_EQ(states(), (Keys{{"one", State::kFormer}, {"two", State::kSigning}}));
  EXPECT_TRUE(must(directory.cluster_keys(hpc.n)).front().former_since.has_value());
  must(directory.drop_cluster_key(admin, hpc, "one"));
  EXPECT_EQ(states(), (Keys{{"two", State::kSigning}}));
  EXPECT_EQ(must(directory.cluster_keys(hpc.n)).front().private_pem.expose(), "pem of two");
  for (const AuditRow& row : audit(world)) EXPECT_THAT(row.diff, Not(HasSubstr("pem of")));
  must(directory.remove_cluster(admin, world.acme, "hpc"));
  EXPECT_TRUE(must(directory.list_clusters(world.acme)).empty());
}

}  // namespace
}  // namespace roster::directory
