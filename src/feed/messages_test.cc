#include "feed/messages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace roster::feed {
namespace {

using posix::GroupName;
using posix::LoginName;
using posix::NodeGroup;
using posix::NodeKey;
using posix::NodeUser;

constexpr std::string_view kKey =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGLQDe+tnDAbXc7vNvB4Z3wWkFXGPZOeRhTUuQIGa6xq a@b";

LoginName login(std::string_view text) { return *LoginName::parse(text); }
GroupName group_name(std::string_view text) { return *GroupName::parse(text); }

NodeUser alice() {
  return {.n = 7,
          .seq = Seq{12},
          .name = login("alice"),
          .uid = 10001,
          .gid = 10001,
          .gecos = "Alice \"A\" \\ Ex\xc3\xa9mple",
          .home = "/home/alice",
          .shell = "/bin/bash",
          .locked = false,
          .valid_until = 0,
          .groups = {1, 5, 9},
          .keys = {}};
}

std::string head_line(Kind kind, bool keys = true) {
  std::string out;
  append(out, Head{.epoch = "e3",
                   .org = "acme",
                   .view = "login",
                   .kind = kind,
                   .head = Seq{20},
                   .keys = keys});
  return out;
}

std::string end_line(Counts counts) {
  std::string out;
  append(out, End{.counts = counts, .final = true, .more = {}, .cursor = "e3.20.ab", .totals = {}});
  return out;
}

/// Decodes with pieces of a given size.
Result<std::vector<Message>> decode(std::string_view stream, std::size_t piece = 1 << 20,
                                    Limits limits = {}) {
  Decoder decoder(limits);
  std::vector<Message> out;
  for (std::size_t at = 0; at < stream.size(); at += piece) {
    RETURN_IF_ERROR(decoder.push(stream.substr(at, piece), [&out](Message&& m) -> Result<void> {
      out.push_back(std::move(m));
      return {};
    }));
  }
  RETURN_IF_ERROR(decoder.finish());
  return out;
}

TEST(Messages, EveryTypeSurvivesARoundTripCutAnywhere) {
  NodeUser locked = alice();
  locked.n = 8;
  locked.name = login("bob");
  locked.uid = locked.gid = 10002;
  locked.gecos = "";
  locked.locked = true;
  locked.valid_until = 1'800'000'000;
  locked.groups = {};
  const std::vector<Message> sent{
      Head{.epoch = "e3",
           .org = "acme",
           .view = "login",
           .kind = Kind::kDelta,
           .head = Seq{20},
           .keys = true},
      NodeGroup{.n = 1, .seq = Seq{3}, .name = group_name("ml"), .gid = 10050, .parents = {2, 3}},
      alice(),
      locked,
      UserGone{.n = 4, .seq = Seq{19}},
      GroupGone{.n = 4, .seq = Seq{20}},
      End{.counts = {.users = 2, .groups = 1, .gone = 2},
          .final = false,
          .more = "a.b-1",
          .cursor = {},
          .totals = Totals{.users = 5, .groups = 6}}};
  std::string stream;
  for (const Message& message : sent) {
    std::visit([&stream](const auto& m) { append(stream, m); }, message);
  }
  for (const std::size_t piece : {std::size_t{1}, std::size_t{7}, std::size_t{64}, stream.size()}) {
    const auto got = decode(stream, piece);
    ASSERT_TRUE(got) << got.error().message;
    EXPECT_TRUE(*got == sent) << "pieces of " << piece;
  }
}

// What passes here must fit into the node's cache, or one record holds the whole delta back.
TEST(Messages, PathsAreAsLongAsTheCacheHasRoom) {
  for (const auto& [home, shell, fits] :
       {std::tuple(1023, 255, true), std::tuple(1024, 255, false), std::tuple(1023, 256, false)}) {
    NodeUser user = alice();
    user.home = "/" + std::string(static_cast<std::size_t>(home) - 1, 'h');
    user.shell = "/" + std::string(static_cast<std::size_t>(shell) - 1, 's');
    std::string line;
    append(line, user);
    EXPECT_EQ(parse_message(line.substr(0, line.size() - 1)).has_value(), fits)
        << home << ' ' << shell;
  }
}

TEST(Messages, KeysCarryTheirLineAndTheReaderComputesTheFingerprint) {
  NodeUser user = alice();
  user.keys = {NodeKey{
      .line = std::string(kKey), .fingerprint = "SHA256:forged", .not_before = 5, .not_after = 9}};
  std::string stream = head_line(Kind::kDelta);
  append(stream, user);
  stream += end_line({.users = 1});
  const auto got = decode(stream);
  ASSERT_TRUE(got) << got.error().message;
  const auto& back = std::get<NodeUser>((*got)[1]);
  ASSERT_EQ(back.keys.size(), 1U);
  EXPECT_EQ(back.keys[0].line, kKey);
  EXPECT_TRUE(back.keys[0].fingerprint.starts_with("SHA256:"));
  EXPECT_NE(back.keys[0].fingerprint, "SHA256:forged");
  EXPECT_EQ(back.keys[0].not_before, 5);
  EXPECT_EQ(back.keys[0].not_after, 9);
}

TEST(Messages, RandomRecordsSurviveARoundTrip) {
  std::mt19937_64 random(1);
  std::string stream = head_line(Kind::kDelta);
  std::vector<Message> sent;
  Counts counts;
  for (int i = 0; i < 2000; ++i) {
    const std::uint64_t n = random() % 1'000'000 + 1;
    std::vector<std::uint64_t> numbers;
    for (std::uint64_t at = random() % 4; at > 0; --at) {
      numbers.push_back((numbers.empty() ? 0 : numbers.back()) + 1 + random() % (1ULL << 40));
    }
    if (random() % 2 == 0) {
      NodeUser user = alice();
      user.n = n;
      user.seq = Seq{random() % 20 + 1};
      user.name = login("u" + std::to_string(n));
      user.uid = user.gid = static_cast<std::uint32_t>(100'000 + random() % 2'000'000'000);
      if (random() % 4 == 0) user.gid = static_cast<std::uint32_t>(2000 + random() % 1000);
      user.locked = random() % 2 == 0;
      user.valid_until = static_cast<std::int64_t>(random() % 4'000'000'000);
      user.groups = numbers;
      append(stream, user);
      sent.emplace_back(user);
      ++counts.users;
    } else {
      NodeGroup group{.n = n,
                      .seq = Seq{5},
                      .name = group_name("g" + std::to_string(n)),
                      .gid = static_cast<std::uint32_t>(100'000 + random() % 1'000'000),
                      .parents = numbers};
      append(stream, group);
      sent.emplace_back(group);
      ++counts.groups;
    }
  }
  stream += end_line(counts);
  const auto got = decode(stream, 4096);
  ASSERT_TRUE(got) << got.error().message;
  ASSERT_EQ(got->size(), sent.size() + 2);
  for (std::size_t i = 0; i < sent.size(); ++i) EXPECT_TRUE((*got)[i + 1] == sent[i]) << i;
}

TEST(Messages, UnknownTypesAndMembersAreSkipped) {
  std::string stream = head_line(Kind::kDelta);
  stream.insert(stream.size() - 2, R"(,"colour":{"deep":[1,2,{"x":null}]})");
  stream += R"({"t":"future","anything":[true]})"
            "\n";
  stream += R"({"t":"user_gone","n":1,"seq":2,"why":"left"})"
            "\n";
  stream += end_line({.gone = 1});
  const auto got = decode(stream);
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_EQ(got->size(), 3U);
}

// Each line would put something false or dangerous on a node.
TEST(Messages, InvalidRecordsAreRefusedNamingTheMember) {
  const struct {
    const char* line;
    const char* named;
  } cases[] = {
      {R"({"t":"user"})", "\"n\""},
      {R"([])", "line"},
      {R"({"n":1})", "\"t\""},
      {R"({"t":"user","n":0,"seq":1,"name":"a","uid":5000,"home":"/h","shell":"/s"})", "\"n\""},
      {R"({"t":"user","n":-1,"seq":1,"name":"a","uid":5000,"home":"/h","shell":"/s"})", "\"n\""},
      {R"({"t":"user","n":1.5,"seq":1,"name":"a","uid":5000,"home":"/h","shell":"/s"})", "\"n\""},
      {R"({"t":"user","n":18446744073709551615,"seq":1,"name":"a","uid":5000})", "\"n\""},
      {R"({"t":"user","n":1,"seq":0,"name":"a","uid":5000,"home":"/h","shell":"/s"})", "\"seq\""},
      {R"({"t":"user","n":1,"seq":1,"name":"a:b","uid":5000,"home":"/h","shell":"/s"})", "name"},
      {R"({"t":"user","n":1,"seq":1,"name":"-rf","uid":5000,"home":"/h","shell":"/s"})", "name"},
      {R"({"t":"user","n":1,"seq":1,"name":"../x","uid":5000,"home":"/h","shell":"/s"})", "name"},
      {R"({"t":"user","n":1,"seq":1,"name":"a\nb","uid":5000,"home":"/h","shell":"/s"})", "name"},
      {R"({"t":"user","n":1,"seq":1,"name":"root","uid":0,"home":"/h","shell":"/s"})", "\"uid\""},
      {R"({"t":"user","n":1,"seq":1,"name":"a","uid":999,"home":"/h","shell":"/s"})", "\"uid\""},
      {R"({"t":"user","n":1,"seq":1,"name":"a","uid":65534,"home":"/h","shell":"/s"})", "\"uid\""},
      {R"({"t":"user","n":1,"seq":1,"name":"a","uid":5000,"gid":27,"home":"/h","shell":"/s"})",
       "\"gid\""},
      {R"({"t":"user","n":1,"seq":1,"name":"a","uid":2147483648,"home":"/h","shell":"/s"})",
       "\"uid\""},
      {R"({"t":"user","n":1,"seq":1,"name":"a","uid":4294967296000,"home":"/h","shell":"/s"})",
       "\"uid\""},
      {R"({"t":"user","n":1,"seq":1,"name":"a","uid":5000,"home":"h","shell":"/s"})", "\"home\""},
      {R"({"t":"user","n":1,"seq":1,"name":"a","uid":5000,"home":"/","shell":"/s"})", "\"home\""},
      {R"({"t":"user","n":1,"seq":1,"name":"a","uid":5000,"home":"/h/../root","shell":"/s"})",
       "\"home\""},
      {R"({"t":"user","n":1,"seq":1,"name":"a","uid":5000,"home":"/h//x","shell":"/s"})",
       "\"home\""},
      {R"({"t":"user","n":1,"seq":1,"name":"a","uid":5000,"home":"/h/","shell":"/s"})", "\"home\""},
      {R"({"t":"user","n":1,"seq":1,"name":"a","uid":5000,"home":"/h:x","shell":"/s"})",
       "\"home\""},
      {R"({"t":"user","n":1,"seq":1,"name":"a","uid":5000,"home":"/h","shell":"/s\n"})",
       "\"shell\""},
      {R"({"t":"user","n":1,"seq":1,"name":"a","uid":5000,"home":"/h","shell":"/s",)"
       R"("gecos":"x:/x/evil:/x/sh"})",
       "\"gecos\""},
      {R"({"t":"user","n":1,"seq":1,"name":"a","uid":5000,"home":"/h","shell":"/s","groups":[2,1]})",
       "\"groups\""},
      {R"({"t":"user","n":1,"seq":1,"name":"a","uid":5000,"home":"/h","shell":"/s","groups":[1,1]})",
       "\"groups\""},
      {R"({"t":"user","n":1,"seq":1,"name":"a","uid":5000,"home":"/h","shell":"/s","groups":null})",
       "\"groups\""},
      {R"({"t":"user","n":1,"seq":1,"name":"a","uid":5000,"home":"/h","shell":"/s","locked":"False"})",
       "\"locked\""},
      {R"({"t":"user","n":1,"seq":1,"name":"a","uid":5000,"home":"/h","shell":"/s",)"
       R"("keys":[{"line":"command=\"sh\" ssh-ed25519 AAAA"}]})",
       "user"},
      {R"({"t":"user","n":1,"seq":1,"name":"a","uid":5000,"home":"/h","shell":"/s",)"
       R"("keys":["ssh-ed25519 AAAA"]})",
       "\"keys\""},
      {R"({"t":"group","n":1,"seq":1,"name":"sudo","gid":27})", "\"gid\""},
      {R"({"t":"group","n":1,"seq":1,"name":"A","gid":5000})", "name"},
      {R"({"t":"end","counts":{"users":0,"groups":0,"gone":0},"cursor":"a b"})", "\"cursor\""},
      {R"({"t":"end","counts":{"users":0,"groups":0,"gone":0},"final":false})", "\"more\""},
      {R"({"t":"end","cursor":"1.1.a"})", "\"counts\""},
      {R"({"t":"head","v":2,"epoch":"1","org":"a","view":"v","kind":"delta","head":1})", "\"v\""},
      {R"({"t":"head","v":1,"epoch":"1","org":"A/..","view":"v","kind":"delta","head":1})",
       "\"org\""},
      {R"({"t":"head","v":1,"epoch":"1","org":"a","view":"v","kind":"other","head":1})",
       "\"kind\""},
      {R"({"t":"reset"})", "\"reason\""},
      {"{\"t\":\"user_gone\",\"n\":1,\"seq\":1", ""},
      {"garbage", ""},
      {"", ""},
  };
  for (const auto& c : cases) {
    const auto got = parse_message(c.line);
    ASSERT_FALSE(got) << c.line;
    EXPECT_THAT(got.error().message, testing::HasSubstr(c.named)) << c.line;
  }
}

