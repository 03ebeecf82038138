// Random histories: whatever is upserted, removed, masked, denied, replaced and merged, the reader
// answers as a plain model of the directory does.

#include <gmock/gmock.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "nsscache/test_support.h"

namespace roster::nsscache {
namespace {

constexpr std::uint32_t kUidBase = 10000;
constexpr std::uint32_t kGidBase = 20000;

/// The directory as one would write it down on paper.
struct Model {
  std::map<std::uint64_t, posix::NodeUser> users;
  std::map<std::uint64_t, posix::NodeGroup> groups;
  LocalRules rules;

  bool masks(const std::string& name, std::uint32_t id) const {
    return std::ranges::count(rules.masked_names, name) > 0 ||
           std::ranges::count(rules.masked_ids, id) > 0 ||
           std::ranges::any_of(rules.masked_ranges,
                               [&](auto range) { return range.first <= id && id <= range.second; });
  }
  bool masked(const posix::NodeUser& user) const {
    return masks(user.name.str(), user.uid) || masks("", user.gid);
  }
  bool masked(const posix::NodeGroup& group) const { return masks(group.name.str(), group.gid); }
  bool locked(const posix::NodeUser& user) const {
    return user.locked || std::ranges::count(rules.denied_names, user.name.str()) > 0 ||
           std::ranges::count(rules.denied_uids, user.uid) > 0 || user.valid_until == 1;
  }

  std::set<std::uint64_t> effective(const posix::NodeUser& user) const {
    std::set<std::uint64_t> out;
    std::vector<std::uint64_t> pending(user.groups);
    while (!pending.empty()) {
      const std::uint64_t n = pending.back();
      pending.pop_back();
      const auto found = groups.find(n);
      if (found == groups.end() || !out.insert(n).second) continue;
      pending.insert(pending.end(), found->second.parents.begin(), found->second.parents.end());
    }
    return out;
  }

  std::string passwd(const posix::NodeUser& user) const {
    if (masked(user)) return "not found";
    return user.name.str() + ":x:" + std::to_string(user.uid) + ":" + std::to_string(user.gid) +
           ":" + user.gecos + ":" + user.home + ":" +
           (locked(user) ? "/usr/sbin/nologin" : user.shell);
  }
  std::string passwd(const std::string& name) const {
    for (const auto& [n, user] : users) {
      if (user.name.str() == name) return passwd(user);
    }
    return "not found";
  }
  std::string passwd(std::uint32_t uid) const {
    for (const auto& [n, user] : users) {
      if (user.uid == uid) return passwd(user);
    }
    return "not found";
  }

  std::vector<std::string> members(const posix::NodeGroup& group) const {
    std::vector<std::string> out;
    for (const auto& [n, user] : users) {
      if (!masked(user) && !locked(user) && effective(user).contains(group.n)) {
        out.push_back(user.name.str());
      }
    }
    std::ranges::sort(out);
    return out;
  }
  template <typename Matches, typename UserMatches>
  std::string group_where(Matches matches, UserMatches user_matches) const {
    for (const auto& [n, group] : groups) {
      if (!matches(group)) continue;
      if (masked(group)) return "not found";
      std::string line = group.name.str() + ":x:" + std::to_string(group.gid) + ":";
      for (const std::string& member : members(group)) line += member + ",";
      return line;
    }
    for (const auto& [n, user] : users) {
      if (user_matches(user) && user.uid == user.gid) {
        return masked(user) ? "not found"
                            : user.name.str() + ":x:" + std::to_string(user.gid) + ":";
      }
    }
    return "not found";
  }
  std::string group(const std::string& name) const {
    return group_where([&](auto& g) { return g.name.str() == name; },
                       [&](auto& u) { return u.name.str() == name; });
  }
  std::string group(std::uint32_t gid) const {
    return group_where([&](auto& g) { return g.gid == gid; },
                       [&](auto& u) { return u.uid == gid; });
  }

