#include "provider/listing.h"

#include <map>
#include <set>

#include "base/encoding.h"
#include "provider/testing.h"

namespace roster::provider {
namespace {

class Listings : public ScimTest {
 protected:
  Answer filter(const std::string& endpoint, const std::string& text) {
    return get(endpoint + "?filter=" + percent_encode(text));
  }
  void make_users(int count) {
    for (int i = 1; i <= count; ++i) ids_.push_back(make_user("user" + std::to_string(i)));
  }
  static std::string member(const std::string& id) { return R"({"value":")" + id + "\"}"; }
  std::vector<std::string> ids_;
};

TEST_F(Listings, PagesKeepOneOrderWhateverTheirSize) {
  make_users(25);
  std::string whole = get("/Users?count=1000").listed("id");
  for (const int count : {1, 7, 10, 25}) {
    std::string joined;
    int start = 1;
    while (true) {
      const Answer page =
          get("/Users?startIndex=" + std::to_string(start) + "&count=" + std::to_string(count));
      ASSERT_EQ(page.total(), 25);
      EXPECT_EQ(json::find_int(page.body, "startIndex"), start);
      const auto items = json::find_int(page.body, "itemsPerPage").value();
      if (items == 0) break;
      joined += (joined.empty() ? "" : " ") + page.listed("id");
      start += static_cast<int>(items);
    }
    EXPECT_EQ(joined, whole) << count;
  }
  // Without memory of the page before (after a restart), and beyond the end.
  restart({.public_url = "https://hub.example", .allowed_hosts = {}});
  EXPECT_EQ(get("/Users?startIndex=24&count=5").listed("userName"), "user24 user25");
  EXPECT_EQ(get("/Users?startIndex=26").listed("id"), "");
  EXPECT_EQ(get("/Users?startIndex=9223372036854775807").listed("id"), "");
  const Answer none = get("/Users?count=0");
  EXPECT_EQ(none.total(), 25);
  EXPECT_EQ(json::find_int(none.body, "itemsPerPage"), 0);
  EXPECT_EQ(get("/Users?startIndex=-3&count=2").listed("userName"), "user1 user2");
  expect_error(get("/Users?count=x"), 400, "invalidValue");
}

// A prefix that most begin with is walked in order, a rare one found by its index: both give the
// same pages.
TEST_F(Listings, PrefixesOfManyAndOfFewGiveEverybodyOnce) {
  for (int i = 1; i <= 60; ++i) {
    const std::string n = std::to_string(i);
    ids_.push_back(send(okta_, "POST", "/Users",
                        R"({"userName":"user)" + n + R"(","externalId":"x:)" + n + R"("})")
                       .body.at("id")
                       .as_string()
                       .c_str());
  }
  for (const auto& [text, matches] : std::map<std::string, int>{{R"(externalId sw "x:")", 60},
                                                                {R"(externalId sw "x:1")", 11},
                                                                {R"(externalId sw "X:")", 0},
                                                                {R"(userName sw "USER")", 60},
                                                                {R"(userName sw "user6")", 2}}) {
    const std::string query = "/Users?count=2&filter=" + percent_encode(text) + "&cursor=";
    std::set<std::string> seen;
    std::optional<std::string> cursor = "";
    while (cursor) {
      const Answer page = send(okta_, "GET", query + *cursor);
      ASSERT_EQ(page.total(), matches) << text;
      for (const json::value& each : page.body.at("Resources").as_array()) {
        EXPECT_TRUE(seen.insert(each.at("id").as_string().c_str()).second) << text;
      }
      const auto next = json::find_string(page.body, "nextCursor");
      cursor = next ? std::optional<std::string>(*next) : std::nullopt;
    }
    EXPECT_EQ(seen.size(), static_cast<std::size_t>(matches)) << text;
  }
}

// A deletion between two pages must neither skip nor repeat a survivor.
TEST_F(Listings, DeletionsBetweenPagesSkipNobody) {
  make_users(6);
  EXPECT_EQ(get("/Users?startIndex=1&count=3").listed("userName"), "user1 user2 user3");
  EXPECT_EQ(send(okta_, "DELETE", "/Users/" + ids_[0]).status, 204);
  EXPECT_EQ(get("/Users?startIndex=4&count=3").listed("userName"), "user4 user5 user6");
  // Another client did not see the page before, so its pages count from what is there now.
  EXPECT_EQ(send(entra_, "GET", "/Users?startIndex=4&count=3").listed("userName"), "user5 user6");
}

TEST_F(Listings, AWalkByIndexReachesWhoStaysThoughPagesBeforeAreGone) {
  make_users(6);
  EXPECT_EQ(get("/Users?startIndex=1&count=3").listed("userName"), "user1 user2 user3");
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(send(okta_, "DELETE", "/Users/" + ids_[static_cast<std::size_t>(i)]).status, 204);
  }
  // Fewer are left than were given: the end is where the walk ends.
  const Answer middle = get("/Users?startIndex=4&count=2");
  EXPECT_EQ(middle.listed("userName"), "user4 user5");
  EXPECT_EQ(middle.total(), 6);
  const Answer last = get("/Users?startIndex=6&count=2");
  EXPECT_EQ(last.listed("userName"), "user6");
  EXPECT_EQ(last.total(), 6);
  EXPECT_EQ(get("/Users?startIndex=7&count=2").total(), 3) << "no page ended there";
  EXPECT_EQ(get("/Users?startIndex=1&count=9").total(), 3);
}

