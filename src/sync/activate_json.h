#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/secret.h"

// What ACTIVATE's REST API answers, as its published OpenAPI document describes it. Every answer
// that is something else is kDataLoss: a gateway's page, a list that was cut, another API.

namespace roster::sync {

inline constexpr std::size_t kActivateBodyBytesMax = std::size_t{64} << 20;

/// OrgUser.
struct ActivateUser {
  std::string id, username;
  std::optional<bool> active;
  std::optional<std::string> email, name;
};

/// Group.
struct ActivateGroup {
  std::string id;  // or the name when it has none
  std::string name;
  std::int64_t members = 0;  // how many it says that it has, when it says so
};

/// MemberDetail.
struct ActivateMember {
  std::string id, username, email;
};

template <typename Item>
struct ActivatePage {
  std::vector<Item> items;
  std::optional<std::int64_t> total;  // of the list, when the API tells it
};

Result<ActivatePage<ActivateUser>> parse_activate_users(std::string_view body);
Result<ActivatePage<ActivateGroup>> parse_activate_groups(std::string_view body);
Result<std::vector<ActivateMember>> parse_activate_members(std::string_view body);
/// A name as one JSON text.
Result<std::string> parse_activate_organization(std::string_view body);

/// Whether it is an API key, "pwt_...", rather than a token.
bool is_activate_api_key(std::string_view credential);

/// The platform that a credential is for, "activate.parallel.works": an API key is
/// "pwt_" base64(host) "." secret, a token is a JWT with the claim "platform_host".
/// kInvalidArgument when it names none. The sentence never repeats the credential.
Result<std::string> activate_host(const Secret& credential);

}  // namespace roster::sync
