#include "init.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>

#include "base/fd.h"
#include "base/file.h"
#include "crypto/x509.h"
#include "data_dir.h"
#include "directory/directory.h"
#include "store/sqlite.h"
#include "store/testing/engines.h"

namespace roster::rosterd {
namespace {

namespace fs = std::filesystem;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsSupersetOf;

class Init : public ::testing::Test {
 protected:
  InitOptions options() const {
    InitOptions options;
    options.data_dir = dir_.root;
    options.org = "acme";
    options.dns = {"hub.example.org", "192.0.2.7"};
    return options;
  }
  Result<void> run() {
    return init(options(), [this](const Secret& token) -> Result<void> {
      token_ = token.expose();
      return {};
    });
  }
  std::map<std::string, std::string> contents() const {
    std::map<std::string, std::string> files;
    for (const auto& entry : fs::recursive_directory_iterator(dir_.root)) {
      if (entry.is_regular_file()) files[entry.path()] = *read_file(entry.path(), 1 << 30);
    }
    return files;
  }
  /// Whether `token` opens the hub in the data directory.
  bool opens(const std::string& token) const {
    const auto database = store::open_sqlite({.path = dir_.database()});
    if (!database) return false;
    const auto directory = directory::Directory::open(**database);
    if (!directory) return false;
    const auto actor = (*directory)->authenticate(token);
    return actor && actor->scope == directory::Scope::kOperator && !actor->org;
  }

  store::testing::TempDirectory temp_;
  DataDir dir_{temp_.path() / "deep" / "hub"};
  std::string token_;
};

mode_t mode_of(const fs::path& path) {
  struct stat status{};
  EXPECT_EQ(::stat(path.c_str(), &status), 0) << path;
  return status.st_mode & 07777;
}

TEST_F(Init, MakesAHubThatItsTokenOpens) {
  const auto done = run();
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(mode_of(dir_.root), 0700U);
  for (const auto& secret : {dir_.database(), dir_.ca_key(), dir_.server_key()}) {
    EXPECT_EQ(mode_of(secret), 0600U) << secret;
  }
  EXPECT_FALSE(fs::exists(dir_.unfinished()));
  EXPECT_TRUE(opens(token_));
  EXPECT_FALSE(opens("nonsense"));
  const auto info = crypto::certificate_info(*read_file(dir_.server_certificate(), 1 << 16));
  ASSERT_TRUE(info);
  EXPECT_THAT(info->hosts,
              IsSupersetOf({"localhost", "127.0.0.1", "hub.example.org", "192.0.2.7"}));
}

TEST_F(Init, RefusesAHubAndLeavesItAlone) {
  ASSERT_TRUE(run());
  const auto before = contents();
  const auto again = run();
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, Code::kFailedPrecondition);
  EXPECT_EQ(contents(), before);
}

// A full disk or a closed pipe where the token should go: no hub whose token nobody has.
TEST_F(Init, LeavesNothingWhenTheTokenCannotBeShown) {
  const auto failed = init(options(), [](const Secret&) -> Result<void> {
    return fail(Code::kUnavailable, "closed pipe");
  });
  ASSERT_FALSE(failed);
  EXPECT_THAT(failed.error().message, HasSubstr("closed pipe"));
  EXPECT_FALSE(fs::exists(dir_.root));
  EXPECT_TRUE(run());
}

TEST_F(Init, LeavesNothingAfterABadOrganizationOrName) {
  InitOptions bad = options();
  bad.org = "Not A Slug";
  const ShowToken show = [](const Secret&) -> Result<void> { return {}; };
  EXPECT_FALSE(init(bad, show));
  bad = options();
  bad.dns = {"not a host"};
  EXPECT_FALSE(init(bad, show));
  EXPECT_FALSE(fs::exists(dir_.root));
}

// Killed between moving the certificates and moving the database.
TEST_F(Init, StartsAnewAfterACrash) {
  fs::create_directories(dir_.unfinished());
  std::ofstream(dir_.unfinished() / "roster.db") << "half";
  std::ofstream(dir_.ca_certificate()) << "old";
  std::ofstream(dir_.ca_key()) << "old";
  const auto done = run();
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_TRUE(opens(token_));
  EXPECT_NE(*read_file(dir_.ca_certificate(), 1 << 16), "old");
}

TEST_F(Init, DoesNotReplaceAnAuthorityWhoseStoreIsMissing) {
  fs::create_directories(dir_.root);
  std::ofstream(dir_.ca_key()) << "precious";
  const auto refused = run();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kFailedPrecondition);
  EXPECT_EQ(*read_file(dir_.ca_key(), 1 << 16), "precious");
}

