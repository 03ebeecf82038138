#include "base/json.h"

#include <algorithm>
#include <boost/json/src.hpp>
#include <vector>

namespace roster::json {
namespace {

bool holds_nul(const value& v) {
  switch (v.kind()) {
    case kind::string:
      return v.get_string().find('\0') != string::npos;
    case kind::array:
      return std::any_of(v.get_array().begin(), v.get_array().end(), holds_nul);
    case kind::object:
      return std::any_of(v.get_object().begin(), v.get_object().end(), [](const auto& member) {
        return std::string_view(member.key()).find('\0') != std::string_view::npos ||
               holds_nul(member.value());
      });
    default:
      return false;
  }
}

void write_canonical(const value& v, std::string& out) {
  if (v.is_object()) {
    std::vector<const boost::json::key_value_pair*> members;
    for (const auto& member : v.get_object()) members.push_back(&member);
    std::ranges::sort(members, {}, [](const auto* m) { return std::string_view(m->key()); });
    out += '{';
    for (std::size_t i = 0; i < members.size(); ++i) {
      if (i > 0) out += ',';
      out += boost::json::serialize(boost::json::string_view(members[i]->key()));
      out += ':';
      write_canonical(members[i]->value(), out);
    }
    out += '}';
  } else if (v.is_array()) {
    out += '[';
    for (std::size_t i = 0; i < v.get_array().size(); ++i) {
      if (i > 0) out += ',';
      write_canonical(v.get_array()[i], out);
    }
    out += ']';
  } else {
    out += boost::json::serialize(v);
  }
}

/// Commas and openings outside of strings: at least as many as there are values below the first.
std::size_t count_values(std::string_view text) {
  std::size_t count = 0;
  for (std::size_t at = 0; at < text.size(); ++at) {
    switch (text[at]) {
      case '"':
        for (++at; at < text.size() && text[at] != '"'; ++at) at += text[at] == '\\' ? 1 : 0;
        break;
      case ',':
      case '[':
      case '{':
        ++count;
        break;
      default:
        break;
    }
  }
  return count;
}

}  // namespace

Result<value> parse(std::string_view text, const Limits& limits) {
  if (text.size() > limits.bytes_max) {
    return fail(Code::kTooLarge, "JSON text of " + std::to_string(text.size()) +
                                     " bytes is larger than the " +
                                     std::to_string(limits.bytes_max) + " allowed");
  }
  if (text.size() > limits.values_max && count_values(text) > limits.values_max) {
    return fail(Code::kTooLarge, "JSON text with more than the " +
                                     std::to_string(limits.values_max) + " values allowed");
  }
  boost::json::parse_options options;
  options.max_depth = limits.depth_max;
  boost::json::stream_parser parser({}, options);
  boost::json::error_code error;
  const std::size_t used = parser.write_some(text.data(), text.size(), error);
  if (!error) {
    // What follows the value may only be white space.
    if (text.find_first_not_of(" \t\r\n", used) != std::string_view::npos) {
      return fail(Code::kInvalidArgument,
                  "bad JSON: more text after the value, at byte " + std::to_string(used));
    }
    parser.finish(error);
  }
  if (error) {
    return fail(Code::kInvalidArgument,
                "bad JSON: " + error.message() + ", at byte " + std::to_string(used));
  }
  value parsed = parser.release();
  if (holds_nul(parsed)) return fail(Code::kInvalidArgument, "bad JSON: U+0000 inside a string");
  return parsed;
}

std::string serialize(const value& v) { return boost::json::serialize(v); }
std::string serialize(const object& v) { return boost::json::serialize(v); }

std::string canonical(const value& v) {
  std::string out;
  write_canonical(v, out);
  return out;
}

const value* find(const object& o, std::string_view name) {
  return o.if_contains(boost::json::string_view(name.data(), name.size()));
}

std::optional<std::string_view> find_string(const object& o, std::string_view name) {
  const value* v = find(o, name);
  if (v == nullptr || !v->is_string()) return std::nullopt;
  return view(v->get_string());
}

std::optional<std::int64_t> find_int(const object& o, std::string_view name) {
  const value* v = find(o, name);
  if (v == nullptr) return std::nullopt;
  if (v->is_int64()) return v->get_int64();
  if (v->is_uint64() && v->get_uint64() <= static_cast<std::uint64_t>(INT64_MAX)) {
    return static_cast<std::int64_t>(v->get_uint64());
  }
  return std::nullopt;
}

std::optional<bool> find_bool(const object& o, std::string_view name) {
  const value* v = find(o, name);
  if (v == nullptr || !v->is_bool()) return std::nullopt;
  return v->get_bool();
}

const array* find_array(const object& o, std::string_view name) {
  const value* v = find(o, name);
  return v == nullptr ? nullptr : v->if_array();
}

const object* find_object(const object& o, std::string_view name) {
  const value* v = find(o, name);
  return v == nullptr ? nullptr : v->if_object();
}

}  // namespace roster::json
