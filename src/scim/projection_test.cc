#include "scim/projection.h"

#include <gtest/gtest.h>

#include "scim/error.h"
#include "scim/testing.h"

namespace roster::scim {
namespace {

#define COREWEAVE "urn:coreweave:params:scim:schemas:extension:coreweave:2.0:CoreWeaveUser"

const char* const kAda = R"({
  "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "id": "1", "externalId": "e",
  "userName": "ada", "name": {"givenName": "Ada", "familyName": "L"},
  "emails": [{"value": "a@x", "type": "work"}, {"value": "b@x"}], "password": "never",
  "meta": {"resourceType": "User", "version": "W/\"1\""},
  ")" COREWEAVE R"(": {"sunkPosixUserId": 10000, "sunkSshKeys": ["k"]}})";

constexpr std::string_view kCore = "urn:ietf:params:scim:schemas:core:2.0:User";

std::string shown(std::optional<std::string_view> attributes,
                  std::optional<std::string_view> excluded, Projection::Options options = {}) {
  const auto projection = Projection::parse(user_type(), attributes, excluded, options);
  if (!projection) return outcome(projection);
  json::object out = projection->apply(parsed(kAda).get_object());
  EXPECT_EQ(out["schemas"].at(0).as_string(), kCore);
  EXPECT_EQ(out["schemas"].get_array().size(), out.contains(COREWEAVE) ? 2U : 1U);
  out.erase("schemas");
  return json::canonical(out);
}

std::string canonical(std::string_view text) { return json::canonical(parsed(text)); }

TEST(Projection, SelectsAttributes) {
  const std::string everything = shown(std::nullopt, std::nullopt);
  EXPECT_NE(everything.find("sunkSshKeys"), std::string::npos);
  EXPECT_EQ(everything.find("password"), std::string::npos);

  EXPECT_EQ(shown("userName", std::nullopt), R"({"id":"1","userName":"ada"})");
  EXPECT_EQ(shown("USERNAME, name.givenName,nosuch", std::nullopt),
            R"({"id":"1","name":{"givenName":"Ada"},"userName":"ada"})");
  EXPECT_EQ(shown("urn:ietf:params:scim:schemas:core:2.0:User:userName", std::nullopt),
            R"({"id":"1","userName":"ada"})");
  EXPECT_EQ(shown("emails.value", std::nullopt),
            R"({"emails":[{"value":"a@x"},{"value":"b@x"}],"id":"1"})");
  EXPECT_EQ(shown("password", std::nullopt), R"({"id":"1"})");
  EXPECT_EQ(shown(COREWEAVE, std::nullopt),
            canonical("{\"id\":\"1\",\"" COREWEAVE
                      "\":{\"sunkPosixUserId\":10000,\"sunkSshKeys\":[\"k\"]}}"));
  EXPECT_EQ(shown(COREWEAVE ":sunkSshKeys", std::nullopt),
            canonical("{\"id\":\"1\",\"" COREWEAVE "\":{\"sunkSshKeys\":[\"k\"]}}"));
  EXPECT_EQ(shown("", ""), everything);
}

TEST(Projection, ExcludesAttributesButNotTheId) {
  const std::string rest =
      shown(std::nullopt, "id,schemas,emails.type,name,meta,externalId,userName," COREWEAVE);
  EXPECT_EQ(rest, R"({"emails":[{"value":"a@x"},{"value":"b@x"}],"id":"1"})");
  EXPECT_EQ(shown("userName", "emails"),
            "attributes and excludedAttributes cannot be used together [invalidValue]");
}

// Readers made for nsscache name the URN and expect names and `active` beside it.
TEST(Projection, ReadersGetTheExtensionOnRequestAndAdded) {
  const Projection::Options reader = {.on_request_extension = kCoreWeaveUserUrn,
                                      .additive_urns = true};
  EXPECT_EQ(shown(std::nullopt, std::nullopt, reader).find("sunk"), std::string::npos);
  EXPECT_EQ(shown(std::nullopt, "emails", reader).find("sunk"), std::string::npos);
  EXPECT_EQ(shown(COREWEAVE, std::nullopt, reader), shown(std::nullopt, std::nullopt));
  EXPECT_EQ(shown("userName," COREWEAVE, std::nullopt, reader),
            shown("userName," COREWEAVE, std::nullopt));
}

TEST(Projection, SaysWhatNeedNotBeLoaded) {
  const auto wants = [](std::optional<std::string_view> attributes,
                        std::optional<std::string_view> excluded) {
    const auto projection = Projection::parse(group_type(), attributes, excluded, {});
    return projection->wants("", "members");
  };
  EXPECT_TRUE(wants(std::nullopt, std::nullopt));
  EXPECT_TRUE(wants("members.value", std::nullopt));
  EXPECT_TRUE(wants(std::nullopt, "members.display"));
  EXPECT_FALSE(wants("displayName", std::nullopt));
  EXPECT_FALSE(wants(std::nullopt, "members"));
  const auto user = Projection::parse(user_type(), "userName", std::nullopt, {});
  EXPECT_FALSE(user->wants(kCoreWeaveUserUrn, "sunkSshKeys"));
  EXPECT_TRUE(Projection(user_type()).wants(kCoreWeaveUserUrn, "sunkSshKeys"));
}

}  // namespace
}  // namespace roster::scim
