#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <thread>

#include "provider/testing.h"

// Memberships were lost elsewhere when clients changed one group at the same time
// (fleetdm/fleet#50724: a stale read and an unlocked write). Here threads with several tokens PATCH
// and read a group at random; afterwards the versions that were answered must be a serial order of
// the acknowledged PATCHes that a simple model agrees with, state by state.
namespace roster::provider {
namespace {

/// What a group holds.
struct State {
  std::string name;
  std::set<std::string> members;
  bool operator==(const State&) const = default;
};

/// What one PATCH does to the model: RFC 7644 3.5.2 on sets.
struct Change {
  struct Step {
    enum class Kind { kAdd, kRemove, kReplace } kind;
    std::vector<std::string> ids;
  };
  std::vector<Step> steps;
  std::optional<std::string> name;
  /// Members that a filter on something else than `value` matches: one of them must have been
  /// there.
  std::vector<std::string> selected;

  State operator()(State state) const {
    if (name) state.name = *name;
    for (const Step& step : steps) {
      if (step.kind == Step::Kind::kReplace) state.members.clear();
      for (const std::string& id : step.ids) {
        if (step.kind == Step::Kind::kRemove) {
          state.members.erase(id);
        } else {
          state.members.insert(id);
        }
      }
    }
    return state;
  }
};

/// An acknowledged PATCH.
struct Acknowledged {
  Change change;
  std::optional<std::int64_t> if_match;
  std::int64_t version = 0;
  std::string body;

  /// Whether it can have been carried out on `state`, which was `before`.
  bool may_follow(std::int64_t before, const State& state) const {
    const auto there = [&state](const std::string& id) { return state.members.contains(id); };
    return (!if_match || *if_match == before) &&
           (change.selected.empty() || std::ranges::any_of(change.selected, there));
  }
};

/// All that was answered about one group.
struct History {
  std::map<std::int64_t, std::vector<Acknowledged>> patches;  // by version
  std::map<std::int64_t, std::vector<State>> reads;           // by version

  /// Whether some serial order in the order of versions explains it all, from `state` at `version`
  /// on. `reached` becomes the version up to which one does.
  bool explains(std::int64_t version, const State& state, std::int64_t& reached) const {
    if (!agrees(version, state, nullptr)) return false;
    reached = std::max(reached, version);
    const auto next = patches.find(version + 1);
    if (next == patches.end()) return patches.upper_bound(version) == patches.end();
    for (const Acknowledged& patch : next->second) {
      const State after = patch.change(state);
      if (after == state || !patch.may_follow(version, state)) continue;
      if (agrees(version + 1, after, &patch) && explains(version + 1, after, reached)) return true;
    }
    return false;
  }

 private:
  /// Whether `state` is what was read at `version`, and what all PATCHes that were answered with it
  /// leave as it is, except the one that made it.
  bool agrees(std::int64_t version, const State& state, const Acknowledged* maker) const {
    if (const auto seen = reads.find(version); seen != reads.end()) {
      for (const State& read : seen->second) {
        if (read != state) return false;
      }
    }
    const auto same = patches.find(version);
    if (same == patches.end() || (maker == nullptr && version > 1)) return true;
    return std::ranges::all_of(same->second, [&](const Acknowledged& patch) {
      return &patch == maker || (patch.change(state) == state && patch.may_follow(version, state));
    });
  }
};

std::int64_t version_of(std::string_view tag) {
  EXPECT_TRUE(tag.starts_with("W/\"")) << tag;
  return std::strtoll(tag.data() + 3, nullptr, 10);
}

class GroupProperty : public ScimTest {
 protected:
  static constexpr int kThreads = 4;
  static constexpr int kRequests = 16;
  static constexpr std::size_t kUsers = 6;

  GroupProperty() {
    auto second = directory_->create_token(hub_, {.name = "rotated",
                                                  .scope = directory::Scope::kScim,
                                                  .org = acme_,
                                                  .client = "okta",
                                                  .ttl = {},
                                                  .user = {},
                                                  .join = {},
                                                  .ca_sha256 = {}});
    bearers_ = {okta_, second.value().secret.expose(), admin_};
    for (std::size_t i = 0; i < kUsers; ++i) pool_.push_back(make_user("u" + std::to_string(i)));
    for (int i = 0; i < 2; ++i) pool_.push_back(make_group("inner" + std::to_string(i)));
    make_group("taken");
  }

