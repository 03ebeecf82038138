// Identity providers and readers in a hurry: one kind of request after the other over kept-alive
// connections, one in flight on each. One line of JSON on stdout per operation. See --help.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <fstream>
#include <functional>
#include <queue>
#include <random>
#include <sstream>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "base/encoding.h"
#include "load.h"

namespace {

using namespace roster;
using namespace roster::bench;
using std::chrono::nanoseconds;
using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kPeoplePerBulk = 100;
constexpr std::chrono::seconds kDrain{10};

struct Options {
  std::string url;
  std::string token_file;
  std::string ca_file;  // empty for plain HTTP
  std::string ids_file;
  std::string tenants_file;
  std::uint64_t clients = 1;
  std::uint64_t count = 0;
  std::uint64_t first = 0;
  std::uint64_t keys = 0;
  std::uint64_t people = 0;
  std::uint64_t members = 0;
  std::uint64_t page = 100;
  std::uint64_t dropped_digits = 1;
  double rate = 25;
  double seconds = 20;
};

// --- what is sent --------------------------------------------------------------------------------

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

/// Some 500 bytes without keys, the attributes that Okta sends. Nothing in it needs an escape.
std::string person(std::uint64_t n, std::uint64_t keys) {
  static const std::string title(120, 't');
  const std::string number = std::to_string(n);
  std::string text = R"({"schemas":["urn:ietf:params:scim:schemas:core:2.0:User")";
  if (keys > 0) {
    text += R"(,"urn:coreweave:params:scim:schemas:extension:coreweave:2.0:CoreWeaveUser")";
  }
  text += R"(],"userName":"person)" + number + R"(@example.org","externalId":"00u)" + number;
  text += R"(","displayName":"Person Number )" + number + R"(","name":{"givenName":"Person",)";
  text += R"("familyName":")" + number + R"("},"emails":[{"primary":true,"type":"work",)";
  text += R"("value":"person)" + number + R"(@example.org"}],"title":")" + title;
  text += R"(","active":true)";
  for (std::uint64_t key = 0; key < keys; ++key) {
    text += key > 0 ? "\",\""
                    : R"(,"urn:coreweave:params:scim:schemas:extension:coreweave:2.0:)"
                      R"(CoreWeaveUser":{"sunkSshKeys":[")";
    text += ssh_key(n, key);
  }
  return text += keys > 0 ? "\"]}}" : "}";
}

/// `members` of everybody, spread, no two alike, and never one of the last `spared`.
std::string group(const std::string& name, std::uint64_t n, std::uint64_t members,
                  const std::vector<std::string>& ids, std::uint64_t spared = 0) {
  const std::uint64_t among = ids.size() - spared;
  std::string text = R"({"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],)";
  text += R"("displayName":")" + name + R"(","members":[)";
  for (std::uint64_t i = 0; i < members; ++i) {
    text += i > 0 ? R"(,{"value":")" : R"({"value":")";
    text += ids.at((n * 7919 + i * (among / members)) % among) + "\"}";
  }
  return text + "]}";
}

std::string patch(std::string_view operation) {
  return std::string(R"({"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],)"
                     R"("Operations":[)")
      .append(operation)
      .append("]}");
}

std::string filter(std::string_view attribute, std::string_view op, const std::string& value) {
  return std::string("/Users?filter=")
      .append(attribute)
      .append("%20")
      .append(op)
      .append("%20%22" + value + "%22");
}

std::string by_user_name(std::uint64_t n) {
  return filter("userName", "eq", "person" + std::to_string(n) + "@example.org");
}

// --- ids -----------------------------------------------------------------------------------------

std::string id_of(const std::string& answer) {
  constexpr std::string_view kName = "\"id\":\"";
  const std::size_t at = answer.find(kName);
  if (at == std::string::npos) die("an answer without an id: " + answer);
  const std::size_t begin = at + kName.size();
  return answer.substr(begin, answer.find('"', begin) - begin);
}

std::vector<std::string> read_lines(const std::string& file) {
  std::ifstream in(file);
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  if (lines.empty()) die("nothing in " + file);
  return lines;
}

/// One a line, after those that are there.
void append_ids(const std::string& file, const std::vector<std::string>& ids) {
  if (file.empty()) return;
  std::ofstream out(file, std::ios::app);
  for (const std::string& id : ids) out << id << '\n';
  if (!out.flush()) die("cannot write " + file);
}

// --- the operations ------------------------------------------------------------------------------

void nothing(std::uint64_t, const std::string&) {}

