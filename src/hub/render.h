#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "directory/directory.h"
#include "feed/messages.h"
#include "hub/access.h"

namespace roster::hub {

/// Cursor of a view's history at `seq`. The tag is empty at 0.
Result<feed::Cursor> cursor_at(directory::Directory& directory, directory::OrgN org,
                               std::string_view epoch, Seq seq);

/// Appends records as the view shows them, and counts them.
class RecordWriter {
 public:
  explicit RecordWriter(const View& view) : view_(view) {}

  /// In a delta: what the view does not show (any more) is a removal.
  void add_change(std::string& out, directory::Directory::FeedUser&& user);
  void add_change(std::string& out, directory::Directory::FeedGroup&& group);
  /// In a snapshot. What the view does not show is remembered for `add_removals`.
  void add_present(std::string& out, directory::Directory::FeedUser&& user);
  void add_present(std::string& out, directory::Directory::FeedGroup&& group);
  /// After the last record of a snapshot: removals of what is hidden or outside of the scope.
  void add_removals(std::string& out, Seq head);
  /// Removal of a deleted entity; its kind is not known any more, so both are said.
  void add_tombstone(std::string& out, std::uint64_t n, Seq head);

  const feed::Counts& counts() const { return counts_; }

 private:
  const View& view_;
  feed::Counts counts_;
  std::vector<std::uint64_t> hidden_users_;
  std::vector<std::uint64_t> hidden_groups_;
};

/// One part of a delta, a stream of its own.
struct RenderedPart {
  std::string bytes;
  Seq head;  // all parts together are complete at
};

/// Everything in the view that changed after `after`, at most `changes_max` changes of it.
/// `head`: the first part's for later parts, nothing (0) for the first one, which then is complete
/// at the organization's head. kFailedPrecondition when `after` cannot be continued.
Result<RenderedPart> render_part(directory::Directory& directory, const NodeAccess& access,
                                 Seq after, Seq head, std::size_t changes_max);

}  // namespace roster::hub
