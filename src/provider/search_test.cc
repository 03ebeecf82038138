#include "provider/search.h"

#include <algorithm>
#include <set>

#include "base/encoding.h"
#include "provider/testing.h"

namespace roster::provider {
namespace {

class Searches : public ScimTest {
 protected:
  void make_users(int count) {
    for (int i = 1; i <= count; ++i) {
      ids_.push_back(make_user("user" + std::to_string(i),
                               R"(,"title":")" + std::string(1, static_cast<char>('z' - i)) + '"'));
    }
  }
  Answer search(const std::string& endpoint, const std::string& fields) {
    return post(
        endpoint + "/.search",
        R"({"schemas":["urn:ietf:params:scim:api:messages:2.0:SearchRequest"])" + fields + "}");
  }
  /// The names on all pages of a query with `cursor=`; `between` is called behind each page.
  std::string walk(const std::string& target, const std::function<void()>& between = [] {}) {
    std::string names;
    std::string cursor;
    do {
      const Answer page = get(target + "&cursor=" + cursor);
      EXPECT_EQ(page.status, 200) << page.text("detail");
      if (page.status != 200) return names;
      const std::string listed = page.listed("userName");
      if (!names.empty() && !listed.empty()) names += ' ';
      names += listed;
      cursor = page.text("nextCursor");
      between();
    } while (!cursor.empty());
    return names;
  }
  std::vector<std::string> ids_;
};

constexpr const char* kNine = "user1 user2 user3 user4 user5 user6 user7 user8 user9";
constexpr const char* kEniN = "user9 user8 user7 user6 user5 user4 user3 user2 user1";

TEST_F(Searches, SortedPagesAreSlicesOfOneOrder) {
  make_users(9);
  EXPECT_EQ(get("/Users?sortBy=title").listed("userName"), kEniN);
  EXPECT_EQ(get("/Users?sortBy=title&sortOrder=descending").listed("userName"), kNine);
  EXPECT_EQ(get("/Users?sortBy=title&startIndex=4&count=3").listed("userName"),
            "user6 user5 user4");
  EXPECT_EQ(get("/Users?sortBy=title&startIndex=4&count=3").total(), 9);
  EXPECT_EQ(get("/Users?sortBy=title&startIndex=10").listed("userName"), "");
  EXPECT_EQ(get("/Users?sortBy=title&count=0").total(), 9);
  EXPECT_EQ(get("/Users?sortBy=nickName").listed("userName"), kNine) << "nobody has one";
  EXPECT_EQ(get("/Users?sortBy=title&filter=" + percent_encode("userName ne \"user5\"") +
                "&count=5&attributes=userName")
                .listed("userName"),
            "user9 user8 user7 user6 user4");
  expect_error(get("/Users?sortBy=nothing"), 400, "invalidPath", "nothing");
  expect_error(get("/Users?sortBy=name"), 400, "invalidPath");
  expect_error(get("/Users?sortBy=title&sortOrder=up"), 400, "invalidValue");
  expect_error(get("/Users?sortBy=title&startIndex=999999999&count=1"), 400, "tooMany", "cursor");
}

TEST_F(Searches, SearchesAtTheRootCoverBothTypes) {
  make_users(3);
  make_group("alpha");
  make_group("Omega");
  const Answer all = search("", R"(,"sortBy":"displayName","attributes":["displayName"])");
  EXPECT_EQ(all.total(), 5);
  EXPECT_EQ(all.listed("displayName"), "alpha Omega - - -");
  EXPECT_EQ(search("", R"(,"sortBy":"title","count":1)").listed("userName"), "user3");
  expect_error(search("", R"(,"sortBy":"nothing")"), 400, "invalidPath");
  EXPECT_EQ(search("/Groups", R"(,"filter":"displayName sw \"a\"")").listed("displayName"),
            "alpha");
  // Over the seam between the types.
  std::string names;
  std::string cursor;
  do {
    const Answer page = search("", R"(,"count":2,"cursor":")" + cursor + '"');
    ASSERT_EQ(page.status, 200) << page.text("detail");
    names += page.listed("userName") + "/";
    cursor = page.text("nextCursor");
  } while (!cursor.empty());
  EXPECT_EQ(names, "user1 user2/user3 -/-/");
}

TEST_F(Searches, CursorsShowEachResourceOnce) {
  make_users(9);
  for (const int count : {1, 2, 3, 4, 9, 100}) {
    const std::string pages = "/Users?count=" + std::to_string(count);
    EXPECT_EQ(walk(pages), kNine);
    EXPECT_EQ(walk(pages + "&filter=title%20pr"), kNine);
    EXPECT_EQ(walk(pages + "&sortBy=title"), kEniN);
    EXPECT_EQ(walk(pages + "&sortBy=title&sortOrder=descending"), kNine);
    EXPECT_EQ(walk(pages + "&sortBy=nickName"), kNine);
  }
  const Answer first = get("/Users?count=4&cursor");
  EXPECT_EQ(first.total(), 9);
  EXPECT_EQ(json::find_int(first.body, "itemsPerPage"), 4);
  EXPECT_FALSE(first.body.contains("startIndex"));
  EXPECT_TRUE(std::ranges::all_of(first.text("nextCursor"), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_';
  }));
  const Answer last = get("/Users?count=9&cursor=");
  EXPECT_FALSE(last.body.contains("nextCursor")) << "the last page says so";
  EXPECT_EQ(get("/Users?count=9&cursor=&filter=title%20pr").text("nextCursor"), "");
  const Answer totals = get("/Users?count=0&cursor=");
  EXPECT_EQ(totals.total(), 9);
  EXPECT_EQ(totals.text("nextCursor"), "");
  // A reader made for nsscache is always told numbers.
  const Answer shown = send(reader_, "GET", "/Users?count=4&cursor=");
  EXPECT_EQ(json::find_int(shown.body, "startIndex"), 1);
  const Answer next = send(reader_, "GET", "/Users?count=4&cursor=" + shown.text("nextCursor"));
  EXPECT_EQ(json::find_int(next.body, "startIndex"), 5);
  EXPECT_EQ(next.total(), 9);
  EXPECT_EQ(next.listed("userName"), "user5 user6 user7 user8");
}

// RFC 9865 leaves concurrent writes open; here a survivor is neither skipped nor repeated.
TEST_F(Searches, CursorsSurviveWritesBetweenPages) {
  make_users(9);
  int at = 0;
  const auto disturb = [this, &at] {
    if (at < 4) {
      EXPECT_EQ(send(okta_, "DELETE", "/Users/" + ids_[static_cast<std::size_t>(at)]).status, 204);
    }
    make_user("new" + std::to_string(++at), R"(,"title":"zzz")");
    if (at == 2) restart({.public_url = "https://hub.example", .allowed_hosts = {}});
    if (at == 8) at = 100;
  };
  const std::string names =
      walk("/Users?count=2&filter=" + percent_encode("userName sw \"u\""), disturb);
  EXPECT_EQ(names, kNine);
}

TEST_F(Searches, OnlyOnesOwnCursorsAreTaken) {
  make_users(3);
  const std::string query = "/Users?count=1&cursor=";
  const std::string cursor = get(query).text("nextCursor");
  ASSERT_FALSE(cursor.empty());
  EXPECT_EQ(get(query + cursor).listed("userName"), "user2");
  const std::string foreign = get(query + cursor).text("detail");
  struct Row {
    const std::string& bearer;
    std::string target;
  };
  std::string forged = cursor;
  forged[forged.size() / 2] = forged[forged.size() / 2] == 'A' ? 'B' : 'A';
  const Row rows[] = {{entra_, query + cursor},
                      {reader_, query + cursor},
                      {okta_, query + forged},
                      {okta_, query + cursor.substr(0, 20)},
                      {okta_, query + "x"},
                      {okta_, query + std::string(5000, 'A')},
                      {okta_, query + percent_encode("ä\n")},
                      {okta_, "/Groups?count=1&cursor=" + cursor},
                      {okta_, query + cursor + "&filter=title%20pr"},
                      {okta_, query + cursor + "&sortBy=title"},
                      {okta_, query + cursor + "&attributes=userName"}};
  std::set<std::string> details;
  for (const Row& row : rows) {
    const Answer answer = send(row.bearer, "GET", row.target);
    expect_error(answer, 400, "invalidCursor");
    details.insert(answer.text("detail"));
  }
  EXPECT_EQ(details.size(), 1U) << "the answer does not tell why";
  expect_error(get("/Users?count=2&cursor=" + cursor), 400, "invalidCount");
  expect_error(get("/Users?count=-1&cursor="), 400, "invalidCount");
  expect_error(get("/Users?count=x&cursor="), 400, "invalidCount");
  now_ += std::chrono::minutes(59);
  EXPECT_EQ(get(query + cursor).status, 200);
  now_ += std::chrono::minutes(2);
  expect_error(get(query + cursor), 400, "expiredCursor");
}

// A filter that no index answers: a page by cursor reads as far as it may and goes on from there.
TEST_F(Searches, CursorsGoOnWhereAFilterReadsTooMuch) {
  restart({.public_url = "https://hub.example", .allowed_hosts = {}, .scanned_rows_max = 1000});
  for (int i = 0; i < 1100; ++i) make_user("user" + std::to_string(i));
  make_user("rare", R"(,"title":"x")");
  expect_error(get("/Users?filter=title%20pr"), 400, "tooMany");
  const Answer first = get("/Users?filter=title%20pr&cursor=");
  EXPECT_EQ(first.status, 200) << first.text("detail");
  EXPECT_EQ(first.listed("userName"), "");
  EXPECT_FALSE(first.body.contains("totalResults")) << "nobody counted";
  const Answer next = get("/Users?filter=title%20pr&cursor=" + first.text("nextCursor"));
  EXPECT_EQ(next.listed("userName"), "rare");
  EXPECT_EQ(next.text("nextCursor"), "");
  expect_error(get("/Users?sortBy=title&cursor="), 400, "tooMany");
  expect_error(send(reader_, "GET", "/Users?filter=title%20pr&cursor="), 400, "tooMany");
}

}  // namespace
}  // namespace roster::provider
