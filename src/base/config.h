#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

// As toml++ does, so that this header stays light.
namespace toml::inline v3 {
class node;
class table;
}  // namespace toml::inline v3

namespace roster {

/// Binds dotted TOML keys to variables and reads a file strictly: an unknown key, a wrong type or a
/// value out of range is kInvalidArgument naming file, line and key. Values absent from the file
/// keep what the variable had, so defaults are the variables' initial values.
///
///   ConfigReader reader;
///   reader.bind("listen", options.listen);
///   reader.bind("limits.body_bytes_max", options.body_bytes_max, 1, 1 << 30);
///   RETURN_IF_ERROR(reader.read_file(path));
class ConfigReader {
 public:
  void bind(std::string key, std::string& target);
  void bind(std::string key, bool& target);
  void bind(std::string key, std::int64_t& target, std::int64_t min, std::int64_t max);
  void bind(std::string key, std::chrono::milliseconds& target);  // written as "30s"
  void bind(std::string key, std::filesystem::path& target);
  void bind(std::string key, std::vector<std::string>& target);
  void bind(std::string key, std::vector<std::int64_t>& target, std::int64_t min, std::int64_t max);

  /// Keys that are not bound are passed over: for a file that another program reads strictly.
  void ignore_unknown_keys() { strict_ = false; }

  Result<void> read_file(const std::filesystem::path& path) const;
  /// `name` stands for the file in errors.
  Result<void> read_text(std::string_view text, std::string_view name) const;

 private:
  enum class Type { kString, kBool, kInt, kDuration, kPath, kStrings, kInts };
  struct Target {
    Type type;
    void* variable;
    std::int64_t min = 0;
    std::int64_t max = 0;
  };
  static Result<void> assign(const Target& target, const toml::node& node,
                             const std::string& where);
  Result<void> walk(const toml::table& table, const std::string& prefix,
                    std::string_view name) const;

  std::map<std::string, Target> targets_;
  bool strict_ = true;
};

}  // namespace roster
