#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>

namespace roster::cli {

/// One line on standard error that says how far something is, when that is a terminal; otherwise
/// nothing.
class ProgressLine {
 public:
  ProgressLine();
  /// Wipes the line.
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  /// "people read 1200", or with a whole a bar. Drawn ten times a second at most.
  void show(std::string_view what, std::size_t done, std::size_t whole);
  /// Before other output.
  void clear();

 private:
  bool terminal_;
  bool drawn_ = false;
  std::chrono::steady_clock::time_point next_{};
};

/// "[#####.....] 50 % what 5/10"; without a whole "what 5".
std::string progress_text(std::string_view what, std::size_t done, std::size_t whole);

}  // namespace roster::cli
