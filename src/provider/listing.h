#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/json.h"
#include "directory/directory.h"
#include "provider/request.h"
#include "scim/filter.h"
#include "scim/projection.h"
#include "scim/sort.h"

namespace roster::provider {

/// How many match a filter, and when they were counted.
struct Count {
  std::int64_t total = 0;
  Timestamp at{};
  bool operator==(const Count&) const = default;
};

/// Where a listing's next page begins.
struct PageStart {
  std::string last_id;         // of the resource before it
  std::optional<Count> count;  // where counting takes time
  Timestamp at;                // when that was
  bool operator==(const PageStart&) const = default;
};

/// (query, index of a page's first resource) -> where it begins. Pages are then read by key instead
/// of by counting, and a resource that is deleted between two pages does not make the next one skip
/// another. Bounded; forgets the oldest.
class PageMemory {
 public:
  explicit PageMemory(std::size_t entries_max = 4096) : entries_max_(entries_max) {}

  /// Nothing when it is not known, or for so long that it is of another walk.
  std::optional<PageStart> find(const std::string& query, std::int64_t skipped, Timestamp now);
  void remember(const std::string& query, std::int64_t skipped, PageStart start);

 private:
  const std::size_t entries_max_;
  std::mutex mutex_;
  struct Entry {
    std::string key;
    PageStart start;
  };
  std::list<Entry> entries_;  // the latest last; guarded by mutex_
  std::unordered_map<std::string_view, std::list<Entry>::iterator> by_key_;  // guarded by mutex_
};

/// A list or search of one resource type, as its client asked for it.
struct ListQuery {
  std::optional<scim::Filter> filter;
  scim::Projection projection;
  bool only_active = false;  // users who may log in; groups without those who may not
  /// Names of groups: people who are direct members of one, groups that are called so; nothing:
  /// all.
  std::optional<std::vector<std::string>> names;
  std::optional<scim::Sort> sort;
  /// The filter and the names as the client wrote them, in one text; empty without.
  std::string text;
};

struct Listing {
  std::int64_t total = 0;
  json::array resources;
};

/// A run of matches.
struct Stretch {
  json::array resources;
  std::string last_id;  // what comes next stands behind it
  bool more = false;    // there may be something behind
};

/// The resources of one type that a query matches, in order of id. What the filter leaves to be
/// judged one by one is read at most up to Call::scanned_rows_max (kInvalidArgument, tooMany),
/// except for administrators. For one page.
class Matches {
 public:
  virtual ~Matches() = default;

  /// The resources after the first `skip` matches, at most `take`, and how many match in all: for
  /// a page that follows one, how many did when that walk began. Groups with
  /// Call::page_members_max members end the page before, and so do Call::scanned_rows_max people
  /// who are looked at because some of them are left out, but not before the first who is not.
  virtual Result<Listing> slice(std::int64_t skip, std::int64_t take) = 0;
  /// At most `take` behind an id (empty: from the first). Fewer, and more to come, where nothing
  /// else was found within the limit, or the page ended as in slice(). `total`: how many match in
  /// all, when that is known.
  virtual Result<Stretch> after(std::string_view id, std::int64_t take,
                                std::optional<std::int64_t> total) = 0;
  virtual Result<std::int64_t> count() = 0;
  /// Every match with what it is sorted by.
  virtual Result<void> each(
      const std::function<void(std::string id, scim::SortKey key)>& offer) = 0;
  /// One resource as the client wants it; nothing when there is none any more.
  virtual Result<std::optional<json::object>> show(std::string_view id) = 0;
  /// Whether what was shown has Call::page_members_max members: the page ends.
  virtual bool is_full() const = 0;
};

/// All arguments but `query` outlive it.
std::unique_ptr<Matches> find_matches(directory::Directory& directory, PageMemory& pages,
                                      const Call& call, const scim::ResourceType& type,
                                      ListQuery query);

/// The part of a filter that an index answers. Exposed for tests.
std::vector<directory::Condition> conditions_of(const scim::ResourceType& type,
                                                const scim::Filter& filter);

}  // namespace roster::provider
