// An identity provider in a hurry: creates people, then groups of them, over SCIM with kept-alive
// connections, one request in flight on each. One line of JSON on stdout per kind of resource.
//   scim_load BASE-URL TOKEN-FILE CA-FILE CLIENTS PEOPLE [KEYS [GROUPS MEMBERS]]
// CA-FILE is "-" for plain HTTP on loopback. KEYS: ed25519 keys of each person, default none.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/encoding.h"
#include "base/file.h"
#include "base/json.h"
#include "http/client.h"

namespace {

using namespace roster;
using Clock = std::chrono::steady_clock;

constexpr const char* kCoreUser = "urn:ietf:params:scim:schemas:core:2.0:User";
constexpr const char* kCoreGroup = "urn:ietf:params:scim:schemas:core:2.0:Group";
constexpr const char* kCoreWeaveUser =
    "urn:coreweave:params:scim:schemas:extension:coreweave:2.0:CoreWeaveUser";

[[noreturn]] void die(const std::string& why) {
  std::fprintf(stderr, "scim_load: %s\n", why.c_str());
  std::exit(1);
}

/// A line of authorized_keys with a key that nobody has the private half of.
std::string ssh_key(std::uint64_t person, std::uint64_t key) {
  std::mt19937_64 random(person * 100 + key);
  std::string blob("\0\0\0\x0bssh-ed25519\0\0\0\x20", 19);
  for (int i = 0; i < 4; ++i) {
    const std::uint64_t word = random();
    blob.append(reinterpret_cast<const char*>(&word), sizeof word);
  }
  return "ssh-ed25519 " + base64_encode(blob) + " person" + std::to_string(person);
}

/// Some 500 bytes without keys, the attributes that Okta sends.
std::string person(std::uint64_t n, std::uint64_t keys) {
  const std::string name = "person" + std::to_string(n);
  json::object body{
      {"schemas", json::array{kCoreUser, kCoreWeaveUser}},
      {"userName", name + "@example.org"},
      {"externalId", "00u" + std::to_string(n)},
      {"displayName", "Person Number " + std::to_string(n)},
      {"name", json::object{{"givenName", "Person"}, {"familyName", std::to_string(n)}}},
      {"emails", json::array{json::object{
                     {"primary", true}, {"type", "work"}, {"value", name + "@example.org"}}}},
      {"title", std::string(120, 't')},
      {"active", true}};
  if (keys > 0) {
    json::array lines;
    for (std::uint64_t key = 0; key < keys; ++key) lines.push_back(json::string(ssh_key(n, key)));
    body[kCoreWeaveUser] = json::object{{"sunkSshKeys", std::move(lines)}};
  }
  return json::serialize(body);
}

std::string group(std::uint64_t n, std::uint64_t members, const std::vector<std::string>& ids) {
  json::array list;
  for (std::uint64_t i = 0; i < members; ++i) {
    // Spread over everybody, and no two alike within a group.
    list.push_back(
        json::object{{"value", ids.at((n * 7919 + i * (ids.size() / members)) % ids.size())}});
  }
  return json::serialize(json::object{{"schemas", json::array{kCoreGroup}},
                                      {"displayName", "project-" + std::to_string(n)},
                                      {"members", std::move(list)}});
}

struct Load {
  const char* kind;
  const char* target;
  std::uint64_t count;
  std::uint64_t clients;
  std::function<std::string(std::uint64_t n)> body;
};

/// Sends them all and returns the ids in order; any answer but 201 ends the program.
std::vector<std::string> run(const http::ClientOptions& options, const Load& load) {
  std::vector<std::string> bodies(load.count);
  for (std::uint64_t n = 0; n < load.count; ++n) bodies[n] = load.body(n);
  std::vector<std::string> ids(load.count);
  std::vector<double> took_us(load.count);
  std::atomic<std::uint64_t> next = 0;
  std::vector<std::unique_ptr<http::Client>> clients;
  for (std::uint64_t i = 0; i < load.clients; ++i) {
    auto client = http::Client::create(options);
    if (!client) die(client.error().message);
    // Connected before the clock runs; what it answers does not matter.
    if (auto hello = (*client)->call({.target = "/ServiceProviderConfig"}); !hello) {
      die(hello.error().message);
    }
    clients.push_back(std::move(*client));
  }
  const auto work = [&bodies, &ids, &took_us, &next, &load](http::Client& client) {
    for (std::uint64_t n = next++; n < load.count; n = next++) {
      http::ClientRequest request{.method = "POST", .target = load.target};
      request.headers.set("Content-Type", "application/scim+json");
      request.body = std::move(bodies[n]);
      const auto begin = Clock::now();
      const auto answer = client.call(request);
      took_us[n] = std::chrono::duration<double, std::micro>(Clock::now() - begin).count();
      if (!answer) die(answer.error().message);
      if (answer->status != 201) die(std::to_string(answer->status) + " " + answer->body);
      const std::size_t at = answer->body.find("\"id\":\"");
      if (at == std::string::npos) die("an answer without an id");
      ids[n] = answer->body.substr(at + 6, 36);
    }
  };
  const auto begin = Clock::now();
  std::vector<std::thread> threads;
  for (auto& client : clients) threads.emplace_back(work, std::ref(*client));
  for (std::thread& thread : threads) thread.join();
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  std::ranges::sort(took_us);
  const auto at = [&took_us](double share) {
    return took_us[static_cast<std::size_t>(share * static_cast<double>(took_us.size() - 1))];
  };
  std::printf(
      "{\"kind\":\"%s\",\"clients\":%llu,\"requests\":%llu,\"seconds\":%.3f,\"per_second\":%.1f,"
      "\"median_us\":%.1f,\"p99_us\":%.1f}\n",
      load.kind, static_cast<unsigned long long>(load.clients),
      static_cast<unsigned long long>(load.count), seconds,
      static_cast<double>(load.count) / seconds, at(0.5), at(0.99));
  std::fflush(stdout);
  return ids;
}

}  // namespace

int main(int argc, char** argv) {
  const auto number = [argc, argv](int index) -> std::uint64_t {
    return index < argc ? std::strtoull(argv[index], nullptr, 10) : 0;
  };
  const std::uint64_t clients = number(4);
  const std::uint64_t people = number(5);
  const std::uint64_t keys = number(6);
  const std::uint64_t groups = number(7);
  const std::uint64_t members = number(8);
  if (clients == 0 || people == 0 || (groups > 0 && (members == 0 || members > people))) {
    die("usage: BASE-URL TOKEN-FILE CA-FILE CLIENTS PEOPLE [KEYS [GROUPS MEMBERS]]");
  }
  auto token = read_private_file(argv[2], 4096);
  if (!token) die(token.error().message);
  http::ClientOptions options;
  options.url = argv[1];
  options.bearer_token = Secret(token->substr(0, token->find('\n')));
  if (std::string_view(argv[3]) != "-") options.ca_file = argv[3];
  const auto ids = run(options, {.kind = "users",
                                 .target = "/Users",
                                 .count = people,
                                 .clients = clients,
                                 .body = [keys](std::uint64_t n) { return person(n, keys); }});
  if (groups > 0) {
    run(options, {.kind = "groups",
                  .target = "/Groups",
                  .count = groups,
                  .clients = clients,
                  .body = [members, &ids](std::uint64_t n) { return group(n, members, ids); }});
  }
}
