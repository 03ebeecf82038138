#include "store/engine_tx.h"

#include <cstddef>
#include <string>
#include <utility>
#include <variant>

#include "base/unicode.h"

namespace roster::store {
namespace {

/// PostgreSQL can store neither U+0000 nor broken UTF-8 in a text; SQLite would take both.
Result<void> check_text(const Statement& s, std::span<const Param> params) {
  for (std::size_t i = 0; i < params.size(); ++i) {
    const auto* text = std::get_if<std::string_view>(&params[i]);
    if (text == nullptr) continue;
    if (text->find('\0') != std::string_view::npos) {
      return fail(Code::kInvalidArgument, std::string(s.name) + ": text parameter $" +
                                              std::to_string(i + 1) + " contains U+0000");
    }
    if (!is_valid_utf8(*text)) {
      return fail(Code::kInvalidArgument, std::string(s.name) + ": text parameter $" +
                                              std::to_string(i + 1) + " is not UTF-8");
    }
  }
  return {};
}

}  // namespace

Result<std::int64_t> EngineTx::execute_bound(const Statement& s, std::span<const Param> params) {
  if (spent_) return std::unexpected(*spent_);
  Result<std::int64_t> changed = 0;
  if (auto good = check_text(s, params); !good) {
    changed = std::unexpected(std::move(good).error());
  } else {
    changed = do_execute(s, params);
  }
  if (!changed) spent_ = changed.error();
  return changed;
}

Result<void> EngineTx::query_bound(const Statement& s, std::span<const Param> params,
                                   const RowFn& fn) {
  if (spent_) return std::unexpected(*spent_);
  bool stopped_by_fn = false;
  const RowFn watched = [&stopped_by_fn, &fn](const Row& row) -> Result<void> {
    auto result = fn(row);
    stopped_by_fn = !result;
    return result;
  };
  auto result = check_text(s, params);
  if (result) result = do_query(s, params, watched);
  if (!result && !stopped_by_fn) spent_ = result.error();
  return result;
}

Result<void> EngineTx::run_script(std::string_view sql) {
  if (spent_) return std::unexpected(*spent_);
  auto result = do_script(sql);
  if (!result) spent_ = result.error();
  return result;
}

}  // namespace roster::store
