#pragma once

#include <expected>
#include <source_location>
#include <string>
#include <string_view>
#include <utility>

namespace roster {

/// What went wrong, in the terms a caller can act on. Each protocol maps codes to its own answers
/// in one table (HTTP status, exit status).
enum class Code {
  kInvalidArgument,     // the caller's input is wrong and will stay wrong
  kNotFound,            // we know that there is no such thing
  kAlreadyExists,       // a unique name or id is taken
  kVersionMismatch,     // If-Match, or a row changed since it was read
  kFailedPrecondition,  // the state of the system forbids it
  kUnauthenticated,     // no or a bad credential
  kPermissionDenied,    // a good credential that may not do this
  kTooLarge,            // a size or count limit was exceeded
  kUnsupported,         // we do not offer this
  kUnavailable,         // we cannot tell now; trying again later may help
  kDataLoss,            // what we stored does not verify
  kInternal,            // a promise of ours is broken
};

/// Name of a code as used in logs and JSON, e.g. "invalid_argument".
std::string_view code_name(Code code);

/// One code, one sentence that says what, where and how to mend it. Never holds a secret.
struct [[nodiscard]] Error {
  Code code;
  std::string message;
  /// A protocol's own keyword with static storage, such as SCIM's scimType "noTarget"; or empty.
  std::string_view keyword = {};
};

template <typename T>
using Result = std::expected<T, Error>;

inline std::unexpected<Error> fail(Code code, std::string message, std::string_view keyword = {}) {
  return std::unexpected(Error{code, std::move(message), keyword});
}

/// The same error with "context: " in front of its sentence.
inline std::unexpected<Error> fail_in(std::string_view context, Error error) {
  error.message.insert(0, std::string(context) + ": ");
  return std::unexpected(std::move(error));
}

[[noreturn]] void check_failed(const char* condition, std::source_location where);

}  // namespace roster

/// Ends the process with the place and the condition when a programmer's promise is broken. Always
/// on.
#define CHECK(condition)                                                   \
  do {                                                                     \
    if (!(condition)) [[unlikely]]                                         \
      ::roster::check_failed(#condition, std::source_location::current()); \
  } while (false)

#define ROSTER_CONCAT_(a, b) a##b
#define ROSTER_CONCAT(a, b) ROSTER_CONCAT_(a, b)

/// Returns the error of a Result<void> (or any Result) from the calling function.
#define RETURN_IF_ERROR(expression)                              \
  do {                                                           \
    if (auto roster_result_ = (expression); !roster_result_)     \
      return std::unexpected(std::move(roster_result_).error()); \
  } while (false)

/// ASSIGN_OR_RETURN(auto user, find_user(tx, id));
#define ASSIGN_OR_RETURN(target, expression) \
  ASSIGN_OR_RETURN_(ROSTER_CONCAT(roster_result_, __LINE__), target, expression)
#define ASSIGN_OR_RETURN_(result, target, expression)             \
  auto result = (expression);                                     \
  if (!result) return std::unexpected(std::move(result).error()); \
  target = std::move(*result)
