#include "provider/cursor.h"

#include "base/encoding.h"
#include "base/json.h"
#include "base/secret.h"
#include "crypto/hash.h"
#include "scim/error.h"
#include "scim/list.h"

namespace roster::provider {
namespace {

constexpr std::size_t kMacBytes = 16;
/// Names of 256 bytes, escaped and encoded, and the numbers.
constexpr std::size_t kTextBytesMax = 4096;

std::string mac(std::string_view bearer, std::string_view query, std::string_view content) {
  const std::string key = crypto::hmac_sha256(bearer, "scim cursor");
  const std::string message = crypto::sha256(query) + std::string(content);
  return crypto::hmac_sha256(key, message).substr(0, kMacBytes);
}

}  // namespace

std::string Cursor::encode(std::string_view bearer, std::string_view query) const {
  json::object out;
  out["i"] = last.id;
  out["t"] = last.type;
  if (last.key) out["k"] = *last.key;
  out["g"] = given;
  if (total) out["n"] = *total;
  out["c"] = count;
  out["at"] = to_millis(issued);
  const std::string content = json::serialize(out);
  return base64url_encode(mac(bearer, query, content) + content);
}

Result<Cursor> Cursor::decode(std::string_view text, std::string_view bearer,
                              std::string_view query, std::int64_t count, Timestamp now) {
  const auto bad = [] {
    return fail(Code::kInvalidArgument,
                "the cursor is none that this server gave you for this query",
                scim::kInvalidCursor);
  };
  if (text.size() > kTextBytesMax) return bad();
  const auto bytes = base64url_decode(text);
  if (!bytes || bytes->size() < kMacBytes) return bad();
  const std::string_view content = std::string_view(*bytes).substr(kMacBytes);
  if (!constant_time_equal(std::string_view(*bytes).substr(0, kMacBytes),
                           mac(bearer, query, content))) {
    return bad();
  }
  const auto parsed = json::parse(content);
  if (!parsed || !parsed->is_object()) return bad();
  const json::object& fields = parsed->get_object();
  const auto id = json::find_string(fields, "i");
  const auto type = json::find_int(fields, "t");
  const auto given = json::find_int(fields, "g");
  const auto first_count = json::find_int(fields, "c");
  const auto issued = json::find_int(fields, "at");
  if (!id || !type || !given || !first_count || !issued) return bad();
  if (now - from_millis(*issued) > scim::kCursorLifetime) {
    return fail(Code::kInvalidArgument, "the cursor is too old: begin anew", scim::kExpiredCursor);
  }
  if (*first_count != count) {
    return fail(Code::kInvalidArgument,
                "the count must stay " + std::to_string(*first_count) + " on all pages",
                scim::kInvalidCount);
  }
  Cursor cursor{
      .last = {.key = {}, .type = static_cast<std::size_t>(*type), .id = std::string(*id)},
      .given = *given,
      .total = json::find_int(fields, "n"),
      .count = count,
      .issued = from_millis(*issued)};
  if (const auto key = json::find_string(fields, "k")) cursor.last.key = std::string(*key);
  return cursor;
}

}  // namespace roster::provider
