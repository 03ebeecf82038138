#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "agent/node_cache.h"
#include "base/result.h"
#include "feed/messages.h"
#include "feed/zstd.h"

namespace roster::agent {

/// What the stream must be, whatever the hub says.
struct Expectation {
  std::string org;
  std::string view;
  feed::Kind kind = feed::Kind::kDelta;
  std::optional<std::string> epoch;  // nothing: any
  std::optional<Seq> head;           // of the first part; nothing: any
};

/// One stream of the feed on its way into the cache: bytes as they come from the network, plain or
/// as a zstd frame (told apart by the first byte). The cache must be collecting.
class Intake {
 public:
  Intake(NodeCache& cache, Expectation expected);

  /// kFailedPrecondition when it is not the stream that was expected; see Decoder, Decompressor and
  /// NodeCache::apply for the others.
  Result<void> push(std::string_view bytes);
  /// At the end of input: kDataLoss unless the stream is whole.
  Result<void> finish() const;

  /// The first error of push, nothing while all is well.
  const std::optional<Error>& error() const { return error_; }
  /// After finish(): either a reset, or head and end.
  const std::optional<feed::Reset>& reset() const { return reset_; }
  const feed::Head& head() const { return *head_; }
  const feed::End& end() const { return *end_; }

 private:
  Result<void> push_bytes(std::string_view bytes);
  Result<void> push_text(std::string_view text);
  Result<void> take(feed::Message&& message);
  Result<void> check_head(const feed::Head& head) const;
  Result<void> check_end(const feed::End& end) const;

  NodeCache& cache_;
  const Expectation expected_;
  feed::Decoder decoder_;
  std::optional<feed::Decompressor> decompressor_;
  bool started_ = false;
  std::optional<Error> error_;
  std::optional<feed::Head> head_;
  std::optional<feed::End> end_;
  std::optional<feed::Reset> reset_;
};

/// Whether `next` is a position that may follow `published` (empty: nothing published): it is a
/// cursor of `epoch`, and does not lie before the published one within the same epoch.
/// kFailedPrecondition (kGoesBack) otherwise.
Result<void> check_progress(std::string_view published, std::string_view next,
                            std::string_view epoch);

}  // namespace roster::agent
