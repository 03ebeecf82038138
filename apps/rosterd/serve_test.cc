// The real program: flags, signals, exit statuses, TLS as a client sees it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/file.h"
#include "http/client.h"
#include "store/testing/engines.h"

namespace roster::rosterd {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr std::chrono::seconds kPatience{30};

/// A running rosterd; ended by the destructor at the latest.
class Program {
 public:
  explicit Program(std::vector<std::string> arguments, std::vector<std::string> environment = {}) {
    arguments.insert(arguments.begin(), ROSTERD_PROGRAM);
    int out[2];
    int err[2];
    EXPECT_EQ(::pipe(out), 0);
    EXPECT_EQ(::pipe(err), 0);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions, err[1], STDERR_FILENO);
    for (const int fd : {out[0], err[0], out[1], err[1]}) {
      ::posix_spawn_file_actions_addclose(&actions, fd);
    }
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    std::vector<char*> envp;
    for (std::string& variable : environment) envp.push_back(variable.data());
    envp.push_back(nullptr);
    EXPECT_EQ(::posix_spawn(&pid_, ROSTERD_PROGRAM, &actions, nullptr, argv.data(), envp.data()),
              0);
    ::posix_spawn_file_actions_destroy(&actions);
    ::close(out[1]);
    ::close(err[1]);
    out_ = UniqueFd(out[0]);
    err_ = UniqueFd(err[0]);
  }
  ~Program() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
  }

  /// Reads the log until `text` is there; gives all that was read so far.
  std::string wait_for_log(const std::string& text) {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (log_.find(text) == std::string::npos) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
          deadline - std::chrono::steady_clock::now());
      pollfd wait{.fd = err_.get(), .events = POLLIN, .revents = 0};
      if (left.count() <= 0 || ::poll(&wait, 1, static_cast<int>(left.count())) <= 0) break;
      if (!read_some(err_.get(), log_)) break;
    }
    EXPECT_THAT(log_, HasSubstr(text));
    return log_;
  }

  void signal(int number) { ::kill(pid_, number); }

  /// Waits for the end; the exit status, or -1 for a signal.
  int wait() {
    while (read_some(err_.get(), log_)) {
    }
    while (read_some(out_.get(), output_)) {
    }
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  const std::string& output() const { return output_; }
  const std::string& log() const { return log_; }

 private:
  static bool read_some(int fd, std::string& into) {
    char buffer[4096];
    const ssize_t got = ::read(fd, buffer, sizeof buffer);
    if (got <= 0) return false;
    into.append(buffer, static_cast<std::size_t>(got));
    return true;
  }

  pid_t pid_ = -1;
  UniqueFd out_;
  UniqueFd err_;
  std::string output_;
  std::string log_;
};

class Rosterd : public ::testing::Test {
 protected:
  std::string data_dir() const { return (temp_.path() / "hub").string(); }

  /// The operator token.
  std::string init() {
    Program program({"init", "--data-dir", data_dir(), "--org", "acme"});
    EXPECT_EQ(program.wait(), 0) << program.log();
    const std::string& out = program.output();
    EXPECT_THAT(out, StartsWith("rst_"));
    return out.substr(0, out.find('\n'));
  }

  static std::string address_in(const std::string& log) {
    const auto at = log.find("http");
    return log.substr(at, log.find_first_of(" \"\n", at) - at);
  }

  Result<http::ClientResponse> get(const std::string& url, const std::string& target,
                                   const std::string& token = {}) {
    http::ClientRequest request;
    request.target = target;
    return call(url, request, token);
  }

  Result<http::ClientResponse> call(const std::string& url, const http::ClientRequest& request,
                                    const std::string& token = {}) {
    http::ClientOptions options;
    options.url = url;
    options.ca_file = data_dir() + "/ca.pem";
    options.bearer_token = Secret(token);
    ASSIGN_OR_RETURN(const auto client, http::Client::create(std::move(options)));
    return client->call(request);
  }

  store::testing::TempDirectory temp_;
};

TEST_F(Rosterd, ServesWithTlsFromTheStartAndEndsInOrder) {
  const std::string token = init();
  Program hub({"serve", "--data-dir", data_dir(), "--listen", "127.0.0.1:0"});
  const std::string url = address_in(hub.wait_for_log("listening on"));
  EXPECT_THAT(url, StartsWith("https://127.0.0.1:"));
  const auto ready = get(url, "/readyz");
  ASSERT_TRUE(ready) << ready.error().message;
  EXPECT_EQ(ready->status, 200);
  EXPECT_EQ(get(url, "/api/v1/orgs", token)->status, 200);
  EXPECT_EQ(get(url, "/api/v1/orgs")->status, 401);
  // The Host of this port is one that meta.location may repeat, though nobody chose the port.
  EXPECT_EQ(get(url, "/api/organizations/acme/scim/v2/ServiceProviderConfig", token)->status, 200);
  hub.signal(SIGHUP);
  hub.wait_for_log("certificate reloaded");
  EXPECT_EQ(get(url, "/healthz")->status, 200);
  hub.signal(SIGTERM);
  EXPECT_EQ(hub.wait(), 0) << hub.log();
  EXPECT_THAT(hub.log(), HasSubstr("stopped"));
  EXPECT_EQ(hub.log().find(token), std::string::npos);
}

