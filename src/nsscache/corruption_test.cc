// Damage of every byte of every file: the answer is the right one or "unavailable", never a crash,
// a wrong person, or "no such person".

#include <fcntl.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <fstream>
#include <functional>

#include "nsscache/test_support.h"

namespace roster::nsscache {
namespace {

class CorruptionTest : public CacheTest {
 protected:
  void SetUp() override {
    // A base and a delta with every kind of record: kept, changed, renamed, removed, masked,
    // patched.
    Publisher publisher = open_publisher();
    for (std::uint64_t n = 1; n <= 3; ++n) {
      ASSERT_OK(publisher.upsert_group(
          make_group(n, "g" + std::to_string(n), static_cast<std::uint32_t>(20000 + n),
                     n == 1 ? std::vector<std::uint64_t>{2} : std::vector<std::uint64_t>{})));
    }
    for (std::uint64_t n = 1; n <= 6; ++n) {
      posix::NodeUser user =
          make_user(n, "u" + std::to_string(n), static_cast<std::uint32_t>(10000 + n), {1, 3, 9});
      user.keys = {{.line = "ssh-ed25519 AAAA" + std::to_string(n), .fingerprint = "SHA256:x"}};
      if (n == 4) user.valid_until = 4'000'000'000;
      ASSERT_OK(publisher.upsert_user(user));
    }
    ASSERT_OK(publisher.publish("c1", "e1", now_));
    ASSERT_OK(publisher.upsert_user(make_user(2, "renamed", 10002, {1}, 2)));
    ASSERT_OK(publisher.remove_user(3, Seq{3}));
    ASSERT_OK(publisher.upsert_user(make_user(7, "u7", 10007, {2, 3}, 4)));
    ASSERT_OK(publisher.remove_group(3, Seq{5}));
    publisher.set_local_rules({.masked_names = {"u5"}, .denied_names = {"u6"}});
    ASSERT_OK(publisher.publish("c2", "e1", now_));
    questions();
    for (const auto& question : questions_) right_.push_back(question());
  }

  /// Everything that can be asked about these people.
  void questions() {
    static const std::vector<std::string> names = {
        "u1", "u2", "renamed", "u3", "u4", "u5", "u6", "u7", "g1", "g2", "g3", "nobody-here"};
    for (const std::string& name : names) {
      questions_.push_back([&name] { return passwd_line(name.c_str()); });
      questions_.push_back([&name] { return group_line(name.c_str()); });
      questions_.push_back([&name] {
        gid_t gids[16];
        const GidsResult result = read_gids(name.c_str(), 0, gids, 16);
        if (result.answer == Answer::kUnavailable) return std::string("unavailable");
        std::string text = result.answer == Answer::kFound ? "gids" : "not found";
        for (std::size_t i = 0; i < result.count; ++i) text += " " + std::to_string(gids[i]);
        return text;
      });
    }
    for (std::uint32_t id :
         {10001u, 10002u, 10003u, 10004u, 10005u, 10006u, 10007u, 20001u, 20002u, 20003u, 30000u}) {
      questions_.push_back([id] { return passwd_line(uid_t{id}); });
      questions_.push_back([id] { return group_line(gid_t{id}); });
    }
    for (const std::uint32_t n : {1u, 2u, 7u}) {
      questions_.push_back([n] {
        std::string text = "keys";
        for (const std::string& key : roster::nsscache::keys_of(
                 n == 2 ? "renamed" : ("u" + std::to_string(n)).c_str(), 10000 + n, 1000)) {
          if (key == "unavailable" || key == "stale") return std::string("unavailable");
          text += " " + key;
        }
        return text;
      });
    }
    questions_.push_back([] { return joined(all_passwd()); });
    questions_.push_back([] { return joined(all_groups()); });
  }

  static std::string joined(const std::vector<std::string>& names) {
    std::string text;
    for (const std::string& name : names) {
      if (name == "unavailable") return name;
      text += name + " ";
    }
    return text;
  }

  /// Asks everything in a process that has just begun and keeps its mapping.
  void ask(const std::string& what) {
    testing::forget_process_state();
    testing::skip_local_calls();
    for (std::size_t i = 0; i < questions_.size(); ++i) {
      const std::string answer = questions_[i]();
      if (answer == "unavailable") {
        ++unavailable_;
        continue;
      }
      ASSERT_EQ(answer, right_[i]) << what << ", question " << i;
    }
  }

  std::vector<std::string> files() const {
    std::vector<std::string> out;
    for (const auto& entry : std::filesystem::directory_iterator(directory_)) {
      // Nobody reads the reserve.
      const std::string name = entry.path().filename();
      if (!name.starts_with("reserve")) out.push_back(name);
    }
    return out;
  }

