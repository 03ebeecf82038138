#include "cli/progress.h"

#include <unistd.h>

#include <algorithm>
#include <iostream>

namespace roster::cli {
namespace {

constexpr std::size_t kBarWidth = 30;
constexpr std::chrono::milliseconds kInterval{100};

}  // namespace

std::string progress_text(std::string_view what, std::size_t done, std::size_t whole) {
  if (whole == 0) {
    return std::string(what) + (done == 0 ? " ..." : " " + std::to_string(done));
  }
  const std::size_t part = std::min(done, whole);
  const std::size_t filled = part * kBarWidth / whole;
  return "[" + std::string(filled, '#') + std::string(kBarWidth - filled, '.') + "] " +
         std::to_string(part * 100 / whole) + " % " + std::string(what) + " " +
         std::to_string(done) + "/" + std::to_string(whole);
}

ProgressLine::ProgressLine() : terminal_(::isatty(STDERR_FILENO) == 1) {}
ProgressLine::~ProgressLine() { clear(); }

void ProgressLine::show(std::string_view what, std::size_t done, std::size_t whole) {
  if (!terminal_) return;
  const auto now = std::chrono::steady_clock::now();
  if (now < next_) return;
  next_ = now + kInterval;
  std::cerr << "\r\x1b[K" << progress_text(what, done, whole) << std::flush;
  drawn_ = true;
}

void ProgressLine::clear() {
  if (drawn_) std::cerr << "\r\x1b[K" << std::flush;
  drawn_ = false;
  next_ = {};
}

}  // namespace roster::cli
