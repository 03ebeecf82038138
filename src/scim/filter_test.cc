#include "scim/filter.h"

#include <gtest/gtest.h>

#include "scim/error.h"
#include "scim/testing.h"

namespace roster::scim {
namespace {

const char* const kBarbara = R"({
  "id": "2819c223-7f76-453a-919d-413861904646", "externalId": "bjensen-X",
  "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
  "userName": "bjensen@Example.com", "displayName": "Babs J\u00c9NSEN", "title": "Tour Guide",
  "name": {"familyName": "O'Malley", "givenName": "Barbara"}, "active": true,
  "userType": "Employee",
  "emails": [{"value": "bjensen@example.com", "type": "work", "primary": true},
             {"value": "babs@jensen.org", "type": "home"}],
  "groups": [{"value": "g1", "display": "Tour Guides"}],
  "meta": {"resourceType": "User", "lastModified": "2011-05-13T04:42:34.000Z"},
  "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":
    {"employeeNumber": "701984", "manager": {"value": "26118915"}},
  "urn:coreweave:params:scim:schemas:extension:coreweave:2.0:CoreWeaveUser":
    {"sunkPosixUserId": 20001, "sunkPosixUsername": "bjensen", "sunkSshKeys": ["ssh-ed25519 A b"]}
})";

#define ENTERPRISE "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:"
#define COREWEAVE "urn:coreweave:params:scim:schemas:extension:coreweave:2.0:CoreWeaveUser:"

