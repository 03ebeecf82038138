#include "sync/scim_source.h"

#include <algorithm>
#include <functional>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/encoding.h"
#include "sync/key_lines.h"
#include "sync/scim_format.h"

namespace roster::sync {
namespace {

using reconcile::Group;
using reconcile::Person;
using reconcile::Text;

constexpr std::string_view kPageSize = "1000";
/// Some servers tell of the extension when they are asked for it only.
constexpr std::string_view kPersonAttributes =
    "id,externalId,userName,active,name,displayName,emails,"
    "urn:coreweave:params:scim:schemas:extension:coreweave:2.0:CoreWeaveUser";

class ScimSource final : public Source {
 public:
  ScimSource(ScimOptions options, scim_client::Pause pause)
      : options_(std::move(options)), pause_(std::move(pause)) {}

  std::string describe() const override { return "scim " + options_.server.url; }
  Result<void> read(const Intake& intake) override;

 private:
  const ScimOptions options_;
  const scim_client::Pause pause_;
};

/// Groups by id, whose members may be groups.
struct Groups {
  std::unordered_map<std::string, ScimGroup> by_id;
  std::unordered_set<std::string> unreadable;  // ids
};

/// The ids of everybody who is in a group directly or through others; circles end. Nothing when one
/// of these groups cannot be read.
std::optional<std::vector<std::string>> people_of(const Groups& groups, const ScimGroup& group) {
  std::vector<std::string> people;
  std::vector<const ScimGroup*> open{&group};
  std::unordered_set<const ScimGroup*> met{&group};
  while (!open.empty()) {
    const ScimGroup* const next = open.back();
    open.pop_back();
    for (const std::string& id : next->members) {
      if (groups.unreadable.contains(id)) return std::nullopt;
      const auto found = groups.by_id.find(id);
      if (found == groups.by_id.end()) {
        people.push_back(id);
      } else if (met.insert(&found->second).second) {
        open.push_back(&found->second);
      }
    }
  }
  return people;
}

Result<Groups> read_groups(ScimLists& lists, const Intake& intake) {
  Groups groups;
  RETURN_IF_ERROR(lists.read("Groups", "", [&groups, &intake](const json::object& resource) {
    auto group = read_group(resource);
    if (!group) {
      intake.keep_group("", {"a group", "the source gives " + group.error().message});
      return;
    }
    std::string id = group->id;
    if (!group->unreadable.empty()) {
      const std::string& name = group->name.empty() ? id : group->name;
      intake.keep_group(id, {"group " + name, "the source gives " + group->unreadable});
      groups.unreadable.insert(std::move(id));
      return;
    }
    groups.by_id.insert_or_assign(std::move(id), std::move(*group));
  }));
  return groups;
}

void tell_groups(const Groups& groups, const Intake& intake) {
  for (const auto& [id, group] : groups.by_id) {
    if (auto people = people_of(groups, group)) {
      intake.group(Group{.key = id, .name = group.name, .members = std::move(*people)});
    } else {
      intake.keep_group(id, {"group " + group.name, "a group within it cannot be read"});
    }
  }
}

/// People on their way. An attribute without a value is left out of a resource (RFC 7643 2.5), and
/// an extension that holds none as well: once anybody has it, whoever lacks it has no keys. Those
/// who came before wait for that; so do those without `active`, of whom nothing is known once
/// anybody has that.
class People {
 public:
  explicit People(const Intake& intake) : intake_(intake) {}

  void take(ScimPerson person) {
    anybody_ = true;
    person.person.key = person.id;
    active_seen_ = active_seen_ || person.tells_active;
    extension_seen_ = extension_seen_ || person.has_extension;
    if (!person.tells_active || !extension_seen_) {
      waiting_.push_back(std::move(person));
    } else {
      tell(std::move(person));
    }
  }

  void end() {
    for (ScimPerson& person : std::exchange(waiting_, {})) tell(std::move(person));
    if (!anybody_) return;
    if (!active_seen_) intake_.hide_locks({"source", "the server shows `active` of nobody"});
    if (extension_seen_) return;
    intake_.warn({"source",
                  "the server shows SSH keys, homes and shells (sunkSshKeys and others) of "
                  "nobody: what the destination has of them stays"});
  }

