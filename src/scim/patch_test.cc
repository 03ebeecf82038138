#include "scim/patch.h"

#include <gtest/gtest.h>

#include "scim/error.h"
#include "scim/testing.h"

namespace roster::scim {
namespace {

#define ENTERPRISE "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
#define COREWEAVE "urn:coreweave:params:scim:schemas:extension:coreweave:2.0:CoreWeaveUser"

json::value message(std::string_view operations) {
  return parsed(R"({"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":)" +
                std::string(operations) + "}");
}

/// The document after the operations, as JSON text; or the error.
std::string patched(const char* doc, const json::value& body) {
  const auto patch = parse_patch(user_type(), body);
  if (!patch) return outcome(patch);
  const auto out = apply(user_type(), parsed(doc).get_object(), patch->document);
  return out ? json::canonical(json::value(*out)) : outcome(out);
}

struct Row {
  const char* doc;
  const char* operations;
  const char* expected;  // a document, or the end of an error
};

void check(std::span<const Row> rows) {
  for (const Row& row : rows) {
    const std::string got = patched(row.doc, message(row.operations));
    if (row.expected[0] == '{') {
      EXPECT_EQ(got, json::canonical(parsed(row.expected))) << row.operations;
    } else {
      EXPECT_TRUE(got.ends_with(row.expected)) << got << " for " << row.operations;
    }
  }
}

TEST(Patch, Add) {
  const Row rows[] = {
      // Without path: merge, append.
      {R"({"userName":"a","emails":[{"value":"x","type":"home"}]})",
       R"([{"op":"add","value":{"emails":[{"value":"y","type":"work"}],"nickName":"B"}}])",
       R"({"userName":"a","nickName":"B",
           "emails":[{"value":"x","type":"home"},{"value":"y","type":"work"}]})"},
      // The same value again changes nothing; a known value with more parts is completed.
      {R"({"userName":"a","emails":[{"value":"x","type":"home"}]})",
       R"([{"op":"add","path":"emails","value":[{"value":"x","type":"home"}]}])",
       R"({"userName":"a","emails":[{"value":"x","type":"home"}]})"},
      {R"({"userName":"a","emails":[{"value":"x","primary":true},{"value":"y"}]})",
       R"([{"op":"add","path":"emails","value":{"value":"y","primary":true}}])",
       R"({"userName":"a","emails":[{"value":"x"},{"value":"y","primary":true}]})"},
      // A new primary value clears the old one.
      {R"({"userName":"a","emails":[{"value":"x","primary":true}]})",
       R"([{"op":"add","path":"emails","value":[{"value":"y","primary":true}]}])",
       R"({"userName":"a","emails":[{"value":"x"},{"value":"y","primary":true}]})"},
      // Complex: merge. Single: overwrite. Nothing: nothing.
      {R"({"userName":"a","name":{"givenName":"G","familyName":"F"}})",
       R"([{"op":"add","path":"name","value":{"givenName":"H"}},
           {"op":"add","path":"userName","value":"b"},{"op":"add","path":"title","value":null},
           {"op":"add","path":"emails","value":[]}])",
       R"({"userName":"b","name":{"givenName":"H","familyName":"F"}})"},
      {R"({"userName":"a"})", R"([{"op":"add","path":"name.givenName","value":"G"}])",
       R"({"userName":"a","name":{"givenName":"G"}})"},
      // Into an extension.
      {R"({"userName":"a"})",
       "[{\"op\":\"add\",\"path\":\"" ENTERPRISE ":department\",\"value\":\"R\"}]",
       "{\"userName\":\"a\",\"" ENTERPRISE "\":{\"department\":\"R\"}}"},
      {R"({"userName":"a"})",
       "[{\"op\":\"add\",\"path\":\"" ENTERPRISE "\",\"value\":{\"division\":\"R\",\"x\":1}}]",
       "{\"userName\":\"a\",\"" ENTERPRISE "\":{\"division\":\"R\"}}"},
      // A filter that selects: merge; that does not: a new value from the filter.
      {R"({"userName":"a","emails":[{"value":"x","type":"work"}]})",
       R"([{"op":"add","path":"emails[type eq \"work\"]","value":{"display":"D"}}])",
       R"({"userName":"a","emails":[{"value":"x","type":"work","display":"D"}]})"},
      {R"({"userName":"a"})",
       R"([{"op":"add","path":"emails[type eq \"own\"].value","value":"x"}])",
       R"({"userName":"a","emails":[{"type":"own","value":"x"}]})"},
  };
  check(rows);
}

