#include "hub/render.h"

#include <utility>

#include "base/encoding.h"
#include "hub/feed_query.h"

namespace roster::hub {
namespace {

std::string tag_text(std::uint64_t tag) {
  std::string bytes(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) bytes[i] = static_cast<char>(tag >> (8 * (7 - i)));
  return hex_encode(bytes);
}

/// How many records the view has at `head`, where that is known without counting: the organization
/// as it was read for this request is at that change, so are the records (a record is rendered as
/// it is when it is read, which may be after the change that the part goes up to), and the view has
/// everybody.
std::optional<feed::Totals> totals_at(const NodeAccess& access, Seq head, Seq read_at) {
  const directory::Org& org = access.org;
  if (org.seq != head || read_at != head || !access.view.scope.empty()) return std::nullopt;
  const bool hides = org.settings.leaver_policy == directory::LeaverPolicy::kHide;
  return feed::Totals{.users = static_cast<std::uint64_t>(hides ? org.active_users : org.users),
                      .groups = static_cast<std::uint64_t>(org.groups)};
}

}  // namespace

Result<feed::Cursor> cursor_at(directory::Directory& directory, directory::OrgN org,
                               std::string_view epoch, Seq seq) {
  feed::Cursor cursor{.epoch = std::string(epoch), .seq = seq, .tag = {}};
  if (seq.value == 0) return cursor;
  ASSIGN_OR_RETURN(const auto tag, directory.change_tag(org, seq));
  if (tag) cursor.tag = tag_text(*tag);
  return cursor;
}

void RecordWriter::add_change(std::string& out, directory::Directory::FeedUser&& user) {
  if (user.gone) {
    feed::append(out, feed::UserGone{.n = user.record.n, .seq = user.record.seq});
    ++counts_.gone;
    return;
  }
  feed::append(out, project(view_, std::move(user.record)));
  ++counts_.users;
}

void RecordWriter::add_change(std::string& out, directory::Directory::FeedGroup&& group) {
  if (group.gone) {
    feed::append(out, feed::GroupGone{.n = group.record.n, .seq = group.record.seq});
    ++counts_.gone;
    return;
  }
  feed::append(out, group.record);
  ++counts_.groups;
}

void RecordWriter::add_present(std::string& out, directory::Directory::FeedUser&& user) {
  if (user.gone) {
    hidden_users_.push_back(user.record.n);
    return;
  }
  feed::append(out, project(view_, std::move(user.record)));
  ++counts_.users;
}

void RecordWriter::add_present(std::string& out, directory::Directory::FeedGroup&& group) {
  if (group.gone) {
    hidden_groups_.push_back(group.record.n);
    return;
  }
  feed::append(out, group.record);
  ++counts_.groups;
}

void RecordWriter::add_removals(std::string& out, Seq head) {
  for (const std::uint64_t n : hidden_groups_) {
    feed::append(out, feed::GroupGone{.n = n, .seq = head});
  }
  for (const std::uint64_t n : hidden_users_) {
    feed::append(out, feed::UserGone{.n = n, .seq = head});
  }
  counts_.gone += hidden_groups_.size() + hidden_users_.size();
}

void RecordWriter::add_tombstone(std::string& out, std::uint64_t n, Seq head) {
  feed::append(out, feed::GroupGone{.n = n, .seq = head});
  feed::append(out, feed::UserGone{.n = n, .seq = head});
  counts_.gone += 2;
}

Result<RenderedPart> render_part(directory::Directory& directory, const NodeAccess& access,
                                 Seq after, Seq head, std::size_t changes_max) {
  ASSIGN_OR_RETURN(directory::Directory::ChangePage page,
                   directory.changes(access.org.n, after, changes_max, access.view.scope));
  if (head.value == 0) head = page.head;
  RenderedPart part{.bytes = {}, .head = head};
  feed::append(part.bytes, feed::Head{.epoch = access.epoch,
                                      .org = access.org.slug,
                                      .view = access.view.name,
                                      .kind = feed::Kind::kDelta,
                                      .head = head,
                                      .keys = access.view.with_keys});
  RecordWriter writer(access.view);
  for (auto& group : page.groups) writer.add_change(part.bytes, std::move(group));
  for (auto& user : page.users) writer.add_change(part.bytes, std::move(user));
  feed::End end;
  end.counts = writer.counts();
  end.final = !page.more || page.next >= head;
  if (end.final) {
    ASSIGN_OR_RETURN(const feed::Cursor cursor,
                     cursor_at(directory, access.org.n, access.epoch, head));
    end.cursor = cursor.encode();
    end.totals = totals_at(access, head, page.head);
  } else {
    end.more = Continuation{.reached = page.next, .head = head}.encode();
  }
  feed::append(part.bytes, end);
  return part;
}

}  // namespace roster::hub
