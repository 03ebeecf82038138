#include "scim/sort.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "scim/testing.h"

namespace roster::scim {
namespace {

/// Numbers of `resources` in the order of `sort_by`.
std::string order(const ResourceType& type, std::string_view sort_by,
                  const std::vector<const char*>& resources, bool descending = false) {
  const Sort sort = Sort::parse(type, sort_by).value();
  std::vector<std::pair<SortKey, std::size_t>> keys;
  for (std::size_t i = 0; i < resources.size(); ++i) {
    keys.emplace_back(sort.key(json::parse(resources[i]).value().as_object()), i);
  }
  std::ranges::sort(keys, [descending](const auto& a, const auto& b) {
    if (a.first == b.first) return a.second < b.second;
    return sorts_before(a.first, b.first, descending);
  });
  std::string out;
  for (const auto& [key, i] : keys) out += std::to_string(i);
  return out;
}

TEST(Sort, ComparesAsTheAttributeIsDefined) {
  const ResourceType& user = user_type();
  // Case counts for caseExact alone.
  EXPECT_EQ(order(user, "userName",
                  {R"({"userName":"b"})", R"({"userName":"A"})", R"({"userName":"C"})"}),
            "102");
  EXPECT_EQ(order(user, "externalId",
                  {R"({"externalId":"b"})", R"({"externalId":"A"})", R"({"externalId":"a"})"}),
            "120");
  EXPECT_EQ(order(user, "name.familyName",
                  {R"({"name":{"familyName":"Öz"}})", R"({"name":{"familyName":"öa"}})"}),
            "10");
  EXPECT_EQ(order(user, "USERNAME", {R"({"userName":"b"})", R"({"userName":"a"})"}), "10");
  EXPECT_EQ(order(user, "urn:ietf:params:scim:schemas:core:2.0:User:userName",
                  {R"({"userName":"b"})", R"({"userName":"a"})"}),
            "10");
  // Numbers by value, booleans false first, times as moments.
  const std::string urn(kCoreWeaveUserUrn);
  const std::string two = R"({")" + urn + R"(":{"sunkPosixUserId":9999}})";
  const std::string ten = R"({")" + urn + R"(":{"sunkPosixUserId":10000}})";
  EXPECT_EQ(order(user, urn + ":sunkPosixUserId", {ten.c_str(), two.c_str()}), "10");
  EXPECT_EQ(order(user, "active", {R"({"active":true})", R"({"active":false})"}), "10");
  EXPECT_EQ(order(user, "meta.created",
                  {R"({"meta":{"created":"2026-01-01T01:00:00+02:00"}})",
                   R"({"meta":{"created":"2025-12-31T22:59:59Z"}})"}),
            "10");
}

TEST(Sort, MissingValuesAreLastAndFirstWhenDescending) {
  const std::vector<const char*> three = {R"({})", R"({"title":"a"})", R"({"title":"b"})"};
  EXPECT_EQ(order(user_type(), "title", three), "120");
  EXPECT_EQ(order(user_type(), "title", three, true), "021");
  EXPECT_EQ(order(group_type(), "title", three), "012") << "a group has no title";
}

TEST(Sort, AListIsSortedByItsPrimaryElseItsFirstValue) {
  EXPECT_EQ(order(user_type(), "emails",
                  {R"({"emails":[{"value":"a"},{"value":"z","primary":true}]})",
                   R"({"emails":[{"value":"m"},{"value":"b"}]})", R"({"emails":[]})"}),
            "102");
  EXPECT_EQ(order(user_type(), "emails.type",
                  {R"({"emails":[{"type":"work"}]})", R"({"emails":[{"type":"home"}]})"}),
            "10");
}

TEST(Sort, LongTextsAreCutAtACharacter) {
  std::string a(kSortKeyBytesMax - 1, 'x');
  const SortKey key = Sort::parse(user_type(), "title")
                          .value()
                          .key(json::object{{"title", a + "\xc3\xa9 and more"}});
  EXPECT_EQ(key, a);
}

TEST(Sort, WhatCannotBeSortedByIsRefused) {
  for (const char* name : {"", "a b", "name", "meta", "emails[type eq \"x\"]",
                           "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"}) {
    const auto sort = Sort::parse(user_type(), name);
    ASSERT_FALSE(sort.has_value()) << name;
    EXPECT_EQ(sort.error().keyword, "invalidPath") << name;
  }
  EXPECT_FALSE(Sort::parse(user_type(), "nothing").value().known());
  EXPECT_TRUE(parse_descending("Descending").value());
  EXPECT_FALSE(parse_descending("ascending").value());
  EXPECT_FALSE(parse_descending(std::nullopt).value());
  EXPECT_EQ(parse_descending("down").error().keyword, "invalidValue");
}

}  // namespace
}  // namespace roster::scim
