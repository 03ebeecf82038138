#pragma once

#include <string>
#include <string_view>
#include <utility>

namespace roster {

/// A string that must not reach logs, argv or errors: it cannot be printed or compared with ==,
/// and is wiped when it goes away.
class Secret {
 public:
  Secret() = default;
  explicit Secret(std::string value) : value_(std::move(value)) {}
  Secret(const Secret&) = default;
  Secret& operator=(const Secret& other);
  Secret(Secret&& other) noexcept;
  Secret& operator=(Secret&& other) noexcept;
  ~Secret();

  /// The value, for the one place that sends or hashes it.
  const std::string& expose() const { return value_; }
  bool empty() const { return value_.empty(); }

  bool operator==(const Secret&) const = delete;

 private:
  void wipe();
  std::string value_;
};

/// Takes the same time whatever the contents; lengths may leak.
bool constant_time_equal(std::string_view a, std::string_view b);

}  // namespace roster