TEST(Patch, Replace) {
  const Row rows[] = {
      {R"({"userName":"a","emails":[{"value":"x"},{"value":"y"}]})",
       R"([{"op":"replace","path":"emails","value":[{"value":"z"}]}])",
       R"({"userName":"a","emails":[{"value":"z"}]})"},
      {R"({"userName":"a","name":{"givenName":"G","familyName":"F"}})",
       R"([{"op":"replace","path":"name","value":{"givenName":"H","familyName":null}}])",
       R"({"userName":"a","name":{"givenName":"H","familyName":"F"}})"},
      {R"({"userName":"a","title":"T","emails":[{"value":"x"}]})",
       R"([{"op":"replace","value":{"title":null,"emails":[]}}])", R"({"userName":"a"})"},
      // RFC 7644 3.5.2.3: with a filter, the matching values are replaced whole.
      {R"({"userName":"a","addresses":[{"type":"work","region":"CA"},{"type":"home"}]})",
       R"([{"op":"replace","path":"addresses[type eq \"work\"]",
            "value":{"type":"work","streetAddress":"911 Universal City Plaza"}}])",
       R"({"userName":"a","addresses":[{"type":"work","streetAddress":"911 Universal City Plaza"},
           {"type":"home"}]})"},
      {R"({"userName":"a","addresses":[{"type":"work","region":"CA"},{"type":"home"}]})",
       R"([{"op":"replace","path":"addresses[type eq \"work\"].streetAddress","value":"1010 B"}])",
       R"({"userName":"a","addresses":[{"type":"work","region":"CA","streetAddress":"1010 B"},
           {"type":"home"}]})"},
      {R"({"userName":"a","emails":[{"value":"x","primary":true},{"value":"y"}]})",
       R"([{"op":"replace","path":"emails[value eq \"y\"].primary","value":true}])",
       R"({"userName":"a","emails":[{"value":"x"},{"value":"y","primary":true}]})"},
      {R"({"userName":"a","emails":[{"value":"x"},{"value":"y"}]})",
       R"([{"op":"replace","path":"emails.primary","value":true}])", "[invalidValue]"},
      // No match: made for Entra's standard selections only.
      {R"({"userName":"a"})",
       R"([{"op":"replace","path":"emails[type eq \"work\"].value","value":"x"}])",
       R"({"userName":"a","emails":[{"type":"work","value":"x"}]})"},
      {R"({"userName":"a"})",
       R"([{"op":"replace","path":"roles[primary eq \"True\"].value","value":"x"}])",
       R"({"userName":"a","roles":[{"primary":true,"value":"x"}]})"},
      {R"({"userName":"a"})",
       R"([{"op":"replace","path":"emails[type eq \"nosuch\"].value","value":"x"}])", "[noTarget]"},
      {R"({"userName":"a"})",
       R"([{"op":"replace","path":"emails[value eq \"x\"].type","value":"work"}])", "[noTarget]"},
      {R"({"userName":"a"})",
       R"([{"op":"replace","path":"emails[type eq \"work\"]","value":{"value":"x"}}])",
       "[noTarget]"},
      {R"({"userName":"a"})",
       R"([{"op":"add","path":"emails[type co \"work\"].value","value":"x"}])", "[noTarget]"},
  };
  check(rows);
}

