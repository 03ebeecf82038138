#include <algorithm>
#include <functional>

#include "base/encoding.h"
#include "directory/testing/crowd.h"
#include "provider/testing.h"

// Lists as readers on clusters ask for them: whole, and of people who may log in.
namespace roster::provider {
namespace {

class ReaderLists : public ScimTest {
 protected:
  ReaderLists() {
    directory::Directory::TokenRequest request;
    request.name = "nsscache";
    request.scope = directory::Scope::kRead;
    request.org = acme_;
    request.active_only = true;
    active_ = directory_->create_token(hub_, request).value().secret.expose();
  }
  static std::string member(const std::string& id) { return R"({"value":")" + id + "\"}"; }
  static std::string filter(const std::string& text) { return "filter=" + percent_encode(text); }
  std::string names(const std::string& bearer, const std::string& target) {
    const Answer answer = send(bearer, "GET", target);
    EXPECT_EQ(answer.status, 200) << target << ": " << answer.text("detail");
    if (answer.status != 200) return answer.text("detail");
    EXPECT_GE(answer.total(), std::ssize(answer.body.at("Resources").as_array()));
    return answer.listed(target.starts_with("/Users") ? "userName" : "displayName");
  }
  /// All pages as nsscache asks for them: by startIndex + itemsPerPage until totalResults.
  std::string walk(
      const std::string& bearer, const std::string& target, std::int64_t total,
      const std::function<void()>& between = [] {}) {
    const std::string attribute = target.starts_with("/Users") ? "userName" : "displayName";
    std::string out;
    std::int64_t start = 1;
    while (true) {
      const Answer page = send(bearer, "GET", target + "startIndex=" + std::to_string(start));
      EXPECT_EQ(page.status, 200) << page.text("detail");
      if (page.status != 200) return out;
      EXPECT_EQ(page.total(), total) << target << start;
      const std::int64_t items = json::find_int(page.body, "itemsPerPage").value();
      if (items == 0) return out;
      out += page.listed(attribute) + "/";
      start += items;
      if (start > total) return out;
      between();
    }
  }
  std::string walk_by_cursor(const std::string& bearer, const std::string& target) {
    const std::string attribute = target.starts_with("/Users") ? "userName" : "displayName";
    std::string out;
    std::string cursor;
    do {
      const Answer page = send(bearer, "GET", target + "cursor=" + cursor);
      EXPECT_EQ(page.status, 200) << page.text("detail");
      if (page.status != 200) return out;
      out += page.listed(attribute) + "/";
      cursor = page.text("nextCursor");
    } while (!cursor.empty());
    return out;
  }
  std::string active_;  // a token for readers that do not look at `active`
};

// A narrowed list took the members that the filter asks for from the index that it did not use.
TEST_F(ReaderLists, NamedGroupsAreFilteredByTheirRealMembers) {
  const std::string ada = make_user("ada");
  const std::string bob = make_user("bob");
  make_group("one", "[" + member(ada) + "]");
  make_group("two", "[" + member(bob) + "]");
  for (const char* form :
       {"members eq \"%\"", "members.value eq \"%\"", "members[value eq \"%\"]"}) {
    std::string text = form;
    text.replace(text.find('%'), 1, ada);
    EXPECT_EQ(names(reader_, "/Groups?name=one,two&" + filter(text)), "one") << text;
    EXPECT_EQ(names(reader_, "/Groups?" + filter(text)), "one") << text;
  }
}

TEST_F(ReaderLists, NarrowingIsForReaders) {
  make_user("ada");
  make_group("one");
  make_group("two");
  EXPECT_EQ(names(reader_, "/Groups?name=two"), "two");
  EXPECT_EQ(names(reader_, "/Users?groups=two"), "");
  EXPECT_EQ(names(okta_, "/Groups?name=two"), "one two") << "an unknown parameter";
  EXPECT_EQ(names(okta_, "/Users?groups=two"), "ada");
}

// Who may log in was a condition that no index answers: a plain list was refused, or read in full
// for each page.
TEST_F(ReaderLists, PeopleWhoMayLogInAreListedWholly) {
  restart({.public_url = "https://hub.example", .allowed_hosts = {}, .scanned_rows_max = 2});
  std::vector<std::string> ids;
  for (int i = 0; i < 10; ++i) {
    ids.push_back(make_user("u" + std::to_string(i), i % 3 == 1 ? R"(,"active":false)" : ""));
  }
  const auto until = [this, &ids](std::size_t user, std::chrono::hours hours) {
    ASSERT_TRUE(directory_->set_valid_until(hub_, acme_, ids[user], now_ + hours));
  };
  until(0, std::chrono::hours(1));
  until(1, std::chrono::hours(1));  // inactive too: not to be counted off twice
  until(2, std::chrono::hours(3));
  EXPECT_EQ(walk(active_, "/Users?count=3&", 7), "u0 u2 u3/u5 u6 u8/u9/");
  now_ += std::chrono::hours(1);
  for (const std::string& bearer : {active_, reader_, okta_}) {
    const std::string all = bearer == active_ ? "/Users?" : "/Users?excludeInactiveUsers=true&";
    EXPECT_EQ(walk(bearer, all + "count=1&", 6), "u2/u3/u5/u6/u8/u9/");
    EXPECT_EQ(walk(bearer, all + "count=4&", 6), "u2 u3 u5 u6/u8 u9/");
    EXPECT_EQ(walk(bearer, all + "count=6&", 6), "u2 u3 u5 u6 u8 u9/");
    EXPECT_EQ(walk_by_cursor(bearer, all + "count=2&"), "u2 u3/u5 u6/u8 u9/");
    EXPECT_EQ(walk_by_cursor(bearer, all + "count=4&"), "u2 u3 u5 u6/u8 u9/");
    EXPECT_EQ(send(bearer, "GET", all + "cursor=&count=2").total(), 6);
    EXPECT_EQ(send(bearer, "GET", all + "count=0").total(), 6);
    // Without the page before it.
    EXPECT_EQ(names(bearer, all + "startIndex=3&count=2"), "u5 u6");
    EXPECT_EQ(names(bearer, all + "startIndex=7"), "");
  }
  EXPECT_EQ(send(reader_, "GET", "/Users?count=4").total(), 10)
      << "places among all are not those among some";
  EXPECT_EQ(names(reader_, "/Users?startIndex=5&count=2"), "u4 u5");
  // The memory of pages holds here too.
  EXPECT_EQ(names(active_, "/Users?count=2"), "u2 u3");
  patch("/Users/" + ids[2], R"([{"op":"replace","path":"active","value":false}])");
  EXPECT_EQ(names(active_, "/Users?count=2&startIndex=3"), "u5 u6");
  expect_error(send(active_, "GET", "/Users?filter=title%20pr"), 400, "tooMany");
}

// One request read everybody who is left out, with their documents, until its page was full.
TEST_F(ReaderLists, ManyWhoMayNotLogInAreNotAllReadForOnePage) {
  const auto settings = [](std::int64_t rows_max) {
    return ScimOptions{
        .public_url = "https://hub.example", .allowed_hosts = {}, .scanned_rows_max = rows_max};
  };
  make_user("ada");
  directory::testing::add_crowd(*database_, acme_, make_user("bob"), 50'000, false);
  make_user("eve");
  make_user("kim");
  make_group("lab");
  const auto rows = [this](const std::string& target) {
    const std::int64_t before = rows_read_;
    EXPECT_EQ(send(active_, "GET", target).status, 200);
    return rows_read_ - before;
  };
  restart(settings(20'000));
  EXPECT_EQ(walk(active_, "/Users?count=3&", 4), "ada bob/eve kim/");
  EXPECT_EQ(walk(active_, "/Users?", 4), "ada bob/eve kim/");
  EXPECT_EQ(walk_by_cursor(active_, "/Users?count=3&"), "ada bob//eve kim/");
  EXPECT_EQ(walk_by_cursor(okta_, "/Users?excludeInactiveUsers=true&count=1&"),
            "ada/bob//eve/kim/");
  EXPECT_LT(rows("/Users?count=3&cursor="), 20'100);
  EXPECT_EQ(asked("user.by_number", [&] { names(active_, "/Users?startIndex=3&count=3"); }), 1);
  EXPECT_EQ(asked("user.after", [&] { walk(active_, "/Users?count=3&", 4); }), 0);
  // What comes behind them is not on the page in front of them.
  const Answer both = send(active_, "POST", "/.search?count=10", R"({"count":10})");
  EXPECT_EQ(both.total(), 5);
  EXPECT_EQ(both.listed("userName"), "ada bob");
  EXPECT_EQ(send(active_, "POST", "/.search", R"({"startIndex":3})").listed("displayName"),
            "- - lab");
  // An empty page is the end to who reads by index.
  restart(settings(1000));
  EXPECT_EQ(names(active_, "/Users?count=2"), "ada bob");
  expect_error(send(active_, "GET", "/Users?count=2&startIndex=3"), 400, "tooMany", "cursor");
  std::string pages = walk_by_cursor(active_, "/Users?");
  EXPECT_GT(std::ranges::count(pages, '/'), 50);
  std::erase(pages, '/');
  EXPECT_EQ(pages, "ada bobeve kim");
}

// nsscache asks on until it was given as many as the total says, at the same place after an empty
// page.
TEST_F(ReaderLists, AListEndsWhoeverIsLetInAgain) {
  std::vector<std::string> ids;
  for (int i = 0; i < 6; ++i) {
    ids.push_back(make_user("u" + std::to_string(i), i < 2 ? R"(,"active":false)" : ""));
  }
  EXPECT_EQ(names(active_, "/Users?count=2"), "u2 u3");
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (i == 2 || i == 3) continue;
    patch("/Users/" + ids[i], R"([{"op":"replace","path":"active","value":)" +
                                  std::string(i < 2 ? "true" : "false") + "}]");
  }
  const Answer last = send(active_, "GET", "/Users?count=2&startIndex=3");
  EXPECT_EQ(last.listed("userName"), "");
  EXPECT_EQ(last.total(), 2);
  EXPECT_EQ(walk(active_, "/Users?count=3&", 4), "u0 u1 u2/u3/");
}

// What a reader is shown of nested groups can be a thousand times what is stored.
TEST_F(ReaderLists, APageEndsBehindManyMembers) {
  restart({.public_url = "https://hub.example", .allowed_hosts = {}, .page_members_max = 5});
  std::string people;
  for (int i = 0; i < 3; ++i) {
    people += (i > 0 ? "," : "") + member(make_user("u" + std::to_string(i)));
  }
  std::string inner = make_group("g0", "[" + people + "]");
  for (int i = 1; i < 6; ++i) {
    inner = make_group("g" + std::to_string(i), "[" + member(inner) + "]");
  }
  make_group("empty");
  EXPECT_EQ(walk(reader_, "/Groups?", 7), "g0 g1/g2 g3/g4 g5/empty/");
  EXPECT_EQ(walk(reader_, "/Groups?excludedAttributes=members&", 7), "g0 g1 g2 g3 g4 g5 empty/");
  EXPECT_EQ(walk(okta_, "/Groups?", 7), "g0 g1 g2/g3 g4 g5 empty/") << "direct members";
  EXPECT_EQ(walk(reader_, "/Groups?count=3&", 7), "g0 g1/g2 g3/g4 g5/empty/");
  const std::string some = filter("displayName sw \"g\"") + "&";
  EXPECT_EQ(walk(reader_, "/Groups?" + some, 6), "g0 g1/g2 g3/g4 g5/");
  const std::string judged = filter("members.display eq \"u1\"") + "&";
  EXPECT_EQ(walk(reader_, "/Groups?" + judged, 6), "g0 g1/g2 g3/g4 g5/");
  EXPECT_EQ(walk(reader_, "/Groups?sortBy=displayName&", 7), "empty g0 g1/g2 g3/g4 g5/");
  EXPECT_EQ(walk_by_cursor(reader_, "/Groups?"), "g0 g1/g2 g3/g4 g5/empty/");
  EXPECT_EQ(walk_by_cursor(reader_, "/Groups?" + some), "g0 g1/g2 g3/g4 g5/");
  EXPECT_EQ(walk_by_cursor(reader_, "/Groups?" + judged), "g0 g1/g2 g3/g4 g5/");
  EXPECT_EQ(walk_by_cursor(reader_, "/Groups?sortBy=displayName&"), "empty g0 g1/g2 g3/g4 g5/");
  EXPECT_EQ(walk_by_cursor(reader_, "/Groups?count=2&sortBy=displayName&"),
            "empty g0/g1 g2/g3 g4/g5/");
  restart({.public_url = "https://hub.example", .allowed_hosts = {}, .page_members_max = 1});
  EXPECT_EQ(walk(reader_, "/Groups?count=2&", 7), "g0/g1/g2/g3/g4/g5/empty/");
}

// An attribute that is not shown must not be found either.
TEST_F(ReaderLists, FiltersAndSortsSeeTheMembersThatAreShown) {
  const std::string ada = make_user("ada");
  const std::string bob = make_user("bob", R"(,"active":false)");
  const std::string inner = make_group("b-inner", "[" + member(bob) + "," + member(ada) + "]");
  make_group("c-outer", "[" + member(inner) + "]");
  make_group("a-left", "[" + member(bob) + "]");
  struct Row {
    std::string filter;
    std::string shown;   // to a reader
    std::string active;  // of people who may log in
  };
  const Row rows[] = {
      {"members eq \"" + ada + '"', "b-inner c-outer", "b-inner c-outer"},
      {"members eq \"" + ada + "\" or displayName eq \"x\"", "b-inner c-outer", "b-inner c-outer"},
      {"members eq \"" + bob + '"', "b-inner c-outer a-left", ""},
      {"members eq \"" + bob + "\" and members eq \"" + ada + '"', "b-inner c-outer", ""},
      {"members eq \"" + bob + "\" or displayName eq \"x\"", "b-inner c-outer a-left", ""},
      {"members eq \"" + inner + '"', "", ""},
      {"members.type eq \"Group\"", "", ""},
      {"members.display sw \"bo\"", "b-inner c-outer a-left", ""},
      {"members.display eq \"ada\"", "b-inner c-outer", "b-inner c-outer"},
      {"displayName sw \"a\" and members pr", "a-left", ""},
      {"displayName sw \"c\" and members eq \"" + ada + '"', "c-outer", "c-outer"},
      {"displayName sw \"c\" and members eq \"" + bob + '"', "c-outer", ""},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(names(reader_, "/Groups?" + filter(row.filter)), row.shown) << row.filter;
    EXPECT_EQ(names(active_, "/Groups?" + filter(row.filter)), row.active) << row.filter;
    EXPECT_EQ(names(active_, "/Groups?name=b-inner,c-outer,a-left&" + filter(row.filter)),
              row.active)
        << row.filter;
  }
  EXPECT_EQ(names(okta_,
                  "/Groups?excludeInactiveUsers=true&" + filter("members.value eq \"" + bob + '"')),
            "");
  EXPECT_EQ(names(okta_, "/Groups?" + filter("members eq \"" + inner + '"')), "c-outer");
  EXPECT_EQ(names(reader_, "/Groups?sortBy=members.display"), "b-inner c-outer a-left");
  EXPECT_EQ(names(reader_, "/Groups?sortBy=members.display&sortOrder=descending"),
            "a-left b-inner c-outer");
  EXPECT_EQ(names(active_, "/Groups?sortBy=members.display&sortOrder=descending"),
            "a-left b-inner c-outer")
      << "nobody is left in the first";
}

// Candidates were found, sorted and thrown away for each page of 1,000, and matches read twice.
TEST_F(ReaderLists, AFilterReadsOnce) {
  for (int i = 0; i < 1200; ++i) make_user("user" + std::to_string(i));
  make_group("lab");
  const std::string many = "/Users?count=1&" + filter("userName sw \"u\"");
  const std::string last = "/Users?" + filter("userName sw \"user119\"");
  for (const std::string& bearer : {reader_, okta_}) {
    EXPECT_EQ(
        asked("user.find_key_prefix", [&] { EXPECT_EQ(send(bearer, "GET", many).total(), 1200); }),
        1);
    EXPECT_EQ(asked("user.by_id", [&] { EXPECT_EQ(send(bearer, "GET", last).total(), 11); }), 0);
  }
  EXPECT_EQ(asked("user.by_number", [&] { names(reader_, last); }), 1);
  EXPECT_EQ(asked("user.groups_of", [&] { names(reader_, last); }), 1) << "of all together";
  EXPECT_EQ(asked("user.by_number", [&] { names(reader_, many); }), 3)
      << "what only a few of the candidates need is not loaded for all";
  EXPECT_EQ(asked("user.by_number", [&] { names(reader_, last + "&attributes=userName"); }), 1);
  EXPECT_EQ(asked("user.after", [&] { names(okta_, last); }), 0);
  EXPECT_EQ(
      asked("group.by", [&] { names(reader_, "/Groups?" + filter("displayName eq \"lab\"")); }), 2)
      << "one more for the members that the filter does not look at";
  // That it would be too much is known before all is read.
  restart({.public_url = "https://hub.example", .allowed_hosts = {}, .scanned_rows_max = 1100});
  for (const char* text : {"title pr", R"(meta.created gt "2020-01-01T00:00:00Z")"}) {
    EXPECT_EQ(
        asked("user.after",
              [&] { expect_error(send(okta_, "GET", "/Users?" + filter(text)), 400, "tooMany"); }),
        0);
  }
}

// What readers are shown of one resource depends on others.
TEST_F(ReaderLists, ResourcesThatLookOtherwiseAreSentAgain) {
  const std::string ada = make_user("ada");
  const std::string lab = make_group("lab", "[" + member(ada) + "]");
  const std::string user = "/Users/" + ada + "?attributes=" COREWEAVE;
  const std::string group = "/Groups/" + lab;
  const auto tag = [this](const std::string& path) {
    return std::string(send(reader_, "GET", path).headers.get("ETag"));
  };
  const auto status = [this](const std::string& path, const std::string& known) {
    return send(reader_, "GET", path, "", {{"If-None-Match", known}}).status;
  };
  const std::string of_user = tag(user);
  const std::string of_group = tag(group);
  EXPECT_EQ(status(user, of_user), 304);
  EXPECT_EQ(status(group, of_group), 304);
  directory::OrgSettings settings = directory_->find_org("acme").value().settings;
  settings.default_shell = "/bin/zsh";
  ASSERT_TRUE(
      directory_->update_org_settings(hub_, acme_, [&settings](const directory::OrgSettings&) {
        return Result<directory::OrgSettings>(settings);
      }));
  EXPECT_EQ(status(user, of_user), 200);
  const std::string before_renaming = tag(group);
  patch("/Users/" + ada, R"([{"op":"replace","path":"userName","value":"countess"}])");
  EXPECT_EQ(status(group, before_renaming), 200);
  // Those who write need versions.
  EXPECT_EQ(get("/Users/" + ada).headers.get("ETag"), "W/\"2\"");
  EXPECT_EQ(get(group).headers.get("ETag"), "W/\"1\"");
}

TEST_F(ReaderLists, FiltersSeeTheExtensionsAmongTheSchemas) {
  make_user("ada");
  make_user("bob", ",\"" ENTERPRISE R"(":{"department":"x"})");
  make_group("lab");
  for (const std::string& bearer : {okta_, reader_}) {
    EXPECT_EQ(names(bearer, "/Users?" + filter("schemas eq \"" COREWEAVE "\"")), "ada bob");
    EXPECT_EQ(names(bearer, "/Users?" + filter("schemas eq \"" ENTERPRISE "\"")), "bob");
    EXPECT_EQ(names(bearer, "/Users?" + filter("schemas co \"core:2.0:User\"")), "ada bob");
  }
  EXPECT_EQ(names(okta_, "/Groups?" + filter("schemas co \"posix\"")), "lab");
  EXPECT_EQ(names(reader_, "/Groups?" + filter("schemas co \"posix\"")), "") << "flat there";
  // Keys alone make the extension of who has no POSIX identity.
  ASSERT_TRUE(directory_->update_org_settings(hub_, acme_, [](directory::OrgSettings settings) {
    settings.user_provisioning = false;
    return Result<directory::OrgSettings>(std::move(settings));
  }));
  make_user("eve");
  make_user("kay", std::string(",\"" COREWEAVE "\":{\"sunkSshKeys\":[\"") + kKeyA + "\"]}");
  EXPECT_EQ(names(okta_, "/Users?" + filter("schemas eq \"" COREWEAVE "\"")), "ada bob kay");
}

}  // namespace
}  // namespace roster::provider