  std::vector<gid_t> gids(const posix::NodeUser& user) const {
    std::vector<gid_t> out;
    if (masked(user) || locked(user)) return out;
    for (const std::uint64_t n : effective(user)) {
      if (!masked(groups.at(n))) out.push_back(groups.at(n).gid);
    }
    std::ranges::sort(out);
    return out;
  }

  std::vector<std::string> keys(const posix::NodeUser& user) const {
    if (masked(user) || locked(user)) return {"unknown"};
    std::vector<std::string> out;
    for (const posix::NodeKey& key : user.keys) out.push_back(key.line);
    return out;
  }
};

/// "name:x:gid:a,b," with members sorted: the order of an answer is not promised.
template <typename Key>
std::string sorted_group_line(Key key) {
  const std::string line = group_line(key);
  const std::size_t colon = line.rfind(':');
  if (colon == std::string::npos) return line;
  std::vector<std::string> members;
  std::string member;
  for (const char c : line.substr(colon + 1) + ",") {
    if (c != ',') {
      member += c;
    } else if (!member.empty()) {
      members.push_back(std::exchange(member, {}));
    }
  }
  std::ranges::sort(members);
  std::string out = line.substr(0, colon + 1);
  for (const std::string& name : members) out += name + ",";
  return out;
}

class History {
 public:
  History(unsigned seed, Publisher publisher) : random_(seed), publisher_(std::move(publisher)) {}

  void step(Model& model) {
    ++seq_;
    switch (below(13)) {
      case 0:
      case 1:
      case 2:
      case 3:
        upsert_user(model);
        break;
      case 4:
      case 5:
        upsert_group(model);
        break;
      case 6:
        remove_user(model);
        break;
      case 7:
        if (below(3) == 0) remove_group(model);
        break;
      case 8:
      case 9:
        change_edges(model);
        break;
      case 10:
        if (below(2) == 0) change_rules(model);
        break;
      case 11:
        swap_names(model);
        break;
      case 12:
        if (below(8) == 0) replace(model);
        break;
    }
  }

  Publisher& publisher() { return *publisher_; }
  void close() { publisher_.reset(); }
  void open(Publisher publisher) { publisher_.emplace(std::move(publisher)); }
  unsigned below(unsigned bound) {
    return std::uniform_int_distribution<unsigned>(0, bound - 1)(random_);
  }

 private:
  // Small pools, so that names and ids come back under other numbers.
  std::string user_name() { return "u" + std::to_string(below(40)); }
  std::string free_name(const Model& model) {
    while (true) {
      const std::string name = user_name();
      if (std::ranges::none_of(model.users, [&](auto& e) { return e.second.name.str() == name; })) {
        return name;
      }
    }
  }
  std::uint32_t free_uid(const Model& model) {
    while (true) {
      const std::uint32_t uid = kUidBase + below(60);
      if (std::ranges::none_of(model.users, [&](auto& e) { return e.second.uid == uid; })) {
        return uid;
      }
    }
  }
  std::vector<std::uint64_t> some_groups() {
    std::set<std::uint64_t> out;
    for (unsigned i = below(4); i > 0; --i) out.insert(1 + below(14));
    return {out.begin(), out.end()};
  }
  void send(const posix::NodeUser& user) { ASSERT_OK(publisher_->upsert_user(user)); }

