#include "base/config.h"

#include <fmt/format.h>

#include <optional>
#include <utility>

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

std::string place(std::string_view name, const toml::node& node, const std::string& key) {
  return fmt::format("{}: {}", place(name, node), printable(key));
}

std::optional<std::string> text_of(const toml::node& node) {
  if (auto text = node.value_exact<std::string>()) return text;
  const auto number = node.value_exact<std::int64_t>();
  return number ? std::optional(std::to_string(*number)) : std::nullopt;
}

Result<void> in_place(const std::string& where, Result<void> result) {
  if (!result) return fail_in(where, std::move(result).error());
  return {};
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

void ConfigReader::bind_text(std::string key, TakeText take) {
  takers_[std::move(key)] = [take = std::move(take)](const toml::node& node,
                                                     const Place& at) -> Result<void> {
    const std::string where = place(at.file, node, at.key);
    auto text = text_of(node);
    if (!text) return fail(Code::kInvalidArgument, where + ": must be a string or a whole number");
    return in_place(where, take(std::move(*text)));
  };
}

void ConfigReader::bind_list(std::string key, TakeList take) {
  takers_[std::move(key)] = [take = std::move(take)](const toml::node& node,
                                                     const Place& at) -> Result<void> {
    const std::string where = place(at.file, node, at.key);
    std::vector<std::string> items;
    RETURN_IF_ERROR(assign({Type::kStrings, &items}, node, where));
    return in_place(where, take(std::move(items)));
  };
}

void ConfigReader::bind_texts(std::string key, TakeNamedText take) {
  takers_[std::move(key)] = [take = std::move(take)](const toml::node& node,
                                                     const Place& at) -> Result<void> {
    const toml::table* table = node.as_table();
    if (table == nullptr) {
      return fail(Code::kInvalidArgument, place(at.file, node, at.key) + ": must be a table");
    }
    for (const auto& [each, value] : *table) {
      const std::string where = place(at.file, value, at.key + "." + std::string(each.str()));
      auto text = text_of(value);
      if (!text) {
        return fail(Code::kInvalidArgument, where + ": must be a string or a whole number");
      }
      RETURN_IF_ERROR(in_place(where, take(std::string(each.str()), std::move(*text))));
    }
    return {};
  };
}

void ConfigReader::bind_tables(std::string key, BindTable bind_one) {
  takers_[std::move(key)] = [bind_one = std::move(bind_one)](const toml::node& node,
                                                             const Place& at) -> Result<void> {
    const toml::table* table = node.as_table();
    if (table == nullptr) {
      return fail(Code::kInvalidArgument,
                  place(at.file, node, at.key) + ": must be a table of tables");
    }
    for (const auto& [each, value] : *table) {
      const std::string inner_key = at.key + "." + std::string(each.str());
      const std::string where = place(at.file, value, inner_key);
      const toml::table* one = value.as_table();
      if (one == nullptr) return fail(Code::kInvalidArgument, where + ": must be a table");
      ConfigReader inner;
      inner.strict_ = at.strict;
      RETURN_IF_ERROR(in_place(where, bind_one(std::string(each.str()), inner)));
      RETURN_IF_ERROR(inner.walk(*one, "", at.file, inner_key + "."));
    }
    return {};
  };
}

bool ConfigReader::binds_below(const std::string& key) const {
  const auto has = [start = key + "."](const auto& bound) {
    const auto below = bound.lower_bound(start);
    return below != bound.end() && below->first.starts_with(start);
  };
  return has(targets_) || has(takers_);
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
                                std::string_view name, const std::string& shown) const {
  for (const auto& [key, node] : table) {
    const std::string full = prefix + std::string(key.str());
    const std::string where = place(name, node, shown + full);
    const auto target = targets_.find(full);
    const auto taker = takers_.find(full);
    if (target != targets_.end()) {
      RETURN_IF_ERROR(assign(target->second, node, where));
    } else if (taker != takers_.end()) {
      RETURN_IF_ERROR(taker->second(node, {shown + full, name, strict_}));
    } else if (const toml::table* inner = node.as_table()) {
      if (strict_ && !binds_below(full)) {
        return fail(Code::kInvalidArgument, where + ": no such section");
      }
      RETURN_IF_ERROR(walk(*inner, full + ".", name, shown));
    } else if (strict_) {
      return fail(Code::kInvalidArgument, where + ": no such setting");
    }
  }
  return {};
}

Result<void> ConfigReader::read_text(std::string_view text, std::string_view name) const {
  try {
    return walk(toml::parse(text), "", name, "");
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