TEST(Decoder, RefusesStreamsThatAreNotOne) {
  const std::string head = head_line(Kind::kDelta);
  const std::string snapshot = head_line(Kind::kSnapshot);
  const std::string gone = R"({"t":"user_gone","n":1,"seq":2})"
                           "\n";
  const std::string user1 =
      R"({"t":"user","n":1,"seq":1,"name":"a","uid":5000,"home":"/h","shell":"/s"})"
      "\n";
  const std::string user2 =
      R"({"t":"user","n":2,"seq":1,"name":"b","uid":5001,"home":"/h","shell":"/s"})"
      "\n";
  const std::string group = R"({"t":"group","n":1,"seq":1,"name":"g","gid":5002})"
                            "\n";
  const std::string reset = R"({"t":"reset","reason":"restored"})"
                            "\n";
  const std::string part =
      R"({"t":"end","counts":{"users":0,"groups":0,"gone":0},"final":false,"more":"x"})"
      "\n";
  const struct {
    const char* what;
    std::string stream;
  } cases[] = {
      {"nothing", ""},
      {"no head", gone + end_line({.gone = 1})},
      {"two heads", head + head + end_line({})},
      {"cut before the end", head + gone},
      {"cut inside the end", head + end_line({}).substr(0, 20)},
      {"a record dropped on the way", head + end_line({.gone = 1})},
      {"a record added on the way", head + gone + gone + end_line({.gone = 1})},
      {"something after the end", head + end_line({}) + gone},
      {"garbage after the end", head + end_line({}) + "x"},
      {"a reset in the middle", head + reset},
      {"a user after removals", snapshot + gone + user1 + end_line({.users = 1, .gone = 1})},
      {"a group after removals", snapshot + gone + group + end_line({.groups = 1, .gone = 1})},
      {"a snapshot with one user twice", snapshot + user1 + user1 + end_line({.users = 2})},
      {"a snapshot out of order", snapshot + user2 + user1 + end_line({.users = 2})},
      {"groups after users", snapshot + user1 + group + end_line({.users = 1, .groups = 1})},
      {"a snapshot in parts", snapshot + part},
  };
  for (const auto& c : cases) EXPECT_FALSE(decode(c.stream)) << c.what;
  EXPECT_TRUE(decode(reset));
  EXPECT_TRUE(decode(head + part));
  EXPECT_TRUE(decode(snapshot + group + user1 + user2 + gone +
                     end_line({.users = 2, .groups = 1, .gone = 1})));
}

