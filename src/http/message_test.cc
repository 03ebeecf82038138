#include "http/message.h"

#include <gtest/gtest.h>

#include "http/client.h"
#include "http/respond.h"

namespace roster::http {
namespace {

TEST(Headers, NamesCompareWithoutCaseAndSetReplacesAll) {
  Headers headers;
  headers.add("Link", "a");
  headers.add("LINK", "b");
  headers.add("ETag", "x");
  EXPECT_EQ(headers.get("link"), "a");
  EXPECT_EQ(headers.all().size(), 3U);
  headers.set("link", "c");
  EXPECT_EQ(headers.get("Link"), "c");
  EXPECT_EQ(headers.all().size(), 2U);
  EXPECT_FALSE(headers.has("Location"));
  EXPECT_EQ(headers.get("Location"), "");
}

TEST(Query, DecodesNamesAndValues) {
  const auto query = Query::parse("filter=userName%20eq+%22a%2Bb%40x.org%22&count=10&flag&&x=");
  ASSERT_TRUE(query);
  EXPECT_EQ(query->get("filter"), "userName eq \"a+b@x.org\"");
  EXPECT_EQ(query->get("count"), "10");
  EXPECT_EQ(query->get("flag"), "");
  EXPECT_EQ(query->get("x"), "");
  EXPECT_EQ(query->get("Count"), std::nullopt);
  EXPECT_EQ(query->all().size(), 4U);
}

TEST(Query, RefusesWhatIsNotText) {
  for (const char* text : {"a=%", "a=%4", "a=%zz", "a=%00", "%00=a", "a=%ff", "a=%c3%28"}) {
    EXPECT_FALSE(Query::parse(text)) << text;
  }
  std::string many;
  for (int i = 0; i < 100; ++i) many += "a=1&";
  EXPECT_TRUE(Query::parse(many));
  EXPECT_FALSE(Query::parse(many + "a=1"));
}

struct UrlCase {
  const char* text;
  const char* scheme;
  const char* host;
  const char* port;
  const char* path;
};

TEST(Url, Accepted) {
  for (const UrlCase& c : {
           UrlCase{"https://hub.example.org", "https", "hub.example.org", "443", ""},
           UrlCase{"HTTPS://Hub.Example.ORG:8443/Base/", "https", "hub.example.org", "8443",
                   "/Base"},
           UrlCase{"http://127.0.0.1:80/", "http", "127.0.0.1", "80", ""},
           UrlCase{"https://[::1]:8443/a/b", "https", "::1", "8443", "/a/b"},
           UrlCase{"unix:/run/roster/hub.sock", "unix", "", "", "/run/roster/hub.sock"},
       }) {
    const auto url = Url::parse(c.text);
    ASSERT_TRUE(url) << c.text << ": " << url.error().message;
    EXPECT_EQ(url->scheme, c.scheme) << c.text;
    EXPECT_EQ(url->host, c.host) << c.text;
    EXPECT_EQ(url->port, c.port) << c.text;
    EXPECT_EQ(url->path, c.path) << c.text;
  }
}

TEST(Url, Refused) {
  for (const char* text : {"",
                           "hub.example.org",
                           "ftp://x",
                           "https:/x",
                           "https://",
                           "https://:443",
                           "https://x:0",
                           "https://x:65536",
                           "https://x:1x",
                           "https://x:",
                           "https://u:p@x",
                           "https://x/?q",
                           "https://x/#f",
                           "https://x y",
                           "https://[::1",
                           "https://[::1]x",
                           "https://[zz]",
                           "unix:",
                           "unix:relative",
                           "https://x/\r\nHost: y",
                           "https://x\\y",
                           "https://ex\xc3\xa4mple.org"}) {
    EXPECT_FALSE(Url::parse(text)) << text;
  }
}

TEST(Respond, TextAndJson) {
  const Response text = text_response(404, "Not here.");
  EXPECT_EQ(text.status, 404);
  EXPECT_EQ(std::get<std::string>(text.body), "Not here.\n");
  const Response scim = json_response(200, json::object{{"a", 1}}, "application/scim+json");
  EXPECT_EQ(scim.headers.get("content-type"), "application/scim+json");
  EXPECT_EQ(std::get<std::string>(scim.body), "{\"a\":1}");
}

TEST(RetryAfter, IsSecondsOrADate) {
  using std::chrono::seconds;
  const Timestamp now = *parse_date("Sun, 06 Nov 1994 08:49:37 GMT");
  EXPECT_EQ(parse_retry_after("7", now), seconds(7));
  EXPECT_EQ(parse_retry_after("0", now), seconds(0));
  EXPECT_EQ(parse_retry_after("4294967295", now), seconds(86'400));
  EXPECT_EQ(parse_retry_after("Sun, 06 Nov 1994 08:50:07 GMT", now), seconds(30));
  EXPECT_EQ(parse_retry_after("Sun, 06 Nov 1994 08:00:00 GMT", now), seconds(0));
  EXPECT_EQ(parse_retry_after("Sun, 06 Nov 2094 08:00:00 GMT", now), seconds(86'400));
  for (const char* text : {"", "-1", "1.5", "soon", "4294967296", " 7"}) {
    EXPECT_EQ(parse_retry_after(text, now), std::nullopt) << text;
  }
}

TEST(Message, DatesAreTheOneFormThatSendersUse) {
  EXPECT_EQ(parse_date("Sun, 06 Nov 1994 08:49:37 GMT"), from_millis(784111777000));
  for (const char* text :
       {"", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nov 1994 08:49:37 GMT ", "1994-11-06T08:49:37Z",
        "Sunday, 06-Nov-94 08:49:37 GMT", "Thu, 01 Jan 1960 00:00:00 GMT"}) {
    EXPECT_EQ(parse_date(text), std::nullopt) << text;
  }
  EXPECT_EQ(parse_date(std::string_view("Sun, 06 Nov 1994 08:49:37 GMT\0x", 31)), std::nullopt);
}

}  // namespace
}  // namespace roster::http
