#include "clusters/facts.h"

#include <gmock/gmock.h>

#include "directory/testing/fixture.h"

namespace roster::clusters {
namespace {

using directory::Cluster;
using directory::ClusterSettings;
using directory::Group;
using directory::MemberOp;
using directory::User;
using directory::testing::must;
using directory::testing::World;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

class FactsTest : public ::testing::Test {
 protected:
  FactsTest() : world_(store::Engine::kSqlite) { add_cluster({}); }

  void add_cluster(const ClusterSettings& settings) {
    const std::string name = "hpc" + std::string(cluster_.n == 0 ? "" : "2");
    cluster_ = must(world_.directory->add_cluster(world_.operator_, world_.acme, name, settings));
  }
  slurm::Facts facts() {
    return must(read_facts(*world_.directory, world_.org(), cluster_, world_.clock.now()));
  }
  slurm::Person person(std::string_view login) {
    const slurm::Facts all = facts();
    const auto found = std::ranges::find(all.people, login, &slurm::Person::login);
    if (found != all.people.end()) return *found;
    ADD_FAILURE() << "nobody is " << login;
    return {};
  }
  directory::Node join(std::string_view name, std::string_view role, std::string view = "default") {
    directory::Directory::TokenRequest wanted;
    wanted.name = "join-" + std::string(name);
    wanted.scope = directory::Scope::kJoin;
    wanted.org = world_.acme;
    wanted.ttl = std::chrono::hours(1);
    wanted.join = directory::JoinGrant{cluster_.name, std::move(view), std::string(role)};
    const auto token = must(world_.directory->create_token(world_.operator_, wanted));
    return must(world_.directory->enroll_node(token.secret.expose(), {std::string(name), "1", 0},
                                              ""))
        .node;
  }

  World world_;
  Cluster cluster_;
};

TEST_F(FactsTest, TellEverybodyWithTheirGroups) {
  const User ada = world_.add_user("ada");
  world_.add_user("bob");
  const Group inner = world_.add_group("inner", {ada.id});
  const Group outer = world_.add_group("Outer Group", {inner.id});
  const slurm::Facts all = facts();
  EXPECT_EQ(all.organization, "acme");
  ASSERT_EQ(all.groups.size(), 2);
  EXPECT_EQ(all.groups[1].display_name, "Outer Group");
  EXPECT_EQ(all.groups[1].client, "okta");
  const slurm::Person who = person("ada");
  EXPECT_THAT(who.groups, ElementsAre(inner.n, outer.n)) << "through other groups, too";
  EXPECT_EQ(who.uid, ada.posix->number);
  EXPECT_FALSE(who.locked);
  EXPECT_THAT(person("bob").groups, IsEmpty());
}

TEST_F(FactsTest, TellTheLockedTheEndedAndTheDeleted) {
  const User ada = world_.add_user("ada");
  const User bob = world_.add_user("bob");
  const User cy = world_.add_user("cy");
  must(world_.directory->set_user_active(world_.okta, world_.acme, ada.id, false));
  const Timestamp end = world_.clock.now() + std::chrono::seconds(10);
  must(world_.directory->set_valid_until(world_.operator_, world_.acme, bob.id, end));
  must(world_.directory->delete_user(world_.okta, world_.acme, cy.id, {}));
  EXPECT_TRUE(person("ada").locked);
  EXPECT_FALSE(person("bob").locked);
  EXPECT_TRUE(person("cy").locked) << "their jobs may still run";
  world_.clock.advance(std::chrono::seconds(10));
  EXPECT_TRUE(person("bob").locked);
  EXPECT_EQ(person("bob").locked_since, end);
}

TEST_F(FactsTest, TellTheHiddenAsLocked) {
  must(world_.directory->update_org_settings(
      world_.operator_, world_.acme, [](directory::OrgSettings settings) {
        settings.leaver_policy = directory::LeaverPolicy::kHide;
        return Result<directory::OrgSettings>(std::move(settings));
      }));
  const User ada = world_.add_user("ada");
  must(world_.directory->set_user_active(world_.okta, world_.acme, ada.id, false));
  EXPECT_TRUE(person("ada").locked) << "hidden from nodes is not vanished";
}

// An association that comes before the name is known to slurmctld is broken until somebody notices.
TEST_F(FactsTest, NobodyIsReadyBeforeEveryControllerKnowsThem) {
  const User ada = world_.add_user("ada");
  EXPECT_FALSE(person("ada").ready) << "no controller has joined";
  const auto one = join("ctl1", "controller");
  const auto two = join("dbd", "dbd");
  join("n1", "compute");
  const Seq head = world_.org().seq;
  world_.directory->acknowledge(one, head, 0);
  EXPECT_FALSE(person("ada").ready) << "slurmdbd's node does not know them";
  world_.directory->acknowledge(two, head, 0);
  EXPECT_TRUE(person("ada").ready);
  world_.add_group("later", {ada.id});
  EXPECT_FALSE(person("ada").ready) << "what changed since is not there yet";
  world_.add_user("bob");
  EXPECT_FALSE(person("bob").ready);
}

TEST_F(FactsTest, AControllerWhoseViewHidesThemDoesNotKnowThem) {
  world_.add_user("bob");
  const User ada = world_.add_user("ada");
  world_.add_group("hpc-users", {ada.id});
  must(world_.directory->set_view(world_.operator_, world_.acme, "few", {.groups = {"hpc-users"}}));
  const auto node = join("ctl1", "controller", "few");
  world_.directory->acknowledge(node, world_.org().seq, 0);
  EXPECT_TRUE(person("ada").ready);
  EXPECT_FALSE(person("bob").ready);
}

TEST_F(FactsTest, WhereDaemonsLearnNamesOtherwiseEverybodyIsReady) {
  ClusterSettings settings;
  settings.await_nodes = false;
  add_cluster(settings);
  world_.add_user("ada");
  EXPECT_TRUE(person("ada").ready);
}

}  // namespace
}  // namespace roster::clusters
