#include "scim/schema.h"

#include <gtest/gtest.h>

#include <set>

#include "base/unicode.h"
#include "scim/discovery.h"
#include "scim/error.h"
#include "scim/list.h"
#include "scim/testing.h"

namespace roster::scim {
namespace {

TEST(Schema, NamesResolveWithoutCaseAndWithUrn) {
  struct Row {
    const char* name;
    const char* full;  // nullptr: no such attribute
  };
  const Row rows[] = {
      {"userName", "userName"},
      {"USERNAME", "userName"},
      {"name.GivenName", "name.givenName"},
      {"meta.lastModified", "meta.lastModified"},
      {"externalid", "externalId"},
      {"urn:ietf:params:scim:schemas:core:2.0:User:userName", "userName"},
      {"URN:IETF:params:scim:schemas:core:2.0:user:name.familyName", "name.familyName"},
      {"urn:ietf:params:scim:schemas:core:2.0:User", "urn:ietf:params:scim:schemas:core:2.0:User"},
      {"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value",
       "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value"},
      {"urn:coreweave:params:scim:schemas:extension:coreweave:2.0:CoreWeaveUser:sunksshkeys",
       "urn:coreweave:params:scim:schemas:extension:coreweave:2.0:CoreWeaveUser:sunkSshKeys"},
      {"nosuch", nullptr},
      {"name.nosuch", nullptr},
      {"name.givenName.x", nullptr},
      {"employeeNumber", nullptr},  // extensions need their URN
      {"urn:ietf:params:scim:schemas:core:2.0:User:", nullptr},
      {"urn:ietf:params:scim:schemas:core:2.0:UserX:userName", nullptr},
      {"", nullptr},
  };
  for (const Row& row : rows) {
    const auto ref = resolve(user_type(), row.name);
    ASSERT_EQ(ref.has_value(), row.full != nullptr) << row.name;
    if (ref) EXPECT_EQ(full_name(user_type(), *ref), row.full);
  }
}

TEST(Schema, AttributePathsAreRecognizedByForm) {
  for (const char* good : {"a", "a.b", "$ref", "members.$ref", "x-y_z", "urn:a:2.0:User:name.b"}) {
    EXPECT_TRUE(is_attribute_path(good)) << good;
  }
  for (const char* bad :
       {"", ".", "a.", ".b", "a.b.c", "1a", "a b", "http://x:a", "urn:x:", "a/b"}) {
    EXPECT_FALSE(is_attribute_path(bad)) << bad;
  }
}

// A definition that breaks these makes answers that clients cannot store (two names that differ by
// case), or a filter on an attribute without type.
TEST(Schema, TablesAreConsistent) {
  for (const Schema* schema : all_schemas()) {
    std::set<std::string> names;
    for (const Attribute& attribute : schema->attributes) {
      EXPECT_TRUE(names.insert(ascii_lower(attribute.name)).second) << attribute.name;
      EXPECT_EQ(attribute.type == Type::kComplex, !attribute.sub_attributes.empty())
          << attribute.name;
      EXPECT_FALSE(attribute.description.empty()) << attribute.name;
      std::set<std::string> sub_names;
      for (const Attribute& sub : attribute.sub_attributes) {
        EXPECT_TRUE(sub_names.insert(ascii_lower(sub.name)).second) << sub.name;
      }
    }
  }
}

TEST(Discovery, EverySchemaOfAResourceTypeIsListed) {
  for (const ResourceType* type : resource_types()) {
    EXPECT_TRUE(schema("", type->core->id).has_value());
    for (const Schema* extension : type->extensions) {
      EXPECT_TRUE(schema("", extension->id).has_value());
    }
    EXPECT_TRUE(resource_type("", type->name).has_value());
  }
  const json::object list = schemas("https://hub/scim/v2/o");
  EXPECT_EQ(json::find_int(list, "totalResults"), 8);
  for (const std::string_view urn : {kServiceProviderConfigUrn, kResourceTypeUrn, kSchemaUrn}) {
    EXPECT_TRUE(schema("", urn).has_value()) << urn;
  }
  EXPECT_FALSE(schema("", "urn:none").has_value());
  EXPECT_FALSE(resource_type("", "Device").has_value());
}

TEST(Discovery, UserSchemaHasRfcDefinitions) {
  const json::object user = *schema("https://hub/scim", kUserUrn);
  EXPECT_EQ(user.at("meta").at("location"),
            "https://hub/scim/Schemas/urn:ietf:params:scim:schemas:core:2.0:User");
  const json::object& user_name = user.at("attributes").at(0).as_object();
  EXPECT_EQ(user_name, parsed(R"({"name":"userName","type":"string","multiValued":false,
      "description":"Name the person signs in with. Unique in the organization.",
      "required":true,"caseExact":false,"mutability":"readWrite","returned":"default",
      "uniqueness":"server"})")
                           .as_object());
}

TEST(Discovery, FlatGroupAttributesStayOutOfTheSchema) {
  const std::string text = json::serialize(*schema("", kGroupUrn));
  EXPECT_EQ(text.find("sunk"), std::string::npos);
}

TEST(Discovery, ServiceProviderConfigSaysWhatIsTrue) {
  const json::object config = service_provider_config("https://hub/scim", {});
  EXPECT_EQ(config.at("filter"), parsed(R"({"supported":true,"maxResults":1000})"));
  EXPECT_EQ(config.at("bulk").at("supported"), false);
  EXPECT_EQ(config.at("sort").at("supported"), true);
  EXPECT_EQ(config.at("pagination"),
            parsed(R"({"cursor":true,"index":true,"defaultPaginationMethod":"index",
                       "defaultPageSize":100,"maxPageSize":1000,"cursorTimeout":3600})"));
  const json::object reads = service_provider_config("", {.writes = false, .page_default = 1000});
  EXPECT_EQ(reads.at("patch").at("supported"), false);
  EXPECT_EQ(reads.at("pagination").at("defaultPageSize"), 1000);
  EXPECT_EQ(config.at("patch").at("supported"), true);
  EXPECT_EQ(config.at("etag").at("supported"), true);
}

TEST(ErrorBody, StatusIsAString) {
  EXPECT_EQ(error_body(400, kInvalidFilter, "why"),
            parsed(R"({"schemas":["urn:ietf:params:scim:api:messages:2.0:Error"],
                       "status":"400","scimType":"invalidFilter","detail":"why"})")
                .as_object());
  EXPECT_FALSE(error_body(404, "", "why").contains("scimType"));
}

