#include <algorithm>
#include <set>
#include <span>
#include <utility>

#include "posix/ssh_key.h"
#include "provider/render.h"
#include "provider/resources.h"
#include "scim/error.h"
#include "scim/patch.h"
#include "scim/resource.h"

namespace roster::provider {
namespace {

using directory::Directory;
using directory::KeyInput;
using directory::User;
using directory::UserInput;

/// Checked keys. kInvalidArgument (invalidValue) naming the index of a bad one and the reason.
Result<std::vector<KeyInput>> parse_keys(std::span<const std::string> lines) {
  auto keys = posix::parse_key_list("sunkSshKeys", lines);
  if (!keys) {
    keys.error().keyword = scim::kInvalidValue;
    return std::unexpected(std::move(keys).error());
  }
  std::vector<KeyInput> out;
  out.reserve(keys->size());
  for (const posix::SshPublicKey& key : *keys) {
    out.push_back({.line = key.line(),
                   .fingerprint = key.fingerprint(),
                   .name = std::string(key.comment()),
                   .not_before = {},
                   .not_after = {}});
  }
  return out;
}

/// An operation on keys with its keys checked.
struct KeyStep {
  scim::ListOp::Kind kind;
  std::vector<KeyInput> keys;          // kAdd, kReplace
  std::vector<std::string> lines;      // kRemove, as written
  std::set<std::string> fingerprints;  // of those lines that are keys
  std::optional<scim::Filter> filter;  // kRemoveWhere
};

Result<std::vector<KeyStep>> parse_key_steps(const std::vector<scim::ListOp>& ops) {
  std::vector<KeyStep> steps;
  for (const scim::ListOp& op : ops) {
    KeyStep step{.kind = op.kind, .keys = {}, .lines = {}, .fingerprints = {}, .filter = op.filter};
    if (op.kind == scim::ListOp::Kind::kRemove) {
      step.lines = op.values;
      for (const std::string& line : op.values) {
        const auto key = posix::SshPublicKey::parse(line);
        if (key) step.fingerprints.insert(key->fingerprint());
      }
    } else {
      ASSIGN_OR_RETURN(step.keys, parse_keys(op.values));
    }
    steps.push_back(std::move(step));
  }
  return steps;
}

bool contains(const std::vector<KeyInput>& keys, const std::string& fingerprint) {
  return std::ranges::any_of(
      keys, [&fingerprint](const KeyInput& key) { return key.fingerprint == fingerprint; });
}

/// Whether a removal means this key: the same key, whatever its comment, or the same text.
bool means(const KeyStep& removal, const KeyInput& key) {
  return removal.fingerprints.contains(key.fingerprint) ||
         std::ranges::find(removal.lines, key.line) != removal.lines.end();
}

void apply(const KeyStep& step, std::vector<KeyInput>& keys) {
  switch (step.kind) {
    case scim::ListOp::Kind::kReplace:
      keys = step.keys;
      break;
    case scim::ListOp::Kind::kAdd:
      for (const KeyInput& key : step.keys) {
        if (!contains(keys, key.fingerprint)) keys.push_back(key);
      }
      break;
    case scim::ListOp::Kind::kRemove:
      std::erase_if(keys, [&step](const KeyInput& key) { return means(step, key); });
      break;
    case scim::ListOp::Kind::kRemoveWhere:
      std::erase_if(keys, [&step](const KeyInput& key) {
        return step.filter->matches_element(json::value(key.line));
      });
      break;
  }
}

/// Stored keys that the steps end up removing by name, whoever wrote them: everybody may take a key
/// away.
std::vector<std::string> taken_away(const std::vector<KeyStep>& steps, const User& user) {
  std::vector<std::string> fingerprints;
  for (const directory::SshKeyRow& row : user.keys) {
    const KeyInput stored{.line = row.key,
                          .fingerprint = row.fingerprint,
                          .name = {},
                          .not_before = {},
                          .not_after = {}};
    bool removed = false;
    for (const KeyStep& step : steps) {
      if (step.kind == scim::ListOp::Kind::kReplace || step.kind == scim::ListOp::Kind::kAdd) {
        removed = removed && !contains(step.keys, stored.fingerprint);
        continue;
      }
      std::vector<KeyInput> left{stored};
      apply(step, left);
      removed = removed || left.empty();
    }
    if (removed) fingerprints.push_back(row.fingerprint);
  }
  return fingerprints;
}

/// Name under which the writer's keys are stored (SshKeyRow::source).
Result<std::string> own_source(Directory& directory, const Call& call) {
  if (!call.actor.client) return "manual";
  ASSIGN_OR_RETURN(const auto clients, directory.list_clients(call.org.n));
  for (const directory::Client& client : clients) {
    if (client.n == *call.actor.client) return client.name;
  }
  return fail(Code::kUnauthenticated, "the token's client is gone");
}

/// The writer's own keys of a person, with what PATCH does not speak about.
std::vector<KeyInput> own_keys(const User& user, const std::string& source) {
  std::vector<KeyInput> keys;
  for (const directory::SshKeyRow& row : user.keys) {
    if (row.source != source) continue;
    keys.push_back({.line = row.key,
                    .fingerprint = row.fingerprint,
                    .name = row.name,
                    .not_before = row.not_before,
                    .not_after = row.not_after});
  }
  return keys;
}

/// The row's `active` as part of the document: an unassigned one locks (a client that removes it
/// does not ask to let somebody in).
json::object with_active(json::object doc) {
  if (!json::find_bool(doc, "active")) doc["active"] = false;
  return doc;
}

directory::Load load_for(const scim::Projection& projection) {
  return {.keys = projection.wants(scim::kCoreWeaveUserUrn, "sunkSshKeys"),
          .groups = projection.wants("", "groups"),
          .members = false};
}

http::Response answer(const Call& call, const scim::Projection& projection, int status, User user) {
  const std::string tag = entity_tag(user.version);
  json::object body = render(call, std::move(user));
  const std::string location(json::find_string(body.at("meta").as_object(), "location").value());
  http::Response response = json_answer(status, projection.apply(std::move(body)));
  response.headers.set("ETag", tag);
  response.headers.set("Location", location);
  return response;
}

/// After a write: the directory's answer has the keys, groups are read when they are wanted.
Result<http::Response> answer_written(Directory& directory, const Call& call,
                                      const scim::Projection& projection, User user) {
  const directory::Load load = load_for(projection);
  if (load.groups) {
    ASSIGN_OR_RETURN(user, directory.get_user(call.actor, call.org.n, user.id, load));
  }
  return answer(call, projection, 200, std::move(user));
}

}  // namespace

Result<http::Response> create_user(Directory& directory, const Call& call,
                                   const json::value& body) {
  ASSIGN_OR_RETURN(const scim::Projection projection, parse_projection(call, scim::user_type()));
  ASSIGN_OR_RETURN(scim::Resource resource, scim::normalize(scim::user_type(), body));
  if (!resource.doc.contains("active")) resource.doc["active"] = true;
  UserInput input{.doc = std::move(resource.doc), .external_id = resource.external_id, .keys = {}};
  if (resource.ssh_keys) {
    ASSIGN_OR_RETURN(input.keys, parse_keys(*resource.ssh_keys));
  }
  ASSIGN_OR_RETURN(User user, directory.create_user(call.actor, call.org.n, input));
  return answer(call, projection, 201, std::move(user));
}

Result<http::Response> get_user(Directory& directory, const Call& call, std::string_view id) {
  ASSIGN_OR_RETURN(const scim::Projection projection, parse_projection(call, scim::user_type()));
  ASSIGN_OR_RETURN(User user, directory.get_user(call.actor, call.org.n, id, load_for(projection)));
  if (call.reader() && call.only_active() && !may_log_in(user, call.now)) {
    return fail(Code::kNotFound, "there is no such user");
  }
  if (!call.reader()) {
    const std::string tag = entity_tag(user.version);
    if (if_none_match(call.request, tag)) return not_modified(tag);
    return answer(call, projection, 200, std::move(user));
  }
  // What a reader is shown changes under the same version: with the settings, and with time.
  ASSIGN_OR_RETURN(const std::string tag, state_tag(directory, call));
  if (if_none_match(call.request, tag)) return not_modified(tag);
  http::Response response = answer(call, projection, 200, std::move(user));
  response.headers.set("ETag", tag);
  return response;
}

Result<http::Response> replace_user(Directory& directory, const Call& call, std::string_view id,
                                    const json::value& body) {
  ASSIGN_OR_RETURN(const scim::Projection projection, parse_projection(call, scim::user_type()));
  ASSIGN_OR_RETURN(const scim::Resource resource, scim::normalize(scim::user_type(), body));
  std::optional<std::vector<KeyInput>> keys;
  if (resource.ssh_keys) {
    ASSIGN_OR_RETURN(keys, parse_keys(*resource.ssh_keys));
  }
  const auto edit = [&resource, &keys](const User& current) -> Result<UserInput> {
    return UserInput{
        .doc = with_active(scim::replace_document(scim::user_type(), current.doc, resource)),
        .external_id = resource.external_id,
        .keys = keys};
  };
  ASSIGN_OR_RETURN(
      User user, directory.update_user(call.actor, call.org.n, id, if_version(call.request), edit));
  return answer_written(directory, call, projection, std::move(user));
}

namespace {

Result<http::Response> carry_out(Directory& directory, const Call& call, std::string_view id,
                                 const scim::Patch& patch) {
  ASSIGN_OR_RETURN(const scim::Projection projection, parse_projection(call, scim::user_type()));
  ASSIGN_OR_RETURN(const std::vector<KeyStep> steps, parse_key_steps(patch.keys));
  std::string source;
  if (!steps.empty()) {
    ASSIGN_OR_RETURN(source, own_source(directory, call));
  }
  const auto edit = [&patch, &steps, &source](const User& current) -> Result<UserInput> {
    UserInput input;
    ASSIGN_OR_RETURN(input.doc, scim::apply(scim::user_type(), current.doc, patch.document));
    input.doc = with_active(std::move(input.doc));
    input.external_id = patch.external_id;
    if (!steps.empty()) {
      input.keys = own_keys(current, source);
      for (const KeyStep& step : steps) apply(step, *input.keys);
      input.removed_keys = taken_away(steps, current);
    }
    return input;
  };
  ASSIGN_OR_RETURN(
      User user, directory.update_user(call.actor, call.org.n, id, if_version(call.request), edit));
  return answer_written(directory, call, projection, std::move(user));
}

}  // namespace

Result<http::Response> patch_user(Directory& directory, const Call& call, std::string_view id,
                                  const json::value& body) {
  ASSIGN_OR_RETURN(const scim::Patch patch, scim::parse_patch(scim::user_type(), body));
  return carry_out(directory, call, id, patch);
}

Result<http::Response> patch_own_user(Directory& directory, const Call& call, std::string_view id,
                                      const json::value& body) {
  ASSIGN_OR_RETURN(const scim::Patch patch, scim::parse_patch(scim::user_type(), body));
  if (!patch.document.empty() || patch.external_id) {
    return fail(Code::kPermissionDenied, "a person may change their SSH keys only");
  }
  return carry_out(directory, call, id, patch);
}

Result<http::Response> delete_user(Directory& directory, const Call& call, std::string_view id) {
  RETURN_IF_ERROR(directory.delete_user(call.actor, call.org.n, id, if_version(call.request)));
  return http::Response{.status = 204, .headers = {}, .body = {}};
}

}  // namespace roster::provider
