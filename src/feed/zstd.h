#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace roster::feed {

/// One zstd frame (RFC 8878), piece by piece. The window is 2 MiB, so a reader needs little memory.
class Compressor {
 public:
  explicit Compressor(int level = 3);
  ~Compressor();
  Compressor(Compressor&&) noexcept;
  Compressor& operator=(Compressor&&) noexcept;

  /// Appends what is ready to `out`.
  void push(std::string_view piece, std::string& out);
  /// Ends the frame; nothing may follow.
  void finish(std::string& out);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Reads exactly one frame. Memory: the frame's window (8 MiB at most) and one output block.
class Decompressor {
 public:
  using Sink = std::function<Result<void>(std::string_view)>;

  /// `output_bytes_max` bounds what a small file may unpack to.
  explicit Decompressor(std::uint64_t output_bytes_max);
  ~Decompressor();
  Decompressor(Decompressor&&) noexcept;
  Decompressor& operator=(Decompressor&&) noexcept;

  /// kInvalidArgument for what is not zstd, a window above 8 MiB or bytes after the frame;
  /// kTooLarge beyond the bound; errors of the sink as they are.
  Result<void> push(std::string_view piece, const Sink& sink);
  /// kDataLoss unless the frame has ended.
  Result<void> finish() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace roster::feed
