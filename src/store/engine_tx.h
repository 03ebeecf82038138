#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "base/result.h"
#include "store/database.h"

namespace roster::store {

/// What the transactions of both engines share, so that they behave alike: parameters are checked
/// before the engine sees them, and the first error of the engine ends the work (PostgreSQL refuses
/// everything after an error; SQLite by itself would go on).
class EngineTx : public Tx {
 public:
  Result<std::int64_t> execute_bound(const Statement& s, std::span<const Param> params) final;
  Result<void> query_bound(const Statement& s, std::span<const Param> params,
                           const RowFn& fn) final;
  Result<void> run_script(std::string_view sql) final;

  /// The error that ended the work, if any.
  const std::optional<Error>& spent() const { return spent_; }
  /// A new transaction or savepoint begins.
  void renew() { spent_.reset(); }

 protected:
  virtual Result<std::int64_t> do_execute(const Statement& s, std::span<const Param> params) = 0;
  virtual Result<void> do_query(const Statement& s, std::span<const Param> params,
                                const RowFn& fn) = 0;
  virtual Result<void> do_script(std::string_view sql) = 0;

 private:
  std::optional<Error> spent_;
};

}  // namespace roster::store
