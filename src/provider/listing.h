#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/json.h"
#include "directory/directory.h"
#include "provider/request.h"
#include "scim/filter.h"
#include "scim/list.h"
#include "scim/projection.h"

namespace roster::provider {

/// Where a listing's next page begins: (query, index of the first resource) -> id of the resource
/// before it. Pages are then read by key instead of by counting, and a resource that is deleted
/// between two pages does not make the next one skip another. Bounded; forgets the oldest.
class PageMemory {
 public:
  explicit PageMemory(std::size_t entries_max = 4096) : entries_max_(entries_max) {}

  std::optional<std::string> find(const std::string& query, std::int64_t skipped);
  void remember(const std::string& query, std::int64_t skipped, std::string last_id);

 private:
  const std::size_t entries_max_;
  std::mutex mutex_;
  std::unordered_map<std::string, std::string> last_ids_;  // guarded by mutex_
  std::deque<std::string> order_;                          // guarded by mutex_
};

/// A list or search of one resource type, as its client asked for it.
struct ListQuery {
  std::optional<scim::Filter> filter;
  scim::Projection projection;
  bool only_active = false;  // users who may log in; groups without those who may not
  /// Sorted ids that alone are looked at; nothing: all.
  std::optional<std::vector<std::string>> ids;
};

struct Listing {
  std::int64_t total = 0;
  json::array resources;
};

/// The resources after the first `skip` matches, at most `take` (up to scim::kPageMax), in order of
/// id, and how many match in all. kInvalidArgument (tooMany) when the filter would have to read
/// more than kScannedRowsMax.
Result<Listing> list_users(directory::Directory& directory, PageMemory& pages, const Call& call,
                           const ListQuery& query, std::int64_t skip, std::int64_t take);
Result<Listing> list_groups(directory::Directory& directory, PageMemory& pages, const Call& call,
                            const ListQuery& query, std::int64_t skip, std::int64_t take);

/// The part of a filter that an index answers. Exposed for tests.
std::vector<directory::Condition> conditions_of(const scim::ResourceType& type,
                                                const scim::Filter& filter);

/// GET of a collection, or POST of a search at a collection or (no `type`) at the root.
Result<http::Response> answer_list(directory::Directory& directory, PageMemory& pages,
                                   const Call& call, const scim::ResourceType* type,
                                   const json::object* search);

}  // namespace roster::provider
