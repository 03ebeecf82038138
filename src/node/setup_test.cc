#include "node/setup.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <map>

#include "base/file.h"
#include "base/time.h"
#include "node/doctor.h"
#include "node/record_store.h"
#include "node/texts.h"

namespace roster::node {
namespace {

namespace fs = std::filesystem;

/// A node in a directory. Its sshd, visudo and getent are scripts: what they say can be chosen.
class SetupTest : public ::testing::Test {
 protected:
  SetupTest() {
    char name[] = "/tmp/node-setup-XXXXXX";
    CHECK(::mkdtemp(name) != nullptr);
    root_ = name;
    for (const char* directory : {"etc/ssh/sshd_config.d", "etc/sudoers.d", "etc/pam.d", "bin",
                                  "var", "security", "root"}) {
      fs::create_directories(root_ / directory);
    }
    paths_.owner = ::geteuid();
    paths_.nsswitch = root_ / "etc/nsswitch.conf";
    paths_.sshd_config = root_ / "etc/ssh/sshd_config";
    paths_.sshd_snippet = root_ / "etc/ssh/sshd_config.d/50-roster.conf";
    paths_.sudoers_snippet = root_ / "etc/sudoers.d/50-roster";
    paths_.pam_stacks = {root_ / "etc/pam.d/common-session", root_ / "etc/pam.d/sshd"};
    paths_.pam_modules = {root_ / "security"};
    paths_.record_dir = root_ / "var/roster/setup";
    paths_.sshd = root_ / "bin/sshd";
    paths_.visudo = root_ / "bin/visudo";
    paths_.getent = root_ / "bin/getent";
    paths_.key_helper = root_ / "bin/helper";
    paths_.passwd = root_ / "etc/passwd";
    paths_.kept_keys = root_ / "etc/ssh/authorized_keys.d";
    write("etc/passwd", "daemon:x:1:1::" + (root_ / "root").string() + ":/usr/sbin/nologin\n" +
                            "bad line\nroot:x:0:0:root:" + (root_ / "root").string() +
                            ":/bin/bash\n");
    fs::create_directories(root_ / "root/.ssh");
    paths_.nss_module = std::getenv("ROSTER_NSS_MODULE");
    paths_.keys_user = "root";
    write("etc/nsswitch.conf", "passwd: files systemd\ngroup: files\nhosts: dns");
    write("etc/ssh/sshd_config",
          "Include " + (root_ / "etc/ssh/sshd_config.d/*.conf").string() + "\nUsePAM yes\n");
    write("etc/pam.d/common-session", "session required pam_unix.so\n");
    write("etc/pam.d/sshd", "@include common-session\n");
    write("security/pam_mkhomedir.so", "");
    write("security/pam_succeed_if.so", "");
    script("helper", "exit 0");
    script("getent", "echo root:x:0:0");
    script("sshd",
           "[ \"$1\" = -T ] && while read -r key value; do "
           "echo \"$(echo \"$key\" | tr A-Z a-z) $value\"; done < " +
               paths_.sshd_snippet.string() + "; exit 0");
    script("visudo", "echo " + paths_.sudoers_snippet.string() + ": parsed OK");
    settings_.sudo_access = true;
    settings_.sudo_gids = {20001};
  }
  ~SetupTest() override { fs::remove_all(root_); }

  void write(const std::string& name, const std::string& content, mode_t mode = 0644) {
    const fs::path path = root_ / name;
    ASSERT_TRUE(write_file_atomic(path, content, mode));
  }
  void script(const std::string& name, const std::string& body) {
    write("bin/" + name, "#!/bin/sh\n" + body + "\n", 0755);
  }
  std::string read(const std::string& name) {
    return read_file(root_ / name, 1 << 20).value_or("none");
  }

  /// Everything below etc and var: name, mode and bytes.
  std::map<std::string, std::string> picture() const {
    std::map<std::string, std::string> out;
    for (const char* part : {"etc", "var"}) {
      for (const auto& entry : fs::recursive_directory_iterator(root_ / part)) {
        struct stat info{};
        CHECK(::lstat(entry.path().c_str(), &info) == 0);
        std::string& value = out[entry.path().string()];
        value = std::to_string(info.st_mode);
        if (S_ISREG(info.st_mode)) value += *read_file(entry.path(), 1 << 20);
      }
    }
    return out;
  }

  std::string doctor_on_setup() const {
    DoctorOptions options;
    options.config = root_ / "etc/agent.toml";
    options.paths = paths_;
    options.clock = system_now;
    options.nscd_socket = root_ / "nscd";
    for (const Finding& finding : examine(options)) {
      if (finding.check == "setup") return finding.detail;
    }
    return "";
  }

  std::string refused() {
    const auto before = picture();
    const auto done = set_up(settings_, paths_, true);
    EXPECT_FALSE(done) << *done;
    EXPECT_EQ(picture(), before);
    return done ? "" : done.error().message;
  }

