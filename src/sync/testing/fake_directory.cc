#include "sync/testing/fake_directory.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "http/respond.h"

namespace roster::sync::testing {
namespace {

constexpr std::string_view kBase = "/scim";
constexpr std::string_view kExtension =
    "urn:coreweave:params:scim:schemas:extension:coreweave:2.0:CoreWeaveUser";

std::size_t number(std::optional<std::string_view> text, std::size_t fallback) {
  if (text) std::from_chars(text->data(), text->data() + text->size(), fallback);
  return fallback;
}

std::string text_at(const json::object& resource, std::string_view name) {
  return std::string(json::find_string(resource, name).value_or(""));
}

/// `externalId sw "x"` and `externalId eq "x"`.
bool selects(std::string_view filter, const json::object& resource) {
  if (filter.empty()) return true;
  const std::size_t quote = filter.find('"');
  CHECK(filter.starts_with("externalId ") && quote != std::string_view::npos);
  const auto value = json::parse(filter.substr(quote));
  CHECK(value && value->is_string());
  const std::string wanted(json::view(value->get_string()));
  const std::string id = text_at(resource, "externalId");
  return filter.substr(11, 2) == "sw" ? id.starts_with(wanted) : id == wanted;
}

void erase_member(json::object& resource, std::string_view id) {
  json::array kept;
  for (const json::value& member : resource["members"].get_array()) {
    if (text_at(member.get_object(), "value") != id) kept.push_back(member);
  }
  resource["members"] = std::move(kept);
}

/// The object that a path's last name is in, and that name.
std::pair<json::object*, std::string> place_of(json::object& resource, std::string path) {
  const std::string extension = std::string(kExtension) + ":";
  json::object* target = &resource;
  const auto step_into = [&target](std::string_view name) {
    json::value& inner = (*target)[name];
    if (!inner.is_object()) inner.emplace_object();
    target = &inner.get_object();
  };
  if (path.starts_with(extension)) {
    step_into(kExtension);
    path.erase(0, extension.size());
  } else if (const std::size_t dot = path.find('.'); dot != std::string::npos) {
    step_into(path.substr(0, dot));
    path.erase(0, dot + 1);
  }
  return {target, path};
}

void operate(json::object& resource, const json::object& operation) {
  const std::string op = text_at(operation, "op");
  const std::string path = text_at(operation, "path");
  constexpr std::string_view kOneMember = "members[value eq ";
  if (path.starts_with(kOneMember)) {
    CHECK(op == "remove" && path.ends_with(']'));
    const std::string quoted = path.substr(kOneMember.size(), path.size() - kOneMember.size() - 1);
    erase_member(resource, json::view(json::parse(quoted)->get_string()));
    return;
  }
  if (op == "add") {
    CHECK(path == "members");
    json::value& members = resource["members"];
    if (!members.is_array()) members.emplace_array();
    for (const json::value& each : operation.at("value").get_array()) {
      members.get_array().push_back(each);
    }
    return;
  }
  const auto [target, name] = place_of(resource, path);
  if (op == "remove") {
    target->erase(name);
  } else {
    (*target)[name] = operation.at("value");
  }
}

}  // namespace

http::Response status_only(int status) {
  return http::json_response(status, json::object{{"status", std::to_string(status)}},
                             "application/scim+json");
}

FakeDirectory::FakeDirectory()
    : server_([this](const http::Request& request, http::Context&) { return answer(request); }) {}

std::string FakeDirectory::url() const { return server_.url() + std::string(kBase); }

void FakeDirectory::set_intercept(Intercept intercept) {
  const std::lock_guard lock(mutex_);
  intercept_ = std::move(intercept);
}
void FakeDirectory::set_filters(bool on) {
  const std::lock_guard lock(mutex_);
  filters_ = on;
}

void FakeDirectory::set_page_max(std::size_t size) {
  const std::lock_guard lock(mutex_);
  page_max_ = size;
}

void FakeDirectory::erase(std::string_view collection, const std::string& id) {
  const std::lock_guard lock(mutex_);
  (collection == "Users" ? people_ : groups_).erase(id);
}

std::string FakeDirectory::add(std::string_view collection, json::object resource) {
  const std::lock_guard lock(mutex_);
  std::string id = text_at(resource, "id");
  if (id.empty()) id = "id" + std::to_string(next_id_++);
  resource["id"] = json::string(id);
  if (collection == "Users") resource.emplace("active", true);
  (collection == "Users" ? people_ : groups_)[id] = std::move(resource);
  return id;
}

std::map<std::string, json::object> FakeDirectory::people() const {
  const std::lock_guard lock(mutex_);
  return people_;
}
std::map<std::string, json::object> FakeDirectory::groups() const {
  const std::lock_guard lock(mutex_);
  return groups_;
}

json::object FakeDirectory::person(std::string_view user_name) const {
  const std::lock_guard lock(mutex_);
  const auto found = std::ranges::find_if(people_, [user_name](const auto& entry) {
    return text_at(entry.second, "userName") == user_name;
  });
  CHECK(found != people_.end());
  return found->second;
}

std::vector<std::string> FakeDirectory::writes() const {
  const std::lock_guard lock(mutex_);
  return writes_;
}
std::size_t FakeDirectory::most_at_once() const {
  const std::lock_guard lock(mutex_);
  return most_;
}

http::Response FakeDirectory::answer(const http::Request& request) {
  Intercept intercept;
  {
    const std::lock_guard lock(mutex_);
    most_ = std::max(most_, ++now_);
    intercept = intercept_;
    if (request.method != "GET") {
      writes_.push_back(request.method + " " + request.path.substr(kBase.size()));
    }
  }
  std::optional<Lie> lie = intercept ? intercept(request) : std::nullopt;
  const std::lock_guard lock(mutex_);
  --now_;
  if (request.headers.get("Authorization") != "Bearer t-1") return status_only(401);
  if (!lie) return carry_out(request);
  if (lie->carry_out) carry_out(request);
  return std::move(lie->response);
}

http::Response FakeDirectory::carry_out(const http::Request& request) {
  const std::string path = request.path.substr(kBase.size());
  for (auto* resources : {&people_, &groups_}) {
    const std::string collection = resources == &people_ ? "/Users" : "/Groups";
    const std::string_view name = resources == &people_ ? "userName" : "displayName";
    if (!path.starts_with(collection)) continue;
    if (request.method == "GET") return list(*resources, request);
    const auto body = json::parse(request.body, {.bytes_max = 64 << 20});
    CHECK(body && body->is_object());
    if (request.method == "POST") return create(*resources, name, body->get_object());
    const auto found = resources->find(path.substr(collection.size() + 1));
    if (found == resources->end()) return status_only(404);
    return patch(found->second, body->get_object());
  }
  return status_only(404);
}

http::Response FakeDirectory::list(const Resources& resources, const http::Request& request) const {
  const auto query = http::Query::parse(request.query);
  CHECK(query.has_value());
  const std::string_view filter = filters_ ? query->get("filter").value_or("") : "";
  std::vector<const json::object*> selected;
  for (const auto& [id, resource] : resources) {
    if (selects(filter, resource)) selected.push_back(&resource);
  }
  const std::size_t first = number(query->get("startIndex"), 1) - 1;
  const std::size_t count = std::min(page_max_, number(query->get("count"), page_max_));
  const std::size_t end = std::min(selected.size(), first + count);
  json::array page;
  for (std::size_t i = first; i < end; ++i) page.push_back(*selected[i]);
  return http::json_response(200,
                             json::object{{"totalResults", selected.size()},
                                          {"startIndex", first + 1},
                                          {"itemsPerPage", page.size()},
                                          {"Resources", page}},
                             "application/scim+json");
}

http::Response FakeDirectory::create(Resources& resources, std::string_view name,
                                     const json::object& body) {
  for (const auto& [id, resource] : resources) {
    if (text_at(resource, name) == text_at(body, name)) return status_only(409);
  }
  json::object made = body;
  const std::string id = "id" + std::to_string(next_id_++);
  made["id"] = json::string(id);
  resources[id] = made;
  return http::json_response(201, made, "application/scim+json");
}

http::Response FakeDirectory::patch(json::object& resource, const json::object& body) {
  for (const json::value& operation : body.at("Operations").get_array()) {
    operate(resource, operation.get_object());
  }
  return http::json_response(200, resource, "application/scim+json");
}

}  // namespace roster::sync::testing
