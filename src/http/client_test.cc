#include "http/client.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>

#include <atomic>
#include <functional>
#include <thread>

#include "http/respond.h"
#include "http/server.h"
#include "http/socket.h"
#include "http/testing/support.h"
#include "http/transport.h"

namespace roster::http {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using testing::Authority;
using ::testing::HasSubstr;
using testing::IssuedCertificate;
using testing::RunningServer;
using testing::ScriptedServer;
using testing::TempDirectory;

Response echo(const Request& request, Context&) {
  Response response = text_response(200, request.method + ' ' + request.path + ' ' + request.body);
  response.headers.set("X-Seen", request.headers.get("Authorization"));
  return response;
}

std::unique_ptr<Client> client_for(const std::string& url,
                                   const std::function<void(ClientOptions&)>& adjust = {}) {
  ClientOptions options;
  options.url = url;
  options.timeout = milliseconds(5'000);
  if (adjust) adjust(options);
  auto client = Client::create(std::move(options));
  CHECK(client.has_value());
  return std::move(*client);
}

TEST(Client, SendsWhatItIsToldAndReusesTheConnection) {
  RunningServer server(echo);
  const auto client = client_for(server.url() + "/base/", [](ClientOptions& options) {
    options.bearer_token = Secret("abc");
  });
  for (int i = 0; i < 3; ++i) {
    const auto answer = client->call({.method = "POST", .target = "/x", .body = "hello"});
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(answer->status, 200);
    EXPECT_EQ(answer->body, "POST /base/x hello\n");
    EXPECT_EQ(answer->headers.get("x-seen"), "Bearer abc");
    EXPECT_EQ(server.metric("roster_http_connections"), 1);
  }
  EXPECT_EQ(client->call({.method = "HEAD"})->body, "");
  EXPECT_EQ(client->call({.method = "DELETE"})->body, "DELETE /base/ \n");
}

TEST(Client, RefusesToSendHeadersThatAreNotHeaders) {
  RunningServer server(echo);
  const auto client = client_for(server.url());
  Headers injected;
  injected.set("X-A", "b\r\nX-C: d");
  Headers bad_name;
  bad_name.set("X A", "b");
  Headers owned;
  owned.set("content-length", "7");
  for (const ClientRequest& request : {
           ClientRequest{.headers = injected},
           ClientRequest{.headers = bad_name},
           ClientRequest{.headers = owned},
           ClientRequest{.target = "/a b"},
           ClientRequest{.target = "/a\r\nX: y"},
           ClientRequest{.target = "a"},
           ClientRequest{.method = "GET /x HTTP/1.1\r\n"},
       }) {
    const auto answer = client->call(request);
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().code, Code::kInvalidArgument);
  }
  ClientOptions options;
  options.url = server.url();
  options.bearer_token = Secret("a\r\nX: y");
  EXPECT_FALSE(Client::create(std::move(options)));
}

TEST(Client, PlainHttpStaysOnTheMachine) {
  for (const char* url :
       {"http://192.0.2.1:80", "http://hub.example.org", "http://[2001:db8::1]"}) {
    ClientOptions options;
    options.url = url;
    const auto refused = Client::create(options);
    ASSERT_FALSE(refused) << url;
    EXPECT_EQ(refused.error().code, Code::kInvalidArgument);
    options.allow_plain_http = true;
    EXPECT_TRUE(Client::create(std::move(options))) << url;
  }
  RunningServer server(echo);
  const std::string port = server.address().substr(server.address().find(':'));
  EXPECT_TRUE(client_for("http://localhost" + port)->call({}));
}

TEST(Client, ErrorsSayWhatWhereAndWhy) {
  std::string gone;
  {
    RunningServer server(echo);
    gone = server.address();
  }
  const auto refused = client_for("http://" + gone)->call({.target = "/x"});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kUnavailable);
  EXPECT_EQ(refused.error().message, "connect " + gone + ": Connection refused");
  const auto nowhere = client_for("https://host.invalid")->call({});
  ASSERT_FALSE(nowhere);
  EXPECT_EQ(nowhere.error().code, Code::kUnavailable);
  EXPECT_THAT(nowhere.error().message, HasSubstr("resolve host.invalid"));
}

