#include "hub/node_tracker.h"

#include <algorithm>
#include <utility>

namespace roster::hub {
namespace {

constexpr std::chrono::minutes kFollowing{3};  // two of the longest heartbeats, and some patience
constexpr const char* kLag = "roster_node_lag_changes";

}  // namespace

void NodeTracker::acknowledged(directory::NodeN node, Seq seq, Timestamp now) {
  const std::lock_guard lock(mutex_);
  contacts_[node] = Contact{.acknowledged = seq, .at = now};
}

void NodeTracker::publish(Metrics& metrics, std::span<const directory::Org> orgs,
                          std::span<const directory::Node> nodes, Timestamp now) {
  std::map<directory::OrgN, const directory::Org*> org_of;
  std::map<directory::OrgN, int> following;
  for (const directory::Org& org : orgs) {
    org_of[org.n] = &org;
    following[org.n] = 0;
  }
  const std::lock_guard lock(mutex_);
  std::map<directory::NodeN, Contact> kept;
  std::set<Metrics::Labels> published;
  for (const directory::Node& node : nodes) {
    const auto org = org_of.find(node.org);
    if (org == org_of.end()) continue;
    Contact last{.acknowledged = node.acknowledged, .at = node.last_seen.value_or(node.created)};
    if (const auto contact = contacts_.find(node.n); contact != contacts_.end()) {
      last = contact->second;
      kept.insert(*contact);
    }
    if (now - last.at <= kFollowing) ++following[node.org];
    const Seq head = org->second->seq;
    const auto lag = head > last.acknowledged ? head.value - last.acknowledged.value : 0;
    Metrics::Labels labels{
        {"org", org->second->slug}, {"cluster", node.cluster}, {"node", node.name}};
    metrics.gauge(kLag, "Changes that the node has not published yet.", labels)
        .set(static_cast<double>(lag));
    published.insert(std::move(labels));
  }
  for (const Metrics::Labels& labels : published_) {
    if (!published.contains(labels)) metrics.remove_gauge(kLag, labels);
  }
  published_ = std::move(published);
  contacts_ = std::move(kept);
  for (const auto& [n, org] : org_of) {
    metrics
        .gauge("roster_feed_nodes", "Nodes that asked for changes in the last three minutes.",
               {{"org", org->slug}})
        .set(following[n]);
  }
}

}  // namespace roster::hub
