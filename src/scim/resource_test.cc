#include "scim/resource.h"

#include <gtest/gtest.h>

#include "scim/error.h"
#include "scim/testing.h"

namespace roster::scim {
namespace {

json::value doc_of(std::string_view body) {
  auto resource = normalize(user_type(), parsed(body));
  if (!resource) ADD_FAILURE() << outcome(resource) << " for " << body;
  return resource ? json::value(std::move(resource->doc)) : json::value(nullptr);
}

TEST(Normalize, DocumentHoldsWritableAttributesInSchemaCase) {
  struct Row {
    const char* body;
    const char* doc;
  };
  const Row rows[] = {
      // Case of names; unknown names and URNs; readOnly; what the server gives.
      {R"({"USERNAME":"Ada","DisplayName":"A","nosuch":1,"urn:x:1.0:Y":{"a":1},"id":"mine",
           "groups":[{"value":"admins"}],"meta":{"version":"9"},"schemas":
           ["urn:ietf:params:scim:schemas:core:2.0:User"]})",
       R"({"userName":"Ada","displayName":"A"})"},
      // Unassigned: null, [], {} and objects of nothing.
      {R"({"userName":"a","title":null,"emails":[],"roles":[null,{}],"name":{"givenName":null}})",
       R"({"userName":"a"})"},
      // password and externalId are not part of it.
      {R"({"userName":"a","password":"s","externalId":"x"})", R"({"userName":"a"})"},
      // Dialects.
      {R"({"userName":"a","active":"False"})", R"({"userName":"a","active":false})"},
      {R"({"userName":"a","emails":{"value":"a@b"}})",
       R"({"userName":"a","emails":[{"value":"a@b"}]})"},
      {R"({"userName":"a","roles":["x"],"title":["one"]})",
       R"({"userName":"a","roles":[{"value":"x"}],"title":"one"})"},
      {R"({"userName":"a","urn:ietf:params:scim:schemas:extension:enterprise:2.0:user":
           {"manager":"7","EMPLOYEENUMBER":"1"}})",
       R"({"userName":"a","urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":
           {"manager":{"value":"7"},"employeeNumber":"1"}})"},
      // Values that are the same count once; strings stay as they are.
      {R"({"userName":" Ünï-\"' ","emails":[{"value":"a"},{"value":"a"}]})",
       R"({"userName":" Ünï-\"' ","emails":[{"value":"a"}]})"},
      {R"({"userName":"a","addresses":[{"formatted":"1 Main St\nTown\tX","primary":"true"}]})",
       R"({"userName":"a","addresses":[{"formatted":"1 Main St\nTown\tX","primary":true}]})"},
      // Allocated by the server, so never taken from a client.
      {R"({"userName":"a","urn:coreweave:params:scim:schemas:extension:coreweave:2.0:CoreWeaveUser":
           {"sunkPosixUserId":0,"sunkPosixUsername":"root","sunkLoginShell":"/bin/zsh"}})",
       R"({"userName":"a","urn:coreweave:params:scim:schemas:extension:coreweave:2.0:CoreWeaveUser":
           {"sunkLoginShell":"/bin/zsh"}})"},
  };
  for (const Row& row : rows) EXPECT_EQ(doc_of(row.body), parsed(row.doc)) << row.body;
}

TEST(Normalize, RefusesWithTheNameOfTheAttribute) {
  const std::string long_name(300, 'x');
  const std::string many = [] {
    std::string out = R"({"userName":"a","emails":[)";
    for (int i = 0; i < 101; ++i) out += (i > 0 ? "," : "") + std::to_string(i);
    return out + "]}";
  }();
  struct Row {
    std::string body;
    std::string outcome;
  };
  const Row rows[] = {
      {"[]", "the body must be a JSON object [invalidSyntax]"},
      {"{}", "userName: is required [invalidValue]"},
      {R"({"userName":null})", "userName: is required [invalidValue]"},
      {R"({"userName":""})", "userName: must not be empty [invalidValue]"},
      {R"({"userName":5})", "userName: must be a string [invalidValue]"},
      {R"({"userName":["a","b"]})", "userName: has a single value [invalidValue]"},
      {R"({"userName":"a","username":"b"})", "userName: named twice [invalidSyntax]"},
      {R"({"userName":"a","name":{"givenName":"a","GIVENNAME":"b"}})",
       "name.givenName: named twice [invalidSyntax]"},
      {R"({"userName":"a\nb"})", "userName: has control characters [invalidValue]"},
      {R"({"userName":"a\u0085b"})", "userName: has control characters [invalidValue]"},
      {R"({"userName":")" + long_name + "\"}", "userName: is longer than 256 bytes [invalidValue]"},
      {R"({"userName":"a","displayName":")" + std::string(1 << 19, 'x') + "\"}",
       "displayName: is longer than 4096 bytes [invalidValue]"},
      {R"({"userName":"a","active":"maybe"})", "active: must be true or false [invalidValue]"},
      {R"({"userName":"a","active":1})", "active: must be true or false [invalidValue]"},
      {R"({"userName":"a","name":"Ada"})", "name: must be an object [invalidValue]"},
      {R"({"userName":"a","emails":[{"value":{"x":1}}]})",
       "emails[0].value: must be a simple value [invalidValue]"},
      {R"({"userName":"a","emails":[{"value":"x","primary":true},{"value":"y","primary":true}]})",
       "emails: more than one value is primary [invalidValue]"},
      {many, "emails: has more than 100 values [invalidValue]"},
      {R"({"userName":"a","schemas":[]})", "schemas: must be a list of schema URIs [invalidValue]"},
      {R"({"userName":"a","schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"]})",
       "schemas: must hold urn:ietf:params:scim:schemas:core:2.0:User [invalidValue]"},
      {R"({"userName":"a","urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":"x"})",
       "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User: must be an object "
       "[invalidValue]"},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(outcome(normalize(user_type(), parsed(row.body))), row.outcome);
  }
}