  fs::path root_;
  Paths paths_;
  Settings settings_;
};

TEST_F(SetupTest, ShowsThenAppliesThenUndoes) {
  const auto before = picture();
  const auto shown = set_up(settings_, paths_, false);
  ASSERT_TRUE(shown) << shown.error().message;
  EXPECT_EQ(picture(), before);
  EXPECT_NE(shown->find("\n+passwd: files roster systemd\n"), std::string::npos) << *shown;
  const auto done = set_up(settings_, paths_, true);
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(read("etc/nsswitch.conf"),
            "passwd: files roster systemd\ngroup: files roster\nhosts: dns\nshadow: files roster");
  EXPECT_EQ(read("etc/sudoers.d/50-roster"), sudoers_text(settings_));
  EXPECT_NE(read("etc/pam.d/common-session").find("pam_mkhomedir.so umask=0077\n"),
            std::string::npos);
  EXPECT_EQ(read("etc/pam.d/sshd"), "@include common-session\n");
  EXPECT_EQ(doctor_on_setup(), "all files are as setup left them");
  const auto applied = picture();
  const auto again = set_up(settings_, paths_, true);
  ASSERT_TRUE(again);
  EXPECT_EQ(*again, "Nothing to do: this node is as it should be.\n");
  EXPECT_EQ(picture(), applied);
  ASSERT_TRUE(undo_setup(paths_, true));
  EXPECT_EQ(picture(), before);
}

TEST_F(SetupTest, WithoutAnIncludeOneIsPutInFront) {
  write("etc/ssh/sshd_config", "UsePAM yes\nMatch User x\n  X11Forwarding no");
  const auto before = picture();
  ASSERT_TRUE(set_up(settings_, paths_, true));
  EXPECT_TRUE(includes(read("etc/ssh/sshd_config"), paths_.sshd_snippet));
  ASSERT_TRUE(undo_setup(paths_, true));
  EXPECT_EQ(picture(), before);
}

TEST_F(SetupTest, WithoutDebiansStackItIsSshds) {
  fs::remove(root_ / "etc/pam.d/common-session");
  ASSERT_TRUE(set_up(settings_, paths_, true));
  EXPECT_NE(read("etc/pam.d/sshd").find("pam_mkhomedir"), std::string::npos);
}

TEST_F(SetupTest, WhatIsMissingIsSaidBeforeAnythingIsDone) {
  const struct {
    const char* gone;
    const char* message;
  } kCases[] = {{"bin/visudo", "visudo is not installed"},
                {"bin/helper", "helper is not installed"},
                {"security/pam_mkhomedir.so", "PAM has no pam_mkhomedir.so"},
                {"etc/nsswitch.conf", "does not exist"}};
  for (const auto& c : kCases) {
    fs::rename(root_ / c.gone, root_ / "gone");
    EXPECT_NE(refused().find(c.message), std::string::npos) << c.gone;
    fs::rename(root_ / "gone", root_ / c.gone);
  }
  paths_.nss_module = "libnss_of_nobody.so.2";
  EXPECT_NE(refused().find("cannot be loaded"), std::string::npos);
}

TEST_F(SetupTest, RefusalsRollEverythingBack) {
  const std::string good = read("bin/sshd");
  script("visudo", "[ \"$2\" ] && { echo syntax >&2; exit 1; }; exit 0");
  EXPECT_NE(refused().find("visudo refuses the sudoers file: syntax"), std::string::npos);
  script("visudo", "echo /etc/sudoers: parsed OK");
  EXPECT_NE(refused().find("@includedir"), std::string::npos);
  script("visudo", "echo " + paths_.sudoers_snippet.string() + ": parsed OK");
  script("getent", "exit 2");
  EXPECT_NE(refused().find("exit status 2"), std::string::npos);
  script("getent", "echo root:x:0:0");
  script("sshd", "echo bad keyword >&2; exit 255");
  EXPECT_NE(refused().find("already"), std::string::npos);
  script("sshd", "[ ! -e " + paths_.sshd_snippet.string() + " ] || { echo bad >&2; exit 255; }");
  EXPECT_NE(refused().find("bad"), std::string::npos);
  write("bin/sshd", good, 0755);
  EXPECT_TRUE(set_up(settings_, paths_, true));
}

TEST_F(SetupTest, AccountsOfTheNodeKeepTheirKeys) {
  write("root/.ssh/authorized_keys", "ssh-ed25519 AAAA\n", 0600);
  const std::string message = refused();
  EXPECT_NE(message.find("nothing any more: root. Copy"), std::string::npos) << message;
  settings_.home_keys = true;
  EXPECT_TRUE(set_up(settings_, paths_, true));
  EXPECT_EQ(read("etc/ssh/sshd_config.d/50-roster.conf").find("AuthorizedKeysFile"),
            std::string::npos);
  settings_.home_keys = false;
  fs::create_directories(paths_.kept_keys);
  write("etc/ssh/authorized_keys.d/root", "ssh-ed25519 AAAA\n", 0600);
  EXPECT_TRUE(set_up(settings_, paths_, true));
}

TEST_F(SetupTest, TheWayBackIsOpenWhateverOthersBroke) {
  const auto before = picture();
  ASSERT_TRUE(set_up(settings_, paths_, true));
  script("sshd", "echo bad keyword >&2; exit 255");
  const auto undone = undo_setup(paths_, true);
  ASSERT_TRUE(undone) << undone.error().message;
  EXPECT_EQ(picture(), before);
}

TEST_F(SetupTest, LinksAndFilesOfOthersAreNotWrittenThrough) {
  write("var/target", "victim\n");
  for (const char* name : {"etc/ssh/sshd_config.d/50-roster.conf", "etc/sudoers.d/50-roster"}) {
    fs::create_symlink(root_ / "var/target", root_ / name);
    EXPECT_NE(refused().find("symbolic link"), std::string::npos);
    fs::remove(root_ / name);
  }
  fs::permissions(root_ / "etc/sudoers.d", fs::perms::all);
  EXPECT_NE(refused().find("written by others"), std::string::npos);
  fs::permissions(root_ / "etc/sudoers.d", fs::perms::owner_all);
  fs::permissions(root_ / "etc/nsswitch.conf", fs::perms::all);
  EXPECT_NE(refused().find("written by others"), std::string::npos);
  fs::permissions(root_ / "etc/nsswitch.conf", fs::perms(0644));
  fs::create_directory_symlink(root_ / "root", root_ / "var/roster");
  EXPECT_NE(refused().find("symbolic link"), std::string::npos);
  fs::remove(root_ / "var/roster");
  EXPECT_EQ(read("var/target"), "victim\n");
  EXPECT_TRUE(set_up(settings_, paths_, true));
}

/// Each program that is asked kills us in the middle of the work: before the first file, after the
/// last. Then either way leads to its end.
TEST_F(SetupTest, AKillOnTheWayIsMendedByEitherCommand) {
  const auto before = picture();
  ASSERT_TRUE(set_up(settings_, paths_, true));
  const auto target = picture();
  ASSERT_TRUE(undo_setup(paths_, true));
  for (const char* program : {"sshd", "visudo", "getent"}) {
    for (const bool forward : {true, false}) {
      const std::string good = read("bin/" + std::string(program));
      script(program, "kill -9 $PPID");
      const pid_t child = ::fork();
      if (child == 0) {
        const auto done = set_up(settings_, paths_, true);
        ::_exit(0);
      }
      int status = 0;
      ASSERT_EQ(::waitpid(child, &status, 0), child);
      ASSERT_TRUE(WIFSIGNALED(status)) << program;
      EXPECT_NE(picture(), before) << "at least the record says what was going on";
      write("bin/" + std::string(program), good, 0755);
      EXPECT_EQ(doctor_on_setup(), "a setup or unsetup was cut off");
      // As write_file_atomic leaves it when it is killed.
      write("etc/.nsswitch.conf.123.4.tmp", "half");
      if (forward) {
        const auto done = set_up(settings_, paths_, true);
        ASSERT_TRUE(done) << done.error().message;
        EXPECT_EQ(picture(), target) << program;
      }
      const auto undone = undo_setup(paths_, true);
      ASSERT_TRUE(undone) << undone.error().message;
      EXPECT_EQ(picture(), before) << program;
    }
  }
}

TEST_F(SetupTest, AnNsswitchThatBecameALinkIsNoObstacleOnTheWayBack) {
  ASSERT_TRUE(set_up(settings_, paths_, true));
  fs::rename(paths_.nsswitch, root_ / "etc/real");
  fs::create_symlink(root_ / "etc/real", paths_.nsswitch);
  EXPECT_TRUE(set_up(settings_, paths_, true)) << "it has roster, and is not written";
  const auto undone = undo_setup(paths_, true);
  ASSERT_TRUE(undone) << undone.error().message;
  EXPECT_NE(undone->find("is a symbolic link now"), std::string::npos) << *undone;
  EXPECT_TRUE(fs::is_symlink(paths_.nsswitch));
  EXPECT_FALSE(fs::exists(paths_.sudoers_snippet));
}

TEST_F(SetupTest, AFileOfOursThatTheOperatorReplacedIsTheirsAgain) {
  ASSERT_TRUE(set_up(settings_, paths_, true));
  write("etc/sudoers.d/50-roster", "# mine\n", 0440);
  ASSERT_TRUE(undo_setup(paths_, true));
  EXPECT_EQ(read("etc/sudoers.d/50-roster"), "# mine\n");
}

TEST_F(SetupTest, TwoAtOnceAreRefused) {
  const auto held = RecordStore::open(paths_.record_dir, paths_.owner);
  ASSERT_TRUE(held);
  const auto done = set_up(settings_, paths_, true);
  ASSERT_FALSE(done);
  EXPECT_NE(done.error().message.find("another"), std::string::npos);
}

TEST_F(SetupTest, AnotherThanRootIsTold) {
  paths_.owner = ::geteuid() + 1;
  const auto done = set_up(settings_, paths_, false);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, Code::kPermissionDenied);
}

TEST_F(SetupTest, ADamagedRecordIsNotGuessedAt) {
  ASSERT_TRUE(set_up(settings_, paths_, true));
  write("var/roster/setup/record.json", "{\"version\":1}", 0600);
  const auto done = undo_setup(paths_, true);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, Code::kDataLoss);
}

}  // namespace
}  // namespace roster::node
