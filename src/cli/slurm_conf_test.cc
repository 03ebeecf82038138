#include "cli/slurm_conf.h"

#include <gtest/gtest.h>

namespace roster::cli {
namespace {

const JwtSetting kJwks{"jwks", "/etc/slurm/jwks.json"};

struct Edit {
  const char* what;
  const char* before;
  const char* after;
};

constexpr const char* kTypesLine = "AuthAltTypes=auth/jwt\n";
constexpr const char* kJwksLine = "AuthAltParameters=jwks=/etc/slurm/jwks.json\n";

const Edit kEdits[] = {
    {"an empty file", "", "AuthAltTypes=auth/jwt\nAuthAltParameters=jwks=/etc/slurm/jwks.json\n"},
    {"nothing of it: at the end", "ClusterName=hpc\n",
     "ClusterName=hpc\nAuthAltTypes=auth/jwt\nAuthAltParameters=jwks=/etc/slurm/jwks.json\n"},
    {"behind AuthType", "AuthType=auth/munge\nX=1\n",
     "AuthType=auth/munge\nAuthAltTypes=auth/jwt\nAuthAltParameters=jwks=/etc/slurm/jwks.json\n"
     "X=1\n"},
    {"no newline at the end", "ClusterName=hpc",
     "ClusterName=hpc\nAuthAltTypes=auth/jwt\nAuthAltParameters=jwks=/etc/slurm/jwks.json"},
    {"lines of Windows", "A=1\r\nB=2\r\n",
     "A=1\r\nB=2\r\nAuthAltTypes=auth/jwt\r\nAuthAltParameters=jwks=/etc/slurm/jwks.json\r\n"},
    {"the key stays", "AuthAltTypes=auth/jwt\nAuthAltParameters=jwt_key=/k\n",
     "AuthAltTypes=auth/jwt\nAuthAltParameters=jwt_key=/k,jwks=/etc/slurm/jwks.json\n"},
    {"another path is replaced", "AuthAltTypes=auth/jwt\nAuthAltParameters=a,jwks=/old,b=1\n",
     "AuthAltTypes=auth/jwt\nAuthAltParameters=a,jwks=/etc/slurm/jwks.json,b=1\n"},
    {"any case, spaces and a comment stay",
     "authalttypes = auth/slurm # ours\n AUTHALTPARAMETERS= JWKS=/old  # keys\n",
     "authalttypes = auth/slurm,auth/jwt # ours\n"
     " AUTHALTPARAMETERS= jwks=/etc/slurm/jwks.json  # keys\n"},
    {"parameters without types", "AuthAltParameters=max_token_lifespan=60\nX=1\n",
     "AuthAltParameters=max_token_lifespan=60,jwks=/etc/slurm/jwks.json\nAuthAltTypes=auth/jwt\n"
     "X=1\n"},
    {"types without parameters", "AuthAltTypes=auth/jwt\nX=1\n",
     "AuthAltTypes=auth/jwt\nAuthAltParameters=jwks=/etc/slurm/jwks.json\nX=1\n"},
    {"what is commented out is nothing", "#AuthAltTypes=auth/jwt\n# AuthAltParameters=jwks=/x\n",
     "#AuthAltTypes=auth/jwt\n# AuthAltParameters=jwks=/x\n"
     "AuthAltTypes=auth/jwt\nAuthAltParameters=jwks=/etc/slurm/jwks.json\n"},
    {"a comment that ends in a backslash is not continued", "# x \\\nAuthAltTypes=auth/jwt\n",
     "# x \\\nAuthAltTypes=auth/jwt\nAuthAltParameters=jwks=/etc/slurm/jwks.json\n"},
    {"a value over two lines",
     "AuthAltTypes=auth/jwt\nAuthAltParameters=jwt_key=/k,\\\njwks=/old\nX=1\n",
     "AuthAltTypes=auth/jwt\nAuthAltParameters=jwt_key=/k,jwks=/etc/slurm/jwks.json\nX=1\n"},
    {"a continued line in front is no setting of ours", "NodeName=n1 \\\nAuthAltTypes=auth/jwt\n",
     "NodeName=n1 \\\nAuthAltTypes=auth/jwt\nAuthAltTypes=auth/jwt\n"
     "AuthAltParameters=jwks=/etc/slurm/jwks.json\n"},
    {"quotes stay", "AuthAltTypes=\"auth/jwt\"\nAuthAltParameters=\"jwt_key=/k\"\n",
     "AuthAltTypes=\"auth/jwt\"\nAuthAltParameters=\"jwt_key=/k,jwks=/etc/slurm/jwks.json\"\n"},
    {"a comma too many", "AuthAltTypes=auth/jwt\nAuthAltParameters=jwt_key=/k,\n",
     "AuthAltTypes=auth/jwt\nAuthAltParameters=jwt_key=/k,jwks=/etc/slurm/jwks.json\n"},
    {"longer names are others", "AuthAltTypesX=1\n",
     "AuthAltTypesX=1\nAuthAltTypes=auth/jwt\nAuthAltParameters=jwks=/etc/slurm/jwks.json\n"},
};

TEST(SlurmConfTest, PutsTheSettingIn) {
  for (const Edit& edit : kEdits) {
    const auto done = add_jwt(edit.before, kJwks);
    ASSERT_TRUE(done) << edit.what << ": " << done.error().message;
    EXPECT_EQ(done->text, edit.after) << edit.what;
    EXPECT_FALSE(done->changes.empty()) << edit.what;
    const auto again = add_jwt(done->text, kJwks);
    ASSERT_TRUE(again) << edit.what << ": " << again.error().message;
    EXPECT_EQ(again->text, done->text) << edit.what << ", again";
    EXPECT_TRUE(again->changes.empty()) << edit.what << ", again";
  }
}

TEST(SlurmConfTest, ThereAlready) {
  const std::string text = std::string("# site\n") + kTypesLine + kJwksLine + "X=1 # y";
  const auto done = add_jwt(text, kJwks);
  ASSERT_TRUE(done);
  EXPECT_EQ(done->text, text);
  EXPECT_TRUE(done->changes.empty());
}

TEST(SlurmConfTest, SlurmsOwnKeyBesideTheJwks) {
  const auto done = add_jwt("AuthAltTypes=auth/jwt\nAuthAltParameters=jwks=/j\n",
                            {"jwt_key", "/var/lib/slurm/k"});
  ASSERT_TRUE(done);
  EXPECT_EQ(done->text,
            "AuthAltTypes=auth/jwt\nAuthAltParameters=jwks=/j,jwt_key=/var/lib/slurm/k\n");
}

TEST(SlurmConfTest, ChangesNameLines) {
  const auto done = add_jwt("A=1\nAuthAltTypes=auth/slurm\nB=2\n", kJwks);
  ASSERT_TRUE(done);
  ASSERT_EQ(done->changes.size(), 2U);
  EXPECT_EQ(done->changes[0].line, 2U);
  EXPECT_EQ(done->changes[0].before, "AuthAltTypes=auth/slurm");
  EXPECT_EQ(done->changes[0].after, "AuthAltTypes=auth/slurm,auth/jwt");
  EXPECT_EQ(done->changes[1].line, 3U);
  EXPECT_EQ(done->changes[1].before, "");
}

TEST(SlurmConfTest, RefusesWhatIsAmbiguous) {
  struct Bad {
    const char* what;
    std::string text;
    const char* why;
  };
  const Bad bad[] = {
      {"two settings", "AuthAltTypes=auth/jwt\nX=1\nauthalttypes=auth/jwt\n", "line 3"},
      {"two options", "AuthAltParameters=jwks=/a,jwks=/b\n", "twice"},
      {"an option that holds the name", "AuthAltParameters=my_jwks=/a\n", "twice"},
      {"two values", "AuthAltTypes=auth/jwt auth/slurm\n", "one plain value"},
      {"a space behind the comma", "AuthAltParameters=a, b\n", "one plain value"},
      {"no value", "AuthAltTypes=\n", "one plain value"},
      {"no equals sign", "AuthAltTypes auth/jwt\n", "one plain value"},
      {"added to", "AuthAltTypes+=auth/jwt\n", "one plain value"},
      {"an open quote", "AuthAltTypes=\"auth/jwt\n", "one plain value"},
      {"an escape", "AuthAltParameters=jwt_key=/a\\b\n", "one plain value"},
      {"a NUL", std::string("AuthAltParameters=jwt_key=/a\0b\n", 31), "one plain value"},
      {"a comment within", "AuthAltParameters=jwt_key=/a,\\ # x\njwks=/b\n", "comment"},
      {"cut off", "X=1 \\\n", "does not go on"},
  };
  for (const Bad& each : bad) {
    const auto done = add_jwt(each.text, kJwks);
    ASSERT_FALSE(done) << each.what << ": " << done->text;
    EXPECT_TRUE(done.error().message.contains(each.why)) << each.what << done.error().message;
  }
  EXPECT_FALSE(add_jwt("", {"jwks", "jwks.json"}));
  EXPECT_FALSE(add_jwt("", {"jwks", "/a b"}));
  EXPECT_FALSE(add_jwt("", {"jwks", "/a,b"}));
  EXPECT_FALSE(add_jwt("", {"jwks", "/a#b"}));
}

TEST(SlurmConfTest, ReadsSettingsAndIncludes) {
  const std::string text =
      "SlurmctldHost=a(10.0.0.1)\n#SlurmctldHost=x\nslurmctldhost = b # backup\n"
      " Include  nodes.conf # all\ninclude /etc/slurm/%c.conf\nIncluded=1\nInclude\n";
  const auto hosts = conf_settings(text, "SlurmctldHost");
  ASSERT_TRUE(hosts);
  ASSERT_EQ(hosts->size(), 2U);
  EXPECT_EQ(hosts->at(0).value, "a(10.0.0.1)");
  EXPECT_EQ(hosts->at(1).value, "b");
  EXPECT_EQ(hosts->at(1).line, 3U);
  EXPECT_EQ(conf_includes(text), (std::vector<std::string>{"nodes.conf", "/etc/slurm/%c.conf"}));
  EXPECT_EQ(jwt_lines(kJwks), std::string(kTypesLine) + kJwksLine);
}

}  // namespace
}  // namespace roster::cli
