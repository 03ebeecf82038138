#include "hub/feed_server.h"

#include <algorithm>
#include <array>
#include <memory>
#include <utility>

#include "base/log.h"
#include "hub/errors.h"
#include "hub/render.h"

namespace roster::hub {
namespace {

constexpr std::chrono::milliseconds kHeartbeatMin{30'000};
constexpr std::chrono::milliseconds kHeartbeatMax{60'000};

http::Response stream_response(int status, http::Body body) {
  http::Response response;
  response.status = status;
  response.headers.set("Content-Type", feed::kContentType);
  response.body = std::move(body);
  return response;
}

}  // namespace

std::string feed_wait_key(std::string_view org_slug) { return "feed/" + std::string(org_slug); }

FeedServer::FeedServer(directory::Directory& directory, Metrics& metrics, RestoreGuard& guard,
                       FeedOptions options)
    : directory_(directory),
      metrics_(metrics),
      guard_(guard),
      options_(std::move(options)),
      cache_(options_.cache_bytes_max),
      rendered_(metrics.counter("roster_feed_parts_rendered_total",
                                "Parts of deltas rendered from the directory.")),
      served_(metrics.counter("roster_feed_parts_served_total",
                              "Parts of deltas sent to nodes, rendered or shared.")) {}

http::Response FeedServer::serve(const http::Request& request, http::Context& context,
                                 std::string_view org_slug) {
  const auto query = FeedQuery::parse(request.query);
  if (!query) return error_response(query.error(), context);
  const auto access = authorize_node(directory_, request, org_slug, query->view);
  if (!access) return error_response(access.error(), context);
  const auto cursor = feed::Cursor::decode(query->cursor);
  if (!cursor) return reset({"malformed", "the cursor is not one of this hub's"});
  const auto refusal = check(*access, *cursor, *query);
  if (!refusal) return error_response(refusal.error(), context);
  if (guard_.is_waiting(access->org.n)) {
    auto heard = remember_ids(*access, *query);
    // A node that goes on where it was knows nothing that was lost.
    if (heard && !*heard && !*refusal) {
      heard = directory_.is_imported(access->org.n, query->highest_id);
    }
    if (!heard) return error_response(heard.error(), context);
    if (*heard) guard_.heard(access->node);
  }
  if (*refusal) return reset(**refusal);
  if (!context.resumed) acknowledge(*access, *cursor, *query);

  const bool nothing_new = cursor->seq == access->org.seq && !query->more;
  if (nothing_new && query->wait.count() > 0 && !context.wait_expired) {
    return stream_response(200, http::WaitBody{.key = feed_wait_key(access->org.slug),
                                               .after = access->org.seq.value,
                                               .deadline = parking_time(query->wait)});
  }
  auto response = changes(*access, *cursor, *query);
  if (!response) return error_response(response.error(), context);
  return std::move(*response);
}

/// The cursor names a change of the organization's past by number and random tag. A hub that was
/// restored from a backup has no such change, or another one with that number.
Result<std::optional<FeedServer::Refusal>> FeedServer::check(const NodeAccess& access,
                                                             const feed::Cursor& cursor,
                                                             const FeedQuery& query) {
  if (cursor.epoch != access.epoch) {
    ASSIGN_OR_RETURN(const bool believed, remember_ids(access, query));
    const std::lock_guard lock(mutex_);
    if (!believed && renewed_.contains(access.org.n)) {
      RETURN_IF_ERROR(pass_over_ids(access.org.n, query.highest_id));
    }
    return Refusal{"epoch", "the history or the view of this cursor is not the present one"};
  }
  if (cursor.seq > access.org.seq) return diverged(access, query);
  ASSIGN_OR_RETURN(const feed::Cursor ours,
                   cursor_at(directory_, access.org.n, access.epoch, cursor.seq));
  if (cursor.seq < access.org.min_seq) {
    return Refusal{"pruned", "changes after this cursor are not kept any more"};
  }
  if (ours.tag != cursor.tag) return diverged(access, query);
  if (query.more && (query.more->reached < cursor.seq || query.more->head > access.org.seq)) {
    return fail(Code::kInvalidArgument, "parameter more does not continue this cursor");
  }
  return std::nullopt;
}

/// A node that followed what a restored hub has forgotten: its ids are taken, though nobody here
/// knows by whom. False when they cannot be this organization's.
Result<bool> FeedServer::remember_ids(const NodeAccess& access, const FeedQuery& query) {
  {
    const std::lock_guard lock(mutex_);
    if (query.highest_id <= lifted_[access.org.n]) return true;
  }
  ASSIGN_OR_RETURN(const bool believed, directory_.lift_ids(access.org.n, query.highest_id));
  if (!believed) return false;
  const std::lock_guard lock(mutex_);
  std::uint32_t& lifted = lifted_[access.org.n];
  lifted = std::max(lifted, query.highest_id);
  return true;
}

/// Higher ids only, so that a credential in wrong hands cannot use up one block after the other:
/// those of an import lie below the slices that follow.
Result<void> FeedServer::pass_over_ids(directory::OrgN org, std::uint32_t highest_id) {
  if (highest_id <= passed_over_[org]) return {};
  ASSIGN_OR_RETURN(const bool is_one, directory_.is_imported(org, highest_id));
  if (!is_one) return {};
  RETURN_IF_ERROR(directory_.pass_over_ids(org, highest_id));
  passed_over_[org] = highest_id;
  return {};
}

/// A hub is restored while it is stopped, so one new epoch per process tells every node; a
/// credential in wrong hands cannot make the others start over again and again.
Result<FeedServer::Refusal> FeedServer::diverged(const NodeAccess& access, const FeedQuery& query) {
  log::warn("a node's cursor names a change that this hub does not know: restored from a backup?",
            {{"org", access.org.slug},
             {"cluster", access.node.cluster},
             {"node", access.node.name},
             {"head", access.org.seq.value},
             {"highest_id", query.highest_id}});
  ASSIGN_OR_RETURN(const bool believed, remember_ids(access, query));
  const std::lock_guard lock(mutex_);
  if (!believed) RETURN_IF_ERROR(pass_over_ids(access.org.n, query.highest_id));
  if (!renewed_.contains(access.org.n)) {
    RETURN_IF_ERROR(directory_.new_epoch(access.org.n, query.highest_id));
    renewed_.insert(access.org.n);
    metrics_
        .counter("roster_feed_epochs_total",
                 "New epochs drawn because a node knew more than the hub.",
                 {{"org", access.org.slug}})
        .add();
  }
  return Refusal{"diverged", "this hub does not know the change that the cursor names"};
}

void FeedServer::acknowledge(const NodeAccess& access, const feed::Cursor& cursor,
                             const FeedQuery& query) {
  if (!query.acknowledges) return;
  directory_.acknowledge(access.node, cursor.seq, query.highest_id);
}

http::Response FeedServer::reset(const Refusal& refusal) {
  metrics_
      .counter("roster_feed_resets_total", "Nodes told to take a snapshot.",
               {{"reason", std::string(refusal.label)}})
      .add();
  std::string body;
  feed::append(body, feed::Reset{.reason = refusal.reason});
  return stream_response(409, std::move(body));
}

Result<http::Response> FeedServer::changes(const NodeAccess& access, const feed::Cursor& cursor,
                                           const FeedQuery& query) {
  const Seq after = query.more ? query.more->reached : cursor.seq;
  const Seq head = query.more ? query.more->head : Seq{};
  const DeltaCache::Key key{.org = access.org.n,
                            .epoch = access.epoch,
                            .view = access.view.name,
                            .after = after,
                            .head = head};
  const Seq head_min = query.more ? head : access.org.seq;
  auto part = cache_.get(key, head_min, [&]() -> Result<DeltaCache::Part> {
    ASSIGN_OR_RETURN(RenderedPart made,
                     render_part(directory_, access, after, head, options_.part_changes_max));
    rendered_.add();
    return DeltaCache::Part{.bytes = std::make_shared<const std::string>(std::move(made.bytes)),
                            .head = made.head};
  });
  if (!part && part.error().code == Code::kFailedPrecondition) {
    return reset({"pruned", "changes after this cursor are not kept any more"});
  }
  if (!part) return std::unexpected(part.error());
  served_.add();
  return stream_response(200, part->bytes);
}

/// As long as asked, but not longer than a heartbeat, and not all nodes at one time.
std::chrono::milliseconds FeedServer::parking_time(std::chrono::seconds wait) const {
  std::array<std::uint8_t, 2> bytes{};
  options_.random(bytes);
  const auto fraction = static_cast<std::int64_t>(bytes[0]) << 8 | bytes[1];
  const auto heartbeat = kHeartbeatMin + (kHeartbeatMax - kHeartbeatMin) * fraction / 65'536;
  return std::min<std::chrono::milliseconds>(wait, heartbeat);
}

}  // namespace roster::hub