  void run(std::uint32_t seed) {
    history_ = {};
    newest_ = 1;
    const State first{"start" + std::to_string(seed), {pool_[0], pool_[1]}};
    group_ = make_group(first.name,
                        R"([{"value":")" + pool_[0] + R"("},{"value":")" + pool_[1] + "\"}]");
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([this, seed, t] {
        std::mt19937 random(seed * kThreads + static_cast<std::uint32_t>(t));
        const std::string& bearer = bearers_[static_cast<std::size_t>(t) % bearers_.size()];
        for (int i = 0; i < kRequests; ++i) {
          if (random() % 5 == 0) {
            read(bearer);
          } else {
            change(bearer, random);
          }
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    read(okta_);
    std::int64_t reached = 0;
    EXPECT_TRUE(history_.explains(1, first, reached)) << told(reached);
    EXPECT_EQ(history_.reads.rbegin()->first, newest_);
    EXPECT_GT(newest_, kThreads) << "nothing happened";
  }

 private:
  using Kind = Change::Step::Kind;

  http::Response request(const std::string& bearer, const std::string& method,
                         const std::string& body, const std::string& if_match = "") {
    http::Request request;
    request.method = method;
    request.path = "/api/organizations/acme/scim/v2/Groups/" + group_;
    request.headers.set("Authorization", "Bearer " + bearer);
    request.headers.set("Content-Type", "application/scim+json");
    if (!if_match.empty()) request.headers.set("If-Match", if_match);
    request.body = body;
    http::Context context;
    return service_->handle(request, context);
  }

  /// The answer's version, which is never older than what was answered to anybody before.
  std::int64_t answered(const http::Response& response, std::int64_t floor) {
    const std::int64_t version = version_of(response.headers.get("ETag"));
    EXPECT_GE(version, floor) << "an answer from the past";
    std::int64_t newest = newest_;
    while (newest < version && !newest_.compare_exchange_weak(newest, version)) {
    }
    return version;
  }

  void read(const std::string& bearer) {
    const std::int64_t floor = newest_;
    const http::Response response = request(bearer, "GET", "");
    ASSERT_EQ(response.status, 200);
    const std::int64_t version = answered(response, floor);
    const json::value body = parsed(std::get<std::string>(response.body));
    State state{std::string(body.at("displayName").as_string()), {}};
    if (const json::array* list = json::find_array(body.as_object(), "members")) {
      for (const json::value& member : *list) {
        state.members.emplace(member.at("value").as_string());
      }
    }
    const std::lock_guard lock(mutex_);
    history_.reads[version].push_back(std::move(state));
  }

  /// A random PATCH, sometimes with a condition or with a part that must fail it whole.
  void change(const std::string& bearer, std::mt19937& random) {
    Change change;
    std::string operations;
    if (random() % 6 == 0) select(random, change, operations);
    for (std::size_t n = 1 + random() % 3; n > 0; --n) add_operation(random, change, operations);
    int refused = 0;
    if (random() % 8 == 0) {
      refused = 400;
      operations += R"(,{"op":"add","path":"members","value":[{"value":"nobody"}]})";
    } else if (random() % 8 == 0) {
      refused = 409;
      operations += R"(,{"op":"replace","path":"displayName","value":"TAKEN"})";
    }
    const std::int64_t floor = newest_;
    std::optional<std::int64_t> if_match;
    if (refused == 0 && random() % 5 == 0) if_match = floor;
    const std::string tag = if_match ? "W/\"" + std::to_string(*if_match) + "\"" : "";
    std::string body = "{\"Operations\":[" + operations + "]}";
    const http::Response response = request(bearer, "PATCH", body, tag);
    const bool none_selected = !change.selected.empty() && response.status == 400;
    const bool changed_since = if_match && response.status == 412;
    if (refused != 0 || none_selected || changed_since) {
      EXPECT_TRUE(none_selected || changed_since || response.status == refused) << body;
      return;
    }
    ASSERT_EQ(response.status, 204) << body << std::get<std::string>(response.body);
    const std::int64_t version = answered(response, floor);
    const std::lock_guard lock(mutex_);
    history_.patches[version].push_back({.change = std::move(change),
                                         .if_match = if_match,
                                         .version = version,
                                         .body = std::move(body)});
  }

  /// A removal by a filter on another attribute; it stands before other operations on members.
  void select(std::mt19937& random, Change& change, std::string& out) {
    const std::size_t user = random() % kUsers;
    const bool groups = random() % 2 == 0;
    change.selected = groups ? std::vector<std::string>(pool_.begin() + kUsers, pool_.end())
                             : std::vector<std::string>{pool_[user]};
    change.steps.push_back({.kind = Kind::kRemove, .ids = change.selected});
    const std::string filter =
        groups ? "type eq \\\"Group\\\"" : "display eq \\\"U" + std::to_string(user) + "\\\"";
    out += R"({"op":"remove","path":"members[)" + filter + "]\"}";
  }

  /// One operation, in one of the forms that clients use.
  void add_operation(std::mt19937& random, Change& change, std::string& out) {
    if (!out.empty()) out += ',';
    const std::size_t kind = random() % 8;
    if (kind == 0) {
      change.name = std::string(random() % 2 == 0 ? "Team " : "TEAM ") + group_.substr(19) +
                    std::to_string(random() % 2);
      out += random() % 2 == 0
                 ? R"({"op":"replace","value":{"id":"x","displayName":")" + *change.name + "\"}}"
                 : R"({"op":"Replace","path":"displayName","value":")" + *change.name + "\"}";
      return;
    }
    std::vector<std::string> ids;
    for (std::size_t n = 1 + random() % 3; n > 0; --n)
      ids.push_back(pool_[random() % pool_.size()]);
    std::string listed;
    std::string selected;
    for (const std::string& id : ids) {
      listed += (listed.empty() ? "" : ",") + (R"({"$ref":null,"value":")" + id + "\"}");
      selected += (selected.empty() ? "" : " or ") + (R"(value eq \")" + id + R"(\")");
    }
    if (kind == 1) {
      if (random() % 4 == 0) ids.clear();
      out += R"({"op":"replace","path":"members","value":[)" + (ids.empty() ? "" : listed) + "]}";
      change.steps.push_back({.kind = Kind::kReplace, .ids = std::move(ids)});
    } else if (kind < 5) {
      out += random() % 2 == 0 ? R"({"op":"add","path":"members","value":[)" + listed + "]}"
                               : R"({"op":"Add","value":{"members":[)" + listed + "]}}";
      change.steps.push_back({.kind = Kind::kAdd, .ids = std::move(ids)});
    } else {
      out += random() % 2 == 0 ? R"({"op":"remove","path":"members[)" + selected + "]\"}"
                               : R"({"op":"Remove","path":"members","value":[)" + listed + "]}";
      change.steps.push_back({.kind = Kind::kRemove, .ids = std::move(ids)});
    }
  }

  /// What stands around the first version that has no explanation.
  std::string told(std::int64_t reached) const {
    std::string out = "explained up to version " + std::to_string(reached) + "; then\n";
    for (const std::int64_t version : {reached, reached + 1, reached + 2}) {
      if (const auto patches = history_.patches.find(version); patches != history_.patches.end()) {
        for (const Acknowledged& patch : patches->second) {
          out += std::to_string(version) + " PATCH " + patch.body + "\n";
        }
      }
      if (const auto reads = history_.reads.find(version); reads != history_.reads.end()) {
        for (const State& state : reads->second) {
          out += std::to_string(version) + " read " + state.name;
          for (const std::string& id : state.members) out += " " + id;
          out += "\n";
        }
      }
    }
    return out;
  }

  std::vector<std::string> bearers_;  // two tokens of one client, one of an administrator
  std::vector<std::string> pool_;     // kUsers users, then groups
  std::string group_;
  std::atomic<std::int64_t> newest_{1};  // version that somebody was told
  std::mutex mutex_;
  History history_;
};

// ROSTER_SEED=N repeats one run (its requests, not the moments of its threads).
TEST_F(GroupProperty, InterleavedPatchesEqualTheOrderOfTheirVersions) {
  const char* const chosen = std::getenv("ROSTER_SEED");
  const std::uint32_t first =
      chosen == nullptr ? 1 : static_cast<std::uint32_t>(std::strtoul(chosen, nullptr, 10));
  const std::uint32_t last = chosen == nullptr ? 24 : first;
  for (std::uint32_t seed = first; seed <= last && !HasFailure(); ++seed) {
    SCOPED_TRACE("ROSTER_SEED=" + std::to_string(seed));
    run(seed);
  }
}

}  // namespace
}  // namespace roster::provider