TEST(Patch, Remove) {
  const Row rows[] = {
      {R"({"userName":"a","title":"T"})", R"([{"op":"remove","path":"title"}])",
       R"({"userName":"a"})"},
      {R"({"userName":"a","emails":[{"value":"x","type":"work"},{"value":"y"}]})",
       R"([{"op":"remove","path":"emails[type eq \"work\"]"}])",
       R"({"userName":"a","emails":[{"value":"y"}]})"},
      {R"({"userName":"a","emails":[{"value":"x","type":"work"}]})",
       R"([{"op":"remove","path":"emails[type eq \"work\" and value ew \"x\"]"}])",
       R"({"userName":"a"})"},
      {R"({"userName":"a","emails":[{"value":"x","type":"work"}]})",
       R"([{"op":"remove","path":"emails[type eq \"work\"].type"}])",
       R"({"userName":"a","emails":[{"value":"x"}]})"},
      {R"({"userName":"a","emails":[{"value":"x","type":"work"}]})",
       R"([{"op":"remove","path":"emails[type eq \"home\"]"}])",
       R"({"userName":"a","emails":[{"value":"x","type":"work"}]})"},
      {R"({"userName":"a","name":{"givenName":"G"}})",
       R"([{"op":"remove","path":"name.givenName"}])", R"({"userName":"a"})"},
      // Listed values only; an empty list is nothing, never everything.
      {R"({"userName":"a","emails":[{"value":"x","type":"work"},{"value":"y"}]})",
       R"([{"op":"Remove","path":"emails","value":[{"value":"x"}]}])",
       R"({"userName":"a","emails":[{"value":"y"}]})"},
      {R"({"userName":"a","emails":[{"value":"x"}]})",
       R"([{"op":"Remove","path":"emails","value":[]}])",
       R"({"userName":"a","emails":[{"value":"x"}]})"},
      {R"({"userName":"a","emails":[{"value":"x"}]})",
       R"([{"op":"Remove","path":"emails","value":{}}])",
       R"({"userName":"a","emails":[{"value":"x"}]})"},
      {R"({"userName":"a","emails":[{"value":"x"}]})",
       R"([{"op":"Remove","path":"emails","value":{"nosuch":"x"}}])",
       R"({"userName":"a","emails":[{"value":"x"}]})"},
      {R"({"userName":"a","emails":[{"value":"x"}]})",
       R"([{"op":"Remove","path":"emails","value":[{"nosuch":"x"}]}])",
       R"({"userName":"a","emails":[{"value":"x"}]})"},
      {R"({"userName":"a","emails":[{"value":"x"}]})", R"([{"op":"remove","path":"emails"}])",
       R"({"userName":"a"})"},
      {"{\"userName\":\"a\",\"" ENTERPRISE "\":{\"department\":\"R\"}}",
       "[{\"op\":\"remove\",\"path\":\"" ENTERPRISE "\"}]", R"({"userName":"a"})"},
      {"{\"userName\":\"a\",\"" ENTERPRISE "\":{\"department\":\"R\"}}",
       "[{\"op\":\"remove\",\"path\":\"" ENTERPRISE ":department\"}]", R"({"userName":"a"})"},
      // FusionAuth/fusionauth-issues#2834: removals by shifting index hit the wrong values.
      {R"({"userName":"a","emails":[{"value":"1"},{"value":"2"},{"value":"3"},{"value":"4"}]})",
       R"([{"op":"remove","path":"emails[value eq \"1\" or value eq \"3\"]"},
           {"op":"remove","path":"emails[value eq \"2\"]"}])",
       R"({"userName":"a","emails":[{"value":"4"}]})"},
  };
  check(rows);
}

