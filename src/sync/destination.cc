#include "sync/destination.h"

#include <algorithm>
#include <mutex>
#include <optional>
#include <span>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "base/encoding.h"
#include "base/json.h"
#include "reconcile/failed.h"
#include "sync/parallel.h"
#include "sync/scim_format.h"
#include "sync/scim_source.h"

namespace roster::sync {
namespace {

using reconcile::Act;
using reconcile::Plan;
using reconcile::Stage;
using reconcile::Step;

constexpr std::string_view kUserMark = "user:";
constexpr std::string_view kGroupMark = "group:";
constexpr std::size_t kMembersPerAdd = 1000;
constexpr std::size_t kMembersPerRemove = 100;  // each is an operation of its own
/// So many failures of the connection in a row, each tried several times, mean that it is down.
constexpr int kUnreachableMax = 3;

/// A text in a filter (RFC 7644 3.4.2.2).
std::string filter_text(std::string_view text) {
  return json::serialize(json::value(json::string(text.data(), text.size())));
}

std::string person_target(const std::string& id) { return "/Users/" + percent_encode(id); }
std::string group_target(const std::string& id) { return "/Groups/" + percent_encode(id); }

/// The key behind our prefix and mark; nothing for what is not ours.
std::optional<std::string> key_of(std::string_view external_id, const std::string& prefix,
                                  std::string_view mark) {
  if (!external_id.starts_with(prefix)) return std::nullopt;
  external_id.remove_prefix(prefix.size());
  if (!external_id.starts_with(mark) || external_id.size() == mark.size()) return std::nullopt;
  return std::string(external_id.substr(mark.size()));
}

}  // namespace

namespace {

/// Carries one plan out.
class Run {
 public:
  Run(const DestinationOptions& options, const scim_client::Pause& pause,
      const std::function<void()>& done)
      : options_(options),
        pause_(pause),
        done_(done),
        servers_(std::max<std::size_t>(1, options.parallel)) {}

  Outcome carry_out(const Plan& plan);

 private:
  using Server = scim_client::Server;

  /// An error ends the run.
  Result<void> carry_out(std::size_t worker, const Step& step);
  Result<void> carry_out(Server& server, const Step& step);
  Result<std::string> create(Server& server, const std::string& endpoint, const std::string& body,
                             const std::string& external_id);
  Result<std::string> find(Server& server, const std::string& endpoint,
                           const std::string& external_id);
  Result<void> patch(Server& server, const std::string& target, const std::string& body);
  Result<void> create_person(Server& server, const Step& step);
  Result<void> create_group(Server& server, const Step& step);
  Result<void> add_members(Server& server, const Step& step);
  Result<void> put_members(Server& server, const std::string& group,
                           std::span<const std::string> ids, std::span<const std::string> stay);
  Result<void> remove_members(Server& server, const Step& step);

  Result<void> check_allowed(const Step& step);
  std::vector<std::string> incoming(const Step& step, std::string& missing);
  Result<void> note(const Step& step, const Result<void>& result);

  const DestinationOptions& options_;
  const scim_client::Pause& pause_;
  const std::function<void()>& done_;

