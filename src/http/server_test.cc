#include "http/server.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <fstream>
#include <mutex>
#include <thread>

#include "http/client.h"
#include "http/respond.h"
#include "http/router.h"
#include "http/socket.h"
#include "http/testing/support.h"

namespace roster::http {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::RawPeer;
using testing::RunningServer;
using testing::status_of;
using testing::TempDirectory;

Response echo(const Request& request, Context& context) {
  context.route = "/echo";
  return text_response(
      200, request.method + ' ' + request.path + ' ' + request.query + ' ' + request.body);
}

const std::string kGet = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

TEST(Server, AnswersWithItsOwnHeaders) {
  ServerOptions options;
  options.clock = [] { return from_millis(1'763'712'000'000); };
  RunningServer server(echo, std::move(options));
  RawPeer peer(server.address());
  peer.send("GET /a?b=c HTTP/1.1\r\nHost: x\r\nX-Request-Id: forged\r\nConnection: close\r\n\r\n");
  const std::string answer = peer.read_to_end();
  EXPECT_THAT(answer, HasSubstr("HTTP/1.1 200 OK\r\nDate: Fri, 21 Nov 2025 08:00:00 GMT\r\n"));
  EXPECT_THAT(answer, HasSubstr("\r\nX-Content-Type-Options: nosniff\r\n"));
  EXPECT_THAT(answer, HasSubstr("\r\nCache-Control: no-store\r\n"));
  EXPECT_THAT(answer, HasSubstr("\r\nX-Request-Id: "));
  EXPECT_THAT(answer, Not(HasSubstr("forged")));
  EXPECT_THAT(answer, HasSubstr("\r\nConnection: close\r\n"));
  EXPECT_THAT(answer, HasSubstr("\r\n\r\nGET /a b=c \n"));
  EXPECT_EQ(server.metric(R"(roster_http_requests_total{code="200",method="GET",route="/echo"})"),
            1);
}

TEST(Server, KeepsAliveAndAnswersPipelinedRequestsInOrder) {
  RunningServer server(echo);
  RawPeer peer(server.address());
  std::string requests;
  for (int i = 0; i < 50; ++i) {
    requests +=
        "POST /" + std::to_string(i) + " HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab";
  }
  peer.send(requests);
  for (int i = 0; i < 50; ++i) {
    EXPECT_THAT(peer.read_until(" ab\n"), HasSubstr("POST /" + std::to_string(i) + " "));
  }
}

TEST(Server, Http10ClosesUnlessAskedToKeepAlive) {
  RunningServer server(echo);
  RawPeer once(server.address());
  once.send("GET / HTTP/1.0\r\n\r\n");
  EXPECT_THAT(once.read_to_end(), HasSubstr("Connection: close"));
  RawPeer kept(server.address());
  kept.send("GET /1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  EXPECT_THAT(kept.read_until("GET /1"), HasSubstr("Connection: keep-alive"));
}

TEST(Server, HeadHasLengthButNoBody) {
  RunningServer server([](const Request&, Context&) { return text_response(200, "abcd"); });
  RawPeer peer(server.address());
  peer.send("HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  const std::string answer = peer.read_to_end();
  EXPECT_THAT(answer, HasSubstr("Content-Length: 5\r\n"));
  EXPECT_TRUE(answer.ends_with("\r\n\r\n"));
}

TEST(Server, HandlersThatMisbehaveAre500) {
  RunningServer server([](const Request& request, Context&) -> Response {
    if (request.path == "/throw") throw std::runtime_error("secret detail");
    Response response = text_response(200, "x");
    response.headers.set("Location", "/a\r\nSet-Cookie: b");
    return response;
  });
  for (const char* path : {"/throw", "/inject"}) {
    RawPeer peer(server.address());
    peer.send("GET " + std::string(path) + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    const std::string answer = peer.read_to_end();
    EXPECT_EQ(status_of(answer), 500) << path;
    EXPECT_THAT(answer, Not(HasSubstr("secret")));
    EXPECT_THAT(answer, Not(HasSubstr("Set-Cookie")));
  }
}

// ---- limits ----

ServerOptions small_limits() {
  ServerOptions options;
  options.header_bytes_max = 1024;
  options.body_bytes_max = 1000;
  options.body_limit = [](const std::string& method, const std::string& path) {
    return method == "POST" && path == "/small" ? std::size_t{10} : std::size_t{1 << 20};
  };
  options.header_timeout = milliseconds(200);
  options.body_timeout = milliseconds(200);
  options.idle_timeout = milliseconds(200);
  return options;
}

std::string post(const std::string& path, const std::string& more) {
  return "POST " + path + " HTTP/1.1\r\nHost: x\r\n" + more;
}

struct LimitCase {
  const char* name;
  std::string request;
  int status;
};

TEST(Server, RefusesWithTheRightStatusAndCloses) {
  std::atomic<int> handled = 0;
  RunningServer server(
      [&handled](const Request& request, Context& context) {
        ++handled;
        return echo(request, context);
      },
      small_limits());
  const std::string big(2000, 'a');
  for (const LimitCase& c : {
           LimitCase{"long header", "GET / HTTP/1.1\r\nHost: x\r\nX: " + big + "\r\n\r\n", 431},
           LimitCase{"long target", "GET /" + big + " HTTP/1.1\r\n", 431},
           LimitCase{"length over the server's limit", post("/", "Content-Length: 1001\r\n\r\n"),
                     413},
           LimitCase{"length over the path's limit", post("/small", "Content-Length: 11\r\n\r\n"),
                     413},
           LimitCase{"chunks over the path's limit",
                     post("/small", "Transfer-Encoding: chunked\r\n\r\n6\r\nabcdef\r\n6\r\n"), 413},
           LimitCase{"body sent although too long",
                     post("/small", "Content-Length: 500000\r\n\r\n" + std::string(500000, 'b')),
                     413},
           LimitCase{"unknown expectation",
                     post("/", "Expect: the-worst\r\nContent-Length: 1\r\n\r\na"), 417},
           LimitCase{"smuggling",
                     post("/", "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
                     400},
           LimitCase{"garbage", "\x16\x03\x01", 400},
           LimitCase{"slow header", "GET / HTTP/1.1\r\nHost:", 408},
           LimitCase{"slow body", post("/", "Content-Length: 10\r\n\r\nabc"), 408},
           LimitCase{"slow chunks", post("/", "Transfer-Encoding: chunked\r\n\r\n3\r\na"), 408},
       }) {
    RawPeer peer(server.address());
    peer.send(c.request);
    EXPECT_EQ(status_of(peer.read_to_end()), c.status) << c.name;
  }
  EXPECT_EQ(handled, 0);
  EXPECT_EQ(server.metric(R"(roster_http_rejected_total{reason="timeout"})"), 3);
}

TEST(Server, NoAnswerForConnectionsThatSayNothing) {
  RunningServer server(echo, small_limits());
  RawPeer silent(server.address());
  EXPECT_EQ(silent.read_to_end(), "");
  RawPeer idle(server.address());
  idle.send(kGet);
  EXPECT_EQ(status_of(idle.read_answer()), 200);
  EXPECT_EQ(idle.read_to_end().find("HTTP/"), std::string::npos);
}

// A client that sends a byte now and then is never idle: only a deadline for the whole ends it.
TEST(Server, TricklingHitsTheTotalDeadline) {
  RunningServer server(echo, small_limits());
  for (const std::string& begin :
       {std::string("GET / HTTP/1.1\r\nX: "), post("/", "Content-Length: 900\r\n\r\n")}) {
    RawPeer peer(server.address());
    peer.send(begin);
    const auto start = steady_clock::now();
    while (!peer.closed_within(milliseconds(20)) &&
           steady_clock::now() - start < milliseconds(3'000)) {
      peer.send("a");
    }
    EXPECT_LT(steady_clock::now() - start, milliseconds(2'900));
    EXPECT_EQ(status_of(peer.read_to_end()), 408);
  }
}

TEST(Server, ContinuesOnlyWhatItWillTake) {
  RunningServer server(echo, small_limits());
  RawPeer good(server.address());
  good.send(post("/", "Expect: 100-Continue\r\nContent-Length: 3\r\n\r\n"));
  EXPECT_EQ(good.read_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  good.send("abc");
  EXPECT_THAT(good.read_until("abc"), HasSubstr("200 OK"));
  RawPeer big(server.address());
  big.send(post("/", "Expect: 100-continue\r\nContent-Length: 2000\r\n\r\n"));
  EXPECT_EQ(status_of(big.read_to_end()), 413);
}

TEST(Server, BodiesTogetherHaveALimit) {
  ServerOptions options;
  options.body_memory_max = 100'000;
  RunningServer server(echo, std::move(options));
  RawPeer first(server.address());
  first.send(post("/", "Content-Length: 90001\r\n\r\n" + std::string(90'000, 'a')));
  RawPeer second(server.address());
  // The first body may still be on its way into the server; once it is there, this one is too much.
  second.send(post("/", "Content-Length: 20001\r\n\r\n" + std::string(20'000, 'b')));
  RawPeer& refused = first.closed_within(milliseconds(50)) ? first : second;
  const std::string answer = refused.read_to_end();
  EXPECT_EQ(status_of(answer), 503);
  EXPECT_THAT(answer, HasSubstr("Retry-After: "));
  RawPeer third(server.address());
  third.send(post("/", "Content-Length: 3\r\n\r\nabc"));
  EXPECT_EQ(status_of(third.read_answer()), 200) << "the refused body was not given back";
}

/// Lets a test hold handlers back.
class Gate {
 public:
  void pass() {
    std::unique_lock lock(mutex_);
    ++waiting_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return open_; });
  }
  void await_waiting(int count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this, count] { return waiting_ >= count; });
  }
  void open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int waiting_ = 0;
  bool open_ = false;
};

TEST(Server, AFullQueueIs503AndTheConnectionGoesOn) {
  ServerOptions options;
  options.workers = 1;
  options.queue_max = 2;
  Gate gate;
  RunningServer server(
      [&gate](const Request& request, Context& context) {
        gate.pass();
        return echo(request, context);
      },
      std::move(options));
  std::vector<RawPeer> accepted;
  for (int i = 0; i < 3; ++i) {
    accepted.emplace_back(server.address()).send(kGet);
    if (i == 0) gate.await_waiting(1);
  }
  ASSERT_TRUE(server.await_metric("roster_http_queue", 2));
  RawPeer refused(server.address());
  refused.send(kGet);
  const std::string answer = refused.read_answer();
  EXPECT_EQ(status_of(answer), 503);
  EXPECT_THAT(answer, HasSubstr("Retry-After: 1\r\n"));
  gate.open();
  for (RawPeer& peer : accepted) EXPECT_EQ(status_of(peer.read_answer()), 200);
  refused.send(kGet);
  EXPECT_EQ(status_of(refused.read_answer()), 200);
}

/// What begins with /quick is said to be quick.
ServerOptions with_quick_requests() {
  ServerOptions options;
  options.workers = 1;
  options.is_quick = [](const Request& request) { return request.path.starts_with("/quick"); };
  return options;
}

/// Notes the thread that ran the handler, with one worker and quick requests.
class ThreadsOfHandlers {
 public:
  ThreadsOfHandlers()
      : server_(
            [this](const Request& request, Context& context) {
              if (request.path == "/quick/slow") {
                slow_begun_ = true;
                slow_begun_.notify_all();
                std::this_thread::sleep_for(milliseconds(20));
              }
              latest_ = std::this_thread::get_id();
              return echo(request, context);
            },
            with_quick_requests()) {
    RawPeer peer(server_.address());
    worker_ = of(peer, "/other");
  }

  std::string address() const { return server_.address(); }
  bool on_worker(RawPeer& peer, const std::string& path) { return of(peer, path) == worker_; }
  bool latest_on_worker() const { return latest_ == worker_; }
  void await_slow() { slow_begun_.wait(false); }
  static void ask(RawPeer& peer, const std::string& path) {
    peer.send("GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n");
  }

 private:
  std::thread::id of(RawPeer& peer, const std::string& path) {
    ask(peer, path);
    EXPECT_EQ(status_of(peer.read_answer()), 200);
    return latest_;
  }

  std::atomic<bool> slow_begun_ = false;
  std::atomic<std::thread::id> latest_;
  std::thread::id worker_;
  RunningServer server_;
};

TEST(Server, QuickRequestsOfASingleClientNeedNoWorker) {
  ThreadsOfHandlers threads;
  RawPeer peer(threads.address());
  EXPECT_TRUE(threads.on_worker(peer, "/quick")) << "another client was the last";
  EXPECT_FALSE(threads.on_worker(peer, "/quick"));
  EXPECT_TRUE(threads.on_worker(peer, "/other"));
  RawPeer second(threads.address());
  EXPECT_TRUE(threads.on_worker(second, "/quick"));
  EXPECT_TRUE(threads.on_worker(peer, "/quick"));
}

TEST(Server, AQuickRequestThatIsSlowSendsTheNextOnesToWorkers) {
  ThreadsOfHandlers threads;
  RawPeer peer(threads.address());
  EXPECT_TRUE(threads.on_worker(peer, "/other"));
  ThreadsOfHandlers::ask(peer, "/quick/slow");
  threads.await_slow();
  // Waits in the socket, and is looked at as soon as the slow one is answered.
  ThreadsOfHandlers::ask(peer, "/quick");
  EXPECT_EQ(status_of(peer.read_answer()), 200);
  EXPECT_EQ(status_of(peer.read_answer()), 200);
  EXPECT_TRUE(threads.latest_on_worker());
}

TEST(Server, QuickRequestsSentAheadLeaveRoomForOthers) {
  std::atomic<int> on_worker = 0;
  std::atomic<std::thread::id> worker;
  RunningServer server(
      [&](const Request& request, Context& context) {
        if (request.path == "/other") worker = std::this_thread::get_id();
        if (worker.load() == std::this_thread::get_id()) ++on_worker;
        return echo(request, context);
      },
      with_quick_requests());
  RawPeer peer(server.address());
  std::string requests = "GET /other HTTP/1.1\r\nHost: x\r\n\r\n";
  for (int i = 0; i < 50; ++i) requests += "GET /quick HTTP/1.1\r\nHost: x\r\n\r\n";
  peer.send(requests);
  for (int i = 0; i < 51; ++i) EXPECT_EQ(status_of(peer.read_answer()), 200);
  // All that had one behind it; the kernel may have given them in more than one piece.
  EXPECT_GE(on_worker, 40);
}

TEST(Server, ConnectionsBeyondTheMaximumAreToldSo) {
  ServerOptions options;
  options.connections_max = 2;
  RunningServer server(echo, std::move(options));
  std::vector<RawPeer> open;
  for (int i = 0; i < 2; ++i) {
    open.emplace_back(server.address()).send(kGet);
    EXPECT_EQ(status_of(open.back().read_answer()), 200);
  }
  RawPeer refused(server.address());
  EXPECT_EQ(status_of(refused.read_to_end()), 503);
  refused.close();
  open.clear();
  ASSERT_TRUE(server.await_metric("roster_http_connections", 0));
  RawPeer again(server.address());
  again.send(kGet);
  EXPECT_EQ(status_of(again.read_answer()), 200);
}

// ---- bodies ----

TEST(Server, StreamsAFileAndItsParts) {
  const TempDirectory directory;
  std::string content(5'000'000, '\0');
  for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i * 31 + i / 251);
  testing::write_text(directory / "big", content);
  const auto fd = std::make_shared<UniqueFd>(::open((directory / "big").c_str(), O_RDONLY));
  RunningServer server([fd](const Request& request, Context&) {
    Response response;
    if (request.path == "/all") response.body = FileBody{fd, 0, 5'000'000};
    if (request.path == "/part") response.body = FileBody{fd, 1'234'567, 3'000'000};
    if (request.path == "/short") response.body = FileBody{fd, 4'000'000, 2'000'000};
    if (request.path == "/none") response.body = FileBody{fd, 0, 0};
    return response;
  });
  ClientOptions options;
  options.url = server.url();
  auto client = Client::create(std::move(options));
  ASSERT_TRUE(client);
  EXPECT_EQ((*client)->call({.target = "/all"})->body, content);
  // Once more from the disk, where the file system lets go of its cache.
  ::fsync(fd->get());
  ::posix_fadvise(fd->get(), 0, 0, POSIX_FADV_DONTNEED);
  EXPECT_EQ((*client)->call({.target = "/all"})->body, content);
  EXPECT_EQ((*client)->call({.target = "/part"})->body, content.substr(1'234'567, 3'000'000));
  EXPECT_EQ((*client)->call({.target = "/none"})->body, "");
  const auto cut = (*client)->call({.target = "/short"});
  ASSERT_FALSE(cut) << "a file that became shorter must not look whole";
  EXPECT_EQ(cut.error().code, Code::kDataLoss);
}

TEST(Server, PullsChunksOnlyAsFastAsTheyAreRead) {
  constexpr std::size_t kPiece = 100'000;
  std::atomic<int> pulled = 0;
  RunningServer server([&pulled](const Request& request, Context&) {
    Response response;
    const bool breaks = request.path == "/broken";
    response.body = ChunksBody{[&pulled, breaks, left = 200]() mutable -> Result<std::string> {
      if (breaks && left == 190) return fail(Code::kUnavailable, "database gone");
      if (left-- == 0) return std::string();
      ++pulled;
      return std::string(kPiece, 'c');
    }};
    return response;
  });
  RawPeer lazy(server.address());
  const int small = 4096;
  ::setsockopt(lazy.fd(), SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
  lazy.send(kGet);
  const std::string head = lazy.read_until("\r\n\r\n");
  EXPECT_THAT(head, HasSubstr("Transfer-Encoding: chunked\r\n"));
  EXPECT_LT(pulled, 200) << "the whole body was made although nobody reads";
  lazy.close();

  ClientOptions options;
  options.url = server.url();
  auto client = Client::create(std::move(options));
  EXPECT_EQ((*client)->call({.target = "/whole"})->body.size(), 200 * kPiece);
  const auto broken = (*client)->call({.target = "/broken"});
  ASSERT_FALSE(broken);
  EXPECT_EQ(broken.error().code, Code::kDataLoss);

  // HTTP/1.0 has no chunks: the body ends with the connection, and a broken one with a reset.
  RawPeer old(server.address());
  old.send("GET /whole HTTP/1.0\r\n\r\n");
  const std::string answer = old.read_to_end();
  EXPECT_EQ(answer.size() - answer.find("\r\n\r\n") - 4, 200 * kPiece);
}

// ---- waiting ----

/// Parks until its number passes `after` of the query.
struct Board {
  Response handle(const Request& request, Context& context) {
    context.route = "/wait";
    const std::uint64_t after = std::stoull(request.query);
    const std::uint64_t now = value;
    if (now > after) return text_response(200, "value " + std::to_string(now));
    if (context.wait_expired) return text_response(200, "nothing");
    Response response;
    response.body = WaitBody{"board", after, deadline};
    return response;
  }
  Handler handler() {
    return [this](const Request& request, Context& context) { return handle(request, context); };
  }
  std::atomic<std::uint64_t> value = 0;
  milliseconds deadline{30'000};
};

std::string wait_for(std::uint64_t after) {
  return "GET /wait?" + std::to_string(after) + " HTTP/1.1\r\nHost: x\r\n\r\n";
}

TEST(Server, ParksUntilNotified) {
  Board board;
  RunningServer server(board.handler());
  RawPeer peer(server.address());
  peer.send(wait_for(0));
  ASSERT_TRUE(server.await_metric("roster_http_parked", 1));
  server->notify("another", 9);
  server->notify("board", 0);
  EXPECT_FALSE(peer.closed_within(milliseconds(30)));
  board.value = 1;
  server->notify("board", 1);
  EXPECT_THAT(peer.read_until("value 1\n"), HasSubstr("value 1\n"));
  EXPECT_EQ(server.metric("roster_http_parked"), 0);
}

TEST(Server, WaitsExpire) {
  Board board;
  board.deadline = milliseconds(50);
  RunningServer server(board.handler());
  RawPeer peer(server.address());
  for (int i = 0; i < 3; ++i) {
    peer.send(wait_for(0));
    EXPECT_THAT(peer.read_until("nothing\n"), HasSubstr("nothing\n"));
  }
}

TEST(Server, ADisconnectFreesTheSlot) {
  Board board;
  RunningServer server(board.handler());
  {
    RawPeer gone(server.address());
    gone.send(wait_for(0));
    RawPeer pipelining(server.address());
    // What is sent ahead must not hide the disconnect.
    pipelining.send(wait_for(0) + wait_for(0));
    ASSERT_TRUE(server.await_metric("roster_http_parked", 2));
    RawPeer flooding(server.address());
    flooding.send(wait_for(0) + std::string(100'000, 'x'));
    EXPECT_TRUE(flooding.closed_within(milliseconds(2'000)));
  }
  EXPECT_TRUE(server.await_metric("roster_http_parked", 0));
  EXPECT_TRUE(server.await_metric("roster_http_connections", 0));
}

TEST(Server, WhatWasSentAheadWhileParkedIsAnsweredAfterwards) {
  Board board;
  RunningServer server(board.handler());
  RawPeer peer(server.address());
  peer.send(wait_for(0));
  ASSERT_TRUE(server.await_metric("roster_http_parked", 1));
  peer.send(wait_for(1));
  board.value = 5;
  server->notify("board", 5);
  peer.read_until("value 5\n");
  EXPECT_THAT(peer.read_until("value 5\n"), HasSubstr("value 5\n"));
}

// A change between the handler's look and the parking must wake; if one were lost, the exchange
// would last until the deadline.
TEST(Server, NoNotificationIsLost) {
  Board board;
  ServerOptions options;
  options.io_threads = 2;
  RunningServer server(board.handler(), std::move(options));
  std::atomic<bool> done = false;
  std::thread writer([&board, &server, &done] {
    while (!done) {
      const std::uint64_t next = board.value + 1;
      board.value = next;
      server->notify("board", next);
      if (next % 8 == 0) std::this_thread::yield();
      if (next % 64 == 0) std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
  });
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&server] {
      ClientOptions client_options;
      client_options.url = server.url();
      client_options.timeout = milliseconds(5'000);
      auto client = Client::create(std::move(client_options));
      std::uint64_t seen = 0;
      for (int round = 0; round < 1'000; ++round) {
        const auto answer = (*client)->call({.target = "/wait?" + std::to_string(seen)});
        ASSERT_TRUE(answer) << answer.error().message << " in round " << round;
        seen = std::stoull(answer->body.substr(6));
      }
    });
  }
  for (std::thread& reader : readers) reader.join();
  done = true;
  writer.join();
}

TEST(Server, TwoThousandParkedWakeWithTwoWorkers) {
  constexpr int kPeers = 2'000;
  Board board;
  ServerOptions options;
  options.workers = 2;
  options.queue_max = 4096;
  RunningServer server(board.handler(), std::move(options));
  std::vector<RawPeer> peers;
  peers.reserve(kPeers);
  for (int i = 0; i < kPeers; ++i) peers.emplace_back(server.address()).send(wait_for(0));
  ASSERT_TRUE(server.await_metric("roster_http_parked", kPeers));
  board.value = 7;
  server->notify("board", 7);
  for (RawPeer& peer : peers) {
    ASSERT_THAT(peer.read_until("value 7\n"), HasSubstr("200 OK"));
  }
}

TEST(Server, TheWokenAreNotRefusedWhenTheQueueIsFull) {
  constexpr int kPeers = 50;
  Board board;
  ServerOptions options;
  options.workers = 1;
  options.queue_max = 1;
  RunningServer server(board.handler(), std::move(options));
  std::vector<RawPeer> peers;
  for (int i = 0; i < kPeers; ++i) {
    peers.emplace_back(server.address()).send(wait_for(0));
    ASSERT_TRUE(server.await_metric("roster_http_parked", i + 1));
  }
  board.value = 1;
  server->notify("board", 1);
  for (RawPeer& peer : peers) EXPECT_THAT(peer.read_until("value 1\n"), HasSubstr("200 OK"));
}

// ---- stopping ----

TEST(Server, StopAnswersTheParkedAndFinishesWhatRuns) {
  Board board;
  Gate gate;
  RunningServer server([&board, &gate](const Request& request, Context& context) {
    if (request.path == "/wait") return board.handle(request, context);
    gate.pass();
    return text_response(200, "done");
  });
  RawPeer parked(server.address());
  parked.send(wait_for(0));
  RawPeer idle(server.address());
  RawPeer running(server.address());
  running.send(kGet);
  gate.await_waiting(1);
  ASSERT_TRUE(server.await_metric("roster_http_parked", 1));
  std::thread stopper([&server] { server->stop(milliseconds(5'000)); });
  const std::string nothing = parked.read_to_end();
  EXPECT_THAT(nothing, HasSubstr("nothing\n"));
  EXPECT_THAT(nothing, HasSubstr("Connection: close"));
  EXPECT_EQ(idle.read_to_end(), "");
  gate.open();
  EXPECT_THAT(running.read_to_end(), HasSubstr("done\n"));
  const auto before = steady_clock::now();
  stopper.join();
  EXPECT_LT(steady_clock::now() - before, milliseconds(1'000)) << "all was closed already";
}

TEST(Server, StopGivesUpAfterTheGrace) {
  Gate gate;
  RunningServer server([&gate](const Request& request, Context& context) {
    gate.pass();
    return echo(request, context);
  });
  RawPeer stuck(server.address());
  stuck.send(kGet);
  RawPeer halfway(server.address());
  halfway.send("GET / HT");
  gate.await_waiting(1);
  const auto before = steady_clock::now();
  server->stop(milliseconds(100));
  EXPECT_LT(steady_clock::now() - before, milliseconds(2'000));
  EXPECT_TRUE(halfway.closed_within(milliseconds(1'000)));
  gate.open();
}

TEST(Server, CanBeDroppedWithoutHavingStarted) {
  Metrics metrics;
  ServerOptions options;
  options.listen = {"127.0.0.1:0"};
  auto server = Server::create(std::move(options), echo, metrics);
  ASSERT_TRUE(server);
  (*server)->notify("a", 1);
}

// ---- listening ----

TEST(Server, ListenErrorsSayWhat) {
  Metrics metrics;
  RunningServer taken(echo);
  const TempDirectory directory;
  testing::write_text(directory / "file", "");
  struct ListenCase {
    std::string listen;
    Code code;
  };
  for (const ListenCase& c : {
           ListenCase{taken.address(), Code::kUnavailable},
           ListenCase{"127.0.0.1", Code::kInvalidArgument},
           ListenCase{"127.0.0.1:", Code::kInvalidArgument},
           ListenCase{"127.0.0.1:http", Code::kInvalidArgument},
           ListenCase{"::1:80", Code::kInvalidArgument},
           ListenCase{"nowhere.invalid:80", Code::kInvalidArgument},
           ListenCase{"0.0.0.0:0", Code::kInvalidArgument},  // plain HTTP for everybody
           ListenCase{"unix:relative", Code::kInvalidArgument},
           ListenCase{"unix:/" + std::string(200, 'a'), Code::kInvalidArgument},
           ListenCase{"unix:" + (directory / "file").string(), Code::kInvalidArgument},
           ListenCase{"unix:" + (directory / "no/such/directory").string(), Code::kUnavailable},
       }) {
    ServerOptions options;
    options.listen = {c.listen};
    const auto server = Server::create(std::move(options), echo, metrics);
    ASSERT_FALSE(server) << c.listen;
    EXPECT_EQ(server.error().code, c.code) << server.error().message;
  }
}

TEST(Server, SpeaksIpv6) {
  Metrics metrics;
  ServerOptions options;
  options.listen = {"[::1]:0"};
  if (!Server::create(options, echo, metrics)) GTEST_SKIP() << "this machine has no IPv6";
  RunningServer server([](const Request&, Context& c) { return text_response(200, c.remote); },
                       std::move(options));
  ASSERT_TRUE(server.address().starts_with("[::1]:")) << server.address();
  RawPeer peer(server.address());
  peer.send(kGet);
  EXPECT_THAT(peer.read_answer(), HasSubstr("\r\n\r\n[::1]:"));
  ClientOptions client_options;
  client_options.url = server.url();
  auto client = Client::create(std::move(client_options));
  EXPECT_TRUE((*client)->call({}));
}

TEST(Server, UnixSocketTellsWhoIsThere) {
  const TempDirectory directory;
  const std::string path = (directory / "hub.sock").string();
  ServerOptions options;
  options.listen = {"unix:" + path};
  std::optional<PeerCredentials> seen;
  {
    RunningServer server(
        [&seen](const Request&, Context& context) {
          seen = context.credentials;
          return text_response(200, context.remote);
        },
        options);
    struct stat status{};
    ASSERT_EQ(::stat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0600U);
    ClientOptions client_options;
    client_options.url = "unix:" + path;
    auto client = Client::create(std::move(client_options));
    EXPECT_EQ((*client)->call({.target = "/"})->body, "unix\n");
    ASSERT_TRUE(seen);
    EXPECT_EQ(seen->pid, ::getpid());
    EXPECT_EQ(seen->uid, ::getuid());

    Metrics metrics;
    const auto second = Server::create(options, echo, metrics);
    ASSERT_FALSE(second) << "the socket of a living server was taken away";
    EXPECT_EQ(second.error().code, Code::kUnavailable);
  }
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(Server, ReplacesAStaleUnixSocket) {
  const TempDirectory directory;
  const std::string path = (directory / "hub.sock").string();
  {
    // A process that died leaves its socket behind.
    const auto address = unix_address(path);
    const UniqueFd dead(::socket(AF_UNIX, SOCK_STREAM, 0));
    ASSERT_EQ(::bind(dead.get(), address->get(), address->size), 0);
  }
  ServerOptions options;
  options.listen = {"unix:" + path, "127.0.0.1:0"};
  options.unix_mode = 0660;
  RunningServer server(echo, std::move(options));
  struct stat status{};
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0660U);
  ASSERT_EQ(server->addresses().size(), 2U);
  RawPeer peer(server->addresses()[0]);
  peer.send(kGet);
  EXPECT_EQ(status_of(peer.read_answer()), 200);
}

}  // namespace
}  // namespace roster::http
