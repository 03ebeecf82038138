#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "http/client.h"
#include "http/respond.h"
#include "http/testing/support.h"
#include "http/upstream.h"

namespace roster::http {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using testing::Authority;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::RawPeer;
using testing::RunningServer;
using testing::ScriptedServer;
using testing::status_of;
using testing::TempDirectory;

constexpr std::string_view kName = "slurmrestd of cluster lab";

std::shared_ptr<Upstream> upstream_at(const std::string& url,
                                      const std::function<void(UpstreamOptions&)>& adjust = {}) {
  UpstreamOptions options;
  options.name = kName;
  options.url = url;
  if (adjust) adjust(options);
  auto made = Upstream::create(std::move(options));
  CHECK(made.has_value());
  return *made;
}

using Adjust = std::function<void(ForwardBody&, const Request&)>;

/// Forwards method, path, query and body.
Handler forward_to(std::shared_ptr<Upstream> upstream, Adjust adjust = {}) {
  return [upstream = std::move(upstream), adjust = std::move(adjust)](const Request& request,
                                                                      Context& context) {
    context.route = "/slurm";
    ForwardBody forward;
    forward.upstream = upstream;
    forward.method = request.method;
    forward.target = request.path + (request.query.empty() ? "" : '?' + request.query);
    forward.body = request.body;
    if (adjust) adjust(forward, request);
    Response response;
    response.body = std::move(forward);
    return response;
  };
}

std::unique_ptr<Client> client_of(const RunningServer& server) {
  ClientOptions options;
  options.url = server.url();
  options.timeout = milliseconds(10'000);
  return *Client::create(std::move(options));
}

std::string get(const std::string& path = "/") {
  return "GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n";
}

std::string outcome_series(const std::string& outcome) {
  return R"(roster_http_forwards_total{outcome=")" + outcome + "\"}";
}

/// Ends of forwards as `done` told them.
class Ends {
 public:
  Adjust collect(Adjust adjust = {}) {
    return [this, adjust = std::move(adjust)](ForwardBody& forward, const Request& request) {
      if (adjust) adjust(forward, request);
      forward.done = [this](const ForwardOutcome& outcome) {
        const std::lock_guard lock(mutex_);
        ends_.push_back(outcome);
        changed_.notify_all();
      };
    };
  }
  ForwardOutcome next() {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(
        changed_.wait_for(lock, std::chrono::seconds(5), [this] { return !ends_.empty(); }));
    if (ends_.empty()) return {};
    const ForwardOutcome end = ends_.front();
    ends_.erase(ends_.begin());
    return end;
  }
  bool empty() {
    const std::lock_guard lock(mutex_);
    return ends_.empty();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<ForwardOutcome> ends_;
};

/// What the upstream saw, told back.
Response tell_back(const Request& request, Context&) {
  std::string text = request.method + ' ' + request.path + '?' + request.query + '\n';
  for (const auto& [name, value] : request.headers.all()) text += name + ": " + value + '\n';
  Response response = text_response(200, text + request.body);
  response.headers.set("Server", "slurmrestd/1");
  response.headers.set("Set-Cookie", "session=stolen");
  response.headers.set("Access-Control-Allow-Origin", "*");
  response.headers.set("Location", "http://localhost/internal");
  response.headers.set("X-Internal", "node17");
  response.headers.set("ETag", "\"7\"");
  return response;
}

TEST(Forward, TheUpstreamSeesWhatTheHandlerMadeAndNothingElse) {
  TempDirectory directory;
  const std::string unix_url = "unix:" + (directory / "rest.sock").string();
  for (const bool over_unix : {true, false}) {
    ServerOptions options;
    if (over_unix) options.listen = {unix_url};
    RunningServer upstream(tell_back, std::move(options));
    Ends ends;
    RunningServer gateway(forward_to(upstream_at(over_unix ? unix_url : upstream.url() + "/base"),
                                     ends.collect([](ForwardBody& forward, const Request&) {
                                       forward.headers.set("X-SLURM-USER-NAME", "alice");
                                     })));
    RawPeer peer(gateway.address());
    peer.send(
        "POST /jobs?a=b HTTP/1.1\r\nHost: hub\r\nCookie: hub=secret\r\nAuthorization: Bearer "
        "secret\r\nX-SLURM-USER-NAME: root\r\nContent-Length: 4\r\n\r\nbody");
    const std::string answer = peer.read_answer();
    EXPECT_THAT(answer, HasSubstr("HTTP/1.1 200 OK\r\n"));
    EXPECT_THAT(answer, HasSubstr(over_unix ? "POST /jobs?a=b\n" : "POST /base/jobs?a=b\n"));
    EXPECT_THAT(answer, HasSubstr("X-SLURM-USER-NAME: alice\nContent-Length: 4\nbody\n"));
    EXPECT_THAT(answer, Not(HasSubstr("root")));
    EXPECT_THAT(answer, Not(HasSubstr("secret")));
    for (const char* ours : {"slurmrestd/1", "stolen", "Access-Control", "Location", "node17"}) {
      EXPECT_THAT(answer, Not(HasSubstr(ours)));
    }
    EXPECT_THAT(answer, HasSubstr("ETag: \"7\"\r\n"));
    EXPECT_THAT(answer, HasSubstr("Content-Type: text/plain; charset=utf-8\r\n"));
    EXPECT_THAT(answer, HasSubstr("Content-Security-Policy: sandbox\r\n"));
    const ForwardOutcome end = ends.next();
    EXPECT_EQ(end.status, 200);
    EXPECT_EQ(end.upstream_status, 200);
    EXPECT_EQ(end.error, "");
    EXPECT_GT(end.body_bytes, 50U);
    EXPECT_EQ(gateway.metric(outcome_series("passed")), 1);
    EXPECT_TRUE(gateway.await_metric("roster_http_forwards", 0));
    EXPECT_EQ(gateway.metric("roster_http_forward_seconds_count"), 1);
    EXPECT_TRUE(gateway.await_metric(
        R"(roster_http_requests_total{code="200",method="POST",route="/slurm"})", 1));
  }
}

TEST(Forward, TheHandlersOwnHeadersGoBeforeTheUpstreams) {
  RunningServer upstream(tell_back);
  const Handler inner = forward_to(upstream_at(upstream.url()));
  RunningServer gateway([&inner](const Request& request, Context& context) {
    Response response = inner(request, context);
    response.headers.set("etag", "\"ours\"");
    response.headers.set("X-Cluster", "lab");
    return response;
  });
  const auto answer = client_of(gateway)->call({});
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->headers.get("ETag"), "\"ours\"");
  EXPECT_EQ(answer->headers.get("X-Cluster"), "lab");
}

/// "/length/N", "/chunks/N": so many bytes, with or without a length; "/status/N".
Response bodies(const Request& request, Context&) {
  const std::size_t slash = request.path.rfind('/');
  const std::size_t number = std::stoul(request.path.substr(slash + 1));
  Response response;
  if (request.path.starts_with("/status")) {
    response.status = static_cast<int>(number);
  } else if (request.path.starts_with("/length")) {
    response.body = std::string(number, 'l');
  } else {
    response.body = ChunksBody{[left = number]() mutable -> Result<std::string> {
      const std::size_t size = std::min<std::size_t>(left, 30'011);
      left -= size;
      return std::string(size, 'c');
    }};
  }
  return response;
}

/// Some 500 kB that differ for every seed, and from piece to piece.
std::string numbers(const std::string& seed) {
  std::string lines;
  for (int i = 0; i < 1'000; ++i) lines += seed + ' ' + std::to_string(i) + '\n';
  std::string text;
  for (int i = 0; i < 75; ++i) text += "part " + std::to_string(i) + '\n' + lines;
  return text;
}

/// "/length/SEED", "/chunks/SEED": numbers().
Response changing_body(const Request& request, Context&) {
  Response response;
  std::string text = numbers(request.path.substr(request.path.rfind('/') + 1));
  if (request.path.starts_with("/length")) {
    response.body = std::move(text);
  } else {
    response.body = ChunksBody{[text = std::move(text)]() mutable -> Result<std::string> {
      std::string piece = text.substr(0, 40'009);
      text.erase(0, piece.size());
      return piece;
    }};
  }
  return response;
}

TEST(Forward, BodiesOfAnySizeAndFraming) {
  RunningServer upstream(bodies);
  RunningServer gateway(forward_to(upstream_at(upstream.url())));
  const auto client = client_of(gateway);
  for (const std::size_t size : {0UL, 1UL, 32768UL, 65536UL, 65537UL, 9000001UL}) {
    for (const auto& [path, letter] : {std::pair{"/length/", 'l'}, std::pair{"/chunks/", 'c'}}) {
      const std::string target = path + std::to_string(size);
      const auto answer = client->call({.target = target});
      ASSERT_TRUE(answer) << target << ": " << answer.error().message;
      EXPECT_TRUE(answer->body == std::string(size, letter)) << target;
      // HTTP/1.0 has no chunks.
      RawPeer old(gateway.address());
      old.send("GET " + target + " HTTP/1.0\r\n\r\n");
      EXPECT_TRUE(old.read_to_end().ends_with("\r\n\r\n" + std::string(size, letter))) << target;
    }
  }
  EXPECT_EQ(upstream.metric("roster_http_connections"), 1) << "one after the other needs only one";
}

TEST(Forward, AnswersWithoutBodies) {
  RunningServer upstream(bodies);
  RunningServer gateway(
      forward_to(upstream_at(upstream.url()), [](ForwardBody& forward, const Request& request) {
        if (request.query == "get") forward.method = "GET";
      }));
  RawPeer peer(gateway.address());
  const auto ask = [&peer](const std::string& line) {
    peer.send(line + " HTTP/1.1\r\nHost: x\r\n\r\n");
    return peer.read_until("\r\n\r\n");
  };
  for (const char* status : {"204", "304"}) {
    const std::string answer = ask("GET /status/" + std::string(status));
    EXPECT_THAT(answer, HasSubstr("HTTP/1.1 " + std::string(status)));
    EXPECT_THAT(answer, Not(HasSubstr("Content-Length")));
    EXPECT_THAT(answer, Not(HasSubstr("Transfer-Encoding")));
  }
  EXPECT_THAT(ask("HEAD /length/77000"), HasSubstr("Content-Length: 77000\r\n"));
  EXPECT_THAT(ask("HEAD /chunks/77000"), HasSubstr("Transfer-Encoding: chunked\r\n"));
  // The handler may ask for more than the caller does.
  EXPECT_THAT(ask("HEAD /length/7?get"), HasSubstr("Content-Length: 7\r\n"));
  EXPECT_THAT(ask("HEAD /length/5000000?get"), HasSubstr("Content-Length: 5000000\r\n"));
  EXPECT_THAT(ask("GET /length/3"), HasSubstr("Content-Length: 3\r\n"));
}

TEST(Forward, LargeRequestsGoAsTheUpstreamTakesThem) {
  RunningServer upstream([](const Request& request, Context&) {
    return text_response(200, std::to_string(request.body.size()));
  });
  RunningServer gateway(forward_to(upstream_at(upstream.url())));
  const auto answer =
      client_of(gateway)->call({.method = "POST", .body = std::string(12'000'000, 'r')});
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->body, "12000000\n");
}

TEST(Forward, AnAnswerBeforeTheWholeRequestIsPassedOn) {
  ScriptedServer upstream([](int fd, int) {
    ScriptedServer::read_head(fd);
    ScriptedServer::say(fd, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nno\n");
    ::shutdown(fd, SHUT_WR);
    ScriptedServer::await_end(fd);
  });
  RunningServer gateway(forward_to(upstream_at(upstream.url())));
  const auto client = client_of(gateway);
  for (int i = 0; i < 2; ++i) {
    const auto answer = client->call({.method = "POST", .body = std::string(9'000'000, 'r')});
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(answer->status, 413);
    EXPECT_EQ(answer->body, "no\n");
  }
}

// ---- upstreams that are not there, or lie ----

struct BadAnswer {
  const char* name;
  std::string says;  // then closes
  int status;
  const char* outcome;
};

TEST(Forward, AnswersThatMakeNoSenseAre502) {
  const std::string ok = "HTTP/1.1 200 OK\r\n";
  std::string interims;
  for (int i = 0; i < 100; ++i) interims += "HTTP/1.1 102 Processing\r\n\r\n";
  std::string fields;
  for (int i = 0; i < 101; ++i) fields += "X-" + std::to_string(i) + ": a\r\n";
  const std::string chunked = ok + "Transfer-Encoding: chunked\r\n";
  const BadAnswer cases[] = {
      {"nothing", "", 502, "broken"},
      {"part of a head", "HTTP/1.1 200 OK\r\nContent-", 502, "broken"},
      {"body cut before the judge saw it", ok + "Content-Length: 5\r\n\r\nab", 502, "broken"},
      {"chunks cut", chunked + "\r\n5\r\nab", 502, "broken"},
      {"not HTTP", "SSH-2.0-OpenSSH_9\r\n\r\n", 502, "bad_answer"},
      {"another version", "HTTP/2.0 200 OK\r\n\r\n", 502, "bad_answer"},
      {"a status beyond", "HTTP/1.1 999 Huh\r\nContent-Length: 0\r\n\r\n", 502, "bad_answer"},
      {"switched protocols", "HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", 502, "bad_answer"},
      {"interim answers without end", interims, 502, "bad_answer"},
      {"endless header", ok + "X: " + std::string(200'000, 'a'), 502, "bad_answer"},
      {"too many fields", ok + fields + "\r\n", 502, "bad_answer"},
      {"two lengths", ok + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", 502, "bad_answer"},
      {"length and chunks", chunked + "Content-Length: 1\r\n\r\n0\r\n\r\n", 502, "bad_answer"},
      {"unknown coding", ok + "Transfer-Encoding: gzip, chunked\r\n\r\n", 502, "bad_answer"},
      {"folded line", ok + "X: a\r\n b\r\nContent-Length: 0\r\n\r\n", 502, "bad_answer"},
      {"bare line feeds", "HTTP/1.1 200 OK\nContent-Length: 0\n\n", 502, "bad_answer"},
      {"carriage return in a value", ok + "X: a\rSet-Cookie: b\r\n\r\n", 502, "bad_answer"},
      {"space before the colon", ok + "Content-Length : 0\r\n\r\n", 502, "bad_answer"},
      {"bad chunk size", chunked + "\r\nxyz\r\n", 502, "bad_answer"},
      {"announces too much", ok + "Content-Length: 1001\r\n\r\n", 502, "too_large"},
      {"brings too much", chunked + "\r\n3ea\r\n" + std::string(1002, 'c'), 502, "too_large"},
      {"good, to be sure", ok + "Content-Length: 2\r\n\r\nok", 200, "passed"},
      {"ends with the connection", ok + "\r\nok", 200, "passed"},
  };
  for (const BadAnswer& bad : cases) {
    ScriptedServer upstream([&bad](int fd, int) {
      ScriptedServer::read_head(fd);
      ScriptedServer::say(fd, bad.says);
    });
    ServerOptions options;
    options.refusal = [](std::string_view path, int status, std::string_view sentence) {
      return text_response(status, "refused " + std::string(path) + ": " + std::string(sentence));
    };
    Ends ends;
    RunningServer gateway(forward_to(upstream_at(upstream.url()),
                                     ends.collect([](ForwardBody& forward, const Request&) {
                                       forward.answer_bytes_max = 1000;
                                       forward.judge = [](int, Headers headers, auto) {
                                         return Verdict{std::move(headers), std::nullopt};
                                       };
                                     })),
                          std::move(options));
    RawPeer peer(gateway.address());
    peer.send(get("/slurm/x"));
    const std::string answer = peer.read_answer();
    EXPECT_EQ(status_of(answer), bad.status) << bad.name << ": " << answer;
    const ForwardOutcome end = ends.next();
    EXPECT_EQ(gateway.metric(outcome_series(bad.outcome)), 1) << bad.name;
    EXPECT_EQ(end.status, bad.status) << bad.name;
    EXPECT_EQ(end.error.empty(), bad.status == 200) << bad.name;
    EXPECT_THAT(answer, Not(HasSubstr("Set-Cookie"))) << bad.name;
    if (bad.status == 200) continue;
    EXPECT_THAT(answer, HasSubstr("refused /slurm/x: " + std::string(kName))) << bad.name;
    EXPECT_THAT(answer, Not(HasSubstr(upstream.url().substr(7)))) << bad.name;
    // The caller's connection is not to blame.
    peer.send(get());
    EXPECT_NE(status_of(peer.read_answer()), 0) << bad.name;
  }
}

TEST(Forward, NobodyThereIs502) {
  TempDirectory directory;
  std::string gone;
  {
    RunningServer server(tell_back);
    gone = server.url();
  }
  for (const std::string& url : {gone, "unix:" + (directory / "none.sock").string(),
                                 std::string("https://host.invalid/base")}) {
    Ends ends;
    RunningServer gateway(forward_to(upstream_at(url), ends.collect()));
    const auto answer = client_of(gateway)->call({.method = "POST"});
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(answer->status, 502);
    EXPECT_EQ(answer->body, std::string(kName) + " cannot be reached.\n");
    const ForwardOutcome end = ends.next();
    EXPECT_THAT(end.error, HasSubstr("connect "));
    EXPECT_EQ(end.upstream_status, 0);
    EXPECT_EQ(gateway.metric(outcome_series("unreachable")), 1);
  }
}

// A socket whose backlog is full gives EAGAIN, which poll(2) cannot wait for.
TEST(Forward, AFullBacklogIsWaitedForUntilTheConnectTimeout) {
  TempDirectory directory;
  const std::string path = (directory / "full.sock").string();
  Listener listener = *Listener::open("unix:" + path, 0600);
  ASSERT_EQ(::listen(listener.fd(), 0), 0);
  RawPeer first("unix:" + path);
  milliseconds patience{50};
  RunningServer gateway(forward_to(
      upstream_at("unix:" + path),
      [&patience](ForwardBody& forward, const Request&) { forward.connect_timeout = patience; }));
  EXPECT_EQ(client_of(gateway)->call({})->status, 504);
  patience = milliseconds(5'000);
  RawPeer peer(gateway.address());
  peer.send(get());
  ASSERT_TRUE(gateway.await_metric("roster_http_forwards", 1));
  const UniqueFd one(::accept(listener.fd(), nullptr, nullptr));
  pollfd waited{listener.fd(), POLLIN, 0};
  ASSERT_EQ(::poll(&waited, 1, 5'000), 1);
  const UniqueFd two(::accept(listener.fd(), nullptr, nullptr));
  ScriptedServer::read_head(two.get());
  ScriptedServer::say(two.get(), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  EXPECT_EQ(status_of(peer.read_answer()), 200);
}

TEST(Forward, TimeoutsOfEachKindAre504OrABrokenBody) {
  const std::string head = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n";
  struct Case {
    const char* name;
    std::string says;
    bool trickles;
    int status;
  };
  for (const Case& c : {Case{"thinks for ever", "", false, 504},
                        Case{"trickles its head", "HTTP/1.1 200 OK\r\nX: ", true, 504},
                        Case{"stops in the body", head + "abc", false, 200},
                        Case{"trickles its body", head, true, 200}}) {
    ScriptedServer upstream([&c](int fd, int) {
      ScriptedServer::read_head(fd);
      ScriptedServer::say(fd, c.says);
      ::fcntl(fd, F_SETFL, O_NONBLOCK);
      char ignored = 0;
      pollfd waited{fd, POLLIN, 0};
      // Until we are given up on.
      for (int i = 0; i < 90 && ::poll(&waited, 1, 30) == 0; ++i) {
        if (c.trickles) ScriptedServer::say(fd, "a");
      }
      EXPECT_LE(::recv(fd, &ignored, 1, 0), 0) << c.name;
    });
    Ends ends;
    RunningServer gateway(forward_to(upstream_at(upstream.url()),
                                     ends.collect([](ForwardBody& forward, const Request&) {
                                       forward.answer_timeout = milliseconds(150);
                                       forward.progress_timeout = milliseconds(150);
                                       forward.total_timeout = milliseconds(400);
                                     })));
    const auto start = steady_clock::now();
    const auto answer = client_of(gateway)->call({});
    EXPECT_LT(steady_clock::now() - start, milliseconds(2'500)) << c.name;
    if (c.status == 504) {
      ASSERT_TRUE(answer) << c.name;
      EXPECT_EQ(answer->status, 504) << c.name;
      EXPECT_EQ(answer->body, std::string(kName) + " did not answer in time.\n");
    } else {
      EXPECT_FALSE(answer) << c.name;
    }
    const ForwardOutcome end = ends.next();
    EXPECT_EQ(end.status, c.status) << c.name;
    EXPECT_NE(end.error, "") << c.name;
    EXPECT_EQ(gateway.metric(outcome_series("timeout")), 1) << c.name;
  }
}

// An upstream that dies in the middle: the caller must not take the part for the whole.
TEST(Forward, ACutBodyNeverLooksWhole) {
  const std::string piece(100'000, 'p');
  const std::string length = "Content-Length: 300000\r\n\r\n" + piece;
  const std::string chunks =
      "Transfer-Encoding: chunked\r\n\r\n186a0\r\n" + piece + "\r\n186a0\r\n";
  for (const std::string& says : {length, chunks, chunks + piece + "\r\nxyz\r\n"}) {
    ScriptedServer upstream([&says](int fd, int) {
      ScriptedServer::read_head(fd);
      ScriptedServer::say(fd, "HTTP/1.1 200 OK\r\n" + says);
    });
    Ends ends;
    RunningServer gateway(forward_to(upstream_at(upstream.url()), ends.collect()));
    EXPECT_FALSE(client_of(gateway)->call({}));
    EXPECT_EQ(ends.next().status, 200);
    // HTTP/1.0: the end of the connection would be the end of the body, so it must be a reset.
    RawPeer old(gateway.address());
    old.send("GET / HTTP/1.0\r\n\r\n");
    ssize_t got = 0;
    std::array<char, 65536> buffer;
    while ((got = ::recv(old.fd(), buffer.data(), buffer.size(), 0)) > 0) {
    }
    EXPECT_TRUE(says == length || got < 0) << "a clean end";
    const ForwardOutcome end = ends.next();
    EXPECT_THAT(end.error, HasSubstr(says.ends_with("xyz\r\n") ? "malformed" : "cut short"));
    EXPECT_EQ(end.upstream_status, 200);
  }
}

// ---- connections ----

TEST(Forward, ADeadIdleConnectionIsReplacedOnceAndOnlyForIdempotentMethods) {
  // Answers one request on each connection, takes another one and dies without a word.
  std::atomic<int> connections = 0;
  std::atomic<int> requests = 0;
  ScriptedServer upstream([&connections, &requests](int fd, int) {
    ++connections;
    for (int i = 0; i < 2; ++i) {
      if (ScriptedServer::read_head(fd).empty()) return;
      ++requests;
      if (i == 0) ScriptedServer::say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    }
  });
  RunningServer gateway(forward_to(upstream_at(upstream.url())));
  const auto client = client_of(gateway);
  EXPECT_EQ(client->call({})->status, 200);
  EXPECT_EQ(client->call({})->status, 200) << "asked again on a new connection";
  EXPECT_EQ(connections, 2);
  EXPECT_EQ(requests, 3);
  EXPECT_EQ(client->call({.method = "POST"})->status, 502) << "it may have been carried out";
  EXPECT_EQ(connections, 2);
  EXPECT_EQ(requests, 4);
}

TEST(Forward, AConnectionThatIsKnownToBeDeadIsNotUsed) {
  std::atomic<int> connections = 0;
  ScriptedServer upstream([&connections](int fd, int connection) {
    ScriptedServer::read_head(fd);
    ++connections;
    // The first one says more than the answer: what comes is not the answer to the next request.
    ScriptedServer::say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    if (connection == 0)
      ScriptedServer::say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
  });
  RunningServer gateway(forward_to(upstream_at(upstream.url())));
  const auto client = client_of(gateway);
  for (int i = 0; i < 4; ++i) {
    // The first request's connection may be looked at before its end has arrived.
    const auto answer = client->call({});
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->status, 200);
    EXPECT_EQ(answer->body, "ok");
  }
  EXPECT_EQ(connections, 4);
}

/// Four callers at the same time, some requests each.
void ask_much(const RunningServer& gateway) {
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([&gateway] {
      const auto client = client_of(gateway);
      for (int k = 0; k < 5; ++k) EXPECT_EQ(client->call({.target = "/length/10"})->status, 200);
    });
  }
  for (std::thread& caller : callers) caller.join();
}

TEST(Forward, IdleConnectionsAreFewAndEndWithTheUpstream) {
  RunningServer upstream(bodies);
  {
    RunningServer gateway(forward_to(
        upstream_at(upstream.url(), [](UpstreamOptions& options) { options.idle_max = 1; })));
    ask_much(gateway);
    EXPECT_TRUE(upstream.await_metric("roster_http_connections", 1));
  }
  EXPECT_TRUE(upstream.await_metric("roster_http_connections", 0));
}

TEST(Forward, IdleConnectionsTimeOut) {
  RunningServer upstream(bodies);
  const auto shared = upstream_at(
      upstream.url(), [](UpstreamOptions& options) { options.idle_timeout = milliseconds(60); });
  for (int round = 0; round < 2; ++round) {
    RunningServer gateway(forward_to(shared));
    ask_much(gateway);
    EXPECT_TRUE(upstream.await_metric("roster_http_connections", 0));
    // The next server takes over what this one leaves idle.
    EXPECT_EQ(client_of(gateway)->call({.target = "/length/10"})->status, 200);
  }
}

TEST(Forward, MoreAtOnceThanTheUpstreamMayHaveAre503) {
  ScriptedServer upstream([](int fd, int) { ScriptedServer::await_end(fd); });
  RunningServer gateway(forward_to(
      upstream_at(upstream.url(), [](UpstreamOptions& options) { options.forwards_max = 1; })));
  RawPeer first(gateway.address());
  first.send(get());
  ASSERT_TRUE(gateway.await_metric("roster_http_forwards", 1));
  const auto second = client_of(gateway)->call({});
  ASSERT_TRUE(second);
  EXPECT_EQ(second->status, 503);
  EXPECT_EQ(second->headers.get("Retry-After"), "1");
  EXPECT_TRUE(gateway.await_metric(outcome_series("busy"), 1));
  first.close();
  EXPECT_TRUE(gateway.await_metric("roster_http_forwards", 0)) << "the place is free again";
}

TEST(Forward, NoThreadIsHeldWhileTheUpstreamThinks) {
  TempDirectory directory;
  const std::string url = "unix:" + (directory / "slow.sock").string();
  ServerOptions upstream_options;
  upstream_options.listen = {url};
  std::atomic<bool> ready = false;
  RunningServer upstream(
      [&ready](const Request&, Context&) {
        Response response = text_response(200, "thought");
        if (!ready) response.body = WaitBody{"ready", 0, milliseconds(10'000)};
        return response;
      },
      std::move(upstream_options));
  const Handler forwarding = forward_to(upstream_at(url));
  ServerOptions options;
  options.workers = 1;
  RunningServer gateway(
      [&forwarding](const Request& request, Context& context) {
        return request.path == "/own" ? text_response(200, "own") : forwarding(request, context);
      },
      std::move(options));
  std::vector<RawPeer> peers;
  for (int i = 0; i < 20; ++i) {
    peers.emplace_back(gateway.address());
    peers.back().send(get("/think") + get("/own"));
  }
  ASSERT_TRUE(upstream.await_metric("roster_http_parked", 20));
  EXPECT_EQ(gateway.metric("roster_http_forwards"), 20);
  EXPECT_EQ(client_of(gateway)->call({.target = "/own"})->body, "own\n");
  ready = true;
  upstream->notify("ready", 1);
  for (RawPeer& peer : peers) {
    EXPECT_THAT(peer.read_until("thought\n"), HasSubstr("200 OK"));
    EXPECT_THAT(peer.read_until("own\n"), HasSubstr("200 OK")) << "what was sent ahead";
  }
}

// ---- the caller ----

TEST(Forward, ACallerThatGoesAwayEndsTheUpstreamsWork) {
  const std::string beginning = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nxyz";
  for (const std::string& says : {std::string(), beginning}) {
    std::atomic<bool> ended = false;
    ScriptedServer upstream([&says, &ended](int fd, int) {
      ScriptedServer::read_head(fd);
      ScriptedServer::say(fd, says);
      ScriptedServer::await_end(fd);
      ended = true;
    });
    Ends ends;
    RunningServer gateway(forward_to(upstream_at(upstream.url()), ends.collect()));
    RawPeer peer(gateway.address());
    peer.send(get());
    ASSERT_TRUE(gateway.await_metric("roster_http_forwards", 1));
    if (!says.empty()) peer.read_until("xyz");
    EXPECT_FALSE(ended);
    peer.close();
    EXPECT_EQ(ends.next().error, "the caller went away");
    EXPECT_TRUE(gateway.await_metric(outcome_series("caller_gone"), 1));
    const auto start = steady_clock::now();
    while (!ended && steady_clock::now() - start < milliseconds(3'000)) std::this_thread::yield();
    EXPECT_TRUE(ended);
  }
}

TEST(Forward, ASlowCallerIsNotReadAheadFor) {
  constexpr std::size_t kSize = 50'000'000;
  std::atomic<std::size_t> given = 0;
  ScriptedServer upstream([&given](int fd, int) {
    ScriptedServer::read_head(fd);
    ScriptedServer::say(fd,
                        "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(kSize) + "\r\n\r\n");
    const std::string piece(100'000, 's');
    while (given < kSize) {
      ScriptedServer::say(fd, piece);
      given += piece.size();
    }
  });
  RunningServer gateway(forward_to(upstream_at(upstream.url())));
  RawPeer slow(gateway.address());
  const int small = 4096;
  ::setsockopt(slow.fd(), SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
  slow.send(get());
  slow.read_until("\r\n\r\n");
  // Until nothing moves any more: buffers of sockets only.
  std::size_t before = 1;
  while (before != given) {
    before = given;
    std::this_thread::sleep_for(milliseconds(100));
  }
  EXPECT_LT(given, kSize / 2);
  slow.close();
  EXPECT_TRUE(gateway.await_metric("roster_http_forwards", 0));
}

// A caller may send further requests ahead, even more than are read while the first one waits.
TEST(Forward, WhatACallerSendsAheadIsAnsweredAfterwards) {
  RunningServer upstream(
      [](const Request& request, Context&) { return text_response(200, "seen " + request.path); });
  RunningServer gateway(forward_to(upstream_at(upstream.url())));
  RawPeer peer(gateway.address());
  std::string requests;
  for (int i = 0; i < 60; ++i) {
    requests += "GET /" + std::to_string(i) +
                " HTTP/1.1\r\nHost: x\r\nX: " + std::string(1000, 'a') + "\r\n\r\n";
  }
  peer.send(requests);
  for (int i = 0; i < 60; ++i) {
    const std::string last = "seen /" + std::to_string(i) + "\n";
    EXPECT_THAT(peer.read_until(last), HasSubstr(last));
  }
}

// ---- the judge ----

TEST(Forward, TheJudgeMayReplaceTheAnswerOrChangeItsHeaders) {
  RunningServer upstream([](const Request& request, Context& context) {
    if (request.path.starts_with("/length") || request.path.starts_with("/chunks")) {
      return bodies(request, context);
    }
    return text_response(200, R"({"errors":["no such user"]})");
  });
  Ends ends;
  RunningServer gateway(forward_to(
      upstream_at(upstream.url()), ends.collect([](ForwardBody& forward, const Request& request) {
        forward.judge_bytes_max = 1000;
        forward.judge = [path = request.path](int status, Headers headers,
                                              std::optional<std::string_view> body) -> Verdict {
          if (path == "/throws") throw std::runtime_error("secret detail");
          if (path == "/waits") {
            Response wait;
            wait.body = WaitBody{};
            return {.instead = wait};
          }
          if (body && body->contains("errors")) {
            return {.instead = text_response(404, "no such user")};
          }
          headers.set("X-Judged", std::to_string(status) + ' ' +
                                      (body ? std::to_string(body->size()) : "too long"));
          return {.headers = std::move(headers)};
        };
      })));
  const auto client = client_of(gateway);
  const auto replaced = client->call({.target = "/x"});
  ASSERT_TRUE(replaced);
  EXPECT_EQ(replaced->status, 404);
  EXPECT_EQ(replaced->body, "no such user\n");
  const ForwardOutcome end = ends.next();
  EXPECT_EQ(end.status, 404);
  EXPECT_EQ(end.upstream_status, 200);
  EXPECT_EQ(end.error, "");
  EXPECT_EQ(gateway.metric(outcome_series("judged")), 1);
  for (const char* kind : {"/length/", "/chunks/"}) {
    for (const auto& [size, seen] : {std::pair{0, "200 0"},
                                     {1000, "200 1000"},
                                     {1001, "200 too long"},
                                     {3'000'000, "200 too long"}}) {
      const auto passed = client->call({.target = kind + std::to_string(size)});
      ASSERT_TRUE(passed) << passed.error().message;
      EXPECT_EQ(passed->headers.get("X-Judged"), seen) << kind;
      EXPECT_EQ(passed->body.size(), static_cast<std::size_t>(size)) << kind;
    }
  }
  EXPECT_EQ(client->call({.target = "/throws"})->status, 500);
  EXPECT_THAT(client->call({.target = "/throws"})->body, Not(HasSubstr("secret")));
  EXPECT_EQ(client->call({.target = "/waits"})->status, 500);
}

TEST(Forward, RequestsThatCannotBeSentAre500) {
  RunningServer upstream(tell_back);
  for (const Adjust& adjust : std::initializer_list<Adjust>{
           [](ForwardBody& forward, const Request&) { forward.target = "/a b"; },
           [](ForwardBody& forward, const Request&) { forward.method = "G T"; },
           [](ForwardBody& forward, const Request&) { forward.headers.set("X", "a\r\nY: b"); },
           [](ForwardBody& forward, const Request&) { forward.headers.set("Connection", "x"); },
           [](ForwardBody& forward, const Request&) {
             forward.headers.set("Transfer-Encoding", "chunked");
           }}) {
    RunningServer gateway(forward_to(upstream_at(upstream.url()), adjust));
    EXPECT_EQ(client_of(gateway)->call({})->status, 500);
  }
  EXPECT_EQ(upstream.metric("roster_http_connections"), 0);
}

// ---- TLS ----

TEST(Forward, OverTlsTheUpstreamMustBeWhoItSaysItIs) {
  TempDirectory directory;
  Authority authority("good");
  Authority other("other");
  const auto issued = authority.issue("DNS:localhost,IP:127.0.0.1");
  testing::write_text(directory / "cert.pem", issued.chain_pem);
  testing::write_text(directory / "key.pem", issued.key_pem);
  ServerOptions options;
  options.tls = TlsFiles{directory / "cert.pem", directory / "key.pem"};
  RunningServer upstream(bodies, std::move(options));
  const std::string address = upstream.address();
  for (const std::string& host : {std::string("127.0.0.1"), std::string("localhost")}) {
    const std::string url = "https://" + host + address.substr(address.rfind(':'));
    RunningServer trusting(forward_to(upstream_at(
        url, [&authority](UpstreamOptions& trust) { trust.ca_pem = authority.pem(); })));
    const auto client = client_of(trusting);
    for (int i = 0; i < 3; ++i) {
      const auto answer = client->call({.target = "/length/3000000"});
      ASSERT_TRUE(answer) << answer.error().message;
      EXPECT_EQ(answer->body.size(), 3'000'000U);
    }
    EXPECT_EQ(upstream.metric("roster_http_connections"), 1);
    Ends ends;
    RunningServer wary(forward_to(
        upstream_at(url, [&other](UpstreamOptions& trust) { trust.ca_pem = other.pem(); }),
        ends.collect()));
    EXPECT_EQ(client_of(wary)->call({})->status, 502);
    EXPECT_THAT(ends.next().error, HasSubstr("TLS with " + host));
  }
}

// What TLS began to send must come again as it was, although it came from a buffer that others use.
TEST(Forward, CallersOverTlsWhoReadSlowly) {
  TempDirectory directory;
  Authority authority("hub");
  const auto issued = authority.issue("IP:127.0.0.1");
  testing::write_text(directory / "cert.pem", issued.chain_pem);
  testing::write_text(directory / "key.pem", issued.key_pem);
  RunningServer upstream(changing_body);
  ServerOptions options;
  options.tls = TlsFiles{directory / "cert.pem", directory / "key.pem"};
  RunningServer gateway(forward_to(upstream_at(upstream.url())), std::move(options));
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([&gateway, &authority, i] {
      ClientOptions trust;
      trust.url = "https://" + gateway.address();
      trust.ca_pem = authority.pem();
      const auto client = *Client::create(std::move(trust));
      const std::string seed = std::to_string(i);
      std::string got;
      const auto answer = client->call({.target = (i % 2 == 0 ? "/length/" : "/chunks/") + seed,
                                        .sink = [&got](std::string_view piece) -> Result<void> {
                                          if (got.size() % 7 == 0)
                                            std::this_thread::sleep_for(milliseconds(1));
                                          got.append(piece);
                                          return {};
                                        }});
      EXPECT_TRUE(answer.has_value());
      EXPECT_TRUE(got == numbers(seed)) << got.size();
    });
  }
  for (std::thread& caller : callers) caller.join();
}

// Everything at once: nothing gets mixed up, hangs, is told twice or stays behind.
TEST(Forward, ManyCallersOfEveryKind) {
  RunningServer upstream(changing_body, [] {
    ServerOptions options;
    options.io_threads = 2;
    return options;
  }());
  std::atomic<int> begun = 0;
  std::atomic<int> ended = 0;
  {
    ServerOptions options;
    options.io_threads = 2;
    RunningServer gateway(forward_to(upstream_at(upstream.url()),
                                     [&begun, &ended](ForwardBody& forward, const Request&) {
                                       ++begun;
                                       forward.done = [&ended](const ForwardOutcome&) { ++ended; };
                                       forward.judge = [](int, Headers headers, auto) {
                                         return Verdict{std::move(headers), std::nullopt};
                                       };
                                     }),
                          std::move(options));
    std::vector<std::thread> callers;
    for (int i = 0; i < 6; ++i) {
      callers.emplace_back([&gateway, i] {
        const auto client = client_of(gateway);
        for (int k = 0; k < 8; ++k) {
          const std::string seed = std::to_string(100 * i + k);
          const bool length = (i + k) % 2 == 0;
          const std::string target = (length ? "/length/" : "/chunks/") + seed;
          if (k % 4 == 3) {  // one that goes away
            RawPeer hasty(gateway.address());
            hasty.send(get(target));
            if (length) hasty.read_until("\r\n\r\n");
            continue;
          }
          const auto answer =
              client->call({.method = k % 3 == 0 ? "POST" : "GET", .target = target});
          ASSERT_TRUE(answer) << answer.error().message;
          EXPECT_TRUE(answer->body == numbers(seed)) << target;
        }
      });
    }
    for (std::thread& caller : callers) caller.join();
    EXPECT_TRUE(gateway.await_metric("roster_http_forwards", 0));
  }
  EXPECT_EQ(ended, begun);
}

TEST(Upstream, BadOptionsAreFoundAtOnce) {
  for (const auto& [url, ca] : {std::pair{"http://192.0.2.1", ""},
                                {"http://hub.example.org", ""},
                                {"ftp://localhost", ""},
                                {"unix:relative", ""},
                                {"https://localhost", "no PEM"}}) {
    UpstreamOptions options;
    options.url = url;
    options.ca_pem = ca;
    const auto made = Upstream::create(options);
    ASSERT_FALSE(made) << url;
    EXPECT_EQ(made.error().code, Code::kInvalidArgument) << url;
  }
}

// ---- stopping ----

TEST(Forward, StoppingLetsWhatHasBegunEndAndCutsTheRestAfterTheGrace) {
  for (const bool answers : {true, false}) {
    std::atomic<bool> go_on = false;
    ScriptedServer upstream([&go_on, answers](int fd, int) {
      ScriptedServer::read_head(fd);
      ScriptedServer::say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nxyz");
      while (!go_on) std::this_thread::yield();
      if (answers) ScriptedServer::say(fd, "uvw");
      ScriptedServer::await_end(fd);
    });
    Ends ends;
    auto gateway =
        std::make_unique<RunningServer>(forward_to(upstream_at(upstream.url()), ends.collect()));
    RawPeer peer(gateway->address());
    peer.send(get());
    peer.read_until("xyz");
    std::thread stopper([&gateway, answers] {
      gateway->server->stop(answers ? milliseconds(5'000) : milliseconds(50));
    });
    go_on = true;
    const std::string rest = peer.read_to_end();
    stopper.join();
    gateway.reset();
    EXPECT_EQ(rest, answers ? "uvw" : "");
    const ForwardOutcome end = ends.next();
    EXPECT_EQ(end.error.empty(), answers) << end.error;
    EXPECT_TRUE(ends.empty()) << "told once";
  }
}

}  // namespace
}  // namespace roster::http
