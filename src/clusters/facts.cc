#include "clusters/facts.h"

#include <algorithm>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "posix/flatten.h"

namespace roster::clusters {
namespace {

using directory::Cluster;
using directory::Directory;
using directory::Org;

constexpr std::size_t kPage = 1000;

directory::Actor the_hub() {
  directory::Actor actor;
  actor.scope = directory::Scope::kOperator;
  actor.name = "hub";
  return actor;
}

/// What a node where Slurm resolves names has, and whom its view shows.
struct Resolver {
  Seq acknowledged;
  std::vector<std::int64_t> scope;  // numbers of groups; empty: everybody
};

class Reading {
 public:
  Reading(Directory& directory, const Org& org, const Cluster& cluster, Timestamp now)
      : directory_(directory), org_(org), cluster_(cluster), now_(now) {
    facts_.organization = org.slug;
  }

  Result<slurm::Facts> run() && {
    // Resolvers first: whoever changes later is newer than what they acknowledged.
    RETURN_IF_ERROR(read_resolvers());
    RETURN_IF_ERROR(read_groups());
    RETURN_IF_ERROR(read_nesting());
    RETURN_IF_ERROR(read_identities());
    RETURN_IF_ERROR(read_people());
    return std::move(facts_);
  }

 private:
  Result<void> read_resolvers();
  Result<void> read_groups();
  Result<void> read_nesting();
  Result<void> read_identities();
  Result<void> read_people();
  void add(const posix::NodeUser& record);
  bool is_ready(const slurm::Person& person, Seq changed) const;

  Directory& directory_;
  const Org& org_;
  const Cluster& cluster_;
  const Timestamp now_;
  std::vector<Resolver> resolvers_;
  std::unordered_map<std::uint64_t, std::vector<std::uint64_t>> parents_;
  std::unordered_map<std::uint64_t, std::size_t> places_;  // in facts_.people, by number
  slurm::Facts facts_;
};

Result<void> Reading::read_resolvers() {
  if (!cluster_.settings.await_nodes) return {};
  ASSIGN_OR_RETURN(const std::vector<directory::Node> nodes, directory_.list_nodes(org_.n));
  for (const directory::Node& node : nodes) {
    const bool resolves = node.role == "controller" || node.role == "dbd";
    if (!resolves || node.cluster != cluster_.name || node.expires <= now_) continue;
    Resolver resolver{node.acknowledged, {}};
    ASSIGN_OR_RETURN(const directory::View view, directory_.find_view(org_.n, node.view));
    for (const directory::ViewGroup& group : view.groups) {
      resolver.scope.push_back(static_cast<std::int64_t>(group.n));
    }
    resolvers_.push_back(std::move(resolver));
  }
  return {};
}

Result<void> Reading::read_groups() {
  const directory::Actor actor = the_hub();
  std::string after;
  while (true) {
    ASSIGN_OR_RETURN(auto page, directory_.list_groups(actor, org_.n, after, kPage, {}));
    for (const directory::Group& group : page.items) {
      after = group.id;
      if (!group.posix) continue;
      facts_.groups.push_back(
          {group.n, group.posix->name,
           std::string(json::find_string(group.doc, "displayName").value_or("")), group.created,
           group.owner, group.external_id.value_or("")});
    }
    if (!page.more || page.items.empty()) return {};
  }
}

Result<void> Reading::read_nesting() {
  std::uint64_t after = 0;
  while (true) {
    ASSIGN_OR_RETURN(auto page, directory_.scan_node_groups(org_.n, after, kPage));
    for (auto& group : page) {
      after = group.record.n;
      if (!group.gone && !group.record.parents.empty()) {
        parents_.emplace(group.record.n, std::move(group.record.parents));
      }
    }
    if (page.size() < kPage) return {};
  }
}

Result<void> Reading::read_identities() {
  const directory::Actor actor = the_hub();
  std::uint32_t after = 0;
  while (true) {
    ASSIGN_OR_RETURN(auto page, directory_.list_identities(actor, org_.n, after, kPage));
    for (const directory::IdentityRow& row : page.items) {
      after = row.posix.number;
      if (row.is_group || row.posix.state == directory::IdentityState::kReserved) continue;
      slurm::Person person;
      person.number = static_cast<std::int64_t>(row.posix.n);
      person.login = row.posix.name;
      person.uid = row.posix.number;
      person.locked = row.posix.state != directory::IdentityState::kActive;
      person.ready = !cluster_.settings.await_nodes;
      places_.emplace(row.posix.n, facts_.people.size());
      facts_.people.push_back(std::move(person));
    }
    if (!page.more || page.items.empty()) return {};
  }
}

Result<void> Reading::read_people() {
  std::uint64_t after = 0;
  while (true) {
    ASSIGN_OR_RETURN(const auto page, directory_.scan_node_users(org_.n, after, kPage));
    for (const auto& user : page) {
      after = user.record.n;
      if (!user.gone) add(user.record);
    }
    if (page.size() < kPage) return {};
  }
}

void Reading::add(const posix::NodeUser& record) {
  const auto found = places_.find(record.n);
  if (found == places_.end()) return;  // came between the readings: the next pass
  slurm::Person& person = facts_.people[found->second];
  const Timestamp end{std::chrono::seconds(record.valid_until)};
  const bool ended = record.valid_until != 0 && end <= now_;
  person.locked = person.locked || record.locked || ended;
  if (ended && !record.locked) person.locked_since = end;
  const auto parents = [this](std::uint64_t group) -> std::span<const std::uint64_t> {
    const auto known = parents_.find(group);
    return known == parents_.end() ? std::span<const std::uint64_t>() : known->second;
  };
  for (const std::uint64_t group : posix::effective_groups(record.groups, parents).groups) {
    person.groups.push_back(static_cast<std::int64_t>(group));
  }
  person.ready = !cluster_.settings.await_nodes || is_ready(person, record.seq);
}

bool Reading::is_ready(const slurm::Person& person, Seq changed) const {
  return !resolvers_.empty() && std::ranges::all_of(resolvers_, [&](const Resolver& resolver) {
    if (resolver.acknowledged < changed) return false;
    return resolver.scope.empty() ||
           std::ranges::any_of(resolver.scope, [&person](std::int64_t group) {
             return std::ranges::binary_search(person.groups, group);
           });
  });
}

}  // namespace

Result<slurm::Facts> read_facts(Directory& directory, const Org& org, const Cluster& cluster,
                                Timestamp now) {
  return Reading(directory, org, cluster, now).run();
}

}  // namespace roster::clusters
