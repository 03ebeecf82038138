#include "hub/node_gauges.h"

#include <chrono>
#include <map>
#include <utility>

namespace roster::hub {
namespace {

constexpr std::chrono::minutes kFollowing{3};  // two of the longest heartbeats, and some patience
constexpr const char* kLag = "roster_node_lag_changes";

}  // namespace

void NodeGauges::publish(Metrics& metrics, std::span<const directory::Org> orgs,
                         std::span<const directory::Node> nodes, Timestamp now) {
  std::map<directory::OrgN, const directory::Org*> org_of;
  std::map<directory::OrgN, int> following;
  for (const directory::Org& org : orgs) org_of[org.n] = &org;
  const std::lock_guard lock(mutex_);
  std::set<Metrics::Labels> published;
  for (const directory::Node& node : nodes) {
    const auto found = org_of.find(node.org);
    if (found == org_of.end()) continue;
    const directory::Org& org = *found->second;
    if (node.last_seen && now - *node.last_seen <= kFollowing) ++following[org.n];
    const auto lag =
        org.seq > node.acknowledged ? org.seq.value - node.acknowledged.value : std::uint64_t{0};
    Metrics::Labels labels{{"org", org.slug}, {"cluster", node.cluster}, {"node", node.name}};
    metrics.gauge(kLag, "Changes that the node has not published yet.", labels)
        .set(static_cast<double>(lag));
    published.insert(std::move(labels));
  }
  for (const Metrics::Labels& labels : published_) {
    if (!published.contains(labels)) metrics.remove_gauge(kLag, labels);
  }
  published_ = std::move(published);
  for (const directory::Org& org : orgs) {
    metrics
        .gauge("roster_feed_nodes", "Nodes that asked for changes in the last three minutes.",
               {{"org", org.slug}})
        .set(following[org.n]);
  }
}

}  // namespace roster::hub