  std::vector<std::unique_ptr<Server>> servers_;  // a connection for each worker
  std::mutex mutex_;
  Outcome outcome_;                                    // guarded by mutex_
  std::unordered_map<std::string, std::string> made_;  // key -> id of people; guarded by mutex_
  reconcile::FailedSteps failed_;                      // guarded by mutex_
  int unreachable_ = 0;                                // in a row; guarded by mutex_
};

Outcome Run::carry_out(const Plan& plan) {
  for (const Stage& stage : plan.stages) {
    const auto work = [this, &stage](std::size_t worker, std::size_t index) {
      return carry_out(worker, stage.steps[index]);
    };
    if (const auto done = in_parallel(stage.steps.size(), servers_.size(), work); !done) {
      outcome_.cut_off = done.error().message;
      break;
    }
  }
  outcome_.not_tried = plan.steps() - outcome_.done - outcome_.failures.size();
  return std::move(outcome_);
}

Result<void> Run::carry_out(std::size_t worker, const Step& step) {
  if (pause_(std::chrono::milliseconds(0))) return fail(Code::kUnavailable, "stopped");
  std::unique_ptr<Server>& server = servers_[worker];
  if (server == nullptr) {
    ASSIGN_OR_RETURN(server, Server::create(options_.server, pause_));
  }
  return note(step, carry_out(*server, step));
}

Result<void> Run::note(const Step& step, const Result<void>& result) {
  const std::lock_guard lock(mutex_);
  if (result) {
    unreachable_ = 0;
    ++outcome_.done;
    done_();
    return {};
  }
  const Error& error = result.error();
  outcome_.failures.push_back({&step, error.message});
  failed_.add(step);
  const bool away = error.code == Code::kUnavailable && error.keyword != scim_client::kAnswered;
  unreachable_ = away ? unreachable_ + 1 : 0;
  const bool hopeless = error.code == Code::kUnauthenticated || unreachable_ >= kUnreachableMax;
  if (hopeless || pause_(std::chrono::milliseconds(0))) return std::unexpected(error);
  return {};
}

Result<void> Run::carry_out(Server& server, const Step& step) {
  RETURN_IF_ERROR(check_allowed(step));
  switch (step.act) {
    case Act::kDeactivate:
    case Act::kUpdate:
    case Act::kReactivate:
      return patch(server, person_target(step.id), person_patch(step));
    case Act::kCreate:
      return create_person(server, step);
    case Act::kRenameGroup:
      return patch(server, group_target(step.id), rename_patch(step.new_name));
    case Act::kCreateGroup:
      return create_group(server, step);
    case Act::kAddMembers:
      return add_members(server, step);
    case Act::kRemoveMembers:
      return remove_members(server, step);
  }
  CHECK(false);
}

Result<void> Run::patch(Server& server, const std::string& target, const std::string& body) {
  ASSIGN_OR_RETURN(const http::ClientResponse response, server.send("PATCH", target, body));
  if (response.status / 100 == 2) return {};
  return std::unexpected(scim_client::refusal(response, options_.server));
}

/// The id of the record with this externalId; kNotFound when there is none.
Result<std::string> Run::find(Server& server, const std::string& endpoint,
                              const std::string& external_id) {
  const std::string filter = percent_encode("externalId eq " + filter_text(external_id));
  ASSIGN_OR_RETURN(const http::ClientResponse response,
                   server.send("GET", "/" + endpoint + "?filter=" + filter, ""));
  if (response.status != 200) {
    return std::unexpected(scim_client::refusal(response, options_.server));
  }
  std::string id;
  RETURN_IF_ERROR(read_list(response.body, [&id, &external_id](const json::object& resource) {
    if (json::find_string(resource, "externalId") == external_id) {
      id = json::find_string(resource, "id").value_or("");
    }
  }));
  if (id.empty()) return fail(Code::kNotFound, "there is no such record");
  return id;
}

/// The new record's id. A creation whose answer was lost is found by its externalId.
Result<std::string> Run::create(Server& server, const std::string& endpoint,
                                const std::string& body, const std::string& external_id) {
  std::string found_id;
  bool again = false;
  const auto response = server.send("POST", "/" + endpoint, body, [&] {
    again = true;
    auto found = find(server, endpoint, external_id);
    if (found) found_id = std::move(*found);
    return found.has_value();
  });
  if (!found_id.empty()) return found_id;
  if (response && response->status / 100 == 2) {
    const auto made = json::parse(response->body, {.bytes_max = Server::kPageBytesMax});
    const auto id = made && made->is_object()
                        ? json::find_string(made->get_object(), "id").value_or("")
                        : std::string_view();
    if (!id.empty()) return std::string(id);
    return find(server, endpoint, external_id);
  }
  const Error error =
      response ? scim_client::refusal(*response, options_.server) : response.error();
  if (error.code == Code::kUnavailable || (error.code == Code::kAlreadyExists && again)) {
    if (auto found = find(server, endpoint, external_id)) return found;
  }
  return std::unexpected(error);
}

Result<void> Run::create_person(Server& server, const Step& step) {
  const std::string external_id = options_.prefix + std::string(kUserMark) + step.key;
  ASSIGN_OR_RETURN(std::string id,
                   create(server, "Users", person_body(step.person, external_id), external_id));
  const std::lock_guard lock(mutex_);
  made_.insert_or_assign(step.key, std::move(id));
  return {};
}

/// The ids of those who shall come into a group, and who of them is not there.
std::vector<std::string> Run::incoming(const Step& step, std::string& missing) {
  std::vector<std::string> ids = step.members;
  const std::lock_guard lock(mutex_);
  for (const std::string& key : step.new_members) {
    const auto found = made_.find(key);
    if (found != made_.end()) {
      ids.push_back(found->second);
    } else {
      missing += (missing.empty() ? "" : ", ") + key;
    }
  }
  return ids;
}

namespace {

Result<void> all_came(const std::string& missing) {
  if (missing.empty()) return {};
  return fail(Code::kFailedPrecondition, "without those who could not be created: " + missing);
}

}  // namespace

Result<void> Run::create_group(Server& server, const Step& step) {
  const std::string external_id = options_.prefix + std::string(kGroupMark) + step.key;
  std::string missing;
  const std::vector<std::string> ids = incoming(step, missing);
  const std::span<const std::string> all(ids);
  const auto first = all.first(std::min(ids.size(), kMembersPerAdd));
  ASSIGN_OR_RETURN(
      const std::string id,
      create(server, "Groups", group_body(step.name, external_id, first), external_id));
  RETURN_IF_ERROR(put_members(server, id, all.subspan(first.size()), first));
  return all_came(missing);
}

Result<void> Run::add_members(Server& server, const Step& step) {
  std::string missing;
  const std::vector<std::string> ids = incoming(step, missing);
  RETURN_IF_ERROR(put_members(server, step.id, ids, step.stay));
  return all_came(missing);
}

/// `stay`: who is in the group already.
Result<void> Run::put_members(Server& server, const std::string& group,
                              std::span<const std::string> ids, std::span<const std::string> stay) {
  if (ids.empty()) return {};
  const std::string target = group_target(group);
  if (options_.replace_members) {
    std::vector<std::string> all(stay.begin(), stay.end());
    all.insert(all.end(), ids.begin(), ids.end());
    return patch(server, target, replace_members_patch(all));
  }
  for (std::size_t at = 0; at < ids.size(); at += kMembersPerAdd) {
    const auto some = ids.subspan(at, std::min(kMembersPerAdd, ids.size() - at));
    RETURN_IF_ERROR(patch(server, target, add_members_patch(some)));
  }
  return {};
}

Result<void> Run::remove_members(Server& server, const Step& step) {
  const std::string target = group_target(step.id);
  if (options_.replace_members) return patch(server, target, replace_members_patch(step.stay));
  const std::span<const std::string> all(step.members);
  for (std::size_t at = 0; at < all.size(); at += kMembersPerRemove) {
    const auto some = all.subspan(at, std::min(kMembersPerRemove, all.size() - at));
    RETURN_IF_ERROR(patch(server, target, remove_members_patch(some)));
  }
  return {};
}

Result<void> Run::check_allowed(const Step& step) {
  const std::lock_guard lock(mutex_);
  const std::string_view why_not = failed_.forbids(step);
  if (why_not.empty()) return {};
  return fail(Code::kFailedPrecondition, std::string(why_not));
}

}  // namespace

Destination::Destination(DestinationOptions options, scim_client::Pause pause)
    : options_(std::move(options)), pause_(std::move(pause)) {}

std::string Destination::describe() const { return "scim " + options_.server.url; }

namespace {

/// What begins with the prefix; everything, of a server that cannot filter by it.
Result<void> read_ours(ScimLists& lists, const std::string& endpoint, const std::string& prefix,
                       const std::function<void(const json::object&)>& each) {
  bool begun = false;
  auto done = lists.read(endpoint, "externalId sw " + filter_text(prefix),
                         [&begun, &each](const json::object& resource) {
                           begun = true;
                           each(resource);
                         });
  if (done || done.error().code != Code::kFailedPrecondition) return done;
  // Refused in the middle it is no refusal of the filter: a cursor that has expired, perhaps.
  if (begun) return fail(Code::kUnavailable, done.error().message, kChanged);
  return lists.read(endpoint, "", each);
}

}  // namespace

Result<reconcile::Held> Destination::read(const reconcile::Digester& digester) {
  ASSIGN_OR_RETURN(const auto server, scim_client::Server::create(options_.server, pause_));
  ASSIGN_OR_RETURN(ScimLists lists, ScimLists::open(*server, options_.overlap));
  reconcile::Held held;
  std::optional<Error> nameless;  // what nobody could even lock
  bool active_seen = false;
  std::vector<std::size_t> without_active;

  RETURN_IF_ERROR(read_ours(lists, "Users", options_.prefix, [&](const json::object& resource) {
    const auto external_id = json::find_string(resource, "externalId").value_or("");
    auto key = key_of(external_id, options_.prefix, kUserMark);
    if (!key) return;  // a server that does not filter
    auto found = read_person(resource);
    if (!found) {
      nameless = fail_in(std::string(external_id), found.error()).error();
      return;
    }
    reconcile::HeldPerson person{.id = std::move(found->id),
                                 .key = std::move(*key),
                                 .user_name = std::move(found->person.user_name),
                                 .active = found->person.active,
                                 .unreadable = std::move(found->unreadable)};
    active_seen = active_seen || found->tells_active;
    if (!found->tells_active) without_active.push_back(held.people.size());
    for (std::size_t i = 0; i < reconcile::kTexts; ++i) {
      person.texts[i] = digester.of(found->person.texts[i].value_or(""));
    }
    person.ssh_keys = digester.of_keys(found->person.ssh_keys.value_or(std::vector<std::string>()));
    held.people.push_back(std::move(person));
  }));
  RETURN_IF_ERROR(read_ours(lists, "Groups", options_.prefix, [&](const json::object& resource) {
    const auto external_id = json::find_string(resource, "externalId").value_or("");
    auto key = key_of(external_id, options_.prefix, kGroupMark);
    if (!key) return;
    auto group = read_group(resource);
    if (!group) {
      nameless = fail_in(std::string(external_id), group.error()).error();
      return;
    }
    held.groups.push_back({std::move(group->id), std::move(*key), std::move(group->name),
                           std::move(group->members), std::move(group->unreadable)});
  }));
  if (nameless) {
    return fail(Code::kDataLoss, "a record of ours cannot be read: " + nameless->message);
  }
  held.hides_active = !active_seen && !without_active.empty();
  for (const std::size_t i : without_active) {
    std::string& unreadable = held.people[i].unreadable;
    if (!held.hides_active && unreadable.empty()) {
      unreadable = "a User without `active`, which others have";
    }
  }
  return held;
}

Outcome Destination::apply(const reconcile::Plan& plan, const std::function<void()>& done) {
  return Run(options_, pause_, done).carry_out(plan);
}

}  // namespace roster::sync
