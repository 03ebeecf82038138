#include "hub/feed_query.h"

#include <charconv>
#include <limits>

#include "http/message.h"

namespace roster::hub {
namespace {

constexpr std::uint64_t kIdMax = 2'147'483'647;
constexpr std::uint64_t kWaitSecondsMax = 300;
constexpr std::uint64_t kSeqMax = std::numeric_limits<std::int64_t>::max();

std::optional<std::uint64_t> parse_number(std::string_view text, std::uint64_t max) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number > max) return std::nullopt;
  return number;
}

std::unexpected<Error> bad(std::string_view name, std::string_view what) {
  return fail(Code::kInvalidArgument, "parameter " + std::string(name) + " " + std::string(what));
}

Result<std::uint64_t> number_or_zero(const http::Query& query, std::string_view name,
                                     std::uint64_t max) {
  const auto text = query.get(name);
  if (!text) return 0;
  const auto number = parse_number(*text, max);
  if (!number) return bad(name, "is not a number from 0 to " + std::to_string(max));
  return *number;
}

std::optional<Continuation> parse_continuation(std::string_view text) {
  const auto tilde = text.find('~');
  if (tilde == std::string_view::npos) return std::nullopt;
  const auto reached = parse_number(text.substr(0, tilde), kSeqMax);
  const auto head = parse_number(text.substr(tilde + 1), kSeqMax);
  if (!reached || !head || *reached >= *head) return std::nullopt;
  return Continuation{.reached = Seq{*reached}, .head = Seq{*head}};
}

}  // namespace

std::string Continuation::encode() const {
  return std::to_string(reached.value) + "~" + std::to_string(head.value);
}

Result<FeedQuery> FeedQuery::parse(std::string_view text) {
  ASSIGN_OR_RETURN(const http::Query query, http::Query::parse(text));
  FeedQuery out;
  const auto since = query.get("since");
  const auto from = query.get("from");
  if (since.has_value() == from.has_value()) {
    return fail(Code::kInvalidArgument, "exactly one of the parameters since and from is required");
  }
  out.acknowledges = since.has_value();
  out.cursor = since ? *since : *from;
  if (const auto view = query.get("view")) out.view = *view;
  if (const auto more = query.get("more")) {
    out.more = parse_continuation(*more);
    if (!out.more) return bad("more", "is not a continuation of this hub");
  }
  ASSIGN_OR_RETURN(const std::uint64_t highest, number_or_zero(query, "highest_id", kIdMax));
  out.highest_id = static_cast<std::uint32_t>(highest);
  ASSIGN_OR_RETURN(const std::uint64_t wait, number_or_zero(query, "wait", kWaitSecondsMax));
  out.wait = std::chrono::seconds(wait);
  return out;
}

}  // namespace roster::hub