// RFC 7644 3.12: also for what no handler saw.
TEST_F(Rosterd, RefusesScimClientsInScimsForm) {
  const std::string token = init();
  Program hub({"serve", "--data-dir", data_dir(), "--listen", "127.0.0.1:0"});
  const std::string url = address_in(hub.wait_for_log("listening on"));
  http::ClientRequest request;
  request.method = "POST";
  request.target = "/scim/v2/acme/Users";
  request.body = std::string((1 << 20) + 1, 'x');
  const auto refused = call(url, request);
  ASSERT_TRUE(refused) << refused.error().message;
  EXPECT_EQ(refused->status, 413);
  EXPECT_EQ(refused->headers.get("Content-Type"), "application/scim+json");
  EXPECT_THAT(refused->body, HasSubstr(R"("status":"413")"));
  const auto unknown = get(url, "/scim/v1/acme/Users", token);
  EXPECT_EQ(unknown->status, 404);
  EXPECT_EQ(unknown->headers.get("Content-Type"), "application/scim+json");
  EXPECT_THAT(get(url, "/nothing", token)->headers.get("Content-Type"), StartsWith("text/plain"));
  hub.signal(SIGTERM);
  EXPECT_EQ(hub.wait(), 0) << hub.log();
}

// A mistyped path must not become an empty hub that tells every node that nobody is left.
TEST_F(Rosterd, ServesOnlyADatabaseThatInitMade) {
  init();
  const std::string empty = data_dir() + "/empty.db";
  ASSERT_TRUE(write_file_atomic(empty, "", 0600));
  const std::string missing = data_dir() + "/missing.db";
  for (const std::string& path : {empty, missing}) {
    Program hub({"serve", "--data-dir", data_dir(), "--listen", "127.0.0.1:0", "--database",
                 "sqlite:" + path});
    hub.wait_for_log("holds no hub");
    hub.signal(SIGTERM);
    EXPECT_GT(hub.wait(), 0);
  }
  EXPECT_FALSE(std::filesystem::exists(missing));
  EXPECT_EQ(std::filesystem::file_size(empty), 0U);
}

TEST_F(Rosterd, ARestartServesTheSameToken) {
  const std::string token = init();
  for (const int end : {SIGKILL, SIGINT}) {
    Program hub({"serve", "--data-dir", data_dir(), "--listen", "127.0.0.1:0"});
    const std::string url = address_in(hub.wait_for_log("listening on"));
    EXPECT_EQ(get(url, "/api/v1/orgs", token)->status, 200);
    hub.signal(end);
    EXPECT_EQ(hub.wait(), end == SIGINT ? 0 : -1);
  }
}

TEST_F(Rosterd, TellsTheServiceManager) {
  init();
  const std::string path = (temp_.path() / "notify").string();
  const UniqueFd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  Program hub({"serve", "--data-dir", data_dir(), "--listen", "unix:" + data_dir() + "/hub.sock",
               "--plain-http"},
              {"NOTIFY_SOCKET=" + path});
  const auto told = [&socket] {
    pollfd wait{.fd = socket.get(), .events = POLLIN, .revents = 0};
    char buffer[64];
    if (::poll(&wait, 1, 30'000) <= 0) return std::string();
    const ssize_t got = ::recv(socket.get(), buffer, sizeof buffer, 0);
    return std::string(buffer, got > 0 ? static_cast<std::size_t>(got) : 0);
  };
  EXPECT_EQ(told(), "READY=1");
  EXPECT_EQ(get("unix:" + data_dir() + "/hub.sock", "/healthz")->status, 200);
  hub.signal(SIGTERM);
  EXPECT_EQ(told(), "STOPPING=1");
  EXPECT_EQ(hub.wait(), 0);
}

TEST_F(Rosterd, OneAtATime) {
  init();
  Program first({"serve", "--data-dir", data_dir(), "--listen", "127.0.0.1:0"});
  first.wait_for_log("listening on");
  Program second({"serve", "--data-dir", data_dir(), "--listen", "127.0.0.1:0"});
  EXPECT_EQ(second.wait(), 1) << second.log();
}

TEST_F(Rosterd, SaysInOneSentenceWhyItDoesNotStart) {
  const struct {
    std::vector<std::string> arguments;
    int status;
    const char* sentence;
  } cases[] = {
      {{}, 2, ""},
      {{"serve"}, 2, "--data-dir"},
      {{"serve", "--data-dir", data_dir(), "--listen", "127.0.0.1:0"}, 1, "rosterd init"},
      {{"serve", "--data-dir", data_dir(), "--listen", "0.0.0.0:0", "--plain-http"}, 2, "clear"},
      {{"serve", "--data-dir", data_dir(), "--listen", "127.0.0.1:0", "--database",
        "postgres://localhost/roster"},
       2,
       "not there yet"},
      {{"serve", "--config", "/nonexistent/rosterd.toml"}, 1, "rosterd.toml"},
      {{"serve", "--nonsense"}, 2, "--nonsense"},
      {{"init", "--data-dir", data_dir()}, 2, "--org"},
      {{"init", "--data-dir", data_dir(), "--org", "Not A Slug"}, 2, "slug"},
      {{"token", "--data-dir", data_dir(), "--name", "x"}, 1, "rosterd init"},
  };
  for (const auto& c : cases) {
    Program program(c.arguments);
    EXPECT_EQ(program.wait(), c.status) << c.sentence << ": " << program.log();
    EXPECT_THAT(program.log() + program.output(), HasSubstr(c.sentence));
  }
  EXPECT_FALSE(std::filesystem::exists(data_dir()));
}

TEST_F(Rosterd, HelpAndVersionGoToStdout) {
  for (const char* flag : {"--help", "--version"}) {
    Program program({flag});
    EXPECT_EQ(program.wait(), 0);
    EXPECT_THAT(program.output(), HasSubstr("rosterd"));
  }
  Program serve({"serve", "--help"});
  EXPECT_EQ(serve.wait(), 0);
  EXPECT_THAT(serve.output(), HasSubstr("Examples"));
}

}  // namespace
}  // namespace roster::rosterd