class Load {
 public:
  explicit Load(const Options& options)
      : options_(options), service_(options.url, options.token_file, options.ca_file) {
    for (std::uint64_t i = 0; i < options.clients; ++i) {
      connections_.emplace_back(service_.connect());
    }
    // Whatever the first request on a connection costs is not what is measured.
    Poller poller(connections_);
    for (Connection& connection : connections_) {
      connection.send(service_.get("/ServiceProviderConfig"));
      while (!connection.receive()) poller.wait(nanoseconds(-1));
    }
  }

  void post() {
    std::vector<std::string> ids(options_.count);
    run(
        "post", options_.count,
        [this](std::uint64_t n) {
          return service_.with_body("POST", "/Users", person(options_.first + n, options_.keys));
        },
        [&ids](std::uint64_t n, const std::string& body) { ids[n] = id_of(body); });
    append_ids(options_.ids_file, ids);
  }

  void groups() {
    const auto ids = read_lines(options_.ids_file);
    if (options_.members > ids.size()) die("more members than people");
    run("groups", options_.count, [this, &ids](std::uint64_t n) {
      return service_.with_body("POST", "/Groups",
                                group("project-" + std::to_string(n), n, options_.members, ids));
    });
  }

  void get() {
    const auto ids = read_lines(options_.ids_file);
    run("get", options_.count, [this, &ids](std::uint64_t) {
      return service_.get("/Users/" + ids[random_() % ids.size()]);
    });
  }

  void find() {
    run("find", options_.count,
        [this](std::uint64_t) { return service_.get(by_user_name(random_() % options_.people)); });
  }

  void prefix() {
    // Numbers of as many digits as the highest: each prefix then matches equally many.
    const std::string highest = std::to_string(options_.people - 1);
    if (options_.dropped_digits >= highest.size()) die("too few people for such prefixes");
    std::uint64_t lowest = 1;
    for (std::size_t i = 1; i < highest.size(); ++i) lowest *= 10;
    run("prefix", options_.count, [this, lowest](std::uint64_t) {
      std::string number = std::to_string(lowest + random_() % (options_.people - lowest));
      number.resize(number.size() - options_.dropped_digits);
      return service_.get(filter("externalId", "sw", "00u" + number));
    });
  }

  void list() {
    const std::uint64_t pages = (options_.people + options_.page - 1) / options_.page;
    const std::string count = "&count=" + std::to_string(options_.page);
    Samples samples = closed_loop(
        connections_, pages,
        [this, &count](std::uint64_t n) {
          const std::string start = std::to_string(n * options_.page + 1);
          return service_.get("/Users?startIndex=" + start + count);
        },
        nothing);
    samples.print("list", connections_.size(), options_.people);
  }

  void member() {
    const auto ids = read_lines(options_.ids_file);
    if (options_.members + options_.count > ids.size()) die("too few people");
    std::string target = "/Groups/";
    const std::string name = "load-" + std::to_string(random_());
    closed_loop(
        connections_, 1,
        [this, &ids, &name](std::uint64_t) {
          return service_.with_body("POST", "/Groups",
                                    group(name, 0, options_.members, ids, options_.count));
        },
        [&target](std::uint64_t, const std::string& body) { target += id_of(body); });
    const std::size_t outside = ids.size() - options_.count;
    run("member_add", options_.count, [this, &ids, &target, outside](std::uint64_t n) {
      return service_.with_body("PATCH", target,
                                patch(R"({"op":"add","path":"members","value":[{"value":")" +
                                      ids[outside + n] + R"("}]})"));
    });
    run("member_remove", options_.count, [this, &ids, &target, outside](std::uint64_t n) {
      return service_.with_body(
          "PATCH", target,
          patch(R"({"op":"remove","path":"members[value eq \")" + ids[outside + n] + R"(\"]"})"));
    });
  }

  void bulk() {
    const std::uint64_t requests = options_.count / kPeoplePerBulk;
    Samples samples = closed_loop(
        connections_, requests,
        [this](std::uint64_t n) {
          std::string body = R"({"schemas":["urn:ietf:params:scim:api:messages:2.0:BulkRequest"],)"
                             R"("Operations":[)";
          for (std::uint64_t i = 0; i < kPeoplePerBulk; ++i) {
            const std::uint64_t number = n * kPeoplePerBulk + i;
            body += i > 0 ? "," : "";
            body += R"({"method":"POST","path":"/Users","bulkId":")" + std::to_string(number) +
                    R"(","data":)" + person(options_.first + number, options_.keys) + "}";
          }
          return service_.with_body("POST", "/Bulk", body + "]}");
        },
        [](std::uint64_t, const std::string& body) {
          std::uint64_t made = 0;
          for (std::size_t at = 0; (at = body.find(R"("status":"201")", at)) != body.npos; ++at) {
            ++made;
          }
          if (made != kPeoplePerBulk) die("a Bulk that did not make everybody: " + body);
        });
    samples.print("bulk", connections_.size(), requests * kPeoplePerBulk);
  }

 private:
  void run(
      std::string_view operation, std::uint64_t count,
      const std::function<std::string(std::uint64_t n)>& make,
      const std::function<void(std::uint64_t n, const std::string& body)>& answered = nothing) {
    closed_loop(connections_, count, make, answered).print(operation, connections_.size(), count);
  }

  const Options& options_;
  const Service service_;
  std::vector<Connection> connections_;
  std::mt19937_64 random_{std::random_device{}()};
};