  void upsert_user(Model& model) {
    const std::uint64_t n = 1 + below(40);
    const auto known = model.users.find(n);
    posix::NodeUser user =
        known != model.users.end()
            ? known->second
            : (model.users.size() > 25 ? make_user(0, "none", 0)
                                       : make_user(n, free_name(model), free_uid(model)));
    if (user.n == 0) return;
    user.seq = Seq{seq_};
    switch (below(6)) {
      case 0:
        user.gecos = "Person " + std::to_string(seq_);
        break;
      case 1:
        user.locked = !user.locked;
        break;
      case 2:
        user.groups = some_groups();
        break;
      case 3:
        user.valid_until = below(2) == 0 ? 1 : (below(2) == 0 ? 4'000'000'000 : 0);
        break;
      case 4:
        user.keys.clear();
        for (unsigned i = below(3); i > 0; --i) {
          user.keys.push_back({.line = "ssh-ed25519 AAAA" + std::to_string(seq_ * 10 + i),
                               .fingerprint = "SHA256:" + std::to_string(seq_ * 10 + i)});
        }
        break;
      case 5:
        user.gid = below(2) == 0 ? user.uid : kGidBase + below(14);
        break;
    }
    model.users.insert_or_assign(n, user);
    send(user);
  }

  void upsert_group(Model& model) {
    const std::uint64_t n = 1 + below(14);
    // A group has its own gid and name by number, or borrows another that is free.
    const auto taken = [&](const std::string& name, std::uint32_t gid) {
      return std::ranges::any_of(model.groups, [&](auto& e) {
        return e.first != n && (e.second.name.str() == name || e.second.gid == gid);
      });
    };
    const unsigned pick = 1 + below(14);
    if (taken("g" + std::to_string(pick), kGidBase + pick)) return;
    posix::NodeGroup group = make_group(n, "g" + std::to_string(pick), kGidBase + pick, {}, seq_);
    if (below(2) == 0) group.parents = some_groups();
    model.groups.insert_or_assign(n, group);
    ASSERT_OK(publisher_->upsert_group(group));
  }

  void remove_user(Model& model) {
    const std::uint64_t n = 1 + below(40);
    model.users.erase(n);
    ASSERT_OK(publisher_->remove_user(n, Seq{seq_}));
  }

  void remove_group(Model& model) {
    const std::uint64_t n = 1 + below(14);
    model.groups.erase(n);
    ASSERT_OK(publisher_->remove_group(n, Seq{seq_}));
  }

  void change_edges(Model& model) {
    if (model.users.empty()) return;
    auto& user =
        std::next(model.users.begin(), below(static_cast<unsigned>(model.users.size())))->second;
    user.groups = some_groups();
    user.seq = Seq{seq_};
    send(user);
  }

  /// Two people exchange names, and one takes a new uid, within one delta.
  void swap_names(Model& model) {
    if (model.users.size() < 2) return;
    auto& a = model.users.begin()->second;
    auto& b =
        std::next(model.users.begin(), 1 + below(static_cast<unsigned>(model.users.size()) - 1))
            ->second;
    std::swap(a.name, b.name);
    if (below(2) == 0) std::swap(a.uid, b.uid);
    a.gid = a.uid;
    b.gid = b.uid;
    a.seq = b.seq = Seq{seq_};
    send(a);
    send(b);
  }

  void change_rules(Model& model) {
    LocalRules rules;
    if (below(2) == 0) rules.masked_names.push_back(user_name());
    if (below(2) == 0) rules.masked_names.push_back("g" + std::to_string(1 + below(14)));
    if (below(2) == 0) rules.masked_ids.push_back(kUidBase + below(60));
    if (below(2) == 0) rules.masked_ids.push_back(kGidBase + below(14));
    if (below(4) == 0) {
      const std::uint32_t first = kUidBase + below(60);
      rules.masked_ranges.emplace_back(first, first + below(5));
    }
    if (below(2) == 0) rules.denied_names.push_back(user_name());
    if (below(2) == 0) rules.denied_uids.push_back(kUidBase + below(60));
    model.rules = rules;
    publisher_->set_local_rules(rules);
  }

  /// The whole content again, a part of it left out.
  void replace(Model& model) {
    std::erase_if(model.users, [&](const auto&) { return below(5) == 0; });
    std::erase_if(model.groups, [&](const auto&) { return below(5) == 0; });
    ASSERT_OK(publisher_->begin_replace());
    std::vector<posix::NodeUser> users;
    for (const auto& [n, user] : model.users) users.push_back(user);
    std::ranges::shuffle(users, random_);
    for (const posix::NodeUser& user : users) send(user);
    for (const auto& [n, group] : model.groups) ASSERT_OK(publisher_->upsert_group(group));
  }

  std::mt19937 random_;
  std::optional<Publisher> publisher_;
  std::uint64_t seq_ = 1;
};

class PropertyTest : public CacheTest, public ::testing::WithParamInterface<unsigned> {
 protected:
  void compare(const Model& model, const Publisher& publisher) {
    for (unsigned i = 0; i < 40; ++i) {
      const std::string name = "u" + std::to_string(i);
      ASSERT_EQ(passwd_line(name.c_str()), model.passwd(name)) << name;
      ASSERT_EQ(sorted_group_line(name.c_str()), model.group(name)) << name;
    }
    for (std::uint32_t uid = kUidBase; uid < kUidBase + 60; ++uid) {
      ASSERT_EQ(passwd_line(uid_t{uid}), model.passwd(uid)) << uid;
      ASSERT_EQ(sorted_group_line(gid_t{uid}), model.group(uid)) << uid;
    }
    for (unsigned i = 0; i <= 14; ++i) {
      const std::string name = "g" + std::to_string(i);
      ASSERT_EQ(sorted_group_line(name.c_str()), model.group(name)) << name;
      ASSERT_EQ(sorted_group_line(gid_t{kGidBase + i}), model.group(kGidBase + i)) << i;
    }
    std::size_t shown = 0;
    for (const auto& [n, user] : model.users) {
      ASSERT_EQ(gids_of(user.name.str().c_str()), model.gids(user)) << user.name.str();
      ASSERT_EQ(keys_of(user.name.str().c_str(), user.uid, 1000), model.keys(user));
      const auto found = publisher.find_user(n);
      ASSERT_TRUE(found) << n;
      ASSERT_EQ(*found, user);
      if (!model.masked(user)) ++shown;
    }
    ASSERT_EQ(all_passwd().size(), shown);
    ASSERT_EQ(publisher.counts().users, model.users.size());
    ASSERT_EQ(publisher.counts().groups, model.groups.size());
    for (const auto& [n, group] : model.groups) {
      const auto found = publisher.find_group(n);
      ASSERT_TRUE(found) << n;
      ASSERT_EQ(*found, group);
    }
  }