TEST(Filter, Evaluates) {
  struct Row {
    const char* filter;
    bool matches;
  };
  const Row rows[] = {
      // RFC 7644 figure 2, with the values of the user above.
      {R"(userName eq "bjensen@example.com")", true},
      {R"(name.familyName co "O'Malley")", true},
      {R"(userName sw "B")", true},
      {R"(urn:ietf:params:scim:schemas:core:2.0:User:userName sw "J")", false},
      {"title pr", true},
      {R"(meta.lastModified gt "2011-05-13T04:42:34Z")", false},
      {R"(meta.lastModified ge "2011-05-13T04:42:34Z")", true},
      {R"(meta.lastModified lt "2011-05-13T06:42:35+02:00")", true},
      {R"(meta.lastModified le "2011-05-13T04:42:33.999Z")", false},
      {R"(title pr and userType eq "Employee")", true},
      {R"(title pr or userType eq "Intern")", true},
      {R"(schemas eq "urn:ietf:params:scim:schemas:core:2.0:User")", true},
      {R"(userType eq "Employee" and (emails co "example.com" or emails.value co "example.org"))",
       true},
      {R"(userType ne "Employee" and not (emails co "example.com" or emails.value co "x.org"))",
       false},
      {R"(userType eq "Employee" and (emails.type eq "work"))", true},
      {R"(userType eq "Employee" and emails[type eq "work" and value co "@example.com"])", true},
      {R"(emails[type eq "work" and value co "@jensen.org"])", false},
      {R"(emails[type eq "home" and value co "@jensen.org"] or ims[type eq "xmpp"])", true},
      // Case.
      {R"(USERNAME EQ "BJENSEN@EXAMPLE.COM")", true},
      {R"(displayName eq "babs jénsen")", true},
      {R"(id eq "2819C223-7f76-453a-919d-413861904646")", false},
      {R"(externalId eq "bjensen-x")", false},
      {R"(externalId eq "bjensen-X")", true},
      {"not (active eq true)", false},
      {"NOT(active eq false)", true},
      // Precedence: grouping, not, and, or.
      {R"(title eq "x" and title eq "y" or active eq true)", true},
      {R"(title eq "x" and (title eq "y" or active eq true))", false},
      {R"(active eq true or title eq "x" and title eq "y")", true},
      {R"(not (title eq "x") and active eq true)", true},
      // Missing values: only ne and "eq null" hold.
      {R"(nickName eq "x")", false},
      {R"(nickName ne "x")", true},
      {"nickName eq null", true},
      {"nickName ne null", false},
      {"title ne null", true},
      {"nickName pr", false},
      {"nosuch pr", false},
      {R"(nosuch eq "x")", false},
      {R"(nosuch ne "x")", true},
      {R"(urn:unknown:1.0:X:attr eq "x")", false},
      // Complex attributes.
      {"name pr", true},
      {"emails pr", true},
      {"phoneNumbers pr", false},
      {R"(emails.type ne "work")", false},
      {R"(emails[type ne "work"])", true},
      {"emails[primary eq true]", true},
      {R"(emails[primary eq "True"].value eq "bjensen@example.com")", true},
      {R"(emails[type eq "home"].value ew "example.com")", false},
      {R"(groups eq "g1")", true},
      {R"(name[givenName eq "barbara"])", true},
      // Extensions.
      {ENTERPRISE "employeeNumber eq \"701984\"", true},
      {ENTERPRISE "employeeNumber eq 701984", true},
      {ENTERPRISE "manager eq \"26118915\"", true},
      {ENTERPRISE "manager.value sw \"26\"", true},
      {"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User pr", true},
      {COREWEAVE "sunkPosixUserId eq 20001", true},
      {COREWEAVE "sunkPosixUserId gt 20000.5", true},
      {COREWEAVE "sunkPosixUserId eq \"20001\"", true},
      {COREWEAVE "sunkPosixUserId lt 20001", false},
      {COREWEAVE "sunkSshKeys[value sw \"ssh-ed25519 \"]", true},
      {COREWEAVE "sunkSshKeys co \"A b\"", true},
      // Dialects: Entra's bare words, a boolean as a string in public nsscache configurations.
      {"externalId eq bjensen-X", true},
      {"(externalId eq bjensen-X)", true},
      {R"(active eq "true")", true},
      {"active eq False", false},
      {R"(userName eq "b\u006aensen@example.com")", true},
      {R"(userName eq "a\"b")", false},
      {"  title   pr  ", true},
  };
  const json::value barbara = parsed(kBarbara);
  for (const Row& row : rows) {
    const auto filter = Filter::parse(user_type(), row.filter);
    ASSERT_TRUE(filter) << row.filter << ": " << outcome(filter);
    EXPECT_EQ(filter->matches(barbara.get_object()), row.matches) << row.filter;
  }
}

TEST(Filter, RefusesWhatCannotBeAnswered) {
  const char* const rows[] = {"",
                              " ",
                              "userName",
                              "userName eq",
                              "userName eq ",
                              "eq \"x\"",
                              "userName xx \"x\"",
                              "userName eq \"x",
                              "userName eq \"x\" and",
                              "userName eq \"x\" nor title pr",
                              "(title pr",
                              "title pr)",
                              "not title pr",
                              "not (title pr",
                              "emails[type eq \"work\"",
                              "emails[]",
                              "emails[type eq \"work\" and emails[type eq \"x\"]]",
                              "title[value eq \"x\"].x pr",
                              "nosuch[type eq \"x\"]",
                              "active gt true",
                              "active co \"t\"",
                              "active eq \"maybe\"",
                              "meta.lastModified gt \"yesterday\"",
                              "meta.lastModified gt 5",
                              "name eq \"x\"",
                              "title gt null",
                              "userName eq \"\\x\"",
                              "userName eq 'x'y\"",
                              "userName eq \"\\u0000\"",
                              "urn:ietf:params:scim:schemas:core:2.0:User eq \"x\"",
                              "and and and",
                              COREWEAVE "sunkPosixUserId eq \"x\"",
                              COREWEAVE "sunkPosixUserId co \"2\"",
                              COREWEAVE "sunkPosixUserId eq nan",
                              COREWEAVE "sunkPosixUserId eq 1e999",
                              "userName eq \"x\"\ntitle pr",
                              "userName eq x\x01",
                              "emails[type eq \"work\"].nosuch pr",
                              "userName eq\t\"x\"",
                              "1userName pr",
                              "user+name pr"};
  for (const char* row : rows) {
    const auto filter = Filter::parse(user_type(), row);
    ASSERT_FALSE(filter) << row;
    EXPECT_EQ(filter.error().code, Code::kInvalidArgument) << row;
    EXPECT_EQ(filter.error().keyword, kInvalidFilter) << row;
  }
  EXPECT_EQ(outcome(Filter::parse(user_type(), "title pr and")),
            "filter: expected an attribute, at byte 12 [invalidFilter]");
}

TEST(Filter, LimitsEndInAnErrorNotInAStackOverflow) {
  const auto repeated = [](std::size_t n, std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < n; ++i) out += text;
    return out;
  };
  EXPECT_EQ(outcome(Filter::parse(user_type(), repeated(32, "(") + "title pr" + repeated(32, ")"))),
            "ok");
  EXPECT_NE(outcome(Filter::parse(user_type(), repeated(33, "(") + "title pr" + repeated(33, ")"))),
            "ok");
  EXPECT_NE(outcome(Filter::parse(user_type(), repeated(4000, "("))), "ok");
  EXPECT_NE(outcome(Filter::parse(user_type(), repeated(900, "not ("))), "ok");
  EXPECT_EQ(outcome(Filter::parse(user_type(), repeated(199, "title pr or ") + "title pr")), "ok");
  EXPECT_NE(outcome(Filter::parse(user_type(), repeated(200, "title pr or ") + "title pr")), "ok");
  EXPECT_NE(outcome(Filter::parse(user_type(), "title eq \"" + std::string(9000, 'x') + "\"")),
            "ok");
}