TEST(Patch, Errors) {
  const Row rows[] = {
      {R"({"userName":"a"})", R"([{"op":"remove"}])",
       "Operations[0]: a remove operation needs a path [noTarget]"},
      {R"({"userName":"a"})", R"([{"op":"remove","path":"userName"}])", "[mutability]"},
      {R"({"userName":"a"})", R"([{"op":"replace","path":"userName","value":null}])",
       "[mutability]"},
      {R"({"userName":"a"})", R"([{"op":"replace","path":"id","value":"x"}])", "[mutability]"},
      {R"({"userName":"a"})", R"([{"op":"replace","path":"meta.created","value":"x"}])",
       "[mutability]"},
      {R"({"userName":"a"})", R"([{"op":"add","path":"groups","value":[{"value":"x"}]}])",
       "[mutability]"},
      {R"({"userName":"a"})",
       "[{\"op\":\"replace\",\"path\":\"" COREWEAVE ":sunkPosixUserId\",\"value\":0}]",
       "[mutability]"},
      {R"({"userName":"a"})", R"([{"op":"replace","path":"nosuch","value":"x"}])", "[invalidPath]"},
      {R"({"userName":"a"})", R"([{"op":"replace","path":"emails[type","value":"x"}])",
       "[invalidFilter]"},
      {R"({"userName":"a"})", R"([{"op":"replace","path":7,"value":"x"}])", "[invalidPath]"},
      {R"({"userName":"a"})", R"([{"op":"replace","path":"title"}])", "[invalidValue]"},
      {R"({"userName":"a"})", R"([{"op":"replace"}])", "[invalidValue]"},
      {R"({"userName":"a"})", R"([{"op":"replace","value":"x"}])", "[invalidValue]"},
      {R"({"userName":"a"})", R"([{"op":"replace","path":"title","value":7}])", "[invalidValue]"},
      {R"({"userName":"a"})", R"([{"op":"replace","path":"title","value":"a\nb"}])",
       "[invalidValue]"},
      {R"({"userName":"a"})", R"([{"op":"replace","path":"active","value":"no"}])",
       "[invalidValue]"},
      {R"({"userName":"a"})", R"([{"op":"move","path":"title","value":"x"}])", "[invalidSyntax]"},
      {R"({"userName":"a"})", R"([7])", "[invalidSyntax]"},
      {R"({"userName":"a"})", R"([])", "[invalidSyntax]"},
      // The last operation fails: the first is not kept (the caller's document is its own).
      {R"({"userName":"a"})",
       R"([{"op":"replace","path":"userName","value":"b"},
           {"op":"replace","path":"emails[value eq \"x\"].type","value":"y"}])",
       "[noTarget]"},
  };
  check(rows);
  EXPECT_EQ(keyword_of(parse_patch(user_type(), parsed("[]"))), kInvalidSyntax);
  EXPECT_EQ(keyword_of(parse_patch(user_type(), parsed("{}"))), kInvalidSyntax);
  EXPECT_EQ(keyword_of(parse_patch(user_type(), parsed(R"({"schemas":["x"],"Operations":
      [{"op":"add","value":{"title":"x"}}]})"))),
            kInvalidSyntax);
  json::array many(kPatchOpsMax + 1, parsed(R"({"op":"add","value":{"title":"x"}})"));
  EXPECT_EQ(keyword_of(parse_patch(user_type(), json::object{{"Operations", many}})), kTooMany);
}

