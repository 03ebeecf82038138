#include "hub/provisioner.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "hub/test_hub.h"

namespace roster::hub {
namespace {

using directory::testing::must;
using testing::TestHub;

void provide(TestHub& hub, bool on) {
  must(hub.directory().update_org_settings(
      TestHub::operator_actor(), hub.org().n, [on](directory::OrgSettings settings) {
        settings.user_provisioning = on;
        return Result<directory::OrgSettings>(std::move(settings));
      }));
}

/// Whether the person has an identity within ten seconds.
bool gets_identity(TestHub& hub, const std::string& id) {
  for (int i = 0; i < 1000; ++i) {
    if (must(hub.directory().get_user(hub.okta(), hub.org().n, id, {})).posix) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

TEST(ProvisionerTest, SeesToEverybodyAsSoonAsTheOrganizationWantsIt) {
  TestHub hub;
  provide(hub, false);
  std::string last;
  for (int i = 0; i < 250; ++i) last = hub.add_user("user" + std::to_string(i)).id;
  const std::string node = hub.enroll("n1");
  const std::string cursor = hub.cursor(hub.org().seq.value);
  provide(hub, true);
  EXPECT_TRUE(gets_identity(hub, last));
  // Nodes are told as of any other change.
  const auto stream = testing::decode_stream(hub.feed("since=" + cursor, node).body);
  EXPECT_EQ(stream.users.size(), 250U);
  EXPECT_TRUE(hub.add_user("after").posix);
}

TEST(ProvisionerTest, LooksAgainLaterForThoseWhoCouldGetNone) {
  TestHub hub;
  provide(hub, false);
  const std::string id = hub.add_user("ada").id;
  hub.directory().hold_ids(hub.org().n, std::chrono::minutes(1));
  provide(hub, true);
  hub.directory().allow_ids(hub.org().n);
  hub.hub().tick();
  EXPECT_TRUE(gets_identity(hub, id));
}

}  // namespace
}  // namespace roster::hub