TEST(Decoder, AChainIsReadStreamByStream) {
  const std::string one = head_line(Kind::kSnapshot) + end_line({});
  const std::string two = head_line(Kind::kDelta) +
                          R"({"t":"user_gone","n":1,"seq":2})"
                          "\n" +
                          end_line({.gone = 1});
  const auto ignore = [](Message&&) -> Result<void> { return {}; };
  Decoder chain({}, Chain::kMany);
  EXPECT_TRUE(chain.push(one + two + two.substr(0, 30), ignore));
  EXPECT_FALSE(chain.finish()) << "the last stream was cut";
  EXPECT_TRUE(chain.push(two.substr(30), ignore));
  EXPECT_TRUE(chain.finish());
  EXPECT_FALSE(chain.push(end_line({}), ignore)) << "an end without a head";
}

TEST(Decoder, KeysInAViewWithoutKeysAreRefused) {
  std::string stream = head_line(Kind::kDelta, false);
  NodeUser user = alice();
  user.keys = {NodeKey{.line = std::string(kKey), .fingerprint = ""}};
  append(stream, user);
  EXPECT_FALSE(decode(stream + end_line({.users = 1})));
}

TEST(Decoder, LimitsHold) {
  const std::string head = head_line(Kind::kDelta);
  const std::string gone = R"({"t":"user_gone","n":1,"seq":2})"
                           "\n";
  EXPECT_FALSE(decode(head + gone + gone + gone + end_line({.gone = 3}), 100, {.records_max = 2}));
  const Limits short_lines{.line_bytes_max = 256};
  EXPECT_EQ(decode(std::string(1000, 'x'), 10, short_lines).error().code, Code::kTooLarge);
  EXPECT_FALSE(
      decode(head + std::string(256, ' ') + gone + end_line({.gone = 1}), 100, short_lines));
  const std::string deep = R"({"t":"x","a":)" + std::string(20, '[') + std::string(20, ']') + "}\n";
  EXPECT_FALSE(decode(head + deep + end_line({})));
  EXPECT_FALSE(parse_message(R"({"t":"group","n":1,"seq":1,"name":"g","gid":5000,"parents":[1,2]})",
                             {.groups_max = 1}));
}

