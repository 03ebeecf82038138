#include "posix/claims.h"

#include <algorithm>

namespace roster::posix {
namespace {

template <typename Map, typename Key>
std::optional<std::size_t> claim(Map& map, Key key, std::size_t owner) {
  const auto [at, is_new] = map.try_emplace(std::move(key), owner);
  if (is_new) return std::nullopt;
  return at->second;
}

}  // namespace

std::optional<std::size_t> Claims::name(std::string_view name, std::size_t owner) {
  return claim(names_, std::string(name), owner);
}

std::optional<std::size_t> Claims::number(std::uint32_t number, std::size_t owner) {
  return claim(numbers_, number, owner);
}

std::optional<std::size_t> Claims::home(std::string_view home, std::size_t owner) {
  for (std::size_t end = home.size(); end > 0 && end != std::string_view::npos;
       end = home.rfind('/', end - 1)) {
    const auto around = homes_.find(home.substr(0, end));
    if (around != homes_.end()) return around->second;
  }
  const std::string inside = std::string(home) + '/';
  const auto inner = homes_.lower_bound(inside);
  if (inner != homes_.end() && inner->first.starts_with(inside)) return inner->second;
  homes_.emplace(home, owner);
  return std::nullopt;
}

std::optional<std::size_t> Claims::external_id(std::string_view value, std::string_view client,
                                               std::size_t owner) {
  auto& holders = external_ids_[std::string(value)];
  const auto met = std::ranges::find_if(holders, [client](const auto& holder) {
    return client.empty() || holder.first.empty() || client == holder.first;
  });
  if (met != holders.end()) return met->second;
  holders.emplace_back(client, owner);
  return std::nullopt;
}

std::optional<std::size_t> Claims::key(std::string_view key, std::size_t owner) {
  return claim(keys_, std::string(key), owner);
}

}  // namespace roster::posix
