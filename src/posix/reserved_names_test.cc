#include "posix/reserved_names.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <string>

#include "posix/names.h"

namespace roster::posix {
namespace {

TEST(ReservedNamesTest, HoldsThoseThatCarryPower) {
  for (const char* name :
       {"root",     "toor",        "daemon",       "bin",       "sudo",
        "wheel",    "admin",       "adm",          "docker",    "lxd",
        "disk",     "shadow",      "kvm",          "slurm",     "munge",
        "nobody",   "nogroup",     "ubuntu",       "debian",    "ec2-user",
        "centos",   "rocky",       "almalinux",    "azureuser", "cloud-user",
        "opc",      "vagrant",     "core",         "fedora",    "rhel",
        "roster",   "roster-keys", "roster-agent", "sshd",      "systemd-journal",
        "www-data", "postgres",    "tty",          "kmem",      "video",
        "render",   "libvirt",     "_apt",         "_ssh"}) {
    EXPECT_TRUE(is_reserved_name(name)) << name;
  }
}

TEST(ReservedNamesTest, PeopleAreNotReserved) {
  for (const char* name : {"", "a", "alice", "bob", "john.smith", "root2", "roo", "roott",
                           "research", "zzz", "students", "physics", "sudoku"}) {
    EXPECT_FALSE(is_reserved_name(name)) << name;
  }
}

TEST(ReservedNamesTest, EveryEntryIsFoundAndIsAName) {
  for (const std::string_view name : reserved_names()) {
    EXPECT_TRUE(is_reserved_name(name)) << name;
    EXPECT_TRUE(LoginName::parse(name)) << name;
    EXPECT_FALSE(is_reserved_name(with_suffix(name, 2))) << name;
  }
}

// Whatever a Debian system itself has from its base must be in the list.
TEST(ReservedNamesTest, HoldsTheBaseOfThisSystem) {
  int checked = 0;
  for (const char* file :
       {"/usr/share/base-passwd/passwd.master", "/usr/share/base-passwd/group.master"}) {
    std::ifstream lines(file);
    for (std::string line; std::getline(lines, line); ++checked) {
      EXPECT_TRUE(is_reserved_name(line.substr(0, line.find(':')))) << line;
    }
  }
  if (checked == 0) GTEST_SKIP() << "base-passwd's master files are only on Debian";
}

}  // namespace
}  // namespace roster::posix
