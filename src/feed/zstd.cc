#include "feed/zstd.h"

#include <zstd.h>

#include <vector>

namespace roster::feed {
namespace {

constexpr int kWriteWindowLog = 21;  // 2 MiB
constexpr int kReadWindowLogMax = 23;

}  // namespace

struct Compressor::Impl {
  ZSTD_CCtx* context = ZSTD_createCCtx();
  std::vector<char> block = std::vector<char>(ZSTD_CStreamOutSize());

  Impl() = default;
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl() { ZSTD_freeCCtx(context); }

  void run(std::string_view piece, ZSTD_EndDirective mode, std::string& out) {
    ZSTD_inBuffer input{piece.data(), piece.size(), 0};
    while (true) {
      ZSTD_outBuffer output{block.data(), block.size(), 0};
      const std::size_t left = ZSTD_compressStream2(context, &output, &input, mode);
      CHECK(!ZSTD_isError(left));  // only memory or misuse can fail
      out.append(block.data(), output.pos);
      const bool done = mode == ZSTD_e_end ? left == 0 : input.pos == input.size;
      if (done) return;
    }
  }
};

Compressor::Compressor(int level) : impl_(std::make_unique<Impl>()) {
  CHECK(impl_->context != nullptr);
  for (const auto& [parameter, value] : {std::pair{ZSTD_c_compressionLevel, level},
                                         {ZSTD_c_windowLog, kWriteWindowLog},
                                         {ZSTD_c_checksumFlag, 1}}) {
    CHECK(!ZSTD_isError(ZSTD_CCtx_setParameter(impl_->context, parameter, value)));
  }
}
Compressor::~Compressor() = default;
Compressor::Compressor(Compressor&&) noexcept = default;
Compressor& Compressor::operator=(Compressor&&) noexcept = default;

void Compressor::push(std::string_view piece, std::string& out) {
  impl_->run(piece, ZSTD_e_continue, out);
}

void Compressor::finish(std::string& out) { impl_->run({}, ZSTD_e_end, out); }

struct Decompressor::Impl {
  explicit Impl(std::uint64_t bytes_max) : left(bytes_max) {}
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl() { ZSTD_freeDCtx(context); }

  ZSTD_DCtx* context = ZSTD_createDCtx();
  std::vector<char> block = std::vector<char>(ZSTD_DStreamOutSize());
  std::uint64_t left;
  bool ended = false;
};

Decompressor::Decompressor(std::uint64_t output_bytes_max)
    : impl_(std::make_unique<Impl>(output_bytes_max)) {
  CHECK(impl_->context != nullptr);
  CHECK(!ZSTD_isError(
      ZSTD_DCtx_setParameter(impl_->context, ZSTD_d_windowLogMax, kReadWindowLogMax)));
}
Decompressor::~Decompressor() = default;
Decompressor::Decompressor(Decompressor&&) noexcept = default;
Decompressor& Decompressor::operator=(Decompressor&&) noexcept = default;

Result<void> Decompressor::push(std::string_view piece, const Sink& sink) {
  Impl& impl = *impl_;
  ZSTD_inBuffer input{piece.data(), piece.size(), 0};
  while (true) {
    if (impl.ended) {
      if (input.pos == input.size) return {};
      return fail(Code::kInvalidArgument, "zstd: bytes after the frame");
    }
    ZSTD_outBuffer output{impl.block.data(), impl.block.size(), 0};
    const std::size_t hint = ZSTD_decompressStream(impl.context, &output, &input);
    if (ZSTD_isError(hint)) {
      return fail(Code::kInvalidArgument, std::string("zstd: ") + ZSTD_getErrorName(hint));
    }
    if (output.pos > impl.left) return fail(Code::kTooLarge, "zstd: unpacks to too much");
    impl.left -= output.pos;
    if (output.pos > 0) RETURN_IF_ERROR(sink({impl.block.data(), output.pos}));
    impl.ended = hint == 0;
    // A full block may mean that more is waiting inside, also without input.
    const bool flushed = output.pos < output.size;
    if (!impl.ended && input.pos == input.size && flushed) return {};
  }
}

Result<void> Decompressor::finish() const {
  if (!impl_->ended) return fail(Code::kDataLoss, "zstd: cut before the end of the frame");
  return {};
}

}  // namespace roster::feed
