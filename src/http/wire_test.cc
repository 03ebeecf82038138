#include "http/wire.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace roster::http {
namespace {

constexpr std::size_t kHeaderMax = 2048;

struct Parsed {
  int status = 0;  // 0 = accepted
  RequestHead head;
  std::string rest;
};

/// Feeds `text` in pieces, as a network would; the outcome must not depend on `piece_size`.
Parsed parse(std::string_view text, std::size_t piece_size, std::uint64_t body_max = 1 << 20) {
  RequestParser parser(kHeaderMax);
  Parsed result;
  std::string buffer;
  while (!parser.done()) {
    if (!buffer.empty()) {
      const auto used = parser.put(buffer);
      if (!used) {
        result.status = used.error().status;
        return result;
      }
      if (parser.head_done() && parser.body_bytes() == 0) parser.limit_body(body_max);
      buffer.erase(0, *used);
      if (*used > 0 && !buffer.empty()) continue;
      if (parser.done()) break;
    }
    if (text.empty()) {
      result.status = -1;  // wants more
      return result;
    }
    const std::size_t size = std::min(piece_size, text.size());
    buffer += text.substr(0, size);
    text.remove_prefix(size);
  }
  result.head = parser.take();
  result.rest = buffer + std::string(text);
  return result;
}

struct WireCase {
  const char* name;
  std::string text;
  int status;
};

const std::string kHost = "Host: x\r\n";

std::vector<WireCase> cases() {
  const std::string get = "GET / HTTP/1.1\r\n" + kHost;
  const std::string post = "POST / HTTP/1.1\r\n" + kHost;
  const std::string chunked = post + "Transfer-Encoding: chunked\r\n\r\n";
  return {
      {"plain", get + "\r\n", 0},
      {"leading empty line", "\r\n" + get + "\r\n", 0},
      {"absolute form", "GET http://y/p?q HTTP/1.1\r\n" + kHost + "\r\n", 0},
      {"length", post + "Content-Length: 3\r\n\r\nabc", 0},
      {"length 0", post + "Content-Length: 0\r\n\r\n", 0},
      {"HTTP/1.0 without host", "GET / HTTP/1.0\r\n\r\n", 0},
      {"chunked", chunked + "3\r\nabc\r\n0\r\n\r\n", 0},
      {"chunk extension", chunked + "3;a=b\r\nabc\r\n0\r\n\r\n", 0},
      {"trailers", chunked + "1\r\na\r\n0\r\nX: y\r\n\r\n", 0},
      {"incomplete head", get, -1},
      {"incomplete body", post + "Content-Length: 3\r\n\r\nab", -1},
      {"incomplete chunks", chunked + "3\r\nabc\r\n", -1},
      // Two parsers that disagree about these are how requests are smuggled.
      {"length and coding",
       post + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
      {"coding and length",
       post + "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400},
      {"two lengths", post + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400},
      {"two equal lengths", post + "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400},
      {"list of lengths", post + "Content-Length: 3, 3\r\n\r\nabc", 400},
      {"signed length", post + "Content-Length: +3\r\n\r\nabc", 400},
      {"negative length", post + "Content-Length: -1\r\n\r\n", 400},
      {"hexadecimal length", post + "Content-Length: 0x3\r\n\r\nabc", 400},
      {"empty length", post + "Content-Length: \r\n\r\n", 400},
      {"huge length", post + "Content-Length: 99999999999999999999\r\n\r\n", 400},
      {"coding twice",
       post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
      {"coding list", post + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501},
      {"unknown coding", post + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501},
      {"coding not last", post + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 501},
      {"identity", post + "Transfer-Encoding: identity\r\n\r\n", 501},
      {"chunked in HTTP/1.0",
       "POST / HTTP/1.0\r\n" + kHost + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
      {"space before colon", post + "Content-Length : 3\r\n\r\nabc", 400},
      {"folded field", get + "X: a\r\n b\r\n\r\n", 400},
      {"folded coding", post + "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", 400},
      {"field before the first", "GET / HTTP/1.1\r\n " + kHost + "\r\n", 400},
      {"bare LF", "GET / HTTP/1.1\nHost: x\n\n", 400},
      {"bare LF in a field", get + "X: a\nY: b\r\n\r\n", 400},
      {"bare CR", get + "X: a\rY: b\r\n\r\n", 400},
      {"NUL", get + "X: a" + std::string(1, '\0') + "\r\n\r\n", 400},
      {"control in a value", get + "X: a\x01\r\n\r\n", 400},
      {"no host", "GET / HTTP/1.1\r\n\r\n", 400},
      {"two hosts", "GET / HTTP/1.1\r\n" + kHost + kHost + "\r\n", 400},
      {"two hosts in HTTP/1.0", "GET / HTTP/1.0\r\n" + kHost + kHost + "\r\n", 400},
      {"bad host", "GET / HTTP/1.1\r\nHost: x/y\r\n\r\n", 400},
      {"host with user", "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400},
      {"no colon", get + "Xyz\r\n\r\n", 400},
      {"empty name", get + ": a\r\n\r\n", 400},
      {"name with brackets", get + "X(y): a\r\n\r\n", 400},
      {"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
      {"HTTP/0.9", "GET /\r\n\r\n", 400},
      {"HTTP/1.2", "GET / HTTP/1.2\r\n" + kHost + "\r\n", 505},
      {"TLS to a plain port", std::string("\x16\x03\x01\x02\x00\x01\x00", 7), 400},
      {"relative target", "GET foo HTTP/1.1\r\n" + kHost + "\r\n", 400},
      {"authority form", "CONNECT x:443 HTTP/1.1\r\n" + kHost + "\r\n", 400},
      {"asterisk for GET", "GET * HTTP/1.1\r\n" + kHost + "\r\n", 400},
      {"fragment", "GET /#a HTTP/1.1\r\n" + kHost + "\r\n", 400},
      {"two spaces", "GET  / HTTP/1.1\r\n" + kHost + "\r\n", 400},
      {"8-bit target", "GET /\xff HTTP/1.1\r\n" + kHost + "\r\n", 400},
      {"bad method", "G(T / HTTP/1.1\r\n" + kHost + "\r\n", 400},
      {"long head", get + "X: " + std::string(kHeaderMax, 'a') + "\r\n\r\n", 431},
      {"long head without end", get + "X: " + std::string(kHeaderMax, 'a'), 431},
      {"chunk size not a number", chunked + "x\r\n", 400},
      {"chunk size negative", chunked + "-1\r\n", 400},
      {"chunk size too big", chunked + "fffffffffffffffff\r\n", 400},
      {"chunk over the limit", chunked + "fffffffff\r\n", 413},
      {"chunk without CRLF", chunked + "1\r\nab\r\n0\r\n\r\n", 400},
      {"chunk with bare LF", chunked + "1\na\n0\n\n", 400},
      {"chunk extension without end", chunked + "1;" + std::string(3 * kHeaderMax, 'a'), 431},
      {"trailers without end", chunked + "0\r\nX: " + std::string(3 * kHeaderMax, 'a'), 431},
      {"length in a trailer", chunked + "0\r\nContent-Length: 3\r\n\r\n", 0},
  };
}

TEST(RequestParser, Table) {
  for (const WireCase& c : cases()) {
    for (const std::size_t piece : {std::size_t{1}, std::size_t{7}, std::size_t{1 << 20}}) {
      const Parsed parsed = parse(c.text, piece);
      EXPECT_EQ(parsed.status, c.status) << c.name << " in pieces of " << piece;
    }
  }
}

TEST(RequestParser, ManyFields) {
  std::string text = "GET / HTTP/1.1\r\n" + kHost;
  for (int i = 0; i < 100; ++i) text += "a: b\r\n";
  EXPECT_EQ(parse(text + "\r\n", 1 << 20).status, 431);
}

TEST(RequestParser, GivesTheParts) {
  const Parsed parsed = parse(
      "PATCH /scim/v2/Users/1?x=%20y HTTP/1.1\r\nHost: hub\r\nContent-Length: 2\r\n"
      "If-Match: W/\"1\"\r\nConnection: close\r\n\r\n{}GET",
      3);
  ASSERT_EQ(parsed.status, 0);
  EXPECT_EQ(parsed.head.request.method, "PATCH");
  EXPECT_EQ(parsed.head.request.path, "/scim/v2/Users/1");
  EXPECT_EQ(parsed.head.request.query, "x=%20y");
  EXPECT_EQ(parsed.head.request.headers.get("if-match"), "W/\"1\"");
  EXPECT_EQ(parsed.head.request.body, "{}");
  EXPECT_FALSE(parsed.head.keep_alive);
  EXPECT_EQ(parsed.rest, "GET") << "what follows belongs to the next request";
}

TEST(RequestParser, AbsoluteFormReplacesHost) {
  const Parsed parsed =
      parse("GET https://real.example:8443?q=1 HTTP/1.1\r\nHost: other\r\n\r\n", 1 << 20);
  ASSERT_EQ(parsed.status, 0);
  EXPECT_EQ(parsed.head.request.path, "/");
  EXPECT_EQ(parsed.head.request.query, "q=1");
  EXPECT_EQ(parsed.head.request.headers.get("Host"), "real.example:8443");
}

TEST(RequestParser, TrailersAreNotHeaders) {
  const Parsed parsed = parse(
      "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
      "3\r\nabc\r\n2\r\nde\r\n0\r\nAuthorization: Bearer stolen\r\nConnection: close\r\n\r\n",
      1 << 20);
  ASSERT_EQ(parsed.status, 0);
  EXPECT_EQ(parsed.head.request.body, "abcde");
  EXPECT_FALSE(parsed.head.request.headers.has("Authorization"));
  EXPECT_TRUE(parsed.head.keep_alive);
}

TEST(RequestParser, BodyLimitCountsChunksTogether) {
  const std::string head = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
  EXPECT_EQ(parse(head + "4\r\nabcd\r\n4\r\nabcd\r\n0\r\n\r\n", 1 << 20, 8).status, 0);
  EXPECT_EQ(parse(head + "4\r\nabcd\r\n5\r\nabcde\r\n0\r\n\r\n", 1 << 20, 8).status, 413);
}

TEST(ResponseParser, SkipsBodiesThatAreNotThere) {
  for (const char* text :
       {"HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"}) {
    ResponseParser parser(kHeaderMax, false);
    const auto used = parser.put(text);
    ASSERT_TRUE(used) << text;
    EXPECT_TRUE(parser.done()) << text;
  }
  ResponseParser head(kHeaderMax, true);
  ASSERT_TRUE(head.put("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"));
  EXPECT_TRUE(head.done());
}

TEST(ResponseParser, RefusesWhatItCannotFrame) {
  for (const char* text :
       {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n"
        "\r\n",
        "HTTP/1.1 20\r\n\r\n", "SSH-2.0-OpenSSH\r\n\r\n", "HTTP/1.1 200 OK\n\n"}) {
    ResponseParser parser(kHeaderMax, false);
    EXPECT_FALSE(parser.put(text)) << text;
  }
}

TEST(FieldSyntax, NoLineBreaksGetThrough) {
  EXPECT_TRUE(is_token("X-Request-Id"));
  EXPECT_FALSE(is_token(""));
  EXPECT_FALSE(is_token("a b"));
  EXPECT_FALSE(is_token("a:"));
  EXPECT_TRUE(is_field_value(""));
  EXPECT_TRUE(is_field_value("Bearer abc\tdef"));
  for (const char* text : {"a\r\nb", "a\n", "\ra", " a", "a ", "a\x7f", "a\x01"}) {
    EXPECT_FALSE(is_field_value(text)) << text;
  }
  EXPECT_EQ(status_phrase(404), "Not Found");
  EXPECT_EQ(status_phrase(599), "Status");
}

}  // namespace
}  // namespace roster::http