TEST(Decoder, AnErrorEndsTheStreamForGood) {
  Decoder decoder;
  const auto ignore = [](Message&&) -> Result<void> { return {}; };
  ASSERT_FALSE(decoder.push("garbage\n", ignore));
  EXPECT_FALSE(decoder.push(head_line(Kind::kDelta), ignore));
  EXPECT_FALSE(decoder.finish());

  Decoder stopped;
  const auto refuse = [](Message&&) -> Result<void> { return fail(Code::kUnavailable, "full"); };
  const auto first = stopped.push(head_line(Kind::kDelta), refuse);
  ASSERT_FALSE(first);
  EXPECT_EQ(first.error().code, Code::kUnavailable);
  EXPECT_FALSE(stopped.finish());
}

TEST(Cursor, RoundTripsAndRefusesEverythingElse) {
  for (const Cursor& cursor : {Cursor{.epoch = "0", .seq = {}, .tag = {}},
                               Cursor{.epoch = "k_-Z1", .seq = Seq{2}, .tag = "0a1b"},
                               Cursor{.epoch = std::string(63, 'e'),
                                      .seq = Seq{9'223'372'036'854'775'807U},
                                      .tag = std::string(64, 'f')}}) {
    const auto back = Cursor::decode(cursor.encode());
    ASSERT_TRUE(back) << cursor.encode();
    EXPECT_EQ(*back, cursor);
    EXPECT_TRUE(is_cursor_text(cursor.encode()));
  }
  for (const char* text : {"",
                           ".",
                           "..",
                           "1",
                           "1.2",
                           "1..a",
                           ".2.a",
                           "a/b.2.a",
                           "%.2.a",
                           "1.02.a",
                           "1.2.A",
                           "1.2.g",
                           "1.2.a.b",
                           " 1.2.a",
                           "1.2.a ",
                           "1.+2.a",
                           "1.-2.a",
                           "1.9223372036854775808.a",
                           "1.99999999999999999999.a",
                           "1.2.a\n"}) {
    EXPECT_FALSE(Cursor::decode(text)) << text;
  }
  EXPECT_FALSE(Cursor::decode("1.2." + std::string(65, 'a')));
  EXPECT_FALSE(Cursor::decode(std::string(64, 'e') + ".2.a"));
  EXPECT_FALSE(is_cursor_text(std::string(257, 'a')));
  EXPECT_FALSE(is_cursor_text("a&b"));
}

}  // namespace
}  // namespace roster::feed
