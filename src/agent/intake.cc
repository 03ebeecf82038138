#include "agent/intake.h"

#include <utility>

namespace roster::agent {
namespace {

constexpr char kZstdFirstByte = '\x28';  // RFC 8878 3.1.1: magic number 0xFD2FB528, little endian
constexpr std::uint64_t kStreamBytesMax = std::uint64_t{16} << 30;

std::unexpected<Error> unexpected_stream(std::string why) {
  return fail(Code::kFailedPrecondition, "not the stream that was asked for: " + std::move(why));
}

}  // namespace

Intake::Intake(NodeCache& cache, Expectation expected)
    : cache_(cache), expected_(std::move(expected)) {}

Result<void> Intake::push(std::string_view bytes) {
  if (error_) return std::unexpected(*error_);
  auto pushed = push_bytes(bytes);
  if (!pushed) error_ = pushed.error();
  return pushed;
}

Result<void> Intake::push_bytes(std::string_view bytes) {
  if (bytes.empty()) return {};
  if (!started_) {
    started_ = true;
    if (bytes.front() == kZstdFirstByte) decompressor_.emplace(kStreamBytesMax);
  }
  if (!decompressor_) return push_text(bytes);
  return decompressor_->push(bytes, [this](std::string_view text) { return push_text(text); });
}

Result<void> Intake::push_text(std::string_view text) {
  return decoder_.push(text, [this](feed::Message&& message) { return take(std::move(message)); });
}

Result<void> Intake::take(feed::Message&& message) {
  if (auto* head = std::get_if<feed::Head>(&message)) {
    RETURN_IF_ERROR(check_head(*head));
    head_ = std::move(*head);
    return {};
  }
  if (auto* end = std::get_if<feed::End>(&message)) {
    RETURN_IF_ERROR(check_end(*end));
    end_ = std::move(*end);
    return {};
  }
  if (auto* reset = std::get_if<feed::Reset>(&message)) {
    reset_ = std::move(*reset);
    return {};
  }
  return cache_.apply(std::move(message));
}

Result<void> Intake::check_head(const feed::Head& head) const {
  if (head.org != expected_.org) return unexpected_stream("it is of organization " + head.org);
  if (head.view != expected_.view) return unexpected_stream("it is of view " + head.view);
  if (head.kind != expected_.kind) return unexpected_stream("delta and snapshot are mixed up");
  if (expected_.epoch && head.epoch != *expected_.epoch) {
    return unexpected_stream("it is of epoch " + head.epoch + " without a reset");
  }
  if (expected_.head && head.head != *expected_.head) {
    return unexpected_stream("its parts are of different heads");
  }
  return {};
}

Result<void> Intake::check_end(const feed::End& end) const {
  if (!end.final && end.counts == feed::Counts{}) {
    return unexpected_stream("a part without records that is not the last");
  }
  return {};
}

Result<void> Intake::finish() const {
  if (error_) return std::unexpected(*error_);
  RETURN_IF_ERROR(decoder_.finish());
  if (decompressor_) RETURN_IF_ERROR(decompressor_->finish());
  return {};
}

Result<void> check_progress(std::string_view published, std::string_view next,
                            std::string_view epoch) {
  const auto to = feed::Cursor::decode(next);
  if (!to) return unexpected_stream("its cursor is none");
  if (to->epoch != epoch) return unexpected_stream("its cursor is of another epoch");
  const auto from = feed::Cursor::decode(published);
  if (!from || from->epoch != to->epoch || from->seq <= to->seq) return {};
  return fail(Code::kFailedPrecondition,
              "the hub goes back: from change " + std::to_string(from->seq.value) + " to " +
                  std::to_string(to->seq.value) + " in the same epoch",
              kGoesBack);
}

}  // namespace roster::agent
