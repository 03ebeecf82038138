#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "scim/schema.h"

namespace roster::scim {

/// Which attributes an answer holds (RFC 7644 3.9), for one resource type.
class Projection {
 public:
  struct Options {
    /// An extension that is answered only to those who name its URN.
    std::string_view on_request_extension = {};
    /// `attributes` that holds nothing but schema URNs adds them to the default set instead of
    /// replacing it: what readers made for nsscache expect.
    bool additive_urns = false;
  };

  /// The default set.
  explicit Projection(const ResourceType& type) : type_(&type) {}

  /// Comma-separated names as in the query; unknown names select nothing.
  /// kInvalidArgument (invalidValue) when both are given.
  static Result<Projection> parse(const ResourceType& type,
                                  std::optional<std::string_view> attributes,
                                  std::optional<std::string_view> excluded, Options options);

  /// Whether any part of the attribute can be in the answer, so that it need not be loaded
  /// otherwise. `urn` is empty for the core schema.
  bool wants(std::string_view urn, std::string_view attribute) const;

  /// Whether the client named attributes itself (a PATCH must then answer with a body).
  bool is_explicit() const { return mode_ != Mode::kDefault; }

  /// Leaves what is wanted of a whole resource in schema case, and sets `schemas` to what is there.
  json::object apply(json::object resource) const;

 private:
  enum class Mode { kDefault, kInclude, kAdd, kExclude };
  enum class Part { kNone, kSome, kAll };

  Part part_of(const Schema& schema, const Attribute& attribute) const;
  bool wants_sub(const Schema& schema, const Attribute& attribute, const Attribute& sub) const;
  void prune(const Schema& schema, json::object& container) const;
  void prune_element(const Schema& schema, const Attribute& attribute, json::value& element) const;

  const ResourceType* type_;
  Mode mode_ = Mode::kDefault;
  std::vector<AttributeRef> names_;
  const Schema* hidden_ = nullptr;
};

}  // namespace roster::scim
