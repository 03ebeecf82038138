#include <algorithm>

#include "crypto/token.h"
#include "directory/id_blocks.h"
#include "directory/impl.h"
#include "directory/orgs.h"
#include "directory/schema.h"
#include "directory/tokens.h"
#include "directory/views.h"

namespace roster::directory {
namespace {

using store::BlobView;
using store::Row;
using store::Statement;
using store::Tx;

constexpr std::size_t kStampsPerWrite = 500;
constexpr std::size_t kNodeNameBytesMax = 253;
constexpr std::size_t kAgentVersionBytesMax = 64;

#define ROSTER_NODE_COLUMNS                                                     \
  "SELECT n, org, id, cluster, name, role, view, created, last_seen, expires, " \
  "acknowledged, agent_version FROM node "

constexpr Statement kByHash{"node.by_hash", ROSTER_NODE_COLUMNS "WHERE hash = $1"};
constexpr Statement kByNextHash{"node.by_next_hash", ROSTER_NODE_COLUMNS "WHERE next_hash = $1"};
constexpr Statement kByNumber{"node.by_number", ROSTER_NODE_COLUMNS "WHERE n = $1"};
constexpr Statement kByName{"node.by_name",
                            ROSTER_NODE_COLUMNS "WHERE org = $1 AND cluster = $2 AND name = $3"};
constexpr Statement kList{"node.list", ROSTER_NODE_COLUMNS "WHERE org = $1 ORDER BY cluster, name"};
constexpr Statement kOrgNumbers{"org.numbers", "SELECT n FROM org WHERE n > 0 ORDER BY n"};

#undef ROSTER_NODE_COLUMNS

constexpr Statement kInsertNode{
    "node.insert",
    "INSERT INTO node (org, id, cluster, name, role, view, hash, token, created, expires, "
    "highest_id, agent_version) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) "
    "RETURNING n"};
constexpr Statement kDeleteNode{"node.delete", "DELETE FROM node WHERE n = $1"};
constexpr Statement kSetNextHash{"node.set_next_hash",
                                 "UPDATE node SET next_hash = $2, expires = $3 WHERE n = $1"};
constexpr Statement kPromote{"node.promote",
                             "UPDATE node SET hash = next_hash, next_hash = NULL "
                             "WHERE n = $1 AND next_hash = $2"};
constexpr Statement kStampNode{
    "node.stamp",
    "UPDATE node SET last_seen = $2, expires = $3, acknowledged = $4, "
    "highest_id = CASE WHEN highest_id < $5 THEN $5 ELSE highest_id END WHERE n = $1"};
constexpr Statement kUseJoinToken{
    "token.use_join",
    "UPDATE token SET join_uses = join_uses - 1, last_used = $2 WHERE n = $1 AND join_uses > 0"};

Node read_node(const Row& row) {
  Node node;
  node.n = row.integer(0);
  node.org = row.integer(1);
  node.id = row.text(2);
  node.cluster = row.text(3);
  node.name = row.text(4);
  node.role = row.text(5);
  node.view = row.text(6);
  node.created = from_millis(row.integer(7));
  node.last_seen = time_or_null(row, 8);
  node.expires = from_millis(row.integer(9));
  node.acknowledged = Seq{static_cast<std::uint64_t>(row.integer(10))};
  node.agent_version = row.text(11);
  return node;
}

std::unexpected<Error> unauthenticated() {
  return fail(Code::kUnauthenticated, "the credential is unknown, expired or revoked");
}

Result<void> check_enrollment(const Directory::EnrollRequest& request) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  };
  const std::string& name = request.name;
  if (name.empty() || name.size() > kNodeNameBytesMax || !std::ranges::all_of(name, allowed) ||
      name.front() == '.' || name.front() == '_' || name.front() == '-') {
    return fail(Code::kInvalidArgument,
                "name: a node's name has 1 to 253 of A-Z, a-z, 0-9, '.', '_' and '-'");
  }
  if (request.agent_version.size() > kAgentVersionBytesMax) {
    return fail(Code::kInvalidArgument, "agent_version: longer than 64 bytes");
  }
  return check_label("agent_version", request.agent_version.empty() ? "-" : request.agent_version);
}

std::string node_target(const Node& node) { return "node/" + node.cluster + "/" + node.name; }

/// What a closure of enrolment gives.
struct Outcome {
  std::optional<Directory::Enrolled> enrolled;
  std::optional<NodeN> replaced;
  std::optional<Error> refused;
};