TEST(Client, LimitsBodiesAndStreamsThemToASink) {
  RunningServer server([](const Request& request, Context&) {
    return text_response(request.path == "/error" ? 400 : 200, std::string(1'000'000, 'a'));
  });
  const auto client =
      client_for(server.url(), [](ClientOptions& options) { options.body_bytes_max = 999'999; });
  const auto big = client->call({});
  ASSERT_FALSE(big);
  EXPECT_EQ(big.error().code, Code::kTooLarge);

  std::size_t bytes = 0;
  std::size_t largest = 0;
  const auto sink = [&bytes, &largest](std::string_view piece) -> Result<void> {
    bytes += piece.size();
    largest = std::max(largest, piece.size());
    return {};
  };
  const auto streamed = client->call({.sink = sink});
  ASSERT_TRUE(streamed) << streamed.error().message;
  EXPECT_EQ(bytes, 1'000'001U);
  EXPECT_LT(largest, 200'000U) << "the body was collected first";
  EXPECT_EQ(streamed->body, "");
  // An error's body is for the caller, not for the sink.
  EXPECT_FALSE(client->call({.target = "/error", .sink = sink}));

  const auto stopped = client->call(
      {.sink = [](std::string_view) { return Result<void>(fail(Code::kDataLoss, "enough")); }});
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code, Code::kDataLoss);
  EXPECT_THAT(stopped.error().message, HasSubstr("enough"));
}

// A body whose length is known is read into its place, however it comes, and has room behind it.
TEST(Client, BodiesComeWholeWithRoomToSpare) {
  std::string body;
  for (int i = 0; body.size() < 3'000'000; ++i) body += std::to_string(i) + ' ';
  ScriptedServer server([&body](int fd, int) {
    for (const std::size_t first : {std::size_t{0}, std::size_t{1}, std::size_t{70'000}}) {
      ScriptedServer::read_head(fd);
      const std::string head =
          "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n";
      ScriptedServer::say(fd, head + body.substr(0, first));
      for (std::size_t at = first; at < body.size(); at += 400'000) {
        ScriptedServer::say(fd, body.substr(at, 400'000));
      }
    }
    ScriptedServer::read_head(fd);
    ScriptedServer::say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\nab");
    ScriptedServer::read_head(fd);
  });
  const auto client = client_for(server.url());
  for (int i = 0; i < 3; ++i) {
    const auto answer = client->call({});
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_TRUE(answer->body == body) << answer->body.size();
    EXPECT_GE(answer->body.capacity(), body.size() + ClientResponse::kSpareBytes);
  }
  const auto endless = client->call({});
  ASSERT_FALSE(endless);
  EXPECT_EQ(endless.error().code, Code::kTooLarge) << "before it comes";
}

struct BrokenCase {
  const char* name;
  std::string answer;
  Code code;
};

TEST(Client, BrokenAnswers) {
  for (const BrokenCase& c : {
           BrokenCase{"nothing", "", Code::kUnavailable},
           BrokenCase{"half a header", "HTTP/1.1 200 OK\r\nContent-", Code::kDataLoss},
           BrokenCase{"short body", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
                      Code::kDataLoss},
           BrokenCase{"no last chunk",
                      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
                      Code::kDataLoss},
           BrokenCase{"chunk garbage",
                      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
                      Code::kDataLoss},
           BrokenCase{"not HTTP", "SSH-2.0-OpenSSH_9.2\r\n\r\n", Code::kDataLoss},
           BrokenCase{"endless header", "HTTP/1.1 200 OK\r\nX: " + std::string(70'000, 'x'),
                      Code::kTooLarge},
           BrokenCase{"endless interim answers",
                      [] {
                        std::string text;
                        for (int i = 0; i < 20; ++i) text += "HTTP/1.1 100 Continue\r\n\r\n";
                        return text;
                      }(),
                      Code::kDataLoss},
           BrokenCase{"another protocol", "HTTP/1.1 101 Switching Protocols\r\n\r\n",
                      Code::kDataLoss},
       }) {
    ScriptedServer server([&c](int fd, int) {
      ScriptedServer::read_head(fd);
      ScriptedServer::say(fd, c.answer);
    });
    const auto answer = client_for(server.url())->call({.method = "POST"});
    ASSERT_FALSE(answer) << c.name;
    EXPECT_EQ(answer.error().code, c.code) << c.name << ": " << answer.error().message;
  }
}

TEST(Client, AcceptsInterimAnswersAndBodiesThatEndWithTheConnection) {
  ScriptedServer server([](int fd, int) {
    ScriptedServer::read_head(fd);
    ScriptedServer::say(fd,
                        "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.0 200 OK\r\n\r\nabc");
  });
  const auto answer = client_for(server.url())->call({});
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->status, 200);
  EXPECT_EQ(answer->body, "abc");
}

// The server closes each connection after one answer without saying so, as one that restarts does.
TEST(Client, ReplacesADeadIdleConnectionOnce) {
  std::atomic<int> requests = 0;
  ScriptedServer server([&requests](int fd, int) {
    ScriptedServer::read_head(fd);
    ++requests;
    ScriptedServer::say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  });
  const auto client = client_for(server.url());
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(client->call({})) << i;
  EXPECT_EQ(requests, 20);
}

TEST(Client, NeverRepeatsAPostThatMayHaveArrived) {
  std::atomic<int> requests = 0;
  ScriptedServer server([&requests](int fd, int) {
    while (!ScriptedServer::read_head(fd).empty()) {
      if (++requests % 2 == 0) return;  // took the request and died
      ScriptedServer::say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    }
  });
  const auto client = client_for(server.url());
  ASSERT_TRUE(client->call({.method = "POST"}));
  const auto lost = client->call({.method = "POST"});
  ASSERT_FALSE(lost);
  EXPECT_EQ(lost.error().code, Code::kUnavailable);
  EXPECT_EQ(requests, 2);
}

TEST(Client, ReadsTheAnswerToARequestThatWasCutOff) {
  ServerOptions options;
  options.body_bytes_max = 1'000;
  RunningServer server(echo, std::move(options));
  const auto answer =
      client_for(server.url())->call({.method = "POST", .body = std::string(20'000'000, 'a')});
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->status, 413);
}

TEST(Client, TimesOutAsAWholeEvenWhenBytesTrickle) {
  ScriptedServer server([](int fd, int) {
    ScriptedServer::read_head(fd);
    ScriptedServer::say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
    for (int i = 0; i < 200; ++i) {
      char c = 'a';
      if (::send(fd, &c, 1, MSG_NOSIGNAL) != 1) return;
      std::this_thread::sleep_for(milliseconds(5));
    }
  });
  const auto client = client_for(server.url());
  const auto start = steady_clock::now();
  const auto answer = client->call({.timeout = milliseconds(100)});
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Code::kUnavailable);
  EXPECT_THAT(answer.error().message, HasSubstr("timed out"));
  EXPECT_LT(steady_clock::now() - start, milliseconds(700));
}

TEST(Client, CanBeInterrupted) {
  RunningServer server([](const Request& request, Context& context) {
    if (request.path != "/wait" || context.wait_expired) return text_response(200, "done");
    Response response;
    response.body = WaitBody{"never", 0, milliseconds(10'000)};
    return response;
  });
  const auto client = client_for(server.url());
  std::thread other([&server, &client] {
    EXPECT_TRUE(server.await_metric("roster_http_parked", 1));
    client->interrupt();
  });
  const auto running = client->call({.target = "/wait"});
  other.join();
  ASSERT_FALSE(running);
  EXPECT_EQ(running.error().code, Code::kUnavailable);
  EXPECT_THAT(running.error().message, HasSubstr("interrupted"));
  EXPECT_TRUE(client->call({})) << "it holds for one call";
  client->interrupt();
  EXPECT_FALSE(client->call({}));
  EXPECT_TRUE(client->call({}));
}

// ---- TLS ----

struct TlsServer {
  explicit TlsServer(const Authority& authority,
                     const std::string& names = "DNS:localhost,IP:127.0.0.1",
                     Handler handler = echo)
      : issued(authority.issue(names)) {
    install(issued);
    ServerOptions options;
    options.tls = TlsFiles{directory / "cert.pem", directory / "key.pem"};
    server = std::make_unique<RunningServer>(std::move(handler), std::move(options));
  }
  void install(const IssuedCertificate& certificate) const {
    testing::write_text(directory / "cert.pem", certificate.chain_pem);
    testing::write_text(directory / "key.pem", certificate.key_pem);
  }
  std::string url(const std::string& host = "127.0.0.1") const {
    const std::string address = server->address();
    return "https://" + host + address.substr(address.rfind(':'));
  }
  TempDirectory directory;
  IssuedCertificate issued;
  std::unique_ptr<RunningServer> server;
};

struct TrustCase {
  const char* name;
  std::string host;
  std::string ca_pem;
  std::string ca_sha256;
  bool good;
  const char* why;
};

TEST(ClientTls, TrustsWhomItIsTold) {
  const Authority ours("ours");
  const Authority theirs("theirs");
  const TlsServer server(ours);
  const TlsServer named(ours, "DNS:localhost,DNS:127.0.0.1");
  const auto attempt = [](const TlsServer& to, const TrustCase& c) {
    const auto client = client_for(to.url(c.host), [&c](ClientOptions& options) {
      options.ca_pem = c.ca_pem;
      options.ca_sha256 = c.ca_sha256;
    });
    const auto answer = client->call({.target = "/secure"});
    EXPECT_EQ(answer.has_value(), c.good) << c.name;
    if (answer) {
      EXPECT_EQ(answer->body, "GET /secure \n");
      const bool pinned = !c.ca_sha256.empty();
      EXPECT_EQ(answer->server_chain_pem, pinned ? to.issued.chain_pem : "") << c.name;
    } else {
      EXPECT_EQ(answer.error().code, Code::kUnavailable);
      EXPECT_THAT(answer.error().message, HasSubstr(c.why)) << c.name;
    }
  };
  for (const TrustCase& c : {
           TrustCase{"address", "127.0.0.1", ours.pem(), "", true, ""},
           TrustCase{"name", "localhost", ours.pem(), "", true, ""},
           TrustCase{"several authorities", "localhost", theirs.pem() + ours.pem(), "", true, ""},
           TrustCase{"another authority", "localhost", theirs.pem(), "", false, "certificate"},
           TrustCase{"the system's", "localhost", "", "", false, "certificate"},
           TrustCase{"pinned", "localhost", "", ours.sha256(), true, ""},
           TrustCase{"pinned, by address", "127.0.0.1", "", ours.sha256(), true, ""},
           TrustCase{"another pin", "localhost", "", theirs.sha256(), false, "not trusted"},
       }) {
    attempt(server, c);
  }
  attempt(named, {"an address written as a name", "127.0.0.1", ours.pem(), "", false, "mismatch"});
  const TlsServer elsewhere(ours, "DNS:hub.example.org,IP:127.0.0.2");
  attempt(elsewhere, {"wrong name", "localhost", ours.pem(), "", false, "mismatch"});
  attempt(elsewhere, {"wrong address", "127.0.0.1", ours.pem(), "", false, "mismatch"});
  attempt(elsewhere, {"pin, wrong name", "localhost", "", ours.sha256(), false, "mismatch"});
}

// The pinned authority is in the chain, but the server's certificate is another's: everybody has
// the public certificate of an authority.
TEST(ClientTls, APinnedAuthorityMustHaveSigned) {
  const Authority ours("ours");
  const Authority attacker("attacker");
  TlsServer server(attacker);
  IssuedCertificate forged = attacker.issue("DNS:localhost");
  forged.chain_pem += ours.pem();
  server.install(forged);
  ASSERT_TRUE((**server.server).reload_certificate());
  const auto answer = client_for(server.url("localhost"), [&ours](ClientOptions& options) {
                        options.ca_sha256 = ours.sha256();
                      })->call({});
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Code::kUnavailable);
}

TEST(ClientTls, BadOptionsAreFoundAtOnce) {
  const TempDirectory directory;
  testing::write_text(directory / "empty.pem", "");
  testing::write_text(directory / "bad.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n");
  for (const auto& adjust : std::vector<std::function<void(ClientOptions&)>>{
           [](ClientOptions& options) { options.ca_pem = "nonsense"; },
           [](ClientOptions& options) { options.ca_sha256 = "abcd"; },
           [](ClientOptions& options) { options.ca_sha256 = std::string(64, 'x'); },
           [&directory](ClientOptions& options) { options.ca_file = directory / "none.pem"; },
           [&directory](ClientOptions& options) { options.ca_file = directory / "empty.pem"; },
           [&directory](ClientOptions& options) { options.ca_file = directory / "bad.pem"; },
       }) {
    ClientOptions options;
    options.url = "https://localhost";
    adjust(options);
    EXPECT_FALSE(Client::create(std::move(options)));
  }
}

TEST(ClientTls, TheServerTakesANewCertificateWhileConnectionsGoOn) {
  const Authority before("before");
  const Authority after("after");
  TlsServer server(before);
  const auto with = [&server](const Authority& authority) {
    return client_for(server.url(),
                      [&authority](ClientOptions& options) { options.ca_pem = authority.pem(); });
  };
  const auto connected = with(before);
  ASSERT_TRUE(connected->call({}));
  server.install({"", ""});
  EXPECT_FALSE((**server.server).reload_certificate()) << "an empty file is no certificate";
  EXPECT_TRUE(with(before)->call({})) << "the old one stays on an error";
  IssuedCertificate mixed = after.issue("IP:127.0.0.1");
  mixed.key_pem = server.issued.key_pem;
  server.install(mixed);
  EXPECT_FALSE((**server.server).reload_certificate()) << "a key of another certificate";
  server.install(after.issue("IP:127.0.0.1"));
  ASSERT_TRUE((**server.server).reload_certificate());
  EXPECT_TRUE(connected->call({})) << "an open connection was hurt";
  EXPECT_FALSE(with(before)->call({}));
  EXPECT_TRUE(with(after)->call({}));
}

TEST(ClientTls, LargeBodiesBothWays) {
  const Authority ours("ours");
  const TlsServer server(ours);
  const auto client =
      client_for(server.url(), [&ours](ClientOptions& options) { options.ca_pem = ours.pem(); });
  const std::string body(10'000'000, 'z');
  const auto answer = client->call({.method = "POST", .target = "/", .body = body});
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->body, "POST / " + body + "\n");
}

struct OfferCase {
  int min_version;
  int max_version;
  const char* ciphers;  // of TLS 1.2
  const char* agreed;   // null: no handshake
};

// Microsoft Entra offers TLS 1.2 with ECDHE suites; nothing older and nothing without forward
// secrecy must get in.
TEST(ServerTls, VersionsAndSuites) {
  const Authority ours("ours");
  const TlsServer server(ours);
  for (const OfferCase& c : {
           OfferCase{TLS1_3_VERSION, TLS1_3_VERSION, "DEFAULT", "TLSv1.3"},
           OfferCase{TLS1_2_VERSION, TLS1_2_VERSION, "ECDHE-ECDSA-AES256-GCM-SHA384", "TLSv1.2"},
           OfferCase{TLS1_2_VERSION, TLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256", "TLSv1.2"},
           OfferCase{TLS1_2_VERSION, TLS1_2_VERSION, "ECDHE-ECDSA-AES128-SHA256", nullptr},
           OfferCase{TLS1_2_VERSION, TLS1_2_VERSION, "AES256-GCM-SHA384", nullptr},
           OfferCase{TLS1_1_VERSION, TLS1_1_VERSION, "ALL:@SECLEVEL=0", nullptr},
       }) {
    const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context(
        SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
    SSL_CTX_set_min_proto_version(context.get(), c.min_version);
    SSL_CTX_set_max_proto_version(context.get(), c.max_version);
    ASSERT_EQ(SSL_CTX_set_cipher_list(context.get(), c.ciphers), 1);
    const testing::RawPeer peer(server.server->address());
    const SslPtr ssl(SSL_new(context.get()));
    SSL_set_fd(ssl.get(), peer.fd());
    if (SSL_connect(ssl.get()) == 1) {
      EXPECT_STREQ(SSL_get_version(ssl.get()), c.agreed) << c.ciphers;
    } else {
      EXPECT_EQ(c.agreed, nullptr) << c.ciphers;
      ERR_clear_error();
    }
  }
}

// A reader slower than the server: what TLS began to send must be offered again unchanged.
TEST(ServerTls, StreamsAFileToASlowReader) {
  const Authority ours("ours");
  const TempDirectory directory;
  std::string content(20'000'000, '\0');
  for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i * 7 + i / 255);
  testing::write_text(directory / "file", content);
  const auto fd = std::make_shared<UniqueFd>(::open((directory / "file").c_str(), O_RDONLY));
  const TlsServer server(ours, "IP:127.0.0.1", [fd](const Request&, Context&) {
    Response response;
    response.body = FileBody{fd, 0, 20'000'000};
    return response;
  });
  const auto client =
      client_for(server.url(), [&ours](ClientOptions& options) { options.ca_pem = ours.pem(); });
  std::size_t at = 0;
  int pieces = 0;
  const auto answer = client->call({.sink = [&](std::string_view piece) -> Result<void> {
    if (content.compare(at, piece.size(), piece) != 0) return fail(Code::kDataLoss, "differs");
    at += piece.size();
    if (++pieces % 64 == 0) std::this_thread::sleep_for(milliseconds(1));
    return {};
  }});
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(at, content.size());
}

TEST(ClientTls, PlainSpeechToATlsPortAndBack) {
  const Authority ours("ours");
  const TlsServer server(ours);
  testing::RawPeer plain(server.server->address());
  plain.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(testing::status_of(plain.read_to_end()), 0);
  RunningServer plain_server(echo);
  const auto answer = client_for("https://" + plain_server.address())->call({});
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Code::kUnavailable);
  EXPECT_THAT(answer.error().message, HasSubstr("TLS with "));
}

}  // namespace
}  // namespace roster::http