TEST_F(Listings, AWalkByIndexOfLongAgoIsForgotten) {
  make_users(6);
  EXPECT_EQ(get("/Users?startIndex=1&count=3").listed("userName"), "user1 user2 user3");
  EXPECT_EQ(send(okta_, "DELETE", "/Users/" + ids_[0]).status, 204);
  now_ += std::chrono::minutes(11);
  EXPECT_EQ(get("/Users?startIndex=4&count=3").listed("userName"), "user5 user6");
}

// Each page by index judged all matches again: 100 pages of 100,000 people took 100 times as long
// as one list of them.
TEST_F(Listings, APageBehindAnotherCostsWhatItShows) {
  for (int i = 1; i <= 60; ++i) {
    const std::string n = std::to_string(i);
    ids_.push_back(make_user("user" + n, R"(,"externalId":"x:)" + n + R"(","title":"t")"));
  }
  std::string people;
  for (const std::string& id : ids_) people += (people.empty() ? "" : ",") + member(id);
  make_group("lab", "[" + people + "]");
  for (const char* text :
       {R"(externalId sw "x:")", R"(externalId sw "x:" and title pr)", "title pr",
        R"(userName sw "USER")", R"(meta.created gt "2020-01-01T00:00:00Z")"}) {
    for (const std::string& bearer : {okta_, reader_}) {
      const std::string query = "/Users?count=7&filter=" + percent_encode(text) + "&startIndex=";
      std::string names;
      for (int start = 1; start <= 60; start += 7) {
        const Answer page = send(bearer, "GET", query + std::to_string(start));
        EXPECT_EQ(page.total(), 60) << text << start;
        names += page.listed("userName") + ' ';
      }
      EXPECT_EQ(names, get("/Users").listed("userName") + ' ') << text;
    }
  }
  const auto rows = [this](const std::string& bearer, const std::string& target) {
    const std::int64_t before = rows_read_;
    EXPECT_EQ(send(bearer, "GET", target).total(), 60);
    return rows_read_ - before;
  };
  const std::string all = "/Users?count=2&filter=" + percent_encode("title pr");
  EXPECT_GT(rows(okta_, all), 60);
  EXPECT_EQ(asked("user.after", [&] { rows(okta_, all + "&startIndex=3"); }), 1);
  EXPECT_GT(rows(entra_, all + "&startIndex=3"), 60) << "another client's page is none behind it";
  // What an index decides alone is not judged for any page.
  const std::string own = "/Users?count=2&filter=" + percent_encode(R"(externalId sw "x:")");
  EXPECT_EQ(asked("user.by_number", [&] { rows(okta_, own); }), 1);
  EXPECT_LT(rows(okta_, own + "&startIndex=41"), 80) << "the index, and two people";
  EXPECT_LT(rows(reader_, "/Users?groups=lab&count=2&startIndex=5"), 140) << "their ids";
}

