#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/string.hpp>
#include <boost/json/value.hpp>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace roster::json {

using boost::json::array;
using boost::json::kind;
using boost::json::object;
using boost::json::string;
using boost::json::value;

struct Limits {
  std::size_t bytes_max = 1 << 20;
  std::size_t depth_max = 32;
  /// Elements and members of all arrays and objects: each takes some hundred bytes of memory, also
  /// when it is two bytes of the text.
  std::size_t values_max = 500'000;
};

/// RFC 8259, strict, UTF-8 checked. kTooLarge beyond bytes_max or values_max; kInvalidArgument
/// (with the byte offset) for anything that is not one JSON text, too deep, or holds U+0000 in a
/// string or name (neither C strings nor PostgreSQL can carry it).
Result<value> parse(std::string_view text, const Limits& limits = {});

std::string serialize(const value& v);
std::string serialize(const object& v);

/// Keys sorted by bytes at every level, no whitespace: equal values give equal bytes.
std::string canonical(const value& v);

/// Typed member access: nothing when absent or of another kind. Names are compared exactly.
const value* find(const object& o, std::string_view name);
std::optional<std::string_view> find_string(const object& o, std::string_view name);
std::optional<std::int64_t> find_int(const object& o, std::string_view name);
std::optional<bool> find_bool(const object& o, std::string_view name);
const array* find_array(const object& o, std::string_view name);
const object* find_object(const object& o, std::string_view name);

inline std::string_view view(const string& s) { return {s.data(), s.size()}; }

}  // namespace roster::json
