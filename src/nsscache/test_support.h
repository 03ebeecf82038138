#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "nsscache/publisher.h"
#include "nsscache/reader.h"

namespace roster::nsscache {

/// A directory of its own on a local file system, gone at the end; the reader of this process looks
/// there.
class CacheTest : public ::testing::Test {
 protected:
  CacheTest() {
    std::string name = "/tmp/roster-cache-XXXXXX";
    if (::access("/dev/shm", W_OK) == 0) name = "/dev/shm/roster-cache-XXXXXX";
    EXPECT_NE(::mkdtemp(name.data()), nullptr);
    root_ = name;
    ::chmod(root_.c_str(), 0755);
    directory_ = root_ / "cache";
    ::setenv("ROSTER_CACHE_DIR", directory_.c_str(), 1);
    testing::forget_process_state();
  }
  ~CacheTest() override {
    testing::forget_process_state();
    std::filesystem::remove_all(root_);
  }

  PublisherOptions options() const {
    PublisherOptions out;
    out.directory = directory_;
    out.org = "acme";
    out.view = "default";
    out.allow_any_filesystem = true;
    return out;
  }
  Publisher open_publisher() const {
    auto publisher = Publisher::open(options(), now_);
    EXPECT_TRUE(publisher) << publisher.error().message;
    publisher->set_local_rules({});
    return std::move(*publisher);
  }

  /// `script/test --all`.
  static bool is_long() {
    const char* tier = ::getenv("ROSTER_TEST_TIER");
    return tier != nullptr && std::string(tier) == "all";
  }

  std::filesystem::path root_;
  std::filesystem::path directory_;
  Timestamp now_ = from_millis(1'790'000'000'000);
};

inline posix::NodeUser make_user(std::uint64_t n, const std::string& name, std::uint32_t uid,
                                 std::vector<std::uint64_t> groups = {}, std::uint64_t seq = 1) {
  return posix::NodeUser{.n = n,
                         .seq = Seq{seq},
                         .name = posix::LoginName::parse(name).value(),
                         .uid = uid,
                         .gid = uid,
                         .gecos = "User " + name,
                         .home = "/home/" + name,
                         .shell = "/bin/bash",
                         .locked = false,
                         .valid_until = 0,
                         .groups = std::move(groups),
                         .keys = {}};
}

inline posix::NodeGroup make_group(std::uint64_t n, const std::string& name, std::uint32_t gid,
                                   std::vector<std::uint64_t> parents = {}, std::uint64_t seq = 1) {
  return posix::NodeGroup{.n = n,
                          .seq = Seq{seq},
                          .name = posix::GroupName::parse(name).value(),
                          .gid = gid,
                          .parents = std::move(parents)};
}

/// "name:x:uid:gid:gecos:home:shell", or "not found", "unavailable".
template <typename Key>
std::string passwd_line(Key key) {
  struct passwd entry;
  char buffer[8192];
  switch (read_passwd(key, entry, buffer, sizeof buffer)) {
    case Answer::kFound:
      return std::string(entry.pw_name) + ":" + entry.pw_passwd + ":" +
             std::to_string(entry.pw_uid) + ":" + std::to_string(entry.pw_gid) + ":" +
             entry.pw_gecos + ":" + entry.pw_dir + ":" + entry.pw_shell;
    case Answer::kNotFound:
      return "not found";
    case Answer::kUnavailable:
      return "unavailable";
    case Answer::kTooSmall:
      break;
  }
  return "too small";
}

/// "name:x:gid:member,member" in the order given.
template <typename Key>
std::string group_line(Key key) {
  struct group entry;
  static thread_local std::vector<char> buffer(1 << 20);
  switch (read_group(key, entry, buffer.data(), buffer.size())) {
    case Answer::kFound: {
      std::string line = std::string(entry.gr_name) + ":" + entry.gr_passwd + ":" +
                         std::to_string(entry.gr_gid) + ":";
      for (char** member = entry.gr_mem; *member != nullptr; ++member) {
        if (member != entry.gr_mem) line += ",";
        line += *member;
      }
      return line;
    }
    case Answer::kNotFound:
      return "not found";
    case Answer::kUnavailable:
      return "unavailable";
    case Answer::kTooSmall:
      break;
  }
  return "too small";
}

inline std::vector<gid_t> gids_of(const char* name, gid_t skip = 0) {
  std::vector<gid_t> gids(64);
  const GidsResult result = read_gids(name, skip, gids.data(), gids.size());
  if (result.answer != Answer::kFound) return {};
  gids.resize(result.count);
  return gids;
}

/// Keys as the helper gives them; "unknown", "stale", "unavailable" as one element.
inline std::vector<std::string> keys_of(const char* name, std::uint32_t uid, std::int64_t now_s,
                                        const char* fingerprint = nullptr) {
  std::vector<std::string> lines;
  const KeyAnswer answer = read_keys(
      nullptr, {name, uid, fingerprint, now_s},
      [](void* context, const char* line, std::size_t bytes) {
        static_cast<std::vector<std::string>*>(context)->emplace_back(line, bytes);
      },
      &lines);
  switch (answer) {
    case KeyAnswer::kKnown:
      return lines;
    case KeyAnswer::kUnknown:
      return {"unknown"};
    case KeyAnswer::kStale:
      return {"stale"};
    case KeyAnswer::kUnavailable:
      break;
  }
  return {"unavailable"};
}

inline std::vector<std::string> all_passwd() {
  std::vector<std::string> names;
  Enumeration walk;
  if (open_enumeration(walk) != Answer::kFound) return {"unavailable"};
  struct passwd entry;
  char buffer[8192];
  Answer answer;
  while ((answer = next_passwd(walk, entry, buffer, sizeof buffer)) == Answer::kFound) {
    names.emplace_back(entry.pw_name);
  }
  if (answer != Answer::kNotFound) names.emplace_back("unavailable");
  close_enumeration(walk);
  return names;
}

inline std::vector<std::string> all_groups() {
  std::vector<std::string> names;
  Enumeration walk;
  if (open_enumeration(walk) != Answer::kFound) return {"unavailable"};
  struct group entry;
  static thread_local std::vector<char> buffer(1 << 20);
  Answer answer;
  while ((answer = next_group(walk, entry, buffer.data(), buffer.size())) == Answer::kFound) {
    names.emplace_back(entry.gr_name);
  }
  if (answer != Answer::kNotFound) names.emplace_back("unavailable");
  close_enumeration(walk);
  return names;
}

#define ASSERT_OK(expression)                                                \
  do {                                                                       \
    const auto& roster_test_result_ = (expression);                          \
    ASSERT_TRUE(roster_test_result_) << roster_test_result_.error().message; \
  } while (false)

}  // namespace roster::nsscache