TEST_F(Listings, FilteredPagesSkipNobodyWhateverIsWritten) {
  make_users(9);
  const std::string query = "/Users?count=3&filter=" + percent_encode(R"(userName sw "user")");
  const auto page = [this, &query](int start) {
    return get(query + "&startIndex=" + std::to_string(start));
  };
  EXPECT_EQ(page(1).listed("userName"), "user1 user2 user3");
  EXPECT_EQ(send(okta_, "DELETE", "/Users/" + ids_[0]).status, 204);
  EXPECT_EQ(send(okta_, "DELETE", "/Users/" + ids_[3]).status, 204);
  make_user("user10");
  const Answer second = page(4);
  EXPECT_EQ(second.listed("userName"), "user5 user6 user7");
  EXPECT_EQ(second.total(), 9) << "as many as there were";
  const Answer last = page(7);
  EXPECT_EQ(last.listed("userName"), "user8 user9 user10");
  EXPECT_EQ(last.total(), 9);
  EXPECT_EQ(page(1).total(), 8) << "a new walk";
  // Who joins behind the last page that was told is shown, and who leaves is not waited for.
  EXPECT_EQ(page(4).listed("userName"), "user6 user7 user8");
  for (const char* name : {"user11", "user12"}) make_user(name);
  const Answer more = page(7);
  EXPECT_EQ(more.listed("userName"), "user9 user10 user11");
  EXPECT_EQ(more.total(), 10) << "there is another page";
  EXPECT_EQ(page(10).listed("userName"), "user12");
  EXPECT_EQ(page(1).total(), 10);
  for (const std::size_t i : {5U, 6U, 7U, 8U}) {
    EXPECT_EQ(send(okta_, "DELETE", "/Users/" + ids_[i]).status, 204);
  }
  EXPECT_EQ(page(4).listed("userName"), "user10 user11 user12");
  EXPECT_EQ(page(4).total(), 6);
  // A walk that takes long is told anew how many there are.
  EXPECT_EQ(page(1).total(), 6);
  make_user("user13");
  make_user("user14");
  EXPECT_EQ(page(4).total(), 7);
  now_ += std::chrono::minutes(11);
  EXPECT_EQ(page(4).total(), 8);
}

TEST_F(Listings, FiltersFindUsers) {
  make_user("Ada", R"(,"externalId":"x-1","active":true,"emails":[{"value":"ada@a.org"}])");
  make_user("bob", R"(,"externalId":"x-2","active":false,"title":"boss")");
  make_user("eve");
  const std::string ada = filter("/Users", "userName eq \"ada\"")
                              .body.at("Resources")
                              .at(0)
                              .at("id")
                              .as_string()
                              .c_str();
  struct Row {
    const char* filter;
    const char* names;
  };
  const Row rows[] = {
      {R"(userName eq "ADA")", "Ada"},
      {R"(userName sw "b")", "bob"},
      {R"(userName eq "nobody")", ""},
      {R"(externalId eq "x-2")", "bob"},
      {R"(externalId eq "X-2")", ""},
      {R"(externalId eq x-2)", "bob"},
      {R"(externalId sw "x-")", "Ada bob"},
      {"active eq true", "Ada eve"},
      {"active eq false", "bob"},
      {R"(active eq "false")", "bob"},
      {R"(emails.value ew "a.org")", "Ada"},
      {"title pr", "bob"},
      {"not (title pr)", "Ada eve"},
      {R"(userName eq "ada" or userName eq "eve")", "Ada eve"},
      {R"(userName eq "ada" and active eq false)", ""},
      {COREWEAVE ":sunkPosixUserId eq 10001", "bob"},
      {COREWEAVE ":sunkPosixUsername eq \"eve\"", "eve"},
      {R"(meta.lastModified ge "2026-01-01T00:00:00Z")", "Ada bob eve"},
      {R"(meta.lastModified lt "2026-01-01T00:00:00Z")", ""},
      {R"(meta.created le "2027-01-01T00:00:00+01:00")", "Ada bob eve"},
      {R"(id eq "0")", ""},
  };
  for (const Row& row : rows) {
    const Answer answer = filter("/Users", row.filter);
    EXPECT_EQ(answer.status, 200) << row.filter;
    EXPECT_EQ(answer.listed("userName"), row.names) << row.filter;
    EXPECT_EQ(answer.total(),
              static_cast<std::int64_t>(answer.body.at("Resources").as_array().size()));
  }
  EXPECT_EQ(filter("/Users", "id eq \"" + ada + "\"").listed("userName"), "Ada");
  const Answer page = get("/Users?startIndex=2&count=1&filter=" + percent_encode("active eq true"));
  EXPECT_EQ(page.total(), 2);
  EXPECT_EQ(page.listed("userName"), "eve");
  expect_error(filter("/Users", "userName zz \"x\""), 400, "invalidFilter");
  expect_error(filter("/Users", "active gt true"), 400, "invalidFilter");
}