TEST(Normalize, KeysAreKeptApart) {
  const std::string urn(kCoreWeaveUserUrn);
  const auto keys = [](const std::string& extension) {
    auto resource = normalize(user_type(), parsed(R"({"userName":"a")" + extension + "}"));
    CHECK(resource.has_value());
    EXPECT_EQ(json::serialize(resource->doc).find("Ssh"), std::string::npos);
    return resource->ssh_keys;
  };
  EXPECT_EQ(keys(""), std::nullopt);
  EXPECT_EQ(keys(",\"" + urn + R"(":null)"), std::vector<std::string>{});
  EXPECT_EQ(keys(",\"" + urn + R"(":{"sunkLoginShell":"/bin/sh"})"), std::vector<std::string>{});
  EXPECT_EQ(keys(",\"" + urn + R"(":{"sunksshkeys":["k1","k2"]})"),
            (std::vector<std::string>{"k1", "k2"}));
  EXPECT_EQ(keys(",\"" + urn + R"(":{"sunkSshKeys":"k1"})"), std::vector<std::string>{"k1"});
  EXPECT_EQ(outcome(normalize(user_type(), parsed(R"({"userName":"a",")" + urn +
                                                  R"(":{"sunkSshKeys":["k",7]}})"))),
            "sunkSshKeys[1]: must be a string [invalidValue]");
}

TEST(Normalize, MembersAreIdsOnceInOrder) {
  const auto members = [](const std::string& list) {
    return normalize(group_type(), parsed(R"({"displayName":"g","members":)" + list + "}"));
  };
  EXPECT_EQ(normalize(group_type(), parsed(R"({"displayName":"g"})"))->members, std::nullopt);
  EXPECT_EQ(members("null")->members, std::vector<std::string>{});
  EXPECT_EQ(members("[]")->members, std::vector<std::string>{});
  EXPECT_EQ(
      members(R"([{"value":"b","$ref":null},{"value":"a","display":"x"},{"VALUE":"b"}])")->members,
      (std::vector<std::string>{"b", "a"}));
  EXPECT_EQ(members(R"(["a"])")->members, std::vector<std::string>{"a"});
  EXPECT_FALSE(json::find(members(R"(["a"])")->doc, "members"));
  EXPECT_EQ(outcome(members(R"([{"display":"x"}])")),
            "members[0]: needs \"value\", the identifier of a user or group [invalidValue]");
  EXPECT_EQ(outcome(members(R"(["a","b\n"])")),
            "members[1]: is not an identifier: b? [invalidValue]");
}

TEST(ReplaceDocument, KeepsWhatTheBodyDoesNotSpeakAbout) {
  const json::value current = parsed(R"({"userName":"a","title":"old","active":false,
      "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"department":"x"},
      "urn:coreweave:params:scim:schemas:extension:coreweave:2.0:CoreWeaveUser":
        {"sunkLoginShell":"/bin/zsh"}})");
  const auto replaced = [&current](std::string_view body) {
    auto resource = normalize(user_type(), parsed(body));
    CHECK(resource.has_value());
    return json::value(replace_document(user_type(), current.get_object(), *resource));
  };
  // A locked person stays locked, extensions stay, the title goes.
  EXPECT_EQ(replaced(R"({"userName":"b"})"), parsed(R"({"userName":"b","active":false,
      "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"department":"x"},
      "urn:coreweave:params:scim:schemas:extension:coreweave:2.0:CoreWeaveUser":
        {"sunkLoginShell":"/bin/zsh"}})"));
  EXPECT_EQ(replaced(R"({"userName":"b","active":true,
      "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{},
      "urn:coreweave:params:scim:schemas:extension:coreweave:2.0:CoreWeaveUser":
        {"sunkSshKeys":[]}})"),
            parsed(R"({"userName":"b","active":true})"));
}

TEST(Normalize, VendorBodies) {
  auto okta = normalize(user_type(), corpus("okta/messages/create_user.json"));
  ASSERT_TRUE(okta) << outcome(okta);
  EXPECT_EQ(okta->external_id, "00u1okta0ada");
  EXPECT_EQ(json::serialize(okta->doc).find("S3cret"), std::string::npos);
  EXPECT_EQ(json::find_bool(okta->doc, "active"), true);
  auto put = normalize(user_type(), corpus("okta/messages/put_user.json"));
  ASSERT_TRUE(put) << outcome(put);
  EXPECT_FALSE(put->doc.contains("meta") || put->doc.contains("id"));
  auto entra = normalize(user_type(), corpus("entra/messages/create_user.json"));
  ASSERT_TRUE(entra) << outcome(entra);
  EXPECT_FALSE(entra->doc.contains("roles"));
  EXPECT_EQ(entra->doc.at(kEnterpriseUserUrn).at("manager"), parsed(R"({"value":"2a1d6dc5"})"));
  auto group = normalize(group_type(), corpus("entra/messages/create_group.json"));
  ASSERT_TRUE(group) << outcome(group);
  EXPECT_EQ(json::value(group->doc), parsed(R"({"displayName":"Compilers"})"));
}

}  // namespace
}  // namespace roster::scim
