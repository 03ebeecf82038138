#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

namespace roster::mirror {

/// Keeps texts until it ends; cheaper than a std::string for each of a million.
class TextArena {
 public:
  std::string_view keep(std::string_view text) {
    if (text.empty()) return {};
    char* to = room(text.size());
    std::memcpy(to, text.data(), text.size());
    return {to, text.size()};
  }

 private:
  static constexpr std::size_t kBlockBytes = 1 << 20;

  char* room(std::size_t bytes) {
    if (bytes > left_) {
      const std::size_t size = std::max(bytes, kBlockBytes);
      // What is left of the block is given up: texts are small beside it.
      blocks_.push_back(std::make_unique_for_overwrite<char[]>(size));
      next_ = blocks_.back().get();
      left_ = size;
    }
    char* at = next_;
    next_ += bytes;
    left_ -= bytes;
    return at;
  }

  std::vector<std::unique_ptr<char[]>> blocks_;
  char* next_ = nullptr;
  std::size_t left_ = 0;
};

}  // namespace roster::mirror