TEST_F(Listings, FiltersFindGroups) {
  make_users(2);
  const std::string a = make_group("Alpha", R"([{"value":")" + ids_[0] + "\"}]");
  make_group("Beta", R"([{"value":")" + ids_[0] + R"("},{"value":")" + ids_[1] + "\"}]");
  make_group("Gamma");
  struct Row {
    std::string filter;
    std::string names;
  };
  const Row rows[] = {
      {"displayName eq \"alpha\"", "Alpha"},
      {"displayName eq \"users\" or displayName eq \"Beta\"", "Beta"},
      {"members eq \"" + ids_[0] + "\"", "Alpha Beta"},
      {"members.value eq \"" + ids_[1] + "\"", "Beta"},
      {"id eq \"" + a + "\" and members eq \"" + ids_[0] + "\"", "Alpha"},
      {"id eq \"" + a + "\" and members eq \"" + ids_[1] + "\"", ""},
      {"id eq \"" + a + "\" and members[value eq \"" + ids_[0] + "\"]", "Alpha"},
      {"members eq \"" + ids_[0] + "\" and members eq \"" + ids_[1] + "\"", "Beta"},
      {"members pr", "Alpha Beta"},
      {"not (members pr)", "Gamma"},
      {"members[display eq \"user2\"]", "Beta"},
      {"members eq \"" + ids_[0] + "\" and members.display eq \"user2\"", "Beta"},
      {"members eq \"nobody\"", ""},
  };
  for (const Row& row : rows) {
    const Answer answer = filter("/Groups", row.filter);
    EXPECT_EQ(answer.listed("displayName"), row.names) << row.filter;
  }
  // The page shows the real members, not those of the filter.
  const Answer beta =
      filter("/Groups", "displayName eq \"beta\" and members eq \"" + ids_[0] + "\"");
  EXPECT_EQ(beta.body.at("Resources").at(0).at("members").as_array().size(), 2U);
  const Answer bare = get("/Groups?excludedAttributes=members&filter=" +
                          percent_encode("members eq \"" + ids_[0] + "\""));
  EXPECT_EQ(bare.total(), 2);
  EXPECT_EQ(json::serialize(bare.body).find("members"), std::string::npos);
}

TEST_F(Listings, AttributesAreHonouredEverywhere) {
  const std::string id =
      make_user("ada", R"(,"title":"x","emails":[{"value":"a@b","type":"work"}])");
  const Answer one = get("/Users/" + id + "?attributes=emails.value");
  EXPECT_EQ(one.body.at("emails"), parsed(R"([{"value":"a@b"}])"));
  EXPECT_EQ(one.id(), id);
  EXPECT_FALSE(one.body.contains("title"));
  EXPECT_FALSE(get("/Users/" + id + "?excludedAttributes=title").body.contains("title"));
  EXPECT_EQ(get("/Users?attributes=userName").body.at("Resources").at(0),
            parsed(R"({"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"id":")" + id +
                   R"(","userName":"ada"})"));
  EXPECT_FALSE(send(okta_, "POST", "/Users?attributes=title", R"({"userName":"b","title":"y"})")
                   .body.contains("userName"));
  expect_error(get("/Users?attributes=title&excludedAttributes=name"), 400, "invalidValue");
}

TEST_F(Listings, SearchIsAGetWithABody) {
  make_users(3);
  make_group("Alpha");
  const Answer users = post("/Users/.search", R"({
      "schemas":["urn:ietf:params:scim:api:messages:2.0:SearchRequest"],
      "attributes":["userName"],"filter":"userName sw \"USER\"","startIndex":2,"count":1})");
  EXPECT_EQ(users.status, 200);
  EXPECT_EQ(users.total(), 3);
  EXPECT_EQ(users.listed("userName"), "user2");
  EXPECT_FALSE(users.body.at("Resources").at(0).as_object().contains("meta"));
  const Answer all = post("/.search", R"({"filter":"id pr"})");
  EXPECT_EQ(all.total(), 4);
  EXPECT_EQ(all.listed("displayName"), "- - - Alpha");
  const Answer last = post("/.search", R"({"startIndex":3,"count":2})");
  EXPECT_EQ(last.total(), 4);
  EXPECT_EQ(last.listed("displayName"), "- Alpha");
  expect_error(post("/.search", "[]"), 400, "invalidSyntax");
  expect_error(post("/.search", R"({"filter":{"a":1}})"), 400, "invalidSyntax");
}