// RFC 7643 2.2: text is compared in any case, unless the attribute is caseExact (photos.value).
TEST(Patch, ListedValuesAreComparedAsTheSchemaSays) {
  const Row rows[] = {
      {R"({"userName":"a","emails":[{"value":"A@x.org","type":"Work"},{"value":"b@x.org"}]})",
       R"([{"op":"remove","path":"emails","value":[{"value":"a@X.org","type":"work"}]}])",
       R"({"userName":"a","emails":[{"value":"b@x.org"}]})"},
      {R"({"userName":"a","emails":[{"value":"A@x.org","type":"work"}]})",
       R"([{"op":"remove","path":"emails","value":[{"value":"a@x.org","type":"home"}]}])",
       R"({"userName":"a","emails":[{"value":"A@x.org","type":"work"}]})"},
      {R"({"userName":"a","roles":[{"value":"STRASSE"}]})",
       R"([{"op":"remove","path":"roles","value":[{"value":"straße"}]}])", R"({"userName":"a"})"},
      {R"({"userName":"a","photos":[{"value":"http://x/A"},{"value":"http://x/a"}]})",
       R"([{"op":"remove","path":"photos","value":[{"value":"http://x/a"}]}])",
       R"({"userName":"a","photos":[{"value":"http://x/A"}]})"},
      // A value that is there already is not made twice; it is written as the client writes it.
      {R"({"userName":"a","emails":[{"value":"A@x.org","type":"work"}]})",
       R"([{"op":"add","path":"emails","value":[{"value":"a@x.org","type":"WORK","display":"A"}]}])",
       R"({"userName":"a","emails":[{"value":"a@x.org","type":"WORK","display":"A"}]})"},
      {R"({"userName":"a","emails":[{"value":"A@x.org"},{"value":"a@x.org"}]})",
       R"([{"op":"add","path":"emails","value":[{"value":"a@x.org"}]}])",
       R"({"userName":"a","emails":[{"value":"A@x.org"},{"value":"a@x.org"}]})"},
      {R"({"userName":"a","addresses":[{"locality":"Ulm","primary":false}]})",
       R"([{"op":"add","path":"addresses","value":[{"locality":"ULM"}]}])",
       R"({"userName":"a","addresses":[{"locality":"ULM","primary":false}]})"},
      {R"({"userName":"a","photos":[{"value":"http://x/A"}]})",
       R"([{"op":"add","path":"photos","value":[{"value":"http://x/a"}]}])",
       R"({"userName":"a","photos":[{"value":"http://x/A"},{"value":"http://x/a"}]})"},
      // A boolean that is not there is false.
      {R"({"userName":"a","emails":[{"value":"x"},{"value":"y","primary":true}]})",
       R"([{"op":"remove","path":"emails","value":[{"value":"x","primary":false},
                                                   {"value":"y","primary":false}]}])",
       R"({"userName":"a","emails":[{"value":"y","primary":true}]})"},
      {R"({"userName":"a","emails":[{"value":"x"}]})",
       R"([{"op":"remove","path":"emails","value":[{"value":"x","primary":true}]}])",
       R"({"userName":"a","emails":[{"value":"x"}]})"},
  };
  check(rows);
}

// A body of 192 kB made a document of 12.8 MB, and each of its operations copied that.
TEST(Patch, ADocumentIsBoundedWhileItGrows) {
  json::array photos;
  for (int i = 0; i < 100; ++i) photos.push_back(json::object{{"value", std::to_string(i)}});
  const json::value doc = json::object{{"userName", "a"}, {"photos", photos}};
  const auto outcome_of = [&doc](const std::string& picture, std::size_t more) {
    json::array operations;
    operations.push_back(
        json::object{{"op", "replace"}, {"path", "photos.value"}, {"value", picture}});
    while (operations.size() <= more) {
      operations.push_back(json::object{{"op", "replace"},
                                        {"path", "photos.display"},
                                        {"value", std::to_string(operations.size())}});
    }
    const auto patch = parse_patch(user_type(), json::object{{"Operations", operations}});
    CHECK(patch.has_value());
    const auto out = apply(user_type(), doc.get_object(), patch->document);
    return out ? std::string("done") : outcome(out);
  };
  EXPECT_TRUE(outcome_of(std::string(128 << 10, 'x'), 998).contains("add more than"));
  EXPECT_EQ(outcome_of(std::string(8 << 10, 'x'), 998), "done");
  // What comes and goes is no growth.
  json::array operations;
  for (int i = 0; i < 10; ++i) {
    operations.push_back(json::object{
        {"op", "add"}, {"path", "photos"}, {"value", {{{"value", std::string(128 << 10, 'y')}}}}});
    operations.push_back(json::object{{"op", "remove"}, {"path", "photos"}});
  }
  EXPECT_EQ(patched(R"({"userName":"a"})", json::object{{"Operations", operations}}),
            R"({"userName":"a"})");
}