  Publisher open_small(const Model& model) {
    PublisherOptions small = options();
    small.merge_bytes_min = 6000;  // some merges, also of keys, in a short history
    auto publisher = Publisher::open(small, now_);
    EXPECT_TRUE(publisher) << publisher.error().message;
    publisher->set_local_rules(model.rules);
    return std::move(*publisher);
  }
};

TEST_P(PropertyTest, ReaderAnswersAsTheModelDoes) {
  Model model;
  int merges = 0;
  History history(GetParam(), open_small(model));
  for (int round = 0; round < 80; ++round) {
    for (unsigned steps = 1 + history.below(4); steps > 0; --steps) {
      history.step(model);
      if (HasFatalFailure()) return;
    }
    if (history.publisher().replacing()) {
      // Steps after begin_replace() described a second content; take the whole model instead.
      ASSERT_OK(history.publisher().begin_replace());
      for (const auto& [n, user] : model.users) ASSERT_OK(history.publisher().upsert_user(user));
      for (const auto& [n, group] : model.groups) {
        ASSERT_OK(history.publisher().upsert_group(group));
      }
    }
    const auto stats = history.publisher().publish("c" + std::to_string(round), "e", now_);
    ASSERT_OK(stats);
    if (stats->merged) ++merges;
    now_ += std::chrono::seconds(20);
    compare(model, history.publisher());
    if (HasFatalFailure()) FAIL() << "in round " << round;
    if (history.below(10) == 0) {
      history.close();  // one process holds the directory
      history.open(open_small(model));
      compare(model, history.publisher());
    }
  }
  EXPECT_GE(merges, 3) << "the history has to cross some bases";
}

INSTANTIATE_TEST_SUITE_P(Seeds, PropertyTest, ::testing::Range(1u, 13u));

}  // namespace
}  // namespace roster::nsscache