TEST(Filter, ConjunctsAreWhatMustHold) {
  struct Row {
    const char* filter;
    std::vector<std::string> names;
  };
  const Row rows[] = {
      {R"(userName eq "x")", {"userName"}},
      {R"(id eq "x" and members eq "y")", {"id", "members.value"}},
      {R"((id eq "x" and (members[value eq "y"])))", {"id", "members.value"}},
      {R"(displayName eq "users" or displayName eq "admin")", {}},
      {R"(not (displayName eq "x"))", {}},
      {R"(displayName eq "x" and (nosuch pr or id eq "y"))", {"displayName"}},
      {R"(nosuch eq "x" and meta.lastModified gt "2026-01-01T00:00:00Z")", {"meta.lastModified"}},
  };
  for (const Row& row : rows) {
    const ResourceType& type = row.filter[0] == 'u' ? user_type() : group_type();
    const auto filter = Filter::parse(type, row.filter);
    ASSERT_TRUE(filter) << row.filter;
    std::vector<std::string> names;
    for (const Comparison* c : filter->conjuncts()) names.push_back(full_name(type, *c->path));
    EXPECT_EQ(names, row.names) << row.filter;
  }
  const auto filter = Filter::parse(group_type(), R"(displayName eq "x" and members eq "y")");
  EXPECT_TRUE(uses(filter->root(), "members"));
  EXPECT_FALSE(uses(filter->root(), "externalId"));
  EXPECT_EQ(filter->conjuncts()[0]->literal.key, "x");
}

TEST(Path, Parses) {
  struct Row {
    const char* text;
    const char* full;
    bool filtered;
  };
  const Row rows[] = {
      {"members", "members", false},
      {"name.familyName", "name.familyName", false},
      {R"(addresses[type eq "work"])", "addresses", true},
      {R"(members[value eq "2819c223-7f76-453a-919d-413861904646"])", "members", true},
      {R"(members[value eq "2819c223"].display)", "members.display", true},
      {R"(emails[type eq "work"].value)", "emails.value", true},
      {"urn:ietf:params:scim:schemas:core:2.0:User:name.givenName", "name.givenName", false},
      {ENTERPRISE "department",
       "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department", false},
  };
  for (const Row& row : rows) {
    const ResourceType& type =
        std::string_view(row.text).starts_with("members") ? group_type() : user_type();
    const auto path = parse_path(type, row.text);
    ASSERT_TRUE(path && *path) << row.text << outcome(path);
    EXPECT_EQ(full_name(type, (*path)->ref), row.full);
    EXPECT_EQ((*path)->filter.has_value(), row.filtered) << row.text;
  }
  const auto foreign = parse_path(user_type(), "urn:vendor:2.0:User:thing.part");
  ASSERT_TRUE(foreign);
  EXPECT_FALSE(foreign->has_value());
}

TEST(Path, RefusesWhatIsNoPath) {
  struct Row {
    const char* text;
    std::string_view keyword;
  };
  const Row rows[] = {
      {"", kInvalidPath},
      {"nosuch", kInvalidPath},
      {"name.nosuch", kInvalidPath},
      {"emails[type eq \"work\"", kInvalidFilter},
      {"emails[type]", kInvalidFilter},
      // A name that is not known would make "ne" and "not" hold for every value.
      {"emails[nosuch ne \"x\"]", kInvalidFilter},
      {"emails[not (nosuch eq \"x\")]", kInvalidFilter},
      {"emails[type eq \"work\" and nosuch pr]", kInvalidFilter},
      {"emails[type eq \"work\"]value", kInvalidPath},
      {"emails[type eq \"work\"].nosuch", kInvalidPath},
      {"emails[type eq \"work\"].value.x", kInvalidPath},
      {"emails.value[type eq \"work\"]", kInvalidPath},
      {"userName eq \"x\"", kInvalidPath},
      {"user name", kInvalidPath},
      {"../../etc", kInvalidPath},
      {ENTERPRISE "nosuch", kInvalidPath},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(keyword_of(parse_path(user_type(), row.text)), row.keyword) << row.text;
  }
}

}  // namespace
}  // namespace roster::scim