// Each value that an operation lists is compared with each that is there, and so is each part of a
// filter: a body of 1 MB could ask for hours.
TEST(Patch, ComparingIsBounded) {
  json::array photos;
  for (int i = 0; i < 10; ++i) {
    photos.push_back(json::object{{"value", std::string(100'000, static_cast<char>('a' + i))}});
  }
  const std::string doc = json::serialize(json::object{{"userName", "a"}, {"photos", photos}});
  const auto outcome_of = [&doc](const char* op, const std::string& path, json::value value) {
    const json::value operation = json::object{{"op", op}, {"path", path}, {"value", value}};
    return patched(doc.c_str(), json::object{{"Operations", json::array(4, operation)}});
  };
  json::array listed;
  for (int i = 0; i < 20; ++i) listed.push_back(json::object{{"value", std::to_string(i)}});
  EXPECT_TRUE(outcome_of("add", "photos", listed).contains("compare more than"));
  EXPECT_TRUE(outcome_of("remove", "photos", listed).contains("compare more than"));
  EXPECT_TRUE(outcome_of("replace", "photos", listed).starts_with("{"));
  std::string filter = "value eq \"r\"";
  for (int i = 1; i < 100; ++i) filter += " or value eq \"r\"";
  EXPECT_TRUE(outcome_of("remove", "photos[" + filter + "]", {}).contains("compare more than"));
  listed.resize(5);
  EXPECT_TRUE(outcome_of("add", "photos", listed).starts_with("{"));
}

TEST(Patch, ComparingRowsIsBounded) {
  std::string filter = "value sw \"a\"";
  for (int i = 1; i < 100; ++i) filter += " or value sw \"a\"";
  const json::value operation = json::object{
      {"op", "remove"}, {"path", std::string(COREWEAVE ":sunkSshKeys[") + filter + "]"}};
  json::array many(10, operation);
  EXPECT_TRUE(parse_patch(user_type(), json::object{{"Operations", many}}));
  many.push_back(operation);
  EXPECT_EQ(keyword_of(parse_patch(user_type(), json::object{{"Operations", many}})), kTooMany);
}

TEST(Patch, ListsCannotGrowWithoutBound) {
  json::array many;
  for (int i = 0; i < 60; ++i) many.push_back(json::object{{"value", std::to_string(i)}});
  const json::value doc = json::object{{"userName", "a"}, {"emails", many}};
  for (auto& email : many) email.get_object()["type"] = "work";
  const json::value body = json::object{
      {"Operations", {json::object{{"op", "add"}, {"path", "emails"}, {"value", many}}}}};
  EXPECT_EQ(patched(json::serialize(doc).c_str(), body),
            "emails: has more than 100 values [invalidValue]");
}

TEST(Patch, PathlessValuesIgnoreWhatIsUnknownOrReadOnly) {
  const Row rows[] = {
      {R"({"userName":"a"})",
       R"([{"op":"replace","value":{"id":"x","meta":{},"schemas":[],"groups":[],"nosuch":1,
            "name.nosuch":"x","urn:vendor:1.0:Y":{"z":1},"urn:vendor:1.0:Y:z":1,"title":"T"}}])",
       R"({"userName":"a","title":"T"})"},
      {R"({"userName":"a"})",
       R"([{"op":"add","path":"urn:vendor:1.0:Y:z","value":1},
           {"op":"replace","path":"password","value":"secret"}])",
       R"({"userName":"a"})"},
      {R"({"userName":"a"})",
       "[{\"op\":\"replace\",\"value\":{\"" ENTERPRISE
       "\":{\"manager\":\"7\",\"x\":1},\"name.givenName\":\"G\",\"" ENTERPRISE
       ":division\":\"D\",\"name\":{\"familyName\":\"F\"}}}]",
       "{\"userName\":\"a\",\"name\":{\"givenName\":\"G\",\"familyName\":\"F\"},\"" ENTERPRISE
       "\":{\"manager\":{\"value\":\"7\"},\"division\":\"D\"}}"},
  };
  check(rows);
}

/// "add a b; remove c; where; replace" of the operations on rows.
std::string listed(const std::vector<ListOp>& ops) {
  std::string out;
  for (const ListOp& op : ops) {
    if (!out.empty()) out += "; ";
    switch (op.kind) {
      case ListOp::Kind::kAdd:
        out += "add";
        break;
      case ListOp::Kind::kRemove:
        out += "remove";
        break;
      case ListOp::Kind::kRemoveWhere:
        out += "where";
        break;
      case ListOp::Kind::kReplace:
        out += "replace";
        break;
    }
    for (const std::string& value : op.values) out += " " + value;
  }
  return out;
}