/// A node with what was seen of it since the last flush.
void freshen(Node& node, const NodeCache& cache) {
  const std::optional<NodeCache::Seen> seen = cache.last_seen(node.n);
  if (!seen) return;
  node.last_seen = std::max(node.last_seen, std::optional(seen->at));
  node.acknowledged = seen->acknowledged;
}

/// Nobody could be seen while the hub was down: at its start every node counts as just seen, or any
/// join token could take any node's name then.
bool is_live(const Node& node, const Directory::Impl& impl, Timestamp now) {
  if (node.expires <= now) return false;
  const std::chrono::milliseconds stale = impl.options.node_stale;
  return node.last_seen.value_or(node.created) + stale > now ||
         impl.options.monotonic() < impl.started + stale;
}

/// What the node will prove itself with. kInvalidArgument when what it proposes is not of our form.
Result<crypto::MintedToken> settle_credential(const Secret& proposed, const RandomBytes& random) {
  if (proposed.empty()) return crypto::mint_token(crypto::TokenKind::kNode, random);
  auto parsed = crypto::parse_token(proposed.expose());
  if (!parsed || parsed->kind != crypto::TokenKind::kNode) {
    return fail(Code::kInvalidArgument, "credential: not a node's credential");
  }
  return crypto::MintedToken{proposed, std::move(parsed->hash)};
}

/// Audited, so it is no error of the closure.
Outcome refuse(Directory::Impl& impl, const Actor& joiner, const TokenInfo& token,
               const std::string& name, Timestamp now, std::string why) {
  impl.journal->add(journal_entry(joiner, *token.org, now, "node.refuse",
                                  "node/" + token.join->cluster + "/" + name));
  Outcome outcome;
  outcome.refused = Error{Code::kAlreadyExists, std::move(why)};
  return outcome;
}

/// Makes the row of a node, in the place of `present`, which is not live or is this very node.
Result<Outcome> admit_node(Directory::Impl& impl, Tx& tx, const Actor& joiner,
                           const TokenInfo& token, const Directory::EnrollRequest& request,
                           const crypto::MintedToken& credential,
                           const std::optional<Node>& present, Timestamp now) {
  const OrgN org = *token.org;
  const JoinGrant& grant = *token.join;
  if (present) RETURN_IF_ERROR(tx.execute(kDeleteNode, present->n));
  if (grant.uses_left > 0) RETURN_IF_ERROR(tx.execute(kUseJoinToken, token.n, to_millis(now)));
  const std::string id = impl.uuids.next();
  ASSIGN_OR_RETURN(const std::optional<std::int64_t> n,
                   tx.query_one(kInsertNode, integer_column, org, id, grant.cluster, request.name,
                                grant.role, grant.view, BlobView{credential.hash}, token.n,
                                to_millis(now), to_millis(now + impl.options.node_ttl),
                                request.highest_id, request.agent_version));
  CHECK(n);
  RETURN_IF_ERROR(lift_ids(tx, org, request.highest_id));
  ASSIGN_OR_RETURN(std::optional<Node> node, tx.query_one(kByNumber, read_node, *n));
  CHECK(node);
  JournalEntry entry =
      journal_entry(joiner, org, now, present ? "node.replace" : "node.enroll", node_target(*node));
  Diff diff;
  diff.set("id", present ? json::value(present->id) : json::value(nullptr), json::value(id));
  diff.set("role", nullptr, json::value(grant.role));
  diff.set("view", nullptr, json::value(grant.view));
  entry.diff = diff.text();
  impl.journal->add(std::move(entry));
  ASSIGN_OR_RETURN(const Org home, load_org(tx, org));
  Outcome outcome;
  outcome.enrolled = Directory::Enrolled{std::move(*node), credential.token, home.slug, home.epoch};
  if (present) outcome.replaced = present->n;
  return outcome;
}

}  // namespace

