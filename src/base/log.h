#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <variant>

#include "base/secret.h"

namespace roster::log {

enum class Level { kDebug, kInfo, kWarn, kError };
enum class Format { kText, kJson };

/// Structured lines on stderr: a constant sentence plus fields. Text form is
/// `2026-11-21T07:41:54.123Z info sentence key=value key="two words"`; values are escaped, so that
/// nothing from outside can start a new line or field.
void configure(Level minimum, Format format);

/// One field. A Secret does not convert to it.
struct Field {
  Field(std::string_view k, std::string_view v) : key(k), value(std::string(v)) {}
  Field(std::string_view k, const char* v) : key(k), value(std::string(v)) {}
  Field(std::string_view k, const std::string& v) : key(k), value(v) {}
  Field(std::string_view k, bool v) : key(k), value(v) {}
  Field(std::string_view k, double v) : key(k), value(v) {}
  template <std::integral T>
  Field(std::string_view k, T v) : key(k), value(static_cast<std::int64_t>(v)) {}
  Field(std::string_view k, const Secret&) = delete;

  std::string_view key;
  std::variant<std::string, bool, double, std::int64_t> value;
};

using Fields = std::initializer_list<Field>;

/// error: we broke a promise. warn: somebody should look. info: once per operation. debug: off.
void error(std::string_view sentence, Fields fields = {});
void warn(std::string_view sentence, Fields fields = {});
void info(std::string_view sentence, Fields fields = {});
void debug(std::string_view sentence, Fields fields = {});

}  // namespace roster::log
