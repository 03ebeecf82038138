#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
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

  /// What is more than one of the types above: `take` gets the value, and its error gets file, line
  /// and key in front. A text may be written as a whole number.
  using TakeText = std::function<Result<void>(std::string text)>;
  void bind_text(std::string key, TakeText take);
  using TakeList = std::function<Result<void>(std::vector<std::string> items)>;
  void bind_list(std::string key, TakeList take);
  /// A table whose names are free, each with a text.
  using TakeNamedText = std::function<Result<void>(std::string name, std::string text)>;
  void bind_texts(std::string key, TakeNamedText take);
  /// Tables whose names are free, as [key.NAME]: `bind_one` binds what one of them may have.
  using BindTable = std::function<Result<void>(std::string name, ConfigReader& inner)>;
  void bind_tables(std::string key, BindTable bind_one);

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
  struct Place {
    std::string key;        // as in errors
    std::string_view file;  // its name
    bool strict;
  };
  using Take = std::function<Result<void>(const toml::node& node, const Place& at)>;
  bool binds_below(const std::string& key) const;
  static Result<void> assign(const Target& target, const toml::node& node,
                             const std::string& where);
  /// `shown`: what stands in front of keys in errors.
  Result<void> walk(const toml::table& table, const std::string& prefix, std::string_view name,
                    const std::string& shown) const;

  std::map<std::string, Target> targets_;
  std::map<std::string, Take> takers_;
  bool strict_ = true;
};

}  // namespace roster
