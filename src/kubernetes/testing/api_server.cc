#include "kubernetes/testing/api_server.h"

#include <stdlib.h>

#include "base/encoding.h"
#include "base/file.h"
#include "base/ids.h"
#include "base/time.h"
#include "crypto/x509.h"

namespace roster::kubernetes::testing {
namespace {

constexpr std::string_view kPath = "/api/v1/namespaces/slurm/secrets/";
constexpr std::size_t kSecretMax = 1 << 20;
constexpr std::size_t kBodyMax = 3 << 20;

http::Response answer(int status, const json::object& body) {
  http::Response response;
  response.status = status;
  response.headers.set("Content-Type", "application/json");
  response.body = json::serialize(body);
  return response;
}

json::object status_object(int code, std::string_view reason, std::string_view message,
                           json::object details = {}) {
  return {{"kind", "Status"},
          {"apiVersion", "v1"},
          {"metadata", json::object{}},
          {"status", "Failure"},
          {"message", message},
          {"reason", reason},
          {"details", std::move(details)},
          {"code", code}};
}

http::Response refuse(int code, std::string_view reason, std::string_view message,
                      json::object details = {}) {
  return answer(code, status_object(code, reason, message, std::move(details)));
}

http::Response invalid(std::string_view field, std::string_view cause, std::string_view message) {
  json::object item{{"reason", cause}, {"message", message}, {"field", field}};
  return refuse(422, "Invalid", message,
                {{"kind", "Secret"}, {"causes", json::array{std::move(item)}}});
}

bool ok_name(std::string_view name) {
  return !name.empty() && name.size() <= 253 &&
         name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-.") == name.npos &&
         name.front() != '-' && name.back() != '-';
}

/// Decoded values of an apply's data, or the refusal.
std::expected<std::map<std::string, std::string>, http::Response> read_data(
    const json::object& object) {
  std::map<std::string, std::string> out;
  const json::object* data = json::find_object(object, "data");
  if (data == nullptr) return out;
  for (const auto& [key, item] : *data) {
    const auto decoded = item.is_string() ? base64_decode(json::view(item.get_string()))
                                          : fail(Code::kInvalidArgument, "no string");
    if (!decoded) {
      return std::unexpected(refuse(400, "BadRequest", "illegal base64 data at input byte 0"));
    }
    out[std::string(key)] = *decoded;
  }
  return out;
}

}  // namespace

ApiServer::ApiServer(const std::string& host) {
  std::string pattern = (std::filesystem::temp_directory_path() / "pod.XXXXXX").string();
  CHECK(mkdtemp(pattern.data()) != nullptr);
  directory_ = pattern;
  const auto ca =
      crypto::create_ca("kubernetes", system_now(), std::chrono::days(2), system_random);
  CHECK(ca);
  const std::vector<std::string> hosts{host};
  const auto certificate = crypto::issue_server_certificate(*ca, hosts, system_now(),
                                                            std::chrono::days(1), system_random);
  CHECK(certificate);
  CHECK(write_file_atomic(directory_ / "server.pem", certificate->certificate_pem, 0600));
  CHECK(write_file_atomic(directory_ / "server.key", certificate->key_pem.expose(), 0600));
  CHECK(write_file_atomic(directory_ / "ca.crt", ca->certificate_pem, 0644));
  CHECK(write_file_atomic(directory_ / "namespace", "slurm", 0644));
  write_token("token-1");
  accept({"token-1"});
  http::ServerOptions options;
  options.listen = {(host.find(':') == host.npos ? host : "[" + host + "]") + ":0"};
  options.tls = http::TlsFiles{directory_ / "server.pem", directory_ / "server.key"};
  options.workers = 2;
  server_.emplace([this](const http::Request& request, http::Context&) { return handle(request); },
                  std::move(options));
}

ApiServer::~ApiServer() {
  server_.reset();
  std::filesystem::remove_all(directory_);
}

std::string ApiServer::url() const { return "https://" + server_->address(); }

void ApiServer::write_token(const std::string& token) const {
  CHECK(write_file_atomic(directory_ / "token", token + "\n", 0640));
}

void ApiServer::accept(std::set<std::string> tokens) {
  const std::lock_guard lock(mutex_);
  tokens_ = std::move(tokens);
}

void ApiServer::put(const std::string& name, const std::string& key, const std::string& value,
                    const std::string& manager) {
  const std::lock_guard lock(mutex_);
  Secret& secret = secrets_[name];
  secret.data[key] = value;
  for (auto& [other, keys] : secret.managers) keys.erase(key);
  secret.managers[manager].insert(key);
  secret.resource_version = ++version_;
}

void ApiServer::remove(const std::string& name) {
  const std::lock_guard lock(mutex_);
  secrets_.erase(name);
}

void ApiServer::set_immutable(const std::string& name) {
  const std::lock_guard lock(mutex_);
  secrets_.at(name).immutable = true;
}

ApiServer::Secret ApiServer::secret(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  const auto found = secrets_.find(name);
  return found == secrets_.end() ? Secret{} : found->second;
}

bool ApiServer::has(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  return secrets_.contains(name);
}

void ApiServer::fail_next(std::vector<Fault> faults) {
  const std::lock_guard lock(mutex_);
  faults_.assign(faults.begin(), faults.end());
}

void ApiServer::before_next_apply(std::function<void()> hook) {
  const std::lock_guard lock(mutex_);
  hook_ = std::move(hook);
}

void ApiServer::allow_only(std::set<std::string> names) {
  const std::lock_guard lock(mutex_);
  allowed_ = std::move(names);
  restricted_ = true;
}

std::vector<std::string> ApiServer::requests() const {
  const std::lock_guard lock(mutex_);
  return requests_;
}

std::size_t ApiServer::writes() const {
  const std::lock_guard lock(mutex_);
  return writes_;
}

bool ApiServer::authorized(const http::Request& request) const {
  const std::string_view field = request.headers.get("Authorization");
  return field.starts_with("Bearer ") && tokens_.contains(std::string(field.substr(7)));
}

http::Response ApiServer::fail_as_told(const Fault& fault) {
  if (fault.also) fault.also();
  http::Response response = refuse(fault.status, fault.reason, "as told");
  if (!fault.body.empty()) response.body = fault.body;
  if (!fault.retry_after.empty()) response.headers.set("Retry-After", fault.retry_after);
  return response;
}

http::Response ApiServer::handle(const http::Request& request) {
  std::string name;
  std::function<void()> hook;
  {
    std::unique_lock lock(mutex_);
    if (!request.path.starts_with(kPath)) {
      return refuse(404, "NotFound", "namespaces \"other\" not found", {{"kind", "namespaces"}});
    }
    name = request.path.substr(kPath.size());
    requests_.push_back(request.method + " " + name);
    if (!faults_.empty()) {
      const Fault fault = faults_.front();
      faults_.pop_front();
      lock.unlock();
      return fail_as_told(fault);
    }
    if (!authorized(request)) return refuse(401, "Unauthorized", "Unauthorized");
    if (restricted_ && !allowed_.contains(name)) {
      return refuse(403, "Forbidden",
                    "secrets \"" + name + "\" is forbidden: User \"agent\" cannot " +
                        (request.method == "GET" ? "get" : "patch") + " it");
    }
    if (request.method == "GET") {
      if (!secrets_.contains(name)) {
        return refuse(404, "NotFound", "secrets \"" + name + "\" not found", {{"kind", "secrets"}});
      }
      return render(name, 200);
    }
    if (request.method == "PATCH") std::swap(hook, hook_);
  }
  if (request.method != "PATCH") return refuse(405, "MethodNotAllowed", "not allowed");
  if (hook) hook();
  const std::lock_guard lock(mutex_);
  return apply(request, name);
}

http::Response ApiServer::apply(const http::Request& request, const std::string& name) {
  if (request.headers.get("Content-Type") != "application/apply-patch+yaml") {
    return refuse(415, "UnsupportedMediaType", "the body of the request was in an unknown format");
  }
  if (request.body.size() > kBodyMax) {
    return refuse(413, "RequestEntityTooLarge", "limit is 3145728");
  }
  const auto query = http::Query::parse(request.query);
  const std::string manager(query ? query->get("fieldManager").value_or("") : "");
  if (manager.empty() || manager.size() > 128) {
    return invalid("fieldManager", "FieldValueRequired", "is required for apply patch");
  }
  const auto document = json::parse(request.body, {.bytes_max = kBodyMax});
  const json::object* object = document ? document->if_object() : nullptr;
  if (object == nullptr || json::find_string(*object, "apiVersion") != "v1" ||
      json::find_string(*object, "kind") != "Secret") {
    return refuse(400, "BadRequest", "invalid object type");
  }
  if (!ok_name(name)) {
    return invalid("metadata.name", "FieldValueInvalid", "a lowercase RFC 1123 subdomain");
  }
  return apply_locked(*object, name, manager, query->get("force") == "true");
}

http::Response ApiServer::apply_locked(const json::object& object, const std::string& name,
                                       const std::string& manager, bool force) {
  const json::object* metadata = json::find_object(object, "metadata");
  if (metadata == nullptr || json::find_string(*metadata, "name") != name ||
      json::find_string(*metadata, "namespace") != "slurm" || metadata->contains("managedFields")) {
    return refuse(400, "BadRequest", "metadata does not fit the request");
  }
  auto data = read_data(object);
  if (!data) return std::move(data).error();
  const auto found = secrets_.find(name);
  const bool created = found == secrets_.end();
  const auto version = json::find_string(*metadata, "resourceVersion");
  if (version && (created || *version != std::to_string(found->second.resource_version))) {
    return refuse(409, "Conflict",
                  "Operation cannot be fulfilled on secrets \"" + name +
                      "\": the object has been modified; please apply your changes to the latest "
                      "version and try again",
                  {{"kind", "secrets"}});
  }
  Secret next = created ? Secret{} : found->second;
  json::array causes;
  for (const auto& [key, value] : *data) {
    for (auto& [other, keys] : next.managers) {
      if (other == manager || !keys.contains(key) || next.data[key] == value) continue;
      if (force) keys.erase(key);
      causes.push_back(json::object{{"reason", "FieldManagerConflict"},
                                    {"message", "conflict with \"" + other + "\" using v1"},
                                    {"field", ".data." + key}});
    }
  }
  if (!force && !causes.empty()) {
    return refuse(409, "Conflict", "Apply failed with 1 conflict", {{"causes", std::move(causes)}});
  }
  for (const std::string& key : next.managers[manager]) {
    if (!data->contains(key)) next.data.erase(key);  // what an applier no longer says goes
  }
  next.managers[manager].clear();
  std::size_t total = 0;
  for (const auto& [key, value] : *data) {
    next.data[key] = value;
    next.managers[manager].insert(key);
  }
  for (const auto& [key, value] : next.data) total += value.size();
  if (total > kSecretMax) {
    return invalid("data", "FieldValueTooLong", "Too long: must have at most 1048576 bytes");
  }
  if (next.immutable && next.data != found->second.data) {
    return invalid("data", "FieldValueForbidden", "field is immutable when `immutable` is set");
  }
  if (created || next.data != found->second.data || next.managers != found->second.managers) {
    next.resource_version = ++version_;
    ++writes_;
  }
  secrets_[name] = std::move(next);
  return render(name, created ? 201 : 200);
}

http::Response ApiServer::render(const std::string& name, int status) const {
  const Secret& secret = secrets_.at(name);
  json::object data;
  for (const auto& [key, value] : secret.data) data[key] = base64_encode(value);
  json::array managed;
  for (const auto& [manager, keys] : secret.managers) {
    json::object fields;
    for (const std::string& key : keys) fields["f:" + key] = json::object{};
    managed.push_back(json::object{{"manager", manager},
                                   {"operation", "Apply"},
                                   {"apiVersion", "v1"},
                                   {"fieldsType", "FieldsV1"},
                                   {"fieldsV1", json::object{{"f:data", std::move(fields)}}}});
  }
  json::object out{
      {"kind", "Secret"},
      {"apiVersion", "v1"},
      {"metadata", json::object{{"name", name},
                                {"namespace", "slurm"},
                                {"uid", "0191-7"},
                                {"resourceVersion", std::to_string(secret.resource_version)},
                                {"managedFields", std::move(managed)}}},
      {"data", std::move(data)},
      {"type", "Opaque"}};
  if (secret.immutable) out["immutable"] = true;
  return answer(status, out);
}

}  // namespace roster::kubernetes::testing