TEST(PatchMembers, BecomeSetOperations) {
  struct MemberRow {
    const char* operations;
    const char* expected;
  };
  const MemberRow rows[] = {
      {R"([{"op":"add","path":"members","value":[{"value":"a"},{"value":"b"},{"value":"a"}]}])",
       "add a b"},
      {R"([{"op":"add","path":"members","value":{"value":"a"}}])", "add a"},
      {R"([{"op":"add","value":{"members":[{"value":"a"}],"displayName":"x"}}])", "add a"},
      {R"([{"op":"Remove","path":"members","value":[{"$ref":null,"value":"a"}]}])", "remove a"},
      {R"([{"op":"remove","path":"members[value eq \"a\"]"}])", "remove a"},
      {R"([{"op":"remove","path":"members[value eq \"a\" or value eq \"b\"]"}])", "remove a b"},
      {R"([{"op":"remove","path":"members[display eq \"Ada\"]"}])", "where"},
      {R"([{"op":"remove","path":"members[value eq \"a\" and type eq \"User\"]"}])", "where"},
      {R"([{"op":"remove","path":"members[value ne \"a\"]"}])", "where"},
      {R"([{"op":"remove","path":"members"}])", "replace"},
      {R"([{"op":"remove","path":"members[dsplay ne \"Ada\"]"}])", "[invalidFilter]"},
      // Never taken for "all".
      {R"([{"op":"remove","path":"members","value":null}])", ""},
      {R"([{"op":"remove","path":"members","value":[]}])", ""},
      {R"([{"op":"add","path":"members","value":[]}])", ""},
      {R"([{"op":"replace","path":"members","value":[{"value":"a"}]}])", "replace a"},
      {R"([{"op":"replace","path":"members","value":[]}])", "replace"},
      // Order is kept.
      {R"([{"op":"remove","path":"members[value eq \"a\"]"},
           {"op":"add","path":"members","value":[{"value":"b"}]},
           {"op":"remove","path":"members[value eq \"b\"]"}])",
       "remove a; add b; remove b"},
      {R"([{"op":"remove","path":"members[value eq \"a\"].display"}])", "[mutability]"},
      {R"([{"op":"replace","path":"members[value eq \"a\"].value","value":"b"}])", "[mutability]"},
      {R"([{"op":"replace","path":"members[value eq \"a\"]","value":{"value":"b"}}])",
       "[mutability]"},
      {R"([{"op":"replace","path":"members.value","value":"b"}])", "[mutability]"},
      {R"([{"op":"add","path":"members"}])", "[invalidValue]"},
      {R"([{"op":"add","path":"members","value":[{"display":"x"}]}])", "[invalidValue]"},
  };
  for (const MemberRow& row : rows) {
    const auto patch = parse_patch(group_type(), message(row.operations));
    const std::string got = patch ? listed(patch->members) : outcome(patch);
    if (row.expected[0] == '[') {
      EXPECT_TRUE(got.ends_with(row.expected)) << got << " for " << row.operations;
    } else {
      EXPECT_EQ(got, row.expected) << row.operations;
    }
  }
}

TEST(PatchKeys, BecomeSetOperations) {
  const auto keys = [](std::string_view operations) {
    const auto patch = parse_patch(user_type(), message(operations));
    if (patch) EXPECT_TRUE(patch->document.empty());
    return patch ? listed(patch->keys) : outcome(patch);
  };
  EXPECT_EQ(keys("[{\"op\":\"replace\",\"path\":\"" COREWEAVE
                 ":sunkSshKeys\",\"value\":[\"k1\",\"k2\"]}]"),
            "replace k1 k2");
  EXPECT_EQ(keys("[{\"op\":\"replace\",\"value\":{\"" COREWEAVE ":sunkSshKeys\":[\"k1\"]}}]"),
            "replace k1");
  EXPECT_EQ(keys("[{\"op\":\"add\",\"value\":{\"" COREWEAVE "\":{\"sunkSshKeys\":[\"k1\"]}}}]"),
            "add k1");
  EXPECT_EQ(
      keys("[{\"op\":\"remove\",\"path\":\"" COREWEAVE ":sunkSshKeys[value eq \\\"k1\\\"]\"}]"),
      "remove k1");
  EXPECT_EQ(keys("[{\"op\":\"remove\",\"path\":\"" COREWEAVE ":sunkSshKeys\"}]"), "replace");
}

