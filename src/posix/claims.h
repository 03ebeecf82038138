#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace roster::posix {

/// Who of a list of people and groups has a name, an id, a home or a key: each is the first one's
/// who asks. Owners are positions in the list.
class Claims {
 public:
  /// Each: nothing when it was free and is now `owner`'s, else whose it is already.
  std::optional<std::size_t> name(std::string_view name, std::size_t owner);
  std::optional<std::size_t> number(std::uint32_t number, std::size_t owner);
  /// A clean path; one inside another or around it is taken, too.
  std::optional<std::size_t> home(std::string_view home, std::size_t owner);
  /// An externalId, which a provisioning client gives; without a client it meets everybody's, as it
  /// does when a push looks for whom it binds.
  std::optional<std::size_t> external_id(std::string_view value, std::string_view client,
                                         std::size_t owner);
  /// Whatever else must be one's own, such as a userName.
  std::optional<std::size_t> key(std::string_view key, std::size_t owner);

 private:
  std::unordered_map<std::string, std::size_t> names_;
  std::unordered_map<std::uint32_t, std::size_t> numbers_;
  std::map<std::string, std::size_t, std::less<>> homes_;
  std::unordered_map<std::string, std::size_t> keys_;
  std::unordered_map<std::string, std::vector<std::pair<std::string, std::size_t>>>
      external_ids_;  // value -> clients and owners
};

}  // namespace roster::posix