// --- many organizations at once ------------------------------------------------------------------

/// One organization's identity provider: what it asks, and when.
struct Tenant {
  Service service;
  std::vector<std::string> ids;
  std::uint64_t next_person = 0;
  std::deque<Clock::time_point> due = {};  // the first one is in flight when the connection is busy
};

/// 60 % GET by id, 25 % filter on userName, 10 % PATCH of active or displayName, 5 % POST.
std::string mixed_request(Tenant& tenant, std::mt19937_64& random) {
  const std::uint64_t kind = random() % 100;
  const std::string user = "/Users/" + tenant.ids[random() % tenant.ids.size()];
  if (kind < 60) return tenant.service.get(user);
  if (kind < 85) return tenant.service.get(by_user_name(random() % tenant.ids.size()));
  if (kind < 90) {
    const std::string active = random() % 2 == 0 ? "true" : "false";
    return tenant.service.with_body("PATCH", user,
                                    patch(R"({"op":"replace","value":{"active":)" + active + "}}"));
  }
  if (kind < 95) {
    const std::string name = "Renamed " + std::to_string(random());
    return tenant.service.with_body(
        "PATCH", user, patch(R"({"op":"replace","path":"displayName","value":")" + name + R"("})"));
  }
  return tenant.service.with_body("POST", "/Users", person(tenant.next_person++, 0));
}

/// Requests fall due at random (Poisson) at a fixed mean rate, whether or not the ones before are
/// answered; latency counts from when they were due. One connection per tenant.
class OpenLoop {
 public:
  OpenLoop(std::vector<Tenant> tenants, std::vector<Connection> connections, double rate)
      : tenants_(std::move(tenants)), connections_(std::move(connections)), gap_s_(rate) {}

  void run(std::chrono::duration<double> length) {
    Poller poller(connections_);
    const auto end = Clock::now() + std::chrono::duration_cast<nanoseconds>(length);
    for (std::size_t i = 0; i < tenants_.size(); ++i) plan(i, Clock::now());
    while (true) {
      const auto now = Clock::now();
      while (!planned_.empty() && planned_.top().first <= now) fall_due(end);
      if (planned_.empty() && in_flight_ == 0) return;
      if (now > end + kDrain) die("requests are left over: the server does not keep up");
      const auto timeout = planned_.empty() ? nanoseconds(kDrain) : planned_.top().first - now;
      for (const std::size_t i : poller.wait(std::max(timeout, nanoseconds::zero()))) take(i);
    }
  }

  void print() {
    samples_.print("mixed", connections_.size(), samples_.size(),
                   ",\"failed\":" + std::to_string(failed_));
  }

 private:
  using Planned = std::pair<Clock::time_point, std::size_t>;

  void plan(std::size_t i, Clock::time_point after) {
    const std::chrono::duration<double> gap(gap_s_(random_));
    planned_.emplace(after + std::chrono::duration_cast<nanoseconds>(gap), i);
  }

  void fall_due(Clock::time_point end) {
    const auto [at, i] = planned_.top();
    planned_.pop();
    if (at > end) return;
    plan(i, at);
    tenants_[i].due.push_back(at);
    ++in_flight_;
    if (connections_[i].idle()) send(i);
  }

  void send(std::size_t i) { connections_[i].send(mixed_request(tenants_[i], random_)); }

  void take(std::size_t i) {
    if (!connections_[i].receive()) return;
    samples_.add(Clock::now() - tenants_[i].due.front());
    tenants_[i].due.pop_front();
    --in_flight_;
    if (connections_[i].status() / 100 != 2) ++failed_;
    if (!tenants_[i].due.empty()) send(i);
  }