 private:
  void tell(ScimPerson scim) {
    Person& person = scim.person;
    if (active_seen_ && !scim.tells_active && scim.unreadable.empty()) {
      scim.unreadable = "a User without `active`, which others have";
    }
    if (!scim.unreadable.empty() && person.active) {
      const std::string& name = person.user_name.empty() ? scim.id : person.user_name;
      intake_.keep(person.key, {"person " + name, "the source gives " + scim.unreadable});
      return;
    }
    if (extension_seen_ && !scim.has_extension) {
      person.ssh_keys.emplace();
      person.text(Text::kHome) = person.text(Text::kShell) = "";
    }
    if (auto& keys = person.ssh_keys) {
      keys = take_keys("person " + person.user_name, *keys, intake_.warn);
    }
    intake_.person(std::move(person));
  }

  const Intake& intake_;
  bool anybody_ = false;
  bool active_seen_ = false;
  bool extension_seen_ = false;
  std::vector<ScimPerson> waiting_;
};

Result<void> ScimSource::read(const Intake& intake) {
  ASSIGN_OR_RETURN(const auto server, scim_client::Server::create(options_.server, pause_));
  ASSIGN_OR_RETURN(ScimLists lists, ScimLists::open(*server, options_.overlap));
  ASSIGN_OR_RETURN(const Groups groups, read_groups(lists, intake));
  tell_groups(groups, intake);
  People people(intake);
  RETURN_IF_ERROR(lists.read("Users", "", [&people, &intake](const json::object& resource) {
    auto person = read_person(resource);
    if (person) {
      people.take(std::move(*person));
    } else {
      intake.keep("", {"somebody", "the source gives " + person.error().message});
    }
  }));
  people.end();
  return {};
}

}  // namespace

Result<ScimLists> ScimLists::open(scim_client::Server& server, bool overlap) {
  ASSIGN_OR_RETURN(const http::ClientResponse response,
                   server.send("GET", "/ServiceProviderConfig", ""));
  bool by_cursor = false;
  if (response.status == 200) {
    const auto config = json::parse(response.body);
    const json::object* pagination = config && config->is_object()
                                         ? json::find_object(config->get_object(), "pagination")
                                         : nullptr;
    by_cursor = pagination != nullptr && json::find_bool(*pagination, "cursor").value_or(false);
  }
  return ScimLists(server, by_cursor, overlap);
}

Result<void> ScimLists::read(const std::string& endpoint, const std::string& filter,
                             const std::function<void(const json::object&)>& each) {
  scim_client::Listing listing{.endpoint = endpoint,
                               .parameters = "count=" + std::string(kPageSize),
                               .by_cursor = by_cursor_,
                               .overlap = overlap_ && !by_cursor_};
  if (by_cursor_) listing.parameters += "&cursor=";
  if (endpoint == "Users") listing.parameters += "&attributes=" + percent_encode(kPersonAttributes);
  if (!filter.empty()) listing.parameters += "&filter=" + percent_encode(filter);
  std::string last_id;
  std::vector<std::size_t> ids;  // hashed
  const auto take = [&](const json::object& resource) {
    const std::string_view id = json::find_string(resource, "id").value_or("");
    if (listing.overlap && !id.empty() && id == last_id) return;
    last_id = id;
    if (!id.empty()) ids.push_back(std::hash<std::string_view>()(id));
    each(resource);
  };
  auto reading =
      server_->read(listing, [&take](std::string_view body) { return read_list(body, take); });
  if (!reading) return fail_in(endpoint, std::move(reading).error());
  if (reading->changed) {
    return fail(Code::kUnavailable, endpoint + ": the list changed while it was read", kChanged);
  }
  if (!reading->note.empty()) return fail(Code::kUnavailable, reading->note, kChanged);
  // Who comes twice moved while the list was read, and another one did not come at all.
  std::ranges::sort(ids);
  if (std::ranges::adjacent_find(ids) != ids.end()) {
    return fail(Code::kUnavailable,
                endpoint +
                    ": the list gives somebody twice: it changed while it was read, or is in "
                    "no order",
                kChanged);
  }
  return {};
}

Result<std::unique_ptr<Source>> open_scim(ScimOptions options, scim_client::Pause pause) {
  if (options.server.url.empty()) {
    return fail(Code::kInvalidArgument, options.server.url_setting + ": missing");
  }
  return std::make_unique<ScimSource>(std::move(options), std::move(pause));
}

}  // namespace roster::sync
