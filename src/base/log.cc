#include "base/log.h"

#include <fmt/format.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <memory>

#include "base/time.h"
#include "base/unicode.h"

namespace roster::log {
namespace {

constexpr std::size_t kValueBytesMax = 1024;

std::atomic<Level> minimum_level{Level::kInfo};
std::atomic<Format> line_format{Format::kText};

spdlog::logger& sink() {
  static const std::shared_ptr<spdlog::logger> logger = [] {
    auto made = std::make_shared<spdlog::logger>("roster",
                                                 std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made->set_pattern("%v");
    made->set_level(spdlog::level::trace);
    made->flush_on(spdlog::level::trace);
    return made;
  }();
  return *logger;
}

std::string_view level_name(Level level) {
  switch (level) {
    case Level::kDebug:
      return "debug";
    case Level::kInfo:
      return "info";
    case Level::kWarn:
      return "warn";
    case Level::kError:
      return "error";
  }
  return "error";
}

// Bytes that are not UTF-8 become '?', so that a JSON line stays JSON; long values are cut.
std::string cleaned(std::string_view text) {
  std::string out(text.substr(0, kValueBytesMax));
  if (!is_valid_utf8(out)) {
    for (char& c : out) {
      if (static_cast<unsigned char>(c) >= 0x80) c = '?';
    }
  }
  if (text.size() > kValueBytesMax) out += "...";
  return out;
}

// Quoted as a JSON string unless it is one plain word: a value can never start a line or a field.
std::string text_value(const std::string& value) {
  bool plain = !value.empty();
  for (const char c : value) {
    const bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      std::string_view("-_.:/@+,%").contains(c);
    plain = plain && word;
  }
  return plain ? value : boost::json::serialize(boost::json::string_view(value));
}

std::string render_text(Level level, std::string_view sentence, Fields fields) {
  std::string line =
      fmt::format("{} {} {}", format_rfc3339(system_now()), level_name(level), sentence);
  for (const Field& field : fields) {
    line += fmt::format(" {}=", field.key);
    if (const auto* s = std::get_if<std::string>(&field.value)) {
      line += text_value(cleaned(*s));
    } else if (const auto* b = std::get_if<bool>(&field.value)) {
      line += *b ? "true" : "false";
    } else if (const auto* d = std::get_if<double>(&field.value)) {
      line += fmt::format("{:.6g}", *d);
    } else {
      line += fmt::format("{}", std::get<std::int64_t>(field.value));
    }
  }
  return line;
}

std::string render_json(Level level, std::string_view sentence, Fields fields) {
  boost::json::object line;
  line["time"] = format_rfc3339(system_now());
  line["level"] = boost::json::string_view(level_name(level));
  line["message"] = boost::json::string_view(sentence);
  for (const Field& field : fields) {
    boost::json::value& value = line[field.key];
    if (const auto* s = std::get_if<std::string>(&field.value)) {
      value = boost::json::string_view(cleaned(*s));
    } else if (const auto* b = std::get_if<bool>(&field.value)) {
      value = *b;
    } else if (const auto* d = std::get_if<double>(&field.value)) {
      value = *d;
    } else {
      value = std::get<std::int64_t>(field.value);
    }
  }
  return boost::json::serialize(line);
}

void write(Level level, std::string_view sentence, Fields fields) {
  if (level < minimum_level.load(std::memory_order_relaxed)) return;
  const std::string line = line_format.load(std::memory_order_relaxed) == Format::kJson
                               ? render_json(level, sentence, fields)
                               : render_text(level, sentence, fields);
  sink().log(spdlog::level::info, spdlog::string_view_t(line));
}

}  // namespace

void configure(Level minimum, Format format) {
  minimum_level = minimum;
  line_format = format;
}

void error(std::string_view sentence, Fields fields) { write(Level::kError, sentence, fields); }
void warn(std::string_view sentence, Fields fields) { write(Level::kWarn, sentence, fields); }
void info(std::string_view sentence, Fields fields) { write(Level::kInfo, sentence, fields); }
void debug(std::string_view sentence, Fields fields) { write(Level::kDebug, sentence, fields); }

}  // namespace roster::log
