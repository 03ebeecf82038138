#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "http/message.h"

namespace roster::http {

/// Segments of a raw path, percent-decoded one by one, so that %2F stays data inside its segment.
/// One trailing '/' is dropped. kInvalidArgument when the path does not begin with '/', has an
/// empty segment, "." or ".." (also encoded), bad percent-encoding, U+0000, or is not UTF-8.
Result<std::vector<std::string>> decode_path(std::string_view path);

/// What the parameters of a pattern matched, decoded.
class Params {
 public:
  /// CHECKs that the pattern has this parameter.
  const std::string& get(std::string_view name) const;
  /// Segments that "{*name}" matched.
  const std::vector<std::string>& rest() const { return rest_; }

 private:
  friend class Router;
  std::vector<std::pair<std::string, std::string>> values_;
  std::vector<std::string> rest_;
};

/// Maps method and path to functions. Patterns are segments: a literal, "{name}" for exactly one
/// segment, and at the end "{*name}" for any number, none included. A literal wins over a
/// parameter, a parameter over the rest. GET serves HEAD too. A path that exists for other methods
/// only is 405 with Allow.
///
/// A router is itself a Handler; filled before serving, then only read. Copies share the routes.
/// `Context::route` becomes the pattern.
class Router {
 public:
  using Function = std::function<Response(const Request&, Context&, const Params&)>;

  Router();

  /// CHECKs that the pattern is well-formed and not yet taken for `method`.
  void add(std::string_view method, std::string_view pattern, Function function);
  /// Everything at and below `prefix` (a pattern without rest), whatever the method. The handler
  /// sees the whole path, so it may be a Router with full patterns.
  void add_prefix(std::string_view prefix, Handler handler);
  /// For the router's own answers (400, 404, 405); text by default.
  void on_error(Refusal refusal);

  Response operator()(const Request& request, Context& context) const;

 private:
  struct Node;
  struct Route;

  Node& node_for(std::string_view pattern);
  static const Node* find(const Node& node, const std::vector<std::string>& segments,
                          std::size_t at, Params& params);

  std::shared_ptr<Node> root_;
  Refusal refusal_;
};

}  // namespace roster::http
