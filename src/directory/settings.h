#pragma once

#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>

#include "directory/types.h"
#include "posix/home.h"
#include "store/database.h"

namespace roster::directory {

/// Settings of an organization, checked and ready for use.
struct Rules {
  OrgSettings settings;
  posix::HomePrefixes home_prefixes;
  posix::HomeTemplate home_template;
  std::set<std::string, std::less<>> reserved_names;  // of the organization

  /// Whether nobody may get the name.
  bool reserves(std::string_view name) const;
};

/// kInvalidArgument naming the setting.
Result<Rules> check_settings(const OrgSettings& settings);

/// JSON with one member per setting, all written. Unknown members are ignored when read, absent
/// ones have their default. kDataLoss when the stored text is not such an object.
std::string settings_to_json(const OrgSettings& settings);
Result<OrgSettings> settings_from_json(std::string_view text);

/// Reads settings in a transaction, parsing them only when their text is new. Thread-safe.
class RulesCache {
 public:
  /// kNotFound when there is no such organization.
  Result<std::shared_ptr<const Rules>> get(store::Tx& tx, OrgN org);

 private:
  struct Entry {
    std::string text;
    std::shared_ptr<const Rules> rules;
  };
  std::mutex mutex_;
  std::unordered_map<OrgN, Entry> entries_;  // guarded by mutex_
};

}  // namespace roster::directory
