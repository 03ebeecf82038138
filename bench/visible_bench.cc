// How long after a PATCH is answered the NSS module of a node tells the new state: one person is
// deactivated and reactivated in turn over SCIM, and the module is asked every 100 us, from a
// process that sleeps in between. Set against a bound measured in the same rounds, of what cannot
// be left out: one round trip to the hub over an open connection, and one small file that is
// written, fsynced, renamed and its directory fsynced beside the node's cache.
//   visible_bench HUB-URL ORG TOKEN-FILE CA-FILE MODULE LOGIN BOUND-DIR ROUNDS

#include <dlfcn.h>
#include <nss.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "http/client.h"

namespace {

using namespace roster;
using Steady = std::chrono::steady_clock;

constexpr long kPollNs = 100'000;
constexpr auto kGiveUp = std::chrono::seconds(10);

[[noreturn]] void die(const std::string& why) {
  std::fprintf(stderr, "visible_bench: %s\n", why.c_str());
  std::exit(1);
}

double ms_since(Steady::time_point begin) {
  return std::chrono::duration<double, std::milli>(Steady::now() - begin).count();
}

void sleep_ns(long ns) {
  const struct timespec pause{.tv_sec = 0, .tv_nsec = ns};
  ::nanosleep(&pause, nullptr);
}

class Module {
 public:
  explicit Module(const char* path) {
    void* handle = ::dlopen(path, RTLD_NOW);
    if (handle == nullptr) die(::dlerror());
    getpwnam_ = reinterpret_cast<decltype(getpwnam_)>(::dlsym(handle, "_nss_roster_getpwnam_r"));
    if (getpwnam_ == nullptr) die(::dlerror());
  }
  bool locked(const char* name) const {
    struct passwd user{};
    char buffer[4096];
    int error = 0;
    if (getpwnam_(name, &user, buffer, sizeof buffer, &error) != NSS_STATUS_SUCCESS) {
      die(std::string("the node does not know ") + name);
    }
    return std::string_view(user.pw_shell).ends_with("nologin");
  }

 private:
  nss_status (*getpwnam_)(const char*, struct passwd*, char*, std::size_t, int*) = nullptr;
};

class Hub {
 public:
  Hub(char** argv) {
    auto token = read_private_file(argv[3], 4096);
    if (!token) die(token.error().message);
    http::ClientOptions options;
    options.url = argv[1];
    options.bearer_token = Secret(token->substr(0, token->find('\n')));
    options.ca_file = argv[4];
    auto client = http::Client::create(options);
    if (!client) die(client.error().message);
    client_ = std::move(*client);
    users_ = std::string("/api/organizations/") + argv[2] + "/scim/v2/Users";
  }
  std::string id_of(const std::string& user_name) {
    const std::string body =
        call("GET", users_ + "?filter=userName%20eq%20%22" + user_name + "%22", {}, 200);
    const std::size_t at = body.find("\"id\":\"");
    if (at == std::string::npos) die("no " + user_name);
    return body.substr(at + 6, 36);
  }
  void set_active(const std::string& id, bool active) {
    const json::object body{
        {"schemas", json::array{"urn:ietf:params:scim:api:messages:2.0:PatchOp"}},
        {"Operations", json::array{json::object{{"op", "replace"},
                                                {"value", json::object{{"active", active}}}}}}};
    call("PATCH", users_ + "/" + id, json::serialize(body), 200);
  }
  void round_trip() { call("GET", "/healthz", {}, 200); }

 private:
  std::string call(const char* method, const std::string& target, std::string body, int expected) {
    http::ClientRequest request{.method = method, .target = target};
    if (!body.empty()) request.headers.set("Content-Type", "application/scim+json");
    request.body = std::move(body);
    auto answer = client_->call(request);
    if (!answer) die(answer.error().message);
    if (answer->status != expected) die(std::to_string(answer->status) + " " + answer->body);
    return std::move(answer->body);
  }
  std::unique_ptr<http::Client> client_;
  std::string users_;
};

double percentile(std::vector<double> values, double share) {
  std::ranges::sort(values);
  return values[static_cast<std::size_t>(share * static_cast<double>(values.size() - 1))];
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 9) {
    die("usage: HUB-URL ORG TOKEN-FILE CA-FILE MODULE LOGIN BOUND-DIR ROUNDS");
  }
  ::prctl(PR_SET_TIMERSLACK, 1UL);
  const Module module(argv[5]);
  Hub hub(argv);
  const std::string login = argv[6];
  const std::filesystem::path bound_file = std::filesystem::path(argv[7]) / "bound";
  const std::string id = hub.id_of(login + "@example.org");
  std::vector<double> answered;
  std::vector<double> visible;
  std::vector<double> bound;
  const int rounds = std::atoi(argv[8]);
  for (int round = 0; round < rounds; ++round) {
    const bool active = round % 2 == 1;
    const auto sent = Steady::now();
    hub.set_active(id, active);
    answered.push_back(ms_since(sent));
    const auto begin = Steady::now();
    while (module.locked(login.c_str()) == active) {
      if (Steady::now() - begin > kGiveUp) die("not visible within 10 s");
      sleep_ns(kPollNs);
    }
    visible.push_back(ms_since(begin));
    sleep_ns(5'000'000 + 1'000'000 * (round % 20));
    const auto bound_begin = Steady::now();
    hub.round_trip();
    if (!write_file_atomic(bound_file, std::string(4096, 'b'), 0600)) die("cannot write");
    bound.push_back(ms_since(bound_begin));
    sleep_ns(5'000'000);
  }
  ::unlink(bound_file.c_str());
  std::printf(
      "{\"rounds\":%d,\"visible_median_ms\":%.3f,\"visible_p99_ms\":%.3f,\"visible_max_ms\":%.3f,"
      "\"patch_median_ms\":%.3f,\"patch_p99_ms\":%.3f,\"bound_median_ms\":%.3f,"
      "\"bound_p99_ms\":%.3f}\n",
      rounds, percentile(visible, 0.5), percentile(visible, 0.99), percentile(visible, 1),
      percentile(answered, 0.5), percentile(answered, 0.99), percentile(bound, 0.5),
      percentile(bound, 0.99));
}