  std::vector<std::function<std::string()>> questions_;
  std::vector<std::string> right_;
  std::uint64_t unavailable_ = 0;
};

TEST_F(CorruptionTest, TheAnswersAreWhatTheStorySays) {
  EXPECT_THAT(right_,
              ::testing::Contains("renamed:x:10002:10002:User renamed:/home/renamed:/bin/bash"));
  EXPECT_THAT(right_, ::testing::Contains("g1:x:20001:u1,u4,renamed"));
  EXPECT_THAT(right_, ::testing::Contains("keys ssh-ed25519 AAAA1"));
  EXPECT_THAT(right_, ::testing::Not(::testing::Contains("unavailable")));
}

TEST_F(CorruptionTest, EveryByteOfEveryFile) {
  for (const std::string& name : files()) {
    const int fd = ::open((directory_ / name).c_str(), O_RDWR);
    ASSERT_GE(fd, 0);
    const off_t size = ::lseek(fd, 0, SEEK_END);
    const off_t checked = name == kControlName ? 160 : size;
    for (off_t at = 0; at < checked; ++at) {
      // One CRC guards the whole header: a part of its bytes stands for the others.
      if (at >= 128 && at < off_t{kHeaderBytes} && at % 16 != 0 && !is_long()) continue;
      char byte;
      ASSERT_EQ(::pread(fd, &byte, 1, at), 1);
      const char flips[] = {'\x01', '\x80', '\xff'};
      const char damaged = static_cast<char>(byte ^ flips[at % 3]);
      ASSERT_EQ(::pwrite(fd, &damaged, 1, at), 1);
      ask(name + " byte " + std::to_string(at));
      ASSERT_EQ(::pwrite(fd, &byte, 1, at), 1);
      if (HasFatalFailure()) return;
    }
    ::close(fd);
  }
  EXPECT_GT(unavailable_, 1000u) << "damage must be noticed at all";
}

TEST_F(CorruptionTest, EveryLengthOfATornFile) {
  for (const std::string& name : files()) {
    const std::filesystem::path path = directory_ / name;
    std::ifstream in(path, std::ios::binary);
    const std::string whole((std::istreambuf_iterator<char>(in)), {});
    const std::size_t step = is_long() ? 1 : 61;
    for (std::size_t length = 0; length < whole.size(); length += step) {
      // As a crash leaves it: a shorter file, or one whose tail is zeros.
      for (const bool zeros : {false, true}) {
        std::string torn = whole.substr(0, length);
        if (zeros) torn.resize(whole.size());
        if (zeros && name == kControlName && length > kControlHeaderBytes) continue;
        std::filesystem::remove(path);
        std::ofstream(path, std::ios::binary) << torn;
        ask(name + " cut at " + std::to_string(length));
        if (HasFatalFailure()) return;
      }
    }
    std::filesystem::remove(path);
    std::ofstream(path, std::ios::binary) << whole;
  }
}

TEST_F(CorruptionTest, AFileThatIsMissing) {
  for (const std::string& name : files()) {
    std::filesystem::rename(directory_ / name, root_ / name);
    ask(name + " missing");
    std::filesystem::rename(root_ / name, directory_ / name);
  }
}

/// Writes a header back with the checksum that a writer would give it.
class SealedHeader {
 public:
  explicit SealedHeader(const std::filesystem::path& path)
      : file_(path, std::ios::in | std::ios::out | std::ios::binary) {
    file_.read(reinterpret_cast<char*>(&header), sizeof header);
  }
  ~SealedHeader() {
    header.header_crc = 0;
    header.header_crc = header_crc32c(&header, sizeof header);
    file_.seekp(0);
    file_.write(reinterpret_cast<const char*>(&header), sizeof header);
  }
  ImageHeader header{};

 private:
  std::fstream file_;
};

TEST_F(CorruptionTest, SkipsWhatALaterMinorVersionAdds) {
  {
    SealedHeader delta(directory_ / "delta.1.2");
    delta.header.minor = 9;
    delta.header.sections[delta.header.section_count++] = {999, 0, 1024, 64};
  }
  ask("a section that is unknown");
  EXPECT_EQ(unavailable_, 0u);
}

TEST_F(CorruptionTest, StopsAtWhatMustBeUnderstood) {
  {
    SealedHeader delta(directory_ / "delta.1.2");
    delta.header.must_understand = 1;
  }
  ask("a bit that must be understood");
  EXPECT_EQ(unavailable_, questions_.size());
}

TEST_F(CorruptionTest, DistrustsSectionsThatLeaveTheFile) {
  SealedHeader(directory_ / "delta.1.2");
  ask("resealed as it was");
  EXPECT_EQ(unavailable_, 0u);
  for (const std::uint64_t bad : {~0ull, ~0ull - 63, 1ull << 63, 1ull << 40, 1ull}) {
    ImageHeader before;
    for (std::uint32_t i = 0; i < 7; ++i) {
      for (const bool offset : {true, false}) {
        {
          SealedHeader delta(directory_ / "delta.1.2");
          before = delta.header;
          (offset ? delta.header.sections[i].offset : delta.header.sections[i].bytes) = bad;
        }
        ask("a section out of bounds");
        SealedHeader(directory_ / "delta.1.2").header = before;
        if (HasFatalFailure()) return;
      }
    }
  }
}

}  // namespace
}  // namespace roster::nsscache
