#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <string>
#include <string_view>

#include "base/json.h"

// Helpers of this room's tests.
namespace roster::scim {

/// The JSON that a test wrote; ends the test program when it is none.
inline json::value parsed(std::string_view text) {
  Result<json::value> value = json::parse(text);
  if (!value) ADD_FAILURE() << value.error().message << " in " << text.substr(0, 200);
  CHECK(value.has_value());
  return std::move(*value);
}

/// A body as a vendor's client sends it: tests/corpora/`name`.
inline json::value corpus(const std::string& name) {
  std::ifstream file(std::string(ROSTER_CORPORA) + "/" + name);
  std::stringstream text;
  text << file.rdbuf();
  CHECK(file.good());
  return parsed(text.str());
}

/// "message [keyword]" of a failure, or "ok".
template <typename T>
std::string outcome(const Result<T>& result) {
  if (result) return "ok";
  return result.error().message + " [" + std::string(result.error().keyword) + "]";
}

template <typename T>
std::string keyword_of(const Result<T>& result) {
  return result ? "ok" : std::string(result.error().keyword);
}

}  // namespace roster::scim
