#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

// The few forms of the Kubernetes API that a publisher of Secrets sends and reads (core/v1 Secret,
// meta/v1 Status). Answers are bytes from outside: sizes are limited, every field is checked, and
// no text of theirs reaches an error but as a short line of printable ASCII.

namespace roster::kubernetes {

/// Largest total of the values in a Secret's `data`, decoded (core/v1 MaxSecretSize).
inline constexpr std::size_t kSecretBytesMax = 1 << 20;

/// Largest answer that is read: a full Secret in base64, its bookkeeping of managers, annotations.
inline constexpr std::size_t kAnswerBytesMax = 4 << 20;

/// RFC 1123 label, at most 63 bytes: name of a namespace.
bool is_label(std::string_view text);
/// RFC 1123 subdomain, at most 253 bytes: name of a Secret.
bool is_subdomain(std::string_view text);
/// Key in `data` of a Secret: letters, digits, '-', '_', '.', at most 253 bytes.
bool is_data_key(std::string_view text);

/// What is in the cluster now.
struct SecretState {
  std::string resource_version;      // opaque; never empty
  bool immutable = false;            // its data cannot be changed, only deleted with it
  std::optional<std::string> value;  // decoded bytes of the key that was asked for
  std::size_t other_bytes = 0;       // of all other keys together, decoded
};

/// Reads a Secret. kInvalidArgument when `body` is not the Secret `name` or a field is of another
/// form than documented, kTooLarge beyond kAnswerBytesMax. The error never quotes data.
Result<SecretState> parse_secret(std::string_view body, std::string_view name,
                                 std::string_view key);

/// One field that another manager owns.
struct FieldConflict {
  std::string manager;  // e.g. "kubectl-client-side-apply"; "another manager" when not told
  std::string field;    // e.g. ".data.passwd.cache"
};

/// What a meta/v1 Status says. Texts are printable ASCII and cut to 200 bytes.
struct ApiStatus {
  std::string reason;                    // "Conflict", "Expired", ...; empty: not a Status
  std::string message;                   // may quote what was sent: see failure texts
  std::string kind;                      // resource that it is about, e.g. "namespaces"
  std::vector<FieldConflict> conflicts;  // at most 8; of server-side apply
  std::vector<std::string> fields;       // at most 8; that were found wrong, without their values
  std::optional<std::chrono::seconds> retry_after;
};

/// Never fails: a body that is no Status (a proxy's page) gives an empty one.
ApiStatus parse_status(std::string_view body);

/// Body of a server-side apply that owns exactly one key. With `resource_version` it replaces only
/// what was read.
std::string apply_body(std::string_view namespace_name, std::string_view name, std::string_view key,
                       std::string_view value, std::string_view resource_version);

}  // namespace roster::kubernetes