// Whoever mistypes --data-dir as /etc must not lock everybody out of it.
TEST_F(Init, ChangesTheModeOnlyOfADirectoryThatIsEmpty) {
  constexpr auto kOpen = static_cast<fs::perms>(0755);
  fs::create_directories(dir_.root);
  fs::permissions(dir_.root, kOpen);
  std::ofstream(dir_.ca_key()) << "precious";
  EXPECT_FALSE(run());
  EXPECT_EQ(mode_of(dir_.root), 0755U);
  fs::remove(dir_.ca_key());
  std::ofstream(dir_.root / "passwd") << "another's";
  EXPECT_TRUE(run());
  EXPECT_EQ(mode_of(dir_.root), 0755U);

  fs::remove_all(dir_.root);
  fs::create_directories(dir_.root);
  fs::permissions(dir_.root, kOpen);
  EXPECT_TRUE(run());
  EXPECT_EQ(mode_of(dir_.root), 0700U);
}

TEST_F(Init, TwoAtOneTimeAreOne) {
  fs::create_directories(dir_.root);
  const UniqueFd other(::open(dir_.root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  ASSERT_EQ(::flock(other.get(), LOCK_EX), 0);
  const auto refused = run();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kUnavailable);
}

TEST_F(Init, ALostTokenIsReplacedOffline) {
  EXPECT_FALSE(mint_operator_token(dir_.root, "second", system_now, system_random));
  ASSERT_TRUE(run());
  const auto second = mint_operator_token(dir_.root, "second", system_now, system_random);
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_TRUE(opens(second->expose()));
  EXPECT_TRUE(opens(token_));
  EXPECT_FALSE(mint_operator_token(dir_.root, "second", system_now, system_random));
}

TEST_F(Init, TheCertificateIsRenewedWhenItMust) {
  ASSERT_TRUE(run());
  const Timestamp now = system_now();
  const auto info = [this] {
    return *crypto::certificate_info(*read_file(dir_.server_certificate(), 1 << 16));
  };
  const auto first = info();
  EXPECT_EQ(renew_certificate(dir_, {"localhost"}, now, system_random), false);
  EXPECT_EQ(info().serial, first.serial);

  EXPECT_EQ(renew_certificate(dir_, {"new.example.org"}, now, system_random), true);
  EXPECT_THAT(info().hosts, Contains("new.example.org"));
  EXPECT_THAT(info().hosts, Contains("hub.example.org")) << "its other names stay";

  const std::string serial = info().serial;
  EXPECT_EQ(renew_certificate(dir_, {}, info().not_after - std::chrono::days(31), system_random),
            false);
  EXPECT_EQ(renew_certificate(dir_, {}, info().not_after - std::chrono::days(29), system_random),
            true);
  EXPECT_NE(info().serial, serial);

  // Cut between the two files.
  const auto ca = crypto::create_ca("x", now, std::chrono::days(10), system_random);
  ASSERT_TRUE(write_file_atomic(dir_.server_key(), ca->key_pem.expose(), 0600));
  EXPECT_EQ(renew_certificate(dir_, {}, now, system_random), true);
  EXPECT_TRUE(crypto::check_key_matches(*read_file(dir_.server_certificate(), 1 << 16),
                                        Secret(*read_file(dir_.server_key(), 1 << 16))));
}

}  // namespace
}  // namespace roster::rosterd
