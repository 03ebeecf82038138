#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "reconcile/plan.h"
#include "scim_client/server.h"

namespace roster::sync {

/// A SCIM User as far as it concerns us. `person.key` is empty.
struct ScimPerson {
  std::string id;
  std::string external_id;
  reconcile::Person person;  // what can be read
  bool tells_active = false;
  bool has_extension = false;  // of CoreWeave: keys, home and shell
  std::string unreadable;      // what cannot be read, in words, or empty
};

struct ScimGroup {
  std::string id;
  std::string external_id;
  std::string name;
  std::vector<std::string> members;  // ids of people and groups
  std::string unreadable;            // as of people
};

/// RFC 7643 4.1. Keys, home and shell are told of when the CoreWeave extension is there at all.
/// Texts that are missing are told as empty. kInvalidArgument without `id`.
Result<ScimPerson> read_person(const json::object& resource);
/// RFC 7643 4.2. kInvalidArgument without `id`.
Result<ScimGroup> read_group(const json::object& resource);

/// A ListResponse: `each` gets every resource. kDataLoss when the body is none.
Result<scim_client::Page> read_list(std::string_view body,
                                    const std::function<void(const json::object&)>& each);

/// Bodies of POST.
std::string person_body(const reconcile::Person& person, std::string_view external_id);
std::string group_body(std::string_view name, std::string_view external_id,
                       std::span<const std::string> members);

/// Bodies of PATCH (RFC 7644 3.5.2). Of a person's step: what locks is first, `active: true` last.
std::string person_patch(const reconcile::Step& step);
std::string rename_patch(std::string_view name);
std::string add_members_patch(std::span<const std::string> ids);
std::string remove_members_patch(std::span<const std::string> ids);
std::string replace_members_patch(std::span<const std::string> ids);

}  // namespace roster::sync