Result<Directory::Enrolled> Directory::enroll_node(std::string_view join_bearer,
                                                   const EnrollRequest& request,
                                                   std::string_view remote) {
  const auto parsed = crypto::parse_token(join_bearer);
  if (!parsed || parsed->kind != crypto::TokenKind::kJoin) return unauthenticated();
  RETURN_IF_ERROR(check_enrollment(request));
  ASSIGN_OR_RETURN(const crypto::MintedToken credential,
                   settle_credential(request.credential, impl_->options.random));
  ASSIGN_OR_RETURN(Outcome outcome, impl_->db.write([this, &parsed, &request, &credential,
                                                     remote](Tx& tx) -> Result<Outcome> {
    const Timestamp now = impl_->now();
    ASSIGN_OR_RETURN(const std::optional<TokenInfo> token, find_token(tx, parsed->hash, now));
    if (!token || !token->join || !token->org) return unauthenticated();
    if (request.accept) RETURN_IF_ERROR(request.accept(*token->join));
    // It was there when the token was made.
    const Result<void> view = check_view_exists(tx, *token->org, token->join->view);
    if (!view && view.error().code == Code::kInvalidArgument) {
      return fail(Code::kPermissionDenied,
                  "this join token is for view " + token->join->view + ", which does not exist");
    }
    RETURN_IF_ERROR(view);
    Actor joiner;
    joiner.name = "token:" + token->name;
    joiner.remote = remote;
    ASSIGN_OR_RETURN(std::optional<Node> present, tx.query_one(kByName, read_node, *token->org,
                                                               token->join->cluster, request.name));
    ASSIGN_OR_RETURN(const std::optional<Node> holder,
                     tx.query_one(kByHash, read_node, BlobView{credential.hash}));
    if (holder && (!present || holder->n != present->n)) {
      // A host that was renamed, a copy of its disk, or another organization's token before.
      return refuse(*impl_, joiner, *token, request.name, now,
                    "the credential that this node proposes is another node's: it must draw a new "
                    "one");
    }
    const JoinGrant& grant = *token->join;
    if (holder && present->expires > now && present->view == grant.view &&
        present->role == grant.role) {
      // The answer was lost, or the node died before it could keep it.
      ASSIGN_OR_RETURN(const Org home, load_org(tx, *token->org));
      Outcome repeated;
      repeated.enrolled = Enrolled{std::move(*present), credential.token, home.slug, home.epoch};
      return repeated;
    }
    if (grant.uses_left == 0) return unauthenticated();
    if (present) freshen(*present, impl_->nodes);
    // Who holds the credential is the node itself, be it alive: it gets what the token grants now.
    if (present && !holder && is_live(*present, *impl_, now)) {
      return refuse(*impl_, joiner, *token, request.name, now,
                    "a live node of cluster " + grant.cluster + " has the name " + request.name);
    }
    return admit_node(*impl_, tx, joiner, *token, request, credential, present, now);
  }));
  if (outcome.refused) return std::unexpected(std::move(*outcome.refused));
  if (outcome.replaced) {
    impl_->nodes.clear();
    impl_->nodes.forget(*outcome.replaced);
  }
  return std::move(*outcome.enrolled);
}

Result<Directory::Enrolled> Directory::renew_node(const Node& node) {
  return impl_->db.write([this, &node](Tx& tx) -> Result<Enrolled> {
    const Timestamp now = impl_->now();
    ASSIGN_OR_RETURN(std::optional<Node> current, tx.query_one(kByNumber, read_node, node.n));
    if (!current) return unauthenticated();
    crypto::MintedToken minted =
        crypto::mint_token(crypto::TokenKind::kNode, impl_->options.random);
    current->expires = now + impl_->options.node_ttl;
    RETURN_IF_ERROR(
        tx.execute(kSetNextHash, node.n, BlobView{minted.hash}, to_millis(current->expires)));
    Actor actor;
    actor.name = "node:" + current->name;
    impl_->journal->add(
        journal_entry(actor, current->org, now, "node.renew", node_target(*current)));
    ASSIGN_OR_RETURN(const Org home, load_org(tx, current->org));
    return Enrolled{std::move(*current), std::move(minted.token), home.slug, home.epoch};
  });
}

Result<Node> Directory::authenticate_node(std::string_view bearer) {
  const auto parsed = crypto::parse_token(bearer);
  if (!parsed || parsed->kind != crypto::TokenKind::kNode) return unauthenticated();
  const std::string& hash = parsed->hash;
  const Timestamp now = impl_->now();
  std::optional<Node> known = impl_->nodes.find(hash);
  if (!known) {
    const std::uint64_t generation = impl_->nodes.generation();
    bool renewed = false;
    ASSIGN_OR_RETURN(known, impl_->db.read([&hash,
                                            &renewed](Tx& tx) -> Result<std::optional<Node>> {
      ASSIGN_OR_RETURN(std::optional<Node> node, tx.query_one(kByHash, read_node, BlobView{hash}));
      if (node) return node;
      ASSIGN_OR_RETURN(node, tx.query_one(kByNextHash, read_node, BlobView{hash}));
      renewed = node.has_value();
      return node;
    }));
    if (!known) return unauthenticated();
    if (renewed) {
      // First use of the new credential: the old one ends here. When the store cannot now, the
      // node is let in all the same and the old one ends at a later use.
      const auto promoted = impl_->db.write([&known, &hash](Tx& tx) -> Result<void> {
        RETURN_IF_ERROR(tx.execute(kPromote, known->n, BlobView{hash}));
        return {};
      });
      impl_->nodes.clear();
      if (!promoted && promoted.error().code != Code::kUnavailable) {
        return std::unexpected(promoted.error());
      }
    } else {
      impl_->nodes.insert(hash, *known, generation);
    }
  }
  // A contact moves the end of the credential's life; the row follows at the next flush.
  const std::optional<NodeCache::Seen> seen = impl_->nodes.last_seen(known->n);
  if (seen) known->expires = std::max(known->expires, seen->at + impl_->options.node_ttl);
  if (known->expires <= now) return unauthenticated();
  freshen(*known, impl_->nodes);
  return std::move(*known);
}

