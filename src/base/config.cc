#include "base/config.h"

#include <fmt/format.h>

#include <toml++/toml.h>

#include "base/file.h"
#include "base/time.h"
#include "base/unicode.h"

namespace roster {
namespace {

constexpr std::size_t kConfigBytesMax = 1 << 20;

std::string place(std::string_view name, const toml::node& node) {
  return fmt::format("{}:{}", name, node.source().begin.line);
}

}  // namespace

void ConfigReader::bind(std::string key, std::string& target) {
  targets_[std::move(key)] = {Type::kString, &target};
}
void ConfigReader::bind(std::string key, bool& target) {
  targets_[std::move(key)] = {Type::kBool, &target};
}
void ConfigReader::bind(std::string key, std::int64_t& target, std::int64_t min, std::int64_t max) {
  targets_[std::move(key)] = {Type::kInt, &target, min, max};
}
void ConfigReader::bind(std::string key, std::chrono::milliseconds& target) {
  targets_[std::move(key)] = {Type::kDuration, &target};
}
void ConfigReader::bind(std::string key, std::filesystem::path& target) {
  targets_[std::move(key)] = {Type::kPath, &target};
}
void ConfigReader::bind(std::string key, std::vector<std::string>& target) {
  targets_[std::move(key)] = {Type::kStrings, &target};
}
void ConfigReader::bind(std::string key, std::vector<std::int64_t>& target, std::int64_t min,
                        std::int64_t max) {
  targets_[std::move(key)] = {Type::kInts, &target, min, max};
}

Result<void> ConfigReader::assign(const Target& target, const toml::node& node,
                                  const std::string& where) {
  const auto wrong = [&where](std::string_view wanted) {
    return fail(Code::kInvalidArgument, fmt::format("{}: must be {}", where, wanted));
  };
  switch (target.type) {
    case Type::kString:
    case Type::kPath:
    case Type::kDuration: {
      const auto text = node.value_exact<std::string>();
      if (!text)
        return wrong(target.type == Type::kDuration ? "a duration such as \"30s\""
                                                    : "a string in quotes");
      if (target.type == Type::kString) {
        *static_cast<std::string*>(target.variable) = *text;
      } else if (target.type == Type::kPath) {
        *static_cast<std::filesystem::path*>(target.variable) = *text;
      } else {
        auto duration = parse_duration(*text);
        if (!duration) return fail_in(where, duration.error());
        *static_cast<std::chrono::milliseconds*>(target.variable) = *duration;
      }
      return {};
    }
    case Type::kBool: {
      const auto flag = node.value_exact<bool>();
      if (!flag) return wrong("true or false");
      *static_cast<bool*>(target.variable) = *flag;
      return {};
    }
    case Type::kInt: {
      const auto number = node.value_exact<std::int64_t>();
      if (!number || *number < target.min || *number > target.max) {
        return wrong(fmt::format("a whole number from {} to {}", target.min, target.max));
      }
      *static_cast<std::int64_t*>(target.variable) = *number;
      return {};
    }
    case Type::kStrings: {
      std::vector<std::string> items;
      const toml::array* array = node.as_array();
      if (array == nullptr) return wrong("a list of strings");
      for (const toml::node& item : *array) {
        const auto text = item.value_exact<std::string>();
        if (!text) return wrong("a list of strings");
        items.push_back(*text);
      }
      *static_cast<std::vector<std::string>*>(target.variable) = std::move(items);
      return {};
    }
    case Type::kInts: {
      std::vector<std::int64_t> items;
      const toml::array* array = node.as_array();
      const std::string wanted =
          fmt::format("a list of whole numbers from {} to {}", target.min, target.max);
      if (array == nullptr) return wrong(wanted);
      for (const toml::node& item : *array) {
        const auto number = item.value_exact<std::int64_t>();
        if (!number || *number < target.min || *number > target.max) return wrong(wanted);
        items.push_back(*number);
      }
      *static_cast<std::vector<std::int64_t>*>(target.variable) = std::move(items);
      return {};
    }
  }
  return fail(Code::kInternal, "unknown type of setting");
}

Result<void> ConfigReader::walk(const toml::table& table, const std::string& prefix,
                                std::string_view name) const {
  for (const auto& [key, node] : table) {
    const std::string full = prefix + std::string(key.str());
    const std::string where = fmt::format("{}: {}", place(name, node), full);
    const auto target = targets_.find(full);
    if (target != targets_.end()) {
      RETURN_IF_ERROR(assign(target->second, node, where));
    } else if (const toml::table* inner = node.as_table()) {
      const auto below = targets_.lower_bound(full + ".");
      if (strict_ && (below == targets_.end() || !below->first.starts_with(full + "."))) {
        return fail(Code::kInvalidArgument, where + ": no such section");
      }
      RETURN_IF_ERROR(walk(*inner, full + ".", name));
    } else if (strict_) {
      return fail(Code::kInvalidArgument, where + ": no such setting");
    }
  }
  return {};
}

Result<void> ConfigReader::read_text(std::string_view text, std::string_view name) const {
  try {
    return walk(toml::parse(text), "", name);
  } catch (const toml::parse_error& problem) {
    return fail(Code::kInvalidArgument,
                fmt::format("{}:{}: {}", name, problem.source().begin.line, problem.description()));
  }
}

Result<void> ConfigReader::read_file(const std::filesystem::path& path) const {
  ASSIGN_OR_RETURN(const std::string text, roster::read_file(path, kConfigBytesMax));
  return read_text(text, path.string());
}

}  // namespace roster
