#pragma once

#include <span>

#include "base/json.h"
#include "directory/directory.h"

namespace roster::admin {

/// The setting `primary_group` when each person has a private one.
inline constexpr std::string_view kPrivateGroups = "private";

/// The admin API's JSON form of what the directory holds. Times are RFC 3339; absent means null or
/// empty. No secret is ever among the members.
json::object render(const directory::Org& org);
json::object render(const directory::OrgSettings& settings);
json::object render(const directory::OrgIdBlock& block);
json::object render(const directory::Client& client);
json::object render(const directory::TokenInfo& token, Timestamp now);
json::object render(const directory::User& user);
json::object render(const directory::Group& group);
json::object render(const directory::IdentityRow& row);
/// `entries`: those that the clash speaks of.
json::object render(const directory::ImportClash& clash,
                    std::span<const directory::ImportEntry> entries);
json::object render(const directory::Node& node, Seq head, Timestamp now);
json::object render(const directory::View& view);
json::object render(const directory::AuditRow& row);
json::object render(const directory::Directory::Fuse& fuse);

}  // namespace roster::admin