void Directory::acknowledge(const Node& node, Seq seq, std::uint32_t highest_id) {
  impl_->nodes.seen(node.n, {impl_->now(), seq, highest_id});
}

Result<std::vector<Node>> Directory::list_nodes(std::optional<OrgN> org) {
  std::vector<OrgN> orgs;
  if (org) {
    orgs = {*org};
  } else {
    RETURN_IF_ERROR(impl_->db.read([&orgs](Tx& tx) {
      return tx.query(kOrgNumbers, [&orgs](const Row& row) -> Result<void> {
        orgs.push_back(row.integer(0));
        return {};
      });
    }));
  }
  std::vector<Node> nodes;
  for (const OrgN one : orgs) {
    RETURN_IF_ERROR(impl_->db.read([&nodes, one](Tx& tx) {
      return tx.query(
          kList,
          [&nodes](const Row& row) -> Result<void> {
            nodes.push_back(read_node(row));
            return {};
          },
          one);
    }));
  }
  for (Node& node : nodes) freshen(node, impl_->nodes);
  return nodes;
}

Result<void> Directory::delete_node(const Actor& actor, OrgN org, std::string_view cluster,
                                    std::string_view name) {
  RETURN_IF_ERROR(authorize(actor, org));
  const auto deleted = impl_->db.write(
      [this, &actor, org, cluster, name](Tx& tx) -> Result<NodeN> {
        ASSIGN_OR_RETURN(const std::optional<Node> node,
                         tx.query_one(kByName, read_node, org, cluster, name));
        if (!node) return fail(Code::kNotFound, "there is no such node");
        RETURN_IF_ERROR(tx.execute(kDeleteNode, node->n));
        impl_->journal->add(
            journal_entry(actor, org, impl_->now(), "node.delete", node_target(*node)));
        return node->n;
      },
      store::Urgency::kRevocation);
  // Also when it is in doubt whether the store has it.
  impl_->nodes.clear();
  if (!deleted) return std::unexpected(deleted.error());
  impl_->nodes.forget(*deleted);
  return {};
}

Result<void> Directory::flush_stamps() {
  const auto tokens = impl_->tokens.take_stamps();
  if (!tokens.empty()) {
    const auto flushed = impl_->db.write([&tokens](Tx& tx) -> Result<void> {
      for (const auto& [token, used] : tokens) RETURN_IF_ERROR(stamp_token(tx, token, used));
      return {};
    });
    if (!flushed) {
      for (const auto& [token, used] : tokens) impl_->tokens.used(token, used);
      return flushed;
    }
  }
  const auto nodes = impl_->nodes.take_stamps();
  for (std::size_t done = 0; done < nodes.size(); done += kStampsPerWrite) {
    const std::vector<std::pair<NodeN, NodeCache::Seen>> some(
        nodes.begin() + static_cast<std::ptrdiff_t>(done),
        nodes.begin() +
            static_cast<std::ptrdiff_t>(std::min(done + kStampsPerWrite, nodes.size())));
    const auto flushed = impl_->db.write([this, &some](Tx& tx) -> Result<void> {
      for (const auto& [node, seen] : some) {
        RETURN_IF_ERROR(tx.execute(kStampNode, node, to_millis(seen.at),
                                   to_millis(seen.at + impl_->options.node_ttl),
                                   seen.acknowledged.value, seen.highest_id));
      }
      return {};
    });
    if (!flushed) {
      impl_->nodes.untake_stamps(nodes);
      return flushed;
    }
  }
  return {};
}

}  // namespace roster::directory
