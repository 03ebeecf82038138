#include "http/router.h"

#include <algorithm>
#include <optional>

#include "base/encoding.h"
#include "base/unicode.h"
#include "http/respond.h"

namespace roster::http {
namespace {

constexpr std::string_view kAnyMethod = "*";

std::vector<std::string_view> split(std::string_view path) {
  std::vector<std::string_view> segments;
  while (!path.empty()) {
    path.remove_prefix(1);  // the '/'
    const std::size_t end = std::min(path.find('/'), path.size());
    segments.push_back(path.substr(0, end));
    path.remove_prefix(end);
  }
  if (!segments.empty() && segments.back().empty()) segments.pop_back();
  return segments;
}

enum class Kind { kLiteral, kParameter, kRest };

Kind kind_of(std::string_view segment) {
  if (!segment.starts_with('{')) return Kind::kLiteral;
  CHECK(segment.ends_with('}') && segment.size() > 2);
  return segment[1] == '*' ? Kind::kRest : Kind::kParameter;
}

/// Names of "{name}" segments; the rest has no name of its own to be asked by.
std::vector<std::string> parameter_names(std::string_view pattern) {
  std::vector<std::string> names;
  for (const std::string_view segment : split(pattern)) {
    if (kind_of(segment) != Kind::kParameter) continue;
    names.emplace_back(segment.substr(1, segment.size() - 2));
  }
  return names;
}

}  // namespace

Result<std::vector<std::string>> decode_path(std::string_view path) {
  if (!path.starts_with('/')) return fail(Code::kInvalidArgument, "The path must begin with '/'.");
  std::vector<std::string> decoded;
  for (const std::string_view raw : split(path)) {
    if (raw.empty()) return fail(Code::kInvalidArgument, "The path has an empty segment ('//').");
    auto segment = percent_decode(raw, /*plus_is_space=*/false);
    if (!segment || segment->contains('\0') || !is_valid_utf8(*segment)) {
      return fail(Code::kInvalidArgument, "The path has a bad percent-encoding.");
    }
    if (*segment == "." || *segment == "..") {
      return fail(Code::kInvalidArgument, "The path has a '.' or '..' segment.");
    }
    decoded.push_back(std::move(*segment));
  }
  return decoded;
}

const std::string& Params::get(std::string_view name) const {
  const auto found = std::ranges::find(values_, name, &std::pair<std::string, std::string>::first);
  CHECK(found != values_.end());
  return found->second;
}

struct Router::Route {
  std::string pattern;
  std::vector<std::string> names;  // of the parameters, in order
  Function function;
};

struct Router::Node {
  std::map<std::string, std::unique_ptr<Node>, std::less<>> literals;
  std::unique_ptr<Node> parameter;
  std::unique_ptr<Node> rest;
  std::map<std::string, Route, std::less<>> methods;
};

Router::Router() : root_(std::make_shared<Node>()) {
  refusal_ = [](std::string_view, int status, std::string_view sentence) {
    return text_response(status, sentence);
  };
}

Router::Node& Router::node_for(std::string_view pattern) {
  CHECK(pattern.starts_with('/'));
  Node* node = root_.get();
  bool ended = false;
  for (const std::string_view segment : split(pattern)) {
    CHECK(!segment.empty() && !ended);
    std::unique_ptr<Node>* next = nullptr;
    switch (kind_of(segment)) {
      case Kind::kLiteral:
        next = &node->literals[std::string(segment)];
        break;
      case Kind::kParameter:
        next = &node->parameter;
        break;
      case Kind::kRest:
        next = &node->rest;
        ended = true;
        break;
    }
    if (!*next) *next = std::make_unique<Node>();
    node = next->get();
  }
  return *node;
}

void Router::add(std::string_view method, std::string_view pattern, Function function) {
  Node& node = node_for(pattern);
  Route route{std::string(pattern), parameter_names(pattern), std::move(function)};
  const bool added = node.methods.emplace(std::string(method), std::move(route)).second;
  CHECK(added);
}

void Router::add_prefix(std::string_view prefix, Handler handler) {
  std::string pattern(prefix);
  while (pattern.ends_with('/')) pattern.pop_back();
  add(kAnyMethod, pattern + "/{*rest}",
      [handler = std::move(handler)](const Request& request, Context& context, const Params&) {
        return handler(request, context);
      });
}

void Router::on_error(Refusal refusal) { refusal_ = std::move(refusal); }

const Router::Node* Router::find(const Node& node, const std::vector<std::string>& segments,
                                 std::size_t at, Params& params) {
  if (at == segments.size()) {
    if (!node.methods.empty()) return &node;
  } else {
    if (const auto literal = node.literals.find(segments[at]); literal != node.literals.end()) {
      if (const Node* found = find(*literal->second, segments, at + 1, params)) return found;
    }
    if (node.parameter) {
      params.values_.emplace_back(std::string(), segments[at]);
      if (const Node* found = find(*node.parameter, segments, at + 1, params)) return found;
      params.values_.pop_back();
    }
  }
  if (!node.rest) return nullptr;
  params.rest_.assign(segments.begin() + static_cast<std::ptrdiff_t>(at), segments.end());
  return node.rest.get();
}

Response Router::operator()(const Request& request, Context& context) const {
  const auto segments = decode_path(request.path);
  if (!segments) return refusal_(request.path, 400, segments.error().message);
  Params params;
  const Node* node = find(*root_, *segments, 0, params);
  if (node == nullptr) return refusal_(request.path, 404, "There is nothing at this path.");
  auto found = node->methods.find(request.method);
  if (found == node->methods.end() && request.method == "HEAD") found = node->methods.find("GET");
  if (found == node->methods.end()) found = node->methods.find(kAnyMethod);
  if (found == node->methods.end()) {
    std::string allow;
    for (const auto& [method, route] : node->methods) {
      allow += (allow.empty() ? "" : ", ") + method;
      if (method == "GET" && !node->methods.contains("HEAD")) allow += ", HEAD";
    }
    Response response = refusal_(request.path, 405, "This path does not support the method.");
    response.headers.set("Allow", allow);
    return response;
  }
  const Route& route = found->second;
  for (std::size_t i = 0; i < route.names.size(); ++i) params.values_[i].first = route.names[i];
  context.route = route.pattern;
  return route.function(request, context, params);
}

}  // namespace roster::http