  std::vector<Tenant> tenants_;
  std::vector<Connection> connections_;
  std::exponential_distribution<double> gap_s_;
  std::mt19937_64 random_{std::random_device{}()};
  std::priority_queue<Planned, std::vector<Planned>, std::greater<>> planned_;
  std::uint64_t in_flight_ = 0;  // due and not answered
  std::uint64_t failed_ = 0;
  Samples samples_;
};

void mixed(const Options& options) {
  std::vector<Tenant> tenants;
  std::vector<Connection> connections;
  for (const std::string& line : read_lines(options.tenants_file)) {
    std::istringstream words(line);
    std::string url;
    std::string token_file;
    std::string ids_file;
    words >> url >> token_file >> ids_file;
    auto ids = read_lines(ids_file);
    // Numbers that no run before this one has given to anybody.
    const std::uint64_t next_person = std::uint64_t{std::random_device{}()} << 20;
    tenants.push_back({Service(url, token_file, options.ca_file), std::move(ids), next_person});
    connections.emplace_back(tenants.back().service.connect());
  }
  OpenLoop loop(std::move(tenants), std::move(connections), options.rate);
  loop.run(std::chrono::duration<double>(options.seconds));
  loop.print();
}

// --- the command line ----------------------------------------------------------------------------

CLI::App* add_operation(CLI::App& app, Options& options, const std::string& name,
                        const std::string& what, void (Load::*operation)()) {
  CLI::App* sub = app.add_subcommand(name, what);
  sub->add_option("--url", options.url, "base of the SCIM service")->required();
  sub->add_option("--token-file", options.token_file)->required();
  sub->add_option("--clients", options.clients, "connections")->check(CLI::PositiveNumber);
  sub->callback([&options, operation] { (Load(options).*operation)(); });
  return sub;
}

void add_operations(CLI::App& app, Options& options) {
  const auto count = [&options](CLI::App* sub, const char* what) {
    sub->add_option("--count", options.count, what)->required()->check(CLI::PositiveNumber);
    return sub;
  };
  const auto ids = [&options](CLI::App* sub) {
    return sub->add_option("--ids", options.ids_file, "file with the people's ids, one a line");
  };
  const auto people = [&options](CLI::App* sub) {
    sub->add_option("--people", options.people, "how many there are")
        ->required()
        ->check(CLI::PositiveNumber);
  };
  for (auto [name, what, operation] :
       {std::tuple{"post", "POST /Users; appends the ids to the file", &Load::post},
        std::tuple{"bulk", "POST /Bulk with 100 people each", &Load::bulk}}) {
    auto* sub = count(add_operation(app, options, name, what, operation), "people");
    sub->add_option("--first", options.first, "number of the first person");
    sub->add_option("--keys", options.keys, "ed25519 keys of each person");
    ids(sub);
  }
  auto* groups = add_operation(app, options, "groups", "POST /Groups", &Load::groups);
  ids(count(groups, "groups"))->required();
  groups->add_option("--members", options.members, "of each group")
      ->required()
      ->check(CLI::PositiveNumber);
  ids(count(add_operation(app, options, "get", "GET by id, random people", &Load::get), "requests"))
      ->required();
  people(count(add_operation(app, options, "find", "filter=userName eq", &Load::find), "requests"));
  auto* prefix =
      add_operation(app, options, "prefix", "filter=externalId sw, random people", &Load::prefix);
  people(count(prefix, "requests"));
  prefix->add_option("--dropped-digits", options.dropped_digits,
                     "of the person's number: 1 matches 11 people, 2 match 111");
  auto* list = add_operation(app, options, "list", "pages of everybody by startIndex", &Load::list);
  people(list);
  list->add_option("--page", options.page, "people on a page")->check(CLI::PositiveNumber);
  auto* member = add_operation(app, options, "member",
                               "PATCH that adds one member to a new group, then that removes one",
                               &Load::member);
  ids(count(member, "additions, and as many removals"))->required();
  member->add_option("--members", options.members, "of the group")
      ->required()
      ->check(CLI::PositiveNumber);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Load on a SCIM server; one line of JSON per operation", "scim_load");
  Options options;
  app.add_option("--ca-file", options.ca_file, "authority to trust, for https");
  app.require_subcommand(1);
  add_operations(app, options);
  auto* many = app.add_subcommand("mixed", "many organizations at once, at a fixed rate each");
  many->add_option("--tenants", options.tenants_file, "lines of URL, TOKEN-FILE and IDS-FILE")
      ->required();
  many->add_option("--rate", options.rate, "requests per second of each")
      ->check(CLI::PositiveNumber);
  many->add_option("--seconds", options.seconds)->check(CLI::PositiveNumber);
  many->callback([&options] { mixed(options); });
  CLI11_PARSE(app, argc, argv);
}