TEST(PatchExternalId, LastOneWins) {
  const auto external_id = [](std::string_view operations) {
    const auto patch = parse_patch(user_type(), message(operations));
    CHECK(patch.has_value());
    return patch->external_id;
  };
  EXPECT_EQ(external_id(R"([{"op":"add","path":"title","value":"x"}])"), std::nullopt);
  EXPECT_EQ(external_id(R"([{"op":"add","path":"externalId","value":"x"},
                            {"op":"Replace","path":"externalId","value":[{"value":"y"}]}])"),
            std::optional<std::string>("y"));
  EXPECT_EQ(external_id(R"([{"op":"remove","path":"externalId"}])"),
            std::optional<std::optional<std::string>>(std::in_place, std::nullopt));
}

TEST(PatchCorpora, BothEntraDialectsMeanTheSame) {
  const char* const grace = R"({"userName":"grace","active":true,
      "name":{"givenName":"Grace","familyName":"Hopper"},
      "emails":[{"type":"work","primary":true,"value":"grace@example.org"}]})";
  const std::string old_form = patched(grace, corpus("entra/messages/patch_active_string.json"));
  EXPECT_EQ(old_form, patched(grace, corpus("entra/messages/patch_active_flagged.json")));
  EXPECT_EQ(old_form, patched(grace, corpus("okta/messages/deactivate_user.json")));
  EXPECT_NE(old_form.find(R"("active":false)"), std::string::npos);
  EXPECT_EQ(patched(old_form.c_str(), corpus("entra/messages/reactivate_string.json")),
            patched(old_form.c_str(), corpus("okta/messages/reactivate_user.json")));
  EXPECT_EQ(patched(grace, corpus("entra/messages/replace_attributes.json")),
            json::canonical(parsed(R"({"userName":"grace","active":true,
      "name":{"givenName":"Grace","familyName":"Murray"},
      "emails":[{"type":"work","primary":true,"value":"updated@example.org"}],
      "phoneNumbers":[{"type":"mobile","value":"+1 555 0100"}],
      "addresses":[{"type":"work","formatted":"1 Main Street\nArlington"}],
      "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"department":"Research",
        "manager":{"value":"9","$ref":"https://elsewhere.example/Users/9"}}})")));
  EXPECT_EQ(patched(grace, corpus("entra/messages/replace_attributes_flagged.json")),
            json::canonical(parsed(R"({"userName":"grace","active":true,
      "displayName":"Grace Murray","name":{"givenName":"Grace","familyName":"Murray"},
      "emails":[{"type":"work","primary":true,"value":"updated@example.org"}],
      "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"department":"Research"}})")));
  EXPECT_NE(patched(grace, corpus("entra/messages/wrapped_display_name.json"))
                .find(R"("displayName":"Wrapped Name")"),
            std::string::npos);
}

TEST(PatchCorpora, GroupMessages) {
  const auto members = [](const char* name) {
    const auto patch = parse_patch(group_type(), corpus(name));
    return patch ? listed(patch->members) : outcome(patch);
  };
  EXPECT_EQ(members("entra/messages/add_member.json"), "add ${joiner}");
  EXPECT_EQ(members("entra/messages/remove_member.json"), "remove ${leaver}");
  EXPECT_EQ(members("entra/messages/remove_member_flagged.json"), "remove ${leaver}");
  EXPECT_EQ(members("okta/messages/group_members.json"), "remove ${leaver}; add ${joiner}");
  EXPECT_EQ(members("okta/messages/group_push.json"), "replace ${joiner} ${other}");
  const auto rename = parse_patch(group_type(), corpus("okta/messages/rename_group.json"));
  ASSERT_TRUE(rename) << outcome(rename);
  const auto doc =
      apply(group_type(), parsed(R"({"displayName":"x"})").get_object(), rename->document);
  EXPECT_EQ(json::value(*doc), parsed(R"({"displayName":"ML Research 2"})"));
}

}  // namespace
}  // namespace roster::scim