TEST_F(Listings, ReadersNarrowByGroupAndName) {
  make_users(3);
  make_group("Alpha Team", R"([{"value":")" + ids_[2] + R"("},{"value":")" + ids_[0] + "\"}]");
  make_group("Beta");
  EXPECT_EQ(send(reader_, "GET", "/Users?groups=alphateam,nosuch").listed("userName"),
            "user1 user3");
  EXPECT_EQ(
      send(reader_, "GET", "/Users?groups=ALPHA%20TEAM&count=1&startIndex=2").listed("userName"),
      "user3");
  EXPECT_EQ(send(reader_, "GET", "/Users?groups=nosuch").total(), 0);
  std::string many = "n0";
  for (int i = 1; i < 100; ++i) many += ",n" + std::to_string(i);
  EXPECT_EQ(send(reader_, "GET", "/Users?groups=" + many).total(), 0);
  for (const char* list : {"/Users?groups=", "/Groups?name="}) {
    expect_error(send(reader_, "GET", list + many + ",alphateam"), 400, "invalidValue", "100");
  }
  EXPECT_EQ(send(reader_, "GET", "/Groups?name=beta").listed("displayName"), "Beta");
  EXPECT_EQ(send(reader_, "GET",
                 "/Users?groups=alphateam&filter=" + percent_encode("userName eq \"user1\""))
                .listed("userName"),
            "user1");
}

TEST_F(Listings, UnchangedListsAreNotSentAgain) {
  make_users(2);
  const Answer first = get("/Users");
  const std::string tag(first.headers.get("ETag"));
  EXPECT_TRUE(tag.starts_with("W/\""));
  EXPECT_EQ(send(okta_, "GET", "/Users", "", {{"If-None-Match", tag}}).status, 304);
  make_user("third");
  EXPECT_EQ(send(okta_, "GET", "/Users", "", {{"If-None-Match", tag}}).status, 200);
}

TEST_F(Listings, FiltersThatReadTooMuchAreRefused) {
  restart({.public_url = "https://hub.example/", .allowed_hosts = {}, .scanned_rows_max = 1000});
  make_users(1001);
  EXPECT_EQ(get("/Users/" + ids_[0]).headers.get("Location"),
            "https://hub.example/api/organizations/acme/scim/v2/Users/" + ids_[0]);
  expect_error(filter("/Users", "title pr"), 400, "tooMany", "narrow it");
  EXPECT_EQ(filter("/Users", "userName eq \"user7\"").total(), 1);
  EXPECT_EQ(filter("/Users", "userName sw \"user99\" and not (title pr)").total(), 11);
  EXPECT_EQ(send(admin_, "GET", "/Users?filter=title%20pr").total(), 0);
  EXPECT_EQ(get("/Users?count=1000").total(), 1001) << "a list without filter is always answered";
}

TEST_F(Listings, ConditionsAreOnlyWhatAnIndexAnswers) {
  const auto count = [](const scim::ResourceType& type, std::string_view text) {
    return conditions_of(type, scim::Filter::parse(type, text).value()).size();
  };
  EXPECT_EQ(count(scim::user_type(), R"(userName eq "x" and externalId eq "y")"), 2U);
  EXPECT_EQ(count(scim::user_type(), R"(userName co "x" or userName eq "y")"), 0U);
  EXPECT_EQ(count(scim::user_type(), R"(userName eq null and userName ne "x")"), 0U);
  EXPECT_EQ(count(scim::user_type(), R"(displayName eq "x")"), 0U);
  EXPECT_EQ(count(scim::group_type(), R"(displayName sw "x" and members eq "y")"), 2U);
  EXPECT_EQ(count(scim::user_type(), COREWEAVE ":sunkPosixUserId eq 1.5"), 0U);
  EXPECT_EQ(count(scim::user_type(), COREWEAVE ":sunkPosixUserId eq 1e300"), 0U);
  EXPECT_EQ(count(scim::user_type(), COREWEAVE ":sunkPosixUserId eq 1e4"), 1U);
  EXPECT_EQ(count(scim::user_type(), R"(userName gt "x")"), 0U);
}

TEST(PageMemory, ForgetsWhatWasRememberedLongestAgo) {
  PageMemory memory(2);
  const Timestamp now = from_millis(1);
  const PageStart b{.last_id = "b", .count = Count{.total = 7, .at = now}, .at = now};
  const PageStart c{.last_id = "c", .count = {}, .at = now};
  const PageStart d{.last_id = "d", .count = {}, .at = now};
  memory.remember("q", 1, {.last_id = "a", .count = {}, .at = now});
  memory.remember("q", 2, c);
  memory.remember("q", 1, b);
  EXPECT_EQ(memory.find("q", 1, now), b);
  memory.remember("q", 3, d);
  EXPECT_EQ(memory.find("q", 2, now), std::nullopt);
  EXPECT_EQ(memory.find("q", 1, now), b) << "it was remembered again";
  EXPECT_EQ(memory.find("q", 3, now), d);
  EXPECT_EQ(memory.find("p", 3, now), std::nullopt);
  EXPECT_EQ(memory.find("q", 3, now + std::chrono::minutes(11)), std::nullopt);
}

}  // namespace
}  // namespace roster::provider