TEST(ErrorBody, CodesBecomeStatuses) {
  EXPECT_EQ(http_status({Code::kInvalidArgument, ""}), 400);
  EXPECT_EQ(http_status({Code::kAlreadyExists, ""}), 409);
  EXPECT_EQ(http_status({Code::kVersionMismatch, ""}), 412);
  EXPECT_EQ(http_status({Code::kTooLarge, ""}), 413);
  EXPECT_EQ(http_status({Code::kTooLarge, "", kTooMany}), 400);
  EXPECT_EQ(http_status({Code::kUnsupported, ""}), 501);
  EXPECT_EQ(http_status({Code::kUnavailable, ""}), 503);
}

TEST(Paging, NumbersAreClamped) {
  struct Row {
    std::optional<std::string_view> start, count;
    std::int64_t start_out, count_out;
  };
  const Row rows[] = {
      {std::nullopt, std::nullopt, 1, 100},
      {"0", "10", 1, 10},
      {"-5", "-1", 1, 0},
      {"7", "0", 7, 0},
      {"2", "5000", 2, 1000},
  };
  for (const Row& row : rows) {
    const auto paging = parse_paging(row.start, row.count, kPageDefault);
    ASSERT_TRUE(paging);
    EXPECT_EQ(paging->start_index, row.start_out);
    EXPECT_EQ(paging->count, row.count_out);
  }
  for (const char* bad : {"", "x", "1.5", "99999999999999999999"}) {
    EXPECT_EQ(keyword_of(parse_paging(bad, std::nullopt, 100)), kInvalidValue) << bad;
    EXPECT_EQ(keyword_of(parse_paging(std::nullopt, bad, 100)), kInvalidValue) << bad;
  }
}

TEST(ListResponse, EmptyListHasAllMembers) {
  EXPECT_EQ(list_response(0, 1, {}),
            parsed(R"({"schemas":["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
                       "totalResults":0,"startIndex":1,"itemsPerPage":0,"Resources":[]})")
                .as_object());
}

}  // namespace
}  // namespace roster::scim
