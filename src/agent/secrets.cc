#include "agent/secrets.h"

#include <algorithm>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/log.h"
#include "mirror/maps.h"
#include "posix/flatten.h"

namespace roster::agent {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kEvery{60'000};
constexpr milliseconds kCoalesce{500};  // changes come in herds
constexpr milliseconds kRetry{5'000};

mirror::Settings settings_of_all_maps() {
  mirror::Settings settings;
  settings.maps.assign(mirror::kAllMaps.begin(), mirror::kAllMaps.end());
  settings.written = settings.maps;
  return settings;
}

/// Whom a generation serves, as the text maps need it: keys and people that have ended are left out
/// and locked, people stand in every group above theirs.
class RollOfCache {
 public:
  explicit RollOfCache(Timestamp now) : now_s_(to_millis(now) / 1000) {}

  Result<mirror::Roll> read(const NodeCache& cache) {
    ASSIGN_OR_RETURN(const nsscache::ServedGeneration served, cache.served());
    RETURN_IF_ERROR(served.each(
        [this](posix::NodeUser user) -> Result<void> {
          add(user);
          return {};
        },
        [this](const posix::NodeGroup& group) -> Result<void> {
          groups_.emplace(group.n, group);
          return {};
        }));
    fill_groups();
    return std::move(roll_);
  }

 private:
  void add(const posix::NodeUser& user) {
    mirror::Person person;
    person.n = user.n;
    person.name = roll_.names.keep(user.name.str());
    person.uid = user.uid;
    person.gid = user.gid;
    person.gecos = roll_.texts.keep(user.gecos);
    person.home = roll_.texts.keep(user.home);
    person.shell = roll_.texts.keep(user.shell);
    person.active = !user.locked && (user.valid_until == 0 || now_s_ < user.valid_until);
    std::string keys;
    for (const posix::NodeKey& key : user.keys) {
      if (key.not_before > now_s_ || (key.not_after != 0 && key.not_after <= now_s_)) continue;
      if (!keys.empty()) keys += '\n';
      keys += key.line;
    }
    person.keys = roll_.texts.keep(keys);
    if (person.active) memberships_.emplace_back(person.name, user.groups);
    if (user.gid == user.uid) private_groups_.push_back(person);
    roll_.people.push_back(person);
  }

  void fill_groups() {
    std::unordered_map<std::uint64_t, std::string> members;
    const auto parents_of = [this](std::uint64_t n) -> std::span<const std::uint64_t> {
      const auto found = groups_.find(n);
      if (found == groups_.end()) return {};
      return found->second.parents;
    };
    for (const auto& [name, direct] : memberships_) {
      for (const std::uint64_t n : posix::effective_groups(direct, parents_of).groups) {
        std::string& list = members[n];
        if (!list.empty()) list += '\n';
        list += name;
      }
    }
    for (const mirror::Person& person : private_groups_) {
      roll_.groups.push_back(
          {.id = {}, .name = person.name, .gid = person.gid, .members = {}, .n = 0});
    }
    for (const auto& [n, group] : groups_) {
      roll_.groups.push_back({.id = {},
                              .name = roll_.names.keep(group.name.str()),
                              .gid = group.gid,
                              .members = roll_.texts.keep(members[n]),
                              .n = n});
    }
  }

  const std::int64_t now_s_;
  mirror::Roll roll_;
  std::vector<std::pair<std::string_view, std::vector<std::uint64_t>>> memberships_;
  std::vector<mirror::Person> private_groups_;
  std::map<std::uint64_t, posix::NodeGroup> groups_;
};

}  // namespace

SecretMaps::SecretMaps(kubernetes::SecretPublisher publisher, Metrics& metrics)
    : publisher_(std::move(publisher)), metrics_(metrics) {}

Result<void> SecretMaps::publish(const mirror::Settings& settings, const mirror::Roll& roll) {
  std::vector<std::string> texts;
  texts.reserve(settings.maps.size());
  for (const mirror::Map map : settings.maps) {
    std::string& text = texts.emplace_back();
    nsscache::TextMap out([&text](std::string_view bytes) -> Result<void> {
      text += bytes;
      return {};
    });
    RETURN_IF_ERROR(mirror::write_map(settings, roll, map, out));
  }
  return publish(settings, texts);
}

Result<void> SecretMaps::publish_files(const mirror::Settings& settings) {
  std::vector<std::string> texts;
  texts.reserve(settings.maps.size());
  for (const mirror::Map map : settings.maps) {
    ASSIGN_OR_RETURN(texts.emplace_back(),
                     read_file(settings.files_of(map).of(map), mirror::kMapBytesMax));
  }
  return publish(settings, texts);
}

Result<void> SecretMaps::publish(const mirror::Settings& settings,
                                 const std::vector<std::string>& texts) {
  std::vector<kubernetes::MapText> maps;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    maps.push_back({std::string(mirror::map_name(settings.maps[i])), texts[i]});
  }
  const kubernetes::PublishReport report = publisher_.publish(maps);
  Result<void> published;
  for (const kubernetes::MapReport& map : report.maps) {
    metrics_
        .gauge("roster_agent_secret_ok", "Whether the Secret is what it should be",
               {{"map", map.map}})
        .set(map.error ? 0 : 1);
    if (map.outcome == kubernetes::Outcome::kCreated ||
        map.outcome == kubernetes::Outcome::kUpdated) {
      log::info("Secret published", {{"secret", map.secret},
                                     {"outcome", kubernetes::outcome_name(map.outcome)},
                                     {"bytes", map.bytes}});
    }
    if (!map.error) continue;
    log::warn("Secret not published", {{"secret", map.secret}, {"error", map.error->message}});
    if (published) published = fail_in(map.secret, *map.error);
  }
  return published;
}

SecretFollower::SecretFollower(const NodeCache& cache, SecretMaps secrets, Clock clock)
    : cache_(cache),
      secrets_(std::move(secrets)),
      clock_(std::move(clock)),
      settings_(settings_of_all_maps()) {}

SecretFollower::~SecretFollower() { stop(); }

void SecretFollower::start() {
  thread_ = std::thread([this] { run(); });
}

void SecretFollower::notify() {
  const std::lock_guard lock(mutex_);
  notified_ = true;
  changed_.notify_one();
}

void SecretFollower::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    changed_.notify_one();
  }
  secrets_.interrupt();
  if (thread_.joinable()) thread_.join();
}

Result<void> SecretFollower::publish() {
  if (cache_.generation() == 0) return {};
  ASSIGN_OR_RETURN(const mirror::Roll roll, RollOfCache(clock_()).read(cache_));
  return secrets_.publish(settings_, roll);
}

void SecretFollower::run() {
  std::unique_lock lock(mutex_);
  while (!stopped_) {
    notified_ = false;
    lock.unlock();
    const auto published = publish();
    if (!published && published.error().code != Code::kUnavailable) {
      log::warn("cannot publish Secrets", {{"error", published.error().message}});
    }
    lock.lock();
    changed_.wait_for(lock, published ? kEvery : kRetry, [this] { return notified_ || stopped_; });
    changed_.wait_for(lock, kCoalesce, [this] { return stopped_; });
  }
}

}  // namespace roster::agent
